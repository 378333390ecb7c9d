"""Drivers and vans: who may drive what, and for how long today."""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from sqlalchemy import select

from common.call import Call, quoted
from common.errors import RuleViolation
from common.paging import page
from common.rules import meant
from common.tables.fleet import Depot, Driver, DutyRule, Route, Stop, Vehicle
from common.tables.logistics import Shipment
from servers.logistics import moving

ON_ROAD: Final = ("dispatched", "in_progress")
OPEN: Final = ("draft", *ON_ROAD)
ON_DUTY: Final = ("on_duty", "driving", "break")
# After so long a break the driving since the last one no longer counts.
FULL_BREAK_SECONDS: Final = 45 * 60


@dataclass(frozen=True)
class Clock:
    """Seconds left today."""

    duty_left: int
    driving_left: int
    since_break: int = 0


def drivers(
    call: Call, depot: str | None, status: str | None, cursor: str | None, limit: int
) -> tuple[list[Driver], str | None]:
    meant.filters(call, (Depot, depot))
    query = select(Driver).where(Driver.active.is_(True))
    if depot is not None:
        query = query.where(Driver.depot_id == depot)
    if status is not None:
        query = query.where(Driver.status == status)
    return page(call.session, query, [Driver.id], cursor, limit)


def vehicles(
    call: Call, depot: str | None, status: str | None, cursor: str | None, limit: int
) -> tuple[list[Vehicle], str | None]:
    meant.filters(call, (Depot, depot))
    query = select(Vehicle).where(Vehicle.status != "retired")
    if depot is not None:
        query = query.where(Vehicle.depot_id == depot)
    if status is not None:
        query = select(Vehicle).where(Vehicle.status == status)
        query = query.where(Vehicle.depot_id == depot) if depot else query
    return page(call.session, query, [Vehicle.id], cursor, limit)


def on_road(call: Call, driver_id: str | None = None, vehicle_id: str | None = None) -> str | None:
    """The route the driver or the van is out on now."""
    query = select(Route.id).where(Route.status.in_(ON_ROAD))
    if driver_id is not None:
        query = query.where(Route.driver_id == driver_id)
    if vehicle_id is not None:
        query = query.where(Route.vehicle_id == vehicle_id)
    return call.session.scalar(query.order_by(Route.id).limit(1))


def clock(call: Call, driver: Driver) -> Clock:
    """What is left of today's duty and driving time, the running stretch included."""
    duty, driving, since = _spent(call, driver)
    return Clock(
        max(0, driver.max_duty_seconds - duty), max(0, driver.max_driving_seconds - driving), since
    )


def today(call: Call, driver: Driver) -> date:
    return call.now.astimezone(_zone(call, driver)).date()


def set_driver(call: Call, driver_id: str, status: str) -> Driver:
    """Raises NotFound, RuleViolation (out on a route, no hours left, licence lapsed)."""
    driver = call.get(Driver, driver_id, next="list_drivers shows them.")
    call.stake()
    route_id = on_road(call, driver_id=driver.id)
    if route_id is not None and status not in ("driving", "break"):
        raise RuleViolation(
            f"{driver.id} is out on route {route_id}.",
            details={"route_id": route_id},
            next="Record what happened at its stops; the route then ends by itself.",
        )
    if route_id is None and status in ("driving", "break") and driver.status == "off":
        raise RuleViolation(f"{driver.id} is off: set available or on_duty first.")
    if route_id is None and status == "driving":
        raise RuleViolation(f"{driver.id} has no route.", next="dispatch_route starts the driving.")
    if status != "off":
        _require_fit(call, driver)
    move_driver(call, driver, status)
    return driver


def move_driver(call: Call, driver: Driver, status: str) -> None:
    """Set the status and book the stretch that ends on the duty clock."""
    duty, driving, since = _spent(call, driver)
    driver.clock_on = today(call, driver)
    driver.duty_seconds, driver.driving_seconds, driver.since_break_seconds = duty, driving, since
    driver.status, driver.status_at = status, call.now
    call.session.flush()
    call.effect("update", "driver", driver.id, status=status)


def set_vehicle(call: Call, vehicle_id: str, status: str, note: str) -> tuple[Vehicle, list[str]]:
    """Returns the van and the shipments that now wait for another. A van that breaks down on the
    road ends its route; drafts of a van that cannot drive are cancelled.

    Raises NotFound, RuleViolation.
    """
    vehicle = call.get(Vehicle, vehicle_id, next="list_vehicles shows them.")
    route_id = on_road(call, vehicle_id=vehicle.id)
    call.stake(on_road=route_id is not None)
    if route_id is not None and status != "broken_down":
        raise RuleViolation(
            f"{vehicle.id} is out on route {route_id}: only a breakdown ends that now.",
            details={"route_id": route_id},
        )
    call.show(f"Set van {vehicle.id} to {status}", f"note: {quoted(note)}")
    left: list[str] = []
    if status != "available":
        mine = Route.vehicle_id == vehicle.id
        for route in call.all(Route, mine, Route.status.in_(OPEN)):
            left += end_early(call, route, f"van {status}")
        if left:
            call.show("", f"{len(left)} shipments will wait for another van")
    vehicle.status, vehicle.status_note = status, note
    call.session.flush()
    call.effect("update", "vehicle", vehicle.id, status=status)
    return vehicle, left


def end_early(call: Call, route: Route, why: str) -> list[str]:
    """Stops still to be made are skipped and their shipments wait again; the driver and the van
    are free. Returns the shipments."""
    was_out = route.status in ON_ROAD
    stops = call.all(Stop, Stop.route_id == route.id)
    left = [stop for stop in stops if stop.status in moving.LIVE]
    for stop in left:
        stop.status = "skipped"
    call.session.flush()
    for stop in left:
        moving.back_to_waiting(call, call.get(Shipment, stop.shipment_id), why)
    visited = any(stop.status in ("done", "failed") for stop in stops)
    route.status = "completed" if visited else "cancelled"
    route.completed_at = call.now
    if was_out:
        free(call, route)
    call.session.flush()
    call.effect("update", "route", route.id, status=route.status)
    return [stop.shipment_id for stop in left]


def free(call: Call, route: Route) -> None:
    """Driver and van are back."""
    if route.driver_id is not None:
        driver = call.get(Driver, route.driver_id)
        if driver.status in ("driving", "break"):
            move_driver(call, driver, "on_duty")
    vehicle = call.get(Vehicle, route.vehicle_id)
    if vehicle.status == "on_route":
        vehicle.status = "available"


def require_free(call: Call, driver: Driver, vehicle: Vehicle) -> None:
    """For a dispatch: nobody drives two routes at once. Raises RuleViolation."""
    for name, route_id in (
        (driver.id, on_road(call, driver_id=driver.id)),
        (vehicle.id, on_road(call, vehicle_id=vehicle.id)),
    ):
        if route_id is not None:
            raise RuleViolation(
                f"{name} is out on route {route_id}.",
                details={"route_id": route_id},
                next="Choose another driver, or wait until that route is over.",
            )
    if driver.status not in ("available", "on_duty"):
        raise RuleViolation(
            f"Driver {driver.id} is {driver.status}.",
            next="set_driver_status available first, or name another driver.",
        )
    if vehicle.status != "available":
        raise RuleViolation(
            f"Van {vehicle.id} is {vehicle.status}.", next="Plan the route anew with another van."
        )
    _require_fit(call, driver)


def _require_fit(call: Call, driver: Driver) -> None:
    if driver.licence_until is not None and driver.licence_until < today(call, driver):
        raise RuleViolation(f"The licence of {driver.id} has lapsed.")
    left = clock(call, driver)
    if left.duty_left == 0 or left.driving_left == 0:
        raise RuleViolation(
            f"{driver.id} has no hours left today.",
            details={"duty_left_s": left.duty_left, "driving_left_s": left.driving_left},
            next="Name another driver.",
        )


def _spent(call: Call, driver: Driver) -> tuple[int, int, int]:
    """Duty, driving and driving since the last full break, in seconds of today, up to now."""
    same = driver.clock_on == today(call, driver)
    duty = driver.duty_seconds if same else 0
    driving = driver.driving_seconds if same else 0
    since = driver.since_break_seconds if same else 0
    begin = max(driver.status_at, _midnight(call, driver))
    if driver.status == "on_duty" and driver.status_at < begin:
        # Nobody said good night: the day begins with the shift.
        begin += timedelta(minutes=driver.shift_start_minute)
    stretch = max(0, int((call.now - begin).total_seconds()))
    if driver.status in ON_DUTY:
        duty += stretch
    if driver.status == "driving":
        driving, since = driving + stretch, since + stretch
    elif stretch >= _full_break(call, driver):
        since = 0
    return duty, driving, since


def _full_break(call: Call, driver: Driver) -> int:
    rule = call.find(DutyRule, driver.duty_rule_id) if driver.duty_rule_id else None
    return FULL_BREAK_SECONDS if rule is None else rule.break_seconds


def _midnight(call: Call, driver: Driver) -> datetime:
    local = call.now.astimezone(_zone(call, driver))
    return local.replace(hour=0, minute=0, second=0, microsecond=0)


def _zone(call: Call, driver: Driver) -> ZoneInfo:
    return ZoneInfo(call.get(Depot, driver.depot_id).timezone)
