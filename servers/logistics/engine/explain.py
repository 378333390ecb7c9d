"""Turns sequences of stops into a plan and says why each stop that is left out is."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from servers.logistics.engine.plan import (
    Ending,
    Plan,
    PlannedRoute,
    Reason,
    Totals,
    Unassigned,
)
from servers.logistics.engine.problem import Stop, Vehicle
from servers.logistics.engine.routes import Breach, Lookup, breach, timetable

STAGES = list(Reason)
"""Reasons in the order of the tests: the furthest one is nearest to being possible."""


class InfeasibleRoute(AssertionError):
    """A search returned a route that breaks a rule: a defect of the search, never of the input."""


def finish(
    lookup: Lookup,
    orders: Mapping[str, Sequence[Stop]],
    *,
    engine: str,
    seed: int,
    iterations: int,
    ended: Ending,
) -> Plan:
    """`orders`: vehicle id to its stops after the frozen ones. Raises InfeasibleRoute."""
    routes: list[PlannedRoute] = []
    done = set(lookup.problem.frozen_stops())
    for vehicle in lookup.problem.vehicles:
        order = orders.get(vehicle.id, ())
        found = breach(lookup, vehicle, order)
        if found or any(stop.id in done for stop in order):
            raise InfeasibleRoute(f"{vehicle.id}: {found or 'a stop is visited twice'}")
        done.update(stop.id for stop in order)
        if order or vehicle.frozen:
            routes.append(timetable(lookup, vehicle, order))
    left = [stop for stop in lookup.problem.stops if stop.id not in done]
    unassigned = explain(lookup, left, routes)
    return Plan(
        routes=tuple(routes),
        unassigned=unassigned,
        totals=_totals(routes, len(unassigned)),
        engine=engine,
        seed=seed,
        iterations=iterations,
        ended=ended,
    )


def explain(
    lookup: Lookup, left: Sequence[Stop], routes: Sequence[PlannedRoute] = ()
) -> tuple[Unassigned, ...]:
    """Tests each left-out stop on each vehicle alone, that is after its frozen visits only."""
    vehicles = lookup.problem.vehicles
    alike = [replace(vehicle, id="") for vehicle in vehicles]
    pairs: dict[tuple[str, Reason | None], tuple[str, Reason | None]] = {}
    answers: list[Unassigned] = []
    for stop in left:
        known: dict[Vehicle, Breach | None] = {}
        outcomes: list[tuple[Vehicle, Breach | None]] = []
        for vehicle, kind in zip(vehicles, alike, strict=True):
            if stop.only_vehicles is not None:
                outcomes.append((vehicle, breach(lookup, vehicle, [stop])))
                continue
            if kind not in known:
                known[kind] = breach(lookup, vehicle, [stop])
            outcomes.append((vehicle, known[kind]))
        reason, detail = _verdict(lookup, stop, outcomes, routes)
        by_vehicle = []
        for vehicle, found in outcomes:
            pair = (vehicle.id, found.reason if found else None)
            by_vehicle.append(pairs.setdefault(pair, pair))
        answers.append(Unassigned(stop.id, reason, detail, tuple(by_vehicle)))
    return tuple(answers)


def _verdict(
    lookup: Lookup,
    stop: Stop,
    outcomes: Sequence[tuple[Vehicle, Breach | None]],
    routes: Sequence[PlannedRoute],
) -> tuple[Reason, str]:
    able = [vehicle for vehicle, found in outcomes if found is None]
    if able:
        return Reason.NO_VEHICLE, _why_taken(stop, able, routes)
    if not outcomes:
        return Reason.NO_VEHICLE, "there is no vehicle: add one"
    nearest = max(
        (found for _, found in outcomes if found), key=lambda found: STAGES.index(found.reason)
    )
    count = sum(1 for _, found in outcomes if found and found.reason is nearest.reason)
    return nearest.reason, f"{nearest.detail} ({count} of {len(outcomes)} vehicles)"


def _why_taken(stop: Stop, able: Sequence[Vehicle], routes: Sequence[PlannedRoute]) -> str:
    loads = {route.vehicle_id: route.load for route in routes}
    full = 0
    for vehicle in able:
        load = loads.get(vehicle.id, (0,) * len(stop.demand))
        room = (have - used for have, used in zip(vehicle.capacity, load, strict=True))
        full += any(need > free for need, free in zip(stop.demand, room, strict=True))
    return (
        f"{len(able)} vehicles could serve it alone; beside their other stops "
        f"{full} have no room and {len(able) - full} no time: add a vehicle or a later shift"
    )


def _totals(routes: Sequence[PlannedRoute], unassigned: int) -> Totals:
    return Totals(
        routes=len(routes),
        assigned=sum(len(route.visits) for route in routes),
        unassigned=unassigned,
        metres=sum(route.metres for route in routes),
        driving=sum(route.driving for route in routes),
        waiting=sum(route.waiting for route in routes),
        duty=sum(route.duty for route in routes),
        cost=sum(route.cost for route in routes),
    )
