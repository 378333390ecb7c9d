"""A server over stdio and nothing between: lines of JSON written to it, lines read from it."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

PATIENCE_S: Final = 60
HELLO: Final[tuple[dict[str, Any], ...]] = (
    {
        "jsonrpc": "2.0", "id": "hello", "method": "initialize", "params": {
            "protocolVersion": "2025-11-25", "capabilities": {"elicitation": {}},
            "clientInfo": {"name": "raw", "version": "0"},
        },
    },
    {"jsonrpc": "2.0", "method": "notifications/initialized"},
)  # fmt: skip


@dataclass
class RawServer:
    process: asyncio.subprocess.Process

    async def send(self, *messages: Mapping[str, Any]) -> None:
        assert self.process.stdin is not None
        for message in messages:
            self.process.stdin.write(json.dumps(message).encode() + b"\n")
        await self.process.stdin.drain()

    async def say(self, *lines: str) -> None:
        """Lines as they are, JSON or not."""
        assert self.process.stdin is not None
        self.process.stdin.write("".join(f"{line}\n" for line in lines).encode())
        await self.process.stdin.drain()

    async def told(self) -> dict[str, Any]:
        """The next line of the server."""
        assert self.process.stdout is not None
        line = await asyncio.wait_for(self.process.stdout.readline(), PATIENCE_S)
        found: dict[str, Any] = json.loads(line)
        return found

    async def call(self, id: int, tool: str, **arguments: Any) -> None:
        """Send a call; ``answer`` waits for what it answers."""
        params = {"name": tool, "arguments": arguments}
        await self.send({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params})

    async def answer(self, id: int) -> dict[str, Any] | None:
        """The structured content of an answer; None when the server is gone."""
        assert self.process.stdout is not None
        while line := await asyncio.wait_for(self.process.stdout.readline(), PATIENCE_S):
            said = json.loads(line)
            if said.get("id") == id and "method" not in said:
                structured: dict[str, Any] = said["result"]["structuredContent"]
                return structured
        return None


@asynccontextmanager
async def raw_server(
    command: Sequence[str], environment: Mapping[str, str], folder: Path
) -> AsyncIterator[RawServer]:
    """Started and greeted; ended by closing its standard input."""
    process = await asyncio.create_subprocess_exec(
        *command, env=environment, cwd=folder,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        server = RawServer(process)
        await server.send(*HELLO)
        yield server
        assert process.stdin is not None
        process.stdin.close()
        await asyncio.wait_for(process.wait(), PATIENCE_S)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
