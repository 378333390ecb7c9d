"""What a provider's final answer means for a payment, a refund, a dispute."""

from typing import Final

from sqlalchemy import select

from common.call import Call
from common.gateways.port import Outcome, State
from common.ledgers import ledger
from common.rules import disputed, funds, paid
from common.rules.timeline import happened
from common.tables.payments import Dispute, Hold, Outbox, Payment, PaymentMethod, Refund

# Refusals that say the provider is already where we want it.
ALREADY: Final = {
    "capture": frozenset({"already_captured"}),
    "void": frozenset({"already_voided", "expired"}),
}


def settle(call: Call, row: Outbox, outcome: Outcome) -> bool:
    """Book a final answer. Whether the operation is done: a refused one is undone in the ledger."""
    payment = paid.locked(call, row.target_id)
    done = outcome.state is State.DONE or outcome.code in ALREADY.get(row.kind, ())
    if row.kind == "authorize":
        if done:
            _authorized(call, row, payment, outcome)
        else:
            _declined(call, payment, outcome)
    elif row.kind == "capture" and not done:
        _not_captured(call, payment, outcome)
    elif row.kind == "refund":
        refund = call.get(Refund, row.payload["refund_id"])
        if done:
            _refunded(call, refund, outcome)
        else:
            _not_refunded(call, refund, outcome)
            paid.refresh(call, payment)
    elif row.kind == "submit_evidence" and not done:
        dispute = call.get(Dispute, row.payload["dispute_id"])
        if dispute.status == "under_review":
            dispute.status, dispute.submitted_at = "needs_response", None
    return done


def _authorized(call: Call, row: Outbox, payment: Payment, outcome: Outcome) -> None:
    payment.provider_reference = outcome.provider_ref
    if payment.status not in ("created", "requires_action"):
        return  # voided meanwhile: that goes out next
    payment.status, payment.authorized_at = "authorized", call.now
    if outcome.capture_before is not None and payment.capture_before is not None:
        payment.capture_before = min(payment.capture_before, outcome.capture_before)
    call.session.flush()
    call.effect("update", "payment", payment.id, status="authorized")
    if row.payload.get("capture") and paid.standing(payment, call.now) == "authorized":
        paid.capture(call, payment, int(row.payload["amount_minor"]))
    paid.refresh(call, payment)


def _declined(call: Call, payment: Payment, outcome: Outcome) -> None:
    if payment.transfer_id is not None:
        ledger.void_if_open(call, payment.transfer_id)
    waiting = payment.status in ("created", "requires_action")
    payment.decline_code = (outcome.code or "declined")[:32]
    if waiting:
        payment.status = "declined" if outcome.state is State.DECLINED else "failed"
        payment.closed_at = call.now
    # What else was to be done with it (a void) has lost its object.
    query = select(Outbox).where(
        Outbox.target_type == "payment", Outbox.target_id == payment.id, Outbox.state == "pending"
    )
    for other in call.session.scalars(query.limit(20)):
        other.state, other.finished_at, other.error = "done", call.now, "never authorized"
    call.session.flush()
    call.effect("update", "payment", payment.id, status=payment.status)
    if payment.order_id is not None:
        paid.refresh_order(call, payment.order_id)
        happened(call, payment.order_id, "payment_declined", payment.decline_code,
                 reference=payment.id)  # fmt: skip


def _not_captured(call: Call, payment: Payment, outcome: Outcome) -> None:
    """The money never came: what was done with it here is undone, and all that was booked as
    captured goes back to where it was taken from. The ledger alone says then that nothing came."""
    source = paid.method_account(call.get(PaymentMethod, payment.method_id))
    active = (Hold.state == "active") & (Hold.expires_at.is_(None) | (Hold.expires_at > call.now))
    for hold in call.all(Hold, Hold.payment_id == payment.id, active):
        paid.end_hold(call, hold, "the capture failed")
    # None of these was sent: a payment's operations go out in turn, and the capture was before.
    mine = (Outbox.target_id == payment.id) & (Outbox.kind == "refund")
    for row in call.all(Outbox, mine, Outbox.state == "pending"):
        row.state, row.finished_at, row.error = "done", call.now, "never captured"
        refund = call.get(Refund, row.payload["refund_id"])
        _not_refunded(call, refund, Outcome(State.FAILED, code="not_captured"))
    disputed.undo(call, payment, source)
    left = paid.refundable(call.session, payment, call.now)
    if left:
        funds.capture_failed(call, payment.id, left, payment.currency, source)
    payment.status, payment.closed_at = "failed", call.now
    payment.decline_code = (outcome.code or "failed")[:32]
    call.session.flush()
    call.effect("update", "payment", payment.id, status="failed")
    if payment.order_id is not None:
        paid.refresh_order(call, payment.order_id)
        happened(call, payment.order_id, "capture_failed", payment.decline_code,
                 reference=payment.id)  # fmt: skip


def _refunded(call: Call, refund: Refund, outcome: Outcome) -> None:
    refund.status, refund.settled_at = "succeeded", call.now
    refund.provider_reference = outcome.provider_ref
    call.session.flush()
    call.effect("update", "refund", refund.id, status="succeeded")


def _not_refunded(call: Call, refund: Refund, outcome: Outcome) -> None:
    funds.refund_failed(
        call, refund.payment_id, refund.amount_minor, refund.currency, refund.destination,
        reference=refund.id,
    )  # fmt: skip
    refund.status, refund.settled_at = "failed", call.now
    refund.failure_code = (outcome.code or "failed")[:32]
    refund.points_at = None
    call.session.flush()
    call.effect("update", "refund", refund.id, status="failed")
    if refund.order_id is not None:
        happened(call, refund.order_id, "refund_failed", refund.failure_code, reference=refund.id)
