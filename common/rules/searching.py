"""Finding items by their names: candidates by trigrams from the database, then scored word by word.

``among`` says which items: ``ITEMS``, or fewer of them.
"""

from dataclasses import dataclass
from typing import Any, Final

from rapidfuzz import fuzz, process, utils
from sqlalchemy import Select, func, literal, literal_column, or_, select, text
from sqlalchemy.orm import Session

from common.storage.dialects import dialect_of
from common.tables.inventory import Product, Variant

CANDIDATES: Final = 50
SHOWN_SCORE: Final = 55
IN_TEXT_SCORE: Final = 50
MOST_TRIGRAMS: Final = 64
MOST_WORDS: Final = 8
MOST_SCANNED: Final = 5_000

Items = Select[str, str]
# Ids and names of all items, with what their products say.
ITEMS: Final[Items] = select(Variant.id, Variant.name).join(
    Product, Product.id == Variant.product_id
)


@dataclass(frozen=True)
class Scored:
    """``score`` is 0 to 100, 100 for an exact code or name."""

    sku: str
    score: int


def best(session: Session, query: str, among: Items, limit: int) -> list[Scored]:
    """Best first. An exact SKU or GTIN comes alone; else names; last what only the description
    speaks of."""
    exact = by_code(session, query, among)
    if exact:
        return exact
    found = by_name(session, query, among, limit)
    if len(found) < limit:
        known = {each.sku for each in found}
        told = by_text(session, query, among, limit)
        found += [each for each in told if each.sku not in known]
    return found[:limit]


def by_code(session: Session, code: str, among: Items) -> list[Scored]:
    """An exact SKU or GTIN, in whatever length the GTIN is written."""
    clean = code.strip()
    gtins = {clean, clean.lstrip("0").zfill(13), clean.lstrip("0").zfill(14)}
    query = among.where(or_(Variant.id.in_({clean, clean.upper()}), Variant.gtin.in_(gtins)))
    return [Scored(row.id, 100) for row in session.execute(query.order_by(Variant.id).limit(5))]


def by_name(
    session: Session, query: str, among: Items, limit: int, *, whole_words: bool = False
) -> list[Scored]:
    """Best first. ``whole_words``: the beginning of a word does not count as the word."""
    names = candidates(session, query, among, max(CANDIDATES, limit))
    found = process.extract(
        query, names, scorer=likeness if whole_words else liking,
        processor=utils.default_process, limit=limit, score_cutoff=SHOWN_SCORE,
    )  # fmt: skip
    return [Scored(sku, round(score)) for _, score, sku in found]


def nearest(session: Session, query: str, among: Items) -> list[str]:
    """Names that are at least something like the query."""
    names = candidates(session, query, among, CANDIDATES)
    if not names:
        rows = session.execute(among.order_by(Variant.id).limit(MOST_SCANNED))
        names = {row.id: row.name for row in rows}
    found = process.extract(
        query, names, scorer=fuzz.WRatio, processor=utils.default_process, limit=3
    )
    return [name for name, _, _ in found]


def by_text(session: Session, query: str, among: Items, limit: int) -> list[Scored]:
    """Products whose description, category or brand has every word of the query."""
    words = utils.default_process(query).split()[:MOST_WORDS]
    if not words or max(map(len, words)) < 3:
        return []
    told = func.lower(Product.description + " " + Product.category + " " + Product.brand)
    wanted = among.where(*(told.contains(word, autoescape=True) for word in words))
    rows = session.execute(wanted.order_by(Variant.name, Variant.id).limit(limit))
    return [Scored(row.id, IN_TEXT_SCORE) for row in rows]


def candidates(session: Session, query: str, among: Items, limit: int) -> dict[str, str]:
    """Names that share most trigrams with the query, by SKU."""
    if not utils.default_process(query):
        return {}
    terms = _trigrams(query)
    if not terms:
        start = func.lower(Variant.name).startswith(query.strip().lower(), autoescape=True)
        rows = session.execute(among.where(start).order_by(Variant.name).limit(limit))
        return {row.id: row.name for row in rows}
    if dialect_of(session) == "postgresql":
        return _nearest_in_postgresql(session, query, among, limit)
    # The table is named like its function: MATCH and rank have no words in SQLAlchemy.
    found = text("SELECT sku, rank FROM search_variant WHERE search_variant MATCH :terms")
    near = found.columns(literal_column("sku"), literal_column("rank")).subquery("near")
    asked = among.join(near, near.c.sku == Variant.id).order_by(near.c.rank)
    rows = session.execute(asked.limit(limit), {"terms": terms})
    return {row.id: row.name for row in rows}


def likeness(query: Any, name: Any, /, *, score_cutoff: float | None = None) -> float:
    """Words in any order count fully; words that are only some of the name's a little less."""
    whole = fuzz.token_sort_ratio(query, name)
    part = fuzz.token_set_ratio(query, name) * 0.94
    return float(max(whole, part))


def liking(query: Any, name: Any, /, *, score_cutoff: float | None = None) -> float:
    """``likeness``, or that of the name's beginning to what was typed so far, or of the part of the
    name that is most like it: a misspelt word finds the longer names it stands in."""
    begun = fuzz.ratio(query, name[: len(query)]) * 0.97
    part = fuzz.partial_ratio(query, name) * 0.85 if len(query) <= len(name) else 0.0
    return max(likeness(query, name), float(begun), float(part))


def _nearest_in_postgresql(
    session: Session, query: str, among: Items, limit: int
) -> dict[str, str]:
    distance = Variant.name.op("<->")(literal(query))
    rows = session.execute(among.order_by(distance).limit(limit))
    return {row.id: row.name for row in rows}


def _trigrams(query: str) -> str:
    """An FTS5 expression: any three letters in a row of any word."""
    terms: dict[str, None] = {}
    for word in utils.default_process(query).split():
        for start in range(len(word) - 2):
            terms.setdefault(word[start : start + 3])
    return " OR ".join(f'"{term}"' for term in list(terms)[:MOST_TRIGRAMS])
