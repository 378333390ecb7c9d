"""Receipts, transfers, counts, adjustments."""

import sqlalchemy as sa
from alembic import op

from deploy.migrations.parts import ID, TIME, record, words

revision = "0003_stock_documents"
down_revision = "0002_inventory"


def upgrade() -> None:
    cycle_count()
    stock_transfer()
    receipt()
    count_line()
    receipt_line()
    stock_transfer_line()
    stock_adjustment()


def cycle_count() -> None:
    op.create_table(
        "cycle_count",
        *record(),
        sa.Column("warehouse_id", ID, sa.ForeignKey("warehouse.id"), nullable=False),
        sa.Column("state", sa.String(32), nullable=False),
        sa.Column("scheduled_at", TIME, nullable=False),
        sa.Column("snapshot_at", TIME),
        sa.Column("submitted_at", TIME),
        sa.Column("posted_at", TIME),
        sa.Column("counted_by", sa.String(300)),
        sa.Column("recounted_by", sa.String(300)),
        words("state", "scheduled counting recount pending_approval posted cancelled"),
    )
    op.create_index("ix_cycle_count_state", "cycle_count", ["state", "scheduled_at", "id"])
    op.create_index(
        "ix_cycle_count_warehouse", "cycle_count", ["warehouse_id", "scheduled_at", "id"]
    )


def stock_transfer() -> None:
    op.create_table(
        "stock_transfer",
        *record(),
        sa.Column("from_warehouse_id", ID, sa.ForeignKey("warehouse.id"), nullable=False),
        sa.Column("to_warehouse_id", ID, sa.ForeignKey("warehouse.id"), nullable=False),
        sa.Column("state", sa.String(32), nullable=False),
        sa.Column("reason", sa.String(2000), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("shipped_at", TIME),
        sa.Column("expected_at", TIME),
        sa.Column("received_at", TIME),
        words(
            "state",
            "draft approved picked in_transit partially_received received closed cancelled",
        ),
        sa.CheckConstraint("from_warehouse_id != to_warehouse_id", name="two_warehouses"),
    )
    op.create_index("ix_stock_transfer_created", "stock_transfer", ["created_at", "id"])
    op.create_index("ix_stock_transfer_from_warehouse_id", "stock_transfer", ["from_warehouse_id"])
    op.create_index("ix_stock_transfer_state", "stock_transfer", ["state", "expected_at", "id"])
    op.create_index("ix_stock_transfer_to_warehouse_id", "stock_transfer", ["to_warehouse_id"])


def receipt() -> None:
    op.create_table(
        "receipt",
        *record(),
        sa.Column("purchase_order_id", ID, sa.ForeignKey("purchase_order.id")),
        sa.Column("stock_transfer_id", ID, sa.ForeignKey("stock_transfer.id")),
        sa.Column("warehouse_id", ID, sa.ForeignKey("warehouse.id"), nullable=False),
        sa.Column("state", sa.String(32), nullable=False),
        sa.Column("delivery_note", sa.String(200)),
        sa.Column("received_at", TIME, nullable=False),
        sa.CheckConstraint(
            "(purchase_order_id is null) != (stock_transfer_id is null)", name="one_source"
        ),
        words("state", "open counted inspected putaway closed"),
    )
    op.create_index("ix_receipt_purchase_order_id", "receipt", ["purchase_order_id"])
    op.create_index("ix_receipt_received", "receipt", ["warehouse_id", "received_at", "id"])
    op.create_index("ix_receipt_stock_transfer_id", "receipt", ["stock_transfer_id"])


def count_line() -> None:
    op.create_table(
        "count_line",
        *record(),
        sa.Column("cycle_count_id", ID, sa.ForeignKey("cycle_count.id"), nullable=False),
        sa.Column("position", sa.BigInteger, nullable=False),
        sa.Column("sku", ID, sa.ForeignKey("variant.id"), nullable=False),
        sa.Column("lot_id", ID, sa.ForeignKey("lot.id")),
        sa.Column("location_id", ID, sa.ForeignKey("location.id")),
        sa.Column("status", sa.String(32), nullable=False),
        sa.Column("snapshot", sa.BigInteger, nullable=False),
        sa.Column("counted", sa.BigInteger),
        sa.Column("recounted", sa.BigInteger),
        sa.UniqueConstraint("cycle_count_id", "position"),
        sa.CheckConstraint(
            "position >= 0 and snapshot >= 0 and counted >= 0 and recounted >= 0",
            name="not_negative",
        ),
        words("status", "available quarantine damaged inspection refurbish"),
    )
    op.create_index("ix_count_line_sku", "count_line", ["sku"])


def receipt_line() -> None:
    op.create_table(
        "receipt_line",
        *record(),
        sa.Column("receipt_id", ID, sa.ForeignKey("receipt.id"), nullable=False),
        sa.Column("purchase_line_id", ID, sa.ForeignKey("purchase_line.id")),
        sa.Column("sku", ID, sa.ForeignKey("variant.id"), nullable=False),
        sa.Column("lot_id", ID, sa.ForeignKey("lot.id")),
        sa.Column("location_id", ID, sa.ForeignKey("location.id")),
        sa.Column("expected", sa.BigInteger, nullable=False),
        sa.Column("good", sa.BigInteger, nullable=False),
        sa.Column("damaged", sa.BigInteger, nullable=False),
        sa.Column("discrepancy", sa.String(32)),
        sa.Column("note", sa.String(2000), nullable=False),
        words("discrepancy", "over short damaged wrong_item expired"),
        sa.CheckConstraint("expected >= 0 and good >= 0 and damaged >= 0", name="not_negative"),
    )
    op.create_index("ix_receipt_line_lot_id", "receipt_line", ["lot_id"])
    op.create_index("ix_receipt_line_purchase_line_id", "receipt_line", ["purchase_line_id"])
    op.create_index("ix_receipt_line_receipt_id", "receipt_line", ["receipt_id"])
    op.create_index("ix_receipt_line_sku", "receipt_line", ["sku"])


def stock_transfer_line() -> None:
    op.create_table(
        "stock_transfer_line",
        *record(),
        sa.Column("stock_transfer_id", ID, sa.ForeignKey("stock_transfer.id"), nullable=False),
        sa.Column("position", sa.BigInteger, nullable=False),
        sa.Column("sku", ID, sa.ForeignKey("variant.id"), nullable=False),
        sa.Column("lot_id", ID, sa.ForeignKey("lot.id")),
        sa.Column("quantity", sa.BigInteger, nullable=False),
        sa.Column("shipped", sa.BigInteger, nullable=False),
        sa.Column("received", sa.BigInteger, nullable=False),
        sa.Column("damaged", sa.BigInteger, nullable=False),
        sa.Column("lost", sa.BigInteger, nullable=False),
        sa.UniqueConstraint("stock_transfer_id", "position"),
        sa.CheckConstraint(
            "shipped <= quantity and received + damaged + lost <= shipped", name="legs"
        ),
        sa.CheckConstraint(
            "position >= 0 and shipped >= 0 and received >= 0 and damaged >= 0 and lost >= 0",
            name="not_negative",
        ),
        sa.CheckConstraint("quantity > 0", name="positive"),
    )
    op.create_index("ix_stock_transfer_line_sku", "stock_transfer_line", ["sku"])


def stock_adjustment() -> None:
    op.create_table(
        "stock_adjustment",
        *record(),
        sa.Column("sku", ID, sa.ForeignKey("variant.id"), nullable=False),
        sa.Column("warehouse_id", ID, sa.ForeignKey("warehouse.id"), nullable=False),
        sa.Column("lot_id", ID, sa.ForeignKey("lot.id")),
        sa.Column("status", sa.String(32), nullable=False),
        sa.Column("quantity", sa.BigInteger, nullable=False),
        sa.Column("reason", sa.String(32), nullable=False),
        sa.Column("note", sa.String(2000), nullable=False),
        sa.Column("count_line_id", ID, sa.ForeignKey("count_line.id")),
        sa.Column("transfer_id", ID, sa.ForeignKey("transfer.id"), nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.UniqueConstraint("count_line_id"),
        words(
            "reason",
            "found shrinkage theft damaged expired data_entry sample donation write_off count "
            "kit_build kit_break",
        ),
        sa.CheckConstraint("quantity != 0", name="something"),
        words("status", "available quarantine damaged inspection refurbish"),
    )
    op.create_index("ix_stock_adjustment_at", "stock_adjustment", ["at", "id"])
    op.create_index("ix_stock_adjustment_sku", "stock_adjustment", ["sku", "at"])
    op.create_index("ix_stock_adjustment_transfer_id", "stock_adjustment", ["transfer_id"])
