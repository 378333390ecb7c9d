"""Opaque tokens: whether they are alive is asked of the one who issued them (RFC 7662)."""

import asyncio
import hashlib
import re
import time
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import quote_plus

from common.auth import IssuerUnavailable
from common.auth.fetching import SECONDS, Fetcher, FetchFailed
from common.auth.issuers import Issuer
from common.auth.jwks import Metadata

ACTIVE_S: Final = 30.0
"""How long an answer that a token is alive may be believed."""
INACTIVE_S: Final = 10.0
MOST_INACTIVE: Final = 4_096
AT_ONCE: Final = 8
_TOKEN: Final = re.compile(rb"[A-Za-z0-9._~+/-]{16,2048}=*")


class Introspector:
    """Asks one issuer. A no is remembered a moment; a yes is for the verifier to remember."""

    def __init__(
        self,
        issuer: Issuer,
        metadata: Metadata,
        fetcher: Fetcher,
        *,
        tick: Callable[[], float] = time.monotonic,
    ) -> None:
        assert issuer.introspection is not None
        self.issuer = issuer
        self._config, self._metadata, self._fetcher = issuer.introspection, metadata, fetcher
        self._tick = tick
        self._inactive: dict[bytes, float] = {}
        self._turn = asyncio.Semaphore(AT_ONCE)

    async def claims(self, token: bytes) -> dict[str, Any] | None:
        """What the issuer says of a living token; None for any other. Raises IssuerUnavailable."""
        if _TOKEN.fullmatch(token) is None:
            return None
        digest = hashlib.sha256(token).digest()
        if self._tick() < self._inactive.get(digest, float("-inf")):
            return None
        try:
            async with asyncio.timeout(2 * SECONDS), self._turn:
                answer = await self._ask(token)
        except (TimeoutError, FetchFailed):
            raise IssuerUnavailable(self.issuer.url) from None
        if answer.get("active") is True:
            return answer
        while len(self._inactive) >= MOST_INACTIVE:
            del self._inactive[next(iter(self._inactive))]
        self._inactive[digest] = self._tick() + INACTIVE_S
        return None

    async def _ask(self, token: bytes) -> dict[str, Any]:
        config = self._config
        endpoint = config.endpoint or await self._metadata.endpoint("introspection_endpoint")
        form = {"token": token.decode("ascii"), "token_type_hint": "access_token"}
        # RFC 6749 §2.3.1: both halves are form-encoded before they are put together.
        basic = (quote_plus(config.client_id), quote_plus(config.client_secret))
        return await self._fetcher.post(endpoint, form, basic)
