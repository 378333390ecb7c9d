"""Money that comes in for a claim, never more than the loss, and the end of a claim."""

from datetime import timedelta

from sqlalchemy import func, select

from common.call import Call
from common.errors import InvalidParameters, RuleViolation
from common.money import Money
from common.rules import funds
from common.rules.timeline import happened
from common.storage.locks import one_at_a_time
from common.tables.claims import Claim, ClaimLine, ClaimRecovery
from common.tables.payments import Dispute, Refund
from servers.claims import deadlines, service, states, valuing
from servers.claims.opening import share


def record_recovery(call: Call, claim_id: str, amount: int, reference: str) -> Claim:
    """Book money the other side has paid. The claim is paid with the first of it, reconciled when
    all that was accepted is in and the books agree.

    Raises RuleViolation: not accepted, more than is owed, the same payment twice, more than the
    loss over carrier, insurer, supplier and dispute.
    """
    claim = service.find(call, claim_id)
    if claim.kind == "customer":
        raise RuleViolation("A customer's claim recovers nothing.", next="settle_claim.")
    states.require(claim, ("accepted", "paid"), "take money")
    owed = claim.approved_minor - claim.paid_minor
    if amount > owed:
        raise InvalidParameters.field("amount_minor", amount, f"at most {owed}, what is owed")
    same = ClaimRecovery.reference == reference
    if call.all(ClaimRecovery, ClaimRecovery.source == claim.kind, same, limit=1):
        raise RuleViolation(
            f"A payment of this reference is booked for a {claim.kind} already.",
            next="get_claim lists what came in.",
        )
    refuse_double(call, claim, owed)
    call.stake(amount_minor=amount, currency=claim.currency)
    call.show(
        f"Book {Money(amount, claim.currency)} received for claim {claim.id}",
        f"then still owed: {Money(owed - amount, claim.currency)}",
    )
    transfer = funds.recover(call, claim.id, amount, claim.currency)
    call.add(
        ClaimRecovery(
            id=call.new_id("settlement"), claim_id=claim.id, source=claim.kind,
            reference=reference, amount_minor=amount, currency=claim.currency,
            transfer_id=transfer, received_at=call.now,
        )
    )  # fmt: skip
    pay(call, claim, claim.paid_minor + amount)
    if claim.state == "accepted":
        states.move(call, claim, "paid")
    if claim.paid_minor == claim.approved_minor:
        _reconcile(call, claim)
    return claim


def close(call: Call, claim_id: str) -> Claim:
    """End a claim: what is still owed is written off, what was never filed in time expires.
    Raises RuleViolation while it is with the other side, or unfinished."""
    claim = service.find(call, claim_id)
    owed = claim.approved_minor - claim.paid_minor if claim.state in ("accepted", "paid") else 0
    # Whoever records a denial and closes the claim gives up what one who withdraws it does.
    gives_up = claim.kind != "customer" and claim.state == "denied"
    call.stake(amount_minor=owed, currency=claim.currency, gives_up=gives_up)
    call.show(
        f"Close claim {claim.id}, {states.words(claim.state)}",
        f"written off: {Money(owed, claim.currency)}",
        *([f"given up: {Money(claim.claimed_minor, claim.currency)}"] if gives_up else []),
    )
    if claim.state in states.BEFORE_FILING:
        _expire(call, claim)
        return claim
    states.require(claim, ("resolved", "denied", "reconciled", "accepted", "paid"), "be closed")
    if owed:
        funds.write_off(call, claim.id, owed, claim.currency)
        states.move(call, claim, "written_off")
    else:
        states.move(call, claim, "closed")
    if claim.order_id:
        happened(call, claim.order_id, "claim_closed", claim.kind, reference=claim.id)
    return claim


def pay(call: Call, claim: Claim, total: int) -> None:
    """Write what has been paid in all on the claim and its lines."""
    lines = service.lines_of(call, claim)
    claim.paid_minor = total
    for line, part in zip(lines, share(claim, lines, total, of="approved"), strict=True):
        line.paid_minor = part


def refuse_double(call: Call, claim: Claim, amount: int) -> None:
    """Raises RuleViolation when ``amount`` more would pay the loss twice: with other recoveries
    for the same units, or with a dispute the shop has won without having paid the customer."""
    one_at_a_time(call.session, f"claims:{claim.order_id or claim.shipment_id}")
    family = _same_units(call, claim)
    loss = max(_loss(call, each) for each in family)
    others = sum(
        each.paid_minor if each.state in states.OVER else each.approved_minor
        for each in family
        if each.id != claim.id and (each.state in states.OVER or each.state in _OWED)
    )
    kept = _kept_by_dispute(call, claim)
    if claim.paid_minor + amount + others + kept <= loss:
        return
    room = max(loss - claim.paid_minor - others - kept, 0)
    raise RuleViolation(
        f"The loss is {Money(loss, claim.currency)}; {Money(others, claim.currency)} of it is paid"
        f" or owed by others and {Money(kept, claim.currency)} was kept through a dispute.",
        details={"loss_minor": loss, "room_minor": room},
        next="Nobody may be paid twice for one loss: withdraw or close one of the claims.",
    )


_OWED = ("accepted", "paid", "reconciled")


def _loss(call: Call, claim: Claim) -> int:
    return valuing.loss_of(claim, service.lines_of(call, claim))


def _same_units(call: Call, claim: Claim) -> list[Claim]:
    """This and every other recovery for the same lines; late claims are about freight alone."""
    lines = service.lines_of(call, claim)
    shipped = [line.shipment_line_id for line in lines if line.shipment_line_id]
    ordered = [line.order_line_id for line in lines if line.order_line_id]
    query = select(ClaimLine.claim_id).where(
        ClaimLine.shipment_line_id.in_(shipped) | ClaimLine.order_line_id.in_(ordered)
    )
    late = Claim.type == "late" if claim.type == "late" else Claim.type != "late"
    found = call.all(Claim, Claim.kind != "customer", late, Claim.id.in_(query), limit=100)
    return found or [claim]


def _kept_by_dispute(call: Call, claim: Claim) -> int:
    """What a won dispute left with the shop for goods it neither refunded nor sent again."""
    if claim.order_id is None or claim.type == "late":
        return 0
    query = select(func.sum(Dispute.amount_minor)).where(
        Dispute.order_id == claim.order_id, Dispute.status == "won",
        Dispute.currency == claim.currency,
    )  # fmt: skip
    won = int(call.session.scalar(query) or 0)
    given = select(func.sum(Claim.paid_minor)).where(
        Claim.order_id == claim.order_id, Claim.kind == "customer"
    )
    refunded = select(func.sum(Refund.amount_minor)).where(
        Refund.order_id == claim.order_id, Refund.reason != "claim",
        Refund.status.in_(("pending", "succeeded")),
    )  # fmt: skip
    back = sum(int(call.session.scalar(each) or 0) for each in (given, refunded))
    return max(won - back, 0)


def _reconcile(call: Call, claim: Claim) -> None:
    """The rows of what came in and the ledger must say the same."""
    account = funds.balance(call.session, call.now, f"receivable:{claim.id}", claim.currency)
    rows = call.all(ClaimRecovery, ClaimRecovery.claim_id == claim.id, limit=1_000)
    if account.posted == 0 and sum(row.amount_minor for row in rows) == claim.paid_minor:
        states.move(call, claim, "reconciled")


def _expire(call: Call, claim: Claim) -> None:
    ends = deadlines.due(call, claim, "file_by")
    if ends is None or call.now <= ends:
        left = (ends - call.now) // timedelta(days=1) if ends else None
        raise RuleViolation(
            f"Claim {claim.id} is not filed and may still be.",
            details={"days_left": left},
            next="submit_claim, or withdraw_claim to give it up.",
        )
    states.move(call, claim, "expired")
