"""Carriers that are reached: their own prices, what they say of parcels, and when they come."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from sqlalchemy import ColumnElement, select

from common.call import Call
from common.carriers.port import (
    MOST_NUMBERS,
    CarrierGateway,
    GatewayError,
    Parcel,
    Rate,
    Scan,
)
from common.carriers.queue import enqueue
from common.errors import InvalidParameters, RuleViolation, ShopError
from common.rules.rates import Load, Quote
from common.tables.inventory import Warehouse
from common.tables.logistics import Carrier, CarrierPickup, Shipment
from common.toolset import Progress
from servers.logistics import delivering, moving, tracking

AHEAD: Final = timedelta(days=14)
# Clocks differ: a scan a little ahead of ours happened now.
SKEW: Final = timedelta(minutes=5)


@dataclass(frozen=True)
class Asked:
    """What to ask of which carrier. ``numbers`` by carrier id."""

    numbers: dict[str, tuple[str, ...]]
    gateways: dict[str, CarrierGateway]


@dataclass(frozen=True)
class Told:
    """What they said; ``silent`` carriers and why."""

    scans: dict[str, list[Scan]]
    silent: dict[str, str]


@dataclass(frozen=True)
class Pulled:
    """``counted`` events moved a status, ``kept`` did not, ``known`` came before; ``refused`` ones
    are odd, by event id."""

    shipments: list[Shipment]
    counted: int
    kept: int
    known: int
    refused: dict[str, str]
    silent: dict[str, str]


def prepare(call: Call, shipment_id: str | None = None, carrier: str | None = None) -> Asked:
    """Parcels under way with carriers that are reached, those not heard of for longest first.

    Raises NotFound, RuleViolation (none of them).
    """
    where: list[ColumnElement[bool]] = [
        Carrier.connection.is_not(None), Shipment.tracking_number.is_not(None),
        Shipment.status.not_in((*moving.OVER, "created", "planned")),
    ]  # fmt: skip
    if shipment_id is not None:
        where.append(Shipment.id == moving.find(call, shipment_id).id)
    if carrier is not None:
        where.append(Carrier.id == call.get(Carrier, carrier).id)
    query = (
        select(Shipment.tracking_number, Carrier.id, Carrier.connection)
        .join(Carrier, Carrier.id == Shipment.carrier_id)
        .where(*where)
        .order_by(Shipment.status_at, Shipment.id)
    )
    numbers: dict[str, tuple[str, ...]] = {}
    gateways: dict[str, CarrierGateway] = {}
    for number, id, connection in call.session.execute(query.limit(MOST_NUMBERS)):
        numbers[id] = (*numbers.get(id, ()), str(number))
        if connection in call.ports.get("carriers", {}):
            gateways[id] = call.ports["carriers"][connection]
    if not numbers:
        raise RuleViolation(
            "No parcel is under way with a carrier that can be asked.",
            next="record_tracking_event records what a carrier reports otherwise.",
        )
    return Asked(numbers, gateways)


def compute(asked: Asked, progress: Progress) -> Told:
    """Outside every transaction."""
    scans: dict[str, list[Scan]] = {}
    silent: dict[str, str] = {}
    for done, (id, numbers) in enumerate(asked.numbers.items()):
        if progress.cancelled():
            break
        gateway = asked.gateways.get(id)
        if gateway is None:
            silent[id] = "this process has no such connection"
            continue
        try:
            scans[id] = gateway.scans(numbers)
        except GatewayError as error:
            silent[id] = error.message
        progress.report(done + 1, len(asked.numbers), f"{id} asked")
    return Told(scans, silent)


def apply(call: Call, told: Told) -> Pulled:
    """Write down what is new, in the order in which it happened. One odd event stops no other."""
    counted = kept = known = 0
    refused: dict[str, str] = {}
    seen: dict[str, Shipment] = {}
    call.stake()
    for id, scans in sorted(told.scans.items()):
        for scan in sorted(scans, key=lambda s: (s.occurred_at, s.event_id)):
            found = call.all(
                Shipment, Shipment.tracking_number == scan.tracking_number,
                Shipment.carrier_id == id, limit=1,
            )  # fmt: skip
            if not found:
                refused[scan.event_id] = "of no parcel of ours"
                continue
            shipment = found[0]
            seen[shipment.id] = shipment
            try:
                outcome = _one(call, shipment, scan)
            except ShopError as error:
                refused[scan.event_id] = error.message
                continue
            counted += outcome == "counted"
            kept += outcome == "kept"
            known += outcome == "known"
    return Pulled(list(seen.values()), counted, kept, known, refused, told.silent)


def _one(call: Call, shipment: Shipment, scan: Scan) -> str:
    at = scan.occurred_at
    if call.now < at <= call.now + SKEW:
        at = call.now
    if tracking.knows(call, shipment.id, scan.event_id):
        return "known"
    if scan.status == "delivered":
        if shipment.shipped_at is None or shipment.status == "delivered":
            return "kept"
        proof = delivering.Proof(received_by=scan.received_by or "the carrier's word", at=at)
        delivering.deliver(call, shipment.id, proof, event_id=scan.event_id, source="carrier")
        return "counted"
    reported = tracking.Reported(
        scan.event_id, scan.status, at, place=scan.place[:200], detail=scan.detail[:2_000],
        exception_kind=scan.exception_kind,
    )  # fmt: skip
    _, event = tracking.report(call, shipment.id, reported, may_leave=False)
    return "counted" if event.applied else "kept"


@dataclass(frozen=True)
class Offer:
    """What the carriers that are reached are asked about, by carrier id."""

    parcels: dict[str, list[Parcel]]
    gateways: dict[str, CarrierGateway]


def offer(call: Call, load: Load, found: Sequence[Quote], ship_to: dict[str, Any]) -> Offer:
    """The parcel, for each service that the contracts have."""
    parcels: dict[str, list[Parcel]] = {}
    gateways: dict[str, CarrierGateway] = {}
    for quote in found:
        gateway = call.ports.get("carriers", {}).get(quote.carrier.connection)
        if gateway is not None:
            parcel = Parcel(
                quote.card.service, load.weight_g, load.volume_cm3,
                {"city": "-", **ship_to},  # a quote is for a place, not for an address
                {}, quote.price_minor, quote.card.currency,
            )  # fmt: skip
            parcels.setdefault(quote.carrier.id, []).append(parcel)
            gateways[quote.carrier.id] = gateway
    return Offer(parcels, gateways)


def confirm(offered: Offer, progress: Progress) -> dict[tuple[str, str], Rate | None]:
    """The carriers' own answers by carrier and service; one that is silent is left out."""
    answers: dict[tuple[str, str], Rate | None] = {}
    for id, parcels in offered.parcels.items():
        if progress.cancelled():
            break
        try:
            rates = offered.gateways[id].rates(parcels)
        except GatewayError:
            continue
        answers |= {(id, p.service): rate for p, rate in zip(parcels, rates, strict=True)}
    return answers


def collect(
    call: Call, carrier_id: str, warehouse_id: str, opens_at: datetime, closes_at: datetime
) -> CarrierPickup:
    """Ask a carrier to come for what waits. Raises NotFound, RuleViolation, InvalidParameters."""
    carrier = call.get(Carrier, carrier_id)
    house = call.get(Warehouse, warehouse_id)
    if carrier.own_fleet:
        raise RuleViolation(f"{carrier.id} are the shop's own vans: plan_routes sends them.")
    if not call.now < closes_at or not opens_at < closes_at:
        raise InvalidParameters.field("closes_at", closes_at.isoformat(), "later than it opens")
    if opens_at > call.now + AHEAD or closes_at - opens_at > timedelta(days=1):
        raise InvalidParameters.field("opens_at", opens_at.isoformat(), "a day of the next 14")
    on = opens_at.astimezone(ZoneInfo(house.timezone)).date()
    before = call.all(
        CarrierPickup, CarrierPickup.carrier_id == carrier.id,
        CarrierPickup.warehouse_id == house.id, CarrierPickup.on_date == on,
        CarrierPickup.state.in_(("requested", "confirmed")), limit=1,
    )  # fmt: skip
    if before:
        raise RuleViolation(
            f"{carrier.id} comes on {on.isoformat()} already.", details={"pickup_id": before[0].id}
        )
    waiting = tracking.waiting_for(call, carrier.id, house.id)
    if not waiting:
        raise RuleViolation(f"Nothing waits for {carrier.id} at {house.id}.")
    call.stake(units=len(waiting))
    pickup = call.add(
        CarrierPickup(
            id=call.new_id("pickup"), carrier_id=carrier.id, warehouse_id=house.id, on_date=on,
            opens_at=opens_at, closes_at=closes_at, parcels=len(waiting),
            state="requested" if carrier.connection else "confirmed", created_at=call.now,
        )
    )  # fmt: skip
    if carrier.connection is not None:
        window = {"opens_at": opens_at.isoformat(), "closes_at": closes_at.isoformat()}
        enqueue(
            call, "collect", carrier, "carrier_pickup", pickup.id,
            {**window, "parcels": len(waiting)},
        )  # fmt: skip
    return pickup
