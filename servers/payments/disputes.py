"""Disputes: a bank takes a payment back until it is decided who keeps it.

While one is open the money is in ``disputed:{id}``. What is disputed beyond what the payment still
has (it went back already) is a loss the moment the dispute is lost.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select

from common import funds, ledger, paid
from common.call import Call
from common.clock import stamp
from common.errors import InvalidParameters, RuleViolation
from common.gateways.port import Kind
from common.money import Money
from common.paging import page
from common.paid_queue import enqueue
from common.paid_state import OPEN_DISPUTES
from common.tables.payments import Dispute, DisputeEvidence, Payment, PaymentMethod
from common.timeline import happened
from servers.payments import evidence
from servers.payments.evidence import Piece

ANSWERABLE = ("inquiry", "needs_response", "appealed")
OPEN = ("inquiry", *OPEN_DISPUTES)
MOST_EVIDENCE = 100


@dataclass(frozen=True)
class Whole:
    """``offered`` is what the records could still answer with."""

    dispute: Dispute
    covered: int
    added: list[DisputeEvidence]
    offered: list[Piece]


def record(
    call: Call,
    payment_id: str,
    reason: str,
    amount_minor: int | None,
    respond_by: datetime | None,
    reference: str | None,
    *,
    inquiry: bool = False,
) -> Dispute:
    """A bank or provider opened a dispute. An inquiry takes no money yet.

    Raises RuleViolation (nothing captured, one is open already), InvalidParameters (more than was
    captured, an answer due in the past).
    """
    payment = paid.locked(call, payment_id)
    captured = funds.captured(call.session, payment.id, payment.currency)
    amount = captured if amount_minor is None else amount_minor
    _check(call, payment, captured, amount, respond_by, reference)
    call.stake(amount_minor=amount, currency=payment.currency)
    call.show(f"Record a dispute of {Money(amount, payment.currency)} on payment {payment.id}")
    dispute = call.add(
        Dispute(
            id=call.new_id("dispute"), payment_id=payment.id, order_id=payment.order_id,
            provider_reference=reference, reason=reason,
            status="inquiry" if inquiry else "needs_response", amount_minor=amount,
            currency=payment.currency, opened_at=call.now, respond_by=respond_by,
        )
    )  # fmt: skip
    if not inquiry:
        _take(call, dispute, payment)
    if payment.order_id is not None:
        happened(call, payment.order_id, "disputed", reason, reference=dispute.id)
    return dispute


def submit(call: Call, dispute_id: str, kinds: list[str]) -> tuple[Dispute, list[Piece]]:
    """Answer with what the shop's own records say. Raises RuleViolation when there is nothing to
    answer, or too late, or the records have nothing of these kinds."""
    dispute = _locked(call, dispute_id)
    if dispute.status not in ANSWERABLE:
        raise RuleViolation(
            f"Dispute {dispute.id} is {dispute.status}.", details={"status": dispute.status}
        )
    if dispute.respond_by is not None and dispute.respond_by <= call.now:
        raise RuleViolation(
            f"The answer to dispute {dispute.id} was due at {stamp(dispute.respond_by)}.",
            next="Tell the person; nothing can be submitted any more.",
        )
    known = {each.sha256 for each in _evidence(call, dispute)}
    pieces = [
        piece
        for piece in evidence.offered(call, dispute)
        if piece.kind in kinds and piece.sha256 not in known
    ]
    if not pieces:
        raise RuleViolation(
            "The records hold nothing new of these kinds.",
            next="get_dispute shows what they offer.",
        )
    call.stake(amount_minor=dispute.amount_minor, currency=dispute.currency)
    call.show(
        f"Answer dispute {dispute.id} of {Money(dispute.amount_minor, dispute.currency)}"
        f" ({dispute.reason.replace('_', ' ')})",
        *(f"{piece.kind.replace('_', ' ')} {piece.source_id}: {piece.brief}" for piece in pieces),
        "It goes to the bank in the shop's name.",
    )
    for piece in pieces:
        call.add(
            DisputeEvidence(
                id=call.new_id("evidence"), dispute_id=dispute.id, kind=piece.kind,
                source_id=piece.source_id, text=piece.text, sha256=piece.sha256, added_at=call.now,
            )
        )  # fmt: skip
    dispute.submitted_at = call.now
    _move(call, dispute, "under_review")
    _tell(call, dispute, "submit_evidence")
    return dispute, pieces


def accept(call: Call, dispute_id: str) -> Dispute:
    """Give the money up without an answer. Raises RuleViolation when there is nothing open."""
    dispute = _locked(call, dispute_id)
    _require_open(dispute)
    amount = Money(dispute.amount_minor, dispute.currency)
    call.stake(amount_minor=dispute.amount_minor, currency=dispute.currency)
    call.show(
        f"Accept dispute {dispute.id}: the customer keeps {amount}",
        f"reason: {dispute.reason.replace('_', ' ')}",
        "It cannot be contested afterwards.",
    )
    _lose(call, dispute)
    _close(call, dispute, "accepted")
    _tell(call, dispute, "accept_dispute")
    return dispute


def decide(call: Call, dispute_id: str, outcome: str) -> Dispute:
    """What the bank decided: ``won`` or ``prevented`` (the money is the payment's again), ``lost``,
    ``needs_response`` (an inquiry became a dispute). Raises RuleViolation when the dispute cannot
    go there."""
    dispute = _locked(call, dispute_id)
    payment = call.get(Payment, dispute.payment_id)
    call.stake(amount_minor=dispute.amount_minor, currency=dispute.currency)
    call.show(f"Record that dispute {dispute.id} is {outcome.replace('_', ' ')}")
    if outcome == "needs_response":
        if dispute.status != "inquiry":
            raise RuleViolation(f"Dispute {dispute.id} is {dispute.status}, no inquiry.")
        _take(call, dispute, payment)
        _move(call, dispute, "needs_response")
        return dispute
    _require_open(dispute)
    if outcome == "lost":
        _lose(call, dispute)
    else:
        _return(call, dispute)
    _close(call, dispute, outcome)
    return dispute


def whole(call: Call, dispute_id: str) -> Whole:
    """One dispute, its evidence, and what the records could still offer. Raises NotFound."""
    dispute = call.get(Dispute, dispute_id, next="list_disputes shows the disputes.")
    added = _evidence(call, dispute)
    known = {each.sha256 for each in added}
    left = [each for each in evidence.offered(call, dispute) if each.sha256 not in known]
    return Whole(dispute, _covered(call, dispute), added, left if dispute.status in OPEN else [])


def search(
    call: Call, status: str | None, order_id: str | None, cursor: str | None, limit: int
) -> tuple[list[Dispute], str | None]:
    """Disputes, the latest first; without a status those that are open."""
    query = select(Dispute)
    query = query.where(Dispute.status == status if status else Dispute.status.in_(OPEN))
    if order_id:
        query = query.where(Dispute.order_id == order_id)
    keys = [Dispute.opened_at, Dispute.id]
    return page(call.session, query, keys, cursor, limit, descending=True)


def _check(
    call: Call,
    payment: Payment,
    captured: int,
    amount: int,
    respond_by: datetime | None,
    reference: str | None,
) -> None:
    if not captured:
        raise RuleViolation(f"Nothing of payment {payment.id} was captured: none can be disputed.")
    if not 0 < amount <= captured:
        raise InvalidParameters.field("amount_minor", amount, f"at most the captured {captured}")
    if respond_by is not None and respond_by <= call.now:
        raise InvalidParameters.field("respond_by", stamp(respond_by), "a day ahead")
    known = (Dispute.payment_id == payment.id) & Dispute.status.in_(OPEN)
    if reference is not None:
        known |= Dispute.provider_reference == reference
    standing = select(Dispute.id).where(known).order_by(Dispute.id).limit(1)
    found = call.session.scalars(standing).first()
    if found is not None:
        raise RuleViolation(f"Dispute {found} is there already.", details={"dispute_id": found})


def _locked(call: Call, dispute_id: str) -> Dispute:
    found = call.get(Dispute, dispute_id, next="list_disputes shows the disputes.")
    paid.locked(call, found.payment_id)
    call.session.refresh(found)
    call.versions[f"{found.__tablename__}:{found.id}"] = found.version
    return found


def _require_open(dispute: Dispute) -> None:
    if dispute.status not in OPEN:
        raise RuleViolation(
            f"Dispute {dispute.id} is {dispute.status}.", details={"status": dispute.status}
        )


def _take(call: Call, dispute: Dispute, payment: Payment) -> None:
    left = paid.refundable(call.session, payment, call.now)
    covered = min(left, dispute.amount_minor)
    if covered:
        dispute.transfer_id = funds.open_dispute(
            call, dispute.id, payment.id, covered, dispute.currency
        )
    paid.refresh(call, payment)


def _covered(call: Call, dispute: Dispute) -> int:
    account = f"disputed:{dispute.id}"
    return funds.balance(call.session, call.now, account, dispute.currency).posted


def _lose(call: Call, dispute: Dispute) -> None:
    covered, clearing = _covered(call, dispute), _clearing(call, dispute)
    if covered:
        funds.close_dispute(
            call, dispute.id, dispute.payment_id, covered, dispute.currency, lost_to=clearing
        )
    # An inquiry took nothing and so loses nothing.
    short = dispute.amount_minor - covered if dispute.status != "inquiry" else 0
    if short:
        ledger.transfer(
            call, funds.money(dispute.currency), "dispute_losses", clearing, short, "dispute_lost",
            dispute.payment_id,
        )  # fmt: skip


def _return(call: Call, dispute: Dispute) -> None:
    covered = _covered(call, dispute)
    if covered:
        funds.close_dispute(
            call, dispute.id, dispute.payment_id, covered, dispute.currency, lost_to=None
        )


def _clearing(call: Call, dispute: Dispute) -> str:
    payment = call.get(Payment, dispute.payment_id)
    method = call.get(PaymentMethod, payment.method_id)
    if method.kind in ("card", "wallet"):
        return paid.method_account(method)
    return funds.clearing("card")


def _close(call: Call, dispute: Dispute, status: str) -> None:
    dispute.closed_at = call.now
    _move(call, dispute, status)
    if dispute.order_id is not None:
        happened(call, dispute.order_id, f"dispute_{status}", reference=dispute.id)
    paid.refresh(call, call.get(Payment, dispute.payment_id))


def _tell(call: Call, dispute: Dispute, kind: Kind) -> None:
    """A provider that reported the dispute gets the answer; a bank's letter is answered by hand."""
    payment = call.get(Payment, dispute.payment_id)
    if dispute.provider_reference is not None and payment.provider_reference is not None:
        enqueue(call, kind, payment, dispute.amount_minor, dispute=dispute)


def _move(call: Call, dispute: Dispute, status: str) -> None:
    dispute.status = status
    call.session.flush()
    call.effect("update", "dispute", dispute.id, status=status)


def _evidence(call: Call, dispute: Dispute) -> list[DisputeEvidence]:
    return call.all(DisputeEvidence, DisputeEvidence.dispute_id == dispute.id, limit=MOST_EVIDENCE)
