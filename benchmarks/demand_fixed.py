"""Fixed reorder points known at the end of the first quarter, and what they serve after it."""

from math import ceil, sqrt
from statistics import NormalDist, fmean, pstdev

from benchmarks.demand_year import (
    QUARTER,
    RUN_IN,
    History,
    Outcome,
    Reviewer,
    first_stock,
    order_size,
    replay,
    total_fill,
    totals,
)
from servers.inventory.classes import Policy
from servers.inventory.replenishing import order_quantity

MAX_FIXED_POINT = 5000

Items = dict[str, History]
Points = dict[str, int]


def fixed_reviewer(point: int, cover: int) -> Reviewer:
    """Orders up to point + cover once the inventory position is at or below the point."""

    def review(history: History, on_hand: int, on_order: int) -> int:
        position = on_hand + on_order
        return order_quantity(point + cover, position) if position <= point else 0

    return review


def rules(items: Items, policy: Policy, target: float) -> dict[str, Points]:
    """The points of each rule, none of which has seen a day after the first quarter.

    ``replayed``: the smallest that fills the target of the quarter replayed. ``daily``: mean demand
    of lead time and review plus z standard deviations of a day's demand times the root of the days.
    ``windows``: the same with the deviation of that many days' totals. ``highest``: the largest of
    those totals. ``tuned``: as ``windows``, z chosen as our setting is.
    """
    z, days = NormalDist().inv_cdf(target), policy.protection_days
    return {
        "replayed": {
            item: quarter_point(history, policy, target) for item, history in items.items()
        },
        "daily": {item: daily_point(history, days, z) for item, history in items.items()},
        "windows": {item: windows_point(history, days, z) for item, history in items.items()},
        "highest": {item: max(windows(history, days)) for item, history in items.items()},
        "tuned": tuned_points(items, policy, target),
    }


def daily_point(history: History, days: int, z: float, until: int = QUARTER) -> int:
    seen = [units for units in history[:until] if units is not None]
    return ceil(fmean(seen) * days + z * sqrt(days) * pstdev(seen)) if seen else 0


def windows_point(history: History, days: int, z: float, until: int = QUARTER) -> int:
    found = windows(history, days, until)
    return ceil(fmean(found) + z * pstdev(found))


def windows(history: History, days: int, until: int = QUARTER) -> list[int]:
    """Units of every ``days`` on end."""
    sold = [units or 0 for units in history[:until]]
    return [sum(sold[first : first + days]) for first in range(len(sold) - days + 1)]


def tuned_points(items: Items, policy: Policy, target: float) -> Points:
    """z in tenths, the smallest that fills the target from the ninth week on with points of the
    eight weeks before; then points of the whole quarter with it."""
    days, learnt = policy.protection_days, 2 * RUN_IN
    z = 0.0
    for tenths in range(61):
        z = tenths / 10
        outcomes = []
        for history in items.values():
            review = fixed_reviewer(
                windows_point(history, days, z, learnt), order_size(history, policy)
            )
            start = first_stock(history, policy)
            outcomes.append(replay(history, learnt, QUARTER, start, policy.lead_time_days, review))
        if total_fill(outcomes) >= target:
            break
    return {item: windows_point(history, days, z) for item, history in items.items()}


def measured(items: Items, policy: Policy, target: float) -> dict[str, dict[str, dict[str, float]]]:
    """Of each rule: its points as they are, and scaled with hindsight to the target."""
    return {
        name: {
            "as_is": totals(outcome_of(items[item], point, policy) for item, point in own.items()),
            "scaled_to_target": scaled(items, own, policy, target),
        }
        for name, own in rules(items, policy, target).items()
    }


def outcome_of(history: History, point: int, policy: Policy) -> Outcome:
    start, review = first_stock(history, policy), fixed_reviewer(point, order_size(history, policy))
    return replay(history, QUARTER, len(history), start, policy.lead_time_days, review)


def quarter_point(history: History, policy: Policy, target: float) -> int:
    """Smallest reorder point that fills ``target`` of the first quarter, starting full."""
    cover = order_size(history, policy)
    for point in range(MAX_FIXED_POINT):
        review = fixed_reviewer(point, cover)
        outcome = replay(history, 0, QUARTER, point + cover, policy.lead_time_days, review)
        if outcome.fill_rate >= target:
            return point
    return MAX_FIXED_POINT


def year_outcome(history: History, policy: Policy, target: float) -> Outcome:
    """Of the smallest point that fills ``target`` of the measured days."""
    outcomes = (outcome_of(history, point, policy) for point in range(MAX_FIXED_POINT))
    return next(outcome for outcome in outcomes if outcome.fill_rate >= target)


def scaled(items: Items, points: Points, policy: Policy, wanted: float) -> dict[str, float]:
    """All points times the smallest common percentage, to a tenth, that fills ``wanted``."""

    def tried(permille: int) -> list[Outcome]:
        return [
            outcome_of(history, ceil(points[item] * permille / 1_000), policy)
            for item, history in items.items()
        ]

    coarse = range(500, 5_001, 50)
    near = next((p for p in coarse if total_fill(tried(p)) >= wanted), coarse[-1])
    for permille in range(near - 49, near + 1):
        outcomes = tried(permille)
        if total_fill(outcomes) >= wanted:
            break
    return {"scaled_percent": permille / 10, **totals(outcomes)}
