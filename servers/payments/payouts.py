"""Payouts: what a provider says it paid out, line by line, against what the shop knows.

Every line is matched to a payment, refund or dispute of the same amount, or is an exception that a
person has to look at. The payout and its fees are booked either way: the money came.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from sqlalchemy import ColumnElement, func, or_, select

from common.call import Call, quoted
from common.canonical import digest
from common.errors import InvalidParameters, RuleViolation
from common.money import Money, exponent
from common.paging import page
from common.rules import funds
from common.tables.payments import Dispute, Payment, PaymentMethod, Payout, PayoutLine, Refund

MOST_LINES = 2_000
MOST_SHOWN = 100
MOST_TOLD = 20  # in a preview
MOST_BESIDE = 10  # of each, in a list of payouts
EXCEPTIONS = ("missing", "amount_differs", "duplicate")


@dataclass(frozen=True)
class Line:
    """A row of the provider's file: gross amount, signed (refunds are negative), and its fee."""

    kind: str
    reference: str
    amount_minor: int
    fee_minor: int = 0


@dataclass(frozen=True)
class Header:
    """Of the file: what arrived at the bank, and when. ``account``: card or wallet."""

    provider: str
    reference: str
    currency: str
    amount_minor: int
    arrived_on: date
    account: str


@dataclass(frozen=True)
class Whole:
    """``matched`` and ``other`` count lines; ``exceptions`` are the first of the others."""

    payout: Payout
    matched: int
    other: int
    exceptions: list[PayoutLine]


@dataclass(frozen=True)
class _Match:
    outcome: str
    note: str = ""
    payment_id: str | None = None
    refund_id: str | None = None


def reconcile(call: Call, header: Header, lines: Sequence[Line]) -> Whole:
    """Book a payout and match its lines. Raises RuleViolation when it was booked before,
    InvalidParameters when the lines do not add up to what arrived."""
    exponent(header.currency)
    arrived = sum(line.amount_minor - line.fee_minor for line in lines)
    if arrived != header.amount_minor:
        raise InvalidParameters.field(
            "amount_minor", header.amount_minor, f"{arrived}, the lines less their fees"
        )
    _refuse_known(call, header)
    call.stake(amount_minor=header.amount_minor, currency=header.currency)
    payout = call.add(
        Payout(
            id=call.new_id("payout"), provider=header.provider,
            provider_reference=header.reference, currency=header.currency,
            amount_minor=header.amount_minor, arrived_on=header.arrived_on,
            file_sha256=digest([vars(line) for line in lines]), imported_at=call.now,
        )
    )  # fmt: skip
    numbered = call.counted(list(enumerate(lines)), "lines")
    rows = [_line(call, payout, header, line, number) for number, line in numbered]
    exceptions = [row for row in rows if row.outcome in EXCEPTIONS]
    payout.state = "exceptions" if exceptions else "reconciled"
    fees = sum(line.fee_minor for line in lines)
    if fees > 0:
        funds.fee(call, header.account, fees, header.currency, payout.id)
    funds.payout(call, header.account, header.amount_minor, header.currency, payout.id)
    call.session.flush()
    call.show(
        f"Book payout {quoted(header.reference)} of {Money(header.amount_minor, header.currency)}",
        f"{len(rows)} lines, {len(exceptions)} exceptions, fees {Money(fees, header.currency)}",
        *_unmatched(header, lines),
    )
    return whole(call, payout.id)


def accept(call: Call, payout_id: str, note: str) -> Whole:
    """A person looked at the exceptions and takes them as they are. Raises RuleViolation when there
    are none."""
    payout = call.get(Payout, payout_id, next="list_payouts shows the payouts.")
    query = select(PayoutLine).where(
        PayoutLine.payout_id == payout.id, PayoutLine.outcome.in_(EXCEPTIONS)
    )
    open_lines = list(call.session.scalars(query.order_by(PayoutLine.position).limit(MOST_LINES)))
    if not open_lines:
        raise RuleViolation(f"Payout {payout.id} is {payout.state}: it has no open exceptions.")
    amount = sum(abs(line.amount_minor) for line in open_lines)
    call.stake(amount_minor=amount, currency=payout.currency)
    call.show(
        f"Accept {len(open_lines)} exceptions of payout {payout.id}",
        *(
            f"{line.kind} {quoted(line.provider_reference)}:"
            f" {Money(line.amount_minor, payout.currency)}, {line.outcome.replace('_', ' ')}"
            for line in open_lines[:MOST_TOLD]
        ),
        *([f"and {len(open_lines) - MOST_TOLD} more"] if len(open_lines) > MOST_TOLD else []),
        f"why: {quoted(note)}",
    )
    for line in open_lines:
        line.note = f"{line.outcome}: {note}"[:2_000]
        line.outcome = "accepted"
    payout.state = "reconciled"
    call.session.flush()
    call.effect("update", "payout", payout.id, state="reconciled")
    return whole(call, payout.id)


def whole(call: Call, payout_id: str) -> Whole:
    """A payout with the first of the lines that did not match. Raises NotFound."""
    return exceptions_of(call, payout_id, None, MOST_SHOWN)[0]


def exceptions_of(
    call: Call, payout_id: str, cursor: str | None, limit: int
) -> tuple[Whole, str | None]:
    """A payout with a page of the lines that did not match, in the file's order. Raises
    NotFound."""
    payout = call.get(Payout, payout_id, next="list_payouts shows the payouts.")
    mine = PayoutLine.payout_id == payout.id
    counts = select(PayoutLine.outcome, func.count()).where(mine).group_by(PayoutLine.outcome)
    found: dict[str, int] = dict(call.session.execute(counts).all())
    matched = found.pop("matched", 0)
    query = select(PayoutLine).where(mine, PayoutLine.outcome != "matched")
    rows, more = page(call.session, query, [PayoutLine.position], cursor, limit)
    return Whole(payout, matched, sum(found.values()), rows), more


def search(
    call: Call, state: str | None, cursor: str | None, limit: int
) -> tuple[list[Whole], str | None]:
    """Payouts with the first of the lines that did not match, the latest booked first."""
    query = select(Payout)
    if state is not None:
        query = query.where(Payout.state == state)
    rows, following = page(call.session, query, [Payout.id], cursor, limit, descending=True)
    return [exceptions_of(call, row.id, None, MOST_BESIDE)[0] for row in rows], following


def _line(call: Call, payout: Payout, header: Header, line: Line, position: int) -> PayoutLine:
    match = _matched(call, header, line)
    return call.add(
        PayoutLine(
            id=call.new_id("item"), payout_id=payout.id, position=position, kind=line.kind,
            provider_reference=line.reference, amount_minor=line.amount_minor,
            fee_minor=line.fee_minor, payment_id=match.payment_id, refund_id=match.refund_id,
            outcome=match.outcome, note=match.note,
        )
    )  # fmt: skip


def _matched(call: Call, header: Header, line: Line) -> _Match:
    if line.kind in ("fee", "adjustment"):
        return _Match("matched")
    if line.kind == "charge":
        return _charge(call, header, line)
    if line.kind == "refund":
        return _refund(call, header, line)
    query = select(Dispute).where(
        or_(Dispute.id == line.reference, Dispute.provider_reference == line.reference)
    )
    dispute = call.session.scalars(query.order_by(Dispute.id)).first()
    if dispute is None or dispute.currency != header.currency:
        return _Match("missing", "no such dispute")
    sign = PayoutLine.amount_minor < 0 if line.amount_minor < 0 else PayoutLine.amount_minor >= 0
    mine = PayoutLine.provider_reference.in_([dispute.id, dispute.provider_reference or dispute.id])
    if _paid_out(call, mine & sign, "dispute"):
        return _Match("duplicate", "settled before", payment_id=dispute.payment_id)
    same = abs(line.amount_minor) == dispute.amount_minor
    note = "" if same else f"we have {dispute.amount_minor}"
    return _Match("matched" if same else "amount_differs", note, payment_id=dispute.payment_id)


def _charge(call: Call, header: Header, line: Line) -> _Match:
    query = select(Payment).where(
        or_(
            Payment.id == line.reference,
            (Payment.provider == header.provider) & (Payment.provider_reference == line.reference),
        )
    )
    payment = call.session.scalars(query.order_by(Payment.id)).first()
    if payment is None or payment.currency != header.currency:
        return _Match("missing", "no such payment in this currency")
    method = call.get(PaymentMethod, payment.method_id)
    if method.kind != header.account:
        return _Match("missing", f"paid by {method.kind}", payment_id=payment.id)
    if _paid_out(call, PayoutLine.payment_id == payment.id, "charge"):
        return _Match("duplicate", "paid out before", payment_id=payment.id)
    captured = funds.captured(call.session, payment.id, payment.currency)
    if captured != line.amount_minor:
        return _Match("amount_differs", f"we have {captured}", payment_id=payment.id)
    return _Match("matched", payment_id=payment.id)


def _refund(call: Call, header: Header, line: Line) -> _Match:
    query = select(Refund).where(
        or_(Refund.id == line.reference, Refund.provider_reference == line.reference)
    )
    refund = call.session.scalars(query.order_by(Refund.id)).first()
    if refund is None or refund.currency != header.currency:
        return _Match("missing", "no such refund in this currency")
    if refund.destination != funds.clearing(header.account) or refund.status == "failed":
        note = f"{refund.status}, to {refund.destination}"
        return _Match("missing", note, refund.payment_id, refund.id)
    if _paid_out(call, PayoutLine.refund_id == refund.id, "refund"):
        return _Match("duplicate", "settled before", refund.payment_id, refund.id)
    if -refund.amount_minor != line.amount_minor:
        note = f"we have {-refund.amount_minor}"
        return _Match("amount_differs", note, refund.payment_id, refund.id)
    return _Match("matched", "", refund.payment_id, refund.id)


def _unmatched(header: Header, lines: Sequence[Line]) -> list[str]:
    """What nothing in the shop stands against, and is taken as the file says it."""
    amounts = [line.amount_minor for line in lines if line.kind in ("fee", "adjustment")]
    if not amounts:
        return []
    off = Money(-sum(each for each in amounts if each < 0), header.currency)
    more = Money(sum(each for each in amounts if each > 0), header.currency)
    return [f"{len(amounts)} lines of fees and adjustments, as the file says: {off} off, {more} on"]


def _paid_out(call: Call, which: ColumnElement[bool], kind: str) -> bool:
    query = select(PayoutLine.id).where(
        which, PayoutLine.kind == kind, PayoutLine.outcome == "matched"
    )
    return call.session.scalar(query.limit(1)) is not None


def _refuse_known(call: Call, header: Header) -> None:
    query = select(Payout.id).where(
        Payout.provider == header.provider, Payout.provider_reference == header.reference
    )
    known = call.session.scalar(query)
    if known is not None:
        raise RuleViolation(
            f"Payout {header.reference} of {header.provider} was booked as {known}.",
            details={"payout_id": known},
            next="list_payouts shows it; nothing is booked twice.",
        )
