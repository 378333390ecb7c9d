"""The authorization server people sign in at: ours where it runs, else the first one trusted."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import httpx2
from authlib.integrations.base_client.errors import OAuthError
from authlib.integrations.httpx_client import AsyncOAuth2Client
from starlette.requests import Request

from common.auth.fetching import Fetcher, FetchFailed
from common.auth.issuers import IssuersUnusable, trusted
from common.auth.jwks import Metadata
from common.http.console.desk import CLIENT_ID, PREFIX, SCOPE, Desk, Problem

SECONDS: Final = 5.0
LONGEST_TOKEN: Final = 8_192
OPENID: Final = "openid"


@dataclass(frozen=True)
class Issuer:
    """Where the browser and the console go. ``says_iss``: it names itself when it answers
    (RFC 9207), so an answer without a name is not its own."""

    name: str
    authorize: str
    token: str
    revoke: str = ""
    scope: str = SCOPE
    own: bool = False
    says_iss: bool = True


class SignInFailed(Exception):
    """The authorization server said no, or nothing that can be used."""


async def issuer(desk: Desk) -> Issuer:
    """Raises Problem when there is none, or it does not say where it is."""
    http = desk.shop.settings.http
    if http.auth_server:
        base = http.public_url
        return Issuer(
            base, f"{base}/auth/authorize", f"{base}/auth/token", f"{base}/auth/revoke", own=True
        )
    try:
        name = trusted(http)[0].url
    except (IssuersUnusable, IndexError):
        raise Problem(
            503, "Nobody can sign in", "No authorization server is configured.",
            next="See SHOP_ISSUERS_FILE and SHOP_AUTH_SERVER.",
        ) from None  # fmt: skip
    said = desk.metadata.setdefault(name, Metadata(name, Fetcher()))
    try:
        authorize = await said.endpoint("authorization_endpoint")
        token = await said.endpoint("token_endpoint")
        scopes = await said.value("scopes_supported") or []
        says_iss = await said.value("authorization_response_iss_parameter_supported") is True
    except FetchFailed:
        raise Problem(
            503, "Nobody can sign in", "The authorization server does not say where to sign in.",
            next="Try again in a moment.", headers={"Retry-After": "10"},
        ) from None  # fmt: skip
    return Issuer(
        name, authorize, token, await _revocation(said), says_iss=says_iss,
        scope=f"{OPENID} {SCOPE}" if OPENID in scopes else SCOPE,
    )  # fmt: skip


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
    try:
        async with asyncio.timeout(SECONDS), _client(request, at) as client:
            answer = await client.fetch_token(
                at.token, grant_type="authorization_code", code=code, code_verifier=verifier,
                redirect_uri=redirect_uri(desk), resource=desk.audience,
            )  # fmt: skip
    except (OAuthError, httpx2.HTTPError, TimeoutError, ValueError, KeyError) as error:
        raise SignInFailed(f"no token: {type(error).__name__}") from error
    token = answer.get("access_token")
    if not isinstance(token, str) or not token.isascii() or not 0 < len(token) <= LONGEST_TOKEN:
        raise SignInFailed("no token in the answer")
    return token


async def revoke(desk: Desk, request: Request, token: str) -> None:
    """Tell the authorization server that the token is done with; whether it listens or not."""
    try:
        at = await issuer(desk)
        if at.revoke and token:
            form = {"token": token, "client_id": CLIENT_ID}
            plain = httpx2.AsyncClient(timeout=SECONDS, **_transport(request, at))
            async with asyncio.timeout(SECONDS), plain as client:
                await client.post(at.revoke, data=form)
    except (Problem, httpx2.HTTPError, httpx2.InvalidURL, TimeoutError):
        return


def redirect_uri(desk: Desk) -> str:
    """Where the authorization server sends people back to."""
    return f"{desk.origin}{PREFIX}/callback"


@asynccontextmanager
async def _client(request: Request, at: Issuer) -> AsyncIterator[AsyncOAuth2Client]:
    async with AsyncOAuth2Client(
        CLIENT_ID, scope=at.scope, token_endpoint_auth_method="none", timeout=SECONDS,
        **_transport(request, at),
    ) as client:  # fmt: skip
        yield client


def _transport(request: Request, at: Issuer) -> dict[str, Any]:
    """Our own server is asked in this process: no detour through the proxy in front of us."""
    if not at.own:
        return {"trust_env": False}
    own = httpx2.ASGITransport(app=request.app, client=("127.0.0.1", 0))
    return {"trust_env": False, "transport": own}


async def _revocation(said: Metadata) -> str:
    try:
        return await said.endpoint("revocation_endpoint")
    except FetchFailed:
        return ""
