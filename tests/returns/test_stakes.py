"""What a settlement puts at stake: the goods that go out, and where the money goes."""

import pytest
from sqlalchemy import select

from common.tables.spine import ApprovalRequest
from tests.orders.seed import CARD, GIFT, SHIRT_S, Desk, a_delivered_order
from tests.returns.test_returns import back, requested, step
from tests.support.shop import look


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
