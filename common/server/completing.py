"""Completions of ids, the same in every server: an argument's name says what it is an id of.

A server that has its own completer for a name keeps it. Shoppers' servers complete nothing here:
what exists is not theirs to know.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from importlib import import_module
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.orm import InstrumentedAttribute

from common.call import Call
from common.tables.spine import ApprovalRequest
from common.toolset import Completer, Toolset

MOST: Final = 101  # One more than a client is shown: it learns that there are others.

# Columns are named, not imported: a server loads only the tables it works with.
# What somebody made lately is what they look for: documents come newest first.
_DOCUMENTS: Final[Mapping[str, tuple[str, ...]]] = {
    "order_id": ("orders.Order.id",),
    "line_id": ("orders.OrderLine.id", "returns.ReturnLine.id"),
    "shipment_id": ("logistics.Shipment.id",),
    "label_id": ("logistics.Label.id",),
    "tracking_number": ("logistics.Shipment.tracking_number",),
    "route_id": ("fleet.Route.id",),
    "return_id": ("returns.Return.id",),
    "claim_id": ("claims.Claim.id",),
    "parent_id": ("claims.Claim.id",),
    "payment_id": ("payments.Payment.id",),
    "hold_id": ("payments.Hold.id",),
    "dispute_id": ("payments.Dispute.id",),
    "payout_id": ("payments.Payout.id",),
    "purchase_order_id": ("inventory.PurchaseOrder.id",),
    "reservation_id": ("inventory.Reservation.id",),
    "transfer_id": ("stock_documents.StockTransfer.id",),
    "count_id": ("stock_documents.CycleCount.id",),
}
_STANDING: Final[Mapping[str, tuple[str, ...]]] = {
    "customer_id": ("orders.Customer.id",),
    "method_id": ("payments.PaymentMethod.id",),
    "payment_method_id": ("payments.PaymentMethod.id",),
    "to_method_id": ("payments.PaymentMethod.id",),
    "sku": ("inventory.Variant.id",),
    "skus": ("inventory.Variant.id",),
    "new_sku": ("inventory.Variant.id",),
    "kit_sku": ("inventory.Variant.id",),
    "product_id": ("inventory.Product.id",),
    "warehouse": ("inventory.Warehouse.id",),
    "from_warehouse": ("inventory.Warehouse.id",),
    "to_warehouse": ("inventory.Warehouse.id",),
    "wid": ("inventory.Warehouse.id",),
    "location": ("inventory.Location.code",),
    "lot": ("inventory.Lot.code",),
    "supplier": ("inventory.Supplier.id",),
    "supplier_id": ("inventory.Supplier.id",),
    "carrier": ("logistics.Carrier.id",),
    "carrier_id": ("logistics.Carrier.id",),
    "service": ("logistics.RateCard.service",),
    "depot": ("fleet.Depot.id",),
    "driver_id": ("fleet.Driver.id",),
    "vehicle_id": ("fleet.Vehicle.id",),
    "vehicles": ("fleet.Vehicle.id",),
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


def _completer(columns: tuple[str, ...], *, newest_first: bool) -> Completer:
    def complete(call: Call, prefix: str) -> list[str]:
        found: list[str] = []
        for column in map(_column, columns):
            order = column.desc() if newest_first else column.asc()
            query = select(column).where(column.startswith(prefix, autoescape=True)).distinct()
            found += call.session.scalars(query.order_by(order).limit(MOST))
        return found[:MOST]

    return complete


def _column(path: str) -> InstrumentedAttribute[Any]:
    module, kind, name = path.split(".")
    found: InstrumentedAttribute[Any] = getattr(
        getattr(import_module(f"common.tables.{module}"), kind), name
    )
    return found


def _properties(schema: Any) -> Iterator[str]:
    if isinstance(schema, list):
        for item in schema:
            yield from _properties(item)
    elif isinstance(schema, dict):
        yield from schema.get("properties", {})
        for value in schema.values():
            yield from _properties(value)
