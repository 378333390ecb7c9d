"""Tools about disputes."""

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field

from common.call import Call
from common.scopes import Scope
from common.toolset import Effect
from common.wire import Cursor, Identifier, Limit, Line, Minor
from servers.payments import disputes
from servers.payments.offer import tools
from servers.payments.results import DisputeAnswer, DisputeList, DisputeRow, DisputeView

DisputeStatus = Literal[
    "inquiry", "needs_response", "under_review", "won", "lost", "accepted", "prevented",
    "appealed",
]  # fmt: skip
DisputeReason = Literal[
    "bank_cannot_process", "check_returned", "credit_not_processed", "customer_initiated",
    "debit_not_authorized", "duplicate", "fraudulent", "general", "incorrect_account_details",
    "insufficient_funds", "noncompliant", "product_not_received", "product_unacceptable",
    "subscription_canceled", "unrecognized",
]  # fmt: skip
Outcome = Literal["needs_response", "won", "lost", "prevented"]
EvidenceKind = Literal["proof_of_delivery", "tracking", "invoice", "return_record", "other"]
AnswerDays = Annotated[int, Field(ge=1, le=120)]


@tools.tool(scope=Scope.PAYMENTS_READ, effect=Effect.READS)
def list_disputes(
    call: Call,
    status: DisputeStatus | None = None,
    order_id: Identifier | None = None,
    limit: Limit = 20,
    cursor: Cursor | None = None,
) -> DisputeList:
    """List disputes, the latest first; without a status those that are still open."""
    rows, following = disputes.search(call, status, order_id, cursor, limit)
    return DisputeList(
        count=len(rows), disputes=[DisputeRow.of(row) for row in rows], next_cursor=following
    )


@tools.tool(scope=Scope.PAYMENTS_READ, effect=Effect.READS)
def get_dispute(call: Call, dispute_id: Identifier) -> DisputeView:
    """Show one dispute: what was submitted, and what the shop's records (proof of delivery,
    tracking, invoice, returns, refunds) could still say."""
    return DisputeView.whole(disputes.whole(call, dispute_id))


@tools.tool(scope=Scope.PAYMENTS_WRITE, effect=Effect.CREATES)
def record_dispute(
    call: Call,
    payment_id: Identifier,
    reason: DisputeReason,
    amount_minor: Minor | None = None,
    answer_within_days: AnswerDays = 7,
    inquiry: bool = False,
    reference: Identifier | None = None,
) -> DisputeRow:
    """Record that a bank disputes a payment; its money can then not be refunded as well. An
    `inquiry` takes no money yet. Connected providers report theirs by themselves."""
    respond_by = call.now + timedelta(days=answer_within_days)
    return DisputeRow.of(
        disputes.record(
            call, payment_id, reason, amount_minor, respond_by, reference, inquiry=inquiry
        )
    )


@tools.tool(scope=Scope.PAYMENTS_WRITE, effect=Effect.CHANGES)
def submit_dispute_evidence(
    call: Call,
    dispute_id: Identifier,
    kinds: Annotated[list[EvidenceKind], Field(min_length=1, max_length=5)],
) -> DisputeAnswer:
    """Answer a dispute with evidence rendered from the shop's records, of the kinds get_dispute
    shows as available. It goes to the bank once, in the shop's name."""
    return DisputeAnswer.of_submitted(*disputes.submit(call, dispute_id, list(kinds)))


@tools.tool(scope=Scope.PAYMENTS_REFUND, effect=Effect.CHANGES)
def accept_dispute(call: Call, dispute_id: Identifier) -> DisputeRow:
    """Give a disputed amount up without an answer. It cannot be contested afterwards."""
    return DisputeRow.of(disputes.accept(call, dispute_id))


@tools.tool(scope=Scope.PAYMENTS_WRITE, effect=Effect.CHANGES)
def record_dispute_outcome(call: Call, dispute_id: Identifier, outcome: Outcome) -> DisputeRow:
    """Record what the bank decided. `needs_response`: an inquiry became a dispute."""
    return DisputeRow.of(disputes.decide(call, dispute_id, outcome))


@tools.prompt()
def dispute_response(dispute_id: Line) -> str:
    """Prepare the answer to one dispute from the shop's own records."""
    return (
        f"Prepare the answer to dispute {dispute_id}.\n"
        "1. get_dispute: reason, amount, until when, and which evidence is available.\n"
        "2. get_payment and orders.get_order: what was bought, delivered, returned, refunded?\n"
        "3. Say which evidence speaks to the reason, and what is missing.\n"
        "4. Propose submit_dispute_evidence with the kinds that help, or accept_dispute when the "
        "customer is right.\n"
        "Evidence can be submitted once. Carry nothing out: show it and ask the person."
    )
