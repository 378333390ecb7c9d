"""What an amendment puts at stake: money goes back to what paid so much, or a colleague agrees."""

from collections.abc import Callable
from typing import Any

import pytest

from common.call import Call
from common.rules import paid
from common.tables.payments import Payment
from tests.orders.seed import CARD, EVE, GIFT, SHIRT_L, SHIRT_M, Desk, an_order
from tests.support.shop import done

TOTAL, LESS = 5_000, 2_000  # two medium shirts; two large ones are so much cheaper


def charged(order_id: str, parts: dict[str, int]) -> Callable[[Call], None]:
    """The order's money, taken from these methods. Domain: orders."""

    def work(call: Call) -> None:
        for payment in call.all(Payment, Payment.order_id == order_id):
            paid.void(call, payment)
        for method, amount in parts.items():
            paid.charge(
                call, order_id=order_id, customer_id=EVE, method_id=method, amount_minor=amount,
                currency="EUR",
            )  # fmt: skip

    return work


async def cheaper(desk: Desk, order_id: str) -> dict[str, Any]:
    """The arguments that amend the order to the cheaper shirts, with the gift card."""
    order = await done(desk.client, "get_order", order_id=order_id)
    change = {"line_id": order["lines"][0]["line_id"], "new_sku": SHIRT_L}
    return {"order_id": order_id, "payment_method_id": GIFT, "changes": [change]}


@pytest.mark.parametrize("of_it", [1, LESS - 1])
async def test_a_method_that_paid_less_than_goes_back_is_elsewhere(desk: Desk, of_it: int) -> None:
    order_id = await desk.seed(an_order((SHIRT_M, 2)))
    await desk.seed(charged(order_id, {GIFT: of_it, CARD: TOTAL - of_it}))
    before = await desk.balance()
    await desk.approved("amend_order_lines", **await cheaper(desk, order_id))
    assert await desk.balance() == before + LESS


async def test_a_method_that_was_only_authorized_is_elsewhere(desk: Desk) -> None:
    order_id = await desk.seed(an_order((SHIRT_M, 2), method=GIFT))
    await desk.seed(charged(order_id, {CARD: TOTAL}))
    before = await desk.balance()
    await desk.approved("amend_order_lines", **await cheaper(desk, order_id))
    assert await desk.balance() == before + LESS


async def test_a_method_that_paid_so_much_is_not(desk: Desk) -> None:
    order_id = await desk.seed(an_order((SHIRT_M, 2)))
    await desk.seed(charged(order_id, {GIFT: LESS, CARD: TOTAL - LESS}))
    await done(desk.client, "amend_order_lines", **await cheaper(desk, order_id), **desk.key())
    assert await desk.balance() == 6_000
