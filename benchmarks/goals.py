"""What is to be reached, found again in the tables that the measurements print."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

Row = Mapping[str, str]
Tables = Mapping[str, list[Row]]
"""Rows by the module that printed them, columns by their heading."""


@dataclass(frozen=True)
class Goal:
    """``most``: the figure may be no larger; else no smaller."""

    what: str
    limit: float
    most: bool
    find: Callable[[Tables], float | None]

    def line(self, tables: Tables) -> str:
        figure = self.find(tables)
        bound = f"{'≤' if self.most else '≥'} {self.limit:g}"
        if figure is None:
            return f"| {self.what} | not measured | {bound} | |"
        reached = figure <= self.limit if self.most else figure >= self.limit
        return f"| {self.what} | {figure:.2f} | {bound} | {'yes' if reached else 'no'} |"


def rows(printed: str) -> list[Row]:
    """Every line of every Markdown table, by the heading above it."""
    found: list[Row] = []
    heading: list[str] = []
    before: list[str] = []
    for line in printed.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if not line.startswith("|"):
            heading = []
        elif set(line) <= set("|- :"):
            heading = before
            continue
        elif heading:
            found.append(dict(zip(heading, cells, strict=False)))
        before = cells
    return found


def table(tables: Tables) -> str:
    """Goal beside figure."""
    lines = ["| | figure | goal | reached |", "| --- | --- | --- | --- |"]
    return "\n".join([*lines, *(goal.line(tables) for goal in GOALS)])


def _number(text: str) -> float:
    return float(text.replace(",", "").rstrip("%"))


def _first(tables: Tables, part: str, column: str, **wanted: str) -> float | None:
    for row in tables.get(part, ()):
        if column in row and all(row.get(name) == value for name, value in wanted.items()):
            return _number(row[column])
    return None


def _call(call: str, database: str) -> Callable[[Tables], float | None]:
    return lambda tables: _first(
        tables, "calls", "ratio", call=call, database=database, workers="1", connections="16"
    )


def _workers(tables: Tables) -> float | None:
    one, two = (
        _first(tables, "calls", "calls/s", call="read", database="sqlite", workers=n,
               connections="16")
        for n in "12"
    )  # fmt: skip
    return two / one if one and two else None


def _grown(tables: Tables) -> float | None:
    measured = tables.get("growth", [])
    largest = max((_number(row["orders"]) for row in measured), default=0)
    return _worst(_number(r["ratio"]) for r in measured if _number(r["orders"]) == largest)


def _worst(figures: Iterable[float]) -> float | None:
    return max(figures, default=None)


def _column(part: str, column: str, **wanted: str) -> Callable[[Tables], float | None]:
    return lambda tables: _first(tables, part, column, **wanted)


def _largest_list(column: str) -> Callable[[Tables], float | None]:
    return lambda tables: _worst(_number(row[column]) for row in tables.get("tools", []))


_AGAIN: Final = "all seven servers, again"
GOALS: Final = (
    Goal("read call, SQLite, to the bare SDK", 0.55, False, _call("read", "sqlite")),
    Goal("read call, PostgreSQL", 0.40, False, _call("read", "postgresql")),
    Goal("write call, SQLite", 0.35, False, _call("write", "sqlite")),
    Goal("write call, PostgreSQL", 0.25, False, _call("write", "postgresql")),
    Goal("two workers, reads, times one", 1.7, False, _workers),
    Goal("most orders against fewest, the slowest call", 1.2, True, _grown),
    Goal("audit, part of write throughput", 0.35, True, _column("audit", "cost", kind="64 chains")),
    Goal("audit, p99, times without", 2.0, True, _column("audit", "p99 ratio", kind="64 chains")),
    Goal("seven servers over stdio, times the bare SDK", 1.15, True,
         _column("startup", "ratio", **{"started at once": _AGAIN})),
    Goal("memory of each, times the bare SDK", 1.4, True,
         _column("startup", "MB ratio", **{"started at once": _AGAIN})),
    Goal("tokens a model is shown, largest server", 6_000, True,
         _largest_list("what a model is shown")),
    Goal("tokens of the whole list, largest server", 12_000, True,
         _largest_list("the whole list")),
)  # fmt: skip
