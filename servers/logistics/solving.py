"""One depot's plan: the engine's routes, with the breaks that their drivers need."""

from dataclasses import replace
from typing import Final, Protocol

from common.errors import RuleViolation
from common.settings import RoutingSettings
from servers.logistics import breaks, crews, engine
from servers.logistics.crews import Crew, Ground, Limit
from servers.logistics.engine.progress import Cancelled, ProgressCallback
from servers.logistics.engine.routes import Breach, Lookup, timetable

# The first without regard to breaks, then with time to spare for them, then without need of them.
ROUNDS: Final = 4


class Search(Protocol):
    """How long to search, and with which engine."""

    @property
    def seed(self) -> int: ...

    @property
    def iterations(self) -> int: ...

    @property
    def routing(self) -> RoutingSettings | None: ...


def solve(
    ground: Ground,
    travel: engine.TravelMatrix,
    search: Search,
    told: ProgressCallback,
    cancelled: Cancelled,
) -> engine.Plan:
    """Raises RuleViolation when the engine that is set is not installed."""
    limits: dict[str, Limit] = {}
    lookup = Lookup.of(crews.problem(ground, travel=travel))
    for number in range(ROUNDS):
        last = number == ROUNDS - 1
        if last:
            limits = {crew.vehicle.id: _no_breaks(crew) for crew in ground.crews}
        try:
            found = engine.plan(
                crews.problem(ground, limits, travel), seed=search.seed,
                iterations=search.iterations, progress=told, cancelled=cancelled,
                engine=search.routing.engine if search.routing else "default",
            )  # fmt: skip
        except engine.EngineUnavailable as error:
            raise RuleViolation(str(error), next="Set SHOP_ROUTE_ENGINE=default.") from None
        routes, failing = _with_breaks(lookup, ground, found)
        if not failing or last:
            break
        for crew in ground.crews:
            if crew.vehicle.id in failing:
                limits[crew.vehicle.id] = _tighter(
                    crew, limits.get(crew.vehicle.id), failing[crew.vehicle.id]
                )
    return replace(
        found, routes=routes,
        totals=replace(
            found.totals, duty=sum(route.duty for route in routes),
            waiting=sum(route.waiting for route in routes),
        ),
    )  # fmt: skip


def _with_breaks(
    lookup: Lookup, ground: Ground, found: engine.Plan
) -> tuple[tuple[engine.PlannedRoute, ...], dict[str, int]]:
    """The routes by their crews' own limits, and those that break one: van to seconds driven."""
    own = {crew.vehicle.id: crew for crew in ground.crews}
    routes, failing = [], {}
    for route in found.routes:
        crew = own[route.vehicle_id]
        order = [lookup.stops[visit.stop_id] for visit in route.visits if not visit.frozen]
        timed = breaks.timed(lookup, crew.vehicle, order, crew.rest)
        if isinstance(timed, Breach) or _ahead(timed) > crew.max_driving:
            failing[route.vehicle_id] = _ahead(route)
            routes.append(route)
        else:
            routes.append(timed)
    return tuple(routes), failing


def no_worse(
    ground: Ground, travel: engine.TravelMatrix, found: engine.Plan
) -> tuple[engine.Plan, engine.PlannedRoute]:
    """Of a route on the road: the plan that was found, or the order it has if that is as good; and
    the route as it was."""
    before, fits = _as_it_is(ground, travel)
    (now,) = found.routes
    if not fits or (not found.unassigned and now.cost < before.cost):
        return found, before
    totals = replace(
        found.totals, assigned=len(before.visits), unassigned=0, metres=before.metres,
        driving=before.driving, waiting=before.waiting, duty=before.duty, cost=before.cost,
    )  # fmt: skip
    return replace(found, routes=(before,), unassigned=(), totals=totals), before


def _as_it_is(ground: Ground, travel: engine.TravelMatrix) -> tuple[engine.PlannedRoute, bool]:
    """The one van's stops in the order they have, and whether every rule allows it."""
    (crew,) = ground.crews
    lookup = Lookup.of(crews.problem(ground, travel=travel))
    frozen = lookup.problem.frozen_stops()
    order = [stop for stop in lookup.problem.stops if stop.id not in frozen]
    timed = breaks.timed(lookup, crew.vehicle, order, crew.rest)
    if isinstance(timed, Breach):
        return timetable(lookup, crew.vehicle, order), False
    return timed, _ahead(timed) <= crew.max_driving


def _ahead(route: engine.PlannedRoute) -> int:
    """Seconds at the wheel after the frozen visits."""
    moving = [visit for visit in route.visits if not visit.frozen]
    left = [visit.departure for visit in route.visits if visit.frozen]
    seconds, clock = 0, left[-1] if left else route.departure
    for visit in moving:
        seconds, clock = seconds + visit.arrival - clock, visit.departure
    return seconds + route.finish - clock


def _tighter(crew: Crew, before: Limit | None, driving: int) -> Limit:
    if before is not None or crew.rest is None:
        return _no_breaks(crew)
    count = (crew.rest.driven + min(driving, crew.max_driving)) // crew.rest.after
    return Limit(spare=count * crew.rest.length, duty=crew.max_driving)


def _no_breaks(crew: Crew) -> Limit:
    """Nobody drives longer than they are on duty."""
    left = crew.max_driving
    if crew.rest is not None:
        left = min(left, max(0, crew.rest.after - crew.rest.driven))
    return Limit(duty=left)
