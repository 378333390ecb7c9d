"""Buying: proposals that keep to the supplier's terms, and purchase orders until they close."""

from datetime import UTC, date, datetime, time, timedelta
from typing import Final

from sqlalchemy import select, text

from common.call import Call, quoted
from common.clock import stamp
from common.errors import InvalidParameters, RuleViolation
from common.money import LARGEST_MINOR, Money
from common.paging import page, plain
from common.rules import meant
from common.storage.database import lock
from common.storage.locks import one_at_a_time
from common.tables.inventory import (
    COMING,
    OPEN_PURCHASE,
    PurchaseLine,
    PurchaseOrder,
    ReorderPolicy,
    Supplier,
    SupplierItem,
    Variant,
    Warehouse,
)
from common.tables.stock_documents import Receipt
from servers.inventory import catalogue, levels
from servers.inventory.results import OrderedLine, PurchaseOrders, PurchaseOrderView, Reorder

# What may follow what. Receiving moves an order on by itself.
NEXT_STATES: Final[dict[str, dict[str, str]]] = {
    "send": {"approved": "sent"},
    "acknowledge": dict.fromkeys(("approved", "sent", "acknowledged"), "acknowledged")
    | {"partially_received": "partially_received"},
    "cancel": dict.fromkeys(("approved", "sent", "acknowledged"), "cancelled"),
    "close": {"partially_received": "closed", "received": "closed"},
}
MOST_LINES: Final = 200


def create_reorder(
    call: Call, sku: str, quantity: int, warehouse: str, supplier: str | None, reason: str,
    even_if_open: bool,
) -> Reorder:  # fmt: skip
    """A purchase order of one item, rounded up to the supplier's minimum and packs.

    Raises NotFound (item, warehouse, nobody sells it), RuleViolation when an order for the item is
    open and it is not forced, InvalidParameters when it would cost more than can be booked.
    """
    item = catalogue.variant(call, sku)
    site = catalogue.warehouse(call, warehouse, working=True)
    seller, terms = catalogue.terms(call, sku, warehouse, supplier)
    one_at_a_time(call.session, f"reorder:{sku}|{warehouse}")
    open_orders = _open_orders(call, sku, warehouse)
    if open_orders and not even_if_open:
        raise RuleViolation(
            f"{sku} is already on order for {warehouse}.",
            details={"open_orders": open_orders},
            next="Expedite the open order, or call again with even_if_open=true if the person "
            "wants another one.",
        )
    units, arithmetic = rounded(quantity, terms)
    total = units * terms.unit_cost_minor
    if total > LARGEST_MINOR:
        raise InvalidParameters.field("quantity", quantity, "an order that can be booked")
    call.stake(amount_minor=total, currency=terms.currency, units=units)
    call.show(
        f"Order {units} of {sku} for {site.id}",
        f"{quoted(item.name)} from {quoted(seller.name)} ({seller.id})",
        f"{units} x {Money(terms.unit_cost_minor, terms.currency)} = "
        f"{Money(total, terms.currency)}",
        *arithmetic,
        f"lead time {terms.lead_time_millidays / 1000:.1f} days",
        *([f"already on order: {', '.join(open_orders)}"] if open_orders else []),
        *(["the item is ending"] if _ending(call, sku, warehouse) else []),
        *([f"reason given: {quoted(reason)}"] if reason else []),
    )
    coming = levels.incoming_units(call.session, [sku], warehouse).get((sku, warehouse), 0)
    call.figure(f"{sku} on order for {warehouse}", coming, coming + units)
    order = _write(call, seller.id, warehouse, terms, units, reason, forced=even_if_open)
    assert order.expected_at is not None
    return Reorder(
        purchase_order_id=order.id, state=order.state, sku=sku, warehouse=warehouse,
        supplier=seller.id, quantity=units, arithmetic=arithmetic,
        unit_cost_minor=terms.unit_cost_minor, total_minor=total, currency=terms.currency,
        expected_on=order.expected_at.date().isoformat(), open_orders=open_orders or None,
    )  # fmt: skip


def rounded(quantity: int, terms: SupplierItem) -> tuple[int, list[str]]:
    """Units to order by the supplier's minimum and multiple, and how they came about."""
    lines = [f"asked for {quantity}"]
    least = max(quantity, terms.minimum_order)
    if least > quantity:
        lines.append(f"minimum order {terms.minimum_order}: {least}")
    units = -(-least // terms.pack_multiple) * terms.pack_multiple
    if units > least:
        packs = units // terms.pack_multiple
        lines.append(f"packs of {terms.pack_multiple}: {packs} packs are {units}")
    return units, lines


def update_purchase_order(
    call: Call, purchase_order_id: str, action: str, expected_on: str | None,
    supplier_reference: str | None,
) -> PurchaseOrderView:  # fmt: skip
    """Note that an order was sent, confirmed, cancelled or closed. Raises RuleViolation when its
    state does not allow it, InvalidParameters for a day that is past."""
    lock(call.session, PurchaseOrder, [purchase_order_id])
    order = call.get(PurchaseOrder, purchase_order_id)
    lines = lines_of(call, order)
    following = NEXT_STATES[action].get(order.state)
    if following is None:
        allowed = [word for word, steps in NEXT_STATES.items() if order.state in steps]
        raise RuleViolation(
            f"Purchase order {order.id} is {order.state}: {action} is not possible.",
            details={"state": order.state, "allowed": allowed},
        )  # fmt: skip
    if expected_on is not None:
        _expect(call, order, lines, expected_on, action)
    ends = action in ("cancel", "close")
    gone = sum(outstanding(line) for line in lines) if ends else 0
    call.stake(cancels=action == "cancel" or gone > 0)
    call.show(
        f"{action.capitalize()} purchase order {order.id}",
        f"{Money(order.total_minor, order.currency)}, supplier {order.supplier_id}",
        *([f"{gone} units will not come"] if gone else []),
    )
    order.state = following
    if action == "send":
        order.sent_at = call.now
    if ends:
        _end(call, order, lines, cancelled=action == "cancel")
    order.supplier_reference = supplier_reference or order.supplier_reference
    for line in lines:
        line.draft_key = None
    call.effect(action, "purchase_order", order.id)
    call.session.flush()
    return view(call, order)


def list_purchase_orders(
    call: Call, purchase_order_id: str | None, state: str, sku: str | None, supplier: str | None,
    warehouse: str | None, limit: int, cursor: str | None,
) -> PurchaseOrders:  # fmt: skip
    """Newest first. ``state`` may also be ``open`` or ``late``. Raises NotFound for an id."""
    if purchase_order_id is not None:
        order = call.get(PurchaseOrder, purchase_order_id)
        return PurchaseOrders(orders=[view(call, order, whole=True)])
    meant.filters(call, (Supplier, supplier), (Warehouse, warehouse), (Variant, sku))
    query = select(PurchaseOrder)
    few = state in ("open", "late")
    if few:
        query = query.where(text(OPEN_PURCHASE))
        if state == "late":
            query = query.where(PurchaseOrder.expected_at < call.now)
    elif state != "all":
        query = query.where(PurchaseOrder.state == state)
    if supplier is not None:
        by = plain(PurchaseOrder.supplier_id) if few else PurchaseOrder.supplier_id
        query = query.where(by == supplier)
    if warehouse is not None:
        to = plain(PurchaseOrder.warehouse_id) if few else PurchaseOrder.warehouse_id
        query = query.where(to == warehouse)
    if sku is not None:
        with_it = select(PurchaseLine.purchase_order_id).where(PurchaseLine.sku == sku)
        query = query.where(PurchaseOrder.id.in_(with_it))
    keys = (PurchaseOrder.created_at, PurchaseOrder.id)
    rows, following = page(call.session, query, keys, cursor, limit, descending=True)
    return PurchaseOrders(orders=[view(call, row) for row in rows], next_cursor=following)


def view(call: Call, order: PurchaseOrder, *, whole: bool = False) -> PurchaseOrderView:
    """The order with its lines; ``whole`` adds its receipts."""
    receipts = select(Receipt.id).where(Receipt.purchase_order_id == order.id)
    lines = lines_of(call, order)
    articles = _articles(call, order.supplier_id, [line.sku for line in lines])
    return PurchaseOrderView(
        purchase_order_id=order.id,
        state=order.state,
        supplier=order.supplier_id,
        warehouse=order.warehouse_id,
        total_minor=order.total_minor,
        currency=order.currency,
        created_at=stamp(order.created_at),
        expected_on=order.expected_at.date().isoformat() if order.expected_at else None,
        lines=[_line(line, articles) for line in lines],
        receipts=list(call.session.scalars(receipts.order_by(Receipt.id).limit(50)))
        if whole
        else None,
    )


def lines_of(call: Call, order: PurchaseOrder) -> list[PurchaseLine]:
    """Its lines in order."""
    rows = call.all(PurchaseLine, PurchaseLine.purchase_order_id == order.id, limit=MOST_LINES)
    return sorted(rows, key=lambda line: line.position)


def outstanding(line: PurchaseLine) -> int:
    """Units of the line still to come."""
    if not line.open:
        return 0
    return max(0, line.ordered - (line.received - line.over) - line.damaged - line.short)


def _articles(call: Call, supplier: str, skus: list[str]) -> dict[str, str | None]:
    """The supplier's own numbers of these items: what it understands on an order."""
    query = select(SupplierItem.sku, SupplierItem.supplier_sku).where(
        SupplierItem.supplier_id == supplier, SupplierItem.sku.in_(skus)
    )
    return dict(call.session.execute(query).all())


def _line(line: PurchaseLine, articles: dict[str, str | None]) -> OrderedLine:
    return OrderedLine(
        sku=line.sku, supplier_sku=articles.get(line.sku), ordered=line.ordered,
        received=line.received, outstanding=outstanding(line), damaged=line.damaged or None,
        over=line.over or None, short=line.short or None, unit_cost_minor=line.unit_cost_minor,
    )  # fmt: skip


def _open_orders(call: Call, sku: str, warehouse: str) -> list[str]:
    query = (
        select(PurchaseOrder.id, PurchaseOrder.state, levels.outstanding())
        .join(PurchaseLine, PurchaseLine.purchase_order_id == PurchaseOrder.id)
        .where(
            PurchaseLine.sku == sku,
            PurchaseLine.open.is_(True),
            PurchaseOrder.warehouse_id == warehouse,
            PurchaseOrder.state.in_(COMING),
        )
        .order_by(PurchaseOrder.id)
        .limit(20)
    )
    return [f"{id} ({state}, {units} to come)" for id, state, units in call.session.execute(query)]


def _ending(call: Call, sku: str, warehouse: str) -> bool:
    rows = call.all(
        ReorderPolicy, ReorderPolicy.sku == sku, ReorderPolicy.warehouse_id == warehouse
    )
    return any(row.ending for row in rows)


def _write(
    call: Call, supplier: str, warehouse: str, terms: SupplierItem, units: int, reason: str,
    *, forced: bool,
) -> PurchaseOrder:  # fmt: skip
    """The order as a person has just approved it: nobody but the policy let this call get here."""
    expected = call.now + timedelta(days=1) * terms.lead_time_millidays / 1000
    order = call.add(
        PurchaseOrder(
            id=call.new_id("purchase_order"), supplier_id=supplier, warehouse_id=warehouse,
            state="approved", currency=terms.currency,
            total_minor=units * terms.unit_cost_minor, reason=reason, created_at=call.now,
            expected_at=expected,
        )
    )  # fmt: skip
    call.add(
        PurchaseLine(
            id=call.new_id("purchase_line"), purchase_order_id=order.id, position=0,
            sku=terms.sku, ordered=units, unit_cost_minor=terms.unit_cost_minor,
            expected_at=expected,
            draft_key=None if forced else f"{terms.sku}|{warehouse}|{supplier}",
        )
    )  # fmt: skip
    return order


def _expect(
    call: Call, order: PurchaseOrder, lines: list[PurchaseLine], expected_on: str, action: str
) -> None:
    if action not in ("send", "acknowledge"):
        raise InvalidParameters.field("expected_on", expected_on, "only when sent or acknowledged")
    day = date.fromisoformat(expected_on)
    if day < call.now.date():
        raise InvalidParameters.field("expected_on", expected_on, "today or later")
    expected = datetime.combine(day, time(23, 59, 59), UTC)
    order.expected_at = expected
    for line in lines:
        if line.open:
            line.expected_at = expected


def _end(call: Call, order: PurchaseOrder, lines: list[PurchaseLine], *, cancelled: bool) -> None:
    order.closed_at = call.now
    for line in lines:
        if line.open and not cancelled:
            line.short += outstanding(line)
        line.open = False
