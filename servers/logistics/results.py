"""What the logistics server answers with: quotes, shipments and their proof."""

from datetime import datetime
from typing import Any

from common.carriers.numbers import recognised
from common.carriers.port import Rate
from common.clock import stamp
from common.money import Money
from common.rules.rates import Quote
from common.tables.logistics import (
    CarrierPickup,
    Label,
    Manifest,
    ProofOfDelivery,
    Shipment,
    TrackingEvent,
)
from common.wire import Result
from servers.logistics import moving
from servers.logistics.carrying import Pulled
from servers.logistics.engine.travel import Place, haversine_metres
from servers.logistics.tracking import Tracked

ADDRESS = ("line1", "line2", "city", "region", "postal_code", "country")


def told(moment: datetime | None) -> str | None:
    return stamp(moment) if moment is not None else None


class QuoteRow(Result):
    carrier: str
    service: str
    price: str
    price_minor: int
    currency: str
    billed_weight_g: int
    dim_weight_g: int
    ships_on: str
    arrives_from: str
    arrives_by: str
    confirmed: bool | None = None
    asked: str | None = None
    asked_minor: int | None = None

    @classmethod
    def of(cls, quote: Quote) -> "QuoteRow":
        return cls(
            carrier=quote.carrier.id,
            service=quote.card.service,
            price=str(Money(quote.price_minor, quote.card.currency)),
            price_minor=quote.price_minor,
            currency=quote.card.currency,
            billed_weight_g=quote.billed_weight_g,
            dim_weight_g=quote.dim_weight_g,
            ships_on=quote.ships_on.isoformat(),
            arrives_from=quote.arrives_from.isoformat(),
            arrives_by=quote.arrives_by.isoformat(),
        )

    def answered(self, rate: Rate | None) -> "QuoteRow":
        """With what the carrier itself says, if it was asked."""
        if rate is None:
            return self
        update: dict[str, Any] = {"confirmed": True}
        if (rate.price_minor, rate.currency) != (self.price_minor, self.currency):
            update["asked"] = str(Money(rate.price_minor, rate.currency))
            update["asked_minor"] = rate.price_minor
        return self.model_copy(update=update)


class QuoteList(Result):
    count: int
    weight_g: int
    volume_cm3: int
    quotes: list[QuoteRow]


class ShipmentRow(Result):
    shipment_id: str
    order_id: str | None = None
    status: str
    exception_kind: str | None = None
    status_at: str
    carrier: str | None = None
    service: str | None = None
    tracking_number: str | None = None
    warehouse: str | None = None
    weight_g: int
    attempts: int | None = None
    ship_by: str | None = None
    promised_at: str | None = None
    delivered_at: str | None = None

    @classmethod
    def of(cls, shipment: Shipment) -> "ShipmentRow":
        return cls(**_shipment(shipment))


class ShipmentList(Result):
    count: int
    shipments: list[ShipmentRow]
    next_cursor: str | None = None


class Inside(Result):
    line_id: str | None = None
    sku: str
    quantity: int
    lot_id: str | None = None


class Happened(Result):
    at: str
    status: str
    source: str
    place: str | None = None
    detail: str | None = None
    counted: bool | None = None

    @classmethod
    def of(cls, event: TrackingEvent) -> "Happened":
        return cls(
            at=stamp(event.occurred_at), status=event.status, source=event.source,
            place=event.place or None, detail=event.detail or None,
            counted=None if event.applied else False,
        )  # fmt: skip


class Tried(Result):
    number: int
    reason: str
    at: str
    note: str | None = None
    next_attempt_on: str | None = None


class ProofView(Result):
    proof_id: str
    received_by: str | None = None
    at: str
    lat_e6: int | None = None
    lon_e6: int | None = None
    metres_away: int | None = None
    photo_sha256: str | None = None
    signature_sha256: str | None = None
    code_verified: bool
    left_safe: str | None = None
    damage_noted: bool
    condition_note: str | None = None


class ShipmentView(ShipmentRow):
    kind: str
    ship_to: dict[str, str]
    lines: list[Inside]
    volume_cm3: int
    billed_weight_g: int
    cost: str | None = None
    cost_minor: int | None = None
    overcharge: str | None = None
    overcharge_minor: int | None = None
    window_opens_at: str | None = None
    window_closes_at: str | None = None
    route_id: str | None = None
    eta: str | None = None
    at_risk: bool
    tracking_validated: bool | None = None
    tracking_url: str | None = None
    label_id: str | None = None
    label_state: str | None = None
    events: list[Happened]
    attempts_made: list[Tried]
    proof: ProofView | None = None
    return_ids: list[str]
    claim_ids: list[str]
    next: str

    @classmethod
    def whole(cls, found: Tracked, *, at_risk: bool) -> "ShipmentView":
        shipment = found.shipment
        known = recognised(shipment.tracking_number)
        return cls(
            **_shipment(shipment),
            tracking_validated=None if shipment.tracking_number is None else known is not None,
            tracking_url=known.url if known else None,
            label_id=found.label.id if found.label else None,
            label_state=found.label.state if found.label else None,
            kind=shipment.kind,
            ship_to={name: str(shipment.ship_to.get(name) or "") for name in ADDRESS},
            lines=[
                Inside(
                    line_id=line.order_line_id, sku=line.sku, quantity=line.quantity,
                    lot_id=line.lot_id,
                )
                for line in found.lines
            ],
            volume_cm3=shipment.volume_cm3,
            billed_weight_g=sum(parcel.billed_weight_g for parcel in found.parcels),
            cost=_money(shipment.cost_minor, shipment.currency),
            cost_minor=shipment.cost_minor,
            overcharge=_money(found.overcharge_minor or None, shipment.currency),
            overcharge_minor=found.overcharge_minor or None,
            window_opens_at=told(shipment.window_opens_at),
            window_closes_at=told(shipment.window_closes_at),
            route_id=found.route_id,
            eta=told(found.eta),
            at_risk=at_risk,
            events=[Happened.of(event) for event in found.events],
            attempts_made=[_tried(attempt) for attempt in found.attempts],
            proof=_proof(found),
            return_ids=found.return_ids,
            claim_ids=found.claim_ids,
            next=_next(found),
        )  # fmt: skip


class ManifestView(Result):
    manifest_id: str
    carrier: str
    warehouse: str
    count: int
    shipment_ids: list[str]

    @classmethod
    def of(cls, manifest: Manifest, shipments: list[Shipment]) -> "ManifestView":
        return cls(
            manifest_id=manifest.id,
            carrier=manifest.carrier_id,
            warehouse=manifest.warehouse_id,
            count=len(shipments),
            shipment_ids=[shipment.id for shipment in shipments],
        )


class PickupView(Result):
    pickup_id: str
    parcels: int
    state: str

    @classmethod
    def of(cls, pickup: CarrierPickup) -> "PickupView":
        return cls(
            pickup_id=pickup.id, parcels=pickup.parcels, state=pickup.state
        )  # fmt: skip


class LabelView(Result):
    shipment_id: str
    label_id: str
    state: str

    @classmethod
    def of(cls, label: Label) -> "LabelView":
        return cls(shipment_id=label.shipment_id, label_id=label.id, state=label.state)


class PulledView(Result):
    counted: int
    kept: int
    known: int
    refused: dict[str, str]
    silent: dict[str, str]
    shipment_ids: list[str]

    @classmethod
    def of(cls, pulled: Pulled) -> "PulledView":
        return cls(
            counted=pulled.counted, kept=pulled.kept, known=pulled.known, refused=pulled.refused,
            silent=pulled.silent, shipment_ids=[row.id for row in pulled.shipments],
        )  # fmt: skip


_NEXT_OF_SHIPMENT = {
    "created": "plan_routes puts it on a van.",
    "picked_up": "plan_routes puts it on a van.",
    "planned": "dispatch_route sends its route off.",
    "label_created": "close_manifest when the carrier has collected it.",
    "out_for_delivery": "record_delivery or record_failed_attempt.",
    "attempted": "plan_routes takes it along again on its next day.",
    "exception": "Ask the customer, then resolve_exception.",
    "held": "Ask the customer, then resolve_exception.",
    "lost": "Open a claim with claims.open_claim.",
    "returned_to_sender": moving.SENT_BACK_NEXT,
    "cancelled": "create_shipment ships the lines otherwise.",
}


def _next(found: Tracked) -> str:
    shipment = found.shipment
    if shipment.status == "delivered":
        if found.proof is not None and found.proof.damage_noted and not found.claim_ids:
            return "Damage was noted at the door: open a claim with claims.open_claim."
        return "Delivered. Windows for returns run from delivered_at."
    label = found.label
    if shipment.carrier_id is not None and shipment.status == "created" and label is not None:
        if label.state == "failed":
            return f"No label ({label.error}): buy_label with another carrier, or cancel_shipment."
        return "The carrier is asked for the label: look again in a minute."
    stuck = shipment.status in (*moving.STUCK, *moving.OVER)
    if shipment.carrier_id is not None and shipment.shipped_at is not None and not stuck:
        return "The carrier has it: record_tracking_event, then record_delivery."
    return _NEXT_OF_SHIPMENT.get(shipment.status, "Wait for its next event.")


def _shipment(shipment: Shipment) -> dict[str, Any]:
    return {
        "shipment_id": shipment.id,
        "order_id": shipment.order_id,
        "status": shipment.status,
        "exception_kind": shipment.exception_kind,
        "status_at": stamp(shipment.status_at),
        "carrier": shipment.carrier_id,
        "service": shipment.service,
        "tracking_number": shipment.tracking_number,
        "warehouse": shipment.warehouse_id,
        "weight_g": shipment.weight_g,
        "attempts": shipment.attempts or None,
        "ship_by": told(shipment.ship_by),
        "promised_at": told(shipment.promised_at),
        "delivered_at": told(shipment.delivered_at),
    }


def _tried(attempt: Any) -> Tried:
    on = attempt.next_attempt_on
    return Tried(
        number=attempt.number, reason=attempt.reason, at=stamp(attempt.at),
        note=attempt.note or None, next_attempt_on=on.isoformat() if on else None,
    )  # fmt: skip


def _proof(found: Tracked) -> ProofView | None:
    proof = found.proof
    if proof is None:
        return None
    return ProofView(
        proof_id=proof.id, received_by=proof.received_by or None, at=stamp(proof.at),
        lat_e6=proof.lat_e6, lon_e6=proof.lon_e6, metres_away=_away(found.shipment, proof),
        photo_sha256=proof.photo_sha256, signature_sha256=proof.signature_sha256,
        code_verified=proof.code_verified, left_safe=proof.left_safe,
        damage_noted=proof.damage_noted, condition_note=proof.condition_note or None,
    )  # fmt: skip


def _away(shipment: Shipment, proof: ProofOfDelivery) -> int | None:
    """From where it was to go to where it was handed over, if both are known."""
    if shipment.lat_e6 is None or shipment.lon_e6 is None:
        return None
    if proof.lat_e6 is None or proof.lon_e6 is None:
        return None
    meant = Place(shipment.lat_e6, shipment.lon_e6)
    return round(haversine_metres(meant, Place(proof.lat_e6, proof.lon_e6)))


def _money(amount: int | None, currency: str) -> str | None:
    return None if amount is None else str(Money(amount, currency))
