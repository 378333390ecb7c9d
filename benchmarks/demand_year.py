"""The replay of a year: mornings receive, days sell, evenings order."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import ceil
from statistics import fmean

from servers.inventory.classes import Policy

QUARTER = 91
RUN_IN = 28

History = list[int | None]


@dataclass(frozen=True)
class Outcome:
    """Sums over the days of one item's replay."""

    demand: int
    filled: int
    stock_days: int
    days: int
    orders: int

    @property
    def fill_rate(self) -> float:
        return self.filled / self.demand if self.demand else 1.0

    @property
    def average_stock(self) -> float:
        return self.stock_days / self.days


# Units to order on an evening, from the history up to it, the stock on hand and the units ordered.
Reviewer = Callable[[History, int, int], int]


def replay(
    history: History, first: int, last: int, on_hand: int, lead_time: int, review: Reviewer
) -> Outcome:
    """Mornings receive, days sell, evenings order. An order of the evening of day t is on the
    shelf on the morning of day t + 1 + lead_time. The RUN_IN days before ``first`` are played
    and not counted, so that the stock given at the start decides nothing."""
    arriving: dict[int, int] = defaultdict(int)
    demand = filled = stock_days = orders = 0
    for day in range(max(0, first - RUN_IN), last):
        on_hand += arriving.pop(day, 0)
        wanted = history[day] or 0
        served = min(wanted, on_hand)
        on_hand -= served
        quantity = review(history[: day + 1], on_hand, sum(arriving.values()))
        if quantity:
            arriving[day + 1 + lead_time] += quantity
        if day >= first:
            demand, filled, stock_days = demand + wanted, filled + served, stock_days + on_hand
            orders += quantity > 0
    return Outcome(demand, filled, stock_days, last - first, orders)


def order_size(history: History, policy: Policy) -> int:
    """What the fixed rule orders above its point: a week of the first quarter's demand."""
    return max(1, ceil(quarter_mean(history) * policy.order_cover_days))


def first_stock(history: History, policy: Policy) -> int:
    """On hand for both at the start: mean demand of lead time, review and order cover."""
    days = policy.protection_days + policy.order_cover_days
    return ceil(quarter_mean(history) * days)


def quarter_mean(history: History) -> float:
    seen = [units for units in history[:QUARTER] if units is not None]
    return fmean(seen) if seen else 0.0


def totals(outcomes: Iterable[Outcome]) -> dict[str, float]:
    several = list(outcomes)
    rates = sorted(outcome.fill_rate for outcome in several)
    return {
        "items": len(several),
        "fill_rate": round(total_fill(several), 4),
        "mean_item_fill_rate": round(fmean(rates), 4),
        "average_stock": round(sum(outcome.average_stock for outcome in several), 1),
        "orders": sum(outcome.orders for outcome in several),
    }


def total_fill(outcomes: Iterable[Outcome]) -> float:
    several = list(outcomes)
    demand = sum(outcome.demand for outcome in several)
    return sum(outcome.filled for outcome in several) / demand if demand else 1.0
