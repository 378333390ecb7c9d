"""Golden values are worked out by hand in the comments beside them."""

from dataclasses import fields
from statistics import fmean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import InvalidParameters
from servers.inventory.classes import (
    DemandClass,
    abc_classes,
    average_demand_interval,
    demand_class,
    is_spike,
    squared_variation,
    xyz_class,
)
from servers.inventory.forecasting import (
    Method,
    croston,
    exponential_smoothing,
    forecast,
    moving_average,
    robust_smoothing,
    teunter_syntetos_babai,
    weekday_profile,
    window_errors,
)

SPARSE = [0, 0, 3, 0, 2]
HISTORIES = st.lists(st.none() | st.integers(0, 500), max_size=120)


@pytest.mark.parametrize(
    ("history", "expected"),
    [
        ([5, 6, 5, 6] * 10, DemandClass.SMOOTH),
        ([1, 1, 1, 30] * 10, DemandClass.ERRATIC),  # sizes: mean 8.25, sd 12.56, CV² 2.32
        ([0, 0, 3, 0, 3] * 10, DemandClass.INTERMITTENT),
        ([0, 0, 1, 0, 30] * 10, DemandClass.LUMPY),
        ([0, 0, None], DemandClass.NO_DEMAND),
        ([], DemandClass.NO_DEMAND),
    ],
)
def test_demand_class(history: list[int | None], expected: DemandClass):
    assert demand_class(history) is expected


def test_class_limits_belong_to_the_upper_class():
    # 132 days, 100 of them selling: ADI exactly 1.32. Sizes 3 and 17: mean 10, sd 7, CV² 0.49.
    assert average_demand_interval([5] * 100 + [0] * 32) == 1.32
    assert demand_class([5] * 100 + [0] * 32) is DemandClass.INTERMITTENT
    assert demand_class([5] * 100 + [0] * 31) is DemandClass.SMOOTH
    assert squared_variation([3, 17]) == pytest.approx(0.49)


def test_unobserved_days_count_nowhere():
    assert average_demand_interval([2, None, None, 2]) == 1.0
    assert average_demand_interval([2, 0, 0, 2]) == 2.0


def test_moving_average_forgets_and_skips_unobserved_days():
    assert moving_average([2, 4, None, 9], days=2) == [0.0, 2.0, 3.0, 4.0, 9.0]


def test_exponential_smoothing():
    # 10, then 10 + 0.5 (20 - 10) = 15, unobserved 15, 15 + 0.5 (5 - 15) = 10.
    assert exponential_smoothing([10, 20, None, 5], 0.5) == [10, 10, 15, 15, 10]


def test_croston_and_sba():
    # Sizes 3, 2 and intervals 3, 2, smoothed with 0.1: 2.9 / 2.9 = 1; SBA takes 5 % off.
    assert croston(SPARSE, 0.1)[-1] == pytest.approx(1.0)
    assert croston(SPARSE, 0.1, sba=True)[-1] == pytest.approx(0.95)


def test_tsb():
    # Chances 0, 0, 0.1, 0.09, 0.181; sizes 3 then 2.9: 0.181 * 2.9.
    assert teunter_syntetos_babai(SPARSE, 0.1)[-1] == pytest.approx(0.5249)


def test_tsb_fades_when_an_item_dies_and_croston_does_not():
    dead = [0, 0, 4] * 20 + [0] * 60
    assert croston(dead, 0.1)[-1] == pytest.approx(4 / 3)
    assert teunter_syntetos_babai(dead, 0.1)[-1] < 0.01


def test_weekday_profile_is_pulled_to_one_by_four_average_weeks():
    # Four weeks of six days 6 and one day 20: mean 8. Factors (4*6 + 4*8) / (8*8) = 0.875 and 1.75.
    profile = weekday_profile([6, 6, 6, 6, 6, 6, 20] * 4)
    assert profile == pytest.approx((0.875,) * 6 + (1.75,))
    assert fmean(profile) == pytest.approx(1.0)


def test_a_promotion_hardly_moves_the_robust_level_and_a_lasting_change_does():
    usual = [float(9 + day % 3) for day in range(60)]
    peak = [*usual, 200.0]
    assert exponential_smoothing(peak, 0.05)[-1] > 19
    assert robust_smoothing(peak, 0.05)[-1] < 10.3
    assert robust_smoothing([*usual, *[20.0] * 60], 0.05)[-1] > 17


def test_robust_smoothing_by_hand():
    # The first 28 days, 8 and 12 in turn, start the level at 10 and the spread at 2. With alpha 1
    # the level follows 8, then errs by 4 with spread 2, within the limit of 4, and reaches 12.
    # From then on the spread is 4; the 40 errs by 28, counts as 8 and lifts the level to 20.
    levels = robust_smoothing([*[8.0, 12.0] * 14, 40.0], 1.0)
    assert levels[:3] == [10.0, 8.0, 12.0]
    assert levels[-1] == 20.0


def test_window_errors_leave_closed_days_out_of_both_sides():
    history: list[int | None] = [5] * 30
    history[29] = None
    errors = window_errors(history, [4.0] * 31, (1.0,) * 7, 2)
    assert errors == [1.0]  # One window after 28 days: sold 5, expected 4 on its one open day.


def test_a_steady_week_is_forecast_exactly():
    history = [4, 5, 6, 5, 4, 9, 9] * 20
    result = forecast(history, 14)
    assert result.method is Method.WEEKDAY_PROFILE
    assert result.demand_class is DemandClass.SMOOTH
    assert result.expected_units == 84
    assert result.horizon_days == 14
    assert result.low_units <= 84 <= result.high_units
    assert result.milliunits[5] > 8000 > 4500 > result.milliunits[0]


def test_a_closed_day_ahead_sells_nothing():
    history = [7] * 70
    assert forecast(history, 7).expected_units == 49
    closed = forecast(history, 7, closed=[2])
    assert closed.milliunits[2] == 0
    assert closed.expected_units == 42


def test_closed_days_in_the_past_do_not_lower_the_forecast():
    history: list[int | None] = [None if day % 7 == 6 else 10 for day in range(140)]
    assert forecast(history, 6).expected_units == 60


def test_peaks_raise_the_mean_above_ordinary_days():
    history = [40 if day % 10 == 9 else 5 for day in range(200)]
    result = forecast(history, 10)
    assert sum(result.milliunits) < 80_000 <= result.expected_milliunits < 92_000
    assert "promotions and other peaks add" in result.explanation


def test_method_by_class_and_length():
    assert forecast([5] * 27, 7).method is Method.MOVING_AVERAGE
    assert forecast([5] * 28, 7).method is Method.WEEKDAY_PROFILE
    assert forecast([0, 0, 3, 0, 3] * 20, 7).method is Method.TSB
    assert forecast([0, 0, 1, 0, 30] * 20, 7).method is Method.SBA


def test_nothing_sold_or_nothing_known_is_zero():
    for history in ([], [0] * 50, [None] * 50):
        result = forecast(history, 7)
        assert (result.expected_units, result.low_units, result.high_units) == (0, 0, 0)
        assert result.method is Method.NONE
        assert "nothing was sold" in result.explanation


def test_a_short_history_has_a_normal_interval():
    result = forecast([8, 12] * 10, 4)  # Mean 10, sd 2 a day: 40 ± 1.645 * 2 * 2 = 33.4 to 46.6.
    assert result.expected_units == 40
    assert (result.low_units, result.high_units) == (33, 47)
    assert "normal approximation" in result.explanation


def test_the_empirical_interval_holds_about_its_share():
    values = [(day * 7919 % 101) // 5 for day in range(400)]
    held = 0
    for origin in range(200, 393):
        result = forecast(values[:origin], 7, coverage_percent=80)
        held += result.low_units <= sum(values[origin : origin + 7]) <= result.high_units
    assert 0.7 <= held / 193 <= 0.95


@pytest.mark.parametrize(
    ("history", "horizon", "coverage"),
    [([1, -1], 7, 90), ([1], 0, 90), ([1], 367, 90), ([1], 7, 49), ([1] * 1097, 7, 90)],
)
def test_refuses_what_it_cannot_use(history: list[int | None], horizon: int, coverage: int):
    with pytest.raises(InvalidParameters):
        forecast(history, horizon, coverage_percent=coverage)


@given(HISTORIES, st.integers(1, 40), st.sampled_from([50, 80, 90, 99]))
@settings(derandomize=True, deadline=None, max_examples=150)
def test_any_history_gives_ordered_whole_numbers(
    history: list[int | None], horizon: int, coverage: int
):
    result = forecast(history, horizon, coverage_percent=coverage)
    assert 0 <= result.low_units <= result.high_units
    assert len(result.milliunits) == horizon
    assert min(result.milliunits) >= 0
    assert list(result.scenarios) == sorted(result.scenarios)
    assert result.scenarios[0] >= 0
    wider = forecast(history, horizon, coverage_percent=99)
    assert wider.low_units <= result.low_units <= result.high_units <= wider.high_units
    for item in fields(result):
        assert not isinstance(getattr(result, item.name), float)


def test_abc_by_value():
    values = {"a": 70, "b": 15, "c": 10, "d": 4, "e": 1, "f": 0}
    # Shares begin at 0, 70, 85, 95, 99 and 100 %.
    assert abc_classes(values) == {"a": "A", "b": "A", "c": "B", "d": "C", "e": "C", "f": "C"}
    assert abc_classes({"only": 5}) == {"only": "A"}
    assert abc_classes({"none": 0}) == {"none": "C"}


def test_xyz_by_variation():
    assert xyz_class([5, 15]) == "X"  # mean 10, sd 5: 0.5
    assert xyz_class([0, 10]) == "Y"  # mean 5, sd 5: 1.0
    assert xyz_class([0, 0, 9]) == "Z"  # mean 3, sd 4.24
    assert xyz_class([]) == "Z"


def test_spike_is_above_one_and_a_half():
    # 21 days of 2 and 7 of n: n against 1.5 (42 + 7n) / 28, equal at n = 3.6.
    assert not is_spike([2] * 21 + [3] * 7)
    assert is_spike([2] * 21 + [4] * 7)
    assert not is_spike([4] * 27)
    assert not is_spike([2] * 28)
    # 7-day mean 15, 28-day mean 10: the ratio is exactly 1.5, which is no spike.
    assert not is_spike([25] * 7 + [0] * 14 + [15] * 7)


def test_spike_without_one_order():
    days = [2] * 27 + [40]
    assert is_spike(days)
    assert not is_spike(days, without=38)
