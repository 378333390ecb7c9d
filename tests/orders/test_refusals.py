"""What the orders server refuses, and that nothing has changed then."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from common.call import Call
from common.rules import reserving, stock
from common.tables.inventory import Reservation
from common.tables.logistics import Shipment
from common.tables.orders import Order
from tests.orders.seed import (
    BERLIN,
    BOBS,
    CARD,
    CARD2,
    EVE,
    GIFT,
    LYON,
    MUG,
    SHIRT_L,
    SHIRT_M,
    SHIRT_S,
    Desk,
    a_delivered_order,
    a_desk,
    an_order,
)
from tests.support.shop import EVERYTHING, actor, done, refused


async def unchanged(desk: Desk, tool: str, code: str, **arguments: Any) -> dict[str, Any]:
    """A refusal with this code that leaves every row as it was."""
    before = await desk.picture()
    answer = await refused(desk.client, tool, code, **arguments, **desk.key())
    assert answer["next"]
    assert await desk.picture() == before
    return answer


@pytest.fixture
async def order(desk: Desk) -> dict[str, Any]:
    """Two small shirts and a mug, paid with the first card, open."""
    order_id = await desk.seed(an_order((SHIRT_S, 2), (MUG, 1), captured=True))
    return await done(desk.client, "get_order", order_id=order_id)


PLACE: dict[str, Any] = {
    "customer_id": EVE, "payment_method_id": CARD, "lines": [{"sku": SHIRT_S, "quantity": 1}],
}  # fmt: skip


@pytest.mark.parametrize("country", ["Nowhereland", "XX"])
async def test_an_address_is_in_a_country(desk: Desk, order: dict[str, Any], country: str) -> None:
    there = BERLIN | {"country": country}
    placing = PLACE | {"ship_to": there}
    moving = {"order_id": order["order_id"], "address": there}
    for tool, asked in (("place_order", placing), ("update_shipping_address", moving)):
        answer = await unchanged(desk, tool, "invalid_parameters", **asked)
        assert "a country, such as DE or Germany" in answer["message"]


NOT_PLACED: list[tuple[str, dict[str, Any]]] = [
    ("not_found", {"customer_id": "cus_nobody"}),
    ("not_found", {"payment_method_id": "card_none"}),
    ("not_found", {"lines": [{"sku": "SHIRT-X", "quantity": 1}]}),
    ("not_found", {"warehouse": "WH-X"}),
    ("rule_violation", {"payment_method_id": BOBS}),
    ("insufficient_stock", {"lines": [{"sku": SHIRT_S, "quantity": 21}]}),
    ("insufficient_stock", {"warehouse": "WH-S"}),
    ("insufficient_stock", {"lines": [{"sku": MUG, "quantity": 11}] * 2}),
    (
        "insufficient_funds",
        {"payment_method_id": GIFT, "lines": [{"sku": SHIRT_S, "quantity": 4}]},
    ),
    ("invalid_parameters", {"lines": []}),
    ("invalid_parameters", {"lines": [{"sku": SHIRT_S, "quantity": 0}]}),
    ("invalid_parameters", {"lines": [{"sku": SHIRT_S, "quantity": 1.0}]}),
    ("invalid_parameters", {"lines": [{"sku": SHIRT_S, "quantity": 1, "price": 1}]}),
    ("invalid_parameters", {"shipping_minor": -1}),
]


async def test_placing(desk: Desk):
    for code, change in NOT_PLACED:
        await unchanged(desk, "place_order", code, **(PLACE | change))


async def test_an_order_that_is_not_there(desk: Desk):
    for tool, more in (
        ("cancel_order", {"reason": "fraud"}),
        ("release_to_fulfilment", {}),
        ("hold_order", {"kind": "fraud", "reason": "x"}),
        ("update_shipping_address", {"address": LYON}),
        ("add_order_note", {"text": "x"}),
    ):
        answer = await unchanged(desk, tool, "not_found", order_id="#W1", **more)
        assert "search_orders" in answer["next"]


NOT_AMENDED: list[tuple[str, list[dict[str, Any]]]] = [
    ("rule_violation", [{"new_sku": SHIRT_S}]),
    ("rule_violation", [{"new_sku": MUG}]),
    ("not_found", [{"new_sku": "SHIRT-X"}]),
    ("not_found", [{"line_id": "line_x", "new_sku": SHIRT_M}]),
    ("invalid_parameters", [{"new_sku": SHIRT_M, "quantity": 3}]),
    ("invalid_parameters", [{"new_sku": SHIRT_M}, {"new_sku": SHIRT_L, "quantity": 1}]),
    ("invalid_parameters", [{"new_sku": SHIRT_M}, {"new_sku": SHIRT_L}]),
    # The first would do; the second must take it along.
    ("not_found", [{"new_sku": SHIRT_M, "quantity": 1}, {"new_sku": "X", "quantity": 1}]),
]


async def test_amending(desk: Desk, order: dict[str, Any]):
    line = {"line_id": order["lines"][0]["line_id"]}
    for code, changes in NOT_AMENDED:
        await unchanged(
            desk, "amend_order_lines", code, order_id=order["order_id"], payment_method_id=CARD,
            changes=[line | change for change in changes],
        )  # fmt: skip


async def test_amending_with_a_method_that_will_not_do(desk: Desk, order: dict[str, Any]):
    ask = {
        "order_id": order["order_id"],
        "changes": [{"line_id": order["lines"][0]["line_id"], "new_sku": SHIRT_M}],
    }
    await unchanged(desk, "amend_order_lines", "rule_violation", payment_method_id=BOBS, **ask)
    await unchanged(desk, "amend_order_lines", "not_found", payment_method_id="none", **ask)
    await desk.seed(an_order((SHIRT_S, 2), (SHIRT_L, 1), method=GIFT))
    answer = await unchanged(
        desk, "amend_order_lines", "insufficient_funds", payment_method_id=GIFT, **ask
    )
    assert answer["details"] == {"available_minor": 500, "needed_minor": 1000}


async def test_amending_beyond_the_shelf(desk: Desk, order: dict[str, Any]):
    await desk.seed(an_order((SHIRT_M, 19)))
    await unchanged(
        desk, "amend_order_lines", "insufficient_stock", order_id=order["order_id"],
        payment_method_id=CARD,
        changes=[{"line_id": order["lines"][0]["line_id"], "new_sku": SHIRT_M}],
    )  # fmt: skip


async def test_giving_back_to_another_card_needs_its_scope(tmp_path: Path):
    who = actor("ana@example.com", *(EVERYTHING - {"payments:refund_unlinked"}))
    async with a_desk(tmp_path, who=who) as desk:
        order_id = await desk.seed(an_order((SHIRT_S, 2), captured=True))
        order = await done(desk.client, "get_order", order_id=order_id)
        ask = {
            "order_id": order_id,
            "changes": [{"line_id": order["lines"][0]["line_id"], "new_sku": SHIRT_L}],
        }
        await unchanged(
            desk, "amend_order_lines", "insufficient_scope", payment_method_id=CARD2, **ask
        )
        await desk.approved("amend_order_lines", payment_method_id=GIFT, **ask)
        assert await desk.balance() == 7000


async def test_what_was_amended_stays(desk: Desk, order: dict[str, Any]):
    ask = {"order_id": order["order_id"]}
    line = order["lines"][0]["line_id"]
    await done(
        desk.client, "amend_order_lines", payment_method_id=CARD, **ask, **desk.key(),
        changes=[{"line_id": line, "new_sku": SHIRT_M}],
    )  # fmt: skip
    for tool, more in (
        ("cancel_order", {"reason": "no_longer_needed"}),
        ("change_payment_method", {"payment_method_id": CARD2}),
        (
            "amend_order_lines",
            {"payment_method_id": CARD, "changes": [{"line_id": line, "new_sku": SHIRT_L}]},
        ),
    ):
        answer = await unchanged(desk, tool, "rule_violation", **ask, **more)
        assert answer["details"] == {"amended": True}


@pytest.mark.parametrize("state", ["released", "delivered", "cancelled"])
async def test_too_late(desk: Desk, state: str):
    if state == "delivered":
        order = await a_delivered_order(desk, (SHIRT_S, 2))
    else:
        order_id = await desk.seed(an_order((SHIRT_S, 2)))
        order = await done(desk.client, "get_order", order_id=order_id)
    ask = {"order_id": order["order_id"]}
    if state == "released":
        await done(desk.client, "release_to_fulfilment", **ask, **desk.key())
        await desk.seed(with_a_shipment(ask["order_id"]), "*")
    if state == "cancelled":
        await done(desk.client, "cancel_order", reason="duplicate", **ask, **desk.key())
    line = order["lines"][0]["line_id"]
    for tool, more in (
        ("cancel_order", {"reason": "fraud"}),
        ("change_payment_method", {"payment_method_id": CARD2}),
        ("update_shipping_address", {"address": BERLIN}),
        ("split_order_line", {"line_id": line, "quantity": 1}),
        ("release_to_fulfilment", {}),
        (
            "amend_order_lines",
            {"payment_method_id": CARD, "changes": [{"line_id": line, "new_sku": SHIRT_L}]},
        ),
    ):
        await unchanged(desk, tool, "rule_violation", **ask, **more)
    if state != "released":
        await unchanged(desk, "hold_order", "rule_violation", kind="fraud", reason="x", **ask)


def with_a_shipment(order_id: str) -> Callable[[Call], None]:
    """It was handed to a carrier. Domain: logistics."""

    def work(call: Call) -> None:
        order = call.get(Order, order_id)
        call.add(
            Shipment(
                id=call.new_id("shipment"), order_id=order_id, kind="outbound",
                status="created", status_at=call.now,
                warehouse_id=order.warehouse_id, ship_to=order.ship_to, currency="EUR",
                created_at=call.now,
            )
        )  # fmt: skip

    return work


async def test_paying_otherwise(desk: Desk, order: dict[str, Any]):
    ask = {"order_id": order["order_id"]}
    for code, method in (
        ("rule_violation", CARD), ("rule_violation", BOBS), ("not_found", "card_none"),
    ):  # fmt: skip
        await unchanged(desk, "change_payment_method", code, payment_method_id=method, **ask)
    await desk.seed(an_order((SHIRT_S, 2), method=GIFT))
    await unchanged(
        desk, "change_payment_method", "insufficient_funds", payment_method_id=GIFT, **ask
    )
    await done(desk.client, "change_payment_method", payment_method_id=CARD2, **ask, **desk.key())
    await unchanged(desk, "change_payment_method", "rule_violation", payment_method_id=CARD, **ask)


async def test_holds(desk: Desk, order: dict[str, Any]):
    ask = {"order_id": order["order_id"], "reason": "look"}
    await unchanged(desk, "release_order_hold", "rule_violation", kind="fraud", **ask)
    await done(desk.client, "hold_order", kind="fraud", **ask, **desk.key())
    await unchanged(desk, "hold_order", "rule_violation", kind="fraud", **ask)
    answer = await unchanged(
        desk, "release_to_fulfilment", "rule_violation", order_id=order["order_id"]
    )
    assert "fraud" in answer["message"]


async def test_nothing_leaves_unpaid(desk: Desk):
    order_id = await desk.seed(an_order((SHIRT_S, 2)))
    desk.clock.forward(days=8)
    answer = await unchanged(desk, "release_to_fulfilment", "rule_violation", order_id=order_id)
    assert answer["details"]["authorized_minor"] == 0


async def test_nothing_leaves_that_is_not_there(desk: Desk):
    order_id = await desk.seed(an_order((SHIRT_S, 2)))

    def lose(call: Call) -> None:
        for held in call.all(Reservation):
            reserving.release(call, held)
        stock.adjust(call, SHIRT_S, "WH-N", -19, "fire")

    await desk.seed(lose, "*")
    await unchanged(desk, "release_to_fulfilment", "insufficient_stock", order_id=order_id)


async def test_splitting(desk: Desk, order: dict[str, Any]):
    for quantity in (0, 2, 3):
        await unchanged(
            desk, "split_order_line", "invalid_parameters", order_id=order["order_id"],
            line_id=order["lines"][0]["line_id"], quantity=quantity,
        )  # fmt: skip
    await unchanged(
        desk, "split_order_line", "not_found", order_id=order["order_id"], line_id="line_x",
        quantity=1,
    )  # fmt: skip


async def test_a_person_who_says_no(desk: Desk, order: dict[str, Any]):
    before = await desk.picture()
    desk.person.answer = "no"
    answer = await desk.client.call_tool(
        "cancel_order", {"order_id": order["order_id"], "reason": "fraud"}
    )
    assert answer.structured_content
    assert await desk.picture() == before
    assert "49.00 EUR" in (desk.person.questions or [""])[0]


NOBODY: list[tuple[str, dict[str, str]]] = [
    ("not_found", {"email": "nobody@example.com"}),
    ("not_found", {"customer_id": "cus_x"}),
    ("not_found", {"first_name": "Eve", "last_name": "Noir", "postal_code": "69003"}),
    ("invalid_parameters", {"first_name": "Eve", "last_name": "Noir"}),
    ("invalid_parameters", {}),
]


async def test_finding_nobody(desk: Desk):
    for code, ask in NOBODY:
        await refused(desk.client, "find_customer", code, **ask)
