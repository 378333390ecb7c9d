"""Kits: sold as one item, made of several."""

from common.call import Call
from common.errors import RuleViolation
from common.rules import lots
from common.tables.inventory import KitComponent, Variant
from servers.inventory import catalogue, corrections, costs
from servers.inventory.results import Moved

MOST_PARTS = 100


def build_kit(call: Call, kit_sku: str, quantity: int, warehouse: str, action: str) -> Moved:
    """Make kits of their components, or take them apart. Raises RuleViolation when the item is no
    kit or the parts have lots to be chosen by hand, InsufficientStock naming the component."""
    kit = catalogue.variant(call, kit_sku)
    catalogue.warehouse(call, warehouse, working=True)
    parts = call.all(KitComponent, KitComponent.kit_sku == kit_sku, limit=MOST_PARTS)
    if not parts:
        raise RuleViolation(f"{kit_sku} is no kit.", next="Look at the item with get_stock.")
    items = {part.component_sku: catalogue.variant(call, part.component_sku) for part in parts}
    tracked = [sku for sku, item in items.items() if item.lot_tracked]
    if kit.lot_tracked or (action == "break" and tracked):
        raise RuleViolation("Items with lots come out of a kit by hand only: which lot is it?")
    call.stake(units=quantity)
    call.show(
        f"{action.capitalize()} {quantity} of kit {kit_sku} in {warehouse}",
        *(f"{part.quantity * quantity} of {part.component_sku}" for part in parts),
    )
    if action == "build":
        document = _build(call, kit, parts, items, quantity, warehouse)
    else:
        document = _break(call, kit, parts, items, quantity, warehouse)
    worth, currency = costs.value(call, kit, warehouse, quantity)
    return corrections.moved(call, document, kit, warehouse, quantity, worth, currency)


def _build(
    call: Call, kit: Variant, parts: list[KitComponent], items: dict[str, Variant], quantity: int,
    warehouse: str,
) -> str:  # fmt: skip
    cost, currencies = 0, set()
    for part in parts:
        item = items[part.component_sku]
        unit, currency = costs.unit_cost(call, item, warehouse)
        cost += unit * part.quantity
        currencies.add(currency)
        for lot_id, units in lots.pick(call, item, warehouse, part.quantity * quantity):
            corrections.record(call, item, warehouse, -units, "kit_build", lot_id=lot_id)
    if len(currencies) == 1:
        costs.blend(call, kit.id, warehouse, quantity, cost, currencies.pop())
    return corrections.record(call, kit, warehouse, quantity, "kit_build").id


def _break(
    call: Call, kit: Variant, parts: list[KitComponent], items: dict[str, Variant], quantity: int,
    warehouse: str,
) -> str:  # fmt: skip
    document = corrections.record(call, kit, warehouse, -quantity, "kit_break").id
    for part in parts:
        corrections.record(
            call, items[part.component_sku], warehouse, part.quantity * quantity, "kit_break"
        )
    return document
