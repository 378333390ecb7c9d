"""Plan a route anew that is on the road: what it has done stays, the rest gets its best order."""

from dataclasses import replace

from common.call import Call
from common.errors import Conflict, InvalidParameters, RuleViolation
from common.tables.base import Record
from common.tables.fleet import Depot, Driver, Route, RoutePlan, Vehicle
from common.tables.logistics import Shipment
from servers.logistics import crews, engine, fleet, moving, planning, routes, writing
from servers.logistics.engine.travel import Place
from servers.logistics.planning import Brief, Planned


def prepare(
    call: Call,
    date: str | None,
    depot: str | None,
    vehicles: list[str] | None,
    seed: int,
    iterations: int,
    replan: bool,
    route_id: str | None,
) -> Brief:
    """Of one route, or of a day. Raises NotFound, InvalidParameters, RuleViolation."""
    if route_id is None:
        return planning.prepare(call, date, depot, vehicles, seed, iterations, replan)
    for field, given in (("date", date), ("depot", depot), ("vehicles", vehicles)):
        if given is not None:
            raise InvalidParameters.field(field, given, "nothing beside route_id")
    found = routes.whole(call, route_id)
    _require_on_road(found)
    crew = _crew(call, found)
    stops = [crews.stop_of(halt.shipment) for halt in _kept(found)]
    places = Place(found.depot.lat_e6, found.depot.lon_e6)
    return Brief(
        found.route.on_date, (crews.Ground(found.depot.id, places, (crew,), tuple(stops)),), (),
        _versions(call, found), (), seed, iterations, 0, call.ports.get("routing"), route_id,
    )  # fmt: skip


def keep(call: Call, planned: Planned) -> tuple[RoutePlan, list[Route]]:
    """Stops still to be made get their new order and times; those that no longer fit wait again.

    Raises Conflict when the van got further while the plan was made.
    """
    if planned.brief.again is None:
        return planning.keep(call, planned)
    found = routes.whole(call, planned.brief.again)
    if _versions(call, found) != planned.brief.versions:
        raise Conflict(
            f"Route {found.route.id} went on while it was planned.",
            details={"id": found.route.id},
            next="Call plan_routes again; nothing was written.",
        )
    ((_, result),) = planned.plans
    timed = result.routes[0]
    call.stake(on_road=True)
    call.show(
        f"Plan route {found.route.id} anew, which is on the road",
        f"stops in order: {', '.join(v.stop_id for v in timed.visits if not v.frozen) or 'none'}",
        *(f"not brought today: {u.stop_id} ({u.reason})" for u in result.unassigned),
    )
    plan = planning.plan_row(call, planned)
    _reorder(call, found, timed, {each.stop_id for each in result.unassigned})
    found.route.plan_id = plan.id
    call.session.flush()
    return plan, [found.route]


def _require_on_road(found: routes.Whole) -> None:
    route = found.route
    if route.status not in fleet.ON_ROAD:
        draft = route.status == "draft"
        raise RuleViolation(
            f"Route {route.id} is {route.status}, not on the road.",
            details={"status": route.status},
            next="replan=true plans a day's drafts anew." if draft else "Its day is over.",
        )
    live = [halt for halt in found.halts if halt.stop.status in moving.LIVE]
    if len(live) < 2:
        raise RuleViolation(
            f"Route {route.id} has no stop behind the one its van is driving to.",
            details={"route_id": route.id},
            next="Nothing is left to put in order.",
        )


def _crew(call: Call, found: routes.Whole) -> crews.Crew:
    """Van and driver with what they have left, the visits behind them and the next one frozen."""
    route = found.route
    driver, van = call.get(Driver, route.driver_id or ""), call.get(Vehicle, route.vehicle_id)
    crew = crews.crew(call, van, driver, found.depot, route.on_date)
    if crew is None:
        raise RuleViolation(
            f"The hours of {driver.id} are over: nothing can be planned behind them.",
            details={"driver_id": driver.id},
            next="Record what happened at its stops; set_vehicle_status broken_down ends it.",
        )
    begin, end = crew.vehicle.shift
    left_at = crews.unix(route.departed_at or call.now)
    duty = crew.vehicle.max_duty
    ahead = _next(found)
    arrival = max(crews.unix(ahead.eta or call.now), left_at)
    way = max(0, arrival - crews.unix(call.now))
    rest = crew.rest
    return replace(
        crew,
        vehicle=replace(
            crew.vehicle,
            shift=(min(begin, left_at), end),
            departed_at=left_at,
            max_duty=None if duty is None else duty + crews.unix(call.now) - left_at,
            frozen=(*_behind(found), _expected(ahead, arrival)),
        ),
        max_driving=max(0, crew.max_driving - way),
        rest=None if rest is None else replace(rest, driven=rest.driven + way),
    )


def _kept(found: routes.Whole) -> list[routes.Halt]:
    """What the planner is told of: stops made, then those to be made in their order."""
    made = [halt for halt in found.halts if halt.stop.status in ("done", "failed")]
    made.sort(key=lambda halt: (halt.stop.arrived_at or halt.stop.planned_arrival, halt.stop.id))
    return made + [halt for halt in found.halts if halt.stop.status in moving.LIVE]


def _behind(found: routes.Whole) -> list[engine.FrozenVisit]:
    return [
        engine.FrozenVisit(
            halt.shipment.id,
            crews.unix(halt.stop.arrived_at or halt.stop.planned_arrival),
            crews.unix(halt.stop.departed_at or halt.stop.planned_departure),
        )
        for halt in _kept(found)
        if halt.stop.status not in moving.LIVE
    ]


def _next(found: routes.Whole) -> routes.Halt:
    """The stop the van is driving to."""
    return next(halt for halt in found.halts if halt.stop.status in moving.LIVE)


def _expected(ahead: routes.Halt, arrival: int) -> engine.FrozenVisit:
    opens = ahead.shipment.window_opens_at
    start = max(arrival, crews.unix(opens)) if opens else arrival
    return engine.FrozenVisit(ahead.shipment.id, arrival, start + ahead.shipment.service_seconds)


def _versions(call: Call, found: routes.Whole) -> dict[str, int]:
    """Of every row the plan rests on, by id."""
    route = found.route
    rows: list[Record] = [
        route,
        call.get(Vehicle, route.vehicle_id),
        call.get(Depot, route.depot_id),
    ]
    rows.append(call.get(Driver, route.driver_id or ""))
    for halt in found.halts:
        rows += [halt.stop, halt.shipment]
    return {row.id: row.version for row in rows}


def _reorder(
    call: Call, found: routes.Whole, timed: engine.PlannedRoute, left_out: set[str]
) -> None:
    there = [halt.stop for halt in found.halts if halt.stop.status != "skipped"]
    stops = {stop.shipment_id: stop for stop in there}
    ahead = _next(found).stop
    live = [halt.stop for halt in found.halts if halt.stop.status in moving.LIVE]
    places = [stop.position for stop in live if stop is not ahead]
    for visit in timed.visits:
        stop = stops[visit.stop_id]
        if not visit.frozen:
            stop.position = places.pop(0)
        if not visit.frozen or stop is ahead:
            writing.times_of_stop(stop, visit, timed)
    for stop in live:
        if stop.shipment_id in left_out:
            stop.position, stop.status = places.pop(0), "skipped"
    call.session.flush()
    for id in sorted(left_out):
        moving.back_to_waiting(call, call.get(Shipment, id), "does not fit its route any more")
    route = found.route
    route.planned_finish = max(route.planned_start, crews.when(timed.finish))
    writing.times(route, timed)
    made = [stop.id for stop in stops.values() if stop.status in ("done", "failed")]
    route.plan = {**route.plan, "behind": made}
    call.effect("update", "route", route.id, stops=len(timed.visits))


__all__ = ["keep", "prepare"]
