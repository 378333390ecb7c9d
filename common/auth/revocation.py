"""Taking tokens back. A signed token cannot be unsaid, so it is remembered as refused until it
would have expired by itself.

The rules are for the authorization server, the ``shop`` command and pages; who calls them records
it. Every worker sees a denial after ``SEEN_AFTER_S`` at the latest.
"""

import asyncio
import hashlib
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from common.auth import IssuerUnavailable
from common.clock import Clock
from common.storage.database import Database
from common.tables.auth_tokens import AuthDenial

log = logging.getLogger(__name__)

LONGEST_LIFE: Final = timedelta(hours=24)
LEEWAY: Final = timedelta(seconds=30)
OUTLIVED: Final = timedelta(minutes=15)
"""By a session that was begun with a token."""
RENEWED_AFTER_S: Final = 1.0
SEEN_AFTER_S: Final = 2.0
LONGEST_WAIT_S: Final = 15.0
MOST_KNOWN: Final = 20_000
LARGEST_SWEEP: Final = 1_000

Name = tuple[str, str, str]
"""Kind, issuer, value."""


@dataclass(frozen=True, slots=True)
class Named:
    """What a token can be denied by."""

    issuer: str
    token: str
    subject: str
    client: str
    issued_at: float

    def names(self) -> tuple[Name, Name, Name]:
        return (
            ("token", self.issuer, self.token),
            ("subject", self.issuer, self.subject),
            ("client", self.issuer, self.client),
        )


# -- rules ------------------------------------------------------------------------------------


def deny_token(
    session: Session, now: datetime, issuer: str, jti: str, *, reason: str, by: str,
    expires_at: datetime | None = None,
) -> AuthDenial:  # fmt: skip
    """Refuse one token from now on, by its ``jti``, and what was begun with it."""
    until = (expires_at or now + LONGEST_LIFE) + 2 * LEEWAY + OUTLIVED
    return _deny(session, now, ("token", issuer, jti), now, until, reason, by)


def deny_subject(
    session: Session, now: datetime, issuer: str, subject: str, *, reason: str, by: str,
    before: datetime | None = None,
) -> AuthDenial:  # fmt: skip
    """Refuse every token of a subject issued until now, by a clock that may be ahead of ours (or
    until ``before``)."""
    until, before = now + LONGEST_LIFE + 2 * LEEWAY, before or now + LEEWAY
    return _deny(session, now, ("subject", issuer, subject), before, until, reason, by)


def deny_client(
    session: Session, now: datetime, issuer: str, client: str, *, reason: str, by: str,
    before: datetime | None = None,
) -> AuthDenial:  # fmt: skip
    """Refuse every token of a client issued until now, by a clock that may be ahead of ours (or
    until ``before``)."""
    until, before = now + LONGEST_LIFE + 2 * LEEWAY, before or now + LEEWAY
    return _deny(session, now, ("client", issuer, client), before, until, reason, by)


def denied(session: Session, now: datetime, token: Named) -> bool:
    """Whether it was taken back, as this transaction sees it."""
    found = in_force(session, now, [denial_id(name) for name in token.names()])
    return _denies(found, token)


def in_force(session: Session, now: datetime, ids: Sequence[str] = ()) -> dict[Name, float]:
    """The denials in force, or those of these ids: what each names, and the second up to which
    tokens are denied. At most one more than ``MOST_KNOWN``."""
    query = select(AuthDenial.kind, AuthDenial.issuer, AuthDenial.value, AuthDenial.before).where(
        AuthDenial.until >= now
    )
    if ids:
        query = query.where(AuthDenial.id.in_(ids))
    return {
        (kind, issuer, value): math.inf if kind == "token" else before.timestamp()
        for kind, issuer, value, before in session.execute(query.limit(MOST_KNOWN + 1))
    }


def sweep(session: Session, now: datetime, limit: int = LARGEST_SWEEP) -> int:
    """Forget denials of tokens that have all expired. Returns how many."""
    old = select(AuthDenial.id).where(AuthDenial.until < now).limit(limit)
    gone = session.scalars(
        delete(AuthDenial).where(AuthDenial.id.in_(old)).returning(AuthDenial.id)
        .execution_options(synchronize_session=False)
    )  # fmt: skip
    return len(gone.all())


def denial_id(name: Name) -> str:
    """The id of the row that denies this."""
    return hashlib.sha256("\0".join(name).encode("utf-8", "replace")).hexdigest()


def _denies(known: Mapping[Name, float], token: Named) -> bool:
    return any(known.get(name, -math.inf) >= token.issued_at for name in token.names())


def _deny(
    session: Session,
    now: datetime,
    name: Name,
    before: datetime,
    until: datetime,
    reason: str,
    by: str,
) -> AuthDenial:
    row = session.get(AuthDenial, denial_id(name), with_for_update=True)
    if row is None:
        kind, issuer, value = name
        row = AuthDenial(
            id=denial_id(name), kind=kind, issuer=issuer, value=value, before=before, until=until,
            reason=reason[:200], denied_by=by[:300], at=now,
        )  # fmt: skip
        session.add(row)
    else:
        row.before, row.until = max(row.before, before), max(row.until, until)
    session.flush()
    return row


# -- what a verifier knows of it --------------------------------------------------------------


class RevocationsUnknown(IssuerUnavailable):
    """503: the database does not say what was taken back, so nothing is accepted."""

    def __init__(self) -> None:
        super().__init__("this shop", 2)


class Denials:
    """The denials in force, read again every second while anybody asks.

    One read serves everybody who waits. What counts is when it began: a caller is answered from
    a read that began less than ``SEEN_AFTER_S`` before the caller came, however long it took, so
    that a busy process is slow and refuses nobody.
    """

    def __init__(
        self, database: Database, clock: Clock, *, tick: Callable[[], float] = time.monotonic
    ) -> None:
        self._database, self._clock, self._tick = database, clock, tick
        self._known: dict[Name, float] = {}
        self._all = True
        self._read_at = -math.inf
        self._flight: asyncio.Task[bool] | None = None

    def quiet(self) -> bool:
        """Whether nothing at all is denied, as far as is known freshly enough to answer."""
        return self._all and not self._known and self._tick() - self._read_at < RENEWED_AFTER_S

    async def denied(self, token: Named) -> bool:
        """Whether it was taken back. Raises RevocationsUnknown."""
        came = self._tick()
        if came - self._read_at >= RENEWED_AFTER_S:
            flight = self._renewing()
            if came - self._read_at >= SEEN_AFTER_S:
                try:
                    async with asyncio.timeout(LONGEST_WAIT_S):
                        await self._seen(came, flight)
                except TimeoutError:
                    raise RevocationsUnknown from None
        known = self._known if self._all else await self._asked(token.names())
        return _denies(known, token)

    async def _seen(self, came: float, flight: asyncio.Task[bool]) -> None:
        """Wait for a read that began late enough. Raises RevocationsUnknown."""
        while await asyncio.shield(flight):
            if came - self._read_at < SEEN_AFTER_S:
                return
            flight = self._renewing()  # that one had begun long before
        raise RevocationsUnknown

    def _renewing(self) -> asyncio.Task[bool]:
        """The read that is under way, or a new one; whether it could be read."""
        if self._flight is None:
            self._flight = asyncio.create_task(self._renew())
        return self._flight

    async def _renew(self) -> bool:
        started = self._tick()
        try:
            rows = await self._rows()
        except Exception as error:
            log.warning("what was taken back cannot be read: %s", error)
            return False
        finally:
            self._flight = None
        self._all = len(rows) <= MOST_KNOWN
        self._known = rows if self._all else {}
        self._read_at = started
        return True

    async def _rows(self, *ids: str) -> dict[Name, float]:
        now = self._clock()
        return await self._database.run("*", lambda s: in_force(s, now, ids), write=False)

    async def _asked(self, names: tuple[Name, ...]) -> dict[Name, float]:
        """More are denied than are kept in memory: ask for these."""
        try:
            return await self._rows(*map(denial_id, names))
        except Exception:
            raise RevocationsUnknown from None
