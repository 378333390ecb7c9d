"""Is the audit log whole? Every record, every anchor, every business row; the first fault by name.

What a chain shows by itself: a changed, removed, inserted, moved or doubled record, and an end that
is not what its head says. What only the anchors show: a cut tail, an older database put back, and a
history computed anew by whoever owns the database.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy import ColumnElement, String, func, select, tuple_, type_coerce
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from common.audit.anchors import Anchor, AnchorsBroken, read
from common.audit.chain import Head, commitment, heads
from common.audit.joins import Effects, row_without_record
from common.audit.links import Bad, Links, Row, parsed
from common.storage.dialects import dialect_of
from common.tables.spine import AuditPayload, AuditRecord

PAGE: Final = 500


@dataclass
class Report:
    """``checked`` records in ``chains`` chains against ``anchors`` anchors. ``unanchored`` records
    are newer than the last anchor: normally those of the last minute; more means that anchoring
    stopped or that the file's newest lines were cut off. ``erased`` records have lost their payload
    to erasure. ``begun_anew`` is the record of who began the anchors file anew, if anybody did.
    ``unchecked`` says what could not be looked at."""

    checked: int = 0
    chains: int = 0
    anchors: int = 0
    unanchored: int = 0
    erased: int = 0
    last_anchor: str = ""
    begun_anew: str = ""
    first_bad: Bad | None = None
    unchecked: str = ""
    stopped: bool = False

    @property
    def ok(self) -> bool:
        return self.exit_code == 0

    @property
    def exit_code(self) -> int:
        """0 sound, 1 broken, 2 not everything could be checked."""
        return 1 if self.first_bad is not None else 2 if self.unchecked else 0


def verify(
    session: Session,
    anchors_file: Path | None,
    public_key: Ed25519PublicKey | None,
    *,
    known_anchor: str = "",
    seconds: float | None = None,
) -> Report:
    """Check everything, as the first thing in a reading transaction, in bounded memory.

    ``known_anchor``, a ``last_anchor`` of an earlier report or a logged digest, must be among the
    anchors: this is how a shortened anchors file is found out. After ``seconds`` it stops, and the
    report says how far it came.
    """
    report = Report()
    stop_at = None if seconds is None else time.monotonic() + seconds
    # The file's length comes first: an anchor written later may tell of records we do not see.
    size = _measured(anchors_file, public_key, report)
    try:
        with _snapshot(session):
            effects = Effects(session)
            report.first_bad = _records(session, report, effects, stop_at)
            if report.first_bad is None and anchors_file and public_key and not report.unchecked:
                report.first_bad = _anchored(
                    session, report, read(anchors_file, public_key, size=size), known_anchor
                )
            if report.first_bad is None and not report.stopped:
                report.first_bad = row_without_record(session) or effects.first_missing()
    except DBAPIError as error:
        report.unchecked = f"the database cannot be read: {type(error.orig).__name__}"
    return report


def _measured(file: Path | None, key: Ed25519PublicKey | None, report: Report) -> int:
    if key is None:
        report.unchecked = (
            "there is no public key to check the anchors with; `shop audit anchor` makes one"
        )
    elif file is None:
        report.unchecked = "there is no anchors file"
    else:
        try:
            with file.open("rb") as handle:
                return handle.seek(0, 2)
        except OSError as error:
            report.unchecked = f"the anchors file cannot be read: {error.strerror}"
    return 0


@contextmanager
def _snapshot(session: Session) -> Iterator[None]:
    """One moment of the database for every query, and text however damaged it is."""
    connection = session.connection()
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        yield
        return
    raw: Any = connection.connection.driver_connection
    usual = raw.text_factory
    raw.text_factory = lambda stored: stored.decode("utf-8", "surrogateescape")
    try:
        yield
    finally:
        raw.text_factory = usual


def _records(
    session: Session, report: Report, effects: Effects, stop_at: float | None
) -> Bad | None:
    """Every record against its chain, its payload and its effects."""
    exact = dialect_of(session) == "sqlite"
    links = Links(heads(session), exact=exact)
    chains: set[int] = set()
    query = (
        select(
            *_as_stored(AuditRecord, Row._fields), *_as_stored(AuditPayload, ("salt", "payload"))
        )
        .outerjoin(AuditPayload, AuditPayload.audit_id == AuditRecord.id)
        .order_by(AuditRecord.chain, AuditRecord.seq, AuditRecord.id)
    )
    for *columns, salt, payload in session.execute(query, execution_options={"yield_per": PAGE}):
        if stop_at is not None and time.monotonic() > stop_at:
            report.stopped = True
            report.unchecked = f"there was time for {links.checked} records only"
            return None
        row = Row(*columns)
        bad = links.feed(row) or _payload(row, links.said, salt, parsed(payload, exact=exact))
        if bad is not None:
            return bad
        report.checked = links.checked
        report.erased += salt is None and "args_commit" in links.said
        chains.add(row.chain)
        report.chains = len(chains)
        effects.note(row.chain, row.seq, row.id, links.said)
    report.unanchored = links.checked
    return links.end()


def _as_stored(table: Any, names: tuple[str, ...]) -> list[ColumnElement[Any]]:
    return [
        getattr(table, name) if name == "salt" else type_coerce(getattr(table, name), String())
        for name in names
    ]


def _payload(
    row: Row, said: dict[str, Any], salt: Any, payload: dict[str, Any] | None
) -> Bad | None:
    """A payload that is there must be the one the record commits to."""
    if salt is None:
        return None
    holds = isinstance(salt, bytes) and payload is not None
    if holds and commitment(salt, payload) == said.get("args_commit"):
        return None
    return Bad(
        "payload", row.chain, row.seq, row.id, "its payload is not the one the record commits to"
    )


def _anchored(
    session: Session, report: Report, anchors: Iterator[Anchor], known: str
) -> Bad | None:
    """Every anchored head against the record of its number."""
    good: dict[int, Head] = {}
    seen, last = not known, None
    try:
        for anchor in anchors:
            wanted = [head for head in anchor.heads if head.seq and good.get(head.chain) != head]
            stored = _stored(session, wanted)
            for head in wanted:
                if stored.get((head.chain, head.seq)) != head.h:
                    since = good[head.chain].seq if head.chain in good else 0
                    return _unlike(session, anchor, head, since)
                good[head.chain] = head
            report.anchors += 1
            seen, last = seen or anchor.digest == known, anchor
            if anchor.after is not None:
                seen = seen or anchor.after.digest == known
                report.begun_anew = anchor.after.record
                if session.get(AuditRecord, anchor.after.record) is None:
                    why = "the anchors were begun anew, and the record of it is not there"
                    return Bad("anchor", None, None, anchor.after.record, why)
    except AnchorsBroken as broken:
        return Bad("anchor", None, None, None, f"the anchors file does not hold: {broken}")
    except OSError as error:
        report.unchecked = f"the anchors file cannot be read: {error.strerror}"
        return None
    if last is not None:
        report.unanchored, report.last_anchor = report.checked - last.count, last.digest
    elif report.checked:
        report.unchecked = "the anchors file holds no anchor"
    if not seen:
        why = "the known anchor is not in the anchors file: lines were cut off, or it was replaced"
        return Bad("anchor", None, None, None, why)
    return None


def _stored(session: Session, points: list[Head]) -> dict[tuple[int, int], str]:
    if not points:
        return {}
    record = AuditRecord
    query = select(record.chain, record.seq, record.h).where(
        tuple_(record.chain, record.seq).in_([(head.chain, head.seq) for head in points])
    )
    return {(chain, seq): h for chain, seq, h in session.execute(query)}


def _unlike(session: Session, anchor: Anchor, head: Head, since: int) -> Bad:
    """The chain is sound in itself, and is not the chain that was anchored."""
    record = AuditRecord
    newest = session.scalar(select(func.max(record.seq)).where(record.chain == head.chain)) or 0
    when = f"anchor {anchor.n} of {anchor.at:%Y-%m-%dT%H:%M:%SZ}"
    if newest < head.seq:
        why = (
            f"the chain ends at {newest}, and {when} saw {head.seq} records:"
            " the tail was cut off, or an older database was put back"
        )
        return Bad("cut", head.chain, newest + 1, None, why)
    first = session.scalar(
        select(record.id).where(record.chain == head.chain, record.seq == since + 1)
    )
    why = (
        f"records {since + 1} to {head.seq} are not those that {when} vouches for:"
        " history was rewritten, or an older database was put back and went on"
    )
    return Bad("rewritten", head.chain, since + 1, first, why)
