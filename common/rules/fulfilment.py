"""An order's fulfilment axis: what its lines say, as parcels go, arrive and come back."""

from datetime import datetime

from common.call import Call
from common.tables.orders import Order, OrderLine


def set_fulfilment(call: Call, order: Order, at: datetime | None = None) -> None:
    """The order's fulfilment axis from its lines; ``at`` is when the last of them arrived.

    A line that was taken back undelivered counts as little as a cancelled one: an order of which
    nothing else is left is over, and not fulfilled.
    """
    call.session.flush()
    lines = call.all(OrderLine, OrderLine.order_id == order.id, limit=200)
    lines = [line for line in lines if line.status != "cancelled"]
    kept = [line for line in lines if line.status != "returned" or line.delivered_at is not None]
    there = [line.status in ("delivered", "returned") for line in kept]
    gone = [line.status in ("shipped", "delivered", "returned") for line in kept]
    if any(gone) and order.shipped_at is None:
        order.shipped_at = call.now
    if all(there):
        order.fulfilment_status = "delivered" if kept or not lines else "not_fulfilled"
        arrivals = [line.delivered_at for line in kept if line.delivered_at is not None]
        order.delivered_at = at or max(arrivals, default=None)
        if order.status == "in_fulfilment":
            order.status = "completed"
    elif any(there):
        order.fulfilment_status = "partially_delivered"
    elif any(gone):
        order.fulfilment_status = "shipped" if all(gone) else "partially_shipped"
    call.session.flush()
