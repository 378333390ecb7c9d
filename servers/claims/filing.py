"""Evidence, submission and withdrawal."""

from dataclasses import dataclass
from datetime import UTC, datetime

from common.call import Call, quoted
from common.clock import stamp
from common.errors import InvalidParameters, RuleViolation
from common.money import Money
from common.rules.timeline import happened
from common.tables.claims import Claim, ClaimEvidence
from common.tables.logistics import Carrier, Shipment
from servers.claims import checklist, deadlines, service, states

MOST_EVIDENCE = 100


@dataclass(frozen=True)
class File:
    """A file kept elsewhere, known here by its hash."""

    kind: str
    sha256: str
    media_type: str
    size_bytes: int
    note: str = ""
    taken_on: str | None = None


def add_evidence(call: Call, claim_id: str, file: File) -> ClaimEvidence:
    """Add a file's hash; it can never be changed or removed. Raises RuleViolation when the claim
    is over or has the file already, InvalidParameters for a day to come or a link in the note."""
    claim = service.find(call, claim_id)
    over = (*states.OVER, "resolved", "accepted", "paid", "reconciled")
    if claim.state in over:
        states.refuse(claim, "take more evidence")
    taken_at = _taken(call, file)
    if "://" in file.note or "\\" in file.note:
        raise InvalidParameters.field("note", None, "words only: no link and no file path")
    if claim.filed_at is not None and file.kind == "packaging_photo" and not file.taken_on:
        raise InvalidParameters.field("taken_on", None, "the day a packaging photo was taken")
    held = call.all(ClaimEvidence, ClaimEvidence.claim_id == claim.id, limit=MOST_EVIDENCE)
    if any(row.sha256 == file.sha256 for row in held):
        raise RuleViolation(f"Claim {claim.id} has this file already.")
    if len(held) >= MOST_EVIDENCE:
        raise RuleViolation(f"Claim {claim.id} has {MOST_EVIDENCE} files, the most there may be.")
    call.stake()
    row = call.add(
        ClaimEvidence(
            id=call.new_id("evidence"), claim_id=claim.id, kind=file.kind, sha256=file.sha256,
            media_type=file.media_type, size_bytes=file.size_bytes, note=file.note,
            taken_at=taken_at, added_at=call.now, added_by=call.actor.id,
        )
    )  # fmt: skip
    if claim.state == "draft" and not checklist.of(call, claim).missing:
        states.move(call, claim, "ready")
    return row


def submit(call: Call, claim_id: str, override_reason: str | None, reference: str | None) -> Claim:
    """Send the claim: a customer's to the shop's review, any other to the other side.

    Raises RuleViolation naming what is missing, or the deadline that has passed unless a reason
    overrides it.
    """
    claim = service.find(call, claim_id)
    customer = claim.kind == "customer"
    start = ("triage", "evidence_pending", "reopened") if customer else states.BEFORE_FILING
    states.require(claim, start, "be submitted")
    _require_complete(call, claim)
    late = _check_window(call, claim, override_reason)
    call.stake(
        amount_minor=claim.claimed_minor, currency=claim.currency,
        to_other_side=not customer, late=late,
    )  # fmt: skip
    _show(call, claim, override_reason if late else None)
    if customer:
        states.move(call, claim, "under_review")
        claim.filed_at = call.now
        return claim
    if claim.state == "draft":
        states.move(call, claim, "ready")
    claim.filed_at = call.now
    claim.deadline_override = override_reason if late else None
    claim.carrier_reference = reference or claim.carrier_reference
    states.move(call, claim, "filed")
    claim.deadline_at = deadlines.due(call, claim, "acknowledge")
    if claim.order_id:
        happened(call, claim.order_id, "claim_filed", claim.kind, reference=claim.id)
    return claim


def withdraw(call: Call, claim_id: str, reason: str) -> Claim:
    """Give a claim up before it was settled. Raises RuleViolation afterwards."""
    claim = service.find(call, claim_id)
    if (
        "withdrawn"
        not in (states.CUSTOMER if claim.kind == "customer" else states.CARRIER)[claim.state]
    ):
        states.refuse(claim, "be withdrawn")
    call.stake(
        amount_minor=claim.claimed_minor, currency=claim.currency,
        filed=claim.kind != "customer" and claim.filed_at is not None,
    )  # fmt: skip
    call.show(
        f"Withdraw claim {claim.id} ({claim.kind}, {states.words(claim.type)})",
        f"given up: {Money(claim.claimed_minor, claim.currency)}", f"reason: {quoted(reason)}",
    )  # fmt: skip
    states.move(call, claim, "withdrawn")
    remark(claim, "Withdrawn", reason)
    return claim


def remark(claim: Claim, what: str, text: str) -> None:
    """Keep words with the claim; the oldest give way."""
    claim.description = f"{claim.description}\n{what}: {text}".strip()[-2_000:]


def against(call: Call, claim: Claim) -> str:
    """The other side, in words."""
    if claim.kind == "carrier" and claim.carrier_id:
        return f"carrier {quoted(call.get(Carrier, claim.carrier_id).name)}"
    return f"{claim.kind} {claim.supplier_id or claim.customer_id or ''}".strip()


def _taken(call: Call, file: File) -> datetime | None:
    if file.taken_on is None:
        return None
    taken = datetime.fromisoformat(file.taken_on).replace(tzinfo=UTC)
    if taken > call.now:
        raise InvalidParameters.field("taken_on", file.taken_on, "not a day to come")
    return taken


def _require_complete(call: Call, claim: Claim) -> None:
    missing = checklist.of(call, claim).missing
    if missing:
        raise RuleViolation(
            f"Claim {claim.id} cannot be submitted without: "
            + ", ".join(states.words(need) for need in missing) + ".",
            details={"missing": missing},
            next="add_claim_evidence for each, then submit_claim."
            if "tracking" not in missing
            else "The shipment needs a tracking number first; that is recorded in logistics.",
        )  # fmt: skip


def _check_window(call: Call, claim: Claim, override_reason: str | None) -> bool:
    """Whether the deadline has passed. Raises RuleViolation then without a reason to override,
    and before the first day the carrier accepts it."""
    if claim.kind == "customer":
        return False
    opens = deadlines.due(call, claim, "not_before")
    lost = claim.shipment_id and call.get(Shipment, claim.shipment_id).status == "lost"
    if opens is not None and call.now < opens and not lost:
        raise RuleViolation(
            f"The carrier takes this claim from {stamp(opens)} on; the parcel may still come.",
            details={"not_before": stamp(opens)},
        )
    ends = deadlines.due(call, claim, "file_by")
    late = ends is not None and call.now > ends
    if late and ends is not None and not override_reason:
        raise RuleViolation(
            f"The time to file claim {claim.id} ended on {stamp(ends)}.",
            details={"deadline_at": stamp(ends)},
            next="close_claim marks it expired. With a reason why it may be filed all the same, "
            "give override_reason.",
        )
    return late


def _show(call: Call, claim: Claim, override: str | None) -> None:
    whom = "for the shop's review" if claim.kind == "customer" else against(call, claim)
    call.show(
        f"Submit claim {claim.id} ({states.words(claim.type)}): {whom}",
        f"claimed: {Money(claim.claimed_minor, claim.currency)}",
        *(
            f"{line.quantity} × {line.sku}: {Money(line.claimed_minor, claim.currency)}"
            for line in service.lines_of(call, claim)
        ),
    )
    if override:
        call.show("", f"after the deadline, because {quoted(override)}")
