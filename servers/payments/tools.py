"""The payments server: payments, refunds and holds. Disputes and books are in modules beside it."""

from typing import Annotated, Literal

from pydantic import Field

from common.call import Call
from common.scopes import Scope
from common.tables.payments import Hold
from common.toolset import Effect
from common.wire import Currency, Cursor, Day, Identifier, Limit, Line, Minor, Note
from servers.payments import holds, moving, service, tools_books, tools_disputes
from servers.payments.offer import Hours, tools
from servers.payments.results import (
    CreditReceipt,
    HoldList,
    HoldRow,
    MethodList,
    MethodRow,
    OperationList,
    OperationRow,
    OrderPayments,
    PaymentList,
    PaymentRow,
    PaymentView,
    RefundReceipt,
)

Status = Literal[
    "created", "requires_action", "authorized", "partially_captured", "captured",
    "partially_refunded", "refunded", "declined", "voided", "expired", "failed",
]  # fmt: skip
RefundReason = Literal[
    "return", "goodwill", "duplicate", "cancellation", "amendment", "exchange", "claim",
    "method_change", "fraudulent", "price_adjustment",
]  # fmt: skip
HoldReason = Literal[
    "fraud_review", "dispute_risk", "return_pending", "claim_pending", "compliance", "manual"
]
HoldState = Literal["active", "captured", "released", "expired", "any"]
CreditReason = Literal["goodwill", "late_delivery", "price_adjustment", "correction"]
HoldDays = Annotated[int, Field(ge=1, le=180)]


@tools.tool(scope=Scope.PAYMENTS_READ, effect=Effect.READS)
def search_payments(
    call: Call,
    order_id: Identifier | None = None,
    customer_id: Identifier | None = None,
    status: Status | None = None,
    created_from: Day | None = None,
    created_to: Day | None = None,
    expiring_within_hours: Hours | None = None,
    limit: Limit = 20,
    cursor: Cursor | None = None,
) -> PaymentList:
    """Search payments, the latest first; filters are combined. `expiring_within_hours` finds
    authorizations that lapse soon, the next first."""
    wanted = service.Wanted(
        order_id, customer_id, status, created_from, created_to, expiring_within_hours
    )
    rows, following = service.search(call, wanted, cursor, limit)
    return PaymentList(
        count=len(rows), payments=[PaymentRow.of(row) for row in rows], next_cursor=following
    )


@tools.tool(scope=Scope.PAYMENTS_READ, effect=Effect.READS)
def get_payment(call: Call, payment_id: Identifier) -> PaymentView:
    """Show one payment: method, amounts, what is still refundable, refunds, holds, disputes, and
    calls to the provider that are not settled."""
    return _view(call, service.whole(call, payment_id))


@tools.tool(scope=Scope.PAYMENTS_READ, effect=Effect.READS)
def find_payment_methods(
    call: Call, customer_id: Identifier, limit: Limit = 20, cursor: Cursor | None = None
) -> MethodList:
    """List a customer's stored methods with the balance of gift cards and store credit. There are
    no card numbers here, and none may be given."""
    rows, following = service.methods(call, customer_id, cursor, limit)
    return MethodList(
        count=len(rows), methods=[MethodRow.of(*row) for row in rows], next_cursor=following
    )


@tools.tool(scope=Scope.PAYMENTS_READ, effect=Effect.READS)
def list_unsettled(call: Call, limit: Limit = 20, cursor: Cursor | None = None) -> OperationList:
    """List calls to a provider that are waiting, unknown or failed, the oldest first. Unknown ones
    are asked about by themselves: never repeat the payment or refund because of them."""
    rows, following = service.unsettled(call, cursor, limit)
    return OperationList(
        count=len(rows), operations=[OperationRow.of(row) for row in rows], next_cursor=following
    )


@tools.tool(scope=Scope.PAYMENTS_CAPTURE, effect=Effect.CREATES)
def authorize_payment(
    call: Call,
    order_id: Identifier,
    method_id: Identifier | None = None,
    amount_minor: Minor | None = None,
) -> PaymentRow:
    """Reserve money for an order on a stored method, by default all that is open on the order's
    own method. For an authorization that expired, or an order not yet covered."""
    return PaymentRow.of(moving.authorize(call, order_id, method_id, amount_minor))


@tools.tool(scope=Scope.PAYMENTS_CAPTURE, effect=Effect.CHANGES)
def capture_payment(
    call: Call, payment_id: Identifier, amount_minor: Minor | None = None
) -> PaymentRow:
    """Take authorized money, all of it or once a part: the rest is let go. Shipping captures by
    itself; use this for what it left."""
    return PaymentRow.of(moving.capture(call, payment_id, amount_minor))


@tools.tool(scope=Scope.PAYMENTS_WRITE, effect=Effect.CHANGES)
def void_payment(call: Call, payment_id: Identifier) -> PaymentRow:
    """Let an authorization go that will not be captured. For captured money use refund_payment; to
    cancel an order use orders.cancel_order."""
    return PaymentRow.of(moving.void(call, payment_id))


@tools.tool(scope=Scope.PAYMENTS_REFUND, effect=Effect.CHANGES)
def refund_payment(
    call: Call,
    payment_id: Identifier,
    amount_minor: Minor,
    currency: Currency,
    reason: RefundReason,
    to_method_id: Identifier | None = None,
    note: Note | None = None,
) -> RefundReceipt:
    """Give captured money back, to the method that paid unless `to_method_id` names another one of
    the customer (restricted). For returned goods use returns.settle_return, for a claim
    claims.settle_claim, for a whole order orders.cancel_order."""
    done = moving.refund(call, payment_id, amount_minor, currency, reason, to_method_id, note or "")
    return RefundReceipt.done(*done)


@tools.tool(scope=Scope.PAYMENTS_CREDIT, effect=Effect.CHANGES)
def issue_store_credit(
    call: Call,
    customer_id: Identifier,
    amount_minor: Minor,
    currency: Currency,
    reason: CreditReason,
    order_id: Identifier | None = None,
) -> CreditReceipt:
    """Give a customer new store credit out of goodwill. It is no refund: for money already paid
    use refund_payment."""
    method, left = moving.issue_credit(call, customer_id, amount_minor, currency, reason, order_id)
    return CreditReceipt.of(method, amount_minor, left)


@tools.tool(scope=Scope.PAYMENTS_WRITE, effect=Effect.CREATES)
def place_hold(
    call: Call,
    payment_id: Identifier,
    reason: HoldReason,
    amount_minor: Minor | None = None,
    days: HoldDays = 14,
    note: Note | None = None,
) -> HoldRow:
    """Keep captured money from being refunded, by default all that is refundable. To stop a
    shipment use orders.hold_order."""
    return _hold(call, holds.place(call, payment_id, reason, amount_minor, days, note or ""))


@tools.tool(scope=Scope.PAYMENTS_WRITE, effect=Effect.CHANGES)
def extend_hold(call: Call, hold_id: Identifier, days: HoldDays) -> HoldRow:
    """Let an active hold last until so many days from now."""
    return _hold(call, holds.extend(call, hold_id, days))


@tools.tool(scope=Scope.PAYMENTS_RELEASE, effect=Effect.CHANGES)
def release_hold(call: Call, hold_id: Identifier, note: Note) -> HoldRow:
    """End a hold before its time; `note` says why. A second person has to approve."""
    return _hold(call, holds.release(call, hold_id, note))


@tools.tool(scope=Scope.PAYMENTS_READ, effect=Effect.READS)
def list_holds(
    call: Call,
    state: HoldState = "active",
    order_id: Identifier | None = None,
    payment_id: Identifier | None = None,
    expiring_within_hours: Hours | None = None,
    limit: Limit = 20,
    cursor: Cursor | None = None,
) -> HoldList:
    """List holds, the oldest first. `expiring_within_hours` finds those that end soon, the next
    first."""
    wanted = holds.Wanted(
        None if state == "any" else state, order_id, payment_id, expiring_within_hours
    )
    return _hold_list(call, wanted, cursor, limit)


@tools.resource("payments://order/{order_id}", scope=Scope.PAYMENTS_READ)
def order_payments(call: Call, order_id: Identifier) -> OrderPayments:
    """Every payment and refund of an order, and what the shop still has of its money."""
    return OrderPayments.of(service.of_order(call, order_id))


@tools.resource("payments://holds", scope=Scope.PAYMENTS_READ)
def active_holds(call: Call) -> HoldList:
    """The active holds, the oldest first, at most a hundred."""
    return _hold_list(call, holds.Wanted(), None, 100)


@tools.prompt()
def hold_review(within_days: Line = "7") -> str:
    """Go through the holds on customers' money: which should end, last longer, or be settled."""
    return (
        f"Review the holds on customers' money that end within {within_days} days.\n"
        "1. list_holds with expiring_within_hours: what ends soon, and why was it placed?\n"
        "2. list_holds: which are older than thirty days?\n"
        "3. For each of them get_payment, then the order with orders.get_order: is the reason "
        "still there (an open return, claim, dispute, a fraud review)?\n"
        "4. Propose for each hold one step: let it expire, extend_hold, release_hold, or refund "
        "after a release. Say why, with ids and amounts.\n"
        "Do not carry out any of it. A release needs a second person's approval. Show the list "
        "and ask the person which steps to take."
    )


def _view(call: Call, found: service.Whole) -> PaymentView:
    return PaymentView.whole(found, [holds.state(call, hold) for hold in found.holds])


def _hold(call: Call, hold: Hold) -> HoldRow:
    return HoldRow.of(hold, holds.state(call, hold))


def _hold_list(call: Call, wanted: holds.Wanted, cursor: str | None, limit: int) -> HoldList:
    rows, following = holds.search(call, wanted, cursor, limit)
    return HoldList(
        count=len(rows), holds=[_hold(call, row) for row in rows], next_cursor=following
    )


__all__ = ["tools", "tools_books", "tools_disputes"]
