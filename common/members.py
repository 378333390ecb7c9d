"""Members: their tier, and their points, which are balances of the ledger ``points/shop``.

``member:{customer}`` is what the shop owes in points, ``issued`` where they come from, ``redeemed``
and ``lapsed`` where they go. A point is worth one minor unit of the order's currency when redeemed.
"""

from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Select, select

from common import accounts, ledger
from common.call import Call
from common.errors import InsufficientFunds
from common.money import exponent
from common.tables.orders import Order
from common.tables.payments import Payment
from common.tables.storefront import Membership, MembershipTier, PointsAward

LEDGER: Final = "points/shop"
YEAR: Final = timedelta(days=365)
UNPAID: Final = ("created", "requires_action", "authorized")
PAID: Final = ("captured", "partially_refunded")
FAILED: Final = ("declined", "failed", "voided", "expired")


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
    fee was paid. One that was only asked for may yet be refused."""
    member = membership_of(call, customer_id)
    if member is None or member.state != "active":
        return None
    if member.renews_at is not None and member.renews_at <= call.now:
        return None
    if member.payment_id is not None:
        fee = call.get(Payment, member.payment_id)
        if fee.status not in PAID:
            return None
    return call.get(MembershipTier, member.tier_id)


def points_of(call: Call, customer_id: str) -> tuple[int, int]:
    """(points that can be redeemed, points ever earned)."""
    code = account(customer_id)
    balance = accounts.totals(call.session, LEDGER, [code], now=call.now).get(code)
    return (balance.available, balance.credits_posted) if balance else (0, 0)


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


def promise_points(call: Call, order: Order) -> None:
    """Note what the order will bring its customer, if they are a member."""
    member, tier = membership_of(call, order.customer_id), tier_of(call, order.customer_id)
    if member is None or tier is None:
        return
    goods = order.subtotal_minor - order.discount_minor
    points = goods // int(10 ** exponent(order.currency)) * tier.points_per_major_unit
    if points > 0:
        call.add(
            PointsAward(
                id=call.new_id("award"), membership_id=member.id, order_id=order.id, points=points,
                state="pending", at=call.now,
            )
        )  # fmt: skip


def settle_awards(call: Call, limit: int) -> int:
    """Points of orders whose money was captured are earned; those of cancelled ones are void."""
    query = awards_due().order_by(PointsAward.id).limit(limit)
    found = list(call.session.scalars(query.with_for_update(of=PointsAward, skip_locked=True)))
    for award in found:
        order = call.session.get_one(Order, award.order_id)
        if order.status == "cancelled":
            award.state = "void"
            continue
        award.state = "earned"
        ledger.transfer(
            call, LEDGER, "issued", account(order.customer_id), award.points, "points_earn",
            order.id, id=f"points.{order.id}",
        )  # fmt: skip
    call.session.flush()
    return len(found)


def awards_due() -> Select[PointsAward]:
    """Awards whose order was paid or cancelled."""
    return (
        select(PointsAward)
        .join(Order, Order.id == PointsAward.order_id)
        .where(
            PointsAward.state == "pending",
            (Order.payment_status == "captured") | (Order.status == "cancelled"),
        )
    )


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
        member.state, member.ended_at = "lapsed", call.now
        left, _ = points_of(call, member.customer_id)
        if over and left:
            ledger.transfer(
                call, LEDGER, account(member.customer_id), "lapsed", left, "points_lapse", member.id
            )
        call.effect("update", "membership", member.id, state="lapsed")
    call.session.flush()
    return len(found)
