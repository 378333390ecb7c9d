"""Tools for buying and receiving."""

from typing import Annotated, Literal

from pydantic import Field

from common.call import Call
from common.scopes import Scope
from common.toolset import Effect
from common.widgets import PRESSED
from common.wire import Cursor, Day, Identifier, Limit, Line, Sku, Units
from servers.inventory import purchasing, receiving, transferring
from servers.inventory.offer import tools
from servers.inventory.receiving import ReceivedLine
from servers.inventory.results import (
    PurchaseOrders,
    PurchaseOrderView,
    Received,
    Reorder,
    Sent,
)
from servers.inventory.transferring import ArrivedLine, SentLine

WRITE = Scope.INVENTORY_WRITE
OrderState = Literal[
    "all", "open", "late", "approved", "sent", "acknowledged", "partially_received", "received",
    "closed", "cancelled",
]  # fmt: skip


@tools.tool(scope=WRITE, effect=Effect.CREATES, meta=PRESSED)
def create_reorder(
    call: Call,
    sku: Sku,
    quantity: Units,
    warehouse: Identifier,
    supplier: Identifier | None = None,
    reason: Line | None = None,
    even_if_open: bool = False,
) -> Reorder:
    """Propose to buy a SKU for a warehouse. A person always decides, by the amount.

    The quantity is rounded up to the supplier's minimum and packs. Refused while an order for it is
    open, unless the person wants a second one (even_if_open). Look at list_low_stock first.
    """
    return purchasing.create_reorder(
        call, sku, quantity, warehouse, supplier, reason or "", even_if_open
    )


@tools.tool(scope=WRITE, effect=Effect.CHANGES)
def receive_purchase_order(
    call: Call,
    purchase_order_id: Identifier,
    lines: Annotated[list[ReceivedLine], Field(min_length=1, max_length=50)],
    delivery_note: Line | None = None,
    close_short: bool = False,
) -> Received:
    """Book a delivery as counted at the dock, in part or whole. Over, short, damaged, expired and
    wrong items are kept as discrepancies; much more than ordered is refused. close_short: the rest
    will not come. Send the delivery note's number: one note is booked once."""
    return receiving.receive_purchase_order(
        call, purchase_order_id, lines, delivery_note, close_short
    )


@tools.tool(scope=WRITE, effect=Effect.CHANGES)
def update_purchase_order(
    call: Call,
    purchase_order_id: Identifier,
    action: Literal["send", "acknowledge", "cancel", "close"],
    expected_on: Day | None = None,
    supplier_reference: Line | None = None,
) -> PurchaseOrderView:
    """Note what happened to a purchase order: sent, acknowledged (with the date the supplier gave,
    also a new one), cancelled before anything came, or closed with what came."""
    return purchasing.update_purchase_order(
        call, purchase_order_id, action, expected_on, supplier_reference
    )


@tools.tool(scope=Scope.INVENTORY_READ, effect=Effect.READS)
def list_purchase_orders(
    call: Call,
    purchase_order_id: Identifier | None = None,
    state: OrderState = "open",
    sku: Sku | None = None,
    supplier: Identifier | None = None,
    warehouse: Identifier | None = None,
    limit: Limit = 20,
    cursor: Cursor | None = None,
) -> PurchaseOrders:
    """Purchase orders with lines and what is outstanding, newest first; or one with its receipts.
    `late`: open and past the date."""
    return purchasing.list_purchase_orders(
        call, purchase_order_id, state, sku, supplier, warehouse, limit, cursor
    )


@tools.tool(scope=WRITE, effect=Effect.CHANGES)
def transfer_stock(
    call: Call,
    from_warehouse: Identifier,
    to_warehouse: Identifier,
    lines: Annotated[list[SentLine], Field(min_length=1, max_length=50)],
    transit_days: Annotated[int, Field(ge=0, le=90)] = 2,
    reason: Line | None = None,
) -> Sent:
    """Send available units to another warehouse. They are in transit until receive_transfer books
    them there. All lines or none; first expired lots first."""
    return transferring.transfer_stock(
        call, from_warehouse, to_warehouse, lines, transit_days, reason or ""
    )


@tools.tool(scope=WRITE, effect=Effect.CHANGES)
def receive_transfer(
    call: Call,
    transfer_id: Identifier,
    lines: Annotated[list[ArrivedLine], Field(min_length=1, max_length=50)],
    delivery_note: Line | None = None,
) -> Received:
    """Book what came of a transfer, in part or whole: good, damaged, and lost for good. Units not
    named stay in transit."""
    return transferring.receive_transfer(call, transfer_id, lines, delivery_note)
