"""A shop opened: its database, policy, keys, guard and records, for one process."""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from common.approvals.tools import offered_by
from common.audit.access import AccessWriter
from common.background.election import Election, lock_for
from common.call import LOCAL_ISSUER, Actor, Identity
from common.call_rates import rates
from common.carriers.simulator import CarrierSimulator
from common.clock import Clock, utc_now
from common.gateways import choosing
from common.gateways.port import PaymentGateway
from common.guard import Guard
from common.keys import request_state_key
from common.limits import Limits
from common.notices import Notices
from common.policy import Policy
from common.settings import Settings
from common.shoppers import local_shopper, tell_terms
from common.storage import schema
from common.storage.database import Database
from common.toolset import Toolset

if TYPE_CHECKING:
    from common.background.housekeeping import Housekeeping
    from common.background.outbox import OutboxWorker
    from common.carriers.worker import CarrierWorker
    from common.server import ShopServer

log = logging.getLogger(__name__)


@dataclass
class Shop:
    """What every server of one process shares."""

    settings: Settings
    database: Database
    policy: Policy
    guard: Guard
    access: AccessWriter
    election: Election
    notices: Notices

    @classmethod
    async def open(cls, settings: Settings, *, clock: Clock = utc_now) -> "Shop":
        """Open or create the shop's database, bring its schema up to date, load the policy."""
        settings.home.mkdir(0o700, parents=True, exist_ok=True)
        policy = Policy.load(settings.policy_file)
        database = Database(
            settings.database_url, read_only=settings.read_only, roles=settings.database_roles,
            pool=settings.database_pool,
        )  # fmt: skip
        await schema.upgrade(database)
        tell_terms(database.engine, settings.storefront)
        access = AccessWriter(database, enabled=not settings.read_only)
        guard = Guard(
            database, policy, clock=clock, access=access, version=release(),
            limits=Limits(database, rates(settings.rate_limits)), read_only=settings.read_only,
        )  # fmt: skip
        guard.ports = {"carriers": carriers(settings, clock), "routing": settings.routing}
        election = Election(lock_for(database))
        return cls(settings, database, policy, guard, access, election, Notices(database))

    async def close(self) -> None:
        """Flush what is pending and give back every connection."""
        await self.election.stop()
        await self.notices.stop()
        await self.access.aclose()
        await self.database.close()

    @cached_property
    def gateways(self) -> Mapping[str, PaymentGateway]:
        """By the name payments store. Raises GatewayMisconfigured."""
        return choosing.chosen(self.settings, self.guard.clock)

    async def lead(self) -> None:
        """The work of the one process that leads. The others never load it."""
        async with asyncio.TaskGroup() as group:
            for duty in (self.housekeeping, self.outbox, self.labels):
                group.create_task(duty.forever())

    @cached_property
    def housekeeping(self) -> "Housekeeping":
        """Does what has to be done with time."""
        from common.background.housekeeping import Housekeeping

        return Housekeeping(self.database, self.settings, self.guard.clock)

    @cached_property
    def outbox(self) -> "OutboxWorker":
        """Tells the provider what was decided here. Raises GatewayMisconfigured."""
        from common.background.outbox import OutboxWorker

        return OutboxWorker(self.database, self.gateways, self.guard.clock)

    @cached_property
    def labels(self) -> "CarrierWorker":
        """Asks carriers for labels and pick-ups."""
        from common.carriers.worker import CarrierWorker

        return CarrierWorker(self.database, self.guard.ports["carriers"], self.guard.clock)

    def nudge(self) -> None:
        """Something may have been decided that is to be told, if it is this process that tells."""
        if self.election.leading.is_set():
            self.outbox.nudge()
            self.labels.nudge()

    def server(self, toolset: Toolset, identity: Identity | None = None) -> "ShopServer":
        """The toolset as an MCP server; a local caller unless ``identity`` says who calls."""
        from common.server import ShopServer  # the SDK: commands need a shop and no server
        from common.server.completing import completing

        if identity is None:
            shops = toolset.domain == "storefront"
            local = local_shopper(self.settings) if shops else local_identity(self.settings)
        who = identity or (lambda: local)
        return ShopServer(
            completing(offered_by(toolset)), self.guard, who,
            state_key=request_state_key(self.settings.key_dir), notices=self.notices,
            console=f"{self.settings.http.public_url}/console",
        )  # fmt: skip


@asynccontextmanager
async def opened(
    settings: Settings, *, clock: Clock = utc_now, duties: bool = True
) -> AsyncIterator[Shop]:
    """A shop for the length of a block, with what it does by itself: housekeeping, and the outbox,
    in one process of all that have it open. A command that is over in a moment leaves these to the
    servers. Raises GatewayMisconfigured."""
    shop = await Shop.open(settings, clock=clock)
    try:
        shop.notices.start()
        if duties and settings.duties and not settings.read_only:
            log.debug("payments go through %s", ", ".join(shop.gateways))
            shop.guard.committed = shop.nudge
            shop.election.duty(shop.lead)
            shop.election.start()
        yield shop
    finally:
        with_deadline = asyncio.shield(shop.close())
        await with_deadline


def carriers(settings: Settings, clock: Clock) -> dict[str, CarrierSimulator]:
    """Carriers by the name of their connection."""
    return {"simulator": CarrierSimulator(settings.home / "carrier.db", clock=clock)}


def local_identity(settings: Settings) -> Actor:
    """Who calls over stdio: the operator the host's configuration names."""
    return Actor(LOCAL_ISSUER, settings.operator, "stdio", settings.scopes)


def release() -> str:
    """The installed version."""
    try:
        return version("shop")
    except PackageNotFoundError:
        return "0"
