"""Goods at the dock, of purchase orders: in part, too many, too few, damaged, wrong."""

from dataclasses import dataclass
from datetime import date
from typing import Final

from sqlalchemy import ColumnElement, select

from common.call import Call
from common.errors import InvalidParameters, NotFound, RuleViolation
from common.ledgers.accounts import lock as lock_accounts
from common.rules import stock
from common.storage.database import lock
from common.storage.locks import one_at_a_time
from common.tables.inventory import COMING, Location, Lot, PurchaseLine, PurchaseOrder, Variant
from common.tables.orders import BACKORDERED, Order, OrderLine
from common.tables.stock_documents import Receipt, ReceiptLine
from common.wire import Args, Count, Day, Identifier, Sku
from servers.inventory import catalogue, costs, purchasing
from servers.inventory.results import Discrepancy, Received

# More than this share of an order is sent back, not booked.
OVER_TOLERANCE_PERCENT: Final = 10
WAITING_SHOWN: Final = 20


class ReceivedLine(Args):
    """``received`` are good units. ``wrong_item``: not ordered, goes to quarantine."""

    sku: Sku
    received: Count
    damaged: Count = 0
    lot: Identifier | None = None
    expires_on: Day | None = None
    produced_on: Day | None = None
    location: Identifier | None = None
    wrong_item: bool = False


@dataclass
class _Arrival:
    """One line at the dock, checked; ``status`` is where its good units go."""

    given: ReceivedLine
    item: Variant
    line: PurchaseLine | None
    lot: Lot | None
    location_id: str | None
    status: stock.Status
    expired: bool


def receive_purchase_order(
    call: Call, purchase_order_id: str, lines: list[ReceivedLine], delivery_note: str | None,
    close_short: bool,
) -> Received:  # fmt: skip
    """Book a delivery. What differs from the order is kept on the receipt.

    Raises RuleViolation (state, delivery note booked before, more than tolerated), NotFound,
    InvalidParameters (nothing counted, an item that was not ordered, lots).
    """
    lock(call.session, PurchaseOrder, [purchase_order_id])
    order = call.get(PurchaseOrder, purchase_order_id)
    if order.state not in COMING:
        raise RuleViolation(
            f"Purchase order {order.id} is {order.state}: nothing can be received on it.",
            details={"state": order.state},
        )
    refuse_known_note(call, Receipt.purchase_order_id == order.id, delivery_note)
    ordered = purchasing.lines_of(call, order)
    arrivals = [_arrival(call, order, ordered, line) for line in lines]
    _lock_stock(call, order, arrivals)
    receipt = call.add(
        Receipt(
            id=call.new_id("receipt"), purchase_order_id=order.id,
            warehouse_id=order.warehouse_id, state="counted", delivery_note=delivery_note,
            received_at=call.now,
        )
    )  # fmt: skip
    found: list[Discrepancy] = []
    for arrival in arrivals:
        found += _book(call, order, receipt, arrival)
    gone = sum(purchasing.outstanding(line) for line in ordered) if close_short else 0
    if close_short:
        found += _close_short(call, receipt, ordered)
    _settle(order, ordered)
    receipt.state = "putaway" if found else "closed"
    call.effect("receive", "purchase_order", order.id)
    came = sum(line.received + line.damaged for line in lines)
    call.stake(units=came, cancels=gone > 0)
    call.show(
        f"Receive {came} units of purchase order {order.id}",
        *([f"{gone} units will not come"] if gone else []),
    )
    call.session.flush()
    return Received(
        receipt_id=receipt.id,
        document=order.id,
        state=order.state,
        good=sum(a.given.received for a in arrivals if a.status == "available"),
        damaged=sum(line.damaged for line in lines),
        outstanding=sum(purchasing.outstanding(line) for line in ordered),
        discrepancies=found,
        waiting_orders=_waiting(call, [a.item.id for a in arrivals]) or None,
    )


def refuse_nothing(received: int, *others: int) -> None:
    """Raises InvalidParameters for a line that counts nothing."""
    if received + sum(others) == 0:
        raise InvalidParameters.field("received", 0, "at least one unit in a line")


def refuse_known_note(call: Call, mine: ColumnElement[bool], note: str | None) -> None:
    """Raises RuleViolation for a delivery note that one of ``mine``, receipts, has already."""
    if note is None:
        return
    query = select(Receipt.id).where(mine, Receipt.delivery_note == note)
    known = call.session.scalar(query.limit(1))
    if known is not None:
        raise RuleViolation(
            "This delivery note was booked before.",
            details={"receipt_id": known},
            next="See what is still outstanding; book only what that receipt does not have.",
        )


def _arrival(
    call: Call, order: PurchaseOrder, ordered: list[PurchaseLine], given: ReceivedLine
) -> _Arrival:
    refuse_nothing(given.received, given.damaged)
    item = catalogue.variant(call, given.sku)
    lines = [line for line in ordered if line.sku == given.sku]
    if bool(lines) == given.wrong_item:
        wanted = "a SKU of this order, or wrong_item=true" if not lines else "false: it was ordered"
        field = "sku" if not lines else "wrong_item"
        raise InvalidParameters.field(field, given.sku, wanted)
    lot = _lot(call, item, order.supplier_id, given)
    today = call.now.date()
    expired = lot is not None and lot.expires_on is not None and lot.expires_on < today
    held = lot is not None and lot.state != "active"
    return _Arrival(
        given=given,
        item=item,
        line=next((line for line in lines if line.open), lines[-1] if lines else None),
        lot=lot,
        location_id=_location(call, order.warehouse_id, given.location),
        status="quarantine" if given.wrong_item or expired or held else "available",
        expired=expired,
    )


def _lot(call: Call, item: Variant, supplier: str, given: ReceivedLine) -> Lot | None:
    if not item.lot_tracked:
        if any((given.lot, given.expires_on, given.produced_on)):
            raise InvalidParameters.field("lot", given.lot, f"none: {item.id} has no lots")
        return None
    if given.lot is None:
        raise InvalidParameters.field("lot", None, f"needed: {item.id} is kept in lots")
    expires_on, produced_on = (
        date.fromisoformat(day) if day else None for day in (given.expires_on, given.produced_on)
    )
    one_at_a_time(call.session, f"lot:{item.id}")
    query = select(Lot).where(Lot.sku == item.id, Lot.code == given.lot)
    row = call.session.scalars(query).one_or_none()
    if row is None:
        row = call.add(
            Lot(
                id=call.new_id("lot"), sku=item.id, code=given.lot, expires_on=expires_on,
                produced_on=produced_on, supplier_id=supplier, state="active",
                received_at=call.now,
            )
        )  # fmt: skip
    row.produced_on = row.produced_on or produced_on
    for name, day, there in (
        ("expires_on", expires_on, row.expires_on), ("produced_on", produced_on, row.produced_on),
    ):  # fmt: skip
        if day is not None and day != there:
            raise InvalidParameters.field(name, day, f"{there}, as this lot had before")
    if row.produced_on and row.expires_on and row.expires_on < row.produced_on:
        raise InvalidParameters.field("produced_on", row.produced_on, "a date not after expires_on")
    return row


def _location(call: Call, warehouse: str, code: str | None) -> str | None:
    if code is None:
        return None
    query = select(Location.id).where(Location.warehouse_id == warehouse, Location.code == code)
    found = call.session.scalar(query)
    if found is None:
        raise NotFound("No such location in this warehouse.", details={"location": code})
    return str(found)


def _lock_stock(call: Call, order: PurchaseOrder, arrivals: list[_Arrival]) -> None:
    keys = []
    for a in arrivals:
        for status in (a.status, "damaged"):
            code = stock.place(order.warehouse_id, status, a.lot.id if a.lot else None)
            keys.append((stock.units(a.item.id), code))
    lock_accounts(call.session, [*keys, *((name, stock.SUPPLIER) for name, _ in keys)])


def _book(call: Call, order: PurchaseOrder, receipt: Receipt, a: _Arrival) -> list[Discrepancy]:
    given, sku = a.given, a.item.id
    cost = (a.line.unit_cost_minor if a.line else a.item.unit_cost_minor or 0) * costs.E6
    expected = purchasing.outstanding(a.line) if a.line else 0
    found = _differences(order, a)
    units = given.received + given.damaged
    if a.line is not None:
        costs.blend(call, sku, order.warehouse_id, units, cost, order.currency)
    lot_id = a.lot.id if a.lot else None
    counts: list[tuple[int, stock.Status]] = [
        (given.received, a.status),
        (given.damaged, "damaged"),
    ]
    for count, status in counts:
        if count:
            stock.receive(
                call, sku, order.warehouse_id, count, receipt.id, status=status, lot=lot_id
            )
    call.add(
        ReceiptLine(
            id=call.new_id("item"), receipt_id=receipt.id,
            purchase_line_id=a.line.id if a.line else None, sku=sku, lot_id=lot_id,
            location_id=a.location_id, expected=expected, good=given.received,
            damaged=given.damaged, discrepancy=found[0].kind if found else None,
            note="; ".join(f"{d.kind} {d.units}" for d in found),
        )
    )  # fmt: skip
    return found


def _differences(order: PurchaseOrder, a: _Arrival) -> list[Discrepancy]:
    """Count the arrival on its line, say what differs. Raises RuleViolation beyond tolerance."""
    given, line, sku = a.given, a.line, a.item.id
    if line is None:
        return [Discrepancy(sku=sku, kind="wrong_item", units=given.received + given.damaged)]
    good = 0 if a.expired else given.received
    bad = given.damaged + (given.received if a.expired else 0)
    arrived = line.received + line.damaged + line.short + good + bad
    most = line.ordered + line.ordered * OVER_TOLERANCE_PERCENT // 100
    if arrived > most:
        raise RuleViolation(
            f"{arrived} of {sku} would have come, {line.ordered} were ordered; "
            f"{OVER_TOLERANCE_PERCENT} % more are tolerated.",
            details={"sku": sku, "ordered": line.ordered, "most": most, "would_be": arrived},
            next=f"Book at most {most - arrived + good + bad} and ask the person about the rest.",
        )
    over = max(0, min(good, arrived - line.ordered - line.over))
    line.received += good
    line.damaged += bad
    line.over += over
    if arrived >= line.ordered:
        line.open = False
        line.draft_key = None
    found = [("over", over), ("damaged", given.damaged)]
    found.append(("expired", given.received if a.expired else 0))
    return [Discrepancy(sku=sku, kind=kind, units=units) for kind, units in found if units]


def _close_short(call: Call, receipt: Receipt, ordered: list[PurchaseLine]) -> list[Discrepancy]:
    found = []
    for line in ordered:
        missing = purchasing.outstanding(line)
        if missing:
            line.short += missing
            found.append(Discrepancy(sku=line.sku, kind="short", units=missing))
            call.add(
                ReceiptLine(
                    id=call.new_id("item"), receipt_id=receipt.id, purchase_line_id=line.id,
                    sku=line.sku, expected=missing, good=0, discrepancy="short",
                    note=f"short {missing}",
                )
            )  # fmt: skip
        line.open = False
        line.draft_key = None
    return found


def _settle(order: PurchaseOrder, ordered: list[PurchaseLine]) -> None:
    done = not any(line.open for line in ordered)
    order.state = "received" if done else "partially_received"


def _waiting(call: Call, skus: list[str]) -> list[str]:
    query = (
        select(OrderLine.order_id)
        .join(Order, Order.id == OrderLine.order_id)
        .where(
            OrderLine.sku.in_(skus),
            OrderLine.status == BACKORDERED,
            Order.status.not_in(("cancelled", "draft")),
        )
        .distinct()
        .order_by(OrderLine.order_id)
    )
    return list(call.session.scalars(query.limit(WAITING_SHOWN)))
