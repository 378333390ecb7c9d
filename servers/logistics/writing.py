"""Routes and stops as rows, from the planner's timetables; and timetables of rows."""

from collections.abc import Mapping, Sequence

from sqlalchemy import func, select

from common.call import Call
from common.clock import stamp
from common.errors import RuleViolation
from common.tables.fleet import Depot, Driver, Route, RoutePlan, Stop, Vehicle
from common.tables.logistics import Shipment
from servers.logistics import breaks, crews, engine, moving
from servers.logistics.engine.routes import Breach, Lookup
from servers.logistics.engine.travel import Place
from servers.logistics.travelling import ESTIMATED, Times


def new_route(
    call: Call, plan: RoutePlan, depot_id: str, crew: crews.Crew, timed: engine.PlannedRoute
) -> Route:
    """A draft without its stops."""
    before = select(func.max(Route.number)).where(
        Route.vehicle_id == timed.vehicle_id, Route.on_date == plan.on_date
    )
    route = Route(
        id=call.new_id("route"), on_date=plan.on_date,
        number=(call.session.scalar(before) or 0) + 1, plan_id=plan.id, depot_id=depot_id,
        driver_id=crew.driver_id, vehicle_id=timed.vehicle_id, status="draft",
        planned_start=crews.when(timed.departure), planned_finish=crews.when(timed.finish),
        currency=crew.currency, created_at=call.now,
    )  # fmt: skip
    times(route, timed)
    return call.add(route)


def put_stops(
    call: Call, route: Route, timed: engine.PlannedRoute, shipments: Mapping[str, Shipment]
) -> None:
    """A stop for each visit; its shipment is planned now."""
    # Shipments first: whoever planned one of them meanwhile shows in its version.
    for visit in timed.visits:
        if shipments[visit.stop_id].status != "planned":
            moving.advance(call, shipments[visit.stop_id], "planned", detail=route.id)
    call.session.flush()
    for position, visit in enumerate(timed.visits, 1):
        stop = Stop(
            id=call.new_id("stop"), route_id=route.id, position=position,
            shipment_id=visit.stop_id, planned_arrival=crews.when(visit.arrival),
            planned_departure=crews.when(visit.departure),
        )  # fmt: skip
        times_of_stop(stop, visit, timed)
        call.session.add(stop)
    call.session.flush()


def retime(call: Call, route: Route, timed: engine.PlannedRoute, travel: str = ESTIMATED) -> None:
    """Bring a route and its live stops in line with a new timetable. A shipment that is new on
    the route gets a stop; stops of shipments no longer on it must be gone. ``travel`` says where
    the times are from."""
    stops = {stop.shipment_id: stop for stop in live_stops(call, route)}
    for position, visit in enumerate(timed.visits, 1):
        stop = stops.get(visit.stop_id)
        if stop is None:
            stop = Stop(
                id=call.new_id("stop"), route_id=route.id, shipment_id=visit.stop_id,
                position=position, planned_arrival=crews.when(visit.arrival),
                planned_departure=crews.when(visit.departure),
            )  # fmt: skip
            call.session.add(stop)
        stop.position = position
        times_of_stop(stop, visit, timed)
    route.planned_start = crews.when(timed.departure)
    route.planned_finish = crews.when(timed.finish)
    times(route, timed)
    route.plan = {**route.plan, "travel": travel}
    call.session.flush()
    call.effect("update", "route", route.id, stops=len(timed.visits))


def timed(
    call: Call, route: Route, shipments: Sequence[Shipment], travel: Times | None = None
) -> engine.PlannedRoute | Breach | None:
    """The timetable of a route with these shipments in this order, or the rule it breaks; None
    when its crew has no time left that day. Without ``travel`` distance and speed decide."""
    if route.driver_id is None:
        raise RuleViolation(f"Route {route.id} has no driver.")
    depot = call.get(Depot, route.depot_id)
    crew = crews.crew(
        call, call.get(Vehicle, route.vehicle_id), call.get(Driver, route.driver_id), depot,
        route.on_date,
    )  # fmt: skip
    if crew is None:
        return None
    ground = crews.Ground(
        depot.id,
        Place(depot.lat_e6, depot.lon_e6),
        (crew,),
        tuple(crews.stop_of(shipment) for shipment in shipments),
    )
    matrix = None if travel is None else travel.of(crews.places(ground))
    problem = crews.problem(ground, travel=matrix)
    lookup = Lookup.of(problem)
    found = breaks.timed(lookup, problem.vehicles[0], problem.stops, crew.rest)
    if isinstance(found, Breach):
        return found
    if found.driving > crew.max_driving:
        last = problem.stops[-1].id if problem.stops else ""
        over = found.driving - crew.max_driving
        return Breach(engine.Reason.SHIFT, last, f"would be driven {over} s longer than allowed")
    return found


def live_stops(call: Call, route: Route) -> list[Stop]:
    """Stops still to be made, in order."""
    stops = call.all(Stop, Stop.route_id == route.id, Stop.status.in_(moving.LIVE))
    return sorted(stops, key=lambda stop: (stop.position, stop.id))


def times(route: Route, timed: engine.PlannedRoute) -> None:
    route.metres, route.duty_seconds = timed.metres, timed.duty
    route.driving_seconds, route.waiting_seconds = timed.driving, timed.waiting
    route.load_weight_g, route.load_volume_cm3 = timed.load
    route.cost_minor = timed.cost
    route.plan = {
        "metres_back": timed.metres_back,
        "load_permille": list(timed.load_permille),
        "breaks": [
            {"after": rest.stop_id, "at": stamp(crews.when(rest.at)), "seconds": rest.seconds}
            for rest in timed.breaks
        ],
    }


def times_of_stop(stop: Stop, visit: engine.Visit, timed: engine.PlannedRoute) -> None:
    rest = sum(each.seconds for each in timed.breaks if each.stop_id == visit.stop_id)
    stop.planned_arrival = crews.when(visit.arrival)
    stop.planned_departure = crews.when(visit.departure)
    stop.wait_seconds, stop.slack_seconds = visit.wait, visit.slack
    stop.service_seconds = visit.departure - visit.start - rest
    stop.metres = visit.metres
    stop.load_weight_g, stop.load_volume_cm3 = visit.load_after
