"""Holds, and the hand-over to the warehouse."""

from collections.abc import Sequence

from common.call import Call, quoted
from common.errors import InsufficientStock, RuleViolation
from common.rules import disputed_goods, lots, paid, reserving
from common.rules.timeline import count, happened
from common.tables.inventory import Reservation
from common.tables.orders import Order, OrderHold, OrderLine
from common.tables.payments import Payment
from servers.orders import amending, service


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


def release(call: Call, order_id: str, *, split: bool = False) -> service.Whole:
    """Hand the order to the warehouse: everything allocated and paid for, nothing held.

    A line its own house cannot serve is allocated to another that has all of it. Lines without
    stock are backordered and stay behind; releasing it again sends them after. ``split``: of a
    line that is short what there is goes, and only the rest stays. Raises RuleViolation (on hold,
    disputed, not paid); InsufficientStock when no line can go.
    """
    order = service.changing(call, order_id)
    call.stake()
    if order.status == "on_hold":
        kinds = ", ".join(each.kind for each in open_holds(call, order))
        raise RuleViolation(f"Order {order.id} is on hold ({kinds}).", next="Release the hold.")
    lines = service.lines_of(call, order)
    _let_go_of_bad_lots(call, lines)
    late = order.released_at is not None and any(line.status == "backordered" for line in lines)
    if order.status != "in_fulfilment" if late else order.status not in ("placed", "confirmed"):
        raise RuleViolation(
            f"Order {order.id} is {order.status.replace('_', ' ')} and cannot be released.",
            details={"status": order.status},
        )
    disputed_goods.refuse_sending(call, order)
    _require_paid(call, order)
    wanted = ("backordered",) if late else ("open", "allocated", "backordered")
    short = [line for line in lines if line.status in wanted]
    going = [line for line in short if _allocated(call, order, line)]
    if split:
        parts = [_split(call, order, line) for line in short if line not in going]
        going += [part for part in parts if part is not None]
    if not going:
        raise InsufficientStock(f"No line of order {order.id} can be had from stock.")
    behind = sum(line.status == "backordered" for line in lines)
    order.status, order.released_at = "in_fulfilment", order.released_at or call.now
    if order.fulfilment_status in ("not_fulfilled", "partially_fulfilled"):
        order.fulfilment_status = "partially_fulfilled" if behind else "fulfilled"
    detail = count(len(going), "line") + (f", {behind} backordered" if behind else "")
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


def _let_go_of_bad_lots(call: Call, lines: Sequence[OrderLine]) -> None:
    """Lines not packed yet with units of a lot that expired or was recalled wait for others."""
    for line in lines:
        if line.status not in ("open", "allocated", "picked") or line.reservation_id is None:
            continue
        reservation = call.get(Reservation, line.reservation_id)
        if not reserving.may_go_out(call, reservation):
            reserving.release_if_open(call, reservation)
            line.status, line.reservation_id = "backordered", None
    call.session.flush()


def _allocated(call: Call, order: Order, line: OrderLine) -> bool:
    """Whether the line's units are reserved; tries to reserve them if not, in its own house and
    then in any other that has all of them."""
    if line.reservation_id is not None:
        reservation = call.get(Reservation, line.reservation_id)
        if reserving.standing(call, reservation) in reserving.OPEN:
            line.status = "allocated"
            return True
    own = line.warehouse_id or order.warehouse_id or ""
    houses = [own] + [house for house, left in _stocked(call, line.sku) if left >= line.quantity]
    for house in dict.fromkeys(houses):
        if _reserved(call, order, line, house):
            if house != own:
                happened(call, order.id, "allocated", f"{line.sku} from {house}")
            return True
    line.status, line.reservation_id = "backordered", None
    return False


def _split(call: Call, order: Order, line: OrderLine) -> OrderLine | None:
    """What there is of a line in one house, as a line of its own; None when there is nothing."""
    own = line.warehouse_id or order.warehouse_id
    stocked = sorted(_stocked(call, line.sku), key=lambda each: each[0] != own)
    house, left = next(iter(stocked), ("", 0))
    if not 0 < left < line.quantity:
        return None
    part = amending.part(call, order, line, left)
    if not _reserved(call, order, part, house):
        raise InsufficientStock(f"{left} units of {line.sku} in {house} are of several lots.")
    happened(call, order.id, "line_split", f"{left} of {line.sku} go", reference=line.id)
    return part


def _stocked(call: Call, sku: str) -> list[tuple[str, int]]:
    """Working houses with units that one line can have, the fullest first."""
    free = lots.at_once(call.session, call.now, [sku])
    found = [(house, left) for (_, house), left in free.items() if left > 0]
    return sorted(found, key=lambda each: (-each[1], each[0]))


def _reserved(call: Call, order: Order, line: OrderLine, house: str) -> bool:
    """Reserve the whole line in a house, if it has it."""
    try:
        with call.trying():
            made = reserving.reserve(
                call, line.sku, house, line.quantity, source="order", source_id=order.id
            )
    except InsufficientStock:
        return False
    line.reservation_id, line.status, line.warehouse_id = made.id, "allocated", house
    call.session.flush()
    return True
