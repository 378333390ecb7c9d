"""From rows to the planner's words: a van with its driver, a shipment with its window."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from common.call import Call
from common.tables.fleet import Depot, Driver, Vehicle
from common.tables.logistics import Shipment
from servers.logistics import engine, fleet
from servers.logistics.engine.problem import LATEST_TIME
from servers.logistics.engine.travel import Place, StraightLine


@dataclass(frozen=True)
class Crew:
    """``shift`` in Unix seconds. ``max_driving``: seconds at the wheel."""

    vehicle: engine.Vehicle
    driver_id: str
    max_driving: int
    currency: str


@dataclass(frozen=True)
class Ground:
    """A depot and what is to be brought from it."""

    depot_id: str
    place: Place
    crews: tuple[Crew, ...]
    stops: tuple[tuple[engine.Stop, Place], ...]


def crew(call: Call, vehicle: Vehicle, driver: Driver, depot: Depot, on: date) -> Crew | None:
    """The two together on a day; None when the rest of the shift or of the hours is too short."""
    start = at_minute(depot, on, driver.shift_start_minute)
    end = at_minute(depot, on, driver.shift_end_minute)
    start = max(start, call.now)
    duty, driving = driver.max_duty_seconds, driver.max_driving_seconds
    if on == fleet.today(call, driver):
        left = fleet.clock(call, driver)
        duty, driving = left.duty_left, left.driving_left
    if end <= start or duty == 0 or driving == 0:
        return None
    return Crew(
        engine.Vehicle(
            id=vehicle.id,
            start=depot.id,
            end=depot.id,
            capacity=(vehicle.capacity_weight_g, vehicle.capacity_volume_cm3),
            shift=(unix(start), unix(end)),
            max_duty=duty,
            cost_per_km=vehicle.cost_per_km_minor,
            fixed_cost=vehicle.fixed_cost_minor,
            skills=frozenset([*vehicle.skills, *driver.skills]),
        ),
        driver.id,
        driving,
        vehicle.currency,
    )


def stop_of(shipment: Shipment) -> tuple[engine.Stop, Place]:
    """Raises ValueError for a shipment without coordinates."""
    if shipment.lat_e6 is None or shipment.lon_e6 is None:
        raise ValueError(f"{shipment.id} has no coordinates")
    opens, closes = shipment.window_opens_at, shipment.window_closes_at
    windows: tuple[engine.Window, ...] = ()
    if opens is not None or closes is not None:
        windows = ((unix(opens) if opens else 0, unix(closes) if closes else LATEST_TIME),)
    stop = engine.Stop(
        id=shipment.id,
        place=0,
        demand=(shipment.weight_g, shipment.volume_cm3),
        windows=windows,
        service=shipment.service_seconds,
        priority=shipment.priority,
        skills=frozenset(shipment.skills),
    )
    return stop, Place(shipment.lat_e6, shipment.lon_e6)


def problem(ground: Ground, short: frozenset[str] = frozenset()) -> engine.Problem:
    """The depot is place 0. Vans in ``short`` may be on duty only as long as they may drive."""
    places: dict[Place, int] = {ground.place: 0}
    stops = []
    for stop, place in ground.stops:
        index = places.setdefault(place, len(places))
        stops.append(_at(stop, index))
    return engine.Problem(
        depots=(engine.Depot(ground.depot_id, 0),),
        vehicles=tuple(_limited(crew, crew.vehicle.id in short) for crew in ground.crews),
        stops=tuple(stops),
        travel=StraightLine().matrix(list(places)),
    )


def too_long(crews: Sequence[Crew], plan: engine.Plan) -> frozenset[str]:
    """Vans that would be driven longer than their driver may."""
    most = {crew.vehicle.id: crew.max_driving for crew in crews}
    return frozenset(r.vehicle_id for r in plan.routes if r.driving > most[r.vehicle_id])


def at_minute(depot: Depot, on: date, minute: int) -> datetime:
    """Minutes after midnight by the depot's clock on the wall."""
    wall = datetime.combine(on, time()) + timedelta(minutes=minute)
    return wall.replace(tzinfo=ZoneInfo(depot.timezone)).astimezone(UTC)


def unix(moment: datetime) -> int:
    """Rounded up: nothing begins before its time."""
    return -int(-moment.timestamp() // 1)


def when(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _at(stop: engine.Stop, place: int) -> engine.Stop:
    return engine.Stop(
        stop.id, place, stop.demand, stop.windows, stop.service, stop.priority, stop.skills
    )


def _limited(crew: Crew, short: bool) -> engine.Vehicle:
    van = crew.vehicle
    if not short or van.max_duty is None or van.max_duty <= crew.max_driving:
        return van
    return engine.Vehicle(
        van.id, van.start, van.end, van.capacity, van.shift, crew.max_driving, van.cost_per_km,
        van.fixed_cost, van.skills,
    )  # fmt: skip
