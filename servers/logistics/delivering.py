"""At the door: handed over with proof, or not handed over with a reason."""

import hmac
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from common.call import Call
from common.errors import InvalidParameters, RuleViolation
from common.rules.timeline import happened
from common.tables.inventory import Warehouse
from common.tables.logistics import (
    DeliveryAttempt,
    ProofOfDelivery,
    Shipment,
    ShipmentLine,
)
from common.tables.orders import Order, OrderLine
from servers.logistics import labelling, moving, routes
from servers.logistics.leaving import arrive
from servers.logistics.shipping import code_digest

MOST_ATTEMPTS: Final = 3
LATEST_ATTEMPT: Final = timedelta(days=30)
ON_THE_WAY: Final = (
    "picked_up", "in_transit", "out_for_delivery", "attempted", "exception", "held", "lost",
)  # fmt: skip


@dataclass(frozen=True)
class Proof:
    """What the driver or the carrier can show."""

    received_by: str | None = None
    at: datetime | None = None
    lat_e6: int | None = None
    lon_e6: int | None = None
    photo_sha256: str | None = None
    signature_sha256: str | None = None
    code: str | None = None
    left_safe: str | None = None
    damage_noted: bool = False
    condition_note: str = ""


def deliver(
    call: Call, reference: str, proof: Proof, *, event_id: str | None = None, source: str = "pod"
) -> Shipment:
    """Raises NotFound, RuleViolation (not on the way, delivered already, no proof, wrong code),
    InvalidParameters (time)."""
    shipment = moving.find(call, reference)
    call.stake()
    _require_on_the_way(call, shipment)
    at = _moment(call, shipment, proof.at)
    verified = _require_proof(shipment, proof)
    stop = moving.live_stop(call, shipment.id)
    if shipment.carrier_id is None and stop is None:
        raise RuleViolation(
            f"Shipment {shipment.id} is on no route.", next="plan_routes, then dispatch_route."
        )
    if stop is not None:
        routes.visited(call, stop, "done", at)
    call.add(
        ProofOfDelivery(
            id=call.new_id("evidence"), shipment_id=shipment.id,
            received_by=proof.received_by or "", at=at, lat_e6=proof.lat_e6, lon_e6=proof.lon_e6,
            photo_sha256=proof.photo_sha256, signature_sha256=proof.signature_sha256,
            code_verified=verified, left_safe=proof.left_safe, damage_noted=proof.damage_noted,
            condition_note=proof.condition_note, recorded_by=call.actor.id,
        )
    )  # fmt: skip
    shipment.delivered_at = at
    moving.advance(call, shipment, "delivered", at=at, source=source, event_id=event_id)
    moving.close_exceptions(call, shipment, "delivered")
    call.session.flush()
    arrive(call, shipment, at)
    return shipment


def fail(
    call: Call,
    reference: str,
    reason: str,
    note: str,
    next_attempt_on: str | None,
    at: datetime | None,
) -> Shipment:
    """Nobody took it. A refusal or a wrong address goes on the exceptions queue, the third failed
    attempt is held. Raises NotFound, RuleViolation, InvalidParameters."""
    shipment = moving.find(call, reference)
    call.stake()
    _require_on_the_way(call, shipment)
    if shipment.status != "out_for_delivery":
        raise RuleViolation(
            f"Shipment {shipment.id} is {shipment.status}, not out for delivery.",
            next="dispatch_route, or record_tracking_event out_for_delivery, comes first.",
        )
    moment = _moment(call, shipment, at)
    kind = {"refused": "refused", "wrong_address": "address"}.get(reason)
    again = _next_day(call, shipment, next_attempt_on, allowed=kind is None)
    stop = moving.live_stop(call, shipment.id)
    if stop is not None:
        routes.visited(call, stop, "failed", moment)
    shipment.attempts += 1
    call.add(
        DeliveryAttempt(
            id=call.new_id("event"), shipment_id=shipment.id, number=shipment.attempts,
            reason=reason, note=note, at=moment, next_attempt_on=again,
        )
    )  # fmt: skip
    if kind is not None:
        moving.advance(call, shipment, "exception", at=moment, detail=reason, kind=kind)
        moving.open_exception(call, shipment, kind, note)
    else:
        held = shipment.attempts >= MOST_ATTEMPTS
        moving.advance(call, shipment, "held" if held else "attempted", at=moment, detail=reason)
    if shipment.order_id is not None:
        happened(call, shipment.order_id, "attempted", reason, reference=shipment.id)
    call.session.flush()
    return shipment


@dataclass(frozen=True)
class Correction:
    """What makes the next attempt a better one."""

    lat_e6: int | None = None
    lon_e6: int | None = None
    opens_at: datetime | None = None
    closes_at: datetime | None = None


def resolve(
    call: Call, reference: str, action: str, resolution: str, correction: Correction
) -> Shipment:
    """``retry``: it waits for a van again (or stays with the carrier); ``return_to_sender``.

    Raises NotFound, RuleViolation, InvalidParameters.
    """
    shipment = moving.find(call, reference)
    retry = action == "retry"
    _require_stuck(shipment, retry)
    call.stake(gives_up=not retry)
    call.show(f"Resolve the exception of shipment {shipment.id}: {action}")
    moving.close_exceptions(call, shipment, resolution)
    if not retry:
        moving.advance(call, shipment, "returned_to_sender")
        if shipment.order_id is not None:
            happened(call, shipment.order_id, "returned_to_sender", reference=shipment.id)
        return shipment
    if (correction.lat_e6 is None) != (correction.lon_e6 is None):
        raise InvalidParameters.field("lat_e6, lon_e6", None, "both or none")
    if correction.lat_e6 is not None:
        shipment.lat_e6, shipment.lon_e6 = correction.lat_e6, correction.lon_e6
    if correction.closes_at is not None and correction.closes_at <= call.now:
        raise InvalidParameters.field("window_closes_at", "", "later than now")
    if correction.opens_at and correction.closes_at and correction.closes_at < correction.opens_at:
        raise InvalidParameters.field("window_closes_at", "", "later than it opens")
    if correction.opens_at is not None or correction.closes_at is not None:
        shipment.window_opens_at = correction.opens_at
        shipment.window_closes_at = correction.closes_at
    elif shipment.window_closes_at is not None and shipment.window_closes_at <= call.now:
        shipment.window_opens_at = shipment.window_closes_at = None
    call.session.flush()
    if shipment.carrier_id is None:
        if shipment.status in ("exception", "held"):
            moving.back_to_waiting(call, shipment, "exception resolved")
    else:
        moving.advance(call, shipment, "in_transit" if shipment.shipped_at else "label_created")
    call.session.flush()
    return shipment


def cancel(call: Call, reference: str) -> Shipment:
    """Before it left: the label is void, the lines can be shipped otherwise. Raises RuleViolation
    afterwards."""
    shipment = moving.find(call, reference)
    call.stake()
    if shipment.shipped_at is not None or shipment.status in moving.OVER:
        raise RuleViolation(
            f"Shipment {shipment.id} is {shipment.status} and cannot be cancelled.",
            next="Goods that left come back with a return.",
        )
    routes.take_off(call, shipment)
    moving.close_exceptions(call, shipment, "cancelled")
    moving.advance(call, shipment, "cancelled")
    labelling.give_back(call, shipment)
    if shipment.order_id is not None:
        lines = call.all(OrderLine, OrderLine.order_id == shipment.order_id, limit=200)
        inside = _line_ids(call, shipment)
        for line in lines:
            if line.id in inside and line.status == "packed":
                line.status = "allocated"
        happened(
            call, call.get(Order, shipment.order_id).id, "shipment_cancelled", reference=shipment.id
        )
    call.session.flush()
    return shipment


def _line_ids(call: Call, shipment: Shipment) -> set[str]:
    rows = call.all(ShipmentLine, ShipmentLine.shipment_id == shipment.id, limit=200)
    return {row.order_line_id for row in rows if row.order_line_id is not None}


def _require_stuck(shipment: Shipment, retry: bool) -> None:
    waits = (*moving.PLANNABLE, "exception", "held")
    if shipment.status not in (waits if retry else ("exception", "held", "attempted")):
        raise RuleViolation(
            f"Shipment {shipment.id} is {shipment.status}: nothing to resolve.",
            next=moving.SENT_BACK_NEXT if shipment.status == "returned_to_sender" else None,
        )
    if not retry and shipment.shipped_at is None:
        raise RuleViolation(
            f"Shipment {shipment.id} has not left: it cannot come back.",
            next="cancel_shipment; its lines can be shipped otherwise.",
        )


def _require_on_the_way(call: Call, shipment: Shipment) -> None:
    if shipment.status == "delivered":
        when = shipment.delivered_at.isoformat() if shipment.delivered_at else "before"
        raise RuleViolation(
            f"Shipment {shipment.id} was delivered {when}.",
            next="If something is wrong with it, claims.open_claim or a return.",
        )
    if shipment.status == "returned_to_sender":
        raise RuleViolation(
            f"Shipment {shipment.id} went back to its sender.", next=moving.SENT_BACK_NEXT
        )
    if shipment.shipped_at is None or shipment.status not in ON_THE_WAY:
        route_id = None
        stop = moving.live_stop(call, shipment.id)
        if stop is not None:
            route_id = stop.route_id
        raise RuleViolation(
            f"Shipment {shipment.id} is {shipment.status} and has not left.",
            details={"route_id": route_id} if route_id else {},
            next="Own vans: dispatch_route. Carriers: close_manifest, or record_tracking_event "
            "picked_up.",
        )


def _moment(call: Call, shipment: Shipment, at: datetime | None) -> datetime:
    if at is None:
        return call.now
    earliest = shipment.shipped_at or shipment.created_at
    if not earliest <= at <= call.now:
        raise InvalidParameters.field(
            "at", at.isoformat(), "not in the future and not before it left the house"
        )
    return at


def _require_proof(shipment: Shipment, proof: Proof) -> bool:
    """Whether a code was verified. Delivered is only what somebody can prove."""
    if (proof.lat_e6 is None) != (proof.lon_e6 is None):
        raise InvalidParameters.field("lat_e6, lon_e6", None, "both or none")
    if proof.received_by is None and proof.left_safe is None:
        raise RuleViolation(
            "A delivery needs proof.",
            next="Give received_by (who took it), or left_safe (where) with photo_sha256.",
        )
    if proof.left_safe is not None and proof.photo_sha256 is None:
        raise RuleViolation("A parcel left in a safe place needs a photo (photo_sha256).")
    wanted = shipment.delivery_code_sha256
    if wanted is None:
        return False
    if proof.code is None or not hmac.compare_digest(code_digest(shipment.id, proof.code), wanted):
        raise RuleViolation(
            "This delivery needs the receiver's code, and this is not it.",
            next="Ask the receiver for the code, or record_failed_attempt.",
        )
    return True


def _next_day(call: Call, shipment: Shipment, wanted: str | None, *, allowed: bool) -> date | None:
    if wanted is None:
        return None
    day = date.fromisoformat(wanted)
    if not allowed:
        raise InvalidParameters.field(
            "next_attempt_on", wanted, "left out: somebody has to resolve the exception first"
        )
    house = call.find(Warehouse, shipment.warehouse_id or "")
    today = call.now.astimezone(ZoneInfo(house.timezone if house else "UTC")).date()
    if not today <= day <= today + LATEST_ATTEMPT:
        raise InvalidParameters.field("next_attempt_on", wanted, "within the next 30 days")
    return day
