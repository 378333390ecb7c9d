"""Cycle counts: blind, recounted where they differ, posted against the snapshot."""

from typing import Any

from sqlalchemy import select

from common.call import Call
from common.tables.inventory import ItemCost, Variant
from common.tables.stock_documents import CountLine, CycleCount, StockAdjustment
from tests.inventory.seed import BOX, CUPS, MILK, NORTH, SOUTH, Desk, a_lot, on, stocked
from tests.support.shop import call, done, refused


async def started(desk: Desk, *skus: str) -> dict[str, Any]:
    more = {"skus": list(skus)} if skus else {}
    return await done(desk.client, "start_cycle_count", warehouse=NORTH, **more, **desk.key())


def counted(*units: int) -> list[dict[str, int]]:
    return [{"line": line, "counted": found} for line, found in enumerate(units, 1)]


async def submit(desk: Desk, count: dict[str, Any], counts: list[dict[str, int]]) -> dict[str, Any]:
    return await done(
        desk.client, "submit_cycle_count", count_id=count["count_id"], counts=counts, **desk.key()
    )


async def test_the_sheet_is_blind_and_an_exact_count_posts_nothing(either: Desk):
    await either.seed(stocked(CUPS, NORTH, 97))
    await either.seed(stocked(BOX, NORTH, 31))
    sheet = await started(either, CUPS, BOX)
    assert sheet["lines"] == [{"line": 1, "sku": CUPS}, {"line": 2, "sku": BOX}]
    assert "97" not in str(sheet["lines"])
    found = await submit(either, sheet, counted(97, 31))
    assert (found["state"], found["posted"]) == ("posted", [])
    assert await either.look(lambda s: list(s.scalars(select(StockAdjustment)))) == []


async def test_variance_is_recounted_and_posted_against_the_snapshot(either: Desk):
    await either.seed(stocked(CUPS, NORTH, 50))
    await either.seed(stocked(BOX, NORTH, 30))
    sheet = await started(either, CUPS, BOX)
    # While they count, 5 leave the shelf and 2 are reserved.
    await done(
        either.client, "move_stock", sku=CUPS, warehouse=NORTH, quantity=5,
        from_status="available", to="damaged", reason="fell", **either.key(),
    )  # fmt: skip
    await done(
        either.client, "reserve_stock", sku=CUPS, quantity=2, warehouse=NORTH, source_id="x",
        **either.key(),
    )  # fmt: skip
    again = await submit(either, sheet, counted(46, 30))
    assert (again["state"], again["lines"]) == ("recount", [{"line": 1, "sku": CUPS}])
    assert "posted" not in again
    assert (await either.level(CUPS, NORTH)).on_hand == 50, "nothing is posted yet"
    listed = await done(either.client, "list_stock_documents", kind="count")
    assert listed["documents"][0]["lines"] == [f"1: {CUPS}"]
    for counts in (counted(47, 30), [{"line": 2, "counted": 30}], []):
        await refused(
            either.client, "submit_cycle_count", "invalid_parameters",
            count_id=sheet["count_id"], counts=counts, **either.key(),
        )  # fmt: skip
    posted = await submit(either, again, counted(47))
    assert posted["posted"] == [{"sku": CUPS, "kind": "short", "units": 3}]
    level = await either.level(CUPS, NORTH)
    # 50 in the snapshot, 3 missing: the 5 moved since are not taken for missing.
    assert (level.on_hand, level.damaged, level.reserved, level.available) == (47, 5, 2, 40)
    await refused(
        either.client, "submit_cycle_count", "rule_violation", count_id=sheet["count_id"],
        counts=counted(47), **either.key(),
    )  # fmt: skip
    accuracy = await done(either.client, "analyse_stock", report="accuracy")
    assert accuracy["totals"] == {"lines": 2, "exact": 1, "per_mille": 500, "items": 2}


async def test_counted_after_something_left(either: Desk):
    """Who finds what the books have by then misses nothing; other lines are counted again."""
    await either.seed(stocked(CUPS, NORTH, 10))
    await either.seed(stocked(BOX, NORTH, 10))
    await either.seed(a_lot("A", 5, on(5)))
    sheet = await started(either, CUPS, BOX, MILK)
    for sku, lot, units in ((CUPS, {}, 5), (BOX, {}, 4), (MILK, {"lot": "A"}, 5)):
        await done(
            either.client, "move_stock", sku=sku, warehouse=NORTH, quantity=units,
            from_status="available", to="damaged", reason="fell", **lot, **either.key(),
        )  # fmt: skip
    again = await submit(either, sheet, counted(5, 7, 0))
    assert [line["sku"] for line in again["lines"]] == [BOX]
    posted = await submit(either, again, [{"line": 2, "counted": 6}])
    assert (posted["state"], posted["posted"]) == ("posted", [])
    assert [(await either.level(sku, NORTH)).available for sku in (CUPS, BOX, MILK)] == [5, 6, 0]


async def test_a_large_variance_waits_for_a_person(desk: Desk):
    await desk.seed(stocked(CUPS, NORTH, 500))
    sheet = await started(desk, CUPS)
    await submit(desk, sheet, counted(480))
    assert desk.person.questions == []
    posted = await submit(desk, sheet, counted(480))
    assert posted["state"] == "posted"
    assert "500 in the books, 480 counted" in desk.person.questions[0]
    other = await started(desk, CUPS)
    await submit(desk, other, counted(100))
    answer = await call(
        desk.client, "submit_cycle_count", count_id=other["count_id"], counts=counted(100),
        **desk.key(),
    )  # fmt: skip
    assert (answer["status"], answer["level"]) == ("approval_required", 2)
    state = await desk.look(lambda s: s.get(CycleCount, other["count_id"]).state)
    assert state == "recount", "nothing is posted before a second person agrees"
    assert (await desk.level(CUPS)).on_hand == 480


async def test_found_units_and_lots(either: Desk):
    await either.seed(a_lot("A", 5, on(5)))
    await either.seed(a_lot("B", 7, on(9)))
    sheet = await started(either, MILK)
    assert [line["lot"] for line in sheet["lines"]] == ["A", "B"]
    await submit(either, sheet, counted(6, 7))
    posted = await submit(either, sheet, counted(6))
    assert posted["posted"] == [{"sku": MILK, "kind": "over", "units": 1}]
    line = await either.look(
        lambda s: s.scalars(select(CountLine).where(CountLine.lot_id == "lot_A")).one()
    )
    assert (line.snapshot, line.counted, line.recounted) == (5, 6, 6)


async def test_missing_reserved_units_are_said(desk: Desk):
    await desk.seed(stocked(CUPS, NORTH, 10))
    held = await done(
        desk.client, "reserve_stock", sku=CUPS, quantity=8, warehouse=NORTH, source_id="x",
        **desk.key(),
    )  # fmt: skip
    sheet = await started(desk, CUPS)
    await submit(desk, sheet, counted(5))
    answer = await refused(
        desk.client, "submit_cycle_count", "rule_violation", count_id=sheet["count_id"],
        counts=counted(5), **desk.key(),
    )  # fmt: skip
    id = held["reservations"][0]["reservation_id"]
    assert answer["details"] == {"sku": CUPS, "missing": 5, "reservations": [id]}
    await done(desk.client, "release_reservation", reservation_id=id, **desk.key())
    assert (await submit(desk, sheet, counted(5)))["state"] == "posted"


async def test_an_item_is_counted_once_at_a_time(desk: Desk):
    await desk.seed(stocked(CUPS, NORTH, 10))
    sheet = await started(desk, CUPS)
    answer = await refused(
        desk.client, "start_cycle_count", "rule_violation", warehouse=NORTH, skus=[CUPS],
        **desk.key(),
    )  # fmt: skip
    assert answer["details"]["count_id"] == sheet["count_id"]
    gone = await done(
        desk.client, "submit_cycle_count", count_id=sheet["count_id"], counts=[],
        action="cancel", **desk.key(),
    )  # fmt: skip
    assert gone["state"] == "cancelled"
    await started(desk, CUPS)


async def test_what_is_due_by_class(either: Desk):
    await either.seed(stocked(CUPS, NORTH, 10))
    await either.seed(stocked(BOX, NORTH, 10))

    def classed(call: Call) -> None:
        call.get(Variant, CUPS).abc_class = "A"

    await either.seed(classed)
    sheet = await started(either)
    assert [line["sku"] for line in sheet["lines"]] == [CUPS, BOX], "an A item first"
    await submit(either, sheet, counted(10, 10))
    await refused(
        either.client, "start_cycle_count", "rule_violation", warehouse=NORTH, **either.key()
    )
    either.clock.forward(days=31)
    assert [line["sku"] for line in (await started(either))["lines"]] == [CUPS]
    await refused(
        either.client, "start_cycle_count", "rule_violation", warehouse=SOUTH, **either.key()
    )


async def test_bad_counts(desk: Desk):
    await desk.seed(stocked(CUPS, NORTH, 10))
    sheet = await started(desk, CUPS)
    for counts in (
        counted(-1), counted(10**7), [{"line": 1, "counted": 1.5}], [{"line": 0, "counted": 1}],
        [{"line": 2, "counted": 1}], counted(9) * 2, [{"line": 1, "counted": 9, "sku": CUPS}],
    ):  # fmt: skip
        await refused(
            desk.client, "submit_cycle_count", "invalid_parameters", counts=counts,
            count_id=sheet["count_id"], **desk.key(),
        )  # fmt: skip
    await refused(
        desk.client, "submit_cycle_count", "not_found", count_id="cnt_x", counts=counted(1),
        **desk.key(),
    )  # fmt: skip


async def test_a_sheet_is_of_one_currency(either: Desk):
    """What differs is posted at once by its worth in all, which two currencies do not have."""
    for sku in (CUPS, BOX):
        await either.seed(stocked(sku, NORTH, 10))

    def in_dollars(call: Call) -> None:
        call.add(
            ItemCost(
                id=call.new_id("item"), sku=BOX, warehouse_id=NORTH, average_cost_e6=5_000_000,
                currency="USD", at=call.now,
            )
        )  # fmt: skip
        call.get(Variant, CUPS).abc_class = "A"

    await either.seed(in_dollars)
    answer = await refused(
        either.client, "start_cycle_count", "invalid_parameters", warehouse=NORTH,
        skus=[CUPS, BOX], **either.key(),
    )  # fmt: skip
    assert "EUR, USD" in str(answer)
    first = await started(either)
    assert [line["sku"] for line in first["lines"]] == [CUPS], "what is due, of one currency"
    assert (await submit(either, first, counted(10)))["state"] == "posted"
    assert [line["sku"] for line in (await started(either))["lines"]] == [BOX]
