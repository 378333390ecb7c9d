"""Holds, and the hand-over to the warehouse."""

from common import paid, reserving
from common.call import Call, quoted
from common.errors import InsufficientStock, RuleViolation
from common.tables.inventory import Reservation
from common.tables.orders import Order, OrderHold, OrderLine
from common.tables.payments import Payment
from common.timeline import happened
from servers.orders import service


def hold(call: Call, order_id: str, kind: str, reason: str) -> service.Whole:
    """Stop the order. Raises RuleViolation for one that has left, or is held for this already."""
    order = service.changing(call, order_id)
    call.stake()
    if order.status not in ("placed", "confirmed", "on_hold", "in_fulfilment"):
        raise RuleViolation(f"Order {order.id} is {order.status}: there is nothing to stop.")
    if order.fulfilment_status not in ("not_fulfilled", "partially_fulfilled", "fulfilled"):
        raise RuleViolation(f"Order {order.id} has left the house.")
    holds = open_holds(call, order)
    if any(each.kind == kind for each in holds):
        raise RuleViolation(f"Order {order.id} is held for {kind} already.")
    before = holds[0].status_before if holds else order.status
    call.add(
        OrderHold(
            id=call.new_id("hold"), order_id=order.id, kind=kind, reason=reason,
            placed_at=call.now, placed_by=call.actor.id, status_before=before,
        )
    )  # fmt: skip
    order.status = "on_hold"
    happened(call, order.id, "held", kind)
    return service.whole(call, order.id)


def release_hold(call: Call, order_id: str, kind: str, reason: str) -> service.Whole:
    """End one hold; the order goes on when no other is left."""
    order = service.changing(call, order_id)
    holds = open_holds(call, order)
    ended = next((each for each in holds if each.kind == kind), None)
    if ended is None:
        raise RuleViolation(
            f"Order {order.id} is not held for {kind}.",
            details={"holds": [each.kind for each in holds]},
        )
    call.stake()
    call.show(
        f"Release the {kind} hold of order {order.id}",
        f"held because: {quoted(ended.reason)}",
        f"reason given now: {quoted(reason)}",
    )
    ended.released_at, ended.released_by, ended.release_reason = call.now, call.actor.id, reason
    if len(holds) == 1 and order.status == "on_hold":
        order.status = ended.status_before
    happened(call, order.id, "hold_released", kind)
    return service.whole(call, order.id)


def open_holds(call: Call, order: Order) -> list[OrderHold]:
    """Holds not released yet, oldest first."""
    held = call.all(OrderHold, OrderHold.order_id == order.id, OrderHold.released_at.is_(None))
    return sorted(held, key=lambda each: (each.placed_at, each.id))


def release(call: Call, order_id: str) -> service.Whole:
    """Hand the order to the warehouse: everything allocated and paid for, nothing held.

    Lines without stock are backordered and stay behind; releasing it again sends them after.
    Raises RuleViolation; InsufficientStock when no line can go.
    """
    order = service.changing(call, order_id)
    call.stake()
    if order.status == "on_hold":
        kinds = ", ".join(each.kind for each in open_holds(call, order))
        raise RuleViolation(f"Order {order.id} is on hold ({kinds}).", next="Release the hold.")
    lines = service.lines_of(call, order)
    late = order.released_at is not None and any(line.status == "backordered" for line in lines)
    if order.status != "in_fulfilment" if late else order.status not in ("placed", "confirmed"):
        raise RuleViolation(
            f"Order {order.id} is {order.status.replace('_', ' ')} and cannot be released.",
            details={"status": order.status},
        )
    _require_paid(call, order)
    wanted = ("backordered",) if late else ("open", "allocated", "backordered")
    going = [line for line in lines if line.status in wanted and _allocated(call, order, line)]
    if not going:
        raise InsufficientStock(f"No line of order {order.id} can be had from stock.")
    behind = sum(line.status == "backordered" for line in lines)
    order.status, order.released_at = "in_fulfilment", order.released_at or call.now
    if order.fulfilment_status in ("not_fulfilled", "partially_fulfilled"):
        order.fulfilment_status = "partially_fulfilled" if behind else "fulfilled"
    detail = f"{len(going)} lines" + (f", {behind} backordered" if behind else "")
    happened(call, order.id, "released", detail)
    return service.whole(call, order.id)


def _require_paid(call: Call, order: Order) -> None:
    payments = call.all(Payment, Payment.order_id == order.id, limit=100)
    authorized = sum(
        payment.amount_minor
        for payment in payments
        if paid.standing(payment, call.now) == "authorized"
    )
    captured = sum(paid.net_paid(call.session, order.id, call.now).values())
    if authorized + captured < order.total_minor:
        raise RuleViolation(
            f"Order {order.id} is not paid or authorized for its total.",
            details={
                "total_minor": order.total_minor,
                "authorized_minor": authorized,
                "captured_minor": captured,
            },
            next="change_payment_method authorizes it anew; or hold_order for payment.",
        )


def _allocated(call: Call, order: Order, line: OrderLine) -> bool:
    """Whether the line's units are reserved; tries to reserve them if not."""
    if line.reservation_id is not None:
        reservation = call.get(Reservation, line.reservation_id)
        if reserving.standing(call, reservation) in reserving.OPEN:
            line.status = "allocated"
            return True
    try:
        with call.session.begin_nested():
            made = reserving.reserve(
                call, line.sku, line.warehouse_id or order.warehouse_id or "", line.quantity,
                source="order", source_id=order.id,
            )  # fmt: skip
    except InsufficientStock:
        line.status, line.reservation_id = "backordered", None
        return False
    line.reservation_id, line.status = made.id, "allocated"
    return True
