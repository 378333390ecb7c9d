"""Cancelling leaves nothing behind: no unit reserved, no authorization open, no money disputed."""

from sqlalchemy import func, select

from common.call import Call
from common.rules import paid, stock
from common.tables.payments import Payment
from servers.orders.service import MOST_LINES
from servers.payments.tools import tools as payments_tools
from tests.orders.seed import CARD, EVE, NORTH, SHIRT_M, SHIRT_S, Desk, an_order
from tests.orders.test_refusals import unchanged
from tests.support.shop import connected, done

CANCEL = {"reason": "fraud"}


async def test_not_while_its_money_is_disputed(desk: Desk) -> None:
    """Whoever lost the dispute would be refunded as well, and whoever won it would have nothing."""
    order_id = await desk.seed(an_order((SHIRT_M, 2), captured=True))
    query = select(Payment.id).where(Payment.order_id == order_id)
    payment_id = await desk.look(lambda s: s.scalars(query).one())
    async with connected(desk.shop, payments_tools, person=desk.person) as payments:
        made = await done(payments, "record_dispute", payment_id=payment_id, reason="fraudulent")
        ask = {"dispute_id": made["dispute_id"]}
        answer = await unchanged(
            desk, "cancel_order", "rule_violation", order_id=order_id, **CANCEL
        )
        assert answer["details"] == ask
        await done(payments, "record_dispute_outcome", outcome="won", **ask)
    over = await done(desk.client, "cancel_order", order_id=order_id, **CANCEL, **desk.key())
    assert over["status"] == "cancelled"
    assert await desk.net_paid(order_id) == {}


async def test_every_authorization_is_let_go_however_many(desk: Desk) -> None:
    order_id = await desk.seed(an_order((SHIRT_M, 1), captured=True))

    def many(call: Call) -> None:
        for _ in range(60):
            paid.authorize(
                call, order_id=order_id, customer_id=EVE, method_id=CARD, amount_minor=1,
                currency="EUR",
            )  # fmt: skip

    await desk.seed(many)
    await done(desk.client, "cancel_order", order_id=order_id, **CANCEL, **desk.key())
    query = select(Payment.status, func.count()).where(Payment.order_id == order_id)
    found = await desk.look(lambda s: s.execute(query.group_by(Payment.status)).all())
    assert sorted(map(tuple, found)) == [("refunded", 1), ("voided", 60)]


async def test_no_order_is_split_into_more_lines_than_are_cancelled(desk: Desk) -> None:
    await desk.seed(lambda c: stock.adjust(c, SHIRT_S, NORTH, MOST_LINES, "opening"), "*")
    there = await desk.available(SHIRT_S)
    lines = [(SHIRT_S, 1)] * (MOST_LINES - 2) + [(SHIRT_S, 3)]
    order_id = await desk.seed(an_order(*lines))
    order = await done(desk.client, "get_order", order_id=order_id)
    (line,) = (each["line_id"] for each in order["lines"] if each["quantity"] == 3)
    ask = {"order_id": order_id, "line_id": line, "quantity": 1}
    await done(desk.client, "split_order_line", **ask, **desk.key())
    await unchanged(desk, "split_order_line", "rule_violation", **ask)
    await done(desk.client, "cancel_order", order_id=order_id, **CANCEL, **desk.key())
    assert await desk.available(SHIRT_S) == there
