"""Orders as they stand: one order, searches, the feeds other desks live on."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy import and_, func, or_, select
from sqlalchemy.orm import Session

from common.call import Call
from common.errors import InvalidParameters
from common.paging import decoded, encoded, page, plain
from common.rules import meant
from common.storage.database import lock
from common.storage.dialects import dialect_of
from common.tables.claims import Claim
from common.tables.inventory import Variant, Warehouse
from common.tables.logistics import Shipment
from common.tables.orders import (
    Customer,
    Order,
    OrderAdjustment,
    OrderEvent,
    OrderHold,
    OrderLine,
    OrderNote,
)
from common.tables.payments import Payment
from common.tables.returns import Return

MOST_LINES = 200
MOST_EVENTS = 100


@dataclass(frozen=True)
class Whole:
    """An order with everything that hangs on it."""

    order: Order
    customer: Customer
    lines: list[OrderLine]
    adjustments: list[OrderAdjustment]
    holds: list[OrderHold]
    notes: list[OrderNote]
    events: list[OrderEvent]
    shipments: list[str]
    returns: list[str]
    payments: list[str]
    claims: list[str]


def whole(call: Call, order_id: str) -> Whole:
    """The order and the ids that lead on. Raises NotFound."""
    order = find(call, order_id)
    session = call.session
    return Whole(
        order=order,
        customer=call.get(Customer, order.customer_id),
        lines=lines_of(call, order),
        adjustments=_of(session, OrderAdjustment, order.id),
        holds=[h for h in _of(session, OrderHold, order.id) if h.released_at is None],
        notes=_of(session, OrderNote, order.id),
        events=sorted(_of(session, OrderEvent, order.id), key=lambda e: (e.at, e.id)),
        shipments=_ids(session, Shipment, order.id),
        returns=_ids(session, Return, order.id),
        payments=_ids(session, Payment, order.id),
        claims=_ids(session, Claim, order.id),
    )


def find(call: Call, order_id: str) -> Order:
    """The order. Raises NotFound and says how to look for it."""
    return call.get(Order, order_id, next="Look for it with search_orders.")


def changing(call: Call, order_id: str) -> Order:
    """The order, locked: changes of one order wait for each other. Raises NotFound."""
    lock(call.session, Order, [order_id])
    return find(call, order_id)


def lines_of(call: Call, order: Order) -> list[OrderLine]:
    """The order's lines in order of position; each counts among the versions."""
    rows = call.all(OrderLine, OrderLine.order_id == order.id, limit=MOST_LINES)
    return sorted(rows, key=lambda line: (line.position, line.id))


def upcoming(
    call: Call, days: int, warehouse: str | None, cursor: str | None, limit: int
) -> tuple[list[Order], str | None]:
    """Orders still to leave the house whose ship-by is within ``days``, overdue ones first."""
    meant.filters(call, (Warehouse, warehouse))
    query = select(Order).where(
        Order.status.in_(("placed", "confirmed", "in_fulfilment", "on_hold")),
        Order.fulfilment_status.in_(("not_fulfilled", "partially_fulfilled", "fulfilled")),
        Order.ship_by.is_not(None),
        Order.ship_by < call.now + timedelta(days=days),
    )
    if warehouse:
        query = query.where(Order.warehouse_id == warehouse)
    keys: Sequence[Any] = [Order.ship_by, Order.id]
    return page(call.session, query, keys, cursor, limit)


@dataclass(frozen=True)
class Demand:
    sku: str
    warehouse: str
    day: date
    units: int


def demand(
    call: Call, days: int, sku: str | None, warehouse: str | None, cursor: str | None, limit: int
) -> tuple[list[Demand], str | None]:
    """Units ordered by SKU, warehouse and day (UTC), cancellations taken out, latest day first."""
    meant.filters(call, (Variant, sku), (Warehouse, warehouse))
    since = midnight(call.now, call.now.date().isoformat()) - timedelta(days=days)
    day = _day(call.session)
    where = func.coalesce(OrderLine.warehouse_id, "")
    # Not the column itself: to have them in order, all lines ever would be read by item.
    item = plain(OrderLine.sku)
    query = (
        select(item, where, day, func.sum(OrderLine.quantity))
        .where(OrderLine.placed_at >= since, OrderLine.status != "cancelled")
        .group_by(item, where, day)
        .order_by(day.desc(), item, where)
        .limit(limit + 1)
    )
    if sku:
        query = query.where(OrderLine.sku == sku)
    if warehouse:
        query = query.where(OrderLine.warehouse_id == warehouse)
    if cursor:
        query = query.where(_after(cursor, day, where))
    found = [
        Demand(row[0], row[1], date.fromisoformat(str(row[2])), int(row[3]))
        for row in call.session.execute(query)
    ]
    if len(found) <= limit:
        return found, None
    last = found[limit - 1]
    return found[:limit], encoded([last.day.isoformat(), last.sku, last.warehouse])


def _day(session: Session) -> Any:
    # PostgreSQL would take the day of the session's time zone.
    if dialect_of(session) == "postgresql":
        return func.to_char(func.timezone("UTC", OrderLine.placed_at), "YYYY-MM-DD")
    return func.date(OrderLine.placed_at)


def _after(cursor: str, day: Any, where: Any) -> Any:
    last_day, last_sku, last_where = decoded(cursor, 3)
    if not all(isinstance(value, str) for value in (last_day, last_sku, last_where)):
        raise InvalidParameters.field("cursor", cursor, "a cursor from an earlier page")
    same_day = day == last_day
    return or_(
        day < last_day,
        and_(same_day, OrderLine.sku > last_sku),
        and_(same_day, OrderLine.sku == last_sku, where > last_where),
    )


def midnight(now: datetime, day: str) -> datetime:
    """The start of a day in UTC. Raises InvalidParameters outside the years 1970 to 9998."""
    found = date.fromisoformat(day)
    if not 1970 <= found.year <= 9998:
        raise InvalidParameters.field("date", day, "a date between 1970 and 9998")
    return datetime(found.year, found.month, found.day, tzinfo=now.tzinfo)


def _of(session: Session, kind: Any, order_id: str) -> list[Any]:
    query = select(kind).where(kind.order_id == order_id).order_by(kind.id).limit(MOST_EVENTS)
    return list(session.scalars(query))


def _ids(session: Session, kind: Any, order_id: str) -> list[str]:
    query = select(kind.id).where(kind.order_id == order_id).order_by(kind.id).limit(MOST_EVENTS)
    return list(session.scalars(query))
