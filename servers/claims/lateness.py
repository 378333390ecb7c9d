"""Deliveries after the promised moment, and whether the carrier has an excuse."""

from typing import Final

from sqlalchemy import select

from common.call import Call
from common.clock import stamp
from common.errors import RuleViolation
from common.tables.logistics import DeliveryException, Shipment

# Causes that are not the carrier's: weather, customs, and what the receiver did.
EXCUSES: Final = ("weather", "customs", "address", "refused")


def require(call: Call, shipment: Shipment, *, excusable: bool) -> None:
    """Raises RuleViolation unless the shipment is late, and where ``excusable`` without excuse."""
    if shipment.promised_at is None:
        raise RuleViolation(f"Nothing was promised for shipment {shipment.id}: it cannot be late.")
    end = shipment.delivered_at or call.now
    if end <= shipment.promised_at:
        raise RuleViolation(
            f"Shipment {shipment.id} is not late: promised by {stamp(shipment.promised_at)}.",
            details={"promised_at": stamp(shipment.promised_at)},
        )
    excuse = excuse_of(call, shipment)
    if excusable and excuse:
        raise RuleViolation(
            f"Shipment {shipment.id} was late because of {excuse}; no carrier pays for that.",
            details={"excuse": excuse},
        )


def excuse_of(call: Call, shipment: Shipment) -> str | None:
    """The first cause on record that is not the carrier's."""
    query = select(DeliveryException.kind).where(
        DeliveryException.shipment_id == shipment.id, DeliveryException.kind.in_(EXCUSES)
    )
    return call.session.scalar(query.order_by(DeliveryException.opened_at).limit(1))
