"""What a call over stdio costs, beside the bare SDK doing next to nothing over its own pipes.

    python -m benchmarks.stdio [--seconds 1] [--rounds 3] [--json]

Both are processes of their own, driven in turns; the ratio is calls a second of ours, one read of
stock with its guard, database and record, divided by calls a second of the bare SDK's trivial tool.
``cpu`` is the same ratio of time on a core, which other work on the machine disturbs less.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final, NamedTuple

import psutil

from benchmarks import stage
from benchmarks.requests import CLIENT, NEW, OLD
from benchmarks.startup import ASK, BARE, READY
from common.settings import inherited

Asked = Callable[[int], dict[str, Any]]
"""``params`` of the n-th call."""

IN_FLIGHT: Final = (1, 16)
CALM_S: Final = 3.0  # until what starts in the background is there
META: Final = {
    "io.modelcontextprotocol/protocolVersion": NEW,
    "io.modelcontextprotocol/clientInfo": CLIENT,
    "io.modelcontextprotocol/clientCapabilities": {},
}


@dataclass(frozen=True)
class Row:
    """One era and number of calls in flight. Latency in milliseconds."""

    era: str
    in_flight: int
    ratio: float
    cpu: float
    rate: float
    bare_rate: float
    p50: float


class Slice(NamedTuple):
    """Calls a second, seconds on a core for each, the median latency in milliseconds."""

    rate: float
    cpu: float
    p50: float


class Pipe:
    """A connection of one era to one server, and what it is asked."""

    def __init__(self, process: subprocess.Popen[bytes], era: str, call: Asked) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._in, self._out, self._era, self._call = process.stdin, process.stdout, era, call
        self._number = 10
        self._process = psutil.Process(process.pid)
        if era == OLD:
            self._in.write(ASK + READY)
            self._in.flush()
            self._out.readline()

    def drive(self, in_flight: int, seconds: float) -> Slice:
        """Load for ``seconds``, so many calls on their way at once."""
        sent: dict[int, float] = {}
        latencies: list[float] = []
        before, begun = self._process.cpu_times(), time.perf_counter()
        for _ in range(in_flight):
            self._send(sent)
        while sent:
            answer = json.loads(self._out.readline())
            now = time.perf_counter()
            if answer.get("result", {}).get("isError") is not False:
                raise SystemExit(f"a call failed: {answer}")
            latencies.append(now - sent.pop(answer["id"]))
            if now - begun < seconds:
                self._send(sent)
        took, after = time.perf_counter() - begun, self._process.cpu_times()
        busy = after.user + after.system - before.user - before.system
        return Slice(len(latencies) / took, busy / len(latencies), median(latencies) * 1000)

    def _send(self, sent: dict[int, float]) -> None:
        self._number += 1
        params = self._call(self._number) | ({"_meta": META} if self._era == NEW else {})
        message = {"jsonrpc": "2.0", "id": self._number, "method": "tools/call", "params": params}
        sent[self._number] = time.perf_counter()
        self._in.write(json.dumps(message).encode() + b"\n")
        self._in.flush()


@contextmanager
def piped(command: Sequence[str], home: str, era: str, call: Asked) -> Iterator[Pipe]:
    """A server that answers, until the end of the block."""
    with subprocess.Popen(
        command, cwd=stage.ROOT, env=inherited(SHOP_HOME=home, SHOP_RATE_LIMITS="off"),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        yield Pipe(process, era, call)
        assert process.stdin is not None
        process.stdin.close()


def measured(seconds: float, rounds: int) -> list[Row]:
    """The median over ``rounds``, after one that warms up."""
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="shop-stdio-") as home:
        skus = asyncio.run(stage.stocked(Path(home)))

        def trivial(n: int) -> dict[str, Any]:
            return {"name": "add", "arguments": {"a": n, "b": 3}}

        def read(n: int) -> dict[str, Any]:
            return {"name": "get_stock", "arguments": {"sku": skus[n % len(skus)]}}

        for era in (OLD, NEW):
            bare = piped([sys.executable, "-c", BARE], home, era, trivial)
            ours = piped([sys.executable, "-m", "servers", "inventory"], home, era, read)
            with bare as beneath, ours as above:
                for pipe in (beneath, above):
                    pipe.drive(1, CALM_S)
                rows += [_row(beneath, above, era, n, seconds, rounds) for n in IN_FLIGHT]
    return rows


def _row(
    beneath: Pipe, above: Pipe, era: str, in_flight: int, seconds: float, rounds: int
) -> Row:  # fmt: skip
    turns = [
        (beneath.drive(in_flight, seconds), above.drive(in_flight, seconds))
        for _ in range(rounds + 1)
    ][1:]
    return Row(
        era, in_flight,
        ratio=round(median(a.rate / b.rate for b, a in turns), 3),
        cpu=round(median(b.cpu / a.cpu for b, a in turns), 3),
        rate=round(median(a.rate for _, a in turns), 1),
        bare_rate=round(median(b.rate for b, _ in turns), 1),
        p50=round(median(a.p50 for _, a in turns), 2),
    )  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit 0."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stdio", description=__doc__)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each slice")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    rows = measured(options.seconds, options.rounds)
    if options.json:
        print(json.dumps([asdict(row) for row in rows], indent=1))
        return 0
    print(
        "| protocol | in flight | ratio | of cpu time | calls/s | bare/s | p50 ms |\n|"
        + " --- |" * 7
    )
    for row in rows:
        print(
            f"| {row.era} | {row.in_flight} | {row.ratio:.2f} | {row.cpu:.2f} | {row.rate:.0f}"
            f" | {row.bare_rate:.0f} | {row.p50:.2f} |"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
