"""Units: where they are, who moves them. Words over the ledgers ``units/{sku}``.

``{warehouse}/available``, ``/quarantine``, ``/damaged``, ``/inspection``, ``/refurbish`` are in
the building, ``{warehouse}/in_transit`` is on the way to it. A lot may follow:
``WH-1/available/lot_1``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from sqlalchemy.orm import Session

from common.call import Call
from common.errors import InvalidParameters
from common.ledgers import accounts, ledger
from common.ledgers.accounts import Balance
from common.ledgers.books import STATUSES

Status = Literal["available", "quarantine", "damaged", "inspection", "refurbish"]
World = Literal["supplier", "customer", "scrap", "lost", "adjustments", "opening"]

SUPPLIER: Final = "supplier"
CUSTOMER: Final = "customer"


@dataclass(frozen=True, slots=True)
class Levels:
    """Units of one SKU. ``on_hand`` is all in the building, reserved or not; ``available`` can
    still be promised; ``in_transit`` is on the way here and not on hand."""

    on_hand: int = 0
    reserved: int = 0
    available: int = 0
    quarantine: int = 0
    damaged: int = 0
    inspection: int = 0
    refurbish: int = 0
    in_transit: int = 0

    def __add__(self, other: "Levels") -> "Levels":
        return Levels(
            self.on_hand + other.on_hand, self.reserved + other.reserved,
            self.available + other.available, self.quarantine + other.quarantine,
            self.damaged + other.damaged, self.inspection + other.inspection,
            self.refurbish + other.refurbish, self.in_transit + other.in_transit,
        )  # fmt: skip


def units(sku: str) -> str:
    """The ledger of a SKU."""
    return f"units/{sku}"


def place(warehouse: str, status: str, lot: str | None = None) -> str:
    """The account code of a status in a warehouse. Raises InvalidParameters for a ``/`` in the
    warehouse's id: it would name another account."""
    if not warehouse or "/" in warehouse:
        raise InvalidParameters.field("warehouse", warehouse, "an id without a slash")
    code = f"{warehouse}/{status}"
    return f"{code}/{lot}" if lot else code


def reserve(
    call: Call,
    sku: str,
    warehouse: str,
    quantity: int,
    reference: str,
    expires_at: datetime | None,
    *,
    lot: str | None = None,
    id: str | None = None,
) -> str:
    """Promise available units until ``expires_at``. Returns the transfer id that ``ship`` and
    ``release`` take. Raises InsufficientStock with ``details.available``."""
    return ledger.pend(
        call, units(sku), CUSTOMER, place(warehouse, "available", lot), quantity, "reserve",
        reference, expires_at=expires_at, id=id,
    )  # fmt: skip


def ship(call: Call, reservation_id: str, quantity: int | None = None) -> str:
    """Hand reserved units to the customer; what is reserved beyond ``quantity`` is let go.
    Raises RuleViolation when the reservation is resolved or has expired."""
    return ledger.post(call, reservation_id, quantity)


def release(call: Call, reservation_id: str) -> str:
    """Let a reservation go. Raises RuleViolation when it is resolved or has expired."""
    return ledger.void(call, reservation_id)


def receive(
    call: Call,
    sku: str,
    warehouse: str,
    quantity: int,
    reference: str,
    *,
    status: Status = "available",
    lot: str | None = None,
    id: str | None = None,
) -> str:
    """Units from the supplier."""
    return ledger.transfer(
        call, units(sku), place(warehouse, status, lot), SUPPLIER, quantity, "receive", reference,
        id=id,
    )  # fmt: skip


def move(
    call: Call,
    sku: str,
    warehouse: str,
    source: Status | World,
    target: Status | World,
    quantity: int,
    code: str,
    reference: str,
    *,
    lot: str | None = None,
    id: str | None = None,
) -> str:
    """From one status to another, or to or from the world: ``move(…, "available", "damaged", 2,
    "damage", …)``, ``move(…, "customer", "inspection", 1, "return_in", …)``.

    Raises InsufficientStock, InvalidParameters when both are the same.
    """
    if source == target:
        raise InvalidParameters.field("status", target, "another status than the units have")
    debit, credit = (
        place(warehouse, name, lot) if name in STATUSES else name for name in (target, source)
    )
    return ledger.transfer(call, units(sku), debit, credit, quantity, code, reference, id=id)


def adjust(
    call: Call,
    sku: str,
    warehouse: str,
    difference: int,
    reference: str,
    *,
    status: Status = "available",
    lot: str | None = None,
    counted: bool = False,
    id: str | None = None,
) -> str:
    """Found (positive) or missing (negative) units; ``counted`` says a cycle count found them.
    Raises InsufficientStock when more are missing than are free, InvalidParameters for 0."""
    kind = "count" if counted else "adjust"
    if difference > 0:
        return move(
            call, sku, warehouse, "adjustments", status, difference, f"{kind}_gain", reference,
            lot=lot, id=id,
        )  # fmt: skip
    return move(
        call, sku, warehouse, status, "adjustments", -difference, f"{kind}_loss", reference,
        lot=lot, id=id,
    )  # fmt: skip


def send(
    call: Call,
    sku: str,
    source: str,
    target: str,
    quantity: int,
    reference: str,
    *,
    lot: str | None = None,
    id: str | None = None,
) -> str:
    """Available units of one warehouse on the way to another. Raises InsufficientStock."""
    if source == target:
        raise InvalidParameters.field("to_warehouse", target, "another warehouse")
    return ledger.transfer(
        call, units(sku), place(target, "in_transit", lot), place(source, "available", lot),
        quantity, "transfer_out", reference, id=id,
    )  # fmt: skip


def arrive(
    call: Call,
    sku: str,
    target: str,
    quantity: int,
    reference: str,
    *,
    status: Status = "available",
    lot: str | None = None,
    id: str | None = None,
) -> str:
    """Units on the way are there. Raises InsufficientStock when fewer are on the way."""
    return ledger.transfer(
        call, units(sku), place(target, status, lot), place(target, "in_transit", lot), quantity,
        "transfer_in", reference, id=id,
    )  # fmt: skip


def lose_in_transit(
    call: Call,
    sku: str,
    target: str,
    quantity: int,
    reference: str,
    *,
    lot: str | None = None,
    id: str | None = None,
) -> str:
    """Units on the way to ``target`` that will not come. Raises InsufficientStock."""
    return ledger.transfer(
        call, units(sku), "lost", place(target, "in_transit", lot), quantity, "lose", reference,
        id=id,
    )  # fmt: skip


def levels(
    session: Session, now: datetime, skus: Sequence[str], warehouse: str | None = None
) -> dict[tuple[str, str], Levels]:
    """Levels by (sku, warehouse), lots summed: at most four queries for each 500 SKUs. A pair
    never stocked is left out. What has expired by ``now`` is not reserved."""
    return {
        (sku, where): level
        for (sku, where, _), level in _summed(session, now, skus, warehouse, lots=False).items()
    }


def level(session: Session, now: datetime, sku: str, warehouse: str | None = None) -> Levels:
    """Levels of one SKU in one warehouse, or in all of them together."""
    return sum(levels(session, now, [sku], warehouse).values(), Levels())


def by_lot(session: Session, now: datetime, sku: str, warehouse: str) -> dict[str | None, Levels]:
    """Levels of one SKU in one warehouse by lot; None holds the units without one."""
    found = _summed(session, now, [sku], warehouse, lots=True)
    return {lot: level for (_, _, lot), level in found.items()}


def lots_of(
    session: Session, now: datetime, skus: Sequence[str], warehouse: str | None = None
) -> dict[tuple[str, str, str | None], Levels]:
    """Levels by (sku, warehouse, lot), as ``levels`` reads them."""
    return _summed(session, now, skus, warehouse, lots=True)


def _summed(
    session: Session, now: datetime, skus: Sequence[str], warehouse: str | None, *, lots: bool
) -> dict[tuple[str, str, str | None], Levels]:
    prefix = None if warehouse is None else f"{warehouse}/"
    wanted = [units(sku) for sku in dict.fromkeys(skus)]
    found: dict[tuple[str, str, str | None], Levels] = {}
    for (name, code), balance in accounts.totals_of(
        session, wanted, prefix=prefix, now=now
    ).items():
        parts = code.split("/", 2)
        if len(parts) == 1:
            continue
        lot = parts[2] if lots and len(parts) > 2 else None
        key = (name.partition("/")[2], parts[0], lot)
        level = _levels(parts[1], balance)
        found[key] = found[key] + level if key in found else level
    return found


def _levels(status: str, balance: Balance) -> Levels:
    if status == "available":
        return Levels(
            on_hand=balance.posted,
            reserved=balance.credits_pending,
            available=balance.available,
        )
    there = {} if status == "in_transit" else {"on_hand": balance.posted}
    return Levels(**there, **{status: balance.posted})
