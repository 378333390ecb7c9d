"""A carrier in a file of its own: it outlives our processes, as a carrier would.

It charges what the contract says. A destination without a city is undeliverable. ``faults`` make
the first answer of a kind go missing: ``lost`` before anything happened, ``done`` after it had;
with ``price`` it takes so many percent of what the contract says.
A parcel on a manifest is scanned by a timetable as the clock goes on; scans are told out of order
and one of them twice, as carriers do. ``scan`` adds what else happens to a parcel.
"""

import hashlib
import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from common.canonical import digest
from common.carriers.numbers import s10
from common.carriers.port import (
    MOST_EVENTS,
    MOST_NUMBERS,
    Bought,
    CarrierUnavailable,
    OperationMismatch,
    Outcome,
    Parcel,
    Rate,
    Scan,
    State,
)
from common.clock import Clock, stamp, utc_now

HEAVIEST_G: Final = 31_500
TIMETABLE: Final = (
    (timedelta(), "picked_up", "pick-up"),
    (timedelta(hours=6), "in_transit", "sorting centre"),
    (timedelta(hours=22), "out_for_delivery", "delivery base"),
    (timedelta(hours=26), "delivered", "front door"),
)
_NO_ANSWER: Final = Outcome(State.UNKNOWN, code="timeout", message="The carrier did not answer.")
_SCHEMA: Final = """
create table if not exists operation (
    op_id text primary key, digest text not null, outcome text not null);
create table if not exists dropped (kind text primary key);
create table if not exists label (
    ref text primary key, serial integer not null unique, number text not null unique,
    state text not null, manifest text);
create table if not exists manifest (ref text primary key, closed_at text not null);
create table if not exists scan (
    id text primary key, number text not null, body text not null);
"""

Effect = Callable[[sqlite3.Connection], Outcome]


class CarrierSimulator:
    """Implements CarrierGateway. Processes and threads may share the file."""

    name: Final = "simulator"

    def __init__(
        self, path: Path, *, clock: Clock = utc_now, faults: Mapping[str, str] | None = None
    ) -> None:
        self._path = path
        self._clock = clock
        self._faults = dict(faults or {})
        self._made = False

    def rates(self, parcels: Sequence[Parcel]) -> list[Rate | None]:
        if self._faults.get("rates"):
            raise CarrierUnavailable("The carrier does not answer.", next="Ask again later.")
        return [
            Rate(p.service, self._price(p), p.currency) if _taken(p) is None else None
            for p in parcels
        ]

    def buy(self, op_id: str, parcel: Parcel) -> Outcome:
        def effect(db: sqlite3.Connection) -> Outcome:
            refusal = _taken(parcel)
            if refusal is not None:
                return refusal
            serial = 1 + (db.execute("select max(serial) from label").fetchone()[0] or 10_000_000)
            number, ref = s10(serial), f"sim_label_{serial}"
            db.execute("insert into label values (?, ?, ?, 'bought', null)", (ref, serial, number))
            return Bought(
                State.DONE, ref, tracking_number=number, cost_minor=self._price(parcel)
            )  # fmt: skip

        return self._perform(op_id, "buy", [parcel.record()], effect)

    def void(self, op_id: str, label_ref: str) -> Outcome:
        def effect(db: sqlite3.Connection) -> Outcome:
            label = db.execute("select * from label where ref = ?", (label_ref,)).fetchone()
            if label is None:
                return _failed("no_such_label", "No such label.")
            if label["state"] == "bought":
                db.execute("update label set state = 'voided' where ref = ?", (label_ref,))
            elif label["state"] != "voided":
                return _failed("in_use", "The parcel was handed over.")
            return Outcome(State.DONE, label_ref)

        return self._perform(op_id, "void", [label_ref], effect)

    def close(self, op_id: str, label_refs: Sequence[str]) -> Outcome:
        def effect(db: sqlite3.Connection) -> Outcome:
            ref = f"sim_manifest_{hashlib.sha256(op_id.encode()).hexdigest()[:16]}"
            db.execute("insert into manifest values (?, ?)", (ref, stamp(self._clock())))
            for label in label_refs:
                changed = db.execute(
                    "update label set state = 'handed_over', manifest = ?"
                    " where ref = ? and state = 'bought'",
                    (ref, label),
                )
                if not changed.rowcount:
                    raise _Refused(_failed("label_not_open", f"{label} is not waiting."))
            return Outcome(State.DONE, ref)

        return self._perform(op_id, "close", [list(label_refs)], effect)

    def collect(self, op_id: str, opens_at: datetime, closes_at: datetime, parcels: int) -> Outcome:
        def effect(db: sqlite3.Connection) -> Outcome:
            if closes_at - opens_at < timedelta(hours=1):
                return _failed("window_too_short", "A pick-up needs a window of an hour.")
            return Outcome(
                State.DONE, f"sim_pickup_{hashlib.sha256(op_id.encode()).hexdigest()[:12]}"
            )

        sent = [stamp(opens_at), stamp(closes_at), parcels]
        return self._perform(op_id, "collect", sent, effect)

    def ask(self, op_id: str) -> Outcome:
        with self._open() as db:
            known = db.execute("select * from operation where op_id = ?", (op_id,)).fetchone()
        return _read(known["outcome"]) if known else Outcome(State.NOT_FOUND)

    def scans(self, tracking_numbers: Sequence[str]) -> list[Scan]:
        if self._faults.get("scans"):
            raise CarrierUnavailable("The carrier does not answer.", next="Ask again later.")
        found: list[Scan] = []
        with self._open() as db:
            for number in list(tracking_numbers)[:MOST_NUMBERS]:
                found += self._timetable(db, number)
                rows = db.execute("select body from scan where number = ? limit 100", (number,))
                found += [_scan(json.loads(row["body"])) for row in rows]
        found = [scan for scan in found if scan.occurred_at <= self._clock()]
        # In an order of its own, and the first of them once more at the end.
        found.sort(key=lambda scan: hashlib.sha256(scan.event_id.encode()).digest())
        return (found + found[:1])[:MOST_EVENTS]

    def scan(self, scan: Scan) -> None:
        """Something happens to a parcel."""
        body = asdict(scan) | {"occurred_at": scan.occurred_at.isoformat()}
        with self._transaction() as db:
            db.execute(
                "insert into scan values (?, ?, ?)",
                (scan.event_id, scan.tracking_number, json.dumps(body)),
            )

    def labels(self) -> dict[str, str]:
        """Every label's state, from the carrier's books."""
        with self._open() as db:
            return {row["ref"]: row["state"] for row in db.execute("select * from label")}

    def _price(self, parcel: Parcel) -> int:
        return -(-parcel.agreed_minor * int(self._faults.get("price", "100")) // 100)

    def _timetable(self, db: sqlite3.Connection, number: str) -> list[Scan]:
        row = db.execute(
            "select closed_at from label join manifest on manifest.ref = label.manifest"
            " where number = ?",
            (number,),
        ).fetchone()
        if row is None:
            return []
        closed = datetime.fromisoformat(row["closed_at"])
        return [
            Scan(
                f"{number}-{status}", number, status, closed + after, place,
                received_by="the receiver" if status == "delivered" else "",
            )
            for after, status, place in TIMETABLE
        ]  # fmt: skip

    def _perform(self, op_id: str, kind: str, sent: list[Any], effect: Effect) -> Outcome:
        fingerprint, fault = digest([kind, *sent]), self._faults.get(kind)
        try:
            with self._transaction() as db:
                known = db.execute("select * from operation where op_id = ?", (op_id,)).fetchone()
                if known is not None:
                    if known["digest"] != fingerprint:
                        raise OperationMismatch(
                            "This operation was sent before with other parameters.",
                            next="Find out which is meant; a new intent needs a new op_id.",
                        )
                    return _read(known["outcome"])
                first = bool(
                    db.execute("insert or ignore into dropped values (?)", (kind,)).rowcount
                )
                if fault == "lost" and first:
                    return _NO_ANSWER
                outcome = effect(db)
                self._remember(db, op_id, fingerprint, outcome)
        except _Refused as refused:
            with self._transaction() as db:
                self._remember(db, op_id, fingerprint, refused.outcome)
            return refused.outcome
        return _NO_ANSWER if fault == "done" and first else outcome

    def _remember(
        self, db: sqlite3.Connection, op_id: str, fingerprint: str, outcome: Outcome
    ) -> None:
        db.execute(
            "insert into operation values (?, ?, ?)",
            (op_id, fingerprint, json.dumps(outcome.record())),
        )

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        db = sqlite3.connect(self._path, timeout=30, isolation_level=None)
        try:
            db.row_factory = sqlite3.Row
            db.execute("pragma synchronous=off")
            if not self._made:  # Not before it is used: most shops have other carriers.
                db.executescript(_SCHEMA)
                self._made = True
            yield db
        finally:
            db.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._open() as db:
            db.execute("begin immediate")
            with db:
                yield db


class _Refused(Exception):
    """Keeps nothing of what was begun, and says why."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.message)
        self.outcome = outcome


def _taken(parcel: Parcel) -> Outcome | None:
    if parcel.weight_g > HEAVIEST_G:
        return _failed("too_heavy", f"At most {HEAVIEST_G} g a parcel.")
    if not str(parcel.ship_to.get("city") or "").strip():
        return _failed("undeliverable", "There is no such address.")
    return None


def _failed(code: str, message: str) -> Outcome:
    return Outcome(State.FAILED, code=code, message=message)


def _read(text: str) -> Outcome:
    record = json.loads(text)
    plain = Outcome.read(record)
    if "tracking_number" not in record:
        return plain
    return Bought(
        plain.state, plain.provider_ref, plain.code, plain.message,
        tracking_number=record["tracking_number"], cost_minor=record["cost_minor"],
    )  # fmt: skip


def _scan(body: dict[str, Any]) -> Scan:
    return Scan(**body | {"occurred_at": datetime.fromisoformat(body["occurred_at"])})
