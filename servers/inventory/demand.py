"""Demand as the orders tell it: units ordered and not cancelled, in days of 24 hours up to now."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Integer, Select, cast, extract, func, select
from sqlalchemy.orm import Session

from common.call import Call
from common.clock import stamp
from common.ledgers.accounts import BATCH
from common.paging import plain
from common.storage.dialects import dialect_of
from common.tables.inventory import Warehouse
from common.tables.orders import Order, OrderLine
from common.toolset import Progress
from servers.inventory import catalogue, forecasting
from servers.inventory.results import DemandForecast

HISTORY_DAYS: Final = 365
WEEK: Final = 7
QUARTER: Final = 91
SHOWN_DAYS: Final = 28
DAY_S: Final = 86_400

Key = tuple[str, str]


@dataclass(frozen=True)
class Sales:
    """``daily`` by (sku, warehouse), oldest day first, each from its first sale on; ``largest``
    is the largest order of the last week; ``unassigned`` units have no warehouse."""

    daily: dict[Key, list[int]]
    largest: dict[Key, int]
    unassigned: int = 0


@dataclass(frozen=True)
class Question:
    """What ``forecast_demand`` needs, read; forecasting itself needs no database."""

    sku: str
    warehouse: str | None
    days: int
    history: list[int]


def prepare_forecast(
    call: Call, sku: str, warehouse: str | None = None, days: int = 28
) -> Question:
    """The item's history. Raises NotFound."""
    catalogue.variant(call, sku)
    if warehouse is not None:
        catalogue.warehouse(call, warehouse)
    daily = history(call.session, call.now, [sku]).daily
    if warehouse is not None:
        return Question(sku, warehouse, days, daily.get((sku, warehouse), []))
    longest = max((len(units) for units in daily.values()), default=0)
    padded = [[0] * (longest - len(units)) + units for units in daily.values()]
    return Question(sku, None, days, [sum(day) for day in zip(*padded, strict=True)])


def compute_forecast(question: Question, progress: Progress) -> DemandForecast:
    """The forecast of the history's method."""
    found = forecasting.forecast(question.history, question.days)
    return DemandForecast(
        sku=question.sku, warehouse=question.warehouse, days=question.days,
        expected_units=found.expected_units, low_units=found.low_units,
        high_units=found.high_units, coverage_percent=found.coverage_percent,
        demand_class=found.demand_class.value, method=found.method.value,
        explanation=found.explanation, sold_7d=sum(question.history[-WEEK:]),
        daily_milliunits=list(found.milliunits[:SHOWN_DAYS]),
    )  # fmt: skip


def history(session: Session, now: datetime, skus: Sequence[str]) -> Sales:
    """Up to a year of daily demand. Days before an item's first sale are left out."""
    only = only_warehouse(session)
    since = now - timedelta(days=HISTORY_DAYS)
    daily: dict[Key, list[int]] = {}
    largest: dict[Key, int] = {}
    unassigned = 0
    for start in range(0, len(skus), BATCH):
        batch = list(skus[start : start + BATCH])
        age = age_in_days(session, now)
        found = demand(now, since, age, func.sum(OrderLine.quantity)).where(
            OrderLine.sku.in_(batch)
        )
        for sku, site, days, units in session.execute(found.group_by(age)):
            site = site or only
            if site is None:
                unassigned += int(units)
                continue
            line = daily.setdefault((sku, site), [])
            line.extend([0] * (int(days) + 1 - len(line)))
            line[int(days)] += int(units)
        week = now - timedelta(days=WEEK)
        by_order = demand(now, week, OrderLine.order_id, func.sum(OrderLine.quantity)).where(
            OrderLine.sku.in_(batch)
        )
        for sku, site, _, units in session.execute(by_order.group_by(OrderLine.order_id)):
            key = (sku, site or only or "")
            largest[key] = max(largest.get(key, 0), int(units))
    return Sales({key: units[::-1] for key, units in daily.items()}, largest, unassigned)


def sums(session: Session, now: datetime, days: int) -> dict[Key, int]:
    """Units ordered in the last days, by (sku, warehouse)."""
    only = only_warehouse(session)
    found: dict[Key, int] = {}
    query = demand(now, now - timedelta(days=days), func.sum(OrderLine.quantity))
    for sku, site, units in session.execute(query):
        key = (sku, site or only or "")
        if key[1]:
            found[key] = found.get(key, 0) + int(units)
    return found


def demand(now: datetime, since: datetime, *columns: Any) -> Select[Any]:
    """Lines that are demand since a moment, grouped by SKU and warehouse. Those of a draft were not
    placed, and those of a cancelled order are cancelled with it: the order is only asked for a
    warehouse that its line does not name."""
    whole = select(Order.warehouse_id).where(Order.id == OrderLine.order_id).scalar_subquery()
    site = func.coalesce(OrderLine.warehouse_id, whole).label("site")
    # Not the column itself: to have them in order, all lines ever would be read by item.
    item = plain(OrderLine.sku)
    return (
        select(item, site, *columns)
        .where(
            OrderLine.placed_at > since,
            OrderLine.placed_at <= now,
            OrderLine.status != "cancelled",
        )
        .group_by(item, site)
    )


def newest(session: Session, now: datetime) -> datetime | None:
    """When the last order was placed: how fresh the demand is."""
    found: datetime | None = session.scalar(
        select(func.max(OrderLine.placed_at)).where(OrderLine.placed_at <= now)
    )
    return found


def freshness(now: datetime, last: datetime | None) -> list[str]:
    """What to tell about demand that is old or missing."""
    if last is None:
        return ["No orders yet: reorder points set by hand decide alone."]
    if now - last > timedelta(days=2):
        return [f"The last order is of {stamp(last)}: demand may be stale."]
    return []


def only_warehouse(session: Session) -> str | None:
    """The working warehouse, if there is just one: orders without any are its demand."""
    ids = list(session.scalars(select(Warehouse.id).where(Warehouse.active.is_(True)).limit(2)))
    return ids[0] if len(ids) == 1 else None


def age_in_days(session: Session, now: datetime) -> Any:
    """Whole days between a line's placing and now, as SQL."""
    seconds = int(now.timestamp())
    if dialect_of(session) == "sqlite":
        return cast((seconds - func.unixepoch(OrderLine.placed_at)) / DAY_S, Integer)
    return cast(func.trunc((seconds - extract("epoch", OrderLine.placed_at)) / DAY_S), Integer)
