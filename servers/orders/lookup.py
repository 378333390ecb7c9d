"""Small look-ups, and placing an order for a known customer."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import select

from common.call import Call, quoted
from common.errors import InvalidParameters, RuleViolation
from common.money import Money
from common.paging import page
from common.rules import paid, placing, stock
from common.rules.addresses import one_line
from common.tables.inventory import Product, Variant
from common.tables.orders import Customer, Order
from common.tables.payments import PaymentMethod
from servers.orders import changing, service

SHIP_WITHIN: Final = timedelta(days=1)
PROMISE: Final = timedelta(days=3)
METHOD: Final = "payment_method_id"


def place(
    call: Call,
    customer_id: str,
    lines: Sequence[placing.NewLine],
    method_id: str | None,
    ship_to: dict[str, Any] | None,
    warehouse: str | None,
    shipping_minor: int,
    *,
    draft: bool,
) -> Order:
    """An order by phone, at today's prices; ``draft``: only written down, and it may not be known
    yet what pays it. Raises what placing raises."""
    customer = call.get(Customer, customer_id, next="Look for the customer with find_customer.")
    address = ship_to or customer.address
    if not address:
        raise InvalidParameters.field("ship_to", None, "needed: the customer has no address")
    new = placing.NewOrder(
        customer_id=customer.id, lines=lines, ship_to=address, payment_method_id=method_id,
        warehouse_id=warehouse, shipping_minor=shipping_minor, channel="phone",
    )  # fmt: skip
    if draft:
        written = placing.draft(call, new)
        if method_id is not None:
            changing.own_method(call, written, method_id)
        call.stake()
        return written
    if method_id is None:
        raise InvalidParameters.field(METHOD, None, "needed: only a draft has none")
    call.get(PaymentMethod, method_id, next="find_customer lists the stored methods.")
    new.ship_by, new.promised_at = call.now + SHIP_WITHIN, call.now + PROMISE
    placed = placing.place(call, new)
    method = changing.own_method(call, placed, method_id)
    call.stake(amount_minor=placed.total_minor, currency=placed.currency)
    call.show(
        f"Place an order of {Money(placed.total_minor, placed.currency)}",
        *(f"{line.quantity} × {line.sku}" for line in lines),
        f"to {quoted(one_line(address))}",
        f"paid with {paid.method_words(method)}",
    )
    return placed


def place_draft(call: Call, order_id: str, method_id: str | None) -> Order:
    """Place a draft at today's prices, paid with ``method_id`` or what was written down. Raises
    RuleViolation for what is none, InvalidParameters when no method is known, and what placing
    raises."""
    order = service.changing(call, order_id)
    if order.status != "draft":
        raise RuleViolation(
            f"Order {order.id} is {order.status.replace('_', ' ')}, not a draft.",
            details={"status": order.status},
            next="search_orders with status=draft lists the drafts.",
        )
    pays = method_id or order.payment_method_id
    if pays is None:
        raise InvalidParameters.field(METHOD, None, "needed: the draft names none")
    method = changing.own_method(call, order, pays)
    order.payment_method_id = method.id
    before = Money(order.total_minor, order.currency)
    placing.place_draft(call, order, call.now + SHIP_WITHIN, call.now + PROMISE)
    total = Money(order.total_minor, order.currency)
    call.stake(amount_minor=total.minor, currency=total.currency)
    call.show(
        f"Place draft {order.id} of {total}",
        *(f"{line.quantity} × {line.sku}" for line in service.lines_of(call, order)),
        f"to {quoted(one_line(order.ship_to))}",
        f"paid with {paid.method_words(method)}",
    )
    if total != before:
        call.show("", f"the total changed since it was drafted: it was {before}")
        call.figure("total", before, total)
    return order


def variants(
    call: Call, product_id: str, cursor: str | None, limit: int
) -> tuple[list[tuple[Variant, int]], str | None]:
    """The variants of a product with the units that can be had of each."""
    call.get(Product, product_id, next="get_order names the product of each line.")
    query = select(Variant).where(Variant.product_id == product_id)
    keys: Sequence[Any] = [Variant.position, Variant.id]
    found, more = page(call.session, query, keys, cursor, limit)
    left: dict[str, int] = {}
    for (sku, _), level in stock.levels(call.session, call.now, [v.id for v in found]).items():
        left[sku] = left.get(sku, 0) + level.available
    return [(variant, left.get(variant.id, 0)) for variant in found], more
