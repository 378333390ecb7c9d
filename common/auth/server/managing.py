"""Clients, as somebody at the terminal adds and revokes them."""

import hashlib
import secrets
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from common.auth import revocation
from common.auth.server import families
from common.auth.server.clients import CODE, CREDENTIALS, REFRESH
from common.auth.server.registering import Refused, check_redirect, checked_jwks
from common.auth.server.users import checked_scopes
from common.errors import Conflict, InvalidParameters, NotFound, RuleViolation
from common.ids import new_id
from common.scopes import Scope
from common.settings import Settings
from common.tables.auth_server import AuthClient, AuthGrant, AuthInvitation

MOST_CLIENTS: Final = 10_000
MOST_GRANTS: Final = 10_000


def add_client(
    session: Session,
    name: str,
    by: str,
    now: datetime,
    *,
    redirect_uris: Sequence[str] = (),
    scopes: Iterable[str] = (),
    jwks: dict[str, Any] | None = None,
    public: bool = False,
    introspects: bool = False,
) -> tuple[AuthClient, str]:
    """A client and its secret, told once; "" where it has none.

    With ``redirect_uris`` it acts for people who sign in, without on its own account and then
    holds ``scopes``. Raises InvalidParameters, Conflict.
    """
    held = checked_scopes(scopes)
    grants = [CODE, REFRESH] if redirect_uris else []
    if not public and not redirect_uris:
        grants = [CREDENTIALS] if held else []
    if Scope.APPROVALS_DECIDE in held and CREDENTIALS in grants:
        raise InvalidParameters.field("scopes", "approvals:decide", "no machine decides")
    if not grants and not introspects:
        raise InvalidParameters(
            "A client needs redirect URIs, or scopes of its own.",
            next="Name --redirect for a program people sign in with, --scopes for a machine.",
        )
    try:
        for uri in redirect_uris:
            check_redirect(uri)
        keys = checked_jwks(jwks) if jwks is not None else None
    except Refused as refused:
        raise InvalidParameters(refused.description) from None
    if not 0 < len(name) <= 200 or not name.isprintable():
        raise InvalidParameters.field("name", name, "1 to 200 visible characters")
    if (session.scalar(select(func.count()).select_from(AuthClient)) or 0) >= MOST_CLIENTS:
        raise RuleViolation(f"There are {MOST_CLIENTS} clients already.")
    secret = "" if public or keys else secrets.token_urlsafe(32)
    client = AuthClient(
        id=new_id("client"), name=name,
        method="none" if public else "private_key_jwt" if keys else "client_secret",
        secret_sha256=_sha256(secret) if secret else None, jwks=keys,
        redirect_uris=[*redirect_uris], grant_types=grants, scopes=held, introspects=introspects,
        registered_by=by, created_at=now, revoked_at=None,
    )  # fmt: skip
    session.add(client)
    session.flush()
    return client, secret


def all_clients(session: Session, limit: int = 1_000) -> list[AuthClient]:
    """Clients in order of their making, revoked ones too, at most ``limit``."""
    return list(session.scalars(select(AuthClient).order_by(AuthClient.id).limit(limit)))


def revoke_client(session: Session, settings: Settings, id: str, now: datetime) -> AuthClient:
    """No token any more, and what people allowed it ends. Raises NotFound, Conflict."""
    client = session.get(AuthClient, id)
    if client is None:
        raise NotFound(f"There is no client {id[:80]}.", next="See: shop client list")
    if client.revoked_at is not None:
        raise Conflict("The client was revoked already.")
    client.revoked_at = now
    issuer = settings.http.public_url
    revocation.deny_client(
        session, now, issuer, client.id, reason="client revoked", by=settings.operator,
        before=now,
    )  # fmt: skip
    living = select(AuthGrant).where(AuthGrant.client_id == id, AuthGrant.revoked_at.is_(None))
    for grant in session.scalars(living.limit(MOST_GRANTS)):
        families.revoke(session, settings, grant, now, "client_revoked")
    session.flush()
    return client


def invite(
    session: Session, scopes: Iterable[str], by: str, now: datetime, *, uses: int, hours: int
) -> str:
    """An initial access token for registration. Raises InvalidParameters."""
    if not 1 <= uses <= 1_000 or not 1 <= hours <= 24 * 90:
        raise InvalidParameters("1 to 1000 uses, for 1 hour to 90 days.")
    held = checked_scopes(scopes)
    if Scope.APPROVALS_DECIDE in held:
        raise InvalidParameters.field("scopes", "approvals:decide", "no registered client decides")
    token = secrets.token_urlsafe(32)
    row = AuthInvitation(
        id=_sha256(token), uses_left=uses, scopes=held, made_by=by,
        expires_at=now + timedelta(hours=hours),
    )  # fmt: skip
    session.add(row)
    session.flush()
    return token


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
