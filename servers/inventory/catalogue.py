"""Find items, warehouses and suppliers, and say what was probably meant when there are none."""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from common.call import Call
from common.errors import InvalidParameters, NotFound, ProductNotFound, RuleViolation
from common.ledgers.accounts import BATCH
from common.rules import stock
from common.rules.catalogue_cache import remembered
from common.storage import mapped
from common.tables.inventory import (
    Lot,
    ReorderPolicy,
    Supplier,
    SupplierItem,
    Variant,
    Warehouse,
)
from common.tables.spine import Account

SEARCHED = 20_000
MOST_WAREHOUSES = 500
# Letters that look alike in print fall together.
_ALIKE = str.maketrans("OILSBZQ|", "01158201")


def variant(call: Call, sku: str) -> Variant:
    """The item. Raises ProductNotFound with SKUs that look alike: none is taken for another."""
    row = call.find(Variant, sku)
    if row is None:
        raise ProductNotFound(
            "No such SKU.",
            details={"searched": sku, "suggestions": _alike(call, sku)},
            next="Ask the person which of the suggestions is meant, or search for the product.",
        )
    return row


def warehouse(call: Call, id: str, *, working: bool = False) -> Warehouse:
    """The warehouse. Raises NotFound naming those there are, RuleViolation when it must be
    ``working`` and is closed."""
    row = mapped.load(call.session, Warehouse, id)
    if row is None:
        known = call.session.scalars(select(Warehouse.id).order_by(Warehouse.id).limit(50))
        raise NotFound("No such warehouse.", details={"id": id, "warehouses": list(known)})
    if working and not row.active:
        raise RuleViolation(f"Warehouse {id} is closed.")
    return row


def in_region(session: Session, region: str) -> list[Warehouse]:
    """Working warehouses of a region, or of every region (``all``). Raises InvalidParameters
    naming the regions there are."""
    query = select(Warehouse).where(Warehouse.active.is_(True)).order_by(Warehouse.id)
    rows = list(session.scalars(query.limit(MOST_WAREHOUSES)))
    if region == "all":
        return rows
    chosen = [row for row in rows if row.region.casefold() == region.casefold()]
    if not chosen:
        known = ", ".join(sorted({row.region for row in rows})[:20])
        raise InvalidParameters.field("region", region, f"all, or one of: {known}"[:400])
    return chosen


def lot(call: Call, sku: str, code: str) -> Lot:
    """A lot of the item by its printed code or its id. Raises NotFound."""
    query = select(Lot).where(Lot.sku == sku, (Lot.code == code) | (Lot.id == code))
    row = call.session.scalars(query.limit(1)).one_or_none()
    if row is None:
        raise NotFound("No such lot of this item.", details={"sku": sku, "lot": code})
    return row


def lot_of(call: Call, item: Variant, code: str | None) -> str | None:
    """The lot id for stock accounts. Raises InvalidParameters when an item with lots comes
    without one, or one without lots with one."""
    if item.lot_tracked and code is None:
        raise InvalidParameters.field("lot", None, f"needed: {item.id} is kept in lots")
    if not item.lot_tracked and code is not None:
        raise InvalidParameters.field("lot", code, f"none: {item.id} is not kept in lots")
    return None if code is None else lot(call, item.id, code).id


def terms(
    call: Call, sku: str, warehouse: str, supplier: str | None
) -> tuple[Supplier, SupplierItem]:
    """Whom to buy from: the named supplier, else the policy's, else the preferred, else the
    cheapest. Raises NotFound when nobody sells it, RuleViolation when the supplier is inactive."""
    rows = call.all(SupplierItem, SupplierItem.sku == sku, limit=100)
    if supplier is None:
        policy = call.all(
            ReorderPolicy, ReorderPolicy.sku == sku, ReorderPolicy.warehouse_id == warehouse
        )
        supplier = policy[0].supplier_id if policy else None
    offers = [row for row in rows if supplier in (None, row.supplier_id)]
    if not offers:
        raise NotFound(
            "No supplier sells this item." if supplier is None else "This supplier does not.",
            details={"sku": sku, "suppliers": [row.supplier_id for row in rows]},
            next="Ask the person to enter the supplier's terms for this SKU.",
        )
    best = min(offers, key=best_first)
    seller = call.get(Supplier, best.supplier_id)
    if not seller.active:
        raise RuleViolation(f"Supplier {seller.id} is inactive.")
    return seller, best


def best_first(offer: SupplierItem) -> tuple[bool, int, str]:
    """Sorts offers: the preferred one, then the cheapest."""
    return (not offer.preferred, offer.unit_cost_minor, offer.id)


def stocked(session: Session, warehouses: Sequence[str], limit: int, after: str = "") -> list[str]:
    """SKUs of which something is or is on its way to these warehouses, in order, after a SKU."""
    found: set[str] = set()
    for id in warehouses:
        query = (
            select(Account.ledger)
            .where(
                Account.ledger > stock.units(after),
                Account.ledger < "units0",  # the character after the slash
                Account.code.startswith(f"{id}/", autoescape=True),
                Account.debits_posted != Account.credits_posted,
            )
            .distinct()
            .order_by(Account.ledger)
            .limit(limit)
        )
        found.update(name.partition("/")[2] for name in session.scalars(query))
    return sorted(found)[:limit]


def named(session: Session, skus: Sequence[str]) -> dict[str, Variant]:
    """Items by SKU."""
    found: dict[str, Variant] = {}
    for start in range(0, len(skus), BATCH):
        query = select(Variant).where(Variant.id.in_(skus[start : start + BATCH]))
        found.update((row.id, row) for row in session.scalars(query))
    return found


def _alike(call: Call, sku: str) -> list[str]:
    from rapidfuzz import fuzz, process

    # On the way of an error only, and bounded.
    known, plain = remembered(call, ("alike",), lambda: _to_compare(call.session))
    found = process.extract(_plain(sku), plain, scorer=fuzz.ratio, limit=3, score_cutoff=75)
    return [known[place] for _, _, place in found]


def _to_compare(session: Session) -> tuple[list[str], list[str]]:
    known = list(session.scalars(select(Variant.id).order_by(Variant.id).limit(SEARCHED)))
    return known, [_plain(sku) for sku in known]


def _plain(text: str) -> str:
    return text.upper().translate(_ALIKE)
