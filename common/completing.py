"""Completions of ids, the same in every server: an argument's name says what it is an id of.

A server that has its own completer for a name keeps it. Shoppers' servers complete nothing here:
what exists is not theirs to know.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.orm import InstrumentedAttribute

from common.call import Call
from common.tables.claims import Claim
from common.tables.fleet import Depot, Driver, Route, Vehicle
from common.tables.inventory import (
    Location,
    Lot,
    Product,
    PurchaseOrder,
    Reservation,
    Supplier,
    Variant,
    Warehouse,
)
from common.tables.logistics import Carrier, Label, RateCard, Shipment
from common.tables.orders import Customer, Order, OrderLine
from common.tables.payments import Dispute, Hold, Payment, PaymentMethod, Payout
from common.tables.returns import Return, ReturnLine
from common.tables.spine import ApprovalRequest
from common.tables.stock_documents import CycleCount, StockTransfer
from common.toolset import Completer, Toolset

MOST: Final = 101  # One more than a client is shown: it learns that there are others.
Column = InstrumentedAttribute[Any]

# What somebody made lately is what they look for: documents come newest first.
_DOCUMENTS: Final[Mapping[str, tuple[Column, ...]]] = {
    "order_id": (Order.id,),
    "line_id": (OrderLine.id, ReturnLine.id),
    "shipment_id": (Shipment.id,),
    "label_id": (Label.id,),
    "tracking_number": (Shipment.tracking_number,),
    "route_id": (Route.id,),
    "return_id": (Return.id,),
    "claim_id": (Claim.id,),
    "parent_id": (Claim.id,),
    "payment_id": (Payment.id,),
    "hold_id": (Hold.id,),
    "dispute_id": (Dispute.id,),
    "payout_id": (Payout.id,),
    "purchase_order_id": (PurchaseOrder.id,),
    "reservation_id": (Reservation.id,),
    "transfer_id": (StockTransfer.id,),
    "count_id": (CycleCount.id,),
}
_STANDING: Final[Mapping[str, tuple[Column, ...]]] = {
    "customer_id": (Customer.id,),
    "method_id": (PaymentMethod.id,),
    "payment_method_id": (PaymentMethod.id,),
    "to_method_id": (PaymentMethod.id,),
    "sku": (Variant.id,),
    "skus": (Variant.id,),
    "new_sku": (Variant.id,),
    "kit_sku": (Variant.id,),
    "product_id": (Product.id,),
    "warehouse": (Warehouse.id,),
    "from_warehouse": (Warehouse.id,),
    "to_warehouse": (Warehouse.id,),
    "wid": (Warehouse.id,),
    "location": (Location.code,),
    "lot": (Lot.code,),
    "supplier": (Supplier.id,),
    "supplier_id": (Supplier.id,),
    "carrier": (Carrier.id,),
    "carrier_id": (Carrier.id,),
    "service": (RateCard.service,),
    "depot": (Depot.id,),
    "driver_id": (Driver.id,),
    "vehicle_id": (Vehicle.id,),
    "vehicles": (Vehicle.id,),
}
# Made by somebody else: there is nothing here to choose from.
FOREIGN: Final = frozenset({"event_id", "reference", "source_id"})
SHOPPERS: Final = frozenset({"storefront"})


def completing(toolset: Toolset) -> Toolset:
    """The toolset with a completer for every id argument it names and does not complete itself."""
    found: dict[str, Completer] = {"approval_id": own_approvals}
    if toolset.domain not in SHOPPERS:
        for name in sorted(argument_names(toolset)):
            if name in _DOCUMENTS:
                found[name] = _completer(_DOCUMENTS[name], newest_first=True)
            elif name in _STANDING:
                found[name] = _completer(_STANDING[name], newest_first=False)
    return replace(toolset, completers=found | toolset.completers)


def argument_names(toolset: Toolset) -> set[str]:
    """Every argument of its tools, resources and prompts, also those within groups and lists."""
    names: set[str] = set()
    for tool in toolset.tools.values():
        names.update(_properties(tool.input_schema))
    for resource in toolset.resources.values():
        names.update(resource.arguments.model_fields)
    for prompt in toolset.prompts.values():
        names.update(prompt.arguments.model_fields)
    return names


def own_approvals(call: Call, prefix: str) -> list[str]:
    """What the caller asked for and may still use or withdraw, the latest first."""
    query = select(ApprovalRequest.id).where(
        ApprovalRequest.requester == call.actor.id,
        ApprovalRequest.server == call.server,
        ApprovalRequest.state.in_(("pending", "approved")),
        ApprovalRequest.id.startswith(prefix, autoescape=True),
    )
    return list(call.session.scalars(query.order_by(ApprovalRequest.id.desc()).limit(MOST)))


def _completer(columns: tuple[Column, ...], *, newest_first: bool) -> Completer:
    def complete(call: Call, prefix: str) -> list[str]:
        found: list[str] = []
        for column in columns:
            order = column.desc() if newest_first else column.asc()
            query = select(column).where(column.startswith(prefix, autoescape=True)).distinct()
            found += call.session.scalars(query.order_by(order).limit(MOST))
        return found[:MOST]

    return complete


def _properties(schema: Any) -> Iterator[str]:
    if isinstance(schema, list):
        for item in schema:
            yield from _properties(item)
    elif isinstance(schema, dict):
        yield from schema.get("properties", {})
        for value in schema.values():
            yield from _properties(value)
