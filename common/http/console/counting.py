"""How often something may be tried, counted in the database so that every worker counts alike."""

from datetime import datetime, timedelta
from math import ceil
from typing import Final

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from common.errors import RateLimited
from common.storage.locks import one_at_a_time
from common.tables.console import ConsoleCount

SWEEP: Final = 200


def take(session: Session, key: str, most: int, within: timedelta, now: datetime) -> None:
    """Count one more try before it is made. Raises RateLimited when there were ``most`` already."""
    key = key[:200]
    one_at_a_time(session, f"console:{key}")
    row = session.get(ConsoleCount, key, populate_existing=True)
    if row is None:
        session.add(ConsoleCount(id=key, hits=1, until=now + within))
        return
    if row.until <= now:
        row.hits, row.until = 0, now + within
    if row.hits >= most:
        seconds = max(1, ceil((row.until - now).total_seconds()))
        raise RateLimited(
            "Too many tries.",
            next=f"Wait {max(1, ceil(seconds / 60))} min, then try again.",
            details={"retry_after_s": seconds},
        )
    row.hits += 1


def forget(session: Session, key: str) -> None:
    """Begin anew: it went well."""
    session.execute(delete(ConsoleCount).where(ConsoleCount.id == key[:200]))


def sweep(session: Session, now: datetime) -> None:
    """Drop what no longer counts."""
    old = select(ConsoleCount.id).where(ConsoleCount.until <= now).limit(SWEEP)
    session.execute(delete(ConsoleCount).where(ConsoleCount.id.in_(list(session.scalars(old)))))
