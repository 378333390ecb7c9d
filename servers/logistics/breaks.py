"""Rest on the way: breaks that a driver's rule asks for, put where they fit."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from servers.logistics import engine
from servers.logistics.engine.routes import Breach, Lookup, anchor, breach, timetable

# Places tried for the breaks of one route.
TRIES: Final = 200


@dataclass(frozen=True)
class Rest:
    """After ``after`` seconds at the wheel ``length`` seconds of break; ``driven`` of them are
    behind the driver when the route begins."""

    after: int
    length: int
    driven: int = 0


def timed(
    lookup: Lookup, vehicle: engine.Vehicle, order: Sequence[engine.Stop], rest: Rest | None
) -> engine.PlannedRoute | Breach:
    """The timetable with its breaks, as late as they may be unless an earlier one fits better.
    A wait that is long enough is a break too. Else the rule that is broken."""
    tries = 0

    def attempt(breaks: frozenset[int]) -> engine.PlannedRoute | Breach:
        nonlocal tries
        tries += 1
        length = rest.length if rest else 0
        stops = [
            replace(stop, service=stop.service + length) if leg + 1 in breaks else stop
            for leg, stop in enumerate(order)
        ]
        van = vehicle
        if 0 in breaks:
            van = _held(vehicle, length)
        wrong = breach(lookup, van, stops)
        if wrong is not None:
            return wrong
        route = timetable(lookup, van, stops)
        if rest is None:
            return route
        over = _over(lookup, vehicle, order, route, breaks, rest)
        if over is None:
            return replace(route, breaks=_told(route, breaks, rest))
        first, leg = over
        refused: Breach | None = None
        for place in range(leg, first - 1, -1):
            if place in breaks or tries >= TRIES:
                continue
            found = attempt(breaks | {place})
            if not isinstance(found, Breach):
                return found
            refused = refused or found
        return refused or Breach(
            engine.Reason.SHIFT, order[min(leg, len(order) - 1)].id if order else "",
            f"would be driven more than {rest.after} s without a break",
        )  # fmt: skip

    return attempt(frozenset())


def _over(
    lookup: Lookup,
    vehicle: engine.Vehicle,
    order: Sequence[engine.Stop],
    route: engine.PlannedRoute,
    breaks: frozenset[int],
    rest: Rest,
) -> tuple[int, int] | None:
    """The first leg that goes on too long, and the first before which a break would help. Leg i
    leads to stop i, the last one home."""
    seconds = lookup.problem.travel.seconds
    place, driven, first = anchor(lookup, vehicle).place, rest.driven, 0 if rest.driven else 1
    waits = [visit.wait for visit in route.visits if not visit.frozen]
    places = [*(stop.place for stop in order), lookup.depots[vehicle.end]]
    for leg, there in enumerate(places):
        if leg in breaks:
            driven, first = 0, leg + 1
        driven += seconds[place][there]
        if driven > rest.after:
            return first, leg
        if leg < len(waits) and waits[leg] >= rest.length:
            driven, first = 0, leg + 1
        place = there
    return None


def _held(vehicle: engine.Vehicle, length: int) -> engine.Vehicle:
    """It goes on so much later, from the depot or from the last stop that stays as it is."""
    if vehicle.frozen:
        *before, last = vehicle.frozen
        later = None if last.departure is None else last.departure + length
        return replace(vehicle, frozen=(*before, replace(last, departure=later)))
    begin, end = vehicle.shift
    return replace(vehicle, shift=(min(begin + length, end), end))


def _told(
    route: engine.PlannedRoute, breaks: frozenset[int], rest: Rest
) -> tuple[engine.Break, ...]:
    moving = [visit for visit in route.visits if not visit.frozen]
    frozen = [visit for visit in route.visits if visit.frozen]
    found = []
    for leg in sorted(breaks):
        if leg == 0 and not frozen:
            found.append(engine.Break(None, route.departure - rest.length, rest.length))
        else:
            visit = moving[leg - 1] if leg else frozen[-1]
            found.append(engine.Break(visit.stop_id, visit.departure - rest.length, rest.length))
    return tuple(found)
