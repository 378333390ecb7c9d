"""The keys of an issuer: fetched seldom, kept a while, and never at a stranger's command.

A token that names an unknown key makes us look once, but a flood of them buys ``BURST`` fetches and
then one every ``APART_S``. While the issuer does not answer, what was fetched stays good for
``STALE_S``; with nothing fetched, IssuerUnavailable (503): a 401 would make clients throw good
tokens away.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey

from common.auth import IssuerUnavailable
from common.auth.fetching import Fetcher, FetchFailed
from common.auth.issuers import Unusable, checked_url
from common.auth.strict import Unreadable, base64url, word

log = logging.getLogger(__name__)

FRESH_S: Final = 600.0
STALE_S: Final = 3_600.0
APART_S: Final = 10.0
RETRY_S: Final = 2.0
BURST: Final = 3
LONGEST_KID: Final = 256
MOST_KEYS: Final = 100
MOST_UNKNOWN: Final = 1_024
RSA_BITS: Final = range(2_048, 8_193)

Fetch = Callable[[], Awaitable[Mapping[str, Any]]]
AnyKey = RSAKey | ECKey | OKPKey
_MEMBERS: Final = {"RSA": ("n", "e"), "EC": ("crv", "x", "y"), "OKP": ("crv", "x")}
_FAMILY: Final = {
    "RS256": "RSA", "PS256": "RSA", "ES256": "EC", "EdDSA": "OKP", "Ed25519": "OKP",
}  # fmt: skip
ALGORITHMS: Final = frozenset(_FAMILY)


@dataclass(frozen=True)
class Published:
    """One usable public key. ``algorithm`` is empty where the issuer did not bind it to one."""

    kid: str
    family: str
    algorithm: str
    key: AnyKey

    def fits(self, algorithm: str) -> bool:
        """Whether a signature by that algorithm may be checked with it."""
        same = {"EdDSA", "Ed25519"}  # RFC 9864 renamed it
        named = not self.algorithm or self.algorithm == algorithm
        return _FAMILY[algorithm] == self.family and (named or {algorithm, self.algorithm} == same)


class Keys:
    """The published keys of one issuer."""

    def __init__(
        self,
        issuer: str,
        fetch: Fetch,
        *,
        fresh_s: float = FRESH_S,
        apart_s: float = APART_S,
        tick: Callable[[], float] = time.monotonic,
    ) -> None:
        self.issuer = issuer
        self.fresh_until = float("-inf")
        self._fetch = fetch
        self._fresh_s, self._apart_s, self._tick = fresh_s, apart_s, tick
        self._found: dict[str, list[Published]] = {}
        self._fetched_at = self._failed_at = float("-inf")
        self._spare, self._spare_at = float(BURST), tick()
        self._unknown: dict[str, float] = {}
        self._flight: asyncio.Task[None] | None = None

    async def find(self, kid: str, algorithm: str) -> Published | None:
        """The key of that name, if it fits the algorithm. Raises IssuerUnavailable."""
        if self._tick() >= self.fresh_until:
            await self._renew()
        if kid not in self._found and self._may_look(kid):
            await self._look()
        if kid not in self._found:
            if self._failed_at > self._fetched_at:
                raise IssuerUnavailable(self.issuer)  # it may be a new one
            self._remember_unknown(kid)
        return next((each for each in self._found.get(kid, []) if each.fits(algorithm)), None)

    async def _renew(self) -> None:
        """Because of age. Keeps the old keys when the issuer does not answer, for a while."""
        now = self._tick()
        never = self._fetched_at == float("-inf")
        if now - self._failed_at >= (RETRY_S if never else self._apart_s):
            await self._look()
        if self._tick() >= self._fetched_at + self._fresh_s + STALE_S:
            self._found = {}
            raise IssuerUnavailable(self.issuer)

    def _may_look(self, kid: str) -> bool:
        """Whether an unknown key is worth a fetch: a bucket that fills slowly."""
        now = self._tick()
        if now < self._unknown.get(kid, float("-inf")):
            return False
        if self._flight is not None:
            return True
        self._spare = min(BURST, self._spare + (now - self._spare_at) / self._apart_s)
        self._spare_at = now
        if self._spare < 1:
            return False
        self._spare -= 1
        return True

    def _remember_unknown(self, kid: str) -> None:
        while len(self._unknown) >= MOST_UNKNOWN:
            del self._unknown[next(iter(self._unknown))]
        self._unknown[kid] = self._tick() + self._apart_s

    async def _look(self) -> None:
        """Fetch once, however many wait for it; one who gives up does not stop the others."""
        if self._flight is None:
            self._flight = asyncio.create_task(self._fetch_once())
        await asyncio.shield(self._flight)

    async def _fetch_once(self) -> None:
        try:
            found = usable(await self._fetch())
        except Exception as error:  # our own keys come from the database
            self._failed_at = self._tick()
            log.warning("keys of %s: %s", self.issuer, error)
        else:
            self._found, self._fetched_at = found, self._tick()
            self.fresh_until = self._fetched_at + self._fresh_s
            self._unknown.clear()
        finally:
            self._flight = None


def usable(document: Mapping[str, Any]) -> dict[str, list[Published]]:
    """The keys of a JWKS that may check a signature, by name. Others are left out: secrets, keys
    to encrypt with, short ones, nameless ones. Raises Unreadable."""
    listed = document.get("keys")
    if not isinstance(listed, list) or len(listed) > MOST_KEYS:
        raise Unreadable(f"no list of at most {MOST_KEYS} keys")
    found: dict[str, list[Published]] = {}
    for entry in listed:
        key = _published(entry) if isinstance(entry, dict) else None
        if key is not None:
            found.setdefault(key.kid, []).append(key)
    return found


def _published(entry: dict[str, Any]) -> Published | None:
    kid, family = word(entry.get("kid"), LONGEST_KID), entry.get("kty")
    operations = entry.get("key_ops", ["verify"])
    algorithm = entry.get("alg", "")
    if kid is None or family not in _MEMBERS or entry.get("use", "sig") != "sig":
        return None
    if not isinstance(operations, list) or "verify" not in operations:
        return None
    if algorithm and (algorithm not in _FAMILY or _FAMILY[algorithm] != family):
        return None
    public = {"kty": family} | {name: entry.get(name) for name in _MEMBERS[family]}
    if not all(isinstance(value, str) for value in public.values()):
        return None
    try:
        return Published(kid, family, algorithm, _imported(public))
    except (JoseError, ValueError, TypeError, OverflowError):
        return None


def _imported(public: dict[str, Any]) -> AnyKey:
    if public["kty"] == "RSA":
        bits = int.from_bytes(base64url(public["n"].encode()), "big").bit_length()
        exponent = int.from_bytes(base64url(public["e"].encode()), "big")
        if bits not in RSA_BITS or not 3 <= exponent < 2**32:
            raise ValueError("not a length of key that is used here")
        return RSAKey.import_key(public)
    if public["kty"] == "EC":
        if public["crv"] != "P-256":
            raise ValueError("not a curve that is used here")
        return ECKey.import_key(public)
    if public["crv"] != "Ed25519":
        raise ValueError("not a curve that is used here")
    return OKPKey.import_key(public)


class Metadata:
    """An issuer's own description (RFC 8414, or OpenID Connect's), kept as long as it works."""

    def __init__(self, issuer: str, fetcher: Fetcher) -> None:
        self.issuer = issuer
        self._fetcher = fetcher
        self._known: dict[str, Any] = {}

    async def jwks(self, jwks_uri: str = "") -> Mapping[str, Any]:
        """The key document, at a given place or where the issuer says. Raises FetchFailed."""
        try:
            return await self._fetcher.get(jwks_uri or await self.endpoint("jwks_uri"))
        except FetchFailed:
            self._known = {}
            raise

    async def endpoint(self, name: str) -> str:
        """One of the issuer's addresses. Raises FetchFailed."""
        value = await self.value(name)
        if not isinstance(value, str) or not _reachable(value, self.issuer):
            raise FetchFailed(f"{self.issuer}: its metadata names no usable {name}")
        return value

    async def value(self, name: str) -> Any:
        """Whatever the issuer says under this name. Raises FetchFailed."""
        if not self._known:
            self._known = await self._discover()
        return self._known.get(name)

    async def _discover(self) -> dict[str, Any]:
        parts = urlsplit(self.issuer)
        root, path = f"{parts.scheme}://{parts.netloc}", parts.path.rstrip("/")
        places = (
            f"{root}/.well-known/oauth-authorization-server{path}",
            f"{root}{path}/.well-known/openid-configuration",
        )
        failure = FetchFailed(self.issuer)
        for url in places:
            try:
                found = await self._fetcher.get(url)
            except FetchFailed as error:
                failure = error
                continue
            if found.get("issuer") == self.issuer:
                return found
            failure = FetchFailed(f"{url}: it describes another issuer")
        raise failure


def _reachable(url: str, issuer: str) -> bool:
    try:
        checked_url(url, "url", like=issuer)
    except Unusable:
        return False
    return True
