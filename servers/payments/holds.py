"""Holds: captured money that may not go back until somebody says so, or time runs out."""

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import select, text

from common.call import Call, quoted
from common.clock import stamp
from common.errors import InvalidParameters, RuleViolation
from common.money import Money
from common.paging import page
from common.rules import funds, meant, paid
from common.tables.orders import Order
from common.tables.payments import LAPSING_HOLD, Hold, Payment


@dataclass(frozen=True)
class Wanted:
    """Filters of a list of holds; None is any."""

    state: str | None = "active"
    order_id: str | None = None
    payment_id: str | None = None
    expiring_within_hours: int | None = None


def place(
    call: Call,
    payment_id: str,
    reason: str,
    amount_minor: int | None,
    days: int,
    note: str,
) -> Hold:
    """Hold captured money for so many days, by default all that is refundable. Raises
    RuleViolation when nothing is, InsufficientFunds beyond it."""
    payment = paid.locked(call, payment_id)
    left = paid.refundable(call.session, payment, call.now)
    if left == 0:
        raise RuleViolation(
            f"Payment {payment.id} ({paid.standing(payment, call.now)}) has nothing to hold.",
            details={"refundable_minor": 0},
            next="Hold captured money only; to stop a shipment use orders.hold_order.",
        )
    amount = left if amount_minor is None else amount_minor
    expires_at = call.now + timedelta(days=days)
    call.stake(amount_minor=amount, currency=payment.currency)
    call.show(
        f"Hold {Money(amount, payment.currency)} of payment {payment.id} for {days} days",
        f"reason: {reason.replace('_', ' ')}",
    )
    hold_id = call.new_id("hold")
    transfer_id = funds.hold(
        call, payment.id, amount, payment.currency, expires_at, reference=hold_id
    )
    return call.add(
        Hold(
            id=hold_id, payment_id=payment.id, order_id=payment.order_id, amount_minor=amount,
            currency=payment.currency, reason=reason, note=note, transfer_id=transfer_id,
            expires_at=expires_at, placed_at=call.now, placed_by=call.actor.id,
        )
    )  # fmt: skip


def extend(call: Call, hold_id: str, days: int) -> Hold:
    """Let an active hold end so many days from now, not sooner than it would. Raises RuleViolation
    when it has ended, InvalidParameters when that were sooner."""
    hold = _active(call, hold_id)
    expires_at = call.now + timedelta(days=days)
    if hold.expires_at is None or expires_at <= hold.expires_at:
        raise InvalidParameters.field("days", days, "more than the hold has left")
    call.stake(amount_minor=hold.amount_minor, currency=hold.currency)
    call.show(
        f"Extend the hold {hold.id} of {Money(hold.amount_minor, hold.currency)} to"
        f" {stamp(expires_at)}"
    )
    funds.release(call, hold.transfer_id)
    hold.transfer_id = funds.hold(
        call, hold.payment_id, hold.amount_minor, hold.currency, expires_at, reference=hold.id
    )
    hold.expires_at = expires_at
    call.session.flush()
    call.effect("update", "payment_hold", hold.id, expires_at=stamp(expires_at))
    return hold


def release(call: Call, hold_id: str, note: str) -> Hold:
    """End a hold before its time. Raises RuleViolation when it has ended."""
    hold = _active(call, hold_id)
    call.stake(amount_minor=hold.amount_minor, currency=hold.currency)
    call.show(
        f"Release the hold {hold.id} of {Money(hold.amount_minor, hold.currency)}",
        f"payment {hold.payment_id}" + (f", order {hold.order_id}" if hold.order_id else ""),
        f"placed {stamp(hold.placed_at)} by {quoted(hold.placed_by)}:"
        f" {hold.reason.replace('_', ' ')}",
        *([f"its note: {quoted(hold.note)}"] if hold.note else []),
        f"why it may end: {quoted(note)}",
        "The money can be refunded afterwards.",
    )
    paid.end_hold(call, hold, note)
    return hold


def state(call: Call, hold: Hold) -> str:
    """The hold's state as of now: one whose time has come is ``expired`` before any sweep."""
    over = hold.expires_at is not None and hold.expires_at <= call.now
    return "expired" if hold.state == "active" and over else hold.state


def search(
    call: Call, wanted: Wanted, cursor: str | None, limit: int
) -> tuple[list[Hold], str | None]:
    """Holds by state as of now, the oldest first; those that expire, the next first."""
    meant.filters(call, (Order, wanted.order_id), (Payment, wanted.payment_id))
    query = select(Hold)
    over = Hold.expires_at <= call.now
    if wanted.state == "active":
        query = query.where(Hold.state == "active", ~over | Hold.expires_at.is_(None))
    elif wanted.state == "expired":
        query = query.where(
            text(LAPSING_HOLD), (Hold.state == "expired") | ((Hold.state == "active") & over)
        )
    elif wanted.state is not None:
        query = query.where(Hold.state == wanted.state)
    if wanted.order_id:
        query = query.where(Hold.order_id == wanted.order_id)
    if wanted.payment_id:
        query = query.where(Hold.payment_id == wanted.payment_id)
    hours = wanted.expiring_within_hours
    if hours is not None:
        until = call.now + timedelta(hours=hours)
        query = query.where(Hold.expires_at > call.now, Hold.expires_at <= until)
    keys = [Hold.placed_at if hours is None else Hold.expires_at, Hold.id]
    return page(call.session, query, keys, cursor, limit)


def _active(call: Call, hold_id: str) -> Hold:
    found = call.get(Hold, hold_id, next="list_holds shows the holds.")
    paid.locked(call, found.payment_id)
    call.session.refresh(found)
    call.versions[f"{found.__tablename__}:{found.id}"] = found.version
    if state(call, found) != "active":
        raise RuleViolation(
            f"Hold {found.id} is {state(call, found)}.", details={"state": state(call, found)}
        )
    return found
