"""The host's pipes on the event loop: no thread between a line and the server that answers it."""

import asyncio
import json
import logging
import os
from collections.abc import Callable
from typing import Any, Final, Protocol

from common.auth import strict

log = logging.getLogger(__name__)

LONGEST_LINE: Final = 16 * 2**20
PARSE_ERROR: Final = -32700


class Watch(Protocol):
    """Sees every line pass."""

    def heard(self, line: str) -> None: ...

    def said(self, text: str) -> bool:
        """Whether the line is to be dropped."""
        ...


class Lines:
    """What ``stdio_server`` reads: lines of text, beginning with what was read before. A line that
    two readers could take for two things (a member twice, NaN, no JSON) is answered here, with
    JSON-RPC's own code, and goes no further."""

    def __init__(
        self, reader: asyncio.StreamReader, watch: Watch, answer: Callable[[bytes], None]
    ) -> None:
        self._reader = reader
        self._watch = watch
        self._answer = answer

    def __aiter__(self) -> "Lines":
        return self

    async def __anext__(self) -> str:
        while True:
            line = (await self._reader.readline()).decode("utf-8", errors="replace")
            if not line:
                raise StopAsyncIteration
            if not line.strip():
                continue
            try:
                strict.json_object(line)
            except strict.Unreadable:
                log.warning("a line was refused: it is not JSON that can be read one way only")
                self._answer(_refusal(line))
                continue
            self._watch.heard(line)
            return line


def _refusal(line: str) -> bytes:
    """What the host is told; with the message's id, where it is beyond doubt, so that nobody waits
    for an answer."""
    try:
        members = json.loads(line, object_pairs_hook=list)
        ids = [value for name, value in members if name == "id"]
    except (ValueError, TypeError, RecursionError):
        ids = []
    known = len(ids) == 1 and isinstance(ids[0], int | str) and not isinstance(ids[0], bool)
    error = {
        "code": PARSE_ERROR,
        "message": "Not JSON that can be read one way only: no member twice, no NaN.",
    }
    answer = {"jsonrpc": "2.0", "id": ids[0] if known else None, "error": error}
    return json.dumps(answer).encode() + b"\n"


class Sink:
    """What ``stdio_server`` writes to."""

    def __init__(self, writer: asyncio.StreamWriter, watch: Watch) -> None:
        self._writer = writer
        self._watch = watch

    async def write(self, text: str) -> int:
        if not self._watch.said(text):
            self._writer.write(text.encode())
        return len(text)

    async def flush(self) -> None:
        await self._writer.drain()


async def opened(source: int, sink: int, begun: bytes, watch: Watch) -> tuple[Any, Any]:
    """Take over two descriptors. Raises ValueError when one is a plain file."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=LONGEST_LINE, loop=loop)
    reader.feed_data(begun)
    # The loop closes what it takes over.
    incoming, outgoing = os.fdopen(source, "rb", buffering=0), os.fdopen(sink, "wb", buffering=0)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader, loop=loop), incoming)
    transport, protocol = await loop.connect_write_pipe(
        lambda: asyncio.streams.FlowControlMixin(loop=loop), outgoing
    )
    writer = asyncio.StreamWriter(transport, protocol, None, loop)
    return Lines(reader, watch, writer.write), Sink(writer, watch)
