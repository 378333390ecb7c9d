"""The life of an order through the tools, as it should go."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from common.call import Call
from common.rules import paid, reserving, stock
from common.tables.inventory import Reservation
from common.tables.orders import OrderLine
from common.tables.payments import Payment
from common.tables.spine import AuditRecord, Transfer
from tests.orders.seed import (
    BERLIN,
    BOB,
    CARD,
    CARD2,
    CREAM,
    EVE,
    GIFT,
    LYON,
    MUG,
    NORTH,
    SHIRT_L,
    SHIRT_M,
    SHIRT_S,
    SOUTH,
    WIEN,
    Desk,
    an_order,
)
from tests.support.shop import done


async def placed(
    desk: Desk, *lines: tuple[str, int], method: str = CARD, **more: Any
) -> dict[str, Any]:
    return await done(
        desk.client, "place_order", customer_id=EVE, payment_method_id=method,
        lines=[{"sku": sku, "quantity": quantity} for sku, quantity in lines], **more, **desk.key(),
    )  # fmt: skip


async def test_placed_released(either: Desk):
    order = await placed(either, (SHIRT_S, 2), (MUG, 1))
    assert (order["status"], order["payment_status"], order["fulfilment_status"]) == (
        "placed", "authorized", "not_fulfilled",
    )  # fmt: skip
    assert (order["total"], order["warehouse"], order["ship_to"]) == ("49.00 EUR", NORTH, LYON)
    assert await either.available(SHIRT_S) == 18
    assert len(order["payment_ids"]) == 1
    gone = await done(
        either.client, "release_to_fulfilment", order_id=order["order_id"], **either.key()
    )
    assert (gone["status"], gone["fulfilment_status"]) == ("in_fulfilment", "fulfilled")
    assert [event["what"] for event in gone["timeline"]] == ["placed", "released"]
    assert [event["detail"] for event in gone["timeline"]] == ["2 lines", "2 lines"]
    small = await placed(either, (MUG, 1))
    assert [event["detail"] for event in small["timeline"]] == ["1 line"]


@pytest.mark.parametrize(
    ("address", "tax", "total"), [(LYON, 0, 3800), (BERLIN, 722, 4522), (WIEN, 0, 3800)]
)
async def test_tax_on_top_or_inside(desk: Desk, address: dict[str, str], tax: int, total: int):
    order = await placed(desk, (SHIRT_S, 1), (MUG, 2), ship_to=address)
    assert (order["tax_minor"], order["total_minor"]) == (tax, total)


@pytest.mark.parametrize("country", ["de", "Germany", "DEU"])
async def test_tax_goes_by_the_country_that_is_meant(desk: Desk, country: str):
    there = BERLIN | {"country": country}
    order = await placed(desk, (SHIRT_S, 1), (MUG, 2), ship_to=there)
    assert order["tax_minor"] == 722
    assert order["ship_to"] == there, "as it was given"


async def test_large_orders_are_confirmed(desk: Desk):
    await placed(desk, (SHIRT_S, 12))
    assert desk.person.questions == []
    order = await placed(desk, (SHIRT_S, 6), (SHIRT_M, 6))
    assert len(desk.person.questions or []) == 1
    assert order["total_minor"] == 27000


async def test_cancelled(either: Desk):
    desk = either
    order = await placed(desk, (SHIRT_S, 2), method=GIFT)
    assert await desk.balance() == 2000
    over = await done(
        desk.client, "cancel_order", order_id=order["order_id"], reason="no_longer_needed",
        **desk.key(),
    )  # fmt: skip
    assert (over["status"], over["cancel_reason"]) == ("cancelled", "no_longer_needed")
    assert {line["status"] for line in over["lines"]} == {"cancelled"}
    assert await desk.available(SHIRT_S) == 20
    assert await desk.balance() == 6000


async def test_cancelled_after_the_money_was_taken_and_the_method_changed(either: Desk):
    order_id = await either.seed(an_order((SHIRT_S, 2), captured=True))
    changed = await done(
        either.client, "change_payment_method", order_id=order_id, payment_method_id=GIFT,
        **either.key(),
    )  # fmt: skip
    assert (changed["payment_status"], changed["status"]) == ("captured", "placed")
    assert await either.net_paid(order_id) == {GIFT: 4000}
    assert await either.balance() == 2000
    over = await done(
        either.client, "cancel_order", order_id=order_id, reason="ordered_by_mistake",
        **either.key(),
    )  # fmt: skip
    assert over["payment_status"] == "refunded"
    assert await either.net_paid(order_id) == {}
    assert await either.balance() == 6000


async def test_cancelling_ends_holds(desk: Desk):
    order = await placed(desk, (SHIRT_S, 1))
    ask = {"order_id": order["order_id"]}
    held = await done(
        desk.client, "hold_order", kind="address", reason="typo?", **ask, **desk.key()
    )
    assert held["status"] == "on_hold"
    over = await done(desk.client, "cancel_order", reason="duplicate", **ask, **desk.key())
    assert (over["status"], over["holds"]) == ("cancelled", [])


@pytest.mark.parametrize("captured", [False, True])
async def test_method_changed(either: Desk, captured: bool):
    desk = either
    order_id = await desk.seed(an_order((SHIRT_S, 2), captured=captured))
    changed = await done(
        desk.client, "change_payment_method", order_id=order_id, payment_method_id=CARD2,
        **desk.key(),
    )  # fmt: skip
    assert changed["payment_method_id"] == CARD2
    assert changed["payment_status"] == ("captured" if captured else "authorized")
    assert await desk.net_paid(order_id) == ({CARD2: 4000} if captured else {})


async def test_a_lapsed_authorization_is_made_anew(desk: Desk):
    order = await placed(desk, (SHIRT_S, 1))
    ask = {"order_id": order["order_id"]}
    desk.clock.forward(days=8)
    await done(desk.client, "change_payment_method", payment_method_id=CARD, **ask, **desk.key())
    gone = await done(desk.client, "release_to_fulfilment", **ask, **desk.key())
    assert (gone["status"], gone["payment_status"]) == ("in_fulfilment", "authorized")


@pytest.mark.parametrize("captured", [False, True])
async def test_amended(desk: Desk, captured: bool):
    for sku, method, difference in (
        (SHIRT_M, CARD2, 1000), (SHIRT_M, GIFT, 1000), (SHIRT_L, CARD, -1000),
        (SHIRT_L, GIFT, -1000),
    ):  # fmt: skip
        balance, there = await desk.balance(), await desk.available(SHIRT_S)
        order_id = await desk.seed(an_order((SHIRT_S, 2), (MUG, 1), captured=captured))
        order = await done(desk.client, "get_order", order_id=order_id)
        ask = {
            "order_id": order_id, "payment_method_id": method,
            "changes": [{"line_id": order["lines"][0]["line_id"], "new_sku": sku}],
        }  # fmt: skip
        if difference < 0 and method == GIFT:  # which did not pay
            after = await desk.approved("amend_order_lines", **ask)
        else:
            after = await done(desk.client, "amend_order_lines", **ask, **desk.key())
        assert (after["total_minor"], after["amended"]) == (4900 + difference, True)
        assert [line["sku"] for line in after["lines"]] == [sku, MUG]
        assert await desk.available(SHIRT_S) == there
        if captured:
            assert after["payment_status"] == "captured"
            assert sum((await desk.net_paid(order_id)).values()) == 4900 + difference
        moved = method == GIFT and (captured or difference > 0)
        assert await desk.balance() == balance - (difference if moved else 0)
        gone = await done(desk.client, "release_to_fulfilment", order_id=order_id, **desk.key())
        assert gone["status"] == "in_fulfilment"


async def test_amended_by_the_unit_with_discount_and_tax(either: Desk):
    desk = either
    order_id = await desk.seed(
        an_order((SHIRT_S, 3), (MUG, 1), ship_to=BERLIN, discount_minor=1000, shipping_minor=490)
    )
    order = await done(desk.client, "get_order", order_id=order_id)
    line = order["lines"][0]["line_id"]
    after = await done(
        desk.client, "amend_order_lines", order_id=order_id, payment_method_id=CARD,
        changes=[
            {"line_id": line, "new_sku": SHIRT_M, "quantity": 1},
            {"line_id": line, "new_sku": SHIRT_L, "quantity": 1},
        ],
        **desk.key(),
    )  # fmt: skip
    assert sorted((each["sku"], each["quantity"]) for each in after["lines"]) == [
        (MUG, 1), (SHIRT_L, 1), (SHIRT_M, 1), (SHIRT_S, 1),
    ]  # fmt: skip
    lines = after["lines"]
    assert after["subtotal_minor"] == 2000 + 2500 + 1500 + 900
    assert after["discount_minor"] == sum(each.get("discount_minor", 0) for each in lines) == 1000
    assert after["tax_minor"] == sum(each["tax_minor"] for each in lines)
    assert after["total_minor"] == 6900 - 1000 + 490 + after["tax_minor"]
    for each in lines:
        net = each["unit_price_minor"] * each["quantity"] - each.get("discount_minor", 0)
        assert abs(each["tax_minor"] - net * 19 / 100) <= 1
    for sku, left in ((SHIRT_S, 19), (SHIRT_M, 19), (SHIRT_L, 19)):
        assert await desk.available(sku) == left


async def test_two_replacements_of_one_sku_on_two_lines(desk: Desk):
    order_id = await desk.seed(an_order((SHIRT_S, 1), (SHIRT_S, 1), captured=True))
    order = await done(desk.client, "get_order", order_id=order_id)
    after = await done(
        desk.client, "amend_order_lines", order_id=order_id, payment_method_id=CARD,
        changes=[
            {"line_id": line["line_id"], "new_sku": sku}
            for line, sku in zip(order["lines"], (SHIRT_M, SHIRT_L), strict=True)
        ],
        **desk.key(),
    )  # fmt: skip
    assert [line["sku"] for line in after["lines"]] == [SHIRT_M, SHIRT_L]
    assert after["total_minor"] == 4000


async def test_split(either: Desk):
    desk = either
    order_id = await desk.seed(an_order((SHIRT_S, 3), ship_to=BERLIN, discount_minor=100))
    order = await done(desk.client, "get_order", order_id=order_id)
    after = await done(
        desk.client, "split_order_line", order_id=order_id, quantity=1, **desk.key(),
        line_id=order["lines"][0]["line_id"],
    )  # fmt: skip
    assert sorted(line["quantity"] for line in after["lines"]) == [1, 2]
    for name in ("discount_minor", "tax_minor"):
        assert sum(line[name] for line in after["lines"]) == order[name]
    assert after["total_minor"] == order["total_minor"]
    assert await desk.available(SHIRT_S) == 17


async def test_holds(desk: Desk):
    order = await placed(desk, (SHIRT_S, 1))
    ask = {"order_id": order["order_id"], "reason": "look"}
    await done(desk.client, "hold_order", kind="fraud", **ask, **desk.key())
    held = await done(desk.client, "hold_order", kind="manual", **ask, **desk.key())
    assert [hold["kind"] for hold in held["holds"]] == ["fraud", "manual"]
    one = await done(desk.client, "release_order_hold", kind="fraud", **ask, **desk.key())
    assert one["status"] == "on_hold"
    free = await done(desk.client, "release_order_hold", kind="manual", **ask, **desk.key())
    assert (free["status"], free["holds"]) == ("placed", [])


async def test_backorders_follow_when_there_is_stock(either: Desk):
    desk = either
    order_id = await desk.seed(an_order((SHIRT_S, 1), (MUG, 1)))

    def lose(call: Call) -> None:
        line = call.all(OrderLine, OrderLine.order_id == order_id, OrderLine.sku == MUG)[0]
        reserving.release(call, call.get(Reservation, line.reservation_id))
        stock.adjust(call, MUG, NORTH, -20, "fire")

    await desk.seed(lose, "*")
    ask = {"order_id": order_id}
    first = await done(desk.client, "release_to_fulfilment", **ask, **desk.key())
    assert first["fulfilment_status"] == "partially_fulfilled"
    assert [line["status"] for line in first["lines"]] == ["allocated", "backordered"]

    def found(call: Call) -> None:
        stock.adjust(call, MUG, NORTH, 5, "new")

    await desk.seed(found, "*")
    second = await done(desk.client, "release_to_fulfilment", **ask, **desk.key())
    assert second["fulfilment_status"] == "fulfilled"
    assert {line["status"] for line in second["lines"]} == {"allocated"}


def only(sku: str, north: int, south: int) -> Any:
    """So many units are left in each house, beside what is reserved, which is let go."""

    def work(call: Call) -> None:
        for line in call.all(OrderLine, OrderLine.sku == sku):
            reserving.release_if_open(call, call.get(Reservation, line.reservation_id or ""))
        stock.adjust(call, sku, NORTH, north - 20, "fire")
        stock.adjust(call, sku, SOUTH, south, "found")

    return work


async def test_a_line_is_allocated_to_the_house_that_has_it(either: Desk):
    order_id = await either.seed(an_order((SHIRT_S, 3), (MUG, 2)))
    await either.seed(only(MUG, 1, 2), "*")
    gone = await done(either.client, "release_to_fulfilment", order_id=order_id, **either.key())
    assert gone["fulfilment_status"] == "fulfilled"
    assert [(line["status"], line.get("warehouse")) for line in gone["lines"]] == [
        ("allocated", None), ("allocated", SOUTH),
    ]  # fmt: skip
    assert (await either.available(MUG, NORTH), await either.available(MUG, SOUTH)) == (1, 0)
    assert [event["what"] for event in gone["timeline"]] == ["placed", "allocated", "released"]


async def test_the_record_says_nothing_of_a_house_that_was_tried_in_vain(either: Desk):
    order_id = await either.seed(an_order((SHIRT_S, 3), (MUG, 5)))
    await either.seed(only(MUG, 3, 5), "*")
    soon = either.clock.now + timedelta(minutes=1)

    def for_a_minute(call: Call) -> None:
        reserving.reserve(call, MUG, NORTH, 1, source="manual", source_id="c", expires_at=soon)

    await either.seed(for_a_minute, "inventory")
    either.clock.forward(minutes=2)
    await done(either.client, "release_to_fulfilment", order_id=order_id, **either.key())

    def said_and_done(session: Session) -> tuple[list[str], set[str]]:
        tool = AuditRecord.record["tool"].as_string() == "release_to_fulfilment"
        effects = session.scalars(select(AuditRecord.record).where(tool)).one()["effects"]
        said = [each["id"] for each in effects if each["op"] == "expire"]
        return said, set(session.scalars(select(Transfer.pending_id)))

    said, resolved = await either.look(said_and_done)
    assert set(said) <= resolved, "what was tried in the north was taken back"


async def test_of_a_short_line_what_there_is_goes_if_asked(either: Desk):
    order_id = await either.seed(
        an_order((SHIRT_S, 3), (MUG, 5), ship_to=BERLIN, discount_minor=700)
    )
    before = await done(either.client, "get_order", order_id=order_id)
    await either.seed(only(MUG, 2, 3), "*")
    ask = {"order_id": order_id}
    first = await done(either.client, "release_to_fulfilment", split=True, **ask, **either.key())
    assert first["fulfilment_status"] == "partially_fulfilled"
    mugs = [line for line in first["lines"] if line["sku"] == MUG]
    assert sorted((line["quantity"], line["status"]) for line in mugs) == [
        (2, "allocated"), (3, "backordered"),
    ]  # fmt: skip
    for name in ("discount_minor", "tax_minor"):
        assert sum(line.get(name, 0) for line in first["lines"]) == before[name]
    assert first["total_minor"] == before["total_minor"]
    assert await either.available(MUG, NORTH) == 0
    rest = await done(either.client, "release_to_fulfilment", **ask, **either.key())
    assert rest["fulfilment_status"] == "fulfilled", "the other house has the rest"
    assert await either.available(MUG, SOUTH) == 0


async def test_without_split_a_short_line_stays_whole(desk: Desk):
    order_id = await desk.seed(an_order((SHIRT_S, 3), (MUG, 5)))
    await desk.seed(only(MUG, 2, 3), "*")
    gone = await done(desk.client, "release_to_fulfilment", order_id=order_id, **desk.key())
    assert [line["status"] for line in gone["lines"]] == ["allocated", "backordered"]
    assert (await desk.available(MUG, NORTH), await desk.available(MUG, SOUTH)) == (2, 3)


async def test_addresses(either: Desk):
    desk = either
    order = await placed(desk, (SHIRT_S, 1))
    ask = {"order_id": order["order_id"], "address": BERLIN}
    moved = await done(desk.client, "update_shipping_address", **ask, **desk.key())
    assert moved["ship_to"] == BERLIN
    assert moved["total_minor"] == order["total_minor"]
    same = await done(desk.client, "update_shipping_address", **ask, **desk.key())
    assert same["ship_to"] == BERLIN
    person = await done(
        desk.client, "update_customer_address", customer_id=EVE, address=WIEN, **desk.key()
    )
    assert person["address"] == WIEN
    assert (await done(desk.client, "get_order", order_id=order["order_id"]))["ship_to"] == BERLIN
    assert desk.person.questions == []
    await done(desk.client, "release_to_fulfilment", order_id=order["order_id"], **desk.key())
    await done(desk.client, "update_shipping_address", **ask, **desk.key())
    await done(desk.client, "update_customer_address", customer_id=EVE, address=LYON, **desk.key())
    assert len(desk.person.questions or []) == 2


async def test_an_amended_order_may_still_be_sent_elsewhere(desk: Desk):
    order_id = await desk.seed(an_order((SHIRT_S, 1), captured=True))
    order = await done(desk.client, "get_order", order_id=order_id)
    await done(
        desk.client, "amend_order_lines", order_id=order_id, payment_method_id=CARD,
        changes=[{"line_id": order["lines"][0]["line_id"], "new_sku": SHIRT_M}], **desk.key(),
    )  # fmt: skip
    moved = await done(
        desk.client, "update_shipping_address", order_id=order_id, address=WIEN, **desk.key()
    )
    assert moved["ship_to"]["city"] == "Wien"


async def test_finding_customers(either: Desk):
    for ask in (
        {"email": "eVE@example.COM"},
        {"first_name": "eve", "last_name": "NOIR", "postal_code": "69002"},
        {"customer_id": EVE},
    ):
        found = await done(either.client, "find_customer", **ask)
        assert found["customer_id"] == EVE
    assert {m["method_id"]: m.get("balance_minor") for m in found["methods"]} == {
        "card_eve_1": None, "card_eve_2": None, "gift_eve": 6000, "wallet_eve": None,
    }  # fmt: skip
    assert (await done(either.client, "find_customer", customer_id=BOB))["order_ids"] == []


async def test_notes_are_for_people(desk: Desk):
    order = await placed(desk, (CREAM, 1))
    for _ in range(2):
        noted = await done(
            desk.client, "add_order_note", order_id=order["order_id"], text="Ring twice."
        )
    assert [note["text"] for note in noted["notes"]] == ["Ring twice."] * 2


async def test_the_order_names_what_was_paid(desk: Desk):
    order = await placed(desk, (SHIRT_S, 1), method=GIFT)
    found = await desk.look(lambda s: s.get(Payment, order["payment_ids"][0]))
    assert found is not None
    assert (found.amount_minor, found.status) == (2000, "authorized")
    assert paid.standing(found, desk.clock.now) == "authorized"
