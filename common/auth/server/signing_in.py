"""From a name, a password and a code to a user, slowly and with limits."""

import asyncio
import hashlib
import secrets
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import delete
from sqlalchemy.orm import Session

from common.auth.records import effect, note
from common.auth.server import attempts, users
from common.call import Actor
from common.errors import NotAuthenticated, RateLimited
from common.limits import network_of
from common.settings import HttpSettings
from common.shop import Shop
from common.storage.database import Rollback
from common.tables.auth_server import AuthSession, AuthUser

SESSION: Final = timedelta(hours=12)
_HASHING: Final = ThreadPoolExecutor(2, thread_name_prefix="passwords")


@dataclass(frozen=True)
class SignedIn:
    """A person in front of a browser."""

    session_id: str
    user: AuthUser
    methods: tuple[str, ...]
    auth_time: datetime


def person(http: HttpSettings, user: AuthUser, client: str = "browser") -> Actor:
    """The user as records name them."""
    return Actor(http.public_url, user.subject, client, frozenset(user.scopes))


async def check(
    shop: Shop, subject: str, password: str, code: str, address: str, channel: str
) -> tuple[AuthUser, tuple[str, ...]]:
    """The user and how they proved it. One refusal for every reason.

    Raises NotAuthenticated, RateLimited.
    """
    now, name = shop.guard.clock(), users.spelled(subject)[:300].replace("\0", "\ufffd")
    address = network_of(address)
    found = await shop.database.run("*", lambda s: _begun(s, shop, name, address, now, channel))
    if isinstance(found, RateLimited):
        raise found
    kept = found.password if found is not None else users.NOBODY
    loop = asyncio.get_running_loop()
    right = await loop.run_in_executor(_HASHING, users.matches, kept, password)

    def ended(session: Session) -> tuple[AuthUser, tuple[str, ...]] | None:
        user = users.find(session, name)
        if user is None or user.disabled_at is not None or not right or user.password != kept:
            return None
        if user.totp is not None:
            session.refresh(user, with_for_update=True)  # a code counts once, at the same time too
            if not users.totp_matches(shop.settings, user, code, now):
                return None
        attempts.forgive(session, name, address)
        attempts.sweep(session, now)
        methods = ("pwd", "otp") if user.totp is not None else ("pwd",)
        actor = person(shop.settings.http, user, channel)
        note(session, now, actor, "sign_in", effect("sign_in", "auth_user", user.id, by=[*methods]))
        return user, methods

    done = await shop.database.run("*", ended)
    if done is None:
        raise NotAuthenticated(
            "The name, the password or the one-time code is wrong.", next="Try again."
        )
    return done


def start(
    session: Session, user: AuthUser, methods: tuple[str, ...], now: datetime, former: str = ""
) -> str:
    """A new browser session in place of the former one. Returns the cookie's value."""
    if former:
        end(session, former)
    session.execute(delete(AuthSession).where(AuthSession.expires_at < now))
    cookie = secrets.token_urlsafe(32)
    row = AuthSession(
        id=_id(cookie), user_id=user.id, methods=[*methods], auth_time=now,
        expires_at=now + SESSION,
    )  # fmt: skip
    session.add(row)
    session.flush()
    return cookie


def current(session: Session, cookie: str, now: datetime) -> SignedIn | None:
    """Who is signed in with this cookie, if anybody still is."""
    row = session.get(AuthSession, _id(cookie)) if cookie else None
    if row is None or row.expires_at <= now:
        return None
    user = session.get_one(AuthUser, row.user_id)
    if user.disabled_at is not None:
        return None
    return SignedIn(row.id, user, tuple(row.methods), row.auth_time)


def end(session: Session, cookie: str) -> None:
    """Sign the browser out."""
    session.execute(delete(AuthSession).where(AuthSession.id == _id(cookie)))


def _begun(
    session: Session, shop: Shop, name: str, address: str, now: datetime, channel: str
) -> AuthUser | RateLimited | None:
    user = users.find(session, name)
    try:
        last = attempts.count(session, name, address, now)
    except RateLimited as limited:
        raise Rollback(limited) from None
    if last:
        known = user.subject if user is not None else "unknown"
        actor = Actor(shop.settings.http.public_url, known, channel, frozenset())
        note(session, now, actor, "sign_in", outcome="refused", error=RateLimited.code)
    if user is not None and user.disabled_at is None:
        return user
    return None


def _id(cookie: str) -> str:
    return hashlib.sha256(cookie.encode("utf-8", "replace")).hexdigest()
