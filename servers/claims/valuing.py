"""What a claim is for: what the customer paid, or what the goods had cost the shop."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import func, select

from common.call import Call
from common.errors import RuleViolation
from common.money import allocate
from common.rules import made_good, taxes
from common.tables.claims import Claim, ClaimLine
from common.tables.inventory import ItemCost, SupplierItem, Variant
from common.tables.logistics import Label, Shipment, ShipmentLine
from common.tables.orders import Order, OrderLine
from servers.claims import deadlines
from servers.claims.states import FRUITLESS, OVER

# A late delivery is made good with what shipping had cost and at most a tenth of the goods.
LATE_CREDIT_BPS: Final = 1_000


@dataclass(frozen=True)
class Portion:
    """Units of one line."""

    sku: str
    quantity: int
    order_line_id: str | None
    shipment_line_id: str | None


@dataclass(frozen=True)
class Value:
    """Claimed by line, in order; ``unit_costs`` are what one unit had cost."""

    currency: str
    lines: list[int]
    unit_costs: list[int]
    freight_minor: int = 0


def for_customer(call: Call, order: Order, type: str, portions: Sequence[Portion]) -> Value:
    """What the customer paid for the units. Raises RuleViolation for units already claimed or
    returned, and for a second late claim."""
    if type == "late":
        _refuse_second_late(call, order)
    ids = [portion.order_line_id for portion in portions if portion.order_line_id is not None]
    given = made_good.of_lines(call, ids, waiting_claims=True, waiting_returns=True)
    taken = {id: 0 if type == "late" else given[id].units for id in ids}
    paid = []
    for portion in portions:
        if portion.order_line_id is None:
            raise RuleViolation(f"{portion.sku} is in the shipment but not in the order.")
        line = call.get(OrderLine, portion.order_line_id)
        left = line.quantity - taken[line.id]
        if type != "late" and portion.quantity > left:
            raise RuleViolation(
                f"Of line {line.id} only {left} units are neither claimed nor returned already.",
                details={"line_id": line.id, "left": left},
                next="list_claims and list_returns of the order show the others.",
            )
        worth = taxes.line_values(call, order, [line])[line.id]
        paid.append(made_good.share(worth, line.quantity, taken[line.id], portion.quantity))
        taken[line.id] += portion.quantity
    costs = [_cost(call, each.sku, order.warehouse_id, order.currency) or 0 for each in portions]
    if type != "late":
        return Value(order.currency, paid, costs)
    credit = [amount * LATE_CREDIT_BPS // 10_000 for amount in paid]
    return Value(order.currency, credit, costs, order.shipping_minor)


def for_recovery(
    call: Call, kind: str, type: str, order: Order | None, shipment: Shipment | None,
    portions: Sequence[Portion],
) -> Value:  # fmt: skip
    """What the goods had cost, never their price, within the declared value or the carrier's
    limit; freight where it may be claimed. Raises RuleViolation where no cost is known."""
    currency = order.currency if order else shipment.currency if shipment else ""
    warehouse = shipment.warehouse_id if shipment else order.warehouse_id if order else None
    costs = []
    for portion in portions:
        cost = _cost(call, portion.sku, warehouse, currency)
        if cost is None and type != "late":
            raise RuleViolation(
                f"No cost in {currency} known for {portion.sku}: a claim is for cost, not price.",
                details={"sku": portion.sku},
                next="Record a supplier's price or receive it with its cost first.",
            )
        costs.append(cost or 0)
    losses = [
        0 if type == "late" else cost * portion.quantity
        for cost, portion in zip(costs, portions, strict=True)
    ]
    freight = 0
    if shipment is not None and kind != "supplier":
        rule = deadlines.rule(call, "file_by", type, shipment.carrier_id)
        freight = _freight(call, type, shipment, portions, currency, rule)
        limit = _limit(shipment, currency, rule)
        if limit is not None and sum(losses) > limit:
            losses = allocate(limit, losses)
    if not sum(losses) + freight:
        raise RuleViolation(
            "There is nothing to claim: no cost, and no freight charge on record.",
            next="Record what the label had cost first." if type == "late" else None,
        )
    return Value(currency, losses, costs, freight)


def loss_of(claim: Claim, lines: Sequence[ClaimLine]) -> int:
    """The actual loss behind a recovery, before any limit."""
    if claim.type == "late":
        return claim.claimed_minor
    return sum(line.unit_cost_minor * line.quantity for line in lines) + claim.freight_minor


def freight_charge(call: Call, shipment: Shipment) -> int:
    """What the carrier charged for the shipment."""
    if shipment.cost_minor is not None:
        return shipment.cost_minor
    labels = call.all(Label, Label.shipment_id == shipment.id, Label.state == "purchased", limit=20)
    return sum(label.cost_minor or 0 for label in labels if label.currency == shipment.currency)


def _freight(
    call: Call, type: str, shipment: Shipment, portions: Sequence[Portion], currency: str,
    rule: deadlines.Deadline | None,
) -> int:  # fmt: skip
    """All of it for a late delivery; the units' part where the carrier pays freight back."""
    if shipment.currency != currency:
        return 0
    charge = freight_charge(call, shipment)
    if type == "late":
        return charge
    if rule is None or not rule.covers_freight:
        return 0
    units = sum(portion.quantity for portion in portions)
    rows = call.all(ShipmentLine, ShipmentLine.shipment_id == shipment.id, limit=200)
    every = max(sum(row.quantity for row in rows), units)
    return allocate(charge, [units, every - units])[0]


def _limit(shipment: Shipment, currency: str, rule: deadlines.Deadline | None) -> int | None:
    if shipment.declared_value_minor and shipment.currency == currency:
        return shipment.declared_value_minor
    if rule is not None and rule.currency == currency:
        return rule.liability_cap_minor
    return None


def _cost(call: Call, sku: str, warehouse_id: str | None, currency: str) -> int | None:
    """Of one unit: the catalogue's, else the moving average of the warehouse, else the cheapest
    supplier's. None where none is known in the currency."""
    item = call.get(Variant, sku)
    if item.unit_cost_minor is not None and item.currency == currency:
        return item.unit_cost_minor
    averages = call.all(
        ItemCost, ItemCost.sku == sku, ItemCost.warehouse_id == warehouse_id,
        ItemCost.currency == currency, limit=1,
    )  # fmt: skip
    if averages:
        return (averages[0].average_cost_e6 + 500_000) // 1_000_000
    cheapest = select(func.min(SupplierItem.unit_cost_minor)).where(
        SupplierItem.sku == sku, SupplierItem.currency == currency
    )
    return call.session.scalar(cheapest)


def _refuse_second_late(call: Call, order: Order) -> None:
    query = select(Claim.id).where(
        Claim.order_id == order.id, Claim.kind == "customer", Claim.type == "late",
        Claim.state.not_in(FRUITLESS),
        Claim.state.not_in(OVER) | Claim.resolved_at.is_not(None),
    )  # fmt: skip
    found = call.session.scalar(query.limit(1))
    if found is not None:
        raise RuleViolation(
            f"Order {order.id} has a late claim already: {found}.", details={"claim_id": found}
        )
