"""Looking through the audit log: newest first, by keyset, never more than a window at a time."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, String, and_, cast, or_, select
from sqlalchemy.orm import Session, aliased

from common.audit.chain import heads
from common.errors import InvalidParameters
from common.paging import decoded, encoded, moment
from common.tables.spine import AuditRecord

LARGEST_PAGE: Final = 200
WINDOW: Final = 20_000
MOST_ABOUT: Final = 100


@dataclass(frozen=True)
class Filters:
    """What to look for; nothing means everything. ``id`` is a record's, or occurs in one."""

    since: datetime | None = None
    until: datetime | None = None
    server: str = ""
    tool: str = ""
    outcome: str = ""
    actor: str = ""
    id: str = ""

    @property
    def any(self) -> bool:
        return self != Filters()


@dataclass(frozen=True)
class Found:
    """A page. ``back_to`` is set when the search stopped there although there is more to see."""

    records: list[AuditRecord]
    cursor: str | None
    back_to: datetime | None = None


def records(session: Session, filters: Filters, cursor: str | None, limit: int) -> Found:
    """The next records that match, looking through at most WINDOW. Raises InvalidParameters."""
    size = max(1, min(limit, LARGEST_PAGE))
    window = _newest_first(_between(select(AuditRecord), filters, cursor)).limit(WINDOW)
    seen = aliased(AuditRecord, window.subquery())
    query = select(seen).where(*_matching(seen, filters))
    rows = list(session.scalars(query.order_by(seen.at.desc(), seen.id.desc()).limit(size + 1)))
    if len(rows) > size:
        return Found(rows[:size], encoded([rows[size - 1].at, rows[size - 1].id]))
    whole = _newest_first(_between(select(AuditRecord), filters, cursor))
    end = session.scalars(whole.offset(WINDOW - 1).limit(1)).first()
    if end is None:
        return Found(rows, None)
    return Found(rows, encoded([end.at, end.id]), back_to=end.at)


def record(session: Session, id: str) -> AuditRecord | None:
    """One record."""
    return session.get(AuditRecord, id)


def about(
    session: Session, id: str, since: datetime, until: datetime | None = None
) -> list[AuditRecord]:
    """The first hundred records of that time that name an id, in order of time."""
    query = select(AuditRecord).where(AuditRecord.at >= since)
    if until is not None:
        query = query.where(AuditRecord.at <= until)
    window = query.order_by(AuditRecord.at, AuditRecord.id).limit(WINDOW).subquery()
    seen = aliased(AuditRecord, window)
    named = select(seen).where(_names(seen, id)).order_by(seen.at, seen.id)
    return list(session.scalars(named.limit(MOST_ABOUT)))


def length(session: Session) -> int:
    """How many records there are, from the heads of the chains."""
    return sum(head.seq for head in heads(session))


def _between(query: Select[Any], filters: Filters, cursor: str | None) -> Select[Any]:
    if filters.since is not None:
        query = query.where(AuditRecord.at >= filters.since)
    if filters.until is not None:
        query = query.where(AuditRecord.at <= filters.until)
    if cursor:
        at, id = _place(cursor)
        older = or_(AuditRecord.at < at, and_(AuditRecord.at == at, AuditRecord.id < id))
        query = query.where(older)
    return query


def _newest_first(query: Select[Any]) -> Select[Any]:
    return query.order_by(AuditRecord.at.desc(), AuditRecord.id.desc())


def _matching(seen: Any, filters: Filters) -> list[ColumnElement[bool]]:
    said = seen.record
    where: list[ColumnElement[bool]] = []
    for name in ("server", "tool", "outcome"):
        if wanted := getattr(filters, name):
            where.append(said[name].as_string() == wanted)
    if filters.actor:
        where.append(said[("actor", "sub")].as_string() == filters.actor)
    if filters.id:
        where.append(or_(seen.id == filters.id, _names(seen, filters.id)))
    return where


def _names(seen: Any, id: str) -> ColumnElement[bool]:
    text: ColumnElement[bool] = cast(seen.record, String).contains(id, autoescape=True)
    return text


def _place(cursor: str) -> tuple[datetime, str]:
    at, id = decoded(cursor, 2)
    when = moment(at)
    if when is None:
        raise InvalidParameters.field("cursor", cursor, "a cursor from an earlier page")
    return when, str(id)
