"""Client ID metadata documents: a client whose id is the URL where it describes itself.

Whoever starts a sign-in makes this server fetch a URL. So: https only, public addresses only,
connected to by the address that was checked (a name cannot change its mind in between), no
redirect, no port but 443, a few kilobytes, a few seconds, a few at a time, and kept for a while.
The keys a document names by ``jwks_uri`` are fetched in the same way, within the same seconds.
Plain http and loopback addresses only where the server itself is on loopback.
"""

import asyncio
import ipaddress
import json
import socket
import time
from collections import OrderedDict
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

import httpx2

from common.auth.server.clients import CODE, REFRESH, Client
from common.auth.server.registering import Refused, described
from common.settings import LOOPBACK, HttpSettings

LONGEST_URL: Final = 1_000
LONGEST_BODY: Final = 10_240
SECONDS: Final = 4.0
AT_ONCE: Final = 4
KEPT_SECONDS: Final = 600
REFUSED_SECONDS: Final = 30
SIGNED: Final = "private_key_jwt"
_NAMED: Final = "The client metadata document, or what it names,"
MOST_KEPT: Final = 256
_GLOBAL: Final = ipaddress.IPv6Network("2000::/3")  # all that is given to networks (RFC 4291)
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Documents:
    """What was fetched, for one process."""

    def __init__(self, http: HttpSettings) -> None:
        self._http = http
        self._kept: OrderedDict[str, tuple[float, Client | str]] = OrderedDict()
        self._under_way = 0

    async def client(self, url: str) -> Client:
        """The client that describes itself at ``url``. Raises Refused."""
        found = self._kept.get(url)
        if found is None or found[0] < time.monotonic():
            found = await self._fetched(url)
        if isinstance(found[1], str):
            raise Refused("invalid_client", found[1])
        return found[1]

    async def _fetched(self, url: str) -> tuple[float, Client | str]:
        if self._under_way >= AT_ONCE:
            raise Refused("temporarily_unavailable", "Too many client documents are being fetched.")
        self._under_way += 1
        entry: tuple[float, Client | str]
        try:
            async with asyncio.timeout(SECONDS):
                client = await self._fetch(url)
            entry = (time.monotonic() + KEPT_SECONDS, client)
        except Refused as refused:
            entry = (time.monotonic() + REFUSED_SECONDS, refused.description)
        except (TimeoutError, OSError, UnicodeError, httpx2.HTTPError, httpx2.InvalidURL):
            why = "The client metadata document cannot be fetched."
            entry = (time.monotonic() + REFUSED_SECONDS, why)
        finally:
            self._under_way -= 1
        self._kept[url] = entry
        self._kept.move_to_end(url)
        while len(self._kept) > MOST_KEPT:
            self._kept.popitem(last=False)
        return entry

    async def _fetch(self, url: str) -> Client:
        document = await self._json(url)
        if document.get("client_id") != url:
            raise Refused("invalid_client", "The client metadata document names another client_id.")
        if "client_secret" in document:
            raise Refused("invalid_client", "A client metadata document may not hold a secret.")
        if "jwks_uri" in document and document.get("token_endpoint_auth_method") == SIGNED:
            if "jwks" in document or not isinstance(document["jwks_uri"], str):
                raise Refused("invalid_client", "A client has jwks, or the URL of them: one.")
            document["jwks"] = await self._json(document["jwks_uri"])
        # Publishing a document is free: it may act for people who say so, never for itself.
        return described(
            url, document, default_method="none", methods=("none", SIGNED), may=(CODE, REFRESH)
        )

    async def _json(self, url: str) -> dict[str, Any]:
        parts = checked(url, self._http)
        address = await _resolved(parts, loopback=on_loopback(self._http))
        host = f"[{address}]" if address.version == 6 else str(address)
        target = parts._replace(netloc=f"{host}:{parts.port}" if parts.port else host)
        assert parts.hostname is not None
        async with (
            httpx2.AsyncClient(follow_redirects=False, trust_env=False, timeout=SECONDS) as client,
            client.stream(
                "GET", target.geturl(),
                headers={
                    "Host": parts.netloc, "Accept": "application/json",
                    "Accept-Encoding": "identity",
                },
                extensions={"sni_hostname": parts.hostname},
            ) as answer,
        ):  # fmt: skip
            if answer.status_code != 200:
                raise Refused("invalid_client", f"{_NAMED} was not answered.")
            kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
            if kind != "application/json" and not kind.endswith("+json"):
                raise Refused("invalid_client", f"{_NAMED} is not JSON.")
            body = b""
            async for part in answer.aiter_raw():
                body += part
                if len(body) > LONGEST_BODY:
                    raise Refused("invalid_client", f"{_NAMED} is too long.")
        return _read(body)


def is_document(client_id: str) -> bool:
    """Whether a client's id has the form of a URL."""
    return client_id.startswith(("https://", "http://"))


def on_loopback(http: HttpSettings) -> bool:
    """Whether this server is for this machine alone: development and tests."""
    return http.loopback and urlsplit(http.public_url).hostname in LOOPBACK


def checked(url: str, http: HttpSettings) -> SplitResult:
    """The URL taken apart. Raises Refused for one that may not be a client's id."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise Refused("invalid_client", "The client_id is not a URL.") from None
    local = on_loopback(http) and parts.hostname in LOOPBACK
    fine = (
        len(url) <= LONGEST_URL
        and url.isascii()
        and url.isprintable()
        and " " not in url
        and (parts.scheme == "https" or (parts.scheme == "http" and local))
        and bool(parts.hostname)
        and parts.username is None
        and parts.password is None
        and not parts.fragment
        and "#" not in url
        and parts.path not in {"", "/"}
        and not {".", ".."} & set(parts.path.split("/"))
        and (port in {None, 443} or local)
    )
    if not fine:
        why = "The URL of a client or of its keys is https, with a path and nothing odd."
        raise Refused("invalid_client", why)
    return parts


async def _resolved(parts: SplitResult, *, loopback: bool) -> _Address:
    """One address of the host, after looking at all of them. Raises Refused, OSError."""
    loop = asyncio.get_running_loop()
    port = parts.port or (443 if parts.scheme == "https" else 80)
    found = await loop.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
    addresses = [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]
    if not addresses or not all(_allowed(address, loopback) for address in addresses):
        why = "The URL of a client or of its keys does not lead to a public address."
        raise Refused("invalid_client", why)
    return addresses[0]


def _allowed(address: _Address, loopback: bool) -> bool:
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return _allowed(address.ipv4_mapped, loopback)
        # Others that lead to an IPv4 address: by NAT64, 6to4, Teredo. They may lead anywhere.
        tunnel = address.sixtofour is not None or address.teredo is not None
        if not address.is_loopback and (address not in _GLOBAL or tunnel):
            return False
    return (address.is_global and not address.is_multicast) or (loopback and address.is_loopback)


def _read(body: bytes) -> dict[str, Any]:
    try:
        found: Any = json.loads(body)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise Refused("invalid_client", f"{_NAMED} is not JSON.")
    return found
