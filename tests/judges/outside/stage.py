"""What is judged: the demo shop over HTTP, signed in as people, and one with an approver."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import httpx2
from sqlalchemy import select
from sqlalchemy.orm import Session

from clients.seeding import seed_demo
from common import policy
from common.approvals import approvers
from common.auth.server import users
from common.call import Call
from common.clock import utc_now
from common.settings import inherited
from common.shop import Shop
from common.tables.inventory import SupplierItem, Warehouse
from servers.run import DOMAINS
from tests.support.auth_server import COST, PASSWORD, Flow, tokens
from tests.support.http import on_port, remote
from tests.support.shop import a_shop, do, settings_in

ANA, BEN, KIM = "ana@example.com", "ben@example.com", "kim@example.com"
PASSPHRASE = "five random words would do"
DENIED_FROM = 501
PATIENCE_S = 300


@dataclass(frozen=True)
class Verdict:
    """``outcome``: passed, failed, inconclusive, or does not apply."""

    judge: str
    check: str
    outcome: str
    said: str = ""


@dataclass(frozen=True)
class Stage:
    """A served shop, two people of equal rights, and where the judges are installed."""

    shop: Shop
    judges: Path
    folder: Path

    def url(self, domain: str = "inventory") -> str:
        return self.shop.settings.http.audience(domain)

    async def token(self, subject: str, domain: str = "inventory") -> str:
        """What a host holds after this person signed in and agreed."""
        flow = Flow(self.url(domain), scope=f"{domain}:read {domain}:write")
        async with httpx2.AsyncClient(base_url=self.shop.settings.http.public_url) as browser:
            return str((await tokens(browser, flow, subject=subject))["access_token"])

    async def an_article(self) -> dict[str, Any]:
        """Something to order again, worth so little that the caller may agree alone."""

        def cheapest(session: Session) -> dict[str, Any]:
            order = (SupplierItem.unit_cost_minor * SupplierItem.minimum_order, SupplierItem.sku)
            sku = session.scalar(select(SupplierItem.sku).order_by(*order).limit(1))
            warehouse = session.scalar(select(Warehouse.id).order_by(Warehouse.id).limit(1))
            return {"sku": sku, "warehouse": warehouse, "even_if_open": True}

        return await self.shop.database.run("*", cheapest, write=False)

    async def run(self, program: str, *arguments: str, **environment: str) -> tuple[int, str]:
        """Run one judge to its end; its exit code and everything it said."""
        process = await asyncio.create_subprocess_exec(
            str(self.judges / "bin" / program), *arguments, cwd=self.folder,
            env=inherited(HOME=str(self.folder), COLUMNS="200", **environment),
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        try:
            out, _ = await asyncio.wait_for(process.communicate(), PATIENCE_S)
        except TimeoutError:
            process.kill()
            await process.wait()
            return -1, f"not done after {PATIENCE_S} s"
        return process.returncode or 0, out.decode(errors="replace")


@asynccontextmanager
async def stage(judges: Path, folder: Path) -> AsyncIterator[Stage]:
    """The demo shop, its seven servers and its authorization server on a free port."""
    home = folder / "shop"
    http = on_port(settings_in(home)).http
    toolsets = [import_module(f"servers.{name}.tools").tools for name in DOMAINS]
    async with a_shop(home, clock=utc_now, http=http, policy_file=_policy(folder)) as shop:
        await seed_demo(shop, days=14)
        await do(shop, "*", _enrolled)
        for subject in (ANA, BEN):
            kept = users.hashed(PASSWORD, COST)
            await shop.database.run(
                "*",
                lambda s, who=subject, kept=kept: users.add(
                    s, who, who, kept, users.USUAL_SCOPES, utc_now()
                ),
            )
        async with remote(shop, toolsets):
            yield Stage(shop, judges, folder)


def _policy(folder: Path) -> Path:
    """The default one, and a rule that denies: corrections of more units than that."""
    text = (Path(policy.__file__).parent / "policy.toml").read_text(encoding="utf-8")
    head, rule, tail = text.partition("[inventory.adjust_stock]")
    units = f'{{ upto = {DENIED_FROM - 1}, level = 2 }},\n  {{ level = "deny" }}'
    file = folder / "policy.toml"
    file.write_text(head + rule + tail.replace("upto = 100, level = 1 },\n  { level = 2 }",
        f"upto = 100, level = 1 }},\n  {units}", 1), encoding="utf-8")  # fmt: skip
    return file


def _enrolled(call: Call) -> None:
    approvers.enroll(call.session, KIM, "Kim", PASSPHRASE, "", call.now, n=2**4)
