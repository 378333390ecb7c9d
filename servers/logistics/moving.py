"""A shipment's status and the events behind it: events are added, never changed."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import or_, select

from common.call import Call
from common.errors import NotFound
from common.tables.fleet import Stop
from common.tables.inventory import Lot
from common.tables.logistics import (
    SHIPMENT_OVER,
    DeliveryException,
    Shipment,
    ShipmentLine,
    TrackingEvent,
)

RANK: Final = {
    "created": 0, "planned": 1, "label_created": 2, "tendered": 3, "picked_up": 4,
    "in_transit": 5, "out_for_delivery": 6, "delivered": 7,
}  # fmt: skip
OVER: Final = SHIPMENT_OVER
# Waits for a van: new, back from an attempt, or taken out of a van.
PLANNABLE: Final = ("created", "attempted", "picked_up")
STUCK: Final = ("exception", "held", "attempted", "lost")
LIVE: Final = ("pending", "enroute")
SENT_BACK_NEXT: Final = (
    "What of it is on no return yet: returns.request_return with its lines (the money back), or "
    "returns.request_exchange (other goods, or the same sent again). What does not get here: "
    "claims.open_claim."
)


def advance(
    call: Call,
    shipment: Shipment,
    status: str,
    *,
    at: datetime | None = None,
    source: str = "shop",
    event_id: str | None = None,
    place: str = "",
    detail: str = "",
    kind: str | None = None,
) -> TrackingEvent:
    """Set the status and say so in an event. ``kind`` is the exception's, for ``exception``."""
    shipment.status = status
    shipment.status_at = at or call.now
    shipment.exception_kind = kind if status == "exception" else None
    call.effect("update", "shipment", shipment.id, status=status)
    return record(
        call, shipment, status, at or call.now, source=source, event_id=event_id, place=place,
        detail=detail, applied=True,
    )  # fmt: skip


def record(
    call: Call,
    shipment: Shipment,
    status: str,
    at: datetime,
    *,
    source: str,
    event_id: str | None,
    place: str = "",
    detail: str = "",
    applied: bool,
) -> TrackingEvent:
    """Add an event that did (``applied``) or did not advance the status."""
    id = call.new_id("event")
    event = TrackingEvent(
        id=id, shipment_id=shipment.id, source=source, source_event_id=event_id or id,
        status=status, occurred_at=at, received_at=call.now, place=place, detail=detail,
        applied=applied,
    )  # fmt: skip
    call.session.add(event)
    return event


def back_to_waiting(call: Call, shipment: Shipment, detail: str) -> None:
    """Off its route and waiting for another: at the depot, or in the house if it never left."""
    advance(call, shipment, "picked_up" if shipment.shipped_at else "created", detail=detail)


def find(call: Call, reference: str) -> Shipment:
    """By shipment id or tracking number. Raises NotFound."""
    shipment = call.find(Shipment, reference)
    if shipment is not None:
        return shipment
    found = call.all(Shipment, Shipment.tracking_number == reference, limit=2)
    if len(found) != 1:
        raise NotFound(
            "No shipment with this id or tracking number.",
            details={"id": reference[:80]},
            next="list_shipments finds shipments by order.",
        )
    return found[0]


def live_stop(call: Call, shipment_id: str) -> Stop | None:
    """The stop at which the shipment is still to be handed over, if it is on a route."""
    query = select(Stop).where(Stop.shipment_id == shipment_id, Stop.status.in_(LIVE))
    return call.session.scalars(query.limit(1)).first()


def spoilt(call: Call, shipment_ids: Sequence[str]) -> set[str]:
    """Those that have not left, with units of a lot that expired or was withdrawn since."""
    past = or_(Lot.expires_on < call.now.date(), Lot.state != "active")
    query = (
        select(ShipmentLine.shipment_id)
        .join(Lot, Lot.id == ShipmentLine.lot_id)
        .join(Shipment, Shipment.id == ShipmentLine.shipment_id)
        .where(ShipmentLine.shipment_id.in_(shipment_ids), Shipment.shipped_at.is_(None), past)
    )
    return set(call.session.scalars(query))


def open_exception(call: Call, shipment: Shipment, kind: str, detail: str) -> None:
    """Put it on the exceptions queue; once per kind while it is open."""
    found = call.all(
        DeliveryException, DeliveryException.shipment_id == shipment.id,
        DeliveryException.kind == kind, DeliveryException.resolved_at.is_(None), limit=1,
    )  # fmt: skip
    if not found:
        call.add(
            DeliveryException(
                id=call.new_id("event"), shipment_id=shipment.id, kind=kind, detail=detail,
                opened_at=call.now,
            )
        )  # fmt: skip


def close_exceptions(call: Call, shipment: Shipment, resolution: str) -> None:
    for row in call.all(
        DeliveryException, DeliveryException.shipment_id == shipment.id,
        DeliveryException.resolved_at.is_(None),
    ):  # fmt: skip
        row.resolved_at, row.resolution = call.now, resolution
