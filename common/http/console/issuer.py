"""The authorization server people sign in at: ours, or the first one configured."""

import json
import time
import tomllib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import httpx2
from authlib.integrations.base_client.errors import OAuthError
from authlib.integrations.httpx_client import AsyncOAuth2Client
from starlette.requests import Request

from common.http.console.desk import CLIENT_ID, PREFIX, SCOPE, Desk, Problem

TIMEOUT_S: Final = 5.0
LARGEST_METADATA: Final = 262_144
CACHED_S: Final = 600.0
OPENID: Final = "openid"


@dataclass(frozen=True)
class Issuer:
    """Where the browser and the console go."""

    name: str
    authorize: str
    token: str
    revoke: str = ""
    scope: str = SCOPE
    own: bool = False
    says_iss: bool = True


class SignInFailed(Exception):
    """The authorization server said no, or nothing that can be used."""


_known: dict[str, tuple[float, Issuer]] = {}


async def issuer(desk: Desk) -> Issuer:
    """Ours where it runs, else the first of the issuers file. Raises Problem."""
    http = desk.shop.settings.http
    if http.auth_server:
        base = http.public_url
        return Issuer(
            base, f"{base}/auth/authorize", f"{base}/auth/token", f"{base}/auth/revoke", own=True
        )
    name = _configured(desk)
    cached = _known.get(name)
    if cached is not None and cached[0] > time.monotonic():
        return cached[1]
    found = _of(name, await _metadata(name))
    _known.clear()
    _known[name] = (time.monotonic() + CACHED_S, found)
    return found


def authorization_url(desk: Desk, at: Issuer, state: str, verifier: str, *, again: bool) -> str:
    """Where the browser is sent: code and PKCE, for the console alone, freshly signed in."""
    client = AsyncOAuth2Client(
        CLIENT_ID, scope=at.scope, redirect_uri=redirect_uri(desk), code_challenge_method="S256"
    )
    more = {"prompt": "login"} if again else {}
    url, _ = client.create_authorization_url(
        at.authorize, state=state, code_verifier=verifier, resource=desk.audience,
        max_age="600", **more,
    )  # fmt: skip
    return str(url)


async def redeem(desk: Desk, request: Request, at: Issuer, code: str, verifier: str) -> str:
    """The access token for a code. Raises SignInFailed."""
    async with _client(desk, request, at) as client:
        try:
            answer = await client.fetch_token(
                at.token, grant_type="authorization_code", code=code, code_verifier=verifier,
                redirect_uri=redirect_uri(desk), resource=desk.audience,
            )  # fmt: skip
        except (OAuthError, httpx2.HTTPError, ValueError, KeyError) as error:
            raise SignInFailed(f"no token: {type(error).__name__}") from error
    token = answer.get("access_token")
    if not isinstance(token, str) or not token.isascii() or not 0 < len(token) <= 8_192:
        raise SignInFailed("no token in the answer")
    return token


async def revoke(desk: Desk, request: Request, token: str) -> None:
    """Tell the authorization server that the token is done with; whether it listens or not."""
    try:
        at = await issuer(desk)
        if at.revoke and token:
            async with _client(desk, request, at) as client:
                await client.post(
                    at.revoke, data={"token": token, "client_id": CLIENT_ID}, withhold_token=True
                )
    except (Problem, OAuthError, httpx2.HTTPError, ValueError):
        return


def redirect_uri(desk: Desk) -> str:
    """Where the authorization server sends people back to."""
    return f"{desk.origin}{PREFIX}/callback"


@asynccontextmanager
async def _client(desk: Desk, request: Request, at: Issuer) -> AsyncIterator[AsyncOAuth2Client]:
    # Our own server is asked in this process: no detour through the proxy in front of us.
    more: dict[str, Any] = {}
    if at.own:
        more["transport"] = httpx2.ASGITransport(app=request.app, client=("127.0.0.1", 0))
    async with AsyncOAuth2Client(
        CLIENT_ID, scope=at.scope, token_endpoint_auth_method="none", timeout=TIMEOUT_S, **more
    ) as client:
        yield client


def _configured(desk: Desk) -> str:
    file = desk.shop.settings.http.issuers_file
    try:
        listed = tomllib.loads(file.read_text())["issuers"] if file else []
        return str(listed[0]["url"])
    except (OSError, ValueError, LookupError, TypeError):
        raise Problem(
            503, "Nobody can sign in", "No authorization server is configured.",
            next="See SHOP_ISSUERS_FILE and SHOP_AUTH_SERVER.",
        ) from None  # fmt: skip


async def _metadata(name: str) -> dict[str, Any]:
    parts = urlsplit(name)
    path = parts.path.rstrip("/")
    origin = f"{parts.scheme}://{parts.netloc}"
    async with httpx2.AsyncClient(timeout=TIMEOUT_S) as client:
        for url in (
            f"{origin}/.well-known/oauth-authorization-server{path}",
            f"{origin}{path}/.well-known/openid-configuration",
        ):
            try:
                said = await _json(client, url)
            except (httpx2.HTTPError, ValueError):
                continue
            if said.get("issuer") == name:
                return said
    raise Problem(
        503, "Nobody can sign in", "The authorization server does not say where to sign in.",
        next="Try again in a moment.", headers={"Retry-After": "10"},
    )  # fmt: skip


async def _json(client: httpx2.AsyncClient, url: str) -> dict[str, Any]:
    body = b""
    async with client.stream("GET", url) as answer:
        if answer.status_code != 200:
            raise ValueError("no metadata here")
        async for part in answer.aiter_bytes():
            body += part
            if len(body) > LARGEST_METADATA:
                raise ValueError("too long")
    said = json.loads(body)
    if not isinstance(said, dict):
        raise ValueError("no object")
    return said


def _of(name: str, said: dict[str, Any]) -> Issuer:
    ends = {key: str(said.get(f"{key}_endpoint") or "") for key in ("authorization", "token")}
    secure = name.startswith("https://")
    if not all(
        url.startswith("https://" if secure else ("http://", "https://")) for url in ends.values()
    ):
        raise Problem(
            503, "Nobody can sign in", "The authorization server's metadata is not usable."
        )
    openid = OPENID in (said.get("scopes_supported") or [])
    return Issuer(
        name, ends["authorization"], ends["token"], str(said.get("revocation_endpoint") or ""),
        scope=f"{OPENID} {SCOPE}" if openid else SCOPE,
        says_iss=said.get("authorization_response_iss_parameter_supported") is True,
    )  # fmt: skip
