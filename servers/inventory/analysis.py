"""Reports on stock: what lies dead, how old it is, what it is worth, how items class."""

from collections.abc import Callable
from datetime import date, timedelta
from typing import Final

from sqlalchemy import func, select

from common.call import Call
from common.errors import InvalidParameters
from common.paging import decoded, encoded
from common.rules import stock
from common.tables.inventory import ItemCost, Warehouse
from common.tables.orders import Order, OrderLine
from common.tables.spine import Account, Transfer
from common.tables.stock_documents import CountLine, CycleCount
from servers.inventory import catalogue, costs, demand
from servers.inventory.classes import abc_classes, xyz_class
from servers.inventory.results import Analysis, Finding

MOST_SKUS: Final = 10_000
MOST_INFLOWS: Final = 500
AGES: Final = ((30, "0-30"), (90, "31-90"), (180, "91-180"), (365, "181-365"))
OLDEST: Final = "over 365"

Held = dict[str, dict[str, int]]


def analyse_stock(
    call: Call, report: str, warehouse: str | None, days: int, limit: int, cursor: str | None
) -> Analysis:
    """One report, the items that matter most first. Raises NotFound, InvalidParameters."""
    if warehouse is not None:
        catalogue.warehouse(call, warehouse)
    found, totals = _REPORTS[report](call, warehouse, days)
    keyed = sorted(
        ((-_weight(item), item.sku, item.lot or item.currency or ""), item) for item in found
    )
    if cursor is not None:
        after = decoded(cursor, 3)
        if [type(part) for part in after] != [int, str, str]:
            raise InvalidParameters.field("cursor", cursor, "a cursor from an earlier page")
        keyed = [(key, item) for key, item in keyed if list(key) > after]
    shown = keyed[:limit]
    more = len(keyed) > limit
    items = [item for _, item in shown]
    if report == "ageing":
        items = [_aged(call, item, warehouse) for item in items]
    return Analysis(
        report=report,
        warehouse=warehouse,
        totals=totals | {"items": len(found)},
        items=items,
        notes=_NOTES.get(report),
        next_cursor=encoded(shown[-1][0]) if more else None,
    )


def _weight(item: Finding) -> int:
    if item.expires_on is not None:
        return -date.fromisoformat(item.expires_on).toordinal()
    return item.value_minor or item.revenue_minor or item.units or 0


def _dead(call: Call, warehouse: str | None, days: int) -> tuple[list[Finding], dict[str, int]]:
    """Stock of items that nobody ordered for ``days``."""
    findings, _ = _valuation(call, warehouse, days)
    sold = (
        select(OrderLine.sku, func.max(OrderLine.placed_at))
        .join(Order, Order.id == OrderLine.order_id)
        .where(OrderLine.status != "cancelled", Order.status.not_in(("cancelled", "draft")))
        .group_by(OrderLine.sku)
    )
    last = dict(call.session.execute(sold).all())
    limit = call.now - timedelta(days=days)
    dead = []
    for item in findings:
        at = last.get(item.sku)
        if at is None or at < limit:
            day = at.date().isoformat() if at else None
            dead.append(item.model_copy(update={"last_sold_on": day}))
    return dead, _sums(dead)


def _valuation(
    call: Call, warehouse: str | None, days: int
) -> tuple[list[Finding], dict[str, int]]:
    """Units on hand at moving average cost; an item valued in two currencies comes twice."""
    held = _held(call, warehouse)
    items = catalogue.named(call.session, list(held))
    query = select(ItemCost)
    if warehouse is not None:
        query = query.where(ItemCost.warehouse_id == warehouse)
    averages = {(row.sku, row.warehouse_id): row for row in call.session.scalars(query)}
    found = []
    for sku, sites in held.items():
        item = items.get(sku)
        if item is None:
            continue
        worth: dict[str, int] = {}
        units: dict[str, int] = {}
        for site, count in sites.items():
            row = averages.get((sku, site))
            if row is not None:
                cost, currency = row.average_cost_e6, row.currency
            else:
                cost, currency = costs.unit_cost(call, item, site)
            worth[currency] = worth.get(currency, 0) + (count * cost + costs.E6 // 2) // costs.E6
            units[currency] = units.get(currency, 0) + count
        found += [
            Finding(
                sku=sku, name=item.name, units=units[currency], value_minor=worth[currency],
                currency=currency,
            )
            for currency in worth
        ]  # fmt: skip
    return found, _sums(found)


def _expiring(call: Call, warehouse: str | None, days: int) -> tuple[list[Finding], dict[str, int]]:
    """Lots on the shelf that expire within ``days`` or have expired."""
    until = call.now.date() + timedelta(days=days)
    skus = catalogue.stocked(
        call.session, [warehouse] if warehouse else _all_sites(call), MOST_SKUS
    )
    held: dict[str, int] = {}
    for (_, _, id), level in stock.lots_of(call.session, call.now, skus, warehouse).items():
        if id is not None and level.on_hand:
            held[id] = held.get(id, 0) + level.on_hand
    rows = catalogue.lots_named(call.session, list(held)).values()
    found = [
        Finding(
            sku=lot.sku, units=held[lot.id], lot=lot.code, expires_on=lot.expires_on.isoformat()
        )
        for lot in rows
        if lot.expires_on is not None and lot.expires_on <= until
    ]
    return found, {"units": sum(item.units or 0 for item in found)}


def _classes(call: Call, warehouse: str | None, days: int) -> tuple[list[Finding], dict[str, int]]:
    """ABC by a year's revenue, XYZ by how much daily demand varies."""
    since = call.now - timedelta(days=demand.HISTORY_DAYS)
    revenue = func.sum(OrderLine.quantity * OrderLine.unit_price_minor - OrderLine.discount_minor)
    earned: dict[str, int] = {}
    for sku, site, minor in call.session.execute(demand.demand(call.now, since, revenue)):
        if warehouse in (None, site):
            earned[sku] = earned.get(sku, 0) + int(minor)
    for sku in _held(call, warehouse):
        earned.setdefault(sku, 0)
    skus = sorted(earned)[:MOST_SKUS]
    classes = abc_classes({sku: earned[sku] for sku in skus})
    daily: dict[str, list[int]] = {}
    for (sku, site), units in demand.history(call.session, call.now, skus).daily.items():
        if warehouse in (None, site):
            before = daily.get(sku, [])
            longest = max(len(before), len(units))
            daily[sku] = [
                a + b
                for a, b in zip(
                    [0] * (longest - len(before)) + before,
                    [0] * (longest - len(units)) + units,
                    strict=True,
                )
            ]
    items = catalogue.named(call.session, skus)
    found = [
        Finding(
            sku=sku, name=items[sku].name, abc=classes[sku], xyz=xyz_class(daily.get(sku, [])),
            revenue_minor=earned[sku], currency=items[sku].currency,
        )
        for sku in skus
        if sku in items
    ]  # fmt: skip
    totals = {name: sum(1 for item in found if item.abc == name) for name in "ABC"}
    return found, totals | {n: sum(1 for item in found if item.xyz == n) for n in "XYZ"}


def _accuracy(call: Call, warehouse: str | None, days: int) -> tuple[list[Finding], dict[str, int]]:
    """How many of the lines counted lately were exact."""
    final = func.coalesce(CountLine.recounted, CountLine.counted)
    query = (
        select(CountLine.sku, final - CountLine.snapshot)
        .join(CycleCount, CycleCount.id == CountLine.cycle_count_id)
        .where(
            CycleCount.state == "posted",
            CycleCount.posted_at >= call.now - timedelta(days=days),
            final.is_not(None),
        )
    )
    if warehouse is not None:
        query = query.where(CycleCount.warehouse_id == warehouse)
    counted: dict[str, list[int]] = {}
    for sku, variance in call.session.execute(query.limit(50_000)):
        counted.setdefault(sku, []).append(int(variance))
    found = [
        Finding(sku=sku, counted=len(variances), units=sum(abs(variance) for variance in variances))
        for sku, variances in counted.items()
    ]
    lines = sum(item.counted or 0 for item in found)
    exact = sum(1 for variances in counted.values() for variance in variances if not variance)
    return found, {"lines": lines, "exact": exact, "per_mille": exact * 1000 // max(1, lines)}


def _held(call: Call, warehouse: str | None) -> Held:
    """Units on hand by SKU and warehouse, where there are any."""
    sites = [warehouse] if warehouse else _all_sites(call)
    skus = catalogue.stocked(call.session, sites, MOST_SKUS)
    held: Held = {}
    for (sku, site), level in stock.levels(call.session, call.now, skus, warehouse).items():
        if level.on_hand:
            held.setdefault(sku, {})[site] = level.on_hand
    return held


def _all_sites(call: Call) -> list[str]:
    query = select(Warehouse.id).order_by(Warehouse.id).limit(catalogue.MOST_WAREHOUSES)
    return list(call.session.scalars(query))


def _aged(call: Call, item: Finding, warehouse: str | None) -> Finding:
    """Units by days since they came: what is left came last."""
    accounts = {
        id: code
        for id, code in call.session.execute(
            select(Account.id, Account.code).where(Account.ledger == stock.units(item.sku))
        )
        if "/" in code and (warehouse is None or code.startswith(f"{warehouse}/"))
    }
    mine = list(accounts)
    inflows = (
        select(Transfer.at, Transfer.amount)
        .where(
            Transfer.debit_id.in_(mine),
            Transfer.credit_id.not_in(mine),
            Transfer.kind == "posted",
        )
        .order_by(Transfer.at.desc(), Transfer.id.desc())
        .limit(MOST_INFLOWS)
    )
    left = item.units or 0
    ages = dict.fromkeys([name for _, name in AGES] + [OLDEST], 0)
    for at, amount in call.session.execute(inflows):
        units = min(left, amount)
        days = (call.now - at).days
        ages[next((name for most, name in AGES if days <= most), OLDEST)] += units
        left -= units
        if not left:
            break
    ages[OLDEST] += left
    return item.model_copy(update={"ages": {name: units for name, units in ages.items() if units}})


def _sums(found: list[Finding]) -> dict[str, int]:
    totals = {"units": sum(item.units or 0 for item in found)}
    for item in found:
        name = f"value_minor_{item.currency}"
        totals[name] = totals.get(name, 0) + (item.value_minor or 0)
    return totals


_REPORTS: Final[
    dict[str, Callable[[Call, str | None, int], tuple[list[Finding], dict[str, int]]]]
] = {
    "dead": _dead,
    "ageing": _valuation,
    "valuation": _valuation,
    "expiring": _expiring,
    "classes": _classes,
    "accuracy": _accuracy,
}
_NOTES: Final = {
    "valuation": ["Moving average cost; without a receipt the catalogue's or supplier's cost."],
    "ageing": ["By the last arrivals: what is left is taken to have come last."],
    "classes": ["A: the first 80 % of a year's revenue, B: the next 15 %. X, Y, Z: variation."],
}
