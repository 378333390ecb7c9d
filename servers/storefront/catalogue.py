"""The catalogue as shoppers see it: search that forgives, and never guesses."""

from dataclasses import dataclass
from typing import Any, Final

from rapidfuzz import fuzz, process, utils
from sqlalchemy import Select, func, or_, select
from sqlalchemy.orm import Session

from common import stock
from common.call import Call
from common.errors import ProductNotFound
from common.tables.inventory import Product, Variant

SURE: Final = 90
MARGIN: Final = 5
SHOWN_SCORE: Final = 55
MOST_VARIANTS: Final = 20_000


@dataclass(frozen=True)
class Hit:
    """One product of the catalogue; ``score`` is 0 to 100, 100 for an exact code."""

    variant: Variant
    product: Product
    score: int
    available: int


def search(
    call: Call,
    query: str,
    *,
    category: str | None = None,
    max_price_minor: int | None = None,
    in_stock: bool = False,
    limit: int = 10,
) -> list[Hit]:
    """Best first. An exact SKU or GTIN comes alone; else words in any order, typos forgiven."""
    exact = _by_code(call.session, query)
    if exact:
        return _hits(call, [(variant.id, 100) for variant in exact])
    names = _names(call.session, category, max_price_minor)
    found = process.extract(
        query, names, scorer=_likeness, processor=utils.default_process,
        limit=limit * 3 if in_stock else limit, score_cutoff=SHOWN_SCORE,
    )  # fmt: skip
    hits = _hits(call, [(sku, round(score)) for _, score, sku in found])
    return [hit for hit in hits if hit.available or not in_stock][:limit]


def one(call: Call, name: str) -> Hit:
    """The one product that is meant. Raises ProductNotFound with the candidates when it is not
    clear: it never guesses."""
    hits = search(call, name, limit=6)
    if hits and hits[0].score >= SURE:
        if len(hits) == 1 or hits[0].score - hits[1].score >= MARGIN:
            return hits[0]
        exact = [hit for hit in hits if hit.variant.name.casefold() == name.strip().casefold()]
        if len(exact) == 1:
            return exact[0]
    raise ProductNotFound(
        "It is not clear which product is meant." if hits else "No product has such a name.",
        details={
            "searched": name,
            "suggestions": [
                {"sku": hit.variant.id, "name": hit.variant.name, "score": hit.score}
                for hit in hits
            ],
        },
        next="Ask the shopper which one; call again with its exact name or SKU."
        if hits
        else "Try other words, or show the categories with get_categories.",
    )


def nearest(call: Call, query: str) -> list[str]:
    """Names that are at least something like the query: what an empty result should mention."""
    names = _names(call.session, None, None)
    found = process.extract(query, names, processor=utils.default_process, limit=3)
    return [name for name, _, _ in found]


def categories(call: Call) -> list[tuple[str, int]]:
    """Every category with the number of products on sale in it."""
    query = (
        select(Product.category, func.count(Variant.id))
        .join(Variant, Variant.product_id == Product.id)
        .where(Variant.sellable.is_(True), Product.active.is_(True))
        .group_by(Product.category)
        .order_by(Product.category)
        .limit(500)
    )
    return [(category or "Other", count) for category, count in call.session.execute(query)]


def listed(call: Call, limit: int) -> list[Hit]:
    """The first products by name."""
    query = _on_sale(None, None).order_by(Variant.name, Variant.id).limit(limit)
    return _hits(call, [(row.id, 100) for row in call.session.execute(query)])


def _likeness(query: Any, name: Any, /, *, score_cutoff: float | None = None) -> float:
    """Words in any order count fully; a query that is only a part of the name a little less."""
    whole = fuzz.token_sort_ratio(query, name)
    part = fuzz.token_set_ratio(query, name) * 0.94
    return float(max(whole, part))


def _by_code(session: Session, code: str) -> list[Variant]:
    clean = code.strip()
    digits = clean.lstrip("0")
    query = select(Variant).where(
        Variant.sellable.is_(True),
        or_(Variant.id == clean, Variant.gtin.in_({clean, digits.zfill(13), digits.zfill(14)})),
    )
    return list(session.scalars(query.order_by(Variant.id).limit(5)))


def _on_sale(category: str | None, max_price_minor: int | None) -> Select[str, str]:
    query = (
        select(Variant.id, Variant.name)
        .join(Product, Product.id == Variant.product_id)
        .where(Variant.sellable.is_(True), Product.active.is_(True))
    )
    if category is not None:
        query = query.where(func.lower(Product.category) == category.lower())
    if max_price_minor is not None:
        query = query.where(Variant.price_minor <= max_price_minor)
    return query


def _names(session: Session, category: str | None, max_price_minor: int | None) -> dict[str, str]:
    rows = session.execute(_on_sale(category, max_price_minor).limit(MOST_VARIANTS))
    return {row.id: row.name for row in rows}


def _hits(call: Call, scored: list[tuple[str, int]]) -> list[Hit]:
    skus = [sku for sku, _ in scored]
    query = (
        select(Variant, Product)
        .join(Product, Product.id == Variant.product_id)
        .where(Variant.id.in_(skus))
    )
    rows = {variant.id: (variant, product) for variant, product in call.session.execute(query)}
    available: dict[str, int] = {}
    for (sku, _), level in stock.levels(call.session, call.now, skus).items():
        available[sku] = available.get(sku, 0) + level.available
    return [
        Hit(*rows[sku], score, max(0, available.get(sku, 0)))
        for sku, score in scored
        if sku in rows
    ]
