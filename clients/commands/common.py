"""What the commands share: settings, an open shop, output for people or for scripts."""

import asyncio
import json
import unicodedata
from collections.abc import Callable, Coroutine
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from sqlalchemy.orm import Session

from common.audit import chain
from common.audit.records import FORM, who
from common.call import Actor, Call
from common.clock import utc_now
from common.database import new_audit_id
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
    audit_id, now = new_audit_id(), utc_now()

    def inside(session: Session) -> T:
        call = Call(actor, session, now, audit_id, "shop", tool)
        result = work(call)
        session.flush()
        record = {
            "v": FORM, "server": "shop", "version": release(), "tool": tool, "outcome": "ok",
            "actor": who(actor), "args": {}, "effects": call.effects,
        }  # fmt: skip
        chain.append(session, audit_id=audit_id, now=now, record=record, payload=None)
        return result

    return await shop.database.run(domain, inside, audit_id=audit_id)


async def refusal_recorded(shop: Shop, actor: Actor, tool: str, error: ShopError) -> None:
    """What was refused at a terminal is on record too."""
    audit_id, now = new_audit_id(), utc_now()
    record = {
        "v": FORM, "server": "shop", "version": release(), "tool": tool, "outcome": "refused",
        "error": error.code, "actor": who(actor), "args": {},
    }  # fmt: skip
    await shop.database.run(
        "*", lambda s: chain.append(s, audit_id=audit_id, now=now, record=record), audit_id=audit_id
    )


def person(subject: str) -> Actor:
    """Somebody at a terminal."""
    return Actor("local", subject, "terminal", frozenset())


def visible(text: str) -> str:
    """Text from a database as a terminal may show it: nothing that moves the cursor or hides."""
    return "".join(
        "\ufffd" if unicodedata.category(ch) in {"Cc", "Cf", "Co", "Cs", "Zl", "Zp"} else ch
        for ch in text
    )


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
