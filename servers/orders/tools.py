"""The orders server: what a host sees."""

from typing import Annotated, Literal

from pydantic import Field

from common.call import Call
from common.clock import stamp
from common.rules import placing
from common.scopes import Scope
from common.toolset import Effect, Toolset
from common.wire import (
    Address,
    Args,
    Count,
    Cursor,
    Day,
    Email,
    Identifier,
    Limit,
    Line,
    Note,
    Sku,
    Units,
)
from servers.orders import amending, changing, customers, fulfilling, lookup, searching, service
from servers.orders.results import (
    CustomerView,
    DemandFeed,
    DemandRow,
    NoteList,
    OrderList,
    OrderView,
    VariantList,
    VariantView,
)

tools = Toolset(
    "orders",
    title="Orders",
    instructions=(
        "Orders and customers. get_order shows one order and the ids that lead on (shipments, "
        "returns, payments, claims); search_orders and find_customer find it. Verify who is asking "
        "before you change anything. Changes may answer approval_required: show the preview to "
        "your person, and repeat the same call with approval_id once they have agreed."
    ),
)

Status = Literal[
    "draft", "placed", "confirmed", "in_fulfilment", "completed", "cancelled", "on_hold"
]
PaymentStatus = Literal[
    "not_paid", "awaiting", "authorized", "partially_captured", "captured",
    "partially_refunded", "refunded",
]  # fmt: skip
FulfilmentStatus = Literal[
    "not_fulfilled", "partially_fulfilled", "fulfilled", "partially_shipped", "shipped",
    "partially_delivered", "delivered",
]  # fmt: skip
HoldKind = Literal["fraud", "address", "payment", "stock", "manual"]
CancelReason = Literal[
    "no_longer_needed", "ordered_by_mistake", "fraud", "out_of_stock", "payment_failed",
    "undeliverable_address", "duplicate",
]  # fmt: skip
Window = Annotated[int, Field(ge=1, le=60)]
FeedDays = Annotated[int, Field(ge=1, le=90)]


class NewLine(Args):
    sku: Sku
    quantity: Units


class LineChange(Args):
    """``quantity``: only so many units of the line; left out, the whole line."""

    line_id: Identifier
    new_sku: Sku
    quantity: Units | None = None


@tools.tool(scope=Scope.ORDERS_READ, effect=Effect.READS)
def get_order(call: Call, order_id: Identifier) -> OrderView:
    """Show one order: lines, totals, three statuses, holds, notes, timeline, and the ids of its
    shipments, returns, payments and claims."""
    return OrderView.whole(service.whole(call, order_id))


@tools.tool(scope=Scope.ORDERS_READ, effect=Effect.READS)
def search_orders(
    call: Call,
    customer_id: Identifier | None = None,
    email: Email | None = None,
    status: Status | None = None,
    payment_status: PaymentStatus | None = None,
    fulfilment_status: FulfilmentStatus | None = None,
    warehouse: Identifier | None = None,
    sku: Sku | None = None,
    placed_from: Day | None = None,
    placed_to: Day | None = None,
    late: bool = False,
    drafts: bool = False,
    limit: Limit = 20,
    cursor: Cursor | None = None,
) -> OrderList:
    """Search orders, the latest first; filters are combined. `late` finds those that shipped or
    were delivered after their promise, or are overdue. `drafts` searches what was never placed
    instead, dropped drafts too. Use get_order for the details of one."""
    wanted = searching.Wanted(
        customer_id, email, status, payment_status, fulfilment_status, warehouse, sku,
        placed_from, placed_to, late, drafts,
    )  # fmt: skip
    return OrderList.of(*searching.search(call, wanted, cursor, limit))


@tools.tool(scope=Scope.ORDERS_READ, effect=Effect.READS)
def list_upcoming_orders(
    call: Call,
    days: Window = 2,
    warehouse: Identifier | None = None,
    limit: Limit = 20,
    cursor: Cursor | None = None,
) -> OrderList:
    """List orders that still have to leave the house, by ship-by date, overdue ones first."""
    return OrderList.of(*service.upcoming(call, days, warehouse, cursor, limit))


@tools.tool(scope=Scope.ORDERS_READ, effect=Effect.READS)
def get_demand_feed(
    call: Call,
    days: FeedDays = 7,
    sku: Sku | None = None,
    warehouse: Identifier | None = None,
    limit: Limit = 100,
    cursor: Cursor | None = None,
) -> DemandFeed:
    """Units ordered by SKU, warehouse and day, net of cancellations. For planning stock."""
    rows, more = service.demand(call, days, sku, warehouse, cursor, limit)
    return DemandFeed(
        as_of=stamp(call.now),
        days=days,
        count=len(rows),
        rows=[
            DemandRow(sku=r.sku, warehouse=r.warehouse, day=r.day.isoformat(), units=r.units)
            for r in rows
        ],
        next_cursor=more,
    )


@tools.tool(scope=Scope.ORDERS_READ, effect=Effect.READS)
def find_customer(
    call: Call,
    email: Email | None = None,
    first_name: Line | None = None,
    last_name: Line | None = None,
    postal_code: Line | None = None,
    customer_id: Identifier | None = None,
) -> CustomerView:
    """Find one customer by email, or by name and postal code, or by id; case does not matter.
    Shows the address, stored payment methods and latest orders."""
    return CustomerView.of(
        customers.find(
            call, email=email, first_name=first_name, last_name=last_name,
            postal_code=postal_code, customer_id=customer_id,
        )
    )  # fmt: skip


@tools.tool(scope=Scope.ORDERS_READ, effect=Effect.READS)
def list_variants(
    call: Call, product_id: Identifier, limit: Limit = 50, cursor: Cursor | None = None
) -> VariantList:
    """List the variants of a product with price and availability. Use it before amending lines."""
    found, more = lookup.variants(call, product_id, cursor, limit)
    return VariantList(
        product_id=product_id,
        count=len(found),
        variants=[VariantView.of(variant, available) for variant, available in found],
        next_cursor=more,
    )


@tools.tool(scope=Scope.ORDERS_WRITE, effect=Effect.CREATES)
def place_order(
    call: Call,
    customer_id: Identifier,
    lines: Annotated[list[NewLine], Field(min_length=1, max_length=50)],
    payment_method_id: Identifier | None = None,
    ship_to: Address | None = None,
    warehouse: Identifier | None = None,
    shipping_minor: Count = 0,
    draft: bool = False,
) -> OrderView:
    """Place an order for a known customer: stock is reserved and the payment authorized.

    Without ship_to it goes to the customer's own address, without warehouse it comes from the one
    that has everything. `draft` only writes it down, nothing reserved or charged, and needs no
    payment method yet: place_draft_order places it. For orders by phone; shoppers use the
    storefront.
    """
    order = lookup.place(
        call, customer_id, [placing.NewLine(line.sku, line.quantity) for line in lines],
        payment_method_id, ship_to.model_dump() if ship_to else None, warehouse, shipping_minor,
        draft=draft,
    )  # fmt: skip
    return OrderView.whole(service.whole(call, order.id))


@tools.tool(scope=Scope.ORDERS_WRITE, effect=Effect.CHANGES)
def place_draft_order(
    call: Call, order_id: Identifier, payment_method_id: Identifier | None = None
) -> OrderView:
    """Place a draft under its own id, at today's prices: stock is reserved and the payment
    authorized, with payment_method_id where the draft names none or another. To drop a draft use
    cancel_order."""
    placed = lookup.place_draft(call, order_id, payment_method_id)
    return OrderView.whole(service.whole(call, placed.id))


@tools.tool(scope=Scope.ORDERS_WRITE, effect=Effect.CHANGES)
def update_customer_address(call: Call, customer_id: Identifier, address: Address) -> CustomerView:
    """Replace a customer's own address. Orders already placed keep theirs: for those use
    update_shipping_address."""
    return CustomerView.of(customers.move(call, customer_id, address.model_dump()))


@tools.tool(scope=Scope.ORDERS_WRITE, effect=Effect.CHANGES)
def update_shipping_address(call: Call, order_id: Identifier, address: Address) -> OrderView:
    """Send an order that has no shipment yet, or a draft, to another address, replaced whole."""
    return OrderView.whole(changing.redirect(call, order_id, address.model_dump()))


@tools.tool(scope=Scope.ORDERS_WRITE, effect=Effect.CHANGES)
def amend_order_lines(
    call: Call,
    order_id: Identifier,
    changes: Annotated[list[LineChange], Field(min_length=1, max_length=50)],
    payment_method_id: Identifier,
) -> OrderView:
    """Change lines of an open order to other variants of the same product, all at once.

    The difference is charged or given back with one method of the customer. It can be done once:
    collect every change first. Afterwards the order can no longer be cancelled.
    """
    wanted = [amending.Change(c.line_id, c.new_sku, c.quantity) for c in changes]
    return OrderView.whole(amending.amend(call, order_id, wanted, payment_method_id))


@tools.tool(scope=Scope.ORDERS_WRITE, effect=Effect.CHANGES)
def split_order_line(
    call: Call, order_id: Identifier, line_id: Identifier, quantity: Units
) -> OrderView:
    """Divide a line of an open order in two, so that its units can be treated differently."""
    return OrderView.whole(amending.split(call, order_id, line_id, quantity))


@tools.tool(scope=Scope.ORDERS_WRITE, effect=Effect.CHANGES)
def change_payment_method(
    call: Call, order_id: Identifier, payment_method_id: Identifier
) -> OrderView:
    """Pay an open order with another stored method of its customer; the first is given back."""
    return OrderView.whole(changing.pay_otherwise(call, order_id, payment_method_id))


@tools.tool(scope=Scope.ORDERS_WRITE, effect=Effect.CHANGES)
def cancel_order(call: Call, order_id: Identifier, reason: CancelReason) -> OrderView:
    """Cancel a whole order that was not released: stock is freed and every payment given back.

    For a delivered order use a return instead.
    """
    return OrderView.whole(changing.cancel(call, order_id, reason))


@tools.tool(scope=Scope.ORDERS_WRITE, effect=Effect.CHANGES)
def hold_order(call: Call, order_id: Identifier, kind: HoldKind, reason: Note) -> OrderView:
    """Stop an order before it leaves the house. To keep money from being refunded, use
    payments.place_hold instead."""
    return OrderView.whole(fulfilling.hold(call, order_id, kind, reason))


@tools.tool(scope=Scope.ORDERS_WRITE, effect=Effect.CHANGES)
def release_order_hold(call: Call, order_id: Identifier, kind: HoldKind, reason: Note) -> OrderView:
    """End one hold of an order; it goes on when no other hold is left."""
    return OrderView.whole(fulfilling.release_hold(call, order_id, kind, reason))


@tools.tool(scope=Scope.ORDERS_WRITE, effect=Effect.CHANGES)
def release_to_fulfilment(call: Call, order_id: Identifier, split: bool = False) -> OrderView:
    """Hand a paid order to the warehouse, or to another that has what its own lacks. Lines without
    stock are backordered; with `split` what there is of them goes. Release again once there is
    stock. Next: logistics.create_shipment."""
    return OrderView.whole(fulfilling.release(call, order_id, split=split))


@tools.tool(scope=Scope.ORDERS_WRITE, effect=Effect.CREATES)
def add_order_note(call: Call, order_id: Identifier, text: Note) -> NoteList:
    """Leave a note on an order for colleagues. Notes are read by people; they decide nothing."""
    return NoteList.of(changing.note(call, order_id, text))


@tools.resource("orders://feed/upcoming", scope=Scope.ORDERS_READ)
def upcoming_feed(call: Call) -> OrderList:
    """Orders to leave the house within two days, overdue ones first."""
    return OrderList.of(*service.upcoming(call, 2, None, None, 100))


@tools.resource("orders://feed/demand{?days}", scope=Scope.ORDERS_READ)
def demand_feed(call: Call, days: FeedDays = 7) -> DemandFeed:
    """Units ordered by SKU, warehouse and day, net of cancellations."""
    return get_demand_feed(call, days=days)


@tools.resource("orders://order/{order_id}", scope=Scope.ORDERS_READ)
def order(call: Call, order_id: Identifier) -> OrderView:
    """One order with everything that hangs on it."""
    return OrderView.whole(service.whole(call, order_id))


@tools.prompt()
def order_triage(warehouse: Line = "all") -> str:
    """Go through the orders that need a person today: overdue, held, unpaid, short of stock."""
    where = "" if warehouse == "all" else f" of warehouse {warehouse}"
    return (
        f"Triage today's orders{where}.\n"
        "1. list_upcoming_orders (days=2): which are overdue or on hold?\n"
        "2. For each of them get_order: say in one line what stops it (hold, payment, stock).\n"
        "3. search_orders with late=true: which customers wait longer than promised?\n"
        "4. Propose for each order one step: release_to_fulfilment, release_order_hold, "
        "hold_order, cancel_order, or wait. Say why.\n"
        "Do not carry out any of it. Show the list and ask the person which steps to take."
    )
