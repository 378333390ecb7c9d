"""Carts, checkouts, memberships and promotions: all that shoppers may write."""

from datetime import datetime
from typing import Any, Final

from sqlalchemy import CheckConstraint, Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from common.tables import inventory, orders, payments  # noqa: F401 - its foreign keys name them
from common.tables.base import Record
from common.tables.columns import (
    Currency,
    Digest,
    Name,
    Person,
    Ref,
    Word,
    a_currency,
    not_negative,
    one_of,
    positive,
    to,
    unique_where,
)

CART_STATUSES: Final = ("active", "checkout", "converted", "abandoned", "expired")
CHECKOUT_STATES: Final = (
    "incomplete", "requires_escalation", "ready_for_complete", "complete_in_progress", "completed",
    "canceled", "expired",
)  # fmt: skip
MEMBERSHIP_STATES: Final = ("active", "lapsed", "cancelled")
AWARD_STATES: Final = ("pending", "earned", "void")
PROMOTION_KINDS: Final = ("percent", "amount", "free_shipping")


class Cart(Record):
    """``handle_sha256`` is of the secret that a guest presents; the secret itself is stored
    nowhere. A signed-in shopper's cart has an ``owner_subject`` and is named by its id. A guest's
    cart that went into the one of who signed in is ``abandoned`` and names it."""

    __tablename__ = "cart"
    owner = "storefront"

    handle_sha256: Mapped[Digest] = mapped_column(unique=True)
    owner_subject: Mapped[Person | None]
    customer_id: Mapped[str | None] = to("customer", index=True)
    status: Mapped[Word] = mapped_column(default="active")
    currency: Mapped[Currency]
    promotion_codes: Mapped[list[str]] = mapped_column(default=list)
    ship_to: Mapped[dict[str, Any] | None]
    shipping_service: Mapped[Name | None]
    recipient: Mapped[Name | None]
    redeem_points: Mapped[int | None]
    opened_by: Mapped[Person | None] = mapped_column(index=True)
    merged_into: Mapped[Ref | None]
    created_at: Mapped[datetime]
    changed_at: Mapped[datetime]
    expires_at: Mapped[datetime]

    __table_args__ = (
        Index("ix_cart_expiring", "status", "expires_at", "id"),
        unique_where("uq_cart_active", "status = 'active'", "owner_subject"),
        one_of("status", CART_STATUSES),
        a_currency(),
    )


class CartItem(Record):
    """``unit_price_minor`` is what the shopper last saw."""

    __tablename__ = "cart_item"
    owner = "storefront"

    cart_id: Mapped[str] = to("cart")
    position: Mapped[int]
    sku: Mapped[str] = to("variant", index=True)
    name: Mapped[Name]
    quantity: Mapped[int]
    unit_price_minor: Mapped[int]
    currency: Mapped[Currency]
    added_at: Mapped[datetime]

    __table_args__ = (
        UniqueConstraint("cart_id", "sku"),
        positive("quantity"),
        not_negative("position", "unit_price_minor"),
        a_currency(),
    )


class Checkout(Record):
    """``agreed`` is the quote as the shopper saw it (lines, discounts, shipping, tax) and
    ``agreed_sha256`` its digest: completing against another quote is refused."""

    __tablename__ = "checkout"
    owner = "storefront"

    cart_id: Mapped[str] = to("cart", index=True)
    customer_id: Mapped[str | None] = to("customer")
    state: Mapped[Word] = mapped_column(default="incomplete")
    email: Mapped[str | None] = mapped_column(String(254))
    ship_to: Mapped[dict[str, Any] | None]
    shipping_service: Mapped[Name | None]
    currency: Mapped[Currency]
    subtotal_minor: Mapped[int]
    discount_minor: Mapped[int] = mapped_column(default=0)
    shipping_minor: Mapped[int] = mapped_column(default=0)
    tax_minor: Mapped[int] = mapped_column(default=0)
    total_minor: Mapped[int]
    agreed: Mapped[dict[str, Any]] = mapped_column(default=dict)
    agreed_sha256: Mapped[Digest | None]
    method_id: Mapped[str | None] = to("payment_method")
    payment_id: Mapped[str | None] = to("payment", index=True)
    order_id: Mapped[str | None] = to("sales_order")
    points_hold: Mapped[Ref | None]
    failure_code: Mapped[Word | None]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    completed_at: Mapped[datetime | None]

    __table_args__ = (
        UniqueConstraint("order_id"),
        Index("ix_checkout_customer", "customer_id", "created_at", "id"),
        Index("ix_checkout_expiring", "state", "expires_at", "id"),
        unique_where(
            "uq_checkout_open",
            "state in ('incomplete','requires_escalation','ready_for_complete',"
            "'complete_in_progress')",
            "cart_id",
        ),
        one_of("state", CHECKOUT_STATES),
        not_negative(
            "subtotal_minor", "discount_minor", "shipping_minor", "tax_minor", "total_minor"
        ),
        CheckConstraint(
            "subtotal_minor - discount_minor + shipping_minor + tax_minor = total_minor",
            name="total",
        ),
        CheckConstraint("state != 'completed' or order_id is not null", name="completed"),
        a_currency(),
    )


class CheckoutPromotion(Record):
    """A code that an open checkout counts on: with the uses so far it counts against the limits."""

    __tablename__ = "checkout_promotion"
    owner = "storefront"

    checkout_id: Mapped[str] = to("checkout", index=True)
    promotion_id: Mapped[str] = to("promotion", index=True)

    __table_args__ = (UniqueConstraint("checkout_id", "promotion_id"),)


class MembershipTier(Record):
    """``id`` is the tier's word (``gold``); what it gives is data."""

    __tablename__ = "membership_tier"
    owner = "storefront"

    name: Mapped[Name]
    rank: Mapped[int] = mapped_column(unique=True)
    currency: Mapped[Currency]
    yearly_fee_minor: Mapped[int] = mapped_column(default=0)
    discount_bps: Mapped[int] = mapped_column(default=0)
    free_shipping_from_minor: Mapped[int | None]
    points_per_major_unit: Mapped[int] = mapped_column(default=1)
    points_needed: Mapped[int] = mapped_column(default=0)

    __table_args__ = (
        not_negative(
            "rank", "yearly_fee_minor", "free_shipping_from_minor", "points_per_major_unit",
            "points_needed",
        ),
        CheckConstraint("discount_bps between 0 and 10000", name="discount"),
        a_currency(),
    )  # fmt: skip


class Membership(Record):
    """Points are a ledger balance of the account ``points_account``."""

    __tablename__ = "membership"
    owner = "storefront"

    customer_id: Mapped[str] = to("customer")
    tier_id: Mapped[str] = to("membership_tier", index=True)
    state: Mapped[Word] = mapped_column(default="active")
    points_account: Mapped[str] = mapped_column(String(160))
    joined_at: Mapped[datetime]
    renews_at: Mapped[datetime | None]
    auto_renew: Mapped[bool] = mapped_column(default=False)
    payment_id: Mapped[str | None] = to("payment")
    ended_at: Mapped[datetime | None]

    __table_args__ = (
        UniqueConstraint("customer_id"),
        Index("ix_membership_renewal", "state", "renews_at", "id"),
        one_of("state", MEMBERSHIP_STATES),
    )


class PointsAward(Record):
    """Points an order will bring: ``pending`` until its money is captured, then ``earned``;
    ``void`` when it was cancelled or refunded before, and once they lapsed with a membership.

    ``total_minor`` is what the order cost when they were promised. ``given`` is what it has brought
    so far, less what refunds took back; ``owed`` what they could not take, as it was spent."""

    __tablename__ = "points_award"
    owner = "storefront"

    membership_id: Mapped[str] = to("membership", index=True)
    order_id: Mapped[str] = to("sales_order")
    points: Mapped[int]
    total_minor: Mapped[int | None]
    given: Mapped[int] = mapped_column(default=0, server_default="0")
    owed: Mapped[int] = mapped_column(default=0, server_default="0")
    state: Mapped[Word] = mapped_column(default="pending")
    at: Mapped[datetime]

    __table_args__ = (
        UniqueConstraint("order_id"),
        Index("ix_points_award_state", "state", "id"),
        one_of("state", AWARD_STATES),
        positive("points"),
    )


class Promotion(Record):
    """``id`` is the code in capitals. ``value``: basis points of ``percent``, minor units of
    ``amount``. What is null does not limit it."""

    __tablename__ = "promotion"
    owner = "storefront"

    name: Mapped[Name]
    kind: Mapped[Word]
    value: Mapped[int] = mapped_column(default=0)
    currency: Mapped[Currency | None]
    minimum_minor: Mapped[int | None]
    category: Mapped[Name | None]
    tier_id: Mapped[str | None] = to("membership_tier")
    starts_at: Mapped[datetime | None]
    ends_at: Mapped[datetime | None]
    most_uses: Mapped[int | None]
    most_uses_per_customer: Mapped[int | None]
    stackable: Mapped[bool] = mapped_column(default=False)
    active: Mapped[bool] = mapped_column(default=True)

    __table_args__ = (
        one_of("kind", PROMOTION_KINDS),
        not_negative("value", "minimum_minor"),
        positive("most_uses", "most_uses_per_customer"),
        CheckConstraint("kind != 'percent' or value <= 10000", name="percent"),
        CheckConstraint("kind != 'amount' or currency is not null", name="amount"),
        CheckConstraint("ends_at > starts_at", name="span"),
        CheckConstraint("id = upper(id)", name="capitals"),
        a_currency(),
    )


class PromotionUse(Record):
    """What the limits of a promotion count."""

    __tablename__ = "promotion_use"
    owner = "storefront"

    promotion_id: Mapped[str] = to("promotion")
    order_id: Mapped[str] = to("sales_order", index=True)
    customer_id: Mapped[str | None] = to("customer")
    at: Mapped[datetime]

    __table_args__ = (
        UniqueConstraint("promotion_id", "order_id"),
        Index("ix_promotion_use_customer", "promotion_id", "customer_id"),
    )
