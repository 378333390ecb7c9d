"""The outbox's worker for carriers: buys and voids labels, closes manifests, orders pick-ups."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from common.background.outbox import OutboxWorker, due_rows, lease
from common.call import Call
from common.carriers.numbers import validated
from common.carriers.port import Bought, CarrierGateway, Outcome, Parcel, State
from common.carriers.queue import CARRIER
from common.gateways.port import RESEND_WITHIN
from common.money import Money
from common.rules.timeline import happened
from common.tables.logistics import CarrierPickup, Label, Manifest, Shipment, TrackingEvent
from common.tables.payments import Outbox

WHO = "carrier"


@dataclass(frozen=True)
class Job:
    """One operation as it goes out. ``refs``: the labels it is about, as the carrier calls them."""

    outbox_id: str
    operation_id: str
    kind: str
    provider: str
    payload: dict[str, Any]
    refs: tuple[str, ...]
    sent_at: datetime
    ask: bool
    attempts: int


class CarrierWorker(OutboxWorker):
    """Leases, sends and books as for payments."""

    domain = "logistics"
    port = CARRIER

    def take(self, session: Session, now: datetime) -> list[Any]:
        jobs = [_job(session, row, now) for row in due_rows(session, now, CARRIER)]
        lease(session, jobs, now)
        return jobs

    def perform(self, gateway: Any, job: Any, now: datetime) -> Outcome:
        return perform(gateway, job, now)

    def settle(self, call: Call, row: Outbox, outcome: Outcome) -> bool:
        return settle(call, row, outcome)

    async def follow(self) -> int:
        """Where parcels are is asked by pull_tracking."""
        return 0


def perform(gateway: CarrierGateway, job: Job, now: datetime) -> Outcome:
    """Send, or ask and send again only what the carrier never got."""
    if job.ask:
        answer = gateway.ask(job.operation_id)
        if answer.state is not State.NOT_FOUND:
            return answer
        if now - job.sent_at > RESEND_WITHIN:
            return Outcome(State.FAILED, code="never_arrived", message="It never got there.")
    if job.kind == "buy":
        return gateway.buy(job.operation_id, Parcel.read(job.payload))
    if job.kind == "void":
        if not job.refs:
            return Outcome(State.DONE, code="never_bought")
        return gateway.void(job.operation_id, job.refs[0])
    if job.kind == "close":
        return gateway.close(job.operation_id, job.refs)
    opens, closes = (datetime.fromisoformat(job.payload[k]) for k in ("opens_at", "closes_at"))
    return gateway.collect(job.operation_id, opens, closes, int(job.payload["parcels"]))


def settle(call: Call, row: Outbox, outcome: Outcome) -> bool:
    """What a carrier's final answer means for a label, a manifest, a pick-up."""
    done = outcome.state is State.DONE
    if row.kind == "buy":
        _bought(call, call.get(Label, row.target_id), outcome)
    elif row.kind == "void":
        _voided(call, call.get(Label, row.target_id), outcome)
    elif row.kind == "close":
        manifest = call.get(Manifest, row.target_id)
        manifest.provider_reference = outcome.provider_ref if done else None
        call.effect("update", "manifest", manifest.id, told=done)
    else:
        pickup = call.get(CarrierPickup, row.target_id)
        pickup.state = "confirmed" if done else "failed"
        pickup.provider_reference = outcome.provider_ref
        pickup.error = None if done else outcome.message
        call.effect("update", "carrier_pickup", pickup.id, state=pickup.state)
    return done


def _bought(call: Call, label: Label, outcome: Outcome) -> None:
    shipment = call.get(Shipment, label.shipment_id)
    if not isinstance(outcome, Bought) or outcome.state is not State.DONE:
        if label.state == "pending":
            label.state = "failed"
        label.error = outcome.message or "The carrier refused."
        call.effect("update", "label", label.id, state=label.state)
        return
    label.provider_reference, label.cost_minor = outcome.provider_ref, outcome.cost_minor
    _compare(call, label, shipment, outcome.cost_minor)
    label.tracking_number = outcome.tracking_number
    if label.state != "pending":
        return  # cancelled meanwhile: the void is next in the queue
    label.state = "purchased"
    shipment.tracking_number = outcome.tracking_number
    shipment.tracking_validated = validated(outcome.tracking_number)
    shipment.cost_minor = outcome.cost_minor
    shipment.status, shipment.status_at = "label_created", call.now
    id = call.new_id("event")
    call.session.add(
        TrackingEvent(
            id=id, shipment_id=shipment.id, source=WHO, source_event_id=id,
            status="label_created", occurred_at=call.now, received_at=call.now, applied=True,
        )
    )  # fmt: skip
    call.effect("update", "label", label.id, state="purchased")


def _compare(call: Call, label: Label, shipment: Shipment, taken: int) -> None:
    """More than the contract says is kept, told on the order's timeline, and found in a queue."""
    agreed = label.agreed_minor
    if agreed is None or taken <= agreed:
        return
    call.effect("update", "label", label.id, agreed_minor=agreed, taken_minor=taken)
    if shipment.order_id is not None:
        over = Money(taken - agreed, label.currency)
        detail = f"{label.carrier_id} took {over} more than its contract says"
        happened(call, shipment.order_id, "label_overcharged", detail, reference=shipment.id)


def _voided(call: Call, label: Label, outcome: Outcome) -> None:
    done = outcome.state is State.DONE
    label.state = "voided" if done else "failed"
    label.voided_at = call.now if done else None
    label.error = None if done else f"Not voided: {outcome.message}"
    call.effect("update", "label", label.id, state=label.state)


def _job(session: Session, row: Outbox, now: datetime) -> Job:
    first = (row.result or {}).get("sent_at") if row.state != "pending" else None
    return Job(
        row.id, row.operation_id, row.kind, str(row.payload["connection"]), row.payload,
        _references(session, row), datetime.fromisoformat(first) if first else now,
        row.state != "pending", row.attempts + 1,
    )  # fmt: skip


def _references(session: Session, row: Outbox) -> tuple[str, ...]:
    """The carrier's names of the labels that a void or a manifest is about."""
    if row.kind != "void":
        return tuple(row.payload.get("refs", ()))
    ref = session.get_one(Label, row.target_id).provider_reference
    return () if ref is None else (ref,)
