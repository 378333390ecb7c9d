"""The demo shop with a client of each server, and everything in it that could be harmed."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mcp import Client
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from clients.seeding import seed_demo
from common.approvals.tools import offered_by
from common.call import Actor, Call
from common.server.completing import completing
from common.shop import Shop
from common.tables.spine import AuditRecord
from common.tables.whole import tables
from common.toolset import Toolset, ToolSpec
from servers.run import DOMAINS
from tests.support.shop import MovingClock, Person, a_shop, actor, connected, look

SIX = tuple(name for name in DOMAINS if name != "storefront")
# What a refused call may write: that it was refused, and what somebody asked a person for.
RECORDS = {
    "audit_record", "audit_head", "audit_payload", "access_record", "approval_request",
    "stored_result",
}  # fmt: skip


@cache
def toolset(domain: str) -> Toolset:
    tools: Toolset = import_module(f"servers.{domain}.tools").tools
    return completing(offered_by(tools))


def every_tool() -> list[tuple[str, str]]:
    return [(domain, name) for domain in SIX for name in toolset(domain).tools]


def spec_of(domain: str, tool: str) -> ToolSpec:
    return toolset(domain).tools[tool]


class Unrationed:
    """Every refusal is written down, so that they can be counted."""

    def take(self, caller: str, at: float) -> int:
        return 0


@dataclass
class Stand:
    shop: Shop
    clock: MovingClock
    clients: dict[str, Client]
    ids: dict[tuple[str, str], list[str]]

    async def call(self, domain: str, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
        result = await self.clients[domain].call_tool(tool, arguments)
        found: Any = result.structured_content
        assert isinstance(found, dict), (tool, arguments, result)
        return found

    async def harm(self) -> str:
        """A digest of every row that is no record."""
        return await look(self.shop, digest)

    async def refusals(self) -> int:
        query = select(func.count()).select_from(AuditRecord)
        return await look(self.shop, lambda s: s.scalar(query)) or 0


def digest(session: Session) -> str:
    found = hashlib.sha256()
    for name, kind in sorted(tables().items()):
        if name not in RECORDS:
            rows = session.execute(select(kind.__table__)).all()
            found.update(repr((name, sorted(map(repr, rows)))).encode())
    return found.hexdigest()


async def _seed(url: str) -> None:
    with TemporaryDirectory() as folder:
        async with a_shop(Path(folder), database_url=url) as shop:
            await seed_demo(shop, days=2)


def seeded(url: str) -> None:
    """The demo shop, to be copied."""
    asyncio.run(_seed(url))


@asynccontextmanager
async def standing(
    url: str, folder: Path, who: Actor | None = None, person: Person | None = None
) -> AsyncIterator[Stand]:
    """The demo shop in a database. Without a person nobody answers questions, so nothing above
    level 0 comes true."""
    clock = MovingClock()
    async with AsyncExitStack() as stack:
        shop = await stack.enter_async_context(a_shop(folder, clock=clock, database_url=url))
        shop.guard._ration = Unrationed()  # type: ignore[assignment]
        clients = {
            domain: await stack.enter_async_context(
                connected(shop, toolset(domain), who=who, person=person)
            )
            for domain in SIX
        }
        ids = await look(shop, lambda s: known_ids(s, clock))
        yield Stand(shop, clock, clients, ids)


def known_ids(session: Session, clock: MovingClock) -> dict[tuple[str, str], list[str]]:
    """By server and argument, ids that exist: what the completers offer."""
    found = {}
    for domain in SIX:
        for name, complete in toolset(domain).completers.items():
            call = Call(actor(), session, clock.now, "", domain, "complete")
            found[domain, name] = complete(call, "")[:40]
    return found
