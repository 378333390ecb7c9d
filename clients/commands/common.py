"""What the commands share: settings, an open shop, output for people or for scripts."""

import asyncio
import json
from collections.abc import Callable, Coroutine
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from common.approvals.showing import visible
from common.audit import outside
from common.call import Actor, Call
from common.clock import utc_now
from common.errors import ShopError
from common.settings import Settings
from common.shop import Shop, opened, release

T = TypeVar("T")
Json = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]


def with_shop(work: Callable[[Shop], Coroutine[Any, Any, T]]) -> T:
    """Open the shop the environment names, do the work, close it."""

    async def run() -> T:
        async with opened(Settings.load(), duties=False) as shop:
            return await work(shop)

    return asyncio.run(run())


async def recorded(
    shop: Shop, actor: Actor, tool: str, work: Callable[[Call], T], *, domain: str = "*"
) -> T:
    """Do something outside a tool in one transaction with its own audit record."""
    return await outside.recorded(
        shop.database, utc_now, actor, "shop", tool, release(), work, domain=domain
    )


async def refusal_recorded(shop: Shop, actor: Actor, tool: str, error: ShopError) -> None:
    """What was refused at a terminal is on record too."""
    await outside.refusal_recorded(shop.database, utc_now, actor, "shop", tool, release(), error)


def person(subject: str) -> Actor:
    """Somebody at a terminal."""
    return Actor("local", subject, "terminal", frozenset())


def say_json(value: Any) -> None:
    """One JSON document on standard output."""
    typer.echo(json.dumps(value, ensure_ascii=False, indent=2, default=str))


def table(title: str, columns: list[str], rows: list[list[str]]) -> None:
    """A table for people."""
    drawn = Table(title=title, title_justify="left", header_style="bold")
    for column in columns:
        drawn.add_column(column, overflow="fold")
    for row in rows:
        drawn.add_row(*(escape(visible(cell)) for cell in row))
    Console().print(drawn)
