"""From settings to a listening process: uvicorn with uvloop and httptools, one or many workers."""

import gc
import logging
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final

import uvicorn
from sqlalchemy import make_url
from sqlalchemy.orm import configure_mappers
from starlette.applications import Starlette
from starlette.types import ASGIApp, Receive, Scope, Send

from common import telemetry
from common.auth.api_keys.checking import key_check, password_check
from common.auth.authenticator import authenticator
from common.http.app import HttpApp, http_app
from common.http.bounds import BoundedHttp
from common.http.guests import guests
from common.http.startup import UnsafeToStart, check
from common.http.workers import Workers
from common.settings import HttpSettings, Settings
from common.shop import opened
from common.toolset import Toolset

log = logging.getLogger(__name__)

GRACE_S: Final = 10
KEEP_ALIVE_S: Final = 75  # longer than proxies keep theirs
MOST_CONNECTIONS: Final = 2_000

Toolsets = Callable[[], Sequence[Toolset]]


def serve(settings: Settings, toolsets: Toolsets) -> int:
    """Serve until told to stop. Returns the exit code. Raises UnsafeToStart before a port is
    opened."""
    check(settings.http)
    listener = listening(settings.http)
    config = configured(partial(application, settings, toolsets), settings.http)
    if settings.http.workers > 1:
        load(settings, toolsets())
        return Workers(config, listener, grace_s=GRACE_S + 5).run()
    uvicorn.Server(config).run(sockets=[listener])
    return 0


def load(settings: Settings, toolsets: Sequence[Toolset]) -> None:
    """Whatever every worker needs and none changes, once for all of them. Opens nothing."""
    configure_mappers()
    make_url(settings.database_url).get_dialect().import_dbapi()
    for toolset in toolsets:
        for spec in toolset.tools.values():
            spec.input_schema, spec.output_schema  # noqa: B018 - made once, then kept


def application(settings: Settings, toolsets: Toolsets) -> ASGIApp:
    """One worker's app: it opens the shop when the process starts, closes it when it ends."""
    telemetry.configure(settings, "shop-http")
    if settings.http.access_log:
        logging.getLogger("shop.access").setLevel("INFO")
    app: HttpApp | None = None

    @asynccontextmanager
    async def lifespan(outer: Starlette) -> AsyncIterator[None]:
        nonlocal app
        async with opened(settings) as shop:
            checking = authenticator(
                shop, check_key=key_check(shop), check_password=password_check(shop)
            )
            app = http_app(
                shop, toolsets(), checking, guests=guests(settings.http),
                sessions=settings.http.workers == 1,
            )  # fmt: skip
            gc.freeze()  # what stays for good is not looked through again and again
            try:
                async with app.running():
                    yield
            finally:
                await checking.close()

    outer = Starlette(lifespan=lifespan)

    async def serve_one(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await outer(scope, receive, send)
        else:
            assert app is not None
            await app(scope, receive, send)

    return serve_one


def configured(factory: Callable[[], Any], http: HttpSettings) -> uvicorn.Config:
    """The same server everywhere. Without uvloop, a second worker would answer in 44 ms."""
    return uvicorn.Config(
        factory,
        factory=True,
        host=http.host,
        port=http.port,
        workers=http.workers,
        loop="uvloop",
        http=BoundedHttp,
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=bool(http.trusted_proxies),
        forwarded_allow_ips=list(http.trusted_proxies),
        limit_concurrency=MOST_CONNECTIONS,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=GRACE_S,
    )


def listening(http: HttpSettings) -> socket.socket:
    """The listening socket, named as TCP so that small answers are not held back. Raises
    UnsafeToStart where the address or the port cannot be had."""
    family = socket.AF_INET6 if ":" in http.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((http.host, http.port))
    except OSError as error:
        listener.close()
        raise UnsafeToStart(
            f"{http.host}, port {http.port}, cannot be listened on ({error.strerror}): stop what "
            "does, or set SHOP_HTTP_PORT or SHOP_HTTP_HOST."
        ) from None
    listener.set_inheritable(True)
    return listener
