"""Lots that expire or are recalled while they are promised or on the way, and what reports say of
them and of what they are worth."""

from common.call import Call
from common.tables.inventory import ItemCost, Lot, Warehouse
from tests.inventory.seed import CUPS, MILK, NORTH, SOUTH, Desk, a_lot, on, stocked
from tests.support.shop import done, refused

OLD_LOTS = 1_001


async def test_a_promise_of_a_bad_lot_is_not_prolonged(desk: Desk) -> None:
    await desk.seed(a_lot("A", 10, on(1)))
    await desk.seed(a_lot("B", 10, on(30)))
    wanted = {"sku": MILK, "quantity": 4, "warehouse": NORTH, "minutes": 7 * 1_440}
    promised = [
        (await done(desk.client, "reserve_stock", source_id=name, **wanted, **desk.key()))[
            "reservations"
        ][-1]["reservation_id"]
        for name in ("one", "two", "three")
    ]
    desk.clock.forward(days=2)
    later = {"minutes": 6 * 1_440}
    for id in promised[:2]:
        told = await refused(
            desk.client, "extend_reservation", "rule_violation", reservation_id=id, **later,
            **desk.key(),
        )  # fmt: skip
        assert told["details"] == {"lot_id": "lot_A"}
    await done(desk.client, "extend_reservation", reservation_id=promised[2], **later, **desk.key())
    await done(desk.client, "recall_lot", sku=MILK, lot="B", reason="glass", **desk.key())
    await refused(
        desk.client, "extend_reservation", "rule_violation", reservation_id=promised[2],
        minutes=7 * 1_440, **desk.key(),
    )  # fmt: skip


async def test_expired_on_the_way(desk: Desk) -> None:
    """It waits in quarantine and does not count as good; one note is booked once."""
    await desk.seed(a_lot("A", 10, on(1)))
    sent = await done(
        desk.client, "transfer_stock", from_warehouse=NORTH, to_warehouse=SOUTH,
        lines=[{"sku": MILK, "quantity": 6}], **desk.key(),
    )  # fmt: skip
    came = {"transfer_id": sent["transfer_id"], "delivery_note": "N-1"}
    first = await done(
        desk.client, "receive_transfer", lines=[{"sku": MILK, "received": 2}], **came, **desk.key()
    )
    assert (first["good"], first["discrepancies"]) == (2, [])
    desk.clock.forward(days=2)
    await refused(
        desk.client, "receive_transfer", "rule_violation",
        lines=[{"sku": MILK, "received": 2}], **came, **desk.key(),
    )  # fmt: skip
    came["delivery_note"] = "N-2"
    rest = await done(
        desk.client, "receive_transfer", lines=[{"sku": MILK, "received": 3, "damaged": 1}],
        **came, **desk.key(),
    )  # fmt: skip
    assert (rest["good"], rest["damaged"], rest["outstanding"]) == (0, 1, 0)
    assert {"sku": MILK, "kind": "quarantined", "units": 3} in rest["discrepancies"]
    level = await desk.level(MILK, SOUTH)
    assert (level.available, level.quarantine, level.damaged) == (2, 3, 1)


async def test_lots_behind_a_thousand_old_ones(desk: Desk) -> None:
    def long_gone(call: Call) -> None:
        for number in range(OLD_LOTS):
            call.add(
                Lot(
                    id=f"lot_old_{number}", sku=MILK, code=f"old {number}",
                    expires_on=on(number - 2_000), received_at=call.now,
                )
            )  # fmt: skip

    await desk.seed(long_gone)
    await desk.seed(a_lot("A", 10, on(3)))
    await desk.seed(a_lot("B", 10, on(90)))
    soon = await done(desk.client, "analyse_stock", report="expiring", days=30)
    assert [(item["lot"], item["units"]) for item in soon["items"]] == [("A", 10)]
    shown = await done(desk.client, "get_stock", sku=MILK)
    assert [lot["lot"] for lot in shown["lots"]] == ["A", "B"]


async def test_worth_in_two_currencies(desk: Desk) -> None:
    """Cents of one are not added to cents of another."""

    def costs(call: Call) -> None:
        for site, cost, currency in ((NORTH, 4, "EUR"), (SOUTH, 5, "USD")):
            call.add(
                ItemCost(
                    id=f"item_{site}", sku=CUPS, warehouse_id=site, currency=currency,
                    average_cost_e6=cost * 100_000_000, at=call.now,
                )
            )  # fmt: skip

    await desk.seed(costs)
    await desk.seed(stocked(CUPS, NORTH, 10))
    await desk.seed(stocked(CUPS, SOUTH, 20))
    first = await done(desk.client, "analyse_stock", report="valuation", limit=1)
    assert first["totals"] == {
        "units": 30, "value_minor_EUR": 4_000, "value_minor_USD": 10_000, "items": 2
    }  # fmt: skip
    rest = await done(
        desk.client, "analyse_stock", report="valuation", limit=1, cursor=first["next_cursor"]
    )
    found = [(item["units"], item["currency"]) for item in (*first["items"], *rest["items"])]
    assert found == [(20, "USD"), (10, "EUR")]


async def test_bought_in_another_currency_after_the_last_was_sold(desk: Desk) -> None:
    """The average begins anew; while there is stock of the old one it stays."""

    def before(call: Call) -> None:
        call.add(
            ItemCost(
                id="item_1", sku=CUPS, warehouse_id=NORTH, currency="USD",
                average_cost_e6=900_000_000, at=call.now,
            )
        )  # fmt: skip

    await desk.seed(before)
    order = await done(
        desk.client, "create_reorder", sku=CUPS, quantity=30, warehouse=NORTH, **desk.key()
    )
    for count in (20, 10):
        await done(
            desk.client, "receive_purchase_order", purchase_order_id=order["purchase_order_id"],
            lines=[{"sku": CUPS, "received": count}], **desk.key(),
        )  # fmt: skip
    worth = await done(desk.client, "analyse_stock", report="valuation")
    assert worth["totals"] == {"units": 30, "value_minor_EUR": 9_000, "items": 1}


async def test_today_is_the_day_of_the_house(desk: Desk) -> None:
    """In the evening of a house in the west it is tomorrow in UTC, and still today there."""
    await desk.seed(stocked(CUPS, SOUTH, 5))

    def west(call: Call) -> None:
        call.get(Warehouse, SOUTH).timezone = "America/Los_Angeles"

    await desk.seed(west)
    desk.clock.forward(hours=16)  # 17:00 there, 1:00 of the next day in UTC
    asked = {"sku": CUPS, "quantity": 5, "by": "2026-11-02"}
    there = await done(desk.client, "check_availability", warehouse=SOUTH, **asked)
    assert (there["possible"], there["warehouses"][0]["earliest_on"]) == (True, "2026-11-02")
    assert (await done(desk.client, "check_availability", **asked))["possible"]
    await refused(desk.client, "check_availability", "invalid_parameters", warehouse=NORTH, **asked)
