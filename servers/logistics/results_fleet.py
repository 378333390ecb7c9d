"""What the logistics server answers with: drivers, vans, routes and plans."""

from typing import Any

from common.clock import stamp
from common.money import Money
from common.rules.timeline import count
from common.tables.fleet import Driver, Route, RoutePlan, Vehicle
from common.wire import Result
from servers.logistics import fleet
from servers.logistics.planning import MOST as MOST_PLANNED
from servers.logistics.results import told
from servers.logistics.routes import Halt, Whole

SHOWN = 100


class DriverRow(Result):
    driver_id: str
    name: str
    status: str
    depot_id: str
    skills: list[str]
    shift: str
    duty_left_minutes: int
    driving_left_minutes: int
    route_id: str | None = None

    @classmethod
    def of(cls, driver: Driver, clock: fleet.Clock, route_id: str | None) -> "DriverRow":
        return cls(
            driver_id=driver.id,
            name=driver.name,
            status=driver.status,
            depot_id=driver.depot_id,
            skills=driver.skills,
            shift=f"{_wall(driver.shift_start_minute)}-{_wall(driver.shift_end_minute)}",
            duty_left_minutes=clock.duty_left // 60,
            driving_left_minutes=clock.driving_left // 60,
            route_id=route_id,
        )


class DriverList(Result):
    count: int
    drivers: list[DriverRow]
    next_cursor: str | None = None


class VehicleRow(Result):
    vehicle_id: str
    name: str
    status: str
    note: str | None = None
    depot_id: str
    capacity_weight_g: int
    capacity_volume_cm3: int
    skills: list[str]
    route_id: str | None = None

    @classmethod
    def of(cls, vehicle: Vehicle, route_id: str | None) -> "VehicleRow":
        return cls(
            vehicle_id=vehicle.id,
            name=vehicle.name,
            status=vehicle.status,
            note=vehicle.status_note or None,
            depot_id=vehicle.depot_id,
            capacity_weight_g=vehicle.capacity_weight_g,
            capacity_volume_cm3=vehicle.capacity_volume_cm3,
            skills=vehicle.skills,
            route_id=route_id,
        )


class VehicleList(Result):
    count: int
    vehicles: list[VehicleRow]
    next_cursor: str | None = None


class VehicleChanged(Result):
    vehicle: VehicleRow
    waiting_shipment_ids: list[str]
    next: str


class RouteRow(Result):
    route_id: str
    date: str
    status: str
    vehicle_id: str
    driver_id: str | None = None
    depot_id: str
    start: str
    finish: str
    metres: int
    driving_minutes: int
    waiting_minutes: int
    load_weight_g: int
    load_volume_cm3: int
    cost: str
    summary: str

    @classmethod
    def of(cls, route: Route) -> "RouteRow":
        return cls(**_route(route))


class RouteList(Result):
    date: str
    count: int
    routes: list[RouteRow]


class HaltView(Result):
    """``slack_s``: seconds it could slip without making anything late; ``load_g``: after it."""

    position: int
    shipment_id: str
    order_id: str | None = None
    status: str
    arrival: str
    wait_s: int
    slack_s: int
    load_g: int
    metres: int
    eta: str | None = None
    arrived_at: str | None = None
    late: bool | None = None

    @classmethod
    def of(cls, halt: Halt) -> "HaltView":
        stop, promised = halt.stop, halt.shipment.promised_at
        expected = halt.eta or stop.arrived_at
        late = promised is not None and expected is not None and expected > promised
        moved = halt.eta is not None and halt.eta != stop.planned_arrival
        return cls(
            position=stop.position,
            shipment_id=stop.shipment_id,
            order_id=halt.shipment.order_id,
            status=stop.status,
            arrival=stamp(stop.planned_arrival),
            wait_s=stop.wait_seconds,
            slack_s=stop.slack_seconds,
            load_g=stop.load_weight_g,
            metres=stop.metres,
            eta=told(halt.eta) if moved else None,
            arrived_at=told(stop.arrived_at),
            late=late or None,
        )


class RouteView(RouteRow):
    stops: list[HaltView]
    breaks: list[str] | None = None
    travel: str | None = None
    map: str
    next: str | None = None

    @classmethod
    def whole(cls, found: Whole, most: int = 1_000) -> "RouteView":
        return cls(
            **_route(found.route, sum(halt.stop.status != "skipped" for halt in found.halts)),
            stops=[HaltView.of(halt) for halt in found.halts[:most]],
            breaks=_breaks(found.route.plan),
            travel=found.route.plan.get("travel"),
            map=f"logistics://route/{found.route.id}/map",
            next=_NEXT_OF_ROUTE.get(found.route.status),
        )


class LeftOut(Result):
    shipment_id: str
    reason: str
    detail: str


class PlanChange(Result):
    """Of a route on the road, against the order it had."""

    metres: int
    duty_seconds: int
    late_before: int


class PlanView(Result):
    """``unassigned`` shows the first 100; ``unassigned_count`` counts all."""

    plan_id: str
    date: str
    seed: int
    routes: list[RouteView]
    assigned: int
    unassigned_count: int
    unassigned: list[LeftOut]
    metres: int
    travel: str | None = None
    change: PlanChange | None = None
    next: str

    @classmethod
    def of(cls, plan: RoutePlan, routes: list[Whole]) -> "PlanView":
        views, room = [], SHOWN
        for route in routes:
            views.append(RouteView.whole(route, room))
            room = max(0, room - len(route.halts))
        beyond, change = plan.totals["beyond"], plan.totals.get("change")
        more = f" {beyond} shipments are above the {MOST_PLANNED} of one plan." if beyond else ""
        return cls(
            plan_id=plan.id,
            date=plan.on_date.isoformat(),
            seed=plan.seed,
            routes=views,
            assigned=plan.totals["assigned"],
            unassigned_count=plan.totals["unassigned"],
            unassigned=[LeftOut(**each) for each in plan.unassigned[:SHOWN]],
            metres=plan.totals["metres"],
            travel=plan.totals.get("travel", ""),
            change=PlanChange(**change) if change else None,
            next=_ANEW if change else _DRAFTS + more,
        )


_ANEW = "Tell the driver the new order. What is left out waits: call its customers."
_DRAFTS = (
    "These are drafts. Show them to the person; get_route shows every stop, reassign_stop changes "
    "one, dispatch_route sends a route off."
)
_NEXT_OF_ROUTE = {
    "draft": "Show it to the person, then dispatch_route.",
    "dispatched": "record_delivery or record_failed_attempt at each stop.",
    "in_progress": "record_delivery or record_failed_attempt at each stop.",
    "cancelled": "plan_routes plans its shipments anew.",
}


def _breaks(plan: dict[str, Any]) -> list[str] | None:
    """Rest on the way: when, how long, after which shipment."""
    told = [
        f"{each['at']} for {each['seconds']} s after {each['after'] or 'nothing, at the depot'}"
        for each in plan.get("breaks", [])
    ]
    return told or None


def _route(route: Route, stops: int | None = None) -> dict[str, Any]:
    said = f"{count(stops, 'stop')}, " if stops is not None else ""
    minutes = route.duty_seconds // 60
    km = f"{route.metres // 1_000}.{route.metres % 1_000 // 100}"
    return {
        "route_id": route.id,
        "date": route.on_date.isoformat(),
        "status": route.status,
        "vehicle_id": route.vehicle_id,
        "driver_id": route.driver_id,
        "depot_id": route.depot_id,
        "start": stamp(route.planned_start),
        "finish": stamp(route.planned_finish),
        "metres": route.metres,
        "driving_minutes": route.driving_seconds // 60,
        "waiting_minutes": route.waiting_seconds // 60,
        "load_weight_g": route.load_weight_g,
        "load_volume_cm3": route.load_volume_cm3,
        "cost": str(Money(route.cost_minor, route.currency)),
        "summary": f"{said}{km} km, {minutes // 60} h {minutes % 60:02} min",
    }


def _wall(minute: int) -> str:
    return f"{minute // 60 % 24:02}:{minute % 60:02}"
