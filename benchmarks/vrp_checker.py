"""Judges a solution from the instance alone: its own distances, its own clock, its own sums.

Nothing here comes from the planner. A route is a list of customer numbers; the depot (0) is
implied at both ends.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_DOWN, ROUND_HALF_UP, Decimal

from benchmarks.vrp_files import Customer, Instance


@dataclass(frozen=True, slots=True)
class Verdict:
    cost: Decimal
    """In the units of the file, rounded arc by arc as its best-known solution is."""
    errors: tuple[str, ...]

    @property
    def feasible(self) -> bool:
        return not self.errors


def check(instance: Instance, routes: Sequence[Sequence[int]]) -> Verdict:
    """Every customer exactly once, no overload, nothing late, no more vehicles than there are."""
    known = {customer.number: customer for customer in instance.customers}
    errors = _visits(known, routes)
    used = sum(1 for route in routes if route)
    if instance.vehicles is not None and used > instance.vehicles:
        errors.append(f"{used} routes, but {instance.vehicles} vehicles")
    cost = Decimal(0)
    for number, route in enumerate(routes, 1):
        stops = [known[c] for c in route if c in known and c != 0]
        load = sum(stop.demand for stop in stops)
        if load > instance.capacity:
            errors.append(f"route {number}: load {load} over {instance.capacity}")
        if stops:
            cost += _drive(instance, number, stops, errors)
    return Verdict(cost, tuple(errors))


def arc(instance: Instance, a: Customer, b: Customer) -> Decimal:
    exact = Decimal(math.sqrt((a.x - b.x) ** 2 + (a.y - b.y) ** 2))
    if instance.family == "solomon":
        return exact.quantize(Decimal("0.1"), ROUND_DOWN)
    return exact.quantize(Decimal(1), ROUND_HALF_UP)


def _visits(known: dict[int, Customer], routes: Sequence[Sequence[int]]) -> list[str]:
    seen = Counter(number for route in routes for number in route)
    errors = [f"customer {n} does not exist" for n in sorted(seen) if n not in known or n == 0]
    errors += [f"customer {n} visited {k} times" for n, k in sorted(seen.items()) if k > 1]
    errors += [f"customer {n} not visited" for n in sorted(known) if n != 0 and n not in seen]
    return errors


def _drive(
    instance: Instance, number: int, stops: Sequence[Customer], errors: list[str]
) -> Decimal:
    depot = instance.customers[0]
    clock, length, here = Decimal(depot.ready), Decimal(0), depot
    for stop in [*stops, depot]:
        leg = arc(instance, here, stop)
        length += leg
        clock = max(clock + leg, Decimal(stop.ready))
        if stop.due is not None and clock > stop.due:
            errors.append(f"route {number}: at {stop.number} by {clock}, due {stop.due}")
        clock += stop.service
        here = stop
    return length
