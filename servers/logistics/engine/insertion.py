"""Recreate: puts absent stops back, each at its cheapest allowed position, with blinks.

Christiaens and Vanden Berghe (2020), Slack Induction by String Removals for Vehicle Routing
Problems. Positions are tried beside the nearest stops only; all of them if those give none.
"""

from collections.abc import Callable, Iterable
from random import Random

from servers.logistics.engine.network import Network
from servers.logistics.engine.routes import next_start
from servers.logistics.engine.state import NOWHERE, State

BLINK = 0.01
"""Chance to overlook a position."""
IDLE_BLINK = 0.1
"""The same for an idle vehicle where there are several kinds: the cheapest kind for the first
stop is not always the one for the whole route."""
NEVER = 1 << 62

Position = tuple[int, int, int]
"""Route, node to follow, added cost; the route is NOWHERE if there is none."""
Sorter = Callable[[list[int]], None]


def recreate(state: State, pool: list[int], rng: Random, *, thorough: bool = True) -> None:
    for x in pool:
        position = cheapest(state, x, rng, thorough=thorough)
        if position[0] != NOWHERE:
            state.insert(x, *position)


def cheapest(state: State, x: int, rng: Random, *, thorough: bool = True) -> Position:
    """`thorough`: look at every position if none beside a neighbour is allowed."""
    best = _beside_neighbours(state, x, rng, _in_idle(state, x, rng))
    if best[0] == NOWHERE and thorough:
        net, allowed = state.net, state.net.allowed
        for route, length in enumerate(state.length):
            if length and allowed[net.kind[route]][x]:
                best = _in_route(state, x, route, best)
    return best


def _in_idle(state: State, x: int, rng: Random) -> Position:
    net = state.net
    blink = IDLE_BLINK if len(state.idle) > 1 else 0.0
    best: Position = (NOWHERE, 0, NEVER)
    from_x, to_x = net.metres[x], net.metres_to[x]
    for kind, route in enumerate(state.idle):
        if route == NOWHERE or not net.allowed[kind][x]:
            continue
        a = net.begin[route]
        way = (to_x[a] + from_x[net.end[route]]) * net.rate[route]
        delta = way + net.fixed[route] - net.base[route]
        if delta < best[2] and rng.random() >= blink:
            best = (route, a, delta)
    return best


def _beside_neighbours(state: State, x: int, rng: Random, best: Position) -> Position:
    """Tries before and after each near stop. Cost first, as it is cheapest to test."""
    net = state.net
    where, before, after = state.where, state.before, state.after
    arc_before, arc_after, room = state.arc_before, state.arc_after, state.room
    rate, chance = net.rate, rng.random
    from_x, to_x = net.metres[x], net.metres_to[x]
    need = net.demand[x][0]
    route, follow, least = best
    for y in net.near[x]:
        r = where[y]
        if r < 0 or room[r] < need:
            continue
        price = rate[r]
        delta = (to_x[y] + from_x[after[y]] - arc_after[y]) * price
        if (
            delta < least
            and chance() > BLINK
            and _fits(state, x, r, y, after[y], state.leave[y], state.latest_after[y])
        ):
            route, follow, least = r, y, delta
        a = before[y]
        delta = (to_x[a] + from_x[y] - arc_before[y]) * price
        if (
            delta < least
            and chance() > BLINK
            and _fits(state, x, r, a, y, state.leave_before[y], state.latest[y])
        ):
            route, follow, least = r, a, delta
    return route, follow, least


def _in_route(state: State, x: int, route: int, best: Position) -> Position:
    net, rate = state.net, state.net.rate[route]
    if state.room[route] < net.demand[x][0]:
        return best
    from_x, to_x = net.metres[x], net.metres_to[x]
    y = NOWHERE
    for y in state.stops_of(route):
        a = state.before[y]
        delta = (to_x[a] + from_x[y] - state.arc_before[y]) * rate
        if delta < best[2] and _fits(state, x, route, a, y, state.leave_before[y], state.latest[y]):
            best = (route, a, delta)
    end = net.end[route]
    delta = (to_x[y] + from_x[end] - state.arc_after[y]) * rate
    if delta < best[2] and _fits(state, x, route, y, end, state.leave[y], state.latest_after[y]):
        best = (route, y, delta)
    return best


def _fits(state: State, x: int, route: int, a: int, b: int, leave: int, latest: int) -> bool:
    """May `x` go between `a`, left at `leave`, and `b`, to be reached by `latest`?"""
    net = state.net
    if not net.allowed[net.kind[route]][x]:
        return False
    more = state.more_room[route]
    if more:
        demand = net.demand[x]
        for i, room in enumerate(more, 1):
            if demand[i] > room:
                return False
    if not net.timed:
        return True
    start = leave + net.seconds[a][x]
    if start < net.opens[x]:
        start = net.opens[x]
    elif start > net.closes[x]:
        return False
    if x in net.windows:
        start = next_start(net.windows[x], start) or start
    if start + net.service[x] + net.seconds[x][b] > latest:
        return False
    return not net.duty[route] or _within_duty(state, x, route, a)


def _within_duty(state: State, x: int, route: int, a: int) -> bool:
    order = list(state.stops_of(route))
    order.insert(order.index(a) + 1 if a < state.net.size else 0, x)
    return state.duty(order, route) <= state.net.duty[route]


def orders(net: Network) -> list[tuple[Sorter, int]]:
    """Ways to sort the stops before they go back in, with the weight of each: by chance, largest
    demand, farthest or nearest first; with windows also tightest, earliest or last to open."""
    far = [net.metres_to[x][net.begin[0]] for x in range(net.size)] if net.begin else []
    load = [_share(net, x) for x in range(net.size)]
    ways: list[tuple[Callable[[int], int] | None, int]] = [
        (None, 4),
        (lambda x: -load[x], 4),
        (lambda x: -far[x], 2),
        (lambda x: far[x], 1),
    ]
    if any(stop.windows for stop in net.stops):
        ways += [
            (lambda x: net.closes[x] - net.opens[x], 2),
            (lambda x: net.opens[x], 2),
            (lambda x: -net.closes[x], 2),
        ]
    if len({stop.priority for stop in net.stops}) > 1:
        ways.append((lambda x: -net.stops[x].priority, 4))
    return [(_sorter(key), weight) for key, weight in ways]


def _sorter(key: Callable[[int], int] | None) -> Sorter:
    def sort(pool: list[int]) -> None:
        if key is not None:
            pool.sort(key=key)

    return sort


def _share(net: Network, x: int) -> int:
    """Demand over the largest vehicle, in the dimension where that is most, in millionths."""
    most: Iterable[int] = (
        demand * 1_000_000 // max(1, max(room[i] for room in net.room))
        for i, demand in enumerate(net.demand[x])
    )
    return max(most)
