"""What was paid, what is left, and in which words: reading, and the one writer of the statuses."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from common.call import Call, quoted
from common.errors import Conflict, RuleViolation
from common.rules import funds
from common.storage.dialects import dialect_of
from common.tables.orders import Order
from common.tables.payments import Dispute, Payment, PaymentMethod

STORED_KINDS: Final = ("gift_card", "store_credit")
AWAITED: Final = ("created", "requires_action")
# Money is gone or about to be: a refund would pay twice. An inquiry is best answered by one.
OPEN_DISPUTES: Final = ("needs_response", "under_review", "appealed")
MOST_PAYMENTS: Final = 200


def method_account(method: PaymentMethod) -> str:
    """The ledger account behind a stored method."""
    if method.kind == "gift_card":
        return funds.gift_card(method.id)
    if method.kind == "store_credit":
        return funds.store_credit(method.customer_id)
    return funds.clearing(method.kind)


def stored_value(session: Session, method: PaymentMethod, now: datetime) -> int | None:
    """What a gift card or store credit can still pay, in its currency; None for other kinds."""
    if method.kind not in STORED_KINDS or method.currency is None:
        return None
    return funds.credit_balance(session, now, method_account(method), method.currency)


def method_words(method: PaymentMethod) -> str:
    """``visa ending 1234``: what a person recognises."""
    name = quoted((method.brand or method.kind).replace("_", " "), 40)[1:-1]
    return f"{name} ending {method.last4}" if method.last4 else f"{name} {method.id}"


def refundable(session: Session, payment: Payment, now: datetime) -> int:
    """Captured less refunded, held and disputed."""
    return funds.refundable(session, now, payment.id, payment.currency)


def standing(payment: Payment, now: datetime) -> str:
    """The payment's status as of now: an authorization that has lapsed is ``expired``."""
    lapsed = payment.capture_before is not None and payment.capture_before <= now
    return "expired" if lapsed and payment.status in ("authorized", *AWAITED) else payment.status


def payments_of(session: Session, order_id: str) -> list[Payment]:
    """An order's payments in the order they were made."""
    query = select(Payment).where(Payment.order_id == order_id)
    return list(session.scalars(query.order_by(Payment.position, Payment.id).limit(MOST_PAYMENTS)))


def net_of(session: Session, payments: Sequence[Payment]) -> dict[str, int]:
    """By payment id: captured less what went back and what is disputed. One currency."""
    if not payments:
        return {}
    found = funds.moved(session, [p.id for p in payments], payments[0].currency)
    return {name: each.captured - each.refunded - each.disputed for name, each in found.items()}


def net_paid(session: Session, order_id: str, now: datetime) -> dict[str, int]:
    """By method id: what the order's payments with it captured and the shop still has. Methods
    with nothing left are absent; refunds count against the method that had paid."""
    payments = payments_of(session, order_id)
    net = net_of(session, payments)
    found: dict[str, int] = {}
    for payment in payments:
        if net[payment.id]:
            found[payment.method_id] = found.get(payment.method_id, 0) + net[payment.id]
    return found


def payment_status(session: Session, order_id: str, now: datetime) -> str:
    """The word for ``Order.payment_status``, from the ledger and the order's total."""
    order = session.get(Order, order_id)
    payments = payments_of(session, order_id)
    if order is None or not payments:
        return "not_paid"
    moved = funds.moved(session, [p.id for p in payments], payments[0].currency).values()
    captured, refunded = sum(m.captured for m in moved), sum(m.refunded for m in moved)
    if captured:
        if captured <= refunded:
            return "refunded"
        if captured - refunded >= order.total_minor:
            return "captured"
        return "partially_refunded" if refunded else "partially_captured"
    now_standing = {standing(payment, now) for payment in payments}
    if now_standing & set(AWAITED):
        return "awaiting"
    return "authorized" if "authorized" in now_standing else "not_paid"


def refresh(call: Call, payment: Payment) -> None:
    """Bring the payment's status and its order's in line with the ledger. The only writer of
    ``Order.payment_status``."""
    moved = funds.moved(call.session, [payment.id], payment.currency)[payment.id]
    if moved.captured:
        before = payment.status
        if moved.refunded >= moved.captured:
            payment.status = "refunded"
        elif moved.refunded:
            payment.status = "partially_refunded"
        else:
            whole = moved.captured >= payment.amount_minor
            payment.status = "captured" if whole else "partially_captured"
        if payment.status != before:
            call.effect("update", "payment", payment.id, status=payment.status)
    call.session.flush()
    if payment.order_id is not None:
        refresh_order(call, payment.order_id)


def refresh_order(call: Call, order_id: str) -> None:
    """Write ``Order.payment_status`` anew."""
    order = call.session.get(Order, order_id)
    if order is None:
        return
    status = payment_status(call.session, order_id, call.now)
    if order.payment_status != status:
        order.payment_status = status
        call.session.flush()
        call.effect("update", "sales_order", order_id, payment_status=status)


def locked(call: Call, payment_id: str) -> Payment:
    """The payment and its order, locked until the transaction ends: two effects on one payment
    wait for each other. Raises NotFound; Conflict when it changed since this call first read it."""
    if dialect_of(call.session) == "postgresql":
        call.session.flush()
        order_id = call.session.scalar(select(Payment.order_id).where(Payment.id == payment_id))
        if order_id is not None:
            _lock(call.session, Order, order_id)
        _lock(call.session, Payment, payment_id)
    return call.get(Payment, payment_id, next="search_payments finds it by order or customer.")


def _lock(session: Session, kind: type[Order] | type[Payment], id: str) -> None:
    known = session.identity_map.get(session.identity_key(kind, id))
    before = known.version if isinstance(known, Order | Payment) else None
    row = session.get(kind, id, populate_existing=True, with_for_update={"key_share": True})
    if row is not None and before is not None and row.version != before:
        raise Conflict("Somebody changed the payment at the same moment.")


def refuse_disputed(call: Call, order_id: str) -> None:
    """While the bank may take the money back the shop gives nothing as well. Raises
    RuleViolation."""
    found = open_disputes(call.session, [order_id]).get(order_id)
    if found is not None:
        raise RuleViolation(
            f"A payment of order {order_id} is disputed ({found}): the bank may already have given"
            " the customer the money back.",
            details={"dispute_id": found},
            next="Settle the dispute first: accept it, or answer it with evidence.",
        )


def open_disputes(session: Session, order_ids: Iterable[str]) -> dict[str, str]:
    """By order: an open dispute on a payment of it. Inquiries take no money and are none."""
    query = (
        select(Payment.order_id, func.min(Dispute.id))
        .join(Dispute, Dispute.payment_id == Payment.id)
        .where(Payment.order_id.in_(set(order_ids)), Dispute.status.in_(OPEN_DISPUTES))
        .group_by(Payment.order_id)
    )
    return {str(order_id): dispute_id for order_id, dispute_id in session.execute(query)}


def open_dispute_of(session: Session, payment_id: str) -> Dispute | None:
    """The dispute that stands in the way of a refund, if there is one."""
    query = select(Dispute).where(
        Dispute.payment_id == payment_id, Dispute.status.in_(OPEN_DISPUTES)
    )
    return session.scalars(query.order_by(Dispute.id).limit(1)).first()
