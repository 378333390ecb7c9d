"""Access tokens: JWTs of RFC 9068, for one audience (RFC 8707), for a few minutes."""

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from sqlalchemy.orm import Session

from common.auth.server.keys import ACCESS_SECONDS, ALGORITHMS, public_jwks, signing_key
from common.scopes import Scope
from common.settings import Settings

PASSWORD: Final = "urn:shop:acr:password"
TWO_FACTORS: Final = "urn:shop:acr:two-factors"
LONGEST: Final = 8_192
PERSONAL: Final = frozenset({str(Scope.STOREFRONT_ACCOUNT), str(Scope.STOREFRONT_BUY)})


@dataclass(frozen=True)
class Access:
    """One access token as it was issued."""

    token: str
    jti: str
    expires_at: datetime


def acr(methods: Sequence[str]) -> str:
    """The authentication context of a sign-in by these methods."""
    return TWO_FACTORS if "otp" in methods else PASSWORD


def issue(
    session: Session,
    settings: Settings,
    now: datetime,
    *,
    subject: str,
    client_id: str,
    resource: str,
    scopes: Sequence[str],
    auth_time: datetime | None = None,
    methods: Sequence[str] = (),
    email: str | None = None,
    seconds: int = ACCESS_SECONDS,
) -> Access:
    """A signed token. ``email`` is told where the shopper's own affairs are allowed, and nowhere
    else. Raises KeyUnusable, ValueError."""
    algorithm, key = signing_key(session, settings, now)
    jti, expires_at = secrets.token_urlsafe(16), now + timedelta(seconds=seconds)
    claims: dict[str, Any] = {
        "iss": settings.http.public_url, "sub": subject, "aud": resource, "client_id": client_id,
        "iat": int(now.timestamp()), "exp": int(expires_at.timestamp()), "jti": jti,
        "scope": " ".join(scopes),
    }  # fmt: skip
    if auth_time is not None:
        claims |= {"auth_time": int(auth_time.timestamp()), "acr": acr(methods), "amr": [*methods]}
    if email and tells_email(scopes):
        claims |= {"email": email, "email_verified": True}
    header = {"alg": algorithm, "typ": "at+jwt", "kid": key.kid}
    return Access(jwt.encode(header, claims, key, algorithms=[algorithm]), jti, expires_at)


def tells_email(scopes: Iterable[str]) -> bool:
    """Whether a token of these scopes tells its person's address: the consent page says so too."""
    return not PERSONAL.isdisjoint(scopes)


def read(session: Session, settings: Settings, now: datetime, token: str) -> dict[str, Any] | None:
    """The claims of a token of ours, alive or not; None for anything else. Whether it was revoked
    is the caller's question."""
    if len(token) > LONGEST:
        return None
    try:
        keys = KeySet.import_key_set(public_jwks(session, now))  # type: ignore[arg-type]
        decoded = jwt.decode(token, keys, algorithms=list(ALGORITHMS))
    except (JoseError, ValueError):
        return None
    claims = dict(decoded.claims)
    ours = claims.get("iss") == settings.http.public_url
    return claims if ours and decoded.header.get("typ") == "at+jwt" else None
