"""A small shop with two depots, three vans, three drivers, two carriers, and orders to bring."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from mcp import Client
from sqlalchemy.orm import Session

from common.call import Call
from common.rules import placing, stock
from common.shop import Shop
from common.tables.fleet import Depot, Driver, Vehicle
from common.tables.inventory import Product, Variant, Warehouse
from common.tables.logistics import Carrier, RateCard
from common.tables.orders import Customer, Order
from common.tables.payments import PaymentMethod
from common.tables.whole import Base
from servers.logistics.tools import tools
from servers.orders import fulfilling
from tests.support.shop import MovingClock, Person, a_shop, call, connected, do, done, look

T = TypeVar("T")
BERLIN = (52_520_000, 13_405_000)
# What a call leaves behind whatever comes of it.
_TRACES = {
    "audit_record", "audit_payload", "audit_head", "audit_anchor", "idempotency", "policy_use",
    "approval_request", "approval_decision", "access_record", "stored_result",
}  # fmt: skip
TODAY, TOMORROW = "2026-11-02", "2026-11-03"


def world(call: Call) -> None:
    """Everything but orders."""
    for warehouse, depot, north in (("WH-1", "DEP-1", 0), ("WH-2", "DEP-2", 900_000)):
        place = {"lat_e6": BERLIN[0] + north, "lon_e6": BERLIN[1]}
        call.add(
            Warehouse(
                id=warehouse, name=warehouse, region="north", address={},
                timezone="Europe/Berlin", **place,
            )
        )  # fmt: skip
        call.add(
            Depot(id=depot, name=depot, warehouse_id=warehouse, timezone="Europe/Berlin", **place)
        )
    for van, depot, kilos in (
        ("VAN-1", "DEP-1", 100),
        ("VAN-2", "DEP-1", 60),
        ("VAN-3", "DEP-2", 80),
    ):
        call.add(
            Vehicle(
                id=van, name=van, depot_id=depot, capacity_weight_g=kilos * 1_000,
                capacity_volume_cm3=1_000_000, cost_per_km_minor=50, fixed_cost_minor=1_000,
                currency="EUR",
            )
        )  # fmt: skip
    for driver, depot in (("DRV-1", "DEP-1"), ("DRV-2", "DEP-1"), ("DRV-3", "DEP-2")):
        call.add(
            Driver(
                id=driver, name=f"Driver {driver}", depot_id=depot, status="available",
                status_at=call.now, shift_start_minute=8 * 60, shift_end_minute=17 * 60,
            )
        )  # fmt: skip
    call.add(Product(id="P-1", name="Lamp"))
    for sku, grams, hazmat in (("LAMP", 2_000, False), ("SAFE", 70_000, False), ("OIL", 900, True)):
        call.add(
            Variant(
                id=sku, product_id="P-1", name=sku, price_minor=4_000, currency="EUR",
                weight_g=grams, length_mm=300, width_mm=200, height_mm=100, hazmat=hazmat,
            )
        )  # fmt: skip
        for warehouse in ("WH-1", "WH-2"):
            stock.receive(call, sku, warehouse, 100, "seed")
    call.add(Variant(id="ODD", product_id="P-1", name="ODD", price_minor=100, currency="EUR"))
    stock.receive(call, "ODD", "WH-1", 10, "seed")
    _carriers(call)


def _carriers(call: Call) -> None:
    call.add(Carrier(id="post", name="Post"))
    call.add(Carrier(id="swift", name="Swift", dim_divisor=4_000))
    call.add(Carrier(id="own", name="Own vans", own_fleet=True))
    for number, (carrier, service, destination, most, base, per_kg, fuel, days) in enumerate(
        (
            ("post", "standard", "*", 5_000, 900, 0, 0, (5, 9)),
            ("post", "standard", "DE", 5_000, 400, 50, 1_000, (2, 3)),
            ("post", "standard", "DE", 31_500, 700, 50, 1_000, (2, 3)),
            ("post", "standard", "DE/10", 5_000, 300, 50, 1_000, (1, 2)),
            ("swift", "express", "DE", 31_500, 990, 100, 0, (1, 1)),
        )
    ):
        call.add(
            RateCard(
                id=f"rate-{number}", carrier_id=carrier, service=service, destination=destination,
                max_weight_g=most, base_minor=base, per_kg_minor=per_kg, fuel_bps=fuel,
                currency="EUR", transit_days_min=days[0], transit_days_max=days[1],
                valid_from=(call.now - timedelta(days=30)).date(),
            )
        )  # fmt: skip


def customer(call: Call, number: int) -> None:
    call.add(
        Customer(
            id=f"cus-{number}", first_name="Ana", name_key="ana", address={}, created_at=call.now
        )
    )
    call.add(
        PaymentMethod(
            id=f"card-{number}", customer_id=f"cus-{number}", kind="card", created_at=call.now
        )
    )


def address(number: int, **more: Any) -> dict[str, Any]:
    """Around the first depot, each number elsewhere, within ten kilometres."""
    return {
        "line1": f"Street {number}", "city": "Berlin", "postal_code": "20095", "country": "DE",
        "lat_e6": BERLIN[0] + (number * 7_919) % 80_000 - 40_000,
        "lon_e6": BERLIN[1] + (number * 6_271) % 120_000 - 60_000, **more,
    }  # fmt: skip


@dataclass
class Desk:
    """The shop, a client of its logistics server whose person says yes, and the clock."""

    shop: Shop
    client: Client
    clock: MovingClock
    person: Person
    _number: int = field(default=0)

    def key(self) -> dict[str, str]:
        self._number += 1
        return {"idempotency_key": f"test-key-{self._number:06d}"}

    async def done(self, tool: str, /, **arguments: Any) -> dict[str, Any]:
        """A changing call that must succeed."""
        return await done(self.client, tool, **self.key(), **arguments)

    async def refused(self, tool: str, code: str, /, **arguments: Any) -> dict[str, Any]:
        """A changing call that must be refused, with this code, and change nothing."""
        before = await self.look(everything)
        answer = await call(self.client, tool, **self.key(), **arguments)
        assert answer.get("code") == code, answer
        after = await self.look(everything)
        assert [name for name in after if after[name] != before[name]] == []
        return answer

    async def seed(self, domain: str, work: Callable[[Call], T]) -> T:
        return await do(self.shop, domain, work)

    async def look(self, work: Callable[[Session], T]) -> T:
        return await look(self.shop, work)

    async def order(
        self,
        *lines: tuple[str, int],
        release: bool = True,
        warehouse: str = "WH-1",
        ship_to: dict[str, Any] | None = None,
        **more: Any,
    ) -> str:
        """A paid order, released to fulfilment. Returns its id."""
        self._number += 1
        number = self._number
        await self.seed("orders", lambda call: customer(call, number))

        def place(call: Call) -> Order:
            return placing.place(
                call,
                placing.NewOrder(
                    customer_id=f"cus-{number}",
                    lines=[placing.NewLine(*line) for line in lines or (("LAMP", 1),)],
                    ship_to=address(number) if ship_to is None else ship_to,
                    payment_method_id=f"card-{number}", warehouse_id=warehouse, **more,
                ),
            )  # fmt: skip

        order = await self.seed("*", place)
        if release:
            await self.seed("orders", lambda call: fulfilling.release(call, order.id))
        return order.id

    async def shipment(self, *lines: tuple[str, int], **more: Any) -> str:
        """A shipment for the own vans. Returns its id."""
        wanted = {k: more.pop(k) for k in list(more) if k.startswith(("window", "delivery_code"))}
        order_id = await self.order(*lines, **more)
        return str((await self.done("create_shipment", order_id=order_id, **wanted))["shipment_id"])

    async def on_the_road(self, count: int = 1) -> tuple[dict[str, Any], list[str]]:
        """A dispatched route with so many stops; the shipments in their order."""
        for _ in range(count):
            await self.shipment()
        planned = await self.done("plan_routes", date=TODAY, vehicles=["VAN-1"], iterations=20)
        route = await self.done("dispatch_route", route_id=planned["routes"][0]["route_id"])
        return route, [stop["shipment_id"] for stop in route["stops"]]


def everything(session: Session) -> dict[str, list[Any]]:
    """Every row, to see that a refusal left nothing behind."""
    return {
        name: sorted(tuple(map(str, row)) for row in session.execute(table.select()))
        for name, table in Base.metadata.tables.items()
        if name not in _TRACES
    }


@asynccontextmanager
async def a_desk(folder: Path, **changes: Any) -> AsyncIterator[Desk]:
    clock, person = MovingClock(), Person("yes")
    async with (
        a_shop(folder, clock=clock, **changes) as shop,
        connected(shop, tools, person=person) as client,
    ):
        yield Desk(shop, client, clock, person)
