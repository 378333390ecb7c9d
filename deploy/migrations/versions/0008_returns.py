"""Return policies, RMAs, inspection, settlement."""

import sqlalchemy as sa
from alembic import op

from deploy.migrations.parts import ID, JSON, TIME, record, words

revision = "0008_returns"
down_revision = "0007_payments"


def upgrade() -> None:
    return_policy()
    rma()
    rma_line()
    inspection()
    settlement()


def return_policy() -> None:
    op.create_table(
        "return_policy",
        *record(),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("category", sa.String(200)),
        sa.Column("active", sa.Boolean, nullable=False),
        sa.Column("window_days", sa.BigInteger, nullable=False),
        sa.Column("send_within_days", sa.BigInteger, nullable=False),
        sa.Column("final_sale", sa.Boolean, nullable=False),
        sa.Column("restockable", sa.Boolean, nullable=False),
        sa.Column("restocking_fee_bps", sa.BigInteger, nullable=False),
        sa.Column("return_shipping_minor", sa.BigInteger, nullable=False),
        sa.Column("refunds_shipping", sa.Boolean, nullable=False),
        sa.Column("instant_refund", sa.Boolean, nullable=False),
        sa.Column("returnless_up_to_minor", sa.BigInteger, nullable=False),
        sa.Column("review_from_minor", sa.BigInteger),
        sa.Column("most_open_per_order", sa.BigInteger),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.CheckConstraint("length(currency) = 3", name="currency"),
        sa.CheckConstraint("restocking_fee_bps between 0 and 10000", name="fee"),
        sa.CheckConstraint(
            "window_days >= 0 and return_shipping_minor >= 0 and returnless_up_to_minor >= 0 and "
            "review_from_minor >= 0",
            name="not_negative",
        ),
        sa.CheckConstraint("send_within_days > 0 and most_open_per_order > 0", name="positive"),
    )
    op.create_index("ix_return_policy_category", "return_policy", ["category"])


def rma() -> None:
    op.create_table(
        "rma",
        *record(),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("state", sa.String(32), nullable=False),
        sa.Column("order_id", ID, sa.ForeignKey("sales_order.id"), nullable=False),
        sa.Column("customer_id", ID, sa.ForeignKey("customer.id"), nullable=False),
        sa.Column("refund_to", sa.String(32), nullable=False),
        sa.Column("method_id", ID, sa.ForeignKey("payment_method.id")),
        sa.Column("policy_id", ID, sa.ForeignKey("return_policy.id")),
        sa.Column("policy_rule", sa.String(200), nullable=False),
        sa.Column("note", sa.String(2000), nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("refund_minor", sa.BigInteger, nullable=False),
        sa.Column("fee_minor", sa.BigInteger, nullable=False),
        sa.Column("price_difference_minor", sa.BigInteger, nullable=False),
        sa.Column("instant", sa.Boolean, nullable=False),
        sa.Column("warehouse_id", ID, sa.ForeignKey("warehouse.id")),
        sa.Column("shipment_id", ID, sa.ForeignKey("shipment.id")),
        sa.Column("label_code", ID),
        sa.Column("reject_reason", sa.String(32)),
        sa.Column("reject_note", sa.String(2000)),
        sa.Column("requested_at", TIME, nullable=False),
        sa.Column("window_ends_at", TIME),
        sa.Column("authorized_at", TIME),
        sa.Column("expires_at", TIME),
        sa.Column("received_at", TIME),
        sa.Column("settled_at", TIME),
        sa.Column("closed_at", TIME),
        sa.UniqueConstraint("label_code"),
        sa.CheckConstraint("length(currency) = 3", name="currency"),
        words("kind", "return exchange"),
        sa.CheckConstraint("refund_to != 'method' or method_id is not null", name="method"),
        sa.CheckConstraint("refund_minor >= 0 and fee_minor >= 0", name="not_negative"),
        words("refund_to", "original method store_credit"),
        words(
            "reject_reason",
            "outside_window final_sale not_delivered already_returned condition fraud other",
        ),
        sa.CheckConstraint("state != 'rejected' or reject_reason is not null", name="rejected"),
        words(
            "state",
            "requested needs_review authorized label_issued in_transit partially_received "
            "received inspected dispositioned settled closed rejected expired cancelled "
            "returnless",
        ),
    )
    op.create_index("ix_rma_customer", "rma", ["customer_id", "requested_at", "id"])
    op.create_index("ix_rma_expiring", "rma", ["state", "expires_at"])
    op.create_index("ix_rma_order_id", "rma", ["order_id"])
    op.create_index("ix_rma_requested", "rma", ["requested_at", "id"])
    op.create_index("ix_rma_shipment_id", "rma", ["shipment_id"])
    op.create_index("ix_rma_state", "rma", ["state", "requested_at", "id"])


def rma_line() -> None:
    op.create_table(
        "rma_line",
        *record(),
        sa.Column("return_id", ID, sa.ForeignKey("rma.id"), nullable=False),
        sa.Column("position", sa.BigInteger, nullable=False),
        sa.Column("order_line_id", ID, sa.ForeignKey("order_line.id"), nullable=False),
        sa.Column("sku", ID, sa.ForeignKey("variant.id"), nullable=False),
        sa.Column("quantity", sa.BigInteger, nullable=False),
        sa.Column("reason", sa.String(32), nullable=False),
        sa.Column("note", sa.String(2000), nullable=False),
        sa.Column("condition", sa.String(32)),
        sa.Column("received", sa.BigInteger, nullable=False),
        sa.Column("damaged", sa.BigInteger, nullable=False),
        sa.Column("refund_minor", sa.BigInteger, nullable=False),
        sa.Column("fee_minor", sa.BigInteger, nullable=False),
        sa.Column("exchange_sku", ID, sa.ForeignKey("variant.id")),
        sa.Column("exchange_price_minor", sa.BigInteger),
        sa.Column("price_difference_minor", sa.BigInteger, nullable=False),
        sa.Column("reservation_id", ID, sa.ForeignKey("reservation.id")),
        sa.UniqueConstraint("return_id", "position"),
        words("condition", "unopened opened used damaged incomplete"),
        sa.CheckConstraint(
            "(exchange_sku is null) = (exchange_price_minor is null)", name="exchange"
        ),
        sa.CheckConstraint(
            "position >= 0 and received >= 0 and damaged >= 0 and refund_minor >= 0 and fee_minor"
            " >= 0 and exchange_price_minor >= 0",
            name="not_negative",
        ),
        sa.CheckConstraint("quantity > 0", name="positive"),
        words(
            "reason",
            "size_too_small size_too_large style not_as_described defective damaged_in_transit "
            "wrong_item arrived_late unwanted other",
        ),
        sa.CheckConstraint("received <= quantity and damaged <= received", name="received"),
    )
    op.create_index("ix_rma_line_order_line_id", "rma_line", ["order_line_id"])
    op.create_index("ix_rma_line_reservation_id", "rma_line", ["reservation_id"])
    op.create_index("ix_rma_line_sku", "rma_line", ["sku", "reason"])


def inspection() -> None:
    op.create_table(
        "inspection",
        *record(),
        sa.Column("return_line_id", ID, sa.ForeignKey("rma_line.id"), nullable=False),
        sa.Column("quantity", sa.BigInteger, nullable=False),
        sa.Column("grade", sa.String(1), nullable=False),
        sa.Column("condition", sa.String(32), nullable=False),
        sa.Column("disposition", sa.String(32)),
        sa.Column("photos_sha256", JSON, nullable=False),
        sa.Column("note", sa.String(2000), nullable=False),
        sa.Column("transfer_id", ID, sa.ForeignKey("transfer.id")),
        sa.Column("inspected_at", TIME, nullable=False),
        sa.Column("inspected_by", sa.String(300), nullable=False),
        sa.CheckConstraint("transfer_id is null or disposition is not null", name="carried_out"),
        words("condition", "unopened opened used damaged incomplete"),
        words(
            "disposition",
            "restock refurbish repackage open_box rtv liquidate donate recycle scrap quarantine",
        ),
        words("grade", "A B C D"),
        sa.CheckConstraint("quantity > 0", name="positive"),
    )
    op.create_index("ix_inspection_return_line_id", "inspection", ["return_line_id"])


def settlement() -> None:
    op.create_table(
        "settlement",
        *record(),
        sa.Column("return_line_id", ID, sa.ForeignKey("rma_line.id"), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("amount_minor", sa.BigInteger, nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("refund_id", ID, sa.ForeignKey("refund.id")),
        sa.Column("payment_id", ID, sa.ForeignKey("payment.id")),
        sa.Column("exchange_order_id", ID, sa.ForeignKey("sales_order.id")),
        sa.Column("note", sa.String(2000), nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.UniqueConstraint("return_line_id"),
        sa.CheckConstraint("length(currency) = 3", name="currency"),
        words("kind", "refund store_credit exchange denied"),
        sa.CheckConstraint("amount_minor >= 0", name="not_negative"),
    )
    op.create_index("ix_settlement_at", "settlement", ["at", "id"])
    op.create_index("ix_settlement_exchange_order_id", "settlement", ["exchange_order_id"])
    op.create_index("ix_settlement_payment_id", "settlement", ["payment_id"])
    op.create_index("ix_settlement_refund_id", "settlement", ["refund_id"])
