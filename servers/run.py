"""Start one server. Settings, database and identity are the same for all seven."""

import argparse
import gc
import logging
import sys
from collections.abc import Sequence
from importlib import import_module

DOMAINS = ("inventory", "orders", "logistics", "returns", "claims", "payments", "storefront")


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit 0 when the host closes the pipe, 2 when the shop cannot be opened."""
    parser = argparse.ArgumentParser(prog="python -m servers", description=__doc__)
    parser.add_argument("server", choices=DOMAINS, help="which server to start over stdio")
    parser.add_argument("--read-only", action="store_true", help="refuse every changing call")
    chosen = parser.parse_args(arguments)
    gc.disable()  # imports allocate much and free nothing

    import anyio
    from sqlalchemy.exc import DBAPIError

    from common.errors import ShopError
    from common.keys import KeyUnusable
    from common.policy_file import PolicyError
    from common.schema import SchemaError

    try:
        anyio.run(_serve, chosen.server, chosen.read_only)
    except ShopError as error:
        print(f"{error.message} {error.next}", file=sys.stderr)
        return 2
    except (SchemaError, KeyUnusable, PolicyError, DBAPIError, OSError) as error:
        print(f"The shop cannot be opened: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 0
    return 0


async def _serve(domain: str, read_only: bool) -> None:
    from dataclasses import replace

    import common.server  # noqa: F401 - the SDK, while nothing is collected
    from common.settings import Settings
    from common.shop import opened

    settings = Settings.load()
    logging.basicConfig(stream=sys.stderr, level=settings.log_level)
    if read_only:
        settings = replace(settings, read_only=True)
    tools = import_module(f"servers.{domain}.tools").tools
    gc.enable()
    async with opened(settings) as shop:
        await shop.server(tools).run_stdio_async()
