"""Is this access token good here? Everything about it is checked, in one order, or it is refused.

Form, header, key, signature, claims, revocation. What was verified once is remembered by its
SHA-256, never past its expiry, the freshness of the keys that proved it, or its revocation.
"""

import hashlib
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jws import JWSRegistry

from common.auth import Caller, CredentialsRefused
from common.auth.introspection import ACTIVE_S, Introspector
from common.auth.issuers import Issuer
from common.auth.jwks import ALGORITHMS, LONGEST_KID, Keys
from common.auth.profiles import EMAIL, Identity
from common.auth.revocation import LONGEST_LIFE, Denials, Named
from common.auth.strict import StrictDecoder, Unreadable, base64url, json_object, number, word
from common.call import Actor
from common.clock import Clock

LEEWAY_S: Final = 30.0
LONGEST_TOKEN: Final = 8 * 1024
LONGEST_LIFE_S: Final = LONGEST_LIFE.total_seconds()
LONGEST_ID: Final = 300
"""Of ``issuer|subject``: what a column holds."""
LONGEST_CLIENT: Final = 200
MOST_AUDIENCES: Final = 32
MOST_SCOPES: Final = 64
MOST_REMEMBERED: Final = 4_096
# They change what is verified, or bring a key along.
_NEVER: Final = frozenset({"crit", "b64", "jku", "jwk", "x5u", "x5c", "zip", "enc"})
_SCOPE: Final = re.compile(r"[!#-\[\]-~]{1,200}")

_SAYS: Final = {
    "expired": "The access token has expired.",
    "audience": "The access token is for another resource.",
    "revoked": "The access token was revoked.",
    "inactive": "The access token is not active.",
    "bound": "The access token is bound to a key and cannot be used as a bearer token.",
    "type": "Not an access token of a type that is accepted.",
}


def refused(reason: str) -> CredentialsRefused:
    if reason in _SAYS:
        return CredentialsRefused(reason, _SAYS[reason])
    return CredentialsRefused(reason)


class _Registry(JWSRegistry):
    """The algorithms by name alone: what is allowed was decided, and nothing need be warned of."""

    def get_alg(self, name: str) -> Any:
        return self.algorithms[name]


_REGISTRY: Final = _Registry(algorithms=sorted(ALGORITHMS), strict_check_header=False)


@dataclass(frozen=True, slots=True)
class _Remembered:
    caller: Caller
    named: Named
    until: float
    fresh_until: float


class Verifier:
    """Verifies the tokens of several issuers."""

    def __init__(
        self,
        issuers: Sequence[Issuer],
        keys: Mapping[str, Keys],
        denials: Denials,
        *,
        clock: Clock,
        introspector: Introspector | None = None,
        tick: Callable[[], float] = time.monotonic,
    ) -> None:
        self._issuers = {issuer.url: issuer for issuer in issuers}
        self._keys, self._denials, self._introspector = keys, denials, introspector
        self._clock, self._tick = clock, tick
        self._remembered: dict[tuple[bytes, str], _Remembered] = {}

    async def verify(self, token: bytes, audience: str) -> Caller:
        """Who calls. Raises CredentialsRefused, IssuerUnavailable."""
        place = (hashlib.sha256(token).digest(), audience)
        known = self._remembered.get(place)
        if (
            known is not None
            and self._tick() < known.fresh_until
            and self._clock().timestamp() < known.until
        ):
            if self._denials.quiet() or not await self._denials.denied(known.named):
                return known.caller
            raise refused("revoked")
        found = await self._verified(token, audience)
        if await self._denials.denied(found.named):
            raise refused("revoked")
        while len(self._remembered) >= MOST_REMEMBERED:
            del self._remembered[next(iter(self._remembered))]
        self._remembered[place] = found
        return found.caller

    async def _verified(self, token: bytes, audience: str) -> _Remembered:
        if not 0 < len(token) <= LONGEST_TOKEN or not token.isascii():
            raise refused("malformed")
        parts = token.split(b".")
        try:
            header = json_object(base64url(parts[0])) if len(parts) == 3 else None
        except Unreadable:
            header = None
        if header is None:
            if self._introspector is None:
                raise refused("malformed")
            return await self._asked(self._introspector, token, audience)
        return await self._signed(token, parts, header, audience)

    async def _signed(
        self, token: bytes, parts: list[bytes], header: Mapping[str, Any], audience: str
    ) -> _Remembered:
        algorithm = header.get("alg")
        if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
            raise refused("algorithm")
        issuer = self._issuer(parts)
        if _type(header.get("typ", "")) not in issuer.profile.types:
            raise refused("type")
        if not _NEVER.isdisjoint(header):
            raise refused("header")
        kid = word(header.get("kid"), LONGEST_KID)
        if kid is None:
            raise refused("key")
        keys = self._keys[issuer.url]
        published = await keys.find(kid, algorithm)
        if published is None:
            raise refused("key")
        try:
            claims = jwt.decode(
                token, published.key, registry=_REGISTRY, decoder_cls=StrictDecoder
            ).claims
        except (JoseError, ValueError, TypeError, RecursionError):
            raise refused("signature") from None
        return self._accepted(issuer, claims, token, audience, keys.fresh_until)

    def _issuer(self, parts: list[bytes]) -> Issuer:
        """Whose token it claims to be: read before it is proved, and only to find the keys."""
        try:
            claims = json_object(base64url(parts[1]))
            base64url(parts[2])
        except Unreadable:
            raise refused("malformed") from None
        name = claims.get("iss")
        issuer = self._issuers.get(name) if isinstance(name, str) else None
        if issuer is None:
            raise refused("issuer")
        return issuer

    async def _asked(self, introspector: Introspector, token: bytes, audience: str) -> _Remembered:
        answer = await introspector.claims(token)
        if answer is None:
            raise refused("inactive")
        issuer = introspector.issuer
        if answer.get("iss", issuer.url) != issuer.url:
            raise refused("issuer")
        kind = answer.get("token_type", "Bearer")
        if not isinstance(kind, str) or kind.casefold() not in {"bearer", "access_token"}:
            raise refused("type")
        fresh_until = self._tick() + ACTIVE_S
        return self._accepted(issuer, answer, token, audience, fresh_until, opaque=True)

    def _accepted(
        self, issuer: Issuer, claims: Mapping[str, Any], token: bytes, audience: str,
        fresh_until: float, *, opaque: bool = False,
    ) -> _Remembered:  # fmt: skip
        """The claims hold. Raises CredentialsRefused."""
        if claims.get("iss", issuer.url) != issuer.url:
            raise refused("issuer")
        if not _is_for(claims.get("aud"), issuer.audience_of(audience)):
            raise refused("audience")
        now = self._clock().timestamp()
        issued_at, until = _life(claims, now, opaque=opaque)
        if "cnf" in claims:
            raise refused("bound")
        identity = _opaque(claims) if opaque else issuer.profile.read(issuer.url, claims)
        if identity is None:
            raise refused("type")
        if issuer.subject:
            identity = _by_claim(identity, issuer.subject, claims)
        subject = word(identity.subject, LONGEST_ID - len(issuer.url) - 1)
        client = word(identity.client, LONGEST_CLIENT)
        if subject is None or client is None or (issuer.clients and client not in issuer.clients):
            raise refused("identity")
        if issuer.users and subject not in issuer.users:
            raise refused("identity")
        words = _words(identity.scope, lists=issuer.profile.lists and not opaque)
        token_id = _token_id(identity.token_id, token)
        scopes = issuer.granted(subject, words)
        machine = identity.machine or subject == client
        email = "" if machine or not issuer.profile.emails else _email(claims)
        actor = Actor(
            issuer.url, subject, client, scopes, machine=machine, email=email, credential=token_id
        )  # fmt: skip
        auth_time = number(claims.get("auth_time", 0))
        caller = Caller(
            actor, "introspected" if opaque else "token", audience,
            expires_at=int(until), credential_id=token_id, auth_time=int(auth_time or 0),
        )  # fmt: skip
        named = Named(issuer.url, token_id, subject, client, issued_at)
        return _Remembered(caller, named, until, fresh_until)


def _type(value: object) -> str:
    """RFC 7515 §4.1.9: a media type without regard to case, ``application/`` left out or not."""
    if not isinstance(value, str):
        return "?"
    return value.lower().removeprefix("application/")


def _is_for(value: object, audience: str) -> bool:
    if isinstance(value, str):
        return value == audience
    if not isinstance(value, list) or not 0 < len(value) <= MOST_AUDIENCES:
        return False
    return all(isinstance(each, str) for each in value) and audience in value


def _life(claims: Mapping[str, Any], now: float, *, opaque: bool) -> tuple[float, float]:
    """When it was issued, and until when it is good here. Raises CredentialsRefused."""
    if opaque:  # everything but ``active`` is optional there; of unknown age counts as old
        claims = {"exp": now + ACTIVE_S, "iat": 0, **claims}
    expires, issued = number(claims.get("exp")), number(claims.get("iat"))
    begins = number(claims.get("nbf", 0))
    if expires is None or issued is None or begins is None:
        raise refused("time")
    if now >= expires + LEEWAY_S:
        raise refused("expired")
    if issued > now + LEEWAY_S or begins > now + LEEWAY_S:
        raise refused("early")
    if not 0 < expires - issued <= LONGEST_LIFE_S and not (opaque and issued == 0):
        raise refused("time")
    return issued, expires + LEEWAY_S


def _opaque(claims: Mapping[str, Any]) -> Identity:
    subject, client = claims.get("sub", claims.get("client_id")), claims.get("client_id")
    return Identity(
        subject, client, claims.get("scope", ""), subject == client, claims.get("jti", "")
    )


def _email(claims: Mapping[str, Any]) -> str:
    """The address that the issuer says it verified, else none. What is odd is left out: it names
    nobody, and refuses nothing."""
    value = claims.get("email")
    if claims.get("email_verified") is not True or not isinstance(value, str):
        return ""
    return value if EMAIL.fullmatch(value) else ""


def _by_claim(identity: Identity, name: str, claims: Mapping[str, Any]) -> Identity:
    """The subject is another claim, as the file says. An address counts only when verified."""
    if identity.machine:
        return identity
    if name == "email" and claims.get("email_verified") is not True:
        raise refused("identity")
    return Identity(
        claims.get(name), identity.client, identity.scope, identity.machine, identity.token_id
    )


def _words(scope: object, *, lists: bool) -> tuple[str, ...]:
    """Raises CredentialsRefused for what is no list of scopes, or too long a one."""
    if isinstance(scope, str):
        words: list[Any] = scope.split(" ") if scope else []
    elif isinstance(scope, list) and lists:
        words = scope
    else:
        raise refused("scope")
    if len(words) > MOST_SCOPES:
        raise refused("scope")
    if not all(isinstance(each, str) and _SCOPE.fullmatch(each) for each in words):
        raise refused("scope")
    return tuple(words)


def _token_id(value: object, token: bytes) -> str:
    if value == "":
        return f"sha256:{hashlib.sha256(token).hexdigest()[:32]}"
    found = word(value, LONGEST_ID)
    if found is None:
        raise refused("identity")
    return found
