"""Disputes as the books have them: opened, decided, lost, won. Whoever hears of one, a person, a
provider's list or its webhook, books it through here.

While one is open the money is in ``disputed:{id}``. What is disputed beyond what the payment still
has (it went back already) is a loss the moment the dispute is lost.
"""

from datetime import datetime

from sqlalchemy import func, select

from common.call import Call
from common.clock import stamp
from common.errors import InvalidParameters, RuleViolation
from common.ledgers import ledger
from common.money import Money
from common.rules import funds, paid
from common.rules.timeline import happened
from common.tables.payments import NOT_DECIDED, Dispute, Payment, PaymentMethod

OPEN = NOT_DECIDED


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


def decide(call: Call, dispute_id: str, outcome: str) -> Dispute:
    """What the bank decided: ``won`` or ``prevented`` (the money is the payment's again), ``lost``,
    ``needs_response`` (an inquiry became a dispute). Raises RuleViolation when the dispute cannot
    go there."""
    dispute = locked(call, dispute_id)
    payment = call.get(Payment, dispute.payment_id)
    call.stake(amount_minor=dispute.amount_minor, currency=dispute.currency)
    call.show(f"Record that dispute {dispute.id} is {outcome.replace('_', ' ')}")
    if outcome == "needs_response":
        if dispute.status != "inquiry":
            raise RuleViolation(f"Dispute {dispute.id} is {dispute.status}, no inquiry.")
        _take(call, dispute, payment)
        move(call, dispute, "needs_response")
        return dispute
    require_open(dispute)
    if outcome == "lost":
        lose(call, dispute)
    else:
        _return(call, dispute)
    close(call, dispute, outcome)
    return dispute


def locked(call: Call, dispute_id: str) -> Dispute:
    found = call.get(Dispute, dispute_id, next="list_disputes shows the disputes.")
    paid.locked(call, found.payment_id)
    call.session.refresh(found)
    call.versions[f"{found.__tablename__}:{found.id}"] = found.version
    return found


def require_open(dispute: Dispute) -> None:
    if dispute.status not in OPEN:
        raise RuleViolation(
            f"Dispute {dispute.id} is {dispute.status}.", details={"status": dispute.status}
        )


def lose(call: Call, dispute: Dispute) -> None:
    if dispute.status == "inquiry":  # it took nothing so far; whoever gives it up pays now
        _take(call, dispute, call.get(Payment, dispute.payment_id))
    covered, clearing = covered_of(call, dispute), _clearing(call, dispute)
    if covered:
        funds.close_dispute(
            call, dispute.id, dispute.payment_id, covered, dispute.currency, lost_to=clearing
        )
    # Nothing is lost of what never came: the capture failed since.
    captured = funds.captured(call.session, dispute.payment_id, dispute.currency)
    short = min(dispute.amount_minor, captured) - covered
    if short:
        ledger.transfer(
            call, funds.money(dispute.currency), "dispute_losses", clearing, short, "dispute_lost",
            dispute.payment_id,
        )  # fmt: skip


def close(call: Call, dispute: Dispute, status: str) -> None:
    dispute.closed_at = call.now
    move(call, dispute, status)
    if dispute.order_id is not None:
        happened(call, dispute.order_id, f"dispute_{status}", reference=dispute.id)
    paid.refresh(call, call.get(Payment, dispute.payment_id))


def move(call: Call, dispute: Dispute, status: str) -> None:
    dispute.status = status
    call.session.flush()
    call.effect("update", "dispute", dispute.id, status=status)


def undo(call: Call, payment: Payment, source: str) -> None:
    """The payment's capture failed: what disputes took of it is the payment's again, also what was
    lost to ``source``, the clearing account. Open ones stay open."""
    for dispute in call.all(Dispute, Dispute.payment_id == payment.id):
        _return(call, dispute)
    lost = funds.moved(call.session, [payment.id], payment.currency)[payment.id].disputed
    if lost:
        ledger.transfer(
            call, funds.money(payment.currency), source, funds.payment(payment.id), lost,
            "dispute_won", payment.id,
        )  # fmt: skip


def covered_of(call: Call, dispute: Dispute) -> int:
    account = f"disputed:{dispute.id}"
    return funds.balance(call.session, call.now, account, dispute.currency).posted


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
    gone = call.session.scalar(
        select(func.sum(Dispute.amount_minor)).where(
            Dispute.payment_id == payment.id, Dispute.status.in_(("lost", "accepted"))
        )
    )
    most = captured - int(gone or 0)
    if not 0 < amount <= most:
        what = f"at most {most}: {captured} captured, {int(gone or 0)} lost to disputes"
        raise InvalidParameters.field("amount_minor", amount, what)
    if respond_by is not None and respond_by <= call.now:
        raise InvalidParameters.field("respond_by", stamp(respond_by), "a day ahead")
    known = (Dispute.payment_id == payment.id) & Dispute.status.in_(OPEN)
    if reference is not None:
        known |= Dispute.provider_reference == reference
    standing = select(Dispute.id).where(known).order_by(Dispute.id).limit(1)
    found = call.session.scalars(standing).first()
    if found is not None:
        raise RuleViolation(f"Dispute {found} is there already.", details={"dispute_id": found})


def _take(call: Call, dispute: Dispute, payment: Payment) -> None:
    left = paid.refundable(call.session, payment, call.now)
    covered = min(left, dispute.amount_minor)
    if covered:
        dispute.transfer_id = funds.open_dispute(
            call, dispute.id, payment.id, covered, dispute.currency
        )
    paid.refresh(call, payment)


def _return(call: Call, dispute: Dispute) -> None:
    covered = covered_of(call, dispute)
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
