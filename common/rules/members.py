"""Members: their tier, and their points, which are balances of the ledger ``points/shop``.

``member:{customer}`` is what the shop owes in points, ``issued`` where they come from, ``redeemed``
and ``lapsed`` where they go. A point is worth one minor unit of the tier's currency, and is earned
and redeemed in it alone.
Points of an order go back as its money does, in the same share. Nobody has fewer than none: what
was spent already is owed by the award, and taken from points that come later. Points that paid for
an order come back when it is cancelled.
"""

from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Select, func, select

from common.call import Call
from common.errors import InsufficientFunds
from common.ledgers import accounts, ledger
from common.money import exponent
from common.rules import funds, paid
from common.tables.orders import Order
from common.tables.payments import Payment, Refund
from common.tables.spine import Account, Transfer
from common.tables.storefront import Checkout, Membership, MembershipTier, PointsAward

LEDGER: Final = "points/shop"
YEAR: Final = timedelta(days=365)
UNPAID: Final = ("created", "requires_action", "authorized")
PAID: Final = ("captured", "partially_refunded")
FAILED: Final = ("declined", "failed", "voided", "expired")
_UNEARNED: Final = (
    (Transfer.debit_id, "points_take_back"), (Transfer.credit_id, "points_give_back")
)  # fmt: skip


def account(customer_id: str) -> str:
    """The account of a customer's points."""
    return f"member:{customer_id}"


def membership_of(call: Call, customer_id: str | None) -> Membership | None:
    """The customer's membership, in whatever state."""
    if customer_id is None:
        return None
    found = call.all(Membership, Membership.customer_id == customer_id, limit=1)
    return found[0] if found else None


def tier_of(call: Call, customer_id: str | None) -> MembershipTier | None:
    """The tier whose benefits apply now: of an active membership that has not run out, and whose
    fee was paid. One that was only asked for may yet be refused; a year paid before runs on."""
    member = membership_of(call, customer_id)
    if member is None or member.state != "active":
        return None
    if member.renews_at is not None and member.renews_at <= call.now:
        return None
    if member.payment_id is not None:
        fee = call.get(Payment, member.payment_id)
        if fee.status not in PAID and not _year_before_runs(member, call.now):
            return None
    return call.get(MembershipTier, member.tier_id)


def _year_before_runs(member: Membership, now: datetime) -> bool:
    """Whether the year before the one that was asked for last is not over: it was paid for."""
    return member.renews_at is not None and member.renews_at - YEAR > now


def points_of(call: Call, customer_id: str) -> tuple[int, int]:
    """(points that can be redeemed, points ever earned and not taken back)."""
    code = account(customer_id)
    balance = accounts.totals(call.session, LEDGER, [code], now=call.now).get(code)
    if balance is None:
        return 0, 0
    unearned = 0
    for side, what in _UNEARNED:
        moved = (
            select(func.coalesce(func.sum(Transfer.amount), 0))
            .join(Account, Account.id == side)
            .where(Account.ledger == LEDGER, Account.code == code, Transfer.code == what)
        )
        unearned += int(call.session.scalar(moved) or 0)
    free = balance.available - owed_by(call, customer_id)
    return max(0, free), balance.credits_posted - unearned


def owed_by(call: Call, customer_id: str) -> int:
    """Points that went back with their order's money after they were spent."""
    query = (
        select(func.coalesce(func.sum(PointsAward.owed), 0))
        .join(Membership, Membership.id == PointsAward.membership_id)
        .where(Membership.customer_id == customer_id)
    )
    return int(call.session.scalar(query) or 0)


def hold_points(call: Call, customer_id: str, points: int, reference: str, until: datetime) -> str:
    """Set points aside for an order. Returns the transfer id. Raises InsufficientFunds."""
    available, _ = points_of(call, customer_id)
    if points > available:
        raise InsufficientFunds(
            f"There are {available} points, not {points}.", details={"available": available}
        )
    return ledger.pend(
        call, LEDGER, account(customer_id), "redeemed", points, "points_hold", reference,
        expires_at=until,
    )  # fmt: skip


def redeemed(call: Call, order: Order) -> int:
    """The points that paid for an order, which its cancellation gives back. None where they would
    have lapsed since with the rest of the membership."""
    member = membership_of(call, order.customer_id)
    if member is None or member.state != "active":
        return 0
    used = (
        select(Transfer.amount)
        .join(Checkout, Checkout.points_hold == Transfer.id)
        .where(Checkout.order_id == order.id)
    )
    return call.session.scalar(used) or 0


def give_back(call: Call, order: Order, points: int) -> None:
    """Points that paid for an order are the member's again."""
    ledger.transfer(
        call, LEDGER, "redeemed", account(order.customer_id), points, "points_give_back", order.id
    )


def promise_points(call: Call, order: Order) -> None:
    """Note what the order will bring its customer, if they are a member and it is in the currency
    of their tier: a point is worth as much for everybody."""
    member, tier = membership_of(call, order.customer_id), tier_of(call, order.customer_id)
    if member is None or tier is None or tier.currency != order.currency:
        return
    goods = order.subtotal_minor - order.discount_minor
    points = goods // int(10 ** exponent(order.currency)) * tier.points_per_major_unit
    if points > 0:
        call.add(
            PointsAward(
                id=call.new_id("award"), membership_id=member.id, order_id=order.id, points=points,
                total_minor=order.total_minor, state="pending", at=call.now,
            )
        )  # fmt: skip


def settle_awards(call: Call, limit: int) -> int:
    """Points of orders whose money was captured are earned; those of cancelled ones are void."""
    query = awards_due().order_by(PointsAward.id).limit(limit)
    found = list(call.session.scalars(query.with_for_update(of=PointsAward, skip_locked=True)))
    for award in found:
        order = call.session.get_one(Order, award.order_id)
        right = 0 if order.status == "cancelled" else _right(call, award, order)
        award.state = "earned" if right else "void"
        _settle(call, award, order, right)
    call.session.flush()
    return len(found)


def awards_due() -> Select[PointsAward]:
    """Awards whose order was paid or cancelled, or paid and refunded."""
    return (
        select(PointsAward)
        .join(Order, Order.id == PointsAward.order_id)
        .where(
            PointsAward.state == "pending",
            Order.payment_status.in_((*PAID, "refunded")) | (Order.status == "cancelled"),
        )
    )


def settle_refunds(call: Call, limit: int) -> int:
    """Points go back with the money of their order, and come again if a refund fails."""
    query = refunds_due().order_by(Refund.id).limit(limit)
    found = list(call.session.scalars(query.with_for_update(of=Refund, skip_locked=True)))
    orders = sorted({refund.order_id for refund in found if refund.order_id is not None})
    awards = select(PointsAward).where(
        PointsAward.order_id.in_(orders), PointsAward.state == "earned"
    )
    for award in call.session.scalars(awards.order_by(PointsAward.id).with_for_update()):
        order = call.session.get_one(Order, award.order_id)
        _settle(call, award, order, _right(call, award, order))
    for refund in found:
        refund.points_at = call.now
    call.session.flush()
    return len(found)


def refunds_due() -> Select[Refund]:
    """Refunds that points were not brought in line with yet."""
    return select(Refund).where(Refund.points_at.is_(None))


def _right(call: Call, award: PointsAward, order: Order) -> int:
    """The points for what was paid and has not gone back: the same share as of the total."""
    payments = paid.payments_of(call.session, order.id)
    moved = funds.moved(call.session, [each.id for each in payments], order.currency).values()
    kept = sum(each.captured - each.refunded for each in moved)
    total = award.total_minor or order.total_minor
    return award.points * max(0, min(kept, total)) // total if total else award.points


def _settle(call: Call, award: PointsAward, order: Order, right: int) -> None:
    """Give or take what the award is away from what is right, and what others owe."""
    code = account(order.customer_id)
    if right > award.given:
        ledger.transfer(call, LEDGER, "issued", code, right - award.given, "points_earn", order.id)
        award.given = right
    award.owed = award.given - right
    call.session.flush()
    owing = select(PointsAward).where(
        PointsAward.membership_id == award.membership_id, PointsAward.owed > 0
    )
    for each in call.session.scalars(owing.order_by(PointsAward.id).with_for_update()):
        _take(call, each, code)


def _take(call: Call, award: PointsAward, code: str) -> None:
    """What an award owes, as far as there is any."""
    points = min(award.owed, _there(call, code))
    if points > 0:
        ledger.transfer(call, LEDGER, code, "issued", points, "points_take_back", award.order_id)
        award.given, award.owed = award.given - points, award.owed - points
    call.session.flush()


def _there(call: Call, code: str) -> int:
    """The points on an account that nothing holds."""
    found = accounts.totals(call.session, LEDGER, [code], now=call.now).get(code)
    return found.available if found else 0


def lapse_due_query(now: datetime) -> Select[Membership]:
    """Memberships whose year is over or whose fee was refused."""
    unpaid = select(Payment.id).where(Payment.status.in_(FAILED))
    return select(Membership).where(
        Membership.state == "active",
        (Membership.renews_at <= now) | Membership.payment_id.in_(unpaid),
    )


def lapse_due(call: Call, limit: int) -> int:
    """Memberships whose year is over: free ones with auto_renew go on, others lapse, and so do
    those whose fee was never paid. No card is charged without its owner asking for it."""
    query = lapse_due_query(call.now).order_by(Membership.id).limit(limit)
    found = list(call.session.scalars(query.with_for_update(of=Membership, skip_locked=True)))
    for member in found:
        tier = call.get(MembershipTier, member.tier_id)
        over = member.renews_at is not None and member.renews_at <= call.now
        if over and member.auto_renew and not tier.yearly_fee_minor:
            member.renews_at = call.now + YEAR
            continue
        if _year_before_runs(member, call.now):  # only what should have followed was refused
            assert member.renews_at is not None
            member.renews_at, member.payment_id = member.renews_at - YEAR, None
            continue
        member.state, member.ended_at = "lapsed", call.now
        left = _there(call, account(member.customer_id))
        if over:
            gone = select(PointsAward).where(
                PointsAward.membership_id == member.id, PointsAward.state == "earned"
            )
            for award in call.session.scalars(gone):
                award.state, award.owed = "void", 0
        if over and left:
            ledger.transfer(
                call, LEDGER, account(member.customer_id), "lapsed", left, "points_lapse", member.id
            )
        call.effect("update", "membership", member.id, state="lapsed")
    call.session.flush()
    return len(found)
