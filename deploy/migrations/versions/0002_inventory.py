"""Catalogue, suppliers, purchase orders, reservations."""

import sqlalchemy as sa
from alembic import op

from deploy.migrations.parts import ID, JSON, TIME, record, words

revision = "0002_inventory"
down_revision = "0001_spine"


def upgrade() -> None:
    product()
    supplier()
    warehouse()
    purchase_order()
    variant()
    item_cost()
    kit_component()
    location()
    lot()
    purchase_line()
    reorder_policy()
    supplier_item()
    reservation()


def product() -> None:
    op.create_table(
        "product",
        *record(),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("description", sa.String(2000), nullable=False),
        sa.Column("category", sa.String(200), nullable=False),
        sa.Column("brand", sa.String(200), nullable=False),
        sa.Column("tax_class", sa.String(32), nullable=False),
        sa.Column("final_sale", sa.Boolean, nullable=False),
        sa.Column("restockable", sa.Boolean, nullable=False),
        sa.Column("active", sa.Boolean, nullable=False),
    )
    op.create_index("ix_product_category", "product", ["category"])
    op.create_index("ix_product_name", "product", ["name", "id"])


def supplier() -> None:
    op.create_table(
        "supplier",
        *record(),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("contact", sa.String(200), nullable=False),
        sa.Column("email", sa.String(254)),
        sa.Column("phone", sa.String(40)),
        sa.Column("address", JSON, nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("active", sa.Boolean, nullable=False),
        sa.CheckConstraint("length(currency) = 3", name="currency"),
    )


def warehouse() -> None:
    op.create_table(
        "warehouse",
        *record(),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("region", ID, nullable=False),
        sa.Column("address", JSON, nullable=False),
        sa.Column("lat_e6", sa.BigInteger),
        sa.Column("lon_e6", sa.BigInteger),
        sa.Column("timezone", ID, nullable=False),
        sa.Column("active", sa.Boolean, nullable=False),
        sa.CheckConstraint("id not like '%/%'", name="id"),
        sa.CheckConstraint(
            "lat_e6 between -90000000 and 90000000 and lon_e6 between -180000000 and 180000000",
            name="on_earth",
        ),
    )
    op.create_index("ix_warehouse_region", "warehouse", ["region"])


def purchase_order() -> None:
    op.create_table(
        "purchase_order",
        *record(),
        sa.Column("supplier_id", ID, sa.ForeignKey("supplier.id"), nullable=False),
        sa.Column("warehouse_id", ID, sa.ForeignKey("warehouse.id"), nullable=False),
        sa.Column("state", sa.String(32), nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("total_minor", sa.BigInteger, nullable=False),
        sa.Column("reason", sa.String(2000), nullable=False),
        sa.Column("supplier_reference", sa.String(200)),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("sent_at", TIME),
        sa.Column("expected_at", TIME),
        sa.Column("closed_at", TIME),
        sa.CheckConstraint("length(currency) = 3", name="currency"),
        sa.CheckConstraint("total_minor >= 0", name="not_negative"),
        words(
            "state",
            "draft pending_approval approved sent acknowledged partially_received received closed"
            " cancelled",
        ),
    )
    op.create_index("ix_purchase_order_created", "purchase_order", ["created_at", "id"])
    op.create_index("ix_purchase_order_state", "purchase_order", ["state", "expected_at", "id"])
    op.create_index("ix_purchase_order_supplier", "purchase_order", ["supplier_id", "created_at"])


def variant() -> None:
    op.create_table(
        "variant",
        *record(),
        sa.Column("product_id", ID, sa.ForeignKey("product.id"), nullable=False),
        sa.Column("position", sa.BigInteger, nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("options", JSON, nullable=False),
        sa.Column("gtin", sa.String(14)),
        sa.Column("price_minor", sa.BigInteger, nullable=False),
        sa.Column("unit_cost_minor", sa.BigInteger),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("sellable", sa.Boolean, nullable=False),
        sa.Column("weight_g", sa.BigInteger),
        sa.Column("length_mm", sa.BigInteger),
        sa.Column("width_mm", sa.BigInteger),
        sa.Column("height_mm", sa.BigInteger),
        sa.Column("lot_tracked", sa.Boolean, nullable=False),
        sa.Column("hazmat", sa.Boolean, nullable=False),
        sa.Column("abc_class", sa.String(1)),
        sa.Column("xyz_class", sa.String(1)),
        words("abc_class", "A B C"),
        sa.CheckConstraint("length(currency) = 3", name="currency"),
        sa.CheckConstraint(
            "price_minor >= 0 and unit_cost_minor >= 0 and position >= 0", name="not_negative"
        ),
        sa.CheckConstraint(
            "weight_g > 0 and length_mm > 0 and width_mm > 0 and height_mm > 0", name="positive"
        ),
        words("xyz_class", "X Y Z"),
    )
    op.create_index("ix_variant_gtin", "variant", ["gtin"])
    op.create_index("ix_variant_product", "variant", ["product_id", "position", "id"])


def item_cost() -> None:
    op.create_table(
        "item_cost",
        *record(),
        sa.Column("sku", ID, sa.ForeignKey("variant.id"), nullable=False),
        sa.Column("warehouse_id", ID, sa.ForeignKey("warehouse.id"), nullable=False),
        sa.Column("average_cost_e6", sa.BigInteger, nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.UniqueConstraint("sku", "warehouse_id"),
        sa.CheckConstraint("length(currency) = 3", name="currency"),
        sa.CheckConstraint("average_cost_e6 >= 0", name="not_negative"),
    )
    op.create_index("ix_item_cost_warehouse_id", "item_cost", ["warehouse_id"])


def kit_component() -> None:
    op.create_table(
        "kit_component",
        *record(),
        sa.Column("kit_sku", ID, sa.ForeignKey("variant.id"), nullable=False),
        sa.Column("component_sku", ID, sa.ForeignKey("variant.id"), nullable=False),
        sa.Column("quantity", sa.BigInteger, nullable=False),
        sa.UniqueConstraint("kit_sku", "component_sku"),
        sa.CheckConstraint("kit_sku != component_sku", name="not_itself"),
        sa.CheckConstraint("quantity > 0", name="positive"),
    )
    op.create_index("ix_kit_component_component_sku", "kit_component", ["component_sku"])


def location() -> None:
    op.create_table(
        "location",
        *record(),
        sa.Column("warehouse_id", ID, sa.ForeignKey("warehouse.id"), nullable=False),
        sa.Column("code", ID, nullable=False),
        sa.Column("zone", sa.String(32), nullable=False),
        sa.Column("sku", ID, sa.ForeignKey("variant.id")),
        sa.UniqueConstraint("warehouse_id", "code"),
    )
    op.create_index("ix_location_sku", "location", ["sku"])


def lot() -> None:
    op.create_table(
        "lot",
        *record(),
        sa.Column("sku", ID, sa.ForeignKey("variant.id"), nullable=False),
        sa.Column("code", ID, nullable=False),
        sa.Column("expires_on", sa.Date),
        sa.Column("produced_on", sa.Date),
        sa.Column("supplier_id", ID, sa.ForeignKey("supplier.id")),
        sa.Column("state", sa.String(32), nullable=False),
        sa.Column("received_at", TIME),
        sa.UniqueConstraint("sku", "code"),
        sa.CheckConstraint("id not like '%/%'", name="id"),
        words("state", "active quarantined recalled"),
    )
    op.create_index("ix_lot_expiry", "lot", ["sku", "expires_on"])


def purchase_line() -> None:
    op.create_table(
        "purchase_line",
        *record(),
        sa.Column("purchase_order_id", ID, sa.ForeignKey("purchase_order.id"), nullable=False),
        sa.Column("position", sa.BigInteger, nullable=False),
        sa.Column("sku", ID, sa.ForeignKey("variant.id"), nullable=False),
        sa.Column("ordered", sa.BigInteger, nullable=False),
        sa.Column("received", sa.BigInteger, nullable=False),
        sa.Column("damaged", sa.BigInteger, nullable=False),
        sa.Column("over", sa.BigInteger, nullable=False),
        sa.Column("short", sa.BigInteger, nullable=False),
        sa.Column("unit_cost_minor", sa.BigInteger, nullable=False),
        sa.Column("expected_at", TIME),
        sa.Column("open", sa.Boolean, nullable=False),
        sa.Column("draft_key", sa.String(200)),
        sa.UniqueConstraint("draft_key"),
        sa.UniqueConstraint("purchase_order_id", "position"),
        sa.CheckConstraint(
            "received >= 0 and damaged >= 0 and over >= 0 and short >= 0 and unit_cost_minor >= 0"
            " and position >= 0",
            name="not_negative",
        ),
        sa.CheckConstraint("over <= received", name="over"),
        sa.CheckConstraint("ordered > 0", name="positive"),
    )
    op.create_index("ix_purchase_line_incoming", "purchase_line", ["sku", "open", "expected_at"])


def reorder_policy() -> None:
    op.create_table(
        "reorder_policy",
        *record(),
        sa.Column("sku", ID, sa.ForeignKey("variant.id"), nullable=False),
        sa.Column("warehouse_id", ID, sa.ForeignKey("warehouse.id"), nullable=False),
        sa.Column("supplier_id", ID, sa.ForeignKey("supplier.id")),
        sa.Column("minimum", sa.BigInteger),
        sa.Column("maximum", sa.BigInteger),
        sa.Column("reorder_point", sa.BigInteger),
        sa.Column("safety_stock", sa.BigInteger),
        sa.Column("fill_rate_per_mille", sa.BigInteger, nullable=False),
        sa.Column("service_level_per_mille", sa.BigInteger),
        sa.Column("review_days", sa.BigInteger, nullable=False),
        sa.Column("order_cover_days", sa.BigInteger, nullable=False),
        sa.Column("ending", sa.Boolean, nullable=False),
        sa.UniqueConstraint("sku", "warehouse_id"),
        sa.CheckConstraint(
            "fill_rate_per_mille between 500 and 999 and service_level_per_mille between 500 and "
            "999",
            name="levels",
        ),
        sa.CheckConstraint(
            "minimum >= 0 and maximum >= 0 and reorder_point >= 0 and safety_stock >= 0",
            name="not_negative",
        ),
        sa.CheckConstraint("review_days > 0 and order_cover_days > 0", name="positive"),
        sa.CheckConstraint("maximum >= minimum", name="span"),
    )
    op.create_index("ix_reorder_policy_warehouse_id", "reorder_policy", ["warehouse_id"])


def supplier_item() -> None:
    op.create_table(
        "supplier_item",
        *record(),
        sa.Column("supplier_id", ID, sa.ForeignKey("supplier.id"), nullable=False),
        sa.Column("sku", ID, sa.ForeignKey("variant.id"), nullable=False),
        sa.Column("supplier_sku", ID),
        sa.Column("unit_cost_minor", sa.BigInteger, nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("minimum_order", sa.BigInteger, nullable=False),
        sa.Column("pack_multiple", sa.BigInteger, nullable=False),
        sa.Column("lead_time_millidays", sa.BigInteger, nullable=False),
        sa.Column("lead_time_sd_millidays", sa.BigInteger, nullable=False),
        sa.Column("preferred", sa.Boolean, nullable=False),
        sa.UniqueConstraint("supplier_id", "sku"),
        sa.CheckConstraint("length(currency) = 3", name="currency"),
        sa.CheckConstraint(
            "unit_cost_minor >= 0 and lead_time_millidays >= 0 and lead_time_sd_millidays >= 0",
            name="not_negative",
        ),
        sa.CheckConstraint("minimum_order > 0 and pack_multiple > 0", name="positive"),
    )
    op.create_index("ix_supplier_item_sku", "supplier_item", ["sku"])


def reservation() -> None:
    op.create_table(
        "reservation",
        *record(),
        sa.Column("sku", ID, sa.ForeignKey("variant.id"), nullable=False),
        sa.Column("warehouse_id", ID, sa.ForeignKey("warehouse.id"), nullable=False),
        sa.Column("lot_id", ID, sa.ForeignKey("lot.id")),
        sa.Column("quantity", sa.BigInteger, nullable=False),
        sa.Column("state", sa.String(32), nullable=False),
        sa.Column("source_type", sa.String(32), nullable=False),
        sa.Column("source_id", ID, nullable=False),
        sa.Column("transfer_id", ID, sa.ForeignKey("transfer.id"), nullable=False),
        sa.Column("expires_at", TIME),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("closed_at", TIME),
        sa.CheckConstraint("quantity > 0", name="positive"),
        words("source_type", "order checkout exchange claim transfer manual"),
        words("state", "pending confirmed consumed released expired"),
    )
    op.create_index("ix_reservation_lot_id", "reservation", ["lot_id"])
    op.create_index("ix_reservation_source", "reservation", ["source_type", "source_id"])
    op.create_index("ix_reservation_state", "reservation", ["state", "expires_at", "id"])
    op.create_index("ix_reservation_stock", "reservation", ["sku", "warehouse_id", "state"])
    op.create_index("ix_reservation_transfer_id", "reservation", ["transfer_id"])
