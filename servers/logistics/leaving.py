"""Parcels leave the house: units go, money is taken, the order says so."""

from collections.abc import Sequence
from datetime import datetime

from common.call import Call
from common.errors import RuleViolation
from common.money import Money
from common.rules import disputed_goods, funds, paid, reserving
from common.rules.fulfilment import set_fulfilment
from common.rules.paid_state import AWAITED
from common.rules.timeline import happened
from common.storage.database import lock
from common.tables.inventory import Reservation
from common.tables.logistics import Shipment, ShipmentLine
from common.tables.orders import Order, OrderLine
from common.tables.payments import Payment


def leave(call: Call, shipment: Shipment) -> list[str]:
    """Consume what is reserved for the shipment's lines and capture the order's authorized
    payments; nothing if it has left before. Returns lines for a preview.

    Raises RuleViolation when a reservation lapsed, the order is on hold, not paid, or paid with
    money that is disputed.
    """
    if shipment.shipped_at is not None:
        return []
    shipment.shipped_at = call.now
    if shipment.order_id is None or shipment.kind == "return":
        return []
    order = call.get(Order, shipment.order_id)
    if order.status != "in_fulfilment":
        raise RuleViolation(
            f"Order {order.id} is {order.status}: shipment {shipment.id} may not leave.",
            details={"order_id": order.id, "shipment_id": shipment.id},
            next="Release the order's hold, or cancel the shipment.",
        )
    disputed_goods.refuse_sending(call, order)
    for line in _lines(call, shipment):
        reservation = call.get(Reservation, line.reservation_id or "")
        reserving.consume(call, reservation)
        line.status = "shipped"
    taken = _capture(call, order)
    set_fulfilment(call, order)
    happened(call, order.id, "shipped", reference=shipment.id)
    return [f"order {order.id}: {Money(taken, order.currency)} captured"] if taken else []


def arrive(call: Call, shipment: Shipment, at: datetime) -> None:
    """The shipment's lines are with the customer: from here return windows run."""
    if shipment.order_id is None or shipment.kind == "return":
        return
    # What comes back of the same order meanwhile sets its axes, too.
    lock(call.session, Order, [shipment.order_id])
    for line in _lines(call, shipment):
        line.status, line.delivered_at = "delivered", at
    order = call.get(Order, shipment.order_id)
    set_fulfilment(call, order, at)
    happened(call, order.id, "delivered", reference=shipment.id)


def _lines(call: Call, shipment: Shipment) -> list[OrderLine]:
    inside = call.all(ShipmentLine, ShipmentLine.shipment_id == shipment.id, limit=200)
    ids = [line.order_line_id for line in inside if line.order_line_id is not None]
    return call.all(OrderLine, OrderLine.id.in_(ids), limit=200)


def _capture(call: Call, order: Order) -> int:
    payments = paid.payments_of(call.session, order.id)
    taken = 0
    for payment in payments:
        if paid.standing(payment, call.now) == "authorized":
            taken += paid.capture(call, payment)
    _require_paid(call, order, [paid.standing(payment, call.now) for payment in payments])
    _require_enough(call, order, payments)
    return taken


def _require_enough(call: Call, order: Order, payments: Sequence[Payment]) -> None:
    """Taken at some time: the total, and not all of it given back or lost to a dispute since."""
    found = funds.moved(call.session, [payment.id for payment in payments], order.currency)
    taken = sum(each.captured for each in found.values())
    refunded = sum(each.refunded for each in found.values())
    lost = sum(each.disputed for each in found.values())
    back = refunded + lost
    waiting = sum(p.amount_minor for p in payments if p.status in AWAITED)
    short = taken + waiting < order.total_minor
    if payments and order.total_minor and (short or taken + waiting <= back):
        raise RuleViolation(
            f"Order {order.id} is not paid in full: {Money(taken - back, order.currency)} of "
            f"{Money(order.total_minor, order.currency)}.",
            details={"taken_minor": taken, "refunded_minor": refunded, "lost_minor": lost},
            next="Have the rest authorized (payments.authorize_payment), or cancel the order.",
        )


def _require_paid(call: Call, order: Order, standings: Sequence[str]) -> None:
    if standings and not any("captured" in each or "refunded" in each for each in standings):
        raise RuleViolation(
            f"Order {order.id} is not paid: its payments are {', '.join(sorted(set(standings)))}.",
            details={"order_id": order.id, "payment_status": order.payment_status},
            next="Have the payment authorized anew (orders.change_payment_method), or wait for "
            "the provider's answer.",
        )
