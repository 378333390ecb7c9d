"""Other people's servers doing an empty call, beside the bare SDK, in one run.

    python -m benchmarks.peers [--seconds 2] [--rounds 5]

Python's are installed from the registry into a folder of their own under ``.venv-peers``, the
TypeScript SDK with the tests' npm packages. What cannot be installed is named and left out.
"""

import argparse
import subprocess
import sys
import venv
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Final

import uvloop

from benchmarks import stage
from benchmarks.load import drive
from benchmarks.requests import Target
from tests.support import node

ROOT: Final = Path(__file__).resolve().parent.parent
PLACE: Final = ROOT / ".venv-peers"
INSTALL_S: Final = 240
PEERS: Final = {
    "FastMCP 4": (
        "fastmcp==4.1.6",
        "from fastmcp import FastMCP\nimport sys\nm = FastMCP('peer')\n@m.tool\n"
        "async def add(a: int, b: int) -> int:\n    'Add.'\n    return a + b\n"
        "import uvicorn\napp = m.http_app(path='/mcp', stateless_http=True, json_response=True)\n"
        "uvicorn.run(app, port=int(sys.argv[1]), log_level='error', access_log=False)\n",
    ),
    "mcp 1.x": (
        "mcp==1.30.*",
        "from mcp.server.fastmcp import FastMCP\nimport sys, uvicorn\n"
        "m = FastMCP('peer', stateless_http=True, json_response=True)\n@m.tool()\n"
        "async def add(a: int, b: int) -> int:\n    'Add.'\n    return a + b\n"
        "uvicorn.run(m.streamable_http_app(), port=int(sys.argv[1]), log_level='error',"
        " access_log=False)\n",
    ),
}


def installed(name: str, requirement: str) -> Path:
    """The interpreter of a peer's own environment, made when it is missing."""
    folder = PLACE / name.replace(" ", "-").lower()
    python = folder / "bin" / "python"
    if not (folder / ".done").exists():
        venv.create(folder, clear=True, with_pip=True)
        command = [python, "-m", "pip", "-qq", "install", requirement, "uvloop", "httptools"]
        subprocess.run(command, check=True, timeout=INSTALL_S)
        (folder / ".done").touch()
    return python


def commands() -> Iterator[tuple[str, list[str]]]:
    """Each peer that can be had, and what starts it before its port."""
    for name, (requirement, source) in PEERS.items():
        try:
            yield name, [str(installed(name, requirement)), "-c", source]
        except subprocess.SubprocessError:
            print(f"{name} could not be installed here.", file=sys.stderr)
    try:
        node.npm_install()
        yield "TypeScript SDK 1.x", [*node.node_command(), str(node.FOLDER / "peer.mjs")]
    except node.Unavailable as error:
        print(f"The TypeScript SDK cannot be had here: {error}", file=sys.stderr)


async def measured(seconds: float, rounds: int) -> list[tuple[str, float, float]]:
    """Each peer's calls a second divided by the bare SDK's, at 16 connections: by those of its
    newer era, and of the older one, which is what the peers are asked in."""
    found = []
    arguments = {"a": 2, "b": 3}
    with stage.floor() as floor:
        new = Target(floor.port).call("add", arguments)
        old = Target(floor.port).old_call("", "add", arguments)
        for name, command in commands():
            port = stage.free_port()
            with stage.running([*command, str(port)], port) as peer:
                above = Target(peer.port).old_call("", "add", arguments)
                rates = [
                    [
                        await _rate(name, at, request, seconds)
                        for at, request in ((floor.port, new), (floor.port, old), (port, above))
                    ]
                    for _ in range(rounds + 1)
                ][1:]
                newer, older = (median(rate[2] / rate[n] for rate in rates) for n in (0, 1))
                found.append((name, newer, older))
    return found


async def _rate(name: str, port: int, request: bytes, seconds: float) -> float:
    found = await drive(
        "127.0.0.1", port, lambda *_: request, connections=16, seconds=seconds, accept=b'"content"'
    )
    if found.failed:
        raise SystemExit(f"{name}: {found.sample.decode(errors='replace')[:400]}")
    return found.rate


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit 0."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args(arguments)
    print("| an empty call on | to the bare SDK | to its older era |\n| --- | --- | --- |")
    for name, newer, older in uvloop.run(measured(options.seconds, options.rounds)):
        print(f"| {name} | {newer:.2f} | {older:.2f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
