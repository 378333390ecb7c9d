"""A shop with a client of each of the six servers, its provider, and the people around it."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import date
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

from mcp import Client
from sqlalchemy.orm import Session

from common.approvals import approvers, decisions
from common.call import Call
from common.clock import stamp
from common.gateways.simulator import Simulator
from common.rules import stock
from common.shop import Shop
from common.tables.inventory import Lot, Variant
from common.tables.orders import Customer
from common.tables.payments import PaymentMethod
from common.tables.returns import ReturnPolicy
from tests.logistics.seed import address, world
from tests.support.shop import MovingClock, Person, a_shop, call, connected, do, done, look

T = TypeVar("T")
SIX = ("inventory", "orders", "logistics", "returns", "claims", "payments")
HOUSE, LAMP, JAM = "WH-1", "LAMP", "JAM"
PASSPHRASE = "five random words would do"


@dataclass
class Town:
    shop: Shop
    clock: MovingClock
    clients: dict[str, Client]
    _number: int = 0
    _colleague: Any = field(default=None)

    async def ask(self, server: str, tool: str, **arguments: Any) -> dict[str, Any]:
        """The answer, whatever it is; a changing call is an intent of its own."""
        key = {}
        if "idempotency_key" in (await self._schema(server, tool))["properties"]:
            self._number += 1
            key = {"idempotency_key": f"saga-key-{self._number:06d}"}
        return await call(self.clients[server], tool, **(key | arguments))

    async def do(self, server: str, tool: str, **arguments: Any) -> dict[str, Any]:
        """A call that must succeed now, or when a colleague has approved it."""
        answer = await self.ask(server, tool, **arguments)
        if answer.get("status") == "approval_required":
            await self.approve(answer["approval_id"])
            arguments |= {"approval_id": answer["approval_id"]}
            answer = await done(self.clients[server], tool, **arguments)
        assert "message" not in answer or "code" not in answer, answer
        return answer

    async def refused(self, server: str, tool: str, code: str, **arguments: Any) -> dict[str, Any]:
        answer = await self.ask(server, tool, **arguments)
        assert answer.get("code") == code, answer
        return answer

    async def approve(self, id: str) -> None:
        if self._colleague is None:
            who = ("ben@example.com", "Ben", PASSPHRASE, "")
            made = await do(
                self.shop, "*", lambda c: approvers.enroll(c.session, *who, c.now, n=2**4)
            )
            self._colleague = (made, approvers.unlock(made, PASSPHRASE))
        await do(
            self.shop, "*",
            lambda c: decisions.decide(
                c.session, id, *self._colleague, "approve", "", c.now, "terminal"
            ),
        )  # fmt: skip

    async def _schema(self, server: str, tool: str) -> dict[str, Any]:
        spec = import_module(f"servers.{server}.tools").tools.tools[tool]
        found: dict[str, Any] = spec.input_schema
        return found

    async def look(self, work: Callable[[Session], T]) -> T:
        return await look(self.shop, work)

    @property
    def provider(self) -> Simulator:
        found = self.shop.gateways["simulator"]
        assert isinstance(found, Simulator)
        return found

    async def provider_answers(self) -> None:
        """The outbox is worked through, and the provider's own time passes."""
        await self.shop.outbox.drain()
        self.provider.advance()
        self.clock.forward(minutes=15)
        await self.shop.outbox.drain()
        await self.shop.outbox.follow()

    async def available(self, sku: str = LAMP) -> int:
        return await self.look(lambda s: stock.level(s, self.clock.now, sku, HOUSE).available)

    async def order(self, number: int = 1, quantity: int = 1, sku: str = LAMP) -> dict[str, Any]:
        """A customer orders by phone; the provider has not answered yet."""
        return await self.do(
            "orders", "place_order", customer_id=f"cus-{number}",
            payment_method_id=f"card-{number}",
            lines=[{"sku": sku, "quantity": quantity}], warehouse=HOUSE, ship_to=plain(number),
        )  # fmt: skip

    async def shipped(self, order_id: str) -> str:
        """By post: label, and the carrier has picked it up. The shipment's id."""
        await self.do("orders", "release_to_fulfilment", order_id=order_id)
        made = await self.do(
            "logistics", "create_shipment", order_id=order_id, carrier="post", service="standard"
        )
        await self.event(made["shipment_id"], "picked_up")
        return str(made["shipment_id"])

    async def event(self, shipment_id: str, status: str, **more: Any) -> dict[str, Any]:
        self._number += 1
        return await self.do(
            "logistics", "record_tracking_event", shipment_id=shipment_id, status=status,
            event_id=f"evt-{self._number}", occurred_at=stamp(self.clock.now), **more,
        )  # fmt: skip

    async def delivered(self, shipment_id: str, **more: Any) -> dict[str, Any]:
        self.clock.forward(hours=20)
        return await self.do(
            "logistics", "record_delivery", shipment_id=shipment_id, received_by="A. Lee",
            photo_sha256="c" * 64, **more,
        )  # fmt: skip

    async def sold(self, number: int = 1, quantity: int = 1, sku: str = LAMP) -> tuple[Any, str]:
        """Ordered, paid for, sent and delivered."""
        order = await self.order(number, quantity, sku)
        await self.provider_answers()
        shipment = await self.shipped(order["order_id"])
        await self.delivered(shipment)
        await self.provider_answers()
        return await self.do("orders", "get_order", order_id=order["order_id"]), shipment

    async def evidence(self, claim_id: str, *kinds: str) -> None:
        for kind in kinds:
            self._number += 1
            await self.do(
                "claims", "add_claim_evidence", claim_id=claim_id, kind=kind,
                sha256=f"{self._number:064x}", media_type="image/jpeg", size_bytes=1_000,
            )  # fmt: skip

    async def books(self, *order_ids: str) -> None:
        """The ledger is whole, and the provider has what we have of each order."""
        ledger = await self.do("payments", "get_ledger", currency="EUR")
        assert ledger["balanced"], ledger
        for order_id in order_ids:
            found = await self.do("payments", "search_payments", order_id=order_id)
            for row in found["payments"]:
                one = await self.do("payments", "get_payment", payment_id=row["payment_id"])
                assert one["unsettled"] == []


def plain(number: int) -> dict[str, Any]:
    return {key: value for key, value in address(number).items() if not key.endswith("_e6")}


def people(call: Call) -> None:
    """Four customers with cards the provider knows: one declines, one disputes, one forgets."""
    tokens = ("tok_ok", "tok_declined", "tok_dispute_lost", "tok_expires_soon", "tok_ok", "tok_ok")
    for number, token in enumerate(tokens, 1):
        call.add(
            Customer(
                id=f"cus-{number}", first_name="Ana", name_key="ana", address=plain(number),
                created_at=call.now,
            )
        )  # fmt: skip
        call.add(
            PaymentMethod(
                id=f"card-{number}", customer_id=f"cus-{number}", kind="card", brand="visa",
                last4="4242", provider="simulator", provider_reference=token, created_at=call.now,
            )
        )  # fmt: skip
    call.add(
        ReturnPolicy(
            id="rp", name="30 days", window_days=30, currency="EUR", send_within_days=14,
        )
    )  # fmt: skip


def jars(call: Call) -> None:
    """Jam with two lots, the first to expire first."""
    call.add(
        Variant(
            id=JAM, product_id="P-1", name=JAM, price_minor=900, currency="EUR", weight_g=400,
            length_mm=100, width_mm=100, height_mm=100, lot_tracked=True,
        )
    )  # fmt: skip
    for code, on in (("L1", date(2027, 1, 1)), ("L2", date(2027, 6, 1))):
        call.add(Lot(id=f"lot-{code}", sku=JAM, code=code, expires_on=on))
        stock.receive(call, JAM, HOUSE, 4, "seed", lot=f"lot-{code}")


def costs(call: Call) -> None:
    for sku in (LAMP, JAM):
        call.get(Variant, sku).unit_cost_minor = 1_500


@asynccontextmanager
async def a_town(folder: Path, **changes: Any) -> AsyncIterator[Town]:
    clock = MovingClock()
    async with AsyncExitStack() as stack:
        shop = await stack.enter_async_context(a_shop(folder, clock=clock, **changes))
        await do(shop, "*", lambda c: (world(c), people(c), jars(c), costs(c)))
        clients = {}
        for name in SIX:
            tools = import_module(f"servers.{name}.tools").tools
            clients[name] = await stack.enter_async_context(connected(shop, tools, person=Person()))
        yield Town(shop, clock, clients)
