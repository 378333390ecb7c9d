"""What a call costs, beside the bare SDK doing next to nothing, in one run.

    python -m benchmarks.calls [--seconds 1] [--rounds 3] [--postgres URL] [--json]

Each figure is a ratio: calls a second of ours divided by calls a second of the bare SDK with one
trivial tool, measured in turns within seconds of each other, the median over rounds. On the path
of ours: token, audience, scope, limits, guard, rule, database, record. ``cpu`` is the same ratio of
time on a core, which other work on the machine disturbs less.
"""

import argparse
import json
import secrets
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final

import uvloop

from benchmarks import stage
from benchmarks.load import MakeRequest, Slice, drive
from benchmarks.requests import Target
from common.approvals.requests import MOST_PENDING

CONNECTIONS: Final = (1, 16, 64)
TRANSFER: Final = 101  # units: above what goes alone, below what needs a second person


@dataclass(frozen=True)
class Case:
    """One kind of call. ``calls`` is how many of the floor's calls it is compared with."""

    name: str
    make: Callable[[Target, Sequence[str]], MakeRequest]
    accept: bytes = b'"isError":false'
    between: bytes = b""
    calls: int = 1
    spoilt: bool = False  # asks for what breaks the server; only SQLite can hold such a thing


@dataclass(frozen=True)
class Row:
    """One line of the table. Latencies in milliseconds."""

    case: str
    database: str
    workers: int
    connections: int
    ratio: float
    cpu: float
    rate: float
    floor_rate: float
    p50: float
    p99: float
    failed: int


def _read(target: Target, skus: Sequence[str]) -> MakeRequest:
    made = [target.call("get_stock", {"sku": sku}) for sku in skus]
    return lambda n, _: made[n % len(made)]


def _unknown(target: Target, skus: Sequence[str]) -> MakeRequest:
    made = target.call("get_stock", {"sku": "NO-SUCH-ITEM"})
    return lambda n, _: made


def _malformed(target: Target, skus: Sequence[str]) -> MakeRequest:
    made = target.call("get_stock", {"sku": skus[0], "warehouse": 5})
    return lambda n, _: made


def _old_read(target: Target, skus: Sequence[str]) -> MakeRequest:
    session = target.open_session()
    # Two requests of one session may not share an id.
    return lambda n, _: target.old_call(session, "get_stock", {"sku": skus[n % len(skus)]}, n)


def _write(target: Target, skus: Sequence[str]) -> MakeRequest:
    run = secrets.token_hex(4)

    def make(n: int, _: bytes) -> bytes:
        arguments = {
            "sku": skus[n % len(skus)], "quantity": 1, "warehouse": stage.WAREHOUSES[0],
            "source_id": f"bench-{n}", "idempotency_key": f"{run}-{n:08}",
        }  # fmt: skip
        return target.call("reserve_stock", arguments)

    return make


def _approved(target: Target, skus: Sequence[str]) -> MakeRequest:
    run = secrets.token_hex(4)
    yes = {"confirm": {"action": "accept", "content": {"agree": True}}}

    waiting: dict[int, dict[str, Any]] = {}

    def make(n: int, last: bytes) -> bytes:
        if last:
            answer = json.loads(last.partition(b"\r\n\r\n")[2])
            state = answer["result"]["requestState"]
            arguments = waiting.pop(answer["id"])
            return target.call(
                "transfer_stock", arguments, n, inputResponses=yes, requestState=state
            )
        waiting[n] = {
            "from_warehouse": stage.WAREHOUSES[0], "to_warehouse": stage.WAREHOUSES[1],
            "lines": [{"sku": skus[n % len(skus)], "quantity": TRANSFER}],
            "idempotency_key": f"{run}-{n:08}",
        }  # fmt: skip
        return target.call("transfer_stock", waiting[n], n)

    return make


def _list(target: Target, skus: Sequence[str]) -> MakeRequest:
    made = target.request("tools/list", {})
    return lambda n, _: made


CASES: Final = (
    Case("read", _read),
    Case("write", _write),
    Case("approval", _approved, between=b'"input_required"', calls=2),
    Case("list", _list, accept=b'"tools"'),
    Case("read, older era", _old_read),
    Case("mistake, no such item", _unknown, accept=b'_not_found"'),
    Case("mistake, wrong type", _malformed, accept=b'"invalid_parameters"'),
    Case("our bug", _read, accept=b'"internal_error"', spoilt=True),
)


def _trivial(target: Target) -> MakeRequest:
    made = target.call("add", {"a": 2, "b": 3})
    return lambda n, _: made


class Pair:
    """The floor and one server of ours, driven in turns."""

    def __init__(self, floor: stage.Running, ours: stage.Stage, skus: Sequence[str]) -> None:
        self.floor, self.ours, self.skus = floor, ours, skus[1:]
        self.spoilt = skus[:1]
        self.beneath = _trivial(Target(floor.port))
        self.target = ours.target("inventory")
        self._asked = 0  # what was asked in one slice is not asked again in the next

    async def measure(
        self, case: Case, database: str, workers: int, connections: int, *,
        seconds: float, rounds: int,
    ) -> Row:  # fmt: skip
        """The median over ``rounds``, after one that warms up."""
        make = case.make(self.target, self.spoilt if case.spoilt else self.skus)
        found: list[tuple[float, float, Slice, Slice]] = []
        for _ in range(rounds + 1):
            below, below_cpu = await self._slice(
                self.floor, self.floor.port, self.beneath, connections, seconds
            )
            above, above_cpu = await self._slice(
                self.ours.running, self.ours.running.port, make, connections, seconds, case
            )
            if not above.latencies:
                raise SystemExit(f"{case.name}: no call succeeded: {above.sample.decode()[:600]}")
            share = case.calls * above.rate / below.rate
            found.append((share, case.calls * below_cpu / above_cpu, below, above))
        kept = found[1:]
        slices = [above for _, _, _, above in kept]
        for each in slices:
            if each.failed:
                print(f"{case.name} failed: {each.sample.decode()}", file=sys.stderr, flush=True)
        return Row(
            case.name, database, workers, connections,
            ratio=round(median(share for share, *_ in kept), 3),
            cpu=round(median(cpu for _, cpu, *_ in kept), 3),
            rate=round(median(s.rate for s in slices), 1),
            floor_rate=round(median(below.rate for _, _, below, _ in kept), 1),
            p50=round(median(s.percentile(0.5) for s in slices), 2),
            p99=round(median(s.percentile(0.99) for s in slices), 2),
            failed=sum(s.failed for s in slices),
        )  # fmt: skip

    async def _slice(
        self, server: stage.Running, port: int, make: MakeRequest, connections: int,
        seconds: float, case: Case | None = None,
    ) -> tuple[Slice, float]:  # fmt: skip
        before = server.cpu_seconds()
        markers = {"accept": case.accept, "between": case.between} if case else {}
        found = await drive(
            "127.0.0.1", port, make, connections=connections, seconds=seconds, after=self._asked,
            **markers,
        )  # fmt: skip
        self._asked = found.last
        return found, (server.cpu_seconds() - before) / max(1, len(found.latencies))


async def measured(options: argparse.Namespace) -> list[Row]:
    """Every row asked for, printed as it comes."""
    rows: list[Row] = []
    urls = {"sqlite": ""} | ({"postgresql": options.postgres} if options.postgres else {})
    for database, url in urls.items():
        with tempfile.TemporaryDirectory(prefix="shop-bench-") as folder:
            home = Path(folder)
            skus = await stage.stocked(home, url)
            if database == "sqlite":
                stage.spoil(home, skus[0])
            for workers in options.workers:
                with ExitStack() as open_:
                    floor = open_.enter_context(stage.floor(workers))
                    ours = open_.enter_context(
                        stage.shop(
                            home, workers=workers, database_url=url, domain="inventory",
                            SHOP_RATE_LIMITS="off",
                        )
                    )  # fmt: skip
                    pair = Pair(floor, ours, skus)
                    for case, connections in _matrix(options, database, workers):
                        row = await pair.measure(
                            case, database, workers, connections,
                            seconds=options.seconds, rounds=options.rounds,
                        )  # fmt: skip
                        rows.append(row)
                        if not options.json:
                            print(_line(row), flush=True)
    return rows


def _matrix(options: argparse.Namespace, database: str, workers: int) -> Iterator[tuple[Case, int]]:
    for case in CASES:
        if options.cases and case.name not in options.cases:
            continue
        if workers > 1 and case.name == "read, older era":
            continue  # a session lives in one process
        if case.spoilt and database != "sqlite":
            continue
        for connections in options.connections:
            if case.name == "approval" and connections > MOST_PENDING:
                continue  # of one person's requests no more may wait
            yield case, connections


HEAD: Final = (
    "| call | database | workers | connections | ratio | of cpu time | calls/s | floor/s | p50 ms"
    " | p99 ms | failed |\n|" + " --- |" * 11
)


def _line(row: Row) -> str:
    return (
        f"| {row.case} | {row.database} | {row.workers} | {row.connections} | {row.ratio:.3f}"
        f" | {row.cpu:.2f} | {row.rate:.0f} | {row.floor_rate:.0f} | {row.p50:.1f} | {row.p99:.1f}"
        f" | {row.failed} |"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit 0; 1 if any call failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.calls", description=__doc__)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each slice")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--connections", type=int, nargs="+", default=CONNECTIONS)
    parser.add_argument("--workers", type=int, nargs="+", default=(1, 2))
    parser.add_argument("--cases", nargs="+", choices=[case.name for case in CASES])
    parser.add_argument("--postgres", help="URL of an empty database, to measure there too")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    if not options.json:
        print(HEAD)
    rows = uvloop.run(measured(options))
    if options.json:
        print(json.dumps([asdict(row) for row in rows], indent=1))
    return 1 if any(row.failed for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
