"""Changing an order before it leaves the house: address, payment method, cancellation, notes.

Once its lines were amended an order may neither be amended again, nor cancelled, nor paid
otherwise: the customer agreed to one new total. Its address may still change.
"""

from typing import Any

from sqlalchemy import select

from common.call import Call, quoted
from common.errors import InsufficientFunds, RuleViolation
from common.money import Money
from common.rules import members, paid, placing, reserving
from common.rules.addresses import one_line
from common.rules.timeline import happened
from common.tables.inventory import Reservation
from common.tables.logistics import Shipment
from common.tables.orders import Order, OrderHold, OrderLine, OrderNote
from common.tables.payments import Payment, PaymentMethod
from servers.orders import service

OPEN = ("placed", "confirmed", "on_hold")


def require_open(order: Order, what: str, *, untouched: bool = False) -> None:
    """Raises RuleViolation unless the order is open and unreleased; ``untouched``: nor amended."""
    if order.status not in OPEN or order.released_at is not None:
        raise RuleViolation(
            f"Order {order.id} is {order.status.replace('_', ' ')} and "
            f"{order.fulfilment_status.replace('_', ' ')}: too late to {what}.",
            details={"status": order.status, "fulfilment_status": order.fulfilment_status},
            next="Once it is delivered, or its parcel went back to its sender, a return or an "
            "exchange is possible.",
        )
    if untouched and order.amended_at is not None:
        raise RuleViolation(
            f"The lines of order {order.id} were amended before; it is too late to {what}.",
            details={"amended": True},
            next="Tell the person. The shipping address may still be changed.",
        )


def redirect(call: Call, order_id: str, address: dict[str, Any]) -> service.Whole:
    """Send the order somewhere else. Raises RuleViolation once it has a shipment. Prices, tax and
    shipping stay as they were agreed; a draft, where nothing is agreed yet, is priced anew."""
    order = service.changing(call, order_id)
    if order.status == "draft":
        call.stake(released=False)
        order.ship_to = address
        placing.reprice_draft(call, order)
        happened(call, order.id, "address_changed")
        return service.whole(call, order.id)
    released = order.released_at is not None
    inside = order.fulfilment_status in ("not_fulfilled", "partially_fulfilled", "fulfilled")
    if not released or order.status not in ("in_fulfilment", "on_hold") or not inside:
        require_open(order, "change the address")
    if released and call.session.scalar(
        select(Shipment.id).where(Shipment.order_id == order.id).limit(1)
    ):
        raise RuleViolation(
            f"Order {order.id} has a shipment: its label has the old address.",
            next="Ask the warehouse to stop it, or wait for the delivery.",
        )
    call.stake(released=released)
    call.show(f"Send order {order.id} to another address", f"to {quoted(one_line(address))}")
    order.ship_to = address
    happened(call, order.id, "address_changed")
    return service.whole(call, order.id)


def cancel(call: Call, order_id: str, reason: str) -> service.Whole:
    """Cancel the whole order: reservations released, authorizations voided, what was captured
    refunded to the methods that paid, points that paid given back. Raises RuleViolation once
    released or amended. A draft has none of it and is just closed."""
    order = service.changing(call, order_id)
    if order.status != "draft":
        require_open(order, "cancel it", untouched=True)
    _refuse_losing(order)
    paid.refuse_disputed(call, order.id)
    captured = sum(paid.net_paid(call.session, order.id, call.now).values())
    points = members.redeemed(call, order)
    call.stake(amount_minor=captured, currency=order.currency)
    call.show(
        f"Cancel order {order.id} of {Money(order.total_minor, order.currency)}",
        f"reason: {reason.replace('_', ' ')}",
        f"goes back to the customer: {Money(captured, order.currency)}",
        *([f"and {points} points"] if points else []),
    )
    for line in service.lines_of(call, order):
        release_line(call, line)
        line.status = "cancelled"
    waiting = ("authorized", "created", "requires_action")
    for payment in paid.payments_of(call.session, order.id):
        if payment.status in waiting:
            paid.void(call, payment)
    if captured:
        paid.refund_order(call, order.id, None, "cancellation")
    if points:
        members.give_back(call, order, points)
    for held in call.all(
        OrderHold, OrderHold.order_id == order.id, OrderHold.released_at.is_(None)
    ):
        held.released_at, held.released_by = call.now, call.actor.id
        held.release_reason = "The order was cancelled."
    order.status, order.cancel_reason, order.cancelled_at = "cancelled", reason, call.now
    happened(call, order.id, "cancelled", reason)
    return service.whole(call, order.id)


def _refuse_losing(order: Order) -> None:
    """What was not paid with money of this order would be lost to its customer with it."""
    if order.channel in ("exchange", "claim") and order.replaces_order_id is not None:
        raise RuleViolation(
            f"Order {order.id} was paid with what came back, or with a claim: cancelling it would"
            " give nothing back.",
            details={"replaces_order_id": order.replaces_order_id},
            next=f"Refund a payment of {order.replaces_order_id} with a person, or send it.",
        )


def release_line(call: Call, line: OrderLine) -> None:
    """Let the line's reserved units go, if any are."""
    if line.reservation_id is None:
        return
    reserving.release_if_open(call, call.get(Reservation, line.reservation_id))
    line.reservation_id = None


def pay_otherwise(call: Call, order_id: str, method_id: str) -> service.Whole:
    """Charge the order's total to another method of the customer and give it back to the first.

    Raises RuleViolation unless it was paid once and by another method (by the same one, when its
    authorization has lapsed); InsufficientFunds.
    """
    order = service.changing(call, order_id)
    require_open(order, "pay it otherwise", untouched=True)
    new = own_method(call, order, method_id)
    every = call.all(Payment, Payment.order_id == order.id, limit=50)
    if len(every) != 1 or every[0].status not in ("authorized", "captured"):
        raise RuleViolation(
            f"Order {order.id} was not paid by one single payment that still stands.",
            details={"payments": {payment.id: payment.status for payment in every}},
        )
    old = every[0]
    lapsed = paid.standing(old, call.now) == "expired"
    if old.method_id == new.id and not lapsed:
        raise RuleViolation(f"{new.id} is the method it was paid with already.")
    total = Money(old.amount_minor, old.currency)
    call.stake(amount_minor=old.amount_minor, currency=old.currency)
    call.show(
        f"Pay order {order.id} otherwise: {total}",
        f"charge {paid.method_words(new)}",
        f"give back to {paid.method_words(call.get(PaymentMethod, old.method_id))}",
    )
    if old.status == "authorized":
        paid.authorize(
            call, order_id=order.id, customer_id=order.customer_id, method_id=new.id,
            amount_minor=old.amount_minor, currency=old.currency,
        )  # fmt: skip
        paid.void(call, old)
    else:
        paid.charge(
            call, order_id=order.id, customer_id=order.customer_id, method_id=new.id,
            amount_minor=old.amount_minor, currency=old.currency,
        )  # fmt: skip
        paid.refund(call, old, old.amount_minor, "method_change")
    order.payment_method_id = new.id
    happened(call, order.id, "payment_changed", reference=new.id)
    return service.whole(call, order.id)


def own_method(call: Call, order: Order, method_id: str) -> PaymentMethod:
    """A stored method of the order's customer. Raises RuleViolation for anybody else's."""
    method = call.get(PaymentMethod, method_id, next="find_customer lists the stored methods.")
    if method.customer_id != order.customer_id or not method.active:
        raise RuleViolation(
            f"{method.id} is not a stored method of this customer.",
            next="find_customer lists the customer's own methods.",
        )
    return method


def can_pay(call: Call, method: PaymentMethod, amount_minor: int, currency: str) -> None:
    """Raises InsufficientFunds for a stored value that has less."""
    left = paid.stored_value(call, method, currency)
    if left is not None and left < amount_minor:
        raise InsufficientFunds(
            f"The balance of {method.id} does not cover it.",
            details={"available_minor": left, "needed_minor": amount_minor},
        )


def note(call: Call, order_id: str, text: str) -> service.Whole:
    """Add a note for colleagues. It is shown as text and never acted upon."""
    order = service.find(call, order_id)
    call.stake()
    call.add(
        OrderNote(
            id=call.new_id("note"), order_id=order.id, text=text, author=call.actor.id, at=call.now
        )
    )
    return service.whole(call, order.id)
