"""A named lock that ends with the transaction."""

from sqlalchemy import text
from sqlalchemy.orm import Session


def one_at_a_time(session: Session, name: str) -> None:
    """Wait until no other open transaction holds ``name``.

    On SQLite the write transaction is lock enough. Two names may share a lock (64-bit hash):
    that costs a wait, never correctness.
    """
    if session.get_bind().dialect.name == "postgresql":
        query = text("select pg_advisory_xact_lock(hashtextextended(:name, 0))")
        session.execute(query, {"name": name})
