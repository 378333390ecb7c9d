"""Keyset pages: as quick at the end as at the start, and no counts."""

import base64
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any, Final, TypeVar

from sqlalchemy import ColumnElement, Select, bindparam, literal, literal_column, tuple_
from sqlalchemy.orm import InstrumentedAttribute, Session

from common.audit.redact import storable
from common.errors import InvalidParameters

T = TypeVar("T")
LARGEST: Final = 2**63 - 1


def page(
    session: Session,
    query: Select[T],
    keys: Sequence[InstrumentedAttribute[Any]],
    cursor: str | None,
    limit: int,
    *,
    descending: bool = False,
) -> tuple[list[T], str | None]:
    """``limit`` rows after ``cursor`` in the order of ``keys``, and the cursor of the next page.

    ``keys`` must be columns of the selected class and together unique. Raises InvalidParameters
    for a cursor that is not one of ours.
    """
    there: dict[str, Any] = {}
    if cursor:
        there = {f"after_{n}": value for n, value in enumerate(_values(cursor, keys))}
        query = query.where(_after(tuple(keys), descending))
    order = [key.desc() if descending else key.asc() for key in keys]
    rows: list[T] = list(session.scalars(query.order_by(*order).limit(limit + 1), there))
    if len(rows) <= limit:
        return rows, None
    rows = rows[:limit]
    return rows, encoded([getattr(rows[-1], key.key) for key in keys])


def before(cursor: str, keys: Sequence[InstrumentedAttribute[Any]]) -> ColumnElement[bool]:
    """What comes after the cursor where the latest comes first, for a query that ``page`` does not
    make. Raises InvalidParameters for a cursor that is not one of ours."""
    values = zip(keys, _values(cursor, keys), strict=True)
    return tuple_(*keys) < tuple_(*(literal(value, key.type) for key, value in values))


def plain(column: InstrumentedAttribute[Any]) -> ColumnElement[Any]:
    """A text column's value as an expression that no index fits, where another one is to lead."""
    return column.concat(literal_column("''"))


def encoded(values: Sequence[Any]) -> str:
    """A cursor: opaque to callers, not secret, checked when it comes back."""
    plain = [value.isoformat() if isinstance(value, datetime) else value for value in values]
    text = json.dumps(plain, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(text).decode().rstrip("=")


def decoded(cursor: str, length: int) -> list[Any]:
    """The plain values in a cursor. Raises InvalidParameters for a forged one."""
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        values = json.loads(text)
    except (ValueError, UnicodeDecodeError, RecursionError):
        values = None
    sound = isinstance(values, list) and len(values) == length
    if not sound or not all(map(_askable, values)):
        raise InvalidParameters.field("cursor", cursor, "a cursor from an earlier page")
    return list(values)


def moment(text: object) -> datetime | None:
    """A time with its zone, in UTC; None for anything else."""
    try:
        found = datetime.fromisoformat(text)  # type: ignore[arg-type]
        return found.astimezone(UTC) if found.tzinfo else None
    except (TypeError, ValueError, OverflowError):
        return None


def _askable(value: object) -> bool:
    """Whether every database takes it as a value."""
    if isinstance(value, str):
        return storable(value) == value
    return type(value) is int and -LARGEST <= value <= LARGEST


def _values(cursor: str, keys: Sequence[InstrumentedAttribute[Any]]) -> list[Any]:
    values = decoded(cursor, len(keys))
    found: list[Any] = []
    for key, value in zip(keys, values, strict=True):
        kind = key.type.python_type
        read = moment(value) if kind is datetime else value
        if not isinstance(read, kind):
            raise InvalidParameters.field("cursor", cursor, "a cursor from an earlier page")
        found.append(read)
    return found


@cache  # made anew for each page it took longer than the rest of the statement
def _after(keys: tuple[InstrumentedAttribute[Any], ...], descending: bool) -> Any:
    """What lies after the values of the parameters ``after_0``, ``after_1`` and so on."""
    # As one comparison of rows an index is entered at the very place.
    there = tuple_(*(bindparam(f"after_{n}", type_=key.type) for n, key in enumerate(keys)))
    return tuple_(*keys) < there if descending else tuple_(*keys) > there
