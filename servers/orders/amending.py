"""Amending lines of an order to other variants: all of it at once, or nothing."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, select

from common.call import Call, quoted
from common.errors import InvalidParameters, NotFound, RuleViolation
from common.money import Money, allocate
from common.rules import paid, reserving, taxes
from common.rules.timeline import count, happened
from common.tables.inventory import Variant
from common.tables.orders import Order, OrderAdjustment, OrderLine
from servers.orders import changing, service


@dataclass(frozen=True)
class Change:
    """``quantity`` units of a line become another variant; None is the whole line."""

    line_id: str
    new_sku: str
    quantity: int | None = None


def amend(call: Call, order_id: str, changes: Sequence[Change], method_id: str) -> service.Whole:
    """Every change, one new total, one settlement of the difference with one method.

    Raises RuleViolation (released, amended before, another product, the same variant, not sold),
    InsufficientStock, InsufficientFunds, NotFound. Then nothing is changed.
    """
    order = service.changing(call, order_id)
    changing.require_open(order, "amend its lines", untouched=True)
    method = changing.own_method(call, order, method_id)
    lines = {line.id: line for line in service.lines_of(call, order)}
    _not_more_than_there_is(lines, changes)
    before = order.total_minor
    on_top = sum(_one(call, order, lines, change) for change in changes)
    _total(call, order, on_top)
    difference = order.total_minor - before
    differs = difference < 0 and not paid.covers(call, order.id, method.id, -difference)
    call.stake(
        amount_minor=abs(difference), currency=order.currency,
        destination_differs=differs,
    )  # fmt: skip
    call.show(
        f"Amend order {order.id}",
        f"{_settled(difference, order)} {paid.method_words(method)}",
    )
    call.figure(
        "order total", Money(before, order.currency), Money(order.total_minor, order.currency)
    )
    if difference > 0:
        changing.can_pay(call, method, difference, order.currency)
    paid.settle_difference(
        call, order.id, order.customer_id, method.id, difference, order.currency, "amendment",
        allow_unlinked=method.kind in ("gift_card", "store_credit"),
    )  # fmt: skip
    order.amended_at = call.now
    happened(call, order.id, "amended", count(len(changes), "line"), reference=method.id)
    return service.whole(call, order.id)


def split(call: Call, order_id: str, line_id: str, quantity: int) -> service.Whole:
    """Divide a line in two, so that its units can go different ways. Totals stay the same."""
    order = service.changing(call, order_id)
    call.stake()
    changing.require_open(order, "split its lines")
    lines = {line.id: line for line in service.lines_of(call, order)}
    part(call, order, _line(lines, line_id), quantity)
    happened(call, order.id, "line_split", reference=line_id)
    return service.whole(call, order.id)


def _one(call: Call, order: Order, lines: dict[str, OrderLine], change: Change) -> int:
    """Carry out one change of a line. Returns by how much tax on top of the prices changes."""
    line = _line(lines, change.line_id)
    variant = call.find(Variant, change.new_sku)
    if variant is None:
        raise NotFound(f"No SKU {change.new_sku}.", next="list_variants shows what there is.")
    if variant.product_id != line.product_id:
        raise RuleViolation(
            f"{variant.id} is another product than {line.sku}.",
            next="Only variants of the same product; list_variants shows them.",
        )
    if variant.id == line.sku:
        raise RuleViolation(f"Line {line.id} is {line.sku} already.")
    if not variant.sellable:
        raise RuleViolation(f"{variant.id} is not sold at present.")
    if variant.currency != order.currency:
        raise RuleViolation(f"{variant.id} is not sold in {order.currency}.")
    if change.quantity is not None and change.quantity < line.quantity:
        line = part(call, order, line, change.quantity)
    call.show("", f"{quoted(line.name)} → {quoted(variant.name)}, {line.quantity} units")
    changing.release_line(call, line)
    tax = taxes.tax_lines(call, order, [line]).get(line.id)
    net = line.unit_price_minor * line.quantity - line.discount_minor
    line.sku, line.name, line.options = variant.id, variant.name, variant.options
    line.unit_price_minor = variant.price_minor
    line.discount_minor = min(line.discount_minor, line.unit_price_minor * line.quantity)
    new_net = line.unit_price_minor * line.quantity - line.discount_minor
    taxed = line.tax_minor
    line.tax_minor = (2 * line.tax_minor * new_net + net) // (2 * net) if net else 0
    on_top = 0
    if tax is not None:
        difference = max(line.tax_minor - taxed, -tax.amount_minor)
        tax.amount_minor += difference
        on_top = 0 if tax.included else difference
    if order.warehouse_id is None:
        raise RuleViolation(f"Order {order.id} has no warehouse to take it from.")
    reservation = reserving.reserve(
        call, variant.id, line.warehouse_id or order.warehouse_id, line.quantity,
        source="order", source_id=order.id,
    )  # fmt: skip
    line.reservation_id, line.status = reservation.id, "allocated"
    call.session.flush()
    return on_top


def part(call: Call, order: Order, line: OrderLine, quantity: int) -> OrderLine:
    """Split ``quantity`` units off a line; discount, tax and reservation are divided."""
    if not 0 < quantity < line.quantity:
        raise InvalidParameters.field("quantity", quantity, f"between 1 and {line.quantity - 1}")
    there = select(func.count()).select_from(OrderLine).where(OrderLine.order_id == order.id)
    if (call.session.scalar(there) or 0) >= service.MOST_LINES:
        raise RuleViolation(f"Order {order.id} has {service.MOST_LINES} lines, the most there are.")
    weights = [quantity, line.quantity - quantity]
    discounts = allocate(line.discount_minor, weights)
    taxes = allocate(line.tax_minor, weights)
    taken = OrderLine(
        id=call.new_id("line"), order_id=order.id, position=line.position, split_from_id=line.id,
        sku=line.sku, product_id=line.product_id, name=line.name, options=line.options,
        quantity=quantity, unit_price_minor=line.unit_price_minor, discount_minor=discounts[0],
        tax_minor=taxes[0], status=line.status, warehouse_id=line.warehouse_id,
        placed_at=line.placed_at,
    )  # fmt: skip
    reserved = line.reservation_id is not None
    changing.release_line(call, line)
    line.quantity -= quantity
    line.discount_minor, line.tax_minor = discounts[1], taxes[1]
    call.add(taken)
    for each in (line, taken) if reserved else ():
        reservation = reserving.reserve(
            call, each.sku, each.warehouse_id or order.warehouse_id or "", each.quantity,
            source="order", source_id=order.id,
        )  # fmt: skip
        each.reservation_id = reservation.id
    call.session.flush()
    return taken


def _total(call: Call, order: Order, tax_on_top: int) -> None:
    """Sums of the lines again, and what was taken off them."""
    lines = [line for line in service.lines_of(call, order) if line.status != "cancelled"]
    less = sum(line.discount_minor for line in lines) - order.discount_minor
    for discount in call.all(
        OrderAdjustment, OrderAdjustment.order_id == order.id, OrderAdjustment.kind == "discount"
    )[:1]:
        discount.amount_minor = min(0, discount.amount_minor - less)
    subtotal = sum(line.unit_price_minor * line.quantity for line in lines)
    rest = order.shipping_minor + order.tax_minor + tax_on_top + order.other_minor
    if subtotal - order.discount_minor - less + rest < 0:
        raise RuleViolation(
            f"Order {order.id} would cost less than was credited to it with an exchange.",
            next="Return what was exchanged for a refund instead.",
        )
    # All at once: the database checks that they add up.
    order.subtotal_minor = sum(line.unit_price_minor * line.quantity for line in lines)
    order.discount_minor += less
    order.tax_minor += tax_on_top
    order.total_minor = (
        order.subtotal_minor - order.discount_minor + order.shipping_minor
        + order.tax_minor + order.other_minor
    )  # fmt: skip
    call.session.flush()


def _line(lines: dict[str, OrderLine], line_id: str) -> OrderLine:
    line = lines.get(line_id)
    if line is None or line.status == "cancelled":
        raise NotFound(f"The order has no open line {line_id}.", next="get_order lists its lines.")
    return line


def _not_more_than_there_is(lines: dict[str, OrderLine], changes: Sequence[Change]) -> None:
    """Nothing may be changed twice: a line is named once, or with a quantity each time."""
    taken: dict[str, int] = {}
    for change in changes:
        line = _line(lines, change.line_id)
        units = line.quantity if change.quantity is None else change.quantity
        taken[line.id] = taken.get(line.id, 0) + units
        if taken[line.id] > line.quantity:
            raise InvalidParameters.field(
                "changes", line.id, f"at most its {line.quantity} units in all"
            )


def _settled(difference: int, order: Order) -> str:
    amount = Money(abs(difference), order.currency)
    if difference == 0:
        return "nothing to settle; noted with"
    return f"{amount} is charged to" if difference > 0 else f"{amount} goes back to"
