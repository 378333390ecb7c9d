"""Claims as they stand: one with everything under it, and lists."""

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import select, text

from common.call import Call
from common.paging import page, plain
from common.rules import meant
from common.tables.claims import (
    OPEN_CLAIM,
    Claim,
    ClaimDecision,
    ClaimEvidence,
    ClaimLine,
    ClaimRecovery,
)
from common.tables.logistics import Carrier, Shipment
from common.tables.orders import Order
from common.tables.payments import Dispute
from servers.claims import checklist
from servers.claims.checklist import Checklist
from servers.claims.states import OVER


@dataclass(frozen=True)
class Whole:
    """A claim with everything that hangs on it."""

    claim: Claim
    lines: list[ClaimLine]
    evidence: list[ClaimEvidence]
    decisions: list[ClaimDecision]
    recoveries: list[ClaimRecovery]
    linked: list[str]
    disputes: list[str]
    checklist: Checklist


def find(call: Call, claim_id: str) -> Claim:
    """The claim. Raises NotFound and says how to look for it."""
    return call.get(Claim, claim_id, next="list_claims shows the open ones.")


def whole(call: Call, claim_id: str) -> Whole:
    """The claim and everything under it. Raises NotFound."""
    claim = find(call, claim_id)
    parent = Claim.parent_id == claim.id
    return Whole(
        claim=claim,
        lines=lines_of(call, claim),
        evidence=call.all(ClaimEvidence, ClaimEvidence.claim_id == claim.id, limit=200),
        decisions=call.all(ClaimDecision, ClaimDecision.claim_id == claim.id, limit=100),
        recoveries=call.all(ClaimRecovery, ClaimRecovery.claim_id == claim.id, limit=100),
        linked=list(call.session.scalars(select(Claim.id).where(parent).limit(50))),
        disputes=disputes_of(call, claim),
        checklist=checklist.of(call, claim),
    )


def lines_of(call: Call, claim: Claim) -> list[ClaimLine]:
    """The claim's lines by position."""
    rows = call.all(ClaimLine, ClaimLine.claim_id == claim.id, limit=200)
    return sorted(rows, key=lambda line: line.position)


def disputes_of(call: Call, claim: Claim) -> list[str]:
    """Ids of the disputes of the order's payments."""
    if claim.order_id is None:
        return []
    query = select(Dispute.id).where(Dispute.order_id == claim.order_id)
    return list(call.session.scalars(query.order_by(Dispute.id).limit(50)))


@dataclass(frozen=True)
class Wanted:
    """Filters of a list; None leaves one out."""

    kind: str | None = None
    type: str | None = None
    state: str | None = None
    order_id: str | None = None
    shipment_id: str | None = None
    carrier_id: str | None = None
    open_only: bool = True


def listed(
    call: Call, wanted: Wanted, cursor: str | None, limit: int
) -> tuple[list[Claim], str | None]:
    """Claims that fit, the oldest first: what waits longest comes first."""
    meant.filters(
        call, (Order, wanted.order_id), (Shipment, wanted.shipment_id),
        (Carrier, wanted.carrier_id),
    )  # fmt: skip
    query = select(Claim)
    few = wanted.open_only or wanted.order_id is not None or wanted.shipment_id is not None
    for column, value in (
        (Claim.kind, wanted.kind),
        (Claim.type, wanted.type),
        (Claim.state, wanted.state),
        (Claim.order_id, wanted.order_id),
        (Claim.shipment_id, wanted.shipment_id),
        (Claim.carrier_id, wanted.carrier_id),
    ):
        if value is not None:
            leads = column in (Claim.order_id, Claim.shipment_id) or not few
            query = query.where((column if leads else plain(column)) == value)
    if wanted.open_only:
        query = query.where(text(OPEN_CLAIM))
    return page(call.session, query, [Claim.opened_at, Claim.id], cursor, limit)


def coming_due(
    call: Call, days: int, cursor: str | None, limit: int
) -> tuple[list[Claim], str | None]:
    """Open claims whose next deadline is at most ``days`` away or past, the most urgent first."""
    query = select(Claim).where(
        Claim.deadline_at.is_not(None),
        Claim.deadline_at <= call.now + timedelta(days=days),
        Claim.state.not_in(OVER),
    )
    return page(call.session, query, [Claim.deadline_at, Claim.id], cursor, limit)
