"""Signing keys: in the database, the private half sealed with a key in a file.

In the database, so that every process and host signs with the new key the moment it is rotated;
sealed, so that a copy of the database signs nothing. A retired key stays published until every
token it signed has died, and a little longer.
"""

import json
from datetime import datetime, timedelta
from typing import Any, Final

from joserfc.jwk import ECKey, Key, RSAKey
from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from common.auth.server.sealing import seal, unseal
from common.errors import InvalidParameters
from common.settings import Settings
from common.shop import Shop
from common.storage.locks import one_at_a_time
from common.tables.auth_server import AuthKey

ALGORITHMS: Final = ("ES256", "RS256")
ACCESS_SECONDS: Final = 300
OVERLAP: Final = timedelta(seconds=2 * ACCESS_SECONDS + 300)
MOST_PUBLISHED: Final = 8


def signing_key(session: Session, settings: Settings, now: datetime) -> tuple[str, Key]:
    """``(algorithm, key)`` to sign with; made on first use. Raises KeyUnusable, ValueError."""
    found = _current(session)
    if found is None:
        one_at_a_time(session, "auth-signing-keys")
        found = _current(session) or _made(session, settings, ALGORITHMS[0], now)
    private = json.loads(unseal(settings, found.sealed))
    return found.algorithm, _KINDS[found.algorithm].import_key(private)


def rotate(
    session: Session, settings: Settings, now: datetime, algorithm: str = ALGORITHMS[0]
) -> AuthKey:
    """Sign with a new key from now on. Raises InvalidParameters."""
    if algorithm not in ALGORITHMS:
        raise InvalidParameters.field("algorithm", algorithm, f"one of {', '.join(ALGORITHMS)}")
    one_at_a_time(session, "auth-signing-keys")
    if len(published(session, now)) >= MOST_PUBLISHED:
        raise InvalidParameters("Too many keys are still published. Wait until the oldest died.")
    for old in session.scalars(select(AuthKey).where(AuthKey.retired_at.is_(None))):
        old.retired_at, old.published_until = now, now + OVERLAP
    return _made(session, settings, algorithm, now)


def public_jwks(session: Session, now: datetime) -> dict[str, Any]:
    """The JWKS document: every key that may have signed a token still alive."""
    return {"keys": [key.public for key in published(session, now)]}


async def local_jwks(shop: Shop) -> dict[str, Any]:
    """``public_jwks`` for a verifier in the same process. Makes the first key."""
    now = shop.guard.clock()
    read = await shop.database.run("*", lambda s: public_jwks(s, now), write=False)
    if read["keys"] or shop.settings.read_only:
        return read

    def made(session: Session) -> dict[str, Any]:
        signing_key(session, shop.settings, now)
        return public_jwks(session, now)

    return await shop.database.run("*", made)


def _current(session: Session) -> AuthKey | None:
    query = select(AuthKey).where(AuthKey.retired_at.is_(None)).order_by(AuthKey.created_at.desc())
    return session.scalar(query.limit(1))


def published(session: Session, now: datetime) -> list[AuthKey]:
    """The newest first."""
    query = (
        select(AuthKey)
        .where(or_(AuthKey.published_until.is_(None), AuthKey.published_until > now))
        .order_by(AuthKey.retired_at.is_(None).desc(), AuthKey.created_at.desc(), AuthKey.id)
    )
    return list(session.scalars(query.limit(MOST_PUBLISHED)))


def _made(session: Session, settings: Settings, algorithm: str, now: datetime) -> AuthKey:
    key = _GENERATED[algorithm]()
    kid = key.thumbprint()
    public = {**key.as_dict(private=False), "kid": kid, "alg": algorithm, "use": "sig"}
    private = {**key.as_dict(private=True), "kid": kid}
    row = AuthKey(
        id=kid, algorithm=algorithm, public=public,
        sealed=seal(settings, json.dumps(private).encode()), created_at=now,
        retired_at=None, published_until=None,
    )  # fmt: skip
    session.add(row)
    session.flush()
    return row


_KINDS: Final[dict[str, Any]] = {"ES256": ECKey, "RS256": RSAKey}
_GENERATED: Final[dict[str, Any]] = {
    "ES256": lambda: ECKey.generate_key("P-256"),
    "RS256": lambda: RSAKey.generate_key(2048),
}
