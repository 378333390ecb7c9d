"""Items found by words of their names, with what is left of them, on both databases."""

from typing import Any

import pytest

from common.call import Call
from common.tables.inventory import Product, Variant
from tests.inventory.seed import CUPS, GTIN, MILK, NORTH, SOUTH, Desk, a_lot, on, stocked
from tests.support.shop import done, refused

RED, GREY, OLD = "MUG-R", "MUG-G", "MUG-X"


def mugs(call: Call) -> None:
    """Two on sale, and one that is sold no more."""
    for sku, name, about in (
        (RED, "Stoneware mug, red", "For guacamole."), (GREY, "Stoneware mug, grey", ""),
        (OLD, "Camp mug, red", ""),
    ):  # fmt: skip
        call.add(Product(id=f"prd_{sku}", name=name, description=about, active=sku != OLD))
        call.add(
            Variant(
                id=sku, product_id=f"prd_{sku}", name=name, price_minor=900, currency="EUR",
                sellable=sku != OLD,
            )
        )  # fmt: skip


@pytest.mark.parametrize(
    ("query", "first"),
    [
        ("red stoneware mug", RED),
        ("stonware mug grey", GREY),
        ("mug red camp", OLD),
        ("mug-r", RED),
        (GTIN, MILK),
        ("guacamole", RED),
    ],
)
async def test_found_by_what_it_is_called(either: Desk, query: str, first: str):
    await either.seed(mugs)
    found = await done(either.client, "find_item", query=query)
    assert found["items"][0]["sku"] == first


async def test_with_the_stock_of_all_or_one_warehouse(either: Desk):
    await either.seed(mugs)
    await either.seed(stocked(RED, NORTH, 10))
    await either.seed(stocked(RED, SOUTH, 4))
    await either.seed(stocked(OLD, SOUTH, 2))
    await done(
        either.client, "reserve_stock", sku=RED, quantity=3, warehouse=NORTH, source_id="call",
        **either.key(),
    )  # fmt: skip
    found = await done(either.client, "find_item", query="mug, red")
    items = {item["sku"]: item for item in found["items"]}
    assert items[RED] == {
        "sku": RED, "name": "Stoneware mug, red", "score": 94, "on_hand": 14, "available": 11,
    }  # fmt: skip
    assert (items[OLD]["on_hand"], items[OLD]["score"]) == (2, 94)
    assert items[GREY]["score"] < 90
    south = await done(either.client, "find_item", query="mug, red", warehouse=SOUTH)
    assert {i["sku"]: i["available"] for i in south["items"]} == {RED: 4, OLD: 2, GREY: 0}


async def test_available_is_what_get_stock_says(desk: Desk):
    await desk.seed(a_lot("OLD", 5, on(-1)))
    await desk.seed(a_lot("TODAY", 3, on(0)))
    (item,) = (await done(desk.client, "find_item", query="Milk"))["items"]
    assert (item["on_hand"], item["available"]) == (8, 3)


async def test_pages(either: Desk):
    await either.seed(mugs)
    whole = await done(either.client, "find_item", query="mug")
    assert [item["sku"] for item in whole["items"]] == [GREY, RED, OLD]
    assert "next_cursor" not in whole
    first = await done(either.client, "find_item", query="mug", limit=2)
    rest = await done(either.client, "find_item", query="mug", limit=2, cursor=first["next_cursor"])
    assert [*first["items"], *rest["items"]] == whole["items"]
    assert "next_cursor" not in rest


async def test_where_nothing_fits_the_nearest_names_are_said(either: Desk):
    """An empty answer would say that none is left."""
    answer = await refused(either.client, "find_item", "product_not_found", query="cupboard handle")
    assert "Cup" in answer["details"]["suggestions"]
    for query in ("%", "' OR name MATCH \"", "x"):
        await refused(either.client, "find_item", "product_not_found", query=query)


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({}, "invalid_parameters"),
        ({"query": "cup", "barcode": GTIN}, "invalid_parameters"),
        ({"query": "cup\u200b"}, "invalid_parameters"),
        ({"query": "cup", "cursor": "nonsense"}, "invalid_parameters"),
        ({"query": "cup", "cursor": "WyJhIiwxXQ"}, "invalid_parameters"),
        ({"query": "cup", "limit": 101}, "invalid_parameters"),
        ({"query": "cup", "warehouse": "WH-X"}, "not_found"),
    ],
)
async def test_refusals(desk: Desk, given: dict[str, Any], code: str):
    await refused(desk.client, "find_item", code, **given)


async def test_its_name_before(desk: Desk):
    assert (await done(desk.client, "scan_barcode", barcode=GTIN[1:]))["sku"] == MILK
    assert (await done(desk.client, "find_item", query="cup"))["items"][0]["sku"] == CUPS
