"""What buying and membership answer: everything a shopper agrees to, and how it went."""

from datetime import datetime
from typing import Any

from common.clock import stamp
from common.money import Money
from common.rules import paid
from common.rules.members import UNPAID
from common.rules.placing import Priced
from common.tables.storefront import Checkout, MembershipTier
from common.wire import Result
from servers.storefront.checkouts import Ended, Prepared, quote_name
from servers.storefront.membership import Standing
from servers.storefront.quoting import Quote
from servers.storefront.results import SESSION


class QuoteLine(Result):
    sku: str
    name: str
    quantity: int
    price_minor: int
    discount_minor: int
    total_minor: int


class Reduction(Result):
    code: str
    label: str
    amount_minor: int


class RejectedCode(Result):
    code: str
    why: str
    reason: str


class ShippingOption(Result):
    shipping_service: str
    name: str
    price_minor: int
    arrives_by: str | None = None
    chosen: bool


class TaxLine(Result):
    name: str
    rate_bps: int
    included: bool
    amount_minor: int


class Method(Result):
    payment_method_id: str
    words: str


class Destination(Result):
    """Where the parcel goes, as it was written down."""

    recipient: str | None = None
    line1: str | None = None
    line2: str | None = None
    postal_code: str | None = None
    city: str | None = None
    region: str | None = None
    country: str | None = None

    @classmethod
    def of(cls, terms: dict[str, Any]) -> "Destination | None":
        said = (terms.get("ship_to") or {}) | {"recipient": terms.get("recipient")}
        known = {name: said[name] for name in cls.model_fields if said.get(name)}
        return cls(**known) if known else None


class QuoteView(Result):
    """What it costs and what is missing. ``total_minor`` with ``quote_id`` is what ``checkout``
    takes. Taxes are from the shop's table of rates, not from a tax engine."""

    cart_id: str
    status: str
    quote_id: str
    missing: list[str]
    currency: str
    items: list[QuoteLine]
    subtotal_minor: int
    discounts: list[Reduction]
    rejected_codes: list[RejectedCode]
    ship_to: Destination | None = None
    shipping_options: list[ShippingOption]
    shipping_minor: int
    taxes: list[TaxLine]
    tax_minor: int
    total_minor: int
    total: str
    payment_methods: list[Method]
    expires_at: str
    next: str

    @classmethod
    def of(cls, found: Prepared) -> "QuoteView":
        quote, checkout, cost = found.quote, found.checkout, found.quote.priced
        view = cls(
            cart_id=found.handle,
            status=checkout.state,
            quote_id=quote_name(checkout),
            missing=quote.missing,
            currency=cost.currency,
            items=_items(cost),
            subtotal_minor=cost.subtotal_minor,
            discounts=[
                Reduction(code=d.code, label=d.label, amount_minor=d.amount_minor)
                for d in quote.reductions.discounts
            ],
            rejected_codes=[
                RejectedCode(code=r.code, why=r.why, reason=r.reason)
                for r in quote.reductions.rejected
            ],
            ship_to=Destination.of(checkout.agreed),
            shipping_options=_options(quote),
            shipping_minor=cost.shipping_minor,
            taxes=_taxes(cost),
            tax_minor=cost.tax_minor,
            total_minor=cost.total_minor,
            total=str(Money(cost.total_minor, cost.currency)),
            payment_methods=[
                Method(payment_method_id=method.id, words=paid.method_words(method))
                for method in found.methods
            ],
            expires_at=stamp(checkout.expires_at),
            next=_next(found),
        )  # fmt: skip
        view._session = checkout.cart_id
        return view

    _session: str = ""

    def meta(self) -> dict[str, Any]:
        return {SESSION: self._session}


class PurchaseView(Result):
    """``status`` is ``completed`` with an order, ``complete_in_progress`` while the payment is
    asked for, else why it was undone (``failure``). What was agreed is told as it was agreed.
    Without ``checkout_id`` the order came about otherwise, by phone or in exchange."""

    status: str
    checkout_id: str | None = None
    order_id: str | None = None
    order_status: str | None = None
    payment_status: str | None = None
    fulfilment_status: str | None = None
    promised_at: str | None = None
    ship_to: Destination | None = None
    shipping: str | None = None
    items: list[QuoteLine]
    currency: str
    subtotal_minor: int
    discounts: list[Reduction]
    shipping_minor: int
    taxes: list[TaxLine]
    total_minor: int
    total: str
    failure: str | None = None
    next: str

    @classmethod
    def of(cls, found: Ended) -> "PurchaseView":
        checkout, order = found.checkout, found.order
        view = cls(
            status=checkout.state,
            checkout_id=checkout.id,
            order_id=order.id if order else None,
            order_status=order.status if order else None,
            payment_status=order.payment_status
            if order
            else found.payment.status
            if found.payment
            else None,
            fulfilment_status=order.fulfilment_status if order else None,
            promised_at=when(order.promised_at) if order else None,
            ship_to=Destination.of(checkout.agreed),
            shipping=checkout.agreed.get("service"),
            items=_agreed_items(checkout),
            currency=checkout.currency,
            subtotal_minor=checkout.subtotal_minor,
            discounts=[
                Reduction(code=code, label=label, amount_minor=amount)
                for code, label, amount in checkout.agreed.get("discounts", [])
            ],
            shipping_minor=checkout.shipping_minor,
            taxes=[TaxLine(**each) for each in checkout.agreed.get("taxes", [])],
            total_minor=order.total_minor if order else checkout.total_minor,
            total=str(
                Money(order.total_minor if order else checkout.total_minor, checkout.currency)
            ),
            failure=checkout.failure_code,
            next=_after(checkout),
        )  # fmt: skip
        view._session = checkout.cart_id
        return view

    _session: str = ""

    def meta(self) -> dict[str, Any]:
        return {SESSION: self._session} if self._session else {}


class OwnOrder(Result):
    order_id: str
    status: str
    payment_status: str
    total: str
    placed_at: str | None = None


class AccountView(Result):
    """Who the shopper is here. ``how_to_sign_in`` is there for guests."""

    signed_in: bool
    customer_id: str | None = None
    name: str | None = None
    cart_id: str | None = None
    membership: str | None = None
    payment_methods: list[Method]
    orders: list[OwnOrder]
    how_to_sign_in: str | None = None


class Tier(Result):
    tier: str
    name: str
    yearly_fee_minor: int
    currency: str
    discount_bps: int
    free_shipping_from_minor: int | None = None
    points_per_major_unit: int
    points_needed: int

    @classmethod
    def of(cls, tier: MembershipTier) -> "Tier":
        return cls(
            tier=tier.id, name=tier.name, yearly_fee_minor=tier.yearly_fee_minor,
            currency=tier.currency, discount_bps=tier.discount_bps,
            free_shipping_from_minor=tier.free_shipping_from_minor,
            points_per_major_unit=tier.points_per_major_unit, points_needed=tier.points_needed,
        )  # fmt: skip


class MembershipView(Result):
    """``points`` can be redeemed at one minor unit each; ``pending_points`` come with payment;
    ``owed_points``, of refunded orders, are taken from points to come."""

    member: bool
    state: str | None = None
    tier: str | None = None
    points: int
    pending_points: int
    owed_points: int
    renews_at: str | None = None
    auto_renew: bool | None = None
    fee_payment_status: str | None = None
    tiers: list[Tier]
    note: str | None = None

    @classmethod
    def of(cls, found: Standing, note: str | None = None) -> "MembershipView":
        member = found.membership
        state = None if member is None else member.state
        if state == "active" and not found.current:
            asked = found.payment is not None and found.payment.status in UNPAID
            state = "pending" if asked else "lapsed"
        return cls(
            member=found.current,
            state=state,
            tier=member.tier_id if member else None,
            points=found.points,
            pending_points=found.pending_points,
            owed_points=found.owed_points,
            renews_at=when(member.renews_at) if member else None,
            auto_renew=member.auto_renew if member else None,
            fee_payment_status=found.payment.status if found.payment else None,
            tiers=[Tier.of(tier) for tier in found.tiers],
            note=note,
        )


def _items(cost: Priced) -> list[QuoteLine]:
    return [
        QuoteLine(
            sku=item.variant.id, name=item.variant.name, quantity=item.line.quantity,
            price_minor=item.price, discount_minor=item.discount, total_minor=item.net,
        )
        for item in cost.lines
    ]  # fmt: skip


def _agreed_items(checkout: Checkout) -> list[QuoteLine]:
    return [
        QuoteLine(
            sku=each["sku"], name=each["name"], quantity=each["quantity"],
            price_minor=each["price_minor"], discount_minor=each["discount_minor"],
            total_minor=each["price_minor"] * each["quantity"] - each["discount_minor"],
        )
        for each in checkout.agreed.get("lines", [])
    ]  # fmt: skip


def _options(quote: Quote) -> list[ShippingOption]:
    return [
        ShippingOption(
            shipping_service=option.id, name=f"{option.carrier}, {option.service}",
            price_minor=option.price_minor, arrives_by=option.arrives_by,
            chosen=option == quote.chosen,
        )
        for option in quote.options
    ]  # fmt: skip


def _taxes(cost: Priced) -> list[TaxLine]:
    return [
        TaxLine(name=rate.name, rate_bps=rate.rate_bps, included=rate.included, amount_minor=amount)
        for rate, amount in cost.taxes
    ]


def _next(found: Prepared) -> str:
    if found.quote.missing:
        return (
            f"Ask the shopper for: {', '.join(found.quote.missing)}; call prepare_checkout again."
        )
    if not found.signed_in:
        return "The shopper signs in to buy: this cart comes along. Then checkout."
    if not found.methods and found.quote.priced.total_minor:
        return (
            "No payment method is stored. The shopper stores one with the shop itself; never take "
            "a card number in the chat."
        )
    return (
        "Show the shopper all of it. When they agree, call checkout with this quote_id, "
        "agreed_total_minor = total_minor and the payment_method_id they chose."
    )


def _after(checkout: Checkout) -> str:
    if checkout.state == "completed":
        return "Tell the shopper the order_id and the total. get_order_status tells how it goes on."
    if checkout.state == "complete_in_progress":
        return (
            "The payment is being asked for; the goods are reserved until then. Call checkout "
            "with the same quote_id again in a moment."
        )
    if checkout.failure_code == "timed_out":
        return (
            "Nothing was bought: the payment was not answered in time; goods and payment were let "
            "go. Ask the shopper whether to try again, then prepare_checkout."
        )
    return (
        "Nothing was bought: goods and payment were let go. Ask for another payment method, then "
        "prepare_checkout again."
    )


def when(moment: datetime | None) -> str | None:
    return stamp(moment) if moment is not None else None
