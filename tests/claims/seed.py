"""A shop with paid and delivered orders, a carrier, and a desk for claims."""

import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from mcp import Client
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from common.call import Call
from common.rules import funds, paid, stock
from common.shop import Shop
from common.tables.claims import Claim, ClaimDecision, ClaimEvidence, ClaimLine, ClaimRecovery
from common.tables.inventory import Product, Supplier, Variant, Warehouse
from common.tables.logistics import (
    Carrier,
    DeliveryException,
    ProofOfDelivery,
    Shipment,
    ShipmentLine,
)
from common.tables.orders import Customer, Order, OrderLine
from common.tables.payments import Dispute, Payment, PaymentMethod, Refund
from common.tables.spine import Transfer
from servers.claims.tools import tools
from tests.support.shop import START, MovingClock, Person, a_shop, call, connected, do, look

T = TypeVar("T")
ADDRESS = {"line1": "Quai 1", "city": "Lyon", "country": "FR"}
LAMP, VASE, ODD = "LAMP-1", "VASE-1", "ODD-1"
CARRIER, HOUSE = "car_swift", "WH-1"
# Price and cost: a lamp 50.00 and 20.00, a vase 30.00 and 12.00; nobody knows what ODD had cost.
PRICES = {LAMP: (5_000, 2_000), VASE: (3_000, 1_200), ODD: (1_000, None)}
SHIPPING, FREIGHT = 500, 700


@dataclass
class Desk:
    """The shop, a client of its claims server whose person says yes, and the clock."""

    shop: Shop
    client: Client
    clock: MovingClock
    person: Person
    _number: int = 0

    async def ask(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """Call a tool under a fresh key; the answer, which may be a refusal."""
        self._number += 1
        if tool.startswith(("get_", "list_", "detect_")):
            return await call(self.client, tool, **arguments)
        key = f"test-key-{self._number:06d}"
        return await call(self.client, tool, **{"idempotency_key": key, **arguments})

    async def done(self, tool: str, **arguments: Any) -> dict[str, Any]:
        answer = await self.ask(tool, **arguments)
        assert "code" not in answer or "claim_id" in answer, answer
        assert answer.get("status") != "approval_required", answer
        return answer

    async def read(self, tool: str, **arguments: Any) -> dict[str, Any]:
        answer = await call(self.client, tool, **arguments)
        assert "code" not in answer, answer
        return answer

    async def refused(self, tool: str, code: str, /, **arguments: Any) -> dict[str, Any]:
        """Call a tool that must refuse, and must change nothing."""
        before = await self.everything()
        answer = await self.ask(tool, **arguments)
        assert answer.get("code") == code, answer
        assert await self.everything() == before
        return answer

    async def everything(self) -> list[Any]:
        """All that a claim could change."""

        def work(session: Session) -> list[Any]:
            found: list[Any] = [
                [(row.id, row.version) for row in session.scalars(select(kind).order_by(kind.id))]
                for kind in (Claim, ClaimLine, ClaimDecision, ClaimEvidence, ClaimRecovery)
            ]
            kinds: list[Any] = [Order, Refund, Payment, PaymentMethod, Transfer]
            return found + [session.scalar(select(func.count(kind.id))) for kind in kinds]

        return await self.look(work)

    async def seed(self, work: Callable[[Call], T], domain: str) -> T:
        return await do(self.shop, domain, work)

    async def look(self, work: Callable[[Session], T]) -> T:
        return await look(self.shop, work)

    async def evidence(self, claim_id: str, *kinds: str) -> dict[str, Any]:
        answer: dict[str, Any] = {}
        for kind in kinds:
            answer = await self.done("add_claim_evidence", **a_file(claim_id, kind))
        return answer

    async def filed(self, order: str = "ord_1", type: str = "damage", **more: Any) -> str:
        """A carrier claim that is filed."""
        found = await self.done(
            "open_claim", kind="carrier", type=type, shipment_id=f"shp_{order}", **more
        )
        await self.evidence(found["claim_id"], *found["missing"])
        await self.done("submit_claim", claim_id=found["claim_id"])
        return str(found["claim_id"])

    async def reviewed(self, order: str = "ord_1", type: str = "damage", **more: Any) -> str:
        """A customer's claim under review."""
        found = await self.done("open_claim", type=type, order_id=order, **more)
        await self.evidence(found["claim_id"], *found["missing"])
        await self.done("submit_claim", claim_id=found["claim_id"])
        return str(found["claim_id"])


def a_file(claim_id: str, kind: str, name: str = "") -> dict[str, Any]:
    digest = hashlib.sha256(f"{kind}{name}".encode()).hexdigest()
    return {
        "claim_id": claim_id, "kind": kind, "sha256": digest, "media_type": "image/jpeg",
        "size_bytes": 1_000, "taken_on": "2026-10-30",
    }  # fmt: skip


@asynccontextmanager
async def a_desk(folder: Path, *, answer: str = "yes", **changes: Any) -> AsyncIterator[Desk]:
    clock = MovingClock()
    person = Person(answer, [])
    async with a_shop(folder, clock=clock, **changes) as shop:
        await do(shop, "inventory", goods)
        await do(shop, "orders", lambda call: [an_order(call, n) for n in ("ord_1", "ord_2")])
        await do(shop, "payments", lambda call: [a_payment(call, n) for n in ("ord_1", "ord_2")])
        await do(shop, "logistics", shipments)
        async with connected(shop, tools, person=person) as client:
            yield Desk(shop, client, clock, person)


def goods(call: Call) -> None:
    call.add(Warehouse(id=HOUSE, name="House", region="north", address=ADDRESS))
    call.add(Supplier(id="sup_1", name="Potter", currency="EUR"))
    for sku, (price, cost) in PRICES.items():
        call.add(Product(id=f"prd_{sku}", name=sku))
        call.add(
            Variant(
                id=sku, product_id=f"prd_{sku}", name=sku, price_minor=price,
                unit_cost_minor=cost, currency="EUR",
            )
        )  # fmt: skip
        stock.receive(call, sku, HOUSE, 100, "seed")


def an_order(call: Call, id: str, units: dict[str, int] | None = None) -> Order:
    """Two lamps and a vase, shipping 5.00: 135.00, all delivered."""
    if call.find(Customer, "cus_1") is None:
        call.add(Customer(id="cus_1", first_name="Eve", name_key="eve ", created_at=START))
    units = units or {LAMP: 2, VASE: 1}
    goods_minor = sum(PRICES[sku][0] * n for sku, n in units.items())
    at = START - timedelta(days=8)
    order = call.add(
        Order(
            id=id, customer_id="cus_1", status="completed", currency="EUR",
            subtotal_minor=goods_minor, shipping_minor=SHIPPING,
            total_minor=goods_minor + SHIPPING, ship_to=ADDRESS, warehouse_id=HOUSE,
            created_at=at, placed_at=at, delivered_at=START - timedelta(days=2),
        )
    )  # fmt: skip
    for position, (sku, n) in enumerate(units.items()):
        call.add(
            OrderLine(
                id=f"{id}_{position}", order_id=id, position=position, sku=sku,
                product_id=f"prd_{sku}", name=sku, quantity=n, unit_price_minor=PRICES[sku][0],
                status="delivered", warehouse_id=HOUSE, placed_at=at,
            )
        )  # fmt: skip
    return order


def a_payment(call: Call, order_id: str) -> Payment:
    """The order's total, captured from a card."""
    if call.find(PaymentMethod, "pm_1") is None:
        call.add(
            PaymentMethod(
                id="pm_1", customer_id="cus_1", kind="card", brand="visa", last4="4242",
                created_at=START,
            )
        )  # fmt: skip
    order = call.get(Order, order_id)
    return paid.charge(
        call, order_id=order_id, customer_id="cus_1", method_id="pm_1",
        amount_minor=order.total_minor, currency="EUR", payment_id=f"pay_{order_id}", outbox=False,
    )  # fmt: skip


def shipments(call: Call) -> None:
    """Each order in a parcel of the carrier: the first promised for the day it came, the second
    a day before."""
    call.add(Carrier(id=CARRIER, name="Swift"))
    a_shipment(call, "ord_1", late_days=0)
    a_shipment(call, "ord_2", late_days=1)


def a_shipment(
    call: Call, order_id: str, *, late_days: int = 0, carrier: str | None = CARRIER,
    status: str = "delivered", **more: Any,
) -> Shipment:  # fmt: skip
    delivered = START - timedelta(days=2) if status == "delivered" else None
    shipment = call.add(
        Shipment(
            id=f"shp_{order_id}", order_id=order_id, warehouse_id=HOUSE, status=status,
            status_at=START, ship_to=ADDRESS, carrier_id=carrier, currency="EUR",
            tracking_number=f"TN-{order_id}", cost_minor=FREIGHT, created_at=START,
            shipped_at=START - timedelta(days=5), delivered_at=delivered,
            promised_at=START - timedelta(days=2 + late_days), **more,
        )
    )  # fmt: skip
    for line in call.all(OrderLine, OrderLine.order_id == order_id):
        call.add(
            ShipmentLine(
                id=f"sl_{line.id}", shipment_id=shipment.id, order_line_id=line.id, sku=line.sku,
                quantity=line.quantity,
            )
        )  # fmt: skip
    if delivered is not None:
        call.add(
            ProofOfDelivery(
                id=f"pod_{order_id}", shipment_id=shipment.id, received_by="Eve", at=delivered,
                recorded_by="driver",
            )
        )  # fmt: skip
    return shipment


def an_exception(order_id: str, kind: str) -> Callable[[Call], DeliveryException]:
    return lambda call: call.add(
        DeliveryException(
            id=f"exc_{order_id}", shipment_id=f"shp_{order_id}", kind=kind, opened_at=START
        )
    )


def a_dispute(order_id: str, status: str, amount: int = 13_500) -> Callable[[Call], None]:
    """A dispute of the order's payment, in the books as well."""

    def work(call: Call) -> None:
        call.add(
            Dispute(
                id=f"dsp_{order_id}", payment_id=f"pay_{order_id}", order_id=order_id,
                reason="product_unacceptable", status=status, amount_minor=amount, currency="EUR",
                opened_at=START,
            )
        )  # fmt: skip
        if status in ("needs_response", "under_review"):
            funds.open_dispute(call, f"dsp_{order_id}", f"pay_{order_id}", amount, "EUR")

    return work


async def books(desk: Desk, claim_id: str) -> tuple[int, int]:
    """What the ledger says is owed for a claim, and what came in."""

    def work(session: Session) -> tuple[int, int]:
        account = funds.balance(session, desk.clock.now, f"receivable:{claim_id}", "EUR")
        rows = session.scalars(select(ClaimRecovery).where(ClaimRecovery.claim_id == claim_id))
        return account.posted, sum(row.amount_minor for row in rows)

    return await desk.look(work)
