"""What to do about one item at one site today, and the arithmetic a buyer can check by hand.

Quantities are whole units and times whole days. Demand of the protection interval (lead time plus
review period) comes from ``forecasting.forecast`` over just that many days.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import accumulate
from math import ceil, sqrt
from operator import neg
from statistics import NormalDist

from common.errors import InvalidParameters
from servers.inventory.classes import (
    MAX_DAYS,
    Action,
    DemandClass,
    Levels,
    Policy,
    Position,
    Reason,
    Receipt,
    Surplus,
    is_spike,
)
from servers.inventory.forecasting import Forecast
from servers.inventory.wording import arithmetic, cover_line

DEAD_DAYS = 90
# Gauss-Hermite: mean, variance and the next three moments of a normal distribution.
LEAD_TIME_POINTS = ((-sqrt(3.0), 1), (0.0, 4), (sqrt(3.0), 1))


@dataclass(frozen=True)
class Decision:
    """``quantity`` is what the action moves: units to buy, to transfer, or of the receipt
    ``reference`` to hurry. ``order_quantity`` is what to buy from the supplier in any case."""

    action: Action
    reason: Reason
    quantity: int
    order_quantity: int
    reference: str | None
    levels: Levels
    available: int
    inventory_position: int
    cover_days: int | None
    stock_out_in_days: int | None
    stockout_before_receipt: bool
    spike: bool
    arithmetic: tuple[str, ...]


def decide(
    position: Position,
    demand: Forecast,
    policy: Policy,
    *,
    recent: Sequence[int | None] = (),
    largest_recent_order: int = 0,
    receipts: Sequence[Receipt] = (),
    surpluses: Sequence[Surplus] = (),
) -> Decision:
    """Reorder now, expedite, transfer or ignore.

    ``demand`` covers ``policy.protection_days``. ``recent`` is the daily demand up to today and
    ``largest_recent_order`` the units of the largest order of the last 7 days (0: not known).
    Raises InvalidParameters when the forecast's horizon or the policy does not fit.
    """
    levels = reorder_levels(demand, policy)
    stock = position.available - position.backordered
    gap = stock_out_in_days(stock, demand, receipts)
    # An order placed today is on the shelf on that offset: an earlier gap needs other help.
    early = gap is not None and gap < policy.lead_time_days
    choice = _leave_alone(position, demand, policy, recent, largest_recent_order, gap)
    if choice is None:
        choice = _choose(position, policy, levels, receipts, surpluses, gap if early else None)
    cover = days_of_cover(position.available, demand)
    out_in = stock_out_in_days(stock, demand)
    lines = arithmetic(position, demand, policy, levels)
    lines.append(cover_line(position, demand, cover, out_in))
    lines.append(_conclusion(choice, position, levels, gap, policy))
    return Decision(
        action=choice.action,
        reason=choice.reason,
        quantity=choice.quantity,
        order_quantity=choice.order_quantity,
        reference=choice.reference,
        levels=levels,
        available=position.available,
        inventory_position=position.inventory_position,
        cover_days=cover,
        stock_out_in_days=out_in,
        stockout_before_receipt=early,
        spike=is_spike(recent),
        arithmetic=tuple(lines),
    )


# Formulas


def reorder_levels(demand: Forecast, policy: Policy) -> Levels:
    """Reorder point and order-up-to level of the protection interval, in whole units.

    With ``service_level``: d(L+R) + z sqrt((L+R) sd^2 + d^2 sd_L^2). Otherwise the smallest point
    whose expected shortage in a cycle is at most (1 - fill rate) of an order: Silver, Pyke and
    Thomas (2017), rule P2, over past forecast errors instead of a normal distribution.
    """
    if demand.horizon_days != policy.protection_days:
        raise InvalidParameters.field(
            "demand", demand.horizon_days, f"a forecast of {policy.protection_days} days"
        )
    expected = round(demand.expected_milliunits / 1000)
    per_day = demand.expected_milliunits / 1000 / demand.horizon_days
    lasting = max(1, _ceil(per_day * policy.order_cover_days))
    cover = order_quantity(lasting, 0, policy.minimum_order, policy.pack_multiple)
    if policy.service_level is not None:
        safety = safety_stock(
            policy.service_level,
            per_day,
            demand.daily_sd_milliunits / 1000,
            policy.protection_days,
            policy.lead_time_sd_days,
        )
        point = reorder_point(per_day, policy.protection_days, safety)
    else:
        totals = with_lead_time(demand.scenarios, per_day, policy.lead_time_sd_days)
        point = max(expected, fill_rate_point(totals, cover, policy.fill_rate))
    if policy.safety_stock is not None:
        point = expected + policy.safety_stock
    if policy.reorder_point is not None:
        point = policy.reorder_point
    point = max(point, policy.minimum or 0)
    target = point + cover if policy.maximum is None else max(point, policy.maximum)
    return Levels(expected, point - expected, point, target)


def safety_stock(
    service_level: float, per_day: float, daily_sd: float, days: float, lead_time_sd_days: float = 0
) -> int:
    """z sqrt(L sd^2 + d^2 sd_L^2), rounded up; ``days`` is the lead time, plus review if any."""
    z = NormalDist().inv_cdf(service_level)
    variance = days * daily_sd**2 + per_day**2 * lead_time_sd_days**2
    return max(0, _ceil(z * sqrt(variance)))


def reorder_point(per_day: float, days: float, safety: int) -> int:
    """d L + SS, rounded up."""
    return _ceil(per_day * days) + safety


def fill_rate_point(scenarios: Sequence[int], order_units: int, fill_rate: float) -> int:
    """Smallest whole s >= 0 with mean(max(0, D - s)) <= (1 - fill_rate) order_units.

    ``scenarios`` are equally likely totals D in milliunits, in any order.
    """
    allowed = round((1 - fill_rate) * order_units * 1000 * len(scenarios), 3)  # no float noise
    totals = sorted(scenarios, reverse=True)
    sums = list(accumulate(totals, initial=0))
    low, high = 0, _ceil(max(totals, default=0) / 1000)
    while low < high:
        middle = (low + high) // 2
        above = bisect_left(totals, -middle * 1000, key=neg)
        if sums[above] - above * middle * 1000 <= allowed:
            high = middle
        else:
            low = middle + 1
    return low


def with_lead_time(
    scenarios: Sequence[int], per_day: float, lead_time_sd_days: float
) -> Sequence[int]:
    """The same totals when the lead time itself varies normally by ``lead_time_sd_days``."""
    if lead_time_sd_days <= 0:
        return scenarios
    found: list[int] = []
    for point, weight in LEAD_TIME_POINTS:
        more = round(1000 * per_day * lead_time_sd_days * point)
        found += [max(0, total + more) for total in scenarios] * weight
    return found


def order_quantity(
    target: int, inventory_position: int, minimum_order: int = 1, pack_multiple: int = 1
) -> int:
    """ceil(max(MOQ, target - IP) / pack) pack; 0 when the position has reached the target."""
    if inventory_position >= target:
        return 0
    needed = max(minimum_order, target - inventory_position)
    return -(-needed // pack_multiple) * pack_multiple


def days_of_cover(available: int, demand: Forecast) -> int | None:
    """Whole days the available units last at the mean daily demand. None without demand."""
    if demand.expected_milliunits <= 0:
        return None
    return max(0, available) * 1000 * demand.horizon_days // demand.expected_milliunits


def stock_out_in_days(stock: int, demand: Forecast, receipts: Sequence[Receipt] = ()) -> int | None:
    """Offset of the first day ahead (0 is the next one) whose ordinary demand ``stock`` and the
    receipts of that morning and before do not meet. Past the forecast, its days repeat; None when
    there is none within a year."""
    left = stock * 1000
    if left < 0:
        return 0
    total = sum(demand.milliunits)
    if total <= 0:
        return None
    for offset in range(MAX_DAYS):
        left += 1000 * sum(receipt.units for receipt in receipts if receipt.in_days == offset)
        left -= demand.milliunits[offset % demand.horizon_days]
        if left < 0:
            return offset
    return None


def stock_out_date(today: date, in_days: int | None) -> date | None:
    """The calendar day of a ``stock_out_in_days``; its day 0 is tomorrow."""
    return None if in_days is None else today + timedelta(days=in_days + 1)


# Choosing


@dataclass(frozen=True)
class _Choice:
    action: Action
    reason: Reason
    quantity: int = 0
    order_quantity: int = 0
    reference: str | None = None


def _leave_alone(
    position: Position,
    demand: Forecast,
    policy: Policy,
    recent: Sequence[int | None],
    largest_recent_order: int,
    gap: int | None,
) -> _Choice | None:
    """Items not to be bought whatever the reorder point says; never while customers wait."""
    if position.available < position.backordered:
        return None
    if policy.ending:
        return _Choice(Action.IGNORE, Reason.ENDING)
    last = [units for units in recent[-DEAD_DAYS:] if units is not None]
    dead = len(recent) >= DEAD_DAYS and not any(last)
    by_hand = policy.point_by_hand is not None
    if not by_hand and (demand.demand_class is DemandClass.NO_DEMAND or dead):
        return _Choice(Action.IGNORE, Reason.NO_DEMAND)
    covered = gap is None or gap >= policy.protection_days
    one_order = is_spike(recent) and not is_spike(recent, largest_recent_order)
    if one_order and covered:
        return _Choice(Action.IGNORE, Reason.ONE_ORDER_SPIKE)
    return None


def _choose(
    position: Position,
    policy: Policy,
    levels: Levels,
    receipts: Sequence[Receipt],
    surpluses: Sequence[Surplus],
    gap: int | None,
) -> _Choice:
    """Meet an early gap (offset, or None) with what exists, else buy at the reorder point."""
    buy = 0
    if position.inventory_position <= levels.reorder_point:
        buy = _buy(position.inventory_position, levels, policy)
    undated = position.on_order + position.inbound_transfer - sum(r.units for r in receipts)
    if gap is not None:
        due = sorted(receipts, key=lambda receipt: (receipt.in_days, receipt.reference))
        late = next((receipt for receipt in due if receipt.in_days > gap), None)
        if late is not None:
            return _Choice(
                Action.EXPEDITE, Reason.RECEIPT_TOO_LATE, late.units, buy, late.reference
            )
        if undated > 0:
            return _Choice(Action.EXPEDITE, Reason.RECEIPT_TOO_LATE, undated, buy)
    elif not buy:
        # Below a point set by hand, and nobody can say when what was ordered comes.
        if undated > 0 and position.available <= (policy.point_by_hand or -1):
            return _Choice(Action.EXPEDITE, Reason.RECEIPT_TOO_LATE, undated)
        return _Choice(Action.IGNORE, Reason.ENOUGH)
    needed = max(1, levels.target - position.inventory_position)
    giver = _giver(surpluses, needed, policy.lead_time_days, gap)
    if giver is not None:
        units = min(giver.units, needed)
        after = position.inventory_position + units
        rest = _buy(after, levels, policy) if after <= levels.reorder_point else 0
        return _Choice(Action.TRANSFER, Reason.SURPLUS_ELSEWHERE, units, rest, giver.site)
    if not buy:
        return _Choice(Action.IGNORE, Reason.ENOUGH)
    return _Choice(Action.REORDER_NOW, Reason.BELOW_REORDER_POINT, buy, buy)


def _buy(inventory_position: int, levels: Levels, policy: Policy) -> int:
    # At a maximum equal to the reorder point an order still brings the position above it.
    target = max(levels.target, levels.reorder_point + 1)
    return order_quantity(target, inventory_position, policy.minimum_order, policy.pack_multiple)


def _giver(
    surpluses: Sequence[Surplus], needed: int, lead_time_days: int, gap: int | None
) -> Surplus | None:
    """The nearest site that beats the supplier. Without an early gap only one that gives it all,
    since a transfer that leaves an order to place saves nothing."""
    able = [
        surplus
        for surplus in surpluses
        if surplus.transit_days < lead_time_days and surplus.units >= (needed if gap is None else 1)
    ]
    return min(able, key=lambda s: (s.transit_days, -s.units, s.site), default=None)


# Conclusions in words


def _conclusion(
    choice: _Choice, position: Position, levels: Levels, gap: int | None, policy: Policy
) -> str:
    held = f"inventory position {position.inventory_position}"
    point = f"reorder point {levels.reorder_point}"
    also = f"; also order {choice.order_quantity}" if choice.order_quantity else ""
    when = "" if gap is None else f"stock runs out on day {gap + 1}"
    if choice.action is Action.EXPEDITE:
        what = choice.reference or "the open orders"
        if gap is None:
            return f"available {position.available} <= {point}, {what} have no date: expedite"
        return f"{when}, before {choice.quantity} units of {what} arrive: expedite{also}"
    if choice.action is Action.TRANSFER:
        return f"{held}, {point}: transfer {choice.quantity} from {choice.reference}{also}"
    if choice.action is Action.REORDER_NOW:
        return (
            f"{held} <= {point}: order {choice.quantity} = target {levels.target} - "
            f"{position.inventory_position}, at least {policy.minimum_order}, in packs of "
            f"{policy.pack_multiple}"
        )
    return {
        Reason.ENOUGH: f"{held} > {point}: enough",
        Reason.NO_DEMAND: f"no sale in the days seen, at least {DEAD_DAYS}: do not reorder",
        Reason.ENDING: "the item is ending: do not reorder",
        Reason.ONE_ORDER_SPIKE: "demand rose through one order and ordinary demand is covered: "
        "do not reorder",
    }[choice.reason]


def _ceil(value: float) -> int:
    """Ceiling that forgives float noise, so that 12.000000001 units are 12."""
    return ceil(value - 1e-9)
