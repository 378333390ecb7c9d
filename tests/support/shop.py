"""A shop for a test: a real database file, real servers, real clients in memory."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from mcp import Client
from mcp.types import CallToolResult, ElicitResult
from sqlalchemy.orm import Session

from common.audit import chain
from common.call import Actor, Call
from common.scopes import Scope
from common.settings import Settings
from common.shop import Shop
from common.storage import grants, schema
from common.storage.database import Database, new_audit_id
from common.toolset import Toolset
from tests.support.postgres import Postgres
from tests.support.templates import bare, copied

T = TypeVar("T")
START = datetime(2026, 11, 2, 9, 0, tzinfo=UTC)
EVERYTHING = frozenset(str(scope) for scope in Scope if scope is not Scope.APPROVALS_DECIDE)


class MovingClock:
    """A clock that a test moves."""

    def __init__(self, start: datetime = START) -> None:
        self.now = start

    def __call__(self) -> datetime:
        return self.now

    def forward(self, **by: float) -> None:
        self.now += timedelta(**by)


def actor(subject: str = "ana@example.com", *scopes: str, client: str = "test") -> Actor:
    """An operator with every scope, or with those named."""
    return Actor("local", subject, client, frozenset(scopes) or EVERYTHING)


def settings_in(folder: Path, **changes: Any) -> Settings:
    """Settings of a shop whose every file is in ``folder``."""
    given = {
        "SHOP_HOME": str(folder),
        "SHOP_OPERATOR": "ana@example.com",
        "SHOP_RATE_LIMITS": "off",
    }
    settings = Settings.load(given)
    return replace(settings, **changes)


def begin(folder: Path) -> None:
    """A database with the schema, where a folder has none."""
    if not (folder / "shop.db").exists():
        copied(bare(), folder / "shop.db")


def walled(url: str) -> None:
    """The schema and every server's rights, in an empty database."""
    schema.upgrade_now(url)
    asyncio.run(schema.apply(url, grants.sql()))


@cache
def _server() -> Postgres:
    return Postgres(os.environ["SHOP_TEST_DATABASE_URL"], "roles")


@cache
def _walled_url(folder: str) -> str:
    return _server().copy_of("walled", walled)


@asynccontextmanager
async def a_shop(
    folder: Path, *, clock: Callable[[], datetime] | None = None, **changes: Any
) -> AsyncIterator[Shop]:
    """An empty shop in a folder; ``database_url`` may name another database.

    With ``SHOP_TEST_SHOPS=roles`` it is in the PostgreSQL that SHOP_TEST_DATABASE_URL names, behind
    one login a server: how whole suites are run against the wall of deploy/grants.sql.
    """
    if "database_url" not in changes and os.environ.get("SHOP_TEST_SHOPS") == "roles":
        changes |= {"database_url": _walled_url(str(folder)), "database_roles": True}
    elif "database_url" not in changes:
        begin(folder)
    shop = await Shop.open(settings_in(folder, **changes), clock=clock or MovingClock())
    try:
        yield shop
    finally:
        await shop.close()


async def do(shop: Shop, domain: str, work: Callable[[Call], T], *, who: Actor | None = None) -> T:
    """Run a rule in an audited transaction, as seeding and importing do."""
    audit_id, now = new_audit_id(), shop.guard.clock()

    def inside(session: Session) -> T:
        call = Call(who or actor(), session, now, audit_id, domain, "test")
        result = work(call)
        session.flush()
        chain.append(
            session, audit_id=audit_id, now=now, payload=None,
            record={
                "v": 1, "server": domain, "tool": "test", "outcome": "ok", "args": {},
                "actor": {"iss": "local", "sub": "test", "client": "test"},
                "effects": call.effects,
            },
        )  # fmt: skip
        return result

    if shop.database.roles and domain not in grants.SERVERS:
        owner = Database(shop.settings.database_url)  # who seeds is above the wall
        try:
            return await owner.run(domain, inside, audit_id=audit_id)
        finally:
            await owner.close()
    return await shop.database.run(domain, inside, audit_id=audit_id)


def filled(domain: str, world: Callable[[Call], object]) -> Callable[[str], None]:
    """What makes a template of it: a shop at a URL in which ``world`` was done."""

    async def fill(url: str) -> None:
        with TemporaryDirectory() as folder:
            async with a_shop(Path(folder), database_url=url) as shop:
                await do(shop, domain, world)

    return lambda url: asyncio.run(fill(url))


async def look(shop: Shop, work: Callable[[Session], T]) -> T:
    """Read what a test wants to know."""
    return await shop.database.run("*", work, write=False)


@dataclass
class Person:
    """Answers elicitations: ``yes``, ``no`` or ``cancel``; remembers the questions."""

    answer: str = "yes"
    questions: list[str] | None = None

    async def __call__(self, context: Any, params: Any) -> ElicitResult:
        if self.questions is not None:
            self.questions.append(params.message)
        if self.answer == "cancel":
            return ElicitResult(action="cancel")
        if self.answer == "no":
            return ElicitResult(action="decline")
        return ElicitResult(action="accept", content={"agree": True})


@asynccontextmanager
async def connected(
    shop: Shop,
    toolset: Toolset,
    *,
    who: Actor | None = None,
    mode: str = "auto",
    person: Callable[..., Awaitable[Any]] | None = None,
) -> AsyncIterator[Client]:
    """A client of the toolset's server, in memory; with ``person`` it can answer questions.

    It lives in a task of its own, so that a fixture may open it and another task close it.
    """
    server = shop.server(toolset, lambda: who or actor())
    ready: asyncio.Future[Client] = asyncio.get_running_loop().create_future()
    over = asyncio.Event()

    async def live() -> None:
        try:
            async with Client(server, mode=mode, elicitation_callback=person) as client:  # type: ignore[arg-type]
                ready.set_result(client)
                await over.wait()
        except BaseException as error:
            if not ready.done():
                ready.set_exception(error)
            raise

    living = asyncio.create_task(live())
    try:
        yield await ready
    finally:
        over.set()
        await living


async def call(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    """Call a tool; the structured result. A refusal is returned too: look at its ``code``."""
    result = await client.call_tool(tool, arguments)
    assert isinstance(result, CallToolResult)
    assert isinstance(result.structured_content, dict), result
    return result.structured_content


async def done(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    """Call a tool that must succeed now."""
    answer = await call(client, tool, **arguments)
    assert "code" not in answer, answer
    assert answer.get("status") != "approval_required", answer
    return answer


async def refused(client: Client, tool: str, code: str, **arguments: Any) -> dict[str, Any]:
    """Call a tool that must refuse with this code."""
    answer = await call(client, tool, **arguments)
    assert answer.get("code") == code, answer
    return answer
