"""What runs low, by when, and what to do about it: read, then decided outside the database."""

from dataclasses import dataclass, field
from datetime import date
from math import ceil
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from common.call import Call
from common.clock import stamp
from common.errors import InvalidParameters
from common.ledgers.accounts import BATCH
from common.paging import decoded, encoded
from common.rules import lots, stock
from common.tables.inventory import ReorderPolicy, SupplierItem
from common.toolset import Progress
from servers.inventory import availability, catalogue, demand
from servers.inventory.classes import (
    MAX_DAYS,
    Action,
    Policy,
    Position,
    Reason,
    Receipt,
    Surplus,
)
from servers.inventory.forecasting import Forecast, forecast
from servers.inventory.replenishing import Decision, decide, reorder_levels, stock_out_date
from servers.inventory.results import LowItem, LowStock

MOST_SKUS: Final = 20_000
MOST_ITEMS: Final = 600
DEFAULT_LEAD_DAYS: Final = 7
TRANSIT_DAYS: Final = 2
# A shelf above this many times the demand of its protection interval is not low by any method.
AMPLE: Final = 4
AMPLE_UNITS: Final = 5
ORDER: Final = {action.value: rank for rank, action in enumerate(Action)}

Key = tuple[str, str]


@dataclass
class Site:
    """One item in one warehouse, as read."""

    position: Position
    policy: Policy
    history: list[int] = field(default_factory=list)
    largest_order: int = 0
    receipts: tuple[Receipt, ...] = ()
    sold_week: int = 0
    terms: SupplierItem | None = None


@dataclass
class Review:
    """Everything the decisions need. ``low`` are the sites in question, ``sites`` all of theirs."""

    region: str
    today: date
    low: list[Key]
    sites: dict[Key, Site]
    names: dict[str, str]
    notes: list[str]
    demand_as_of: str | None


@dataclass(frozen=True)
class Reviewed:
    review: Review
    items: list[LowItem]


def prepare(call: Call, region: str = "all", **_: Any) -> Review:
    """Read stock, incoming, policies and demand. Raises InvalidParameters for a region."""
    session, now = call.session, call.now
    wanted = [row.id for row in catalogue.in_region(session, region)]
    week = demand.sums(session, now, demand.WEEK)
    quarter = demand.sums(session, now, demand.QUARTER)
    policies = _policies(session)
    skus = sorted(
        {key[0] for key in (*quarter, *policies) if key[1] in wanted}
        | set(catalogue.stocked(session, wanted, MOST_SKUS))
    )[:MOST_SKUS]
    last = demand.newest(session, now)
    notes = demand.freshness(now, last)
    sites = _sites(call, skus, policies, week)
    low = _low(sites, set(wanted), quarter)
    if len(low) > MOST_ITEMS:
        notes.append(f"Only the {MOST_ITEMS} shortest of {len(low)} items were looked at.")
        low = low[:MOST_ITEMS]
    chosen = sorted({sku for sku, _ in low})
    sales = demand.history(session, now, chosen)
    if sales.unassigned:
        notes.append(f"{sales.unassigned} units of demand name no warehouse and are left out.")
    for key, site in sites.items():
        site.history = sales.daily.get(key, [])
        site.largest_order = sales.largest.get(key, 0)
    items = catalogue.named(session, chosen)
    return Review(
        region=region, today=now.date(), low=low,
        sites={key: site for key, site in sites.items() if key[0] in items},
        names={sku: row.name for sku, row in items.items()}, notes=notes,
        demand_as_of=stamp(last) if last else None,
    )  # fmt: skip


def compute(review: Review, progress: Progress) -> Reviewed:
    """Decide on every site that may be low; the emptiest is given surplus first."""
    forecasts: dict[Key, Forecast] = {}
    spare: dict[Key, int] = {}
    beside: dict[str, list[Key]] = {}
    for key in sorted(review.sites):
        beside.setdefault(key[0], []).append(key)
    items = []
    for done, key in enumerate(review.low):
        if progress.cancelled():
            break
        decision = _decided(review, key, forecasts, [])
        # Whether another site has units to spare only matters for one that lacks them.
        if decision.action is Action.REORDER_NOW or decision.stockout_before_receipt:
            surpluses = [
                Surplus(other[1], units, TRANSIT_DAYS)
                for other in beside[key[0]]
                if other != key and (units := _spare(review, other, forecasts, spare)) > 0
            ]
            if surpluses:
                decision = _decided(review, key, forecasts, surpluses)
        if decision.action is Action.TRANSFER and decision.reference is not None:
            spare[key[0], decision.reference] -= decision.quantity
        if decision.reason is not Reason.ENOUGH:
            items.append(_item(review, key, decision))
        if done % 50 == 49:
            progress.report(done + 1, len(review.low), "items reviewed")
    items.sort(key=_rank)
    return Reviewed(review, items)


def _decided(
    review: Review, key: Key, forecasts: dict[Key, Forecast], surpluses: list[Surplus]
) -> Decision:
    site = review.sites[key]
    return decide(
        site.position, _forecast(review, key, forecasts), site.policy,
        recent=site.history[-demand.QUARTER :], largest_recent_order=site.largest_order,
        receipts=site.receipts, surpluses=surpluses,
    )  # fmt: skip


def _forecast(review: Review, key: Key, forecasts: dict[Key, Forecast]) -> Forecast:
    if key not in forecasts:
        site = review.sites[key]
        forecasts[key] = forecast(site.history, site.policy.protection_days)
    return forecasts[key]


def _spare(review: Review, key: Key, forecasts: dict[Key, Forecast], spare: dict[Key, int]) -> int:
    """What a site has above its own target, less what was given away of it already."""
    if key not in spare:
        site = review.sites[key]
        free = site.position.available - site.position.backordered
        target = 0
        if free > 0:
            target = reorder_levels(_forecast(review, key, forecasts), site.policy).target
        spare[key] = max(0, free - target)
    return spare[key]


def answer(reviewed: Reviewed, action: str, limit: int, cursor: str | None) -> LowStock:
    """One page of what was found, the first to run out first."""
    counts = {name.value: 0 for name in Action}
    for item in reviewed.items:
        counts[item.action] += 1
    chosen = [item for item in reviewed.items if action in ("all", item.action)]
    if cursor is not None:
        after = decoded(cursor, 4)
        if [type(part) for part in after] != [str, int, str, str]:
            raise InvalidParameters.field("cursor", cursor, "a cursor from an earlier page")
        chosen = [item for item in chosen if list(_rank(item)) > after]
    shown = chosen[:limit]
    return LowStock(
        region=reviewed.review.region,
        counts=counts,
        items=shown,
        notes=reviewed.review.notes,
        demand_as_of=reviewed.review.demand_as_of,
        next_cursor=encoded(_rank(shown[-1])) if len(chosen) > limit else None,
    )


def _rank(item: LowItem) -> tuple[str, int, str, str]:
    ignored = item.action == Action.IGNORE.value
    day = "9999-12-31" if ignored else item.stock_out_on or "9999-12-30"
    return (day, ORDER[item.action], item.sku, item.warehouse)


def _item(review: Review, key: Key, found: Decision) -> LowItem:
    site = review.sites[key]
    out = stock_out_date(review.today, found.stock_out_in_days)
    terms = site.terms
    return LowItem(
        sku=key[0], name=review.names[key[0]], warehouse=key[1], action=found.action.value,
        reason=found.reason.value, quantity=found.quantity, order_quantity=found.order_quantity,
        source=found.reference, stock_out_on=out.isoformat() if out else None,
        cover_days=found.cover_days, available=found.available,
        incoming=site.position.on_order + site.position.inbound_transfer,
        demand_7d=site.sold_week, reorder_point=found.levels.reorder_point,
        supplier=terms.supplier_id if terms else None,
        cost_minor=found.order_quantity * terms.unit_cost_minor if terms else None,
        currency=terms.currency if terms else None, arithmetic=list(found.arithmetic),
    )  # fmt: skip


def _low(sites: dict[Key, Site], wanted: set[str], quarter: dict[Key, int]) -> list[Key]:
    """Sites worth a forecast, the shortest cover first."""
    ranked = []
    for key, site in sites.items():
        if key[1] not in wanted:
            continue
        rate = max(site.sold_week / demand.WEEK, quarter.get(key, 0) / demand.QUARTER)
        by_hand = site.policy.point_by_hand
        bound = AMPLE * rate * site.policy.protection_days + AMPLE_UNITS if rate else -1
        free = site.position.available - site.position.backordered
        if free <= max(bound, -1 if by_hand is None else by_hand):
            ranked.append((free / rate if rate else float(MAX_DAYS), key))
    return [key for _, key in sorted(ranked)]


def _sites(
    call: Call, skus: list[str], policies: dict[Key, ReorderPolicy], week: dict[Key, int]
) -> dict[Key, Site]:
    session, now = call.session, call.now
    levels = stock.levels(session, now, skus)
    expired = lots.withheld(session, now, skus)
    coming = availability.receipts(session, skus)
    owed = availability.backordered(session, skus)
    offers = _offers(session, skus)
    known = set(skus)
    keys = set(levels) | set(coming) | set(week) | set(policies)
    found = {}
    for key in sorted(key for key in keys if key[0] in known):
        level = levels.get(key, stock.Levels())
        row = policies.get(key)
        terms = _terms(offers.get(key[0], []), row)
        receipts = coming.get(key, [])
        bought = sum(c.units for c in receipts)
        found[key] = Site(
            position=Position(
                on_hand=level.on_hand, reserved=level.reserved,
                unavailable=level.quarantine + level.damaged + level.inspection + level.refurbish
                + expired.get(key, 0),
                on_order=bought - min(bought, level.in_transit),
                inbound_transfer=level.in_transit, backordered=owed.get(key, 0),
            ),
            policy=_policy(row, terms), sold_week=week.get(key, 0), terms=terms,
            receipts=tuple(
                # One that comes today is on the shelf tomorrow; an overdue one has no date.
                Receipt(c.source, c.units, max(0, (c.on - now.date()).days - 1))
                for c in receipts
                if c.on is not None and c.on >= now.date()
            ),
        )  # fmt: skip
    return found


def _policies(session: Session) -> dict[Key, ReorderPolicy]:
    query = select(ReorderPolicy).order_by(ReorderPolicy.id).limit(MOST_SKUS)
    return {(row.sku, row.warehouse_id): row for row in session.scalars(query)}


def _offers(session: Session, skus: list[str]) -> dict[str, list[SupplierItem]]:
    found: dict[str, list[SupplierItem]] = {}
    for start in range(0, len(skus), BATCH):
        query = select(SupplierItem).where(SupplierItem.sku.in_(skus[start : start + BATCH]))
        for row in session.scalars(query):
            found.setdefault(row.sku, []).append(row)
    return found


def _terms(offers: list[SupplierItem], policy: ReorderPolicy | None) -> SupplierItem | None:
    chosen = policy.supplier_id if policy else None
    mine = [offer for offer in offers if offer.supplier_id == chosen] or offers
    return min(mine, key=catalogue.best_first, default=None)


def _policy(row: ReorderPolicy | None, terms: SupplierItem | None) -> Policy:
    lead = DEFAULT_LEAD_DAYS if terms is None else ceil(terms.lead_time_millidays / 1000)
    lead_days = min(lead, MAX_DAYS - 62)
    spread = 0.0 if terms is None else min(terms.lead_time_sd_millidays / 1000, float(MAX_DAYS))
    minimum_order = terms.minimum_order if terms else 1
    pack = terms.pack_multiple if terms else 1
    if row is None:
        return Policy(lead_days, spread, minimum_order=minimum_order, pack_multiple=pack)
    level = row.service_level_per_mille
    return Policy(
        lead_time_days=lead_days, lead_time_sd_days=spread, review_days=min(row.review_days, 60),
        minimum_order=minimum_order, pack_multiple=pack,
        order_cover_days=min(row.order_cover_days, MAX_DAYS),
        fill_rate=row.fill_rate_per_mille / 1000,
        service_level=level / 1000 if level else None, maximum=row.maximum, minimum=row.minimum,
        reorder_point=row.reorder_point, safety_stock=row.safety_stock, ending=row.ending,
    )  # fmt: skip
