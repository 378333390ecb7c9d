"""Stock from one warehouse to another, in two legs through in-transit."""

from datetime import timedelta

from common.call import Call
from common.errors import InvalidParameters, RuleViolation
from common.ledgers.accounts import lock as lock_accounts
from common.money import Money
from common.rules import lots, stock
from common.storage.database import lock
from common.tables.inventory import Lot, Variant
from common.tables.stock_documents import Receipt, ReceiptLine, StockTransfer, StockTransferLine
from common.wire import Args, Count, Identifier, Sku, Units
from servers.inventory import catalogue, costs
from servers.inventory.receiving import refuse_known_note, refuse_nothing
from servers.inventory.results import Discrepancy, Received, Sent


class SentLine(Args):
    """Without ``lot`` the first to expire goes."""

    sku: Sku
    quantity: Units
    lot: Identifier | None = None


class ArrivedLine(Args):
    """``lost``: will not come any more."""

    sku: Sku
    received: Count
    damaged: Count = 0
    lost: Count = 0
    lot: Identifier | None = None


def transfer_stock(
    call: Call, from_warehouse: str, to_warehouse: str, lines: list[SentLine], days: int,
    reason: str,
) -> Sent:  # fmt: skip
    """Take the units off the shelf and put them on the way. All lines or none. Raises
    InsufficientStock, InvalidParameters for one warehouse twice, NotFound."""
    catalogue.warehouse(call, from_warehouse)
    catalogue.warehouse(call, to_warehouse, working=True)
    if from_warehouse == to_warehouse:
        raise InvalidParameters.field("to_warehouse", to_warehouse, "another warehouse")
    items = {line.sku: catalogue.variant(call, line.sku) for line in lines}
    if len({(line.sku, line.lot) for line in lines}) < len(lines):
        raise InvalidParameters.field("lines", len(lines), "each SKU (and lot) once")
    moves = [
        move for line in lines for move in _chosen(call, items[line.sku], from_warehouse, line)
    ]
    _lock_accounts(call, from_warehouse, to_warehouse, moves)
    row = call.add(
        StockTransfer(
            id=call.new_id("stock_transfer"), from_warehouse_id=from_warehouse,
            to_warehouse_id=to_warehouse, state="in_transit", reason=reason,
            created_at=call.now, shipped_at=call.now,
            expected_at=call.now + timedelta(days=days),
        )
    )  # fmt: skip
    worth: dict[str, int] = {}
    for position, (sku, lot_id, units) in enumerate(moves):
        cost, currency = costs.unit_cost(call, items[sku], from_warehouse)
        costs.blend(call, sku, to_warehouse, units, cost, currency)
        stock.send(call, sku, from_warehouse, to_warehouse, units, row.id, lot=lot_id)
        call.add(
            StockTransferLine(
                id=call.new_id("item"), stock_transfer_id=row.id, position=position, sku=sku,
                lot_id=lot_id, quantity=units, shipped=units,
            )
        )  # fmt: skip
        worth[currency] = worth.get(currency, 0) + (units * cost + costs.E6 // 2) // costs.E6
    total = sum(units for _, _, units in moves)
    call.stake(units=total)
    call.show(
        f"Transfer {total} units from {from_warehouse} to {to_warehouse}",
        *(f"{units} of {sku}" + (f", lot {lot}" if lot else "") for sku, lot, units in moves),
        *(f"worth {Money(minor, currency)}" for currency, minor in worth.items()),
    )
    assert row.expected_at is not None
    return Sent(
        transfer_id=row.id, state=row.state, from_warehouse=from_warehouse,
        to_warehouse=to_warehouse, units=total,
        expected_on=row.expected_at.date().isoformat(),
    )  # fmt: skip


def receive_transfer(
    call: Call, transfer_id: str, lines: list[ArrivedLine], delivery_note: str | None
) -> Received:
    """Book what came, what came damaged and what is lost. Raises RuleViolation when nothing is on
    the way any more or the delivery note was booked before, InvalidParameters for more than was
    sent."""
    lock(call.session, StockTransfer, [transfer_id])
    row = call.get(StockTransfer, transfer_id)
    if row.state not in ("in_transit", "partially_received"):
        raise RuleViolation(
            f"Stock transfer {row.id} is {row.state}.", details={"state": row.state}
        )
    refuse_known_note(call, Receipt.stock_transfer_id == row.id, delivery_note)
    sent = lines_of(call, row)
    receipt = call.add(
        Receipt(
            id=call.new_id("receipt"), stock_transfer_id=row.id,
            warehouse_id=row.to_warehouse_id, state="counted", delivery_note=delivery_note,
            received_at=call.now,
        )
    )  # fmt: skip
    call.stake(units=sum(given.lost for given in lines))
    aside: list[int] = []
    for given in lines:
        refuse_nothing(given.received, given.damaged, given.lost)
        item = catalogue.variant(call, given.sku)
        aside.append(_book(call, row, receipt, sent, item, given))
        worth, currency = costs.value(call, item, row.to_warehouse_id, given.lost)
        if worth:
            call.stake(amount_minor=worth, currency=currency)
    call.show(
        f"Receive stock transfer {row.id} in {row.to_warehouse_id}",
        *(
            f"{g.sku}: {g.received} good, {g.damaged} damaged, {g.lost} lost for good"
            for g in lines
        ),
    )
    left = sum(outstanding(line) for line in sent)
    row.state = "partially_received" if left else "received"
    row.received_at = None if left else call.now
    found = [
        Discrepancy(sku=given.sku, kind=kind, units=units)
        for given, withheld in zip(lines, aside, strict=True)
        for kind, units in (
            ("damaged", given.damaged),
            ("short", given.lost),
            ("quarantined", withheld),
        )
        if units
    ]
    receipt.state = "putaway" if found else "closed"
    call.effect("receive", "stock_transfer", row.id)
    call.session.flush()
    return Received(
        receipt_id=receipt.id, document=row.id, state=row.state,
        good=sum(given.received for given in lines) - sum(aside),
        damaged=sum(given.damaged for given in lines), outstanding=left, discrepancies=found,
    )  # fmt: skip


def lines_of(call: Call, row: StockTransfer) -> list[StockTransferLine]:
    """Its lines in order."""
    rows = call.all(StockTransferLine, StockTransferLine.stock_transfer_id == row.id)
    return sorted(rows, key=lambda line: line.position)


def outstanding(line: StockTransferLine) -> int:
    """Units still on the way."""
    return line.shipped - line.received - line.damaged - line.lost


def _chosen(
    call: Call, item: Variant, warehouse: str, line: SentLine
) -> list[tuple[str, str | None, int]]:
    if line.lot is not None:
        return [(item.id, catalogue.lot_of(call, item, line.lot), line.quantity)]
    return [
        (item.id, lot_id, units)
        for lot_id, units in lots.pick(call, item, warehouse, line.quantity)
    ]


def _lock_accounts(
    call: Call, source: str, target: str, moves: list[tuple[str, str | None, int]]
) -> None:
    keys = []
    for sku, lot_id, _ in moves:
        keys.append((stock.units(sku), stock.place(source, "available", lot_id)))
        keys.append((stock.units(sku), stock.place(target, "in_transit", lot_id)))
    lock_accounts(call.session, keys)


def _book(
    call: Call, row: StockTransfer, receipt: Receipt, sent: list[StockTransferLine],
    item: Variant, given: ArrivedLine,
) -> int:  # fmt: skip
    """Spread what came over the item's lines, in their order. Returns the units, not damaged, of
    lots that may not go out."""
    lot = catalogue.lot(call, item.id, given.lot) if given.lot else None
    mine = [line for line in sent if line.sku == item.id and (lot is None or line.lot_id == lot.id)]
    total = given.received + given.damaged + given.lost
    left = sum(outstanding(line) for line in mine)
    if total > left:
        raise InvalidParameters.field(
            "lines", total, f"at most {left} of {item.id}: no more is on the way"
        )
    aside = 0
    todo = {"received": given.received, "damaged": given.damaged, "lost": given.lost}
    for line in mine:
        expected = outstanding(line)
        part = {}
        for kind in ("received", "damaged", "lost"):
            part[kind] = min(outstanding(line), todo[kind])
            todo[kind] -= part[kind]
            setattr(line, kind, getattr(line, kind) + part[kind])
        if any(part.values()) and not _move(call, row, receipt, line, part, expected):
            aside += part["received"]
    return aside


def _move(
    call: Call, row: StockTransfer, receipt: Receipt, line: StockTransferLine,
    part: dict[str, int], expected: int,
) -> bool:  # fmt: skip
    """Whether the lot may go out; good units of another one wait in quarantine."""
    lot = call.session.get(Lot, line.lot_id) if line.lot_id else None
    fit = lot is None or lots.may_go_out(lot, call.now.date())
    target = row.to_warehouse_id
    if part["received"]:
        stock.arrive(
            call, line.sku, target, part["received"], receipt.id, lot=line.lot_id,
            status="available" if fit else "quarantine",
        )  # fmt: skip
    if part["damaged"]:
        stock.arrive(
            call, line.sku, target, part["damaged"], receipt.id, lot=line.lot_id,
            status="damaged",
        )  # fmt: skip
    if part["lost"]:
        stock.lose_in_transit(call, line.sku, target, part["lost"], receipt.id, lot=line.lot_id)
    discrepancy = "short" if part["lost"] else "damaged" if part["damaged"] else None
    call.add(
        ReceiptLine(
            id=call.new_id("item"), receipt_id=receipt.id, sku=line.sku, lot_id=line.lot_id,
            expected=expected, good=part["received"], damaged=part["damaged"],
            discrepancy=discrepancy, note=f"lost {part['lost']}" if part["lost"] else "",
        )
    )  # fmt: skip
    return fit
