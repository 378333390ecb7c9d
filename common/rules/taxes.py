"""Which of an order's taxes a line's is, and so what was paid for the line.

An order may have one tax inside its prices and another on top, and a line says only how much its
own is. Its rate is in the order's tax lines, as it was agreed: addresses, classes and rates may
have changed since.
"""

from collections.abc import Sequence
from typing import Final

from common.call import Call
from common.rules import placing
from common.tables.inventory import Product
from common.tables.orders import Order, OrderAdjustment, OrderLine

# By how much dividing and amending a line may have moved its tax, in minor units.
_ROUNDED: Final = 2


def line_values(call: Call, order: Order, lines: Sequence[OrderLine]) -> dict[str, int]:
    """What was paid for each whole line, by its id: price less discount, plus tax on top. Those of
    all lines add up to the order's total less shipping and what is neither."""
    inside: set[str] = set()
    if order.tax_minor:
        inside = {id for id, tax in tax_lines(call, order, lines).items() if tax.included}
    return {
        line.id: _net(line) + (line.tax_minor if order.tax_minor and line.id not in inside else 0)
        for line in lines
    }


def tax_lines(call: Call, order: Order, lines: Sequence[OrderLine]) -> dict[str, OrderAdjustment]:
    """The order's tax line that each line's tax is part of, by the line's id; none for a line
    without tax. Of several whose rates give the line's tax it is the one of the product's class
    where and when the order was placed."""
    taxes = call.all(
        OrderAdjustment, OrderAdjustment.order_id == order.id, OrderAdjustment.kind == "tax"
    )
    taxed = [line for line in lines if line.tax_minor] if taxes else []
    if len(taxes) == 1:
        return {line.id: taxes[0] for line in taxed}
    rates = placing.rates_at(call, order.ship_to, order.placed_at or call.now) if taxed else {}
    found = {}
    for line in taxed:
        off = {tax.id: abs(placing.tax_of(_net(line), tax) - line.tax_minor) for tax in taxes}
        fitting = [tax for tax in taxes if off[tax.id] <= _ROUNDED] or taxes
        rate = rates.get(call.get(Product, line.product_id).tax_class)
        own = [
            tax
            for tax in fitting
            if rate and (tax.rate_bps, tax.included) == (rate.rate_bps, rate.included)
        ]
        found[line.id] = min(own or fitting, key=lambda tax: off[tax.id])
    return found


def _net(line: OrderLine) -> int:
    return line.unit_price_minor * line.quantity - line.discount_minor
