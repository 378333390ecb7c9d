"""A named lock that ends with the transaction."""

from typing import Final

from sqlalchemy import Integer, String, bindparam, column, text
from sqlalchemy.orm import Session

from common.storage import hot
from common.storage.dialects import dialect_of

_WAIT: Final = (
    text("select 1 from pg_advisory_xact_lock(hashtextextended(:name, 0))")
    .bindparams(bindparam("name", type_=String()))
    .columns(column("held", Integer()))
)


def one_at_a_time(session: Session, name: str) -> None:
    """Wait until no other open transaction holds ``name``.

    On SQLite the write transaction is lock enough. Two names may share a lock (64-bit hash):
    that costs a wait, never correctness.
    """
    if dialect_of(session) == "postgresql":
        hot.rows(session, _WAIT, name=name)
