"""Why a stop is left out: one cause at a time, then several together."""

from typing import Any

import pytest

from servers.logistics.engine import Plan, Reason, TravelMatrix, Vehicle, plan
from servers.logistics.engine.problem import UNREACHABLE
from tests.logistics.test_engine_problems import honoured, line, problem, stop, van

ONE_WAY = TravelMatrix(
    [[0, 10], [UNREACHABLE, 0]],
    [[0, 100], [UNREACHABLE, 0]],
)


def outcome(
    changes: dict[str, Any], *vehicles: Vehicle, travel: TravelMatrix | None = None
) -> Plan:
    given = problem([stop("a", 1, **changes)], list(vehicles), travel or line(0, 1_000))
    found = plan(given, iterations=5)
    assert not honoured(given, found)
    return found


@pytest.mark.parametrize(
    ("changes", "vehicle", "travel", "reason", "detail"),
    [
        ({"skills": frozenset({"lift"})}, van(), None, Reason.SKILL, "lacks lift"),
        ({"only_vehicles": frozenset()}, van(), None, Reason.SKILL, "reserved for no vehicle"),
        ({"demand": (101, 1)}, van(), None, Reason.CAPACITY, "weight_g 101 exceeds 100"),
        ({"demand": (1, 101)}, van(), None, Reason.CAPACITY, "volume_cm3 101 exceeds 100"),
        ({}, van(), ONE_WAY, Reason.UNREACHABLE, "no way there or back"),
        ({"windows": ((0, 99),)}, van(), None, Reason.WINDOW, "arrives 1 s after the window"),
        ({"windows": ((0, 99),)}, van(shift=(50, 999)), None, Reason.WINDOW, "arrives 51 s"),
        ({}, van(shift=(0, 199)), None, Reason.SHIFT, "return 1 s after the shift"),
        ({"service": 5}, van(max_duty=200), None, Reason.SHIFT, "on duty 5 s too long"),
    ],
)
def test_each_reason(
    changes: dict[str, Any],
    vehicle: Vehicle,
    travel: TravelMatrix | None,
    reason: Reason,
    detail: str,
) -> None:
    (left,) = outcome(changes, vehicle, travel=travel).unassigned
    assert (left.stop_id, left.reason) == ("a", reason)
    assert detail in left.detail
    assert left.by_vehicle == (("van", reason),)


def test_just_possible_is_possible() -> None:
    assert not outcome({"windows": ((0, 100),)}, van()).unassigned
    assert not outcome({}, van(shift=(0, 200), max_duty=200)).unassigned
    assert not outcome({"demand": (100, 100)}, van()).unassigned


def test_no_vehicle_at_all() -> None:
    (left,) = outcome({}).unassigned
    assert (left.reason, left.by_vehicle) == (Reason.NO_VEHICLE, ())


def test_the_nearest_miss_names_the_reason() -> None:
    found = outcome(
        {"demand": (50, 1), "windows": ((0, 99),), "skills": frozenset({"lift"})},
        van("unskilled"),
        van("small", skills=frozenset({"lift"}), capacity=(49, 1)),
        van("slow", skills=frozenset({"lift"})),
    )
    (left,) = found.unassigned
    assert left.reason is Reason.WINDOW
    assert "(1 of 3 vehicles)" in left.detail
    assert left.by_vehicle == (
        ("unskilled", Reason.SKILL),
        ("small", Reason.CAPACITY),
        ("slow", Reason.WINDOW),
    )


def test_a_full_fleet_drops_the_least_important() -> None:
    stops = [stop(f"s{i}", 1, demand=(40, 1), priority=1 + (i != 2)) for i in range(3)]
    found = plan(problem(stops, [van()], line(0, 100)), iterations=50)
    (left,) = found.unassigned
    assert (left.stop_id, left.reason) == ("s2", Reason.NO_VEHICLE)
    assert left.by_vehicle == (("van", None),)
    assert "1 have no room and 0 no time" in left.detail


def test_a_busy_fleet_has_no_time() -> None:
    stops = [stop("near", 1, windows=((10, 10),)), stop("far", 2, windows=((30, 30),))]
    found = plan(problem(stops, [van()], line(200, 100, 500)), iterations=20)
    (left,) = found.unassigned
    assert left.reason is Reason.NO_VEHICLE
    assert "0 have no room and 1 no time" in left.detail
