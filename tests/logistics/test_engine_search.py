"""The default engine as a whole: rules kept, optimum reached, reproducible, cancellable."""

import itertools
import tracemalloc
from copy import deepcopy
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from servers.logistics.engine import (
    BudgetError,
    Ending,
    EngineUnavailable,
    Problem,
    Progress,
    Stop,
    compare,
    plan,
)
from servers.logistics.engine.explain import InfeasibleRoute, finish
from servers.logistics.engine.insertion import recreate
from servers.logistics.engine.network import compile_network, find_neighbours
from servers.logistics.engine.progress import Watch
from servers.logistics.engine.routes import Lookup, breach, timetable
from servers.logistics.engine.ruin import ruin
from servers.logistics.engine.search import construct
from servers.logistics.engine.state import State
from servers.logistics.engine.travel import Place, StraightLine
from tests.logistics.test_engine_problems import (
    grid,
    honoured,
    line,
    problem,
    random_problem,
    stop,
    van,
)


@settings(max_examples=150)
@given(st.integers(0, 1_000_000))
def test_no_plan_breaks_a_rule(seed: int) -> None:
    given = random_problem(seed)
    found = plan(given, iterations=40, seed=seed)
    assert not honoured(given, found)
    for left in found.unassigned:
        alone = breach(Lookup.of(given), given.vehicles[0], [stop_named(given, left.stop_id)])
        assert left.by_vehicle[0] == (given.vehicles[0].id, alone.reason if alone else None)


def stop_named(given: Problem, name: str) -> Stop:
    return next(s for s in given.stops if s.id == name)


@settings(max_examples=60)
@given(st.integers(0, 1_000_000))
def test_the_search_state_agrees_with_the_timetables(seed: int) -> None:
    """After any mix of insertions, removals and undos the running cost equals the exact one."""
    lookup = Lookup.of(random_problem(seed))
    net, rng = compile_network(lookup), Random(seed)
    if not net.size:
        return
    find_neighbours(net)
    state = State(net)
    construct(state, Watch(10, None))
    for step in range(12):
        state.checkpoint()
        before = picture(state)
        removed = ruin(state, rng)
        recreate(state, removed, rng)
        if step % 3 == 0:
            state.undo()
            assert picture(state) == before
        else:
            # Times updated step by step, with early ends, equal those computed from scratch.
            stepwise = picture(state)
            assert all(state.retime(r) for r in range(len(net.begin)))
            assert picture(state) == stepwise
        cost = 0
        for r, vehicle in enumerate(lookup.problem.vehicles):
            order = [net.stops[x] for x in state.stops_of(r)]
            assert breach(lookup, vehicle, order) is None
            if not order and not vehicle.frozen:
                continue
            route = timetable(lookup, vehicle, order)
            cost += route.metres * vehicle.cost_per_km + vehicle.fixed_cost * 1000
        assert state.cost == cost
        assert state.missing == sum(net.penalty[x] for x in state.absent)


def picture(state: State) -> list[Any]:
    """All that may be seen of a state: the cost, and what is known of each stop in a route."""
    stops = [x for r in range(len(state.net.begin)) for x in state.stops_of(r)]
    arrays = [state.where, state.before, state.after, state.arc_before, state.arc_after]
    if state.net.timed:
        arrays += [state.leave_before, state.leave, state.latest, state.latest_after]
    rooms = [state.room, state.more_room, state.length, state.idle]
    return [
        state.objective(),
        stops,
        [[a[x] for x in stops] for a in arrays],
        *map(deepcopy, rooms),
    ]


@pytest.mark.parametrize("seed", range(6))
def test_small_problems_are_solved_to_the_optimum(seed: int) -> None:
    rng = Random(seed)
    travel = grid(rng, 7)
    stops = [
        stop(f"s{i}", i + 1, demand=(rng.randrange(20, 50), 1),
             windows=((rng.randrange(0, 4_000), 12_000),), service=120)
        for i in range(6)
    ]  # fmt: skip
    vehicles = [van("a", shift=(0, 14_000)), van("b", cost_per_km=120, fixed_cost=40), van("c")]
    given = problem(stops, vehicles, travel)
    found = plan(given, iterations=400, seed=seed)
    assert not found.unassigned
    assert found.totals.cost == pytest.approx(best_by_force(given), abs=2)


def best_by_force(given: Problem) -> int:
    """Cheapest assignment of all stops, each vehicle in its best order."""
    lookup = Lookup.of(given)
    cheapest: list[dict[frozenset[int], int]] = []
    for vehicle in given.vehicles:
        table = {frozenset[int](): 0}
        for size in range(1, len(given.stops) + 1):
            for chosen in itertools.combinations(range(len(given.stops)), size):
                costs = [
                    timetable(lookup, vehicle, order).cost
                    for order in itertools.permutations([given.stops[i] for i in chosen])
                    if breach(lookup, vehicle, order) is None
                ]
                if costs:
                    table[frozenset(chosen)] = min(costs)
        cheapest.append(table)
    everything = frozenset(range(len(given.stops)))
    return min(
        a + b + cheapest[2][everything - one - two]
        for one, a in cheapest[0].items()
        for two, b in cheapest[1].items()
        if not one & two and everything - one - two in cheapest[2]
    )


def test_the_same_seed_and_iterations_give_the_same_plan() -> None:
    given = random_problem(77)
    assert plan(given, iterations=150, seed=4) == plan(given, iterations=150, seed=4)


def town(stops: int, vans: int, seed: int = 5) -> Problem:
    """A city with windows, two load dimensions and priorities; some stops cannot all be served."""
    rng = Random(seed)
    places = [Place(52_500_000, 13_400_000)] + [
        Place(
            52_500_000 + rng.randrange(-90_000, 90_000),
            13_400_000 + rng.randrange(-140_000, 140_000),
        )
        for _ in range(stops)
    ]
    travel = StraightLine().matrix(places)
    orders = [
        stop(
            f"s{i}", i, demand=(rng.randrange(500, 15_000), rng.randrange(1_000, 60_000)),
            windows=rng.choice([(), ((7_200, 14_400),), ((14_400, 28_800),)]), service=180,
            priority=rng.choice([1, 1, 1, 5]),
        )
        for i in range(1, stops + 1)
    ]  # fmt: skip
    fleet = [
        van(
            f"van{i}",
            capacity=(800_000, 6_000_000),
            shift=(3_600, 32_400),
            max_duty=27_000,
            fixed_cost=2_000,
        )
        for i in range(vans)
    ]
    return problem(orders, fleet, travel)


@pytest.fixture(scope="module")
def large() -> Problem:
    return town(1_000, 40)


def test_a_thousand_stops_in_bounded_memory(large: Problem) -> None:
    reports: list[Progress] = []
    tracemalloc.start()
    found = plan(large, iterations=60, progress=reports.append)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert not honoured(large, found)
    assert found.totals.assigned > 990
    assert found.totals.routes <= 40
    # Two square matrices of references are 16 MB; all else is linear in the stops.
    assert peak < 60_000_000
    assert found.iterations == 60
    assert found.ended is Ending.ITERATIONS
    assert 40 <= len(reports) <= 61
    shares = [report.permille for report in reports]
    assert shares == sorted(shares)
    assert shares[-1] == 1_000
    assert reports[-1].unassigned == len(found.unassigned)


def test_memory_does_not_grow_with_the_iterations() -> None:
    given = town(40, 3)
    peaks = []
    for iterations in (50, 500):
        tracemalloc.start()
        plan(given, iterations=iterations)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 100_000


def test_the_reported_cost_never_rises_and_ends_at_the_plans() -> None:
    given = random_problem(12)
    reports: list[Progress] = []
    found = plan(given, iterations=300, progress=reports.append)
    costs = [(report.unassigned, report.cost) for report in reports]
    assert len(costs) == 51
    assert costs == sorted(costs, reverse=True)
    assert costs[0] > costs[-1]
    # Each route is rounded to a minor unit; the running sum is rounded down once.
    assert costs[-1][0] == len(found.unassigned)
    assert abs(costs[-1][1] - found.totals.cost) <= len(found.routes)


def test_cancelled_while_improving(large: Problem) -> None:
    asked = 0

    def cancelled() -> bool:
        nonlocal asked
        asked += 1
        return asked > 1_020  # the construction asks once a stop

    reports: list[Progress] = []
    found = plan(large, iterations=100_000, progress=reports.append, cancelled=cancelled)
    assert found.ended is Ending.CANCELLED
    assert found.iterations == 20
    assert asked == 1_021
    assert reports[-1].permille < 10
    assert not honoured(large, found)
    assert found.totals.assigned > 900


def test_cancelled_while_constructing(large: Problem) -> None:
    calls = iter(range(1_000_000))
    found = plan(large, iterations=100, cancelled=lambda: next(calls) >= 30)
    assert found.ended is Ending.CANCELLED
    assert next(calls) == 31
    assert (found.iterations, found.totals.assigned) == (0, 30)
    assert not honoured(large, found)


def test_an_overloaded_fleet_still_ends_and_prefers_priority() -> None:
    stops = [stop(f"s{i}", 1 + i % 9, demand=(10, 1), priority=1 + 4 * (i % 2)) for i in range(60)]
    given = problem(stops, [van("a"), van("b")], grid(Random(3), 10))
    found = plan(given, iterations=200)
    assert not honoured(given, found)
    assert len(found.unassigned) == 40
    assert all(int(name[1:]) % 2 for route in found.routes for name in route.stop_ids)


def test_compare_two_plans() -> None:
    travel = line(0, 100, 200)
    both = [stop("a", 1), stop("b", 2)]
    one = plan(problem(both, [van("x"), van("y", shift=(0, 1))], travel), iterations=5)
    other = plan(
        problem([both[1], stop("c", 1)], [van("x", shift=(0, 1)), van("y")], travel), iterations=5
    )
    change = compare(one, other)
    assert (change.moved, change.added, change.dropped) == (("b",), ("c",), ("a",))
    assert (change.routes, change.metres, change.unassigned) == (0, 0, 0)


def test_a_defective_search_cannot_deliver_an_infeasible_route() -> None:
    given = problem(
        [stop("a", 1, demand=(101, 1)), stop("b", 1)], [van("x"), van("y")], line(0, 100)
    )
    lookup, b = Lookup.of(given), given.stops[1]
    facts: dict[str, Any] = {"engine": "x", "seed": 0, "iterations": 1, "ended": Ending.ITERATIONS}
    with pytest.raises(InfeasibleRoute, match="exceeds 100"):
        finish(lookup, {"x": [given.stops[0]]}, **facts)
    with pytest.raises(InfeasibleRoute, match="visited twice"):
        finish(lookup, {"x": [b], "y": [b]}, **facts)


def test_budget_and_engine_are_checked() -> None:
    given = problem([stop("a", 1)], [van()], line(0, 100))
    budgets: list[dict[str, Any]] = [
        {},
        {"iterations": 0},
        {"seconds": 0},
        {"iterations": 5, "seconds": -1},
    ]
    for budget in budgets:
        with pytest.raises(BudgetError):
            plan(given, **budget)
    with pytest.raises(EngineUnavailable, match="choose default or pyvrp"):
        plan(given, engine="other", iterations=1)
