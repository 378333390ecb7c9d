"""How long a desktop host waits: seven servers started at once over stdio, to their first answer.

    python -m benchmarks.startup [--rounds 5] [--json]

Beside seven of the bare SDK with one trivial tool, in turns; memory is resident, once all answer.
``first`` is the first start of this code, ``again`` every later one.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Final

import psutil

from common.settings import inherited
from servers.run import DOMAINS

SETTLED: Final = 6  # seconds without growth
ROOT: Final = Path(__file__).resolve().parent.parent
BARE: Final = (
    "from mcp.server.mcpserver import MCPServer\n"
    "m = MCPServer('bare', version='1', log_level='WARNING')\n"
    "@m.tool()\n"
    "async def add(a: int, b: int) -> int:\n"
    "    'Add two integers.'\n"
    "    return a + b\n"
    "m.run()\n"
)
ASK: Final = (
    json.dumps({
        "jsonrpc": "2.0", "id": 1, "method": "initialize",
        "params": {
            "protocolVersion": "2025-11-25", "capabilities": {},
            "clientInfo": {"name": "benchmark", "version": "1"},
        },
    }).encode()
    + b"\n"
)  # fmt: skip
READY: Final = b'{"jsonrpc":"2.0","method":"notifications/initialized"}\n'
CALL: Final = b'{"jsonrpc":"2.0","id":2,"method":"resources/templates/list"}\n'


@dataclass(frozen=True)
class Row:
    """Seven at once: seconds to the last first answer, and megabytes of one of them."""

    what: str
    seconds: float
    ratio: float
    memory_mb: float
    memory_ratio: float


def started(commands: Sequence[Sequence[str]], home: str) -> tuple[float, float]:
    """Seconds until the last of them answered, and the mean of their memory when all are up."""
    begun = time.perf_counter()
    running = [
        subprocess.Popen(
            command, cwd=ROOT, env=inherited(SHOP_HOME=home), stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )
        for command in commands
    ]  # fmt: skip
    try:
        for process in running:
            assert process.stdin is not None
            process.stdin.write(ASK + READY)
            process.stdin.flush()
        for process in running:
            assert process.stdout is not None
            process.stdout.readline()
        took = time.perf_counter() - begun
        for process in running:  # a second answer, from the real server behind a quick one
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(CALL)
            process.stdin.flush()
            process.stdout.readline()
        return took, _settled([psutil.Process(process.pid) for process in running])
    finally:
        for process in running:
            assert process.stdin is not None
            process.stdin.close()
        for process in running:
            process.wait(timeout=60)


def _settled(running: Sequence[psutil.Process]) -> float:
    """Their mean memory, once what is still being imported is there and counts too."""
    before, memory, still = 0.0, 1.0, 0
    for _ in range(60):
        before, memory = memory, sum(p.memory_info().rss for p in running) / 2**20
        still = still + 1 if memory < before * 1.005 else 0
        if still >= SETTLED:
            break
        time.sleep(1)
    return memory / len(running)


def measured(rounds: int) -> list[Row]:
    """Bare, the first start of ours, and starting again."""
    bare = [[sys.executable, "-c", BARE]] * len(DOMAINS)
    ours = [[sys.executable, "-m", "servers", domain] for domain in DOMAINS]
    with tempfile.TemporaryDirectory(prefix="shop-startup-") as home:
        first = started(ours, home)
        beneath, again = [], []
        for _ in range(rounds):
            beneath.append(started(bare, home))
            again.append(started(ours, home))
    floor = median(seconds for seconds, _ in beneath)
    light = median(memory for _, memory in beneath)

    def row(what: str, seconds: float, memory: float) -> Row:
        return Row(
            what, round(seconds, 3), round(seconds / floor, 3), round(memory, 1),
            round(memory / light, 2),
        )  # fmt: skip

    return [
        row("seven of the bare SDK", floor, light),
        row("all seven servers, first", *first),
        row("all seven servers, again", median(s for s, _ in again), median(m for _, m in again)),
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit 0."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.startup", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    rows = measured(options.rounds)
    if options.json:
        print(json.dumps([asdict(row) for row in rows], indent=1))
        return 0
    print("| started at once | seconds | ratio | MB each | MB ratio |\n|" + " --- |" * 5)
    for row in rows:
        print(
            f"| {row.what} | {row.seconds:.2f} | {row.ratio:.2f} | {row.memory_mb:.0f}"
            f" | {row.memory_ratio:.2f} |"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
