"""A day planned, looked at, changed, sent off."""

import asyncio
from typing import Any
from xml.etree import ElementTree

import pytest
from sqlalchemy import func, select

from common.errors import Conflict
from common.tables.fleet import Driver, Route, RoutePlan, Stop, Vehicle
from common.tables.inventory import Reservation
from common.tables.logistics import Shipment
from common.tables.orders import Order, OrderLine
from servers.logistics import planning
from servers.logistics.engine import progress as engine_progress
from servers.logistics.tools import tools
from servers.orders import fulfilling
from tests.logistics.seed import TODAY, TOMORROW, Desk, address, everything
from tests.support.shop import Person, call, connected, done


class Quiet:
    """Progress nobody looks at."""

    def report(self, done: int, total: int, message: str = "") -> None: ...

    def cancelled(self) -> bool:
        return False


async def test_a_day_from_plan_to_road(either: Desk) -> None:
    desk = either
    shipments = [await desk.shipment(("LAMP", 2)) for _ in range(4)]
    plan = await desk.done("plan_routes", iterations=50)
    assert (plan["date"], plan["assigned"], plan["unassigned"]) == (TODAY, 4, [])
    route = plan["routes"][0]
    assert [stop["position"] for stop in route["stops"]] == [1, 2, 3, 4]
    assert {stop["shipment_id"] for stop in route["stops"]} == set(shipments)
    assert route["load_weight_g"] == 16_000
    assert [stop["load_g"] for stop in route["stops"]] == [12_000, 8_000, 4_000, 0]
    assert route["summary"].startswith("4 stops, ")
    arrivals = [stop["arrival"] for stop in route["stops"]]
    assert arrivals == sorted(arrivals)
    assert route["start"] >= "2026-11-02T09:00:00Z"

    sent = await desk.done("dispatch_route", route_id=route["route_id"])
    assert sent["status"] == "dispatched"
    assert [stop["status"] for stop in sent["stops"]] == [
        "enroute",
        "pending",
        "pending",
        "pending",
    ]
    states = await desk.look(
        lambda s: (
            set(s.scalars(select(Shipment.status))),
            set(s.scalars(select(Order.fulfilment_status))),
            set(s.scalars(select(Order.payment_status))),
            set(s.scalars(select(OrderLine.status))),
            set(s.scalars(select(Reservation.state))),
            s.scalar(select(Driver.status).where(Driver.id == sent["driver_id"])),
            s.scalar(select(Vehicle.status).where(Vehicle.id == sent["vehicle_id"])),
        )
    )
    assert states == (
        {"out_for_delivery"}, {"shipped"}, {"captured"}, {"shipped"}, {"consumed"}, "driving",
        "on_route",
    )  # fmt: skip
    await desk.refused("dispatch_route", "rule_violation", route_id=route["route_id"])
    await desk.refused("plan_routes", "rule_violation", date=TODAY)


async def test_the_seed_decides(desk: Desk) -> None:
    for _ in range(6):
        await desk.shipment()
    first = await desk.done("plan_routes", seed=7, iterations=60)
    again = await desk.done("plan_routes", seed=7, iterations=60, replan=True)
    shape = [[(s["shipment_id"], s["arrival"]) for s in r["stops"]] for r in first["routes"]]
    assert shape == [
        [(s["shipment_id"], s["arrival"]) for s in r["stops"]] for r in again["routes"]
    ]
    old = await done(desk.client, "get_route", route_id=first["routes"][0]["route_id"])
    assert old["status"] == "cancelled"


async def test_everything_left_out_has_a_reason(desk: Desk) -> None:
    heavy = await desk.shipment(("SAFE", 2))
    hazard = await desk.shipment(("OIL", 1))
    closed = await desk.shipment(window_closes_at="2026-11-02T09:00:30Z")
    far = await desk.shipment(ship_to=address(1, lat_e6=40_000_000))
    lost = await desk.shipment()

    def forget(call: Any) -> None:
        row = call.get(Shipment, lost)
        row.lat_e6 = row.lon_e6 = None

    await desk.seed("logistics", forget)
    fine = await desk.shipment(window_closes_at="2026-11-02T15:00:00Z")
    plan = await desk.done("plan_routes", iterations=30)
    reasons = {each["shipment_id"]: each["reason"] for each in plan["unassigned"]}
    assert reasons == {
        heavy: "capacity", hazard: "skill", closed: "window", far: "shift",
        lost: "no_coordinates",
    }  # fmt: skip
    assert [stop["shipment_id"] for stop in plan["routes"][0]["stops"]] == [fine]
    assert plan["unassigned_count"] == 5
    stored = await desk.look(lambda s: s.scalars(select(RoutePlan)).one())
    assert len(stored.unassigned) == 5


async def test_windows_are_kept_and_waiting_is_told(desk: Desk) -> None:
    await desk.shipment(window_opens_at="2026-11-02T12:00:00Z")
    await desk.shipment(window_closes_at="2026-11-02T09:45:00Z")
    plan = await desk.done("plan_routes", iterations=30, vehicles=["VAN-1"])
    (route,) = plan["routes"]
    early, late = route["stops"]
    assert early["arrival"] <= "2026-11-02T09:45:00Z"
    waited = late["wait_s"]
    assert waited > 0 or late["arrival"] >= "2026-11-02T12:00:00Z"
    assert early["slack_s"] >= 0


async def test_each_depot_brings_its_own(desk: Desk) -> None:
    here = await desk.shipment()
    there = await desk.shipment(
        warehouse="WH-2", ship_to=address(2, lat_e6=53_430_000)
    )  # fmt: skip
    plan = await desk.done("plan_routes", iterations=20)
    by = {r["depot_id"]: [s["shipment_id"] for s in r["stops"]] for r in plan["routes"]}
    assert by == {"DEP-1": [here], "DEP-2": [there]}
    assert {r["driver_id"] for r in plan["routes"]} == {"DRV-1", "DRV-3"}


async def test_without_drivers_it_says_so(desk: Desk) -> None:
    await desk.shipment()
    for driver in ("DRV-1", "DRV-2"):
        await desk.done("set_driver_status", driver_id=driver, status="off")
    plan = await desk.done("plan_routes", date=TODAY, depot="DEP-1")
    assert plan["routes"] == []
    assert plan["unassigned"][0]["reason"] == "no_vehicle"
    assert "driver" in plan["unassigned"][0]["detail"]
    tomorrow = await desk.done("plan_routes", date=TOMORROW, depot="WH-1")
    assert tomorrow["assigned"] == 1


async def test_bad_plans(desk: Desk) -> None:
    await desk.refused("plan_routes", "rule_violation", date=TODAY)
    await desk.shipment()
    for bad in (
        {"date": "2026-11-01"}, {"date": "2027-11-01"}, {"date": "2026-02-30"}, {"iterations": 0},
        {"iterations": 20_001}, {"seed": -1}, {"vehicles": []}, {"vehicles": ["VAN-3"],
        "depot": "DEP-1"},
    ):  # fmt: skip
        await desk.refused("plan_routes", "invalid_parameters", **bad)
    await desk.refused("plan_routes", "not_found", depot="DEP-9")
    await desk.refused("plan_routes", "not_found", vehicles=["VAN-9"])


async def test_progress_is_told(desk: Desk) -> None:
    for _ in range(3):
        await desk.shipment()
    told: list[tuple[float, float | None]] = []

    async def hear(done: float, total: float | None, message: str | None) -> None:
        told.append((done, total))

    result = await desk.client.call_tool(
        "plan_routes", {"iterations": 100, **desk.key()}, progress_callback=hear
    )
    assert not result.is_error
    for _ in range(50):
        await asyncio.sleep(0)
    assert told
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert told[-1] == (1_000, 1_000)


async def test_a_cancelled_plan_writes_nothing(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cancelled in the middle of the search, which has then seen it and stopped."""
    for _ in range(5):
        await desk.shipment()
    endings: list[bool] = []
    compute = planning.compute

    class Told:
        def __init__(self, inner: Any) -> None:
            self.inner = inner

        def report(self, done: int, total: int, message: str = "") -> None:
            self.inner.report(done, total, message)

        def cancelled(self) -> bool:
            endings.append(self.inner.cancelled())
            return endings[-1]

    spec = tools.tools["plan_routes"]
    assert spec.computation is not None
    monkeypatch.setattr(engine_progress, "REPORTS", 10_000)
    watched = type(spec.computation)(
        spec.computation.prepare, lambda data, progress: compute(data, Told(progress))
    )
    monkeypatch.setitem(
        tools.tools, "plan_routes", type(spec)(**{**vars_of(spec), "computation": watched})
    )
    async with connected(desk.shop, tools, person=Person("yes")) as client:
        started = asyncio.Event()

        async def hear(done: float, total: float | None, message: str | None) -> None:
            started.set()

        task = asyncio.create_task(
            client.call_tool(
                "plan_routes", {"iterations": 20_000, **desk.key()}, progress_callback=hear
            )
        )
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        for _ in range(500):
            if endings and endings[-1]:
                break
            await asyncio.sleep(0.01)
    assert endings[-1] is True
    assert await desk.look(lambda s: s.scalar(select(func.count()).select_from(Route))) == 0


def vars_of(spec: Any) -> dict[str, Any]:
    return {name: getattr(spec, name) for name in spec.__dataclass_fields__}


async def test_what_changed_meanwhile_is_a_conflict(either: Desk) -> None:
    """Two plans of the same shipments: the second to be written is refused."""
    desk = either
    shipment_id = await desk.shipment()

    def read(call: Any) -> Any:
        return planning.prepare(call, TODAY, None, None, 0, 10, False)

    first = planning.compute(await desk.seed("logistics", read), Quiet())
    second = planning.compute(await desk.seed("logistics", read), Quiet())
    await desk.seed("logistics", lambda call: planning.keep(call, first))
    before = await desk.look(everything)
    with pytest.raises(Conflict):
        await desk.seed("logistics", lambda call: planning.keep(call, second))
    assert await desk.look(everything) == before
    stops = await desk.look(lambda s: list(s.scalars(select(Stop.shipment_id))))
    assert stops == [shipment_id]
    other = await desk.shipment()
    third = planning.compute(await desk.seed("logistics", read), Quiet())
    await desk.done(
        "resolve_exception", shipment_id=other, action="retry", resolution="Moved.",
        lat_e6=52_530_000, lon_e6=13_410_000,
    )  # fmt: skip
    with pytest.raises(Conflict):
        await desk.seed("logistics", lambda call: planning.keep(call, third))


async def test_a_driver_on_one_route_only(either: Desk) -> None:
    desk = either
    await desk.shipment()
    one = await desk.done("plan_routes", vehicles=["VAN-1"], iterations=5)
    await desk.shipment()
    two = await desk.done("plan_routes", vehicles=["VAN-2"], iterations=5)
    first, second = one["routes"][0], two["routes"][0]
    assert (first["driver_id"], second["driver_id"]) == ("DRV-1", "DRV-2")
    await desk.done("dispatch_route", route_id=first["route_id"])
    answer = await desk.refused(
        "dispatch_route", "rule_violation", route_id=second["route_id"], driver_id="DRV-1"
    )
    assert answer["details"]["route_id"] == first["route_id"]
    await desk.refused(
        "dispatch_route", "invalid_parameters", route_id=second["route_id"], driver_id="DRV-3"
    )
    await desk.done("set_driver_status", driver_id="DRV-2", status="off")
    await desk.refused("dispatch_route", "rule_violation", route_id=second["route_id"])
    await desk.refused("set_driver_status", "rule_violation", driver_id="DRV-1", status="off")


async def test_dispatch_asks_a_person(desk: Desk) -> None:
    await desk.shipment()
    plan = await desk.done("plan_routes", iterations=5)
    route_id = plan["routes"][0]["route_id"]
    async with connected(desk.shop, tools) as alone:
        answer = await call(alone, "dispatch_route", route_id=route_id)
        assert (answer["status"], answer["level"]) == ("approval_required", 1)
        assert "captured" in str(answer)
    assert (await done(desk.client, "get_route", route_id=route_id))["status"] == "draft"
    desk.person.answer = "no"
    refused = await call(desk.client, "dispatch_route", route_id=route_id, **desk.key())
    assert refused.get("status") != "dispatched"
    assert (await done(desk.client, "get_route", route_id=route_id))["status"] == "draft"


async def test_no_dispatch_of_what_is_not_paid_or_held(desk: Desk) -> None:
    shipment_id = await desk.shipment()
    plan = await desk.done("plan_routes", date=TOMORROW, iterations=5)
    route_id = plan["routes"][0]["route_id"]
    await desk.refused("dispatch_route", "not_found", route_id="rte_none")
    view = await done(desk.client, "track_shipment", shipment_id=shipment_id)
    order_id = view["order_id"]
    await desk.seed("orders", lambda c: fulfilling.hold(c, order_id, "fraud", "look"))
    await desk.refused("dispatch_route", "rule_violation", route_id=route_id)
    await desk.seed("orders", lambda c: fulfilling.release_hold(c, order_id, "fraud", "fine"))
    await desk.done("dispatch_route", route_id=route_id)
    await desk.done("record_delivery", shipment_id=shipment_id, received_by="Ana")

    await desk.shipment()
    later = await desk.done("plan_routes", date="2026-11-11", iterations=5)
    late_id = later["routes"][0]["route_id"]
    await desk.refused("dispatch_route", "rule_violation", route_id=late_id)
    desk.clock.forward(days=8, hours=20)  # card authorizations lapse after seven days
    answer = await desk.refused("dispatch_route", "rule_violation", route_id=late_id)
    assert "paid" in answer["message"]


async def test_reassigning(desk: Desk) -> None:
    kept, moved = await desk.shipment(), await desk.shipment()
    one = (await desk.done("plan_routes", vehicles=["VAN-1"], iterations=5))["routes"][0]
    other = await desk.shipment()
    two = (await desk.done("plan_routes", vehicles=["VAN-2"], iterations=5))["routes"][0]
    target = await desk.done(
        "reassign_stop", shipment_id=moved, route_id=two["route_id"], position=1
    )
    assert [s["shipment_id"] for s in target["stops"]] == [moved, other]
    left = await done(desk.client, "get_route", route_id=one["route_id"])
    assert [s["shipment_id"] for s in left["stops"] if s["status"] == "pending"] == [kept]
    assert left["load_weight_g"] == 2_000
    assert target["load_weight_g"] == 4_000

    heavy = await desk.shipment(("SAFE", 1))
    answer = await desk.refused(
        "reassign_stop", "rule_violation", shipment_id=heavy, route_id=two["route_id"]
    )
    assert answer["details"]["reason"] == "capacity"
    await desk.refused(
        "reassign_stop", "invalid_parameters", shipment_id=kept, route_id=two["route_id"],
        position=9,
    )  # fmt: skip
    waiting = await desk.shipment()
    three = await desk.done("reassign_stop", shipment_id=waiting, route_id=two["route_id"])
    assert {s["shipment_id"] for s in three["stops"]} == {moved, other, waiting}
    # The last stop taken off: the route is over.
    await desk.done("reassign_stop", shipment_id=kept, route_id=two["route_id"])
    empty = await done(desk.client, "get_route", route_id=one["route_id"])
    assert empty["status"] == "cancelled"

    await desk.done("dispatch_route", route_id=two["route_id"])
    late = await desk.shipment()
    await desk.refused(
        "reassign_stop", "rule_violation", shipment_id=late, route_id=two["route_id"]
    )
    elsewhere = await desk.shipment(warehouse="WH-2", ship_to=address(2, lat_e6=53_430_000))
    three = (await desk.done("plan_routes", depot="DEP-1", iterations=5))["routes"][0]
    await desk.refused(
        "reassign_stop", "rule_violation", shipment_id=elsewhere, route_id=three["route_id"]
    )


async def test_a_draft_called_off(desk: Desk) -> None:
    shipment_id = await desk.shipment()
    route = (await desk.done("plan_routes", iterations=5))["routes"][0]
    gone = await desk.done("cancel_route", route_id=route["route_id"])
    assert gone["status"] == "cancelled"
    view = await done(desk.client, "track_shipment", shipment_id=shipment_id)
    assert view["status"] == "created"
    again = (await desk.done("plan_routes", iterations=5))["routes"][0]
    await desk.done("dispatch_route", route_id=again["route_id"])
    await desk.refused("cancel_route", "rule_violation", route_id=again["route_id"])


async def test_a_breakdown_on_the_road(desk: Desk) -> None:
    route, (first, second, third) = await desk.on_the_road(3)
    await desk.done("record_delivery", shipment_id=first, received_by="Ana")
    answer = await desk.done(
        "set_vehicle_status", vehicle_id="VAN-1", status="broken_down", note="gearbox"
    )
    assert answer["waiting_shipment_ids"] == [second, third]
    over = await done(desk.client, "get_route", route_id=route["route_id"])
    assert over["status"] == "completed"
    assert [s["status"] for s in over["stops"]] == ["done", "skipped", "skipped"]
    before = await desk.look(lambda s: s.scalar(select(func.count()).select_from(Reservation)))
    plan = await desk.done("plan_routes", iterations=10)
    (rescue,) = plan["routes"]
    assert rescue["vehicle_id"] == "VAN-2"
    assert {s["shipment_id"] for s in rescue["stops"]} == {second, third}
    await desk.done("dispatch_route", route_id=rescue["route_id"])
    assert before == await desk.look(
        lambda s: s.scalar(select(func.count()).select_from(Reservation))
    )
    await desk.refused(
        "set_vehicle_status", "rule_violation", vehicle_id="VAN-2", status="maintenance", note="oil"
    )


async def test_routes_on_the_road_are_not_touched(desk: Desk) -> None:
    route, _ = await desk.on_the_road(2)
    new = await desk.shipment()
    plan = await desk.done("plan_routes", replan=True, iterations=10)
    assert [s["shipment_id"] for s in plan["routes"][0]["stops"]] == [new]
    assert plan["routes"][0]["vehicle_id"] == "VAN-2"
    same = await done(desk.client, "get_route", route_id=route["route_id"])
    assert [s["shipment_id"] for s in same["stops"]] == [s["shipment_id"] for s in route["stops"]]


async def test_hours_are_counted(desk: Desk) -> None:
    def tired(call: Any) -> None:
        call.get(Driver, "DRV-1").max_driving_seconds = 4 * 3_600

    await desk.seed("logistics", tired)
    _, (shipment_id,) = await desk.on_the_road()
    desk.clock.forward(hours=3)
    await desk.done("set_driver_status", driver_id="DRV-1", status="break")
    desk.clock.forward(hours=1)
    rows = (await done(desk.client, "list_drivers", depot="DEP-1"))["drivers"]
    left = {row["driver_id"]: row for row in rows}["DRV-1"]
    assert (left["driving_left_minutes"], left["duty_left_minutes"]) == (60, 6 * 60)
    await desk.done("set_driver_status", driver_id="DRV-1", status="driving")
    desk.clock.forward(hours=2)
    await desk.done("record_delivery", shipment_id=shipment_id, received_by="Ana")
    rows = (await done(desk.client, "list_drivers"))["drivers"]
    assert rows[0]["driving_left_minutes"] == 0
    assert rows[0]["status"] == "on_duty"
    await desk.refused("set_driver_status", "rule_violation", driver_id="DRV-1", status="available")


async def test_the_map_is_a_picture(desk: Desk) -> None:
    for _ in range(3):
        await desk.shipment()
    plan = await desk.done("plan_routes", vehicles=["VAN-1"], iterations=5)
    (content,) = (await desk.client.read_resource(plan["routes"][0]["map"])).contents
    assert content.mime_type == "image/svg+xml"
    root = ElementTree.fromstring(content.text)
    space = "{http://www.w3.org/2000/svg}"
    assert root.tag == f"{space}svg"
    assert [node.text for node in root.iter(f"{space}text")] == ["1", "2", "3"]
    points = root.find(f"{space}polyline")
    assert points is not None
    assert len(points.get("points", "").split()) == 5


async def test_the_road_is_followed(desk: Desk) -> None:
    """A late van moves what is still expected."""
    route, (first, second) = await desk.on_the_road(2)
    desk.clock.forward(hours=2)
    await desk.done("record_delivery", shipment_id=first, received_by="Ana")
    now = await done(desk.client, "get_route", route_id=route["route_id"])
    assert now["status"] == "in_progress"
    assert now["stops"][1]["status"] == "enroute"
    assert now["stops"][1]["eta"] > now["stops"][1]["arrival"]
    view = await done(desk.client, "track_shipment", shipment_id=second)
    assert view["eta"] == now["stops"][1]["eta"]
