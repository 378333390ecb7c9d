"""Money in: authorize, capture, void, or charge at once."""

from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Select, func, select

from common.call import Call
from common.errors import RuleViolation
from common.ledgers import ledger
from common.money import LARGEST_MINOR
from common.rules import funds
from common.rules.paid_queue import at_provider, enqueue, has_provider
from common.rules.paid_state import (
    AWAITED,
    MOST_PAYMENTS,
    STORED_KINDS,
    locked,
    method_account,
    refresh,
    standing,
)
from common.tables.orders import Order
from common.tables.payments import Payment, PaymentMethod, Refund

# Card networks let an authorization go after about a week.
AUTHORIZED_FOR: Final = timedelta(days=7)
LAPSING: Final = ("authorized", *AWAITED)


def authorize(
    call: Call,
    *,
    order_id: str | None,
    customer_id: str,
    method_id: str,
    amount_minor: int,
    currency: str,
    expires_at: datetime | None = None,
    purpose: str = "order",
    outbox: bool = True,
) -> Payment:
    """Reserve the amount: of stored value until it is captured or voided, of a card or wallet for
    seven days unless ``expires_at`` says otherwise. ``created`` until a provider has answered,
    ``authorized`` at once where none is asked.

    Raises NotFound, RuleViolation (somebody else's or another currency's method or order),
    InsufficientFunds, InvalidParameters.
    """
    method = payer(call, order_id, customer_id, method_id, currency)
    if expires_at is None and method.kind not in STORED_KINDS:
        expires_at = call.now + AUTHORIZED_FOR
    asked = outbox and has_provider(method)
    payment = _new(call, order_id, customer_id, method, amount_minor, currency, purpose)
    payment.status = "created" if asked else "authorized"
    payment.authorized_at = None if asked else call.now
    payment.capture_before = expires_at
    payment.transfer_id = funds.authorize(
        call, payment.id, amount_minor, currency, method_account(method), expires_at
    )
    if asked:
        enqueue(call, "authorize", payment, amount_minor)
    refresh(call, payment)
    return payment


def charge(
    call: Call,
    *,
    order_id: str | None,
    customer_id: str,
    method_id: str,
    amount_minor: int,
    currency: str,
    payment_id: str | None = None,
    purpose: str = "order",
    outbox: bool = True,
) -> Payment:
    """Take the amount at once. Where a provider has to be asked it is authorized now, and captured
    when the provider has agreed. Raises what ``authorize`` raises."""
    method = payer(call, order_id, customer_id, method_id, currency)
    asked = outbox and has_provider(method)
    payment = _new(call, order_id, customer_id, method, amount_minor, currency, purpose, payment_id)
    if asked:
        payment.capture_before = call.now + AUTHORIZED_FOR
        payment.transfer_id = funds.authorize(
            call, payment.id, amount_minor, currency, method_account(method),
            payment.capture_before,
        )  # fmt: skip
        enqueue(call, "authorize", payment, amount_minor, capture=True)
    else:
        payment.status, payment.authorized_at, payment.captured_at = "captured", call.now, call.now
        payment.transfer_id = funds.charge(
            call, payment.id, amount_minor, currency, method_account(method)
        )
    refresh(call, payment)
    return payment


def capture(call: Call, payment: Payment, amount_minor: int | None = None) -> int:
    """Take authorized money, all of it or a part: the rest is let go. Returns what was taken.
    Raises RuleViolation naming the status unless authorized and in time; InvalidParameters."""
    payment = locked(call, payment.id)
    status = standing(payment, call.now)
    if status != "authorized" or payment.transfer_id is None:
        raise RuleViolation(
            f"Payment {payment.id} is {status} and cannot be captured.",
            details={"status": status},
            next=_next_for(status),
        )
    amount = payment.amount_minor if amount_minor is None else amount_minor
    funds.capture(call, payment.transfer_id, amount)
    payment.captured_at = call.now
    if at_provider(call, payment):
        enqueue(call, "capture", payment, amount)
    refresh(call, payment)
    return amount


def void(call: Call, payment: Payment) -> None:
    """Let an authorization go; one that has lapsed is closed as expired. Raises RuleViolation
    naming the status when there is none."""
    payment = locked(call, payment.id)
    status = standing(payment, call.now)
    if status not in ("authorized", "expired", *AWAITED) or payment.closed_at is not None:
        raise RuleViolation(
            f"Payment {payment.id} is {status}: there is no authorization to void.",
            details={"status": status},
            next="Captured money goes back with refund_payment.",
        )
    lapsed = status == "expired"
    if not lapsed and payment.transfer_id is not None:
        funds.void(call, payment.transfer_id)
    payment.status, payment.closed_at = "expired" if lapsed else "voided", call.now
    call.effect("update", "payment", payment.id, status=payment.status)
    if not lapsed and at_provider(call, payment):
        enqueue(call, "void", payment, payment.amount_minor)
    refresh(call, payment)


def expire_lapsed(call: Call, limit: int = 200) -> list[str]:
    """Close authorizations whose time has come, the oldest first, at most ``limit``; their orders
    are no longer authorized. Returns the payments' ids. Nobody has to wait for it: ``standing``
    says ``expired`` before."""
    query = lapsed(call.now).order_by(Payment.capture_before, Payment.id).limit(limit)
    closed = []
    for payment_id in list(call.session.scalars(query)):
        payment = locked(call, payment_id)
        if payment.status in LAPSING:  # nobody was quicker
            void(call, payment)
            closed.append(payment.id)
    return closed


def lapsed(now: datetime) -> Select[str]:
    """Ids of authorizations whose time is over. A provider may have given them less than the
    ledger's pending transfer has."""
    return select(Payment.id).where(Payment.status.in_(LAPSING), Payment.capture_before <= now)


def belongs_to(call: Call, payment_id: str, order_id: str) -> None:
    """A payment authorized before its order was placed is that order's from now on. Raises
    RuleViolation unless it is authorized, nobody else's, and for exactly what the order costs."""
    payment, order = locked(call, payment_id), call.get(Order, order_id)
    status = standing(payment, call.now)
    fits = payment.customer_id == order.customer_id and payment.currency == order.currency
    if not fits or payment.order_id is not None or payment.amount_minor != order.total_minor:
        raise RuleViolation(f"Payment {payment.id} was not made for this order.")
    if status != "authorized":
        raise RuleViolation(f"Payment {payment.id} is {status}.", details={"status": status})
    payment.order_id, payment.position = order.id, next_position(call, order.id)
    refresh(call, payment)


def payer(
    call: Call, order_id: str | None, customer_id: str, method_id: str, currency: str
) -> PaymentMethod:
    """The customer's own method for a payment in this currency. Raises NotFound, RuleViolation."""
    method = call.get(PaymentMethod, method_id, next="Name a stored method of the customer.")
    order = call.get(Order, order_id) if order_id is not None else None
    if not method.active or method.customer_id != customer_id:
        raise RuleViolation(f"{method.id} is not a stored method of this customer.")
    if method.kind in STORED_KINDS and method.currency != currency:
        raise RuleViolation(f"{method.id} holds {method.currency}, not {currency}.")
    if order is not None and order.customer_id != customer_id:
        raise RuleViolation(f"Order {order.id} is another customer's.")
    if order is not None and order.currency != currency:
        raise RuleViolation(f"Order {order.id} is in {order.currency}, not {currency}.")
    return method


def next_position(call: Call, order_id: str | None) -> int:
    """Charges and refunds of an order are counted together, from 0."""
    if order_id is None:
        return 0
    last = [
        call.session.scalar(select(func.max(kind.position)).where(kind.order_id == order_id))
        for kind in (Payment, Refund)
    ]
    position = max((-1 if position is None else position) for position in last) + 1
    if position >= MOST_PAYMENTS:
        raise RuleViolation(
            f"Order {order_id} has {position} payments and refunds: that is not one order's life.",
            next="Look at the order with a person.",
        )
    return position


def _new(
    call: Call,
    order_id: str | None,
    customer_id: str,
    method: PaymentMethod,
    amount_minor: int,
    currency: str,
    purpose: str,
    payment_id: str | None = None,
) -> Payment:
    ledger.check_amount(amount_minor, LARGEST_MINOR)
    return call.add(
        Payment(
            id=payment_id or call.new_id("payment"), order_id=order_id, customer_id=customer_id,
            method_id=method.id, purpose=purpose, position=next_position(call, order_id),
            amount_minor=amount_minor, currency=currency, provider=method.provider or method.kind,
            created_at=call.now,
        )
    )  # fmt: skip


def _next_for(status: str) -> str:
    if status in AWAITED:
        return "The provider has not answered yet. Read the payment again in a moment."
    if status == "expired":
        return "Authorize the amount anew, or ask the customer for another method."
    return "Read the payment with get_payment."
