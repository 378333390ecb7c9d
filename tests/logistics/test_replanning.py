"""A van on the road gets a better order: what it has done, and where it is going, stays."""

from datetime import date, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select

from common.call import Call
from common.errors import Conflict
from common.tables.fleet import Driver, DutyRule, Route, RoutePlan, Stop
from common.tables.logistics import Shipment
from servers.logistics import delivering, planning, replanning
from servers.logistics.delivering import Proof
from servers.logistics.tools import tools
from tests.logistics.seed import TODAY, Desk, address
from tests.logistics.test_planning import Quiet
from tests.support.shop import call, connected, done

# To and fro: every way is along the whole line.
LINE = (0, 50_000, 10_000, 40_000, 20_000, 30_000)


async def crossing(desk: Desk) -> tuple[str, list[str]]:
    """A dispatched route whose first stop is made; its shipments in their (bad) order."""
    made = [
        await desk.shipment(ship_to=address(1, lat_e6=52_520_000 + north, lon_e6=13_405_000))
        for north in LINE
    ]
    plan = await desk.done("plan_routes", date=TODAY, vehicles=["VAN-1"], iterations=5)
    route_id = plan["routes"][0]["route_id"]
    for position, shipment_id in enumerate(made, 1):
        await desk.done(
            "reassign_stop", shipment_id=shipment_id, route_id=route_id, position=position
        )
    sent = await desk.done("dispatch_route", route_id=route_id)
    assert [stop["shipment_id"] for stop in sent["stops"]] == made
    desk.clock.forward(minutes=40)
    await desk.done("record_delivery", shipment_id=made[0], received_by="Ana")
    return route_id, made


async def rows(desk: Desk) -> dict[str, tuple[Any, ...]]:
    return await desk.look(
        lambda s: {
            row.shipment_id: tuple(row)
            for row in s.execute(select(Stop.__table__).order_by(Stop.__table__.c.id))
        }
    )


async def test_the_rest_gets_its_best_order(either: Desk) -> None:
    desk = either
    route_id, made = await crossing(desk)
    before = await rows(desk)
    late = await done(desk.client, "get_route", route_id=route_id)
    found = await desk.done("plan_routes", route_id=route_id, iterations=200, seed=3)
    after = await rows(desk)
    (route,) = found["routes"]
    order = [stop["shipment_id"] for stop in route["stops"]]
    # Made and on its way to the far end: from there straight back.
    assert order == [made[0], made[1], made[3], made[5], made[4], made[2]]
    assert [stop["position"] for stop in route["stops"]] == [1, 2, 3, 4, 5, 6]
    assert after[made[0]] == before[made[0]]
    assert [stop["status"] for stop in route["stops"]] == ["done", "enroute"] + ["pending"] * 4
    assert found["change"]["metres"] == route["metres"] - late["metres"] < 0
    assert found["change"]["duty_seconds"] < 0
    assert (found["unassigned"], route["status"]) == ([], "in_progress")
    # What it was late by is in the new times once, and the van's whole load was aboard.
    assert "eta" not in route["stops"][2]
    assert route["stops"][1]["arrival"] == late["stops"][1]["eta"]
    assert [stop["load_g"] for stop in route["stops"][1:]] == [8_000, 6_000, 4_000, 2_000, 0]
    assert route["start"] == late["start"]
    desk.clock.now = moment(route["stops"][1]["arrival"]) + timedelta(minutes=30)
    await desk.done("record_delivery", shipment_id=made[1], received_by="Ana")
    now = await done(desk.client, "get_route", route_id=route_id)
    assert moment(now["stops"][2]["eta"]) > moment(now["stops"][2]["arrival"])
    for shipment_id in order[2:]:
        await desk.done("record_delivery", shipment_id=shipment_id, received_by="Ana")
    over = await done(desk.client, "get_route", route_id=route_id)
    assert over["status"] == "completed"


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


async def test_as_good_as_it_gets_stays_as_it_is(desk: Desk) -> None:
    route_id, _ = await crossing(desk)
    await desk.done("plan_routes", route_id=route_id, iterations=200)
    before = await rows(desk)
    again = await desk.done("plan_routes", route_id=route_id, iterations=1, seed=9)
    assert again["change"] == {"metres": 0, "duty_seconds": 0, "late_before": 0}
    assert {id: row[:5] for id, row in (await rows(desk)).items()} == {
        id: row[:5] for id, row in before.items()
    }


async def test_what_no_longer_fits_waits_again(either: Desk) -> None:
    desk = either
    route_id, made = await crossing(desk)
    closes = desk.clock.now + timedelta(minutes=1)

    def close(call: Call) -> None:
        call.get(Shipment, made[2]).window_closes_at = closes

    await desk.seed("logistics", close)
    found = await desk.done("plan_routes", route_id=route_id, iterations=100)
    assert [(left["shipment_id"], left["reason"]) for left in found["unassigned"]] == [
        (made[2], "window")
    ]
    assert found["change"]["late_before"] >= 1
    (route,) = found["routes"]
    assert [(s["shipment_id"], s["status"]) for s in route["stops"]] == [
        (made[0], "done"), (made[1], "enroute"), (made[3], "pending"), (made[5], "pending"),
        (made[4], "pending"), (made[2], "skipped"),
    ]  # fmt: skip
    view = await done(desk.client, "track_shipment", shipment_id=made[2])
    assert view["status"] == "picked_up"
    waiting = await done(desk.client, "list_shipments", queue="unassigned")
    assert [row["shipment_id"] for row in waiting["shipments"]] == [made[2]]
    stored = await desk.look(lambda s: list(s.scalars(select(RoutePlan)))[-1])
    assert stored.totals["unassigned"] == 1


async def test_it_asks_a_person(desk: Desk) -> None:
    route_id, made = await crossing(desk)
    before = await rows(desk)
    async with connected(desk.shop, tools) as alone:
        answer = await call(alone, "plan_routes", route_id=route_id)
    assert (answer["status"], answer["level"]) == ("approval_required", 1)
    assert made[5] in str(answer)
    assert await rows(desk) == before


async def test_routes_that_cannot_be_planned_anew(desk: Desk) -> None:
    await desk.refused("plan_routes", "not_found", route_id="rte_none")
    await desk.shipment()
    draft = (await desk.done("plan_routes", date=TODAY, iterations=5))["routes"][0]["route_id"]
    answer = await desk.refused("plan_routes", "rule_violation", route_id=draft)
    assert "replan=true" in answer["next"]
    await desk.done("dispatch_route", route_id=draft)
    answer = await desk.refused("plan_routes", "rule_violation", route_id=draft)
    assert "no stop behind" in answer["message"]
    for bad in ({"date": TODAY}, {"depot": "DEP-1"}, {"vehicles": ["VAN-1"]}):
        await desk.refused("plan_routes", "invalid_parameters", route_id=draft, **bad)
    shipment_id = (await done(desk.client, "get_route", route_id=draft))["stops"][0]["shipment_id"]
    await desk.done("record_delivery", shipment_id=shipment_id, received_by="Ana")
    await desk.refused("plan_routes", "rule_violation", route_id=draft)


async def test_no_hours_left_no_plan(desk: Desk) -> None:
    route_id, _ = await crossing(desk)
    desk.clock.forward(hours=9)
    await desk.refused("plan_routes", "rule_violation", route_id=route_id)


async def test_a_van_that_went_on_meanwhile_is_a_conflict(either: Desk) -> None:
    desk = either
    route_id, made = await crossing(desk)

    def read(call: Call) -> Any:
        return replanning.prepare(call, None, None, None, 1, 20, False, route_id)

    planned = planning.compute(await desk.seed("logistics", read), Quiet())
    await desk.seed(
        "logistics", lambda call: delivering.deliver(call, made[1], Proof(received_by="Ana"))
    )
    before = await rows(desk)
    with pytest.raises(Conflict):
        await desk.seed("logistics", lambda call: replanning.keep(call, planned))
    assert await rows(desk) == before


@pytest.mark.parametrize(("minutes", "rests"), [(300, 0), (50, 1)])
async def test_breaks_count_what_was_driven_before(desk: Desk, minutes: int, rests: int) -> None:
    """The driver has been at the wheel for forty minutes already."""
    route_id, made = await crossing(desk)

    def rule(call: Call) -> None:
        call.add(
            DutyRule(
                id="short", name="Test", drive_before_break_seconds=minutes * 60,
                break_seconds=900, source="a test", as_of=date(2026, 11, 1),
            )
        )  # fmt: skip
        driver_id = call.get(Route, route_id).driver_id
        call.get(Driver, driver_id or "").duty_rule_id = "short"

    await desk.seed("logistics", rule)
    found = await desk.done("plan_routes", route_id=route_id, iterations=100)
    (route,) = found["routes"]
    assert len(route.get("breaks", [])) == rests
    if rests:
        assert route["breaks"][0].rpartition(" ")[2] in made[1:]
