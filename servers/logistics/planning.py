"""Plan a day: read what waits, search in a thread, write drafts if nothing changed meanwhile."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from sqlalchemy import func, or_, select

from common.call import Call
from common.errors import Conflict, InvalidParameters, NotFound, RuleViolation
from common.settings import RoutingSettings
from common.tables.fleet import Depot, Driver, Route, RoutePlan, Stop, Vehicle
from common.tables.logistics import DeliveryAttempt, Shipment
from common.toolset import Progress
from servers.logistics import (
    crews,
    engine,
    fleet,
    moving,
    pairing,
    solving,
    travelling,
    writing,
)
from servers.logistics.crews import Ground
from servers.logistics.engine.travel import Place

MOST: Final = 1_000
AHEAD_DAYS: Final = 60
NO_CREW: Final = "no free van with a free driver at this depot on this day"


@dataclass(frozen=True)
class Left:
    """A shipment that no route of the plan brings, and why."""

    shipment_id: str
    reason: str
    detail: str


@dataclass(frozen=True)
class Brief:
    """What was read. ``versions`` of shipments, vans and drivers, by id; ``drafts`` are planned
    anew; ``beyond``: shipments above the most that one plan takes; ``again``: the route on the
    road that is planned anew."""

    on: date
    grounds: tuple[Ground, ...]
    left: tuple[Left, ...]
    versions: dict[str, int]
    drafts: tuple[str, ...]
    seed: int
    iterations: int
    beyond: int
    routing: RoutingSettings | None = None
    again: str | None = None


@dataclass(frozen=True)
class Planned:
    brief: Brief
    plans: tuple[tuple[Ground, engine.Plan], ...]
    notes: tuple[str, ...] = ()
    before: engine.PlannedRoute | None = None


def prepare(
    call: Call,
    date: str | None,
    depot: str | None,
    vehicles: list[str] | None,
    seed: int,
    iterations: int,
    replan: bool,
) -> Brief:
    """Raises NotFound, InvalidParameters (day, vans), RuleViolation (nothing to plan)."""
    depots = _depots(call, depot)
    on = _day(call, depots, date)
    drafts = _drafts(call, depots, on, replan=replan)
    waiting, beyond = _waiting(call, depots, on, drafts, named=depot is not None)
    if not waiting:
        raise RuleViolation(
            f"No shipment waits for a van on {on.isoformat()}.",
            next="create_shipment makes one of a released order; list_shipments shows the rest.",
        )
    versions = {each.id: each.version for each in waiting}
    grounds, left = [], [
        Left(each.id, "no_depot", "its warehouse has no depot: add one, or send it by a carrier")
        for each in waiting
        if each.warehouse_id not in {known.warehouse_id for known in depots}
    ]  # fmt: skip
    _check_vans(call, depots, vehicles)
    for known in depots:
        here = [each for each in waiting if each.warehouse_id == known.warehouse_id]
        needs = {frozenset(each.skills) for each in here}
        found = _crews(call, known, on, vehicles, drafts, versions, needs) if here else []
        left += [
            Left(each.id, "no_coordinates", "give it coordinates with resolve_exception")
            for each in here
            if each.lat_e6 is None or each.lon_e6 is None
        ]
        stops = [crews.stop_of(s) for s in here if s.lat_e6 is not None and s.lon_e6 is not None]
        place = Place(known.lat_e6, known.lon_e6)
        grounds.append(Ground(known.id, place, tuple(found), tuple(stops)))
    return Brief(
        on, tuple(g for g in grounds if g.stops), tuple(left), versions,
        tuple(route.id for route in drafts), seed, iterations, beyond, call.ports.get("routing"),
    )  # fmt: skip


def compute(brief: Brief, progress: Progress) -> Planned:
    """No database here: runs in a thread. Stops early, with the best so far, when cancelled."""
    plans: list[tuple[Ground, engine.Plan]] = []
    notes: list[str] = []
    before: engine.PlannedRoute | None = None
    total = 1_000 * max(1, len(brief.grounds))
    for index, ground in enumerate(brief.grounds):

        def told(step: engine.Progress, done: int = 1_000 * index) -> None:
            progress.report(done + step.permille, total, f"{step.unassigned} shipments without van")

        travel, note = travelling.times(crews.places(ground), brief.routing)
        notes.append(note)
        found = solving.solve(ground, travel, brief, told, progress.cancelled)
        if brief.again is not None:
            found, before = solving.no_worse(ground, travel, found)
        plans.append((ground, found))
    return Planned(brief, tuple(plans), tuple(dict.fromkeys(notes)), before)


def keep(call: Call, planned: Planned) -> tuple[RoutePlan, list[Route]]:
    """Write the plan: drafts, their stops, and every shipment left out with the reason.

    Raises Conflict when a shipment, a van or a driver changed while the plan was made.
    """
    brief = planned.brief
    call.stake(on_road=False)
    shipments = _unchanged(call, planned)
    for route_id in brief.drafts:
        route = call.get(Route, route_id)
        if route.status != "draft":
            raise _changed(route_id)
        fleet.end_early(call, route, "planned anew")
    _require_waiting(call, planned, shipments)
    plan = plan_row(call, planned)
    routes: list[Route] = []
    for ground, found in planned.plans:
        by_van = {crew.vehicle.id: crew for crew in ground.crews}
        for timed in found.routes:
            made = writing.new_route(call, plan, ground.depot_id, by_van[timed.vehicle_id], timed)
            writing.put_stops(call, made, timed, shipments)
            routes.append(made)
    call.session.flush()
    return plan, routes


def _depots(call: Call, depot: str | None) -> list[Depot]:
    if depot is not None:
        known = call.find(Depot, depot)
        if known is not None:
            return [known]
        found = call.all(Depot, Depot.warehouse_id == depot, limit=20)
        if not found:
            raise NotFound("No such depot.", details={"depot": depot})
        return found
    depots = call.all(Depot, limit=50)
    if not depots:
        raise RuleViolation("The shop has no depot.", next="Send parcels with a carrier.")
    return depots


def _day(call: Call, depots: Sequence[Depot], wanted: str | None) -> date:
    """The day asked for, or the next on which a shift still has an hour to go."""
    today = call.now.astimezone(ZoneInfo(depots[0].timezone)).date()
    if wanted is not None:
        on = date.fromisoformat(wanted)
        if not today <= on <= today + timedelta(days=AHEAD_DAYS):
            raise InvalidParameters.field(
                "date", wanted, f"from {today.isoformat()}, at most {AHEAD_DAYS} days ahead"
            )
        return on
    soon = call.now + timedelta(hours=1)
    places = {depot.id: depot for depot in depots}
    drivers = call.all(Driver, Driver.active.is_(True), Driver.depot_id.in_(list(places)))
    for driver in drivers:
        ends = crews.at_minute(places[driver.depot_id], today, driver.shift_end_minute)
        if driver.status != "off" and ends > soon:
            return today
    return today + timedelta(days=1)


def _drafts(call: Call, depots: Sequence[Depot], on: date, *, replan: bool) -> list[Route]:
    """Those that can no longer be driven; with ``replan`` also those of the day."""
    ids = [depot.id for depot in depots]
    over = Route.planned_finish < call.now
    wanted = or_(over, Route.on_date == on) if replan else over
    return call.all(Route, wanted, Route.depot_id.in_(ids), Route.status == "draft")


def _waiting(
    call: Call, depots: Sequence[Depot], on: date, drafts: Sequence[Route], *, named: bool
) -> tuple[list[Shipment], int]:
    """Shipments for the own vans that are due by the day, dearest first, and how many more."""
    ends = max(crews.at_minute(depot, on, 1_440) for depot in depots)
    later = (
        select(DeliveryAttempt.shipment_id)
        .where(DeliveryAttempt.next_attempt_on > on, DeliveryAttempt.shipment_id == Shipment.id)
        .where(DeliveryAttempt.number == Shipment.attempts)
    )
    drafted = select(Stop.shipment_id).where(
        Stop.route_id.in_([route.id for route in drafts]),
        Stop.status.in_(moving.LIVE),
    )
    where = [
        Shipment.carrier_id.is_(None), Shipment.kind != "return",
        or_(Shipment.status.in_(moving.PLANNABLE), Shipment.id.in_(drafted)),
        or_(Shipment.window_opens_at.is_(None), Shipment.window_opens_at < ends),
        ~later.exists(),
    ]  # fmt: skip
    if named:
        where.append(Shipment.warehouse_id.in_([depot.warehouse_id for depot in depots]))
    count = call.session.scalar(select(func.count()).select_from(Shipment).where(*where)) or 0
    query = select(Shipment).where(*where)
    order = query.order_by(Shipment.priority.desc(), Shipment.created_at, Shipment.id)
    return list(call.session.scalars(order.limit(MOST))), max(0, count - MOST)


def _check_vans(call: Call, depots: Sequence[Depot], vehicles: list[str] | None) -> None:
    here = {depot.id for depot in depots}
    for id in vehicles or []:
        van = call.get(Vehicle, id, next="list_vehicles shows them.")
        if van.depot_id not in here:
            raise InvalidParameters.field("vehicles", id, "a van of the depot")


def _crews(
    call: Call,
    depot: Depot,
    on: date,
    vehicles: list[str] | None,
    drafts: Sequence[Route],
    versions: dict[str, int],
    needs: set[frozenset[str]],
) -> list[crews.Crew]:
    """Free vans and free drivers, paired so that what stops need is there."""
    anew = {route.id for route in drafts}
    taken = [
        route
        for route in call.all(Route, Route.on_date == on, Route.status.in_(fleet.OPEN))
        if route.id not in anew
    ]
    busy = {route.vehicle_id for route in taken} | {route.driver_id for route in taken}
    today = call.now.astimezone(ZoneInfo(depot.timezone)).date()
    fit = ("available",) if on == today else ("available", "on_route")
    vans = call.all(Vehicle, Vehicle.depot_id == depot.id, Vehicle.status.in_(fit), limit=500)
    vans = [v for v in vans if v.id not in busy and (not vehicles or v.id in vehicles)]
    vans.sort(key=lambda v: (-v.capacity_weight_g, -v.capacity_volume_cm3, v.id))
    there = call.all(Driver, Driver.depot_id == depot.id, Driver.active.is_(True), limit=500)
    there = [d for d in there if d.id not in busy and (on > today or d.status != "off")]
    there = [d for d in there if d.licence_until is None or d.licence_until >= on]
    known = pairing.Known.at(call, depot.id)
    able = [d for d in there if vans and crews.crew(call, vans[0], d, depot, on, known)]
    pairs = [
        (van, driver, crews.crew(call, van, driver, depot, on, known))
        for van, driver in pairing.pairs(vans, able, needs, known)
    ]
    for van, driver, _ in pairs:
        versions[van.id], versions[driver.id] = van.version, driver.version
    return [found for _, _, found in pairs if found is not None]


def _unchanged(call: Call, planned: Planned) -> dict[str, Shipment]:
    """The planned shipments, of the versions that were read. Raises Conflict."""
    ids = [visit.stop_id for _, found in planned.plans for r in found.routes for visit in r.visits]
    shipments: dict[str, Shipment] = {}
    for start in range(0, len(ids), 500):
        for row in call.all(Shipment, Shipment.id.in_(ids[start : start + 500])):
            shipments[row.id] = row
    for id in ids:
        if id not in shipments or shipments[id].version != planned.brief.versions[id]:
            raise _changed(id)
    return shipments


def _require_waiting(call: Call, planned: Planned, shipments: dict[str, Shipment]) -> None:
    """No shipment, van or driver of the plan is taken. Raises Conflict."""
    for id, row in shipments.items():
        if row.status not in moving.PLANNABLE:
            raise _changed(id)
    for ground, found in planned.plans:
        drivers = {crew.vehicle.id: crew.driver_id for crew in ground.crews}
        for route in found.routes:
            van = call.session.get(Vehicle, route.vehicle_id)
            driver = call.session.get(Driver, drivers[route.vehicle_id])
            for id, known in ((route.vehicle_id, van), (drivers[route.vehicle_id], driver)):
                if known is None or known.version != planned.brief.versions[id]:
                    raise _changed(id)
            _require_free(call, planned.brief.on, route.vehicle_id, drivers[route.vehicle_id])


def _require_free(call: Call, on: date, vehicle_id: str, driver_id: str) -> None:
    query = (
        select(Route.id)
        .where(Route.on_date == on, Route.status.in_(fleet.OPEN))
        .where(or_(Route.vehicle_id == vehicle_id, Route.driver_id == driver_id))
    )
    found = call.session.scalar(query.limit(1))
    if found is not None:
        raise _changed(found)


def plan_row(call: Call, planned: Planned) -> RoutePlan:
    brief = planned.brief
    left = list(brief.left)
    for ground, found in planned.plans:
        for each in found.unassigned:
            detail = each.detail if ground.crews else NO_CREW
            left.append(Left(each.stop_id, str(each.reason), detail))
    totals = [found.totals for _, found in planned.plans]
    return call.add(
        RoutePlan(
            id=call.new_id("plan"),
            on_date=brief.on,
            depot_id=brief.grounds[0].depot_id if len(brief.grounds) == 1 else None,
            engine=brief.routing.engine if brief.routing else "default",
            seed=brief.seed,
            iterations=brief.iterations,
            totals={
                "routes": sum(each.routes for each in totals),
                "assigned": sum(each.assigned for each in totals),
                "unassigned": len(left) + brief.beyond,
                "beyond": brief.beyond,
                "travel": "; ".join(planned.notes),
                "metres": sum(each.metres for each in totals),
                "driving_seconds": sum(each.driving for each in totals),
                "duty_seconds": sum(each.duty for each in totals),
                **_change(planned),
            },
            unassigned=[
                {"shipment_id": each.shipment_id, "reason": each.reason, "detail": each.detail}
                for each in left
            ],
            created_at=call.now,
        )
    )


def _change(planned: Planned) -> dict[str, dict[str, int]]:
    """What planning a route anew changed; fewer is less."""
    was = planned.before
    if was is None:
        return {}
    now = planned.plans[0][1].routes[0]
    return {
        "change": {
            "metres": now.metres - was.metres,
            "duty_seconds": now.duty - was.duty,
            "late_before": sum(visit.slack < 0 for visit in was.visits if not visit.frozen),
        }
    }


def _changed(id: str) -> Conflict:
    return Conflict(
        f"{id} changed while the plan was made.",
        details={"id": id},
        next="Call plan_routes again; nothing was written.",
    )


__all__ = ["Brief", "Left", "Planned", "compute", "keep", "plan_row", "prepare"]
