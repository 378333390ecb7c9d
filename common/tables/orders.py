"""Customers and their orders. What was paid and refunded is the money ledger's to say."""

from datetime import date, datetime
from itertools import combinations
from typing import Any, Final

from sqlalchemy import (
    CheckConstraint,
    ColumnElement,
    Index,
    String,
    UniqueConstraint,
    literal_column,
)
from sqlalchemy.orm import Mapped, mapped_column

from common.tables import inventory  # noqa: F401 - its foreign keys name them
from common.tables.base import Record
from common.tables.columns import (
    Currency,
    Name,
    Note,
    Person,
    Ref,
    Word,
    a_currency,
    index_where,
    not_negative,
    one_of,
    positive,
    to,
    unique_where,
)

ORDER_STATUSES: Final = (
    "draft", "placed", "confirmed", "in_fulfilment", "completed", "cancelled", "on_hold",
)  # fmt: skip
PAYMENT_STATUSES: Final = (
    "not_paid", "awaiting", "authorized", "partially_captured", "captured", "partially_refunded",
    "refunded",
)  # fmt: skip
FULFILMENT_STATUSES: Final = (
    "not_fulfilled", "partially_fulfilled", "fulfilled", "partially_shipped", "shipped",
    "partially_delivered", "delivered",
)  # fmt: skip
LINE_STATUSES: Final = (
    "open", "allocated", "backordered", "picked", "packed", "shipped", "delivered", "cancelled",
    "returned",
)  # fmt: skip
HOLD_KINDS: Final = ("fraud", "address", "payment", "stock", "manual")
CANCEL_REASONS: Final = (
    "no_longer_needed", "ordered_by_mistake", "fraud", "out_of_stock", "payment_failed",
    "undeliverable_address", "duplicate",
)  # fmt: skip
ADJUSTMENT_KINDS: Final = ("discount", "shipping", "tax", "other")
# Came late, or will unless something happens yet.
MAY_BE_LATE: Final = (
    "status <> 'cancelled' AND (delivered_at > promised_at OR shipped_at > promised_at"
    " OR (delivered_at IS NULL AND promised_at IS NOT NULL)"
    " OR (shipped_at IS NULL AND ship_by IS NOT NULL))"
)
# By what orders are searched, in any two at once.
AXES: Final = {
    "status": "status",
    "payment": "payment_status",
    "fulfilment": "fulfilment_status",
    "house": "warehouse_id",
}
# As it stands in the index of the few that wait: of a parameter no database knows that it is this.
BACKORDERED: Final[ColumnElement[str]] = literal_column("'backordered'")
DEMAND: Final = ("order_id", "status", "quantity", "warehouse_id")


class Customer(Record):
    """``email_key`` and ``name_key`` (first, space, last) are casefolded, for looking up."""

    __tablename__ = "customer"
    owner = "orders"
    # Signing in and guest checkout, through common.
    also_written_by = frozenset({"storefront"})

    email: Mapped[str | None] = mapped_column(String(254))
    email_key: Mapped[str | None] = mapped_column(String(254), index=True)
    first_name: Mapped[Name]
    last_name: Mapped[Name] = mapped_column(default="")
    name_key: Mapped[str] = mapped_column(String(401))
    company: Mapped[Name | None]
    phone: Mapped[str | None] = mapped_column(String(40))
    address: Mapped[dict[str, Any]] = mapped_column(default=dict)
    postal_code: Mapped[str] = mapped_column(String(20), default="")
    # Who signs in as this customer, ``issuer|subject``.
    subject: Mapped[Person | None] = mapped_column(unique=True)
    created_at: Mapped[datetime]

    __table_args__ = (
        Index("ix_customer_name", "name_key", "postal_code"),
        Index("ix_customer_created", "created_at", "id"),
    )


class Order(Record):
    """Three axes: ``status``, ``payment_status``, ``fulfilment_status``. Prices are fixed when it
    is placed; ``amended_at`` is the fact that its lines were changed since."""

    __tablename__ = "sales_order"
    owner = "orders"
    # Through common alone: placing (storefront, claims' replacements), and the axes as money and
    # parcels move.
    also_written_by = frozenset({"storefront", "logistics", "returns", "payments", "claims"})

    customer_id: Mapped[str] = to("customer")
    status: Mapped[Word]
    payment_status: Mapped[Word] = mapped_column(default="not_paid")
    fulfilment_status: Mapped[Word] = mapped_column(default="not_fulfilled")
    currency: Mapped[Currency]
    subtotal_minor: Mapped[int]
    discount_minor: Mapped[int] = mapped_column(default=0)
    shipping_minor: Mapped[int] = mapped_column(default=0)
    # Tax on top. Tax inside the prices is in the tax adjustments alone.
    tax_minor: Mapped[int] = mapped_column(default=0)
    # Duties, tips, rounding of an import: signed.
    other_minor: Mapped[int] = mapped_column(default=0)
    total_minor: Mapped[int]
    ship_to: Mapped[dict[str, Any]]
    warehouse_id: Mapped[str | None] = to("warehouse")
    # A payment method: without a foreign key, because payment tables come after these.
    payment_method_id: Mapped[Ref | None]
    channel: Mapped[Word] = mapped_column(default="shop")
    source: Mapped[Word] = mapped_column(default="shop")
    external_id: Mapped[Ref | None]
    shipping_service: Mapped[Name | None]
    priority: Mapped[int] = mapped_column(default=1)
    created_at: Mapped[datetime]
    placed_at: Mapped[datetime | None]
    ship_by: Mapped[datetime | None]
    promised_at: Mapped[datetime | None]
    released_at: Mapped[datetime | None]
    shipped_at: Mapped[datetime | None]
    delivered_at: Mapped[datetime | None]
    amended_at: Mapped[datetime | None]
    cancelled_at: Mapped[datetime | None]
    cancel_reason: Mapped[Word | None]
    replaces_order_id: Mapped[str | None] = to("sales_order")

    __table_args__ = (
        Index("ix_order_placed", "placed_at", "id"),
        Index("ix_order_customer", "customer_id", "placed_at", "id"),
        *(Index(f"ix_order_{name}", column, "placed_at", "id") for name, column in AXES.items()),
        *(
            Index(f"ix_order_{one}_{two}", AXES[one], AXES[two], "placed_at", "id")
            for one, two in combinations(AXES, 2)
        ),
        index_where("ix_order_late", MAY_BE_LATE, "placed_at", "id"),
        Index("ix_order_upcoming", "fulfilment_status", "ship_by", "id"),
        Index("ix_order_warehouse", "warehouse_id", "ship_by", "id"),
        Index("ix_order_promised", "fulfilment_status", "promised_at", "id"),
        UniqueConstraint("source", "external_id"),
        one_of("status", ORDER_STATUSES),
        one_of("payment_status", PAYMENT_STATUSES),
        one_of("fulfilment_status", FULFILMENT_STATUSES),
        one_of("cancel_reason", CANCEL_REASONS),
        a_currency(),
        not_negative(
            "subtotal_minor", "discount_minor", "shipping_minor", "tax_minor", "total_minor"
        ),
        CheckConstraint(
            "subtotal_minor - discount_minor + shipping_minor + tax_minor + other_minor"
            " = total_minor",
            name="total",
        ),
        CheckConstraint("priority between 1 and 10", name="priority"),
        CheckConstraint("status in ('draft','cancelled') or placed_at is not null", name="placed"),
    )


class OrderLine(Record):
    """Units that share one fate. A line whose units part is split: quantities, discount and tax
    are divided, and ``split_from_id`` names the line it came from."""

    __tablename__ = "order_line"
    owner = "orders"
    # As Order.
    also_written_by = frozenset({"storefront", "logistics", "returns", "claims"})

    order_id: Mapped[str] = to("sales_order")
    position: Mapped[int]
    split_from_id: Mapped[str | None] = to("order_line")
    sku: Mapped[str] = to("variant")
    product_id: Mapped[str] = to("product")
    # As they were called when it was sold.
    name: Mapped[Name]
    options: Mapped[dict[str, Any]] = mapped_column(default=dict)
    quantity: Mapped[int]
    unit_price_minor: Mapped[int]
    discount_minor: Mapped[int] = mapped_column(default=0)
    tax_minor: Mapped[int] = mapped_column(default=0)
    status: Mapped[Word] = mapped_column(default="open")
    warehouse_id: Mapped[str | None] = to("warehouse")
    reservation_id: Mapped[str | None] = to("reservation", index=True)
    # The order's, repeated for the demand feed.
    placed_at: Mapped[datetime | None]
    delivered_at: Mapped[datetime | None]

    __table_args__ = (
        Index("ix_order_line_order", "order_id", "position", "id"),
        Index("ix_order_line_status", "status", "placed_at", "id"),
        index_where("ix_order_line_backordered", "status = 'backordered'", "sku", *DEMAND),
        # All that demand is made of, so that nothing else is read for it.
        Index("ix_order_line_sku", "sku", "placed_at", *DEMAND),
        Index("ix_order_line_day", "placed_at", "sku", *DEMAND),
        positive("quantity"),
        not_negative("position", "unit_price_minor", "discount_minor", "tax_minor"),
        CheckConstraint("discount_minor <= unit_price_minor * quantity", name="discount"),
        one_of("status", LINE_STATUSES),
    )


class OrderAdjustment(Record):
    """What stands between the prices and the total: discounts (negative), shipping, tax lines.
    ``included``: inside the prices already, so not in the total again."""

    __tablename__ = "order_adjustment"
    owner = "orders"
    # Placing and exchanging, through common.
    also_written_by = frozenset({"storefront", "returns", "claims"})

    order_id: Mapped[str] = to("sales_order", index=True)
    order_line_id: Mapped[str | None] = to("order_line")
    kind: Mapped[Word]
    code: Mapped[Name] = mapped_column(default="")
    label: Mapped[Name] = mapped_column(default="")
    rate_bps: Mapped[int | None]
    included: Mapped[bool] = mapped_column(default=False)
    amount_minor: Mapped[int]

    __table_args__ = (
        one_of("kind", ADJUSTMENT_KINDS),
        CheckConstraint("rate_bps between 0 and 100000", name="rate"),
        CheckConstraint(
            "kind = 'other' or (kind = 'discount' and amount_minor <= 0)"
            " or (kind in ('shipping','tax') and amount_minor >= 0)",
            name="sign",
        ),
    )


class TaxRate(Record):
    """A rate by place and class. A table to be kept by people, not a tax engine."""

    __tablename__ = "tax_rate"
    owner = "orders"

    country: Mapped[str] = mapped_column(String(60))
    region: Mapped[str] = mapped_column(String(100), default="")
    tax_class: Mapped[Word] = mapped_column(default="standard")
    name: Mapped[Name]
    rate_bps: Mapped[int]
    included: Mapped[bool] = mapped_column(default=False)
    valid_from: Mapped[date]

    __table_args__ = (
        UniqueConstraint("country", "region", "tax_class", "valid_from"),
        CheckConstraint("rate_bps between 0 and 100000", name="rate"),
    )


class OrderHold(Record):
    __tablename__ = "order_hold"
    owner = "orders"
    # A payment under review and a suspicious checkout stop the order, through common.
    also_written_by = frozenset({"payments", "storefront"})

    order_id: Mapped[str] = to("sales_order", index=True)
    kind: Mapped[Word]
    reason: Mapped[Note]
    placed_at: Mapped[datetime]
    placed_by: Mapped[Person]
    # The status the order goes back to.
    status_before: Mapped[Word]
    released_at: Mapped[datetime | None]
    released_by: Mapped[Person | None]
    release_reason: Mapped[Note | None]

    __table_args__ = (
        one_of("kind", HOLD_KINDS),
        unique_where("uq_order_hold_open", "released_at is null", "order_id", "kind"),
        Index("ix_order_hold_placed", "placed_at", "id"),
    )


class OrderNote(Record):
    __tablename__ = "order_note"
    owner = "orders"

    order_id: Mapped[str] = to("sales_order")
    text: Mapped[Note]
    author: Mapped[Person]
    at: Mapped[datetime]

    __table_args__ = (Index("ix_order_note_order", "order_id", "at", "id"),)


class OrderEvent(Record):
    """The timeline: what happened to the order, whichever domain did it. Never changed."""

    __tablename__ = "order_event"
    owner = "orders"
    # Every domain tells the order what it did, through common.
    also_written_by = frozenset(
        {"inventory", "logistics", "returns", "claims", "payments", "storefront"}
    )

    order_id: Mapped[str] = to("sales_order")
    kind: Mapped[Word]
    detail: Mapped[Note] = mapped_column(default="")
    reference: Mapped[Ref | None]
    at: Mapped[datetime]

    __table_args__ = (Index("ix_order_event_order", "order_id", "at", "id"),)
