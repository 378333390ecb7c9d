"""Checkout: a quote the shopper sees, then a purchase of exactly that.

``prepare`` says what it would cost and what is still missing. ``buy`` takes the quote's id and its
total: anything else, and nothing happens. It reserves, asks for the money, and ends by itself or
with a later call (common.rules.checking_out).
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import select

from common.call import Call, quoted
from common.errors import CartOperationFailed, InvalidParameters, NotFound
from common.money import Money
from common.rules import checking_out, paid
from common.rules.addresses import one_line
from common.shoppers import Shopper, customer_of, shopper, signed_in, terms_of
from common.storage.database import lock
from common.tables.orders import Order, OrderAdjustment, OrderLine
from common.tables.payments import Payment, PaymentMethod
from common.tables.storefront import Cart, Checkout, Promotion
from servers.storefront import carts
from servers.storefront.promotions import MOST_CODES
from servers.storefront.quoting import Quote, quote

OPEN: Final = ("incomplete", "requires_escalation", "ready_for_complete", "complete_in_progress")
QUOTE_LIFE: Final = timedelta(minutes=30)
MOST_METHODS: Final = 20
MOST_LINES: Final = 200


@dataclass(frozen=True)
class Details:
    """What the shopper said; None leaves what was said before."""

    ship_to: dict[str, Any] | None = None
    recipient: str | None = None
    shipping_service: str | None = None
    promotion_codes: list[str] | None = None
    redeem_points: int | None = None


@dataclass(frozen=True)
class Prepared:
    checkout: Checkout
    quote: Quote
    handle: str
    methods: list[PaymentMethod]
    signed_in: bool


@dataclass(frozen=True)
class Ended:
    """``order`` is there once it is placed."""

    checkout: Checkout
    order: Order | None
    payment: Payment | None


@dataclass(frozen=True)
class Owned:
    """An order of the shopper's that no checkout of theirs led to."""

    order: Order
    lines: list[OrderLine]
    adjustments: list[OrderAdjustment]


def prepare(call: Call, handle: str, details: Details) -> Prepared:
    """Write down what was said and what it would cost. Raises CartNotFound, CartOperationFailed,
    InvalidParameters (a service that is not offered, a code too many)."""
    call.stake()
    who = shopper(call)
    cart, opened = carts.changing(call, who, handle)
    _say(cart, details)
    found = quote(call, who, cart)
    if details.shipping_service is not None and found.chosen is None and cart.ship_to:
        offered = ", ".join(option.id for option in found.options) or "nothing"
        cart.shipping_service = None
        raise InvalidParameters.field("shipping_service", details.shipping_service, offered)
    if found.chosen is None and len(found.options) == 1:
        cart.shipping_service = found.options[0].id
        found = quote(call, who, cart)
    _seen(call, cart, found)
    carts.touch(call, cart)
    checkout = _written(call, who, cart, found)
    return Prepared(checkout, found, opened, methods_of(call, who), not who.guest)


def buy(
    call: Call, handle: str, quote_id: str, agreed_total_minor: int, method_id: str | None
) -> Ended:
    """Buy exactly the quote. Called again it tells how far it is.

    Raises NotAuthenticated for guests, CartNotFound, CartOperationFailed when anything differs
    from the quote, InsufficientStock, InsufficientFunds, RuleViolation.
    """
    who = signed_in(call)
    again = _under_way(call, who, handle, quote_id)
    if again is not None:
        call.stake(agreed=True)
        return _ended(call, checking_out.finish(call, again.id))
    cart, _ = carts.changing(call, who, handle)
    checkout = _open_checkout(call, cart)
    if checkout is None or checkout.expires_at <= call.now:
        raise _differs("There is no quote for this cart, or it is too old.")
    customer = customer_of(call, cart.recipient or "")
    lock(call.session, Promotion, list(checkout.agreed.get("promotions", [])))
    found = quote(call, Shopper(who.id, False, customer), cart)
    if found.missing:
        raise _differs(f"Still to be said: {', '.join(found.missing)}.")
    same = found.sha256 == checkout.agreed_sha256
    if not same or quote_id != quote_name(checkout) or agreed_total_minor != checkout.total_minor:
        raise _differs(
            "What it costs or contains is not what was agreed.",
            total_minor=found.priced.total_minor, agreed_total_minor=agreed_total_minor,
        )  # fmt: skip
    method = _method(call, customer.id, method_id, checkout) if checkout.total_minor else None
    checkout.customer_id = cart.customer_id = customer.id
    checkout.agreed = checkout.agreed | {"warehouse": found.terms["warehouse"]}
    call.stake(amount_minor=checkout.total_minor, currency=checkout.currency, agreed=True)
    _show(call, checkout, method)
    minutes = timedelta(minutes=terms_of(call).checkout_minutes)
    checking_out.begin(call, checkout, method.id if method else None, call.now + minutes)
    return _ended(call, call.session.get_one(Checkout, checkout.id))


def status(call: Call, id: str) -> Ended | Owned:
    """Of one's own checkout or order, however it came about. Raises NotFound."""
    who = signed_in(call)
    checkout = call.session.get(Checkout, id) or call.session.scalar(
        select(Checkout).where(Checkout.order_id == id)
    )
    if checkout is not None:
        mine = who.customer is not None and checkout.customer_id == who.customer.id
        cart = call.get(Cart, checkout.cart_id)
        if mine or cart.owner_subject == who.id:
            return _ended(call, checkout)
    order = own_order(call, who, id)
    lines = call.all(OrderLine, OrderLine.order_id == order.id, limit=MOST_LINES)
    return Owned(
        order,
        sorted(lines, key=lambda line: (line.position, line.id)),
        call.all(OrderAdjustment, OrderAdjustment.order_id == order.id, limit=MOST_LINES),
    )


def own_order(call: Call, who: Shopper, order_id: str) -> Order:
    """One of the shopper's own orders, as ``accounts`` lists them: a draft is none yet. Raises
    NotFound."""
    order = call.session.get(Order, order_id)
    mine = order is not None and who.customer is not None and order.customer_id == who.customer.id
    if order is None or not mine or order.placed_at is None:
        raise NotFound(
            "There is no such order of yours.", next="get_account_status lists the latest orders."
        )
    return order


def quote_name(checkout: Checkout) -> str:
    """What a call names the quote by."""
    return f"q{(checkout.agreed_sha256 or '')[:16]}"


def _say(cart: Cart, details: Details) -> None:
    if details.ship_to is not None:
        cart.ship_to = details.ship_to
    if details.recipient is not None:
        cart.recipient = details.recipient
    if details.shipping_service is not None:
        cart.shipping_service = details.shipping_service
    if details.promotion_codes is not None:
        codes = list(dict.fromkeys(code.strip().upper() for code in details.promotion_codes))
        if len(codes) > MOST_CODES:
            raise InvalidParameters.field("promotion_codes", len(codes), f"at most {MOST_CODES}")
        cart.promotion_codes = codes
    if details.redeem_points is not None:
        cart.redeem_points = details.redeem_points


def _seen(call: Call, cart: Cart, found: Quote) -> None:
    """The quote shows today's prices: from now on those are the ones that were shown."""
    for item, line in zip(carts.items_of(call, cart), found.priced.lines, strict=True):
        if item.unit_price_minor != line.price:
            item.unit_price_minor = line.price


def _written(call: Call, who: Shopper, cart: Cart, found: Quote) -> Checkout:
    known = _open_checkout(call, cart)
    checkout = known
    if checkout is None:
        checkout = Checkout(
            id=call.new_id("checkout"), cart_id=cart.id, currency=found.priced.currency,
            subtotal_minor=0, total_minor=0, created_at=call.now, expires_at=call.now,
        )  # fmt: skip
    cost, new = found.priced, found.new
    checkout.state = "incomplete" if found.missing else "ready_for_complete"
    checkout.customer_id = who.customer.id if who.customer else None
    checkout.currency = cost.currency
    checkout.ship_to, checkout.shipping_service = cart.ship_to, new.shipping_service
    checkout.subtotal_minor, checkout.discount_minor = cost.subtotal_minor, cost.discount_minor
    checkout.shipping_minor, checkout.tax_minor = cost.shipping_minor, cost.tax_minor
    checkout.total_minor = cost.total_minor
    checkout.agreed = found.terms | {
        "quoted_at": call.now.isoformat(),
        "ship_by_at": new.ship_by.isoformat() if new.ship_by else None,
        "promised_at": new.promised_at.isoformat() if new.promised_at else None,
    }
    checkout.agreed_sha256 = found.sha256
    checkout.expires_at = min(call.now + QUOTE_LIFE, cart.expires_at)
    if known is None:
        return call.add(checkout)
    call.session.flush()
    return checkout


def _open_checkout(call: Call, cart: Cart) -> Checkout | None:
    found = call.all(Checkout, Checkout.cart_id == cart.id, Checkout.state.in_(OPEN), limit=1)
    return found[0] if found else None


def _under_way(call: Call, who: Shopper, handle: str, quote_id: str) -> Checkout | None:
    """The same quote, bought before: being paid, or an order already."""
    query = (
        select(Checkout)
        .join(Cart, Cart.id == Checkout.cart_id)
        .where(
            Cart.owner_subject == who.id,
            Checkout.state.in_(("complete_in_progress", "completed")),
            (Cart.id == handle) | (Cart.handle_sha256 == carts.handle_digest(handle)),
        )
        .order_by(Checkout.created_at.desc(), Checkout.id.desc())
        .limit(5)
    )
    return next((c for c in call.session.scalars(query) if quote_name(c) == quote_id), None)


def _method(
    call: Call, customer_id: str, method_id: str | None, checkout: Checkout
) -> PaymentMethod:
    if method_id is None:
        raise InvalidParameters.field(
            "payment_method_id", None, "one of prepare_checkout's payment_methods"
        )
    method = call.session.get(PaymentMethod, method_id)
    if method is None or method.customer_id != customer_id or not method.active:
        raise NotFound("There is no such payment method of yours.")
    return paid.payer(call, None, customer_id, method.id, checkout.currency)


def methods_of(call: Call, who: Shopper) -> list[PaymentMethod]:
    """The shopper's own stored ways to pay."""
    if who.customer is None:
        return []
    query = select(PaymentMethod).where(
        PaymentMethod.customer_id == who.customer.id, PaymentMethod.active.is_(True)
    )
    query = query.order_by(PaymentMethod.position, PaymentMethod.id)
    return list(call.session.scalars(query.limit(MOST_METHODS)))


def _show(call: Call, checkout: Checkout, method: PaymentMethod | None) -> None:
    terms = checkout.agreed
    call.show(
        f"Buy for {Money(checkout.total_minor, checkout.currency)}",
        *(
            f"{line['quantity']} × {quoted(line['name'], 60)} at"
            f" {Money(line['price_minor'], checkout.currency)}"
            for line in terms["lines"][:10]
        ),
        f"To {quoted(str(terms['recipient']), 60)}, {quoted(one_line(terms['ship_to']), 120)}",
        f"Paid with {paid.method_words(method)}" if method else "Nothing to pay",
    )


def _ended(call: Call, checkout: Checkout) -> Ended:
    order = call.session.get(Order, checkout.order_id) if checkout.order_id else None
    payment = call.session.get(Payment, checkout.payment_id) if checkout.payment_id else None
    return Ended(checkout, order, payment)


def _differs(message: str, **details: Any) -> CartOperationFailed:
    return CartOperationFailed(
        message, details=details,
        next="Call prepare_checkout, show the shopper the new quote, and ask again.",
    )  # fmt: skip
