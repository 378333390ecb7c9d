"""Timetables by hand: places on a road driven at 10 m/s, so 100 m take 10 s."""

from typing import Any

from servers.logistics.engine import FrozenVisit, Reason, Vehicle, plan
from servers.logistics.engine.plan import PlannedRoute
from servers.logistics.engine.problem import Problem
from tests.logistics.test_engine_problems import honoured, line, problem, stop, van


def only_route(given: Problem) -> PlannedRoute:
    found = plan(given, iterations=5)
    assert not honoured(given, found)
    assert not found.unassigned
    (route,) = found.routes
    return route


def test_times_loads_and_cost() -> None:
    given = problem(
        [
            stop("a", 1, demand=(30, 1), windows=((100, 150),), service=60),
            stop("b", 2, demand=(20, 2), service=30),
        ],
        [van(cost_per_km=250, fixed_cost=700, capacity=(100, 4))],
        line(0, 400, 1_000),
    )
    route = only_route(given)
    a, b = route.visits
    # The van leaves at 60 to reach a as it opens; hub-a 40 s, a-b 60 s, b-hub 100 s.
    assert route.departure == 60
    assert (a.arrival, a.wait, a.start, a.departure) == (100, 0, 100, 160)
    assert (b.arrival, b.wait, b.start, b.departure) == (220, 0, 220, 250)
    assert (route.finish, route.duty, route.driving, route.waiting) == (350, 290, 200, 0)
    assert a.slack == 50
    assert b.slack == 36_000 - 350
    assert (route.load, a.load_after, b.load_after) == ((50, 3), (20, 2), (0, 0))
    assert route.load_permille == (500, 750)
    assert (a.metres, b.metres, route.metres_back, route.metres) == (400, 600, 1_000, 2_000)
    assert route.cost == 2 * 250 + 700


def test_waiting_between_stops_and_slack_that_a_later_stop_limits() -> None:
    given = problem(
        [stop("a", 1, windows=((0, 50),)), stop("b", 2, windows=((500, 520),))],
        [van()],
        line(0, 100, 200),
    )
    route = only_route(given)
    a, b = route.visits
    assert (a.arrival, a.slack) == (10, 40)
    assert (b.arrival, b.wait, b.start, b.slack) == (20, 480, 500, 20)
    assert route.waiting == 480


def test_the_second_window_is_used_when_the_first_has_closed() -> None:
    given = problem([stop("a", 1, windows=((0, 5), (300, 400)), service=10)], [van()], line(0, 100))
    (a,) = only_route(given).visits
    assert (a.start, a.slack) == (300, 100)


def test_most_duty_makes_the_van_leave_later() -> None:
    stops = [stop("a", 1, windows=((0, 450),)), stop("b", 2, windows=((500, 520),))]
    route = only_route(problem(stops, [van(max_duty=80)], line(0, 100, 200)))
    assert (route.departure, route.finish, route.duty) == (440, 520, 80)
    assert [visit.slack for visit in route.visits] == [0, 0]
    found = plan(problem(stops, [van(max_duty=79)], line(0, 100, 200)), iterations=20)
    assert len(found.unassigned) == 1
    assert found.unassigned[0].reason is Reason.NO_VEHICLE


def test_another_end_depot() -> None:
    given = problem([stop("a", 1)], [van(end="north")], line(0, 100, 500), {"hub": 0, "north": 2})
    route = only_route(given)
    assert (route.metres, route.metres_back) == (500, 400)


def frozen_van(**changes: Any) -> Vehicle:
    return van(frozen=(FrozenVisit("late", arrival=900, departure=950),), **changes)


def test_frozen_stops_keep_place_and_times_even_when_late() -> None:
    stops = [stop("near", 1), stop("late", 2, windows=((0, 100),)), stop("far", 3)]
    given = problem(stops, [frozen_van(departed_at=800)], line(0, 100, 200, 300))
    found = plan(given, iterations=30)
    (route,) = found.routes
    assert route.stop_ids[0] == "late"
    assert set(route.stop_ids[1:]) == {"near", "far"}
    first = route.visits[0]
    assert (first.frozen, first.arrival, first.departure) == (True, 900, 950)
    assert route.departure == 800
    assert route.visits[1].arrival == 950 + 10
    assert route.load == (3, 3)
    # The cheapest way on is out to far and home past near.
    assert route.stop_ids == ("late", "far", "near")


def test_frozen_load_and_duty_count() -> None:
    stops = [stop("late", 1, demand=(60, 1)), stop("big", 2, demand=(50, 1))]
    found = plan(problem(stops, [frozen_van()], line(0, 100, 200)), iterations=5)
    assert [(u.stop_id, u.reason) for u in found.unassigned] == [("big", Reason.CAPACITY)]
    stops = [stop("late", 1), stop("far", 2)]
    for most, fits in ((180, True), (179, False)):
        given = problem(stops, [frozen_van(departed_at=800, max_duty=most)], line(0, 100, 200))
        assert (plan(given, iterations=5).unassigned == ()) is fits


def test_a_frozen_route_past_its_shift_reports_overtime_and_takes_nothing() -> None:
    given = problem(
        [stop("late", 1), stop("more", 2)], [frozen_van(shift=(0, 900))], line(0, 100, 200)
    )
    found = plan(given, iterations=5)
    (route,) = found.routes
    assert (route.stop_ids, route.finish, route.overtime) == (("late",), 960, 60)
    assert found.unassigned[0].reason is Reason.SHIFT


def test_replanning_leaves_the_departed_part_alone() -> None:
    stops = [stop(f"s{i}", i + 1) for i in range(6)]
    travel = line(0, 100, 250, 300, 420, 560, 700)
    before = plan(problem(stops, [van("one"), van("two")], travel), iterations=20)
    used = before.routes[0]
    done = used.visits[:2]
    again = problem(
        [*stops, stop("new", 6)],
        [
            van(
                v,
                departed_at=used.departure if v == used.vehicle_id else None,
                frozen=tuple(FrozenVisit(x.stop_id, x.arrival, x.departure) for x in done)
                if v == used.vehicle_id
                else (),
            )
            for v in ("one", "two")
        ],
        travel,
    )
    after = plan(again, iterations=60, seed=9)
    [route] = [each for each in after.routes if each.vehicle_id == used.vehicle_id]
    assert [(v.stop_id, v.arrival, v.departure) for v in route.visits[:2]] == [
        (v.stop_id, v.arrival, v.departure) for v in done
    ]
    assert [v.frozen for v in route.visits[:3]] == [True, True, False]
    assert not after.unassigned


def test_nothing_to_plan() -> None:
    found = plan(problem([], [van()], line(0)), iterations=5)
    assert (found.routes, found.unassigned, found.ended.value) == ((), (), "nothing_to_plan")
