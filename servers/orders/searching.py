"""Finding orders by any of their sides, as quick among a million as among a few.

One side leads: its index holds the orders in the order of the answer, and is entered at the cursor.
Without statistics a database may well walk through every completed order to find one customer's,
so where one side leads, the others are written such that no index fits them (``plain``).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, or_, select, text
from sqlalchemy.orm import InstrumentedAttribute

from common.call import Call
from common.paging import before, page, plain
from common.rules import meant
from common.tables.inventory import Variant, Warehouse
from common.tables.orders import MAY_BE_LATE, Customer, Order, OrderLine
from servers.orders.service import midnight

# A side that so few orders have leads, whatever else is asked for.
FEW: Final = 200


@dataclass(frozen=True)
class Wanted:
    """Filters of a search; None leaves one out."""

    customer_id: str | None = None
    email: str | None = None
    status: str | None = None
    payment_status: str | None = None
    fulfilment_status: str | None = None
    warehouse: str | None = None
    sku: str | None = None
    placed_from: str | None = None
    placed_to: str | None = None
    late: bool = False
    drafts: bool = False

    @property
    def axes(self) -> list[tuple[InstrumentedAttribute[Any], str]]:
        """The columns that must have a value, and the value."""
        every = (
            (Order.status, self.status),
            (Order.payment_status, self.payment_status),
            (Order.fulfilment_status, self.fulfilment_status),
            (Order.warehouse_id, self.warehouse),
        )
        return [(column, value) for column, value in every if value is not None]


def search(
    call: Call, wanted: Wanted, cursor: str | None, limit: int
) -> tuple[list[Order], str | None]:
    """Orders that fit, the latest first. ``drafts``: what was never placed instead, those dropped
    since as well; status ``draft`` asks for it, too."""
    meant.filters(
        call, (Customer, wanted.customer_id), (Warehouse, wanted.warehouse), (Variant, wanted.sku)
    )
    meant.in_order("placed_from", wanted.placed_from, "placed_to", wanted.placed_to)
    drafts = wanted.drafts or wanted.status == "draft"
    keys: Sequence[Any] = [Order.id] if drafts else [Order.placed_at, Order.id]
    lead = "axes" if drafts else _lead(call, wanted)
    if lead == "item":
        query = select(Order).where(Order.id.in_(_with_item(call, wanted, cursor, limit)))
    else:
        query = _query(call, wanted, lead, drafts=drafts)
    return page(call.session, query, keys, cursor, limit, descending=True)


def _lead(call: Call, wanted: Wanted) -> str:
    """The side whose index is walked."""
    owned = wanted.customer_id is not None or wanted.email is not None
    other = "owner" if owned else "item" if wanted.sku else "late" if wanted.late else "axes"
    if other == "axes" or not wanted.axes:
        return other
    few = select(Order.id).where(
        Order.placed_at.is_not(None), *_dates(call, wanted, Order.placed_at),
        # More than two have no index of their own.
        *(column == value for column, value in wanted.axes[:2]),
    )  # fmt: skip
    many = call.session.scalar(few.order_by(Order.placed_at.desc()).offset(FEW).limit(1))
    return other if many else "axes"


def _query(call: Call, wanted: Wanted, lead: str, *, drafts: bool) -> Select[Order]:
    placed = Order.placed_at.is_(None) if drafts else Order.placed_at.is_not(None)
    query = select(Order).where(placed, *_dates(call, wanted, Order.placed_at))
    for column, value in wanted.axes:
        query = query.where((column if lead == "axes" else plain(column)) == value)
    customer = plain(Order.customer_id) if wanted.axes and lead == "axes" else Order.customer_id
    if wanted.customer_id is not None:
        query = query.where(customer == wanted.customer_id)
    if wanted.email is not None:
        who = select(Customer.id).where(Customer.email_key == wanted.email.casefold())
        ids = list(call.session.scalars(who.limit(2)))
        # Those of one customer are in order already.
        query = query.where(customer == ids[0] if len(ids) == 1 else customer.in_(who))
    if wanted.sku is not None:
        line = select(OrderLine.id).where(
            OrderLine.order_id == Order.id, plain(OrderLine.sku) == wanted.sku
        )
        query = query.where(line.exists())
    if wanted.late:
        query = query.where(_late(call.now), Order.status != "cancelled")
    return query.where(text(MAY_BE_LATE)) if lead == "late" else query


def _with_item(call: Call, wanted: Wanted, cursor: str | None, limit: int) -> list[str]:
    """The next orders with a line of the item, from the item's lines, which repeat when their
    order was placed."""
    keys = (OrderLine.placed_at, OrderLine.order_id)
    query = (
        select(OrderLine.order_id)
        .where(OrderLine.sku == wanted.sku, OrderLine.placed_at.is_not(None))
        .where(*_dates(call, wanted, OrderLine.placed_at))
        .group_by(*keys)
        .order_by(*(key.desc() for key in keys))
        .limit(limit + 1)
    )
    conditions = [column == value for column, value in wanted.axes]
    if wanted.late:
        conditions += [_late(call.now), Order.status != "cancelled"]
    if conditions:
        order = select(Order.id).where(Order.id == OrderLine.order_id, *conditions)
        query = query.where(order.exists())
    if cursor:
        query = query.where(before(cursor, keys))
    return list(call.session.scalars(query))


def _dates(
    call: Call, wanted: Wanted, placed_at: InstrumentedAttribute[datetime | None]
) -> list[ColumnElement[bool]]:
    found = []
    if wanted.placed_from:
        found.append(placed_at >= midnight(call.now, wanted.placed_from))
    if wanted.placed_to:
        found.append(placed_at < midnight(call.now, wanted.placed_to) + timedelta(days=1))
    return found


def _late(now: datetime) -> ColumnElement[bool]:
    """Promised for a moment that has passed undelivered, or delivered after it; or never shipped
    although its ship-by has passed."""
    return or_(
        Order.delivered_at > Order.promised_at,
        (Order.delivered_at.is_(None)) & (Order.promised_at < now),
        (Order.shipped_at.is_(None)) & (Order.ship_by < now),
        Order.shipped_at > Order.promised_at,
    )
