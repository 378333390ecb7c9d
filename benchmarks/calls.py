"""What a call costs, beside the bare SDK doing next to nothing, in one run.

    python -m benchmarks.calls [--seconds 1] [--rounds 3] [--postgres URL] [--json]

Each figure is a ratio: calls a second of ours divided by calls a second of the bare SDK with one
trivial tool (lists beside its list, the older era beside its older era), measured in turns within
seconds of each other, the median over rounds. On the path of ours: token, audience, scope, guard,
rule, database, record; rate limits only in the row that names them, for one caller alone would
meet them. ``of cpu time`` is the same ratio of time on a core, which other work on the machine
disturbs less; PostgreSQL's own processes are not counted in it.
"""

import argparse
import json
import secrets
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final

import uvloop

from benchmarks import stage
from benchmarks.load import MakeRequest, Slice, drive
from benchmarks.requests import Target

CONNECTIONS: Final = (1, 16, 64)
TRANSFER: Final = 101  # units: above what goes alone, below what needs a second person


def _trivial(target: Target) -> MakeRequest:
    made = target.call("add", {"a": 2, "b": 3})
    return lambda n, _: made


def _old_trivial(target: Target) -> MakeRequest:
    return lambda n, _: target.old_call("", "add", {"a": 2, "b": 3}, n)


def _list(target: Target, skus: Sequence[str] = ()) -> MakeRequest:
    made = target.request("tools/list", {})
    return lambda n, _: made


@dataclass(frozen=True)
class Case:
    """One kind of call. ``calls`` is how many of the floor's calls it is compared with."""

    name: str
    make: Callable[[Target, Sequence[str]], MakeRequest]
    callers: int = 1
    accept: bytes = b'"isError":false'
    between: bytes = b""
    calls: int = 1
    spoilt: bool = False  # asks for what breaks the server; only SQLite can hold such a thing
    floor: Callable[[Target], MakeRequest] = _trivial
    connections: Sequence[int] = CONNECTIONS


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
    floor_p50: float
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


def _confirmed(target: Target, skus: Sequence[str]) -> MakeRequest:
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


CASES: Final = (
    Case("read", _read),
    Case("write", _write),
    Case("confirmed write", _confirmed, between=b'"input_required"', calls=2,
         connections=(1, 16)),  # of one person's requests no more than 20 may wait
    Case("list", _list, accept=b'"tools"', floor=_list),
    Case("read, older era", _old_read, floor=_old_trivial),
    Case("mistake, no such item", _unknown, accept=b'_not_found"', connections=(16,)),
    Case("mistake, wrong type", _malformed, accept=b'"invalid_parameters"', connections=(16,)),
    Case("our bug", _read, accept=b'"internal_error"', spoilt=True, connections=(16,)),
)  # fmt: skip
# Enough of them to stay within the limits that are on for them.
CROWD: Final = Case("read, 150 callers, rate limits on", _read, callers=150)


class Pair:
    """The floor and one server of ours, driven in turns."""

    def __init__(self, floor: stage.Running, ours: stage.Stage, skus: Sequence[str]) -> None:
        self.floor, self.ours, self.skus = floor, ours, skus[1:]
        self.spoilt = skus[:1]
        self.target = ours.target("inventory")
        self._asked = 0  # what was asked in one slice is not asked again in the next

    async def measure(
        self, case: Case, database: str, workers: int, connections: int, *,
        seconds: float, rounds: int,
    ) -> Row:  # fmt: skip
        """The median over ``rounds``, after one that warms up."""
        make = self._asked_by(case)
        beneath = case.floor(Target(self.floor.port))
        found: list[tuple[float, float, Slice, Slice]] = []
        for _ in range(rounds + 1):
            below, below_cpu = await self._slice(
                self.floor, self.floor.port, beneath, connections, seconds
            )
            above, above_cpu = await self._slice(
                self.ours.running, self.ours.running.port, make, connections, seconds, case
            )
            if below.failed or not above.latencies:
                sample = (below if below.failed else above).sample
                raise SystemExit(f"{case.name}: no call succeeded: {sample.decode()[:600]}")
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
            floor_p50=round(median(below.percentile(0.5) for _, _, below, _ in kept), 2),
            failed=sum(s.failed for s in slices),
        )  # fmt: skip

    def _asked_by(self, case: Case) -> MakeRequest:
        """The case's requests, each from the next of its callers."""
        skus = self.spoilt if case.spoilt else self.skus
        if case.callers == 1:
            return case.make(self.target, skus)
        people = [f"caller-{n}@example.com" for n in range(case.callers)]
        made = [case.make(self.ours.target("inventory", who), skus) for who in people]
        return lambda n, last: made[n % len(made)](n, last)

    async def reads(self, seconds: float) -> float:
        """A second, at 16 connections."""
        read, running = CASES[0], self.ours.running
        make = read.make(self.target, self.skus)
        return (await self._slice(running, running.port, make, 16, seconds, read))[0].rate

    async def trivial(self, seconds: float) -> float:
        """The floor's calls a second, at 16 connections."""
        make = _trivial(Target(self.floor.port))
        return (await self._slice(self.floor, self.floor.port, make, 16, seconds))[0].rate

    async def _slice(
        self, server: stage.Running, port: int, make: MakeRequest, connections: int,
        seconds: float, case: Case | None = None,
    ) -> tuple[Slice, float]:  # fmt: skip
        before = server.cpu_seconds()
        found = await drive(
            "127.0.0.1", port, make, connections=connections, seconds=seconds, after=self._asked,
            accept=case.accept if case else b'"result"', between=case.between if case else b"",
        )  # fmt: skip
        self._asked = found.last
        return found, (server.cpu_seconds() - before) / max(1, found.answered)


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
                with pair(home, url, workers, skus, SHOP_RATE_LIMITS="off") as both:
                    for case, connections in _matrix(options, database, workers):
                        rows.append(await _row(both, case, database, workers, connections, options))
            if not options.cases or CROWD.name in options.cases:
                with pair(home, url, 1, skus) as both:
                    rows.append(await _row(both, CROWD, database, 1, 16, options))
    return rows


async def _row(
    both: Pair, case: Case, database: str, workers: int, connections: int,
    options: argparse.Namespace,
) -> Row:  # fmt: skip
    row = await both.measure(
        case, database, workers, connections, seconds=options.seconds, rounds=options.rounds
    )
    if not options.json:
        print(_line(row), flush=True)
    return row


@contextmanager
def pair(
    home: Path, url: str, workers: int, skus: Sequence[str], **settings: str
) -> Iterator[Pair]:
    """The floor and the shop in ``home``, each with so many workers."""
    with stage.floor(workers) as floor, stage.shop(
        home, workers=workers, database_url=url, domain="inventory", **settings
    ) as ours:  # fmt: skip
        yield Pair(floor, ours, skus)


async def side_by_side(options: argparse.Namespace) -> None:
    """Reads a second of two workers, times those of one, in turns; the floor's beside them."""
    with tempfile.TemporaryDirectory(prefix="shop-bench-") as folder, ExitStack() as open_:
        home = Path(folder)
        skus = await stage.stocked(home)
        one, two = (
            open_.enter_context(pair(home, "", n, skus, SHOP_RATE_LIMITS="off")) for n in (1, 2)
        )
        found = [await _turn(one, two, options.seconds) for _ in range(options.rounds + 3)][1:]
    print(WORKERS_HEAD)
    for name, ratios in zip(("ours", "the bare SDK"), zip(*found, strict=True), strict=True):
        low, middle, high = min(ratios), median(ratios), max(ratios)
        print(f"| {name} | {middle:.2f} | {low:.2f} | {high:.2f} |", flush=True)


async def _turn(one: Pair, two: Pair, seconds: float) -> tuple[float, float]:
    ours = [await both.reads(seconds) for both in (one, two)]
    floors = [await both.trivial(seconds) for both in (one, two)]
    return ours[1] / ours[0], floors[1] / floors[0]


def _matrix(options: argparse.Namespace, database: str, workers: int) -> Iterator[tuple[Case, int]]:
    for case in CASES:
        if options.cases and case.name not in options.cases:
            continue
        if workers > 1 and case.name == "read, older era":
            continue  # a session lives in one process
        if case.spoilt and database != "sqlite":
            continue
        for connections in options.connections:
            if connections in case.connections:
                yield case, connections


HEAD: Final = (
    "| call | database | workers | connections | ratio | of cpu time | calls/s | floor/s | p50 ms"
    " | p99 ms | floor's p50 | failed |\n|" + " --- |" * 12
)


WORKERS_HEAD: Final = (
    "\n| two workers, times one | reads/s | least | most |\n| --- | --- | --- | --- |"
)


def _line(row: Row) -> str:
    return (
        f"| {row.case} | {row.database} | {row.workers} | {row.connections} | {row.ratio:.3f}"
        f" | {row.cpu:.2f} | {row.rate:.0f} | {row.floor_rate:.0f} | {row.p50:.1f} | {row.p99:.1f}"
        f" | {row.floor_p50:.1f} | {row.failed} |"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit 0; 1 if any call failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.calls", description=__doc__)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each slice")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--connections", type=int, nargs="+", default=CONNECTIONS)
    parser.add_argument("--workers", type=int, nargs="+", default=(1, 2))
    parser.add_argument("--cases", nargs="+", choices=[case.name for case in (*CASES, CROWD)])
    parser.add_argument("--postgres", help="URL of an empty database, to measure there too")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    if not options.json:
        print(HEAD)
    rows = uvloop.run(measured(options))
    if not options.cases and not options.json and {1, 2} <= set(options.workers):
        uvloop.run(side_by_side(options))
    if options.json:
        print(json.dumps([asdict(row) for row in rows], indent=1))
    return 1 if any(row.failed for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
