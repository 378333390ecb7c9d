"""How long a desktop host waits: seven servers started at once over stdio, to their first answer.

    python -m benchmarks.startup [--rounds 5] [--json]

Beside seven of the bare SDK with one trivial tool, in turns; memory is resident, of each, once all
have answered and nothing is being imported any more, and again when each was called once, one after
the other. ``call`` is the longest that such a first call took. ``first`` is the first start of this
code in a home, which keeps what is listed there; ``again`` every later one.
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
from typing import Final, NamedTuple

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
TOOLS: Final = {
    "inventory": "list_low_stock", "orders": "list_upcoming_orders", "logistics": "list_shipments",
    "returns": "list_returns", "claims": "list_claims", "payments": "list_payouts",
    "storefront": "get_categories",
}  # fmt: skip


@dataclass(frozen=True)
class Row:
    """Seven at once: seconds to the last first answer and of the first call, and megabytes of one
    of them before and after it was called."""

    what: str
    seconds: float
    ratio: float
    memory_mb: float
    memory_ratio: float
    call_s: float
    called_mb: float
    called_ratio: float


class Seven(NamedTuple):
    """What one start of seven came to."""

    seconds: float
    memory_mb: float
    call_s: float
    called_mb: float


def started(commands: Sequence[Sequence[str]], calls: Sequence[bytes], home: str) -> Seven:
    """Start them, wait until the last has answered and all are calm, then call each once."""
    begun = time.perf_counter()
    running = [
        subprocess.Popen(
            command, cwd=ROOT, env=inherited(SHOP_HOME=home), stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )
        for command in commands
    ]  # fmt: skip
    watched = [psutil.Process(process.pid) for process in running]
    try:
        for process in running:
            assert process.stdin is not None
            process.stdin.write(ASK + READY)
            process.stdin.flush()
        for process in running:
            assert process.stdout is not None
            process.stdout.readline()
        took = time.perf_counter() - begun
        memory = _settled(watched)
        waits = [_called(process, call) for process, call in zip(running, calls, strict=True)]
        return Seven(took, memory, max(waits), _settled(watched))
    finally:
        for process in running:
            assert process.stdin is not None
            process.stdin.close()
        for process in running:
            process.wait(timeout=60)


def _called(process: "subprocess.Popen[bytes]", call: bytes) -> float:
    assert process.stdin is not None
    assert process.stdout is not None
    begun = time.perf_counter()
    process.stdin.write(call)
    process.stdin.flush()
    answer = json.loads(process.stdout.readline())
    if answer.get("result", {}).get("isError") is not False:
        raise SystemExit(f"a call failed: {answer}")
    return time.perf_counter() - begun


def _call(tool: str, **arguments: int) -> bytes:
    params = {"name": tool, "arguments": arguments}
    asked = {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": params}
    return json.dumps(asked).encode() + b"\n"


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
    trivial = [_call("add", a=2, b=3)] * len(DOMAINS)
    calls = [_call(TOOLS[domain]) for domain in DOMAINS]
    with tempfile.TemporaryDirectory(prefix="shop-startup-") as home:
        first = started(ours, calls, home)
        beneath, again = [], []
        for _ in range(rounds):
            beneath.append(started(bare, trivial, home))
            again.append(started(ours, calls, home))
    floor = _medians(beneath)

    def row(what: str, found: Seven) -> Row:
        return Row(
            what,
            seconds=round(found.seconds, 3),
            ratio=round(found.seconds / floor.seconds, 3),
            memory_mb=round(found.memory_mb, 1),
            memory_ratio=round(found.memory_mb / floor.memory_mb, 2),
            call_s=round(found.call_s, 3),
            called_mb=round(found.called_mb, 1),
            called_ratio=round(found.called_mb / floor.called_mb, 2),
        )

    return [
        row("seven of the bare SDK", floor),
        row("all seven servers, first in a home", first),
        row("all seven servers, again", _medians(again)),
    ]


def _medians(found: Sequence[Seven]) -> Seven:
    return Seven(*(median(column) for column in zip(*found, strict=True)))


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
    print(
        "| started at once | seconds | ratio | MB each | MB ratio | call s | MB called"
        " | called ratio |\n|" + " --- |" * 8
    )
    for row in rows:
        print(
            f"| {row.what} | {row.seconds:.2f} | {row.ratio:.2f} | {row.memory_mb:.0f}"
            f" | {row.memory_ratio:.2f} | {row.call_s:.2f} | {row.called_mb:.0f}"
            f" | {row.called_ratio:.2f} |"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
