"""Goods of a lot that come back: they are of that lot again, and sold only while it may be."""

from collections.abc import AsyncIterator, Callable
from datetime import date, timedelta
from typing import Any

import pytest
from mcp import Client

from common.call import Call
from common.errors import InsufficientStock
from common.rules import stock
from common.tables.inventory import Lot, Variant
from common.tables.logistics import Shipment, ShipmentLine
from common.tables.returns import Return
from servers.inventory.tools import tools as inventory_tools
from tests.orders.seed import LYON, NORTH, SHIRT_M, Desk, a_delivered_order, a_policy, an_order
from tests.returns.test_returns import back, requested, step
from tests.support.shop import START, connected, done, refused

RECALL = {"sku": SHIRT_M, "lot": "L1"}


def only_lots(*codes: str, expires_on: date | None = None) -> Callable[[Call], None]:
    """As many shirts of each lot as there are lots, and no others. Domain: all."""

    def work(call: Call) -> None:
        call.get(Variant, SHIRT_M).lot_tracked = True
        stock.adjust(call, SHIRT_M, NORTH, -20, "gone")
        for code in codes:
            call.add(
                Lot(
                    id=f"lot_{code}", sku=SHIRT_M, code=code, state="active", received_at=call.now,
                    expires_on=expires_on,
                )
            )  # fmt: skip
            stock.adjust(call, SHIRT_M, NORTH, len(codes), "lot", lot=f"lot_{code}")

    return work


def sent(order: dict[str, Any], *codes: str) -> Callable[[Call], None]:
    """The order's line went out in a parcel, a unit of each lot. Domain: all."""

    def work(call: Call) -> None:
        call.add(
            Shipment(
                id="shp_1", order_id=order["order_id"], warehouse_id=NORTH, status="delivered",
                status_at=call.now, ship_to=LYON, currency="EUR", created_at=call.now,
                shipped_at=call.now, delivered_at=call.now,
            )
        )  # fmt: skip
        for code in codes:
            call.add(
                ShipmentLine(
                    id=f"line_{code}", shipment_id="shp_1", sku=SHIRT_M, quantity=1,
                    order_line_id=order["lines"][0]["line_id"], lot_id=f"lot_{code}",
                )
            )  # fmt: skip

    return work


async def sold(desk: Desk, *codes: str, expires_on: date | None = None) -> dict[str, Any]:
    """An order that went out with a shirt of each lot."""
    await desk.seed(only_lots(*codes, expires_on=expires_on), "*")
    order = await a_delivered_order(desk, (SHIRT_M, len(codes)), captured=True)
    await desk.seed(sent(order, *codes), "*")
    return order


async def not_for_sale(desk: Desk) -> None:
    """Nothing of the one lot is."""
    assert await desk.available(SHIRT_M) == 0
    with pytest.raises(InsufficientStock):
        await desk.seed(an_order((SHIRT_M, 1)))


async def restock_is_refused(desk: Desk, rma: dict[str, Any]) -> None:
    """What came back may not go on the shelf; it may be set aside."""
    there = await desk.available(SHIRT_M)
    ask = {"return_id": rma["return_id"]}
    unit = {"line_id": rma["lines"][0]["line_id"], "quantity": rma["lines"][0]["quantity"]}
    await step(desk, "receive_return", lines=[unit], **ask)
    found = unit | {"grade": "A", "condition": "unopened"}
    shelf = [found | {"disposition": "restock"}]
    await refused(desk.returns, "inspect_return", "rule_violation", lines=shelf, **ask)
    aside = [found | {"disposition": "quarantine"}]
    await step(desk, "inspect_return", lines=aside, **ask)
    assert await desk.available(SHIRT_M) == there


@pytest.fixture
async def inventory(desk: Desk) -> AsyncIterator[Client]:
    async with connected(desk.shop, inventory_tools, person=desk.person) as client:
        yield client


async def test_a_lot_withdrawn_later_takes_with_it_what_came_back(
    desk: Desk, inventory: Client
) -> None:
    rma = await requested(desk, await sold(desk, "L1"))
    await back(desk, rma)
    assert await desk.available(SHIRT_M) == 1
    await done(inventory, "recall_lot", reason="glass", **RECALL)
    await not_for_sale(desk)


async def test_what_was_called_back_is_not_sold_again(desk: Desk, inventory: Client) -> None:
    await sold(desk, "L1")
    await done(inventory, "recall_lot", reason="glass", **RECALL)
    called = await step(desk, "request_recall_returns", **RECALL)
    rma = await done(desk.returns, "get_return", return_id=called["returns"][0]["return_id"])
    await restock_is_refused(desk, rma)


async def test_what_has_expired_meanwhile_is_not_sold_again(desk: Desk) -> None:
    order = await sold(desk, "L1", expires_on=START.date() + timedelta(days=8))
    desk.clock.forward(days=12)
    rma = await requested(desk, order)
    await step(desk, "authorize_return", return_id=rma["return_id"])
    await restock_is_refused(desk, rma)


async def test_of_several_lots_nobody_knows_which_came_back(desk: Desk) -> None:
    rma = await requested(desk, await sold(desk, "L1", "L2"))
    await step(desk, "authorize_return", return_id=rma["return_id"])
    await restock_is_refused(desk, rma)


async def test_a_lot_is_called_back_without_any_policy(desk: Desk, inventory: Client) -> None:
    await sold(desk, "L1")
    await desk.seed(a_policy(active=False), "returns")
    await done(inventory, "recall_lot", reason="glass", **RECALL)
    called = await step(desk, "request_recall_returns", **RECALL)
    (one,) = called["returns"]
    rma = await desk.look(lambda s: s.get_one(Return, one["return_id"]))
    assert (rma.policy_id, rma.expires_at) == (None, START + timedelta(days=14))
