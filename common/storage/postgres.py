"""Connections to PostgreSQL: to whichever host takes writes, and none that hangs.

A database URL may name several hosts, the primary and those that may take its place:
``postgresql+asyncpg:///shop?host=one:5432&host=two:5432``. Each connection goes to the first that
is in no recovery and not read-only by default; one that disappointed is asked last from then on.
After a promotion the old connections break, and the new ones go to the new primary.
"""

import socket
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from sqlalchemy import make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

SEARCH_S: Final = 10.0
"""To find a host, whatever the number of those that do not answer."""
IDLE_S, BETWEEN_S, PROBES, SILENT_MS = 5, 2, 3, 8_000
"""A silent peer is asked after so long; one that confirms nothing for so long is gone. Without
this a host that was cut off keeps its caller waiting for a quarter of an hour."""
_WATCHED: Final[Mapping[str, str]] = {
    "tcp_keepalives_idle": str(IDLE_S), "tcp_keepalives_interval": str(BETWEEN_S),
    "tcp_keepalives_count": str(PROBES), "tcp_user_timeout": str(SILENT_MS),
}  # fmt: skip
"""The same for the server, which else keeps the locks of a machine that vanished."""
_order: dict[tuple[Any, ...], list[tuple[Any, Any]]] = {}


class Unreachable(ConnectionError):
    """No host takes a connection now. Nothing was begun."""


def engine(url: str, settings: Mapping[str, str], **options: Any) -> AsyncEngine:
    """An engine whose connections are made by ``connect``. ``settings`` are the sessions'."""
    arguments = {"async_creator_fn": _opened, "server_settings": {**_WATCHED, **settings}}
    return create_async_engine(url, connect_args=arguments, **options)


async def connect(url: str, settings: Mapping[str, str]) -> Any:
    """A connection of asyncpg itself. Raises Unreachable and what asyncpg raises."""
    parsed = make_url(url)
    _, options = parsed.get_dialect()().create_connect_args(parsed)
    return await _opened(**options, server_settings={**_WATCHED, **settings})


async def _opened(**options: Any) -> Any:
    import asyncpg  # SQLite needs none

    hosts = _hosts(options.pop("host", None), options.pop("port", None))
    reading = options["server_settings"].get("default_transaction_read_only") == "on"
    options.setdefault("timeout", SEARCH_S / len(hosts))
    if len(hosts) > 1 and not reading:
        options.setdefault("target_session_attrs", "read-write")
    order = _order.setdefault(hosts, list(hosts))
    refused: Exception | None = None
    for host, port in tuple(order):
        taken = False
        try:
            connection = await asyncpg.connect(host=host, port=port, **options)
            taken = True
        except (
            OSError,  # a time-out is one
            asyncpg.ConnectionDoesNotExistError,
            asyncpg.OperatorInterventionError,  # it starts, ends, or ended us meanwhile
            asyncpg.TargetServerAttributeNotMatched,
            asyncpg.TooManyConnectionsError,
        ) as error:
            refused = error
            continue
        finally:
            if not taken:  # also when whoever waited gave up
                _ask_last(order, (host, port))
        # A connection that ends may have lost its host.
        connection.add_termination_listener(lambda _, lost=(host, port): _ask_last(order, lost))
        _watch(connection)
        return connection
    raise Unreachable(f"no host of the database takes a connection: {refused!r}") from refused


def _ask_last(order: list[tuple[Any, Any]], host: tuple[Any, Any]) -> None:
    order.remove(host)
    order.append(host)


def _hosts(host: Any, port: Any) -> tuple[tuple[Any, Any], ...]:
    if isinstance(host, list):
        return tuple(zip(host, port, strict=True))
    return ((host, port),)


def _watch(connection: Any) -> None:
    found = connection._transport.get_extra_info("socket")
    if found is None or found.family not in (socket.AF_INET, socket.AF_INET6):
        return
    found.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", IDLE_S), ("TCP_KEEPINTVL", BETWEEN_S), ("TCP_KEEPCNT", PROBES),
        ("TCP_USER_TIMEOUT", SILENT_MS),
    ):  # fmt: skip
        with suppress(OSError, AttributeError):  # not every system has every one
            found.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
