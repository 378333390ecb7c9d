"""The benchmark's own arithmetic, and its result on a few items of the real year."""

import json
from pathlib import Path

import pytest

from benchmarks import demand, demand_fixed, demand_year
from servers.inventory.classes import Policy
from tests.support import data


@pytest.fixture(scope="module")
def items() -> dict[str, list[int | None]]:
    return demand.load(data("demand", demand.FILE_NAME))


def test_replay_by_hand():
    # Stock 5, demand 2 a day, lead time 1: an order of the evening of day 0 is there on day 2.
    def order_once(history: list[int | None], on_hand: int, on_order: int) -> int:
        return 4 if len(history) == 1 else 0

    outcome = demand_year.replay([2, 2, 2, 2, 2], 0, 5, 5, 1, order_once)
    # Evenings: 3, 1, 1 + 4 - 2 = 3, 1, 0 with one of two served.
    assert (outcome.demand, outcome.filled) == (10, 9)
    assert outcome.stock_days == 3 + 1 + 3 + 1 + 0
    assert outcome.orders == 1


def test_replay_does_not_count_its_run_in():
    outcome = demand_year.replay([5] * 28 + [1, 1], 28, 30, 200, 1, lambda *_: 0)
    assert (outcome.demand, outcome.filled, outcome.days) == (2, 2, 2)
    assert outcome.stock_days == 59 + 58


def test_seasonal_naive_steps_over_a_closed_day():
    history: list[int | None] = [1, 2, 3, 4, 5, 6, 7, 8, 9, None, 11, 12, 13, 14]
    assert demand.seasonal_naive(history) == [8, 9, 3, 11, 12, 13, 14]
    assert demand.naive_error([1, 2, 3, 4, 5, 6, 7, 4, None]) == 3.0


def test_fixed_point_is_the_smallest_that_fills_the_target():
    history: list[int | None] = [3] * 120
    # Ordered in the evening at 9, three days sell 9, and the order is there on the fourth morning.
    assert demand_fixed.quarter_point(history, Policy(3), 1.0) == 9


def test_textbook_points_by_hand():
    # 2 and 4 in turn: mean 3, deviation 1; any four days on end sell 12.
    history: list[int | None] = [2, 4] * 60
    assert demand_fixed.daily_point(history, 4, 1.5, 90) == 12 + 3
    assert demand_fixed.windows_point(history, 4, 1.5) == 12
    assert set(demand_fixed.windows(history, 3)) == {8, 10}
    assert len(demand_fixed.windows(history, 3)) == 89


def test_no_fixed_rule_looks_past_the_quarter():
    calm: list[int | None] = [2, 4, 3] * 40
    later = calm[:91] + [900] * 29
    known, blind = (
        demand_fixed.rules({"item": history}, Policy(3), 0.97) for history in (later, calm)
    )
    assert known == blind


def test_the_year_is_read_whole(items: dict[str, list[int | None]]):
    assert len(items) == 50
    assert {len(history) for history in items.values()} == {365}
    christmas = 358
    assert all(history[christmas] is None for history in items.values())
    assert sum(units is None for units in items["1082185"]) == 1


def test_forecasts_beat_the_moving_average(items: dict[str, list[int | None]]):
    measured = demand.measure_forecasts(dict(list(items.items())[10:22]))
    for kind in ("smooth", "erratic"):
        row = measured[kind]
        assert row["mase_ours"] < row["mase_moving_average_28"] < row["mase_seasonal_naive"]
        assert row["mase_ours"] < 1


def test_replay_fills_more_than_the_tuned_point(items: dict[str, list[int | None]]):
    few = dict(list(items.items())[::5])
    measured = demand.measure_replay(few, 7, 0.97)
    ours, scaled = measured["ours"], measured["fixed_filling_as_ours"]
    assert ours["fill_rate"] >= 0.97
    assert ours["fill_rate"] > measured["fixed"]["fill_rate"]
    assert scaled["fill_rate"] >= ours["fill_rate"]
    assert ours["average_stock"] < scaled["average_stock"]
    for rule in measured["fixed_by_rule"].values():
        assert rule["as_is"]["fill_rate"] < 0.97
        assert rule["scaled_to_target"]["fill_rate"] >= 0.97
        assert rule["scaled_to_target"]["average_stock"] > ours["average_stock"]


def test_command_prints_json(
    items: dict[str, list[int | None]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    with data("demand", demand.FILE_NAME).open(encoding="utf-8") as source:
        lines = source.readlines()
    kept = [line for line in lines[1:] if line.split(",")[0] in {"826249", "834484"}]
    (tmp_path / demand.FILE_NAME).write_text("".join([lines[0], *kept]), encoding="utf-8")
    assert demand.main(["--data", str(tmp_path), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["replay"]["ours"]["items"] == 2
    assert demand.report(result).count("\n") > 8


def test_command_names_the_file_it_missed(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        demand.main(["--data", str(tmp_path)])
    assert str(tmp_path / demand.FILE_NAME) in capsys.readouterr().err
