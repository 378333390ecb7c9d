"""Catalogue and stock. Where units are, the units ledger says (common.rules.stock)."""

from datetime import date, datetime
from typing import Any, Final

from sqlalchemy import CheckConstraint, Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from common.tables.base import Base, Record
from common.tables.columns import (
    Currency,
    Name,
    Note,
    Ref,
    Word,
    a_currency,
    any_of,
    index_where,
    not_negative,
    on_earth,
    one_of,
    positive,
    to,
)

RESERVATION_STATES: Final = ("pending", "confirmed", "consumed", "released", "expired")
OPEN_RESERVATION: Final = any_of("state", ("pending", "confirmed"))
RESERVATION_SOURCES: Final = ("order", "checkout", "exchange", "claim", "transfer", "manual")
PURCHASE_STATES: Final = (
    "draft", "pending_approval", "approved", "sent", "acknowledged", "partially_received",
    "received", "closed", "cancelled",
)  # fmt: skip
COMING: Final = ("approved", "sent", "acknowledged", "partially_received")
OPEN_PURCHASE: Final = any_of("state", COMING)
RECEIPT_STATES: Final = ("open", "counted", "inspected", "putaway", "closed")
DISCREPANCIES: Final = ("over", "short", "damaged", "wrong_item", "expired")
TRANSFER_STATES: Final = (
    "draft", "approved", "picked", "in_transit", "partially_received", "received", "closed",
    "cancelled",
)  # fmt: skip
COUNT_STATES: Final = (
    "scheduled", "counting", "recount", "pending_approval", "posted", "cancelled",
)  # fmt: skip
ADJUSTMENT_REASONS: Final = (
    "found", "shrinkage", "theft", "damaged", "expired", "data_entry", "sample", "donation",
    "write_off", "count", "kit_build", "kit_break",
)  # fmt: skip
STOCK_STATUSES: Final = ("available", "quarantine", "damaged", "inspection", "refurbish")
LOT_STATES: Final = ("active", "quarantined", "recalled")


class Warehouse(Record):
    """Its id (``WH-1``) may hold no slash: it starts account codes."""

    __tablename__ = "warehouse"
    owner = "inventory"

    name: Mapped[Name]
    region: Mapped[str] = mapped_column(String(64), index=True)
    address: Mapped[dict[str, Any]]
    lat_e6: Mapped[int | None]
    lon_e6: Mapped[int | None]
    timezone: Mapped[str] = mapped_column(String(64), default="UTC")
    active: Mapped[bool] = mapped_column(default=True)

    __table_args__ = (on_earth(), CheckConstraint("id not like '%/%'", name="id"))


class Product(Record):
    __tablename__ = "product"
    owner = "inventory"

    name: Mapped[Name]
    description: Mapped[Note] = mapped_column(default="")
    category: Mapped[Name] = mapped_column(default="", index=True)
    brand: Mapped[Name] = mapped_column(default="")
    tax_class: Mapped[Word] = mapped_column(default="standard")
    final_sale: Mapped[bool] = mapped_column(default=False)
    # False: never sold again once it came back (hygiene, food).
    restockable: Mapped[bool] = mapped_column(default=True)
    active: Mapped[bool] = mapped_column(default=True)

    __table_args__ = (Index("ix_product_name", "name", "id"),)


class Variant(Record):
    """``id`` is the SKU, verbatim. Prices and costs in ``currency``."""

    __tablename__ = "variant"
    owner = "inventory"

    product_id: Mapped[str] = to("product")
    position: Mapped[int] = mapped_column(default=0)
    name: Mapped[Name]
    options: Mapped[dict[str, Any]] = mapped_column(default=dict)
    gtin: Mapped[str | None] = mapped_column(String(14), index=True)
    price_minor: Mapped[int]
    unit_cost_minor: Mapped[int | None]
    currency: Mapped[Currency]
    sellable: Mapped[bool] = mapped_column(default=True)
    weight_g: Mapped[int | None]
    length_mm: Mapped[int | None]
    width_mm: Mapped[int | None]
    height_mm: Mapped[int | None]
    lot_tracked: Mapped[bool] = mapped_column(default=False)
    hazmat: Mapped[bool] = mapped_column(default=False)
    abc_class: Mapped[str | None] = mapped_column(String(1))
    xyz_class: Mapped[str | None] = mapped_column(String(1))

    __table_args__ = (
        Index("ix_variant_product", "product_id", "position", "id"),
        not_negative("price_minor", "unit_cost_minor", "position"),
        positive("weight_g", "length_mm", "width_mm", "height_mm"),
        a_currency(),
        one_of("abc_class", ("A", "B", "C")),
        one_of("xyz_class", ("X", "Y", "Z")),
    )


class CatalogueStamp(Base):
    """Moved by triggers whenever products or variants change: what was cached before is dropped.
    The sum over its rows is the stamp."""

    __tablename__ = "catalogue_stamp"
    # Of whoever changes the catalogue: the trigger writes with the rights of that statement.
    owner = "*"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    changes: Mapped[int] = mapped_column(default=0)


class KitComponent(Record):
    """One kit is made of ``quantity`` of the component."""

    __tablename__ = "kit_component"
    owner = "inventory"

    kit_sku: Mapped[str] = to("variant")
    component_sku: Mapped[str] = to("variant", index=True)
    quantity: Mapped[int]

    __table_args__ = (
        UniqueConstraint("kit_sku", "component_sku"),
        positive("quantity"),
        CheckConstraint("kit_sku != component_sku", name="not_itself"),
    )


class Location(Record):
    """A bin. ``sku`` names the item that lives there, if one does."""

    __tablename__ = "location"
    owner = "inventory"

    warehouse_id: Mapped[str] = to("warehouse")
    code: Mapped[str] = mapped_column(String(64))
    zone: Mapped[Word] = mapped_column(default="")
    sku: Mapped[str | None] = to("variant", index=True)

    __table_args__ = (UniqueConstraint("warehouse_id", "code"),)


class Lot(Record):
    """``code`` is what is printed on the goods; the id stands in account codes."""

    __tablename__ = "lot"
    owner = "inventory"

    sku: Mapped[str] = to("variant")
    code: Mapped[str] = mapped_column(String(64))
    expires_on: Mapped[date | None]
    produced_on: Mapped[date | None]
    supplier_id: Mapped[str | None] = to("supplier")
    state: Mapped[Word] = mapped_column(default="active")
    received_at: Mapped[datetime | None]

    __table_args__ = (
        UniqueConstraint("sku", "code"),
        Index("ix_lot_expiry", "sku", "expires_on"),
        one_of("state", LOT_STATES),
        CheckConstraint("id not like '%/%'", name="id"),
    )


class Supplier(Record):
    __tablename__ = "supplier"
    owner = "inventory"

    name: Mapped[Name]
    contact: Mapped[Name] = mapped_column(default="")
    email: Mapped[str | None] = mapped_column(String(254))
    phone: Mapped[str | None] = mapped_column(String(40))
    address: Mapped[dict[str, Any]] = mapped_column(default=dict)
    currency: Mapped[Currency]
    active: Mapped[bool] = mapped_column(default=True)

    __table_args__ = (a_currency(),)


class SupplierItem(Record):
    """Terms of one supplier for one SKU. Lead times in thousandths of a day."""

    __tablename__ = "supplier_item"
    owner = "inventory"

    supplier_id: Mapped[str] = to("supplier")
    sku: Mapped[str] = to("variant", index=True)
    supplier_sku: Mapped[str | None] = mapped_column(String(64))
    unit_cost_minor: Mapped[int]
    currency: Mapped[Currency]
    minimum_order: Mapped[int] = mapped_column(default=1)
    pack_multiple: Mapped[int] = mapped_column(default=1)
    lead_time_millidays: Mapped[int]
    lead_time_sd_millidays: Mapped[int] = mapped_column(default=0)
    preferred: Mapped[bool] = mapped_column(default=False)

    __table_args__ = (
        UniqueConstraint("supplier_id", "sku"),
        positive("minimum_order", "pack_multiple"),
        not_negative("unit_cost_minor", "lead_time_millidays", "lead_time_sd_millidays"),
        a_currency(),
    )


class ReorderPolicy(Record):
    """How a SKU is bought for a warehouse. What is null is computed from demand."""

    __tablename__ = "reorder_policy"
    owner = "inventory"

    sku: Mapped[str] = to("variant")
    warehouse_id: Mapped[str] = to("warehouse", index=True)
    supplier_id: Mapped[str | None] = to("supplier")
    minimum: Mapped[int | None]
    maximum: Mapped[int | None]
    reorder_point: Mapped[int | None]
    safety_stock: Mapped[int | None]
    fill_rate_per_mille: Mapped[int] = mapped_column(default=970)
    service_level_per_mille: Mapped[int | None]
    review_days: Mapped[int] = mapped_column(default=1)
    order_cover_days: Mapped[int] = mapped_column(default=7)
    # No more is bought: the season or the product ends.
    ending: Mapped[bool] = mapped_column(default=False)

    __table_args__ = (
        UniqueConstraint("sku", "warehouse_id"),
        not_negative("minimum", "maximum", "reorder_point", "safety_stock"),
        positive("review_days", "order_cover_days"),
        CheckConstraint("maximum >= minimum", name="span"),
        CheckConstraint(
            "fill_rate_per_mille between 500 and 999"
            " and service_level_per_mille between 500 and 999",
            name="levels",
        ),
    )


class ItemCost(Record):
    """Moving average cost of a SKU in a warehouse, in millionths of a minor unit."""

    __tablename__ = "item_cost"
    owner = "inventory"

    sku: Mapped[str] = to("variant")
    warehouse_id: Mapped[str] = to("warehouse", index=True)
    average_cost_e6: Mapped[int]
    currency: Mapped[Currency]
    at: Mapped[datetime]

    __table_args__ = (
        UniqueConstraint("sku", "warehouse_id"), not_negative("average_cost_e6"), a_currency(),
    )  # fmt: skip


class PurchaseOrder(Record):
    __tablename__ = "purchase_order"
    owner = "inventory"

    supplier_id: Mapped[str] = to("supplier")
    warehouse_id: Mapped[str] = to("warehouse")
    state: Mapped[Word]
    currency: Mapped[Currency]
    total_minor: Mapped[int]
    reason: Mapped[Note] = mapped_column(default="")
    supplier_reference: Mapped[Name | None]
    created_at: Mapped[datetime]
    sent_at: Mapped[datetime | None]
    expected_at: Mapped[datetime | None]
    closed_at: Mapped[datetime | None]

    __table_args__ = (
        Index("ix_purchase_order_created", "created_at", "id"),
        index_where("ix_purchase_order_open", OPEN_PURCHASE, "created_at", "id"),
        Index("ix_purchase_order_by_state", "state", "created_at", "id"),
        Index("ix_purchase_order_house", "warehouse_id", "created_at", "id"),
        Index("ix_purchase_order_state", "state", "expected_at", "id"),
        Index("ix_purchase_order_supplier", "supplier_id", "created_at"),
        one_of("state", PURCHASE_STATES),
        not_negative("total_minor"),
        a_currency(),
    )


class PurchaseLine(Record):
    """``received`` are good units; ``over`` of them were not ordered; ``short`` will not come."""

    __tablename__ = "purchase_line"
    owner = "inventory"

    purchase_order_id: Mapped[str] = to("purchase_order")
    position: Mapped[int]
    sku: Mapped[str] = to("variant")
    ordered: Mapped[int]
    received: Mapped[int] = mapped_column(default=0)
    damaged: Mapped[int] = mapped_column(default=0)
    over: Mapped[int] = mapped_column(default=0)
    short: Mapped[int] = mapped_column(default=0)
    unit_cost_minor: Mapped[int]
    expected_at: Mapped[datetime | None]
    # False once nothing more is to come: what incoming stock is summed over.
    open: Mapped[bool] = mapped_column(default=True)
    # ``sku|warehouse|supplier`` of an order nobody forced, until it is sent: two such cannot be.
    draft_key: Mapped[str | None] = mapped_column(String(200), unique=True)

    __table_args__ = (
        UniqueConstraint("purchase_order_id", "position"),
        Index("ix_purchase_line_incoming", "sku", "open", "expected_at"),
        positive("ordered"),
        not_negative("received", "damaged", "over", "short", "unit_cost_minor", "position"),
        CheckConstraint("over <= received", name="over"),
    )


class Reservation(Record):
    """Units promised: a pending transfer with a source. An expiry passed counts as ``expired``
    even before the sweep writes it here; the ledger's state decides."""

    __tablename__ = "reservation"
    owner = "inventory"
    # Through common alone: placing, cancelling, exchanging, replacing and shipping.
    also_written_by = frozenset({"orders", "storefront", "returns", "claims", "logistics"})

    sku: Mapped[str] = to("variant")
    warehouse_id: Mapped[str] = to("warehouse")
    lot_id: Mapped[str | None] = to("lot", index=True)
    quantity: Mapped[int]
    state: Mapped[Word]
    source_type: Mapped[Word]
    source_id: Mapped[Ref]
    transfer_id: Mapped[str] = to("transfer", index=True)
    expires_at: Mapped[datetime | None]
    created_at: Mapped[datetime]
    closed_at: Mapped[datetime | None]

    __table_args__ = (
        Index("ix_reservation_source", "source_type", "source_id"),
        Index("ix_reservation_stock", "sku", "warehouse_id", "state"),
        index_where("ix_reservation_open", OPEN_RESERVATION, "created_at", "id"),
        Index("ix_reservation_created", "created_at", "id"),
        Index("ix_reservation_sku", "sku", "created_at", "id"),
        Index("ix_reservation_house", "warehouse_id", "created_at", "id"),
        Index("ix_reservation_state", "state", "expires_at", "id"),
        one_of("state", RESERVATION_STATES),
        one_of("source_type", RESERVATION_SOURCES),
        positive("quantity"),
    )
