"""The judge itself: sound histories pass, each planted anomaly is found."""

import pytest

from tests.faults.cycles import Transaction, anomalies


def did(
    name: str, began: float, ended: float | None = None, *, x: str = "", y: str = "", **reads: str
) -> Transaction:
    """``x="a"`` appends a to x; ``rx="ab"`` read x as [a, b]."""
    appends = {key: element for key, element in (("x", x), ("y", y)) if element}
    seen = {key[1:]: tuple(value) for key, value in reads.items()}
    return Transaction(name, began, ended, appends, seen)


SOUND = [
    did("one", 0, 1, x="a", rx="a"),
    did("two", 0, 2, x="b", rx="ab"),
    did("lost", 1, None, x="c"),
    did("three", 2, 4, y="d", ry="d"),
    did("four", 3, 5, rx="abc", ry=""),
    did("five", 5, 6, rx="abc", ry="d"),
]
LONG_FORK = [
    did("one", 0, 9, x="a"),
    did("two", 0, 9, y="b"),
    did("three", 0, 9, rx="a", ry=""),
    did("four", 0, 9, rx="", ry="b"),
    did("five", 0, 9, rx="a", ry="b"),
]
SKEW = [
    did("one", 0, 9, x="a", ry=""),
    did("two", 0, 9, y="b", rx=""),
    did("three", 0, 9, rx="a", ry="b"),
]
FRACTURED = [
    did("one", 0, 9, x="a", y="b"),
    did("two", 0, 9, rx="a", ry=""),
    did("three", 0, 9, rx="a", ry="b"),
]
STALE = [did("one", 0, 1, x="a"), did("two", 2, 3, rx=""), did("three", 4, 5, rx="a")]
LOST = [did("one", 0, 1, x="a", rx="a"), did("two", 0, 1, x="b", rx="b")]
TWICE = [did("one", 0, 1, x="a"), did("two", 0, 1, x="a")]
FROM_NOWHERE = [did("one", 0, 1, rx="a")]


def test_a_sound_history_has_no_anomaly() -> None:
    assert anomalies(SOUND) == []


@pytest.mark.parametrize(
    ("history", "what"),
    [
        (LONG_FORK, "cycle"),
        (SKEW, "cycle"),
        (FRACTURED, "cycle"),
        (STALE, "cycle"),
        (LOST, "another order"),
        (TWICE, "appended twice"),
        (FROM_NOWHERE, "never written"),
    ],
    ids=["long fork", "write skew", "fractured read", "stale read", "lost", "twice", "nowhere"],
)
def test_a_planted_anomaly_is_found(history: list[Transaction], what: str) -> None:
    found = anomalies(history)
    assert found
    assert what in found[0]
