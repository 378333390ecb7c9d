"""Searching among what is on sale."""

from dataclasses import dataclass

from sqlalchemy import Select, func
from sqlalchemy.orm import Session

from common.rules import searching
from common.rules.searching import ITEMS, Scored
from common.tables.inventory import Product, Variant


@dataclass(frozen=True)
class Within:
    """Filters; None leaves one out."""

    category: str | None = None
    min_price_minor: int | None = None
    max_price_minor: int | None = None


def on_sale(within: Within) -> Select[str, str]:
    """Ids and names of what is on sale within the filters."""
    query = ITEMS.where(Variant.sellable.is_(True), Product.active.is_(True))
    if within.category is not None:
        query = query.where(func.lower(Product.category) == within.category.lower())
    if within.min_price_minor is not None:
        query = query.where(Variant.price_minor >= within.min_price_minor)
    if within.max_price_minor is not None:
        query = query.where(Variant.price_minor <= within.max_price_minor)
    return query


def by_name(
    session: Session, query: str, within: Within, limit: int, *, whole_words: bool = False
) -> list[Scored]:
    """Best first. ``whole_words``: the beginning of a word does not count as the word."""
    return searching.by_name(session, query, on_sale(within), limit, whole_words=whole_words)
