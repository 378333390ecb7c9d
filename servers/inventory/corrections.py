"""Stock that is not what or where the books say: adjustments, changes of status, recalls."""

from typing import Final, cast

from sqlalchemy import select

from common.call import Call, quoted
from common.errors import InvalidParameters, RuleViolation
from common.ledgers import ledger
from common.money import Money
from common.rules import reserving, stock
from common.storage.database import lock
from common.tables.inventory import Lot, Product, Reservation, Variant
from common.tables.logistics import Shipment, ShipmentLine
from common.tables.stock_documents import ReceiptLine, StockAdjustment
from servers.inventory import catalogue, costs, levels
from servers.inventory.results import Moved, Recall

GAINS: Final = frozenset({"found", "data_entry"})
LOSSES: Final = frozenset(
    {
        "shrinkage",
        "theft",
        "damaged",
        "expired",
        "data_entry",
        "sample",
        "donation",
        "write_off",
    }
)
# The ledger's code for each step that goods may take.
STEPS: Final[dict[tuple[str, str], str]] = {
    ("available", "quarantine"): "quarantine",
    ("damaged", "quarantine"): "quarantine",
    ("inspection", "quarantine"): "quarantine",
    ("quarantine", "available"): "unquarantine",
    ("damaged", "available"): "unquarantine",
    ("inspection", "available"): "restock",
    ("refurbish", "available"): "restock",
    ("available", "damaged"): "damage",
    ("quarantine", "damaged"): "damage",
    ("inspection", "damaged"): "damage",
    ("inspection", "refurbish"): "refurbish",
    ("damaged", "refurbish"): "refurbish",
    ("quarantine", "refurbish"): "refurbish",
} | {
    (status, away): code
    for status in ("available", "quarantine", "damaged", "inspection", "refurbish")
    for away, code in (("scrap", "scrap"), ("supplier", "supplier_return"))
}
AWAY: Final = frozenset({"scrap", "supplier"})
SHOWN: Final = 50


def adjust_stock(
    call: Call, sku: str, warehouse: str, quantity: int, reason: str, status: stock.Status,
    lot: str | None, note: str,
) -> Moved:  # fmt: skip
    """Correct the books by a signed number of units. Raises NotFound, InvalidParameters (0, a
    reason of the other direction), InsufficientStock when more are missing than are free."""
    item = catalogue.variant(call, sku)
    catalogue.warehouse(call, warehouse)
    if quantity == 0:
        raise InvalidParameters.field("quantity", 0, "more or fewer than 0")
    allowed = GAINS if quantity > 0 else LOSSES
    if reason not in allowed:
        which = "more" if quantity > 0 else "fewer"
        raise InvalidParameters.field(
            "reason", reason, f"for {which} units one of {', '.join(sorted(allowed))}"
        )
    lot_id = catalogue.lot_of(call, item, lot)
    worth, currency = costs.value(call, item, warehouse, quantity)
    call.stake(amount_minor=worth, currency=currency, units=abs(quantity))
    call.show(
        f"Adjust {sku} in {warehouse} by {quantity:+d}",
        f"{quoted(item.name)}, {status}, reason {reason}, worth {Money(worth, currency)}",
        *([f"note: {quoted(note)}"] if note else []),
    )
    before = stock.level(call.session, call.now, sku, warehouse).on_hand
    call.figure(f"{sku} on hand in {warehouse}", before, before + quantity)
    row = record(call, item, warehouse, quantity, reason, status=status, lot_id=lot_id, note=note)
    return moved(call, row.id, item, warehouse, quantity, worth, currency)


def record(
    call: Call, item: Variant, warehouse: str, difference: int, reason: str, *,
    status: stock.Status = "available", lot_id: str | None = None, note: str = "",
    count_line_id: str | None = None,
) -> StockAdjustment:  # fmt: skip
    """Book a difference and its document. Raises InsufficientStock."""
    id = call.new_id("adjustment")
    transfer_id = stock.adjust(
        call, item.id, warehouse, difference, id, status=status, lot=lot_id,
        counted=count_line_id is not None,
    )  # fmt: skip
    return call.add(
        StockAdjustment(
            id=id, sku=item.id, warehouse_id=warehouse, lot_id=lot_id, status=status,
            quantity=difference, reason=reason, note=note, count_line_id=count_line_id,
            transfer_id=transfer_id, at=call.now,
        )
    )  # fmt: skip


def move_stock(
    call: Call, sku: str, warehouse: str, quantity: int, from_status: stock.Status, to: str,
    lot: str | None, reason: str,
) -> Moved:  # fmt: skip
    """Units to another status, to scrap or back to the supplier. Raises RuleViolation for a step
    goods do not take, InsufficientStock."""
    item = catalogue.variant(call, sku)
    catalogue.warehouse(call, warehouse)
    code = STEPS.get((from_status, to))
    if code is None:
        steps = sorted(target for source, target in STEPS if source == from_status)
        raise RuleViolation(
            f"Units do not go from {from_status} to {to}.", details={"possible": steps}
        )
    lot_id = catalogue.lot_of(call, item, lot)
    if to == "available":
        _check_sellable(call, item, from_status, lot_id)
    worth, currency = costs.value(call, item, warehouse, quantity)
    leaves = to in AWAY
    call.stake(
        amount_minor=worth if leaves else 0, currency=currency,
        units=quantity if leaves else 0, back_on_sale=to == "available",
    )  # fmt: skip
    call.show(
        f"Move {quantity} of {sku} in {warehouse} from {from_status} to {to}",
        f"{quoted(item.name)}, worth {Money(worth, currency)}",
        f"reason given: {quoted(reason)}",
    )
    target = cast(stock.Status | stock.World, to)
    id = stock.move(
        call, sku, warehouse, from_status, target, quantity, code, call.audit_id, lot=lot_id
    )
    call.effect("move", "variant", sku, units=quantity, to=to)
    return moved(call, id, item, warehouse, quantity, worth, currency)


def moved(
    call: Call, document: str, item: Variant, warehouse: str, units: int, worth: int, currency: str
) -> Moved:
    """The answer: levels as they are now."""
    level = stock.level(call.session, call.now, item.id, warehouse)
    return Moved(
        document=document, sku=item.id, warehouse=warehouse, units=units, on_hand=level.on_hand,
        available=levels.available(call, item, warehouse), value_minor=worth,
        currency=currency,
    )  # fmt: skip


def recall_lot(call: Call, sku: str, lot: str, reason: str) -> Recall:
    """Withdraw a lot everywhere: what is free goes to quarantine, nothing more is reserved or
    sold. Says what is still reserved and which orders had it. Raises NotFound."""
    item = catalogue.variant(call, sku)
    found = catalogue.lot(call, sku, lot)
    lock(call.session, Lot, [found.id])
    row = call.get(Lot, found.id)
    row.state = "recalled"
    quarantined = _quarantine(call, item, row)
    reserved = _reserved(call, row)
    shipped = _shipped(call, row)
    receipts = select(ReceiptLine.receipt_id).where(ReceiptLine.lot_id == row.id).distinct()
    call.stake(units=quarantined)
    call.show(
        f"Recall lot {quoted(row.code)} of {sku}",
        f"{quoted(item.name)}: free units go to quarantine in every warehouse",
        f"reason given: {quoted(reason)}",
    )
    call.effect("recall", "lot", row.id)
    call.session.flush()
    return Recall(
        lot_id=row.id, state=row.state, quarantined=quarantined, still_reserved=reserved,
        shipped_orders=shipped, receipts=list(call.session.scalars(receipts.limit(SHOWN))),
    )  # fmt: skip


def _quarantine(call: Call, item: Variant, lot: Lot) -> int:
    total = 0
    for _, warehouse in sorted(stock.levels(call.session, call.now, [item.id])):
        level = stock.by_lot(call.session, call.now, item.id, warehouse).get(lot.id)
        if level is not None and level.available:
            stock.move(
                call, item.id, warehouse, "available", "quarantine", level.available,
                "quarantine", lot.id, lot=lot.id,
            )  # fmt: skip
            total += level.available
    return total


def _reserved(call: Call, lot: Lot) -> list[str]:
    query = select(Reservation).where(
        Reservation.lot_id == lot.id, Reservation.state.in_(reserving.OPEN)
    )
    rows = list(call.session.scalars(query.order_by(Reservation.id).limit(SHOWN)))
    states = ledger.states_of(call.session, [row.transfer_id for row in rows], call.now)
    return [
        f"{row.id}: {row.quantity} for {row.source_type} {row.source_id}"
        for row in rows
        if states[row.transfer_id].open
    ]


def _shipped(call: Call, lot: Lot) -> list[str]:
    """Orders whose shipment or consumed reservation names the lot."""
    shipments = (
        select(Shipment.order_id)
        .join(ShipmentLine, ShipmentLine.shipment_id == Shipment.id)
        .where(ShipmentLine.lot_id == lot.id, Shipment.order_id.is_not(None))
        .distinct()
        .limit(SHOWN)
    )
    consumed = (
        select(Reservation.source_id)
        .where(
            Reservation.lot_id == lot.id,
            Reservation.state == "consumed",
            Reservation.source_type == "order",
        )
        .distinct()
        .limit(SHOWN)
    )
    orders = {str(id) for query in (shipments, consumed) for id in call.session.scalars(query)}
    return sorted(orders)[:SHOWN]


def _check_sellable(call: Call, item: Variant, source: str, lot_id: str | None) -> None:
    if source in ("inspection", "refurbish") and not call.get(Product, item.product_id).restockable:
        raise RuleViolation(f"{item.id} is never sold again once it came back.")
    lot = call.session.get(Lot, lot_id) if lot_id else None
    if lot is None:
        return
    if lot.state == "recalled":
        raise RuleViolation(f"Lot {lot.id} is recalled.", details={"lot_id": lot.id})
    if lot.expires_on is not None and lot.expires_on < call.now.date():
        raise RuleViolation(f"Lot {lot.id} has expired.", details={"lot_id": lot.id})
