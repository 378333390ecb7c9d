"""A small shop with stock, suppliers and orders."""

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from mcp import Client
from sqlalchemy.orm import Session

from common.call import Call
from common.rules import stock
from common.shop import Shop
from common.tables.inventory import (
    KitComponent,
    Location,
    Lot,
    Product,
    ReorderPolicy,
    Supplier,
    SupplierItem,
    Variant,
    Warehouse,
)
from common.tables.orders import Customer, Order, OrderLine
from servers.inventory.tools import tools
from tests.support.shop import START, MovingClock, Person, a_shop, connected, do, look

T = TypeVar("T")
ADDRESS = {"line1": "Quai 1", "city": "Lyon", "country": "FR"}
CUPS, MILK, KIT, BOX = "CUP-01", "MILK-01", "SET-01", "BOX-01"
NORTH, SOUTH, WEST = "WH-N", "WH-S", "WH-W"
GTIN = "07032069804988"


@dataclass
class Desk:
    """The shop, a client of its inventory server whose person says yes, and the clock."""

    shop: Shop
    client: Client
    clock: MovingClock
    person: Person
    _number: int = 0

    def key(self) -> dict[str, str]:
        """A fresh idempotency key: each call of a test is an intent of its own."""
        self._number += 1
        return {"idempotency_key": f"test-key-{self._number:06d}"}

    async def seed(self, work: Callable[[Call], T], domain: str = "inventory") -> T:
        return await do(self.shop, domain, work)

    async def look(self, work: Callable[[Session], T]) -> T:
        return await look(self.shop, work)

    async def level(self, sku: str, warehouse: str | None = None) -> stock.Levels:
        now = self.clock.now
        return await self.look(lambda session: stock.level(session, now, sku, warehouse))


@asynccontextmanager
async def a_desk(folder: Path, *, answer: str = "yes", **changes: Any) -> AsyncIterator[Desk]:
    """On a database that has the world in it."""
    clock = MovingClock()
    person = Person(answer, [])
    async with (
        a_shop(folder, clock=clock, **changes) as shop,
        connected(shop, tools, person=person) as client,
    ):
        yield Desk(shop, client, clock, person)


def world(call: Call) -> None:
    """Three warehouses in two regions, four items, two suppliers. No stock."""
    for id, region in ((NORTH, "north"), (SOUTH, "south"), (WEST, "south")):
        call.add(Warehouse(id=id, name=f"House {id}", region=region, address=ADDRESS))
    call.add(Location(id="loc_1", warehouse_id=NORTH, code="A-1"))
    for id, name in (("sup_1", "Potter & Co"), ("sup_2", "Dairy")):
        call.add(Supplier(id=id, name=name, currency="EUR"))
    for sku, name, cost, lots in (
        (CUPS, "Cup", 400, False), (MILK, "Milk", 100, True), (KIT, "Cups in a box", None, False),
        (BOX, "Box", 50, False),
    ):  # fmt: skip
        call.add(Product(id=f"prd_{sku}", name=name))
        call.add(
            Variant(
                id=sku, product_id=f"prd_{sku}", name=name, price_minor=1000, unit_cost_minor=cost,
                currency="EUR", lot_tracked=lots, gtin=GTIN[1:] if sku == MILK else None,
            )
        )  # fmt: skip
    call.add(KitComponent(id="kit_1", kit_sku=KIT, component_sku=CUPS, quantity=4))
    call.add(KitComponent(id="kit_2", kit_sku=KIT, component_sku=BOX, quantity=1))
    for sku, supplier, cost, least, pack in (
        (CUPS, "sup_1", 300, 24, 10), (MILK, "sup_2", 80, 1, 1), (BOX, "sup_1", 50, 1, 1),
    ):  # fmt: skip
        call.add(
            SupplierItem(
                id=f"offer_{sku}", supplier_id=supplier, sku=sku, unit_cost_minor=cost,
                supplier_sku="P-7714" if sku == CUPS else None,
                currency="EUR", minimum_order=least, pack_multiple=pack, lead_time_millidays=5_000,
            )
        )  # fmt: skip


def stocked(sku: str, warehouse: str, units: int) -> Callable[[Call], str]:
    """Units on the shelf from before."""
    return lambda call: stock.adjust(call, sku, warehouse, units, "opening")


def a_lot(
    code: str, units: int, expires_on: date | None, warehouse: str = NORTH
) -> Callable[[Call], str]:
    """A lot of milk on the shelf."""

    def work(call: Call) -> str:
        id = f"lot_{code}"
        if call.find(Lot, id) is None:
            call.add(Lot(id=id, sku=MILK, code=code, expires_on=expires_on, received_at=call.now))
        stock.adjust(call, MILK, warehouse, units, "opening", lot=id)
        return id

    return work


def a_policy(sku: str, warehouse: str, **values: Any) -> Callable[[Call], ReorderPolicy]:
    return lambda call: call.add(
        ReorderPolicy(id=f"pol_{sku}_{warehouse}", sku=sku, warehouse_id=warehouse, **values)
    )


def sold(
    sku: str, warehouse: str | None, daily: Iterable[int], *, status: str = "delivered",
    until: datetime = START,
) -> Callable[[Call], None]:  # fmt: skip
    """An order a day, oldest first, the last one half a day before ``until``. Domain: orders."""

    def work(call: Call) -> None:
        if call.find(Customer, "cus_1") is None:
            call.add(Customer(id="cus_1", first_name="Eve", name_key="eve ", created_at=START))
        days = list(daily)
        for index, units in enumerate(days):
            if units:
                at = until - timedelta(days=len(days) - index - 0.5)
                an_order(call, sku, warehouse, units, at, status)

    return work


def an_order(
    call: Call, sku: str, warehouse: str | None, units: int, at: datetime, status: str
) -> Order:
    """One line at full price, cancelled with its line."""
    order = call.add(
        Order(
            id=call.new_id("order"), customer_id="cus_1", currency="EUR",
            status="cancelled" if status == "cancelled" else "placed",
            subtotal_minor=1000 * units, total_minor=1000 * units, ship_to=ADDRESS,
            warehouse_id=warehouse, created_at=at, placed_at=at,
        )
    )  # fmt: skip
    call.add(
        OrderLine(
            id=call.new_id("line"), order_id=order.id, position=0, sku=sku,
            product_id=f"prd_{sku}", name=sku, quantity=units, unit_price_minor=1000,
            status=status, warehouse_id=warehouse, placed_at=at,
        )
    )  # fmt: skip
    return order


def on(days: int) -> date:
    """A day from the start."""
    return (datetime(2026, 11, 2, tzinfo=UTC) + timedelta(days=days)).date()
