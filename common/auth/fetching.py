"""Asking an authorization server something: bounded in time and size, no redirect, plain JSON."""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import httpx2

from common.auth.strict import Unreadable, json_object

SECONDS: Final = 3.0
MOST_BYTES: Final = 256 * 1024
_HEADERS: Final = {"accept": "application/json", "accept-encoding": "identity"}


class FetchFailed(Exception):
    """No usable answer. The text is for our log."""


class Fetcher:
    """One pool of connections a process."""

    def __init__(self) -> None:
        self._client: httpx2.AsyncClient | None = None

    async def get(self, url: str) -> dict[str, Any]:
        """The JSON object at a URL. Raises FetchFailed."""
        return await self._ask("GET", url)

    async def post(
        self, url: str, form: Mapping[str, str], basic: tuple[str, str]
    ) -> dict[str, Any]:
        """The JSON object that answers a form. Raises FetchFailed."""
        return await self._ask("POST", url, form, basic)

    async def close(self) -> None:
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    async def _ask(
        self,
        method: str,
        url: str,
        form: Mapping[str, str] | None = None,
        basic: tuple[str, str] | None = None,
    ) -> dict[str, Any]:
        if self._client is None:
            self._client = httpx2.AsyncClient(
                timeout=SECONDS, follow_redirects=False, trust_env=False, headers=_HEADERS,
                limits=httpx2.Limits(max_connections=16, max_keepalive_connections=4),
            )  # fmt: skip
        try:
            # The whole exchange, not each read: a byte now and then is no answer.
            async with (
                asyncio.timeout(SECONDS),
                self._client.stream(method, url, data=form, auth=basic) as answer,
            ):
                return await _read(answer)
        except TimeoutError:
            raise FetchFailed(f"{url}: no answer in {SECONDS:.0f} s") from None
        except (httpx2.HTTPError, httpx2.InvalidURL, Unreadable) as error:
            raise FetchFailed(f"{url}: {type(error).__name__}: {error}") from None


async def _read(answer: httpx2.Response) -> dict[str, Any]:
    if answer.status_code != 200:
        raise FetchFailed(f"{answer.url}: status {answer.status_code}")
    if answer.headers.get("content-encoding", "identity") != "identity":
        raise FetchFailed(f"{answer.url}: compressed although it was not asked for")
    parts, size = [], 0
    async for part in answer.aiter_raw():
        size += len(part)
        if size > MOST_BYTES:
            raise FetchFailed(f"{answer.url}: more than {MOST_BYTES} bytes")
        parts.append(part)
    return json_object(b"".join(parts))
