"""One vehicle's route, exactly: is it allowed, and what is its timetable?

Both engines build their answer here, from the problem itself and not from the arrays a search
works on, so a slip in a search cannot end up in a plan.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from servers.logistics.engine.plan import PlannedRoute, Reason, Visit
from servers.logistics.engine.problem import UNREACHABLE, Problem, Stop, Vehicle, Window


@dataclass(frozen=True, slots=True)
class Lookup:
    problem: Problem
    stops: dict[str, Stop]
    depots: dict[str, int]
    """Depot id to place."""

    @staticmethod
    def of(problem: Problem) -> "Lookup":
        return Lookup(
            problem,
            {stop.id: stop for stop in problem.stops},
            {depot.id: depot.place for depot in problem.depots},
        )


@dataclass(frozen=True, slots=True)
class Breach:
    reason: Reason
    stop_id: str
    detail: str


@dataclass(frozen=True, slots=True)
class Anchor:
    """Where and when the part of a route begins that may still change."""

    place: int
    ready: int
    out: bool
    """Already away from the depot."""
    limit: int
    """Back at the depot by then; the most duty is included once the vehicle is out."""
    frozen: tuple[tuple[Stop, int, int, int], ...]
    """Stop, arrival, start, departure."""


Step = tuple[int, int, int]
"""Arrival, start, departure."""


def breach(lookup: Lookup, vehicle: Vehicle, order: Sequence[Stop]) -> Breach | None:
    """The first rule that `order`, driven after the frozen visits, breaks; None if allowed."""
    for stop in order:
        found = breach_of_skill(vehicle, stop)
        if found:
            return found
    begin = anchor(lookup, vehicle)
    return _breach_of_load(lookup, vehicle, begin, order) or _breach_of_time(
        lookup, vehicle, begin, order
    )


def timetable(lookup: Lookup, vehicle: Vehicle, order: Sequence[Stop]) -> PlannedRoute:
    """The route of an allowed `order`. Leaves the depot as late as costs no later arrival at the
    first stop, or, where the most duty asks for it, as late as costs no later return."""
    begin = anchor(lookup, vehicle)
    end = lookup.depots[vehicle.end]
    leave, steps, finish = begin.ready, *_forward(lookup, begin, begin.ready, order, end)
    if not begin.out and order:
        travel = lookup.problem.travel.seconds[begin.place][order[0].place]
        leave = max(begin.ready, steps[0][1] - travel)
        if vehicle.max_duty is not None and finish - leave > vehicle.max_duty:
            leave = _latest_departure(lookup, begin, order, end, finish)
        steps, finish = _forward(lookup, begin, leave, order, end)
    departure = _left_at(vehicle) if begin.out else leave
    limit = begin.limit
    if vehicle.max_duty is not None:
        limit = min(limit, departure + vehicle.max_duty)
    latest, _ = _backward(lookup, order, end, limit)
    times = [*((s, a, b, d) for s, a, b, d in begin.frozen)]
    times += [(stop, *step) for stop, step in zip(order, steps, strict=True)]
    slacks = [limit - finish if not order else latest[0] - steps[0][1]] * len(begin.frozen)
    slacks += [late - step[1] for late, step in zip(latest, steps, strict=True)]
    return _assemble(lookup, vehicle, (departure, finish, limit), times, slacks)


def anchor(lookup: Lookup, vehicle: Vehicle) -> Anchor:
    seconds = lookup.problem.travel.seconds
    out = bool(vehicle.frozen) or vehicle.departed_at is not None
    place, clock = lookup.depots[vehicle.start], vehicle.shift[0]
    limit = vehicle.shift[1]
    if out:
        clock = _left_at(vehicle)
        if vehicle.max_duty is not None:
            limit = min(limit, clock + vehicle.max_duty)
    frozen: list[tuple[Stop, int, int, int]] = []
    for visit in vehicle.frozen:
        stop = lookup.stops[visit.stop_id]
        arrival = visit.arrival
        if arrival is None:
            arrival = clock + seconds[place][stop.place]
        start = next_start(stop.windows, arrival)
        start = arrival if start is None else start
        clock = start + stop.service if visit.departure is None else visit.departure
        frozen.append((stop, arrival, max(arrival, min(start, clock)), clock))
        place = stop.place
    return Anchor(place, clock, out, limit, tuple(frozen))


def next_start(windows: Sequence[Window], time: int) -> int | None:
    """The first allowed start at or after `time`; None once every window has closed."""
    if not windows:
        return time
    for opens, closes in windows:
        if time <= closes:
            return max(time, opens)
    return None


def latest_start(windows: Sequence[Window], time: int) -> int | None:
    """The last allowed start at or before `time`; None before the first window opens."""
    if not windows:
        return time
    for opens, closes in reversed(windows):
        if time >= opens:
            return min(time, closes)
    return None


def _left_at(vehicle: Vehicle) -> int:
    return vehicle.shift[0] if vehicle.departed_at is None else vehicle.departed_at


def breach_of_skill(vehicle: Vehicle, stop: Stop) -> Breach | None:
    missing = sorted(stop.skills - vehicle.skills)
    if missing:
        return Breach(Reason.SKILL, stop.id, f"lacks {', '.join(missing)}")
    if stop.only_vehicles is not None and vehicle.id not in stop.only_vehicles:
        others = ", ".join(sorted(stop.only_vehicles)) or "no vehicle"
        return Breach(Reason.SKILL, stop.id, f"reserved for {others}")
    return None


def _breach_of_load(
    lookup: Lookup, vehicle: Vehicle, begin: Anchor, order: Sequence[Stop]
) -> Breach | None:
    stops = [item[0] for item in begin.frozen] + list(order)
    for index, name in enumerate(lookup.problem.dimensions):
        total = sum(stop.demand[index] for stop in stops)
        if total > vehicle.capacity[index] and order:
            detail = f"{name} {total} exceeds {vehicle.capacity[index]}"
            return Breach(Reason.CAPACITY, order[-1].id, detail)
    return None


def _breach_of_time(
    lookup: Lookup, vehicle: Vehicle, begin: Anchor, order: Sequence[Stop]
) -> Breach | None:
    travel = lookup.problem.travel
    end = lookup.depots[vehicle.end]
    places = [begin.place, *(stop.place for stop in order), end]
    for index, stop in enumerate(order):
        legs = [(places[index], places[index + 1]), (places[index + 1], places[index + 2])]
        if any(max(travel.seconds[i][j], travel.metres[i][j]) >= UNREACHABLE for i, j in legs):
            return Breach(Reason.UNREACHABLE, stop.id, "no way there or back")
    steps, finish = _forward(lookup, begin, begin.ready, order, end)
    for stop, (arrival, start, _) in zip(order, steps, strict=True):
        if next_start(stop.windows, start) is None:
            late = arrival - stop.windows[-1][1]
            return Breach(Reason.WINDOW, stop.id, f"arrives {late} s after the window closed")
    if not order:
        return None
    if finish > begin.limit:
        detail = f"would return {finish - begin.limit} s after the shift"
        return Breach(Reason.SHIFT, order[-1].id, detail)
    if vehicle.max_duty is not None and not begin.out:
        duty = finish - _latest_departure(lookup, begin, order, end, finish)
        if duty > vehicle.max_duty:
            detail = f"would be on duty {duty - vehicle.max_duty} s too long"
            return Breach(Reason.SHIFT, order[-1].id, detail)
    return None


def _forward(
    lookup: Lookup, begin: Anchor, leave: int, order: Sequence[Stop], end: int
) -> tuple[list[Step], int]:
    """Earliest times when leaving at `leave`, and the return. Late starts are kept as they are."""
    seconds = lookup.problem.travel.seconds
    place, clock = begin.place, leave
    steps: list[Step] = []
    for stop in order:
        arrival = clock + seconds[place][stop.place]
        start = next_start(stop.windows, arrival)
        start = arrival if start is None else start
        clock = start + stop.service
        steps.append((arrival, start, clock))
        place = stop.place
    return steps, clock + seconds[place][end]


def _backward(lookup: Lookup, order: Sequence[Stop], end: int, limit: int) -> tuple[list[int], int]:
    """Latest starts that still reach `end` by `limit`, and the latest arrival at the first."""
    seconds = lookup.problem.travel.seconds
    latest: list[int] = []
    place, clock = end, limit
    for stop in reversed(order):
        clock -= seconds[stop.place][place] + stop.service
        start = latest_start(stop.windows, clock)
        clock = clock if start is None else start
        latest.append(clock)
        place = stop.place
    latest.reverse()
    return latest, clock


def _latest_departure(
    lookup: Lookup, begin: Anchor, order: Sequence[Stop], end: int, finish: int
) -> int:
    _, first = _backward(lookup, order, end, finish)
    return first - lookup.problem.travel.seconds[begin.place][order[0].place]


def _assemble(
    lookup: Lookup,
    vehicle: Vehicle,
    span: tuple[int, int, int],
    times: Sequence[tuple[Stop, int, int, int]],
    slacks: Sequence[int],
) -> PlannedRoute:
    departure, finish, limit = span
    travel = lookup.problem.travel
    count = len(lookup.problem.dimensions)
    load = tuple(sum(item[0].demand[i] for item in times) for i in range(count))
    left, place = list(load), lookup.depots[vehicle.start]
    metres = driving = 0
    visits: list[Visit] = []
    for index, (stop, arrival, start, done) in enumerate(times):
        leg = travel.metres[place][stop.place]
        metres += leg
        driving += travel.seconds[place][stop.place]
        left = [have - take for have, take in zip(left, stop.demand, strict=True)]
        is_frozen = index < len(vehicle.frozen)
        visit = Visit(
            stop.id,
            arrival,
            start - arrival,
            start,
            done,
            slacks[index],
            tuple(left),
            leg,
            is_frozen,
        )
        visits.append(visit)
        place = stop.place
    end = lookup.depots[vehicle.end]
    back = travel.metres[place][end]
    metres += back
    return PlannedRoute(
        vehicle_id=vehicle.id,
        visits=tuple(visits),
        departure=departure,
        finish=finish,
        duty=finish - departure,
        driving=driving + travel.seconds[place][end],
        waiting=sum(visit.wait for visit in visits),
        metres=metres,
        metres_back=back,
        cost=(metres * vehicle.cost_per_km + 500) // 1000 + vehicle.fixed_cost,
        load=load,
        load_permille=tuple(
            used * 1000 // room if room else 0
            for used, room in zip(load, vehicle.capacity, strict=True)
        ),
        overtime=max(0, finish - limit),
    )
