"""What carriers report, what the customer may be told, and the queues of a dispatcher."""

from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Final, TypeVar

from sqlalchemy import (
    func,
    select,
)

from common.call import Call
from common.carriers.queue import enqueue
from common.errors import Conflict, InvalidParameters, NotFound, RuleViolation
from common.rules import disputed_goods
from common.rules.timeline import happened
from common.tables.claims import Claim
from common.tables.fleet import Route, Stop
from common.tables.logistics import (
    Carrier,
    DeliveryAttempt,
    Label,
    Manifest,
    Parcel,
    ProofOfDelivery,
    Shipment,
    ShipmentLine,
    TrackingEvent,
)
from common.tables.orders import Order
from common.tables.returns import Return
from servers.logistics import labelling, listing, moving, routes
from servers.logistics.leaving import leave

LEAVES: Final = ("picked_up", "in_transit", "out_for_delivery")
BRANCHES: Final = ("exception", "held", "lost", "returned_to_sender")
MOST_ON_MANIFEST: Final = 200
Part = TypeVar("Part", TrackingEvent, ProofOfDelivery, Parcel, ShipmentLine, DeliveryAttempt)


@dataclass(frozen=True)
class Reported:
    """One event as its source tells it. ``event_id`` is the source's own."""

    event_id: str
    status: str
    occurred_at: datetime
    source: str = "carrier"
    place: str = ""
    detail: str = ""
    exception_kind: str | None = None


@dataclass(frozen=True)
class Tracked:
    """``label`` is the latest. ``overcharge_minor``: what carriers took above their contracts."""

    shipment: Shipment
    parcels: list[Parcel]
    lines: list[ShipmentLine]
    events: list[TrackingEvent]
    attempts: list[DeliveryAttempt]
    proof: ProofOfDelivery | None
    route_id: str | None
    eta: datetime | None
    label: Label | None = None
    overcharge_minor: int = 0
    return_ids: list[str] = field(default_factory=list)
    claim_ids: list[str] = field(default_factory=list)


def report(
    call: Call, reference: str, told: Reported, *, may_leave: bool = True
) -> tuple[Shipment, TrackingEvent]:
    """Add an event. Late and repeated ones never move the status back; the same one twice is one.
    Unless it ``may_leave``, an event of a parcel that has not left here is kept and counts once
    close_manifest says that it left.

    Raises NotFound, InvalidParameters (from the future, before the shipment), Conflict (the same
    id with other contents), RuleViolation (a van's way is told by its route; back before it left).
    """
    shipment = moving.find(call, reference)
    known = call.all(
        TrackingEvent, TrackingEvent.shipment_id == shipment.id,
        TrackingEvent.source_event_id == told.event_id, limit=1,
    )  # fmt: skip
    if known:
        call.stake(ships=False)
        return shipment, _same(known[0], told)
    _check(call, shipment, told)
    applies = _applies(shipment, told)
    leaves = applies and told.status in LEAVES and shipment.shipped_at is None
    early = applies and told.status == "returned_to_sender" and shipment.shipped_at is None
    if early and may_leave:
        raise RuleViolation(
            f"Shipment {shipment.id} has not left: it cannot come back.",
            next="cancel_shipment where that is so; else say first that it left (close_manifest, "
            "or picked_up).",
        )
    if early or (leaves and not may_leave):
        applies = leaves = False
    call.stake(ships=leaves)
    call.show(f"Shipment {shipment.id} is {told.status}")
    more: dict[str, Any] = {
        "source": told.source, "event_id": told.event_id, "place": told.place,
        "detail": told.detail,
    }  # fmt: skip
    if not applies:
        event = moving.record(call, shipment, told.status, told.occurred_at, applied=False, **more)
        call.session.flush()
        return shipment, event
    if told.status in BRANCHES:
        routes.take_off(call, shipment, "failed")
    if leaves:
        call.show("", *leave(call, shipment))
    if told.status in LEAVES:
        moving.close_exceptions(call, shipment, "moves again")
    event = moving.advance(
        call, shipment, told.status, at=told.occurred_at, kind=told.exception_kind, **more
    )
    if told.status == "returned_to_sender":
        moving.close_exceptions(call, shipment, "went back to its sender")
        if shipment.order_id is not None:
            happened(call, shipment.order_id, "returned_to_sender", reference=shipment.id)
    if told.exception_kind is not None:
        moving.open_exception(call, shipment, told.exception_kind, told.detail)
    call.session.flush()
    return shipment, event


def track(call: Call, reference: str) -> Tracked:
    """Everything that is known of a shipment. Raises NotFound."""
    shipment = moving.find(call, reference)
    own = shipment.id
    events = _rows(call, TrackingEvent, own)
    events.sort(key=lambda event: (event.occurred_at, event.id))
    proofs = _rows(call, ProofOfDelivery, own)
    stop = moving.live_stop(call, own)
    eta = None
    if stop is not None:
        halts = routes.whole(call, stop.route_id).halts
        eta = next((halt.eta for halt in halts if halt.stop.id == stop.id), None)
    returns = select(Return.id).where(Return.order_id == shipment.order_id).limit(50)
    claims = select(Claim.id).where(Claim.shipment_id == own).limit(50)
    return Tracked(
        shipment=shipment,
        parcels=_rows(call, Parcel, own),
        lines=_rows(call, ShipmentLine, own),
        events=events,
        attempts=_rows(call, DeliveryAttempt, own),
        proof=proofs[0] if proofs else None,
        route_id=stop.route_id if stop else _last_route(call, own),
        eta=eta,
        label=call.session.scalar(
            select(Label).where(Label.shipment_id == own).order_by(Label.id.desc()).limit(1)
        ),
        overcharge_minor=_overcharge(call, own),
        return_ids=list(call.session.scalars(returns)) if shipment.order_id else [],
        claim_ids=list(call.session.scalars(claims)),
    )


def at_risk(call: Call, shipment: Shipment, eta: datetime | None = None) -> bool:
    """Not there yet, and overdue, to leave too late, or expected after what was promised."""
    if shipment.status in moving.OVER:
        return False
    promised, ship_by = shipment.promised_at, shipment.ship_by
    if promised is not None and (promised < call.now or (eta is not None and eta > promised)):
        return True
    if labelling.comes_late(call, shipment):
        return True
    return shipment.shipped_at is None and ship_by is not None and ship_by < call.now


def close_manifest(call: Call, carrier_id: str, warehouse: str) -> tuple[Manifest, list[Shipment]]:
    """The carrier's pick-up: every labelled shipment leaves. Raises NotFound, RuleViolation."""
    carrier = call.get(Carrier, carrier_id)
    going = waiting_for(call, carrier.id, warehouse)
    call.stake(units=len(going))
    if not going:
        raise NotFound(
            f"Nothing waits for {carrier.id} at this warehouse.",
            next="create_shipment with this carrier comes first.",
        )
    call.show(f"Hand {len(going)} shipments to {carrier.id}")
    manifest = call.add(
        Manifest(
            id=call.new_id("manifest"), carrier_id=carrier.id, warehouse_id=warehouse,
            on_date=call.now.date(), state="closed", closed_at=call.now,
        )
    )  # fmt: skip
    for shipment in going:
        call.show("", *leave(call, shipment))
        moving.advance(call, shipment, "picked_up", detail=manifest.id)
    ids = [shipment.id for shipment in going]
    labels = call.all(Label, Label.shipment_id.in_(ids), Label.state == "purchased")
    for label in labels:
        label.manifest_id = manifest.id
    refs = [label.provider_reference for label in labels if label.provider_reference]
    if carrier.connection is not None and refs:
        enqueue(call, "close", carrier, "manifest", manifest.id, {"refs": refs})
    call.session.flush()
    for shipment in going:
        catch_up(call, shipment)
    return manifest, going


def waiting_for(call: Call, carrier_id: str, warehouse: str) -> list[Shipment]:
    """Labelled shipments to be collected. An order that is on hold, or whose money is disputed,
    stays without stopping the others; so do units of a lot that expired or was recalled."""
    going = call.all(
        Shipment, Shipment.carrier_id == carrier_id, Shipment.warehouse_id == warehouse,
        Shipment.status.in_(("label_created", "tendered")), Shipment.kind != "return",
        limit=MOST_ON_MANIFEST,
    )  # fmt: skip
    orders = [shipment.order_id for shipment in going if shipment.order_id is not None]
    held = select(Order.id).where(Order.id.in_(orders), Order.status != "in_fulfilment")
    stopped = {*call.session.scalars(held), *disputed_goods.disputes(call.session, orders)}
    stopped |= moving.spoilt(call, [shipment.id for shipment in going])
    return [each for each in going if not {each.id, each.order_id} & stopped]


def knows(call: Call, shipment_id: str, event_id: str) -> bool:
    """Whether the carrier's event was written down before."""
    query = select(TrackingEvent.id).where(
        TrackingEvent.shipment_id == shipment_id, TrackingEvent.source_event_id == event_id
    )
    return call.session.scalar(query.limit(1)) is not None


def catch_up(call: Call, shipment: Shipment) -> None:
    """What the carrier told before its manifest was closed counts now."""
    early = select(TrackingEvent).where(
        TrackingEvent.shipment_id == shipment.id, TrackingEvent.applied.is_(False)
    )
    found = call.session.scalars(early.order_by(TrackingEvent.occurred_at.desc()).limit(20))
    for event in found:
        if event.status in LEAVES and moving.RANK[event.status] > moving.RANK[shipment.status]:
            moving.advance(
                call, shipment, event.status, at=call.now, source=event.source,
                detail=f"told {event.occurred_at.isoformat()} before the manifest was closed",
            )  # fmt: skip
            return


def _check(call: Call, shipment: Shipment, told: Reported) -> None:
    if told.occurred_at > call.now:
        raise InvalidParameters.field(
            "occurred_at", told.occurred_at.isoformat(), "not in the future"
        )
    if told.occurred_at < shipment.created_at:
        raise InvalidParameters.field(
            "occurred_at", told.occurred_at.isoformat(), "not before the shipment was made"
        )
    if (told.status == "exception") != (told.exception_kind is not None):
        raise InvalidParameters.field(
            "exception_kind", told.exception_kind, "with status exception, and only with it"
        )
    if shipment.carrier_id is None and told.status not in BRANCHES:
        raise RuleViolation(
            f"Shipment {shipment.id} goes with the shop's own vans: its route tells where it is.",
            next="dispatch_route, record_delivery or record_failed_attempt.",
        )


def _applies(shipment: Shipment, told: Reported) -> bool:
    """Forward only, never from the end, and never by an event older than the last that counted."""
    if shipment.status in moving.OVER or told.occurred_at < shipment.status_at:
        return False
    if told.status in BRANCHES:
        return told.status != shipment.status
    # Out of a branch (an exception, a failed attempt) it may go on from any stage of the way.
    return moving.RANK[told.status] > moving.RANK.get(shipment.status, moving.RANK["tendered"])


def _same(known: TrackingEvent, told: Reported) -> TrackingEvent:
    if (known.status, known.occurred_at) != (told.status, told.occurred_at):
        raise Conflict(
            "An event with this id is known with another status or time.",
            details={"status": known.status},
            next="Events are never changed: report a new one with its own event_id.",
        )
    return known


def _overcharge(call: Call, shipment_id: str) -> int:
    over = func.sum(Label.cost_minor - Label.agreed_minor)
    query = select(over).where(Label.shipment_id == shipment_id, listing.overcharged())
    return int(call.session.scalar(query) or 0)


def _rows(call: Call, kind: type[Part], shipment_id: str) -> list[Part]:
    """The latest 200. Not through the call: rows that this very call adds have new ids each time,
    and an approval is bound to the versions of rows that the call was shown."""
    query = select(kind).where(kind.shipment_id == shipment_id).order_by(kind.id.desc())
    return list(call.session.scalars(query.limit(200)))[::-1]


def _last_route(call: Call, shipment_id: str) -> str | None:
    query = (
        select(Stop.route_id)
        .join(Route, Route.id == Stop.route_id)
        .where(Stop.shipment_id == shipment_id)
        .order_by(Route.created_at.desc(), Route.id.desc())
    )
    return call.session.scalar(query.limit(1))


def days(call: Call, prefix: str) -> list[str]:
    """Days that have routes, the latest first."""
    query = select(Route.on_date).distinct().order_by(Route.on_date.desc()).limit(100)
    found = [on.isoformat() for on in call.session.scalars(query)]
    return [text for text in found if text.startswith(prefix)][:20]


def day(text: str) -> date:
    return date.fromisoformat(text)
