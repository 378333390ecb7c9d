"""Every goal finds its figure in what the measurements print."""

import pytest

from benchmarks import calls, goals


def line(call: str, workers: int, connections: int, ratio: float, **more: float) -> str:
    row = {"rate": 100.0, "p50": 1.0, "p99": 9.0} | more
    return calls._line(
        calls.Row(
            call, "sqlite", workers, connections, ratio=ratio, cpu=ratio, rate=row["rate"],
            floor_rate=200.0, p50=row["p50"], p99=row["p99"], floor_p50=1.0, failed=0,
        )
    )  # fmt: skip


PRINTED = {
    "calls": "\n".join([
        calls.HEAD,
        line("read", 1, 1, 0.5, p50=4.0), line("read", 1, 16, 0.6), line("write", 1, 16, 0.4),
        line("read", 2, 1, 0.5, p50=44.0), line("write", 2, 1, 0.5, p50=2.0),
        line("read", 2, 16, 0.7, rate=180.0, p99=30.0), line("write", 2, 16, 0.3, p99=50.0),
        line("read", 2, 64, 0.1, p99=900.0),
        line("mistake, wrong type", 1, 16, 0.8), line("mistake, no such item", 1, 16, 0.5),
        line("our bug", 1, 16, 0.15),
        calls.WORKERS_HEAD, "| ours | 1.80 | 1.70 | 1.90 |",
        "| the bare SDK | 1.50 | 1.40 | 1.60 |",
    ]),
    "growth": """
| call | orders | ms | ratio |
| --- | --- | --- | --- |
| search_orders, first page | 10,000 | 9.00 | 1.00 |
| search_orders, page at 99 % | 10,000 | 1.00 | 1.00 |
| search_orders, first page | 100,000 | 2.00 | 0.22 |
| search_orders, page at 99 % | 100,000 | 5.00 | 5.00 |
""",
    "stdio": """
| protocol | in flight | ratio | of cpu time | calls/s | bare/s | p50 ms |
| --- | --- | --- | --- | --- | --- | --- |
| 2025-11-25 | 1 | 1.20 | 1.00 | 9 | 9 | 1.00 |
| 2026-07-28 | 1 | 0.90 | 1.00 | 9 | 9 | 1.00 |
""",
    "tools": """
| server | tools | what a model is shown | largest tool | the whole list |
| --- | --- | --- | --- | --- |
| inventory | 25 | 5,261 | 430 | 10,974 |
| logistics | 24 | 4,948 | 210 | 11,713 |

| result | tokens | by the SDK itself | ratio |
| --- | --- | --- | --- |
| search_orders | 60 | 100 | 0.60 |
| get_order | 80 | 100 | 0.80 |
""",
}  # fmt: skip


@pytest.mark.parametrize(
    ("what", "figure"),
    [
        ("read call, SQLite, to the bare SDK", "0.60 | ≥ 0.55 | yes"),
        ("two workers, reads, times one", "1.80 | ≥ 1.7 | yes"),
        ("two workers, one SQLite file, reads to the bare SDK's two", "0.70 | ≥ 0.6 | yes"),
        ("two workers, one SQLite file, p99 of reads and writes, ms", "50.00 | ≤ 40 | no"),
        ("one connection, any number of workers, p50, ms", "44.00 | ≤ 5 | no"),
        ("a caller's mistake, times a call that succeeds", "1.20 | ≤ 1.2 | yes"),
        ("our bug, times a call that succeeds", "4.00 | ≤ 3 | no"),
        ("call over stdio, to the bare SDK, the slowest", "0.90 | ≥ 1 | no"),
        ("page at 99 %, times page one", "2.50 | ≤ 1.2 | no"),
        ("most orders against fewest, the slowest call", "5.00 | ≤ 1.2 | no"),
        ("tokens a model is shown, largest server", "5261.00 | ≤ 6000 | yes"),
        ("tokens a model is shown, largest tool", "430.00 | ≤ 250 | no"),
        ("tokens of the whole list, largest server", "11713.00 | ≤ 12000 | yes"),
        ("text of a result, times the SDK's, the longest", "0.80 | ≤ 0.7 | no"),
        ("read call, PostgreSQL", "not measured | ≥ 0.4 |"),
    ],
)
def test_a_goal_beside_its_figure(what: str, figure: str) -> None:
    tables = {part: goals.rows(printed) for part, printed in PRINTED.items()}
    (line,) = (line for line in goals.table(tables).splitlines() if line.startswith(f"| {what} |"))
    assert line.removeprefix(f"| {what} | ").removesuffix(" |") == figure


def test_a_goal_without_a_measurement_is_not_reached() -> None:
    assert goals.table({}).count("not measured") == len(goals.GOALS)
