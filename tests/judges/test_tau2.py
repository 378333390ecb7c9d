"""The tau2 judge itself: a slice of the real tasks and probes, and that it sees what is wrong."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from tests.judges.tau2.compare import differences, normal, with_after
from tests.judges.tau2.judge import judge
from tests.support import data

TASKS, PROBES = 8, 40


def lines(name: str) -> list[dict[str, Any]]:
    text = data(f"tau2-retail/{name}").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.split("\n") if line]


def spread(rows: list[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    """Evenly over the file, so that every kind of write is among them."""
    return [rows[index * len(rows) // count] for index in range(count)]


def quiet(_: str) -> None:
    """No progress bar."""


@pytest.mark.slow
async def test_a_slice_of_the_suite() -> None:
    db: Path = data("tau2-retail/db.json")
    tasks, probes = spread(lines("tasks_train.jsonl"), TASKS), spread(lines("probes.jsonl"), PROBES)
    result = await judge(db, tasks, probes, say=quiet)
    said = result.as_dict()
    assert result.round_trip == []
    assert said["tasks"]["equal"] == TASKS, said["differences"]
    assert said["probes"]["equal"] + said["probes"]["wanted_differences"] == PROBES
    assert said["tasks"]["collateral_changes"] == said["probes"]["collateral_changes"] == 0
    assert result.good


@pytest.mark.slow
async def test_a_wrong_expectation_is_seen() -> None:
    """A cent, an outcome and a record too many: each is named."""
    db: Path = data("tau2-retail/db.json")
    rows = [copy.deepcopy(t) for t in lines("tasks_train.jsonl") if t["after"].get("orders")]
    cent, outcome, other = rows[:3]
    order = next(iter(cent["after"]["orders"].values()))
    order["items"][0]["price"] += 0.01
    outcome["writes"][0]["ok"] = False
    other["after"]["orders"].popitem()
    result = await judge(db, [cent, outcome, other], [], say=quiet)
    assert not result.good
    assert [verdict.equal for verdict in result.tasks] == [False, False, False]
    assert ".price" in result.tasks[0].problems[0]
    assert result.tasks[1].writes_equal == result.tasks[1].writes - 1
    assert result.tasks[2].collateral > 0


def test_money_is_compared_in_cents_and_null_is_absent() -> None:
    ours = normal({"orders": {"1": {"amount": 0.05, "options": {"price": "x"}}}})
    theirs = normal(
        {"orders": {"1": {"amount": 0.04999999999999716, "options": {"price": "x"}, "gone": None}}}
    )
    assert ours == theirs
    assert normal({"amount": 0.06}) != normal({"amount": 0.05})


def test_differences_name_the_field() -> None:
    start = {"products": {}, "users": {"u": {"a": [1, {"b": 2}]}}, "orders": {}}
    want = with_after(start, {"users": {"u": {"a": [1, {"b": 3}]}}})
    found = differences(start, want)
    assert [str(each) for each in found] == ["users u.a[1].b: 2, expected 3"]
    assert differences(start, start) == []
