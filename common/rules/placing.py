"""Place an order: prices fixed, tax and totals that add up, stock reserved, payment authorized.

Shared by every way an order can come about, so that there is one kind of order.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select

from common import countries
from common.call import Call
from common.errors import InsufficientStock, InvalidParameters, NotFound, RuleViolation
from common.money import allocate
from common.rules import lots, paid, reserving
from common.rules.timeline import count, happened
from common.tables.inventory import Product, Variant, Warehouse
from common.tables.orders import Customer, Order, OrderAdjustment, OrderLine, TaxRate


@dataclass(frozen=True)
class NewLine:
    """Units of one SKU. ``unit_price_minor`` None: the catalogue's price now."""

    sku: str
    quantity: int
    unit_price_minor: int | None = None
    discount_minor: int = 0


@dataclass
class NewOrder:
    """What is to be placed. ``discount_minor`` is spread over the lines by largest remainder.
    ``credit_minor`` is what was paid already, with the goods an exchange brings back: it is taken
    off the total, tax included, at most all of it. ``agreed``: promised before, so that what is
    no longer sold may still go. ``named_discounts``: (code, label, amount) of what the lines'
    discounts are made of. ``payment_id``: authorized already, for exactly the total.
    ``tax_at``: when the rates were agreed, if not now."""

    customer_id: str
    lines: Sequence[NewLine]
    ship_to: dict[str, Any]
    payment_method_id: str | None = None
    warehouse_id: str | None = None
    discount_minor: int = 0
    discount_code: str = ""
    credit_minor: int = 0
    credit_code: str = ""
    agreed: bool = False
    named_discounts: Sequence[tuple[str, str, int]] = ()
    payment_id: str | None = None
    tax_at: datetime | None = None
    shipping_minor: int = 0
    shipping_service: str | None = None
    ship_by: datetime | None = None
    promised_at: datetime | None = None
    channel: str = "shop"
    priority: int = 1
    order_id: str | None = None
    source: str = "shop"
    external_id: str | None = None
    replaces_order_id: str | None = None


@dataclass(frozen=True)
class _Priced:
    line: NewLine
    variant: Variant
    product: Product
    price: int
    discount: int
    tax: int
    rate: TaxRate | None

    @property
    def net(self) -> int:
        return self.price * self.line.quantity - self.discount


@dataclass(frozen=True)
class Priced:
    """What an order would come to. ``tax_minor`` is tax on top; ``taxes`` has every rate with its
    amount, on top or inside."""

    lines: list[_Priced]
    currency: str
    subtotal_minor: int
    discount_minor: int
    shipping_minor: int
    tax_minor: int
    taxes: list[tuple[TaxRate, int]]

    @property
    def total_minor(self) -> int:
        return self.subtotal_minor - self.discount_minor + self.shipping_minor + self.tax_minor


def priced(call: Call, new: NewOrder) -> Priced:
    """Prices, discounts and taxes, nothing written: what ``place`` will charge, credit aside.
    Raises NotFound, InvalidParameters, RuleViolation."""
    lines = _price(call, new)
    taxes: dict[str, tuple[TaxRate, int]] = {}
    for item in lines:
        if item.rate is not None:
            before = taxes[item.rate.id][1] if item.rate.id in taxes else 0
            taxes[item.rate.id] = (item.rate, before + item.tax)
    return Priced(
        lines=lines,
        currency=lines[0].variant.currency,
        subtotal_minor=sum(item.price * item.line.quantity for item in lines),
        discount_minor=sum(item.discount for item in lines),
        shipping_minor=new.shipping_minor,
        tax_minor=sum(amount for rate, amount in taxes.values() if not rate.included),
        taxes=list(taxes.values()),
    )


def place(call: Call, new: NewOrder) -> Order:
    """Place the order, all of it or nothing.

    Stock is reserved in the order's warehouse (the one with everything available, if none is
    named); the payment is authorized for the total. Raises NotFound, InvalidParameters,
    RuleViolation (not sellable, mixed currencies), InsufficientStock, InsufficientFunds.
    """
    customer = call.get(Customer, new.customer_id)
    cost = priced(call, new)
    warehouse_id = new.warehouse_id or warehouse_for(call, new.lines)
    call.get(Warehouse, warehouse_id)
    order = _order(call, new, customer, cost, warehouse_id, call.now)
    lines = [_line(call, order, item, position) for position, item in enumerate(cost.lines)]
    _adjustments(call, order, new, cost)
    _secure(call, order, lines, new.payment_id)
    return order


def draft(call: Call, new: NewOrder) -> Order:
    """Write the order down at today's prices: nothing reserved, nothing charged. Raises NotFound,
    InvalidParameters, RuleViolation."""
    customer = call.get(Customer, new.customer_id)
    cost = priced(call, new)
    if new.warehouse_id is not None:
        call.get(Warehouse, new.warehouse_id)
    order = _order(call, new, customer, cost, new.warehouse_id, None)
    for position, item in enumerate(cost.lines):
        _line(call, order, item, position)
    _adjustments(call, order, new, cost)
    happened(call, order.id, "drafted", count(len(cost.lines), "line"))
    call.session.flush()
    return order


def place_draft(call: Call, order: Order, ship_by: datetime, promised_at: datetime) -> None:
    """Place a draft under its own id, priced anew. The order is locked. Raises what ``place``
    raises."""
    lines = reprice_draft(call, order)
    wanted = [NewLine(line.sku, line.quantity) for line in lines]
    where = order.warehouse_id or warehouse_for(call, wanted)
    order.status, order.placed_at, order.warehouse_id = "placed", call.now, where
    order.ship_by, order.promised_at = ship_by, promised_at
    for line in lines:
        line.warehouse_id, line.placed_at = where, call.now
    _secure(call, order, lines, None)


def reprice_draft(call: Call, order: Order) -> list[OrderLine]:
    """A draft at today's prices and the taxes of where it goes. Returns its lines. Raises
    NotFound, RuleViolation."""
    lines = call.all(OrderLine, OrderLine.order_id == order.id)
    lines.sort(key=lambda line: (line.position, line.id))
    new = NewOrder(
        customer_id=order.customer_id,
        lines=[NewLine(line.sku, line.quantity) for line in lines],
        ship_to=order.ship_to,
        shipping_minor=order.shipping_minor,
        shipping_service=order.shipping_service,
    )
    cost = priced(call, new)
    for old in call.all(OrderAdjustment, OrderAdjustment.order_id == order.id):
        call.session.delete(old)
    order.currency, order.subtotal_minor = cost.currency, cost.subtotal_minor
    order.tax_minor, order.total_minor = cost.tax_minor, cost.total_minor
    for line, item in zip(lines, cost.lines, strict=True):
        line.name, line.options = item.variant.name, item.variant.options
        line.unit_price_minor, line.tax_minor = item.price, item.tax
    _adjustments(call, order, new, cost)
    return lines


def _secure(call: Call, order: Order, lines: Sequence[OrderLine], payment_id: str | None) -> None:
    """Reserve the units and authorize the total."""
    for line in lines:
        reservation = reserving.reserve(
            call, line.sku, line.warehouse_id or "", line.quantity,
            source="order", source_id=order.id,
        )  # fmt: skip
        line.reservation_id, line.status = reservation.id, "allocated"
    happened(call, order.id, "placed", count(len(lines), "line"))
    if payment_id is not None:
        paid.belongs_to(call, payment_id, order.id)
    elif order.payment_method_id and order.total_minor:
        paid.authorize(
            call, order_id=order.id, customer_id=order.customer_id,
            method_id=order.payment_method_id,
            amount_minor=order.total_minor, currency=order.currency,
        )  # fmt: skip
    call.session.flush()


def _price(call: Call, new: NewOrder) -> list[_Priced]:
    if not new.lines:
        raise InvalidParameters.field("lines", None, "at least one line")
    found: list[tuple[NewLine, Variant, Product, int]] = []
    for line in new.lines:
        variant = call.find(Variant, line.sku)
        if variant is None:
            raise NotFound(f"No SKU {line.sku}.", details={"sku": line.sku})
        if not (variant.sellable or new.agreed):
            raise RuleViolation(f"{line.sku} is not sold at present.", details={"sku": line.sku})
        price = variant.price_minor if line.unit_price_minor is None else line.unit_price_minor
        if not 0 <= line.discount_minor <= price * line.quantity:
            raise InvalidParameters.field(
                "discount_minor", line.discount_minor, "not more than the line"
            )
        found.append((line, variant, call.get(Product, variant.product_id), price))
    if len({variant.currency for _, variant, _, _ in found}) > 1:
        raise RuleViolation("An order has one currency; these products have several.")
    nets = [price * line.quantity - line.discount_minor for line, _, _, price in found]
    if not 0 <= new.discount_minor <= sum(nets):
        raise InvalidParameters.field(
            "discount_minor", new.discount_minor, "not more than the lines"
        )
    shares = allocate(new.discount_minor, nets)
    rates = rates_at(call, new.ship_to, new.tax_at or call.now)
    return [
        _taxed(_Priced(line, variant, product, price, line.discount_minor + share, 0, None), rates)
        for (line, variant, product, price), share in zip(found, shares, strict=True)
    ]


def rates_at(call: Call, ship_to: dict[str, Any], moment: datetime) -> dict[str, TaxRate]:
    """The rate of each tax class at the destination then; a region's own before its country's."""
    country, region = str(ship_to.get("country", "")), str(ship_to.get("region", ""))
    query = (
        select(TaxRate)
        .where(
            TaxRate.country.in_(countries.spellings(country)),
            TaxRate.region.in_(("", region)),
            TaxRate.valid_from <= moment.date(),
        )
        .order_by(TaxRate.region, TaxRate.valid_from)
        .limit(200)
    )
    return {rate.tax_class: rate for rate in call.session.scalars(query)}


def _taxed(item: _Priced, rates: dict[str, TaxRate]) -> _Priced:
    rate = rates.get(item.product.tax_class)
    if rate is None or rate.rate_bps == 0:
        return item
    tax = tax_of(item.net, rate)
    return _Priced(item.line, item.variant, item.product, item.price, item.discount, tax, rate)


def gross(call: Call, lines: Sequence[NewLine], rates: dict[str, TaxRate]) -> int:
    """What lines at agreed prices come to, tax on top included."""
    total = 0
    for line in lines:
        product = call.get(Product, call.get(Variant, line.sku).product_id)
        price = (line.unit_price_minor or 0) * line.quantity - line.discount_minor
        rate = rates.get(product.tax_class)
        total += price + (tax_of(price, rate) if rate is not None and not rate.included else 0)
    return total


def tax_of(net: int, rate: TaxRate | OrderAdjustment) -> int:
    """Tax on, or inside, an amount in minor units, half up; 0 where the rate is not known."""
    bps = rate.rate_bps or 0
    base = 10_000 + bps if rate.included else 10_000
    return (2 * net * bps + base) // (2 * base)


def warehouse_for(call: Call, lines: Sequence[NewLine]) -> str:
    """The warehouse that has every unit; the one with most to spare if several have."""
    needed: dict[str, int] = {}
    for line in lines:
        needed[line.sku] = needed.get(line.sku, 0) + line.quantity
    free = lots.at_once(call.session, call.now, list(needed))
    best, spare = None, -1
    for warehouse_id in sorted({where for _, where in free}):
        left = [free.get((sku, warehouse_id), 0) - wanted for sku, wanted in needed.items()]
        if min(left) >= 0 and sum(left) > spare:
            best, spare = warehouse_id, sum(left)
    if best is None:
        raise InsufficientStock(
            "No warehouse has all of it.",
            details={"wanted": needed},
            next="Use check_availability, then order less, or in parts.",
        )
    return best


def _order(
    call: Call,
    new: NewOrder,
    customer: Customer,
    cost: Priced,
    where: str | None,
    placed_at: datetime | None,
) -> Order:
    credit = max(0, min(new.credit_minor, cost.total_minor))
    return call.add(
        Order(
            id=new.order_id or call.new_id("order"),
            customer_id=customer.id,
            status="placed" if placed_at else "draft",
            currency=cost.currency,
            subtotal_minor=cost.subtotal_minor,
            discount_minor=cost.discount_minor,
            shipping_minor=cost.shipping_minor,
            tax_minor=cost.tax_minor,
            other_minor=-credit,
            total_minor=cost.total_minor - credit,
            ship_to=new.ship_to,
            warehouse_id=where,
            payment_method_id=new.payment_method_id,
            channel=new.channel,
            source=new.source,
            external_id=new.external_id,
            shipping_service=new.shipping_service,
            priority=new.priority,
            created_at=call.now,
            placed_at=placed_at,
            ship_by=new.ship_by,
            promised_at=new.promised_at,
            replaces_order_id=new.replaces_order_id,
        )
    )


def _line(call: Call, order: Order, item: _Priced, position: int) -> OrderLine:
    return call.add(
        OrderLine(
            id=call.new_id("line"),
            order_id=order.id,
            position=position,
            sku=item.variant.id,
            product_id=item.product.id,
            name=item.variant.name,
            options=item.variant.options,
            quantity=item.line.quantity,
            unit_price_minor=item.price,
            discount_minor=item.discount,
            tax_minor=item.tax,
            warehouse_id=order.warehouse_id,
            placed_at=order.placed_at,
        )
    )


def _adjustments(call: Call, order: Order, new: NewOrder, cost: Priced) -> None:
    for code, label, amount in new.named_discounts:
        _adjust(call, order, "discount", -amount, code=code, label=label)
    if order.discount_minor and not new.named_discounts:
        _adjust(
            call, order, "discount", -order.discount_minor, code=new.discount_code, label="Discount"
        )
    if new.shipping_minor:
        _adjust(
            call, order, "shipping", new.shipping_minor, label=new.shipping_service or "Shipping"
        )
    if order.other_minor:
        _adjust(call, order, "other", order.other_minor, code=new.credit_code, label="Exchange")
    for rate, amount in cost.taxes:
        _adjust(
            call, order, "tax", amount, label=rate.name, rate_bps=rate.rate_bps,
            included=rate.included,
        )  # fmt: skip


def _adjust(call: Call, order: Order, kind: str, amount: int, **more: Any) -> None:
    call.add(
        OrderAdjustment(
            id=call.new_id("adjustment"), order_id=order.id, kind=kind, amount_minor=amount, **more
        )
    )
