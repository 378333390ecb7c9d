"""Ruin: takes strings of neighbouring stops out of neighbouring routes.

Christiaens and Vanden Berghe (2020), Slack Induction by String Removals; names and the four
constants are theirs (c-bar, L-max, alpha, beta).
"""

from random import Random

from servers.logistics.engine.state import State

AVERAGE_REMOVED = 10
LONGEST_STRING = 10
SPLIT = 0.5
SPLIT_MORE = 0.01


def ruin(state: State, rng: Random) -> list[int]:
    """Removes strings around a random stop; returns the removed stops."""
    net = state.net
    used = [length for length in state.length if length]
    if not used:
        return []
    most = min(LONGEST_STRING, max(1, sum(used) // len(used)))
    strings = int(rng.random() * (4 * AVERAGE_REMOVED / (1 + most) - 1)) + 1
    seed = _seed(state, rng)
    removed: list[int] = []
    ruined: list[int] = []
    for x in [seed, *net.around[seed]]:
        route = state.where[x]
        if route < 0 or route in ruined:
            continue
        length = int(rng.random() * min(most, state.length[route])) + 1
        removed += _string(state, rng, x, route, length)
        ruined.append(route)
        if len(ruined) >= strings:
            break
    for route in ruined:
        if not state.retime(route):
            removed += _empty(state, route)
    return removed


def _seed(state: State, rng: Random) -> int:
    """Half of the time a stop that found no place, if there is one: room is wanted near it."""
    if state.absent and rng.random() < 0.5:
        return rng.choice(sorted(state.absent))
    return rng.randrange(state.net.size)


def _string(state: State, rng: Random, x: int, route: int, length: int) -> list[int]:
    """Removes `length` stops around `x` in a row, half of the time sparing some between them."""
    order = list(state.stops_of(route))
    spare = 0
    if 1 < length < len(order) and rng.random() < SPLIT:
        spare = 1
        while length + spare < len(order) and rng.random() < SPLIT_MORE:
            spare += 1
    window = length + spare
    at = order.index(x)
    begin = rng.randint(max(0, at - window + 1), min(at, len(order) - window))
    chosen = order[begin : begin + window]
    if spare:
        hole = rng.randint(1, length - 1)
        chosen = chosen[:hole] + chosen[hole + spare :]
    for y in chosen:
        state.remove(y)
    return chosen


def _empty(state: State, route: int) -> list[int]:
    order = list(state.stops_of(route))
    for x in order:
        state.remove(x)
    return order
