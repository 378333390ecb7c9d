"""Purchase orders: proposed, decided by a person, received in every way, closed."""

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from common.call import Call
from common.tables.inventory import ItemCost, PurchaseLine, SupplierItem
from common.tables.stock_documents import ReceiptLine
from servers.inventory.tools import tools
from tests.inventory.seed import (
    BOX,
    CUPS,
    GTIN,
    KIT,
    MILK,
    NORTH,
    SOUTH,
    Desk,
    a_desk,
    on,
    sold,
)
from tests.support.shop import call, connected, done, refused


async def ordered(desk: Desk, sku: str = CUPS, quantity: int = 30, **more: Any) -> dict[str, Any]:
    return await done(
        desk.client, "create_reorder", sku=sku, quantity=quantity, warehouse=NORTH,
        **more, **desk.key(),
    )  # fmt: skip


async def receive(desk: Desk, order: dict[str, Any], *lines: dict[str, Any], **more: Any):
    return await done(
        desk.client, "receive_purchase_order", purchase_order_id=order["purchase_order_id"],
        lines=list(lines), **more, **desk.key(),
    )  # fmt: skip


async def test_rounded_up_and_the_person_sees_why(either: Desk):
    made = await ordered(either, quantity=5, reason="fair on Sunday")
    assert (made["quantity"], made["total_minor"], made["state"]) == (30, 9000, "approved")
    assert made["arithmetic"] == [
        "asked for 5", "minimum order 24: 24", "packs of 10: 3 packs are 30",
    ]  # fmt: skip
    assert made["expected_on"] == on(5).isoformat()
    question = either.person.questions[0]
    for words in ("Order 30 of CUP-01", "90.00 EUR", "packs of 10", "Potter & Co", "fair on"):
        assert words in question


async def test_the_agent_cannot_commit_it(sqlite_url: str, tmp_path: Path):
    async with a_desk(tmp_path, answer="no", database_url=sqlite_url) as desk:
        ask = {"sku": CUPS, "quantity": 30, "warehouse": NORTH}
        await refused(desk.client, "create_reorder", "approval_invalid", **ask, **desk.key())
        async with connected(desk.shop, tools) as alone:
            answer = await call(alone, "create_reorder", **ask, **desk.key())
        assert answer.get("code") or answer["status"] == "approval_required"
        found = await done(desk.client, "list_purchase_orders", state="all")
        assert found["orders"] == []


async def test_large_amounts_need_a_second_person(desk: Desk):
    answer = await call(
        desk.client, "create_reorder", sku=CUPS, quantity=1000, warehouse=NORTH, **desk.key()
    )
    assert (answer["status"], answer["level"]) == ("approval_required", 2)


async def test_an_open_order_is_named_and_refused_unless_forced(either: Desk):
    first = await ordered(either)
    ask = {"sku": CUPS, "quantity": 30, "warehouse": NORTH}
    answer = await refused(either.client, "create_reorder", "rule_violation", **ask, **either.key())
    assert first["purchase_order_id"] in answer["details"]["open_orders"][0]
    second = await ordered(either, even_if_open=True)
    assert second["open_orders"] == [f"{first['purchase_order_id']} (approved, 30 to come)"]
    # Another warehouse has none.
    await done(
        either.client, "create_reorder", sku=CUPS, quantity=30, warehouse=SOUTH, **either.key()
    )


async def test_two_at_once_make_one(either: Desk):
    ask = {"sku": CUPS, "quantity": 30, "warehouse": NORTH}
    answers = await asyncio.gather(
        *(
            call(either.client, "create_reorder", **ask, reason=f"number {n}", **either.key())
            for n in range(4)
        )
    )
    outcomes = Counter(answer.get("code", "ordered") for answer in answers)
    assert outcomes == {"ordered": 1, "rule_violation": 3}
    found = await done(either.client, "list_purchase_orders", sku=CUPS)
    assert len(found["orders"]) == 1


async def test_nobody_sells_it(desk: Desk):
    ask = {"quantity": 1, "warehouse": NORTH}
    await refused(desk.client, "create_reorder", "not_found", sku=KIT, **ask)
    other = await refused(
        desk.client, "create_reorder", "not_found", sku=CUPS, supplier="sup_2", **ask
    )
    assert other["message"] == f"sup_2 does not sell {CUPS}; these do: sup_1."


async def test_received_in_part_then_short(either: Desk):
    order = await ordered(either)
    await either.seed(sold(CUPS, NORTH, [4], status="backordered"), "orders")
    first = await receive(either, order, {"sku": CUPS, "received": 12, "location": "A-1"})
    assert (first["state"], first["outstanding"]) == ("partially_received", 18)
    assert len(first["waiting_orders"]) == 1
    last = await receive(
        either, order, {"sku": CUPS, "received": 10, "damaged": 3}, close_short=True
    )
    assert (last["state"], last["outstanding"]) == ("received", 0)
    assert last["discrepancies"] == [
        {"sku": CUPS, "kind": "damaged", "units": 3}, {"sku": CUPS, "kind": "short", "units": 5},
    ]  # fmt: skip
    level = await either.level(CUPS, NORTH)
    assert (level.available, level.damaged, level.on_hand) == (22, 3, 25)
    kept = await either.look(
        lambda s: sorted(s.scalars(select(ReceiptLine.discrepancy)), key=lambda d: d or "")
    )
    assert kept == [None, "damaged", "short"]
    whole = await done(
        either.client, "list_purchase_orders", purchase_order_id=order["purchase_order_id"]
    )
    assert whole["orders"][0]["receipts"] == sorted([first["receipt_id"], last["receipt_id"]])
    line = whole["orders"][0]["lines"][0]
    assert (line["received"], line["damaged"], line["short"]) == (22, 3, 5)
    closed = await done(
        either.client, "update_purchase_order", action="close",
        purchase_order_id=order["purchase_order_id"], **either.key(),
    )  # fmt: skip
    assert closed["state"] == "closed"


async def test_what_will_not_come_any_more_is_a_persons_word(desk: Desk):
    """However it is said: a delivery of one unit would cancel an order of many."""
    order = await ordered(desk)
    desk.person.answer, asked = "no", len(desk.person.questions)
    ask = {"purchase_order_id": order["purchase_order_id"]}
    one = [{"sku": CUPS, "received": 1}]
    await refused(
        desk.client, "receive_purchase_order", "approval_invalid", **ask, lines=one,
        close_short=True, **desk.key(),
    )  # fmt: skip
    await receive(desk, order, *one)
    await refused(
        desk.client, "update_purchase_order", "approval_invalid", **ask, action="close",
        **desk.key(),
    )  # fmt: skip
    assert ["29 units will not come" in each for each in desk.person.questions[asked:]] == [
        True
    ] * 2


async def test_over_within_tolerance_is_kept_beyond_is_refused(either: Desk):
    order = await ordered(either)
    before = await either.level(CUPS)
    ask = {"purchase_order_id": order["purchase_order_id"]}
    answer = await refused(
        either.client, "receive_purchase_order", "rule_violation", **ask,
        lines=[{"sku": CUPS, "received": 34}], **either.key(),
    )  # fmt: skip
    assert answer["details"]["most"] == 33
    assert await either.level(CUPS) == before
    done_ = await receive(either, order, {"sku": CUPS, "received": 33})
    assert done_["discrepancies"] == [{"sku": CUPS, "kind": "over", "units": 3}]
    assert done_["state"] == "received"
    line = await either.look(lambda s: s.scalars(select(PurchaseLine)).one())
    assert (line.received, line.over, line.open) == (33, 3, False)
    await refused(
        either.client, "receive_purchase_order", "rule_violation", **ask,
        lines=[{"sku": CUPS, "received": 1}], **either.key(),
    )  # fmt: skip


async def test_a_delivery_note_is_booked_once(desk: Desk):
    order = await ordered(desk)
    line = {"sku": CUPS, "received": 10}
    await receive(desk, order, line, delivery_note="LS 7")
    await refused(
        desk.client, "receive_purchase_order", "rule_violation", lines=[line],
        purchase_order_id=order["purchase_order_id"], delivery_note="LS 7", **desk.key(),
    )  # fmt: skip
    assert (await desk.level(CUPS)).on_hand == 10


async def test_lots_are_made_and_expired_ones_set_aside(either: Desk):
    order = await ordered(either, MILK, 20)
    fresh = {"sku": MILK, "received": 8, "lot": "L1", "expires_on": on(20).isoformat()}
    old = {"sku": MILK, "received": 4, "lot": "L0", "expires_on": on(-1).isoformat()}
    found = await receive(either, order, fresh, old)
    assert found["discrepancies"] == [{"sku": MILK, "kind": "expired", "units": 4}]
    level = await either.level(MILK, NORTH)
    assert (level.available, level.quarantine) == (8, 4)
    ask = {"purchase_order_id": order["purchase_order_id"]}
    for line in (
        {"sku": MILK, "received": 1},
        {"sku": MILK, "received": 1, "lot": "L1", "expires_on": on(21).isoformat()},
        {"sku": MILK, "received": 0, "lot": "L1"},
        {"sku": MILK, "received": -1, "lot": "L1"},
        {"sku": MILK, "received": 1, "lot": "L1", "expires_on": "2026-02-30"},
        {"sku": BOX, "received": 1},
        {"sku": BOX, "received": 1, "wrong_item": True, "lot": "L1"},
    ):
        await refused(
            either.client, "receive_purchase_order", "invalid_parameters", **ask, lines=[line],
            **either.key(),
        )  # fmt: skip
    assert await either.level(MILK, NORTH) == level
    wrong = await receive(either, order, {"sku": BOX, "received": 2, "wrong_item": True})
    assert wrong["discrepancies"] == [{"sku": BOX, "kind": "wrong_item", "units": 2}]
    assert (await either.level(BOX, NORTH)).quarantine == 2


async def test_the_day_a_lot_was_made_is_kept_and_shown(either: Desk):
    order = await ordered(either, MILK, 20)
    line = {"sku": MILK, "received": 8, "lot": "L1", "expires_on": on(20).isoformat()}
    made = {"produced_on": on(-3).isoformat()}
    await receive(either, order, line)
    await receive(either, order, line | made)
    (lot,) = (await done(either.client, "get_stock", sku=MILK))["lots"]
    assert (lot["units"], lot["produced_on"]) == (16, on(-3).isoformat())
    scan = await done(either.client, "find_item", barcode=f"(01){GTIN}(11)261001(10)L1")
    assert scan["produced_on"] == on(-3).isoformat()
    unknown = await done(either.client, "find_item", barcode=f"(01){GTIN}(11)261001(10)L2")
    assert unknown["produced_on"] == "2026-10-01"
    for wrong in (
        line | {"produced_on": on(-2).isoformat()},
        line | {"lot": "L2", "produced_on": on(21).isoformat()},
        {"sku": BOX, "received": 1, "wrong_item": True} | made,
    ):
        await refused(
            either.client, "receive_purchase_order", "invalid_parameters",
            purchase_order_id=order["purchase_order_id"], lines=[wrong], **either.key(),
        )  # fmt: skip


async def test_moving_average(either: Desk):
    await receive(either, await ordered(either), {"sku": CUPS, "received": 30})

    def dearer(call: Call) -> None:
        call.get(SupplierItem, f"offer_{CUPS}").unit_cost_minor = 401

    await either.seed(dearer)
    await receive(either, await ordered(either), {"sku": CUPS, "received": 28, "damaged": 2})
    cost = await either.look(lambda s: s.scalars(select(ItemCost)).one())
    assert cost.average_cost_e6 == 350_500_000
    value = await done(either.client, "analyse_stock", report="valuation")
    assert value["totals"]["value_minor_EUR"] == 60 * 350 + 30


async def test_states_and_dates(desk: Desk):
    order = await ordered(desk)
    ask = {"purchase_order_id": order["purchase_order_id"]}
    sent = await done(desk.client, "update_purchase_order", **ask, action="send", **desk.key())
    assert sent["state"] == "sent"
    await refused(
        desk.client, "update_purchase_order", "invalid_parameters", **ask,
        action="acknowledge", expected_on=on(-1).isoformat(), **desk.key(),
    )  # fmt: skip
    confirmed = await done(
        desk.client, "update_purchase_order", **ask, action="acknowledge",
        expected_on=on(9).isoformat(), supplier_reference="PO/77", **desk.key(),
    )  # fmt: skip
    assert (confirmed["state"], confirmed["expected_on"]) == ("acknowledged", on(9).isoformat())
    answer = await refused(
        desk.client, "update_purchase_order", "rule_violation", **ask, action="send", **desk.key()
    )
    assert answer["details"]["allowed"] == ["acknowledge", "cancel"]
    asked = len(desk.person.questions)
    await done(desk.client, "update_purchase_order", **ask, action="cancel", **desk.key())
    assert len(desk.person.questions) == asked + 1, "cancelling asks the person"
    await ordered(desk)  # the cancelled one is not in the way
    late = await done(desk.client, "list_purchase_orders", state="late")
    assert late["orders"] == []
    desk.clock.forward(days=30)
    late = await done(desk.client, "list_purchase_orders", state="late")
    assert len(late["orders"]) == 1


async def test_lines_have_the_article_number_of_the_supplier(either: Desk):
    ask = {"purchase_order_id": (await ordered(either))["purchase_order_id"], "action": "send"}
    sent = await done(either.client, "update_purchase_order", **ask, **either.key())
    await ordered(either, BOX)
    listed = await done(either.client, "list_purchase_orders")
    lines = {line["sku"]: line for order in listed["orders"] for line in order["lines"]}
    assert sent["lines"] == [lines[CUPS]]
    assert lines[CUPS]["supplier_sku"] == "P-7714"
    assert "supplier_sku" not in lines[BOX]


@pytest.mark.parametrize("state", ["all", "open"])
async def test_list_is_paged(desk: Desk, state: str):
    for _ in range(3):
        await ordered(desk, even_if_open=True)
    whole = await done(desk.client, "list_purchase_orders", state=state)
    pages, cursor = [], {}
    for _ in range(3):
        page = await done(desk.client, "list_purchase_orders", state=state, limit=1, **cursor)
        pages += page["orders"]
        cursor = {"cursor": page.get("next_cursor")}
    assert pages == whole["orders"]
    await refused(desk.client, "list_purchase_orders", "not_found", purchase_order_id="po_x")
