"""Claims, their evidence, decisions and recoveries."""

import sqlalchemy as sa
from alembic import op

from deploy.migrations.parts import ID, JSON, TIME, append_only, record, unique_where, words

revision = "0009_claims"
down_revision = "0008_returns"


def upgrade() -> None:
    carrier_policy()
    claim()
    claim_decision()
    claim_evidence()
    claim_recovery()
    claim_line()


def carrier_policy() -> None:
    op.create_table(
        "carrier_policy",
        *record(),
        sa.Column("carrier_id", ID, sa.ForeignKey("carrier.id")),
        sa.Column("claim_type", sa.String(32)),
        sa.Column("deadline", sa.String(32), nullable=False),
        sa.Column("days", sa.BigInteger, nullable=False),
        sa.Column("business_days", sa.Boolean, nullable=False),
        sa.Column("counted_from", sa.String(32), nullable=False),
        sa.Column("liability_cap_minor", sa.BigInteger),
        sa.Column("currency", sa.String(3)),
        sa.Column("covers_freight", sa.Boolean, nullable=False),
        sa.Column("evidence", JSON, nullable=False),
        sa.Column("source", sa.String(2000), nullable=False),
        sa.Column("as_of", sa.Date, nullable=False),
        sa.CheckConstraint("liability_cap_minor is null or currency is not null", name="cap"),
        words(
            "claim_type",
            "damage concealed_damage loss shortage late misdelivery theft wrong_item",
        ),
        words("counted_from", "shipped promised delivered filed decided"),
        sa.CheckConstraint("length(currency) = 3", name="currency"),
        words("deadline", "not_before file_by acknowledge decide appeal_by"),
        sa.CheckConstraint("days >= 0 and liability_cap_minor >= 0", name="not_negative"),
    )
    op.create_index("ix_carrier_policy_carrier_id", "carrier_policy", ["carrier_id"])


def claim() -> None:
    op.create_table(
        "claim",
        *record(),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("type", sa.String(32), nullable=False),
        sa.Column("state", sa.String(32), nullable=False),
        sa.Column("order_id", ID, sa.ForeignKey("sales_order.id")),
        sa.Column("shipment_id", ID, sa.ForeignKey("shipment.id")),
        sa.Column("return_id", ID, sa.ForeignKey("rma.id")),
        sa.Column("customer_id", ID, sa.ForeignKey("customer.id")),
        sa.Column("carrier_id", ID, sa.ForeignKey("carrier.id")),
        sa.Column("supplier_id", ID, sa.ForeignKey("supplier.id")),
        sa.Column("parent_id", ID, sa.ForeignKey("claim.id")),
        sa.Column("description", sa.String(2000), nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("freight_minor", sa.BigInteger, nullable=False),
        sa.Column("claimed_minor", sa.BigInteger, nullable=False),
        sa.Column("approved_minor", sa.BigInteger, nullable=False),
        sa.Column("paid_minor", sa.BigInteger, nullable=False),
        sa.Column("resolution", sa.String(32)),
        sa.Column("refund_id", ID, sa.ForeignKey("refund.id")),
        sa.Column("replacement_order_id", ID, sa.ForeignKey("sales_order.id")),
        sa.Column("carrier_reference", sa.String(200)),
        sa.Column("opened_at", TIME, nullable=False),
        sa.Column("deadline_at", TIME),
        sa.Column("deadline_override", sa.String(2000)),
        sa.Column("filed_at", TIME),
        sa.Column("decided_at", TIME),
        sa.Column("resolved_at", TIME),
        sa.Column("closed_at", TIME),
        sa.CheckConstraint(
            "paid_minor <= approved_minor and approved_minor <= claimed_minor", name="amounts"
        ),
        sa.CheckConstraint("length(currency) = 3", name="currency"),
        words("kind", "customer carrier insurer supplier"),
        sa.CheckConstraint(
            "freight_minor >= 0 and claimed_minor >= 0 and approved_minor >= 0 and paid_minor >= 0",
            name="not_negative",
        ),
        words("resolution", "refund replacement credit"),
        sa.CheckConstraint("kind != 'carrier' or shipment_id is not null", name="shipment"),
        sa.CheckConstraint(
            "(kind = 'customer' and state in ('opened', 'triage', 'evidence_pending', "
            "'under_review', 'approved', 'partially_approved', 'denied', 'resolved', 'closed', "
            "'withdrawn', 'reopened')) or (kind != 'customer' and state in ('draft', 'ready', "
            "'filed', 'acknowledged', 'investigating', 'inspection', 'offered', 'accepted', "
            "'denied', 'appealed', 'paid', 'reconciled', 'written_off', 'closed', 'expired', "
            "'withdrawn'))",
            name="state",
        ),
        words("type", "damage concealed_damage loss shortage late misdelivery theft wrong_item"),
    )
    op.create_index("ix_claim_carrier", "claim", ["carrier_id", "opened_at", "id"])
    op.create_index("ix_claim_customer", "claim", ["customer_id", "opened_at", "id"])
    op.create_index("ix_claim_due", "claim", ["state", "deadline_at", "id"])
    op.create_index("ix_claim_opened", "claim", ["opened_at", "id"])
    op.create_index("ix_claim_order_id", "claim", ["order_id"])
    op.create_index("ix_claim_parent_id", "claim", ["parent_id"])
    op.create_index("ix_claim_refund_id", "claim", ["refund_id"])
    op.create_index("ix_claim_return_id", "claim", ["return_id"])
    op.create_index("ix_claim_shipment_id", "claim", ["shipment_id"])
    op.create_index("ix_claim_state", "claim", ["kind", "state", "opened_at", "id"])


def claim_decision() -> None:
    op.create_table(
        "claim_decision",
        *record(),
        sa.Column("claim_id", ID, sa.ForeignKey("claim.id"), nullable=False),
        sa.Column("decision", sa.String(32), nullable=False),
        sa.Column("amount_minor", sa.BigInteger, nullable=False),
        sa.Column("code", sa.String(32)),
        sa.Column("text", sa.String(2000), nullable=False),
        sa.Column("on_appeal", sa.Boolean, nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.Column("recorded_by", sa.String(300), nullable=False),
        words(
            "code",
            "late_filing insufficient_packaging no_proof_of_value clear_delivery_receipt "
            "not_our_damage excluded_goods act_of_god duplicate not_covered other",
        ),
        words("decision", "acknowledged offered approved partially_approved denied"),
        sa.CheckConstraint(
            "decision != 'denied' or (code is not null and text != '')", name="denial"
        ),
        sa.CheckConstraint("amount_minor >= 0", name="not_negative"),
    )
    op.create_index("ix_claim_decision_claim", "claim_decision", ["claim_id", "at", "id"])


def claim_evidence() -> None:
    op.create_table(
        "claim_evidence",
        *record(),
        sa.Column("claim_id", ID, sa.ForeignKey("claim.id"), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("sha256", ID, nullable=False),
        sa.Column("media_type", sa.String(100), nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("note", sa.String(2000), nullable=False),
        sa.Column("source_id", ID),
        sa.Column("taken_at", TIME),
        sa.Column("added_at", TIME, nullable=False),
        sa.Column("added_by", sa.String(300), nullable=False),
        sa.UniqueConstraint("claim_id", "sha256"),
        words(
            "kind",
            "photo packaging_photo proof_of_delivery tracking proof_of_value statement "
            "packing_list inspection_report police_report other",
        ),
        sa.CheckConstraint("size_bytes >= 0", name="not_negative"),
        sa.CheckConstraint("length(sha256) = 64", name="sha256"),
    )
    append_only("claim_evidence")


def claim_recovery() -> None:
    op.create_table(
        "claim_recovery",
        *record(),
        sa.Column("claim_id", ID, sa.ForeignKey("claim.id"), nullable=False),
        sa.Column("source", sa.String(32), nullable=False),
        sa.Column("reference", sa.String(200), nullable=False),
        sa.Column("amount_minor", sa.BigInteger, nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("transfer_id", ID, sa.ForeignKey("transfer.id")),
        sa.Column("received_at", TIME, nullable=False),
        sa.UniqueConstraint("source", "reference", "claim_id"),
        sa.CheckConstraint("length(currency) = 3", name="currency"),
        sa.CheckConstraint("amount_minor > 0", name="positive"),
        words("source", "carrier insurer supplier dispute"),
    )
    op.create_index("ix_claim_recovery_claim_id", "claim_recovery", ["claim_id"])


def claim_line() -> None:
    op.create_table(
        "claim_line",
        *record(),
        sa.Column("claim_id", ID, sa.ForeignKey("claim.id"), nullable=False),
        sa.Column("position", sa.BigInteger, nullable=False),
        sa.Column("order_line_id", ID, sa.ForeignKey("order_line.id")),
        sa.Column("shipment_line_id", ID, sa.ForeignKey("shipment_line.id")),
        sa.Column("sku", ID, sa.ForeignKey("variant.id"), nullable=False),
        sa.Column("quantity", sa.BigInteger, nullable=False),
        sa.Column("unit_cost_minor", sa.BigInteger, nullable=False),
        sa.Column("claimed_minor", sa.BigInteger, nullable=False),
        sa.Column("approved_minor", sa.BigInteger, nullable=False),
        sa.Column("paid_minor", sa.BigInteger, nullable=False),
        sa.Column("claim_type", sa.String(32), nullable=False),
        sa.Column("carrier_open", sa.Boolean, nullable=False),
        sa.UniqueConstraint("claim_id", "position"),
        sa.CheckConstraint(
            "paid_minor <= approved_minor and approved_minor <= claimed_minor", name="amounts"
        ),
        words(
            "claim_type",
            "damage concealed_damage loss shortage late misdelivery theft wrong_item",
        ),
        sa.CheckConstraint(
            "position >= 0 and unit_cost_minor >= 0 and claimed_minor >= 0 and approved_minor >= "
            "0 and paid_minor >= 0",
            name="not_negative",
        ),
        sa.CheckConstraint("quantity > 0", name="positive"),
    )
    op.create_index("ix_claim_line_order_line_id", "claim_line", ["order_line_id"])
    op.create_index("ix_claim_line_shipment_line_id", "claim_line", ["shipment_line_id"])
    op.create_index("ix_claim_line_sku", "claim_line", ["sku"])
    unique_where(
        "uq_claim_line_open",
        "claim_line",
        ["shipment_line_id", "claim_type"],
        "carrier_open",
    )
