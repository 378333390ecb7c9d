"""The returns server: what a host sees."""

from pathlib import Path
from typing import Annotated, Literal

import segno
from pydantic import Field

from common.call import Call
from common.errors import RuleViolation
from common.scopes import Scope
from common.tables.orders import Order
from common.tables.returns import RETURN_STATES, Return
from common.toolset import Effect, Toolset
from common.widgets import PRESSED
from common.wire import Args, Count, Cursor, Identifier, Limit, Line, Note, Sku, Units
from servers.returns import eligibility, handling, recalling, service, settling
from servers.returns.eligibility import Asked
from servers.returns.results import Eligibility, RecallReturns, ReturnList, ReturnRow, ReturnView

tools = Toolset(
    "returns",
    title="Returns",
    instructions=(
        "Goods coming back. check_return_eligibility says which rule decides; then request_return "
        "or request_exchange, authorize_return, receive_return, inspect_return, settle_return, in "
        "this order. Money moves only when a return is settled. For goods damaged or lost on the "
        "way, open a claim as well."
    ),
)
tools.widget(
    "desk", Path(__file__).parent, "The returns that wait, each with its lines and next step.",
    doing="Looking through the returns", done="The returns desk",
)  # fmt: skip

Reason = Literal[
    "size_too_small", "size_too_large", "style", "not_as_described", "defective",
    "damaged_in_transit", "wrong_item", "arrived_late", "unwanted", "other",
]  # fmt: skip
State = Literal[
    "requested", "needs_review", "authorized", "label_issued", "in_transit",
    "partially_received", "received", "inspected", "dispositioned", "settled", "closed",
    "rejected", "expired", "cancelled", "returnless",
]  # fmt: skip
RejectReason = Literal[
    "outside_window", "final_sale", "not_delivered", "already_returned", "condition", "fraud",
    "other",
]  # fmt: skip
Disposition = Literal[
    "restock", "refurbish", "repackage", "open_box", "rtv", "liquidate", "donate", "recycle",
    "scrap", "quarantine",
]  # fmt: skip
Condition = Literal["unopened", "opened", "used", "damaged", "incomplete"]


class ReturnLineAsked(Args):
    """``line_id`` is the order's line; without quantity all of it."""

    line_id: Identifier
    quantity: Units | None = None
    reason: Reason = "unwanted"


class ExchangeLineAsked(Args):
    line_id: Identifier
    new_sku: Sku
    quantity: Units | None = None
    reason: Reason = "unwanted"


class LineArrived(Args):
    """``line_id`` is the return's line; ``damaged`` of the quantity came damaged."""

    line_id: Identifier
    quantity: Units
    damaged: Count = 0


class LineInspected(Args):
    line_id: Identifier
    quantity: Units
    grade: Literal["A", "B", "C", "D"]
    condition: Condition
    disposition: Disposition
    note: Line | None = None


Asking = Annotated[
    list[ReturnLineAsked], Field(max_length=50, description="Left out or empty: every line.")
]


@tools.tool(scope=Scope.RETURNS_READ, effect=Effect.READS)
def check_return_eligibility(
    call: Call, order_id: Identifier, lines: Asking | None = None
) -> Eligibility:
    """Say for each line of an order whether it may come back, which rule decides, until when, and
    what would be refunded. It changes nothing."""
    order = call.get(Order, order_id)
    return Eligibility.of(order.id, order.currency, eligibility.check(call, order, _asked(lines)))


@tools.tool(scope=Scope.RETURNS_WRITE, effect=Effect.CREATES)
def request_return(
    call: Call,
    order_id: Identifier,
    lines: Asking | None = None,
    refund_to: Literal["original", "method", "store_credit"] = "original",
    method_id: Identifier | None = None,
    note: Note | None = None,
) -> ReturnView:
    """Open a return of delivered lines for a refund, or of lines whose parcel went back to its
    sender: those are received next, with no label. No money moves yet.

    refund_to=method needs method_id: the method that paid, or a gift card of the customer. For
    another size or colour use request_exchange.
    """
    found = service.request_return(call, order_id, _asked(lines), refund_to, method_id, note or "")
    return ReturnView.whole(found, call.now)


@tools.tool(scope=Scope.RETURNS_WRITE, effect=Effect.CREATES)
def request_exchange(
    call: Call,
    order_id: Identifier,
    lines: Annotated[list[ExchangeLineAsked], Field(min_length=1, max_length=50)],
    method_id: Identifier,
    note: Note | None = None,
) -> ReturnView:
    """Open an exchange of delivered lines, or of lines whose parcel went back to its sender, for
    other variants of the same products, or the same again. They are reserved now; the difference is
    settled with method_id once the goods are back. A line may be named several times, with
    quantities."""
    asked = [Asked(each.line_id, each.quantity, each.reason, each.new_sku) for each in lines]
    return ReturnView.whole(
        service.request_exchange(call, order_id, asked, method_id, note or ""), call.now
    )


@tools.tool(scope=Scope.RETURNS_READ, effect=Effect.READS, widget="desk")
def get_return(call: Call, return_id: Identifier) -> ReturnView:
    """Show one return: lines, what was found, how it was settled, and the next step."""
    return ReturnView.whole(service.whole(call, return_id), call.now)


@tools.tool(scope=Scope.RETURNS_READ, effect=Effect.READS, widget="desk")
def list_returns(
    call: Call,
    state: State | None = None,
    order_id: Identifier | None = None,
    open_only: bool = True,
    limit: Limit = 20,
    cursor: Cursor | None = None,
) -> ReturnList:
    """List returns, those that wait longest first; only open ones unless open_only is false."""
    rows, more = service.listed(call, state, order_id, open_only, cursor, limit)
    return ReturnList(
        count=len(rows), returns=[ReturnRow.of(row, call.now) for row in rows], next_cursor=more
    )


@tools.tool(scope=Scope.RETURNS_WRITE, effect=Effect.CHANGES, meta=PRESSED)
def authorize_return(call: Call, return_id: Identifier, returnless: bool = False) -> ReturnView:
    """Accept a requested return; a label with a code is issued. returnless lets the customer keep
    the goods, where the policy allows it."""
    return ReturnView.whole(handling.authorize(call, return_id, returnless), call.now)


@tools.tool(scope=Scope.RETURNS_WRITE, effect=Effect.CHANGES)
def reject_return(
    call: Call, return_id: Identifier, reason: RejectReason, note: Note
) -> ReturnView:
    """Turn a return down, for good. The note is for the customer."""
    return ReturnView.whole(handling.reject(call, return_id, reason, note), call.now)


@tools.tool(scope=Scope.RETURNS_WRITE, effect=Effect.CHANGES)
def cancel_return(call: Call, return_id: Identifier) -> ReturnView:
    """Withdraw a return at the customer's wish, or because it never got here, before anything was
    received."""
    return ReturnView.whole(handling.cancel(call, return_id), call.now)


@tools.tool(scope=Scope.RETURNS_WRITE, effect=Effect.CHANGES)
def receive_return(
    call: Call,
    return_id: Identifier,
    lines: Annotated[list[LineArrived], Field(min_length=1, max_length=50)],
    warehouse: Identifier | None = None,
) -> ReturnView:
    """Record goods that came back, in full or in part. They wait for inspection; nothing is for
    sale or refunded yet."""
    arrived = [handling.Arrived(each.line_id, each.quantity, each.damaged) for each in lines]
    return ReturnView.whole(handling.receive(call, return_id, arrived, warehouse), call.now)


@tools.tool(scope=Scope.RETURNS_WRITE, effect=Effect.CHANGES)
def inspect_return(
    call: Call,
    return_id: Identifier,
    lines: Annotated[list[LineInspected], Field(min_length=1, max_length=50)],
) -> ReturnView:
    """Grade received goods and decide what becomes of them. Only restock and open_box, grades A
    and B, put them up for sale again."""
    found = [
        handling.Inspected(
            each.line_id, each.quantity, each.grade, each.condition, each.disposition,
            each.note or "",
        )
        for each in lines
    ]  # fmt: skip
    return ReturnView.whole(handling.inspect(call, return_id, found), call.now)


@tools.tool(scope=Scope.RETURNS_SETTLE, effect=Effect.CHANGES, meta=PRESSED)
def settle_return(call: Call, return_id: Identifier) -> ReturnView:
    """Settle an inspected return once, as was agreed: refund, store credit, or send the exchange
    and settle the difference."""
    return ReturnView.whole(settling.settle(call, return_id), call.now)


@tools.tool(scope=Scope.RETURNS_WRITE, effect=Effect.CREATES)
def request_recall_returns(
    call: Call, sku: Sku, lot: Identifier, most: Annotated[int, Field(ge=1, le=50)] = 20
) -> RecallReturns:
    """Call a recalled lot back: open and authorize a return for each order that was sent some of
    it, whatever window or final sale says. First inventory.recall_lot. While `waiting` is not 0,
    call again."""
    return RecallReturns.of(recalling.open_returns(call, sku, lot, most), call.now)


@tools.resource("returns://return/{return_id}", scope=Scope.RETURNS_READ)
def return_record(call: Call, return_id: Identifier) -> ReturnView:
    """One return with its lines, inspection and settlement."""
    return ReturnView.whole(service.whole(call, return_id), call.now)


@tools.resource("returns://open", scope=Scope.RETURNS_READ)
def open_returns(call: Call) -> ReturnList:
    """Returns that are not over, those that wait longest first."""
    return list_returns(call, limit=100)


@tools.resource(
    "returns://return/{return_id}/label", scope=Scope.RETURNS_READ, mime_type="image/svg+xml"
)
def return_label(call: Call, return_id: Identifier) -> str:
    """The label of an authorized return: a QR code to print and stick on the parcel."""
    rma = call.get(Return, return_id)
    if rma.state == "in_transit" and rma.label_code is None:
        raise RuleViolation(
            f"Return {rma.id} needs no label: its parcel is on its way.",
            next="receive_return when it is here.",
        )
    if rma.authorized_at is None or rma.label_code is None:
        raise RuleViolation(f"Return {rma.id} has no label yet.", next="authorize_return first.")
    code = segno.make(rma.label_code, error="q", micro=False)
    return code.svg_inline(scale=6, border=4, title=rma.id, desc=rma.label_code)


@tools.prompt()
def returns_desk(state: Line = "all open") -> str:
    """Work through the returns that wait for somebody, and propose a step for each."""
    return (
        f"Work through the returns ({state}).\n"
        "1. list_returns: those that wait longest first.\n"
        "2. For each get_return: what was asked, what arrived, what was found.\n"
        "3. Requested ones: check_return_eligibility; name the rule that decides.\n"
        "4. Propose one step each: authorize_return, reject_return (with the reason), "
        "receive_return, inspect_return or settle_return, with the amount where money moves.\n"
        "5. Reason damaged_in_transit: propose a claim too.\n"
        "Do not carry out any of it. Show the list and ask the person which steps to take."
    )


@tools.completes("state")
def states(call: Call, prefix: str) -> list[str]:
    return [state for state in RETURN_STATES if state.startswith(prefix)]


def _asked(lines: list[ReturnLineAsked] | None) -> list[Asked]:
    return [Asked(each.line_id, each.quantity, each.reason) for each in lines or []]
