"""Payments, refunds, holds, disputes, the outbox, payouts."""

import sqlalchemy as sa
from alembic import op

from deploy.migrations.parts import ID, JSON, TIME, record, unique_where, words

revision = "0007_payments"
down_revision = "0006_fleet"


def upgrade() -> None:
    outbox()
    payout()
    provider_event()
    payment_method()
    payment()
    dispute()
    payment_hold()
    refund()
    dispute_evidence()
    payout_line()


def outbox() -> None:
    op.create_table(
        "outbox",
        *record(),
        sa.Column("operation_id", ID, nullable=False),
        sa.Column("port", sa.String(32), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("target_type", sa.String(32), nullable=False),
        sa.Column("target_id", ID, nullable=False),
        sa.Column("payload", JSON, nullable=False),
        sa.Column("state", sa.String(32), nullable=False),
        sa.Column("attempts", sa.BigInteger, nullable=False),
        sa.Column("next_at", TIME, nullable=False),
        sa.Column("leased_until", TIME),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("finished_at", TIME),
        sa.Column("result", JSON),
        sa.Column("error", sa.String(2000)),
        sa.UniqueConstraint("operation_id"),
        sa.CheckConstraint("attempts >= 0", name="not_negative"),
        words("port", "gateway carrier"),
        words("state", "pending sent done unknown failed"),
    )
    op.create_index("ix_outbox_due", "outbox", ["port", "state", "next_at", "id"])
    op.create_index("ix_outbox_target", "outbox", ["target_type", "target_id"])


def payout() -> None:
    op.create_table(
        "payout",
        *record(),
        sa.Column("provider", sa.String(32), nullable=False),
        sa.Column("provider_reference", sa.String(200), nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("amount_minor", sa.BigInteger, nullable=False),
        sa.Column("arrived_on", sa.Date, nullable=False),
        sa.Column("file_sha256", ID, nullable=False),
        sa.Column("state", sa.String(32), nullable=False),
        sa.Column("imported_at", TIME, nullable=False),
        sa.UniqueConstraint("provider", "provider_reference"),
        sa.CheckConstraint("length(currency) = 3", name="currency"),
        words("state", "imported matched exceptions reconciled"),
    )
    op.create_index("ix_payout_arrived", "payout", ["arrived_on", "id"])


def provider_event() -> None:
    op.create_table(
        "provider_event",
        *record(),
        sa.Column("provider", sa.String(32), nullable=False),
        sa.Column("provider_event_id", sa.String(200), nullable=False),
        sa.Column("kind", sa.String(200), nullable=False),
        sa.Column("payload", JSON, nullable=False),
        sa.Column("received_at", TIME, nullable=False),
        sa.Column("handled_at", TIME),
        sa.UniqueConstraint("provider", "provider_event_id"),
    )
    op.create_index("ix_provider_event_open", "provider_event", ["handled_at", "received_at", "id"])


def payment_method() -> None:
    op.create_table(
        "payment_method",
        *record(),
        sa.Column("customer_id", ID, sa.ForeignKey("customer.id"), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("position", sa.BigInteger, nullable=False),
        sa.Column("brand", sa.String(32)),
        sa.Column("last4", sa.String(4)),
        sa.Column("exp_month", sa.BigInteger),
        sa.Column("exp_year", sa.BigInteger),
        sa.Column("currency", sa.String(3)),
        sa.Column("provider", sa.String(32)),
        sa.Column("provider_reference", sa.String(200)),
        sa.Column("active", sa.Boolean, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.CheckConstraint("length(currency) = 3", name="currency"),
        sa.CheckConstraint(
            "exp_month between 1 and 12 and exp_year between 2000 and 2100", name="expiry"
        ),
        words("kind", "card wallet gift_card store_credit"),
        sa.CheckConstraint("length(last4) = 4", name="last4"),
        sa.CheckConstraint(
            "kind not in ('gift_card','store_credit') or currency is not null", name="stored_value"
        ),
    )
    op.create_index(
        "ix_payment_method_customer", "payment_method", ["customer_id", "position", "id"]
    )


def payment() -> None:
    op.create_table(
        "payment",
        *record(),
        sa.Column("order_id", ID, sa.ForeignKey("sales_order.id")),
        sa.Column("customer_id", ID, sa.ForeignKey("customer.id")),
        sa.Column("method_id", ID, sa.ForeignKey("payment_method.id"), nullable=False),
        sa.Column("purpose", sa.String(32), nullable=False),
        sa.Column("position", sa.BigInteger, nullable=False),
        sa.Column("amount_minor", sa.BigInteger, nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("status", sa.String(32), nullable=False),
        sa.Column("transfer_id", ID, sa.ForeignKey("transfer.id")),
        sa.Column("provider", sa.String(32), nullable=False),
        sa.Column("provider_reference", sa.String(200)),
        sa.Column("decline_code", sa.String(32)),
        sa.Column("risk_level", sa.String(32)),
        sa.Column("avs_result", sa.String(32)),
        sa.Column("cvc_result", sa.String(32)),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("authorized_at", TIME),
        sa.Column("captured_at", TIME),
        sa.Column("capture_before", TIME),
        sa.Column("closed_at", TIME),
        sa.UniqueConstraint("provider", "provider_reference"),
        sa.CheckConstraint("length(currency) = 3", name="currency"),
        sa.CheckConstraint("position >= 0", name="not_negative"),
        sa.CheckConstraint("amount_minor > 0", name="positive"),
        words("purpose", "order amendment exchange membership"),
        words("risk_level", "normal elevated highest"),
        words(
            "status",
            "created requires_action authorized partially_captured captured partially_refunded "
            "refunded declined voided expired failed",
        ),
    )
    op.create_index("ix_payment_created", "payment", ["created_at", "id"])
    op.create_index("ix_payment_customer", "payment", ["customer_id", "created_at", "id"])
    op.create_index("ix_payment_expiring", "payment", ["status", "capture_before", "id"])
    op.create_index("ix_payment_method_id", "payment", ["method_id"])
    op.create_index("ix_payment_order", "payment", ["order_id", "position", "id"])
    op.create_index("ix_payment_status", "payment", ["status", "created_at", "id"])
    op.create_index("ix_payment_transfer_id", "payment", ["transfer_id"])


def dispute() -> None:
    op.create_table(
        "dispute",
        *record(),
        sa.Column("payment_id", ID, sa.ForeignKey("payment.id"), nullable=False),
        sa.Column("order_id", ID, sa.ForeignKey("sales_order.id")),
        sa.Column("provider_reference", sa.String(200)),
        sa.Column("reason", sa.String(32), nullable=False),
        sa.Column("status", sa.String(32), nullable=False),
        sa.Column("amount_minor", sa.BigInteger, nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("transfer_id", ID, sa.ForeignKey("transfer.id")),
        sa.Column("opened_at", TIME, nullable=False),
        sa.Column("respond_by", TIME),
        sa.Column("submitted_at", TIME),
        sa.Column("closed_at", TIME),
        sa.UniqueConstraint("provider_reference"),
        sa.CheckConstraint("length(currency) = 3", name="currency"),
        sa.CheckConstraint("amount_minor > 0", name="positive"),
        words(
            "reason",
            "bank_cannot_process check_returned credit_not_processed customer_initiated "
            "debit_not_authorized duplicate fraudulent general incorrect_account_details "
            "insufficient_funds noncompliant product_not_received product_unacceptable "
            "subscription_canceled unrecognized",
        ),
        words("status", "inquiry needs_response under_review won lost accepted prevented appealed"),
    )
    op.create_index("ix_dispute_opened", "dispute", ["opened_at", "id"])
    op.create_index("ix_dispute_order_id", "dispute", ["order_id"])
    op.create_index("ix_dispute_payment_id", "dispute", ["payment_id"])
    op.create_index("ix_dispute_status", "dispute", ["status", "respond_by", "id"])


def payment_hold() -> None:
    op.create_table(
        "payment_hold",
        *record(),
        sa.Column("payment_id", ID, sa.ForeignKey("payment.id"), nullable=False),
        sa.Column("order_id", ID, sa.ForeignKey("sales_order.id")),
        sa.Column("amount_minor", sa.BigInteger, nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("reason", sa.String(32), nullable=False),
        sa.Column("note", sa.String(2000), nullable=False),
        sa.Column("state", sa.String(32), nullable=False),
        sa.Column("transfer_id", ID, sa.ForeignKey("transfer.id"), nullable=False),
        sa.Column("expires_at", TIME),
        sa.Column("placed_at", TIME, nullable=False),
        sa.Column("placed_by", sa.String(300), nullable=False),
        sa.Column("closed_at", TIME),
        sa.Column("closed_by", sa.String(300)),
        sa.Column("close_reason", sa.String(2000)),
        sa.CheckConstraint("length(currency) = 3", name="currency"),
        sa.CheckConstraint("amount_minor > 0", name="positive"),
        words("reason", "fraud_review dispute_risk return_pending claim_pending compliance manual"),
        words("state", "active captured released expired"),
    )
    op.create_index("ix_payment_hold_order_id", "payment_hold", ["order_id"])
    op.create_index("ix_payment_hold_payment_id", "payment_hold", ["payment_id"])
    op.create_index("ix_payment_hold_placed", "payment_hold", ["placed_at", "id"])
    op.create_index("ix_payment_hold_state", "payment_hold", ["state", "expires_at", "id"])
    op.create_index("ix_payment_hold_transfer_id", "payment_hold", ["transfer_id"])


def refund() -> None:
    op.create_table(
        "refund",
        *record(),
        sa.Column("payment_id", ID, sa.ForeignKey("payment.id"), nullable=False),
        sa.Column("order_id", ID, sa.ForeignKey("sales_order.id")),
        sa.Column("method_id", ID, sa.ForeignKey("payment_method.id")),
        sa.Column("destination", sa.String(160), nullable=False),
        sa.Column("position", sa.BigInteger, nullable=False),
        sa.Column("amount_minor", sa.BigInteger, nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("reason", sa.String(32), nullable=False),
        sa.Column("note", sa.String(2000), nullable=False),
        sa.Column("unlinked", sa.Boolean, nullable=False),
        sa.Column("status", sa.String(32), nullable=False),
        sa.Column("source_type", sa.String(32)),
        sa.Column("source_id", ID),
        sa.Column("transfer_id", ID, sa.ForeignKey("transfer.id")),
        sa.Column("provider_reference", sa.String(200)),
        sa.Column("failure_code", sa.String(32)),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("settled_at", TIME),
        sa.CheckConstraint("length(currency) = 3", name="currency"),
        sa.CheckConstraint("position >= 0", name="not_negative"),
        sa.CheckConstraint("amount_minor > 0", name="positive"),
        words(
            "reason",
            "return goodwill duplicate cancellation amendment exchange claim method_change "
            "fraudulent price_adjustment",
        ),
        words("status", "pending succeeded failed cancelled"),
    )
    op.create_index("ix_refund_created", "refund", ["created_at", "id"])
    op.create_index("ix_refund_method_id", "refund", ["method_id"])
    op.create_index("ix_refund_order", "refund", ["order_id", "position", "id"])
    op.create_index("ix_refund_payment_id", "refund", ["payment_id"])
    op.create_index("ix_refund_source", "refund", ["source_type", "source_id"])
    op.create_index("ix_refund_status", "refund", ["status", "created_at", "id"])
    op.create_index("ix_refund_transfer_id", "refund", ["transfer_id"])


def dispute_evidence() -> None:
    op.create_table(
        "dispute_evidence",
        *record(),
        sa.Column("dispute_id", ID, sa.ForeignKey("dispute.id"), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("source_id", ID),
        sa.Column("text", sa.String(2000), nullable=False),
        sa.Column("sha256", ID, nullable=False),
        sa.Column("added_at", TIME, nullable=False),
        sa.UniqueConstraint("dispute_id", "sha256"),
        words(
            "kind",
            "proof_of_delivery tracking invoice customer_communication refund_policy "
            "return_record other",
        ),
    )


def payout_line() -> None:
    op.create_table(
        "payout_line",
        *record(),
        sa.Column("payout_id", ID, sa.ForeignKey("payout.id"), nullable=False),
        sa.Column("position", sa.BigInteger, nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("provider_reference", sa.String(200), nullable=False),
        sa.Column("amount_minor", sa.BigInteger, nullable=False),
        sa.Column("fee_minor", sa.BigInteger, nullable=False),
        sa.Column("payment_id", ID, sa.ForeignKey("payment.id")),
        sa.Column("refund_id", ID, sa.ForeignKey("refund.id")),
        sa.Column("outcome", sa.String(32), nullable=False),
        sa.Column("note", sa.String(2000), nullable=False),
        sa.UniqueConstraint("payout_id", "position"),
        words("kind", "charge refund fee dispute adjustment"),
        words("outcome", "matched missing amount_differs duplicate accepted"),
    )
    op.create_index("ix_payout_line_outcome", "payout_line", ["outcome", "id"])
    op.create_index("ix_payout_line_payment_id", "payout_line", ["payment_id"])
    op.create_index("ix_payout_line_refund_id", "payout_line", ["refund_id"])
    unique_where(
        "uq_payout_charge",
        "payout_line",
        ["payment_id"],
        "kind = 'charge' and outcome = 'matched'",
    )
    unique_where(
        "uq_payout_refund",
        "payout_line",
        ["refund_id"],
        "kind = 'refund' and outcome = 'matched'",
    )
