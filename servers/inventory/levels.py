"""How many units are where, and how many of them may be promised."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import bindparam, func, select
from sqlalchemy.orm import Session

from common.call import Call
from common.clock import stamp
from common.ledgers.accounts import BATCH
from common.rules import lots, stock
from common.storage import hot
from common.tables.inventory import COMING, Lot, PurchaseLine, PurchaseOrder, Variant, Warehouse
from servers.inventory import catalogue
from servers.inventory.results import LotLevel, Shelf, Stock, StockList, StockRow

_variant, _line, _order = (kind.__table__.c for kind in (Variant, PurchaseLine, PurchaseOrder))

SHOWN: Final = 100
MOST_LOTS: Final = 100
# States in which a purchase order's open lines are on their way.

_ITEM: Final = select(_variant.id, _variant.name, _variant.lot_tracked).where(
    _variant.id == bindparam("sku")
)


def get_stock(call: Call, sku: str, warehouse: str | None) -> Stock:
    """Levels of one item by warehouse; by lot too, if it has lots. Raises NotFound."""
    item = hot.first(call.session, _ITEM, sku=sku) or catalogue.variant(call, sku)
    if warehouse is not None:
        catalogue.warehouse(call, warehouse)
    shelves = list(
        shelves_of(call.session, call.now, [sku], warehouse, in_lots=item.lot_tracked).values()
    )
    return Stock(
        sku=sku,
        name=item.name,
        on_hand=sum(shelf.on_hand for shelf in shelves),
        available=sum(shelf.available for shelf in shelves),
        shelves=shelves,
        lots=_lots(call, sku, [shelf.warehouse for shelf in shelves]) if item.lot_tracked else None,
        as_of=stamp(call.now),
    )


def warehouse_stock(call: Call, warehouse: str) -> StockList:
    """The first items of a warehouse. Raises NotFound."""
    row: Warehouse = catalogue.warehouse(call, warehouse)
    skus = catalogue.stocked(call.session, [warehouse], SHOWN + 1)
    shelves = shelves_of(call.session, call.now, skus[:SHOWN], warehouse)
    return StockList(
        warehouse=warehouse,
        name=row.name,
        region=row.region,
        items=[
            StockRow(sku=sku, **shelf.model_dump()) for (sku, _), shelf in sorted(shelves.items())
        ],
        more=len(skus) > SHOWN,
        as_of=stamp(call.now),
    )


def shelves_of(
    session: Session,
    now: datetime,
    skus: Sequence[str],
    warehouse: str | None = None,
    *,
    in_lots: bool = True,
) -> dict[tuple[str, str], Shelf]:
    """Shelves by (sku, warehouse), also where units are only bought yet. ``in_lots`` False: none
    of them has lots, and none need be looked for."""
    found = stock.levels(session, now, skus, warehouse)
    expired = lots.withheld(session, now, skus, warehouse) if in_lots else {}
    coming = incoming_units(session, skus, warehouse)
    keys = sorted(set(found) | set(coming))
    return {
        key: shelf(key[1], found.get(key, stock.Levels()), expired.get(key, 0), coming.get(key, 0))
        for key in keys
    }


def shelf(warehouse: str, level: stock.Levels, expired: int, incoming: int) -> Shelf:
    """One shelf; statuses that hold nothing are left out."""
    return Shelf(
        warehouse=warehouse,
        on_hand=level.on_hand,
        reserved=level.reserved,
        available=level.available - expired,
        expired=expired or None,
        quarantine=level.quarantine or None,
        damaged=level.damaged or None,
        inspection=level.inspection or None,
        refurbish=level.refurbish or None,
        in_transit=level.in_transit or None,
        incoming=incoming or None,
    )


def available(call: Call, item: Variant, warehouse: str) -> int:
    """Units that may be promised now."""
    level = stock.level(call.session, call.now, item.id, warehouse)
    if not item.lot_tracked:
        return level.available
    withheld = lots.withheld(call.session, call.now, [item.id], warehouse)
    return level.available - withheld.get((item.id, warehouse), 0)


def outstanding(line: Any = PurchaseLine) -> Any:
    """Units of a purchase line still to come, as SQL."""
    good = line.received - line.over
    return line.ordered - good - line.damaged - line.short


_INCOMING: Final = (
    select(_line.sku, _order.warehouse_id, func.sum(outstanding(_line)))
    .join(PurchaseOrder.__table__, _order.id == _line.purchase_order_id)
    .where(
        _line.sku.in_(bindparam("skus", expanding=True)),
        _line.open.is_(True),
        _order.state.in_(COMING),
    )
    .group_by(_line.sku, _order.warehouse_id)
)


def incoming_units(
    session: Session, skus: Sequence[str], warehouse: str | None = None
) -> dict[tuple[str, str], int]:
    """Units bought and not received, by (sku, warehouse)."""
    found: dict[tuple[str, str], int] = {}
    for start in range(0, len(skus), BATCH):
        batch = list(skus[start : start + BATCH])
        found.update(
            ((sku, where), int(units))
            for sku, where, units in hot.rows(session, _INCOMING, skus=batch)
            if units > 0 and warehouse in (None, where)
        )
    return found


def _lots(call: Call, sku: str, warehouses: list[str]) -> list[LotLevel]:
    held = {
        (lot_id, warehouse): level
        for (_, warehouse, lot_id), level in stock.lots_of(call.session, call.now, [sku]).items()
        if lot_id is not None and level.on_hand and warehouse in warehouses
    }
    rows = catalogue.lots_named(call.session, [lot_id for lot_id, _ in held])
    found = [
        _lot(rows[lot_id], warehouse, level, call.now)
        for (lot_id, warehouse), level in held.items()
        if lot_id in rows
    ]
    found.sort(key=lambda lot: (lot.expires_on or "9999", lot.lot_id, lot.warehouse))
    return found[:MOST_LOTS]


def _lot(row: Lot, warehouse: str, level: stock.Levels, now: datetime) -> LotLevel:
    expired = row.expires_on is not None and row.expires_on < now.date()
    return LotLevel(
        lot_id=row.id,
        lot=row.code,
        warehouse=warehouse,
        units=level.on_hand,
        expires_on=row.expires_on.isoformat() if row.expires_on else None,
        produced_on=row.produced_on.isoformat() if row.produced_on else None,
        state="expired" if expired and row.state == "active" else row.state,
    )
