"""What the other side says about a claim, what the shop says about a customer's, and appeals."""

from dataclasses import dataclass

from common.call import Call, quoted
from common.clock import stamp
from common.errors import InvalidParameters, RuleViolation
from common.money import Money
from common.rules import funds
from common.rules.timeline import happened
from common.tables.claims import Claim, ClaimDecision
from servers.claims import deadlines, filing, recovering, service, states
from servers.claims.opening import share

STAGES = ("acknowledged", "investigating", "inspection")


@dataclass(frozen=True)
class Answer:
    """``amount_minor`` None: all of it when approved. A denial has a code and a text."""

    decision: str
    amount_minor: int | None = None
    code: str | None = None
    text: str = ""
    reference: str | None = None


def record_answer(call: Call, claim_id: str, answer: Answer) -> Claim:
    """Record what the carrier, insurer or supplier said. Approved in full it is accepted, and the
    money is owed to the shop from now on; a part or an offer waits for the shop's word.

    Raises RuleViolation (not filed, a customer's claim), InvalidParameters.
    """
    claim = service.find(call, claim_id)
    if claim.kind == "customer":
        raise RuleViolation(
            f"Claim {claim.id} is a customer's: no carrier decides it.",
            next="decide_customer_claim or settle_claim.",
        )
    states.require(
        claim, states.WITH_THE_OTHER_SIDE, "be answered",
        next="submit_claim first." if claim.state in states.BEFORE_FILING else None,
    )  # fmt: skip
    amount = _amount(claim, answer)
    call.stake(amount_minor=amount, currency=claim.currency)
    call.show(f"Claim {claim.id}: {states.words(answer.decision)}", _told(claim, answer, amount))
    on_appeal = claim.state == "appealed"
    claim.carrier_reference = answer.reference or claim.carrier_reference
    if answer.decision in STAGES:
        if claim.state == answer.decision:
            states.refuse(claim, f"become {answer.decision} again")
        states.move(call, claim, answer.decision)
        claim.deadline_at = deadlines.due(call, claim, "decide")
        if answer.decision == "acknowledged":
            _write(call, claim, answer, 0, on_appeal)
        return claim
    _write(call, claim, answer, amount, on_appeal)
    claim.decided_at = call.now
    if answer.decision == "denied":
        approve(call, claim, 0)
        states.move(call, claim, "denied")
        claim.deadline_at = deadlines.due(call, claim, "appeal_by")
    elif answer.decision == "approved":
        accept(call, claim, amount)
    else:
        approve(call, claim, amount)
        states.move(call, claim, "offered")
        claim.deadline_at = deadlines.due(call, claim, "appeal_by")
    _tell(call, claim)
    return claim


def accept(call: Call, claim: Claim, amount: int) -> None:
    """Take what was offered: it is owed to the shop. Raises RuleViolation where the same loss is
    or will be paid for by somebody else."""
    recovering.refuse_double(call, claim, amount)
    approve(call, claim, amount)
    states.move(call, claim, "accepted")
    claim.deadline_at = None
    funds.claim(call, claim.id, amount, claim.currency)


def approve(call: Call, claim: Claim, amount: int) -> None:
    """Write what is approved on the claim and its lines."""
    lines = service.lines_of(call, claim)
    claim.approved_minor = amount
    for line, part in zip(lines, share(claim, lines, amount, of="claimed"), strict=True):
        line.approved_minor = part


def decide_customer(call: Call, claim_id: str, answer: Answer) -> Claim:
    """Approve a customer's claim in full or in part, or deny it with code and text. No money
    moves. Raises RuleViolation unless it is under review."""
    claim = service.find(call, claim_id)
    if claim.kind != "customer":
        raise RuleViolation(
            f"Claim {claim.id} is not a customer's.", next="record_carrier_decision."
        )
    states.require(claim, ("under_review",), "be decided", next="submit_claim first.")
    amount = _amount(claim, answer)
    call.stake(
        amount_minor=amount, currency=claim.currency, denies=amount < claim.claimed_minor
        or answer.decision == "denied",
    )  # fmt: skip
    call.show(f"Claim {claim.id}: {states.words(answer.decision)}", _told(claim, answer, amount))
    record_own(call, claim, answer, amount)
    _tell(call, claim)
    return claim


def record_own(call: Call, claim: Claim, answer: Answer, amount: int) -> None:
    """The shop's own decision on a customer's claim."""
    _write(call, claim, answer, amount, False)
    approve(call, claim, amount)
    states.move(call, claim, answer.decision)
    claim.decided_at = call.now


def appeal(call: Call, claim_id: str, reason: str) -> Claim:
    """Contest a denial or an offer; a customer's denied claim is reopened. Raises RuleViolation
    when there is nothing to contest, or when the time for it has passed."""
    claim = service.find(call, claim_id)
    customer = claim.kind == "customer"
    states.require(
        claim, ("denied", "partially_approved") if customer else ("denied", "offered"),
        "be appealed",
    )  # fmt: skip
    ends = None if customer else deadlines.due(call, claim, "appeal_by")
    if ends is not None and call.now > ends:
        raise RuleViolation(
            f"The time to appeal ended on {stamp(ends)}.", details={"deadline_at": stamp(ends)}
        )
    call.stake(amount_minor=claim.claimed_minor, currency=claim.currency)
    call.show(f"Appeal claim {claim.id}", f"reason: {quoted(reason)}")
    approve(call, claim, 0)
    filing.remark(claim, "Appeal", reason)
    states.move(call, claim, "reopened" if customer else "appealed")
    claim.deadline_at = None
    return claim


def _amount(claim: Claim, answer: Answer) -> int:
    given, whole = answer.amount_minor, claim.claimed_minor
    if answer.decision == "denied":
        if answer.code is None or not answer.text:
            raise InvalidParameters.field("code", answer.code, "a denial needs code and text")
        if given:
            raise InvalidParameters.field("amount_minor", given, "nothing, for a denial")
        return 0
    if answer.code is not None:
        raise InvalidParameters.field("code", answer.code, "only with a denial")
    if answer.decision in STAGES:
        if given:
            raise InvalidParameters.field("amount_minor", given, "only with a decision")
        return 0
    if answer.decision == "approved":
        if given not in (None, whole):
            raise InvalidParameters.field(
                "amount_minor", given, f"{whole}, all that is claimed; less is partially_approved"
            )
        return whole
    most = whole if answer.decision == "offered" else whole - 1
    if given is None or not 0 < given <= most:
        raise InvalidParameters.field("amount_minor", given, f"1 to {most}: claimed is {whole}")
    return given


def _told(claim: Claim, answer: Answer, amount: int) -> str:
    if answer.decision == "denied":
        return f"{answer.code}: {quoted(answer.text)}"
    return f"{Money(amount, claim.currency)} of {Money(claim.claimed_minor, claim.currency)}"


def _write(call: Call, claim: Claim, answer: Answer, amount: int, on_appeal: bool) -> None:
    call.add(
        ClaimDecision(
            id=call.new_id("decision"), claim_id=claim.id, decision=answer.decision,
            amount_minor=amount, code=answer.code, text=answer.text, on_appeal=on_appeal,
            at=call.now, recorded_by=call.actor.id,
        )
    )  # fmt: skip


def _tell(call: Call, claim: Claim) -> None:
    if claim.order_id:
        detail = f"{claim.kind}, {states.words(claim.state)}"
        happened(call, claim.order_id, "claim_decided", detail, reference=claim.id)
