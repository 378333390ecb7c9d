"""Mapped rows by the short way: one row by its id, one new row, as ``hot`` runs statements.

What a session has, it keeps; what is loaded or added here is in it as if it had done so itself.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any, Final, TypeVar, cast

from sqlalchemy import JSON, Executable, Table, bindparam, insert, inspect, null, select
from sqlalchemy.orm import Mapper, Session, make_transient_to_detached

from common.changes import row_touched
from common.storage import hot
from common.tables import Base, Record

B = TypeVar("B", bound=Base)


def load(session: Session, kind: type[B], id: str) -> B | None:
    """``session.get`` for a table whose key is one column."""
    known = _known(kind)
    found: B | None = session.identity_map.get((kind, (id,), None))
    if found is not None and not inspect(found).expired:
        return found
    if found is not None or hot.DRIVER not in session.info:
        return session.get(kind, id)
    row = hot.first(session, known.by_id, id=id)
    if row is None:
        return None
    made: B = known.mapper.class_manager.new_instance()
    made.__dict__.update(zip(known.attributes, row, strict=True))
    return _kept(session, made)


def add(session: Session, row: B) -> B:
    """``session.add`` and ``session.flush``."""
    alone = not (session.new or session.dirty or session.deleted)
    if not alone or session.in_nested_transaction() or hot.DRIVER not in session.info:
        session.add(row)  # the unit of work knows what comes first, and what a savepoint takes back
        session.flush()
        return row
    known = _known(type(row))
    if isinstance(row, Record):
        stamp(session, row)
    given = row.__dict__
    for name, fill in known.defaults:
        if name not in given:
            setattr(row, name, fill(None) if callable(fill) else fill)
    values = [given.get(name, known.missing.get(name)) for name in known.attributes]
    hot.change(session, known.new, **dict(zip(known.columns, values, strict=True)))
    for name in known.missing:
        given.setdefault(name, None)
    return _kept(session, row)


def stamp(session: Session, row: Record, *, changed: bool = False) -> None:
    """Every business row written names the audit record of the call that wrote it."""
    audit_id = session.info.get("audit_id") or ""
    if not audit_id:
        raise AssertionError(f"{row.__tablename__} written outside an audited call")
    if changed:
        row.version += 1
    row.audit_id = audit_id
    row_touched(session, row)


def _kept(session: Session, row: B) -> B:
    make_transient_to_detached(row)
    session.add(row)
    return row


@dataclass(frozen=True, slots=True)
class _Known:
    """What is said once of a mapped class. ``missing``: what stands for no value."""

    mapper: Mapper[Any]
    attributes: tuple[str, ...]
    columns: tuple[str, ...]
    defaults: tuple[tuple[str, Any], ...]
    missing: dict[str, Any]
    by_id: Executable
    new: Executable


@cache
def _known(kind: type[Base]) -> _Known:
    mapper = inspect(kind)
    table = cast(Table, kind.__table__)
    pairs = [(attribute.key, attribute.columns[0]) for attribute in mapper.column_attrs]
    columns = [column for _, column in pairs]
    (key,) = table.primary_key
    return _Known(
        mapper=mapper,
        attributes=tuple(name for name, _ in pairs),
        columns=tuple(column.key for column in columns),
        defaults=tuple((n, c.default.arg) for n, c in pairs if c.default is not None),
        missing={
            n: null() if isinstance(c.type, JSON) else None for n, c in pairs if c.default is None
        },
        by_id=select(*columns).where(key == bindparam("id")),
        new=insert(table),
    )


__all__: Final = ["add", "load", "stamp"]
