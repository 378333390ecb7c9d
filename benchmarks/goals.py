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


def _times_ok(*calls: str) -> Callable[[Tables], float | None]:
    """What the dearest of the calls costs, on either database, times a read that succeeds."""

    def find(tables: Tables) -> float | None:
        found: list[float] = []
        for database in ("sqlite", "postgresql"):
            ok, *others = (_call(name, database)(tables) for name in ("read", *calls))
            found += [ok / other for other in others if ok and other]
        return _worst(found)

    return find


def _two_workers(column: str, *calls: str) -> Callable[[Tables], list[float]]:
    """A column of calls on two workers and one SQLite file."""
    return lambda tables: [
        _number(row[column])
        for row in tables.get("calls", [])
        if row.get("database") == "sqlite" and row["workers"] == "2" and row["call"] in calls
        and row["connections"] == "16"
    ]  # fmt: skip


def _alone(tables: Tables) -> float | None:
    """The slowest median of one connection, for any number of workers."""
    return _worst(
        _number(row["p50 ms"])
        for row in tables.get("calls", [])
        if row.get("connections") == "1" and row["call"] in ("read", "write")
    )


def _deep(tables: Tables) -> float | None:
    """A page near the end, times the first, at the largest size."""
    first, deep = (
        [_number(row["ms"]) for row in tables.get("growth", []) if row["call"] == call]
        for call in ("search_orders, first page", "search_orders, page at 99 %")
    )
    return deep[-1] / first[-1] if first and deep else None


def _grown(tables: Tables) -> float | None:
    measured = tables.get("growth", [])
    largest = max((_number(row["orders"]) for row in measured), default=0)
    return _worst(_number(r["ratio"]) for r in measured if _number(r["orders"]) == largest)


def _worst(figures: Iterable[float]) -> float | None:
    return max(figures, default=None)


def _least(figures: Iterable[float]) -> float | None:
    return min(figures, default=None)


def _column(part: str, column: str, **wanted: str) -> Callable[[Tables], float | None]:
    return lambda tables: _first(tables, part, column, **wanted)


def _largest_list(column: str) -> Callable[[Tables], float | None]:
    return lambda tables: _worst(
        _number(row[column]) for row in tables.get("tools", []) if column in row
    )


_FIRST, _AGAIN = "all seven servers, first in a home", "all seven servers, again"
GOALS: Final = (
    Goal("read call, SQLite, to the bare SDK", 0.55, False, _call("read", "sqlite")),
    Goal("read call, PostgreSQL", 0.40, False, _call("read", "postgresql")),
    Goal("write call, SQLite", 0.35, False, _call("write", "sqlite")),
    Goal("write call, PostgreSQL", 0.25, False, _call("write", "postgresql")),
    Goal("two workers, reads, times one", 1.7, False,
         _column("calls", "reads/s", **{"two workers, times one": "ours"})),
    Goal("two workers, one SQLite file, reads to the bare SDK's two", 0.6, False,
         lambda tables: _least(_two_workers("ratio", "read")(tables))),
    Goal("two workers, one SQLite file, p99 of reads and writes, ms", 40, True,
         lambda tables: _worst(_two_workers("p99 ms", "read", "write")(tables))),
    Goal("one connection, any number of workers, p50, ms", 5, True, _alone),
    Goal("a caller's mistake, times a call that succeeds", 1.2, True,
         _times_ok("mistake, wrong type", "mistake, no such item")),
    Goal("our bug, times a call that succeeds", 3.0, True, _times_ok("our bug")),
    Goal("call over stdio, to the bare SDK, the slowest", 1.0, False,
         lambda tables: _least(_number(row["ratio"]) for row in tables.get("stdio", []))),
    Goal("page at 99 %, times page one", 1.2, True, _deep),
    Goal("most orders against fewest, the slowest call", 1.2, True, _grown),
    Goal("audit, part of write throughput", 0.35, True, _column("audit", "cost", kind="64 chains")),
    Goal("audit, p99, times without", 2.0, True, _column("audit", "p99 ratio", kind="64 chains")),
    Goal("seven servers over stdio, first in a home, times the bare SDK", 1.15, True,
         _column("startup", "ratio", **{"started at once": _FIRST})),
    Goal("seven servers over stdio, from then on", 1.15, True,
         _column("startup", "ratio", **{"started at once": _AGAIN})),
    Goal("memory of each, times the bare SDK", 1.4, True,
         _column("startup", "MB ratio", **{"started at once": _AGAIN})),
    Goal("memory of each once it was called, times the bare SDK", 1.4, True,
         _column("startup", "called ratio", **{"started at once": _AGAIN})),
    Goal("tokens a model is shown, largest server", 6_000, True,
         _largest_list("what a model is shown")),
    Goal("tokens a model is shown, largest tool", 250, True, _largest_list("largest tool")),
    Goal("tokens of the whole list, largest server", 12_000, True,
         _largest_list("the whole list")),
    Goal("text of a result, times the SDK's, the longest", 0.7, True,
         _largest_list("ratio")),
)  # fmt: skip
