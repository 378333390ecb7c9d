"""What the commands share: settings, an open shop, output for people or for scripts."""

import asyncio
import json
from collections.abc import Callable, Collection, Coroutine
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

import typer
from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table
from sqlalchemy import make_url

from common.approvals.showing import visible
from common.audit import outside
from common.audit.anchors import AnchorsBroken, last
from common.audit.chain import heads
from common.call import Actor, Call
from common.clock import utc_now
from common.errors import PolicyDenied, ShopError
from common.keys import KeyUnusable
from common.settings import Settings
from common.shop import Shop, opened, release

T = TypeVar("T")
Json = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]

NARROW: Final = 4  # what any other column can be folded to
BORDER: Final = 3
WIDEST: Final = 100_000


class NoShop(Exception):
    """There is nothing where the settings say the shop is."""


def with_shop(work: Callable[[Shop], Coroutine[Any, Any, T]], *, makes: bool = False) -> T:
    """Open the shop the environment names, do the work, close it. Only a command that ``makes``
    something new begins a shop where there is none: raises NoShop for the others.

    What was put on record is anchored, a refusal too: at a terminal there may be no server that
    would do it."""
    settings = Settings.load()
    if makes:
        _refuse_read_only(settings)
    file = sqlite_file(settings.database_url)
    if not makes and file is not None and not file.exists():
        raise NoShop(
            f"There is no shop here: {file} is not there. See SHOP_HOME; a new shop begins with: "
            "shop seed, shop import, shop user add"
        )

    async def run() -> T:
        async with opened(settings, duties=False) as shop:
            before = await _records(shop)
            try:
                return await work(shop)
            finally:
                records = await _records(shop)
                if shop.settings.duties and records > before:
                    await _anchored(shop, records)

    return asyncio.run(run())


def sqlite_file(url: str) -> Path | None:
    """The file of an embedded database."""
    found = make_url(url)
    return Path(found.database or "") if found.get_backend_name() == "sqlite" else None


async def _records(shop: Shop) -> int:
    found = await shop.database.run("*", heads, write=False)
    return sum(head.seq for head in found)


async def _anchored(shop: Shop, records: int) -> None:
    file = shop.settings.anchor_file
    try:
        newest = last(file) if file.exists() else None
        if newest is None or newest.count != records:
            await shop.housekeeping.anchor(force=True)
    except (AnchorsBroken, KeyUnusable, OSError) as error:  # the work is done all the same
        typer.echo(f"Not anchored: {error}", err=True)


async def recorded(
    shop: Shop, actor: Actor, tool: str, work: Callable[[Call], T], *, domain: str = "*"
) -> T:
    """Do something outside a tool in one transaction with its own audit record. Raises
    PolicyDenied where the settings say that nothing changes."""
    _refuse_read_only(shop.settings)
    return await outside.recorded(
        shop.database, utc_now, actor, "shop", tool, release(), work, domain=domain
    )


async def refusal_recorded(shop: Shop, actor: Actor, tool: str, error: ShopError) -> None:
    """What was refused at a terminal is on record too, where anything is."""
    if shop.settings.read_only:
        return
    await outside.refusal_recorded(shop.database, utc_now, actor, "shop", tool, release(), error)


def _refuse_read_only(settings: Settings) -> None:
    if settings.read_only:
        raise PolicyDenied("Nothing is changed: SHOP_READ_ONLY is set.", next="Unset it first.")


def person(subject: str) -> Actor:
    """Somebody at a terminal."""
    return Actor("local", subject, "terminal", frozenset())


def say_json(value: Any) -> None:
    """One JSON document on standard output."""
    typer.echo(json.dumps(value, ensure_ascii=False, indent=2, default=str))


def table(
    title: str, columns: list[str], rows: list[list[str]], *, whole: Collection[str] = ("id",)
) -> None:
    """A table for people. What is copied from it (the columns ``whole``) stands on one line however
    narrow the terminal is; in a pipe everything does."""
    if not rows:
        typer.echo(f"{title}: none.")
        return
    shown = [[visible(cell) for cell in row] for row in rows]
    drawn = Table(title=title, title_justify="left", header_style="bold")
    least = 1
    for place, column in enumerate(columns):
        kept = column in whole
        width = max((cell_len(row[place]) for row in shown), default=0) if kept else NARROW
        width = max(width, cell_len(column)) if kept else width
        drawn.add_column(column, overflow="fold", no_wrap=kept, min_width=width if kept else None)
        least += width + BORDER
    for row in shown:
        drawn.add_row(*(escape(cell) for cell in row))
    console = Console()
    if not console.is_terminal:
        least = Measurement.get(console, console.options.update(width=WIDEST), drawn).maximum
    Console(width=max(console.width, least)).print(drawn)
