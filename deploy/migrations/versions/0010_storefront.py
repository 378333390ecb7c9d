"""Carts, checkouts, memberships, promotions."""

import sqlalchemy as sa
from alembic import op

from deploy.migrations.parts import ID, JSON, TIME, record, unique_where, words

revision = "0010_storefront"
down_revision = "0009_claims"


def upgrade() -> None:
    membership_tier()
    cart()
    promotion()
    cart_item()
    promotion_use()
    checkout()
    membership()


def membership_tier() -> None:
    op.create_table(
        "membership_tier",
        *record(),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("rank", sa.BigInteger, nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("yearly_fee_minor", sa.BigInteger, nullable=False),
        sa.Column("discount_bps", sa.BigInteger, nullable=False),
        sa.Column("free_shipping_from_minor", sa.BigInteger),
        sa.Column("points_per_major_unit", sa.BigInteger, nullable=False),
        sa.Column("points_needed", sa.BigInteger, nullable=False),
        sa.UniqueConstraint("rank"),
        sa.CheckConstraint("length(currency) = 3", name="currency"),
        sa.CheckConstraint("discount_bps between 0 and 10000", name="discount"),
        sa.CheckConstraint(
            "rank >= 0 and yearly_fee_minor >= 0 and free_shipping_from_minor >= 0 and "
            "points_per_major_unit >= 0 and points_needed >= 0",
            name="not_negative",
        ),
    )


def cart() -> None:
    op.create_table(
        "cart",
        *record(),
        sa.Column("handle_sha256", ID, nullable=False),
        sa.Column("owner_subject", sa.String(300)),
        sa.Column("customer_id", ID, sa.ForeignKey("customer.id")),
        sa.Column("status", sa.String(32), nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("promotion_codes", JSON, nullable=False),
        sa.Column("ship_to", JSON),
        sa.Column("shipping_service", sa.String(200)),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("changed_at", TIME, nullable=False),
        sa.Column("expires_at", TIME, nullable=False),
        sa.UniqueConstraint("handle_sha256"),
        sa.CheckConstraint("length(currency) = 3", name="currency"),
        words("status", "active checkout converted abandoned expired"),
    )
    op.create_index("ix_cart_customer_id", "cart", ["customer_id"])
    op.create_index("ix_cart_expiring", "cart", ["status", "expires_at", "id"])
    unique_where("uq_cart_active", "cart", ["owner_subject"], "status = 'active'")


def promotion() -> None:
    op.create_table(
        "promotion",
        *record(),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("value", sa.BigInteger, nullable=False),
        sa.Column("currency", sa.String(3)),
        sa.Column("minimum_minor", sa.BigInteger),
        sa.Column("category", sa.String(200)),
        sa.Column("tier_id", ID, sa.ForeignKey("membership_tier.id")),
        sa.Column("starts_at", TIME),
        sa.Column("ends_at", TIME),
        sa.Column("most_uses", sa.BigInteger),
        sa.Column("most_uses_per_customer", sa.BigInteger),
        sa.Column("stackable", sa.Boolean, nullable=False),
        sa.Column("active", sa.Boolean, nullable=False),
        sa.CheckConstraint("kind != 'amount' or currency is not null", name="amount"),
        sa.CheckConstraint("id = upper(id)", name="capitals"),
        sa.CheckConstraint("length(currency) = 3", name="currency"),
        words("kind", "percent amount free_shipping"),
        sa.CheckConstraint("value >= 0 and minimum_minor >= 0", name="not_negative"),
        sa.CheckConstraint("kind != 'percent' or value <= 10000", name="percent"),
        sa.CheckConstraint("most_uses > 0 and most_uses_per_customer > 0", name="positive"),
        sa.CheckConstraint("ends_at > starts_at", name="span"),
    )


def cart_item() -> None:
    op.create_table(
        "cart_item",
        *record(),
        sa.Column("cart_id", ID, sa.ForeignKey("cart.id"), nullable=False),
        sa.Column("position", sa.BigInteger, nullable=False),
        sa.Column("sku", ID, sa.ForeignKey("variant.id"), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("quantity", sa.BigInteger, nullable=False),
        sa.Column("unit_price_minor", sa.BigInteger, nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("added_at", TIME, nullable=False),
        sa.UniqueConstraint("cart_id", "sku"),
        sa.CheckConstraint("length(currency) = 3", name="currency"),
        sa.CheckConstraint("position >= 0 and unit_price_minor >= 0", name="not_negative"),
        sa.CheckConstraint("quantity > 0", name="positive"),
    )
    op.create_index("ix_cart_item_sku", "cart_item", ["sku"])


def promotion_use() -> None:
    op.create_table(
        "promotion_use",
        *record(),
        sa.Column("promotion_id", ID, sa.ForeignKey("promotion.id"), nullable=False),
        sa.Column("order_id", ID, sa.ForeignKey("sales_order.id"), nullable=False),
        sa.Column("customer_id", ID, sa.ForeignKey("customer.id")),
        sa.Column("at", TIME, nullable=False),
        sa.UniqueConstraint("promotion_id", "order_id"),
    )
    op.create_index("ix_promotion_use_customer", "promotion_use", ["promotion_id", "customer_id"])
    op.create_index("ix_promotion_use_order_id", "promotion_use", ["order_id"])


def checkout() -> None:
    op.create_table(
        "checkout",
        *record(),
        sa.Column("cart_id", ID, sa.ForeignKey("cart.id"), nullable=False),
        sa.Column("customer_id", ID, sa.ForeignKey("customer.id")),
        sa.Column("state", sa.String(32), nullable=False),
        sa.Column("email", sa.String(254)),
        sa.Column("ship_to", JSON),
        sa.Column("shipping_service", sa.String(200)),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("subtotal_minor", sa.BigInteger, nullable=False),
        sa.Column("discount_minor", sa.BigInteger, nullable=False),
        sa.Column("shipping_minor", sa.BigInteger, nullable=False),
        sa.Column("tax_minor", sa.BigInteger, nullable=False),
        sa.Column("total_minor", sa.BigInteger, nullable=False),
        sa.Column("agreed", JSON, nullable=False),
        sa.Column("agreed_sha256", ID),
        sa.Column("method_id", ID, sa.ForeignKey("payment_method.id")),
        sa.Column("payment_id", ID, sa.ForeignKey("payment.id")),
        sa.Column("order_id", ID, sa.ForeignKey("sales_order.id")),
        sa.Column("failure_code", sa.String(32)),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("expires_at", TIME, nullable=False),
        sa.Column("completed_at", TIME),
        sa.UniqueConstraint("order_id"),
        sa.CheckConstraint("state != 'completed' or order_id is not null", name="completed"),
        sa.CheckConstraint("length(currency) = 3", name="currency"),
        sa.CheckConstraint(
            "subtotal_minor >= 0 and discount_minor >= 0 and shipping_minor >= 0 and tax_minor >="
            " 0 and total_minor >= 0",
            name="not_negative",
        ),
        words(
            "state",
            "incomplete requires_escalation ready_for_complete complete_in_progress completed "
            "canceled expired",
        ),
        sa.CheckConstraint(
            "subtotal_minor - discount_minor + shipping_minor + tax_minor = total_minor",
            name="total",
        ),
    )
    op.create_index("ix_checkout_cart_id", "checkout", ["cart_id"])
    op.create_index("ix_checkout_customer", "checkout", ["customer_id", "created_at", "id"])
    op.create_index("ix_checkout_expiring", "checkout", ["state", "expires_at", "id"])
    op.create_index("ix_checkout_payment_id", "checkout", ["payment_id"])
    unique_where(
        "uq_checkout_open",
        "checkout",
        ["cart_id"],
        "state in ('incomplete','requires_escalation','ready_for_complete','complete_in_progress')",
    )


def membership() -> None:
    op.create_table(
        "membership",
        *record(),
        sa.Column("customer_id", ID, sa.ForeignKey("customer.id"), nullable=False),
        sa.Column("tier_id", ID, sa.ForeignKey("membership_tier.id"), nullable=False),
        sa.Column("state", sa.String(32), nullable=False),
        sa.Column("points_account", sa.String(160), nullable=False),
        sa.Column("joined_at", TIME, nullable=False),
        sa.Column("renews_at", TIME),
        sa.Column("auto_renew", sa.Boolean, nullable=False),
        sa.Column("payment_id", ID, sa.ForeignKey("payment.id")),
        sa.Column("ended_at", TIME),
        sa.UniqueConstraint("customer_id"),
        words("state", "active lapsed cancelled"),
    )
    op.create_index("ix_membership_renewal", "membership", ["state", "renews_at", "id"])
    op.create_index("ix_membership_tier_id", "membership", ["tier_id"])
