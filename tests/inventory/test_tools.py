"""Levels, availability, barcodes, and what hosts list: the resource, the prompt, completions."""

import json
from typing import Any

import pytest
from mcp.types import PromptReference, ResourceTemplateReference

from tests.inventory.seed import (
    BOX,
    CUPS,
    GTIN,
    KIT,
    MILK,
    NORTH,
    SOUTH,
    Desk,
    a_lot,
    on,
    sold,
    stocked,
)
from tests.support.shop import done, refused


async def test_stock_by_warehouse_and_status(either: Desk):
    await either.seed(stocked(CUPS, NORTH, 10))
    await either.seed(stocked(CUPS, SOUTH, 4))
    await done(
        either.client, "move_stock", sku=CUPS, warehouse=NORTH, quantity=3,
        from_status="available", to="quarantine", reason="wet carton", **either.key(),
    )  # fmt: skip
    await done(
        either.client, "reserve_stock", sku=CUPS, quantity=2, warehouse=NORTH, source_id="call",
        **either.key(),
    )  # fmt: skip
    found = await done(either.client, "get_stock", sku=CUPS)
    assert (found["on_hand"], found["available"]) == (14, 9)
    north = found["shelves"][0]
    assert north == {
        "warehouse": NORTH, "on_hand": 10, "reserved": 2, "available": 5, "quarantine": 3,
    }  # fmt: skip
    one = await done(either.client, "get_stock", sku=CUPS, warehouse=SOUTH)
    assert [shelf["warehouse"] for shelf in one["shelves"]] == [SOUTH]


async def test_expired_lots_are_on_hand_and_not_available(desk: Desk):
    await desk.seed(a_lot("OLD", 5, on(-1)))
    await desk.seed(a_lot("TODAY", 3, on(0)))
    found = await done(desk.client, "get_stock", sku=MILK)
    assert (found["on_hand"], found["available"]) == (8, 3)
    assert found["shelves"][0]["expired"] == 5
    assert [(lot["lot"], lot["state"]) for lot in found["lots"]] == [
        ("OLD", "expired"), ("TODAY", "active"),
    ]  # fmt: skip


@pytest.mark.parametrize("sku", ["CUP-O1", "cup-01", "CUP-0l", "CUP01"])
async def test_a_sku_that_looks_alike_is_named_and_never_taken(desk: Desk, sku: str):
    answer = await refused(desk.client, "get_stock", "product_not_found", sku=sku)
    assert answer["details"]["suggestions"][0] == CUPS
    await refused(
        desk.client, "adjust_stock", "product_not_found", sku=sku, warehouse=NORTH, quantity=1,
        reason="found", **desk.key(),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "skus"), [("cup", [CUPS]), ("Cups-in-a-box", [KIT]), ("milk", [MILK])]
)
async def test_a_name_in_place_of_a_sku_suggests_the_item(desk: Desk, name: str, skus: list[str]):
    answer = await refused(desk.client, "get_stock", "product_not_found", sku=name)
    assert set(skus) <= set(answer["details"]["suggestions"])
    assert "suggestions" in answer["next"]


async def test_without_suggestions_none_are_spoken_of(desk: Desk):
    answer = await refused(desk.client, "get_stock", "product_not_found", sku="XYZZY-77")
    assert "suggestions" not in answer["details"]
    assert "suggestion" not in answer["next"]


async def test_letters_of_other_scripts_are_no_sku(desk: Desk):
    await refused(desk.client, "get_stock", "invalid_parameters", sku="СUP-01")
    await refused(desk.client, "get_stock", "invalid_parameters", sku="CUP-01\u200b")


async def test_unknown_warehouse_names_the_known(desk: Desk):
    answer = await refused(desk.client, "get_stock", "not_found", sku=CUPS, warehouse="WH-X")
    assert answer["details"]["warehouses"] == ["WH-N", "WH-S", "WH-W"]


@pytest.mark.parametrize("quantity", [0, -1, 1.5, 10**7, 10**30, "3", True, None])
@pytest.mark.parametrize(
    ("tool", "more"),
    [
        ("reserve_stock", {"source_id": "x"}),
        ("create_reorder", {}),
        ("check_availability", {}),
    ],
)
async def test_quantities_that_are_none(desk: Desk, tool: str, more: dict[str, str], quantity: Any):
    before = await desk.level(CUPS)
    await refused(
        desk.client, tool, "invalid_parameters", sku=CUPS, warehouse=NORTH, quantity=quantity,
        **more,
    )  # fmt: skip
    assert await desk.level(CUPS) == before


async def test_available_to_promise_by_date(either: Desk):
    await either.seed(stocked(CUPS, NORTH, 5))
    made = await done(
        either.client, "create_reorder", sku=CUPS, quantity=30, warehouse=NORTH, **either.key()
    )
    await either.seed(sold(CUPS, NORTH, [4], status="backordered"), "orders")
    ask = {"sku": CUPS, "quantity": 20, "warehouse": NORTH}
    now = await done(either.client, "check_availability", **ask)
    assert now["possible"] is False
    promise = now["warehouses"][0]
    assert (promise["available"], promise["by_date"], promise["backordered"]) == (5, 1, 4)
    assert promise["earliest_on"] == made["expected_on"]
    assert promise["incoming"] == [
        {"source": made["purchase_order_id"], "units": 30, "on": made["expected_on"]}
    ]
    later = await done(either.client, "check_availability", **ask, by=made["expected_on"])
    assert later["possible"] is True
    assert later["warehouses"][0]["by_date"] == 31
    # What did not come when it was due is promised for no day.
    either.clock.forward(days=9)
    overdue = await done(either.client, "check_availability", **ask)
    assert "earliest_on" not in overdue["warehouses"][0]


async def test_lots_that_expire_before_the_day_are_not_promised_for_it(desk: Desk):
    await desk.seed(a_lot("SOON", 5, on(3)))
    await desk.seed(a_lot("LATE", 2, on(30)))
    ask = {"sku": MILK, "quantity": 1}
    today = await done(desk.client, "check_availability", **ask)
    assert today["warehouses"][0]["by_date"] == 7
    later = await done(desk.client, "check_availability", **ask, by=on(5).isoformat())
    assert later["warehouses"][0]["by_date"] == 2
    await refused(
        desk.client, "check_availability", "invalid_parameters", **ask, by=on(-1).isoformat()
    )


async def test_kits_can_be_promised_from_their_parts(desk: Desk):
    await desk.seed(stocked(CUPS, NORTH, 9))
    await desk.seed(stocked(BOX, NORTH, 9))
    found = await done(desk.client, "check_availability", sku=KIT, quantity=2, warehouse=NORTH)
    assert found["possible"] is True
    assert found["warehouses"][0]["from_kits"] == 2


async def test_scans(desk: Desk):
    await desk.seed(a_lot("AB12", 5, on(40)))
    found = await done(desk.client, "find_item", barcode=f"01{GTIN}10AB12\x1d17261212")
    assert (found["sku"], found["lot"], found["lot_id"]) == (MILK, "AB12", "lot_AB12")
    assert found["expires_on"] == on(40).isoformat()
    printed = await done(desk.client, "find_item", barcode=f"(01){GTIN}(17)200101(10)ZZ(37)12")
    assert (printed["sku"], printed["quantity"], printed["expired"]) == (MILK, 12, True)
    assert "lot_id" not in printed
    assert (await done(desk.client, "find_item", barcode=GTIN[1:]))["sku"] == MILK
    unknown = await done(desk.client, "find_item", barcode="4006381333931")
    assert unknown == {"gtin": "4006381333931"}
    pallet = await done(desk.client, "find_item", barcode="00376130321109103420")
    assert pallet["sscc"] == "376130321109103420"


@pytest.mark.parametrize("code", ["7032069804989", f"01{GTIN[:-1]}910AB", "hello", "123", "(01)12"])
async def test_wrong_check_digits_and_no_codes(desk: Desk, code: str):
    await refused(desk.client, "find_item", "invalid_parameters", barcode=code)


@pytest.mark.parametrize("code", ["4006381333932", "04006381333932"])
async def test_a_barcode_with_a_wrong_digit_is_told_so(desk: Desk, code: str):
    """Even where its digits could be a payment card's, which are refused whatever they are for."""
    answer = await refused(desk.client, "find_item", "invalid_parameters", barcode=code)
    assert "not right for a barcode" in answer["message"] or "check digit" in answer["message"]
    assert code not in str(answer["message"])


async def test_resource(desk: Desk):
    await desk.seed(stocked(CUPS, NORTH, 7))
    read = await desk.client.read_resource(f"inventory://warehouse/{NORTH}/stock")
    found = json.loads(read.contents[0].text)
    assert found["warehouse"] == NORTH
    assert found["items"] == [
        {"warehouse": NORTH, "sku": CUPS, "on_hand": 7, "reserved": 0, "available": 7}
    ]
    assert found["more"] is False


async def test_prompt_and_completions(desk: Desk):
    prompt = await desk.client.get_prompt("low_stock_review", {"region": "north"})
    text = prompt.messages[0].content.text
    for word in (
        "list_low_stock(region='north')",
        "expedite",
        "transfer",
        "ignore",
        "ask the person",
    ):
        assert word in text
    assert text.index("ask the person") > text.index("arithmetic")
    regions = await desk.client.complete(
        PromptReference(name="low_stock_review"), {"name": "region", "value": "n"}
    )
    assert regions.completion.values == ["north"]
    known = await desk.client.complete(
        ResourceTemplateReference(uri="inventory://warehouse/{wid}/stock"),
        {"name": "wid", "value": "WH-"},
    )
    assert known.completion.values == ["WH-N", "WH-S", "WH-W"]


async def test_ledger_says_why(either: Desk):
    await either.seed(stocked(CUPS, NORTH, 10))
    either.clock.forward(minutes=1)
    held = await done(
        either.client, "reserve_stock", sku=CUPS, quantity=4, warehouse=NORTH, source_id="fair",
        **either.key(),
    )  # fmt: skip
    either.clock.forward(minutes=1)
    await done(
        either.client, "release_reservation", **either.key(),
        reservation_id=held["reservations"][0]["reservation_id"],
    )  # fmt: skip
    either.clock.forward(minutes=1)
    await done(
        either.client, "adjust_stock", sku=CUPS, warehouse=NORTH, quantity=-2, reason="theft",
        **either.key(),
    )  # fmt: skip
    ask = {"sku": CUPS, "warehouse": NORTH}
    whole = await done(either.client, "get_stock_ledger", **ask)
    assert whole["on_hand"] == 8
    assert [(m["code"], m["units"]) for m in whole["movements"]] == [
        ("adjust_loss", -2), ("unreserve", 0), ("reserve", 0), ("adjust_gain", 10),
    ]  # fmt: skip
    pages, cursor = [], {}
    for _ in range(4):
        page = await done(either.client, "get_stock_ledger", **ask, limit=1, **cursor)
        pages += page["movements"]
        cursor = {"cursor": page.get("next_cursor", "")}
    assert pages == whole["movements"]
    assert cursor == {"cursor": ""}
    await refused(either.client, "get_stock_ledger", "invalid_parameters", **ask, cursor="nonsense")


async def test_reports(either: Desk):
    await either.seed(stocked(CUPS, NORTH, 10))
    await either.seed(stocked(BOX, SOUTH, 6))
    await either.seed(a_lot("OLD", 5, on(10)))
    await either.seed(sold(CUPS, NORTH, [3] * 30), "orders")
    dead = await done(either.client, "analyse_stock", report="dead", days=60)
    assert {item["sku"] for item in dead["items"]} == {BOX, MILK}
    value = await done(either.client, "analyse_stock", report="valuation")
    assert value["totals"] == {
        "units": 21, "items": 3, "value_minor_EUR": 10 * 400 + 6 * 50 + 5 * 100,
    }  # fmt: skip
    assert [item["sku"] for item in value["items"]] == [CUPS, MILK, BOX]
    first = await done(either.client, "analyse_stock", report="valuation", limit=2)
    rest = await done(
        either.client, "analyse_stock", report="valuation", limit=2, cursor=first["next_cursor"]
    )
    assert [*first["items"], *rest["items"]] == value["items"]
    south = await done(either.client, "analyse_stock", report="valuation", warehouse=SOUTH)
    assert south["totals"]["units"] == 6
    either.clock.forward(days=40)
    await either.seed(stocked(CUPS, NORTH, 2))
    aged = await done(either.client, "analyse_stock", report="ageing", warehouse=NORTH)
    ages = {item["sku"]: item["ages"] for item in aged["items"]}
    assert ages[CUPS] == {"0-30": 2, "31-90": 10}
    expiring = await done(either.client, "analyse_stock", report="expiring", days=1)
    assert [(item["lot"], item["units"]) for item in expiring["items"]] == [("OLD", 5)]
    classes = await done(either.client, "analyse_stock", report="classes")
    assert {item["sku"]: item["abc"] for item in classes["items"]}[CUPS] == "A"
