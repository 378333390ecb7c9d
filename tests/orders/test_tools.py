"""Searching, feeds, and what hosts list: resources, the prompt, completions."""

import json
from typing import Any

import pytest
from mcp.types import PromptReference, ResourceTemplateReference

from tests.orders.seed import (
    BOB,
    CARD2,
    EVE,
    MUG,
    NORTH,
    SHIRT_L,
    SHIRT_M,
    SHIRT_S,
    SOUTH,
    Desk,
    a_delivered_order,
    an_order,
)
from tests.support.shop import done, refused


@pytest.fixture
async def three(desk: Desk) -> list[str]:
    return await seeded(desk)


async def seeded(desk: Desk) -> list[str]:
    """Three open orders, a day apart, the first the oldest."""
    made = []
    for lines in (((SHIRT_S, 2),), ((SHIRT_M, 1), (MUG, 1)), ((SHIRT_S, 3),)):
        made.append(await desk.seed(an_order(*lines)))
        desk.clock.forward(days=1)
    return made


async def found(desk: Desk, **ask: Any) -> list[str]:
    answer = await done(desk.client, "search_orders", **ask)
    assert answer["count"] == len(answer["orders"])
    return [row["order_id"] for row in answer["orders"]]


async def test_search(either: Desk):
    one, two, three = await seeded(either)
    assert await found(either) == [three, two, one]
    assert await found(either, sku=SHIRT_S) == [three, one]
    assert await found(either, customer_id=EVE, status="placed") == [three, two, one]
    assert await found(either, customer_id=BOB) == []
    assert await found(either, email="EVE@example.com", warehouse=NORTH) == [three, two, one]
    assert await found(either, warehouse=SOUTH) == []
    assert await found(either, placed_from="2026-11-03", placed_to="2026-11-03") == [two]
    assert await found(either, payment_status="captured") == []
    assert await found(either, fulfilment_status="not_fulfilled", sku=MUG) == [two]
    assert await found(either, late=True) == [two, one]
    pages, cursor = [], {}
    for _ in range(3):
        page = await done(either.client, "search_orders", limit=1, **cursor)
        pages += [row["order_id"] for row in page["orders"]]
        cursor = {"cursor": page["next_cursor"]} if "next_cursor" in page else {}
    assert pages == [three, two, one]
    assert cursor == {}


async def test_cancelled_and_delivered_in_time_are_not_late(desk: Desk):
    order = await a_delivered_order(desk, (SHIRT_S, 1))
    cancelled = await desk.seed(an_order((MUG, 1)))
    await done(desk.client, "cancel_order", order_id=cancelled, reason="duplicate", **desk.key())
    desk.clock.forward(days=30)
    assert await found(desk, late=True) == []
    assert await found(desk, fulfilment_status="delivered") == [order["order_id"]]


async def test_what_has_to_leave(desk: Desk, three: list[str]):
    first = await done(desk.client, "list_upcoming_orders", limit=2)
    assert [row["order_id"] for row in first["orders"]] == three[:2]
    rest = await done(desk.client, "list_upcoming_orders", limit=2, cursor=first["next_cursor"])
    assert [row["order_id"] for row in rest["orders"]] == three[2:]
    south = await done(desk.client, "list_upcoming_orders", warehouse=SOUTH)
    assert south["orders"] == []


async def test_demand_by_day(either: Desk):
    one, *_ = await seeded(either)
    await done(either.client, "cancel_order", order_id=one, reason="duplicate", **either.key())
    rows = [
        {"sku": SHIRT_S, "warehouse": NORTH, "day": "2026-11-04", "units": 3},
        {"sku": MUG, "warehouse": NORTH, "day": "2026-11-03", "units": 1},
        {"sku": SHIRT_M, "warehouse": NORTH, "day": "2026-11-03", "units": 1},
    ]
    feed = await done(either.client, "get_demand_feed", days=30)
    assert feed["rows"] == rows
    assert feed["as_of"] == "2026-11-05T09:00:00Z"
    pages, cursor = [], {}
    for _ in range(3):
        page = await done(either.client, "get_demand_feed", days=30, limit=1, **cursor)
        pages += page["rows"]
        cursor = {"cursor": page.get("next_cursor", "")}
    assert pages == rows
    only = await done(either.client, "get_demand_feed", sku=MUG, warehouse=NORTH)
    assert only["rows"] == rows[1:2]
    assert (await done(either.client, "get_demand_feed", days=1))["rows"] == rows[:1]


async def test_cursors_of_others(desk: Desk, three: list[str]):
    for tool in ("search_orders", "list_upcoming_orders", "get_demand_feed"):
        for cursor in ("nonsense", "WzFd", "W251bGwsbnVsbCxudWxsXQ"):
            await refused(desk.client, tool, "invalid_parameters", cursor=cursor)
    await refused(
        desk.client, "list_variants", "invalid_parameters", product_id="shirt", cursor="x"
    )


async def test_days_that_are_none(desk: Desk):
    for day in ("2026-02-30", "0001-01-01", "9999-01-01", "x"):
        await refused(desk.client, "search_orders", "invalid_parameters", placed_from=day)


async def test_variants(desk: Desk):
    listed = await done(desk.client, "list_variants", product_id="shirt", limit=2)
    assert [(v["sku"], v["price"], v["available"]) for v in listed["variants"]] == [
        (SHIRT_S, "20.00 EUR", 20), (SHIRT_M, "25.00 EUR", 20),
    ]  # fmt: skip
    rest = await done(
        desk.client, "list_variants", product_id="shirt", cursor=listed["next_cursor"]
    )
    assert [v["sku"] for v in rest["variants"]] == [SHIRT_L]
    await refused(desk.client, "list_variants", "not_found", product_id="sock")


async def test_resources(desk: Desk, three: list[str]):
    async def read(uri: str):
        return json.loads((await desk.client.read_resource(uri)).contents[0].text)

    upcoming = await read("orders://feed/upcoming")
    assert [row["order_id"] for row in upcoming["orders"]] == three
    assert (await read("orders://feed/demand?days=1"))["count"] == 1
    assert (await read("orders://feed/demand"))["count"] == 4
    assert (await read(f"orders://order/{three[1]}"))["total"] == "34.00 EUR"


async def test_ids_from_elsewhere_with_a_hash(desk: Desk):
    await desk.seed(an_order((SHIRT_S, 1), order_id="#W2378156"))
    assert (await done(desk.client, "get_order", order_id="#W2378156"))["total_minor"] == 2000
    read = await desk.client.read_resource("orders://order/%23W2378156")
    assert json.loads(read.contents[0].text)["order_id"] == "#W2378156"


async def test_prompt_and_completions(desk: Desk, three: list[str]):
    prompt = await desk.client.get_prompt("order_triage", {"warehouse": NORTH})
    text = prompt.messages[0].content.text
    assert NORTH in text
    assert text.endswith("ask the person which steps to take.")
    places = await desk.client.complete(
        PromptReference(name="order_triage"), {"name": "warehouse", "value": "WH-"}
    )
    assert places.completion.values == [NORTH, SOUTH]
    known = await desk.client.complete(
        ResourceTemplateReference(uri="orders://order/{order_id}"),
        {"name": "order_id", "value": three[0][:-1]},
    )
    assert three[0] in known.completion.values


async def test_retries_with_the_same_key_change_nothing(desk: Desk, three: list[str]):
    ask = {"order_id": three[0], "payment_method_id": CARD2, **desk.key()}
    first = await done(desk.client, "change_payment_method", **ask)
    before = await desk.picture()
    again = await done(desk.client, "change_payment_method", **ask)
    assert again.pop("replayed") is True
    assert again == first
    assert await desk.picture() == before
