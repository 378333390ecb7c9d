"""Labels: bought from a carrier that is reached through the outbox, or by hand."""

from datetime import datetime
from typing import Any

from common.call import Call, quoted
from common.carriers.numbers import validated
from common.carriers.port import Parcel as ToSend
from common.carriers.queue import enqueue
from common.errors import RuleViolation
from common.money import Money
from common.rules.rates import Load, Quote, arrival, keeps, quotes
from common.rules.timeline import happened
from common.tables.inventory import Warehouse
from common.tables.logistics import Carrier, Label, Parcel, Shipment
from common.tables.orders import Order
from servers.logistics import moving

LIVE = ("pending", "purchased", "voiding")


def attach(call: Call, shipment: Shipment, parcel: Parcel, quote: Quote) -> Label:
    """A label for the parcel. A carrier with a connection is asked by the outbox's worker: until
    it answers the shipment has no label yet."""
    asked = quote.carrier.connection is not None
    label = call.add(
        Label(
            id=call.new_id("label"), shipment_id=shipment.id, parcel_id=parcel.id,
            carrier_id=quote.carrier.id, service=quote.card.service,
            state="pending" if asked else "purchased",
            tracking_number=shipment.tracking_number, cost_minor=quote.price_minor,
            agreed_minor=quote.price_minor, currency=shipment.currency, created_at=call.now,
        )
    )  # fmt: skip
    if not asked:
        shipment.tracking_validated = validated(shipment.tracking_number)
        moving.advance(call, shipment, "label_created")
        return label
    sent = ToSend(
        quote.card.service, shipment.weight_g, shipment.volume_cm3, shipment.ship_to,
        _from(call, shipment), quote.price_minor, shipment.currency,
    )  # fmt: skip
    enqueue(call, "buy", quote.carrier, "label", label.id, sent.record())
    return label


def buy(call: Call, shipment_id: str, carrier_id: str, service: str | None) -> Label:
    """A carrier takes a shipment that waits without a label. Raises NotFound, RuleViolation."""
    shipment = moving.find(call, shipment_id)
    live = call.all(Label, Label.shipment_id == shipment.id, Label.state.in_(LIVE), limit=1)
    if live:
        raise RuleViolation(
            f"Shipment {shipment.id} has a label ({live[0].state}).",
            details={"label_id": live[0].id},
            next="cancel_shipment only_label=true gives it back first.",
        )
    if shipment.status != "created" or shipment.kind == "return":
        raise RuleViolation(f"Shipment {shipment.id} is {shipment.status}: no label is due.")
    carrier = call.get(Carrier, carrier_id, next="quote_rates lists carriers and services.")
    load, house = Load(shipment.weight_g, shipment.volume_cm3), _house(call, shipment)
    quote = chosen(
        call, shipment.ship_to, shipment.currency, load, house, carrier, service,
        shipment.promised_at,
    )  # fmt: skip
    if quote is None:
        raise RuleViolation(f"{carrier.id} are the shop's own vans: plan_routes takes it along.")
    call.stake(amount_minor=quote.price_minor, currency=shipment.currency)
    city = quoted(str(shipment.ship_to.get("city", "")))
    call.show(
        f"Buy a label for shipment {shipment.id}",
        f"{carrier.id} {quote.card.service}, {shipment.weight_g} g, to {city}: "
        f"{Money(quote.price_minor, shipment.currency)}",
    )
    shipment.carrier_id, shipment.service = carrier.id, quote.card.service
    shipment.cost_minor = quote.price_minor
    parcel = call.all(Parcel, Parcel.shipment_id == shipment.id, limit=1)[0]
    parcel.dim_weight_g, parcel.billed_weight_g = quote.dim_weight_g, quote.billed_weight_g
    return attach(call, shipment, parcel, quote)


def give_back(call: Call, shipment: Shipment) -> bool:
    """Void what labels a shipment has. Whether there were any."""
    found = call.all(Label, Label.shipment_id == shipment.id, Label.state.in_(LIVE), limit=20)
    for label in found:
        carrier = call.get(Carrier, label.carrier_id or "")
        if carrier.connection is None:
            label.state, label.voided_at = "voided", call.now
        elif label.state != "voiding":
            label.state = "voiding"
            enqueue(call, "void", carrier, "label", label.id, {})
        call.effect("update", "label", label.id, state=label.state)
    return bool(found)


def void(call: Call, reference: str) -> Shipment:
    """Give the label back and keep the shipment: it waits for a van or another label.

    Raises NotFound, RuleViolation (no label, left already).
    """
    shipment = moving.find(call, reference)
    call.stake()
    if shipment.shipped_at is not None or shipment.status in moving.OVER:
        raise RuleViolation(f"Shipment {shipment.id} is {shipment.status}: its label is used.")
    if not give_back(call, shipment):
        raise RuleViolation(f"Shipment {shipment.id} has no label.", next="buy_label buys one.")
    shipment.carrier_id = shipment.service = shipment.tracking_number = shipment.cost_minor = None
    shipment.tracking_validated = False
    if shipment.status != "created":
        moving.advance(call, shipment, "created", detail="label voided")
    if shipment.order_id is not None:
        happened(call, call.get(Order, shipment.order_id).id, "label_voided", reference=shipment.id)
    call.session.flush()
    return shipment


def chosen(
    call: Call,
    ship_to: dict[str, Any],
    currency: str,
    load: Load,
    warehouse: Warehouse | None,
    carrier: Carrier,
    service: str | None,
    promised_at: datetime | None,
) -> Quote | None:
    """The carrier's quote of the service; without one its cheapest that keeps the promise, else
    its cheapest. None for the shop's own vans.

    Raises RuleViolation when it takes no such parcel there.
    """
    if carrier.own_fleet:
        return None
    offers = [
        quote
        for quote in quotes(call, load, ship_to, warehouse)
        if quote.carrier.id == carrier.id and quote.card.currency == currency
        and service in (None, quote.card.service)
    ]  # fmt: skip
    if offers:
        in_time = (quote for quote in offers if keeps(quote.arrives_by, promised_at))
        return next(in_time, offers[0])
    raise RuleViolation(
        f"{carrier.id} does not take this parcel there with that service.",
        next="quote_rates lists the services that do.",
    )


def comes_late(call: Call, shipment: Shipment) -> bool:
    """Whether the carrier's service brings it after the promise, by its contract."""
    if shipment.promised_at is None or shipment.carrier_id is None or shipment.service is None:
        return False
    carrier = call.session.get_one(Carrier, shipment.carrier_id)
    load = Load(shipment.weight_g, shipment.volume_cm3)
    house = call.session.get(Warehouse, shipment.warehouse_id) if shipment.warehouse_id else None
    by = arrival(
        call, carrier, shipment.service, load, shipment.ship_to, house, shipment.shipped_at
    )
    return by is not None and not keeps(by, shipment.promised_at)


def _house(call: Call, shipment: Shipment) -> Warehouse | None:
    return call.find(Warehouse, shipment.warehouse_id or "")


def _from(call: Call, shipment: Shipment) -> dict[str, Any]:
    house = _house(call, shipment)
    return {} if house is None else {"name": house.name, **house.address}
