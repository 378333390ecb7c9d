"""Available to promise by date: what is free now, plus what is known to come, less what is owed."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final
from zoneinfo import ZoneInfo

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from common.call import Call
from common.clock import stamp
from common.errors import InvalidParameters
from common.ledgers.accounts import BATCH
from common.rules import stock
from common.tables.inventory import COMING, KitComponent, Lot, PurchaseLine, PurchaseOrder
from common.tables.orders import BACKORDERED, Order, OrderLine
from common.tables.stock_documents import StockTransfer, StockTransferLine
from servers.inventory import catalogue, levels
from servers.inventory.results import Availability, Incoming, Promise

SHOWN: Final = 10


@dataclass(frozen=True)
class Coming:
    """Units of an open purchase order or stock transfer. ``on`` None: nobody knows when."""

    source: str
    units: int
    on: date | None


def check_availability(
    call: Call, sku: str, quantity: int, region: str, warehouse: str | None, by: str | None
) -> Availability:
    """Whether and from where a quantity can be promised by a day. Raises NotFound,
    InvalidParameters for a day that is past."""
    catalogue.variant(call, sku)
    if warehouse is not None:
        houses = [catalogue.warehouse(call, warehouse)]
    else:
        houses = catalogue.in_region(call.session, region)
    sites = [house.id for house in houses]
    # It is still today as long as it is in one of the houses.
    days = [call.now.astimezone(ZoneInfo(house.timezone)).date() for house in houses]
    today = min(days, default=call.now.date())
    day = today if by is None else date.fromisoformat(by)
    if day < today:
        raise InvalidParameters.field("by", by, "today or later")
    coming = receipts(call.session, [sku])
    owed = backordered(call.session, [sku])
    free = levels.shelves_of(call.session, call.now, [sku])
    kits = _buildable(call, sku, sites)
    found = []
    for site in sites:
        shelf = free.get((sku, site))
        promise = _promise(
            site, shelf.available if shelf else 0, owed.get((sku, site), 0), kits.get(site),
            coming.get((sku, site), []), quantity, day, today,
        )  # fmt: skip
        if promise.by_date or promise.incoming or promise.available or len(sites) == 1:
            lost = _expiring(call, sku, site, day) if day > today else 0
            left = max(0, promise.by_date - lost)
            found.append(promise.model_copy(update={"by_date": left}))
    found.sort(key=lambda p: (-p.by_date, p.earliest_on or "9999", p.warehouse))
    return Availability(
        sku=sku,
        quantity=quantity,
        possible=any(promise.by_date >= quantity for promise in found),
        warehouses=found[:SHOWN],
        as_of=stamp(call.now),
    )


def _promise(
    site: str,
    available: int,
    owed: int,
    kits: int | None,
    coming: Sequence[Coming],
    quantity: int,
    day: date,
    today: date,
) -> Promise:
    now = available + (kits or 0) - owed
    dated = sorted((c for c in coming if c.on is not None), key=lambda c: (c.on, c.source))
    # What is overdue is not promised for any day: it did not come when it was said to.
    sure = [c for c in dated if c.on is not None and c.on >= today]
    by_date = now + sum(c.units for c in sure if c.on is not None and c.on <= day)
    earliest = today if now >= quantity else None
    total = now
    for receipt in sure:
        total += receipt.units
        if earliest is None and total >= quantity:
            earliest = receipt.on
    undated = [c for c in coming if c.on is None]
    return Promise(
        warehouse=site,
        available=available,
        by_date=max(0, by_date),
        backordered=owed or None,
        from_kits=kits,
        incoming=[
            Incoming(source=c.source, units=c.units, on=c.on.isoformat() if c.on else None)
            for c in [*dated, *undated][:SHOWN]
        ],
        earliest_on=earliest.isoformat() if earliest else None,
    )


def receipts(session: Session, skus: Sequence[str]) -> dict[tuple[str, str], list[Coming]]:
    """What is on its way, by (sku, warehouse): open purchase lines and units in transit."""
    found: dict[tuple[str, str], list[Coming]] = {}
    for start in range(0, len(skus), BATCH):
        batch = list(skus[start : start + BATCH])
        expected = func.coalesce(PurchaseLine.expected_at, PurchaseOrder.expected_at)
        bought = (
            select(
                PurchaseLine.sku, PurchaseOrder.warehouse_id, PurchaseOrder.id,
                levels.outstanding(), expected,
            )
            .join(PurchaseOrder, PurchaseOrder.id == PurchaseLine.purchase_order_id)
            .where(
                PurchaseLine.sku.in_(batch),
                PurchaseLine.open.is_(True),
                PurchaseOrder.state.in_(COMING),
            )
            .order_by(PurchaseOrder.id, PurchaseLine.position)
        )  # fmt: skip
        line = StockTransferLine
        left = line.shipped - line.received - line.damaged - line.lost
        moved = (
            select(
                line.sku, StockTransfer.to_warehouse_id, StockTransfer.id, left,
                StockTransfer.expected_at,
            )
            .join(StockTransfer, StockTransfer.id == line.stock_transfer_id)
            .where(
                line.sku.in_(batch), StockTransfer.state.in_(("in_transit", "partially_received"))
            )
            .order_by(StockTransfer.id, line.position)
        )  # fmt: skip
        for query in (bought, moved):
            for sku, site, source, units, at in session.execute(query):
                if units > 0:
                    coming = Coming(source, int(units), _day(at))
                    found.setdefault((sku, site), []).append(coming)
    return found


def backordered(session: Session, skus: Sequence[str]) -> dict[tuple[str, str], int]:
    """Units that customers wait for, by (sku, warehouse)."""
    found: dict[tuple[str, str], int] = {}
    where = func.coalesce(OrderLine.warehouse_id, Order.warehouse_id)
    for start in range(0, len(skus), BATCH):
        query = (
            select(OrderLine.sku, where, func.sum(OrderLine.quantity))
            .join(Order, Order.id == OrderLine.order_id)
            .where(
                OrderLine.sku.in_(skus[start : start + BATCH]),
                OrderLine.status == BACKORDERED,
                Order.status.not_in(("cancelled", "draft")),
            )
            .group_by(OrderLine.sku, where)
        )
        found.update(
            ((sku, site), int(units)) for sku, site, units in session.execute(query) if site
        )
    return found


def _buildable(call: Call, sku: str, sites: list[str]) -> dict[str, int]:
    """Kits that could be made of free components, by warehouse."""
    parts = list(
        call.session.scalars(select(KitComponent).where(KitComponent.kit_sku == sku).limit(100))
    )
    if not parts:
        return {}
    free = levels.shelves_of(call.session, call.now, [part.component_sku for part in parts])
    return {
        site: min(
            (shelf.available if (shelf := free.get((p.component_sku, site))) else 0) // p.quantity
            for p in parts
        )
        for site in sites
    }


def _expiring(call: Call, sku: str, site: str, day: date) -> int:
    """Free units that may go out today and will have expired by the day."""
    ids = list(
        call.session.scalars(
            select(Lot.id).where(
                Lot.sku == sku, Lot.expires_on >= call.now.date(), Lot.expires_on < day,
                Lot.state == "active",
            )
        )
    )  # fmt: skip
    if not ids:
        return 0
    by_lot = stock.by_lot(call.session, call.now, sku, site)
    return sum(level.available for lot_id, level in by_lot.items() if lot_id in ids)


def _day(at: datetime | None) -> date | None:
    return at.date() if at else None
