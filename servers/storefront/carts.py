"""Carts: what a shopper means to buy, with the prices they were shown."""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from sqlalchemy import select

from common.call import Call
from common.errors import CartNotFound, CartOperationFailed, InvalidParameters, ProductNotFound
from common.tables.inventory import Variant
from common.tables.storefront import Cart, CartItem
from servers.storefront import catalogue

LIFE: Final = timedelta(minutes=10)
OWN_LIFE: Final = timedelta(days=30)
MOST_ITEMS: Final = 50
MOST_UNITS: Final = 999
GUEST: Final = "guest"


@dataclass(frozen=True)
class Line:
    """A line of a cart; ``price_was_minor`` is set when the price changed since it was added."""

    item: CartItem
    price_minor: int
    price_was_minor: int | None


@dataclass(frozen=True)
class Contents:
    """A cart, what is in it at today's prices, and the handle that opens it."""

    cart: Cart
    handle: str | None
    lines: list[Line]

    @property
    def subtotal_minor(self) -> int:
        return sum(line.price_minor * line.item.quantity for line in self.lines)


def add(call: Call, product_name: str, quantity: int, handle: str | None) -> Contents:
    """Put units into the cart; a new one when no handle is given and none is open.

    Raises ProductNotFound with candidates, CartNotFound, CartOperationFailed (too much, or fewer
    in stock).
    """
    call.stake()
    hit = catalogue.one(call, product_name)
    cart, opened = _open(call, handle, hit.card.currency)
    if cart.currency != hit.card.currency:
        raise CartOperationFailed(f"This cart is in {cart.currency}; the product is not.")
    items = _items(call, cart)
    known = next((item for item in items if item.sku == hit.card.sku), None)
    wanted = quantity + (known.quantity if known else 0)
    if wanted > MOST_UNITS or (known is None and len(items) >= MOST_ITEMS):
        raise CartOperationFailed(
            "That is more than one cart can hold.", details={"most_units": MOST_UNITS}
        )
    if wanted > hit.available:
        raise CartOperationFailed(
            f"Only {hit.available} of it can be had.",
            details={"sku": hit.card.sku, "available": hit.available, "wanted": wanted},
            next="Offer fewer units, or another product.",
        )
    if known is not None:
        known.quantity = wanted
        known.unit_price_minor = hit.card.price_minor
    else:
        call.add(
            CartItem(
                id=call.new_id("item"), cart_id=cart.id, sku=hit.card.sku,
                position=max((item.position for item in items), default=-1) + 1,
                name=hit.card.name, quantity=quantity, currency=hit.card.currency,
                unit_price_minor=hit.card.price_minor, added_at=call.now,
            )
        )  # fmt: skip
    _touch(call, cart)
    return _contents(call, cart, opened)


def remove(call: Call, product_name: str, handle: str, quantity: int | None) -> Contents:
    """Take units, or all of a product, out of the cart. The name is looked for in the cart."""
    call.stake()
    cart, _ = _existing(call, handle)
    item = _named(call, cart, product_name)
    if quantity is not None and quantity > item.quantity:
        raise InvalidParameters.field("quantity", quantity, f"at most {item.quantity}")
    if quantity is None or quantity == item.quantity:
        call.session.delete(item)
        call.effect("delete", CartItem.__tablename__, item.id)
    else:
        item.quantity -= quantity
    _touch(call, cart)
    return _contents(call, cart, handle)


def contents(call: Call, handle: str) -> Contents:
    """What is in the cart. Raises CartNotFound for a handle that opens none of the caller's."""
    cart, _ = _existing(call, handle)
    return _contents(call, cart, handle)


def own(call: Call) -> Contents | None:
    """The caller's own open cart, if they have one."""
    cart = call.session.scalar(
        select(Cart).where(
            Cart.owner_subject == call.actor.id, Cart.status == "active",
            Cart.expires_at > call.now,
        )
    )  # fmt: skip
    return None if cart is None else _contents(call, cart, None)


def _open(call: Call, handle: str | None, currency: str) -> tuple[Cart, str]:
    if handle is not None:
        return _existing(call, handle)
    owner = None if call.actor.subject == GUEST else call.actor.id
    fresh = f"crt_{secrets.token_urlsafe(24)}"
    before = (
        call.session.scalar(
            select(Cart).where(Cart.owner_subject == owner, Cart.status == "active")
        )
        if owner
        else None
    )
    if before is not None and before.expires_at > call.now:
        before.handle_sha256 = _digest(fresh)
        return before, fresh
    if before is not None:
        before.status = "expired"
        call.session.flush()
    cart = Cart(
        id=call.new_id("cart"), handle_sha256=_digest(fresh), owner_subject=owner,
        currency=currency, created_at=call.now, changed_at=call.now,
        expires_at=call.now + (OWN_LIFE if owner else LIFE),
    )  # fmt: skip
    return call.add(cart), fresh


def _existing(call: Call, handle: str) -> tuple[Cart, str]:
    cart = call.session.scalar(select(Cart).where(Cart.handle_sha256 == _digest(handle)))
    mine = cart is not None and cart.owner_subject in (None, call.actor.id)
    if cart is None or not mine or cart.expires_at <= call.now or cart.status != "active":
        raise CartNotFound("There is no such cart, or it has expired.")
    return cart, handle


def _touch(call: Call, cart: Cart) -> None:
    cart.changed_at = call.now
    cart.expires_at = call.now + (OWN_LIFE if cart.owner_subject else LIFE)
    call.session.flush()


def _items(call: Call, cart: Cart) -> list[CartItem]:
    query = select(CartItem).where(CartItem.cart_id == cart.id).order_by(CartItem.position)
    return list(call.session.scalars(query.limit(MOST_ITEMS)))


def _named(call: Call, cart: Cart, name: str) -> CartItem:
    items = _items(call, cart)
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
            "suggestions": [{"sku": item.sku, "name": item.name} for item in part or items],
        },
        next="Call again with the exact name or SKU of an item in the cart.",
    )


def _contents(call: Call, cart: Cart, handle: str | None) -> Contents:
    lines = []
    for item in _items(call, cart):
        variant = call.get(Variant, item.sku)
        was = item.unit_price_minor if item.unit_price_minor != variant.price_minor else None
        lines.append(Line(item, variant.price_minor, was))
    return Contents(cart, handle, lines)


def _digest(handle: str) -> str:
    return hashlib.sha256(handle.encode()).hexdigest()
