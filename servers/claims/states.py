"""Which state may follow which, as data."""

from collections.abc import Iterable
from typing import Final

from common.call import Call
from common.errors import RuleViolation
from common.tables.claims import CLAIM_OVER, Claim, ClaimLine

_DECIDED: Final = ("approved", "partially_approved", "denied")
CUSTOMER: Final[dict[str, tuple[str, ...]]] = {
    "opened": ("triage", "evidence_pending", "withdrawn"),
    "triage": ("evidence_pending", "under_review", "withdrawn"),
    "evidence_pending": ("under_review", "withdrawn"),
    "under_review": (*_DECIDED, "withdrawn"),
    "approved": ("resolved", "withdrawn"),
    "partially_approved": ("resolved", "reopened", "withdrawn"),
    "denied": ("reopened", "closed"),
    "resolved": ("closed",),
    "reopened": ("evidence_pending", "under_review", "withdrawn"),
    "withdrawn": (),
    "closed": (),
}
_ANSWERS: Final = ("offered", "accepted", "denied")
CARRIER: Final[dict[str, tuple[str, ...]]] = {
    "draft": ("ready", "filed", "expired", "withdrawn"),
    "ready": ("filed", "expired", "withdrawn"),
    "filed": ("acknowledged", "investigating", "inspection", *_ANSWERS, "withdrawn"),
    "acknowledged": ("investigating", "inspection", *_ANSWERS, "withdrawn"),
    "investigating": ("inspection", *_ANSWERS, "withdrawn"),
    "inspection": ("investigating", *_ANSWERS, "withdrawn"),
    "offered": (*_ANSWERS, "appealed", "withdrawn"),
    "appealed": ("investigating", "inspection", *_ANSWERS, "withdrawn"),
    "denied": ("appealed", "closed"),
    "accepted": ("paid", "reconciled", "written_off"),
    "paid": ("reconciled", "written_off"),
    "reconciled": ("closed",),
    "written_off": (),
    "closed": (),
    "expired": (),
    "withdrawn": (),
}
OVER: Final = frozenset(CLAIM_OVER)
# A customer's claim that gives nothing leaves its units free for another.
FRUITLESS: Final = frozenset({"denied", "withdrawn"})
BEFORE_FILING: Final = ("draft", "ready")
WITH_THE_OTHER_SIDE: Final = (
    "filed", "acknowledged", "investigating", "inspection", "offered", "appealed",
)  # fmt: skip


def move(call: Call, claim: Claim, to: str) -> None:
    """Take the claim to another state. Raises RuleViolation naming the states it could go to."""
    table = CUSTOMER if claim.kind == "customer" else CARRIER
    if to not in table[claim.state]:
        refuse(claim, f"become {words(to)}")
    claim.state = to
    call.effect("update", "claim", claim.id, state=to)
    if to in OVER:
        claim.closed_at = call.now
        claim.deadline_at = None
        _let_go(call, claim)


def require(claim: Claim, allowed: Iterable[str], what: str, *, next: str | None = None) -> None:
    """Raises RuleViolation unless the claim is in one of these states."""
    if claim.state not in tuple(allowed):
        refuse(claim, what, next=next)


def refuse(claim: Claim, what: str, *, next: str | None = None) -> None:
    """Say what the claim's state does not allow."""
    raise RuleViolation(
        f"Claim {claim.id} is {words(claim.state)} and cannot {what}.",
        details={"state": claim.state, "kind": claim.kind},
        next=next or NEXT.get((claim.kind == "customer", claim.state), "It is over."),
    )


def words(state: str) -> str:
    """A state as people write it."""
    return state.replace("_", " ")


def _let_go(call: Call, claim: Claim) -> None:
    lines = call.all(ClaimLine, ClaimLine.claim_id == claim.id, ClaimLine.carrier_open.is_(True))
    for line in lines:
        line.carrier_open = False


_SUBMIT = "submit_claim."
_WAIT = "Wait for the answer, then record_carrier_decision."
NEXT: Final[dict[tuple[bool, str], str]] = {
    (True, "opened"): "add_claim_evidence for what is missing, then submit_claim.",
    (True, "triage"): _SUBMIT,
    (True, "evidence_pending"): "add_claim_evidence for what is missing, then submit_claim.",
    (True, "reopened"): "add_claim_evidence if there is more, then submit_claim.",
    (True, "under_review"): "settle_claim, or decide_customer_claim for a part or a denial.",
    (True, "approved"): "settle_claim.",
    (True, "partially_approved"): "settle_claim.",
    (True, "denied"): "appeal_claim reopens it; close_claim ends it.",
    (True, "resolved"): "close_claim.",
    (False, "draft"): "add_claim_evidence for what is missing, then submit_claim.",
    (False, "ready"): _SUBMIT,
    (False, "filed"): _WAIT,
    (False, "acknowledged"): _WAIT,
    (False, "investigating"): _WAIT,
    (False, "inspection"): _WAIT + " Keep the packaging.",
    (False, "appealed"): _WAIT,
    (False, "offered"): "settle_claim accepts the offer; appeal_claim asks for more.",
    (False, "denied"): "appeal_claim, or close_claim.",
    (False, "accepted"): "record_recovery when the money is in; close_claim writes off the rest.",
    (False, "paid"): "record_recovery for the rest; close_claim writes it off.",
    (False, "reconciled"): "close_claim.",
}
