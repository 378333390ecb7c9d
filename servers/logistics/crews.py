"""From rows to the planner's words: a van with its driver, a shipment with its window."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from common.call import Call
from common.tables.fleet import Depot, Driver, DutyRule, Vehicle
from common.tables.logistics import Shipment
from servers.logistics import engine, fleet
from servers.logistics.breaks import Rest
from servers.logistics.engine.problem import LATEST_TIME
from servers.logistics.engine.travel import Place, StraightLine
from servers.logistics.pairing import Known


@dataclass(frozen=True)
class Crew:
    """``shift`` in Unix seconds. ``max_driving``: seconds at the wheel."""

    vehicle: engine.Vehicle
    driver_id: str
    max_driving: int
    currency: str
    rest: Rest | None = None


@dataclass(frozen=True)
class Ground:
    """A depot and what is to be brought from it."""

    depot_id: str
    place: Place
    crews: tuple[Crew, ...]
    stops: tuple[tuple[engine.Stop, Place], ...]


def crew(
    call: Call,
    vehicle: Vehicle,
    driver: Driver,
    depot: Depot,
    on: date,
    known: Known | None = None,
) -> Crew | None:
    """The two together on a day; None when the rest of the shift or of the hours is too short."""
    start = at_minute(depot, on, driver.shift_start_minute)
    end = at_minute(depot, on, driver.shift_end_minute)
    start = max(start, call.now)
    duty, driving = driver.max_duty_seconds, driver.max_driving_seconds
    driven = 0
    if on == fleet.today(call, driver):
        left = fleet.clock(call, driver)
        duty, driving, driven = left.duty_left, left.driving_left, left.since_break
    rule = call.find(DutyRule, driver.duty_rule_id) if driver.duty_rule_id else None
    rest = None
    if rule is not None:
        rest = Rest(rule.drive_before_break_seconds, rule.break_seconds, driven)
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
            skills=(known or Known.at(call, depot.id)).of(vehicle, driver),
        ),
        driver.id,
        driving,
        vehicle.currency,
        rest,
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


@dataclass(frozen=True)
class Limit:
    """What a van is planned with instead of its crew's own limits, to leave room for breaks."""

    spare: int = 0
    duty: int | None = None


def problem(
    ground: Ground,
    limits: Mapping[str, Limit] | None = None,
    travel: engine.TravelMatrix | None = None,
) -> engine.Problem:
    """The depot is place 0; ``travel`` is of ``places``, in their order."""
    index = {place: number for number, place in enumerate(places(ground))}
    stops = [_at(stop, index[place]) for stop, place in ground.stops]
    return engine.Problem(
        depots=(engine.Depot(ground.depot_id, 0),),
        vehicles=tuple(_limited(c, (limits or {}).get(c.vehicle.id)) for c in ground.crews),
        stops=tuple(stops),
        travel=travel or StraightLine().matrix(places(ground)),
    )


def places(ground: Ground) -> list[Place]:
    """The depot, then each place of a stop once."""
    return list(dict.fromkeys([ground.place, *(place for _, place in ground.stops)]))


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


def _limited(crew: Crew, limit: Limit | None) -> engine.Vehicle:
    van = crew.vehicle
    if limit is None:
        return van
    begin, end = van.shift
    most = limit.duty
    if most is not None and van.frozen:
        # The limit is of what is ahead, the van's duty began when it left.
        most += (van.frozen[-1].departure or begin) - (van.departed_at or begin)
    duty = min(d for d in (van.max_duty, most, end - begin) if d is not None)
    return replace(
        van, shift=(begin, max(begin, end - limit.spare)), max_duty=max(0, duty - limit.spare)
    )
