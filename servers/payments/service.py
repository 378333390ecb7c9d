"""Look payments up: one with everything on it, searches, stored methods, what is unsettled."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Boolean, ColumnElement, and_, literal_column, not_, or_, select, text

from common.call import Call
from common.errors import InvalidParameters
from common.ledgers.accounts import Balance
from common.paging import page, plain
from common.rules import funds, meant, paid
from common.rules.funds import Moved
from common.tables.orders import Customer, Order
from common.tables.payments import (
    LAPSING,
    OPEN_AUTHORIZATIONS,
    UNSETTLED,
    Dispute,
    Hold,
    Outbox,
    Payment,
    PaymentMethod,
    Refund,
)

MOST_PARTS = 200


@dataclass(frozen=True)
class Figures:
    """A payment and what the ledger says of it. ``held`` is kept from being refunded."""

    payment: Payment
    status: str
    moved: Moved
    balance: Balance

    @property
    def refundable(self) -> int:
        return self.balance.available

    @property
    def held(self) -> int:
        return self.balance.debits_pending


@dataclass(frozen=True)
class Whole:
    figures: Figures
    method: PaymentMethod
    refunds: list[Refund]
    holds: list[Hold]
    disputes: list[Dispute]
    unsettled: list[Outbox]


@dataclass(frozen=True)
class OrderMoney:
    """What an order's money is doing. ``net`` is what the shop still has of it."""

    order: Order
    payments: list[Figures]
    refunds: list[Refund]
    net: int


@dataclass(frozen=True)
class Wanted:
    """Filters of a search; None is any."""

    order_id: str | None = None
    customer_id: str | None = None
    status: str | None = None
    created_from: str | None = None
    created_to: str | None = None
    expiring_within_hours: int | None = None


def whole(call: Call, payment_id: str) -> Whole:
    """One payment with its refunds, holds and disputes. Raises NotFound."""
    payment = call.get(Payment, payment_id, next="search_payments finds it by order or customer.")
    session = call.session
    unsettled = select(Outbox).where(
        Outbox.target_type == "payment",
        Outbox.target_id == payment.id,
        Outbox.state != "done",
        _open_matter(),
    )
    return Whole(
        figures(call, [payment])[0],
        call.get(PaymentMethod, payment.method_id),
        _parts(call, Refund, Refund.payment_id == payment.id),
        _parts(call, Hold, Hold.payment_id == payment.id),
        _parts(call, Dispute, Dispute.payment_id == payment.id),
        list(session.scalars(unsettled.order_by(Outbox.created_at, Outbox.id).limit(20))),
    )


def figures(call: Call, payments: Sequence[Payment]) -> list[Figures]:
    """The payments with their balances: a few queries for each currency among them."""
    moved: dict[str, Moved] = {}
    balances: dict[str, Balance] = {}
    for currency in sorted({payment.currency for payment in payments}):
        ids = [payment.id for payment in payments if payment.currency == currency]
        moved |= funds.moved(call.session, ids, currency)
        balances |= funds.balances(call.session, call.now, ids, currency)
    return [Figures(p, paid.standing(p, call.now), moved[p.id], balances[p.id]) for p in payments]


def of_order(call: Call, order_id: str) -> OrderMoney:
    """Every payment and refund of an order. Raises NotFound."""
    order = call.get(Order, order_id)
    found = figures(call, paid.payments_of(call.session, order.id))
    refunds = _parts(call, Refund, Refund.order_id == order.id)
    return OrderMoney(order, found, refunds, sum(each.balance.posted for each in found))


def search(
    call: Call, wanted: Wanted, cursor: str | None, limit: int
) -> tuple[list[Figures], str | None]:
    """Payments that match every filter, the latest first; those that expire, the next first."""
    meant.filters(call, (Order, wanted.order_id), (Customer, wanted.customer_id))
    meant.in_order("created_from", wanted.created_from, "created_to", wanted.created_to)
    query = select(Payment)
    for condition in _conditions(wanted, call.now):
        query = query.where(condition)
    expiring = wanted.expiring_within_hours is not None
    keys = [Payment.capture_before if expiring else Payment.created_at, Payment.id]
    rows, following = page(call.session, query, keys, cursor, limit, descending=not expiring)
    return figures(call, rows), following


def methods(
    call: Call, customer_id: str, cursor: str | None, limit: int
) -> tuple[list[tuple[PaymentMethod, int | None]], str | None]:
    """A customer's stored methods, each with what stored value it has left. Raises NotFound."""
    call.get(Customer, customer_id)
    query = select(PaymentMethod).where(
        PaymentMethod.customer_id == customer_id, PaymentMethod.active.is_(True)
    )
    keys = [PaymentMethod.position, PaymentMethod.id]
    rows, following = page(call.session, query, keys, cursor, limit)
    return [(row, paid.stored_value(call, row, row.currency or "")) for row in rows], following


def unsettled(call: Call, cursor: str | None, limit: int) -> tuple[list[Outbox], str | None]:
    """What a provider still owes an answer to, or refused, the oldest first."""
    query = select(Outbox).where(text(UNSETTLED), _open_matter())
    return page(call.session, query, [Outbox.created_at, Outbox.id], cursor, limit)


def _open_matter() -> ColumnElement[bool]:
    """A card that was declined is an answer, and stands on the payment."""
    declined = select(Payment.id).where(Payment.status == "declined")
    return not_(and_(Outbox.kind == "authorize", Outbox.target_id.in_(declined)))


def day(text: str, field: str, *, after: bool = False) -> datetime:
    """The start of a day in UTC, or with ``after`` the start of the next. Raises
    InvalidParameters."""
    try:
        start = datetime.fromisoformat(text).replace(tzinfo=UTC)
        return start + timedelta(days=1) if after else start
    except (ValueError, OverflowError):
        raise InvalidParameters.field(field, text, "a day from 0001-01-01 to 9999-12-30") from None


def _conditions(wanted: Wanted, now: datetime) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if wanted.order_id:
        found.append(Payment.order_id == wanted.order_id)
    if wanted.customer_id:
        found.append(Payment.customer_id == wanted.customer_id)
    if wanted.status:
        found += _in_status(wanted.status, now, few=bool(wanted.order_id or wanted.customer_id))
    if wanted.created_from:
        found.append(Payment.created_at >= day(wanted.created_from, "created_from"))
    if wanted.created_to:
        found.append(Payment.created_at < day(wanted.created_to, "created_to", after=True))
    if wanted.expiring_within_hours is not None:
        until = now + timedelta(hours=wanted.expiring_within_hours)
        found += [
            Payment.status.in_(OPEN_AUTHORIZATIONS),
            Payment.capture_before > now,
            Payment.capture_before <= until,
        ]
    return found


def _in_status(status: str, now: datetime, *, few: bool) -> list[ColumnElement[bool]]:
    """By the status as of now, whether or not lapsed authorizations were swept. ``few``: another
    side has few payments and leads."""
    column: ColumnElement[str] = plain(Payment.status) if few else Payment.status.expression
    if status == "expired":
        lapsed = and_(column.in_(OPEN_AUTHORIZATIONS), Payment.capture_before <= now)
        either = or_(column == status, lapsed)
        return [either] if few else [literal_column(LAPSING, Boolean), either]
    if status in OPEN_AUTHORIZATIONS:
        in_time = or_(Payment.capture_before.is_(None), Payment.capture_before > now)
        return [column == status, in_time]
    return [column == status]


def _parts(call: Call, kind: Any, where: ColumnElement[bool]) -> list[Any]:
    return call.all(kind, where, limit=MOST_PARTS)
