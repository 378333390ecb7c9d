"""Start one server. Settings, database and identity are the same for all seven."""

import argparse
import atexit
import gc
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from common.toolset import Toolset
    from servers.front import Front

DOMAINS = ("inventory", "orders", "logistics", "returns", "claims", "payments", "storefront")
DESK = "desk"


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit 0 when the host closes the pipe, 2 when the shop cannot be opened."""
    parser = argparse.ArgumentParser(prog="python -m servers", description=__doc__)
    parser.add_argument(
        "server", nargs="?", choices=(*DOMAINS, DESK), metavar="server",
        help=f"which server to start: {', '.join(DOMAINS)}; "
        f"or {DESK}: the console, keys and sign-in alone, over HTTP",
    )  # fmt: skip
    parser.add_argument("--http", action="store_true", help="over HTTP; without a name, all seven")
    parser.add_argument("--read-only", action="store_true", help="refuse every changing call")
    chosen = parser.parse_args(arguments)
    if not chosen.http and chosen.server in (None, DESK):
        parser.error("name a server to start over stdio, or say --http")
    gc.disable()  # imports allocate much and free nothing
    atexit.register(gc.freeze)  # or the end looks through all of it: a quarter of a short life

    from common.setting_values import SettingError

    try:
        return _started(chosen.server, http=chosen.http, read_only=chosen.read_only)
    except SettingError as error:
        print(f"Not started: {error}", file=sys.stderr)
        return 2


def _started(server: str, *, http: bool, read_only: bool) -> int:
    front = None if http else _front(server)
    if front is not None and not _needed(front, read_only):
        return 0

    import anyio
    from sqlalchemy.exc import DBAPIError

    from common.errors import ShopError
    from common.gateways.port import GatewayError
    from common.keys import KeyUnusable
    from common.policy_file import PolicyError
    from common.storage.schema import SchemaError
    from common.telemetry import MissingExtra

    try:
        if http:
            return _serve_http(server, read_only)
        anyio.run(_serve, server, read_only, front)
    except ShopError as error:
        print(f"{error.message} {error.next}", file=sys.stderr)
        return 2
    except GatewayError as error:
        print(f"Not started: {error.message} {error.next}", file=sys.stderr)
        return 2
    except MissingExtra as error:
        print(f"Not started: {error}", file=sys.stderr)
        return 2
    except (SchemaError, KeyUnusable, PolicyError, DBAPIError, OSError) as error:
        print(f"The shop cannot be opened: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 0
    return 0


def toolsets(domains: Sequence[str] = DOMAINS) -> "list[Toolset]":
    """What the named servers offer."""
    return [import_module(f"servers.{domain}.tools").tools for domain in domains]


def _serve_http(domain: str | None, read_only: bool) -> int:
    from common.gateways import choosing
    from common.settings import Settings, figures_shared

    gc.enable()
    settings = Settings.load()
    if read_only:
        settings = replace(settings, read_only=True)
    choosing.check(settings.gateway)
    served = [name for name in DOMAINS if domain in (None, name)]
    with figures_shared(settings.http.workers):
        from common.http.serving import serve
        from common.http.startup import UnsafeToStart

        try:
            return serve(settings, partial(toolsets, served))
        except UnsafeToStart as error:
            print(f"Not started:\n{error}", file=sys.stderr)
            return 2


def _front(domain: str) -> "Front | None":
    from common.settings import Settings
    from servers import front

    return front.Front(domain, Settings.load().home) if front.usable() else None


def _needed(front: "Front", read_only: bool) -> bool:
    from common.settings import Settings

    settings = Settings.load()
    try:
        return front.needed(leads=settings.duties and not (read_only or settings.read_only))
    except KeyboardInterrupt:
        return False


async def _serve(domain: str, read_only: bool, front: "Front | None") -> None:
    import common.server  # noqa: F401 - the SDK, while nothing is collected
    from common import telemetry
    from common.settings import Settings
    from common.shop import opened

    settings = Settings.load()
    telemetry.configure(settings, f"shop-{domain}")
    if read_only:
        settings = replace(settings, read_only=True)
    tools = import_module(f"servers.{domain}.tools").tools
    gc.enable()
    async with opened(settings) as shop:
        server = shop.server(tools)
        gc.freeze()  # what stays for good is not looked through again and again
        if front is None:
            await server.run_stdio_async()
        else:
            await server.run_pipes(front.source, front.sink, front.stop(), front)
