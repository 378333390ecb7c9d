"""Several returns of one order are settled at the same moment: each gives back its own, once, and
the order's refunds are counted one after the other."""

import asyncio

from sqlalchemy import select

from common.tables.payments import Payment, Refund
from tests.orders.seed import CARD, SHIRT_S, Desk, a_delivered_order
from tests.returns.test_returns import back, requested
from tests.support.shop import call, done

RETURNS = 6


async def test_returns_of_one_order_settled_together(either: Desk) -> None:
    order = await a_delivered_order(either, *[(SHIRT_S, 1)] * RETURNS)
    ids = []
    for line in order["lines"]:
        rma = await requested(either, order, lines=[{"line_id": line["line_id"]}])
        await back(either, rma)
        ids.append(rma["return_id"])
    keys = {id: either.key() for id in ids}
    waiting = list(ids)
    for _ in range(RETURNS):
        answers = await asyncio.gather(
            *(call(either.returns, "settle_return", return_id=id, **keys[id]) for id in waiting)
        )
        codes = [answer.get("code", "done") for answer in answers]
        assert set(codes) <= {"done", "conflict"}, codes
        assert "done" in codes, "each time at least one comes through"
        waiting = [id for id, code in zip(waiting, codes, strict=True) if code == "conflict"]
        if not waiting:
            break
    assert not waiting
    assert await either.net_paid(order["order_id"]) == {}
    query = select(Refund.position, Refund.amount_minor).order_by(Refund.position)
    rows = [tuple(row) for row in await either.look(lambda s: s.execute(query).all())]
    assert rows == [(number, 2000) for number in range(1, RETURNS + 1)], "one after the other"
    payment = await either.look(lambda s: s.scalars(select(Payment)).one())
    assert (payment.method_id, payment.status) == (CARD, "refunded")
    after = await done(either.client, "get_order", order_id=order["order_id"])
    assert after["payment_status"] == "refunded"
