"""A replacement that breaks as well: it cost the customer nothing, and the shop as much again."""

from common.call import Call
from common.tables.claims import Claim
from common.tables.orders import Order, OrderLine
from tests.claims.seed import Desk


async def test_a_replacement_of_a_replacement(desk: Desk) -> None:
    order_id, line_id = "ord_1", "ord_1_0"
    for _ in range(3):
        id = await desk.reviewed(order_id, lines=[{"line_id": line_id, "quantity": 1}])
        claim = await desk.look(lambda s, id=id: s.get_one(Claim, id))
        if order_id != "ord_1":
            assert claim.claimed_minor == 0, "nothing was paid for it"
            await desk.refused("settle_claim", "rule_violation", claim_id=id, resolution="refund")
        settled = await desk.done("settle_claim", claim_id=id, resolution="replacement")
        order_id = settled["replacement_order_id"]
        line_id = await desk.seed(lambda c, o=order_id: arrived(c, o), "*")
        await desk.refused("settle_claim", "rule_violation", claim_id=id, resolution="replacement")
    sent = await desk.look(lambda s: s.query(Order).filter(Order.channel == "claim").count())
    assert sent == 3


def arrived(call: Call, order_id: str) -> str:
    """The replacement is with the customer. Its only line."""
    order = call.get(Order, order_id)
    order.status, order.fulfilment_status, order.delivered_at = "completed", "delivered", call.now
    (line,) = call.all(OrderLine, OrderLine.order_id == order_id)
    line.status, line.delivered_at = "delivered", call.now
    call.session.flush()
    return line.id
