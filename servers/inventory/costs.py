"""What units are worth: moving average cost, in millionths of a minor unit."""

from typing import Final

from sqlalchemy import select

from common.call import Call
from common.rules import stock
from common.storage.locks import one_at_a_time
from common.tables.inventory import ItemCost, SupplierItem, Variant

E6: Final = 1_000_000
LARGEST_E6: Final = 9 * 10**18


def value(call: Call, item: Variant, warehouse: str, units: int) -> tuple[int, str]:
    """Worth of units in minor units, rounded half up, and its currency."""
    cost, currency = unit_cost(call, item, warehouse)
    return (abs(units) * cost + E6 // 2) // E6, currency


def unit_cost(call: Call, item: Variant, warehouse: str) -> tuple[int, str]:
    """Cost of one unit in millionths of a minor unit: the moving average; if nothing was ever
    received the catalogue's cost, the cheapest supplier's, and at worst the price."""
    row = _row(call, item.id, warehouse)
    if row is not None:
        return row.average_cost_e6, row.currency
    if item.unit_cost_minor is not None:
        return item.unit_cost_minor * E6, item.currency
    offers = select(SupplierItem).where(SupplierItem.sku == item.id)
    cheapest = offers.order_by(SupplierItem.unit_cost_minor, SupplierItem.id).limit(1)
    offer = call.session.scalars(cheapest).one_or_none()
    if offer is not None:
        return offer.unit_cost_minor * E6, offer.currency
    return item.price_minor * E6, item.currency


def blend(call: Call, sku: str, warehouse: str, units: int, cost_e6: int, currency: str) -> None:
    """Take units that come in into the moving average: (stock x average + units x cost) over both.

    Call it before they are booked. Units on the way to the warehouse count as its stock. A cost
    in another currency than the average's is left out while there is stock: there is no rate to
    book with.
    """
    one_at_a_time(call.session, f"cost:{sku}|{warehouse}")
    row = _row(call, sku, warehouse)
    if row is None:
        call.add(
            ItemCost(
                id=call.new_id("item"), sku=sku, warehouse_id=warehouse, average_cost_e6=cost_e6,
                currency=currency, at=call.now,
            )
        )  # fmt: skip
        return
    level = stock.level(call.session, call.now, sku, warehouse)
    held = level.on_hand + level.in_transit
    if row.currency != currency and held:
        return
    row.currency = currency
    total = held * row.average_cost_e6 + units * cost_e6
    row.average_cost_e6 = min(LARGEST_E6, (total + (held + units) // 2) // (held + units))
    row.at = call.now
    call.session.flush()


def _row(call: Call, sku: str, warehouse: str) -> ItemCost | None:
    rows = call.all(ItemCost, ItemCost.sku == sku, ItemCost.warehouse_id == warehouse, limit=1)
    return rows[0] if rows else None
