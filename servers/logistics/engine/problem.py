"""What a route planner is asked: depots, vehicles, stops and the travel between places.

Times are integer seconds on one scale chosen by the caller (Unix seconds will do), distances
integer metres, money integer minor units, loads integers in the units named by `dimensions`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

UNREACHABLE = 1 << 40
"""A matrix entry of this size or more means that there is no way from one place to the other."""

LATEST_TIME = (1 << 39) - 1
MAX_STOPS = 2_000
MAX_VEHICLES = 500
MAX_WINDOWS = 16
MAX_PRIORITY = 10

Window = tuple[int, int]
"""Service starts at or after the first second and at or before the second one."""


class ProblemError(ValueError):
    """The problem contradicts itself; `field` says where, the message what to change."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
        self.message = message


@dataclass(frozen=True, slots=True)
class TravelMatrix:
    """Seconds and metres from place to place: square, row = from, column = to."""

    seconds: Sequence[Sequence[int]]
    metres: Sequence[Sequence[int]]

    @property
    def size(self) -> int:
        return len(self.metres)


@dataclass(frozen=True, slots=True)
class Depot:
    id: str
    place: int
    """Row of the travel matrix."""


@dataclass(frozen=True, slots=True)
class FrozenVisit:
    """A stop the vehicle has already left for: it keeps its position and is never judged again.

    `arrival` and `departure` are the real (or expected) times; None lets the planner derive them.
    """

    stop_id: str
    arrival: int | None = None
    departure: int | None = None


@dataclass(frozen=True, slots=True)
class Vehicle:
    id: str
    start: str
    end: str
    """Depot ids."""
    capacity: tuple[int, ...]
    shift: Window
    max_duty: int | None = None
    """Most seconds from leaving the depot to returning; None: only the shift limits them."""
    cost_per_km: int = 100
    fixed_cost: int = 0
    """Charged once if the vehicle is used at all."""
    skills: frozenset[str] = frozenset()
    frozen: tuple[FrozenVisit, ...] = ()
    departed_at: int | None = None
    """When it left the depot; None with frozen visits means at the start of the shift."""


@dataclass(frozen=True, slots=True)
class Stop:
    id: str
    place: int
    demand: tuple[int, ...]
    """Delivered amounts, loaded at the start depot."""
    windows: tuple[Window, ...] = ()
    """In ascending order without overlap; none means any time."""
    service: int = 0
    priority: int = 1
    """1 to 10: how dear it is to leave the stop out; two stops of 1 weigh as much as one of 2."""
    skills: frozenset[str] = frozenset()
    only_vehicles: frozenset[str] | None = None
    """For goods already aboard: the vehicles that may serve the stop; None means any."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Checked on creation. Raises ProblemError."""

    depots: tuple[Depot, ...]
    vehicles: tuple[Vehicle, ...]
    stops: tuple[Stop, ...]
    travel: TravelMatrix
    dimensions: tuple[str, ...] = ("weight_g", "volume_cm3")

    def __post_init__(self) -> None:
        if len(self.stops) > MAX_STOPS:
            raise ProblemError("stops", f"at most {MAX_STOPS} a plan; split them by zone or depot")
        if len(self.vehicles) > MAX_VEHICLES:
            raise ProblemError("vehicles", f"at most {MAX_VEHICLES} a plan; split them by depot")
        if not self.dimensions:
            raise ProblemError("dimensions", "name at least one")
        _check_travel(self.travel)
        depots = _unique("depots", (depot.id for depot in self.depots))
        stops = _unique("stops", (stop.id for stop in self.stops))
        vehicles = _unique("vehicles", (vehicle.id for vehicle in self.vehicles))
        for depot in self.depots:
            _check_place("depots", depot.id, depot.place, self.travel)
        for stop in self.stops:
            _check_stop(stop, self, vehicles)
        frozen: set[str] = set()
        for vehicle in self.vehicles:
            _check_vehicle(vehicle, self, depots)
            for visit in vehicle.frozen:
                if visit.stop_id not in stops:
                    raise ProblemError("vehicles", f"{vehicle.id}: unknown stop {visit.stop_id}")
                if visit.stop_id in frozen:
                    raise ProblemError("vehicles", f"stop {visit.stop_id} is frozen twice")
                frozen.add(visit.stop_id)

    def frozen_stops(self) -> frozenset[str]:
        return frozenset(visit.stop_id for v in self.vehicles for visit in v.frozen)


def _unique(field: str, ids: Iterable[str]) -> frozenset[str]:
    seen: set[str] = set()
    for item in ids:
        if item in seen:
            raise ProblemError(field, f"{item} appears twice; give every record its own id")
        seen.add(item)
    return frozenset(seen)


def _check_travel(travel: TravelMatrix) -> None:
    size = travel.size
    for name, rows in (("seconds", travel.seconds), ("metres", travel.metres)):
        if len(rows) != size or any(len(row) != size for row in rows):
            raise ProblemError("travel", f"{name} must be square, {size} x {size}")
        if any(min(row) < 0 for row in rows):
            raise ProblemError("travel", f"{name} must not be negative")
    for seconds, metres in zip(travel.seconds, travel.metres, strict=True):
        if max(max(seconds), max(metres)) < UNREACHABLE:
            continue
        pairs = zip(seconds, metres, strict=True)
        if any((s >= UNREACHABLE) != (m >= UNREACHABLE) for s, m in pairs):
            raise ProblemError("travel", "mark a missing way in both seconds and metres")


def _check_place(field: str, name: str, place: int, travel: TravelMatrix) -> None:
    if not 0 <= place < travel.size:
        raise ProblemError(field, f"{name}: place {place} is not in the travel matrix")


def _check_amounts(field: str, name: str, amounts: tuple[int, ...], count: int) -> None:
    if len(amounts) != count or any(amount < 0 for amount in amounts):
        raise ProblemError(field, f"{name}: give {count} amounts, none negative")


def _check_window(field: str, name: str, window: Window) -> None:
    opens, closes = window
    if not 0 <= opens <= closes <= LATEST_TIME:
        raise ProblemError(field, f"{name}: {opens}..{closes} is not a span of time")


def _check_stop(stop: Stop, problem: Problem, vehicles: frozenset[str]) -> None:
    _check_place("stops", stop.id, stop.place, problem.travel)
    _check_amounts("stops", stop.id, stop.demand, len(problem.dimensions))
    if len(stop.windows) > MAX_WINDOWS:
        raise ProblemError("stops", f"{stop.id}: at most {MAX_WINDOWS} windows")
    for window in stop.windows:
        _check_window("stops", stop.id, window)
    for before, after in pairwise(stop.windows):
        if before[1] >= after[0]:
            raise ProblemError("stops", f"{stop.id}: sort the windows and join overlapping ones")
    if not 0 <= stop.service <= LATEST_TIME:
        raise ProblemError("stops", f"{stop.id}: service must not be negative")
    if not 1 <= stop.priority <= MAX_PRIORITY:
        raise ProblemError("stops", f"{stop.id}: priority is 1 to {MAX_PRIORITY}")
    if stop.only_vehicles is not None and not stop.only_vehicles <= vehicles:
        unknown = sorted(stop.only_vehicles - vehicles)
        raise ProblemError("stops", f"{stop.id}: unknown vehicles {', '.join(unknown)}")


def _check_vehicle(vehicle: Vehicle, problem: Problem, depots: frozenset[str]) -> None:
    for depot in (vehicle.start, vehicle.end):
        if depot not in depots:
            raise ProblemError("vehicles", f"{vehicle.id}: unknown depot {depot}")
    _check_amounts("vehicles", vehicle.id, vehicle.capacity, len(problem.dimensions))
    _check_window("vehicles", vehicle.id, vehicle.shift)
    if vehicle.max_duty is not None and vehicle.max_duty < 0:
        raise ProblemError("vehicles", f"{vehicle.id}: max_duty must not be negative")
    if vehicle.cost_per_km < 0 or vehicle.fixed_cost < 0:
        raise ProblemError("vehicles", f"{vehicle.id}: costs must not be negative")
