"""Join, look, renew: tiers are data, points a ledger balance, and a fee is agreed to the cent."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import case, func, select

from common.call import Call
from common.errors import InvalidParameters, NotFound, RuleViolation
from common.money import Money
from common.rules import members, paid
from common.shoppers import customer_of, signed_in
from common.storage.database import lock
from common.tables.orders import Customer
from common.tables.payments import Payment, PaymentMethod
from common.tables.storefront import Membership, MembershipTier, PointsAward

RENEWABLE: Final = timedelta(days=30)
MOST_TIERS: Final = 20


@dataclass(frozen=True)
class Standing:
    """``membership`` None: not a member. ``pending_points`` come when orders are paid;
    ``owed_points`` are what refunds still take from points to come."""

    membership: Membership | None
    tier: MembershipTier | None
    current: bool
    points: int
    pending_points: int
    owed_points: int
    tiers: list[MembershipTier]
    payment: Payment | None = None


def standing(call: Call, customer: Customer | None) -> Standing:
    """What the customer is and has, and what could be joined."""
    tiers = call.all(MembershipTier, limit=MOST_TIERS)
    tiers.sort(key=lambda tier: tier.rank)
    member = members.membership_of(call, customer.id if customer else None)
    if member is None or customer is None:
        return Standing(None, None, False, 0, 0, 0, tiers)
    points, _ = members.points_of(call, customer.id)
    promised = case((PointsAward.state == "pending", PointsAward.points), else_=0)
    pending, owed = call.session.execute(
        select(func.sum(promised), func.sum(PointsAward.owed)).where(
            PointsAward.membership_id == member.id
        )
    ).one()
    return Standing(
        member, call.get(MembershipTier, member.tier_id),
        members.tier_of(call, customer.id) is not None, points, int(pending or 0),
        int(owed or 0), tiers,
        call.session.get(Payment, member.payment_id) if member.payment_id else None,
    )  # fmt: skip


def join(
    call: Call, tier_id: str, agreed_fee_minor: int, method_id: str | None, auto_renew: bool
) -> Standing:
    """Join, change to another tier, or renew one that ends within a month or has lapsed.

    Raises NotAuthenticated, NotFound (tier, method), InvalidParameters (another fee than agreed),
    RuleViolation (a member of it already, or too few points for the tier).
    """
    signed_in(call)
    tier = call.session.get(MembershipTier, tier_id)
    if tier is None:
        raise NotFound(f"There is no tier {tier_id}.", next="check_membership lists the tiers.")
    if agreed_fee_minor != tier.yearly_fee_minor:
        fee = Money(tier.yearly_fee_minor, tier.currency)
        raise InvalidParameters.field(
            "agreed_fee_minor", agreed_fee_minor, f"{tier.yearly_fee_minor}: a year costs {fee}"
        )
    customer = customer_of(call)
    lock(call.session, Customer, [customer.id])
    _, earned = members.points_of(call, customer.id)
    if earned < tier.points_needed:
        raise RuleViolation(
            f"{tier.name} needs {tier.points_needed} points earned so far; there are {earned}.",
            details={"needed": tier.points_needed, "earned": earned},
        )
    member = members.membership_of(call, customer.id)
    until = _until(call, member, tier)
    call.stake(amount_minor=tier.yearly_fee_minor, currency=tier.currency, agreed=True)
    call.show(f"Join {tier.id}", f"A year costs {Money(tier.yearly_fee_minor, tier.currency)}")
    if member is None:
        member = call.add(
            Membership(
                id=call.new_id("member"), customer_id=customer.id, tier_id=tier.id,
                points_account=members.account(customer.id), joined_at=call.now, state="active",
            )
        )  # fmt: skip
    member.tier_id, member.state, member.ended_at = tier.id, "active", None
    member.renews_at, member.auto_renew = until, auto_renew and not tier.yearly_fee_minor
    member.payment_id = None
    if tier.yearly_fee_minor:
        member.payment_id = _pay(call, customer, tier, method_id).id
    call.session.flush()
    call.effect("update", "membership", member.id, tier=tier.id)
    return standing(call, customer)


def _until(call: Call, member: Membership | None, tier: MembershipTier) -> datetime:
    if member is None or member.state != "active" or member.renews_at is None:
        return call.now + members.YEAR
    if member.tier_id != tier.id or member.renews_at <= call.now:
        return call.now + members.YEAR
    if member.renews_at - call.now > RENEWABLE:
        raise RuleViolation(
            f"The membership runs until {member.renews_at.date()}; it can be renewed from"
            f" {(member.renews_at - RENEWABLE).date()} on.",
        )
    return member.renews_at + members.YEAR


def _pay(call: Call, customer: Customer, tier: MembershipTier, method_id: str | None) -> Payment:
    method = call.session.get(PaymentMethod, method_id) if method_id else None
    if method is None or method.customer_id != customer.id:
        raise NotFound("There is no such payment method of yours.")
    return paid.charge(
        call, order_id=None, customer_id=customer.id, method_id=method.id,
        amount_minor=tier.yearly_fee_minor, currency=tier.currency, purpose="membership",
    )  # fmt: skip
