"""Charge, capture, void, refund: every domain moves a customer's money through here.

The ledger decides what there is; a row says for what; a provider is told through the outbox, in
the same transaction. Amounts are minor units. Rules that call these state their own stakes.
"""

from common.call import Call
from common.errors import InsufficientFunds
from common.rules import funds
from common.rules.paid_back import refund, refund_exchanged, refund_order
from common.rules.paid_in import authorize, belongs_to, capture, charge, expire_lapsed, payer, void
from common.rules.paid_state import (
    AWAITED,
    locked,
    method_account,
    method_words,
    net_of,
    net_paid,
    payment_status,
    payments_of,
    refresh,
    refresh_order,
    refundable,
    refuse_disputed,
    standing,
)
from common.rules.paid_state import stored_value as _stored_value
from common.tables.orders import Customer
from common.tables.payments import PAYMENT_PURPOSES, Hold, Payment, PaymentMethod, Refund


def settle_difference(
    call: Call,
    order_id: str,
    customer_id: str,
    method_id: str,
    difference_minor: int,
    currency: str,
    reason: str,
    *,
    allow_unlinked: bool = True,
    source: tuple[str, str] | None = None,
) -> Payment | Refund | None:
    """Charge (positive) or give back (negative) the difference of an amendment or exchange, with a
    method of the same customer. While nothing was captured it is the authorization that grows or
    shrinks. A refund out of several payments returns the last. Raises what ``charge`` and
    ``refund`` raise."""
    if difference_minor == 0:
        return None
    purpose = reason if reason in PAYMENT_PURPOSES else "order"
    payments = payments_of(call.session, order_id)
    pending = [p for p in payments if standing(p, call.now) in ("authorized", *AWAITED)]
    only_authorized = bool(pending) and not any(net_of(call.session, payments).values())
    if difference_minor > 0:
        pay = authorize if only_authorized else charge
        return pay(
            call, order_id=order_id, customer_id=customer_id, method_id=method_id,
            amount_minor=difference_minor, currency=currency, purpose=purpose,
        )  # fmt: skip
    if only_authorized:
        return _shrink(call, pending, -difference_minor)
    # Checked here as well: nothing else names the method when the payment itself was made with it.
    payer(call, order_id, customer_id, method_id, currency)
    return refund_order(
        call, order_id, -difference_minor, reason, to_method_id=method_id,
        allow_unlinked=allow_unlinked, source=source,
    )[-1]  # fmt: skip


def end_hold(call: Call, hold: Hold, why: str) -> None:
    """Held money is free again. Raises RuleViolation when the hold has ended."""
    funds.release(call, hold.transfer_id)
    hold.state, hold.closed_at, hold.closed_by = "released", call.now, call.actor.id
    hold.close_reason = why
    call.session.flush()
    call.effect("update", "payment_hold", hold.id, state="released")


def issue_credit(
    call: Call, customer_id: str, amount_minor: int, currency: str, reason: str
) -> PaymentMethod:
    """New store credit out of goodwill; ``reason`` is an id or word for the books. Returns the
    method it can be spent with. Raises NotFound (customer), InvalidParameters."""
    method = store_credit_method(call, customer_id, currency)
    funds.issue_credit(call, method_account(method), amount_minor, currency, reason[:64])
    return method


def store_credit_method(call: Call, customer_id: str, currency: str) -> PaymentMethod:
    """The customer's store credit in a currency, made when there is none. Raises NotFound."""
    call.get(Customer, customer_id)
    found = call.all(
        PaymentMethod, PaymentMethod.customer_id == customer_id,
        PaymentMethod.kind == "store_credit", PaymentMethod.currency == currency,
        PaymentMethod.active.is_(True), limit=1,
    )  # fmt: skip
    if found:
        return found[0]
    return call.add(
        PaymentMethod(
            id=call.new_id("method"),
            customer_id=customer_id,
            kind="store_credit",
            currency=currency,
            created_at=call.now,
        )
    )


def stored_value(call: Call, method: PaymentMethod, currency: str) -> int | None:
    """What stored value can still pay in ``currency`` (another one's: nothing); None for cards and
    wallets."""
    left = _stored_value(call.session, method, call.now)
    return left if left is None or method.currency == currency else 0


def covers(call: Call, order_id: str, method_id: str, amount_minor: int) -> bool:
    """Whether so much of the order's money came from the method, so that all of it would go back
    where it came from. While nothing was captured: whether the method stands for it."""
    payments = payments_of(call.session, order_id)
    net = net_of(call.session, payments)
    if any(net.values()):
        own = sum(net[each.id] for each in payments if each.method_id == method_id)
        return own >= amount_minor
    live = ("authorized", *AWAITED)
    return any(p.method_id == method_id and standing(p, call.now) in live for p in payments)


def _shrink(call: Call, pending: list[Payment], amount: int) -> Payment:
    """Less than was authorized is needed: newest first, let authorizations go and take smaller
    ones on the same methods. Returns the last smaller one, or the last let go."""
    if amount > sum(payment.amount_minor for payment in pending):
        raise InsufficientFunds(
            "More would go back than was authorized.",
            details={"authorized_minor": sum(payment.amount_minor for payment in pending)},
        )
    result = pending[-1]
    for payment in reversed(pending):
        part = min(amount, payment.amount_minor)
        if part == 0:
            break
        void(call, payment)
        amount -= part
        result = payment
        if payment.amount_minor > part and payment.customer_id is not None:
            result = authorize(
                call, order_id=payment.order_id, customer_id=payment.customer_id,
                method_id=payment.method_id, amount_minor=payment.amount_minor - part,
                currency=payment.currency, expires_at=payment.capture_before,
                purpose=payment.purpose,
            )  # fmt: skip
    return result


__all__ = [
    "authorize", "belongs_to", "capture", "charge", "covers", "end_hold", "expire_lapsed",
    "issue_credit", "locked", "method_account", "method_words", "net_paid", "payer",
    "payment_status", "payments_of", "refresh", "refresh_order", "refund", "refund_exchanged",
    "refund_order", "refundable", "refuse_disputed", "settle_difference", "standing",
    "store_credit_method", "stored_value", "void",
]  # fmt: skip
