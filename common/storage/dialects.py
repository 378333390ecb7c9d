"""Which database it is, and what both spell alike with a class for each: INSERT … ON CONFLICT."""

from typing import cast

from sqlalchemy import Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from common.tables import Base


def dialect_of(session: Session) -> str:
    """``sqlite`` or ``postgresql``."""
    return session.get_bind().dialect.name


def upsert(dialect: str, kind: type[Base]) -> postgresql.Insert | sqlite.Insert:
    """An insert into the table that has ``on_conflict_do_nothing`` and ``…_update``."""
    insert = postgresql.insert if dialect == "postgresql" else sqlite.insert
    return insert(cast(Table, kind.__table__))
