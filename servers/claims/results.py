"""What the claims server answers with."""

from datetime import datetime

from common.clock import stamp
from common.money import Money
from common.tables.claims import Claim
from common.wire import Result
from servers.claims.deadlines import Deadline
from servers.claims.late_shipments import Late
from servers.claims.service import Whole
from servers.claims.states import NEXT


def _at(moment: datetime | None) -> str | None:
    return stamp(moment) if moment else None


class ClaimRow(Result):
    """``deadline_at`` is the next date that matters: to file, to be answered, to appeal."""

    claim_id: str
    kind: str
    type: str
    state: str
    order_id: str | None = None
    shipment_id: str | None = None
    carrier: str | None = None
    claimed: str
    approved: str | None = None
    opened_at: str
    deadline_at: str | None = None

    @classmethod
    def of(cls, claim: Claim) -> "ClaimRow":
        approved = Money(claim.approved_minor, claim.currency)
        return cls(
            claim_id=claim.id,
            kind=claim.kind,
            type=claim.type,
            state=claim.state,
            order_id=claim.order_id,
            shipment_id=claim.shipment_id,
            carrier=claim.carrier_id,
            claimed=str(Money(claim.claimed_minor, claim.currency)),
            approved=str(approved) if claim.approved_minor else None,
            opened_at=stamp(claim.opened_at),
            deadline_at=_at(claim.deadline_at),
        )


class ClaimList(Result):
    count: int
    claims: list[ClaimRow]
    next_cursor: str | None = None


class ClaimLineView(Result):
    line_id: str
    order_line_id: str | None = None
    shipment_line_id: str | None = None
    sku: str
    quantity: int
    unit_cost_minor: int
    claimed_minor: int
    approved_minor: int | None = None
    paid_minor: int | None = None


class EvidenceView(Result):
    evidence_id: str
    kind: str
    sha256: str
    taken_at: str | None = None
    note: str | None = None


class DecisionView(Result):
    decision: str
    amount_minor: int | None = None
    code: str | None = None
    text: str | None = None
    on_appeal: bool | None = None
    at: str


class RecoveryView(Result):
    amount_minor: int
    reference: str
    received_at: str


class ClaimView(ClaimRow):
    """``missing`` is what must be added before it can be submitted."""

    currency: str
    claimed_minor: int
    approved_minor: int
    paid_minor: int
    freight_minor: int | None = None
    customer_id: str | None = None
    return_id: str | None = None
    supplier_id: str | None = None
    parent_id: str | None = None
    linked_claims: list[str] | None = None
    dispute_ids: list[str] | None = None
    description: str | None = None
    carrier_reference: str | None = None
    filed_at: str | None = None
    deadline_override: str | None = None
    resolution: str | None = None
    refund_id: str | None = None
    replacement_order_id: str | None = None
    lines: list[ClaimLineView]
    evidence: list[EvidenceView]
    decisions: list[DecisionView] | None = None
    recoveries: list[RecoveryView] | None = None
    missing: list[str]
    notes: list[str] | None = None
    next: str

    @classmethod
    def whole(cls, found: Whole) -> "ClaimView":
        claim = found.claim
        return cls(
            **ClaimRow.of(claim).model_dump(),
            currency=claim.currency,
            claimed_minor=claim.claimed_minor,
            approved_minor=claim.approved_minor,
            paid_minor=claim.paid_minor,
            freight_minor=claim.freight_minor or None,
            customer_id=claim.customer_id,
            return_id=claim.return_id,
            supplier_id=claim.supplier_id,
            parent_id=claim.parent_id,
            linked_claims=found.linked or None,
            dispute_ids=found.disputes or None,
            description=claim.description or None,
            carrier_reference=claim.carrier_reference,
            filed_at=_at(claim.filed_at),
            deadline_override=claim.deadline_override,
            resolution=claim.resolution,
            refund_id=claim.refund_id,
            replacement_order_id=claim.replacement_order_id,
            lines=_lines(found),
            evidence=_evidence(found),
            decisions=_decisions(found) or None,
            recoveries=[
                RecoveryView(
                    amount_minor=row.amount_minor, reference=row.reference,
                    received_at=stamp(row.received_at),
                )
                for row in found.recoveries
            ]
            or None,
            missing=found.checklist.missing,
            notes=found.checklist.notes or None,
            next=NEXT.get((claim.kind == "customer", claim.state), "It is over."),
        )  # fmt: skip


def _lines(found: Whole) -> list[ClaimLineView]:
    return [
        ClaimLineView(
            line_id=line.id, order_line_id=line.order_line_id,
            shipment_line_id=line.shipment_line_id, sku=line.sku, quantity=line.quantity,
            unit_cost_minor=line.unit_cost_minor, claimed_minor=line.claimed_minor,
            approved_minor=line.approved_minor or None, paid_minor=line.paid_minor or None,
        )
        for line in found.lines
    ]  # fmt: skip


def _evidence(found: Whole) -> list[EvidenceView]:
    return [
        EvidenceView(
            evidence_id=row.id, kind=row.kind, sha256=row.sha256, taken_at=_at(row.taken_at),
            note=row.note or None,
        )
        for row in found.evidence
    ]  # fmt: skip


def _decisions(found: Whole) -> list[DecisionView]:
    rows = sorted(found.decisions, key=lambda row: (row.at, row.id))
    return [
        DecisionView(
            decision=row.decision, amount_minor=row.amount_minor or None, code=row.code,
            text=row.text or None, on_appeal=row.on_appeal or None, at=stamp(row.at),
        )
        for row in rows
    ]  # fmt: skip


class LateShipment(Result):
    """``excuse``: a cause on record that is not the carrier's. ``claim_id``: its late claim."""

    shipment_id: str
    order_id: str | None = None
    carrier: str | None = None
    status: str
    promised_at: str | None = None
    delivered_at: str | None = None
    minutes_late: int
    freight_minor: int
    currency: str
    excuse: str | None = None
    file_by: str | None = None
    claim_id: str | None = None

    @classmethod
    def of(cls, late: Late) -> "LateShipment":
        shipment = late.shipment
        return cls(
            shipment_id=shipment.id, order_id=shipment.order_id, carrier=shipment.carrier_id,
            status=shipment.status, promised_at=_at(shipment.promised_at),
            delivered_at=_at(shipment.delivered_at), minutes_late=late.minutes,
            freight_minor=late.freight_minor, currency=shipment.currency, excuse=late.excuse,
            file_by=_at(late.file_by), claim_id=late.claim_id,
        )  # fmt: skip


class LateList(Result):
    count: int
    shipments: list[LateShipment]
    next_cursor: str | None = None


class DeadlineView(Result):
    deadline: str
    days: int
    business_days: bool | None = None
    counted_from: str
    carrier: str | None = None
    type: str | None = None
    liability_cap_minor: int | None = None
    currency: str | None = None
    covers_freight: bool | None = None
    evidence: list[str] | None = None
    source: str
    as_of: str

    @classmethod
    def of(cls, found: Deadline) -> "DeadlineView":
        return cls(
            deadline=found.deadline, days=found.days, business_days=found.business_days or None,
            counted_from=found.counted_from, carrier=found.carrier_id, type=found.claim_type,
            liability_cap_minor=found.liability_cap_minor, currency=found.currency,
            covers_freight=found.covers_freight or None, evidence=list(found.evidence) or None,
            source=found.source, as_of=found.as_of.isoformat(),
        )  # fmt: skip


class DeadlineList(Result):
    """A carrier's and a type's own deadline comes before a general one, the latest first."""

    deadlines: list[DeadlineView]
