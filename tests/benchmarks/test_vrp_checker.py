"""The judge of the routing benchmark: it accepts the best-known solutions at their stated cost,
and refuses every way of spoiling a good one."""

import json
from decimal import Decimal
from pathlib import Path
from random import Random

import pytest

from benchmarks.routing import Score, main, summary
from benchmarks.vrp_checker import check
from benchmarks.vrp_files import (
    Customer,
    FileError,
    Instance,
    find_instances,
    read_best_known,
    read_instance,
    read_solution,
    to_problem,
)
from servers.logistics.engine import plan
from tests.support import data

ROUTES = [[1, 2, 3], [4, 5]]
SMALL = Instance(
    name="small",
    family="solomon",
    capacity=30,
    vehicles=3,
    customers=(
        Customer(0, 0, 0, 0, 0, 100, 0),
        Customer(1, 3, 4, 10, 0, 20, 2),
        Customer(2, 6, 8, 10, 10, 20, 2),
        Customer(3, 1, 1, 10, 0, 90, 2),
        Customer(4, 0, 5, 15, 40, 50, 2),
        Customer(5, 0, 9, 15, 0, 90, 2),
    ),
)


def test_a_good_solution_and_its_cost() -> None:
    verdict = check(SMALL, ROUTES)
    assert verdict.errors == ()
    # 5 + 5 + 8.60 cut to 8.6 + 1.41 cut to 1.4, and 5 + 4 + 9.
    assert verdict.cost == Decimal("38.0")


@pytest.mark.parametrize(
    ("routes", "error"),
    [
        ([[1, 2], [4, 5]], "customer 3 not visited"),
        ([[1, 2, 3], [4, 5, 3]], "customer 3 visited 2 times; route 2: load 40 over 30"),
        ([[1, 2, 2, 3], [4, 5]], "customer 2 visited 2 times; route 1: load 40 over 30"),
        ([[1, 2, 3], [4, 5], [6]], "customer 6 does not exist"),
        ([[0, 1, 2, 3], [4, 5]], "customer 0 does not exist"),
        ([[1, 2, 3, 5], [4]], "route 1: load 45 over 30"),
        ([[3, 1, 2], [5, 4], []], None),
        ([[2, 1, 3], [4, 5]], None),
        ([[1, 3, 2], [4, 5]], "route 1: at 2 by"),
        ([[1], [2], [3], [4, 5]], "4 routes, but 3 vehicles"),
    ],
)
def test_each_way_to_spoil_it(routes: list[list[int]], error: str | None) -> None:
    verdict = check(SMALL, routes)
    if error is None:
        assert verdict.feasible
    else:
        assert "; ".join(verdict.errors).startswith(error)
        assert len(verdict.errors) == 1 + error.count(";")


def test_the_depot_closes_and_arcs_are_rounded_by_family() -> None:
    late = Instance(
        "late", "solomon", 9, 1, (Customer(0, 0, 0, 0, 0, 10, 0), Customer(1, 0, 4, 1, 0, 9, 3))
    )
    assert check(late, [[1]]).errors == ("route 1: at 0 by 11.0, due 10",)
    for end, cost in ((1.25, "2"), (1.5, "4"), (2.49, "4")):
        x = Instance("x", "x", 9, None, (Customer(0, 0, 0, 0), Customer(1, end, 0, 1)))
        assert check(x, [[1]]).cost == Decimal(cost)


def test_the_best_known_solutions_pass_at_their_cost() -> None:
    best = read_best_known(data("vrp", "bks.csv"))
    paths = find_instances(data("vrp", "solomon")) + find_instances(data("vrp", "x"))
    assert len(paths) == len(best) == 36
    for path in paths:
        routes, cost = read_solution(path.with_suffix(".sol"))
        verdict = check(read_instance(path), routes)
        assert verdict.errors == (), path.stem
        assert float(verdict.cost) == cost == best[path.stem], path.stem


@pytest.mark.parametrize("name", ["solomon/R101", "solomon/RC105", "x/X-n101-k25"])
def test_mutated_best_known_solutions_fail(name: str) -> None:
    path = data("vrp", *f"{name}.sol".split("/"))
    routes, cost = read_solution(path)
    instance = read_instance(next(p for p in find_instances(path.parent) if p.stem == path.stem))
    rng = Random(name)
    refused = 0
    for _ in range(40):
        spoiled = [list(route) for route in routes]
        kind = rng.randrange(4)
        a, b = rng.sample(range(len(spoiled)), 2)
        if kind == 0:
            spoiled[a].pop(rng.randrange(len(spoiled[a])))
        elif kind == 1:
            spoiled[a].insert(0, rng.choice(spoiled[b]))
        elif kind == 2:
            spoiled[a] += spoiled.pop(b)
        else:
            spoiled[a].reverse()
        verdict = check(instance, spoiled)
        if kind < 2:
            assert not verdict.feasible
        refused += not verdict.feasible
        # What is still allowed cannot be cheaper than the best known.
        assert not verdict.feasible or float(verdict.cost) >= cost
    assert refused >= 25


def test_files_that_are_something_else(tmp_path: Path) -> None:
    for name, text in (
        ("R999.txt", "R999\n\nVEHICLE\n"),
        ("a.vrp", "EDGE_WEIGHT_TYPE : EXPLICIT\nDEPOT_SECTION\n1\n-1\nEOF\n"),
    ):
        path = tmp_path / name
        path.write_text(text)
        with pytest.raises(FileError, match=name):
            read_instance(path)
    (tmp_path / "a.sol").write_text("Cost 5\n")
    with pytest.raises(FileError, match="routes or cost missing"):
        read_solution(tmp_path / "a.sol")


def test_the_planner_sees_the_same_instance() -> None:
    found = plan(to_problem(SMALL), iterations=200)
    verdict = check(SMALL, [[int(name) for name in r.stop_ids] for r in found.routes])
    assert verdict.errors == ()
    assert found.totals.metres == verdict.cost * 10
    assert verdict.cost <= Decimal("38.0")


@pytest.mark.parametrize("engine", ["default", "pyvrp"])
def test_the_benchmark_runs(engine: str, capsys: pytest.CaptureFixture[str]) -> None:
    known = str(data("vrp", "bks.csv"))
    options = ["--bks", known, "--engine", engine, "--iterations", "150", "--json"]
    status = main(["--instances", str(data("vrp", "solomon")), "--limit", "2", *options])
    report = json.loads(capsys.readouterr().out)
    assert [score["errors"] for score in report["scores"]] == [[], []]
    assert report["families"]["solomon"]["infeasible"] == 0
    assert status == (0 if report["families"]["solomon"]["met"] else 1)
    assert all(-0.001 <= score["gap_percent"] < 40 for score in report["scores"])
    assert all(score["iterations"] == 150 for score in report["scores"])


def test_an_infeasible_solution_misses_the_goal(tmp_path: Path) -> None:
    good = Score("a", "x", 1, 1, 100.0, 100.0, 0.0, 1, 0.1, ())
    bad = Score("b", "x", 1, 1, 100.0, 100.0, 0.0, 1, 0.1, ("route 1: load",))
    far = Score("c", "x", 1, 1, 121.0, 100.0, 21.0, 1, 0.1, ())
    assert summary("default", [good])["x"]["met"] is True
    assert summary("default", [good, bad])["x"]["met"] is False
    assert summary("default", [good, far])["x"]["met"] is False
    assert main(["--instances", str(tmp_path), "--bks", str(bks(tmp_path))]) == 2


def bks(folder: Path) -> Path:
    path = folder / "bks.csv"
    path.write_text("instance,bks_cost_in_file\nnone,1\n")
    return path
