"""What a cart would cost: lines, discounts, shipping, tax, and what is still to be said."""

from dataclasses import dataclass
from datetime import UTC, datetime, time
from typing import Any, Final

from common.call import Call
from common.canonical import digest
from common.errors import CartOperationFailed, InsufficientStock, NotFound
from common.rules import members, placing, rates
from common.rules.placing import NewLine, NewOrder
from common.shoppers import Shopper
from common.tables.inventory import Variant, Warehouse
from common.tables.logistics import RateCard
from common.tables.storefront import Cart
from servers.storefront import carts, catalogue, promotions

USUAL_WEIGHT_G: Final = 500
MOST_OPTIONS: Final = 10
ARRANGED: Final = "shop:delivery"


@dataclass(frozen=True)
class Shipping:
    """One way to send it. ``id`` is what ``shipping_service`` takes."""

    id: str
    carrier: str
    service: str
    price_minor: int
    arrives_by: str | None
    ship_by: str | None


@dataclass(frozen=True)
class Quote:
    """``missing`` names what has to be said before it can be bought; ``terms`` is what a shopper
    agrees to and ``sha256`` its digest."""

    new: NewOrder
    priced: placing.Priced
    reductions: promotions.Reductions
    options: list[Shipping]
    chosen: Shipping | None
    points: int
    missing: list[str]
    terms: dict[str, Any]

    @property
    def sha256(self) -> str:
        # Where it is sent from is the shop's to change, as long as nothing else changes.
        return digest({key: said for key, said in self.terms.items() if key != "warehouse"})


def quote(call: Call, who: Shopper, cart: Cart) -> Quote:
    """At today's prices. Raises CartOperationFailed for an empty cart, for what is no longer sold
    or can no longer be had."""
    items = carts.items_of(call, cart)
    if not items:
        raise CartOperationFailed("The cart is empty.", next="Add a product with add_to_cart.")
    variants = {item.sku: call.get(Variant, item.sku) for item in items}
    sold = {hit.card.sku for hit in catalogue.hits_of(call, list(variants))}
    gone = [item.sku for item in items if item.sku not in sold]
    if gone:
        raise CartOperationFailed(
            "Some items are no longer sold.", details={"skus": gone},
            next="Take them out with remove_from_cart, then go on.",
        )  # fmt: skip
    customer_id = who.customer.id if who.customer else None
    tier = members.tier_of(call, customer_id)
    asked = cart.redeem_points or 0
    at_home = tier is not None and tier.currency == cart.currency
    points = 0
    if customer_id and asked and at_home:
        points = min(asked, members.points_of(call, customer_id)[0])
    goods = promotions.goods_of(
        call, [(i.sku, i.quantity, variants[i.sku].price_minor) for i in items]
    )
    off = promotions.reduce(
        call, goods, cart.currency, cart.promotion_codes, who.customer, tier, points
    )
    lines = [
        NewLine(item.sku, item.quantity, variants[item.sku].price_minor, discount)
        for item, discount in zip(items, off.by_line, strict=True)
    ]
    warehouse = _warehouse(call, lines)
    net = sum(each.gross_minor for each in goods) - sum(off.by_line)
    free = off.free_shipping[:1]
    free_from = tier.free_shipping_from_minor if tier and at_home else None
    if free_from is not None and net >= free_from:
        free = ["MEMBER"]
    options = _options(call, cart, items, variants, warehouse, bool(free))
    chosen = _chosen(cart, options)
    redeemed = sum(each.amount_minor for each in off.discounts if each.code == "POINTS")
    new = _order(cart, customer_id, lines, off, warehouse, chosen)
    cost = placing.priced(call, new)
    terms = _terms(cart, cost, off, chosen, redeemed, warehouse)
    return Quote(new, cost, off, options, chosen, redeemed, _missing(cart, chosen), terms)


def _order(
    cart: Cart, customer_id: str | None, lines: list[NewLine], off: promotions.Reductions,
    warehouse: str, chosen: Shipping | None,
) -> NewOrder:  # fmt: skip
    return NewOrder(
        customer_id=customer_id or "",
        lines=lines,
        ship_to=dict(cart.ship_to or {}),
        warehouse_id=warehouse,
        named_discounts=[(d.code, d.label, d.amount_minor) for d in off.discounts],
        shipping_minor=chosen.price_minor if chosen else 0,
        shipping_service=f"{chosen.carrier}, {chosen.service}" if chosen else None,
        ship_by=_end_of(chosen.ship_by) if chosen else None,
        promised_at=_end_of(chosen.arrives_by) if chosen else None,
        channel="storefront",
        source="storefront",
    )


def _terms(
    cart: Cart, cost: placing.Priced, off: promotions.Reductions, chosen: Shipping | None,
    points: int, warehouse: str,
) -> dict[str, Any]:  # fmt: skip
    """Everything the order will be made of: an order cannot differ from what was agreed."""
    return {
        "cart": cart.id,
        "currency": cost.currency,
        "lines": [
            {
                "sku": item.variant.id, "name": item.variant.name, "quantity": item.line.quantity,
                "price_minor": item.price, "discount_minor": item.discount,
            }
            for item in cost.lines
        ],
        "discounts": [[d.code, d.label, d.amount_minor] for d in off.discounts],
        "promotions": off.promotions,
        "points": points,
        "ship_to": cart.ship_to,
        "recipient": cart.recipient,
        "shipping": [chosen.id, chosen.price_minor] if chosen else None,
        "arrives_by": chosen.arrives_by if chosen else None,
        "ship_by": chosen.ship_by if chosen else None,
        "service": f"{chosen.carrier}, {chosen.service}" if chosen else None,
        "warehouse": warehouse,
        "taxes": [
            {
                "name": rate.name, "rate_bps": rate.rate_bps, "included": rate.included,
                "amount_minor": amount,
            }
            for rate, amount in cost.taxes
        ],
        "total_minor": cost.total_minor,
    }  # fmt: skip


def _missing(cart: Cart, chosen: Shipping | None) -> list[str]:
    wanted = {
        "ship_to": bool(cart.ship_to), "recipient": bool(cart.recipient),
        "shipping_service": chosen is not None,
    }  # fmt: skip
    return [name for name, said in wanted.items() if not said]


def _chosen(cart: Cart, options: list[Shipping]) -> Shipping | None:
    return next((each for each in options if each.id == cart.shipping_service), None)


def _warehouse(call: Call, lines: list[NewLine]) -> str:
    try:
        return placing.warehouse_for(call, lines)
    except InsufficientStock as error:
        raise CartOperationFailed(
            "Not everything in the cart can be had together now.", details=error.details,
            next="Look at the cart with get_cart; take fewer, or order in parts.",
        ) from None  # fmt: skip


def _options(
    call: Call, cart: Cart, items: list[Any], variants: dict[str, Variant], warehouse: str,
    free: bool,
) -> list[Shipping]:  # fmt: skip
    """The carriers' rates to the address, the cheapest first; with ``free`` that one costs
    nothing. A shop without rate cards arranges delivery itself."""
    if not cart.ship_to:
        return []
    if not call.session.query(RateCard.id).limit(1).all():
        return [Shipping(ARRANGED, "shop", "delivery", 0, None, None)]
    weight = volume = 0
    for item in items:
        each = variants[item.sku]
        weight += item.quantity * (each.weight_g or USUAL_WEIGHT_G)
        sides = (each.length_mm or 0) * (each.width_mm or 0) * (each.height_mm or 0)
        volume += item.quantity * -(-sides // 1_000)
    where = call.find(Warehouse, warehouse)
    try:
        found = rates.quotes(call, rates.Load(weight, volume), cart.ship_to, where)
    except NotFound as error:
        raise CartOperationFailed(
            error.message, next="Ask for another address, or order in parts."
        ) from None
    usable = [each for each in found if each.card.currency == cart.currency][:MOST_OPTIONS]
    if not usable:
        raise CartOperationFailed(
            f"No carrier's prices to there are in {cart.currency}.",
            next="Ask for another address, or for products in another currency.",
        )
    return [
        Shipping(
            f"{each.carrier.id}:{each.card.service}", each.carrier.name, each.card.service,
            0 if free and number == 0 else each.price_minor,
            each.arrives_by.isoformat(), each.ships_on.isoformat(),
        )
        for number, each in enumerate(usable)
    ]  # fmt: skip


def _end_of(day: str | None) -> datetime | None:
    if day is None:
        return None
    return datetime.combine(datetime.fromisoformat(day).date(), time(23, 59), UTC)
