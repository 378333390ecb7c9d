"""The engine of the extra `[routing]`."""

import subprocess
import sys
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from servers.logistics.engine import (
    BudgetError,
    Ending,
    EngineUnavailable,
    FrozenVisit,
    Progress,
    Reason,
    plan,
)
from servers.logistics.engine.network import compile_network
from servers.logistics.engine.problem import LATEST_TIME
from servers.logistics.engine.pyvrp_engine import settle
from servers.logistics.engine.routes import Lookup, breach
from servers.logistics.engine.state import State
from tests.logistics.test_engine_problems import (
    grid,
    honoured,
    line,
    problem,
    random_problem,
    stop,
    van,
)

LIFT = frozenset({"lift"})


def solve(given: Any, **options: Any) -> Any:
    return plan(given, engine="pyvrp", **{"iterations": 100, **options})


@pytest.mark.filterwarnings("ignore::UserWarning")
@settings(max_examples=80)
@given(st.integers(0, 1_000_000))
def test_no_plan_breaks_a_rule(seed: int) -> None:
    given = random_problem(seed)
    found = solve(given, iterations=60, seed=seed)
    assert not honoured(given, found)
    assert found.engine == "pyvrp"


def test_both_engines_agree_on_small_problems() -> None:
    agreed = 0
    for seed in range(20):
        given = random_problem(seed)
        weight = {s.id: s.priority for s in given.stops}
        ours, theirs = plan(given, iterations=400), solve(given, iterations=400)
        left = [sum(weight[u.stop_id] for u in found.unassigned) for found in (ours, theirs)]
        if left[0] == left[1]:
            agreed += 1
            assert theirs.totals.cost == pytest.approx(ours.totals.cost, rel=0.05)
    assert agreed >= 18


def test_skills_and_open_ended_shifts() -> None:
    """Without windows PyVRP gets no times at all, except to keep a van from a stop; a shift that
    never ends must not make its sums overflow."""
    rng = Random(2)
    stops = [stop(f"s{i}", i + 1, skills=LIFT if i % 3 == 0 else frozenset()) for i in range(20)]
    vehicles = [
        van("a", shift=(0, LATEST_TIME), capacity=(12, 12), skills=LIFT, cost_per_km=97),
        van("b", shift=(0, LATEST_TIME), capacity=(15, 15), cost_per_km=89),
    ]
    given = problem(stops, vehicles, grid(rng, 21))
    found = solve(given)
    assert not honoured(given, found)
    assert not found.unassigned
    assert len(found.routes) == 2


def test_the_same_seed_and_iterations_give_the_same_plan() -> None:
    given = random_problem(77)
    assert solve(given, seed=3) == solve(given, seed=3)


def test_several_windows_skills_and_frozen_stops() -> None:
    stops = [
        stop("done", 1),
        stop("twice", 2, windows=((0, 5), (300, 320)), only_vehicles=frozenset({"plain"})),
        stop("lift", 3, skills=frozenset({"lift"})),
    ]
    vehicles = [
        van("plain", frozen=(FrozenVisit("done", 10, 10),), departed_at=0, max_duty=400),
        van("lifter", skills=frozenset({"lift"}), cost_per_km=900),
    ]
    given = problem(stops, vehicles, line(0, 100, 200, 300))
    found = solve(given)
    assert not honoured(given, found)
    assert [route.stop_ids for route in found.routes] == [("done", "twice"), ("lift",)]
    assert found.routes[0].visits[1].start == 300


def test_a_full_fleet_drops_the_least_important() -> None:
    stops = [stop(f"s{i}", 1, demand=(40, 1), priority=1 + (i != 2)) for i in range(3)]
    found = solve(problem(stops, [van()], line(0, 100)))
    assert [(u.stop_id, u.reason) for u in found.unassigned] == [("s2", Reason.NO_VEHICLE)]


def test_what_a_solution_breaks_is_put_right() -> None:
    """PyVRP may end on a solution that breaks a limit; only its allowed routes are kept."""
    stops = [stop(f"s{i}", i + 1, demand=(40, 1)) for i in range(4)]
    given = problem(stops, [van("x"), van("y"), van("z")], line(0, 100, 200, 300, 400))
    lookup = Lookup.of(given)
    state = State(compile_network(lookup))
    settle(lookup, state, [[0, 1, 2], [3], []])
    orders = [[state.net.stops[x] for x in order] for order in state.kept()]
    assert sorted(s.id for order in orders for s in order) == ["s0", "s1", "s2", "s3"]
    for vehicle, order in zip(given.vehicles, orders, strict=True):
        assert breach(lookup, vehicle, order) is None
    assert stops[3] in orders[1]


def test_progress_and_cancellation() -> None:
    given = problem([stop(f"s{i}", i + 1) for i in range(30)], [van()], grid(Random(1), 31))
    reports: list[Progress] = []
    found = solve(given, progress=reports.append)
    assert (found.iterations, found.ended) == (100, Ending.ITERATIONS)
    assert [r.permille for r in reports] == sorted(r.permille for r in reports)
    assert (len(reports), reports[-1].permille, reports[-1].unassigned) == (51, 1_000, 0)

    calls = iter(range(1_000_000))
    found = solve(given, iterations=100_000, cancelled=lambda: next(calls) >= 7)
    assert (found.iterations, found.ended) == (7, Ending.CANCELLED)
    assert next(calls) == 8
    assert not honoured(given, found)
    found = solve(given, cancelled=lambda: True)
    assert found.iterations == 0
    assert not honoured(given, found)


def test_too_many_sets_of_skills() -> None:
    names = [f"k{i}" for i in range(17)]
    stops = [stop(n, 1, skills=frozenset({n})) for n in names]
    vehicles = [van(n, skills=frozenset({n})) for n in names]
    given = problem(stops, vehicles, line(0, 100))
    with pytest.raises(EngineUnavailable, match="use engine 'default'"):
        solve(given)
    assert len(plan(given, iterations=20).routes) == 17


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyvrp", None)
    given = problem([stop("a", 1)], [van()], line(0, 100))
    with pytest.raises(EngineUnavailable, match=r"install shop\[routing\]"):
        plan(given, engine="pyvrp", iterations=1)
    assert plan(given, iterations=1).totals.assigned == 1


def test_the_package_is_not_imported_before_it_is_needed() -> None:
    code = "import sys, servers.logistics.engine as e; e.planner('pyvrp'); print(set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "'servers.logistics.engine'" in done.stdout
    assert "'pyvrp'" not in done.stdout


def test_a_budget_is_needed() -> None:
    with pytest.raises(BudgetError):
        solve(problem([stop("a", 1)], [van()], line(0, 100)), iterations=None)
