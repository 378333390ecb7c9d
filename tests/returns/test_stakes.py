"""What a settlement puts at stake: the goods that go out, and where the money goes."""

import pytest
from sqlalchemy import select

from common.call import Call
from common.rules import paid
from common.tables.payments import Payment
from common.tables.spine import ApprovalRequest
from tests.orders.seed import (
    CARD,
    CARD2,
    EVE,
    GIFT,
    SHIRT_L,
    SHIRT_S,
    Desk,
    a_delivered_order,
    an_order,
    delivered,
)
from tests.returns.test_returns import back, requested, step
from tests.support.shop import done, look


async def asked(desk: Desk) -> list[tuple[str, int]]:
    query = select(ApprovalRequest.tool, ApprovalRequest.level).order_by(ApprovalRequest.created_at)
    return [(row[0], row[1]) for row in await look(desk.shop, lambda s: s.execute(query).all())]


@pytest.mark.parametrize(("units", "levels"), [(1, []), (3, [("settle_return", 1)])])
async def test_an_exchange_for_the_same_price_stakes_the_goods(
    desk: Desk, units: int, levels: list[tuple[str, int]]
) -> None:
    order = await a_delivered_order(desk, (SHIRT_S, units))
    rma = await step(
        desk, "request_exchange", order_id=order["order_id"], method_id=CARD,
        lines=[{"line_id": order["lines"][0]["line_id"], "new_sku": SHIRT_S}],
    )  # fmt: skip
    await back(desk, rma)
    await step(desk, "settle_return", return_id=rma["return_id"])
    assert await asked(desk) == levels


async def test_what_an_exchange_gives_back_is_staked_beside_its_goods(desk: Desk) -> None:
    order = await a_delivered_order(desk, (SHIRT_S, 3))
    rma = await step(
        desk, "request_exchange", order_id=order["order_id"], method_id=CARD,
        lines=[{"line_id": order["lines"][0]["line_id"], "new_sku": SHIRT_L}],
    )  # fmt: skip
    await back(desk, rma)
    await step(desk, "settle_return", return_id=rma["return_id"])
    assert await asked(desk) == [("settle_return", 1)], "45.00 in goods and 15.00 in money"
    assert "Amount: 60.00 EUR\n" in desk.person.questions[-1]
    assert "goods of 45.00 EUR\n15.00 EUR goes back to" in desk.person.questions[-1]


async def test_money_that_goes_elsewhere_is_confirmed(desk: Desk) -> None:
    for more, levels in (
        ({}, []),
        ({"refund_to": "method", "method_id": GIFT}, [("settle_return", 1)]),
    ):
        order = await a_delivered_order(desk, (SHIRT_S, 1))
        rma = await requested(desk, order, **more)
        await back(desk, rma)
        await step(desk, "settle_return", return_id=rma["return_id"])
        assert await asked(desk) == levels


async def test_a_method_that_was_let_go_has_paid_nothing(desk: Desk) -> None:
    order_id = await desk.seed(an_order((SHIRT_S, 1)))
    await done(
        desk.client, "change_payment_method", order_id=order_id, payment_method_id=CARD2,
        **desk.key(),
    )  # fmt: skip
    await desk.seed(delivered(order_id))
    order = {"order_id": order_id}
    rma = await requested(desk, order, refund_to="method", method_id=CARD)
    await back(desk, rma)
    await step(desk, "settle_return", return_id=rma["return_id"])
    assert (await asked(desk))[-1] == ("settle_return", 1)


@pytest.mark.parametrize(("part", "levels"), [(1, [("settle_return", 1)]), (2_000, [])])
async def test_a_method_that_paid_less_than_goes_back_is_elsewhere(
    desk: Desk, part: int, levels: list[tuple[str, int]]
) -> None:
    order_id = await desk.seed(an_order((SHIRT_S, 2)))

    def charged(call: Call) -> None:
        for payment in call.all(Payment, Payment.order_id == order_id):
            paid.void(call, payment)
        for method, amount in ((GIFT, part), (CARD, 4_000 - part)):
            paid.charge(
                call, order_id=order_id, customer_id=EVE, method_id=method, amount_minor=amount,
                currency="EUR",
            )  # fmt: skip

    await desk.seed(charged)
    await desk.seed(delivered(order_id))
    order = await done(desk.client, "get_order", order_id=order_id)
    one = [{"line_id": order["lines"][0]["line_id"], "quantity": 1}]
    rma = await requested(desk, order, refund_to="method", method_id=GIFT, lines=one)
    await back(desk, rma)
    await step(desk, "settle_return", return_id=rma["return_id"])
    assert await asked(desk) == levels
