"""The problem as flat lists of integers, the form the ruin-and-recreate search works on.

Nodes: 0..n-1 are the stops that may move, in the order of `Network.stops`; from n on come the
places routes begin and end at. Costs are thousandths of a minor unit, so that metres x price per
kilometre stays whole.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from operator import itemgetter

from servers.logistics.engine.problem import (
    LATEST_TIME,
    UNREACHABLE,
    Stop,
    TravelMatrix,
    Vehicle,
    Window,
)
from servers.logistics.engine.routes import Lookup, anchor, breach

NEAR = 40
"""Neighbours a stop is tried beside."""
AROUND = 100
"""Neighbours a ruin spreads over."""

Grid = Sequence[Sequence[int]]


@dataclass(slots=True)
class Network:
    stops: list[Stop]
    metres: Grid
    metres_to: Grid
    """Transposed: `metres_to[x][y]` = metres from y to x, so one row serves a whole scan."""
    seconds: Grid
    seconds_to: Grid
    opens: list[int]
    closes: list[int]
    service: list[int]
    windows: dict[int, tuple[Window, ...]]
    """Only of stops with more than one window."""
    demand: list[tuple[int, ...]]
    penalty: list[int]
    """Cost of leaving the stop out."""
    near: list[list[int]]
    around: list[list[int]]
    timed: bool
    """False if no route can ever be late, so that times need no attention."""
    begin: list[int]
    """From here on one entry a vehicle: first node, ..."""
    end: list[int]
    ready: list[int]
    limit: list[int]
    duty: list[int]
    """Most duty in seconds, 0 if the limit already says it."""
    rate: list[int]
    fixed: list[int]
    base: list[int]
    """Cost of the way back that a vehicle already out pays without any further stop."""
    room: list[tuple[int, ...]]
    sunk: int
    """Cost of the frozen parts, without the ways back."""
    kind: list[int]
    kinds: list[list[int]]
    """Vehicles that are alike but for their id."""
    allowed: list[bytearray]
    """By kind: may it serve the stop, and could it if it had nothing else to do?"""

    @property
    def size(self) -> int:
        return len(self.stops)


def compile_network(lookup: Lookup) -> Network:
    """Leaves out the frozen stops and those no vehicle could serve even alone. Without neighbours,
    which only a search needs."""
    problem = lookup.problem
    frozen = problem.frozen_stops()
    free = [stop for stop in problem.stops if stop.id not in frozen]
    kind, kinds = _kinds(problem.vehicles, free)
    able = [[breach(lookup, problem.vehicles[k[0]], [s]) is None for s in free] for k in kinds]
    kept = [i for i in range(len(free)) if any(row[i] for row in able)]
    stops = [free[i] for i in kept]
    places = [stop.place for stop in stops]
    node_of: dict[int, int] = {}
    anchors = [anchor(lookup, vehicle) for vehicle in problem.vehicles]
    ends = [lookup.depots[vehicle.end] for vehicle in problem.vehicles]
    for place in [a.place for a in anchors] + ends:
        if place not in node_of:
            node_of[place] = len(places)
            places.append(place)
    metres, metres_to, seconds, seconds_to = _grids(problem.travel, places)
    net = Network(
        stops=stops,
        metres=metres,
        metres_to=metres_to,
        seconds=seconds,
        seconds_to=seconds_to,
        opens=[stop.windows[0][0] if stop.windows else 0 for stop in stops],
        closes=[stop.windows[-1][1] if stop.windows else LATEST_TIME for stop in stops],
        service=[stop.service for stop in stops],
        windows={i: stop.windows for i, stop in enumerate(stops) if len(stop.windows) > 1},
        demand=[stop.demand for stop in stops],
        penalty=[],
        near=[],
        around=[],
        timed=True,
        begin=[node_of[a.place] for a in anchors],
        end=[node_of[place] for place in ends],
        ready=[a.ready for a in anchors],
        limit=[a.limit for a in anchors],
        duty=[_own_duty(v, a.out) for v, a in zip(problem.vehicles, anchors, strict=True)],
        rate=[vehicle.cost_per_km for vehicle in problem.vehicles],
        fixed=[0 if v.frozen else v.fixed_cost * 1000 for v in problem.vehicles],
        base=[],
        room=[_room(lookup, vehicle) for vehicle in problem.vehicles],
        sunk=sum(_sunk(lookup, vehicle) for vehicle in problem.vehicles),
        kind=kind,
        kinds=kinds,
        allowed=[bytearray(row[i] for i in kept) for row in able],
    )
    for r, a in enumerate(anchors):
        back = metres[net.begin[r]][net.end[r]] * net.rate[r]
        net.base.append(back if a.frozen else 0)
    net.penalty = _penalties(net)
    net.timed = _is_timed(net)
    return net


def _own_duty(vehicle: Vehicle, out: bool) -> int:
    length = vehicle.shift[1] - vehicle.shift[0]
    if out or vehicle.max_duty is None or vehicle.max_duty >= length:
        return 0
    # A duty of 0 seconds would read as "none"; nothing but a route without length meets either.
    return max(1, vehicle.max_duty)


def _kinds(vehicles: Sequence[Vehicle], stops: Sequence[Stop]) -> tuple[list[int], list[list[int]]]:
    named = {name for stop in stops for name in stop.only_vehicles or ()}
    index: dict[Vehicle, int] = {}
    kind: list[int] = []
    kinds: list[list[int]] = []
    for position, vehicle in enumerate(vehicles):
        key = vehicle if vehicle.id in named else replace(vehicle, id="")
        if key not in index:
            index[key] = len(kinds)
            kinds.append([])
        kind.append(index[key])
        kinds[index[key]].append(position)
    return kind, kinds


def _grids(travel: TravelMatrix, places: Sequence[int]) -> tuple[Grid, Grid, Grid, Grid]:
    metres = _grid(travel.metres, places)
    metres_to = _transposed(metres)
    if travel.seconds is travel.metres:
        return metres, metres_to, metres, metres_to
    seconds = _grid(travel.seconds, places)
    return metres, metres_to, seconds, _transposed(seconds)


def _grid(rows: Grid, places: Sequence[int]) -> Grid:
    if len(places) < 2:
        return [[rows[i][j] for j in places] for i in places]
    pick = itemgetter(*places)
    return [list(pick(rows[place])) for place in places]


def _transposed(rows: Grid) -> Grid:
    turned = [list(column) for column in zip(*rows, strict=True)]
    return rows if turned == rows else turned


def _room(lookup: Lookup, vehicle: Vehicle) -> tuple[int, ...]:
    taken = [lookup.stops[visit.stop_id].demand for visit in vehicle.frozen]
    return tuple(
        room - sum(demand[i] for demand in taken) for i, room in enumerate(vehicle.capacity)
    )


def _sunk(lookup: Lookup, vehicle: Vehicle) -> int:
    if not vehicle.frozen:
        return 0
    places = [lookup.stops[visit.stop_id].place for visit in vehicle.frozen]
    metres, legs = lookup.problem.travel.metres, pairwise([lookup.depots[vehicle.start], *places])
    return sum(metres[a][b] for a, b in legs) * vehicle.cost_per_km + vehicle.fixed_cost * 1000


def _penalties(net: Network) -> list[int]:
    """More than any detour for the stop can cost, times its priority."""
    reachable = (d for row in net.metres for d in row if d < UNREACHABLE)
    detour = 4 * max(reachable, default=0) * max(net.rate, default=0)
    unit = detour + max(net.fixed, default=0) + 1000
    return [unit * stop.priority for stop in net.stops]


def _is_timed(net: Network) -> bool:
    if any(stop.windows for stop in net.stops) or any(net.duty):
        return True
    if any(
        max(max(m), max(s)) >= UNREACHABLE for m, s in zip(net.metres, net.seconds, strict=True)
    ):
        return True
    longest = longest_route(net)
    return any(ready + longest > limit for ready, limit in zip(net.ready, net.limit, strict=True))


def longest_route(net: Network) -> int:
    """More seconds of service and driving than any route can have. Needs every way to exist."""
    ways = [max(seconds for seconds in row if seconds < UNREACHABLE) for row in net.seconds]
    return sum(net.service) + sum(ways) + max(ways, default=0)


def find_neighbours(net: Network) -> None:
    """Fills `around` with the nearest stops by metres and `near` with those tried for insertion:
    where time matters, of three times as many those with the least driving, waiting and lateness
    taken together (Vidal et al. 2013, granular search)."""
    size = net.size
    for x in range(size):
        row = net.metres[x]
        ranked = sorted(range(size), key=row.__getitem__)
        ranked.remove(x)
        net.around.append(ranked[:AROUND])
        if not net.timed:
            net.near.append(ranked[:NEAR])
            continue
        apart = {y: _apart(net, x, y) for y in ranked[: 3 * NEAR]}
        net.near.append(sorted(apart, key=apart.__getitem__)[:NEAR])


def _apart(net: Network, x: int, y: int) -> int:
    """Five times the effort of driving between two stops, in the better order."""
    best = UNREACHABLE * 10
    for a, b in ((x, y), (y, x)):
        there = net.service[a] + net.seconds[a][b]
        wait = max(0, net.opens[b] - there - net.closes[a])
        late = max(0, net.opens[a] + there - net.closes[b])
        best = min(best, 5 * net.seconds[a][b] + wait + 5 * late)
    return best
