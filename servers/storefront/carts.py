"""Carts: what a shopper means to buy, with the prices they were shown.

A guest's cart is opened by a secret handle, whoever presents it. A signed-in shopper's cart is
named by its id and opens for them alone; they have one. Signing in adopts a guest's cart: the first
change with its handle makes it theirs, and the handle opens it for nobody else from then on.
"""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from sqlalchemy import func, or_, select

from common.call import Call
from common.errors import (
    CartNotFound,
    CartOperationFailed,
    InvalidParameters,
    ProductNotFound,
    RateLimited,
)
from common.rules import lots
from common.shoppers import Shopper, shopper, terms_of
from common.storage.database import lock
from common.storage.locks import one_at_a_time
from common.tables.inventory import Variant
from common.tables.storefront import Cart, CartItem
from servers.storefront import catalogue

OWN_LIFE: Final = timedelta(days=30)
MOST_ITEMS: Final = 50
MOST_UNITS: Final = 999
MOST_OF_ONE_GUEST: Final = 5
MOST_GUEST_CARTS: Final = 10_000
OPEN: Final = ("active", "checkout")


@dataclass(frozen=True)
class Line:
    """A line of a cart. ``price_was_minor`` is set when the price changed since it was shown,
    ``available`` when fewer can be had than the cart has."""

    item: CartItem
    price_minor: int
    price_was_minor: int | None
    available: int | None


@dataclass(frozen=True)
class Contents:
    """A cart, what is in it at today's prices, and what opens it."""

    cart: Cart
    handle: str
    lines: list[Line]

    @property
    def subtotal_minor(self) -> int:
        return sum(line.price_minor * line.item.quantity for line in self.lines)


def add(call: Call, product_name: str, quantity: int, handle: str | None) -> Contents:
    """Put units into the cart; a new one when no handle is given and none is open.

    Raises ProductNotFound with candidates, CartNotFound, CartOperationFailed (too much, or fewer
    in stock), RateLimited (too many guests' carts).
    """
    call.stake()
    hit = catalogue.one(call, product_name)
    who = shopper(call)
    cart, opened = changing(call, who, handle) if handle else _mine(call, who, hit.card.currency)
    _in_currency(call, cart, hit.card.currency, "The cart")
    _put(call, cart, hit.card, quantity, hit.available)
    touch(call, cart)
    return _contents(call, cart, opened)


def remove(call: Call, product_name: str, handle: str, quantity: int | None) -> Contents:
    """Take units, or all of a product, out of the cart. The name is looked for in the cart."""
    call.stake()
    cart, opened = changing(call, shopper(call), handle)
    item = _named(call, cart, product_name)
    if quantity is not None and quantity > item.quantity:
        raise InvalidParameters.field("quantity", quantity, f"at most {item.quantity}")
    if quantity is None or quantity == item.quantity:
        call.session.delete(item)
        call.effect("delete", CartItem.__tablename__, item.id)
    else:
        item.quantity -= quantity
    touch(call, cart)
    return _contents(call, cart, opened)


def contents(call: Call, handle: str) -> Contents:
    """What is in the cart. Raises CartNotFound for a handle that opens none of the caller's."""
    who = shopper(call)
    cart = _find(call, who, handle)
    return _contents(call, cart, handle if cart.owner_subject is None else cart.id)


def own(call: Call, user_id: str) -> Contents | None:
    """The caller's own open cart, if they have one and ``user_id`` names them."""
    who = shopper(call)
    names = {call.actor.subject, call.actor.id, "me"}
    if who.customer is not None:
        names.add(who.customer.id)
    cart = _own_open(call, who) if user_id in names and not who.guest else None
    return None if cart is None else _contents(call, cart, cart.id)


def changing(call: Call, who: Shopper, handle: str) -> tuple[Cart, str]:
    """The cart, locked, and what opens it from now on; a guest's becomes that of who signed in.
    Raises CartNotFound, CartOperationFailed while it is being paid."""
    seen = _find(call, who, handle)
    lock(call.session, Cart, [seen.id])
    call.session.refresh(seen)
    cart = _find(call, who, handle)
    if cart.status == "checkout":
        raise CartOperationFailed(
            "This cart is being paid for; it cannot be changed now.",
            next="Call checkout again to see whether the payment is through.",
        )
    if cart.owner_subject is None and not who.guest:
        cart = _adopt(call, who, cart)
    return cart, handle if cart.owner_subject is None else cart.id


def items_of(call: Call, cart: Cart) -> list[CartItem]:
    """The items in the order they were added."""
    query = select(CartItem).where(CartItem.cart_id == cart.id).order_by(CartItem.position)
    return list(call.session.scalars(query.limit(MOST_ITEMS)))


def handle_digest(handle: str) -> str:
    return hashlib.sha256(handle.encode()).hexdigest()


def touch(call: Call, cart: Cart) -> None:
    """The cart lasts on from now."""
    cart.changed_at = call.now
    cart.expires_at = call.now + _life(call, cart.owner_subject is not None)
    call.session.flush()


def _find(call: Call, who: Shopper, handle: str) -> Cart:
    query = select(Cart).where(or_(Cart.handle_sha256 == handle_digest(handle), Cart.id == handle))
    found = call.session.scalars(query.limit(2)).all()
    cart = found[0] if len(found) == 1 else None
    if cart is not None and cart.merged_into is not None:
        cart = call.session.get(Cart, cart.merged_into)
    by_id = cart is not None and cart.id == handle
    if cart is None or cart.expires_at <= call.now or cart.status not in OPEN:
        raise _no_cart()
    # The id of a guest's cart is no secret: only its handle opens it.
    if cart.owner_subject != who.id and (by_id or cart.owner_subject is not None):
        raise _no_cart()
    return cart


def _no_cart() -> CartNotFound:
    return CartNotFound("There is no such cart, or it has expired.")


def _mine(call: Call, who: Shopper, currency: str) -> tuple[Cart, str]:
    """The open cart of who signed in, or a new one."""
    if who.guest:
        _limit_guests(call)
    else:
        one_at_a_time(call.session, f"cart of {who.id}")
        mine = _own_open(call, who)
        if mine is not None:
            return changing(call, who, mine.id)
        expired = Cart.owner_subject == who.id, Cart.status.in_(OPEN)
        for old in call.session.scalars(select(Cart).where(*expired).limit(5)):
            old.status = "expired"
        call.session.flush()
    secret = f"crt_{secrets.token_urlsafe(24)}"
    cart = call.add(
        Cart(
            id=call.new_id("cart"), handle_sha256=handle_digest(secret),
            owner_subject=None if who.guest else who.id, opened_by=who.id,
            customer_id=who.customer.id if who.customer else None, currency=currency,
            created_at=call.now, changed_at=call.now, status="active",
            expires_at=call.now + _life(call, not who.guest),
        )
    )  # fmt: skip
    return cart, secret if who.guest else cart.id


def _own_open(call: Call, who: Shopper) -> Cart | None:
    query = select(Cart).where(
        Cart.owner_subject == who.id, Cart.status.in_(OPEN), Cart.expires_at > call.now
    )
    return call.session.scalars(query.order_by(Cart.status.desc(), Cart.id).limit(1)).first()


def _limit_guests(call: Call) -> None:
    alive = Cart.owner_subject.is_(None), Cart.status == "active", Cart.expires_at > call.now
    count = select(func.count()).select_from(Cart).where(*alive)
    own = call.session.scalar(count.where(Cart.opened_by == call.actor.id)) or 0
    if own >= MOST_OF_ONE_GUEST:
        raise RateLimited(
            f"A guest may have {MOST_OF_ONE_GUEST} carts at a time.",
            next="Pass the cart_id of an earlier answer.",
        )
    if (call.session.scalar(count) or 0) >= MOST_GUEST_CARTS:
        raise RateLimited(
            "Too many guests have carts at the moment.",
            details={"retry_after_s": 60},
        )


def _adopt(call: Call, who: Shopper, cart: Cart) -> Cart:
    """A guest's cart becomes that of who signed in, or goes into the one they have. Once."""
    mine = _own_open(call, who)
    if mine is None:
        cart.owner_subject = who.id
        cart.customer_id = who.customer.id if who.customer else None
        call.effect("adopt", Cart.__tablename__, cart.id)
        return cart
    mine, _ = changing(call, who, mine.id)
    _in_currency(call, mine, cart.currency, "The shopper's own cart")
    for item in items_of(call, cart):
        hits = catalogue.hits_of(call, [item.sku])
        if hits:
            _put(call, mine, hits[0].card, item.quantity, hits[0].available, most=True)
    # What was said last counts: the address and the codes of the cart they just used.
    mine.ship_to, mine.recipient = cart.ship_to or mine.ship_to, cart.recipient or mine.recipient
    mine.shipping_service = cart.shipping_service or mine.shipping_service
    mine.promotion_codes = cart.promotion_codes or mine.promotion_codes
    cart.status, cart.merged_into = "abandoned", mine.id
    call.effect("merge", Cart.__tablename__, cart.id)
    return mine


def _in_currency(call: Call, cart: Cart, wanted: str, which: str) -> None:
    """An empty cart takes any. Raises CartOperationFailed."""
    if cart.currency != wanted and items_of(call, cart):
        raise CartOperationFailed(
            f"{which} is in {cart.currency}; this is in {wanted}.",
            next="Buy what is in that cart first, or empty it with remove_from_cart.",
        )
    cart.currency = wanted


def _put(
    call: Call, cart: Cart, card: catalogue.Card, quantity: int, available: int, *,
    most: bool = False,
) -> None:  # fmt: skip
    """Add units; with ``most`` as many as can be had instead of refusing."""
    items = items_of(call, cart)
    known = next((item for item in items if item.sku == card.sku), None)
    wanted = quantity + (known.quantity if known else 0)
    if most:
        wanted = min(wanted, available, MOST_UNITS)
        if wanted < 1 or (known is None and len(items) >= MOST_ITEMS):
            return
    if wanted > MOST_UNITS or (known is None and len(items) >= MOST_ITEMS):
        raise CartOperationFailed(
            "That is more than one cart can hold.", details={"most_units": MOST_UNITS}
        )
    if wanted > available:
        raise CartOperationFailed(
            f"Only {available} of it can be had." if available else "None of it can be had now.",
            details={"sku": card.sku, "available": available, "wanted": wanted},
            next="Offer fewer units, or another product.",
        )
    if known is not None:
        known.quantity = wanted  # its price stays the one that was shown
        return
    call.add(
        CartItem(
            id=call.new_id("item"), cart_id=cart.id, sku=card.sku,
            position=max((item.position for item in items), default=-1) + 1,
            name=card.name, quantity=wanted, currency=card.currency,
            unit_price_minor=card.price_minor, added_at=call.now,
        )
    )  # fmt: skip


def _named(call: Call, cart: Cart, name: str) -> CartItem:
    items = items_of(call, cart)
    wanted = name.strip().casefold()
    exact = [item for item in items if wanted in (item.sku.casefold(), item.name.casefold())]
    if len(exact) == 1:
        return exact[0]
    part = [item for item in items if set(wanted.split()) <= set(item.name.casefold().split())]
    if len(part) == 1:
        return part[0]
    raise ProductNotFound(
        "It is not clear which item of the cart is meant." if part else "That is not in the cart.",
        details={
            "searched": name,
            "suggestion": "Name an item as the cart shows it, or its SKU.",
            "suggestions": [{"sku": item.sku, "name": item.name} for item in part or items],
        },
        next="Call again with the exact name or SKU of an item in the cart.",
    )


def _contents(call: Call, cart: Cart, handle: str) -> Contents:
    items = items_of(call, cart)
    skus = [item.sku for item in items]
    prices = select(Variant.id, Variant.price_minor).where(Variant.id.in_(skus))
    now = {row.id: row.price_minor for row in call.session.execute(prices)}
    there = lots.most_at_once(call.session, call.now, skus)
    lines = []
    for item in items:
        price, left = now[item.sku], there[item.sku]
        was = item.unit_price_minor if item.unit_price_minor != price else None
        # While it is being paid for its own units are reserved, not short.
        short = left if left < item.quantity and cart.status == "active" else None
        lines.append(Line(item, price, was, short))
    return Contents(cart, handle, lines)


def _life(call: Call, owned: bool) -> timedelta:
    return OWN_LIFE if owned else timedelta(minutes=terms_of(call).guest_cart_minutes)
