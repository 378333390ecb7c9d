"""Reservations: a row that says for whom, over a pending transfer that says how many."""

from datetime import datetime

from common.call import Call
from common.errors import RuleViolation
from common.ledgers import ledger
from common.rules import lots, stock
from common.storage import mapped
from common.tables.inventory import Lot, Reservation

OPEN = ("pending", "confirmed")


def reserve(
    call: Call,
    sku: str,
    warehouse_id: str,
    quantity: int,
    *,
    source: str,
    source_id: str,
    expires_at: datetime | None = None,
    lot_id: str | None = None,
) -> Reservation:
    """Promise available units: ``pending`` with an expiry, ``confirmed`` without. Of an item with
    lots, unless one is named, the first to expire that has them all.

    Raises InsufficientStock with what is available; nothing is reserved then.
    """
    lot_id = lot_id or lots.one_for(call, sku, warehouse_id, quantity)
    transfer_id = stock.reserve(
        call, sku, warehouse_id, quantity, source_id, expires_at, lot=lot_id
    )
    return call.add(
        Reservation(
            id=call.new_id("reservation"),
            sku=sku,
            warehouse_id=warehouse_id,
            lot_id=lot_id,
            quantity=quantity,
            state="confirmed" if expires_at is None else "pending",
            source_type=source,
            source_id=source_id,
            transfer_id=transfer_id,
            expires_at=expires_at,
            created_at=call.now,
        )
    )


def standing(call: Call, reservation: Reservation) -> str:
    """The reservation's state as of now: one that has lapsed is ``expired`` before any sweep."""
    if reservation.state not in OPEN:
        return reservation.state
    found = ledger.state_of(call.session, reservation.transfer_id, call.now).state
    return "expired" if found == "expired" else reservation.state


def may_go_out(call: Call, reservation: Reservation) -> bool:
    """Whether its lot, where it has one, did not expire and was not recalled since."""
    lot = mapped.load(call.session, Lot, reservation.lot_id) if reservation.lot_id else None
    return lot is None or lots.may_go_out(lot, call.now.date())


def consume(call: Call, reservation: Reservation, quantity: int | None = None) -> None:
    """Hand the units to the customer; what is reserved beyond ``quantity`` is let go.

    Raises RuleViolation when it was consumed, released or has expired.
    """
    _refuse_closed(call, reservation)
    stock.ship(call, reservation.transfer_id, quantity)
    _close(call, reservation, "consumed")


def release(call: Call, reservation: Reservation) -> None:
    """Let the units go. Raises RuleViolation when it was consumed, released or has expired."""
    _refuse_closed(call, reservation)
    stock.release(call, reservation.transfer_id)
    _close(call, reservation, "released")


def release_if_open(call: Call, reservation: Reservation) -> bool:
    """Let the units go if they still are reserved; False when there was nothing to let go."""
    if standing(call, reservation) not in OPEN:
        return False
    release(call, reservation)
    return True


def _refuse_closed(call: Call, reservation: Reservation) -> None:
    state = standing(call, reservation)
    if state not in OPEN:
        raise RuleViolation(
            f"Reservation {reservation.id} is {state}.",
            details={"reservation_id": reservation.id, "state": state},
        )


def _close(call: Call, reservation: Reservation, state: str) -> None:
    reservation.state = state
    reservation.closed_at = call.now
    call.session.flush()
