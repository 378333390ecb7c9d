"""Documents that move or correct stock: receipts, transfers, cycle counts, adjustments."""

from datetime import datetime

from sqlalchemy import CheckConstraint, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from common.tables.base import Record
from common.tables.columns import (
    Name,
    Note,
    Person,
    Word,
    not_negative,
    one_of,
    positive,
    to,
)
from common.tables.inventory import (
    ADJUSTMENT_REASONS,
    COUNT_STATES,
    DISCREPANCIES,
    RECEIPT_STATES,
    STOCK_STATUSES,
    TRANSFER_STATES,
)


class Receipt(Record):
    """One delivery at the dock, of a purchase order or of a stock transfer."""

    __tablename__ = "receipt"
    owner = "inventory"

    purchase_order_id: Mapped[str | None] = to("purchase_order", index=True)
    stock_transfer_id: Mapped[str | None] = to("stock_transfer", index=True)
    warehouse_id: Mapped[str] = to("warehouse")
    state: Mapped[Word]
    delivery_note: Mapped[Name | None]
    received_at: Mapped[datetime]

    __table_args__ = (
        Index("ix_receipt_received", "warehouse_id", "received_at", "id"),
        one_of("state", RECEIPT_STATES),
        CheckConstraint(
            "(purchase_order_id is null) != (stock_transfer_id is null)", name="one_source"
        ),
    )


class ReceiptLine(Record):
    """``good`` and ``damaged`` units that came. The discrepancy is kept, whatever becomes of it."""

    __tablename__ = "receipt_line"
    owner = "inventory"

    receipt_id: Mapped[str] = to("receipt", index=True)
    purchase_line_id: Mapped[str | None] = to("purchase_line", index=True)
    sku: Mapped[str] = to("variant", index=True)
    lot_id: Mapped[str | None] = to("lot", index=True)
    location_id: Mapped[str | None] = to("location")
    expected: Mapped[int]
    good: Mapped[int]
    damaged: Mapped[int] = mapped_column(default=0)
    discrepancy: Mapped[Word | None]
    note: Mapped[Note] = mapped_column(default="")

    __table_args__ = (
        not_negative("expected", "good", "damaged"),
        one_of("discrepancy", DISCREPANCIES),
    )


class StockTransfer(Record):
    """From one warehouse to another, in two legs through in-transit."""

    __tablename__ = "stock_transfer"
    owner = "inventory"

    from_warehouse_id: Mapped[str] = to("warehouse", index=True)
    to_warehouse_id: Mapped[str] = to("warehouse", index=True)
    state: Mapped[Word]
    reason: Mapped[Note] = mapped_column(default="")
    created_at: Mapped[datetime]
    shipped_at: Mapped[datetime | None]
    expected_at: Mapped[datetime | None]
    received_at: Mapped[datetime | None]

    __table_args__ = (
        Index("ix_stock_transfer_created", "created_at", "id"),
        Index("ix_stock_transfer_state", "state", "expected_at", "id"),
        one_of("state", TRANSFER_STATES),
        CheckConstraint("from_warehouse_id != to_warehouse_id", name="two_warehouses"),
    )


class StockTransferLine(Record):
    __tablename__ = "stock_transfer_line"
    owner = "inventory"

    stock_transfer_id: Mapped[str] = to("stock_transfer")
    position: Mapped[int]
    sku: Mapped[str] = to("variant", index=True)
    lot_id: Mapped[str | None] = to("lot")
    quantity: Mapped[int]
    shipped: Mapped[int] = mapped_column(default=0)
    received: Mapped[int] = mapped_column(default=0)
    damaged: Mapped[int] = mapped_column(default=0)
    lost: Mapped[int] = mapped_column(default=0)

    __table_args__ = (
        UniqueConstraint("stock_transfer_id", "position"),
        positive("quantity"),
        not_negative("position", "shipped", "received", "damaged", "lost"),
        CheckConstraint(
            "shipped <= quantity and received + damaged + lost <= shipped", name="legs"
        ),
    )


class CycleCount(Record):
    """A blind count. The variance is against the snapshot, whatever moved since."""

    __tablename__ = "cycle_count"
    owner = "inventory"

    warehouse_id: Mapped[str] = to("warehouse")
    state: Mapped[Word]
    scheduled_at: Mapped[datetime]
    snapshot_at: Mapped[datetime | None]
    submitted_at: Mapped[datetime | None]
    posted_at: Mapped[datetime | None]
    counted_by: Mapped[Person | None]
    recounted_by: Mapped[Person | None]

    __table_args__ = (
        Index("ix_cycle_count_scheduled", "scheduled_at", "id"),
        Index("ix_cycle_count_warehouse", "warehouse_id", "scheduled_at", "id"),
        Index("ix_cycle_count_state", "state", "scheduled_at", "id"),
        one_of("state", COUNT_STATES),
    )


class CountLine(Record):
    """``snapshot`` is on hand when the count began; the counter is not shown it."""

    __tablename__ = "count_line"
    owner = "inventory"

    cycle_count_id: Mapped[str] = to("cycle_count")
    position: Mapped[int]
    sku: Mapped[str] = to("variant", index=True)
    lot_id: Mapped[str | None] = to("lot")
    location_id: Mapped[str | None] = to("location")
    status: Mapped[Word] = mapped_column(default="available")
    snapshot: Mapped[int]
    counted: Mapped[int | None]
    recounted: Mapped[int | None]

    __table_args__ = (
        UniqueConstraint("cycle_count_id", "position"),
        not_negative("position", "snapshot", "counted", "recounted"),
        one_of("status", STOCK_STATUSES),
    )


class StockAdjustment(Record):
    """``quantity`` is signed: found or missing."""

    __tablename__ = "stock_adjustment"
    owner = "inventory"

    sku: Mapped[str] = to("variant")
    warehouse_id: Mapped[str] = to("warehouse")
    lot_id: Mapped[str | None] = to("lot")
    status: Mapped[Word] = mapped_column(default="available")
    quantity: Mapped[int]
    reason: Mapped[Word]
    note: Mapped[Note] = mapped_column(default="")
    count_line_id: Mapped[str | None] = to("count_line")
    transfer_id: Mapped[str] = to("transfer", index=True)
    at: Mapped[datetime]

    __table_args__ = (
        Index("ix_stock_adjustment_at", "at", "id"),
        Index("ix_stock_adjustment_sku", "sku", "at"),
        # A count line is posted once.
        UniqueConstraint("count_line_id"),
        one_of("status", STOCK_STATUSES),
        one_of("reason", ADJUSTMENT_REASONS),
        CheckConstraint("quantity != 0", name="something"),
    )
