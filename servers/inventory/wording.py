"""The arithmetic of replenishment in words."""

from statistics import NormalDist

from servers.inventory.classes import MAX_DAYS, Levels, Policy, Position
from servers.inventory.forecasting import Forecast


def arithmetic(position: Position, demand: Forecast, policy: Policy, levels: Levels) -> list[str]:
    """How each level came about, a line each, so that a buyer can check it by hand."""
    rule = (
        f"fill rate {policy.fill_rate:.1%} over {len(demand.scenarios)} scenarios"
        if policy.service_level is None
        else f"z {NormalDist().inv_cdf(policy.service_level):.2f} for service level "
        f"{policy.service_level:.1%}, daily sd {demand.daily_sd_milliunits / 1000:.2f}"
    )
    if policy.maximum is None:
        above = levels.target - levels.reorder_point
        target = f"reorder point {levels.reorder_point} + an order of {above}"
    else:
        target = f"maximum {policy.maximum}, not below the reorder point"
    p = position
    parts = f"on hand {p.on_hand} - reserved {p.reserved} - unavailable {p.unavailable}"
    coming = f"on order {p.on_order} + inbound transfer {p.inbound_transfer}"
    days = f"lead time {policy.lead_time_days} + review {policy.review_days}"
    how = f"{demand.method.value}, {demand.demand_class.value}"
    mean = f"expected demand {levels.expected_demand}"
    safety = f"safety stock {levels.safety_stock}"
    owed = f"backordered {p.backordered}"
    return [
        f"available {p.available} = {parts}",
        f"inventory position {p.inventory_position} = available {p.available} + {coming} - {owed}",
        f"protection interval {policy.protection_days} days = {days}; {mean} ({how})",
        f"reorder point {levels.reorder_point} = {mean} + {safety} ({rule})"
        if levels.reorder_point != policy.point_by_hand
        else f"reorder point {levels.reorder_point}, set by hand",
        f"target {levels.target} = {target}",
    ]


def cover_line(position: Position, demand: Forecast, cover: int | None, out_in: int | None) -> str:
    """How long the stock lasts."""
    if cover is None:
        return "no demand expected: stock does not run out"
    per_day = demand.expected_milliunits / 1000 / demand.horizon_days
    line = f"cover {cover} days = available {max(0, position.available)} / {per_day:.2f} a day"
    if out_in is None:
        return f"{line}; no stock-out within {MAX_DAYS} days"
    return f"{line}; without receipts stock runs out on day {out_in + 1}"
