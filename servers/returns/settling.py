"""Settle a return, once: money back, store credit, or the goods it is exchanged for."""

from datetime import timedelta

from common import paid, placing, reserving
from common.call import Call
from common.errors import RuleViolation
from common.money import Money, allocate
from common.tables.inventory import Reservation
from common.tables.orders import Order, OrderLine
from common.tables.payments import Refund
from common.tables.returns import Return, ReturnLine, Settlement
from common.timeline import happened
from servers.returns import service

READY = ("dispositioned", "returnless")


def settle(call: Call, return_id: str) -> service.Whole:
    """Settle what came back (or what may be kept), as was agreed when it was requested.

    No refund before receipt and inspection, unless the policy says instant or returnless. Raises
    RuleViolation, InsufficientFunds, InsufficientStock.
    """
    now = service.whole(call, return_id)
    rma = now.rma
    _require_ready(now)
    order = call.get(Order, rma.order_id)
    open_lines = [line for line in now.lines if line.id not in now.settlements]
    if not open_lines:
        raise RuleViolation(f"Return {rma.id} is settled already.")
    if rma.kind == "exchange":
        _exchange(call, rma, order, open_lines)
    else:
        _refund(call, rma, order, open_lines)
    for line in open_lines:
        _returned(call, line)
    rma.settled_at = call.now
    rma.state = "settled"
    happened(call, order.id, "return_settled", rma.kind, reference=rma.id)
    return service.whole(call, rma.id)


def amount(rma: Return, lines: list[ReturnLine]) -> tuple[list[int], int]:
    """What each line gives back, the flat part of the fee taken off by largest remainder."""
    units = [line.quantity if _kept(rma) else line.received for line in lines]
    values = [
        allocate(line.refund_minor, [n, line.quantity - n])[0] if n else 0
        for line, n in zip(lines, units, strict=True)
    ]
    flat = rma.fee_minor - sum(line.fee_minor for line in lines)
    flat = max(0, min(flat, sum(values)))
    shares = allocate(flat, values) if flat else [0] * len(values)
    parts = [value - share for value, share in zip(values, shares, strict=True)]
    return parts, sum(parts)


def _refund(call: Call, rma: Return, order: Order, lines: list[ReturnLine]) -> None:
    parts, total = amount(rma, lines)
    call.stake(amount_minor=total, currency=order.currency)
    to = {"original": "the original method", "store_credit": "store credit"}.get(
        rma.refund_to, rma.method_id or ""
    )
    call.show(
        f"Settle return {rma.id} of order {order.id}",
        f"refund {Money(total, order.currency)} to {to}",
    )
    refunds: list[Refund] = []
    if total:
        method_id = rma.method_id
        if rma.refund_to == "store_credit":
            method_id = paid.store_credit_method(call, order.customer_id, order.currency).id
        refunds = paid.refund_order(call, order.id, total, "return", to_method_id=method_id)
    kind = "store_credit" if rma.refund_to == "store_credit" else "refund"
    for line, part in zip(lines, parts, strict=True):
        _settled(
            call, line, kind, part, order.currency,
            refund_id=refunds[0].id if refunds and part else None,
        )  # fmt: skip


def _exchange(call: Call, rma: Return, order: Order, lines: list[ReturnLine]) -> None:
    """The other goods go out as an order of their own; what came back is its discount."""
    value = price = 0
    wanted: list[placing.NewLine] = []
    for line in lines:
        value += line.refund_minor + line.fee_minor
        price += (line.exchange_price_minor or 0) * line.quantity
        if line.reservation_id is not None:
            reserving.release_if_open(call, call.get(Reservation, line.reservation_id))
        if line.exchange_sku is not None:
            wanted.append(
                placing.NewLine(line.exchange_sku, line.quantity, line.exchange_price_minor)
            )
    difference = price - value
    call.stake(amount_minor=abs(difference), currency=order.currency)
    direction = "is charged to" if difference > 0 else "goes back to"
    call.show(
        f"Settle exchange {rma.id} of order {order.id}",
        *(f"send {new.quantity} × {new.sku}" for new in wanted),
        f"{Money(abs(difference), order.currency)} {direction} {rma.method_id}",
    )
    replacement = placing.place(
        call,
        placing.NewOrder(
            customer_id=order.customer_id, lines=wanted, ship_to=order.ship_to,
            payment_method_id=rma.method_id, warehouse_id=order.warehouse_id,
            discount_minor=min(value, price), discount_code=rma.id, channel="exchange",
            ship_by=call.now + timedelta(days=1), promised_at=call.now + timedelta(days=3),
            replaces_order_id=order.id,
        ),
    )  # fmt: skip
    refunds: list[Refund] = []
    if difference < 0:
        refunds = paid.refund_order(
            call, order.id, -difference, "exchange", to_method_id=rma.method_id
        )
    for line in lines:
        _settled(
            call, line, "exchange", abs(line.price_difference_minor), order.currency,
            refund_id=refunds[0].id if refunds else None, exchange_order_id=replacement.id,
        )  # fmt: skip


def _settled(
    call: Call, line: ReturnLine, kind: str, amount_minor: int, currency: str, *,
    refund_id: str | None = None, exchange_order_id: str | None = None,
) -> None:  # fmt: skip
    call.add(
        Settlement(
            id=call.new_id("settlement"), return_line_id=line.id, kind=kind,
            amount_minor=amount_minor, currency=currency, refund_id=refund_id,
            exchange_order_id=exchange_order_id, at=call.now,
        )
    )  # fmt: skip


def _returned(call: Call, line: ReturnLine) -> None:
    order_line = call.get(OrderLine, line.order_line_id)
    if line.quantity == order_line.quantity:
        order_line.status = "returned"


def _kept(rma: Return) -> bool:
    return rma.state == "returnless" or rma.instant


def _require_ready(now: service.Whole) -> None:
    rma = now.rma
    if rma.state in READY or (rma.instant and rma.state in ("authorized", "label_issued")):
        return
    raise RuleViolation(
        f"Return {rma.id} is {rma.state.replace('_', ' ')}: nothing is settled before it was "
        "received and inspected.",
        details={"state": rma.state},
        next="receive_return, then inspect_return, then settle.",
    )
