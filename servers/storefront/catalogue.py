"""The catalogue as shoppers see it: search that forgives, and never guesses."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import func, select

from common.call import Call
from common.errors import ProductNotFound
from common.rules import lots, searching
from common.rules.catalogue_cache import remembered
from common.rules.searching import Scored
from common.tables.inventory import Product, Variant
from servers.storefront.search import Within, by_name, on_sale

SURE: Final = 90
MARGIN: Final = 5
IN_STOCK_CANDIDATES: Final = 200
OTHER: Final = "Other"


@dataclass(frozen=True)
class Card:
    """A product on sale, as the catalogue tells it; no row of a session."""

    sku: str
    name: str
    description: str
    category: str
    price_minor: int
    currency: str


@dataclass(frozen=True)
class Hit:
    """``score`` is 0 to 100, 100 for an exact code or name; ``available`` is what one
    order can have at this moment."""

    card: Card
    score: int
    available: int


def search(
    call: Call, query: str, within: Within | None = None, *, in_stock: bool = False, limit: int = 10
) -> list[Hit]:
    """Best first. An exact SKU or GTIN comes alone; else words in any order, typos forgiven; last
    what only the description speaks of."""
    within = within or Within()
    most = IN_STOCK_CANDIDATES if in_stock else limit
    scored = remembered(
        call, ("search", query, within, most),
        lambda: searching.best(call.session, query, on_sale(within), most),
    )  # fmt: skip
    hits = _hits(call, scored)
    return [hit for hit in hits if hit.available or not in_stock][:limit]


def one(call: Call, name: str) -> Hit:
    """The one product that is meant. Raises ProductNotFound with the candidates when it is not
    clear: it never guesses."""
    codes = searching.by_code(call.session, name, on_sale(Within()))
    scored = codes or by_name(call.session, name, Within(), 6, whole_words=True)
    hits = _hits(call, scored)
    if hits and hits[0].score >= SURE:
        if len(hits) == 1 or hits[0].score - hits[1].score >= MARGIN:
            return hits[0]
        exact = [hit for hit in hits if hit.card.name.casefold() == name.strip().casefold()]
        if len(exact) == 1:
            return exact[0]
    raise ProductNotFound(
        "It is not clear which product is meant." if hits else "No product has such a name.",
        details={
            "searched": name,
            "suggestion": "Try a partial name or another spelling, or search_products.",
            "suggestions": [
                {"sku": hit.card.sku, "name": hit.card.name, "score": hit.score} for hit in hits
            ],
        },
        next="Ask the shopper which one; call again with its exact name or SKU."
        if hits
        else "Try other words, or show the categories with get_categories.",
    )


def nearest(call: Call, query: str, within: Within) -> list[str]:
    """Names that are at least something like the query: what an empty result should mention.
    Within the filters, or without them when nothing at all is on sale there."""
    return remembered(
        call, ("nearest", query, within),
        lambda: searching.nearest(call.session, query, on_sale(within))
        or searching.nearest(call.session, query, on_sale(Within())),
    )  # fmt: skip


def categories(call: Call) -> list[tuple[str, int]]:
    """Every category with the number of products on sale in it."""
    return remembered(call, ("categories",), lambda: _categories(call))


def listed(call: Call, limit: int) -> list[Hit]:
    """The first products by name."""
    return _hits(call, remembered(call, ("listed", limit), lambda: _listed(call, limit)))


def hits_of(call: Call, skus: Sequence[str]) -> list[Hit]:
    """Those of the SKUs that are on sale, in this order."""
    query = on_sale(Within()).where(Variant.id.in_(list(skus)))
    there = {row.id for row in call.session.execute(query)}
    return _hits(call, [Scored(sku, 100) for sku in skus if sku in there])


def _categories(call: Call) -> list[tuple[str, int]]:
    query = (
        select(Product.category, func.count(Variant.id))
        .join(Variant, Variant.product_id == Product.id)
        .where(Variant.sellable.is_(True), Product.active.is_(True))
        .group_by(Product.category)
        .order_by(Product.category)
        .limit(500)
    )
    return [(category or OTHER, count) for category, count in call.session.execute(query)]


def _listed(call: Call, limit: int) -> list[Scored]:
    query = on_sale(Within()).order_by(Variant.name, Variant.id).limit(limit)
    return [Scored(row.id, 100) for row in call.session.execute(query)]


def _hits(call: Call, scored: Sequence[Scored]) -> list[Hit]:
    skus = tuple(each.sku for each in scored)
    if not skus:
        return []
    cards = remembered(call, ("cards", skus), lambda: _cards(call, skus))
    available = lots.most_at_once(call.session, call.now, skus)
    return [
        Hit(cards[each.sku], each.score, available[each.sku])
        for each in scored
        if each.sku in cards
    ]


def _cards(call: Call, skus: Sequence[str]) -> dict[str, Card]:
    query: Any = (
        select(
            Variant.id, Variant.name, Product.description, Product.category, Variant.price_minor,
            Variant.currency,
        )
        .join(Product, Product.id == Variant.product_id)
        .where(Variant.id.in_(list(skus)))
    )  # fmt: skip
    return {
        row.id: Card(
            row.id, row.name, row.description, row.category or OTHER, row.price_minor, row.currency
        )
        for row in call.session.execute(query)
    }
