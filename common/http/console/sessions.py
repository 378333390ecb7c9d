"""Signed in, for a quarter of an hour: a secret in a cookie, and a row that only it opens.

The row's id is the secret's hash and the access token in it is sealed with a key made of the
secret, so the database alone neither opens a session nor gives a token away. As long as the token
lives it is verified again on every request. Who was sent away since, or may decide no longer, is
out at once, also when the token has died by itself: a session lasts longer than a token.
"""

import hashlib
import hmac
import secrets
from base64 import b64decode, b64encode
from datetime import datetime, timedelta
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import delete, select
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import Response

from common.auth import (
    Caller,
    CredentialsMalformed,
    CredentialsRefused,
    IssuerUnavailable,
    revocation,
)
from common.auth.revocation import Named
from common.auth.server.users import held
from common.call import Actor
from common.errors import RateLimited
from common.http.console import counting
from common.http.console.desk import SCOPE, Desk, Problem, Visitor, credentials
from common.tables.console import ConsoleSession

LASTS: Final = revocation.OUTLIVED
REQUESTS_A_MINUTE: Final = 240
SECRET_LENGTH: Final = 43
_SWEEP: Final = 200


def cookie_name(desk: Desk) -> str:
    """With the prefix that binds a cookie to exactly this host, where browsers know it."""
    return "__Host-shop-console" if desk.secure else "shop-console"


async def begin(desk: Desk, token: str, caller: Caller) -> str:
    """Open a session for a verified token. Returns the cookie's secret."""
    secret, now = secrets.token_urlsafe(32), desk.now()

    def work(session: Session) -> None:
        old = select(ConsoleSession.id).where(ConsoleSession.expires_at <= now).limit(_SWEEP)
        gone = list(session.scalars(old))
        session.execute(delete(ConsoleSession).where(ConsoleSession.id.in_(gone)))
        counting.sweep(session, now)
        session.add(
            ConsoleSession(
                id=_id(secret), caller=_kept(caller), token=_sealed(secret, token), opened_at=now,
                expires_at=now + LASTS, minute=now, hits=0,
            )
        )  # fmt: skip

    await desk.shop.database.run("*", work)
    return secret


async def visitor(desk: Desk, request: Request) -> Visitor | None:
    """Who is signed in, if anybody. Raises RateLimited; Problem while the issuer is unreachable."""
    secret = secret_of(desk, request)
    if not secret:
        return None
    now = desk.now()
    row = await desk.shop.database.run("*", lambda s: _touched(s, desk, _id(secret), now))
    if row is None:
        return None
    caller: Caller | None = _caller(row.caller, desk.audience)
    if caller is not None and caller.expires_at > now.timestamp():
        caller = await _verified(desk, _opened(secret, row.token))
    if caller is None:
        await end(desk, secret)
        return None
    return Visitor(row.id, _csrf(secret), caller, row.opened_at, row.expires_at)


async def end(desk: Desk, secret: str) -> str:
    """Close the session. Returns the token it held, to be revoked."""

    def work(session: Session) -> ConsoleSession | None:
        row = session.get(ConsoleSession, _id(secret))
        if row is not None:
            session.delete(row)
        return row

    row = await desk.shop.database.run("*", work)
    return "" if row is None else _opened(secret, row.token)


def secret_of(desk: Desk, request: Request) -> str:
    """The cookie's secret, if it has the right form."""
    secret = request.cookies.get(cookie_name(desk), "")
    return secret if len(secret) == SECRET_LENGTH and secret.isascii() else ""


def put(desk: Desk, response: Response, secret: str) -> None:
    """Hand the secret to the browser; an empty one takes it back."""
    response.set_cookie(
        cookie_name(desk), secret, max_age=int(LASTS.total_seconds()) if secret else 0,
        path="/", secure=desk.secure, httponly=True, samesite="lax",
    )  # fmt: skip


async def _verified(desk: Desk, token: str) -> Caller | None:
    try:
        return await desk.authenticator.authenticate(credentials(token), audience=desk.audience)
    except (CredentialsRefused, CredentialsMalformed):
        return None
    except IssuerUnavailable as error:
        raise Problem(
            503, "Nobody can be checked now", "The authorization server does not answer.",
            next="Try again in a moment.", headers={"Retry-After": str(error.retry_after_s)},
        ) from None  # fmt: skip


def _touched(session: Session, desk: Desk, id: str, now: datetime) -> ConsoleSession | None:
    row = session.get(ConsoleSession, id)
    if row is None or row.expires_at <= now:
        return None
    if _sent_away(session, desk, row, now):
        session.delete(row)
        return None
    if now - row.minute >= timedelta(minutes=1):
        row.minute, row.hits = now, 0
    if row.hits >= REQUESTS_A_MINUTE:
        raise RateLimited("Too many requests.", details={"retry_after_s": 60})
    row.hits += 1
    return row


def _sent_away(session: Session, desk: Desk, row: ConsoleSession, now: datetime) -> bool:
    actor, http = _caller(row.caller, desk.audience).actor, desk.shop.settings.http
    # A worker that let somebody in may not have heard yet what was denied just before.
    begun = row.opened_at.timestamp() - revocation.SEEN_AFTER_S
    token = Named(actor.issuer, actor.credential, actor.subject, actor.client, begun)
    if revocation.denied(session, now, token):
        return True
    ours = http.auth_server and actor.issuer == http.public_url
    return ours and SCOPE not in (held(session, actor.subject) or ())


def _id(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _key(secret: str, purpose: str) -> bytes:
    return hmac.digest(secret.encode(), purpose.encode(), "sha256")


def _csrf(secret: str) -> str:
    return _key(secret, "forms").hex()


def _sealed(secret: str, token: str) -> str:
    nonce = secrets.token_bytes(12)
    return b64encode(
        nonce + AESGCM(_key(secret, "token")).encrypt(nonce, token.encode(), None)
    ).decode()


def _opened(secret: str, sealed: str) -> str:
    try:
        raw = b64decode(sealed)
        return AESGCM(_key(secret, "token")).decrypt(raw[:12], raw[12:], None).decode()
    except (InvalidTag, ValueError):
        return ""


def _kept(caller: Caller) -> dict[str, Any]:
    actor = caller.actor
    return {
        "iss": actor.issuer, "sub": actor.subject, "client": actor.client,
        "scopes": sorted(actor.scopes), "machine": actor.machine, "method": caller.method,
        "expires_at": caller.expires_at, "auth_time": caller.auth_time,
        "credential": actor.credential,
    }  # fmt: skip


def _caller(kept: dict[str, Any], audience: str) -> Caller:
    actor = Actor(
        kept["iss"], kept["sub"], kept["client"], frozenset(kept["scopes"]), kept["machine"],
        credential=kept.get("credential", ""),
    )  # fmt: skip
    return Caller(
        actor, kept["method"], audience, expires_at=kept["expires_at"],
        auth_time=kept["auth_time"],
    )  # fmt: skip
