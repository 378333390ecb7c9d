"""Disputes: a bank takes a payment back until it is decided who keeps it."""

from dataclasses import dataclass

from sqlalchemy import select, text

from common.call import Call
from common.clock import stamp
from common.errors import RuleViolation
from common.gateways.port import Kind
from common.money import Money
from common.paging import page, plain
from common.rules import disputed, meant
from common.rules.disputed import OPEN, decide, record
from common.rules.paid_queue import enqueue
from common.tables.orders import Order
from common.tables.payments import OPEN_DISPUTE, Dispute, DisputeEvidence, Payment
from servers.payments import evidence
from servers.payments.evidence import Piece

ANSWERABLE = ("inquiry", "needs_response", "appealed")
MOST_EVIDENCE = 100


@dataclass(frozen=True)
class Whole:
    """``offered`` is what the records could still answer with."""

    dispute: Dispute
    covered: int
    added: list[DisputeEvidence]
    offered: list[Piece]


def submit(call: Call, dispute_id: str, kinds: list[str]) -> tuple[Dispute, list[Piece]]:
    """Answer with what the shop's own records say. Raises RuleViolation when there is nothing to
    answer, or too late, or the records have nothing of these kinds."""
    dispute = disputed.locked(call, dispute_id)
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
    disputed.move(call, dispute, "under_review")
    _tell(call, dispute, "submit_evidence")
    return dispute, pieces


def accept(call: Call, dispute_id: str) -> Dispute:
    """Give the money up without an answer. Raises RuleViolation when there is nothing open."""
    dispute = disputed.locked(call, dispute_id)
    disputed.require_open(dispute)
    amount = Money(dispute.amount_minor, dispute.currency)
    call.stake(amount_minor=dispute.amount_minor, currency=dispute.currency)
    call.show(
        f"Accept dispute {dispute.id}: the customer keeps {amount}",
        f"reason: {dispute.reason.replace('_', ' ')}",
        "It cannot be contested afterwards.",
    )
    disputed.lose(call, dispute)
    disputed.close(call, dispute, "accepted")
    _tell(call, dispute, "accept_dispute")
    return dispute


def whole(call: Call, dispute_id: str) -> Whole:
    """One dispute, its evidence, and what the records could still offer. Raises NotFound."""
    dispute = call.get(Dispute, dispute_id, next="list_disputes shows the disputes.")
    added = _evidence(call, dispute)
    known = {each.sha256 for each in added}
    left = [each for each in evidence.offered(call, dispute) if each.sha256 not in known]
    return Whole(
        dispute, disputed.covered_of(call, dispute), added, left if dispute.status in OPEN else []
    )


def search(
    call: Call, status: str | None, order_id: str | None, cursor: str | None, limit: int
) -> tuple[list[Dispute], str | None]:
    """Disputes, the latest first; without a status those that are open."""
    meant.filters(call, (Order, order_id))
    query = select(Dispute)
    if status:
        query = query.where((plain(Dispute.status) if order_id else Dispute.status) == status)
    else:
        query = query.where(text(OPEN_DISPUTE))
    if order_id:
        query = query.where(Dispute.order_id == order_id)
    keys = [Dispute.opened_at, Dispute.id]
    return page(call.session, query, keys, cursor, limit, descending=True)


def _tell(call: Call, dispute: Dispute, kind: Kind) -> None:
    """A provider that reported the dispute gets the answer; a bank's letter is answered by hand."""
    payment = call.get(Payment, dispute.payment_id)
    if dispute.provider_reference is not None and payment.provider_reference is not None:
        enqueue(call, kind, payment, dispute.amount_minor, dispute=dispute)


def _evidence(call: Call, dispute: Dispute) -> list[DisputeEvidence]:
    return call.all(DisputeEvidence, DisputeEvidence.dispute_id == dispute.id, limit=MOST_EVIDENCE)


__all__ = [
    "ANSWERABLE", "OPEN", "Whole", "accept", "decide", "record", "search", "submit", "whole",
]  # fmt: skip
