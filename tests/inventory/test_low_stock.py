"""What runs low and what to do about it, through the tool, from orders and policies in rows."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from common.call import Call
from common.rules import stock
from common.tables.inventory import Product, PurchaseLine, PurchaseOrder, SupplierItem, Variant
from tests.inventory.seed import (
    BOX,
    CUPS,
    MILK,
    NORTH,
    SOUTH,
    WEST,
    Desk,
    a_lot,
    a_policy,
    on,
    sold,
    stocked,
)
from tests.support.shop import START, done, refused


async def low(desk: Desk, **arguments: Any) -> dict[str, dict[str, Any]]:
    found = await done(desk.client, "list_low_stock", **arguments)
    return {f"{item['sku']} {item['warehouse']}": item for item in found["items"]}


def an_open_order(sku: str, units: int, days: int | None) -> Callable[[Call], None]:
    def work(call: Call) -> None:
        expected = None if days is None else START + timedelta(days=days)
        call.add(
            PurchaseOrder(
                id=f"po_{sku}", supplier_id="sup_1", warehouse_id=NORTH, state="sent",
                currency="EUR", total_minor=0, created_at=START, expected_at=expected,
            )
        )  # fmt: skip
        call.add(
            PurchaseLine(
                id=f"pol_{sku}", purchase_order_id=f"po_{sku}", position=0, sku=sku,
                ordered=units, unit_cost_minor=300, expected_at=expected,
            )
        )  # fmt: skip

    return work


async def test_reorder_now_with_arithmetic_and_supplier_terms(either: Desk):
    await either.seed(stocked(CUPS, NORTH, 20))
    await either.seed(sold(CUPS, NORTH, [4] * 60), "orders")
    await either.seed(sold(CUPS, NORTH, [50], status="cancelled"), "orders")
    item = (await low(either, region="north"))[f"{CUPS} {NORTH}"]
    assert item["action"] == "reorder_now"
    assert item["demand_7d"] == 28, "cancelled orders are no demand"
    # 20 on the shelf at 4 a day last 5 days; day 6 is the first that cannot be served.
    assert item["stock_out_on"] == (START + timedelta(days=6)).date().isoformat()
    # 5 days to come and 1 to the next look sell 24; 7 days' worth, 28, is ordered as 30. Target 54.
    assert item["reorder_point"] == 24
    assert item["order_quantity"] == 40, "54 - 20 = 34 in packs of 10"
    assert (item["supplier"], item["cost_minor"]) == ("sup_1", 40 * 300)
    assert any(line.startswith("reorder point") for line in item["arithmetic"])
    assert any("packs of 10" in line for line in item["arithmetic"])


async def test_a_supplier_whose_lead_time_varies(either: Desk):
    await either.seed(stocked(CUPS, NORTH, 20))
    await either.seed(sold(CUPS, NORTH, [4] * 60), "orders")

    def late_at_times(call: Call) -> None:
        call.get(SupplierItem, f"offer_{CUPS}").lead_time_sd_millidays = 3_000

    await either.seed(late_at_times)
    item = (await low(either, region="north"))[f"{CUPS} {NORTH}"]
    # One time in six 3 * sqrt(3) days late: 44.8 sold. A shortage of 3 % of 30 is 0.9 a cycle, so
    # (44.8 - s) / 6 <= 0.9.
    assert (item["reorder_point"], item["order_quantity"]) == (40, 50)


async def test_expedite_what_comes_too_late(either: Desk):
    await either.seed(stocked(CUPS, NORTH, 8))
    await either.seed(sold(CUPS, NORTH, [4] * 60), "orders")
    await either.seed(an_open_order(CUPS, 100, 20))
    item = (await low(either))[f"{CUPS} {NORTH}"]
    assert (item["action"], item["source"], item["incoming"]) == ("expedite", f"po_{CUPS}", 100)
    assert item["order_quantity"] == 0


async def test_transfer_from_a_surplus_in_another_region(either: Desk):
    await either.seed(stocked(CUPS, NORTH, 2))
    await either.seed(stocked(CUPS, SOUTH, 500))
    await either.seed(sold(CUPS, NORTH, [4] * 60), "orders")
    found = await done(either.client, "list_low_stock", region="north")
    item = found["items"][0]
    assert (item["action"], item["source"]) == ("transfer", SOUTH)
    assert found["counts"] == {"reorder_now": 0, "expedite": 0, "transfer": 1, "ignore": 0}


async def test_a_surplus_is_given_away_once(desk: Desk):
    for warehouse in (NORTH, WEST):
        await desk.seed(sold(CUPS, warehouse, [4] * 60), "orders")
    await desk.seed(stocked(CUPS, SOUTH, 70))
    items = (await low(desk)).values()
    given = [item for item in items if item["action"] == "transfer"]
    assert sum(item["quantity"] for item in given) <= 70


async def test_ignored_with_the_reason(desk: Desk):
    await desk.seed(stocked(CUPS, NORTH, 10))
    await desk.seed(sold(CUPS, NORTH, [1] * 60), "orders")
    await desk.seed(a_policy(CUPS, NORTH, ending=True))
    item = (await low(desk))[f"{CUPS} {NORTH}"]
    assert (item["action"], item["reason"]) == ("ignore", "ending")
    assert await low(desk, action="reorder_now") == {}


async def test_reorder_levels_decide_without_orders(either: Desk):
    """As after an import of a catalogue with reorder levels and no history."""
    await either.seed(stocked(CUPS, NORTH, 10))
    await either.seed(stocked(BOX, NORTH, 17))
    await either.seed(a_policy(CUPS, NORTH, reorder_point=25))
    await either.seed(a_policy(BOX, NORTH, reorder_point=25))
    await either.seed(an_open_order(BOX, 40, None))
    found = await done(either.client, "list_low_stock")
    assert "No orders yet" in found["notes"][0]
    assert "demand_as_of" not in found
    items = {item["sku"]: item for item in found["items"]}
    assert (items[CUPS]["action"], items[CUPS]["order_quantity"]) == ("reorder_now", 50)
    assert "reorder point 25, set by hand" in items[CUPS]["arithmetic"]
    assert (items[BOX]["action"], items[BOX]["quantity"]) == ("expedite", 40)
    # Dated and enough: nothing to do.
    either.clock.forward(days=1)

    def date_it(call: Call) -> None:
        order, line = call.get(PurchaseOrder, f"po_{BOX}"), call.get(PurchaseLine, f"pol_{BOX}")
        order.expected_at = line.expected_at = START + timedelta(days=3)

    await either.seed(date_it)
    assert f"{BOX} {NORTH}" not in await low(either)


async def test_expired_and_set_aside_units_do_not_count(desk: Desk):
    await desk.seed(stocked(CUPS, NORTH, 30))
    await desk.seed(a_policy(CUPS, NORTH, reorder_point=25))
    assert await low(desk) == {}
    await desk.seed(lambda c: stock.move(c, CUPS, NORTH, "available", "damaged", 10, "damage", "x"))
    assert (await low(desk))[f"{CUPS} {NORTH}"]["available"] == 20
    await desk.seed(a_lot("GOOD", 20, on(9)))
    await desk.seed(a_lot("OLD", 30, on(-1)))
    await desk.seed(a_policy(MILK, NORTH, reorder_point=25))
    milk = (await low(desk))[f"{MILK} {NORTH}"]
    assert milk["available"] == 20
    assert milk["arithmetic"][0] == "available 20 = on hand 50 - reserved 0 - unavailable 30"


async def test_ranked_by_stock_out_and_paged(desk: Desk):
    def many(call: Call) -> None:
        for number in range(5):
            call.add(Product(id=f"prd_P{number}", name="P"))
            call.add(
                Variant(
                    id=f"P{number}", product_id=f"prd_P{number}", name="P", price_minor=1,
                    currency="EUR",
                )
            )  # fmt: skip
            stock.adjust(call, f"P{number}", NORTH, 10 - 2 * number, "opening")

    await desk.seed(many)
    for number in range(5):
        await desk.seed(sold(f"P{number}", NORTH, [2] * 40), "orders")
    whole = await done(desk.client, "list_low_stock", limit=100)
    days = [item["stock_out_on"] for item in whole["items"]]
    assert days == sorted(days)
    assert len(days) == 5
    pages, cursor = [], {}
    while cursor is not None:
        page = await done(desk.client, "list_low_stock", limit=2, **cursor)
        pages += page["items"]
        cursor = {"cursor": page["next_cursor"]} if "next_cursor" in page else None
    assert pages == whole["items"]


async def test_bad_region_and_cursor(desk: Desk):
    answer = await refused(desk.client, "list_low_stock", "invalid_parameters", region="mars")
    assert "north, south" in answer["message"]
    await refused(desk.client, "list_low_stock", "invalid_parameters", cursor="WzEsMl0")


async def test_stale_demand_is_said(desk: Desk):
    await desk.seed(sold(CUPS, NORTH, [4] * 60, until=START - timedelta(days=5)), "orders")
    found = await done(desk.client, "list_low_stock")
    assert "may be stale" in found["notes"][0]


async def test_forecast_by_warehouse_and_together(either: Desk):
    await either.seed(sold(CUPS, NORTH, [5] * 60), "orders")
    await either.seed(sold(CUPS, SOUTH, [2] * 30), "orders")
    north = await done(either.client, "forecast_demand", sku=CUPS, warehouse=NORTH, days=7)
    assert (north["expected_units"], north["sold_7d"], north["demand_class"]) == (35, 35, "smooth")
    together = await done(either.client, "forecast_demand", sku=CUPS, days=7)
    assert together["sold_7d"] == 49
    assert together["low_units"] <= together["expected_units"] <= together["high_units"]
    nothing = await done(either.client, "forecast_demand", sku=BOX)
    assert (nothing["expected_units"], nothing["method"]) == (0, "none")
    await refused(either.client, "forecast_demand", "invalid_parameters", sku=CUPS, days=0)
    await refused(either.client, "forecast_demand", "product_not_found", sku="CUPS")
