"""Drivers, vans and routes: what a host sees."""

from typing import Annotated, Literal

from pydantic import Field

from common.call import Call
from common.scopes import Scope
from common.tables.fleet import Driver, Vehicle
from common.toolset import Computation, Effect
from common.wire import Cursor, Day, Identifier, Limit, Line
from servers.logistics import fleet, picture, planning, reassigning, replanning, routes, tracking
from servers.logistics.offer import Iterations, Seed, tools
from servers.logistics.planning import Planned
from servers.logistics.results_fleet import (
    DriverList,
    DriverRow,
    PlanView,
    RouteList,
    RouteRow,
    RouteView,
    VehicleChanged,
    VehicleList,
    VehicleRow,
)
from servers.logistics.travelling import Times

DriverStatus = Literal["off", "available", "on_duty", "driving", "break"]
VehicleStatus = Literal["available", "maintenance", "broken_down", "retired"]
Vans = Annotated[list[Identifier], Field(min_length=1, max_length=50)]
Position = Annotated[int, Field(ge=1, le=1_000)]


@tools.tool(scope=Scope.LOGISTICS_READ, effect=Effect.READS)
def list_drivers(
    call: Call,
    depot: Identifier | None = None,
    status: DriverStatus | None = None,
    limit: Limit = 20,
    cursor: Cursor | None = None,
) -> DriverList:
    """List drivers with their status, shift, the hours they have left today, and the route they
    are out on."""
    rows, more = fleet.drivers(call, depot, status, cursor, limit)
    return DriverList(count=len(rows), drivers=[_driver(call, d) for d in rows], next_cursor=more)


@tools.tool(scope=Scope.LOGISTICS_WRITE, effect=Effect.CHANGES)
def set_driver_status(call: Call, driver_id: Identifier, status: DriverStatus) -> DriverRow:
    """Say whether a driver is off, available, on duty, driving or on a break. Hours are counted
    from it. Driving begins with dispatch_route, not here."""
    return _driver(call, fleet.set_driver(call, driver_id, status))


@tools.tool(scope=Scope.LOGISTICS_READ, effect=Effect.READS)
def list_vehicles(
    call: Call,
    depot: Identifier | None = None,
    status: Literal["available", "on_route", "maintenance", "broken_down", "retired"] | None = None,
    limit: Limit = 20,
    cursor: Cursor | None = None,
) -> VehicleList:
    """List vans with their status, capacity, and the route they are out on."""
    rows, more = fleet.vehicles(call, depot, status, cursor, limit)
    return VehicleList(
        count=len(rows), vehicles=[_vehicle(call, v) for v in rows], next_cursor=more
    )


@tools.tool(scope=Scope.LOGISTICS_DISPATCH, effect=Effect.CHANGES)
def set_vehicle_status(
    call: Call, vehicle_id: Identifier, status: VehicleStatus, note: Line
) -> VehicleChanged:
    """Take a van out of use or back. A breakdown on the road ends its route: shipments still
    aboard wait for another plan. Its drafts are cancelled."""
    vehicle, left = fleet.set_vehicle(call, vehicle_id, status, note)
    then = "plan_routes finds other vans for them." if left else "Nothing waits because of it."
    return VehicleChanged(vehicle=_vehicle(call, vehicle), waiting_shipment_ids=left, next=then)


@tools.tool(
    scope=Scope.LOGISTICS_WRITE,
    effect=Effect.CREATES,
    computation=Computation(replanning.prepare, planning.compute),
)
def plan_routes(
    call: Call,
    date: Day | None = None,
    depot: Identifier | None = None,
    vehicles: Vans | None = None,
    seed: Seed = 0,
    iterations: Iterations = 1_000,
    replan: bool = False,
    route_id: Identifier | None = None,
    *,
    plan: Planned,
) -> PlanView:
    """Plan the shop's own vans for a day: drafts with stops in order, and every shipment left out
    with the reason. Nothing drives yet.

    Without date: today while a shift still runs, else tomorrow. depot may be a warehouse. More
    iterations search longer; the same seed gives the same plan. replan plans drafts of that day
    anew and touches no route on the road. route_id plans that one anew on the road: stops made
    and the next one stay; what no longer fits waits again.
    """
    kept, made = replanning.keep(call, plan)
    return PlanView.of(kept, [routes.whole(call, route.id) for route in made])


@tools.tool(scope=Scope.LOGISTICS_READ, effect=Effect.READS, widget="route-map")
def get_route(call: Call, route_id: Identifier) -> RouteView:
    """Show one route: its stops in order with planned arrival, waiting, slack, load and, on the
    road, when the van is expected."""
    return RouteView.whole(routes.whole(call, route_id))


@tools.tool(scope=Scope.LOGISTICS_DISPATCH, effect=Effect.CHANGES)
def dispatch_route(
    call: Call, route_id: Identifier, driver_id: Identifier | None = None
) -> RouteView:
    """Send a draft route off, with another driver if you name one. Its units leave stock and the
    orders' payments are captured, so a person confirms it."""
    return RouteView.whole(routes.dispatch(call, route_id, driver_id))


@tools.tool(
    scope=Scope.LOGISTICS_WRITE,
    effect=Effect.CHANGES,
    computation=Computation(reassigning.prepare, reassigning.compute),
)
def reassign_stop(
    call: Call,
    shipment_id: Identifier,
    route_id: Identifier,
    position: Position | None = None,
    *,
    plan: Times,
) -> RouteView:
    """Move a shipment to another draft route, or put a waiting one onto it, at a position or where
    it costs least. Refused, with the reason, when the route could not be driven any more."""
    return RouteView.whole(reassigning.reassign(call, shipment_id, route_id, position, plan))


@tools.tool(scope=Scope.LOGISTICS_WRITE, effect=Effect.CHANGES)
def cancel_route(call: Call, route_id: Identifier) -> RouteRow:
    """Call off a draft route; its shipments wait for another plan. A van already on the road:
    set_vehicle_status."""
    return RouteRow.of(routes.cancel(call, route_id))


@tools.resource("logistics://drivers", scope=Scope.LOGISTICS_READ)
def drivers(call: Call) -> DriverList:
    """Drivers with status, shift and hours left."""
    return list_drivers(call, limit=100)


@tools.resource("logistics://routes/{date}", scope=Scope.LOGISTICS_READ)
def routes_of_day(call: Call, date: Day) -> RouteList:
    """The routes of one day."""
    found = routes.of_day(call, tracking.day(date))
    return RouteList(date=date, count=len(found), routes=[RouteRow.of(each) for each in found])


@tools.resource(
    "logistics://route/{route_id}/map", scope=Scope.LOGISTICS_READ, mime_type="image/svg+xml"
)
def route_map(call: Call, route_id: Identifier) -> str:
    """A picture of one route: the depot and its stops in order."""
    return picture.of_route(call, route_id)


def _driver(call: Call, driver: Driver) -> DriverRow:
    return DriverRow.of(driver, fleet.clock(call, driver), fleet.on_road(call, driver.id))


def _vehicle(call: Call, vehicle: Vehicle) -> VehicleRow:
    return VehicleRow.of(vehicle, fleet.on_road(call, vehicle_id=vehicle.id))
