"""What a person allowed a client, and every token that came of it: one family, ended as one."""

import hashlib
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from authlib.oauth2.rfc6749 import InvalidGrantError
from sqlalchemy import delete, exists, select
from sqlalchemy.orm import Session

from common.auth import revocation
from common.auth.records import effect, note
from common.auth.server.access import Access
from common.auth.server.resources import narrowed
from common.call import Actor
from common.ids import new_id
from common.settings import Settings
from common.storage.locks import one_at_a_time
from common.tables.auth_server import AuthCode, AuthGrant, AuthToken, AuthUser

REFRESH: Final = timedelta(days=14)
FAMILY: Final = timedelta(days=90)
BATCH: Final = 200


def begin(
    session: Session,
    client_id: str,
    user: AuthUser,
    resource: str,
    scopes: Sequence[str],
    methods: Sequence[str],
    auth_time: datetime,
    now: datetime,
) -> AuthGrant:
    """A new family, when a person has said yes. Makes room by deleting what is long dead."""
    sweep(session, now)
    grant = AuthGrant(
        id=new_id("grant"), client_id=client_id, user_id=user.id, resource=resource,
        scopes=[*scopes], methods=[*methods], auth_time=auth_time, created_at=now,
        expires_at=now + FAMILY, revoked_at=None,
    )  # fmt: skip
    session.add(grant)
    session.flush()
    return grant


def issued(session: Session, grant: AuthGrant, about: dict[str, Any], now: datetime) -> None:
    """Remember an issue: its refresh token by hash, its access token by id."""
    token: Access = about["access"]
    refresh = about.get("refresh_token") or ""
    row = AuthToken(
        id=new_id("token"), grant_id=grant.id, jti=token.jti, access_expires_at=token.expires_at,
        refresh_sha256=_sha256(refresh) if refresh else None,
        expires_at=now + REFRESH if refresh else token.expires_at, used_at=None,
    )  # fmt: skip
    session.add(row)
    session.flush()


def by_refresh_token(session: Session, refresh: str) -> tuple[AuthToken, AuthGrant] | None:
    """The issue and its family, locked."""
    query = select(AuthToken).where(AuthToken.refresh_sha256 == _sha256(refresh))
    found = session.scalar(query)
    if found is None:
        return None
    grant = session.get_one(AuthGrant, found.grant_id, with_for_update=True)
    session.refresh(found)  # as it is now that nobody else can use it
    return found, grant


def alive(session: Session, grant: AuthGrant, now: datetime) -> tuple[AuthUser, list[str]]:
    """The user, and what they may still hold of what they allowed. Raises InvalidGrantError."""
    user = session.get_one(AuthUser, grant.user_id)
    if user.disabled_at is not None or grant.revoked_at is not None:
        raise InvalidGrantError("The grant was revoked.")
    return user, narrowed(grant.scopes, user.scopes)


def revoke(session: Session, settings: Settings, grant: AuthGrant, now: datetime, why: str) -> None:
    """End the family: no refresh any more, and its living access tokens are denied."""
    if grant.revoked_at is not None:
        return
    grant.revoked_at = now
    user = session.get_one(AuthUser, grant.user_id)
    living = select(AuthToken).where(
        AuthToken.grant_id == grant.id, AuthToken.access_expires_at > now
    )
    for token in session.scalars(living):
        deny(session, settings, token.jti, token.access_expires_at, now)
    actor = Actor(settings.http.public_url, user.subject, grant.client_id[:200], frozenset())
    note(session, now, actor, "grant_revoke", effect("revoke", "auth_grant", grant.id, why=why))


def deny(
    session: Session, settings: Settings, jti: str, expires_at: datetime, now: datetime
) -> None:
    """Put one access token on the list of those no longer accepted."""
    issuer = settings.http.public_url
    one_at_a_time(session, f"auth-deny {jti}")
    revocation.deny_token(
        session, now, issuer, jti, reason="revoked", by=issuer, expires_at=expires_at
    )


def deny_claims(
    session: Session, settings: Settings, claims: dict[str, Any], now: datetime
) -> None:
    """``deny`` for a token that was read."""
    expires_at = datetime.fromtimestamp(claims["exp"], tz=now.tzinfo)
    deny(session, settings, claims["jti"], expires_at, now)


def denied(session: Session, settings: Settings, claims: dict[str, Any], now: datetime) -> bool:
    """Whether the token is on that list."""
    return revocation.denied(session, now, revocation.Named(
        settings.http.public_url, claims["jti"], claims["sub"], claims["client_id"], claims["iat"]
    ))  # fmt: skip


def sweep(session: Session, now: datetime) -> None:
    """Delete what died more than a day ago, a batch at a time."""
    past = now - timedelta(days=1)
    for kind in (AuthCode, AuthToken):
        dead = select(kind.id).where(kind.expires_at < past).order_by(kind.id).limit(BATCH)
        session.execute(delete(kind).where(kind.id.in_(list(session.scalars(dead)))))
    left = [
        exists().where(kind.grant_id == AuthGrant.id).correlate(AuthGrant)
        for kind in (AuthCode, AuthToken)
    ]
    gone = select(AuthGrant.id).where(AuthGrant.expires_at < past, *(~kept for kept in left))
    ids = list(session.scalars(gone.order_by(AuthGrant.id).limit(BATCH)))
    session.execute(delete(AuthGrant).where(AuthGrant.id.in_(ids)))


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()
