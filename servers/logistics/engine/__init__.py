"""Route planning as plain functions: a Problem goes in, a Plan comes out, nothing is stored."""

from typing import Protocol

from servers.logistics.engine.plan import (
    Break,
    Change,
    Ending,
    Plan,
    PlannedRoute,
    Reason,
    Totals,
    Unassigned,
    Visit,
    compare,
)
from servers.logistics.engine.problem import (
    Depot,
    FrozenVisit,
    Problem,
    ProblemError,
    Stop,
    TravelMatrix,
    Vehicle,
    Window,
)
from servers.logistics.engine.progress import BudgetError, Cancelled, Progress, ProgressCallback
from servers.logistics.engine.pyvrp_engine import EngineUnavailable, PyVRP
from servers.logistics.engine.search import RuinRecreate

__all__ = [
    "ENGINES",
    "Break",
    "BudgetError",
    "Change",
    "Depot",
    "Ending",
    "EngineUnavailable",
    "FrozenVisit",
    "Plan",
    "PlannedRoute",
    "Problem",
    "ProblemError",
    "Progress",
    "Reason",
    "RoutePlanner",
    "Stop",
    "Totals",
    "TravelMatrix",
    "Unassigned",
    "Vehicle",
    "Visit",
    "Window",
    "compare",
    "plan",
    "planner",
]


class RoutePlanner(Protocol):
    def plan(
        self,
        problem: Problem,
        *,
        seed: int = 0,
        iterations: int | None = None,
        seconds: float | None = None,
        progress: ProgressCallback | None = None,
        cancelled: Cancelled | None = None,
    ) -> Plan:
        """Stops at the first of iterations, seconds and `cancelled()`, and then returns the best
        plan so far. Reproducible by seed when only iterations are given. Blocks: run it in a
        thread or process. Raises BudgetError without a budget."""
        ...


ENGINES = ("default", "pyvrp")


def planner(engine: str = "default") -> RoutePlanner:
    """Raises EngineUnavailable for an unknown name or a missing extra."""
    if engine == "default":
        return RuinRecreate()
    if engine == "pyvrp":
        return PyVRP()
    raise EngineUnavailable(f"no engine {engine!r}; choose {' or '.join(ENGINES)}")


def plan(
    problem: Problem,
    *,
    engine: str = "default",
    seed: int = 0,
    iterations: int | None = None,
    seconds: float | None = None,
    progress: ProgressCallback | None = None,
    cancelled: Cancelled | None = None,
) -> Plan:
    """See RoutePlanner.plan."""
    return planner(engine).plan(
        problem,
        seed=seed,
        iterations=iterations,
        seconds=seconds,
        progress=progress,
        cancelled=cancelled,
    )
