"""From the headers of a request to a Caller: one credential, of one kind, or none.

======================================  ==================================================
``Authorization: Bearer <token>``       an access token of a trusted issuer
``X-MCP-API-Key: mcp_…``                an API key; as a bearer token too
``X-MCP-Auth: base64(name:password)``   for development, where ``SHOP_AUTH_BASIC`` is set
======================================  ==================================================
"""

import base64
import binascii
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

from common.auth import Caller, CredentialsMalformed, CredentialsRefused, Headers
from common.auth.fetching import Fetcher
from common.auth.introspection import Introspector
from common.auth.issuers import Issuer, trusted
from common.auth.jwks import Keys, Metadata
from common.auth.revocation import Denials
from common.auth.tokens import Verifier
from common.settings import LOOPBACK
from common.shop import Shop

KEY_PREFIX: Final = b"mcp_"
LONGEST_KEY: Final = 200
LONGEST_BASIC: Final = 1_000
LOCAL_FRESH_S: Final = 30.0
LOCAL_APART_S: Final = 1.0

CheckKey = Callable[[str, str], Awaitable[Caller | None]]
"""Secret and audience to who owns the key; None for a key that is not good."""
CheckPassword = Callable[[str, str, str], Awaitable[Caller | None]]
"""Name, password and audience."""


class Composed:
    """The Authenticator of a shop."""

    def __init__(
        self,
        verifier: Verifier,
        fetcher: Fetcher,
        *,
        check_key: CheckKey | None = None,
        check_password: CheckPassword | None = None,
    ) -> None:
        self.verifier = verifier
        self._fetcher, self._check_key, self._check_password = fetcher, check_key, check_password

    async def authenticate(self, headers: Headers, *, audience: str) -> Caller | None:
        bearer, key, basic = _credentials(headers)
        if key is not None:
            return await self._by_key(key, audience)
        if basic is not None:
            return await self._by_password(basic, audience)
        if bearer is None:
            return None
        if bearer.startswith(KEY_PREFIX):
            return await self._by_key(bearer, audience)
        return await self.verifier.verify(bearer, audience)

    async def close(self) -> None:
        """Give back the connections to issuers."""
        await self._fetcher.close()

    async def _by_key(self, key: bytes, audience: str) -> Caller:
        caller = None
        if self._check_key and len(key) <= LONGEST_KEY and key.isascii():
            caller = await self._check_key(key.decode("ascii"), audience)
        if caller is None:
            raise CredentialsRefused("api_key", "The API key is not valid here.")
        return caller

    async def _by_password(self, value: bytes, audience: str) -> Caller:
        if self._check_password is None:
            raise CredentialsRefused("basic", "X-MCP-Auth is not accepted here.")
        caller = None
        try:
            pair = base64.b64decode(value[:LONGEST_BASIC], validate=True).decode("utf-8")
        except (binascii.Error, ValueError):
            raise CredentialsRefused("basic", "X-MCP-Auth is not base64(name:password).") from None
        name, colon, password = pair.partition(":")
        if colon and name and password:
            caller = await self._check_password(name, password, audience)
        if caller is None:
            raise CredentialsRefused("basic", "The name or the password is wrong.")
        return caller


def authenticator(
    shop: Shop,
    *,
    check_key: CheckKey | None = None,
    check_password: CheckPassword | None = None,
    tick: Callable[[], float] = time.monotonic,
) -> Composed:
    """Tokens of the trusted issuers, API keys, and passwords where that is set. The checks are
    the shop's own unless others are given.

    Raises IssuersUnusable.
    """
    http, clock = shop.settings.http, shop.guard.clock
    issuers, fetcher = trusted(http), Fetcher()
    metadata = {issuer.url: Metadata(issuer.url, fetcher) for issuer in issuers}
    asked = next((issuer for issuer in issuers if issuer.introspection is not None), None)
    verifier = Verifier(
        issuers,
        {issuer.url: _keys(shop, issuer, metadata[issuer.url], tick) for issuer in issuers},
        Denials(shop.database, clock, tick=tick),
        clock=clock,
        introspector=Introspector(asked, metadata[asked.url], fetcher, tick=tick)
        if asked
        else None,
        tick=tick,
    )
    from common.auth.api_keys.checking import key_check, password_check

    basic = http.auth_basic and http.host in LOOPBACK
    return Composed(
        verifier, fetcher, check_key=check_key or key_check(shop),
        check_password=(check_password or password_check(shop)) if basic else None,
    )  # fmt: skip


def _keys(shop: Shop, issuer: Issuer, metadata: Metadata, tick: Callable[[], float]) -> Keys:
    if not issuer.local:
        return Keys(issuer.url, partial(metadata.jwks, issuer.jwks_uri), tick=tick)
    return Keys(
        issuer.url, partial(_local_jwks, shop), fresh_s=LOCAL_FRESH_S, apart_s=LOCAL_APART_S,
        tick=tick,
    )  # fmt: skip


async def _local_jwks(shop: Shop) -> dict[str, object]:
    from common.auth.server.keys import local_jwks  # authlib: slow to import, not always needed

    return await local_jwks(shop)


def _credentials(headers: Headers) -> tuple[bytes | None, bytes | None, bytes | None]:
    """Bearer token, API key, basic credentials: at most one. Raises CredentialsMalformed."""
    authorization = key = basic = None
    found = 0
    for name, value in headers:
        if name == b"authorization":
            authorization, found = value, found + 1
        elif name == b"x-mcp-api-key":
            key, found = value, found + 1
        elif name == b"x-mcp-auth":
            basic, found = value, found + 1
    if found > 1:
        raise CredentialsMalformed("Send one credential, once.")
    if authorization is None:
        return None, key, basic
    scheme, _, token = authorization.partition(b" ")
    if scheme.lower() != b"bearer":
        return None, None, None  # of another scheme: as if there were none
    return token, None, None
