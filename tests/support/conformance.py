"""The official conformance runner against a server of ours, a token on every request."""

import asyncio
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.support.node import FOLDER, node_environment, npm_install, package_program

PACKAGE: Final = "@modelcontextprotocol/conformance"
SIGNED: Final = Path(__file__).with_name("signed.mjs")
PATIENCE_S: Final = 150


@dataclass
class Found:
    """What a run said. ``scenarios``: the statuses of each one's checks; ``worst``: why not."""

    code: int
    said: str
    scenarios: dict[str, set[str]] = field(default_factory=dict)
    worst: dict[str, list[str]] = field(default_factory=dict)

    def failed(self) -> list[str]:
        bad = {"FAILURE", "WARNING"}
        return sorted(name for name, statuses in self.scenarios.items() if bad & statuses)


async def run(node: list[str], folder: Path, token: str, url: str, *options: str) -> Found:
    """One run; its checks are read back from ``folder``."""
    npm_install()
    program = package_program(FOLDER, PACKAGE, "conformance")
    process = await asyncio.create_subprocess_exec(
        *node, "--import", str(SIGNED), str(program), "server", "--url", url,
        "-o", str(folder), *options,
        env=node_environment() | {"CONFORMANCE_TOKEN": token},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    try:
        out, _ = await asyncio.wait_for(process.communicate(), PATIENCE_S)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return _read(folder, Found(process.returncode or 0, out.decode()))


def _read(folder: Path, found: Found) -> Found:
    for file in folder.rglob("checks.json"):
        name = re.sub(r"-\d{4}-\d\d-\d\dT.*", "", file.parent.name.removeprefix("server-"))
        checks = json.loads(file.read_text())
        found.scenarios.setdefault(name, set()).update(check["status"] for check in checks)
        bad = [check for check in checks if check["status"] in ("FAILURE", "WARNING")]
        found.worst[name] = [f"{check['name']}: {check.get('errorMessage')}" for check in bad]
    return found
