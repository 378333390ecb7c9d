"""The small authorization server on loopback, with users, and a browser for its pages."""

import base64
import hashlib
import re
import secrets
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx2
from starlette.applications import Starlette

from common.auth.server import managing, routes, users
from common.clock import Clock, utc_now
from common.settings import HttpSettings
from common.shop import Shop
from tests.support.serving import free_port, served
from tests.support.shop import a_shop

PASSWORD = "correct horse battery"
REDIRECT = "http://127.0.0.1:9599/callback"
COST = 4  # of scrypt: a test guesses nothing


@dataclass
class Served:
    """A shop whose authorization server answers at ``url``."""

    shop: Shop
    url: str
    browsers: list[httpx2.AsyncClient] = field(default_factory=list)
    asking: tuple[str, str] | None = None

    def audience(self, domain: str = "inventory") -> str:
        return self.shop.settings.http.audience(domain)

    async def user(
        self, subject: str = "ana@example.com", scopes: Iterable[str] = users.USUAL_SCOPES
    ) -> None:
        kept, now = users.hashed(PASSWORD, COST), self.shop.guard.clock()
        await self.shop.database.run(
            "*", lambda s: users.add(s, subject, subject, kept, scopes, now)
        )

    async def machine(
        self, name: str, scopes: Iterable[str], jwks: dict[str, Any] | None = None
    ) -> tuple[str, str]:
        """A client on its own account: id and secret."""
        now = self.shop.guard.clock()
        client, secret = await self.shop.database.run(
            "*", lambda s: managing.add_client(s, name, "test", now, scopes=scopes, jwks=jwks)
        )
        return client.id, secret

    async def program(self, name: str, redirects: Sequence[str], **more: Any) -> tuple[str, str]:
        """A client people sign in with: id and secret."""
        now = self.shop.guard.clock()
        client, secret = await self.shop.database.run(
            "*",
            lambda s: managing.add_client(s, name, "test", now, redirect_uris=redirects, **more),
        )
        return client.id, secret

    async def active(self, token: str) -> bool:
        """Whether the server, asked by a resource server, calls the token good."""
        if self.asking is None:
            now = self.shop.guard.clock()
            client, secret = await self.shop.database.run(
                "*", lambda s: managing.add_client(s, "servers", "test", now, introspects=True)
            )
            self.asking = (client.id, secret)
        answer = await self.browser().post(
            "/auth/introspect", data={"token": token}, auth=self.asking
        )
        assert answer.status_code == 200, answer.text
        return bool(answer.json()["active"])

    def browser(self) -> httpx2.AsyncClient:
        """Cookies of its own; follows no redirect by itself."""
        client = httpx2.AsyncClient(base_url=self.url, follow_redirects=False)
        self.browsers.append(client)
        return client


@asynccontextmanager
async def auth_server(
    folder: Path, *, clock: Clock = utc_now, **changes: Any
) -> AsyncIterator[Served]:
    """A shop of its own, its authorization server on a free port."""
    port = free_port()
    http = replace(HttpSettings.load({"SHOP_PUBLIC_URL": f"http://127.0.0.1:{port}"}))
    async with a_shop(folder, clock=clock, http=http, **changes) as shop:
        app = Starlette(routes=routes(shop))
        async with served(app, port) as url:
            found = Served(shop, url)
            yield found
            for browser in found.browsers:
                await browser.aclose()


def challenge(verifier: str) -> str:
    digest = hashlib.sha256(verifier.encode()).digest()
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


@dataclass
class Flow:
    """One authorization request and what is needed to end it."""

    resource: str
    client_id: str = "shop-native"
    redirect_uri: str = REDIRECT
    scope: str = "inventory:read inventory:write"
    state: str = "s t/&=ä"
    verifier: str = field(default_factory=lambda: secrets.token_urlsafe(48))
    more: dict[str, str] = field(default_factory=dict)

    def parameters(self) -> dict[str, str]:
        asked = {
            "response_type": "code", "client_id": self.client_id, "state": self.state,
            "redirect_uri": self.redirect_uri, "scope": self.scope, "resource": self.resource,
            "code_challenge": challenge(self.verifier), "code_challenge_method": "S256",
        }  # fmt: skip
        return {key: value for key, value in (asked | self.more).items() if value}

    def url(self) -> str:
        return f"/auth/authorize?{urlencode(self.parameters())}"

    def exchange(self, code: str) -> dict[str, str]:
        return {
            "grant_type": "authorization_code", "code": code, "client_id": self.client_id,
            "redirect_uri": self.redirect_uri, "code_verifier": self.verifier,
            "resource": self.resource,
        }  # fmt: skip


def hidden(html: str) -> str:
    """The sealed field of a page's form."""
    found = re.search(r'name="i" value="([^"]+)"', html)
    assert found, html
    return unescape(found[1])


async def sign_in(
    browser: httpx2.AsyncClient,
    answer: httpx2.Response,
    subject: str = "ana@example.com",
    password: str = PASSWORD,
    code: str = "",
) -> httpx2.Response:
    """Fill in the login page; what comes after its redirect, or the page again."""
    fields = {"i": hidden(answer.text), "username": subject, "password": password, "code": code}
    done = await browser.post("/auth/login", data=fields)
    if done.status_code != 303:
        return done
    return await browser.get(done.headers["location"])


async def allow(
    browser: httpx2.AsyncClient, answer: httpx2.Response, decision: str = "allow"
) -> httpx2.Response:
    """Tick what is ticked already on the consent page and press a button."""
    scopes = re.findall(r'name="scope" value="([^"]+)" checked', answer.text)
    fields = {"i": hidden(answer.text), "decision": decision, "scope": scopes}
    return await browser.post("/auth/consent", data=fields)


def came_back(answer: httpx2.Response) -> dict[str, str]:
    """The parameters a client gets at its redirect URI."""
    assert answer.status_code == 303, (answer.status_code, answer.text)
    query = urlsplit(answer.headers["location"]).query
    return {key: values[0] for key, values in parse_qs(query).items()}


async def a_code(browser: httpx2.AsyncClient, flow: Flow, **who: str) -> dict[str, str]:
    """The whole way through both pages."""
    page = await browser.get(flow.url())
    if "/auth/login" in page.text:
        page = await sign_in(browser, page, **who)
    if page.status_code == 200:
        page = await allow(browser, page)
    return came_back(page)


async def tokens(browser: httpx2.AsyncClient, flow: Flow, **who: str) -> dict[str, Any]:
    """Tokens for a person, from nothing."""
    back = await a_code(browser, flow, **who)
    answer = await browser.post("/auth/token", data=flow.exchange(back["code"]))
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def claims(token: str) -> dict[str, Any]:
    """What a JWT says, unverified."""
    import json

    body = token.split(".")[1]
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    return found
