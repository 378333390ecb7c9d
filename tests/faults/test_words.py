"""A storm is explained by what its servers said, or it is wrong."""

import json
from pathlib import Path
from random import Random

import pytest

from tests.faults import words
from tests.faults.callers import Book
from tests.faults.floor import chosen
from tests.faults.history import History
from tests.faults.steps import FAILPOINT


def line(message: str, *exceptions: str) -> str:
    found = {"level": "error", "message": message}
    if exceptions:
        found["exception"] = "Traceback (most recent call last):\n  …\n" + "\n".join(exceptions)
    return json.dumps(found) + "\n"


@pytest.mark.parametrize(("told", "explained"), [(1, False), (2, True), (3, True)])
def test_only_a_state_that_was_too_new_is_expected(
    tmp_path: Path, told: int, explained: bool
) -> None:
    book = Book(History(tmp_path / "history.jsonl"))
    for mark in ("caller-1-000001", "caller-1-000002"):
        intent = book.intents[mark] = chosen(Random(1), mark)
        intent.failed += ["busy", words.STATE_REFUSED]
    other = line("requestState rejected on tools/call: principal")
    (tmp_path / "server-0.log").write_text(line(words.TOO_NEW) + other)
    (tmp_path / "server-1.log").write_text(line(words.TOO_NEW) * (told - 1))
    assert words.too_new(book, tmp_path) is explained


def test_a_crash_is_by_a_failpoint_or_counts(tmp_path: Path) -> None:
    (tmp_path / "server-0.log").write_text(
        line("orders.place_order crashed", f"RuntimeError: {FAILPOINT}")
        + line("orders.place_order crashed", f"RuntimeError: {FAILPOINT}", "", "KeyError: 'x'")
        + line("the outbox failed; it will be tried again", "OSError: gone")
        + '{"level": "error", "mess'
    )
    (tmp_path / "server-1.log").write_text(
        line("POST /orders/mcp crashed", "KeyError: 'x'") + line("POST /orders/mcp crashed") * 2
    )
    assert words.crashes(tmp_path) == {
        "orders.place_order crashed: KeyError: 'x'": 1,
        "POST /orders/mcp crashed: KeyError: 'x'": 1,
        "POST /orders/mcp crashed: ": 2,
    }
