"""The engine of the extra `[routing]`: PyVRP, for plans within a few percent of the best known.

Wouda, Lan and Kool (2024), PyVRP: a high-performance VRP solver package. The package is imported
when a plan is asked for. Stops are optional clients whose prize is the cost of leaving them out.
"""

import importlib
import math
from collections import Counter
from collections.abc import Sequence
from random import Random
from types import ModuleType
from typing import Any

from servers.logistics.engine.explain import finish
from servers.logistics.engine.insertion import recreate
from servers.logistics.engine.network import (
    Network,
    compile_network,
    find_neighbours,
    longest_route,
)
from servers.logistics.engine.plan import Ending, Plan
from servers.logistics.engine.problem import UNREACHABLE, Problem, Vehicle
from servers.logistics.engine.progress import Cancelled, ProgressCallback, Watch
from servers.logistics.engine.routes import Lookup, breach, breach_of_skill
from servers.logistics.engine.state import State

MAX_PROFILES = 16
"""Different sets of stops that kinds of vehicles have the skills for; each takes two matrices."""


class EngineUnavailable(RuntimeError):
    """The engine is not installed or cannot take this problem; the message names the way out."""


class PyVRP:
    name = "pyvrp"

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
        """Raises EngineUnavailable if the extra is missing or there are too many profiles."""
        pyvrp = _import("pyvrp")
        watch = Watch(iterations, seconds, progress, cancelled)
        lookup = Lookup.of(problem)
        net = compile_network(lookup)
        left_out = len(problem.stops) - len(problem.frozen_stops()) - net.size
        state = State(net)
        if net.size:
            routes = _solve(pyvrp, lookup, net, seed, watch, left_out)
            settle(lookup, state, routes)
        watch.report(state.cost // 1000, len(state.absent) + left_out, last=True)
        vehicles = zip(problem.vehicles, state.kept(), strict=True)
        return finish(
            lookup,
            {vehicle.id: [net.stops[x] for x in order] for vehicle, order in vehicles},
            engine=self.name,
            seed=seed,
            iterations=watch.iterations,
            ended=watch.ended or Ending.NOTHING_TO_PLAN,
        )


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise EngineUnavailable(
            f"{name} is not installed: install shop[routing], or use engine 'default'"
        ) from error


def _solve(
    pyvrp: Any, lookup: Lookup, net: Network, seed: int, watch: Watch, left_out: int
) -> list[list[int]]:
    """Stops of each vehicle, in the order of the problem."""
    unit = _unit(net)
    data, kinds, owners = _data(pyvrp, lookup, net, unit)

    class Best(pyvrp.IteratedLocalSearchCallbacks):  # type: ignore[misc]
        cost, absent = 0, net.size

        def on_start(self, search: Any) -> None:
            self.on_best(search.initial_solution)

        def on_best(self, best: Any) -> None:
            used = Counter(kinds[route.vehicle_type()] for route in best.routes())
            idle = sum(net.base[r] for k, rs in enumerate(net.kinds) for r in rs[used[k] :])
            driven = (best.distance_cost() + best.fixed_vehicle_cost()) * unit
            self.cost = net.sunk + idle + driven
            self.absent = net.size - best.num_clients()

    best = Best()

    def stop(_: float) -> bool:
        watch.report(best.cost // 1000, best.absent + left_out)
        return not watch.go_on()

    params = pyvrp.SolveParams(
        ils=pyvrp.IteratedLocalSearchParams(callbacks=best),
        penalty=pyvrp.PenaltyParams(max_penalty=max(100_000.0, 2.0 * max(net.penalty) / unit)),
    )
    result = pyvrp.solve(data, stop, seed=seed, collect_stats=False, display=False, params=params)
    routes: list[list[int]] = [[] for _ in net.begin]
    unused = [list(net.kinds[kind]) for kind in kinds]
    for route in result.best.routes():
        vehicle = unused[route.vehicle_type()].pop(0)
        routes[vehicle] = [owners[step.idx] for step in route.schedule() if step.is_client()]
    return routes


def settle(lookup: Lookup, state: State, routes: Sequence[Sequence[int]]) -> None:
    """Keeps what is allowed of a solution; the rest is put in wherever it fits. PyVRP may stop at
    a solution that breaks a limit when the time was too short to find one that does not."""
    net = state.net
    for r, order in enumerate(routes):
        vehicle = lookup.problem.vehicles[r]
        if breach(lookup, vehicle, [net.stops[x] for x in order]) is not None:
            continue
        a = net.begin[r]
        for x in order:
            price = net.rate[r]
            b = net.end[r]
            delta = (net.metres[a][x] + net.metres[x][b]) * price
            if a >= net.size:
                delta += net.fixed[r] - net.base[r]
            else:
                delta -= net.metres[a][b] * price
            state.insert(x, r, a, delta)
            a = x
    pool = sorted(state.absent, key=lambda x: -net.penalty[x])
    if pool:
        find_neighbours(net)
        recreate(state, pool, Random(0))
    state.keep()


def _unit(net: Network) -> int:
    """What all costs can be divided by: PyVRP weighs them against seconds and load, and finds
    allowed routes sooner while the numbers are of one size."""
    return math.gcd(*net.rate, *net.fixed) or 1


def _data(pyvrp: Any, lookup: Lookup, net: Network, unit: int) -> tuple[Any, list[int], list[int]]:
    """ProblemData, the kind of each vehicle type, and the stop of each client."""
    kinds = [kind for kind in range(len(net.kinds)) if any(net.allowed[kind])]
    skilled = [_skilled(lookup.problem.vehicles[net.kinds[kind][0]], net) for kind in kinds]
    profiles = {served: number for number, served in enumerate(dict.fromkeys(skilled))}
    if len(profiles) > MAX_PROFILES:
        raise EngineUnavailable(
            f"{len(profiles)} sets of skills are too many for pyvrp (at most {MAX_PROFILES}): "
            "use engine 'default'"
        )
    # Without windows times do not matter, unless they have to keep vehicles from some stops.
    timed = net.timed or not all(all(served) for served in profiles)
    horizon = _horizon(net) if timed else None
    clients, groups, owners = _clients(pyvrp, net, unit, timed)
    types = [
        _vehicle_type(pyvrp, net, net.kinds[kind], profiles[served], unit, horizon)
        for kind, served in zip(kinds, skilled, strict=True)
    ]
    matrices = [_matrices(net, served, horizon) for served in profiles]
    nodes = len(net.metres)
    data = pyvrp.ProblemData(
        [pyvrp.Location(0, 0) for _ in range(nodes)],
        clients,
        [pyvrp.Depot(location=node) for node in range(net.size, nodes)],
        types,
        [metres for metres, _ in matrices],
        [seconds for _, seconds in matrices],
        groups,
    )
    return data, kinds, owners


def _horizon(net: Network) -> int:
    """No route need end later. PyVRP multiplies times by penalties in 64 bits: a shift without
    end would overflow, and its local search then never ends."""
    latest = max([*net.opens, *net.ready, *(w[0] for ws in net.windows.values() for w in ws)])
    return min(max(net.limit), latest + longest_route(net))


def _skilled(vehicle: Vehicle, net: Network) -> bytes:
    return bytes(breach_of_skill(vehicle, stop) is None for stop in net.stops)


def _clients(
    pyvrp: Any, net: Network, unit: int, timed: bool
) -> tuple[list[Any], list[Any], list[int]]:
    """One client a window; those of one stop exclude each other as a group."""
    clients: list[Any] = []
    groups: list[Any] = []
    owners: list[int] = []
    for x, stop in enumerate(net.stops):
        windows = stop.windows if timed else ()
        group = len(groups) if len(windows) > 1 else None
        if group is not None:
            members = range(len(clients), len(clients) + len(windows))
            groups.append(pyvrp.ClientGroup(list(members), required=False))
        for window in windows or (None,):
            times = {} if window is None else {"tw_early": window[0], "tw_late": window[1]}
            client = pyvrp.Client(
                x,
                delivery=list(stop.demand),
                service_duration=stop.service if timed else 0,
                prize=net.penalty[x] // unit,
                required=False,
                group=group,
                **times,
            )
            clients.append(client)
            owners.append(x)
    return clients, groups, owners


def _vehicle_type(
    pyvrp: Any, net: Network, members: Sequence[int], profile: int, unit: int, horizon: int | None
) -> Any:
    r = members[0]
    times: dict[str, int] = {}
    if horizon is not None:
        times = {"tw_early": net.ready[r], "tw_late": min(net.limit[r], horizon)}
        if net.duty[r]:
            times["shift_duration"] = net.duty[r]
    return pyvrp.VehicleType(
        num_available=len(members),
        capacity=list(net.room[r]),
        start_depot=net.begin[r] - net.size,
        end_depot=net.end[r] - net.size,
        fixed_cost=net.fixed[r] // unit,
        unit_distance_cost=net.rate[r] // unit,
        profile=profile,
        **times,
    )


def _matrices(net: Network, served: bytes, horizon: int | None) -> tuple[Any, Any]:
    """Metres and seconds. A missing way, or one to a stop the vehicle may not serve, takes longer
    than the horizon; without a horizon there is neither, and times are zero."""
    numpy = _import("numpy")
    metres = numpy.array(net.metres, dtype=numpy.int64)
    if horizon is None:
        return metres, numpy.zeros_like(metres)
    seconds = numpy.array(net.seconds, dtype=numpy.int64)
    missing = seconds >= UNREACHABLE
    barred = [x for x, may in enumerate(served) if not may]
    missing[barred, :] = missing[:, barred] = True
    numpy.fill_diagonal(missing, val=False)
    metres[metres >= UNREACHABLE] = 0
    metres[missing] = metres.max()
    seconds[missing] = horizon + 1
    return metres, seconds
