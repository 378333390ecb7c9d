"""API keys: for programs that cannot sign in. A key acts for the person it belongs to.

Kept as the SHA-256 of the key. That is enough because a key is 256 random bits: a slow hash
protects secrets that can be guessed, and these cannot; it would only slow down every request. A
key holds scopes, never the right to decide, and at any moment no more than its owner does.
"""

import hashlib
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import ColumnElement, func, or_, select, update
from sqlalchemy.orm import Session

from common.auth.server.resources import narrowed
from common.auth.server.users import USUAL_SCOPES, checked_scopes, held
from common.call import Actor
from common.errors import InvalidParameters, NotFound, RuleViolation
from common.ids import new_id
from common.paging import page
from common.scopes import Scope, granted
from common.settings import HttpSettings
from common.tables.auth_server import ApiKey

PREFIX: Final = "mcp_"
MOST_KEYS: Final = 100
LONGEST_DAYS: Final = 3_650
USED_EVERY: Final = timedelta(minutes=1)
SHOPPER_SCOPES: Final = tuple(
    s for s in USUAL_SCOPES if s.endswith(":read") or s == Scope.STOREFRONT_WRITE
)
"""What a key holds when nothing is said: it reads, and fills a cart."""
_LIST: Final = "List the keys there are: GET /api-keys, or shop api-key list at a terminal."
_FORM: Final = re.compile(r"mcp_[0-9a-f]{64}")


@dataclass(frozen=True)
class Owner:
    """Whose keys: ``issuer`` vouches for ``subject``."""

    issuer: str
    subject: str


@dataclass(frozen=True)
class Verified:
    """A key that is good now."""

    key_id: str
    actor: Actor
    expires_at: datetime | None
    stale: bool
    """Whether the time of its last use should be written."""


def create(
    session: Session,
    http: HttpSettings,
    owner: Owner,
    name: str,
    held: Iterable[str],
    now: datetime,
    *,
    scopes: Iterable[str] | None = None,
    days: int | None = None,
) -> tuple[ApiKey, str]:
    """A new key and its secret, told this once. ``held`` is what the owner may hold.

    Raises InvalidParameters, RuleViolation.
    """
    name = name.strip()
    if not 0 < len(name) <= 200 or not name.isprintable():
        raise InvalidParameters.field("name", name, "1 to 200 visible characters")
    if days is not None and not 1 <= days <= LONGEST_DAYS:
        raise InvalidParameters.field("expiresInDays", days, f"1 to {LONGEST_DAYS}")
    asked = checked_scopes(SHOPPER_SCOPES if scopes is None else scopes)
    if Scope.APPROVALS_DECIDE in asked:
        raise InvalidParameters.field("scopes", Scope.APPROVALS_DECIDE, "a key never decides")
    given = narrowed(asked, held)
    if scopes is not None and set(given) != set(asked):
        beyond = ", ".join(sorted(set(asked) - set(given)))
        raise InvalidParameters.field("scopes", beyond, "scopes you hold yourself")
    mine = select(func.count()).select_from(ApiKey).where(*_of(owner))
    if (session.scalar(mine) or 0) >= MOST_KEYS:
        raise RuleViolation(f"You have {MOST_KEYS} keys.", next="Delete one that is not used.")
    secret = PREFIX + secrets.token_hex(32)
    key = ApiKey(
        id=new_id("api_key"), issuer=owner.issuer, subject=owner.subject, name=name,
        sha256=_sha256(secret), hint=secret[-4:], scopes=given, created_at=now,
        expires_at=now + timedelta(days=days) if days else None, last_used_at=None,
        revoked_at=None,
    )  # fmt: skip
    session.add(key)
    session.flush()
    return key, secret


def listed(
    session: Session, owner: Owner | None, cursor: str | None, limit: int
) -> tuple[list[ApiKey], str | None]:
    """The owner's keys, or everybody's, oldest first, and the cursor of the next page."""
    query = select(ApiKey).where(*(_of(owner) if owner else ()))
    return page(session, query, [ApiKey.id], cursor, limit)


def revoke(session: Session, owner: Owner | None, id: str, now: datetime) -> ApiKey:
    """Of no use from now on; it stays in the list. Again: nothing happens. Raises NotFound."""
    key = _get(session, owner, id)
    key.revoked_at = key.revoked_at or now
    return key


def remove(session: Session, owner: Owner | None, id: str) -> ApiKey:
    """Gone from the list too; the audit record stays. Raises NotFound."""
    key = _get(session, owner, id)
    session.delete(key)
    session.flush()
    return key


def verify(session: Session, http: HttpSettings, secret: str, now: datetime) -> Verified | None:
    """Who a key acts for; None for a key that is not good. Reads only."""
    if not _FORM.fullmatch(secret):
        return None
    key = session.scalar(select(ApiKey).where(ApiKey.sha256 == _sha256(secret)))
    if key is None or key.revoked_at is not None:
        return None
    if key.expires_at is not None and key.expires_at <= now:
        return None
    held = _held_now(session, http, key)
    if held is None:
        return None
    scopes = frozenset(narrowed(granted(frozenset(key.scopes)), held)) - {Scope.APPROVALS_DECIDE}
    actor = Actor(
        key.issuer, key.subject, f"key:{key.id}", frozenset(map(str, scopes)), credential=key.id
    )  # fmt: skip
    stale = key.last_used_at is None or key.last_used_at + USED_EVERY <= now
    return Verified(key.id, actor, key.expires_at, stale)


def used(session: Session, id: str, now: datetime) -> None:
    """Write the time of the last use, at most once in USED_EVERY."""
    old = or_(ApiKey.last_used_at.is_(None), ApiKey.last_used_at <= now - USED_EVERY)
    session.execute(update(ApiKey).where(ApiKey.id == id, old).values(last_used_at=now))


def _held_now(session: Session, http: HttpSettings, key: ApiKey) -> list[str] | None:
    """What the owner may hold now; None for one who may do nothing any more."""
    if key.issuer != http.public_url:
        return key.scopes  # another server's user: the key itself is the limit
    return held(session, key.subject)


def _get(session: Session, owner: Owner | None, id: str) -> ApiKey:
    key = session.get(ApiKey, id, with_for_update=True) if id.isprintable() else None
    if key is None or (owner is not None and (key.issuer, key.subject) != _pair(owner)):
        raise NotFound(f"There is no key {id[:80]}.", next=_LIST)
    return key


def _of(owner: Owner) -> tuple[ColumnElement[bool], ...]:
    return (ApiKey.issuer == owner.issuer, ApiKey.subject == owner.subject)


def _pair(owner: Owner) -> tuple[str, str]:
    return (owner.issuer, owner.subject)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
