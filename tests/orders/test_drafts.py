"""Drafts through the tools: written down, found, placed later at that day's prices, or dropped."""

from typing import Any

import pytest
from sqlalchemy import func, select

from common.call import Call
from common.tables.inventory import Reservation, Variant
from common.tables.orders import OrderAdjustment
from common.tables.payments import Payment
from tests.orders.seed import (
    BERLIN,
    BOBS,
    CARD,
    EVE,
    GIFT,
    MUG,
    NORTH,
    SHIRT_M,
    SHIRT_S,
    WIEN,
    Desk,
    an_order,
)
from tests.support.shop import call, done


async def drafted(desk: Desk, *lines: tuple[str, int], **more: Any) -> dict[str, Any]:
    asked = {"customer_id": EVE, "payment_method_id": CARD, "ship_to": BERLIN, "draft": True}
    wanted = {name: value for name, value in (asked | more).items() if value is not None}
    return await done(
        desk.client, "place_order", **wanted, **desk.key(),
        lines=[{"sku": sku, "quantity": quantity} for sku, quantity in lines],
    )  # fmt: skip


async def placed(desk: Desk, order_id: str) -> dict[str, Any]:
    return await done(desk.client, "place_draft_order", order_id=order_id, **desk.key())


async def rows(desk: Desk, kind: Any) -> int:
    found = await desk.look(lambda s: s.scalar(select(func.count()).select_from(kind)))
    return int(found or 0)


async def adjustments(desk: Desk) -> list[tuple[str, int]]:
    """Every one there is, so that one left behind is seen."""
    return await desk.look(
        lambda s: sorted((a.kind, a.amount_minor) for a in s.scalars(select(OrderAdjustment)))
    )


def costs(sku: str, minor: int) -> Any:
    def work(call: Call) -> None:
        call.get(Variant, sku).price_minor = minor

    return work


async def test_a_draft_has_totals_and_touches_nothing(either: Desk) -> None:
    order = await drafted(either, (SHIRT_S, 2), (MUG, 1), shipping_minor=500)
    assert (order["status"], order["payment_status"]) == ("draft", "not_paid")
    assert "placed_at" not in order or order["placed_at"] is None
    assert order["subtotal_minor"] == 4900
    assert order["tax_minor"] == 931, "19 % on top"
    assert order["total_minor"] == 4900 + 500 + 931
    assert {line["status"] for line in order["lines"]} == {"open"}
    assert [event["what"] for event in order["timeline"]] == ["drafted"]
    assert await either.available(SHIRT_S) == 20
    assert (await rows(either, Reservation), await rows(either, Payment)) == (0, 0)


async def test_a_dear_draft_asks_nobody_and_its_placing_does(desk: Desk) -> None:
    order = await drafted(desk, (SHIRT_S, 6), (SHIRT_M, 6))
    assert desk.person.questions == []
    await placed(desk, order["order_id"])
    assert len(desk.person.questions or []) == 1


async def test_placed_later_at_the_prices_of_that_day(either: Desk) -> None:
    order = await drafted(either, (SHIRT_S, 10), (MUG, 1), shipping_minor=500)
    await either.seed(costs(SHIRT_S, 3000), "*")
    now = await placed(either, order["order_id"])
    assert now["order_id"] == order["order_id"]
    assert (now["status"], now["payment_status"], now["warehouse"]) == (
        "placed", "authorized", NORTH,
    )  # fmt: skip
    assert [line["line_id"] for line in now["lines"]] == [x["line_id"] for x in order["lines"]]
    assert (now["subtotal_minor"], now["tax_minor"]) == (30900, 5871)
    assert now["total_minor"] == 30900 + 500 + 5871
    assert {line["status"] for line in now["lines"]} == {"allocated"}
    assert all(now[name] for name in ("placed_at", "ship_by", "promised_at"))
    assert await either.available(SHIRT_S) == 10
    payment = await either.look(lambda s: s.scalars(select(Payment)).one())
    assert (payment.id, payment.amount_minor) == (now["payment_ids"][0], now["total_minor"])
    assert await adjustments(either) == [("shipping", 500), ("tax", 5871)], "the draft's are gone"
    question = str(either.person.questions)
    assert order["total"] in question, "the person is told what it was"
    again = await call(
        either.client, "place_draft_order", order_id=order["order_id"], **either.key()
    )
    assert again["code"] == "rule_violation"


async def test_what_is_unchanged_is_not_said_to_have_changed(desk: Desk) -> None:
    order = await drafted(desk, (SHIRT_S, 6), (SHIRT_M, 6))
    await placed(desk, order["order_id"])
    assert "changed" not in str(desk.person.questions)


@pytest.mark.parametrize(
    ("lines", "method", "why"),
    [((SHIRT_S, 21), CARD, "insufficient_stock"), ((SHIRT_S, 4), GIFT, "insufficient_funds")],
)
async def test_a_draft_that_cannot_be_placed_stays_one(
    desk: Desk, lines: tuple[str, int], method: str, why: str
) -> None:
    order = await drafted(desk, lines, payment_method_id=method)
    answer = await call(desk.client, "place_draft_order", order_id=order["order_id"], **desk.key())
    assert answer["code"] == why
    still = await done(desk.client, "get_order", order_id=order["order_id"])
    assert still == order
    assert await desk.available(SHIRT_S) == 20


async def test_dropped(either: Desk) -> None:
    order = await drafted(either, (SHIRT_S, 2))
    over = await done(
        either.client, "cancel_order", order_id=order["order_id"], reason="no_longer_needed",
        **either.key(),
    )  # fmt: skip
    assert (over["status"], over["payment_status"]) == ("cancelled", "not_paid")
    assert either.person.questions == []
    assert await rows(either, Payment) == 0
    listed = await done(either.client, "search_orders", status="draft")
    assert listed["count"] == 0
    answer = await call(
        either.client, "place_draft_order", order_id=order["order_id"], **either.key()
    )
    assert answer["code"] == "rule_violation"


async def test_found_by_status_alone_and_page_by_page(either: Desk) -> None:
    sold = await either.seed(an_order((MUG, 1)))
    ids = [(await drafted(either, (SHIRT_S, 1)))["order_id"] for _ in range(5)]
    everything = await done(either.client, "search_orders")
    assert [row["order_id"] for row in everything["orders"]] == [sold]
    found: list[str] = []
    cursor: dict[str, str] = {}
    for _ in range(4):
        page = await done(either.client, "search_orders", status="draft", limit=2, **cursor)
        found += [row["order_id"] for row in page["orders"]]
        if not page.get("next_cursor"):
            break
        cursor = {"cursor": page["next_cursor"]}
    assert found == sorted(ids, reverse=True)
    known = await done(either.client, "find_customer", customer_id=EVE)
    assert not set(known["order_ids"]) & set(ids)


async def test_no_feed_has_drafts(either: Desk) -> None:
    await drafted(either, (SHIRT_S, 3))
    assert (await done(either.client, "get_demand_feed"))["rows"] == []
    assert (await done(either.client, "list_upcoming_orders", days=60))["orders"] == []


async def test_its_address_may_change_and_its_taxes_with_it(either: Desk) -> None:
    order = await drafted(either, (SHIRT_S, 2), shipping_minor=500)
    assert await adjustments(either) == [("shipping", 500), ("tax", 760)]
    moved = await done(
        either.client, "update_shipping_address", order_id=order["order_id"], address=WIEN,
        **either.key(),
    )  # fmt: skip
    assert (moved["status"], moved["ship_to"]) == ("draft", WIEN)
    assert (moved["tax_minor"], moved["total_minor"]) == (0, 4500), "20 % is inside the prices"
    assert await adjustments(either) == [("shipping", 500), ("tax", 667)]
    now = await placed(either, order["order_id"])
    assert (now["ship_to"], now["total_minor"]) == (WIEN, 4500)
    assert either.person.questions == []


async def test_it_needs_no_method_until_it_is_placed(either: Desk) -> None:
    order = await drafted(either, (SHIRT_S, 2), payment_method_id=None)
    ask = {"order_id": order["order_id"]}
    none = await call(either.client, "place_draft_order", **ask, **either.key())
    assert none["code"] == "invalid_parameters"
    assert "payment_method_id" in none["message"]
    other = await call(
        either.client, "place_draft_order", payment_method_id=BOBS, **ask, **either.key()
    )
    assert other["code"] == "rule_violation"
    assert await done(either.client, "get_order", **ask) == order
    now = await done(
        either.client, "place_draft_order", payment_method_id=GIFT, **ask, **either.key()
    )
    assert (now["status"], now["payment_method_id"]) == ("placed", GIFT)
    assert await either.balance() == 6000 - now["total_minor"]


async def test_an_order_that_is_no_draft_needs_a_method(desk: Desk) -> None:
    answer = await call(
        desk.client, "place_order", customer_id=EVE, lines=[{"sku": MUG, "quantity": 1}],
        **desk.key(),
    )  # fmt: skip
    assert answer["code"] == "invalid_parameters"
    assert await rows(desk, Reservation) == 0


async def test_what_was_dropped_is_found(either: Desk) -> None:
    sold = await either.seed(an_order((MUG, 1)))
    cancelled = await either.seed(an_order((MUG, 1)))
    kept, dropped = [(await drafted(either, (SHIRT_S, 1)))["order_id"] for _ in range(2)]
    for id in (cancelled, dropped):
        await done(either.client, "cancel_order", order_id=id, reason="duplicate", **either.key())

    async def found(**wanted: Any) -> set[str]:
        answer = await done(either.client, "search_orders", **wanted)
        return {row["order_id"] for row in answer["orders"]}

    assert await found(drafts=True) == {kept, dropped}
    assert await found(drafts=True, status="cancelled") == {dropped}
    assert await found(drafts=True, status="draft", email="eve@example.com") == {kept}
    assert await found(status="cancelled") == {cancelled}
    assert await found() == {sold, cancelled}


@pytest.mark.parametrize("tool", ["hold_order", "release_to_fulfilment"])
async def test_a_draft_goes_nowhere(desk: Desk, tool: str) -> None:
    order = await drafted(desk, (SHIRT_S, 1))
    more = {"hold_order": {"kind": "manual", "reason": "x"}}.get(tool, {})
    answer = await call(desk.client, tool, order_id=order["order_id"], **more, **desk.key())
    assert answer["code"] == "rule_violation"
