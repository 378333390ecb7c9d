"""How much of the tables a query looks at: no matter of time, so a busy machine changes nothing."""

from collections.abc import Callable
from typing import Any, Final

from sqlalchemy import Connection, event
from sqlalchemy.engine.interfaces import ExecutionContext
from sqlalchemy.orm import Session

# What SQLite's machine does to look at a row, at the least.
STEPS: Final = 8


def visited(connection: Connection, work: Callable[[Session], object]) -> int:
    """About how many rows and index entries the statements of ``work`` look at."""
    if connection.dialect.name == "sqlite":
        return _steps(connection, work) // STEPS
    said: list[tuple[str, Any]] = []

    def note(_: Any, __: Any, statement: str, given: Any, ___: ExecutionContext, ____: Any) -> None:
        said.append((statement, given))

    event.listen(connection, "before_cursor_execute", note)
    with Session(connection) as session:
        work(session)
    event.remove(connection, "before_cursor_execute", note)
    explain = "EXPLAIN (ANALYZE, FORMAT JSON) "
    plans = [connection.exec_driver_sql(explain + text, given).scalar() for text, given in said]
    return sum(_rows(plan[0]["Plan"]) for plan in plans if isinstance(plan, list))


def _steps(connection: Connection, work: Callable[[Session], object]) -> int:
    driver: Any = connection.connection.driver_connection
    steps = 0

    def step() -> int:
        nonlocal steps
        steps += 1
        return 0

    driver.set_progress_handler(step, 1)
    with Session(connection) as session:
        work(session)
    driver.set_progress_handler(None, 1)
    return steps


def _rows(node: dict[str, Any]) -> int:
    mine = 0
    if "Scan" in node["Node Type"]:
        kept = node["Actual Rows"] + node.get("Rows Removed by Filter", 0)
        mine = int((kept + node.get("Rows Removed by Index Recheck", 0)) * node["Actual Loops"])
    return mine + sum(_rows(part) for part in node.get("Plans", ()))
