"""Carriers, shipments, tracking, labels."""

import sqlalchemy as sa
from alembic import op

from deploy.migrations.parts import ID, JSON, TIME, append_only, record, unique_where, words

revision = "0005_logistics"
down_revision = "0004_orders"


def upgrade() -> None:
    carrier()
    manifest()
    rate_card()
    shipment()
    delivery_attempt()
    delivery_exception()
    parcel()
    proof_of_delivery()
    tracking_event()
    label()
    shipment_line()


def carrier() -> None:
    op.create_table(
        "carrier",
        *record(),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("dim_divisor", sa.BigInteger, nullable=False),
        sa.Column("own_fleet", sa.Boolean, nullable=False),
        sa.Column("phone", sa.String(40)),
        sa.Column("active", sa.Boolean, nullable=False),
        sa.CheckConstraint("dim_divisor >= 0", name="not_negative"),
    )


def manifest() -> None:
    op.create_table(
        "manifest",
        *record(),
        sa.Column("carrier_id", ID, sa.ForeignKey("carrier.id"), nullable=False),
        sa.Column("warehouse_id", ID, sa.ForeignKey("warehouse.id"), nullable=False),
        sa.Column("on_date", sa.Date, nullable=False),
        sa.Column("state", sa.String(32), nullable=False),
        sa.Column("closed_at", TIME),
        words("state", "open closed"),
    )
    op.create_index("ix_manifest_date", "manifest", ["on_date", "id"])
    unique_where(
        "uq_manifest_open",
        "manifest",
        ["carrier_id", "warehouse_id", "on_date"],
        "state = 'open'",
    )


def rate_card() -> None:
    op.create_table(
        "rate_card",
        *record(),
        sa.Column("carrier_id", ID, sa.ForeignKey("carrier.id"), nullable=False),
        sa.Column("service", sa.String(32), nullable=False),
        sa.Column("destination", sa.String(80), nullable=False),
        sa.Column("max_weight_g", sa.BigInteger, nullable=False),
        sa.Column("base_minor", sa.BigInteger, nullable=False),
        sa.Column("per_kg_minor", sa.BigInteger, nullable=False),
        sa.Column("fuel_bps", sa.BigInteger, nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("transit_days_min", sa.BigInteger, nullable=False),
        sa.Column("transit_days_max", sa.BigInteger, nullable=False),
        sa.Column("cutoff_minute", sa.BigInteger, nullable=False),
        sa.Column("valid_from", sa.Date, nullable=False),
        sa.Column("valid_until", sa.Date),
        sa.UniqueConstraint("carrier_id", "service", "destination", "max_weight_g", "valid_from"),
        sa.CheckConstraint("length(currency) = 3", name="currency"),
        sa.CheckConstraint("cutoff_minute between 0 and 1439", name="cutoff"),
        sa.CheckConstraint(
            "base_minor >= 0 and per_kg_minor >= 0 and fuel_bps >= 0 and transit_days_min >= 0",
            name="not_negative",
        ),
        sa.CheckConstraint("max_weight_g > 0", name="positive"),
        sa.CheckConstraint("transit_days_max >= transit_days_min", name="transit"),
    )


def shipment() -> None:
    op.create_table(
        "shipment",
        *record(),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("order_id", ID, sa.ForeignKey("sales_order.id")),
        sa.Column("warehouse_id", ID, sa.ForeignKey("warehouse.id")),
        sa.Column("status", sa.String(32), nullable=False),
        sa.Column("status_at", TIME, nullable=False),
        sa.Column("exception_kind", sa.String(32)),
        sa.Column("attempts", sa.BigInteger, nullable=False),
        sa.Column("ship_to", JSON, nullable=False),
        sa.Column("lat_e6", sa.BigInteger),
        sa.Column("lon_e6", sa.BigInteger),
        sa.Column("carrier_id", ID, sa.ForeignKey("carrier.id")),
        sa.Column("service", sa.String(32)),
        sa.Column("tracking_number", ID),
        sa.Column("tracking_validated", sa.Boolean, nullable=False),
        sa.Column("weight_g", sa.BigInteger, nullable=False),
        sa.Column("volume_cm3", sa.BigInteger, nullable=False),
        sa.Column("skills", JSON, nullable=False),
        sa.Column("service_seconds", sa.BigInteger, nullable=False),
        sa.Column("priority", sa.BigInteger, nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("cost_minor", sa.BigInteger),
        sa.Column("declared_value_minor", sa.BigInteger, nullable=False),
        sa.Column("delivery_code_sha256", ID),
        sa.Column("window_opens_at", TIME),
        sa.Column("window_closes_at", TIME),
        sa.Column("ship_by", TIME),
        sa.Column("promised_at", TIME),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("shipped_at", TIME),
        sa.Column("delivered_at", TIME),
        sa.CheckConstraint("length(currency) = 3", name="currency"),
        sa.CheckConstraint("status != 'delivered' or delivered_at is not null", name="delivered"),
        sa.CheckConstraint(
            "(status = 'exception') = (exception_kind is not null)", name="exception"
        ),
        words("exception_kind", "address weather damage refused customs"),
        words("kind", "outbound return replacement"),
        sa.CheckConstraint(
            "attempts >= 0 and weight_g >= 0 and volume_cm3 >= 0 and service_seconds >= 0 and "
            "cost_minor >= 0 and declared_value_minor >= 0",
            name="not_negative",
        ),
        sa.CheckConstraint(
            "lat_e6 between -90000000 and 90000000 and lon_e6 between -180000000 and 180000000",
            name="on_earth",
        ),
        sa.CheckConstraint("priority between 1 and 10", name="priority"),
        words(
            "status",
            "created planned label_created tendered picked_up in_transit out_for_delivery "
            "delivered attempted exception held returned_to_sender lost cancelled",
        ),
        sa.CheckConstraint("window_closes_at >= window_opens_at", name="window"),
    )
    op.create_index("ix_shipment_carrier", "shipment", ["carrier_id", "created_at"])
    op.create_index("ix_shipment_created", "shipment", ["created_at", "id"])
    op.create_index("ix_shipment_order_id", "shipment", ["order_id"])
    op.create_index("ix_shipment_status", "shipment", ["status", "promised_at", "id"])
    op.create_index("ix_shipment_tracking_number", "shipment", ["tracking_number"])
    op.create_index(
        "ix_shipment_warehouse", "shipment", ["warehouse_id", "status", "ship_by", "id"]
    )


def delivery_attempt() -> None:
    op.create_table(
        "delivery_attempt",
        *record(),
        sa.Column("shipment_id", ID, sa.ForeignKey("shipment.id"), nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("reason", sa.String(32), nullable=False),
        sa.Column("note", sa.String(2000), nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.Column("next_attempt_on", sa.Date),
        sa.UniqueConstraint("shipment_id", "number"),
        sa.CheckConstraint("number > 0", name="positive"),
        words("reason", "nobody_home refused no_access wrong_address closed other"),
    )


def delivery_exception() -> None:
    op.create_table(
        "delivery_exception",
        *record(),
        sa.Column("shipment_id", ID, sa.ForeignKey("shipment.id"), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("detail", sa.String(2000), nullable=False),
        sa.Column("opened_at", TIME, nullable=False),
        sa.Column("resolved_at", TIME),
        sa.Column("resolution", sa.String(2000)),
        words("kind", "address weather damage refused customs"),
    )
    op.create_index(
        "ix_delivery_exception_open", "delivery_exception", ["resolved_at", "opened_at", "id"]
    )
    op.create_index("ix_delivery_exception_shipment_id", "delivery_exception", ["shipment_id"])
    unique_where(
        "uq_delivery_exception_open",
        "delivery_exception",
        ["shipment_id", "kind"],
        "resolved_at is null",
    )


def parcel() -> None:
    op.create_table(
        "parcel",
        *record(),
        sa.Column("shipment_id", ID, sa.ForeignKey("shipment.id"), nullable=False),
        sa.Column("position", sa.BigInteger, nullable=False),
        sa.Column("weight_g", sa.BigInteger, nullable=False),
        sa.Column("length_mm", sa.BigInteger),
        sa.Column("width_mm", sa.BigInteger),
        sa.Column("height_mm", sa.BigInteger),
        sa.Column("dim_weight_g", sa.BigInteger, nullable=False),
        sa.Column("billed_weight_g", sa.BigInteger, nullable=False),
        sa.Column("tracking_number", ID),
        sa.Column("sscc", sa.String(18)),
        sa.UniqueConstraint("shipment_id", "position"),
        sa.CheckConstraint(
            "position >= 0 and weight_g >= 0 and dim_weight_g >= 0 and billed_weight_g >= 0",
            name="not_negative",
        ),
        sa.CheckConstraint("length_mm > 0 and width_mm > 0 and height_mm > 0", name="positive"),
    )
    op.create_index("ix_parcel_tracking_number", "parcel", ["tracking_number"])


def proof_of_delivery() -> None:
    op.create_table(
        "proof_of_delivery",
        *record(),
        sa.Column("shipment_id", ID, sa.ForeignKey("shipment.id"), nullable=False),
        sa.Column("received_by", sa.String(200), nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.Column("lat_e6", sa.BigInteger),
        sa.Column("lon_e6", sa.BigInteger),
        sa.Column("photo_sha256", ID),
        sa.Column("signature_sha256", ID),
        sa.Column("code_verified", sa.Boolean, nullable=False),
        sa.Column("left_safe", sa.String(200)),
        sa.Column("damage_noted", sa.Boolean, nullable=False),
        sa.Column("condition_note", sa.String(2000), nullable=False),
        sa.Column("recorded_by", sa.String(300), nullable=False),
        sa.UniqueConstraint("shipment_id"),
        sa.CheckConstraint(
            "lat_e6 between -90000000 and 90000000 and lon_e6 between -180000000 and 180000000",
            name="on_earth",
        ),
    )


def tracking_event() -> None:
    op.create_table(
        "tracking_event",
        *record(),
        sa.Column("shipment_id", ID, sa.ForeignKey("shipment.id"), nullable=False),
        sa.Column("source", sa.String(32), nullable=False),
        sa.Column("source_event_id", sa.String(200), nullable=False),
        sa.Column("status", sa.String(32), nullable=False),
        sa.Column("occurred_at", TIME, nullable=False),
        sa.Column("received_at", TIME, nullable=False),
        sa.Column("place", sa.String(200), nullable=False),
        sa.Column("detail", sa.String(2000), nullable=False),
        sa.Column("applied", sa.Boolean, nullable=False),
        sa.UniqueConstraint("shipment_id", "source_event_id"),
        words(
            "status",
            "created planned label_created tendered picked_up in_transit out_for_delivery "
            "delivered attempted exception held returned_to_sender lost cancelled",
        ),
    )
    op.create_index(
        "ix_tracking_event_shipment", "tracking_event", ["shipment_id", "occurred_at", "id"]
    )
    append_only("tracking_event")


def label() -> None:
    op.create_table(
        "label",
        *record(),
        sa.Column("shipment_id", ID, sa.ForeignKey("shipment.id"), nullable=False),
        sa.Column("parcel_id", ID, sa.ForeignKey("parcel.id")),
        sa.Column("carrier_id", ID, sa.ForeignKey("carrier.id")),
        sa.Column("service", sa.String(32)),
        sa.Column("state", sa.String(32), nullable=False),
        sa.Column("tracking_number", ID),
        sa.Column("cost_minor", sa.BigInteger),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("provider_reference", ID),
        sa.Column("manifest_id", ID, sa.ForeignKey("manifest.id")),
        sa.Column("document", sa.String(200000)),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("voided_at", TIME),
        sa.CheckConstraint("length(currency) = 3", name="currency"),
        sa.CheckConstraint("cost_minor >= 0", name="not_negative"),
        words("state", "pending purchased voiding voided failed"),
    )
    op.create_index("ix_label_manifest_id", "label", ["manifest_id"])
    op.create_index("ix_label_shipment_id", "label", ["shipment_id"])
    op.create_index("ix_label_tracking_number", "label", ["tracking_number"])
    unique_where(
        "uq_label_live",
        "label",
        ["parcel_id"],
        "state in ('pending','purchased','voiding')",
    )


def shipment_line() -> None:
    op.create_table(
        "shipment_line",
        *record(),
        sa.Column("shipment_id", ID, sa.ForeignKey("shipment.id"), nullable=False),
        sa.Column("order_line_id", ID, sa.ForeignKey("order_line.id")),
        sa.Column("parcel_id", ID, sa.ForeignKey("parcel.id")),
        sa.Column("sku", ID, sa.ForeignKey("variant.id"), nullable=False),
        sa.Column("lot_id", ID, sa.ForeignKey("lot.id")),
        sa.Column("quantity", sa.BigInteger, nullable=False),
        sa.CheckConstraint("quantity > 0", name="positive"),
    )
    op.create_index("ix_shipment_line_lot_id", "shipment_line", ["lot_id"])
    op.create_index("ix_shipment_line_order_line_id", "shipment_line", ["order_line_id"])
    op.create_index("ix_shipment_line_shipment_id", "shipment_line", ["shipment_id"])
    op.create_index("ix_shipment_line_sku", "shipment_line", ["sku"])
