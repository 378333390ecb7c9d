"""Shipments from the shop's door to the customer's, and who carries them."""

from datetime import date, datetime
from typing import Any, Final

from sqlalchemy import CheckConstraint, Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from common.tables import inventory, orders  # noqa: F401 - its foreign keys name them
from common.tables.base import Record
from common.tables.columns import (
    Currency,
    Digest,
    Name,
    Note,
    Person,
    Ref,
    Word,
    a_currency,
    index_where,
    none_of,
    not_negative,
    on_earth,
    one_of,
    positive,
    to,
    unique_where,
)

SHIPMENT_STATUSES: Final = (
    "created", "planned", "label_created", "tendered", "picked_up", "in_transit",
    "out_for_delivery", "delivered", "attempted", "exception", "held", "returned_to_sender",
    "lost", "cancelled",
)  # fmt: skip
SHIPMENT_OVER: Final = ("delivered", "returned_to_sender", "lost", "cancelled")
OPEN_SHIPMENT: Final = none_of("status", SHIPMENT_OVER)
# The carrier took more for the label than its contract says.
OVERCHARGED: Final = "cost_minor > agreed_minor and state <> 'voided'"
DAMAGED: Final = "damage_noted"
SHIPMENT_KINDS: Final = ("outbound", "return", "replacement")
EXCEPTION_KINDS: Final = ("address", "weather", "damage", "refused", "customs")
ATTEMPT_REASONS: Final = ("nobody_home", "refused", "no_access", "wrong_address", "closed", "other")
LABEL_STATES: Final = ("pending", "purchased", "voiding", "voided", "failed")
MANIFEST_STATES: Final = ("open", "closed")
PICKUP_STATES: Final = ("requested", "confirmed", "failed", "cancelled")


class Carrier(Record):
    """``dim_divisor``: cm³ a kg of dimensional weight; 0 for none. ``connection`` names how the
    carrier is reached (``simulator``); without one its labels are bought by hand."""

    __tablename__ = "carrier"
    owner = "logistics"

    name: Mapped[Name]
    dim_divisor: Mapped[int] = mapped_column(default=5_000)
    own_fleet: Mapped[bool] = mapped_column(default=False)
    connection: Mapped[Word | None]
    phone: Mapped[str | None] = mapped_column(String(40))
    active: Mapped[bool] = mapped_column(default=True)

    __table_args__ = (not_negative("dim_divisor"),)


class RateCard(Record):
    """Price of one service of a carrier for parcels up to a weight. ``destination`` is a country,
    ``country/postal prefix``, or ``*``; the longest that fits applies."""

    __tablename__ = "rate_card"
    owner = "logistics"

    carrier_id: Mapped[str] = to("carrier")
    service: Mapped[Word]
    destination: Mapped[str] = mapped_column(String(80), default="*")
    max_weight_g: Mapped[int]
    base_minor: Mapped[int]
    per_kg_minor: Mapped[int] = mapped_column(default=0)
    fuel_bps: Mapped[int] = mapped_column(default=0)
    currency: Mapped[Currency]
    transit_days_min: Mapped[int]
    transit_days_max: Mapped[int]
    # Minutes after local midnight at the warehouse; later parcels leave the next day.
    cutoff_minute: Mapped[int] = mapped_column(default=960)
    valid_from: Mapped[date]
    valid_until: Mapped[date | None]

    __table_args__ = (
        UniqueConstraint("carrier_id", "service", "destination", "max_weight_g", "valid_from"),
        positive("max_weight_g"),
        not_negative("base_minor", "per_kg_minor", "fuel_bps", "transit_days_min"),
        CheckConstraint("transit_days_max >= transit_days_min", name="transit"),
        CheckConstraint("cutoff_minute between 0 and 1439", name="cutoff"),
        a_currency(),
    )


class Shipment(Record):
    """Without a carrier the shop's own vans bring it. ``ship_to`` is where it goes: for a return,
    the warehouse's address. Times of the window are moments, not times of day."""

    __tablename__ = "shipment"
    owner = "logistics"
    # Release to fulfilment, and return labels, through common.
    also_written_by = frozenset({"orders", "returns"})

    kind: Mapped[Word] = mapped_column(default="outbound")
    order_id: Mapped[str | None] = to("sales_order", index=True)
    warehouse_id: Mapped[str | None] = to("warehouse")
    status: Mapped[Word] = mapped_column(default="created")
    status_at: Mapped[datetime]
    exception_kind: Mapped[Word | None]
    attempts: Mapped[int] = mapped_column(default=0)
    ship_to: Mapped[dict[str, Any]]
    lat_e6: Mapped[int | None]
    lon_e6: Mapped[int | None]
    carrier_id: Mapped[str | None] = to("carrier")
    service: Mapped[Word | None]
    tracking_number: Mapped[str | None] = mapped_column(String(64), index=True)
    # Whether the number's check digit is known and right.
    tracking_validated: Mapped[bool] = mapped_column(default=False)
    weight_g: Mapped[int] = mapped_column(default=0)
    volume_cm3: Mapped[int] = mapped_column(default=0)
    skills: Mapped[list[str]] = mapped_column(default=list)
    service_seconds: Mapped[int] = mapped_column(default=300)
    priority: Mapped[int] = mapped_column(default=1)
    currency: Mapped[Currency]
    cost_minor: Mapped[int | None]
    declared_value_minor: Mapped[int] = mapped_column(default=0)
    # Proof of delivery asks for this code (its SHA-256), if set.
    delivery_code_sha256: Mapped[Digest | None]
    window_opens_at: Mapped[datetime | None]
    window_closes_at: Mapped[datetime | None]
    ship_by: Mapped[datetime | None]
    promised_at: Mapped[datetime | None]
    created_at: Mapped[datetime]
    shipped_at: Mapped[datetime | None]
    delivered_at: Mapped[datetime | None]

    __table_args__ = (
        Index("ix_shipment_created", "created_at", "id"),
        index_where("ix_shipment_open", OPEN_SHIPMENT, "created_at", "id"),
        Index("ix_shipment_by_status", "status", "created_at", "id"),
        Index("ix_shipment_by_house", "warehouse_id", "created_at", "id"),
        Index("ix_shipment_status_house", "status", "warehouse_id", "created_at", "id"),
        Index("ix_shipment_status_carrier", "status", "carrier_id", "created_at", "id"),
        Index("ix_shipment_promised", "promised_at", "id"),
        Index("ix_shipment_status", "status", "promised_at", "id"),
        Index("ix_shipment_warehouse", "warehouse_id", "status", "ship_by", "id"),
        Index("ix_shipment_carrier", "carrier_id", "created_at"),
        one_of("kind", SHIPMENT_KINDS),
        one_of("status", SHIPMENT_STATUSES),
        one_of("exception_kind", EXCEPTION_KINDS),
        not_negative(
            "attempts", "weight_g", "volume_cm3", "service_seconds", "cost_minor",
            "declared_value_minor",
        ),
        CheckConstraint("priority between 1 and 10", name="priority"),
        CheckConstraint("window_closes_at >= window_opens_at", name="window"),
        CheckConstraint("(status = 'exception') = (exception_kind is not null)", name="exception"),
        CheckConstraint("status != 'delivered' or delivered_at is not null", name="delivered"),
        on_earth(),
        a_currency(),
    )  # fmt: skip


class Parcel(Record):
    """``billed_weight_g`` is the larger of real and dimensional weight."""

    __tablename__ = "parcel"
    owner = "logistics"
    also_written_by = frozenset({"orders", "returns"})  # With its shipment.

    shipment_id: Mapped[str] = to("shipment")
    position: Mapped[int]
    weight_g: Mapped[int]
    length_mm: Mapped[int | None]
    width_mm: Mapped[int | None]
    height_mm: Mapped[int | None]
    dim_weight_g: Mapped[int] = mapped_column(default=0)
    billed_weight_g: Mapped[int] = mapped_column(default=0)
    tracking_number: Mapped[str | None] = mapped_column(String(64), index=True)
    sscc: Mapped[str | None] = mapped_column(String(18))

    __table_args__ = (
        UniqueConstraint("shipment_id", "position"),
        not_negative("position", "weight_g", "dim_weight_g", "billed_weight_g"),
        positive("length_mm", "width_mm", "height_mm"),
    )


class ShipmentLine(Record):
    """What is inside; the lot says whom a recall concerns."""

    __tablename__ = "shipment_line"
    owner = "logistics"
    also_written_by = frozenset({"orders", "returns"})  # With its shipment.

    shipment_id: Mapped[str] = to("shipment", index=True)
    order_line_id: Mapped[str | None] = to("order_line", index=True)
    parcel_id: Mapped[str | None] = to("parcel")
    sku: Mapped[str] = to("variant", index=True)
    lot_id: Mapped[str | None] = to("lot", index=True)
    quantity: Mapped[int]

    __table_args__ = (positive("quantity"),)


class TrackingEvent(Record):
    """Append-only. ``applied``: it advanced the status; late and repeated ones do not."""

    __tablename__ = "tracking_event"
    owner = "logistics"

    shipment_id: Mapped[str] = to("shipment")
    source: Mapped[Word]
    source_event_id: Mapped[Name]
    status: Mapped[Word]
    occurred_at: Mapped[datetime]
    received_at: Mapped[datetime]
    place: Mapped[Name] = mapped_column(default="")
    detail: Mapped[Note] = mapped_column(default="")
    applied: Mapped[bool]

    __table_args__ = (
        UniqueConstraint("shipment_id", "source_event_id"),
        Index("ix_tracking_event_shipment", "shipment_id", "occurred_at", "id"),
        one_of("status", SHIPMENT_STATUSES),
    )


class DeliveryAttempt(Record):
    __tablename__ = "delivery_attempt"
    owner = "logistics"

    shipment_id: Mapped[str] = to("shipment")
    number: Mapped[int]
    reason: Mapped[Word]
    note: Mapped[Note] = mapped_column(default="")
    at: Mapped[datetime]
    next_attempt_on: Mapped[date | None]

    __table_args__ = (
        UniqueConstraint("shipment_id", "number"),
        positive("number"),
        one_of("reason", ATTEMPT_REASONS),
    )


class ProofOfDelivery(Record):
    """``condition_note`` is what the receiver wrote down: it weighs in a damage claim."""

    __tablename__ = "proof_of_delivery"
    owner = "logistics"

    shipment_id: Mapped[str] = to("shipment")
    received_by: Mapped[Name]
    at: Mapped[datetime]
    lat_e6: Mapped[int | None]
    lon_e6: Mapped[int | None]
    photo_sha256: Mapped[Digest | None]
    signature_sha256: Mapped[Digest | None]
    code_verified: Mapped[bool] = mapped_column(default=False)
    left_safe: Mapped[Name | None]
    damage_noted: Mapped[bool] = mapped_column(default=False)
    condition_note: Mapped[Note] = mapped_column(default="")
    recorded_by: Mapped[Person]

    __table_args__ = (
        UniqueConstraint("shipment_id"),
        index_where("ix_proof_of_delivery_damaged", DAMAGED, "shipment_id"),
        on_earth(),
    )


class DeliveryException(Record):
    __tablename__ = "delivery_exception"
    owner = "logistics"

    shipment_id: Mapped[str] = to("shipment", index=True)
    kind: Mapped[Word]
    detail: Mapped[Note] = mapped_column(default="")
    opened_at: Mapped[datetime]
    resolved_at: Mapped[datetime | None]
    resolution: Mapped[Note | None]

    __table_args__ = (
        Index("ix_delivery_exception_open", "resolved_at", "opened_at", "id"),
        unique_where("uq_delivery_exception_open", "resolved_at is null", "shipment_id", "kind"),
        one_of("kind", EXCEPTION_KINDS),
    )


class Manifest(Record):
    """What a carrier takes along at one pick-up."""

    __tablename__ = "manifest"
    owner = "logistics"

    carrier_id: Mapped[str] = to("carrier")
    warehouse_id: Mapped[str] = to("warehouse")
    on_date: Mapped[date]
    state: Mapped[Word] = mapped_column(default="open")
    closed_at: Mapped[datetime | None]
    # The carrier's number for it, once the carrier has it.
    provider_reference: Mapped[Ref | None]

    __table_args__ = (
        Index("ix_manifest_date", "on_date", "id"),
        unique_where("uq_manifest_open", "state = 'open'", "carrier_id", "warehouse_id", "on_date"),
        one_of("state", MANIFEST_STATES),
    )


class CarrierPickup(Record):
    """A carrier is asked to come and collect."""

    __tablename__ = "carrier_pickup"
    owner = "logistics"

    carrier_id: Mapped[str] = to("carrier")
    warehouse_id: Mapped[str] = to("warehouse")
    on_date: Mapped[date]
    opens_at: Mapped[datetime]
    closes_at: Mapped[datetime]
    parcels: Mapped[int]
    state: Mapped[Word] = mapped_column(default="requested")
    provider_reference: Mapped[Ref | None]
    error: Mapped[Note | None]
    created_at: Mapped[datetime]

    __table_args__ = (
        unique_where(
            "uq_carrier_pickup_live", "state in ('requested','confirmed')",
            "carrier_id", "warehouse_id", "on_date",
        ),
        one_of("state", PICKUP_STATES),
        positive("parcels"),
        CheckConstraint("closes_at > opens_at", name="window"),
    )  # fmt: skip


class Label(Record):
    """Bought from the carrier through the outbox. ``document`` is what the carrier sent to print;
    without it the label is drawn from these rows. ``error``: why there is none. ``agreed_minor`` is
    the contract's price, ``cost_minor`` what the carrier took: more is a discrepancy."""

    __tablename__ = "label"
    owner = "logistics"
    also_written_by = frozenset({"returns"})  # Return labels, through common.

    shipment_id: Mapped[str] = to("shipment", index=True)
    parcel_id: Mapped[str | None] = to("parcel")
    carrier_id: Mapped[str | None] = to("carrier")
    service: Mapped[Word | None]
    state: Mapped[Word] = mapped_column(default="pending")
    tracking_number: Mapped[str | None] = mapped_column(String(64), index=True)
    cost_minor: Mapped[int | None]
    agreed_minor: Mapped[int | None]
    currency: Mapped[Currency]
    provider_reference: Mapped[Ref | None]
    manifest_id: Mapped[str | None] = to("manifest", index=True)
    document: Mapped[str | None] = mapped_column(String(200_000))
    error: Mapped[Note | None]
    created_at: Mapped[datetime]
    voided_at: Mapped[datetime | None]

    __table_args__ = (
        index_where("ix_label_overcharged", OVERCHARGED, "shipment_id"),
        unique_where("uq_label_live", "state in ('pending','purchased','voiding')", "parcel_id"),
        one_of("state", LABEL_STATES),
        not_negative("cost_minor"),
        a_currency(),
    )
