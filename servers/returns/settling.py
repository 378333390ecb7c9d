"""Settle a return, once: money back, store credit, or the goods it is exchanged for."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from common.call import Call
from common.errors import RuleViolation
from common.money import Money, allocate
from common.rules import made_good, paid, placing
from common.rules.fulfilment import set_fulfilment
from common.rules.timeline import happened
from common.storage.database import lock
from common.tables.orders import Order, OrderLine
from common.tables.payments import PaymentMethod, Refund
from common.tables.returns import Return, ReturnLine, Settlement
from servers.returns import service

READY: Final = ("dispositioned", "returnless")
EARLY: Final = ("authorized", "label_issued", "in_transit")


def settle(call: Call, return_id: str) -> service.Whole:
    """Settle what came back (or what may be kept), as was agreed when it was requested.

    No refund before receipt and inspection, unless the policy says instant or returnless. What
    has not come back by then is the customer's to keep, and not paid for. Raises RuleViolation,
    InsufficientFunds, InsufficientStock.
    """
    service.changing(call, return_id)
    now = service.whole(call, return_id)
    rma = now.rma
    _require_ready(call, now)
    order = call.get(Order, rma.order_id)
    lock(call.session, Order, [order.id])
    paid.refuse_disputed(call, order.id)
    units = [made_good.units_settled(rma, line) for line in now.lines]
    _refuse_made_whole(call, now.lines, units)
    rma.settled_at = call.now
    if rma.kind == "exchange":
        _exchange(call, rma, order, now.lines, units)
    else:
        _refund(call, rma, order, now.lines, units)
    if rma.state not in EARLY:
        rma.state = "settled"
    call.session.flush()
    sent_back = service.sent_back(call, rma)
    for line in now.lines:
        _returned(call, order, line)
    if sent_back:
        set_fulfilment(call, order)
    happened(call, order.id, "return_settled", rma.kind, reference=rma.id)
    return service.whole(call, rma.id)


def _refuse_made_whole(call: Call, lines: Sequence[ReturnLine], units: Sequence[int]) -> None:
    """A claim that was open when the return was asked for may have paid for the units since."""
    claimed = made_good.by_claims(call, [line.order_line_id for line in lines])
    for line, n in zip(lines, units, strict=True):
        there = call.get(OrderLine, line.order_line_id).quantity
        if n > there - claimed.get(line.order_line_id, made_good.NOTHING).units:
            raise RuleViolation(
                f"A claim has made the units of line {line.order_line_id} good already.",
                details={"line_id": line.order_line_id},
                next="list_claims of the order shows it.",
            )


def amounts(rma: Return, lines: Sequence[ReturnLine], units: Sequence[int]) -> list[int]:
    """What each line gives back, the flat part of the fee taken off by largest remainder."""
    values = [
        allocate(line.refund_minor, [n, line.quantity - n])[0]
        for line, n in zip(lines, units, strict=True)
    ]
    flat = rma.fee_minor - sum(line.fee_minor for line in lines)
    flat = max(0, min(flat, sum(values)))
    shares = allocate(flat, values)
    return [value - share for value, share in zip(values, shares, strict=True)]


def _refund(
    call: Call, rma: Return, order: Order, lines: Sequence[ReturnLine], units: Sequence[int]
) -> None:
    parts = amounts(rma, lines, units)
    total = sum(parts)
    method = None if rma.method_id is None else call.get(PaymentMethod, rma.method_id)
    credit = rma.refund_to == "store_credit"
    to = "store credit" if credit else paid.method_words(method) if method else "what paid"
    call.stake(
        amount_minor=total, currency=order.currency,
        destination_differs=method is not None
        and not paid.covers(call, order.id, method.id, total),
    )  # fmt: skip
    call.show(
        f"Settle return {rma.id} of order {order.id}",
        f"refund {Money(total, order.currency)} to {to}",
    )
    refunds: list[Refund] = []
    if total:
        if credit:
            method = paid.store_credit_method(call, order.customer_id, order.currency)
        refunds = _pay_back(call, rma, order, total, "return", method)
    kind = "store_credit" if credit else "refund"
    for line, part in zip(lines, parts, strict=True):
        _settled(call, line, kind, part, order.currency, refund=refunds[0] if part else None)


def _exchange(
    call: Call, rma: Return, order: Order, lines: Sequence[ReturnLine], units: Sequence[int]
) -> None:
    """The other goods go out as an order of their own, which what came back has paid for."""
    method = call.get(PaymentMethod, rma.method_id or "")
    parts = [
        allocate(line.price_difference_minor, [n, line.quantity - n])[0]
        for line, n in zip(lines, units, strict=True)
    ]
    difference = sum(parts)
    # Goods and money go out for goods that somebody says came back: all of both is at stake.
    worth = sum((line.exchange_price_minor or 0) * n for line, n in zip(lines, units, strict=True))
    call.stake(
        amount_minor=max(difference, worth + max(0, -difference)), currency=order.currency,
        destination_differs=difference < 0
        and not paid.covers(call, order.id, method.id, -difference),
    )  # fmt: skip
    direction = "is charged to" if difference > 0 else "goes back to"
    call.show(
        f"Settle exchange {rma.id} of order {order.id}",
        *(f"send {n} × {line.exchange_sku}" for line, n in zip(lines, units, strict=True) if n),
        f"goods of {Money(worth, order.currency)}",
        f"{Money(abs(difference), order.currency)} {direction} {paid.method_words(method)}",
    )
    for line in lines:
        service.let_go(call, line)
    replacement = _replacement(call, rma, order, lines, units, difference)
    payment = None
    if replacement.total_minor:
        payment = paid.authorize(
            call, order_id=replacement.id, customer_id=order.customer_id, method_id=method.id,
            amount_minor=replacement.total_minor, currency=order.currency, purpose="exchange",
        )  # fmt: skip
    refunds: list[Refund] = []
    if difference < 0:
        refunds = _pay_back(call, rma, order, -difference, "exchange", method)
    for line, part in zip(lines, parts, strict=True):
        _settled(
            call, line, "exchange", abs(part), order.currency,
            refund=refunds[0] if refunds else None, exchange_order_id=replacement.id,
            payment_id=payment.id if payment else None,
        )  # fmt: skip


def _replacement(
    call: Call, rma: Return, order: Order, lines: Sequence[ReturnLine], units: Sequence[int],
    difference: int,
) -> Order:  # fmt: skip
    """An order of what was agreed, whose total is the agreed difference, or nothing."""
    wanted = [
        placing.NewLine(line.exchange_sku or "", n, line.exchange_price_minor)
        for line, n in zip(lines, units, strict=True)
        if n
    ]
    rates = placing.rates_at(call, order.ship_to, call.now)
    gross = placing.gross(call, wanted, rates)
    return placing.place(
        call,
        placing.NewOrder(
            customer_id=order.customer_id, lines=wanted, ship_to=order.ship_to,
            payment_method_id=None, warehouse_id=order.warehouse_id, agreed=True,
            credit_minor=gross - max(0, difference), credit_code=rma.id, channel="exchange",
            ship_by=call.now + timedelta(days=1), promised_at=call.now + timedelta(days=3),
            replaces_order_id=order.id,
        ),
    )  # fmt: skip


def _pay_back(
    call: Call, rma: Return, order: Order, amount_minor: int, reason: str,
    method: PaymentMethod | None,
) -> list[Refund]:  # fmt: skip
    return paid.refund_exchanged(
        call, order, amount_minor, reason, to_method_id=method.id if method else None,
        allow_unlinked=method is not None and method.kind in ("gift_card", "store_credit"),
        source=("return", rma.id),
    )  # fmt: skip


def _settled(
    call: Call, line: ReturnLine, kind: str, amount_minor: int, currency: str, *,
    refund: Refund | None = None, payment_id: str | None = None,
    exchange_order_id: str | None = None,
) -> None:  # fmt: skip
    call.add(
        Settlement(
            id=call.new_id("settlement"), return_line_id=line.id, kind=kind,
            amount_minor=amount_minor, currency=currency,
            refund_id=refund.id if refund else None, payment_id=payment_id,
            exchange_order_id=exchange_order_id, at=call.now,
        )
    )  # fmt: skip


def _returned(call: Call, order: Order, line: ReturnLine) -> None:
    """An order line of which every unit is settled is ``returned``."""
    order_line = call.get(OrderLine, line.order_line_id)
    if made_good.of_lines(call, [order_line.id])[order_line.id].units >= order_line.quantity:
        order_line.status = "returned"


def _require_ready(call: Call, now: service.Whole) -> None:
    rma = now.rma
    state = made_good.standing(rma, call.now)
    if rma.settled_at is not None:
        raise RuleViolation(f"Return {rma.id} is settled already.", details={"state": state})
    seen = {id: sum(each.quantity for each in found) for id, found in now.inspections.items()}
    here = sum(line.received for line in now.lines)
    looked_at = here > 0 and all(seen[line.id] == line.received for line in now.lines)
    if state in READY or (rma.instant and state in EARLY):
        return
    if state == "partially_received" and looked_at:
        return
    raise RuleViolation(
        f"Return {rma.id} is {state.replace('_', ' ')}: nothing is settled before it was "
        "received and inspected.",
        details={"state": state},
        next="receive_return, then inspect_return, then settle_return.",
    )
