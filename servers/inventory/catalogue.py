"""Find items, warehouses and suppliers, and say what was probably meant when there are none."""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from common.call import Call
from common.errors import InvalidParameters, NotFound, RuleViolation
from common.ledgers.accounts import BATCH
from common.rules import meant, stock
from common.tables.inventory import (
    Lot,
    ReorderPolicy,
    Supplier,
    SupplierItem,
    Variant,
    Warehouse,
)
from common.tables.spine import Account

MOST_WAREHOUSES = 500

variant = meant.variant


def warehouse(call: Call, id: str, *, working: bool = False) -> Warehouse:
    """The warehouse. Raises NotFound naming those there are, RuleViolation when it must be
    ``working`` and is closed."""
    row = meant.record(call, Warehouse, id)
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
        there = ", ".join(sorted({row.region for row in rows})[:20])
        raise InvalidParameters.field("region", region, f"all, or one of: {there}"[:400])
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
        raise _not_sold(sku, supplier, [row.supplier_id for row in rows])
    best = min(offers, key=best_first)
    seller = call.get(Supplier, best.supplier_id)
    if not seller.active:
        raise RuleViolation(f"Supplier {seller.id} is inactive.")
    return seller, best


def _not_sold(sku: str, supplier: str | None, others: list[str]) -> NotFound:
    message = f"No supplier sells {sku}."
    if supplier is not None and others:
        message = f"{supplier} does not sell {sku}; these do: {', '.join(others[:20])}."
    return NotFound(
        message, details={"sku": sku, "suppliers": others},
        next="Name one of these suppliers, or ask the person to enter the terms for this SKU."
        if others
        else "Ask the person to enter a supplier's terms for this SKU.",
    )  # fmt: skip


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


def lots_named(session: Session, ids: Sequence[str]) -> dict[str, Lot]:
    """Lots by id."""
    found: dict[str, Lot] = {}
    for start in range(0, len(ids), BATCH):
        query = select(Lot).where(Lot.id.in_(ids[start : start + BATCH]))
        found.update((row.id, row) for row in session.scalars(query))
    return found
