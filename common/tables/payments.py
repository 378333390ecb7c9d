"""Payments, and what the outside world still owes an answer to.

Authorized, captured, refunded, refundable and held amounts are balances of the money ledger
(common.rules.funds). An amount here is what was asked for. No card number ever has a column.
"""

from datetime import date, datetime
from typing import Any, Final

from sqlalchemy import CheckConstraint, Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from common.tables import orders  # noqa: F401 - its foreign keys name them
from common.tables.base import Record
from common.tables.columns import (
    Currency,
    Digest,
    Name,
    Note,
    Person,
    Ref,
    Word,
    a_currency,
    any_of,
    index_where,
    not_negative,
    one_of,
    positive,
    to,
    unique_where,
)

METHOD_KINDS: Final = ("card", "wallet", "gift_card", "store_credit")
PAYMENT_STATES: Final = (
    "created", "requires_action", "authorized", "partially_captured", "captured",
    "partially_refunded", "refunded", "declined", "voided", "expired", "failed",
)  # fmt: skip
OPEN_AUTHORIZATIONS: Final = ("created", "requires_action", "authorized")
LAPSING: Final = any_of("status", ("expired", *OPEN_AUTHORIZATIONS))
PAYMENT_PURPOSES: Final = ("order", "amendment", "exchange", "membership")
REFUND_STATES: Final = ("pending", "succeeded", "failed", "cancelled")
REFUND_REASONS: Final = (
    "return", "goodwill", "duplicate", "cancellation", "amendment", "exchange", "claim",
    "method_change", "fraudulent", "price_adjustment",
)  # fmt: skip
HOLD_STATES: Final = ("active", "captured", "released", "expired")
LAPSING_HOLD: Final = any_of("state", ("active", "expired"))
HOLD_REASONS: Final = (
    "fraud_review", "dispute_risk", "return_pending", "claim_pending", "compliance", "manual",
)  # fmt: skip
DISPUTE_STATES: Final = (
    "inquiry", "needs_response", "under_review", "won", "lost", "accepted", "prevented",
    "appealed",
)  # fmt: skip
NOT_DECIDED: Final = ("inquiry", "needs_response", "under_review", "appealed")
OPEN_DISPUTE: Final = any_of("status", NOT_DECIDED)
DISPUTE_REASONS: Final = (
    "bank_cannot_process", "check_returned", "credit_not_processed", "customer_initiated",
    "debit_not_authorized", "duplicate", "fraudulent", "general", "incorrect_account_details",
    "insufficient_funds", "noncompliant", "product_not_received", "product_unacceptable",
    "subscription_canceled", "unrecognized",
)  # fmt: skip
EVIDENCE_KINDS: Final = (
    "proof_of_delivery", "tracking", "invoice", "customer_communication", "refund_policy",
    "return_record", "other",
)  # fmt: skip
OUTBOX_PORTS: Final = ("gateway", "carrier")
OUTBOX_STATES: Final = ("pending", "sent", "done", "unknown", "failed")
UNSETTLED: Final = "port = 'gateway' and state <> 'done'"
PAYOUT_STATES: Final = ("imported", "matched", "exceptions", "reconciled")
PAYOUT_KINDS: Final = ("charge", "refund", "fee", "dispute", "adjustment")
PAYOUT_OUTCOMES: Final = ("matched", "missing", "amount_differs", "duplicate", "accepted")

_SELLERS = frozenset({"orders", "returns", "storefront", "claims"})


class PaymentMethod(Record):
    """A stored method. The balance of a gift card is ``gift_card:{id}`` in the ledger."""

    __tablename__ = "payment_method"
    owner = "payments"
    # Checkout with a new method, store credit for a customer who has none: through common.
    also_written_by = _SELLERS

    customer_id: Mapped[str] = to("customer")
    kind: Mapped[Word]
    position: Mapped[int] = mapped_column(default=0)
    # The network of a card (visa), the name of a wallet (paypal).
    brand: Mapped[Word | None]
    last4: Mapped[str | None] = mapped_column(String(4))
    exp_month: Mapped[int | None]
    exp_year: Mapped[int | None]
    # Gift cards and store credit have one; cards pay in any.
    currency: Mapped[Currency | None]
    provider: Mapped[Word | None]
    provider_reference: Mapped[Name | None]
    active: Mapped[bool] = mapped_column(default=True)
    created_at: Mapped[datetime]

    __table_args__ = (
        Index("ix_payment_method_customer", "customer_id", "position", "id"),
        one_of("kind", METHOD_KINDS),
        CheckConstraint("length(last4) = 4", name="last4"),
        CheckConstraint(
            "exp_month between 1 and 12 and exp_year between 2000 and 2100", name="expiry"
        ),
        CheckConstraint(
            "kind not in ('gift_card','store_credit') or currency is not null", name="stored_value"
        ),
        a_currency(),
    )


class Payment(Record):
    """``position`` counts the charges and refunds of an order in the order they were made."""

    __tablename__ = "payment"
    owner = "payments"
    # One shared function of common charges, captures and refunds for every domain.
    also_written_by = _SELLERS | {"logistics"}

    order_id: Mapped[str | None] = to("sales_order")
    customer_id: Mapped[str | None] = to("customer")
    method_id: Mapped[str] = to("payment_method", index=True)
    purpose: Mapped[Word] = mapped_column(default="order")
    position: Mapped[int] = mapped_column(default=0)
    amount_minor: Mapped[int]
    currency: Mapped[Currency]
    status: Mapped[Word] = mapped_column(default="created")
    # The pending transfer of the authorization, or the charge.
    transfer_id: Mapped[str | None] = to("transfer", index=True)
    provider: Mapped[Word]
    provider_reference: Mapped[Name | None]
    decline_code: Mapped[Word | None]
    risk_level: Mapped[Word | None]
    avs_result: Mapped[Word | None]
    cvc_result: Mapped[Word | None]
    created_at: Mapped[datetime]
    authorized_at: Mapped[datetime | None]
    captured_at: Mapped[datetime | None]
    capture_before: Mapped[datetime | None]
    closed_at: Mapped[datetime | None]

    __table_args__ = (
        Index("ix_payment_created", "created_at", "id"),
        Index("ix_payment_order", "order_id", "position", "id"),
        Index("ix_payment_customer", "customer_id", "created_at", "id"),
        Index("ix_payment_status", "status", "created_at", "id"),
        index_where("ix_payment_lapsing", LAPSING, "created_at", "id"),
        Index("ix_payment_expiring", "status", "capture_before", "id"),
        UniqueConstraint("provider", "provider_reference"),
        one_of("status", PAYMENT_STATES),
        one_of("purpose", PAYMENT_PURPOSES),
        one_of("risk_level", ("normal", "elevated", "highest")),
        positive("amount_minor"),
        not_negative("position"),
        a_currency(),
    )


class Refund(Record):
    """Money back out of a payment to ``method_id``; without one, to ``destination`` alone (store
    credit). ``unlinked``: the method did not pay."""

    __tablename__ = "refund"
    owner = "payments"
    also_written_by = _SELLERS  # As Payment.

    payment_id: Mapped[str] = to("payment", index=True)
    order_id: Mapped[str | None] = to("sales_order")
    method_id: Mapped[str | None] = to("payment_method", index=True)
    # The ledger account the money went to.
    destination: Mapped[str] = mapped_column(String(160))
    position: Mapped[int] = mapped_column(default=0)
    amount_minor: Mapped[int]
    currency: Mapped[Currency]
    reason: Mapped[Word]
    note: Mapped[Note] = mapped_column(default="")
    unlinked: Mapped[bool] = mapped_column(default=False)
    status: Mapped[Word] = mapped_column(default="pending")
    # What it is for: return_line, claim, order.
    source_type: Mapped[Word | None]
    source_id: Mapped[Ref | None]
    transfer_id: Mapped[str | None] = to("transfer", index=True)
    provider_reference: Mapped[Name | None]
    failure_code: Mapped[Word | None]
    created_at: Mapped[datetime]
    settled_at: Mapped[datetime | None]
    # When the points its order brought were brought in line with it.
    points_at: Mapped[datetime | None]

    __table_args__ = (
        Index("ix_refund_created", "created_at", "id"),
        Index("ix_refund_points", "points_at", "id"),
        Index("ix_refund_order", "order_id", "position", "id"),
        Index("ix_refund_status", "status", "created_at", "id"),
        Index("ix_refund_source", "source_type", "source_id"),
        one_of("status", REFUND_STATES),
        one_of("reason", REFUND_REASONS),
        positive("amount_minor"),
        not_negative("position"),
        a_currency(),
    )


class Hold(Record):
    """Captured money kept from going back: a pending transfer with a reason."""

    __tablename__ = "payment_hold"
    owner = "payments"

    payment_id: Mapped[str] = to("payment", index=True)
    order_id: Mapped[str | None] = to("sales_order", index=True)
    amount_minor: Mapped[int]
    currency: Mapped[Currency]
    reason: Mapped[Word]
    note: Mapped[Note] = mapped_column(default="")
    state: Mapped[Word] = mapped_column(default="active")
    transfer_id: Mapped[str] = to("transfer", index=True)
    expires_at: Mapped[datetime | None]
    placed_at: Mapped[datetime]
    placed_by: Mapped[Person]
    closed_at: Mapped[datetime | None]
    closed_by: Mapped[Person | None]
    close_reason: Mapped[Note | None]

    __table_args__ = (
        Index("ix_payment_hold_placed", "placed_at", "id"),
        index_where("ix_payment_hold_lapsing", LAPSING_HOLD, "placed_at", "id"),
        Index("ix_payment_hold_by_state", "state", "placed_at", "id"),
        Index("ix_payment_hold_expires", "expires_at", "id"),
        Index("ix_payment_hold_state", "state", "expires_at", "id"),
        one_of("state", HOLD_STATES),
        one_of("reason", HOLD_REASONS),
        positive("amount_minor"),
        a_currency(),
    )


class Dispute(Record):
    __tablename__ = "dispute"
    owner = "payments"

    payment_id: Mapped[str] = to("payment", index=True)
    order_id: Mapped[str | None] = to("sales_order", index=True)
    provider_reference: Mapped[Name | None] = mapped_column(unique=True)
    reason: Mapped[Word]
    status: Mapped[Word]
    amount_minor: Mapped[int]
    currency: Mapped[Currency]
    transfer_id: Mapped[str | None] = to("transfer")
    opened_at: Mapped[datetime]
    respond_by: Mapped[datetime | None]
    submitted_at: Mapped[datetime | None]
    closed_at: Mapped[datetime | None]

    __table_args__ = (
        Index("ix_dispute_opened", "opened_at", "id"),
        index_where("ix_dispute_open", OPEN_DISPUTE, "opened_at", "id"),
        Index("ix_dispute_by_status", "status", "opened_at", "id"),
        Index("ix_dispute_status", "status", "respond_by", "id"),
        one_of("status", DISPUTE_STATES),
        one_of("reason", DISPUTE_REASONS),
        positive("amount_minor"),
        a_currency(),
    )


class DisputeEvidence(Record):
    """``text`` was rendered from the record named by ``source_id`` when it was added."""

    __tablename__ = "dispute_evidence"
    owner = "payments"

    dispute_id: Mapped[str] = to("dispute")
    kind: Mapped[Word]
    source_id: Mapped[Ref | None]
    text: Mapped[Note] = mapped_column(default="")
    sha256: Mapped[Digest]
    added_at: Mapped[datetime]

    __table_args__ = (UniqueConstraint("dispute_id", "sha256"), one_of("kind", EVIDENCE_KINDS))


class Outbox(Record):
    """A call to the outside world still to be made or settled. ``operation_id`` is the idempotency
    key sent along; ``unknown`` is settled by asking, never by sending again."""

    __tablename__ = "outbox"
    owner = "payments"
    # Written where the effect is decided, through common: money moves, labels are bought.
    also_written_by = _SELLERS | {"logistics"}

    operation_id: Mapped[Ref] = mapped_column(unique=True)
    port: Mapped[Word]
    kind: Mapped[Word]
    target_type: Mapped[Word]
    target_id: Mapped[Ref]
    payload: Mapped[dict[str, Any]]
    state: Mapped[Word] = mapped_column(default="pending")
    attempts: Mapped[int] = mapped_column(default=0)
    next_at: Mapped[datetime]
    # A worker has it until then.
    leased_until: Mapped[datetime | None]
    created_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]
    result: Mapped[dict[str, Any] | None]
    error: Mapped[Note | None]

    __table_args__ = (
        index_where("ix_outbox_unsettled", UNSETTLED, "created_at", "id"),
        Index("ix_outbox_due", "port", "state", "next_at", "id"),
        Index("ix_outbox_target", "target_type", "target_id"),
        one_of("port", OUTBOX_PORTS),
        one_of("state", OUTBOX_STATES),
        not_negative("attempts"),
    )


class ProviderEvent(Record):
    """A verified webhook, kept once."""

    __tablename__ = "provider_event"
    owner = "payments"

    provider: Mapped[Word]
    provider_event_id: Mapped[Name]
    kind: Mapped[Name]
    payload: Mapped[dict[str, Any]]
    received_at: Mapped[datetime]
    handled_at: Mapped[datetime | None]

    __table_args__ = (
        UniqueConstraint("provider", "provider_event_id"),
        Index("ix_provider_event_open", "handled_at", "received_at", "id"),
    )


class Payout(Record):
    """One payment of the provider to the bank, as its file says."""

    __tablename__ = "payout"
    owner = "payments"

    provider: Mapped[Word]
    provider_reference: Mapped[Name]
    currency: Mapped[Currency]
    amount_minor: Mapped[int]
    arrived_on: Mapped[date]
    file_sha256: Mapped[Digest]
    state: Mapped[Word] = mapped_column(default="imported")
    imported_at: Mapped[datetime]

    __table_args__ = (
        UniqueConstraint("provider", "provider_reference"),
        Index("ix_payout_arrived", "arrived_on", "id"),
        one_of("state", PAYOUT_STATES),
        a_currency(),
    )


class PayoutLine(Record):
    """``amount_minor`` is signed, gross; ``fee_minor`` was kept by the provider."""

    __tablename__ = "payout_line"
    owner = "payments"

    payout_id: Mapped[str] = to("payout")
    position: Mapped[int]
    kind: Mapped[Word]
    provider_reference: Mapped[Name]
    amount_minor: Mapped[int]
    fee_minor: Mapped[int] = mapped_column(default=0)
    payment_id: Mapped[str | None] = to("payment", index=True)
    refund_id: Mapped[str | None] = to("refund", index=True)
    outcome: Mapped[Word]
    note: Mapped[Note] = mapped_column(default="")

    __table_args__ = (
        UniqueConstraint("payout_id", "position"),
        Index("ix_payout_line_outcome", "outcome", "id"),
        one_of("kind", PAYOUT_KINDS),
        one_of("outcome", PAYOUT_OUTCOMES),
        # One matched line for a payment's charge, one for a refund: nothing is paid out twice.
        unique_where("uq_payout_charge", "kind = 'charge' and outcome = 'matched'", "payment_id"),
        unique_where("uq_payout_refund", "kind = 'refund' and outcome = 'matched'", "refund_id"),
    )
