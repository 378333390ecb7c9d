"""Returns as they stand, and asking for one: a return, or an exchange."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select, text

from common.call import Call, quoted
from common.errors import InsufficientFunds, InvalidParameters, NotFound, RuleViolation
from common.money import Money
from common.paging import page, plain
from common.rules import meant, paid, placing, reserving
from common.rules.timeline import count, happened
from common.storage.database import lock
from common.tables.inventory import Product, Reservation, Variant
from common.tables.orders import Order
from common.tables.payments import Payment, PaymentMethod
from common.tables.returns import (
    OPEN_RETURN,
    Inspection,
    Return,
    ReturnLine,
    ReturnPolicy,
    Settlement,
)
from servers.returns import eligibility
from servers.returns.eligibility import Asked, Verdict

SEND_DAYS = 14


@dataclass(frozen=True)
class Whole:
    """A return with its lines, what was found in them and how they were settled."""

    rma: Return
    lines: list[ReturnLine]
    inspections: dict[str, list[Inspection]]
    settlements: dict[str, Settlement]


def whole(call: Call, return_id: str) -> Whole:
    """The return and everything under it. Raises NotFound."""
    rma = call.get(Return, return_id, next="list_returns shows the open ones.")
    lines = lines_of(call, rma)
    ids = [line.id for line in lines]
    inspections: dict[str, list[Inspection]] = {id: [] for id in ids}
    for found in call.all(Inspection, Inspection.return_line_id.in_(ids)):
        inspections[found.return_line_id].append(found)
    settlements = call.all(Settlement, Settlement.return_line_id.in_(ids))
    return Whole(rma, lines, inspections, {each.return_line_id: each for each in settlements})


def changing(call: Call, return_id: str) -> Return:
    """The return, locked: changes of one return wait for each other. Raises NotFound."""
    lock(call.session, Return, [return_id])
    return call.get(Return, return_id, next="list_returns shows the open ones.")


def lines_of(call: Call, rma: Return) -> list[ReturnLine]:
    """The return's lines by position."""
    rows = call.all(ReturnLine, ReturnLine.return_id == rma.id, limit=200)
    return sorted(rows, key=lambda line: line.position)


def listed(
    call: Call, state: str | None, order_id: str | None, open_only: bool, cursor: str | None,
    limit: int,
) -> tuple[list[Return], str | None]:  # fmt: skip
    """Returns, the oldest first: what waits longest comes first."""
    meant.filters(call, (Order, order_id))
    query = select(Return)
    if state:
        query = query.where((plain(Return.state) if order_id else Return.state) == state)
    if order_id:
        query = query.where(Return.order_id == order_id)
    if open_only and state is None:
        query = query.where(text(OPEN_RETURN), eligibility.not_over(call.now))
    keys: Sequence[Any] = [Return.requested_at, Return.id]
    return page(call.session, query, keys, cursor, limit)


def request_return(
    call: Call, order_id: str, asked: Sequence[Asked], refund_to: str, method_id: str | None,
    note: str,
) -> Whole:  # fmt: skip
    """Ask for a refund of units that were delivered, or whose parcel went back to its sender. No
    money moves and no stock: that comes after receipt.

    Raises RuleViolation naming the rule that forbids it; NotFound.
    """
    order, verdicts = _eligible(call, order_id, asked)
    _refundable_to(call, order, refund_to, method_id)
    refund = sum(verdict.refund_minor for verdict in verdicts)
    refund, fee = _less_shipping(verdicts, asked, refund, order.currency)
    call.stake()
    call.show(
        f"Return of {count(len(verdicts), 'line')} of order {order.id}",
        *(f"{v.quantity} × {quoted(v.line.name)}: {v.rule}" for v in verdicts),
        f"refund once received: {Money(refund, order.currency)}",
    )
    rma = _rma(call, order, verdicts, "return", refund_to, method_id, note)
    rma.refund_minor, rma.fee_minor = refund, fee
    if rma.state == "in_transit":
        rma.expires_at = None
    for position, verdict in enumerate(verdicts):
        _line(call, rma, position, verdict, asked[position].reason if asked else "unwanted")
    happened(call, order.id, "return_requested", "" if asked else "whole order", reference=rma.id)
    return whole(call, rma.id)


def request_exchange(
    call: Call, order_id: str, asked: Sequence[Asked], method_id: str, note: str
) -> Whole:
    """Ask for other variants of delivered units. What will be sent is reserved now; the price
    difference is settled with ``method_id`` once the goods are back.

    A line may be named several times, for different variants. Raises RuleViolation, NotFound,
    InsufficientStock, InsufficientFunds.
    """
    order, verdicts = _eligible(call, order_id, asked)
    method = own_method(call, order, method_id)
    rma = _rma(call, order, verdicts, "exchange", "method", method.id, note)
    rates = placing.rates_at(call, order.ship_to, call.now)
    difference, aside_until = 0, rma.expires_at
    if rma.state == "in_transit":
        rma.expires_at = None
    for position, (verdict, each) in enumerate(zip(verdicts, asked, strict=True)):
        variant = _exchangeable(call, order, verdict, each)
        line = _line(call, rma, position, verdict, each.reason)
        rate = rates.get(call.get(Product, variant.product_id).tax_class)
        price = variant.price_minor * verdict.quantity
        if rate is not None and not rate.included:
            price += placing.tax_of(price, rate)
        line.exchange_sku, line.exchange_price_minor = variant.id, variant.price_minor
        line.price_difference_minor = price - verdict.refund_minor - verdict.fee_minor
        difference += line.price_difference_minor
        set_aside(call, rma, line, order.warehouse_id, aside_until)
        call.show("", f"{quoted(verdict.line.name)} → {quoted(variant.name)}")
    rma.price_difference_minor = difference
    left = paid.stored_value(call, method, order.currency)
    if left is not None and left < difference:
        raise InsufficientFunds(
            f"The balance of {method.id} does not cover the difference.",
            details={"available_minor": left, "needed_minor": difference},
        )
    call.stake()
    call.show(
        f"Exchange on order {order.id}",
        f"difference: {Money(difference, order.currency)}, settled with {method.id} after receipt",
    )
    happened(call, order.id, "exchange_requested", reference=rma.id)
    return whole(call, rma.id)


def own_method(call: Call, order: Order, method_id: str) -> PaymentMethod:
    """A stored method of the order's customer. Raises RuleViolation for anybody else's."""
    method = call.get(PaymentMethod, method_id)
    if method.customer_id != order.customer_id or not method.active:
        raise RuleViolation(
            f"{method.id} is not a stored method of this customer.",
            next="orders.find_customer lists the customer's own methods.",
        )
    return method


def _eligible(call: Call, order_id: str, asked: Sequence[Asked]) -> tuple[Order, list[Verdict]]:
    lock(call.session, Order, [order_id])
    order = call.get(Order, order_id, next="Look for it with orders.search_orders.")
    _require_arrived(call, order)
    verdicts = eligibility.check(call, order, asked)
    if not asked:
        verdicts = [verdict for verdict in verdicts if verdict.left > 0] or verdicts
    _require_one_way(order, verdicts)
    eligibility.require(verdicts)
    most = min((v.policy.most_open_per_order for v in verdicts
                if v.policy and v.policy.most_open_per_order), default=None)  # fmt: skip
    here_anyway = verdicts[0].parcel is not None or any(each.recalled for each in asked)
    if most is not None and not here_anyway:
        before = eligibility.open_returns(call, order.id)
        if len(before) >= most:
            raise RuleViolation(
                f"Order {order.id} has an open return already.",
                details={"return_ids": [each.id for each in before]},
            )
    return order, verdicts


def _require_arrived(call: Call, order: Order) -> None:
    if order.fulfilment_status in ("delivered", "partially_delivered"):
        return
    if eligibility.came_back(call, order.id):
        return
    raise RuleViolation(
        f"Order {order.id} is not delivered.",
        details={"fulfilment_status": order.fulfilment_status},
        next="Before it is released, orders.cancel_order or amend_order_lines may do."
        if order.released_at is None
        else "Once it is delivered, or logistics.resolve_exception sent its parcel back.",
    )


def _require_one_way(order: Order, verdicts: Sequence[Verdict]) -> None:
    """What went back to its sender needs no label and no window: a return of its own."""
    back = [verdict.line.id for verdict in verdicts if verdict.parcel is not None]
    if back and len(back) < len(verdicts):
        raise RuleViolation(
            f"Only a part of it went back to the sender of order {order.id}.",
            details={"line_ids": back},
            next="Name these lines alone; what was delivered is a return of its own.",
        )


def _refundable_to(call: Call, order: Order, refund_to: str, method_id: str | None) -> None:
    """Original, store credit, or a gift card of the customer's own; nothing else by default."""
    if (refund_to == "method") != (method_id is not None):
        raise InvalidParameters.field(
            "method_id", method_id, "needed for refund_to=method, and only then"
        )
    if method_id is None:
        return
    method = own_method(call, order, method_id)
    first = call.session.scalar(
        select(Payment.method_id)
        .where(Payment.order_id == order.id)
        .order_by(Payment.position, Payment.id)
        .limit(1)
    )
    if method.kind not in ("gift_card", "store_credit") and method.id != first:
        raise RuleViolation(
            f"{method.id} did not pay order {order.id}, and is no gift card.",
            next="Refund to the original method, a gift card or store credit.",
        )


def _less_shipping(
    verdicts: Sequence[Verdict], asked: Sequence[Asked], refund: int, currency: str
) -> tuple[int, int]:
    """The label, if there is one, is the customer's to pay where the policy says so and it is not
    our fault."""
    fee = sum(verdict.fee_minor for verdict in verdicts)
    ours = asked and all(each.reason in eligibility.OUR_FAULT for each in asked)
    label = 0 if ours else max(
        (
            v.policy.return_shipping_minor
            for v in verdicts
            if v.policy and v.policy.currency == currency and v.parcel is None
        ),
        default=0,
    )  # fmt: skip
    label = min(label, refund)
    return refund - label, fee + label


def _rma(
    call: Call, order: Order, verdicts: Sequence[Verdict], kind: str, refund_to: str,
    method_id: str | None, note: str,
) -> Return:  # fmt: skip
    policies = [verdict.policy for verdict in verdicts if verdict.policy]
    value = sum(verdict.refund_minor for verdict in verdicts)
    review = any(
        p.review_from_minor is not None
        and (p.currency != order.currency or value >= p.review_from_minor)
        for p in policies
    )
    # What is called back comes back whatever the policies say, or where none fits.
    strictest = min(policies, key=lambda policy: policy.send_within_days, default=None)
    send_days = strictest.send_within_days if strictest else SEND_DAYS
    ends = [verdict.window_ends_at for verdict in verdicts if verdict.window_ends_at]
    instant = strictest is not None and all(policy.instant_refund for policy in policies)
    # It is on its way already: nobody has to accept it, to send it, or to label it.
    parcel = verdicts[0].parcel
    state = "needs_review" if review else "in_transit" if parcel else "requested"
    return call.add(
        Return(
            id=call.new_id("return"), kind=kind, state=state,
            order_id=order.id, customer_id=order.customer_id, refund_to=refund_to,
            method_id=method_id, policy_id=strictest.id if strictest else None,
            policy_rule=verdicts[0].rule[:200], note=note, currency=order.currency,
            warehouse_id=(parcel and parcel.warehouse_id) or order.warehouse_id,
            instant=kind == "return" and instant, requested_at=call.now,
            label_code=None if parcel else f"R{secrets.token_hex(8).upper()}",
            authorized_at=call.now if state == "in_transit" else None,
            window_ends_at=min(ends, default=None),
            expires_at=call.now + timedelta(days=send_days),
        )
    )  # fmt: skip


def _line(call: Call, rma: Return, position: int, verdict: Verdict, reason: str) -> ReturnLine:
    return call.add(
        ReturnLine(
            id=call.new_id("return_line"), return_id=rma.id, position=position,
            order_line_id=verdict.line.id, sku=verdict.line.sku, quantity=verdict.quantity,
            reason=reason, refund_minor=verdict.refund_minor, fee_minor=verdict.fee_minor,
        )
    )  # fmt: skip


def _exchangeable(call: Call, order: Order, verdict: Verdict, asked: Asked) -> Variant:
    variant = call.find(Variant, asked.exchange_sku or "")
    if variant is None:
        raise NotFound(f"No SKU {asked.exchange_sku}.", next="orders.list_variants shows them.")
    if variant.product_id != verdict.line.product_id:
        raise RuleViolation(
            f"{variant.id} is another product than {verdict.line.sku}.",
            next="Exchange within one product; otherwise return it and place a new order.",
        )
    if not variant.sellable or variant.currency != order.currency:
        raise RuleViolation(f"{variant.id} is not sold at present.")
    return variant


def set_aside(
    call: Call, rma: Return, line: ReturnLine, warehouse_id: str | None,
    expires_at: datetime | None,
) -> None:  # fmt: skip
    """Reserve what a line is exchanged for, anew if it was reserved before. Until ``expires_at``
    nobody has to let it go: it lapses. Raises InsufficientStock."""
    if line.exchange_sku is None:
        return
    if warehouse_id is None:
        raise RuleViolation(f"Order {rma.order_id} has no warehouse to send it from.")
    let_go(call, line)
    made = reserving.reserve(
        call, line.exchange_sku, warehouse_id, line.quantity, source="exchange",
        source_id=rma.id, expires_at=expires_at,
    )  # fmt: skip
    line.reservation_id = made.id


def let_go(call: Call, line: ReturnLine) -> None:
    """Release what was set aside for an exchange, if it still is."""
    if line.reservation_id is not None:
        reserving.release_if_open(call, call.get(Reservation, line.reservation_id))


def sent_back(call: Call, rma: Return) -> bool:
    """Whether a parcel that went back to its sender brings the return's units."""
    parcels = eligibility.came_back(call, rma.order_id)
    return all(line.order_line_id in parcels for line in lines_of(call, rma))


def policy_of(call: Call, rma: Return) -> ReturnPolicy | None:
    """The policy the return was accepted under."""
    return None if rma.policy_id is None else call.find(ReturnPolicy, rma.policy_id)
