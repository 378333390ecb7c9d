"""Transfers in two legs, corrections with reasons, statuses, recalls and kits."""

from typing import Any

import pytest
from sqlalchemy import select

from common.call import Call
from common.rules import stock
from common.tables.inventory import ItemCost, Product
from common.tables.stock_documents import ReceiptLine, StockAdjustment
from tests.inventory.seed import (
    BOX,
    CUPS,
    KIT,
    MILK,
    NORTH,
    SOUTH,
    Desk,
    a_lot,
    on,
    stocked,
)
from tests.support.shop import call, done, refused


async def send(desk: Desk, *lines: dict[str, Any], **more: Any) -> dict[str, Any]:
    return await done(
        desk.client, "transfer_stock", from_warehouse=NORTH, to_warehouse=SOUTH,
        lines=list(lines), **more, **desk.key(),
    )  # fmt: skip


async def test_two_legs(either: Desk):
    await either.seed(stocked(CUPS, NORTH, 20))
    sent = await send(either, {"sku": CUPS, "quantity": 12}, transit_days=3)
    assert (sent["state"], sent["expected_on"]) == ("in_transit", on(3).isoformat())
    south = await either.level(CUPS, SOUTH)
    assert (south.on_hand, south.in_transit) == (0, 12)
    assert (await either.level(CUPS, NORTH)).on_hand == 8
    ask = {"transfer_id": sent["transfer_id"]}
    first = await done(
        either.client, "receive_transfer", **ask, **either.key(),
        lines=[{"sku": CUPS, "received": 7, "damaged": 1}],
    )  # fmt: skip
    assert (first["state"], first["outstanding"]) == ("partially_received", 4)
    before = await either.level(CUPS)
    for code, lines in (
        ("invalid_parameters", [{"sku": CUPS, "received": 5}]),
        ("invalid_parameters", [{"sku": BOX, "received": 1}]),
        ("invalid_parameters", [{"sku": CUPS, "received": 0}]),
        ("invalid_parameters", [{"sku": CUPS, "received": -1}]),
        ("invalid_parameters", []),
    ):
        await refused(either.client, "receive_transfer", code, **ask, lines=lines, **either.key())
    assert await either.level(CUPS) == before
    listed = await done(either.client, "list_stock_documents", kind="transfer")
    assert listed["documents"][0]["lines"] == [f"{CUPS}: 4 on the way"]
    last = await done(
        either.client, "receive_transfer", **ask, **either.key(),
        lines=[{"sku": CUPS, "received": 2, "lost": 2}],
    )  # fmt: skip
    assert last["state"] == "received"
    assert last["discrepancies"] == [{"sku": CUPS, "kind": "short", "units": 2}]
    south = await either.level(CUPS, SOUTH)
    assert (south.available, south.damaged, south.in_transit) == (9, 1, 0)
    assert (await either.level(CUPS)).on_hand == 18
    kept = await either.look(lambda s: set(s.scalars(select(ReceiptLine.discrepancy))))
    assert kept == {"damaged", "short"}
    await refused(
        either.client, "receive_transfer", "rule_violation", **ask, **either.key(),
        lines=[{"sku": CUPS, "received": 1}],
    )  # fmt: skip


async def test_a_transfer_carries_its_cost_along(desk: Desk):
    await desk.seed(stocked(CUPS, NORTH, 20))

    def priced(call: Call) -> None:
        for warehouse, cost in ((NORTH, 500), (SOUTH, 200)):
            call.add(
                ItemCost(
                    id=f"cost_{warehouse}", sku=CUPS, warehouse_id=warehouse, currency="EUR",
                    average_cost_e6=cost * 10**6, at=call.now,
                )
            )  # fmt: skip

    await desk.seed(stocked(CUPS, SOUTH, 10))
    await desk.seed(priced)
    await send(desk, {"sku": CUPS, "quantity": 5})
    cost = await desk.look(lambda s: s.get(ItemCost, f"cost_{SOUTH}").average_cost_e6)
    assert cost == 300 * 10**6
    await send(desk, {"sku": CUPS, "quantity": 5})
    cost = await desk.look(lambda s: s.get(ItemCost, f"cost_{SOUTH}").average_cost_e6)
    assert cost == 350 * 10**6, "what is on the way counts"


async def test_all_lines_or_none(either: Desk):
    await either.seed(stocked(CUPS, NORTH, 5))
    await either.seed(a_lot("A", 3, on(5)))
    await either.seed(a_lot("B", 3, on(2)))
    ask = {"from_warehouse": NORTH, "to_warehouse": SOUTH}
    cups = {"sku": CUPS, "quantity": 2}
    for code, lines, more in (
        ("insufficient_stock", [cups, {"sku": MILK, "quantity": 7}], {}),
        ("invalid_parameters", [cups, cups], {}),
        ("invalid_parameters", [cups], {"to_warehouse": NORTH}),
        ("not_found", [cups], {"to_warehouse": "WH-X"}),
        ("invalid_parameters", [{"sku": CUPS, "quantity": 2, "lot": "A"}], {}),
        ("product_not_found", [cups, {"sku": "CUPS", "quantity": 1}], {}),
    ):
        given = ask | {"lines": lines} | more
        await refused(either.client, "transfer_stock", code, **given, **either.key())
    assert (await either.level(CUPS, NORTH)).available == 5
    await send(either, cups, {"sku": MILK, "quantity": 4})
    lots = await done(either.client, "get_stock", sku=MILK, warehouse=NORTH)
    assert [(lot["lot"], lot["units"]) for lot in lots["lots"]] == [("A", 2)]


async def test_adjustments_have_a_reason_of_their_direction(either: Desk):
    await either.seed(stocked(CUPS, NORTH, 10))
    ask = {"sku": CUPS, "warehouse": NORTH}
    found = await done(
        either.client, "adjust_stock", **ask, quantity=3, reason="found", note="behind the rack",
        **either.key(),
    )  # fmt: skip
    assert (found["on_hand"], found["value_minor"]) == (13, 1200)
    lost = await done(
        either.client, "adjust_stock", **ask, quantity=-2, reason="theft", **either.key()
    )
    assert lost["available"] == 11
    rows = await either.look(
        lambda s: list(s.scalars(select(StockAdjustment.quantity).order_by(StockAdjustment.id)))
    )
    assert 3 in rows
    for code, more in (
        ("invalid_parameters", {"quantity": 0, "reason": "found"}),
        ("invalid_parameters", {"quantity": 1, "reason": "theft"}),
        ("invalid_parameters", {"quantity": -1, "reason": "found"}),
        ("invalid_parameters", {"quantity": -1, "reason": "count"}),
        ("invalid_parameters", {"quantity": -1, "reason": "theft", "lot": "L"}),
        ("invalid_parameters", {"quantity": 1.5, "reason": "found"}),
        ("invalid_parameters", {"quantity": -(10**9), "reason": "theft"}),
        ("insufficient_stock", {"quantity": -12, "reason": "theft"}),
    ):
        await refused(either.client, "adjust_stock", code, **ask, **more, **either.key())
    assert (await either.level(CUPS)).on_hand == 11


async def test_reserved_units_cannot_be_adjusted_away(desk: Desk):
    await desk.seed(stocked(CUPS, NORTH, 5))
    await done(
        desk.client, "reserve_stock", sku=CUPS, quantity=4, warehouse=NORTH, source_id="x",
        **desk.key(),
    )  # fmt: skip
    await refused(
        desk.client, "adjust_stock", "insufficient_stock", sku=CUPS, warehouse=NORTH,
        quantity=-2, reason="theft", **desk.key(),
    )  # fmt: skip


async def test_small_corrections_add_up_to_a_person(desk: Desk):
    """Ten units a call would pass alone; the sum of a day does not."""
    await desk.seed(stocked(CUPS, NORTH, 500))
    for _ in range(10):
        await done(
            desk.client, "adjust_stock", sku=CUPS, warehouse=NORTH, quantity=-10,
            reason="shrinkage", **desk.key(),
        )  # fmt: skip
    assert len(desk.person.questions) == 3, "300 euros a day alone, 40 a call"
    answer = await call(
        desk.client, "adjust_stock", sku=CUPS, warehouse=NORTH, quantity=-200,
        reason="write_off", **desk.key(),
    )  # fmt: skip
    assert (answer["status"], answer["level"]) == ("approval_required", 2)


async def test_statuses(either: Desk):
    await either.seed(stocked(CUPS, NORTH, 10))
    ask = {"sku": CUPS, "warehouse": NORTH, "reason": "look"}

    async def step(source: str, to: str, units: int) -> dict[str, Any]:
        return await done(
            either.client, "move_stock", **ask, from_status=source, to=to, quantity=units,
            **either.key(),
        )  # fmt: skip

    await step("available", "quarantine", 6)
    assert either.person.questions == []
    await step("quarantine", "damaged", 2)
    back = await step("quarantine", "available", 1)
    assert len(either.person.questions) == 1, "back on sale is a person's word"
    assert back["available"] == 5
    await step("damaged", "scrap", 2)
    await step("quarantine", "supplier", 1)
    level = await either.level(CUPS, NORTH)
    assert (level.on_hand, level.quarantine, level.damaged) == (7, 2, 0)
    answer = await refused(
        either.client, "move_stock", "rule_violation", **ask, from_status="available",
        to="refurbish", quantity=1, **either.key(),
    )  # fmt: skip
    assert answer["details"]["possible"] == ["damaged", "quarantine", "scrap", "supplier"]
    for source, to in (("damaged", "scrap"), ("quarantine", "available")):
        await refused(
            either.client, "move_stock", "insufficient_stock", **ask, from_status=source, to=to,
            quantity=3, **either.key(),
        )  # fmt: skip


async def test_units_that_are_gone_count_as_in_a_correction(desk: Desk):
    await desk.seed(stocked(CUPS, NORTH, 40))
    ask = {"sku": CUPS, "warehouse": NORTH, "from_status": "available", "reason": "look"}
    for count, (units, to) in enumerate(((11, "damaged"), (11, "scrap"), (10, "scrap"))):
        await done(desk.client, "move_stock", **ask, quantity=units, to=to, **desk.key())
        assert len(desk.person.questions) == min(count, 1), (units, to)


async def test_what_came_back_and_may_not_be_sold_again(desk: Desk):
    def returned(call: Call) -> None:
        call.get(Product, f"prd_{CUPS}").restockable = False
        stock.move(call, CUPS, NORTH, "customer", "inspection", 2, "return_in", "rma")

    await desk.seed(returned)
    ask = {"sku": CUPS, "warehouse": NORTH, "quantity": 1, "from_status": "inspection"}
    await refused(
        desk.client, "move_stock", "rule_violation", **ask, to="available", reason="ok",
        **desk.key(),
    )  # fmt: skip
    await done(desk.client, "move_stock", **ask, to="scrap", reason="hygiene", **desk.key())


async def test_recall(either: Desk):
    await either.seed(a_lot("BAD", 10, on(30)))
    await either.seed(a_lot("BAD", 4, on(30), SOUTH))
    await either.seed(a_lot("GOOD", 5, on(40)))
    held = await done(
        either.client, "reserve_stock", sku=MILK, quantity=3, warehouse=NORTH, source_id="fair",
        **either.key(),
    )  # fmt: skip
    found = await done(
        either.client, "recall_lot", sku=MILK, lot="BAD", reason="glass", **either.key()
    )
    assert (found["quarantined"], found["state"]) == (11, "recalled")
    id = held["reservations"][0]["reservation_id"]
    assert found["still_reserved"] == [f"{id}: 3 for manual fair"]
    assert [each.split("\n")[1] for each in either.person.questions] == ["Units: 11"]
    await done(either.client, "release_reservation", reservation_id=id, **either.key())
    made = await done(
        either.client, "reserve_stock", sku=MILK, quantity=5, warehouse=NORTH, source_id="x",
        **either.key(),
    )  # fmt: skip
    assert [row["lot"] for row in made["reservations"]] == ["GOOD"], (
        "what was let go stays off sale"
    )
    await refused(
        either.client, "move_stock", "rule_violation", sku=MILK, warehouse=NORTH, quantity=1,
        from_status="quarantine", to="available", lot="BAD", reason="fine", **either.key(),
    )  # fmt: skip


async def test_kits(either: Desk):
    await either.seed(stocked(CUPS, NORTH, 9))
    await either.seed(stocked(BOX, NORTH, 5))
    ask = {"kit_sku": KIT, "warehouse": NORTH}
    made = await done(either.client, "build_kit", **ask, quantity=2, **either.key())
    assert (made["on_hand"], made["value_minor"]) == (2, 2 * (4 * 400 + 50))
    assert (await either.level(CUPS)).on_hand == 1
    before = await either.level(BOX)
    await refused(
        either.client, "build_kit", "insufficient_stock", **ask, quantity=1, **either.key()
    )
    assert await either.level(BOX) == before, "no part is taken unless all are there"
    await done(either.client, "build_kit", **ask, quantity=1, action="break", **either.key())
    assert ((await either.level(CUPS)).on_hand, (await either.level(KIT)).on_hand) == (5, 1)
    await refused(
        either.client, "build_kit", "rule_violation", kit_sku=CUPS, warehouse=NORTH, quantity=1,
        **either.key(),
    )  # fmt: skip


@pytest.mark.parametrize("tool", ["adjust_stock", "move_stock"])
async def test_items_with_lots_need_one(desk: Desk, tool: str):
    await desk.seed(a_lot("A", 5, on(5)))
    more = (
        {"quantity": -1, "reason": "theft"}
        if tool == "adjust_stock"
        else {"quantity": 1, "from_status": "available", "to": "damaged", "reason": "fell"}
    )
    ask = {"sku": MILK, "warehouse": NORTH} | more
    await refused(desk.client, tool, "invalid_parameters", **ask, **desk.key())
    await refused(desk.client, tool, "not_found", **ask, lot="B", **desk.key())
    await done(desk.client, tool, **ask, lot="A", **desk.key())
