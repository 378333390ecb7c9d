"""Route planning against the best-known solutions of Solomon's VRPTW and CVRPLIB's set X.

    python -m benchmarks.routing --instances DIR --bks FILE [--engine default|pyvrp] [--seconds 5]

Each solution is judged by a checker that shares no code with the planner. Exit status 1 if one is
infeasible, incomplete, or a mean gap misses its goal.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from time import perf_counter

from benchmarks.vrp_checker import check
from benchmarks.vrp_files import find_instances, read_best_known, read_instance, to_problem
from servers.logistics.engine import ENGINES, plan

GOALS = {
    ("default", "x"): 10.0,
    ("default", "solomon"): 15.0,
    ("pyvrp", "x"): 2.0,
    ("pyvrp", "solomon"): 2.0,
}
"""Largest mean gap in percent at 5 seconds, by engine and family."""


@dataclass(frozen=True, slots=True)
class Score:
    instance: str
    family: str
    customers: int
    routes: int
    cost: float
    best_known: float
    gap_percent: float
    iterations: int
    elapsed: float
    errors: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Task:
    path: Path
    best_known: float
    engine: str
    seed: int
    seconds: float | None
    iterations: int | None


def solve(task: Task) -> Score:
    instance = read_instance(task.path)
    problem = to_problem(instance)
    began = perf_counter()
    found = plan(
        problem,
        engine=task.engine,
        seed=task.seed,
        seconds=task.seconds,
        iterations=task.iterations,
    )
    elapsed = perf_counter() - began
    routes = [[int(stop) for stop in route.stop_ids] for route in found.routes]
    verdict = check(instance, routes)
    errors = verdict.errors
    if found.totals.metres != int(verdict.cost * instance.scale):
        errors += (f"the plan says {found.totals.metres}, the checker {verdict.cost}",)
    cost = float(verdict.cost)
    return Score(
        instance=instance.name,
        family=instance.family,
        customers=len(instance.customers) - 1,
        routes=len(routes),
        cost=cost,
        best_known=task.best_known,
        gap_percent=round((cost / task.best_known - 1) * 100, 3),
        iterations=found.iterations,
        elapsed=round(elapsed, 2),
        errors=errors,
    )


def run(tasks: Sequence[Task], jobs: int) -> Iterator[Score]:
    if jobs == 1:
        yield from map(solve, tasks)
        return
    with ProcessPoolExecutor(jobs) as pool:
        yield from pool.map(solve, tasks)


def summary(engine: str, scores: Sequence[Score]) -> dict[str, dict[str, float | int | bool]]:
    """By family: instances, mean and worst gap, the goal, and whether it is met."""
    answer: dict[str, dict[str, float | int | bool]] = {}
    for family in sorted({score.family for score in scores}):
        gaps = [score.gap_percent for score in scores if score.family == family]
        infeasible = sum(1 for score in scores if score.family == family and score.errors)
        mean, goal = round(fmean(gaps), 3), GOALS[engine, family]
        answer[family] = {
            "instances": len(gaps),
            "infeasible": infeasible,
            "mean_gap_percent": mean,
            "worst_gap_percent": max(gaps),
            "goal_percent": goal,
            "met": mean <= goal and not infeasible,
        }
    return answer


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    best_known = read_best_known(options.bks)
    paths = [path for path in find_instances(options.instances) if path.stem in best_known]
    if not paths:
        print(f"no instance of {options.bks} in {options.instances}", file=sys.stderr)
        return 2
    seconds = None if options.iterations else options.seconds
    tasks = [
        Task(path, best_known[path.stem], options.engine, options.seed, seconds, options.iterations)
        for path in paths[: options.limit]
    ]
    scores: list[Score] = []
    for score in run(tasks, options.jobs):
        scores.append(score)
        if not options.json:
            print(_line(score), flush=True)
    families = summary(options.engine, scores)
    if options.json:
        report = {"engine": options.engine, "seed": options.seed, "seconds": seconds,
                  "iterations": options.iterations, "jobs": options.jobs, "families": families,
                  "scores": [asdict(score) for score in scores]}  # fmt: skip
        print(json.dumps(report, indent=2))
    else:
        for family, figures in families.items():
            print(f"{family}: " + ", ".join(f"{key} {value}" for key, value in figures.items()))
    return 0 if all(figures["met"] for figures in families.values()) else 1


def _line(score: Score) -> str:
    text = (
        f"{score.instance:<14}{score.customers:>5} stops {score.routes:>3} routes "
        f"{score.cost:>10.1f} best {score.best_known:>9.1f} gap {score.gap_percent:>7.3f} % "
        f"{score.iterations:>7} iterations {score.elapsed:>5.1f} s"
    )
    return text + (f"  INFEASIBLE: {'; '.join(score.errors[:3])}" if score.errors else "")


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.routing", description=__doc__.split("\n")[0])
    parser.add_argument("--instances", type=Path, required=True, help="folder, searched in depth")
    parser.add_argument("--bks", type=Path, required=True, help="CSV: instance,bks_cost_in_file")
    parser.add_argument("--engine", choices=ENGINES, default="default")
    parser.add_argument("--seconds", type=float, default=5.0, help="for each instance")
    parser.add_argument("--iterations", type=int, help="instead of seconds: reproducible")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1, help="instances at a time")
    parser.add_argument("--limit", type=int, help="only the first so many instances")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
