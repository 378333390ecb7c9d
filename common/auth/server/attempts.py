"""Limits on guessing passwords, shared by all workers.

Counted before the password is looked at, so that a hundred tries at once are a hundred tries.
A name is limited as a whole too: many addresses then buy nothing, and the price is that whoever
keeps guessing keeps that person from signing in for a while. Their sessions go on.
"""

import hashlib
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import delete
from sqlalchemy.orm import Session

from common.errors import RateLimited
from common.storage.locks import one_at_a_time
from common.tables.auth_server import AuthAttempt

WINDOW: Final = timedelta(minutes=15)
MOST: Final = {"pair": 5, "user": 20, "address": 60}


def count(session: Session, subject: str, address: str, now: datetime) -> bool:
    """Count one try; whether it was the last one. Raises RateLimited when there were too many,
    and counts no further."""
    rows = [(_row(session, key, now), MOST[kind]) for kind, key in _keys(subject, address)]
    full = [row for row, most in rows if row.failures >= most]
    if full:
        wait = max(int((row.since + WINDOW - now).total_seconds()) for row in full) + 1
        raise RateLimited(
            "Too many failed sign-ins.", details={"retry_after_s": max(1, wait)},
            next="Wait a quarter of an hour, then try again.",
        )  # fmt: skip
    for row, _ in rows:
        row.failures += 1
    session.flush()
    return any(row.failures >= most for row, most in rows)


def forgive(session: Session, subject: str, address: str) -> None:
    """The try was right: it does not count, nor do the earlier ones of this name from here."""
    for kind, key in _keys(subject, address):
        row = session.get(AuthAttempt, key, with_for_update=True)
        if row is not None:
            row.failures = 0 if kind == "pair" else max(0, row.failures - 1)


def sweep(session: Session, now: datetime) -> None:
    """Forget what is too old to count."""
    session.execute(delete(AuthAttempt).where(AuthAttempt.since < now - 2 * WINDOW))


def _keys(subject: str, address: str) -> list[tuple[str, str]]:
    named = {
        "pair": f"{subject}\0{address}",
        "user": subject,
        "address": address,
    }
    return [
        (kind, hashlib.sha256(f"{kind}\0{text}".encode("utf-8", "replace")).hexdigest())
        for kind, text in sorted(named.items(), key=lambda item: item[0])
    ]


def _row(session: Session, key: str, now: datetime) -> AuthAttempt:
    one_at_a_time(session, f"auth-attempt {key}")  # a row not there yet cannot be locked
    row = session.get(AuthAttempt, key, with_for_update=True)
    if row is None:
        row = AuthAttempt(id=key, failures=0, since=now)
        session.add(row)
        session.flush()
    elif row.since + WINDOW <= now:
        row.failures, row.since = 0, now
    return row
