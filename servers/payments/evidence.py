"""What the shop's own records can say in a dispute: rendered from rows, never from a model."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import select

from common.call import Call, quoted
from common.clock import stamp
from common.money import Money
from common.rules.addresses import one_line
from common.tables.logistics import ProofOfDelivery, Shipment, TrackingEvent
from common.tables.orders import Order, OrderLine
from common.tables.payments import Dispute, Refund
from common.tables.returns import Return

MOST_ROWS = 100
LONGEST = 2_000


@dataclass(frozen=True)
class Piece:
    """``brief`` is its first line, for people who decide."""

    kind: str
    source_id: str
    text: str

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def brief(self) -> str:
        return self.text.split("\n", 1)[0]


def offered(call: Call, dispute: Dispute) -> list[Piece]:
    """Everything the records of the disputed order offer, the strongest first: proof of delivery,
    tracking, invoice, refunds made already, returns."""
    if dispute.order_id is None:
        return []
    order = call.session.get(Order, dispute.order_id)
    if order is None:
        return []
    pieces = [*_deliveries(call, order), *_tracking(call, order), _invoice(call, order)]
    pieces += [*_refunds(call, dispute), *_returns(call, order)]
    return [Piece(p.kind, p.source_id, p.text[:LONGEST]) for p in pieces[:MOST_ROWS]]


def _shipments(call: Call, order: Order) -> list[Shipment]:
    query = select(Shipment).where(Shipment.order_id == order.id, Shipment.kind != "return")
    return list(call.session.scalars(query.order_by(Shipment.id).limit(MOST_ROWS)))


def _deliveries(call: Call, order: Order) -> Iterator[Piece]:
    for shipment in _shipments(call, order):
        query = select(ProofOfDelivery).where(ProofOfDelivery.shipment_id == shipment.id)
        proof = call.session.scalars(query).first()
        if proof is None:
            continue
        lines = [
            f"Delivered {stamp(proof.at)}, received by {quoted(proof.received_by)}",
            f"to {quoted(one_line(shipment.ship_to))}",
        ]
        if proof.code_verified:
            lines.append("The recipient named the delivery code.")
        if proof.lat_e6 is not None and proof.lon_e6 is not None:
            lines.append(f"Position (millionths of a degree): {proof.lat_e6}, {proof.lon_e6}")
        for name, digest in (("Photo", proof.photo_sha256), ("Signature", proof.signature_sha256)):
            if digest:
                lines.append(f"{name}, SHA-256 {digest}")
        if proof.left_safe:
            lines.append(f"Left at {quoted(proof.left_safe)}")
        if proof.damage_noted:
            lines.append(f"Damage was noted: {quoted(proof.condition_note)}")
        yield Piece("proof_of_delivery", shipment.id, "\n".join(lines))


def _tracking(call: Call, order: Order) -> Iterator[Piece]:
    for shipment in _shipments(call, order):
        query = select(TrackingEvent).where(TrackingEvent.shipment_id == shipment.id)
        events = call.session.scalars(
            query.order_by(TrackingEvent.occurred_at, TrackingEvent.id).limit(MOST_ROWS)
        ).all()
        if not events and shipment.tracking_number is None:
            continue
        head = f"Carrier {shipment.carrier_id or 'own fleet'}, tracking"
        lines = [f"{head} {shipment.tracking_number or shipment.id}, now {shipment.status}"]
        lines += [
            f"{stamp(event.occurred_at)} {event.status}"
            + (f", {quoted(event.place)}" if event.place else "")
            for event in events
        ]
        yield Piece("tracking", shipment.id, "\n".join(lines))


def _invoice(call: Call, order: Order) -> Piece:
    query = select(OrderLine).where(OrderLine.order_id == order.id)
    rows = call.session.scalars(query.order_by(OrderLine.position, OrderLine.id).limit(MOST_ROWS))
    placed = stamp(order.placed_at) if order.placed_at else "not placed"
    lines = [f"Order {order.id} of {placed}, total {Money(order.total_minor, order.currency)}"]
    for row in rows:
        net = Money(row.unit_price_minor * row.quantity - row.discount_minor, order.currency)
        lines.append(f"{row.quantity} × {row.sku} {quoted(row.name, 60)}: {net}")
    for name, amount in (("Shipping", order.shipping_minor), ("Tax", order.tax_minor)):
        if amount:
            lines.append(f"{name}: {Money(amount, order.currency)}")
    return Piece("invoice", order.id, "\n".join(lines))


def _refunds(call: Call, dispute: Dispute) -> Iterator[Piece]:
    query = select(Refund).where(
        Refund.payment_id == dispute.payment_id, Refund.status == "succeeded"
    )
    for row in call.session.scalars(query.order_by(Refund.id).limit(MOST_ROWS)):
        amount = Money(row.amount_minor, row.currency)
        text = f"{amount} went back {stamp(row.settled_at or row.created_at)}: {row.reason}"
        yield Piece("other", row.id, text)


def _returns(call: Call, order: Order) -> Iterator[Piece]:
    query = select(Return).where(Return.order_id == order.id)
    for row in call.session.scalars(query.order_by(Return.id).limit(MOST_ROWS)):
        text = f"Return {row.id}, requested {stamp(row.requested_at)}, is {row.state}"
        if row.received_at is not None:
            text += f", received {stamp(row.received_at)}"
        yield Piece("return_record", row.id, text)
