"""Money back: out of one payment, or spread over an order's."""

from typing import Final

from sqlalchemy import select

from common.call import Call
from common.errors import InsufficientFunds, InvalidParameters, RuleViolation, ScopeMissing
from common.ledgers import ledger
from common.money import LARGEST_MINOR, Money
from common.rules import funds
from common.rules.paid_in import next_position
from common.rules.paid_queue import at_provider, enqueue, has_provider
from common.rules.paid_state import (
    STORED_KINDS,
    locked,
    method_account,
    net_of,
    open_dispute_of,
    payments_of,
    refresh,
    refundable,
)
from common.scopes import Scope, granted
from common.tables.orders import Order
from common.tables.payments import REFUND_REASONS, Outbox, Payment, PaymentMethod, Refund

MOST_EXCHANGES: Final = 10


def refund(
    call: Call,
    payment: Payment,
    amount_minor: int,
    reason: str,
    *,
    to_method_id: str | None = None,
    allow_unlinked: bool = False,
    note: str = "",
    source: tuple[str, str] | None = None,
) -> Refund:
    """Give money back out of a payment: to the method that paid, or unlinked to another one of
    the same customer. ``source``: what it is for, such as ``("return_line", id)``.

    Unlinked needs the caller's scope ``payments:refund_unlinked`` unless the calling rule says
    with ``allow_unlinked`` that its own policy decides. Raises ScopeMissing, RuleViolation
    (disputed, another customer's method), InsufficientFunds with what is refundable.
    """
    payment = locked(call, payment.id)
    ledger.check_amount(amount_minor, LARGEST_MINOR)
    _check_reason(reason)
    _refuse_disputed(call, payment)
    method = call.get(PaymentMethod, to_method_id or payment.method_id)
    unlinked = method.id != payment.method_id
    if unlinked:
        _check_unlinked(call, payment, method, allow_unlinked)
    _refuse_more_than_left(call, payment, amount_minor)
    if unlinked:
        _refuse_unconfirmed(call, payment)
    asked = not unlinked and has_provider(method) and at_provider(call, payment)
    destination = method_account(method)
    made = call.add(
        Refund(
            id=call.new_id("refund"), payment_id=payment.id, order_id=payment.order_id,
            method_id=method.id, destination=destination,
            position=next_position(call, payment.order_id), amount_minor=amount_minor,
            currency=payment.currency, reason=reason, note=note, unlinked=unlinked,
            status="pending" if asked else "succeeded",
            source_type=source[0] if source else None, source_id=source[1] if source else None,
            created_at=call.now, settled_at=None if asked else call.now,
        )
    )  # fmt: skip
    made.transfer_id = funds.refund(
        call, payment.id, amount_minor, payment.currency, destination, unlinked=unlinked,
        reference=made.id,
    )  # fmt: skip
    if asked:
        enqueue(call, "refund", payment, amount_minor, refund=made)
    refresh(call, payment)
    return made


def refund_order(
    call: Call,
    order_id: str,
    amount_minor: int | None,
    reason: str,
    *,
    to_method_id: str | None = None,
    allow_unlinked: bool = False,
    note: str = "",
    source: tuple[str, str] | None = None,
) -> list[Refund]:
    """Give back ``amount_minor`` (None: all the shop still has) out of the order's payments, those
    made with ``to_method_id`` first, then the newest first. Raises what ``refund`` raises, and
    InsufficientFunds with what is refundable in all; then nothing went back."""
    payments = payments_of(call.session, order_id)
    net = net_of(call.session, payments)
    wanted = sum(net.values()) if amount_minor is None else amount_minor
    ledger.check_amount(wanted, LARGEST_MINOR)
    left = {p.id: refundable(call.session, p, call.now) for p in payments if net[p.id] > 0}
    if wanted > sum(left.values()):
        raise InsufficientFunds(
            f"Of order {order_id} {sum(left.values())} minor units are refundable, {wanted} were"
            " asked for.",
            details={"order_id": order_id, "refundable_minor": sum(left.values())},
            next="Refund less, or release the holds and settle the disputes of its payments first.",
        )
    newest = [p for p in reversed(payments) if left.get(p.id)]
    newest.sort(key=lambda p: p.method_id != to_method_id if to_method_id else False)
    made: list[Refund] = []
    for payment in newest:
        part = min(wanted - sum(each.amount_minor for each in made), left[payment.id])
        if part > 0:
            made.append(
                refund(
                    call, payment, part, reason, to_method_id=to_method_id,
                    allow_unlinked=allow_unlinked, note=note, source=source,
                )
            )  # fmt: skip
    return made


def refund_exchanged(
    call: Call,
    order: Order,
    amount_minor: int,
    reason: str,
    *,
    to_method_id: str | None = None,
    allow_unlinked: bool = False,
    source: tuple[str, str] | None = None,
) -> list[Refund]:
    """``refund_order``, and what is missing out of the order that this one replaces: goods that
    came by an exchange were paid with that, too. Raises InsufficientFunds with what is refundable
    of all of them."""
    made: list[Refund] = []
    left = amount_minor
    payer: Order | None = order
    for _ in range(MOST_EXCHANGES):
        if payer is None or left == 0:
            break
        payments = payments_of(call.session, payer.id)
        part = min(left, sum(refundable(call.session, p, call.now) for p in payments))
        if part:
            made += refund_order(
                call, payer.id, part, reason, to_method_id=to_method_id,
                allow_unlinked=allow_unlinked, source=source,
            )  # fmt: skip
        left -= part
        payer = call.find(Order, payer.replaces_order_id) if payer.replaces_order_id else None
    if left:
        raise InsufficientFunds(
            f"Of order {order.id} {amount_minor - left} minor units are refundable,"
            f" {amount_minor} are due.",
            details={"refundable_minor": amount_minor - left, "due_minor": amount_minor},
            next="Its payments may be uncaptured, held or disputed: look at payments.get_payment.",
        )
    return made


def _check_reason(reason: str) -> None:
    if reason not in REFUND_REASONS:
        raise InvalidParameters.field("reason", reason, f"one of {', '.join(REFUND_REASONS)}")


def _refuse_disputed(call: Call, payment: Payment) -> None:
    dispute = open_dispute_of(call.session, payment.id)
    if dispute is not None:
        raise RuleViolation(
            f"Payment {payment.id} is disputed ({dispute.id}, {dispute.status}): the bank may"
            " already have taken the money back.",
            details={"dispute_id": dispute.id, "status": dispute.status},
            next="Answer the dispute with submit_dispute_evidence, or accept it; do not refund.",
        )


def _check_unlinked(call: Call, payment: Payment, method: PaymentMethod, allowed: bool) -> None:
    owner = payment.customer_id or call.get(PaymentMethod, payment.method_id).customer_id
    if method.customer_id != owner or not method.active:
        raise RuleViolation(
            f"{method.id} is not a stored method of the customer who paid.",
            next="Refund to the original method, or to another one of the same customer.",
        )
    if method.kind in STORED_KINDS and method.currency != payment.currency:
        raise RuleViolation(f"{method.id} holds {method.currency}, not {payment.currency}.")
    if has_provider(method):
        raise RuleViolation(
            "A provider sends money back only to the card or wallet that paid.",
            next="Refund to the original method, to a gift card or to store credit.",
        )
    if not allowed and Scope.PAYMENTS_REFUND_UNLINKED not in granted(call.actor.scopes):
        raise ScopeMissing(
            "A refund to another method than the one that paid needs"
            f" {Scope.PAYMENTS_REFUND_UNLINKED}.",
            details={"scope": str(Scope.PAYMENTS_REFUND_UNLINKED)},
            next="Refund to the original method, or ask the person to grant the scope.",
        )


def _refuse_unconfirmed(call: Call, payment: Payment) -> None:
    """Elsewhere goes only what has come: a capture the provider has not confirmed may yet fail."""
    query = select(Outbox.id).where(
        Outbox.target_type == "payment", Outbox.target_id == payment.id,
        Outbox.kind.in_(("authorize", "capture")), Outbox.state != "done",
    )  # fmt: skip
    if call.session.scalar(query.limit(1)) is not None:
        raise RuleViolation(
            f"The provider has not confirmed yet that payment {payment.id} was captured.",
            next="Read the payment again in a moment, or refund to the original method.",
        )


def _refuse_more_than_left(call: Call, payment: Payment, amount_minor: int) -> None:
    left = refundable(call.session, payment, call.now)
    if amount_minor <= left:
        return
    moved = funds.moved(call.session, [payment.id], payment.currency)[payment.id]
    raise InsufficientFunds(
        f"{Money(left, payment.currency)} of payment {payment.id} are refundable,"
        f" {Money(amount_minor, payment.currency)} were asked for.",
        details={
            "refundable_minor": left, "captured_minor": moved.captured,
            "refunded_minor": moved.refunded, "disputed_minor": moved.disputed,
            "held_minor": moved.captured - moved.refunded - moved.disputed - left,
        },
        next="Refund at most what is refundable, or release the hold first.",
    )  # fmt: skip
