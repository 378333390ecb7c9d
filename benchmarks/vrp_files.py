"""Reads Solomon (.txt), VRPLIB (.vrp) and solution (.sol) files, and turns them into problems.

Distances follow the best-known solutions: Solomon's arcs are cut to one decimal (kept here as
whole tenths), those of set X rounded to the nearest integer.
"""

import csv
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from servers.logistics.engine import Depot, Problem, Stop, TravelMatrix, Vehicle
from servers.logistics.engine.problem import LATEST_TIME


class FileError(ValueError):
    """The file is not in the format its name promises."""


@dataclass(frozen=True, slots=True)
class Customer:
    """Numbers as in the file; number 0 is the depot."""

    number: int
    x: float
    y: float
    demand: int
    ready: int = 0
    due: int | None = None
    service: int = 0


@dataclass(frozen=True, slots=True)
class Instance:
    name: str
    family: str
    """`solomon` or `x`."""
    capacity: int
    vehicles: int | None
    customers: tuple[Customer, ...]
    """The depot first."""

    @property
    def scale(self) -> int:
        """Units of the problem in one unit of the file."""
        return 10 if self.family == "solomon" else 1


def find_instances(folder: Path) -> list[Path]:
    found = [p for p in folder.rglob("*") if p.suffix == ".vrp" or re.match(_SOLOMON, p.name)]
    return sorted(found, key=lambda p: (p.parent.name, len(p.stem), p.stem))


def read_instance(path: Path) -> Instance:
    text = path.read_text(encoding="utf-8")
    return _vrplib(path, text) if path.suffix == ".vrp" else _solomon(path, text)


def read_solution(path: Path) -> tuple[list[list[int]], float]:
    """Routes of customer numbers, and the cost the file states."""
    routes: list[list[int]] = []
    cost: float | None = None
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.strip().lower().startswith("route"):
            routes.append([int(word) for word in line.split(":", 1)[1].split()])
        elif line.strip().lower().startswith("cost"):
            cost = float(line.split()[1])
    if cost is None or not routes:
        raise FileError(f"{path.name}: routes or cost missing")
    return routes, cost


def read_best_known(path: Path) -> dict[str, float]:
    with path.open(encoding="utf-8", newline="") as file:
        return {row["instance"]: float(row["bks_cost_in_file"]) for row in csv.DictReader(file)}


def to_problem(instance: Instance) -> Problem:
    """One metre and one second for each unit of the file times `scale`; a plan's metres are then
    the cost the best-known solutions are compared by."""
    scale = instance.scale
    grid = list(_distances(instance))
    depot, *customers = instance.customers
    due = LATEST_TIME if depot.due is None else depot.due * scale
    return Problem(
        depots=(Depot("depot", 0),),
        vehicles=tuple(
            Vehicle(
                id=f"v{number}",
                start="depot",
                end="depot",
                capacity=(instance.capacity,),
                shift=(depot.ready * scale, due),
                cost_per_km=1000,
            )
            for number in range(1, _fleet(instance) + 1)
        ),
        stops=tuple(
            Stop(
                id=str(c.number),
                place=place,
                demand=(c.demand,),
                windows=() if c.due is None else ((c.ready * scale, c.due * scale),),
                service=c.service * scale,
            )
            for place, c in enumerate(customers, 1)
        ),
        travel=TravelMatrix(grid, grid),
        dimensions=("units",),
    )


def _fleet(instance: Instance) -> int:
    """Set X leaves the number of vehicles open: a quarter more than the load needs, and two."""
    if instance.vehicles is not None:
        return instance.vehicles
    load = sum(c.demand for c in instance.customers)
    return math.ceil(1.25 * load / instance.capacity) + 2


def _distances(instance: Instance) -> Iterator[list[int]]:
    pool: dict[int, int] = {}
    for a in instance.customers:
        row = []
        for b in instance.customers:
            length = math.hypot(a.x - b.x, a.y - b.y)
            units = int(length * 10) if instance.family == "solomon" else int(length + 0.5)
            row.append(pool.setdefault(units, units))
        yield row


_SOLOMON = re.compile(r"^(R|C|RC)\d{3}(\.\d+)?\.txt$", re.IGNORECASE)


def _solomon(path: Path, text: str) -> Instance:
    rows = [line.split() for line in text.splitlines()]
    numbers = [[int(word) for word in row] for row in rows if row and _all_numbers(row)]
    fleet = [row for row in numbers if len(row) == 2]
    places = [row for row in numbers if len(row) == 7]
    if len(fleet) != 1 or len(places) < 2 or places[0][0] != 0:
        raise FileError(f"{path.name}: not in Solomon's format")
    customers = (Customer(n, x, y, q, ready, due, s) for n, x, y, q, ready, due, s in places)
    return Instance(path.stem, "solomon", fleet[0][1], fleet[0][0], tuple(customers))


def _all_numbers(words: list[str]) -> bool:
    return all(word.isdigit() for word in words)


def _vrplib(path: Path, text: str) -> Instance:
    fields: dict[str, str] = {}
    sections: dict[str, list[list[str]]] = {}
    current: list[list[str]] | None = None
    for line in text.splitlines():
        words = line.split()
        if not words or words == ["EOF"]:
            continue
        if words[0].endswith("_SECTION"):
            current = sections.setdefault(words[0], [])
        elif ":" in line and current is None:
            key, value = line.split(":", 1)
            fields[key.strip()] = value.strip()
        elif current is not None:
            current.append(words)
    if fields.get("EDGE_WEIGHT_TYPE") != "EUC_2D" or sections.get("DEPOT_SECTION") != [
        ["1"],
        ["-1"],
    ]:
        raise FileError(f"{path.name}: only EUC_2D with node 1 as the depot is read")
    demand = {int(node): int(amount) for node, amount in sections["DEMAND_SECTION"]}
    customers = tuple(
        Customer(int(node) - 1, float(x), float(y), demand[int(node)])
        for node, x, y in sections["NODE_COORD_SECTION"]
    )
    return Instance(path.stem, "x", int(fields["CAPACITY"]), None, customers)
