"""Which promotions apply to a cart, and why the others do not."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import func, select

from common.call import Call
from common.money import Money, allocate
from common.tables.inventory import Product, Variant
from common.tables.orders import Customer
from common.tables.storefront import (
    Checkout,
    CheckoutPromotion,
    MembershipTier,
    Promotion,
    PromotionUse,
)

MOST_CODES: Final = 5


@dataclass(frozen=True)
class Goods:
    """A line before promotions."""

    sku: str
    category: str
    gross_minor: int


@dataclass(frozen=True)
class Discount:
    """``amount_minor`` taken off, for one code or benefit."""

    code: str
    label: str
    amount_minor: int


@dataclass(frozen=True)
class Rejected:
    """A code that does not apply: ``reason`` for people, ``why`` one closed word."""

    code: str
    why: str
    reason: str


@dataclass
class Reductions:
    """What comes off, by line and by code."""

    by_line: list[int]
    discounts: list[Discount] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    free_shipping: list[str] = field(default_factory=list)
    promotions: list[str] = field(default_factory=list)

    def take(self, code: str, label: str, amount: int, nets: Sequence[int]) -> bool:
        """Spread an amount over lines by what is left of them, by largest remainder. False when
        there is nothing to take."""
        amount = min(amount, sum(nets))
        if amount <= 0:
            return False
        self.by_line = [
            before + part for before, part in zip(self.by_line, allocate(amount, nets), strict=True)
        ]
        self.discounts.append(Discount(code, label, amount))
        return True


def goods_of(call: Call, lines: Sequence[tuple[str, int, int]]) -> list[Goods]:
    """Of (sku, quantity, price)."""
    found = []
    for sku, quantity, price in lines:
        product = call.get(Product, call.get(Variant, sku).product_id)
        found.append(Goods(sku, product.category, quantity * price))
    return found


def reduce(
    call: Call,
    goods: Sequence[Goods],
    currency: str,
    codes: Sequence[str],
    customer: Customer | None,
    tier: MembershipTier | None,
    points: int,
) -> Reductions:
    """The member's discount first, then codes in the order given, then points: each of what is
    left. A code that cannot be combined keeps out those after it."""
    found = Reductions([0] * len(goods))
    if tier is not None and tier.discount_bps:
        nets = [each.gross_minor for each in goods]
        found.take("MEMBER", f"{tier.name} members", _share(sum(nets), tier.discount_bps), nets)
    alone = ""
    for code in codes:
        promotion = call.session.get(Promotion, code.upper())
        refusal = _refusal(call, promotion, goods, currency, customer, tier)
        if promotion is not None and refusal is None:
            refusal = _alone(promotion, found, alone)
        if promotion is not None and refusal is None and not _apply(found, promotion, goods):
            refusal = "nothing_left", "There is nothing left that it could take off."
        if promotion is None or refusal is not None:
            why, reason = refusal or ("unknown", "There is no such code.")
            found.rejected.append(Rejected(code, why, reason))
            continue
        alone = alone or ("" if promotion.stackable else promotion.id)
        found.promotions.append(promotion.id)
    if points:
        left = [each.gross_minor - off for each, off in zip(goods, found.by_line, strict=True)]
        found.take("POINTS", f"{min(points, sum(left))} points", points, left)
    return found


def _alone(promotion: Promotion, found: Reductions, alone: str) -> tuple[str, str] | None:
    if found.promotions and (alone or not promotion.stackable):
        other = alone or promotion.id
        return "not_combinable", f"{other} cannot be combined with other codes."
    return None


def _apply(found: Reductions, promotion: Promotion, goods: Sequence[Goods]) -> bool:
    """Whether it takes anything off: one that does not is not used up."""
    if promotion.kind == "free_shipping":
        found.free_shipping.append(promotion.id)
        return True
    nets = [
        each.gross_minor - off if _meant(promotion, each) else 0
        for each, off in zip(goods, found.by_line, strict=True)
    ]
    percent = promotion.kind == "percent"
    amount = _share(sum(nets), promotion.value) if percent else promotion.value
    return found.take(promotion.id, promotion.name, amount, nets)


def _refusal(
    call: Call,
    promotion: Promotion | None,
    goods: Sequence[Goods],
    currency: str,
    customer: Customer | None,
    tier: MembershipTier | None,
) -> tuple[str, str] | None:
    if promotion is None or not promotion.active:
        return "unknown", "There is no such code."
    if promotion.starts_at is not None and call.now < promotion.starts_at:
        return "not_yet", f"It begins on {promotion.starts_at.date()}."
    if promotion.ends_at is not None and call.now >= promotion.ends_at:
        return "over", f"It ended on {promotion.ends_at.date()}."
    if promotion.currency is not None and promotion.currency != currency:
        return "other_currency", f"It is for {promotion.currency}."
    total = sum(each.gross_minor for each in goods)
    if promotion.minimum_minor is not None and total < promotion.minimum_minor:
        least = Money(promotion.minimum_minor, currency)
        return (
            "below_minimum",
            f"It needs goods for at least {least}; there are {Money(total, currency)}.",
        )
    if promotion.category is not None and not any(_meant(promotion, each) for each in goods):
        return "nothing_eligible", f"It is for {promotion.category} only."
    if promotion.tier_id is not None:
        needed = call.get(MembershipTier, promotion.tier_id)
        if tier is None or tier.rank < needed.rank:
            return "members_only", f"It is for {needed.name} members."
    return _used_up(call, promotion, customer)


def _used_up(call: Call, promotion: Promotion, customer: Customer | None) -> tuple[str, str] | None:
    if promotion.most_uses is not None and _uses(call, promotion, None) >= promotion.most_uses:
        return "used_up", "It has been used as often as it may be."
    if promotion.most_uses_per_customer is not None:
        if customer is None:
            return "sign_in_needed", "It is limited for each customer: the shopper must sign in."
        if _uses(call, promotion, customer.id) >= promotion.most_uses_per_customer:
            return "used_already", "This customer has used it already."
    return None


def _uses(call: Call, promotion: Promotion, customer_id: str | None) -> int:
    """Orders with it, and checkouts that are being paid with it."""
    done = select(func.count()).select_from(PromotionUse)
    done = done.where(PromotionUse.promotion_id == promotion.id)
    open_ = (
        select(func.count())
        .select_from(CheckoutPromotion)
        .join(Checkout, Checkout.id == CheckoutPromotion.checkout_id)
        .where(
            CheckoutPromotion.promotion_id == promotion.id,
            Checkout.state == "complete_in_progress",
        )
    )
    if customer_id is not None:
        done = done.where(PromotionUse.customer_id == customer_id)
        open_ = open_.where(Checkout.customer_id == customer_id)
    return (call.session.scalar(done) or 0) + (call.session.scalar(open_) or 0)


def _meant(promotion: Promotion, goods: Goods) -> bool:
    return promotion.category is None or promotion.category.lower() == goods.category.lower()


def _share(total: int, bps: int) -> int:
    """Half up."""
    return (2 * total * bps + 10_000) // 20_000
