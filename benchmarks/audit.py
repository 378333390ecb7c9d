"""What the audit record costs a write: paired in one run, on a durable PostgreSQL of its own.

``python -m benchmarks.audit [--seconds 6] [--writers 16] [--rounds 3]``: rounds of each kind take
turns on the same tables; figures are medians of the rounds, and only the ratios mean anything.
"""

import argparse
import asyncio
import statistics
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from common.audit import chain
from common.audit.verify import verify
from common.storage import schema
from common.storage.database import Database, new_audit_id

KINDS: Final = ("none", "one chain", "64 chains")
_INSERT: Final = text("INSERT INTO policy_use (audit_id, tool, subject, measure, amount, at)"
                      " VALUES (:id, 'bench', 'ana', 'units', 1, :at)")  # fmt: skip
_STORE: Final = text(
    "INSERT INTO stored_result (id, server, tool, args_digest, result, at, audit_id)"
    " VALUES (:id, 'inventory', 'bench', '', '{}', :at, :id)"
)
RECORD: Final[dict[str, Any]] = {
    "v": 1, "server": "inventory", "version": "0", "tool": "bench", "outcome": "ok", "ms": 3,
    "actor": {"iss": "local", "sub": "ana@example.com", "client": "bench"},
    "args": {"sku": "SKU-1", "quantity": 3},
    "effects": [{"op": "update", "type": "variant", "id": "SKU-1", "units": 3}],
}  # fmt: skip


def written(kind: str) -> Callable[[Session], None]:
    """A write of two rows, with or without its record."""
    audit_id, now = new_audit_id(), datetime.now(UTC)

    def work(session: Session) -> None:
        session.execute(_INSERT, {"id": audit_id, "at": now})
        session.execute(_STORE, {"id": audit_id, "at": now})
        if kind == "one chain":
            session.info["audit_chain"] = (session.get_transaction(), 0)
        if kind != "none":
            chain.append(
                session, audit_id=audit_id, now=now, record=RECORD, payload={"note": "for Ana"}
            )

    return work


async def load(database: Database, kind: str, seconds: float, writers: int) -> tuple[float, float]:
    """Writes a second, and the 99th percentile of their latency in ms."""
    took: list[float] = []
    until = time.perf_counter() + seconds

    async def one() -> None:
        while (start := time.perf_counter()) < until:
            await database.run("*", written(kind))
            took.append(time.perf_counter() - start)

    await asyncio.gather(*(one() for _ in range(writers)))
    return len(took) / seconds, statistics.quantiles(took, n=100)[98] * 1_000


async def measure(urls: Sequence[str], seconds: float, writers: int, rounds: int) -> dict[str, Any]:
    """Medians by kind, the ratios, and whether every chain still verifies. What has no record is
    written to a database of its own."""
    bare, database = (Database(url, pool=writers) for url in urls)
    found: dict[str, list[tuple[float, float]]] = {kind: [] for kind in KINDS}
    for kind in KINDS:
        await load(database if kind != "none" else bare, kind, 0.5, writers)
    for _ in range(rounds):
        for kind in KINDS:
            place = database if kind != "none" else bare
            found[kind].append(await load(place, kind, seconds, writers))
    report = await database.run("*", lambda s: verify(s, None, None), write=False)
    await database.close()
    await bare.close()
    middle = {
        kind: tuple(statistics.median(one[place] for one in measured) for place in (0, 1))
        for kind, measured in found.items()
    }
    plain = middle["none"]
    return {
        "writes_a_second": {kind: round(one[0]) for kind, one in middle.items()},
        "p99_ms": {kind: round(one[1], 1) for kind, one in middle.items()},
        "cost": {kind: round(1 - one[0] / plain[0], 3) for kind, one in middle.items()},
        "p99_ratio": {kind: round(one[1] / plain[1], 2) for kind, one in middle.items()},
        "verified": report.exit_code != 1,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    from tests.support.postgres import temporary_server  # the server is a part for tests

    parser = argparse.ArgumentParser(prog="python -m benchmarks.audit", description=__doc__)
    parser.add_argument("--seconds", type=float, default=6)
    parser.add_argument("--writers", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args(arguments)
    with temporary_server(durable=True) as server:
        urls = [server.create_database() for _ in range(2)]
        for url in urls:
            schema.upgrade_now(url)
        found = asyncio.run(measure(urls, chosen.seconds, chosen.writers, chosen.rounds))
    print("| kind | writes/s | p99 ms | cost | p99 ratio |\n| --- | --- | --- | --- | --- |")
    for kind in KINDS:
        shown = [
            str(found[name][kind]) for name in ("writes_a_second", "p99_ms", "cost", "p99_ratio")
        ]
        print(f"| {' | '.join([kind, *shown])} |")
    print(f"\nEvery chain verifies: {'yes' if found['verified'] else 'no'}.")
    return 0 if found["verified"] else 1


if __name__ == "__main__":
    raise SystemExit(main())
