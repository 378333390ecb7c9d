"""Tools that reserve, correct, count and trace stock."""

from typing import Annotated, Literal

from pydantic import Field

from common.call import Call
from common.scopes import Scope
from common.toolset import Effect
from common.wire import MAX_UNITS, Cursor, Identifier, Limit, Line, Note, Sku, Units
from servers.inventory import corrections, counts, journal, kits, reservations
from servers.inventory.counts import Counted
from servers.inventory.offer import tools
from servers.inventory.results import (
    CountSheet,
    Documents,
    Moved,
    Movements,
    Recall,
    Reservations,
    Reserved,
)

READ, WRITE = Scope.INVENTORY_READ, Scope.INVENTORY_WRITE
Status = Literal["available", "quarantine", "damaged", "inspection", "refurbish"]
Minutes = Annotated[int, Field(ge=1, le=43_200)]
Difference = Annotated[int, Field(ge=-MAX_UNITS, le=MAX_UNITS)]


@tools.tool(scope=WRITE, effect=Effect.CREATES)
def reserve_stock(
    call: Call,
    sku: Sku,
    quantity: Units,
    warehouse: Identifier,
    source_id: Identifier,
    source: Literal["manual", "order"] = "manual",
    minutes: Minutes = 60,
    lot: Identifier | None = None,
) -> Reservations:
    """Hold units for somebody until the time is over; all of them or none. First expired lots
    first, one reservation a lot. `source_id` says for whom: an order's id, or your reference.
    Checkout and orders reserve by themselves."""
    return reservations.reserve_stock(
        call, sku, quantity, warehouse, source_id, minutes, source, lot
    )


@tools.tool(scope=WRITE, effect=Effect.CHANGES)
def extend_reservation(call: Call, reservation_id: Identifier, minutes: Minutes) -> Reserved:
    """Let a reservation stand for this many minutes from now. One that has expired is gone:
    reserve again."""
    return reservations.extend_reservation(call, reservation_id, minutes)


@tools.tool(scope=WRITE, effect=Effect.CHANGES)
def release_reservation(call: Call, reservation_id: Identifier) -> Reserved:
    """Give reserved units back to the shelf. Reservations of live orders, checkouts, exchanges and
    claims are refused: their own tools let them go."""
    return reservations.release_reservation(call, reservation_id)


@tools.tool(scope=WRITE, effect=Effect.CHANGES)
def adjust_stock(
    call: Call,
    sku: Sku,
    warehouse: Identifier,
    quantity: Difference,
    reason: Literal[
        "found", "shrinkage", "theft", "damaged", "expired", "data_entry", "sample", "donation",
        "write_off",
    ],
    lot: Identifier | None = None,
    status: Status = "available",
    note: Note | None = None,
) -> Moved:  # fmt: skip
    """Correct the books by a signed number of units, for good; large ones wait for a person. To set
    goods aside use move_stock; to check a shelf, a cycle count."""
    return corrections.adjust_stock(call, sku, warehouse, quantity, reason, status, lot, note or "")


@tools.tool(scope=WRITE, effect=Effect.CHANGES)
def move_stock(
    call: Call,
    sku: Sku,
    warehouse: Identifier,
    quantity: Units,
    from_status: Status,
    to: Literal["available", "quarantine", "damaged", "refurbish", "scrap", "supplier"],
    reason: Line,
    lot: Identifier | None = None,
) -> Moved:
    """Move units to another status in the same warehouse, to scrap, or back to the supplier.
    Putting them back on sale and throwing away value wait for a person."""
    return corrections.move_stock(call, sku, warehouse, quantity, from_status, to, lot, reason)


@tools.tool(scope=WRITE, effect=Effect.CHANGES)
def recall_lot(call: Call, sku: Sku, lot: Identifier, reason: Line) -> Recall:
    """Withdraw a lot everywhere: free units go to quarantine and none is sold any more. Answers
    which reservations and orders have units of it."""
    return corrections.recall_lot(call, sku, lot, reason)


@tools.tool(scope=WRITE, effect=Effect.CHANGES)
def build_kit(
    call: Call,
    kit_sku: Sku,
    quantity: Units,
    warehouse: Identifier,
    action: Literal["build", "break"] = "build",
) -> Moved:
    """Make kits out of their components, or take kits apart again."""
    return kits.build_kit(call, kit_sku, quantity, warehouse, action)


@tools.tool(scope=WRITE, effect=Effect.CREATES)
def start_cycle_count(
    call: Call,
    warehouse: Identifier,
    skus: Annotated[list[Sku], Field(min_length=1, max_length=50)] | None = None,
    status: Status = "available",
    most: Annotated[int, Field(ge=1, le=50)] = 20,
) -> CountSheet:
    """Open a blind count and remember what the books say now. Without `skus`: the items most due by
    their class. Give the sheet to the person who counts; do not tell them the stock."""
    return counts.start_cycle_count(call, warehouse, skus, most, status)


@tools.tool(scope=WRITE, effect=Effect.CHANGES)
def submit_cycle_count(
    call: Call,
    count_id: Identifier,
    counts: Annotated[list[Counted], Field(max_length=100)],
    action: Literal["submit", "cancel"] = "submit",
) -> CountSheet:
    """Hand in what was counted, every line of the sheet. State recount: have those lines counted
    again and submit them. What then differs is posted; large differences wait for a person. Never
    fill in numbers nobody counted."""
    return _submit(call, count_id, counts, action)


@tools.tool(scope=READ, effect=Effect.READS)
def get_stock_ledger(
    call: Call,
    sku: Sku,
    warehouse: Identifier,
    status: Status | Literal["in_transit"] = "available",
    limit: Limit = 20,
    cursor: Cursor | None = None,
) -> Movements:
    """Every movement of a SKU in one status of a warehouse, newest first: why the number is what it
    is. Units are signed."""
    return journal.get_stock_ledger(call, sku, warehouse, status, limit, cursor)


@tools.tool(scope=READ, effect=Effect.READS)
def list_stock_documents(
    call: Call,
    kind: Literal["reservation", "transfer", "count"],
    state: Literal["open", "all"] = "open",
    sku: Sku | None = None,
    warehouse: Identifier | None = None,
    limit: Limit = 20,
    cursor: Cursor | None = None,
) -> Documents:
    """Reservations, stock transfers or cycle counts with their ids and what is still to do. For
    purchase orders use list_purchase_orders."""
    return journal.list_stock_documents(call, kind, state, sku, warehouse, limit, cursor)


_submit = counts.submit_cycle_count
