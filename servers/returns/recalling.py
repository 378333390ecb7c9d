"""A lot is recalled: a return for everybody who has some of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from sqlalchemy import func, select

from common.call import Call, quoted
from common.errors import NotFound, RuleViolation
from common.tables.inventory import Lot
from common.tables.logistics import Shipment, ShipmentLine
from common.tables.orders import OrderLine
from common.tables.returns import Return
from servers.returns import eligibility, handling, service
from servers.returns.eligibility import Asked

MOST_ROWS: Final = 5_000


@dataclass(frozen=True)
class Recalled:
    """``waiting``: orders with units of the lot that a further call takes."""

    lot: Lot
    opened: list[Return]
    waiting: int


def open_returns(call: Call, sku: str, code: str, most: int) -> Recalled:
    """Open and authorize a return for at most ``most`` orders that were sent units of a recalled
    lot which are not coming back yet. Raises NotFound, RuleViolation unless the lot is recalled."""
    lot = _lot(call, sku, code)
    if lot.state != "recalled":
        raise RuleViolation(
            f"Lot {lot.code} of {sku} is {lot.state}.", next="inventory.recall_lot recalls it."
        )
    wanted = _wanted(call, lot)
    call.stake()
    call.show(
        f"Call back lot {quoted(lot.code)} of {sku} from {min(len(wanted), most)} orders",
        "each customer is sent a label and refunded what they paid, once it is back",
    )
    opened = []
    for order_id, lines in call.counted(sorted(wanted.items())[:most], "orders"):
        asked = [Asked(id, units, "defective", recalled=True) for id, units in lines.items()]
        made = service.request_return(call, order_id, asked, "original", None, f"recall {lot.id}")
        opened.append(handling.authorize(call, made.rma.id, False).rma)
    return Recalled(lot, opened, max(0, len(wanted) - most))


def _lot(call: Call, sku: str, code: str) -> Lot:
    query = select(Lot).where(Lot.sku == sku, (Lot.code == code) | (Lot.id == code))
    found = call.session.scalars(query.order_by(Lot.id).limit(1)).first()
    if found is None:
        raise NotFound("No such lot of this item.", details={"sku": sku, "lot": code})
    return found


def _wanted(call: Call, lot: Lot) -> Mapping[str, dict[str, int]]:
    """By order, units by line that are with the customer and on no return yet."""
    query = (
        select(OrderLine, func.sum(ShipmentLine.quantity))
        .join(ShipmentLine, ShipmentLine.order_line_id == OrderLine.id)
        .join(Shipment, Shipment.id == ShipmentLine.shipment_id)
        .where(
            ShipmentLine.lot_id == lot.id, Shipment.status == "delivered",
            OrderLine.status.in_(("delivered", "returned")),
        )
        .group_by(OrderLine.id)
        .order_by(OrderLine.order_id, OrderLine.id)
        .limit(MOST_ROWS)
    )  # fmt: skip
    found: dict[str, dict[str, int]] = {}
    for line, sent in call.session.execute(query):
        units = min(int(sent), line.quantity - eligibility.units_back(call, line))
        if units > 0:
            found.setdefault(line.order_id, {})[line.id] = units
    return found
