"""What a route planner answers: timetables, totals, and why a stop was left out."""

from dataclasses import dataclass
from enum import StrEnum


class Reason(StrEnum):
    """Why a vehicle cannot serve a stop, from the first test to the last."""

    SKILL = "skill"
    CAPACITY = "capacity"
    UNREACHABLE = "unreachable"
    WINDOW = "window"
    SHIFT = "shift"
    NO_VEHICLE = "no_vehicle"
    """Some vehicle could serve it alone, but each of them is taken by other stops."""


class Ending(StrEnum):
    ITERATIONS = "iterations"
    SECONDS = "seconds"
    CANCELLED = "cancelled"
    NOTHING_TO_PLAN = "nothing_to_plan"


@dataclass(frozen=True, slots=True)
class Visit:
    """Times in seconds. `wait` = start - arrival; `slack` = seconds the start could still slip
    without making this stop, a later one or the end of the shift late (negative: already late)."""

    stop_id: str
    arrival: int
    wait: int
    start: int
    departure: int
    slack: int
    load_after: tuple[int, ...]
    metres: int
    """Driven from the stop before (or the depot)."""
    frozen: bool


@dataclass(frozen=True, slots=True)
class Break:
    """Rest after a stop, before the next way; ``stop_id`` None: at the depot, before it leaves."""

    stop_id: str | None
    at: int
    seconds: int


@dataclass(frozen=True, slots=True)
class PlannedRoute:
    vehicle_id: str
    visits: tuple[Visit, ...]
    departure: int
    finish: int
    """Back at the end depot."""
    duty: int
    driving: int
    waiting: int
    metres: int
    metres_back: int
    """The leg to the end depot, part of `metres`."""
    cost: int
    load: tuple[int, ...]
    """At departure from the depot."""
    load_permille: tuple[int, ...]
    """Load over capacity, one figure a dimension."""
    overtime: int
    """Seconds past the shift or the most duty; only frozen visits can cause it."""
    breaks: tuple[Break, ...] = ()

    @property
    def stop_ids(self) -> tuple[str, ...]:
        return tuple(visit.stop_id for visit in self.visits)


@dataclass(frozen=True, slots=True)
class Unassigned:
    stop_id: str
    reason: Reason
    detail: str
    by_vehicle: tuple[tuple[str, Reason | None], ...]
    """The outcome of each vehicle alone; None: it could serve the stop if it had nothing else."""


@dataclass(frozen=True, slots=True)
class Totals:
    routes: int
    assigned: int
    unassigned: int
    metres: int
    driving: int
    waiting: int
    duty: int
    cost: int


@dataclass(frozen=True, slots=True)
class Plan:
    routes: tuple[PlannedRoute, ...]
    """Used vehicles only, in the order of the problem."""
    unassigned: tuple[Unassigned, ...]
    totals: Totals
    engine: str
    seed: int
    iterations: int
    ended: Ending


@dataclass(frozen=True, slots=True)
class Change:
    """A plan against the one before it: positive numbers mean more than before."""

    metres: int
    duty: int
    cost: int
    routes: int
    unassigned: int
    moved: tuple[str, ...]
    """Stops that changed vehicle."""
    added: tuple[str, ...]
    dropped: tuple[str, ...]


def compare(before: Plan, after: Plan) -> Change:
    old = {stop: route.vehicle_id for route in before.routes for stop in route.stop_ids}
    new = {stop: route.vehicle_id for route in after.routes for stop in route.stop_ids}
    was, now = before.totals, after.totals
    return Change(
        metres=now.metres - was.metres,
        duty=now.duty - was.duty,
        cost=now.cost - was.cost,
        routes=now.routes - was.routes,
        unassigned=now.unassigned - was.unassigned,
        moved=tuple(sorted(s for s in old if s in new and old[s] != new[s])),
        added=tuple(sorted(new.keys() - old.keys())),
        dropped=tuple(sorted(old.keys() - new.keys())),
    )
