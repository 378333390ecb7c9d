"""What the storefront answers: lean, structured for widgets, complete without one."""

from typing import Any

from common.clock import stamp
from common.money import Money
from common.wire import Result
from servers.storefront import carts, catalogue
from servers.storefront.recommending import Recommended

SESSION = "widgetSessionId"
SHOWN_DESCRIPTION = 200


class ProductFound(Result):
    sku: str
    name: str
    category: str
    description: str | None = None
    price: str
    price_minor: int
    currency: str
    in_stock: bool
    score: int | None = None
    why: str | None = None

    @classmethod
    def of(
        cls, hit: catalogue.Hit, *, scored: bool = True, why: str | None = None
    ) -> "ProductFound":
        card = hit.card
        return cls(
            sku=card.sku,
            name=card.name,
            category=card.category,
            description=card.description[:SHOWN_DESCRIPTION] or None,
            price=str(Money(card.price_minor, card.currency)),
            price_minor=card.price_minor,
            currency=card.currency,
            in_stock=hit.available > 0,
            score=hit.score if scored else None,
            why=why,
        )


class ProductsFound(Result):
    count: int
    products: list[ProductFound]
    message: str | None = None


class Recommendations(Result):
    count: int
    products: list[ProductFound]
    note: str

    @classmethod
    def of(cls, found: list[Recommended]) -> "Recommendations":
        together = any(each.basis == "bought_together" for each in found)
        return cls(
            count=len(found),
            products=[ProductFound.of(each.hit, scored=False, why=each.why) for each in found],
            note="Counted in this shop's own orders."
            if together
            else "Too few orders have them together: these are simply popular."
            if found
            else "Nothing can be said yet.",
        )


class CategoryFound(Result):
    category: str
    products: int


class CategoriesFound(Result):
    count: int
    categories: list[CategoryFound]


class CartLine(Result):
    sku: str
    name: str
    quantity: int
    price_minor: int
    total_minor: int
    price_was_minor: int | None = None
    available: int | None = None


class CartView(Result):
    """``cart_id`` opens the cart: keep it, and show it to nobody."""

    cart_id: str
    currency: str
    items: list[CartLine]
    units: int
    subtotal_minor: int
    subtotal: str
    being_paid: bool | None = None
    expires_at: str
    note: str | None = None

    @classmethod
    def of(cls, found: carts.Contents) -> "CartView":
        lines = [
            CartLine(
                sku=line.item.sku, name=line.item.name, quantity=line.item.quantity,
                price_minor=line.price_minor, total_minor=line.price_minor * line.item.quantity,
                price_was_minor=line.price_was_minor, available=line.available,
            )
            for line in found.lines
        ]  # fmt: skip
        notes = []
        if any(line.price_was_minor is not None for line in lines):
            notes.append("A price changed since it was shown.")
        if any(line.available is not None for line in lines):
            notes.append("Of some items fewer can be had than the cart has.")
        view = cls(
            cart_id=found.handle,
            currency=found.cart.currency,
            items=lines,
            units=sum(line.quantity for line in lines),
            subtotal_minor=found.subtotal_minor,
            subtotal=str(Money(found.subtotal_minor, found.cart.currency)),
            being_paid=True if found.cart.status == "checkout" else None,
            expires_at=stamp(found.cart.expires_at),
            note=" ".join(notes) or None,
        )
        view._session = found.cart.id
        return view

    _session: str = ""

    def meta(self) -> dict[str, Any]:
        return {SESSION: self._session}
