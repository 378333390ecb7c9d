"""The HTTP face for tests: a real uvicorn on loopback, in this loop, with callers named by hand."""

import asyncio
import secrets
import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import httpx2
import uvicorn
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from common.auth import Authenticator, Caller, CredentialsMalformed, CredentialsRefused, Headers
from common.auth.api_keys.checking import key_check, password_check
from common.auth.authenticator import authenticator
from common.call import Actor
from common.http.app import HttpApp, http_app
from common.http.serving import configured, listening
from common.settings import HttpSettings, Settings
from common.shop import Shop
from common.toolset import Toolset

OPENED_S = 20


@dataclass
class NamedCallers:
    """An authenticator whose tokens a test makes up."""

    callers: dict[str, Caller] = field(default_factory=dict)

    def token(
        self, audience: str, *scopes: str, subject: str = "ana@example.com", client: str = "test",
        expires_at: int = 0,
    ) -> str:  # fmt: skip
        """A token for one audience with these scopes."""
        token = secrets.token_urlsafe(16)
        actor = Actor("https://issuer.example", subject, client, frozenset(scopes))
        self.callers[token] = Caller(actor, "token", audience, expires_at)
        return token

    async def authenticate(self, headers: Headers, *, audience: str) -> Caller | None:
        given = [value for name, value in headers if name == b"authorization"]
        if not given:
            return None
        if len(given) > 1:
            raise CredentialsMalformed("Two credentials at once.")
        scheme, _, token = given[0].decode("latin-1").partition(" ")
        if scheme.lower() != "bearer":
            raise CredentialsRefused("scheme")
        caller = self.callers.get(token)
        if caller is None or caller.audience != audience:
            raise CredentialsRefused("forged")
        return caller


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def on_port(settings: Settings, port: int = 0, **environment: str) -> Settings:
    """The same settings with an HTTP face on a free port."""
    url = f"http://127.0.0.1:{port or free_port()}"
    http = HttpSettings.load({"SHOP_PUBLIC_URL": url, **environment})
    return replace(settings, http=http)


@dataclass
class Face:
    """A running face."""

    http: HttpSettings
    callers: NamedCallers

    @property
    def url(self) -> str:
        return self.http.public_url

    def token(self, domain: str, *scopes: str, **more: Any) -> str:
        return self.callers.token(self.http.audience(domain), *scopes, **more)

    def browser(self, **more: Any) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(base_url=self.url, timeout=30, **more)

    @asynccontextmanager
    async def client(
        self, domain: str, *scopes: str, token: str = "", mode: str = "auto", **more: Any
    ) -> AsyncIterator[Client]:
        """The official client, signed in."""
        token = token or self.token(domain, *scopes)
        headers = {"Authorization": f"Bearer {token}"}
        async with (
            httpx2.AsyncClient(headers=headers, timeout=60) as http,
            Client(
                streamable_http_client(self.http.audience(domain), http_client=http),
                mode=mode, **more,
            ) as client,
        ):  # fmt: skip
            yield client


class Quiet(uvicorn.Server):
    """A server that leaves the process's signals alone, and tells when it listens."""

    listening: asyncio.Event | None = None

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.listening is not None:
            self.listening.set()


@asynccontextmanager
async def uvicorn_serving(app: HttpApp, http: HttpSettings) -> AsyncIterator[None]:
    """Our own uvicorn configuration, in this loop.

    App and server live in a task of their own, so that a fixture may open them and another task
    close them.
    """
    config = configured(lambda: app, http)
    config.lifespan = "off"
    server = Quiet(config)
    server.listening = asyncio.Event()

    async def live() -> None:
        async with app.running():
            await server.serve(sockets=[listening(http)])

    living = asyncio.create_task(live())
    try:
        ready = asyncio.create_task(server.listening.wait())
        await asyncio.wait({living, ready}, timeout=OPENED_S, return_when="FIRST_COMPLETED")
        assert server.started, "the server did not start"
        yield
    finally:
        server.should_exit = True
        await living


@asynccontextmanager
async def remote(shop: Shop, toolsets: Sequence[Toolset], **more: Any) -> AsyncIterator[str]:
    """As it is deployed: tokens and keys really checked, every page there is."""
    checking = authenticator(shop, check_key=key_check(shop), check_password=password_check(shop))
    try:
        async with uvicorn_serving(http_app(shop, toolsets, checking, **more), shop.settings.http):
            yield shop.settings.http.public_url
    finally:
        await checking.close()


@asynccontextmanager
async def a_face(
    shop: Shop, toolsets: Sequence[Toolset], *, authenticator: Authenticator | None = None,
    **more: Any,
) -> AsyncIterator[Face]:  # fmt: skip
    """The app on a real socket. ``shop.settings.http`` says where: make it with ``on_port``."""
    callers = NamedCallers()
    app = http_app(shop, toolsets, authenticator or callers, **({"faces": False} | more))
    async with uvicorn_serving(app, shop.settings.http):
        yield Face(shop.settings.http, callers)
