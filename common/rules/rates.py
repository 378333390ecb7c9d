"""What a parcel costs with each carrier, and when it would arrive."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from sqlalchemy import ColumnElement, or_, select

from common import countries
from common.call import Call
from common.errors import NotFound
from common.tables.inventory import Warehouse
from common.tables.logistics import Carrier, RateCard

SATURDAY: Final = 5


@dataclass(frozen=True)
class Load:
    """Grams and cubic centimetres."""

    weight_g: int
    volume_cm3: int = 0


@dataclass(frozen=True)
class Quote:
    """``price_minor`` has fuel in it. Days are the warehouse's."""

    carrier: Carrier
    card: RateCard
    dim_weight_g: int
    billed_weight_g: int
    price_minor: int
    ships_on: date
    arrives_from: date
    arrives_by: date


def quotes(
    call: Call, load: Load, ship_to: dict[str, Any], warehouse: Warehouse | None
) -> list[Quote]:
    """Every service that takes the parcel there, the cheapest first. Raises NotFound if none."""
    zone = ZoneInfo(warehouse.timezone if warehouse else "UTC")
    local = call.now.astimezone(zone)
    carriers = call.all(Carrier, Carrier.active.is_(True), Carrier.own_fleet.is_(False), limit=100)
    cards = call.all(RateCard, *_valid([carrier.id for carrier in carriers], local.date()))
    found = []
    for carrier in carriers:
        dim = dimensional_weight(load.volume_cm3, carrier.dim_divisor)
        billed = max(load.weight_g, dim)
        own = [c for c in cards if c.carrier_id == carrier.id and c.max_weight_g >= billed]
        for card in _best(own, ship_to):
            found.append(_quote(carrier, card, dim, billed, local))
    if not found:
        raise NotFound(
            f"No carrier takes this parcel to {ship_to.get('country') or 'that address'}.",
            details={"weight_g": load.weight_g, "volume_cm3": load.volume_cm3},
            next="Send it with the shop's own vans, or in several parcels.",
        )
    return sorted(found, key=lambda q: (q.price_minor, q.arrives_by, q.carrier.id, q.card.service))


def keeps(arrives_by: date, promised_at: datetime | None) -> bool:
    """Whether a parcel comes in time. Carriers tell days, so days are compared."""
    return promised_at is None or arrives_by <= promised_at.astimezone(UTC).date()


def arrival(
    call: Call,
    carrier: Carrier,
    service: str,
    load: Load,
    ship_to: dict[str, Any],
    warehouse: Warehouse | None,
    left_at: datetime | None,
) -> date | None:
    """The day by which a carrier's service brings a parcel that left then, or leaves with the next
    pick-up. None where no contract says."""
    local = (left_at or call.now).astimezone(ZoneInfo(warehouse.timezone if warehouse else "UTC"))
    dim = dimensional_weight(load.volume_cm3, carrier.dim_divisor)
    billed = max(load.weight_g, dim)
    # Not through the call: a change that only shows this is not bound to prices.
    query = select(RateCard).where(
        *_valid([carrier.id], local.date()), RateCard.service == service,
        RateCard.max_weight_g >= billed,
    )  # fmt: skip
    for card in _best(list(call.session.scalars(query.limit(1_000))), ship_to):
        if left_at is not None:
            return _after(_working(local.date()), card.transit_days_max)
        return _quote(carrier, card, dim, billed, local).arrives_by
    return None


def dimensional_weight(volume_cm3: int, divisor: int) -> int:
    """Grams, rounded up: cm³ over the carrier's cm³ a kilogram; 0 where there is no divisor."""
    return -(-volume_cm3 * 1_000 // divisor) if divisor else 0


def price(card: RateCard, billed_weight_g: int) -> int:
    """Base plus each kilogram begun, plus the fuel surcharge, half up."""
    net = card.base_minor + card.per_kg_minor * -(-billed_weight_g // 1_000)
    return net + (2 * net * card.fuel_bps + 10_000) // 20_000


def _valid(carriers: list[str], on: date) -> list[ColumnElement[bool]]:
    return [
        RateCard.carrier_id.in_(carriers),
        RateCard.valid_from <= on,
        or_(RateCard.valid_until.is_(None), RateCard.valid_until >= on),
    ]


def _best(cards: list[RateCard], ship_to: dict[str, Any]) -> Iterable[RateCard]:
    """Of each service the card with the longest destination that fits, then the smallest weight
    class, then the newest."""
    country = countries.key(str(ship_to.get("country", "")))
    postal = str(ship_to.get("postal_code", "")).replace(" ", "")
    best: dict[str, tuple[tuple[int, int, int], RateCard]] = {}
    for card in cards:
        place, _, prefix = card.destination.partition("/")
        there = countries.key(place) == country and postal.startswith(prefix)
        if card.destination != "*" and not there:
            continue
        length = 0 if card.destination == "*" else 1 + len(prefix)
        rank = (length, -card.max_weight_g, card.valid_from.toordinal())
        if card.service not in best or rank > best[card.service][0]:
            best[card.service] = (rank, card)
    return [card for _, card in best.values()]


def _quote(carrier: Carrier, card: RateCard, dim: int, billed: int, local: datetime) -> Quote:
    late = local.hour * 60 + local.minute >= card.cutoff_minute
    ships = _working(local.date() + timedelta(days=int(late)))
    return Quote(
        carrier=carrier,
        card=card,
        dim_weight_g=dim,
        billed_weight_g=billed,
        price_minor=price(card, billed),
        ships_on=ships,
        arrives_from=_after(ships, card.transit_days_min),
        arrives_by=_after(ships, card.transit_days_max),
    )


def _working(day: date) -> date:
    while day.weekday() >= SATURDAY:
        day += timedelta(days=1)
    return day


def _after(day: date, days: int) -> date:
    for _ in range(min(days, 365)):
        day = _working(day + timedelta(days=1))
    return day
