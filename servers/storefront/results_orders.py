"""How an order of the shopper's is told that came about without a checkout."""

from common.money import Money
from common.tables.orders import OrderAdjustment
from servers.storefront.checkouts import Ended, Owned
from servers.storefront.results_buying import (
    Destination,
    PurchaseView,
    QuoteLine,
    Reduction,
    TaxLine,
    when,
)


def purchase(found: Ended | Owned) -> PurchaseView:
    """A purchase as it was agreed, or an order as it stands."""
    return PurchaseView.of(found) if isinstance(found, Ended) else _order(found)


def _order(found: Owned) -> PurchaseView:
    order = found.order
    return PurchaseView(
        status="completed",
        order_id=order.id,
        order_status=order.status,
        payment_status=order.payment_status,
        fulfilment_status=order.fulfilment_status,
        promised_at=when(order.promised_at),
        ship_to=Destination.of({"ship_to": order.ship_to}),
        shipping=order.shipping_service,
        items=[
            QuoteLine(
                sku=line.sku, name=line.name, quantity=line.quantity,
                price_minor=line.unit_price_minor, discount_minor=line.discount_minor,
                total_minor=line.unit_price_minor * line.quantity - line.discount_minor,
            )
            for line in found.lines
        ],
        currency=order.currency,
        subtotal_minor=order.subtotal_minor,
        discounts=[
            Reduction(code=each.code, label=each.label, amount_minor=-each.amount_minor)
            for each in found.adjustments
            if each.kind in ("discount", "other")
        ],
        shipping_minor=order.shipping_minor,
        taxes=[_tax(each) for each in found.adjustments if each.kind == "tax"],
        total_minor=order.total_minor,
        total=str(Money(order.total_minor, order.currency)),
        next="Tell the shopper how the order stands.",
    )  # fmt: skip


def _tax(row: OrderAdjustment) -> TaxLine:
    return TaxLine(
        name=row.label, rate_bps=row.rate_bps or 0, included=row.included,
        amount_minor=row.amount_minor,
    )  # fmt: skip
