"""Forecasts and reorders over a year of real daily demand, against simple rules.

    python -m benchmarks.demand --data ../shared/data/demand [--json]

Two measurements. Forecasts: from day 91 on, every 7 days a week ahead, knowing only the past;
MASE is the mean absolute daily error over the first quarter's seasonal naive error, averaged over
the items of a class. Replay: every evening of the last three quarters each item is reviewed by
``replenishing.decide`` and, on the same demand, by fixed reorder points known at the end of the
first quarter (``demand_fixed.rules``). Both order a week of demand above their point and wait the
same lead time; unmet demand is lost, and demand is seen in full even when it was lost.
A point that fills less than the target holds less stock for that reason alone. So each fixed rule
is also scaled by one common percentage, the measured days known, until it fills the target, the
first of them until it fills as much as ours; and, as an oracle, each item gets its smallest point
that fills the target. Ours is shown at lower fill rates too, down to what the fixed rules serve.
"""

import argparse
import csv
import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks.demand_fixed import (
    measured,
    outcome_of,
    quarter_point,
    scaled,
    year_outcome,
)
from benchmarks.demand_year import (
    QUARTER,
    RUN_IN,
    History,
    Outcome,
    Reviewer,
    first_stock,
    replay,
    total_fill,
    totals,
)
from servers.inventory.classes import Policy, Position, demand_class
from servers.inventory.forecasting import Forecast, forecast, moving_average
from servers.inventory.replenishing import decide

WEEK = 7
FILE_NAME = "daily_demand_50.csv"
# The fill rates tried on the first quarter for our policy: the smallest that reached the target,
# else the last.
FILL_RATES = (0.95, 0.96, 0.97, 0.98, 0.99, 0.995)
# Shown beside them.
LOWER_RATES = (0.85, 0.90)
RULES = ("ours", "fixed", "fixed_filling_as_ours", "fixed_scaled_to_target", "fixed_oracle")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Benchmark of forecasts and reorders.")
    parser.add_argument("--data", type=Path, required=True, help=f"folder of {FILE_NAME}")
    parser.add_argument("--lead-time", type=int, default=7, help="days, default 7")
    parser.add_argument("--target", type=float, default=0.97, help="fill rate, default 0.97")
    parser.add_argument("--json", action="store_true", help="machine-readable")
    options = parser.parse_args(arguments)
    path = options.data / FILE_NAME
    if not path.is_file():
        parser.error(f"no {path}")
    items = load(path)
    result = {
        "forecast": measure_forecasts(items),
        "replay": measure_replay(items, options.lead_time, options.target),
    }
    print(json.dumps(result, indent=2) if options.json else report(result))
    return 0


def load(path: Path) -> dict[str, History]:
    """Units by item and day of the year 2017. A day on which no item sold anywhere is None: closed.

    The last day, 1 January 2018, is left out: the year's file breaks off during it.
    """
    sold: dict[str, dict[date, int]] = defaultdict(dict)
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            sold[row["product_id"]][date.fromisoformat(row["date"])] = int(row["units"])
    opened = {day for days in sold.values() for day in days}
    year = [date(2017, 1, 1) + timedelta(days=offset) for offset in range(365)]
    return {
        item: [days.get(day, 0) if day in opened else None for day in year]
        for item, days in sold.items()
    }


# Forecasts

Predictor = Callable[[History], list[float]]


def measure_forecasts(items: dict[str, History]) -> dict[str, dict[str, float]]:
    """By class: items, MASE of ours, of MA28 and of the seasonal naive, the bias of our expected
    total and the share of weeks within our 90 % interval."""
    predictors: dict[str, Predictor] = {
        "ours": ours_week,
        "moving_average_28": lambda history: [moving_average(history)[-1]] * WEEK,
        "seasonal_naive": seasonal_naive,
    }
    scores: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    weeks: dict[str, list[tuple[float, float, bool]]] = defaultdict(list)
    for history in items.values():
        kind = demand_class(history[:QUARTER]).value
        scale = naive_error(history[:QUARTER])
        if scale:
            for name, predict in predictors.items():
                scores[kind][name].append(absolute_error(history, predict) / scale)
        weeks[kind] += list(week_totals(history))
    return {
        kind: {
            "items": len(by_name["ours"]),
            **{f"mase_{name}": round(fmean(values), 3) for name, values in by_name.items()},
            "bias_percent": bias_percent(weeks[kind]),
            "coverage_percent": round(100 * fmean(inside for _, _, inside in weeks[kind]), 1),
        }
        for kind, by_name in sorted(scores.items())
    }


def ours_week(history: History) -> list[float]:
    return [units / 1000 for units in forecast(history, WEEK).milliunits]


def seasonal_naive(history: History) -> list[float]:
    """The same weekday of the last week in which the shop was open on it."""
    week: list[float] = []
    for offset in range(WEEK):
        day = len(history) - WEEK + offset
        while day >= 0 and history[day] is None:
            day -= WEEK
        week.append(float((history[day] or 0) if day >= 0 else 0))
    return week


def naive_error(history: History) -> float:
    """MASE's denominator (Hyndman and Koehler, 2006): mean |y(t) - y(t - 7)|."""
    pairs = zip(history, history[WEEK:], strict=False)
    errors = [abs(b - a) for a, b in pairs if a is not None and b is not None]
    return fmean(errors) if errors else 0.0


def absolute_error(history: History, predict: Predictor) -> float:
    errors: list[float] = []
    for origin in range(QUARTER, len(history) - WEEK + 1, WEEK):
        actual = history[origin : origin + WEEK]
        pairs = zip(actual, predict(history[:origin]), strict=True)
        errors += [abs(units - guess) for units, guess in pairs if units is not None]
    return fmean(errors)


def week_totals(history: History) -> list[tuple[float, float, bool]]:
    """Of every week ahead: units sold, units expected, and whether the interval held them."""
    totals = []
    for origin in range(QUARTER, len(history) - WEEK + 1, WEEK):
        actual = history[origin : origin + WEEK]
        closed = [offset for offset, units in enumerate(actual) if units is None]
        ahead = forecast(history[:origin], WEEK, closed=closed)
        sold = sum(units or 0 for units in actual)
        inside = ahead.low_units <= sold <= ahead.high_units
        totals.append((float(sold), ahead.expected_milliunits / 1000, inside))
    return totals


def bias_percent(weeks: Sequence[tuple[float, float, bool]]) -> float:
    sold = sum(week[0] for week in weeks)
    return round(100 * (sum(week[1] for week in weeks) / sold - 1), 1) if sold else 0.0


# Replay


def our_reviewer(policy: Policy, known: dict[int, Forecast]) -> Reviewer:
    """``known`` keeps the item's forecasts by day: they do not depend on the stock."""

    def review(history: History, on_hand: int, on_order: int) -> int:
        today = len(history)
        if today not in known:
            known[today] = forecast(history, policy.protection_days)
        position = Position(on_hand, on_order=on_order)
        return decide(position, known[today], policy, recent=history).order_quantity

    return review


def measure_replay(items: dict[str, History], lead_time: int, target: float) -> dict[str, object]:
    """Totals of both rules over the last three quarters, and per class."""
    known: dict[str, dict[int, Forecast]] = {item: {} for item in items}
    policy, in_quarter = tuned_policy(items, Policy(lead_time), target, known)
    ours = {item: our_outcome(history, policy, known[item]) for item, history in items.items()}
    points = {item: quarter_point(history, policy, target) for item, history in items.items()}
    fixed = {item: outcome_of(items[item], point, policy) for item, point in points.items()}
    oracle = [year_outcome(history, policy, target) for history in items.values()]
    return {
        "lead_time_days": lead_time,
        "target_fill_rate": target,
        "policy_fill_rate": policy.fill_rate,
        "policy_filled_in_quarter": round(in_quarter, 4),
        "ours": totals(ours.values()),
        "fixed": totals(fixed.values()),
        "fixed_filling_as_ours": scaled(items, points, policy, total_fill(ours.values())),
        "fixed_scaled_to_target": scaled(items, points, policy, target),
        "fixed_oracle": totals(oracle),
        "ours_by_setting": {
            str(rate): totals(
                our_outcome(history, replace(policy, fill_rate=rate), known[item])
                for item, history in items.items()
            )
            for rate in (*LOWER_RATES, *FILL_RATES)
        },
        "fixed_by_rule": measured(items, policy, target),
        "by_class": by_class(items, ours, fixed),
    }


def our_outcome(history: History, policy: Policy, known: dict[int, Forecast]) -> Outcome:
    start, review = first_stock(history, policy), our_reviewer(policy, known)
    return replay(history, QUARTER, len(history), start, policy.lead_time_days, review)


def tuned_policy(
    items: dict[str, History], policy: Policy, target: float, known: dict[str, dict[int, Forecast]]
) -> tuple[Policy, float]:
    """Our one parameter for all items: the smallest fill rate that filled ``target`` of the first
    quarter's units from its ninth week on: four to learn from, four to run in. And what it
    filled there."""
    for rate in FILL_RATES:
        chosen = replace(policy, fill_rate=rate)
        outcomes = []
        for item, history in items.items():
            start = first_stock(history, policy)
            review = our_reviewer(chosen, known[item])
            outcomes.append(
                replay(history, 2 * RUN_IN, QUARTER, start, policy.lead_time_days, review)
            )
        filled = total_fill(outcomes)
        if filled >= target:
            break
    return chosen, filled


def by_class(
    items: dict[str, History], ours: dict[str, Outcome], fixed: dict[str, Outcome]
) -> dict[str, dict[str, dict[str, float]]]:
    kinds: dict[str, list[str]] = defaultdict(list)
    for item, history in items.items():
        kinds[demand_class(history[:QUARTER]).value].append(item)
    rules = {"ours": ours, "fixed": fixed}
    return {
        kind: {name: totals(rule[item] for item in members) for name, rule in rules.items()}
        for kind, members in sorted(kinds.items())
    }


def report(result: dict[str, Any]) -> str:
    lines = ["Forecasts, a week ahead            ours   MA28  naive   bias  90 % interval"]
    for kind, row in result["forecast"].items():
        lines.append(
            f"  MASE {kind:<13} {row['items']:>3} items   {row['mase_ours']:.3f}  "
            f"{row['mase_moving_average_28']:.3f}  {row['mase_seasonal_naive']:.3f}  "
            f"{row['bias_percent']:+5.1f} %  holds {row['coverage_percent']} %"
        )
    replayed = result["replay"]
    lines.append(
        f"Replay, lead time {replayed['lead_time_days']} days, target "
        f"{replayed['target_fill_rate']:.1%}, our fill rate setting "
        f"{replayed['policy_fill_rate']:.1%} (filled {replayed['policy_filled_in_quarter']:.1%} "
        "of the first quarter's last weeks)"
    )
    rows = [(name, row) for name, row in replayed.items() if name in RULES]
    rows += [(f"ours at {rate}", row) for rate, row in replayed["ours_by_setting"].items()]
    for name, pair in replayed["fixed_by_rule"].items():
        rows += [(f"fixed, {name}", pair["as_is"]), (f"{name}, scaled", pair["scaled_to_target"])]
    for kind, pair in replayed["by_class"].items():
        rows += [(f"{kind} ours", pair["ours"]), (f"{kind} fixed", pair["fixed"])]
    for name, row in rows:
        lines.append(
            f"  {name:<22} fill {row['fill_rate']:.2%} (mean of items "
            f"{row['mean_item_fill_rate']:.2%}), average stock {row['average_stock']:.1f} units, "
            f"{row['orders']} orders"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
