"""The shop a replay plays in: imported once, copied for each task."""

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from mcp import Client
from sqlalchemy.orm import Session

from clients.exporters import tau2 as exporter
from clients.importers import tau2 as importer
from clients.importers.loader import load
from clients.importers.report import Report
from common.approvals import approvers, decisions
from common.call import Actor
from common.clock import utc_now
from common.shop import Shop
from servers.orders import tools as orders
from servers.returns import tools as returns
from tests.judges.tau2.compare import Shop as Export
from tests.judges.tau2.compare import normal
from tests.support.shop import Person, a_shop, actor, call, connected, do

AGENT: Actor = actor("agent@example.com", client="tau2 judge")
SECOND_PERSONS = ("bela@example.com", "cora@example.com")
PASSPHRASE = "a passphrase of the judge's own"


@dataclass
class Stage:
    """A shop with clients of its servers, and two other persons who approve what policy asks."""

    shop: Shop
    orders: Client
    returns: Client
    keys: dict[str, Ed25519PrivateKey]

    async def look(self, tool: str, **arguments: Any) -> dict[str, Any]:
        return await call(self.orders, tool, **arguments)

    async def write(self, client: Client, tool: str, key: str, **arguments: Any) -> dict[str, Any]:
        """Call a tool. The agent's own person says yes in the client; where policy asks for
        others, they approve and the same call is made again."""
        answer = await call(client, tool, idempotency_key=key, **arguments)
        if answer.get("status") != "approval_required":
            return answer
        await self._approve(answer["approval_id"])
        again = arguments | {"approval_id": answer["approval_id"]}
        return await call(client, tool, idempotency_key=key, **again)

    async def export(self) -> Export:
        now = self.shop.guard.clock()
        found = await self.shop.database.run(
            "*", lambda session: exporter.export(session, now), write=False
        )
        assert not found.left_out, found.left_out[:3]
        exported: Export = normal(found.shop)
        return exported

    async def read(self, work: Any) -> Any:
        return await self.shop.database.run("*", work, write=False)

    async def _approve(self, approval_id: str) -> None:
        for subject, key in self.keys.items():
            state = await do(
                self.shop, "*",
                lambda c, s=subject, k=key: _decided(c.session, approval_id, s, k, c.now),
            )  # fmt: skip
            if state != "pending":
                return


def _decided(
    session: Session, approval_id: str, subject: str, key: Ed25519PrivateKey, now: Any
) -> str:
    found = approvers.find(session, subject)
    moved = decisions.decide(session, approval_id, found, key, "approve", "", now, "terminal")
    return moved.to_state


async def imported(folder: Path, db: Path) -> tuple[Report, dict[str, Ed25519PrivateKey]]:
    """Import the shop and enroll the two persons. The folder is the snapshot from then on."""
    keys: dict[str, Ed25519PrivateKey] = {}
    async with a_shop(folder, clock=utc_now) as shop:
        report = await load(shop, importer.FORMAT, db, by=AGENT)
        for subject in SECOND_PERSONS:
            keys[subject] = await do(
                shop, "*", lambda c, s=subject: _enrolled(c.session, s, c.now, keys)
            )
    return report, keys


def _enrolled(
    session: Session, subject: str, now: Any, keys: dict[str, Ed25519PrivateKey]
) -> Ed25519PrivateKey:
    voucher = next(iter(keys), "")
    made = approvers.enroll(
        session, subject, subject, PASSPHRASE, voucher, now, voucher=keys.get(voucher), n=2**4
    )
    return approvers.unlock(made, PASSPHRASE)


@asynccontextmanager
async def restored(
    snapshot: Path, folder: Path, keys: dict[str, Ed25519PrivateKey]
) -> AsyncIterator[Stage]:
    """A copy of the snapshot, opened, with a client for each server."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(snapshot, folder)
    person = Person("yes")
    async with (
        a_shop(folder, clock=utc_now) as shop,
        connected(shop, orders.tools, who=AGENT, person=person) as to_orders,
        connected(shop, returns.tools, who=AGENT, person=person) as to_returns,
    ):
        yield Stage(shop, to_orders, to_returns, keys)
