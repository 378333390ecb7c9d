"""An order's lines become a parcel."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select

from common.call import Call, quoted
from common.errors import InvalidParameters, RuleViolation
from common.money import Money
from common.rules import disputed_goods, reserving
from common.rules.rates import Load, Quote
from common.rules.timeline import count, happened
from common.tables.inventory import Reservation, Variant, Warehouse
from common.tables.logistics import Carrier, Parcel, Shipment, ShipmentLine
from common.tables.orders import Order, OrderLine
from servers.logistics import labelling, moving

SHIPPABLE = ("allocated", "picked", "packed")


@dataclass(frozen=True)
class Wanted:
    """How an order is to go. Without a carrier it goes with the shop's own vans."""

    carrier_id: str | None = None
    service: str | None = None
    tracking_number: str | None = None
    lat_e6: int | None = None
    lon_e6: int | None = None
    weight_g: int | None = None
    size_mm: tuple[int, int, int] | None = None
    opens_at: datetime | None = None
    closes_at: datetime | None = None
    delivery_code: str | None = None


def create(call: Call, order_id: str, wanted: Wanted) -> Shipment:
    """One parcel with every line of the order that can go from one warehouse.

    Raises NotFound, RuleViolation (not released, on hold, disputed, nothing left to ship, no
    service), InvalidParameters (no coordinates or weight).
    """
    order = call.get(Order, order_id)
    lines = _going(call, order)
    variants = {line.sku: call.get(Variant, line.sku) for line in lines}
    load = _load(lines, variants, wanted)
    warehouse = call.find(Warehouse, lines[0].warehouse_id or order.warehouse_id or "")
    quote = _chosen(call, order, load, warehouse, wanted)
    place = _place(order.ship_to, wanted, by_van=quote is None)
    _check_window(call, wanted)
    call.stake(amount_minor=quote.price_minor if quote else 0, currency=order.currency)
    city = quoted(str(order.ship_to.get("city", "")))
    call.show(
        f"Ship order {order.id}",
        f"{count(len(lines), 'line')}, {load.weight_g} g, to {city}",
        f"by {quote.carrier.id} {quote.card.service}: {Money(quote.price_minor, order.currency)}"
        if quote
        else "by the shop's own vans",
    )
    shipment = _shipment(call, order, lines, variants, load, place, warehouse, quote, wanted)
    _contents(call, order, shipment, lines, load, quote, wanted)
    happened(call, order.id, "shipment_created", count(len(lines), "line"), reference=shipment.id)
    return shipment


def code_digest(shipment_id: str, code: str) -> str:
    """Bound to the shipment, so that equal codes do not look alike."""
    return hashlib.sha256(f"{shipment_id}:{code}".encode()).hexdigest()


def order_load(call: Call, order: Order) -> Load:
    """What the order's open lines weigh and measure, for a quote."""
    lines = call.all(OrderLine, OrderLine.order_id == order.id, limit=200)
    going = [line for line in lines if line.status not in ("cancelled", "returned")]
    if not going:
        raise RuleViolation(f"Order {order.id} has no lines to ship.")
    variants = {line.sku: call.get(Variant, line.sku) for line in going}
    return _load(going, variants, Wanted())


def measured(load: Load, weight_g: int | None, size_mm: tuple[int, int, int] | None) -> Load:
    """The load with what was weighed and measured in place of what the catalogue says."""
    volume = load.volume_cm3
    if size_mm is not None:
        length, width, height = size_mm
        volume = -(-length * width * height // 1_000)
    return Load(load.weight_g if weight_g is None else weight_g, volume)


def _going(call: Call, order: Order) -> list[OrderLine]:
    """The lines that can go now, from the first warehouse that has some."""
    if order.released_at is None or order.status != "in_fulfilment":
        raise RuleViolation(
            f"Order {order.id} is {order.status} and not released to fulfilment.",
            next="orders.release_to_fulfilment comes first; a hold has to be released before.",
        )
    disputed_goods.refuse_sending(call, order)
    lines = call.all(OrderLine, OrderLine.order_id == order.id, limit=200)
    query = (
        select(ShipmentLine.order_line_id, Shipment.id, Shipment.status)
        .join(Shipment, Shipment.id == ShipmentLine.shipment_id)
        .where(Shipment.order_id == order.id, Shipment.kind != "return")
        .where(Shipment.status != "cancelled")
    )
    rows = call.session.execute(query.limit(1_000)).all()
    packed = {row[0]: str(row[1]) for row in rows}
    going = [line for line in lines if line.id not in packed and line.status in SHIPPABLE]
    if not going:
        behind = sum(line.status == "backordered" for line in lines)
        came_back = any(row[2] == "returned_to_sender" for row in rows)
        raise RuleViolation(
            f"Order {order.id} has nothing left to ship.",
            details={"shipment_ids": sorted(set(packed.values())), "backordered": behind},
            next="What went back to its sender is sent again by returns.request_exchange for the "
            "same SKU."
            if came_back
            else None,
        )
    for line in going:
        _require_reserved(call, line)
    going.sort(key=lambda line: line.position)
    first = going[0].warehouse_id or order.warehouse_id
    return [line for line in going if (line.warehouse_id or order.warehouse_id) == first]


def _require_reserved(call: Call, line: OrderLine) -> None:
    reservation = call.find(Reservation, line.reservation_id or "")
    if reservation is None or reserving.standing(call, reservation) not in reserving.OPEN:
        raise RuleViolation(
            f"Line {line.id} has no units reserved.",
            details={"line_id": line.id, "sku": line.sku},
            next="Look at the order's stock: orders.get_order, inventory.check_availability.",
        )
    if not reserving.may_go_out(call, reservation):
        raise RuleViolation(
            f"What line {line.id} has reserved is of a lot that expired or was recalled.",
            details={"line_id": line.id, "sku": line.sku, "lot_id": reservation.lot_id},
            next="orders.release_to_fulfilment reserves other units, or leaves the line behind.",
        )


def _load(lines: Sequence[OrderLine], variants: dict[str, Variant], wanted: Wanted) -> Load:
    weight = wanted.weight_g
    if weight is None:
        unknown = sorted({sku for sku, variant in variants.items() if variant.weight_g is None})
        if unknown:
            raise InvalidParameters(
                f"The weight of {', '.join(unknown[:5])} is not known.",
                details={"skus": unknown[:50]},
                next="Weigh the parcel and give weight_g.",
            )
        weight = sum((variants[line.sku].weight_g or 0) * line.quantity for line in lines)
    cubic_mm = 0
    for line in lines:
        v = variants[line.sku]
        cubic_mm += (v.length_mm or 0) * (v.width_mm or 0) * (v.height_mm or 0) * line.quantity
    return measured(Load(weight, -(-cubic_mm // 1_000)), None, wanted.size_mm)


def _chosen(
    call: Call, order: Order, load: Load, warehouse: Warehouse | None, wanted: Wanted
) -> Quote | None:
    """The carrier's quote (of the service, or that keeps the promise), None for the own vans."""
    if wanted.carrier_id is None:
        return None
    carrier = call.get(Carrier, wanted.carrier_id, next="quote_rates lists carriers and services.")
    if carrier.connection is not None and wanted.tracking_number is not None:
        raise InvalidParameters.field(
            "tracking_number", wanted.tracking_number, f"left out: {carrier.id} gives the number"
        )
    return labelling.chosen(
        call, order.ship_to, order.currency, load, warehouse, carrier, wanted.service,
        order.promised_at,
    )  # fmt: skip


def _place(ship_to: dict[str, Any], wanted: Wanted, *, by_van: bool) -> tuple[int, int] | None:
    if wanted.lat_e6 is not None and wanted.lon_e6 is not None:
        return wanted.lat_e6, wanted.lon_e6
    lat, lon = ship_to.get("lat_e6"), ship_to.get("lon_e6")
    if isinstance(lat, int) and isinstance(lon, int):
        return lat, lon
    if by_van:
        raise InvalidParameters.field(
            "lat_e6, lon_e6", None,
            "the address has no coordinates: give both, in millionths of a degree",
        )  # fmt: skip
    return None


def _check_window(call: Call, wanted: Wanted) -> None:
    opens, closes = wanted.opens_at, wanted.closes_at
    if closes is not None and (closes <= call.now or (opens is not None and opens > closes)):
        raise InvalidParameters.field("window_closes_at", str(closes), "later, after it opens")


def _shipment(
    call: Call,
    order: Order,
    lines: Sequence[OrderLine],
    variants: dict[str, Variant],
    load: Load,
    place: tuple[int, int] | None,
    warehouse: Warehouse | None,
    quote: Quote | None,
    wanted: Wanted,
) -> Shipment:
    value = sum(line.unit_price_minor * line.quantity - line.discount_minor for line in lines)
    id = call.new_id("shipment")
    shipment = Shipment(
        id=id, kind="replacement" if order.replaces_order_id else "outbound", order_id=order.id,
        warehouse_id=warehouse.id if warehouse else None, status="created", status_at=call.now,
        ship_to=order.ship_to, lat_e6=place[0] if place else None,
        lon_e6=place[1] if place else None, carrier_id=quote.carrier.id if quote else None,
        service=quote.card.service if quote else None,
        tracking_number=wanted.tracking_number if quote else None,
        weight_g=load.weight_g, volume_cm3=load.volume_cm3,
        skills=["hazmat"] if any(v.hazmat for v in variants.values()) else [],
        priority=order.priority, currency=order.currency,
        cost_minor=quote.price_minor if quote else None, declared_value_minor=value,
        delivery_code_sha256=(
            code_digest(id, wanted.delivery_code) if wanted.delivery_code else None
        ),
        window_opens_at=wanted.opens_at, window_closes_at=wanted.closes_at,
        ship_by=order.ship_by, promised_at=order.promised_at, created_at=call.now,
    )  # fmt: skip
    call.add(shipment)
    moving.advance(call, shipment, "created")
    return shipment


def _contents(
    call: Call,
    order: Order,
    shipment: Shipment,
    lines: Sequence[OrderLine],
    load: Load,
    quote: Quote | None,
    wanted: Wanted,
) -> None:
    length, width, height = wanted.size_mm or (None, None, None)
    parcel = call.add(
        Parcel(
            id=call.new_id("parcel"), shipment_id=shipment.id, position=0, weight_g=load.weight_g,
            length_mm=length, width_mm=width, height_mm=height,
            dim_weight_g=quote.dim_weight_g if quote else 0,
            billed_weight_g=quote.billed_weight_g if quote else load.weight_g,
            tracking_number=shipment.tracking_number,
        )
    )  # fmt: skip
    for line in lines:
        reservation = call.find(Reservation, line.reservation_id or "")
        line.status = "packed"
        call.add(
            ShipmentLine(
                id=call.new_id("line"), shipment_id=shipment.id, order_line_id=line.id,
                parcel_id=parcel.id, sku=line.sku, quantity=line.quantity,
                lot_id=reservation.lot_id if reservation else None,
            )
        )  # fmt: skip
    if quote is not None:
        labelling.attach(call, shipment, parcel, quote)
