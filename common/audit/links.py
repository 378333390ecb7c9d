"""Do the rows of a chain hold together? Pure: rows and heads in, the first bad record out."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple

from common.audit.chain import START, Head, link, moment
from common.canonical import canonical

SEARCHED: Final = 256  # how far from its place a moved record is looked for
_SAFE: Final = 2**53 - 1
_HEX = re.compile(r"[0-9a-f]{64}")


class Row(NamedTuple):
    """A row of ``audit_record`` as the driver gives it: nothing parsed, nothing trusted."""

    id: Any
    chain: Any
    seq: Any
    at: Any
    record: Any
    prev: Any
    h: Any


@dataclass(frozen=True)
class Bad:
    """The first thing that does not hold. ``kind``: changed, missing, inserted, reordered,
    duplicated, head, cut, rewritten, anchor, payload, row, effect."""

    kind: str
    chain: int | None
    seq: int | None
    event_id: str | None
    why: str


class Links:
    """Rows by chain and sequence number, one at a time; then ``end``.

    ``exact``: JSON and time are text that must have the one form they are written in (SQLite).
    After a row that holds, ``said`` is its record.
    """

    def __init__(self, heads: Iterable[Head], *, exact: bool) -> None:
        self.said: dict[str, Any] = {}
        self.checked = 0
        self._open = {head.chain: head for head in heads}
        self._exact = exact
        self._chain: int | None = None
        self._before: Row | None = None

    def feed(self, row: Row) -> Bad | None:
        """What is wrong with this row or the one before it."""
        if type(row.chain) is not int or type(row.seq) is not int:
            return _bad("changed", row, "its chain or its number is not a number")
        if row.chain != self._chain:
            if (bad := self._finish()) is not None:
                return bad
            self._chain, self._before = row.chain, None
        said = parsed(row.record, exact=self._exact)
        bad = self._judged(row, said)
        if bad is None and said is not None:
            self.said, self._before = said, row
            self.checked += 1
        return bad

    def end(self) -> Bad | None:
        """What is wrong with the last chain's end, or with a chain that has no row."""
        if (bad := self._finish()) is not None:
            return bad
        for head in sorted(self._open.values(), key=lambda head: str(head.chain)):
            if head.seq != 0:
                return Bad("missing", head.chain, 1, None, _gone(1, head.seq))
        return None

    def _judged(self, row: Row, said: dict[str, Any] | None) -> Bad | None:
        before = self._before
        number, prev = (before.seq, before.h) if before else (0, START)
        why = fault(row, said)
        if row.seq <= number:
            if before is not None and row.h == before.h:
                return _bad("duplicated", row, f"it stands twice in chain {row.chain}")
            return self._displaced(row, said) or _bad(
                "inserted", row, "there are two records of this number, and this is the second"
            )
        if why:
            return self._displaced(row, said) or _bad("changed", row, why)
        if row.seq > number + 1:
            missing = _gone(number + 1, row.seq - 1)
            return Bad("missing", row.chain, number + 1, None, missing)
        if row.prev != prev:
            if before is None:
                return _bad("changed", row, "it does not begin a chain")
            return _bad("changed", before, "the record after it was linked to another hash")
        return None

    def _displaced(self, row: Row, said: dict[str, Any] | None) -> Bad | None:
        """The row is whole, but it was written under another number."""
        place = None if said is None else _place(row, said)
        if place is None or place == row.seq:
            return None
        before = self._before
        if before is not None and before.prev == row.prev and place == before.seq:
            return _bad("inserted", before, "it was put before a record that had its number")
        return _bad("reordered", row, f"it was written as number {place} of its chain")

    def _finish(self) -> Bad | None:
        if self._chain is None:
            return None
        head, last = self._open.pop(self._chain, None), self._before
        number = last.seq if last else 0
        event = str(last.id) if last else None
        if head is None:
            why = "the chain has no head, or has gone on after another chain"
            return Bad("head", self._chain, number, event, why)
        if type(head.seq) is int and head.seq > number:
            why = _gone(number + 1, head.seq)
            return Bad("missing", self._chain, number + 1, None, why)
        if head.seq != number:
            why = f"the head says that number {head.seq!r} is the last, and there are later ones"
            return Bad("head", self._chain, number, event, why)
        if last is not None and head.h != last.h:
            why = "the head names another hash than its last record's"
            return Bad("head", self._chain, number, event, why)
        return None


def first_bad(rows: Iterable[Row], heads: Iterable[Head], *, exact: bool) -> Bad | None:
    """The first bad record of rows sorted by chain and number."""
    links = Links(heads, exact=exact)
    for row in rows:
        if (bad := links.feed(row)) is not None:
            return bad
    return links.end()


def fault(row: Row, said: Mapping[str, Any] | None) -> str:
    """Why a row does not hold in itself, or nothing. Every column is compared with the record or
    is part of the hash."""
    if said is None:
        return "its record is not JSON in the form it is written in"
    if type(row.id) is not str or row.id != said.get("event_id"):
        return "its id is not the one in the record"
    if _moment(row.at) != said.get("ts"):
        return "its time is not the one in the record"
    for name, value in (("prev", row.prev), ("h", row.h)):
        if type(value) is not str or not _HEX.fullmatch(value):
            return f"its {name} is not a hash"
    try:
        holds = link(row.chain, row.seq, row.prev, dict(said)) == row.h
    except (ValueError, OverflowError):
        holds = False
    return "" if holds else "its hash does not hold"


def parsed(raw: Any, *, exact: bool) -> dict[str, Any] | None:
    """A JSON column's object, or None if it is not what we write: an object without fractions and
    without integers beyond 2^53, as text in the canonical form, or with spaces as it once was."""
    if isinstance(raw, dict):
        return raw  # a driver that parses JSON by itself
    if not isinstance(raw, str):
        return None
    try:
        value = _DECODER.decode(raw)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict) or (exact and not _as_written(value, raw)):
        return None
    return value


def _as_written(value: dict[str, Any], raw: str) -> bool:
    if json.dumps(value) == raw:
        return True
    try:
        return canonical(value) == raw.encode()
    except ValueError:
        return False


def _place(row: Row, said: dict[str, Any]) -> int | None:
    """The number under which this record, with this predecessor, has this hash."""
    if not (type(row.prev) is str and _HEX.fullmatch(row.prev)):
        return None
    try:
        chain, content = row.chain.to_bytes(4, "big"), canonical(said)
    except (ValueError, OverflowError):
        return None
    low = max(1, min(row.seq, 2**62) - SEARCHED)
    for place in range(low, low + 2 * SEARCHED):
        fixed = b"\0" + chain + place.to_bytes(8, "big") + bytes.fromhex(row.prev)
        if hashlib.sha256(fixed + content).hexdigest() == row.h:
            return place
    return None


def _moment(at: Any) -> str:
    """The column's time in the record's form. SQLite keeps text: ``2026-11-02 09:00:00.000000``."""
    if isinstance(at, datetime):
        return moment(at) if at.tzinfo is not None else ""
    if isinstance(at, str) and len(at) == 26 and at[10] == " ":
        return f"{at[:10]}T{at[11:]}Z"
    return ""


def _gone(first: int, last: int) -> str:
    return f"record {first} is gone" if first == last else f"records {first} to {last} are gone"


def _bad(kind: str, row: Row, why: str) -> Bad:
    number = row.seq if type(row.seq) is int else None
    chain = row.chain if type(row.chain) is int else None
    return Bad(kind, chain, number, ascii(row.id)[1:-1][:80], why)


def _whole(text: str) -> int:
    number = int(text) if len(text) < 20 else _SAFE + 1
    if abs(number) > _SAFE:
        raise ValueError("no such integer in a record")
    return number


def _never(text: str) -> Any:
    raise ValueError(f"no such number in a record: {text[:20]}")


_DECODER: Final = json.JSONDecoder(parse_float=_never, parse_int=_whole, parse_constant=_never)
