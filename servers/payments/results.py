"""What the payments server answers with."""

from typing import Any

from common.clock import stamp
from common.money import Money
from common.rules.paid import method_words
from common.tables.payments import (
    OPEN_AUTHORIZATIONS,
    Dispute,
    Hold,
    Outbox,
    Payment,
    PaymentMethod,
    Refund,
)
from common.wire import Result
from servers.payments import disputes, service
from servers.payments.evidence import Piece


class RefundRow(Result):
    refund_id: str
    payment_id: str
    amount: str
    amount_minor: int
    status: str
    reason: str
    method_id: str | None = None
    unlinked: bool
    for_type: str | None = None
    for_id: str | None = None
    failure: str | None = None
    at: str

    @classmethod
    def of(cls, row: Refund) -> "RefundRow":
        return cls(**_refund(row))


def _refund(row: Refund) -> dict[str, Any]:
    return {
        "refund_id": row.id, "payment_id": row.payment_id, "amount": _money(row),
        "amount_minor": row.amount_minor, "status": row.status, "reason": row.reason,
        "method_id": row.method_id, "unlinked": row.unlinked,
        "for_type": row.source_type, "for_id": row.source_id, "failure": row.failure_code,
        "at": stamp(row.created_at),
    }  # fmt: skip


class RefundReceipt(RefundRow):
    """``refundable_left`` is what can still go back out of the payment."""

    to: str
    payment_status: str
    refundable_left: str
    refundable_left_minor: int

    @classmethod
    def done(cls, row: Refund, figures: service.Figures, method: PaymentMethod) -> "RefundReceipt":
        return cls(
            **_refund(row),
            to=method_words(method),
            payment_status=figures.status,
            refundable_left=str(Money(figures.refundable, row.currency)),
            refundable_left_minor=figures.refundable,
        )


class HoldRow(Result):
    hold_id: str
    payment_id: str
    order_id: str | None = None
    amount: str
    amount_minor: int
    state: str
    reason: str
    note: str
    placed_at: str
    placed_by: str
    expires_at: str | None = None
    close_reason: str | None = None

    @classmethod
    def of(cls, row: Hold, state: str) -> "HoldRow":
        return cls(
            hold_id=row.id,
            payment_id=row.payment_id,
            order_id=row.order_id,
            amount=_money(row),
            amount_minor=row.amount_minor,
            state=state,
            reason=row.reason,
            note=row.note,
            placed_at=stamp(row.placed_at),
            placed_by=row.placed_by,
            expires_at=_stamp(row.expires_at),
            close_reason=row.close_reason,
        )


class HoldList(Result):
    count: int
    holds: list[HoldRow]
    next_cursor: str | None = None


class DisputeRow(Result):
    dispute_id: str
    payment_id: str
    order_id: str | None = None
    amount: str
    amount_minor: int
    reason: str
    status: str
    opened_at: str
    respond_by: str | None = None
    closed_at: str | None = None

    @classmethod
    def of(cls, row: Dispute) -> "DisputeRow":
        return cls(**_dispute(row))


def _dispute(row: Dispute) -> dict[str, Any]:
    return {
        "dispute_id": row.id, "payment_id": row.payment_id, "order_id": row.order_id,
        "amount": _money(row), "amount_minor": row.amount_minor, "reason": row.reason,
        "status": row.status, "opened_at": stamp(row.opened_at),
        "respond_by": _stamp(row.respond_by), "closed_at": _stamp(row.closed_at),
    }  # fmt: skip


class DisputeAnswer(DisputeRow):
    """``submitted``: the kinds and sources of the evidence that goes to the bank."""

    submitted: list[str]

    @classmethod
    def of_submitted(cls, row: Dispute, pieces: list[Piece]) -> "DisputeAnswer":
        return cls(**_dispute(row), submitted=[f"{p.kind} {p.source_id}" for p in pieces])


class DisputeList(Result):
    count: int
    disputes: list[DisputeRow]
    next_cursor: str | None = None


class EvidenceRow(Result):
    kind: str
    source_id: str | None = None
    text: str
    sha256: str


class DisputeView(DisputeRow):
    """``submitted`` went to the bank; ``available`` is what the records could still say."""

    submitted_at: str | None = None
    submitted: list[EvidenceRow]
    available: list[EvidenceRow]

    @classmethod
    def whole(cls, found: disputes.Whole) -> "DisputeView":
        pieces = (found.added, found.offered)
        submitted, available = (
            [
                EvidenceRow(kind=p.kind, source_id=p.source_id, text=p.text, sha256=p.sha256)
                for p in some
            ]
            for some in pieces
        )
        return cls(
            **_dispute(found.dispute),
            submitted_at=_stamp(found.dispute.submitted_at),
            submitted=submitted,
            available=available,
        )


class OperationRow(Result):
    """A call to a provider that is not done."""

    operation_id: str
    kind: str
    payment_id: str
    state: str
    attempts: int
    next_at: str
    error: str | None = None

    @classmethod
    def of(cls, row: Outbox) -> "OperationRow":
        return cls(
            operation_id=row.operation_id,
            kind=row.kind,
            payment_id=row.target_id,
            state=row.state,
            attempts=row.attempts,
            next_at=stamp(row.next_at),
            error=row.error,
        )


class OperationList(Result):
    count: int
    operations: list[OperationRow]
    next_cursor: str | None = None


class PaymentRow(Result):
    payment_id: str
    order_id: str | None = None
    customer_id: str | None = None
    method_id: str
    status: str
    amount: str
    amount_minor: int
    currency: str
    captured_minor: int
    refunded_minor: int
    held_minor: int
    disputed_minor: int
    refundable: str
    refundable_minor: int
    created_at: str
    capture_before: str | None = None

    @classmethod
    def of(cls, found: service.Figures) -> "PaymentRow":
        return cls(**_payment(found))


def _payment(found: service.Figures) -> dict[str, Any]:
    row = found.payment
    waits = found.status in OPEN_AUTHORIZATIONS
    return {
        "payment_id": row.id, "order_id": row.order_id, "customer_id": row.customer_id,
        "method_id": row.method_id, "status": found.status, "amount": _money(row),
        "amount_minor": row.amount_minor, "currency": row.currency,
        "captured_minor": found.moved.captured, "refunded_minor": found.moved.refunded,
        "held_minor": found.held, "disputed_minor": found.moved.disputed,
        "refundable": str(Money(found.refundable, row.currency)),
        "refundable_minor": found.refundable, "created_at": stamp(row.created_at),
        "capture_before": _stamp(row.capture_before) if waits else None,
    }  # fmt: skip


class PaymentList(Result):
    count: int
    payments: list[PaymentRow]
    next_cursor: str | None = None


class MethodRow(Result):
    method_id: str
    kind: str
    name: str
    currency: str | None = None
    balance: str | None = None
    balance_minor: int | None = None
    expires: str | None = None

    @classmethod
    def of(cls, row: PaymentMethod, left: int | None) -> "MethodRow":
        return cls(
            method_id=row.id,
            kind=row.kind,
            name=method_words(row),
            currency=row.currency,
            balance=str(Money(left, row.currency)) if left is not None and row.currency else None,
            balance_minor=left,
            expires=f"{row.exp_year}-{row.exp_month:02}"
            if row.exp_year and row.exp_month
            else None,
        )


class MethodList(Result):
    count: int
    methods: list[MethodRow]
    next_cursor: str | None = None


class CreditReceipt(Result):
    method_id: str
    customer_id: str
    issued: str
    balance: str
    balance_minor: int

    @classmethod
    def of(cls, row: PaymentMethod, issued: int, left: int) -> "CreditReceipt":
        currency = row.currency or ""
        return cls(
            method_id=row.id,
            customer_id=row.customer_id,
            issued=str(Money(issued, currency)),
            balance=str(Money(left, currency)),
            balance_minor=left,
        )


class Part(Result):
    """A hold or dispute in short: list_holds and get_dispute say more."""

    id: str
    amount: str
    reason: str
    state: str


class PaymentView(PaymentRow):
    method: str
    purpose: str
    provider: str
    provider_reference: str | None = None
    decline_code: str | None = None
    risk: str | None = None
    authorized_at: str | None = None
    captured_at: str | None = None
    closed_at: str | None = None
    ledger_account: str
    refunds: list[RefundRow]
    holds: list[Part]
    disputes: list[Part]
    unsettled: list[str]

    @classmethod
    def whole(cls, found: service.Whole, hold_states: list[str]) -> "PaymentView":
        row = found.figures.payment
        return cls(
            **_payment(found.figures),
            method=method_words(found.method),
            purpose=row.purpose,
            provider=row.provider,
            provider_reference=row.provider_reference,
            decline_code=row.decline_code,
            risk=_risk(row),
            authorized_at=_stamp(row.authorized_at),
            captured_at=_stamp(row.captured_at),
            closed_at=_stamp(row.closed_at),
            ledger_account=f"payment:{row.id}",
            refunds=[RefundRow.of(each) for each in found.refunds],
            holds=[
                Part(id=each.id, amount=_money(each), reason=each.reason, state=state)
                for each, state in zip(found.holds, hold_states, strict=True)
            ],
            disputes=[
                Part(id=each.id, amount=_money(each), reason=each.reason, state=each.status)
                for each in found.disputes
            ],
            unsettled=[f"{each.kind} {each.state}" for each in found.unsettled],
        )


class OrderPayments(Result):
    """``net`` is what the shop still has of the order's money, disputed money left out."""

    order_id: str
    customer_id: str
    payment_status: str
    total: str
    net: str
    net_minor: int
    payments: list[PaymentRow]
    refunds: list[RefundRow]

    @classmethod
    def of(cls, found: service.OrderMoney) -> "OrderPayments":
        order = found.order
        return cls(
            order_id=order.id,
            customer_id=order.customer_id,
            payment_status=order.payment_status,
            total=str(Money(order.total_minor, order.currency)),
            net=str(Money(found.net, order.currency)),
            net_minor=found.net,
            payments=[PaymentRow.of(each) for each in found.payments],
            refunds=[RefundRow.of(each) for each in found.refunds],
        )


def _risk(row: Payment) -> str | None:
    checks = (("risk", row.risk_level), ("AVS", row.avs_result), ("CVC", row.cvc_result))
    return ", ".join(f"{name} {value}" for name, value in checks if value) or None


def _money(row: Payment | Refund | Hold | Dispute) -> str:
    return str(Money(row.amount_minor, row.currency))


def _stamp(moment: Any) -> str | None:
    return stamp(moment) if moment is not None else None
