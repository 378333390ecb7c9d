"""Reads that every call pays for: Core statements made once, at import."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Select
from sqlalchemy.orm import Session


def rows(session: Session, statement: Select[Any], **values: Any) -> Sequence[Any]:
    """The rows of a statement over tables, not mapped classes. What the session holds unwritten
    is written first, as an ORM query would do."""
    if session.new or session.dirty or session.deleted:
        session.flush()
    return session.connection().execute(statement, values).all()


def first(session: Session, statement: Select[Any], **values: Any) -> Any:
    """The first row, or None."""
    found = rows(session, statement, **values)
    return found[0] if found else None
