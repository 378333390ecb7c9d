"""Builders of small problems, a judge of plans that knows nothing of the engines, and the checks
a problem itself makes."""

from random import Random
from typing import Any

import pytest

from servers.logistics.engine import (
    Depot,
    FrozenVisit,
    Plan,
    PlannedRoute,
    Problem,
    ProblemError,
    Stop,
    TravelMatrix,
    Vehicle,
)
from servers.logistics.engine.problem import UNREACHABLE

DAY = (0, 36_000)


def line(*positions: int) -> TravelMatrix:
    """Places on a road, positions in metres, driven at 10 m/s."""
    metres = [[abs(a - b) for b in positions] for a in positions]
    return TravelMatrix([[d // 10 for d in row] for row in metres], metres)


def van(name: str = "van", **changes: Any) -> Vehicle:
    fields: dict[str, Any] = {"start": "hub", "end": "hub", "capacity": (100, 100), "shift": DAY}
    return Vehicle(id=name, **{**fields, **changes})


def stop(name: str, place: int, **changes: Any) -> Stop:
    return Stop(id=name, place=place, **{"demand": (1, 1), **changes})


def problem(
    stops: list[Stop],
    vehicles: list[Vehicle],
    travel: TravelMatrix,
    depots: dict[str, int] | None = None,
) -> Problem:
    places = depots or {"hub": 0}
    return Problem(
        tuple(Depot(name, place) for name, place in places.items()),
        tuple(vehicles),
        tuple(stops),
        travel,
    )


def grid(rng: Random, count: int, size: int = 20_000) -> TravelMatrix:
    points = [(rng.randrange(size), rng.randrange(size)) for _ in range(count)]
    metres = [[abs(a - c) + abs(b - d) for c, d in points] for a, b in points]
    return TravelMatrix([[d // 10 + (3 if d else 0) for d in row] for row in metres], metres)


def random_problem(seed: int) -> Problem:
    """Everything at once: two depots, unlike vans, skills, several windows, duty, frozen stops,
    stops no van can serve."""
    rng = Random(seed)
    count = rng.randint(1, 14)
    travel = grid(rng, count + 2)
    if rng.random() < 0.3:
        lost = rng.randrange(2, count + 2)
        for rows in (travel.seconds, travel.metres):
            for i in range(count + 2):
                if i != lost:
                    rows[i][lost] = UNREACHABLE  # type: ignore[index]
    stops = []
    for i in range(count):
        opens = rng.randrange(0, 20_000)
        windows: tuple[tuple[int, int], ...] = ()
        if rng.random() < 0.6:
            windows = ((opens, opens + rng.randrange(500, 9_000)),)
            if rng.random() < 0.4:
                later = windows[0][1] + rng.randrange(1, 4_000)
                windows = (*windows, (later, later + rng.randrange(100, 5_000)))
        stops.append(
            stop(
                f"s{i}",
                i + 2,
                demand=(rng.randrange(0, 40), rng.randrange(0, 40)),
                windows=windows,
                service=rng.randrange(0, 900),
                priority=rng.randint(1, 10),
                skills=frozenset({"lift"}) if rng.random() < 0.2 else frozenset(),
                only_vehicles=frozenset({"v0"}) if rng.random() < 0.1 else None,
            )
        )
    vehicles = []
    free = [s.id for s in stops]
    for i in range(rng.randint(1, 4)):
        frozen: tuple[FrozenVisit, ...] = ()
        if len(free) > 3 and rng.random() < 0.3:
            taken = [free.pop(rng.randrange(len(free))) for _ in range(rng.randint(1, 2))]
            frozen = tuple(FrozenVisit(name) for name in taken)
        vehicles.append(
            van(
                f"v{i}",
                start=rng.choice(["hub", "north"]),
                end=rng.choice(["hub", "north"]),
                capacity=(rng.randrange(30, 200), rng.randrange(30, 200)),
                shift=(rng.randrange(0, 3_000), rng.randrange(8_000, 36_000)),
                max_duty=rng.choice([None, None, 6_000, 12_000]),
                cost_per_km=rng.choice([90, 100]),
                fixed_cost=rng.choice([0, 500]),
                skills=frozenset({"lift"}) if rng.random() < 0.5 else frozenset(),
                frozen=frozen,
            )
        )
    return problem(stops, vehicles, travel, {"hub": 0, "north": 1})


def honoured(given: Problem, plan: Plan) -> list[str]:
    """Every rule a plan breaks, from the problem and the plan's own times alone."""
    wrong: list[str] = []
    vehicles = {v.id: v for v in given.vehicles}
    seen = [name for route in plan.routes for name in route.stop_ids]
    seen += [left.stop_id for left in plan.unassigned]
    if sorted(seen) != sorted(s.id for s in given.stops):
        wrong.append(f"stops appear {sorted(seen)}")
    for route in plan.routes:
        vehicle = vehicles[route.vehicle_id]
        wrong += _times(given, vehicle, route)
        wrong += _frozen(vehicle, route)
        if len(route.visits) > len(vehicle.frozen):
            wrong += _limits(given, vehicle, route)
    return wrong


def _times(given: Problem, vehicle: Vehicle, route: PlannedRoute) -> list[str]:
    wrong = []
    stops = {s.id: s for s in given.stops}
    depots = {d.id: d.place for d in given.depots}
    seconds, metres = given.travel.seconds, given.travel.metres
    place, clock, driven = depots[vehicle.start], route.departure, 0
    if route.departure < vehicle.shift[0]:
        wrong.append(f"{vehicle.id} leaves before its shift")
    for visit in route.visits:
        s = stops[visit.stop_id]
        if visit.arrival != clock + seconds[place][s.place]:
            wrong.append(f"{s.id} reached in no time")
        if visit.wait < 0 or visit.departure != visit.start + s.service:
            wrong.append(f"{s.id} has impossible times")
        if not visit.frozen:
            if s.windows and not any(a <= visit.start <= b for a, b in s.windows):
                wrong.append(f"{s.id} outside its windows")
            if visit.slack < 0:
                wrong.append(f"{s.id} without slack")
        driven += metres[place][s.place]
        place, clock = s.place, visit.departure
    end = depots[vehicle.end]
    if (route.finish, route.metres) != (clock + seconds[place][end], driven + metres[place][end]):
        wrong.append(f"{vehicle.id} sums up wrongly")
    return wrong


def _frozen(vehicle: Vehicle, route: PlannedRoute) -> list[str]:
    names = tuple(visit.stop_id for visit in vehicle.frozen)
    flags = [visit.frozen for visit in route.visits]
    if route.stop_ids[: len(names)] != names or flags != [
        i < len(names) for i in range(len(flags))
    ]:
        return [f"{vehicle.id} changed its frozen part"]
    return []


def _limits(given: Problem, vehicle: Vehicle, route: PlannedRoute) -> list[str]:
    wrong = []
    stops = {s.id: s for s in given.stops}
    for visit in route.visits:
        s = stops[visit.stop_id]
        reserved = s.only_vehicles is not None and vehicle.id not in s.only_vehicles
        if not visit.frozen and (reserved or not s.skills <= vehicle.skills):
            wrong.append(f"{s.id} on the wrong vehicle")
    duty = route.finish - route.departure
    if route.finish > vehicle.shift[1] or duty > (vehicle.max_duty or duty):
        wrong.append(f"{vehicle.id} works too long")
    for i, most in enumerate(vehicle.capacity):
        if sum(stops[name].demand[i] for name in route.stop_ids) > most:
            wrong.append(f"{vehicle.id} overloaded")
    return wrong


@pytest.mark.parametrize(
    ("stops", "vehicles", "message"),
    [
        ([stop("a", 1), stop("a", 1)], [van()], "stops: a appears twice"),
        ([stop("a", 9)], [van()], "place 9 is not in the travel matrix"),
        ([stop("a", 1, demand=(1,))], [van()], "give 2 amounts"),
        ([stop("a", 1, demand=(1, -1))], [van()], "none negative"),
        ([stop("a", 1, windows=((5, 4),))], [van()], "5..4 is not a span"),
        ([stop("a", 1, windows=((0, 5), (5, 9)))], [van()], "join overlapping"),
        ([stop("a", 1, priority=0)], [van()], "priority is 1 to 10"),
        ([stop("a", 1, service=-1)], [van()], "service"),
        ([stop("a", 1, only_vehicles=frozenset({"x"}))], [van()], "unknown vehicles x"),
        ([stop("a", 1)], [van(start="moon")], "unknown depot moon"),
        ([stop("a", 1)], [van(capacity=(1,))], "give 2 amounts"),
        ([stop("a", 1)], [van(max_duty=-1)], "max_duty"),
        ([stop("a", 1)], [van(cost_per_km=-1)], "costs"),
        ([stop("a", 1)], [van(frozen=(FrozenVisit("b"),))], "unknown stop b"),
        ([stop("a", 1)], [van(frozen=(FrozenVisit("a"),) * 2)], "frozen twice"),
    ],
)
def test_a_contradiction_is_refused(
    stops: list[Stop], vehicles: list[Vehicle], message: str
) -> None:
    with pytest.raises(ProblemError, match=message):
        problem(stops, vehicles, line(0, 10))


def test_a_ragged_or_half_reachable_matrix_is_refused() -> None:
    with pytest.raises(ProblemError, match="square"):
        problem([], [van()], TravelMatrix([[0, 1], [1, 0]], [[0, 1], [1]]))
    with pytest.raises(ProblemError, match="both seconds and metres"):
        problem([], [van()], TravelMatrix([[0, UNREACHABLE], [1, 0]], [[0, 1], [1, 0]]))


def test_more_stops_than_one_plan_takes_are_refused() -> None:
    with pytest.raises(ProblemError, match="at most 2000 a plan"):
        problem([stop(f"s{i}", 1) for i in range(2_001)], [van()], line(0, 10))
