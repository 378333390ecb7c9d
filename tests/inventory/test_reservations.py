"""Units promised: to one buyer alone, for a time, first expired lot first."""

import asyncio
from collections import Counter
from typing import Any

import pytest

from common.call import Call
from common.errors import InsufficientStock, RuleViolation
from common.rules import reserving
from common.tables.inventory import Reservation
from common.tables.orders import OrderLine
from tests.inventory.seed import CUPS, MILK, NORTH, Desk, a_lot, an_order, on, sold, stocked
from tests.support.shop import START, call, done, refused

BUYERS = 200


async def reserve(desk: Desk, sku: str = CUPS, quantity: int = 1, **more: Any) -> dict[str, Any]:
    given = {"sku": sku, "quantity": quantity, "warehouse": NORTH, "source_id": "ref"} | more
    return await done(desk.client, "reserve_stock", **given, **desk.key())


async def test_two_hundred_buyers_of_the_last_unit(either: Desk):
    """All at once, through the guard: one has it, the others are told that nothing is left."""
    await either.seed(stocked(CUPS, NORTH, 1))
    answers = await asyncio.gather(
        *(
            call(
                either.client, "reserve_stock", sku=CUPS, quantity=1, warehouse=NORTH,
                source_id=f"buyer-{number}", **either.key(),
            )
            for number in range(BUYERS)
        )
    )  # fmt: skip
    outcomes = Counter(answer.get("code", "reserved") for answer in answers)
    assert outcomes == {"reserved": 1, "insufficient_stock": BUYERS - 1}
    level = await either.level(CUPS)
    assert (level.on_hand, level.reserved, level.available) == (1, 1, 0)


async def test_the_same_intent_reserves_once(either: Desk):
    await either.seed(stocked(CUPS, NORTH, 9))
    key = either.key()
    ask = {"sku": CUPS, "quantity": 2, "warehouse": NORTH, "source_id": "ref"}
    answers = await asyncio.gather(
        *(call(either.client, "reserve_stock", **ask, **key) for _ in range(8))
    )
    ids = {answer["reservations"][0]["reservation_id"] for answer in answers}
    assert len(ids) == 1
    assert (await either.level(CUPS)).reserved == 2


async def test_expired_is_refused_and_not_oversold(either: Desk):
    """A reservation runs out during the checkout; somebody else takes the unit."""
    await either.seed(stocked(CUPS, NORTH, 1))
    made = await reserve(either, minutes=10)
    id = made["reservations"][0]["reservation_id"]
    await refused(
        either.client, "reserve_stock", "insufficient_stock", sku=CUPS, quantity=1,
        warehouse=NORTH, source_id="other", **either.key(),
    )  # fmt: skip
    either.clock.forward(minutes=10)
    await reserve(either, source_id="other")
    for tool, more in (("extend_reservation", {"minutes": 5}), ("release_reservation", {})):
        answer = await refused(
            either.client, tool, "rule_violation", reservation_id=id, **more, **either.key()
        )
        assert answer["details"]["state"] == "expired"
        assert "reserve_stock" in answer["next"]

    def consume(call: Call) -> None:
        reserving.consume(call, call.get(Reservation, id))

    with pytest.raises(RuleViolation):
        await either.seed(consume)
    assert (await either.level(CUPS)).on_hand == 1
    listed = await done(either.client, "list_stock_documents", kind="reservation")
    assert [found["source"] for found in listed["documents"]] == ["manual other"]
    whole = await done(either.client, "list_stock_documents", kind="reservation", state="all")
    assert sorted(found["state"] for found in whole["documents"]) == ["expired", "pending"]


async def test_extended_it_stands_longer(either: Desk):
    await either.seed(stocked(CUPS, NORTH, 3))
    made = await reserve(either, quantity=3, minutes=10)
    id = made["reservations"][0]["reservation_id"]
    assert made["available_left"] == 0
    either.clock.forward(minutes=9)
    more = await done(
        either.client, "extend_reservation", reservation_id=id, minutes=60, **either.key()
    )
    assert more["expires_at"] == "2026-11-02T10:09:00Z"
    either.clock.forward(minutes=30)
    assert (await either.level(CUPS)).reserved == 3
    await refused(
        either.client, "extend_reservation", "invalid_parameters", reservation_id=id, minutes=1,
        **either.key(),
    )  # fmt: skip
    gone = await done(either.client, "release_reservation", reservation_id=id, **either.key())
    assert gone["state"] == "released"
    assert (await either.level(CUPS)).available == 3
    await refused(
        either.client, "release_reservation", "rule_violation", reservation_id=id, **either.key()
    )


async def test_it_cannot_be_extended_for_ever(desk: Desk):
    await desk.seed(stocked(CUPS, NORTH, 3))
    id = (await reserve(desk, minutes=43_200))["reservations"][0]["reservation_id"]
    desk.clock.forward(days=1)
    await refused(
        desk.client, "extend_reservation", "rule_violation", reservation_id=id, minutes=43_200,
        **desk.key(),
    )  # fmt: skip


async def test_first_expired_first_out(either: Desk):
    await either.seed(a_lot("LATE", 10, on(30)))
    await either.seed(a_lot("SOON", 4, on(2)))
    await either.seed(a_lot("GONE", 50, on(-1)))
    await either.seed(a_lot("EVER", 5, None))
    made = await reserve(either, MILK, 6)
    assert [(row["lot"], row["quantity"]) for row in made["reservations"]] == [
        ("SOON", 4), ("LATE", 2),
    ]  # fmt: skip
    assert made["available_left"] == 13
    answer = await refused(
        either.client, "reserve_stock", "insufficient_stock", sku=MILK, quantity=14,
        warehouse=NORTH, source_id="x", **either.key(),
    )  # fmt: skip
    assert answer["details"]["available"] == 13, "expired units are never reserved"
    await refused(
        either.client, "reserve_stock", "rule_violation", sku=MILK, quantity=1, warehouse=NORTH,
        source_id="x", lot="GONE", **either.key(),
    )  # fmt: skip


async def test_every_order_takes_the_lot_that_expires_first(desk: Desk):
    await desk.seed(a_lot("LATE", 10, on(30)))
    await desk.seed(a_lot("SOON", 4, on(2)))

    def take(units: int) -> Any:
        return lambda call: (
            reserving.reserve(call, MILK, NORTH, units, source="order", source_id="x").lot_id
        )

    assert await desk.seed(take(3)) == "lot_SOON"
    assert await desk.seed(take(3)) == "lot_LATE"
    with pytest.raises(InsufficientStock):
        await desk.seed(take(8))


async def test_reservations_of_live_orders_are_let_go_by_the_order(desk: Desk):
    await desk.seed(stocked(CUPS, NORTH, 5))
    await desk.seed(sold(CUPS, NORTH, [1]), "orders")

    def order(call: Call) -> str:
        row = an_order(call, CUPS, NORTH, 2, START, "allocated")
        held = reserving.reserve(call, CUPS, NORTH, 2, source="order", source_id=row.id)
        line = call.all(OrderLine, OrderLine.order_id == row.id)[0]
        line.reservation_id = held.id
        return held.id

    id = await desk.seed(order, "orders")
    answer = await refused(
        desk.client, "release_reservation", "rule_violation", reservation_id=id, **desk.key()
    )
    assert "orders server" in answer["next"]
    assert (await desk.level(CUPS)).reserved == 2


@pytest.mark.parametrize("source", ["checkout", "exchange", "claim"])
async def test_reservations_of_others_are_theirs(desk: Desk, source: str):
    await desk.seed(stocked(CUPS, NORTH, 5))
    id = await desk.seed(
        lambda call: reserving.reserve(call, CUPS, NORTH, 2, source=source, source_id="x").id
    )
    await refused(
        desk.client, "release_reservation", "rule_violation", reservation_id=id, **desk.key()
    )


async def test_bad_sources_and_times(desk: Desk):
    await desk.seed(stocked(CUPS, NORTH, 5))
    ask = {"sku": CUPS, "quantity": 1, "warehouse": NORTH}
    for code, more in (
        ("not_found", {"source": "order", "source_id": "ord_x"}),
        ("invalid_parameters", {"source": "checkout", "source_id": "x"}),
        ("invalid_parameters", {"source_id": "x", "minutes": 0}),
        ("invalid_parameters", {"source_id": "x", "minutes": 43_201}),
        ("invalid_parameters", {"source_id": ""}),
        ("invalid_parameters", {"source_id": "x", "lot": "L1" * 40}),
        ("not_found", {"source_id": "x", "lot": "L1"}),
    ):
        await refused(desk.client, "reserve_stock", code, **ask, **more, **desk.key())
    assert (await desk.level(CUPS)).reserved == 0
