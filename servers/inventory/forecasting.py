"""Demand of one item at one site over the coming days, with an interval and its reasons.

A history is one entry a day, oldest first, in units; None is a day that says nothing about demand
(the shop was closed, or the shelf was empty). Weekdays are found by position, seven apart, so no
calendar is needed. Numbers leave this module as integers: units and thousandths of a unit.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from math import sqrt
from statistics import NormalDist, fmean, pstdev

from common.errors import InvalidParameters
from servers.inventory.classes import (
    DemandClass,
    average_demand_interval,
    demand_class,
    squared_variation,
)

MAX_HISTORY_DAYS = 1096
MAX_HORIZON_DAYS = 366
WEEK = 7
MOVING_DAYS = 28
PROFILE_WEEKS = 26
# Each weekday's factor is pulled to 1 as if four more average weeks had been seen.
PROFILE_PRIOR_WEEKS = 4
# 0.02 to 0.05 erred least in the first quarter of a year of grocery sales; 0.05 adapts soonest.
LEVEL_ALPHA = 0.05
INTERMITTENT_ALPHA = 0.1
# Errors beyond twice the usual one count as twice: Gelper, Fried and Croux (2010), k = 2.
ERROR_LIMIT = 2.0
MIN_WINDOWS = 30
NORMAL_SCENARIOS = 99


class Method(StrEnum):
    WEEKDAY_PROFILE = "weekday_profile_on_robust_level"
    MOVING_AVERAGE = "moving_average"
    TSB = "tsb"
    SBA = "sba"
    NONE = "none"


@dataclass(frozen=True)
class Forecast:
    """Demand over ``len(milliunits)`` days.

    ``milliunits`` is an ordinary day's demand, day by day. ``expected_units`` is the mean total and
    may exceed their sum, because promotions come on top. ``scenarios`` are equally likely totals
    in milliunits, ascending; ``low_units`` and ``high_units`` bound ``coverage_percent`` of them.
    """

    demand_class: DemandClass
    method: Method
    milliunits: tuple[int, ...]
    expected_units: int
    low_units: int
    high_units: int
    coverage_percent: int
    expected_milliunits: int
    daily_sd_milliunits: int
    observed_days: int
    explanation: str
    scenarios: tuple[int, ...] = field(repr=False)

    @property
    def horizon_days(self) -> int:
        return len(self.milliunits)


def forecast(
    history: Sequence[int | None],
    horizon_days: int,
    *,
    coverage_percent: int = 90,
    closed: Collection[int] = (),
) -> Forecast:
    """The method that suits the item's class, over the days after ``history``.

    ``closed`` holds the offsets (0 is the first day ahead) on which nothing can be sold.
    Raises InvalidParameters for negative units and for sizes outside the limits.
    """
    check_history(history, horizon_days, coverage_percent)
    kind = demand_class(history)
    method = method_for(kind, observed_days(history))
    shape, level_of = _MODELS[method](history)
    start = len(history)
    daily = [
        0.0 if offset in closed else level_of[start] * shape[(start + offset) % WEEK]
        for offset in range(horizon_days)
    ]
    open_days = sum(1 for offset in range(horizon_days) if offset not in closed)
    errors = window_errors(history, level_of, shape, horizon_days)
    sd = daily_sd(history, level_of, shape)
    base = sum(daily)
    if not open_days or method is Method.NONE:
        totals = [0.0]
    elif len(errors) >= MIN_WINDOWS:
        totals = [max(0.0, base + error * open_days / horizon_days) for error in errors]
    else:
        uplift = mean_error(history, level_of, shape)
        totals = normal_totals(base + uplift * open_days, sd * sqrt(open_days))
    scenarios = tuple(sorted(round(total * 1000) for total in totals))
    mean = round(fmean(scenarios))
    low, high = interval(scenarios, coverage_percent)
    return Forecast(
        demand_class=kind,
        method=method,
        milliunits=tuple(round(units * 1000) for units in daily),
        expected_units=round(mean / 1000),
        low_units=low,
        high_units=high,
        coverage_percent=coverage_percent,
        expected_milliunits=mean,
        daily_sd_milliunits=round(sd * 1000),
        observed_days=observed_days(history),
        explanation=explain(history, kind, method, base, mean, len(errors)),
        scenarios=scenarios,
    )


def method_for(kind: DemandClass, observed: int) -> Method:
    """Weekday profile for items that sell most days, TSB when they sell rarely (it fades when an
    item dies), SBA when rare sales also differ much in size, a plain mean for a short history."""
    if kind is DemandClass.NO_DEMAND:
        return Method.NONE
    if observed < MOVING_DAYS:
        return Method.MOVING_AVERAGE
    if kind is DemandClass.INTERMITTENT:
        return Method.TSB
    return Method.SBA if kind is DemandClass.LUMPY else Method.WEEKDAY_PROFILE


# Methods. Each returns n + 1 levels in units a day: entry t was known before day t was seen, the
# last is the forecast. A None leaves the level as it was.


def moving_average(history: Sequence[int | None], days: int = MOVING_DAYS) -> list[float]:
    """Mean of the observed days among the last ``days``; the level before is kept if none was."""
    levels = [0.0]
    total = count = 0
    for index, units in enumerate(history):
        gone = history[index - days] if index >= days else None
        total += (units or 0) - (gone or 0)
        count += (units is not None) - (gone is not None)
        levels.append(total / count if count else levels[-1])
    return levels


def exponential_smoothing(values: Sequence[float | None], alpha: float) -> list[float]:
    """SES started at the first observed value."""
    levels = [next((value for value in values if value is not None), 0.0)]
    for value in values:
        levels.append(levels[-1] if value is None else levels[-1] + alpha * (value - levels[-1]))
    return levels


def robust_smoothing(
    values: Sequence[float | None], alpha: float, limit: float = ERROR_LIMIT
) -> list[float]:
    """SES whose error is cut at ``limit`` times its smoothed absolute size.

    A promotion then moves the level little while a lasting change still moves it within weeks.
    Gelper, Fried and Croux (2010), Journal of Forecasting 29(3). Starts at the first 28 days' mean.
    """
    first = [value for value in values if value is not None][:MOVING_DAYS]
    level = fmean(first) if first else 0.0
    spread = fmean(abs(value - level) for value in first) if first else 0.0
    levels = [level]
    for value in values:
        if value is not None:
            error = value - level
            level += alpha * max(-limit * spread, min(limit * spread, error))
            spread += alpha * (abs(error) - spread)
        levels.append(level)
    return levels


def croston(history: Sequence[int | None], alpha: float, *, sba: bool = False) -> list[float]:
    """Croston (1972): smoothed size over smoothed interval; SBA multiplies by 1 - alpha / 2."""
    factor = 1 - alpha / 2 if sba else 1.0
    levels = [0.0]
    size = interval_days = 0.0
    waited = 0
    for units in history:
        if units is None:
            levels.append(levels[-1])
            continue
        waited += 1
        if units > 0:
            size = size + alpha * (units - size) if size else float(units)
            interval_days = (
                interval_days + alpha * (waited - interval_days) if interval_days else float(waited)
            )
            waited = 0
        levels.append(factor * size / interval_days if interval_days else 0.0)
    return levels


def teunter_syntetos_babai(history: Sequence[int | None], alpha: float) -> list[float]:
    """TSB (2011), EJOR 214(3): smoothed size times smoothed chance of a sale, updated every day."""
    chances = exponential_smoothing([None if u is None else float(u > 0) for u in history], alpha)
    sizes = exponential_smoothing([float(u) if u else None for u in history], alpha)
    return [chance * size for chance, size in zip(chances, sizes, strict=True)]


def weekday_profile(history: Sequence[int | None]) -> tuple[float, ...]:
    """Seven factors with mean 1, by position modulo 7, from the last 26 weeks."""
    start = max(0, len(history) - PROFILE_WEEKS * WEEK)
    sums, counts = [0] * WEEK, [0] * WEEK
    for index in range(start, len(history)):
        units = history[index]
        if units is not None:
            sums[index % WEEK] += units
            counts[index % WEEK] += 1
    mean = sum(sums) / max(1, sum(counts))
    if mean == 0:
        return (1.0,) * WEEK
    factors = [
        (total + PROFILE_PRIOR_WEEKS * mean) / ((count + PROFILE_PRIOR_WEEKS) * mean)
        for total, count in zip(sums, counts, strict=True)
    ]
    return tuple(factor * WEEK / sum(factors) for factor in factors)


_Model = tuple[tuple[float, ...], list[float]]
_FLAT = (1.0,) * WEEK


def _profiled(history: Sequence[int | None]) -> _Model:
    shape = weekday_profile(history)
    plain = [
        None if units is None else units / shape[index % WEEK]
        for index, units in enumerate(history)
    ]
    return shape, robust_smoothing(plain, LEVEL_ALPHA)


def _day_errors(
    history: Sequence[int | None], levels: Sequence[float], shape: Sequence[float]
) -> list[float]:
    """Actual less what was expected the evening before, after the first 28 days."""
    return [
        units - levels[index] * shape[index % WEEK]
        for index, units in enumerate(history)
        if index >= MOVING_DAYS and units is not None
    ]


_MODELS: dict[Method, Callable[[Sequence[int | None]], _Model]] = {
    Method.WEEKDAY_PROFILE: _profiled,
    Method.MOVING_AVERAGE: lambda history: (_FLAT, moving_average(history)),
    Method.TSB: lambda history: (_FLAT, teunter_syntetos_babai(history, INTERMITTENT_ALPHA)),
    Method.SBA: lambda history: (_FLAT, croston(history, INTERMITTENT_ALPHA, sba=True)),
    Method.NONE: lambda history: (_FLAT, [0.0] * (len(history) + 1)),
}


def window_errors(
    history: Sequence[int | None],
    levels: Sequence[float],
    shape: Sequence[float],
    horizon_days: int,
) -> list[float]:
    """For every past evening after the first 28 days: what the next ``horizon_days`` really sold
    less what was expected then, in units. The weekday shape is today's, so slightly optimistic."""
    sold, expected = [0.0], [0.0]
    for index, units in enumerate(history):
        sold.append(sold[-1] + (units or 0))
        expected.append(expected[-1] + (0.0 if units is None else shape[index % WEEK]))
    errors = []
    for start in range(MOVING_DAYS, len(history) - horizon_days + 1):
        end = start + horizon_days
        errors.append(sold[end] - sold[start] - levels[start] * (expected[end] - expected[start]))
    return errors


def mean_error(
    history: Sequence[int | None], levels: Sequence[float], shape: Sequence[float]
) -> float:
    """Mean one-day error after the first 28 days: what peaks add to an ordinary day."""
    errors = _day_errors(history, levels, shape)
    return fmean(errors) if errors else 0.0


def daily_sd(
    history: Sequence[int | None], levels: Sequence[float], shape: Sequence[float]
) -> float:
    """Standard deviation of the one-day errors; in the first five weeks, of demand itself."""
    errors = _day_errors(history, levels, shape)
    if len(errors) >= WEEK:
        return pstdev(errors)
    seen = [units for units in history if units is not None]
    return pstdev(seen) if seen else 0.0


def normal_totals(mean: float, sd: float) -> list[float]:
    """99 equally likely totals of a normal distribution cut at zero, for a short history."""
    if sd <= 0:
        return [max(0.0, mean)]
    spread = NormalDist(mean, sd)
    step = NORMAL_SCENARIOS
    return [max(0.0, spread.inv_cdf((index + 0.5) / step)) for index in range(step)]


def interval(scenarios: Sequence[int], coverage_percent: int) -> tuple[int, int]:
    """Whole units that bound the middle ``coverage_percent`` of ascending milliunit totals."""
    cut = (100 - coverage_percent) * (len(scenarios) - 1)
    low = scenarios[cut // 200]
    high = scenarios[len(scenarios) - 1 - cut // 200]
    return low // 1000, -(-high // 1000)


def observed_days(history: Sequence[int | None]) -> int:
    return sum(1 for units in history if units is not None)


_WORDS = {
    Method.WEEKDAY_PROFILE: "a weekday profile on an exponentially smoothed level in which a "
    "promotion counts no more than twice a usual deviation",
    Method.MOVING_AVERAGE: "the mean of the days seen, because there are fewer than "
    f"{MOVING_DAYS} of them",
    Method.TSB: "TSB: the chance of a sale times its size, fading when sales stop",
    Method.SBA: "SBA: the size of a sale over the days between sales, corrected for its bias",
    Method.NONE: "zero, because nothing was sold in the days seen",
}


def explain(
    history: Sequence[int | None],
    kind: DemandClass,
    method: Method,
    base: float,
    mean_milliunits: int,
    windows: int,
) -> str:
    """Class, method, uplift and the source of the interval, in sentences."""
    adi = average_demand_interval(history)
    parts = [f"Forecast by {_WORDS[method]}."]
    if adi is not None:
        parts.insert(
            0,
            f"Demand is {kind.value}: a sale every {adi:.2f} days, squared variation of its size "
            f"{squared_variation(history):.2f}, in {observed_days(history)} days seen.",
        )
    uplift = mean_milliunits / 1000 - base
    if abs(uplift) >= 0.5:
        what = "promotions and other peaks add" if uplift > 0 else "past errors take off"
        parts.append(f"Ordinary days total {base:.1f}; {what} {abs(uplift):.1f} on average.")
    if method is not Method.NONE:
        parts.append(
            f"Interval from {windows} past windows of the same length."
            if windows >= MIN_WINDOWS
            else "Interval from the normal approximation: too few past windows."
        )
    return " ".join(parts)


def check_history(history: Sequence[int | None], horizon_days: int, coverage_percent: int) -> None:
    """Refuses what the formulas cannot use."""
    if len(history) > MAX_HISTORY_DAYS:
        raise InvalidParameters.field("history", len(history), f"at most {MAX_HISTORY_DAYS} days")
    worst = min((units for units in history if units is not None), default=0)
    if worst < 0:
        raise InvalidParameters.field("history", worst, "units must not be negative")
    if not 1 <= horizon_days <= MAX_HORIZON_DAYS:
        raise InvalidParameters.field("horizon_days", horizon_days, f"1 to {MAX_HORIZON_DAYS}")
    if not 50 <= coverage_percent <= 99:
        raise InvalidParameters.field("coverage_percent", coverage_percent, "50 to 99")
