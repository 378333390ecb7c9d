"""Every server, and what stands beside them, as one ASGI app."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from mcp.server.mcpserver import MCPServer
from starlette.applications import Starlette
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from common import metrics
from common.auth import Authenticator, Caller, Headers, calling_actor
from common.auth import server as auth_server
from common.auth.api_keys import http as api_keys
from common.auth.issuers import trusted
from common.errors import LATER
from common.gateways import webhook
from common.http import console, health, metadata
from common.http.answers import later, plain
from common.http.front import Front
from common.http.gate import Endpoint, Gate
from common.http.required_scopes import Needs
from common.http.sessions import Sessions, stateless
from common.http.watch import Watching
from common.metrics import measuring
from common.settings import HttpSettings
from common.shop import Shop
from common.toolset import Toolset

Guest = Callable[[Headers, str], Caller]
READING = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(frozen=True)
class HttpApp:
    """An ASGI app. Who opens the shop enters ``running()``; an ASGI server's lifespan does too."""

    asgi: ASGIApp
    running: Callable[[], AbstractAsyncContextManager[None]]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.asgi(scope, receive, send)


@dataclass(frozen=True)
class Served:
    """One server with its transports, behind its gate."""

    gate: Gate
    streaming: Any
    single: Any


def http_app(
    shop: Shop,
    toolsets: Sequence[Toolset],
    authenticator: Authenticator,
    *,
    issuers: Sequence[str] = (),
    guests: Mapping[str, Guest] | None = None,
    faces: bool = True,
    sessions: bool = True,
) -> HttpApp:
    """Each server at ``/<domain>/mcp``, both protocol eras on it; metadata, health, and the pages.

    ``issuers``: exactly as tokens name them; those trusted unless said. ``guests``: who calls a
    server without credentials. ``faces``: also the authorization server, API keys and the console.
    ``sessions``: keep sessions for older clients, which binds them to this process.
    """
    http = shop.settings.http
    issuers = issuers or [issuer.url for issuer in trusted(http)]
    watch = Watching(shop)
    served = {}
    domains = [toolset.domain for toolset in toolsets]
    for domain in ("", *domains):
        metrics.REFUSALS.labels(domain, "503", "storage_full")  # there from the start
    routes: list[BaseRoute] = health.routes(shop, domains)
    for toolset in toolsets:
        server = shop.server(toolset, calling_actor)
        guest = (guests or {}).get(toolset.domain)
        needs = Needs(server.toolset, metadata.base_scope(toolset.domain))
        served[f"/{toolset.domain}/mcp"] = serve_one(
            server, needs, http, authenticator, watch, guest=guest, sessions=sessions
        )
        routes.append(metadata.route(http, toolset, issuers))
    if faces:
        routes += webhook.routes(shop)
        routes += auth_server.routes(shop)
        routes += api_keys.routes(shop, authenticator)
        routes += console.routes(shop, authenticator)
    return compose(http, served, routes, read_only=shop.settings.read_only)


def serve_one(
    server: MCPServer[Any],
    needs: Needs,
    http: HttpSettings,
    authenticator: Authenticator,
    watch: Watching,
    *,
    guest: Guest | None = None,
    sessions: bool = True,
    **transport: Any,
) -> Served:
    """A server and its gate. ``transport`` goes to the session manager."""
    server.middleware.append(measuring(needs.toolset))  # type: ignore[arg-type]
    lowlevel = server._lowlevel_server  # the SDK has no public way to two transports of one server
    domain = needs.toolset.domain
    streaming = (
        Sessions(lowlevel, domain, **transport)
        if sessions
        else stateless(lowlevel, json_response=False)
    )
    single = stateless(lowlevel, json_response=True)
    endpoint = Endpoint(
        domain, needs, http.audience(domain), metadata.url(http, domain), streaming, single,
        sessions, guest,
    )  # fmt: skip
    return Served(Gate(endpoint, authenticator, watch), streaming, single)


async def _later(request: Request, error: Exception) -> Response:
    assert isinstance(error, LATER)
    refusal = later(error)
    metrics.REFUSALS.labels("", str(refusal.status), refusal.reason).inc()
    return JSONResponse(
        refusal.body, refusal.status, headers=health.NEVER_KEPT | dict(refusal.headers)
    )


def compose(
    http: HttpSettings, served: Mapping[str, Served], routes: Sequence[BaseRoute], *,
    read_only: bool = False,
) -> HttpApp:  # fmt: skip
    """Gates and routes under one roof. The lifespan runs every server's transports."""

    @asynccontextmanager
    async def running() -> AsyncIterator[None]:
        async with AsyncExitStack() as running:
            for one in served.values():
                await running.enter_async_context(one.streaming.run())
                await running.enter_async_context(one.single.run())
            yield

    pages = Starlette(
        routes=list(routes), lifespan=lambda app: running(),
        exception_handlers=dict.fromkeys(LATER, _later),
    )  # fmt: skip
    pages.router.redirect_slashes = False

    async def dispatch(scope: Scope, receive: Receive, send: Send) -> None:
        one = served.get(scope["path"]) if scope["type"] == "http" else None
        if read_only and one is None and scope.get("method", "GET") not in READING:
            await plain(503, "read_only", "This shop was started read-only.").answer(send)
        else:
            await (one.gate if one else pages)(scope, receive, send)

    crossing = CORSMiddleware(
        dispatch,
        allow_origins=list(http.allowed_origins),
        allow_methods=["GET", "POST", "PUT", "DELETE"],
        allow_headers=["*"],
        expose_headers=["Mcp-Session-Id", "WWW-Authenticate", "Retry-After"],
        max_age=600,
    )
    front = Front(crossing, http.allowed_hosts, http.allowed_origins, lines=http.access_log)
    return HttpApp(front, running)
