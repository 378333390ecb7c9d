"""A van's day: look at it, send it off, follow it, call it off."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final

from sqlalchemy import select

from common.call import Call, quoted
from common.errors import InvalidParameters, RuleViolation
from common.rules.timeline import count
from common.tables.fleet import Depot, Driver, Route, Stop, Vehicle
from common.tables.logistics import Shipment
from servers.logistics import fleet, moving, writing
from servers.logistics.engine.routes import Breach
from servers.logistics.leaving import leave
from servers.logistics.travelling import ESTIMATED, Times

EARLY: Final = timedelta(hours=24)


@dataclass(frozen=True)
class Halt:
    """``eta``: when the van is expected now; None once it was there or when it will not come."""

    stop: Stop
    shipment: Shipment
    eta: datetime | None


@dataclass(frozen=True)
class Whole:
    route: Route
    depot: Depot
    halts: list[Halt]


def whole(call: Call, route_id: str) -> Whole:
    route = call.get(Route, route_id, next="logistics://routes/{date} lists a day's routes.")
    stops = call.all(Stop, Stop.route_id == route.id)
    stops.sort(key=lambda stop: (stop.position, stop.id))
    ids = [stop.shipment_id for stop in stops]
    shipments = {row.id: row for row in call.all(Shipment, Shipment.id.in_(ids))}
    late = delay(call, route, stops)
    return Whole(
        route,
        call.get(Depot, route.depot_id),
        [Halt(s, shipments[s.shipment_id], _eta(call, route, s, late)) for s in stops],
    )


def of_day(call: Call, on: date, limit: int = 100) -> list[Route]:
    query = select(Route).where(Route.on_date == on).order_by(Route.id).limit(limit)
    return list(call.session.scalars(query))


def delay(call: Call, route: Route, stops: list[Stop]) -> timedelta:
    """How far the van is behind (or before) its plan, by the last stop that it left in turn: one
    that was made, or called off, before its turn says nothing of those before it."""
    reckoned = set(route.plan.get("behind", []))
    ahead = min((s.position for s in stops if s.status in moving.LIVE), default=len(stops) + 1)
    left = [stop for stop in stops if stop.status in ("done", "failed") and stop.departed_at]
    left = [stop for stop in left if stop.id not in reckoned and stop.position < ahead]
    if left:
        last = max(left, key=lambda stop: stop.departed_at or call.now)
        return (last.departed_at or call.now) - last.planned_departure
    if "behind" in route.plan:
        return timedelta()  # planned anew since the last stop, with what it was late by
    if route.departed_at is not None:
        return max(timedelta(), route.departed_at - route.planned_start)
    return timedelta()


def dispatch(call: Call, route_id: str, driver_id: str | None) -> Whole:
    """Send a draft off: units leave stock, authorized payments are captured.

    Raises NotFound, RuleViolation (not a draft, its day is another, driver or van not free, an
    order on hold, disputed or not paid, a reservation lapsed).
    """
    found = whole(call, route_id)
    route = found.route
    call.stake()
    if route.status != "draft":
        raise RuleViolation(f"Route {route.id} is {route.status} and cannot be dispatched.")
    if not route.planned_start - EARLY <= call.now <= route.planned_finish:
        raise RuleViolation(
            f"Route {route.id} is planned for {route.on_date.isoformat()}.",
            next="Dispatch it on its day. When that is over, plan_routes plans what it has anew.",
        )
    going = [halt for halt in found.halts if halt.stop.status in moving.LIVE]
    driver = _driver(call, found, driver_id)
    vehicle = call.get(Vehicle, route.vehicle_id)
    fleet.require_free(call, driver, vehicle)
    _require_load(route, going, vehicle)
    call.show(
        f"Dispatch route {route.id} of {route.on_date.isoformat()}",
        f"driver {quoted(driver.name)}, van {quoted(vehicle.name)}, {count(len(going), 'stop')}",
    )
    spoilt = moving.spoilt(call, [halt.shipment.id for halt in going])
    for halt in going:
        shipment = halt.shipment
        if shipment.status != "planned":
            raise RuleViolation(f"Shipment {shipment.id} is {shipment.status}, not planned.")
        if shipment.id in spoilt:
            raise RuleViolation(
                f"Shipment {shipment.id} holds units of a lot that expired or was recalled.",
                details={"shipment_id": shipment.id, "order_id": shipment.order_id},
                next="cancel_shipment takes it off; orders.release_to_fulfilment reserves other "
                "units.",
            )
        call.show("", *leave(call, shipment))
        moving.advance(call, shipment, "out_for_delivery", detail=route.id)
    route.driver_id, route.status = driver.id, "dispatched"
    route.dispatched_at = route.departed_at = call.now
    vehicle.status = "on_route"
    fleet.move_driver(call, driver, "driving")
    going[0].stop.status = "enroute"
    call.session.flush()
    call.effect("update", "route", route.id, status="dispatched")
    return whole(call, route.id)


def visited(call: Call, stop: Stop, status: str, at: datetime) -> Route:
    """The van was at a stop: ``done`` or ``failed``. The route goes on, or ends with its last
    stop. Raises RuleViolation when the route was not dispatched."""
    route = call.get(Route, stop.route_id)
    if route.status not in fleet.ON_ROAD:
        raise RuleViolation(
            f"Route {route.id} is {route.status}: it was not dispatched.",
            details={"route_id": route.id},
            next="dispatch_route first.",
        )
    stop.status, stop.arrived_at, stop.departed_at = status, at, at
    route.status = "in_progress"
    call.session.flush()
    left = writing.live_stops(call, route)
    if left:
        left[0].status = "enroute"
    else:
        route.status, route.completed_at = "completed", call.now
        fleet.free(call, route)
        call.effect("update", "route", route.id, status="completed")
    call.session.flush()
    return route


def cancel(call: Call, route_id: str) -> Route:
    """Call off a draft: its shipments wait for another plan. Raises RuleViolation once it left."""
    route = call.get(Route, route_id)
    call.stake()
    if route.status != "draft":
        raise RuleViolation(
            f"Route {route.id} is {route.status}.",
            next="A van that broke down on the road: set_vehicle_status broken_down.",
        )
    fleet.end_early(call, route, "route cancelled")
    return route


def take_off(call: Call, shipment: Shipment, status: str = "skipped") -> None:
    """The shipment will not be handed over at its stop: drafts are timed anew, a van on the road
    passes by."""
    stop = moving.live_stop(call, shipment.id)
    if stop is None:
        return
    route = call.get(Route, stop.route_id)
    if route.status in fleet.ON_ROAD:
        visited(call, stop, status, call.now)
        return
    stop.status = "skipped"
    call.session.flush()
    shorten(call, route)


def shorten(call: Call, route: Route, travel: Times | None = None) -> None:
    """Time a draft anew after a stop was taken off it; one without stops is cancelled."""
    left = writing.live_stops(call, route)
    if not left:
        route.status, route.completed_at = "cancelled", call.now
        call.session.flush()
        return
    shipments = [call.get(Shipment, stop.shipment_id) for stop in left]
    timed = writing.timed(call, route, shipments, travel)
    if timed is None or isinstance(timed, Breach):
        fleet.end_early(call, route, "no longer possible")
    else:
        writing.retime(call, route, timed, travel.note if travel else ESTIMATED)


def _driver(call: Call, found: Whole, driver_id: str | None) -> Driver:
    driver = call.get(
        Driver, driver_id or found.route.driver_id or "", next="list_drivers shows them."
    )
    if driver.depot_id != found.route.depot_id or not driver.active:
        raise InvalidParameters.field("driver_id", driver.id, "an active driver of the depot")
    return driver


def _require_load(route: Route, going: Sequence[Halt], vehicle: Vehicle) -> None:
    if not going:
        raise RuleViolation(f"Route {route.id} has no stops.")
    weight = sum(halt.shipment.weight_g for halt in going)
    volume = sum(halt.shipment.volume_cm3 for halt in going)
    if weight > vehicle.capacity_weight_g or volume > vehicle.capacity_volume_cm3:
        raise RuleViolation(
            f"Route {route.id} holds more than van {vehicle.id} takes.",
            details={"weight_g": weight, "volume_cm3": volume},
            next="Move stops to another route with reassign_stop.",
        )


def _eta(call: Call, route: Route, stop: Stop, late: timedelta) -> datetime | None:
    if stop.status not in moving.LIVE:
        return None
    expected = stop.planned_arrival + late
    return max(call.now, expected) if route.status in fleet.ON_ROAD else expected
