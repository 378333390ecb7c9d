"""Goods coming back: policies, RMAs and their lines, inspection, settlement."""

from datetime import datetime
from typing import Final

from sqlalchemy import CheckConstraint, Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from common.tables import (  # noqa: F401 - its foreign keys name them
    inventory,
    logistics,
    orders,
    payments,
)
from common.tables.base import Record
from common.tables.columns import (
    Currency,
    Name,
    Note,
    Person,
    Word,
    a_currency,
    index_where,
    none_of,
    not_negative,
    one_of,
    positive,
    to,
)

RETURN_KINDS: Final = ("return", "exchange")
RETURN_STATES: Final = (
    "requested", "needs_review", "authorized", "label_issued", "in_transit",
    "partially_received", "received", "inspected", "dispositioned", "settled", "closed",
    "rejected", "expired", "cancelled", "returnless",
)  # fmt: skip
RETURN_OVER: Final = ("rejected", "expired", "cancelled", "closed", "settled")
OPEN_RETURN: Final = none_of("state", RETURN_OVER)
RETURN_REASONS: Final = (
    "size_too_small", "size_too_large", "style", "not_as_described", "defective",
    "damaged_in_transit", "wrong_item", "arrived_late", "unwanted", "other",
)  # fmt: skip
REJECT_REASONS: Final = (
    "outside_window", "final_sale", "not_delivered", "already_returned", "condition", "fraud",
    "other",
)  # fmt: skip
REFUND_TARGETS: Final = ("original", "method", "store_credit")
CONDITIONS: Final = ("unopened", "opened", "used", "damaged", "incomplete")
GRADES: Final = ("A", "B", "C", "D")
DISPOSITIONS: Final = (
    "restock", "refurbish", "repackage", "open_box", "rtv", "liquidate", "donate", "recycle",
    "scrap", "quarantine",
)  # fmt: skip
SETTLEMENT_KINDS: Final = ("refund", "store_credit", "exchange", "denied")


class ReturnPolicy(Record):
    """The window runs from delivery. The active policy of the product's category applies, else
    the one without a category."""

    __tablename__ = "return_policy"
    owner = "returns"

    name: Mapped[Name]
    category: Mapped[Name | None] = mapped_column(index=True)
    active: Mapped[bool] = mapped_column(default=True)
    window_days: Mapped[int]
    send_within_days: Mapped[int] = mapped_column(default=14)
    final_sale: Mapped[bool] = mapped_column(default=False)
    restockable: Mapped[bool] = mapped_column(default=True)
    restocking_fee_bps: Mapped[int] = mapped_column(default=0)
    return_shipping_minor: Mapped[int] = mapped_column(default=0)
    refunds_shipping: Mapped[bool] = mapped_column(default=False)
    # Refund before receipt; and keep-it up to a value.
    instant_refund: Mapped[bool] = mapped_column(default=False)
    returnless_up_to_minor: Mapped[int] = mapped_column(default=0)
    review_from_minor: Mapped[int | None]
    most_open_per_order: Mapped[int | None]
    currency: Mapped[Currency]

    __table_args__ = (
        not_negative(
            "window_days", "return_shipping_minor", "returnless_up_to_minor", "review_from_minor"
        ),
        positive("send_within_days", "most_open_per_order"),
        CheckConstraint("restocking_fee_bps between 0 and 10000", name="fee"),
        a_currency(),
    )


class Return(Record):
    """An RMA. ``policy_rule`` names the rule that decided eligibility, ``window_ends_at`` the fact
    it read. ``method_id`` is the stored method of ``refund_to`` ``method`` and of an exchange."""

    __tablename__ = "rma"
    owner = "returns"

    kind: Mapped[Word]
    state: Mapped[Word] = mapped_column(default="requested")
    order_id: Mapped[str] = to("sales_order", index=True)
    customer_id: Mapped[str] = to("customer")
    refund_to: Mapped[Word] = mapped_column(default="original")
    method_id: Mapped[str | None] = to("payment_method")
    policy_id: Mapped[str | None] = to("return_policy")
    policy_rule: Mapped[Name] = mapped_column(default="")
    note: Mapped[Note] = mapped_column(default="")
    currency: Mapped[Currency]
    # Quoted when requested, of all lines: what the customer gets back (a return), or pays
    # (positive) or gets (negative) for an exchange.
    refund_minor: Mapped[int] = mapped_column(default=0)
    fee_minor: Mapped[int] = mapped_column(default=0)
    price_difference_minor: Mapped[int] = mapped_column(default=0)
    instant: Mapped[bool] = mapped_column(default=False)
    warehouse_id: Mapped[str | None] = to("warehouse")
    shipment_id: Mapped[str | None] = to("shipment", index=True)
    # What the QR code of the label says.
    label_code: Mapped[str | None] = mapped_column(String(64), unique=True)
    reject_reason: Mapped[Word | None]
    reject_note: Mapped[Note | None]
    requested_at: Mapped[datetime]
    window_ends_at: Mapped[datetime | None]
    authorized_at: Mapped[datetime | None]
    expires_at: Mapped[datetime | None]
    received_at: Mapped[datetime | None]
    settled_at: Mapped[datetime | None]
    closed_at: Mapped[datetime | None]

    __table_args__ = (
        Index("ix_rma_requested", "requested_at", "id"),
        Index("ix_rma_state", "state", "requested_at", "id"),
        Index("ix_rma_customer", "customer_id", "requested_at", "id"),
        index_where("ix_rma_open", OPEN_RETURN, "requested_at", "id"),
        Index("ix_rma_expiring", "state", "expires_at"),
        one_of("kind", RETURN_KINDS),
        one_of("state", RETURN_STATES),
        one_of("refund_to", REFUND_TARGETS),
        one_of("reject_reason", REJECT_REASONS),
        not_negative("refund_minor", "fee_minor"),
        CheckConstraint("refund_to != 'method' or method_id is not null", name="method"),
        CheckConstraint("state != 'rejected' or reject_reason is not null", name="rejected"),
        a_currency(),
    )


class ReturnLine(Record):
    """Units of one order line. Prices are the order's, per unit, after its discount."""

    __tablename__ = "rma_line"
    owner = "returns"

    return_id: Mapped[str] = to("rma")
    position: Mapped[int]
    order_line_id: Mapped[str] = to("order_line", index=True)
    sku: Mapped[str] = to("variant")
    quantity: Mapped[int]
    reason: Mapped[Word]
    note: Mapped[Note] = mapped_column(default="")
    condition: Mapped[Word | None]
    received: Mapped[int] = mapped_column(default=0)
    damaged: Mapped[int] = mapped_column(default=0)
    refund_minor: Mapped[int] = mapped_column(default=0)
    fee_minor: Mapped[int] = mapped_column(default=0)
    exchange_sku: Mapped[str | None] = to("variant")
    exchange_price_minor: Mapped[int | None]
    price_difference_minor: Mapped[int] = mapped_column(default=0)
    reservation_id: Mapped[str | None] = to("reservation", index=True)

    __table_args__ = (
        UniqueConstraint("return_id", "position"),
        Index("ix_rma_line_sku", "sku", "reason"),
        one_of("reason", RETURN_REASONS),
        one_of("condition", CONDITIONS),
        positive("quantity"),
        not_negative(
            "position", "received", "damaged", "refund_minor", "fee_minor", "exchange_price_minor"
        ),
        CheckConstraint("received <= quantity and damaged <= received", name="received"),
        CheckConstraint("(exchange_sku is null) = (exchange_price_minor is null)", name="exchange"),
    )


class Inspection(Record):
    """What was found in units of a line, and what becomes of them. Their move in the units ledger
    is ``transfer_id``: set once the disposition is carried out."""

    __tablename__ = "inspection"
    owner = "returns"

    return_line_id: Mapped[str] = to("rma_line", index=True)
    quantity: Mapped[int]
    grade: Mapped[str] = mapped_column(String(1))
    condition: Mapped[Word]
    disposition: Mapped[Word | None]
    photos_sha256: Mapped[list[str]] = mapped_column(default=list)
    note: Mapped[Note] = mapped_column(default="")
    transfer_id: Mapped[str | None] = to("transfer")
    inspected_at: Mapped[datetime]
    inspected_by: Mapped[Person]

    __table_args__ = (
        one_of("grade", GRADES),
        one_of("condition", CONDITIONS),
        one_of("disposition", DISPOSITIONS),
        positive("quantity"),
        CheckConstraint("transfer_id is null or disposition is not null", name="carried_out"),
    )


class Settlement(Record):
    """One for a line, for good. An exchange may have a charge or a refund of the difference."""

    __tablename__ = "settlement"
    owner = "returns"

    return_line_id: Mapped[str] = to("rma_line")
    kind: Mapped[Word]
    amount_minor: Mapped[int]
    currency: Mapped[Currency]
    refund_id: Mapped[str | None] = to("refund", index=True)
    payment_id: Mapped[str | None] = to("payment", index=True)
    exchange_order_id: Mapped[str | None] = to("sales_order", index=True)
    note: Mapped[Note] = mapped_column(default="")
    at: Mapped[datetime]

    __table_args__ = (
        UniqueConstraint("return_line_id"),
        Index("ix_settlement_at", "at", "id"),
        one_of("kind", SETTLEMENT_KINDS),
        not_negative("amount_minor"),
        a_currency(),
    )
