"""Customers and orders."""

import sqlalchemy as sa
from alembic import op

from deploy.migrations.parts import ID, JSON, TIME, record, unique_where, words

revision = "0004_orders"
down_revision = "0003_stock_documents"


def upgrade() -> None:
    customer()
    tax_rate()
    sales_order()
    order_event()
    order_hold()
    order_note()
    order_line()
    order_adjustment()


def customer() -> None:
    op.create_table(
        "customer",
        *record(),
        sa.Column("email", sa.String(254)),
        sa.Column("email_key", sa.String(254)),
        sa.Column("first_name", sa.String(200), nullable=False),
        sa.Column("last_name", sa.String(200), nullable=False),
        sa.Column("name_key", sa.String(401), nullable=False),
        sa.Column("company", sa.String(200)),
        sa.Column("phone", sa.String(40)),
        sa.Column("address", JSON, nullable=False),
        sa.Column("postal_code", sa.String(20), nullable=False),
        sa.Column("subject", sa.String(300)),
        sa.Column("created_at", TIME, nullable=False),
        sa.UniqueConstraint("subject"),
    )
    op.create_index("ix_customer_created", "customer", ["created_at", "id"])
    op.create_index("ix_customer_email_key", "customer", ["email_key"])
    op.create_index("ix_customer_name", "customer", ["name_key", "postal_code"])


def tax_rate() -> None:
    op.create_table(
        "tax_rate",
        *record(),
        sa.Column("country", sa.String(60), nullable=False),
        sa.Column("region", sa.String(100), nullable=False),
        sa.Column("tax_class", sa.String(32), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("rate_bps", sa.BigInteger, nullable=False),
        sa.Column("included", sa.Boolean, nullable=False),
        sa.Column("valid_from", sa.Date, nullable=False),
        sa.UniqueConstraint("country", "region", "tax_class", "valid_from"),
        sa.CheckConstraint("rate_bps between 0 and 100000", name="rate"),
    )


def sales_order() -> None:
    op.create_table(
        "sales_order",
        *record(),
        sa.Column("customer_id", ID, sa.ForeignKey("customer.id"), nullable=False),
        sa.Column("status", sa.String(32), nullable=False),
        sa.Column("payment_status", sa.String(32), nullable=False),
        sa.Column("fulfilment_status", sa.String(32), nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("subtotal_minor", sa.BigInteger, nullable=False),
        sa.Column("discount_minor", sa.BigInteger, nullable=False),
        sa.Column("shipping_minor", sa.BigInteger, nullable=False),
        sa.Column("tax_minor", sa.BigInteger, nullable=False),
        sa.Column("other_minor", sa.BigInteger, nullable=False),
        sa.Column("total_minor", sa.BigInteger, nullable=False),
        sa.Column("ship_to", JSON, nullable=False),
        sa.Column("warehouse_id", ID, sa.ForeignKey("warehouse.id")),
        sa.Column("payment_method_id", ID),
        sa.Column("channel", sa.String(32), nullable=False),
        sa.Column("source", sa.String(32), nullable=False),
        sa.Column("external_id", ID),
        sa.Column("shipping_service", sa.String(200)),
        sa.Column("priority", sa.BigInteger, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("placed_at", TIME),
        sa.Column("ship_by", TIME),
        sa.Column("promised_at", TIME),
        sa.Column("released_at", TIME),
        sa.Column("shipped_at", TIME),
        sa.Column("delivered_at", TIME),
        sa.Column("amended_at", TIME),
        sa.Column("cancelled_at", TIME),
        sa.Column("cancel_reason", sa.String(32)),
        sa.Column("replaces_order_id", ID, sa.ForeignKey("sales_order.id")),
        sa.UniqueConstraint("source", "external_id"),
        words(
            "cancel_reason",
            "no_longer_needed ordered_by_mistake fraud out_of_stock payment_failed "
            "undeliverable_address duplicate",
        ),
        sa.CheckConstraint("length(currency) = 3", name="currency"),
        words(
            "fulfilment_status",
            "not_fulfilled partially_fulfilled fulfilled partially_shipped shipped "
            "partially_delivered delivered",
        ),
        sa.CheckConstraint(
            "subtotal_minor >= 0 and discount_minor >= 0 and shipping_minor >= 0 and tax_minor >="
            " 0 and total_minor >= 0",
            name="not_negative",
        ),
        words(
            "payment_status",
            "not_paid awaiting authorized partially_captured captured partially_refunded refunded",
        ),
        sa.CheckConstraint(
            "status in ('draft','cancelled') or placed_at is not null", name="placed"
        ),
        sa.CheckConstraint("priority between 1 and 10", name="priority"),
        words("status", "draft placed confirmed in_fulfilment completed cancelled on_hold"),
        sa.CheckConstraint(
            "subtotal_minor - discount_minor + shipping_minor + tax_minor + other_minor = "
            "total_minor",
            name="total",
        ),
    )
    op.create_index("ix_order_customer", "sales_order", ["customer_id", "placed_at", "id"])
    op.create_index("ix_order_placed", "sales_order", ["placed_at", "id"])
    op.create_index("ix_order_promised", "sales_order", ["fulfilment_status", "promised_at", "id"])
    op.create_index("ix_order_status", "sales_order", ["status", "placed_at", "id"])
    op.create_index("ix_order_upcoming", "sales_order", ["fulfilment_status", "ship_by", "id"])
    op.create_index("ix_order_warehouse", "sales_order", ["warehouse_id", "ship_by", "id"])


def order_event() -> None:
    op.create_table(
        "order_event",
        *record(),
        sa.Column("order_id", ID, sa.ForeignKey("sales_order.id"), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("detail", sa.String(2000), nullable=False),
        sa.Column("reference", ID),
        sa.Column("at", TIME, nullable=False),
    )
    op.create_index("ix_order_event_order", "order_event", ["order_id", "at", "id"])


def order_hold() -> None:
    op.create_table(
        "order_hold",
        *record(),
        sa.Column("order_id", ID, sa.ForeignKey("sales_order.id"), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("reason", sa.String(2000), nullable=False),
        sa.Column("placed_at", TIME, nullable=False),
        sa.Column("placed_by", sa.String(300), nullable=False),
        sa.Column("status_before", sa.String(32), nullable=False),
        sa.Column("released_at", TIME),
        sa.Column("released_by", sa.String(300)),
        sa.Column("release_reason", sa.String(2000)),
        words("kind", "fraud address payment stock manual"),
    )
    op.create_index("ix_order_hold_order_id", "order_hold", ["order_id"])
    op.create_index("ix_order_hold_placed", "order_hold", ["placed_at", "id"])
    unique_where("uq_order_hold_open", "order_hold", ["order_id", "kind"], "released_at is null")


def order_note() -> None:
    op.create_table(
        "order_note",
        *record(),
        sa.Column("order_id", ID, sa.ForeignKey("sales_order.id"), nullable=False),
        sa.Column("text", sa.String(2000), nullable=False),
        sa.Column("author", sa.String(300), nullable=False),
        sa.Column("at", TIME, nullable=False),
    )
    op.create_index("ix_order_note_order", "order_note", ["order_id", "at", "id"])


def order_line() -> None:
    op.create_table(
        "order_line",
        *record(),
        sa.Column("order_id", ID, sa.ForeignKey("sales_order.id"), nullable=False),
        sa.Column("position", sa.BigInteger, nullable=False),
        sa.Column("split_from_id", ID, sa.ForeignKey("order_line.id")),
        sa.Column("sku", ID, sa.ForeignKey("variant.id"), nullable=False),
        sa.Column("product_id", ID, sa.ForeignKey("product.id"), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("options", JSON, nullable=False),
        sa.Column("quantity", sa.BigInteger, nullable=False),
        sa.Column("unit_price_minor", sa.BigInteger, nullable=False),
        sa.Column("discount_minor", sa.BigInteger, nullable=False),
        sa.Column("tax_minor", sa.BigInteger, nullable=False),
        sa.Column("status", sa.String(32), nullable=False),
        sa.Column("warehouse_id", ID, sa.ForeignKey("warehouse.id")),
        sa.Column("reservation_id", ID, sa.ForeignKey("reservation.id")),
        sa.Column("placed_at", TIME),
        sa.Column("delivered_at", TIME),
        sa.CheckConstraint("discount_minor <= unit_price_minor * quantity", name="discount"),
        sa.CheckConstraint(
            "position >= 0 and unit_price_minor >= 0 and discount_minor >= 0 and tax_minor >= 0",
            name="not_negative",
        ),
        sa.CheckConstraint("quantity > 0", name="positive"),
        words(
            "status",
            "open allocated backordered picked packed shipped delivered cancelled returned",
        ),
    )
    op.create_index("ix_order_line_demand", "order_line", ["sku", "placed_at"])
    op.create_index("ix_order_line_order", "order_line", ["order_id", "position", "id"])
    op.create_index("ix_order_line_placed", "order_line", ["placed_at", "sku"])
    op.create_index("ix_order_line_reservation_id", "order_line", ["reservation_id"])
    op.create_index("ix_order_line_status", "order_line", ["status", "placed_at", "id"])


def order_adjustment() -> None:
    op.create_table(
        "order_adjustment",
        *record(),
        sa.Column("order_id", ID, sa.ForeignKey("sales_order.id"), nullable=False),
        sa.Column("order_line_id", ID, sa.ForeignKey("order_line.id")),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("code", sa.String(200), nullable=False),
        sa.Column("label", sa.String(200), nullable=False),
        sa.Column("rate_bps", sa.BigInteger),
        sa.Column("included", sa.Boolean, nullable=False),
        sa.Column("amount_minor", sa.BigInteger, nullable=False),
        words("kind", "discount shipping tax other"),
        sa.CheckConstraint("rate_bps between 0 and 100000", name="rate"),
        sa.CheckConstraint(
            "kind = 'other' or (kind = 'discount' and amount_minor <= 0) or (kind in "
            "('shipping','tax') and amount_minor >= 0)",
            name="sign",
        ),
    )
    op.create_index("ix_order_adjustment_order_id", "order_adjustment", ["order_id"])
