"""Move one payment's money: authorize, capture, void, refund, and credit out of goodwill."""

from common.call import Call, quoted
from common.errors import InvalidParameters, RuleViolation
from common.money import Money, exponent
from common.rules import paid
from common.scopes import Scope, granted
from common.storage.database import lock
from common.tables.orders import Customer, Order
from common.tables.payments import OPEN_AUTHORIZATIONS, Payment, PaymentMethod, Refund
from servers.payments import service


def authorize(
    call: Call, order_id: str, method_id: str | None, amount_minor: int | None
) -> service.Figures:
    """Reserve money for an order, by default what is neither paid nor authorized yet.

    Raises NotFound, RuleViolation (nothing open, more than is open, another customer's method),
    InsufficientFunds.
    """
    lock(call.session, Order, [order_id])
    order = call.get(Order, order_id)
    name = method_id or order.payment_method_id
    if name is None:
        raise InvalidParameters.field("method_id", None, "needed: the order names no method")
    method = call.get(PaymentMethod, name, next="find_payment_methods lists the customer's.")
    left = _open_amount(call, order)
    amount = left if amount_minor is None else amount_minor
    if order.status in ("cancelled", "draft") or not 0 < amount <= left:
        raise RuleViolation(
            f"Order {order.id} ({order.status}) has {Money(left, order.currency)} open.",
            details={"open_minor": left, "status": order.status},
            next="Authorize at most what is open.",
        )
    call.stake(amount_minor=amount, currency=order.currency)
    call.show(
        f"Authorize {Money(amount, order.currency)} for order {order.id}",
        f"with {quoted(paid.method_words(method))}",
    )
    made = paid.authorize(
        call, order_id=order.id, customer_id=order.customer_id, method_id=method.id,
        amount_minor=amount, currency=order.currency,
    )  # fmt: skip
    return service.figures(call, [made])[0]


def capture(call: Call, payment_id: str, amount_minor: int | None) -> service.Figures:
    """Take authorized money; the rest of a part is let go. Raises RuleViolation naming the status,
    InvalidParameters beyond what was authorized."""
    payment = paid.locked(call, payment_id)
    amount = payment.amount_minor if amount_minor is None else amount_minor
    taken = Money(amount, payment.currency)
    lets_go = amount < payment.amount_minor
    call.stake(amount_minor=amount, currency=payment.currency, lets_go=lets_go)
    call.show(f"Capture {taken} of payment {payment.id}", _whose(payment))
    if lets_go:
        rest = Money(payment.amount_minor - amount, payment.currency)
        call.show("", f"{rest} of the authorization is let go and cannot be captured later")
    if amount > payment.amount_minor:
        raise InvalidParameters.field(
            "amount_minor", amount, f"at most {payment.amount_minor}, which was authorized"
        )
    paid.capture(call, payment, amount)
    return service.figures(call, [payment])[0]


def void(call: Call, payment_id: str) -> service.Figures:
    """Let an authorization go. Raises RuleViolation naming the status when there is none."""
    payment = paid.locked(call, payment_id)
    amount = Money(payment.amount_minor, payment.currency)
    call.stake(amount_minor=payment.amount_minor, currency=payment.currency)
    call.show(
        f"Void the authorization of {amount}, payment {payment.id}",
        _whose(payment),
        "The order is then no longer covered.",
    )
    paid.void(call, payment)
    return service.figures(call, [payment])[0]


def refund(
    call: Call,
    payment_id: str,
    amount_minor: int,
    currency: str,
    reason: str,
    to_method_id: str | None,
    note: str,
) -> tuple[Refund, service.Figures, PaymentMethod]:
    """Give money back. What is at stake names whether it goes to the method that paid.

    Raises what ``paid.refund`` raises, and InvalidParameters for another currency.
    """
    payment = paid.locked(call, payment_id)
    _same_currency(payment, currency)
    method = call.get(
        PaymentMethod, to_method_id or payment.method_id,
        next="find_payment_methods lists the customer's.",
    )  # fmt: skip
    differs = method.id != payment.method_id
    call.stake(
        amount_minor=amount_minor,
        currency=payment.currency,
        destination_differs=differs,
        unlinked_allowed=Scope.PAYMENTS_REFUND_UNLINKED in granted(call.actor.scopes),
    )
    before = paid.refundable(call.session, payment, call.now)
    call.show(
        f"Refund {Money(amount_minor, payment.currency)} of payment {payment.id}",
        _whose(payment),
        f"to {quoted(paid.method_words(method))}"
        + (", which is NOT the method that paid" if differs else ", the method that paid"),
        f"reason: {reason.replace('_', ' ')}",
    )
    call.figure(
        "refundable",
        Money(before, payment.currency),
        Money(before - amount_minor, payment.currency),
    )
    made = paid.refund(call, payment, amount_minor, reason, to_method_id=to_method_id, note=note)
    return made, service.figures(call, [payment])[0], method


def issue_credit(
    call: Call,
    customer_id: str,
    amount_minor: int,
    currency: str,
    reason: str,
    order_id: str | None,
) -> tuple[PaymentMethod, int]:
    """Store credit out of goodwill, and what the customer then has. Raises NotFound,
    InvalidParameters (no such currency), RuleViolation (another customer's order)."""
    exponent(currency)
    customer = call.get(Customer, customer_id)
    order = call.get(Order, order_id) if order_id is not None else None
    if order is not None and order.customer_id != customer.id:
        raise RuleViolation(f"Order {order.id} is another customer's.")
    call.stake(amount_minor=amount_minor, currency=currency)
    call.show(
        f"Give customer {customer.id} {Money(amount_minor, currency)} of store credit",
        f"reason: {reason.replace('_', ' ')}" + (f", order {order.id}" if order else ""),
    )
    method = paid.issue_credit(
        call, customer.id, amount_minor, currency, order.id if order else reason
    )
    return method, paid.stored_value(call, method, currency) or 0


def _open_amount(call: Call, order: Order) -> int:
    """The order's total less what was paid or is still authorized. What went back for goods, a
    claim or as goodwill is not owed again; what went back to be paid otherwise is."""
    again = dict.fromkeys((p.id for p in paid.payments_of(call.session, order.id)), 0)
    for refund in call.all(
        Refund, Refund.order_id == order.id, Refund.reason == "method_change",
        Refund.status.in_(("pending", "succeeded")),
    ):  # fmt: skip
        again[refund.payment_id] += refund.amount_minor
    found = service.figures(call, paid.payments_of(call.session, order.id))
    covered = sum(
        each.payment.amount_minor
        if each.status in OPEN_AUTHORIZATIONS
        else each.moved.captured - again[each.payment.id]
        for each in found
    )
    return max(0, order.total_minor - covered)


def _same_currency(payment: Payment, currency: str) -> None:
    if currency != payment.currency:
        raise InvalidParameters.field(
            "currency", currency, f"{payment.currency}, the currency of the payment"
        )


def _whose(payment: Payment) -> str:
    order = f"order {payment.order_id}" if payment.order_id else "no order"
    return (
        f"{order}, customer {payment.customer_id or 'unknown'}, paid {payment.created_at:%Y-%m-%d}"
    )
