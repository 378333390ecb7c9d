"""Units promised for a time: made, prolonged, let go."""

from datetime import timedelta
from typing import Final

from sqlalchemy import select

from common.call import Call
from common.clock import stamp
from common.errors import InvalidParameters, RuleViolation
from common.ledgers import ledger
from common.rules import lots, reserving, stock
from common.storage import mapped
from common.storage.database import lock
from common.tables.inventory import Lot, Reservation
from common.tables.orders import Order, OrderLine
from servers.inventory import catalogue, levels
from servers.inventory.results import Reservations, Reserved

LONGEST: Final = timedelta(days=30)
# Who else holds a reservation lets it go by its own tool.
OWNERS: Final = {
    "checkout": "It lapses by itself when the checkout does.",
    "exchange": "Settle or reject the return with the returns server.",
    "claim": "Settle or withdraw the claim with the claims server.",
}
LIVE_LINES: Final = ("open", "allocated", "picked", "packed")


def reserve_stock(
    call: Call, sku: str, quantity: int, warehouse: str, source_id: str, minutes: int,
    source: str, lot: str | None,
) -> Reservations:  # fmt: skip
    """Reserve for a time, first expired lot first. One reservation a lot. Raises NotFound,
    InsufficientStock, RuleViolation for a lot that may not go out."""
    item = catalogue.variant(call, sku)
    catalogue.warehouse(call, warehouse, working=True)
    if source == "order":
        _check_order(call, source_id)
    if lot is None:
        chosen = lots.pick(call, item, warehouse, quantity)
    else:
        row = catalogue.lot(call, sku, lot)
        if not lots.may_go_out(row, call.now.date()):
            raise RuleViolation(
                f"Lot {row.id} has expired or was withdrawn.", details={"lot_id": row.id}
            )
        chosen = [(row.id, quantity)]
    expires_at = call.now + timedelta(minutes=minutes)
    made = [
        reserving.reserve(
            call, sku, warehouse, units, source=source, source_id=source_id,
            expires_at=expires_at, lot_id=lot_id,
        )
        for lot_id, units in chosen
    ]  # fmt: skip
    call.stake(units=quantity)
    call.show(f"Reserve {quantity} of {sku} in {warehouse}", f"for {source} {source_id}")
    return Reservations(
        reservations=[_told(call, row, row.state) for row in made],
        available_left=levels.available(call, item, warehouse),
    )


def extend_reservation(call: Call, reservation_id: str, minutes: int) -> Reserved:
    """Let it stand for ``minutes`` from now. Raises RuleViolation when it is over or has none."""
    row = _locked(call, reservation_id)
    if row.expires_at is None:
        raise RuleViolation(f"Reservation {row.id} does not end by itself.")
    expires_at = call.now + timedelta(minutes=minutes)
    if expires_at <= row.expires_at:
        raise InvalidParameters.field(
            "minutes", minutes, f"an end after the present one, {stamp(row.expires_at)}"
        )
    if expires_at > row.created_at + LONGEST:
        raise RuleViolation(f"A reservation stands {LONGEST.days} days at most; it needs an order.")
    held = call.get(Lot, row.lot_id) if row.lot_id else None
    if held is not None and not lots.may_go_out(held, call.now.date()):
        raise RuleViolation(
            f"Lot {held.id} has expired or was withdrawn.", details={"lot_id": held.id},
            next="Release it with release_reservation; reserve_stock takes another lot.",
        )  # fmt: skip
    # Both happen in one transaction, so nobody can take the units in between.
    stock.release(call, row.transfer_id)
    row.transfer_id = stock.reserve(
        call, row.sku, row.warehouse_id, row.quantity, row.source_id, expires_at, lot=row.lot_id
    )
    row.expires_at = expires_at
    call.effect("extend", "reservation", row.id)
    call.stake()
    call.session.flush()
    return reserved(call, row)


def release_reservation(call: Call, reservation_id: str) -> Reserved:
    """Let the units go. Raises RuleViolation when it is over, or when another process owns it."""
    row = _locked(call, reservation_id)
    _check_owner(call, row)
    reserving.release(call, row)
    call.effect("release", "reservation", row.id)
    call.stake(units=row.quantity)
    call.show(f"Release {row.quantity} of {row.sku} in {row.warehouse_id}")
    return reserved(call, row)


def reserved(call: Call, row: Reservation) -> Reserved:
    """The reservation as of now."""
    return _told(call, row, reserving.standing(call, row))


def _told(call: Call, row: Reservation, state: str) -> Reserved:
    lot = mapped.load(call.session, Lot, row.lot_id) if row.lot_id else None
    return Reserved(
        reservation_id=row.id,
        sku=row.sku,
        warehouse=row.warehouse_id,
        quantity=row.quantity,
        state=state,
        source=f"{row.source_type} {row.source_id}",
        lot=lot.code if lot else None,
        expires_at=stamp(row.expires_at) if row.expires_at else None,
    )


def _locked(call: Call, reservation_id: str) -> Reservation:
    lock(call.session, Reservation, [reservation_id])
    row = call.get(Reservation, reservation_id)
    state = reserving.standing(call, row)
    if state not in reserving.OPEN:
        found = ledger.state_of(call.session, row.transfer_id, call.now)
        ended = found.expires_at if state == "expired" else found.resolved_at
        raise RuleViolation(
            f"Reservation {row.id} is {state}.",
            details={"state": state, "since": stamp(ended) if ended else None},
            next="Reserve again with reserve_stock if the units are still wanted.",
        )
    return row


def _check_order(call: Call, order_id: str) -> None:
    order = call.get(Order, order_id)
    if order.status in ("cancelled", "completed", "draft"):
        raise RuleViolation(f"Order {order_id} is {order.status}.")


def _check_owner(call: Call, row: Reservation) -> None:
    details = {"source": row.source_type, "source_id": row.source_id}
    if row.source_type in OWNERS:
        raise RuleViolation(
            f"Reservation {row.id} belongs to a running {row.source_type}.",
            details=details, next=OWNERS[row.source_type],
        )  # fmt: skip
    held = select(OrderLine.id).where(
        OrderLine.reservation_id == row.id, OrderLine.status.in_(LIVE_LINES)
    )
    if call.session.scalar(held.limit(1)) is not None:
        raise RuleViolation(
            f"Reservation {row.id} holds a line of order {row.source_id}.",
            details=details,
            next="Cancel or amend the order with the orders server; that lets it go.",
        )
