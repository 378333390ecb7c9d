"""The default engine: ruin and recreate under simulated annealing, standard library only.

Christiaens and Vanden Berghe (2020), Slack Induction by String Removals, with granular
neighbours (Toth and Vigo 2003) so that an iteration costs the same on large problems.
"""

import math
from random import Random

from servers.logistics.engine.explain import finish
from servers.logistics.engine.insertion import Sorter, cheapest, orders, recreate
from servers.logistics.engine.network import Network, compile_network, find_neighbours
from servers.logistics.engine.plan import Ending, Plan
from servers.logistics.engine.problem import Problem
from servers.logistics.engine.progress import Cancelled, ProgressCallback, Watch
from servers.logistics.engine.routes import Lookup
from servers.logistics.engine.ruin import ruin
from servers.logistics.engine.state import NOWHERE, State

START_HEAT, END_HEAT = 0.4, 0.004
"""Temperature at the start and the end, as a share of the mean cost of a stop."""
RETRIES = 10
"""Stops without a place that an iteration tries again."""
THOROUGH = 0.1
"""How often those are tried everywhere and not beside neighbours only."""


class RuinRecreate:
    """RoutePlanner without dependencies. The same seed and iterations give the same plan."""

    name = "default"

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
        watch = Watch(iterations, seconds, progress, cancelled)
        lookup = Lookup.of(problem)
        net = compile_network(lookup)
        find_neighbours(net)
        state = State(net)
        left_out = len(problem.stops) - len(problem.frozen_stops()) - net.size
        improve(state, watch, Random(seed), left_out)
        names = [vehicle.id for vehicle in problem.vehicles]
        return finish(
            lookup,
            {
                name: [net.stops[x] for x in order]
                for name, order in zip(names, state.kept(), strict=True)
            },
            engine=self.name,
            seed=seed,
            iterations=watch.iterations,
            ended=watch.ended or Ending.NOTHING_TO_PLAN,
        )


def improve(state: State, watch: Watch, rng: Random, left_out: int) -> None:
    """Leaves the best routes found in `state.kept()`. `left_out`: stops no vehicle can serve."""
    construct(state, watch)
    state.keep()
    net, best = state.net, state.objective()
    best_cost, best_absent = state.cost, len(state.absent) + left_out
    sorters, weights = zip(*orders(net), strict=True)
    scale = max(1.0, state.cost / max(1, net.size))
    current = best
    while net.size and watch.go_on():
        heat = scale * START_HEAT * (END_HEAT / START_HEAT) ** watch.share()
        state.checkpoint()
        _step(state, rng, rng.choices(sorters, weights)[0])
        found = state.objective()
        # 1 - random() lies in (0, 1], where the logarithm exists.
        if found < current - heat * math.log(1.0 - rng.random()):
            current = found
            if found < best:
                best, best_cost, best_absent = found, state.cost, len(state.absent) + left_out
                state.keep()
        else:
            state.undo()
        watch.report(best_cost // 1000, best_absent)
    watch.report(best_cost // 1000, best_absent, last=True)


def _step(state: State, rng: Random, sort: Sorter) -> None:
    waiting = sorted(state.absent)
    pool = ruin(state, rng)
    if waiting:
        pool += rng.sample(waiting, min(RETRIES, len(waiting)))
    rng.shuffle(pool)
    sort(pool)
    recreate(state, pool, rng, thorough=not waiting or rng.random() < THOROUGH)


def construct(state: State, watch: Watch) -> None:
    """A first solution: dearest to leave out and farthest first, each at its cheapest position."""
    net = state.net
    rng = Random(0)
    far = _far(net)
    for x in sorted(range(net.size), key=lambda x: (-net.penalty[x], -far[x], x)):
        if watch.stopped():
            return
        position = cheapest(state, x, rng)
        if position[0] != NOWHERE:
            state.insert(x, *position)


def _far(net: Network) -> list[int]:
    return [min(net.metres[begin][x] for begin in set(net.begin)) for x in range(net.size)]
