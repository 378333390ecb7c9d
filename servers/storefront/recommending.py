"""What goes with what: counted in the shop's own orders, and said as it was counted."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.orm import aliased

from common.call import Call
from common.rules.catalogue_cache import remembered
from common.tables.inventory import Product, Variant
from common.tables.orders import OrderLine
from servers.storefront import catalogue
from servers.storefront.catalogue import Hit

SINCE: Final = timedelta(days=365)
FEWEST_TOGETHER: Final = 2
MOST_ORDERS: Final = 5_000


@dataclass(frozen=True)
class Recommended:
    """``why`` is what was counted, in words."""

    hit: Hit
    why: str
    basis: str


def recommend(call: Call, skus: Sequence[str], limit: int) -> list[Recommended]:
    """Bought together with the products, by lift; then what is bought most in their categories;
    without products what is bought most of all. Only what can be had."""
    day = call.now.date().isoformat()
    found: dict[str, tuple[str, str]] = {}
    if skus:
        for sku, together, orders in remembered(
            call, ("together", tuple(skus), day), lambda: _together(call, skus)
        ):
            found.setdefault(
                sku, (f"bought together in {together} of {orders} orders", "bought_together")
            )
    for category in _categories(call, skus):
        for sku, count in _popular_today(call, category, day):
            where = f"in {category}" if category else "in the shop"
            found.setdefault(
                sku, (f"popular {where}: in {count} orders of the last year", "popular")
            )
    wanted = [sku for sku in found if sku not in set(skus)]
    hits = [hit for hit in catalogue.hits_of(call, wanted[:100]) if hit.available]
    return [Recommended(hit, *found[hit.card.sku]) for hit in hits[:limit]]


def _together(call: Call, skus: Sequence[str]) -> list[tuple[str, int, int]]:
    """(sku, orders with both, orders with one of the given): the highest lift first, which is how
    much oftener than by chance; support decides between equals."""
    since = call.now - SINCE
    base = (
        select(OrderLine.order_id)
        .where(
            OrderLine.sku.in_(list(skus)), OrderLine.placed_at >= since,
            OrderLine.status != "cancelled",
        )
        .group_by(OrderLine.order_id)
        .order_by(func.max(OrderLine.placed_at).desc(), OrderLine.order_id)
        .limit(MOST_ORDERS)
        .subquery("base")
    )  # fmt: skip
    orders = call.session.scalar(select(func.count()).select_from(base)) or 0
    if not orders:
        return []
    other = aliased(OrderLine)
    together = func.count(func.distinct(other.order_id))
    pairs = (
        select(other.sku, together)
        .join(base, base.c.order_id == other.order_id)
        .where(other.sku.not_in(list(skus)), other.status != "cancelled")
        .group_by(other.sku)
        .having(together >= FEWEST_TOGETHER)
        .order_by(together.desc(), other.sku)
        .limit(200)
    )
    rows = [(sku, int(count)) for sku, count in call.session.execute(pairs)]
    alone = (
        select(OrderLine.sku, func.count(func.distinct(OrderLine.order_id)))
        .where(OrderLine.sku.in_([sku for sku, _ in rows]), OrderLine.placed_at >= since)
        .group_by(OrderLine.sku)
    )
    each = {sku: int(count) for sku, count in call.session.execute(alone)}
    # P(other | these) / P(other), the number of all orders left out: it is the same for all.
    rows.sort(key=lambda row: (-row[1] * 10**6 // max(1, each.get(row[0], 1)), -row[1], row[0]))
    return [(sku, count, orders) for sku, count in rows]


def _popular_today(call: Call, category: str, day: str) -> list[tuple[str, int]]:
    return remembered(call, ("popular", category, day), lambda: _popular(call, category))


def _popular(call: Call, category: str) -> list[tuple[str, int]]:
    count = func.count(func.distinct(OrderLine.order_id))
    query = select(OrderLine.sku, count).where(
        OrderLine.placed_at >= call.now - SINCE, OrderLine.status != "cancelled"
    )
    if category:
        query = (
            query.join(Variant, Variant.id == OrderLine.sku)
            .join(Product, Product.id == Variant.product_id)
            .where(Product.category == category)
        )
    query = query.group_by(OrderLine.sku).order_by(count.desc(), OrderLine.sku).limit(50)
    return [(sku, int(number)) for sku, number in call.session.execute(query)]


def _categories(call: Call, skus: Sequence[str]) -> list[str]:
    if not skus:
        return [""]
    query = (
        select(Product.category)
        .join(Variant, Variant.product_id == Product.id)
        .where(Variant.id.in_(list(skus)))
        .distinct()
        .order_by(Product.category)
        .limit(5)
    )
    return [category for category in call.session.scalars(query) if category]
