"""At the door and on a carrier's way: proof, attempts, events, exceptions."""

from typing import Any

import pytest
from sqlalchemy import func, select

from common.tables.logistics import DeliveryException, ProofOfDelivery, Shipment, TrackingEvent
from common.tables.orders import Order, OrderEvent, OrderLine
from tests.logistics.seed import TODAY, TOMORROW, Desk
from tests.support.shop import call, connected, done

PHOTO = "ab" * 32


async def handed_over(desk: Desk, **more: Any) -> dict[str, Any]:
    """A carrier's parcel after its pick-up."""
    order_id = await desk.order()
    made = await desk.done("create_shipment", order_id=order_id, carrier="post", **more)
    await desk.done("close_manifest", carrier="post", warehouse="WH-1")
    return made


async def test_delivered_with_proof(either: Desk) -> None:
    desk = either
    route, (shipment_id,) = await desk.on_the_road()
    desk.clock.forward(minutes=40)
    view = await desk.done(
        "record_delivery", shipment_id=shipment_id, received_by="Eve", at="2026-11-02T09:30:00Z",
        signature_sha256=PHOTO, lat_e6=52_500_000, lon_e6=13_400_000,
    )  # fmt: skip
    assert (view["status"], view["delivered_at"]) == ("delivered", "2026-11-02T09:30:00Z")
    proof = view["proof"]
    assert proof["received_by"] == "Eve"
    assert (proof["lat_e6"], proof["lon_e6"]) == (52_500_000, 13_400_000)
    shipment = await desk.look(lambda s: s.get(Shipment, shipment_id))
    assert shipment is not None
    north = (shipment.lat_e6 - 52_500_000) * 0.111195  # metres a millionth of a degree
    east = (shipment.lon_e6 - 13_400_000) * 0.111195 * 0.6088  # cos 52.5 degrees
    assert proof["metres_away"] == pytest.approx((north**2 + east**2) ** 0.5, rel=0.01)
    after = await done(desk.client, "get_route", route_id=route["route_id"])
    assert (after["status"], after["stops"][0]["status"]) == ("completed", "done")
    order = await desk.look(lambda s: s.get(Order, view["order_id"]))
    line = await desk.look(lambda s: s.scalars(select(OrderLine)).one())
    assert order is not None
    assert order.delivered_at is not None
    assert (order.status, order.fulfilment_status) == ("completed", "delivered")
    assert (line.status, line.delivered_at) == ("delivered", order.delivered_at)
    kinds = await desk.look(lambda s: list(s.scalars(select(OrderEvent.kind))))
    assert set(kinds) == {"placed", "released", "shipment_created", "shipped", "delivered"}
    drivers = (await done(desk.client, "list_drivers"))["drivers"]
    vans = (await done(desk.client, "list_vehicles"))["vehicles"]
    assert {row["status"] for row in vans} == {"available"}
    assert [row["status"] for row in drivers] == ["on_duty", "available", "available"]
    await desk.refused(
        "record_delivery", "rule_violation", shipment_id=shipment_id, received_by="E"
    )
    await desk.refused(
        "record_failed_attempt", "rule_violation", shipment_id=shipment_id, reason="closed"
    )
    await desk.refused("plan_routes", "rule_violation", date=TODAY)
    await desk.refused(
        "reassign_stop", "rule_violation", shipment_id=shipment_id, route_id=route["route_id"]
    )


async def test_no_delivery_without_proof(desk: Desk) -> None:
    _, (shipment_id,) = await desk.on_the_road()
    sent = {"shipment_id": shipment_id}
    await desk.refused("record_delivery", "rule_violation", **sent)
    await desk.refused("record_delivery", "rule_violation", left_safe="porch", **sent)
    await desk.refused(
        "record_delivery", "invalid_parameters", received_by="E", at="2026-11-02T09:00:01Z", **sent
    )
    await desk.refused(
        "record_delivery", "invalid_parameters", received_by="E", at="2026-11-02T08:59:59Z", **sent
    )
    await desk.refused(
        "record_delivery", "invalid_parameters", received_by="E", lat_e6=1, **sent
    )  # fmt: skip
    await desk.refused(
        "record_delivery", "invalid_parameters", received_by="E", photo_sha256="x", **sent
    )
    view = await desk.done("record_delivery", left_safe="porch", photo_sha256=PHOTO, **sent)
    assert view["proof"]["left_safe"] == "porch"


async def test_the_receivers_code(desk: Desk) -> None:
    shipment_id = await desk.shipment(delivery_code="4711")
    plan = await desk.done("plan_routes", iterations=5)
    await desk.done("dispatch_route", route_id=plan["routes"][0]["route_id"])
    sent = {"shipment_id": shipment_id, "received_by": "Eve"}
    await desk.refused("record_delivery", "rule_violation", **sent)
    await desk.refused("record_delivery", "rule_violation", code="4712", **sent)
    view = await desk.done("record_delivery", code="4711", **sent)
    assert view["proof"]["code_verified"] is True


async def test_not_before_it_left(desk: Desk) -> None:
    shipment_id = await desk.shipment()
    sent = {"shipment_id": shipment_id}
    await desk.refused("record_delivery", "rule_violation", received_by="E", **sent)
    await desk.refused("record_failed_attempt", "rule_violation", reason="closed", **sent)
    plan = await desk.done("plan_routes", iterations=5)
    answer = await desk.refused("record_delivery", "rule_violation", received_by="E", **sent)
    assert answer["details"]["route_id"] == plan["routes"][0]["route_id"]
    await desk.refused("record_delivery", "not_found", shipment_id="shp_none", received_by="E")


async def test_damage_leads_to_a_claim(desk: Desk) -> None:
    _, (shipment_id,) = await desk.on_the_road()
    view = await desk.done(
        "record_delivery", shipment_id=shipment_id, received_by="Eve", damage_noted=True,
        condition_note="Box crushed.",
    )  # fmt: skip
    assert "open_claim" in view["next"]
    found = await done(desk.client, "list_shipments", queue="exceptions")
    assert [row["shipment_id"] for row in found["shipments"]] == [shipment_id]


async def test_nobody_home_and_again(desk: Desk) -> None:
    route, (shipment_id,) = await desk.on_the_road()
    sent = {"shipment_id": shipment_id}
    await desk.refused(
        "record_failed_attempt", "invalid_parameters", reason="closed",
        next_attempt_on="2026-11-01", **sent,
    )  # fmt: skip
    view = await desk.done(
        "record_failed_attempt", reason="nobody_home", note="dog", next_attempt_on=TOMORROW, **sent
    )
    assert (view["status"], view["attempts"]) == ("attempted", 1)
    assert view["attempts_made"][0]["next_attempt_on"] == TOMORROW
    over = await done(desk.client, "get_route", route_id=route["route_id"])
    assert (over["status"], over["stops"][0]["status"]) == ("completed", "failed")
    await desk.refused("plan_routes", "rule_violation", date=TODAY)
    for attempt in (2, 3):
        desk.clock.forward(days=1)
        plan = await desk.done("plan_routes", iterations=5)
        assert plan["assigned"] == 1
        await desk.done("dispatch_route", route_id=plan["routes"][0]["route_id"])
        view = await desk.done("record_failed_attempt", reason="no_access", **sent)
        assert view["attempts"] == attempt
    assert view["status"] == "held"
    desk.clock.forward(days=1)
    await desk.refused("plan_routes", "rule_violation")
    back = await desk.done("resolve_exception", action="retry", resolution="Call first.", **sent)
    assert back["status"] == "picked_up"
    assert (await desk.done("plan_routes", iterations=5))["assigned"] == 1


async def test_a_wrong_address_is_put_right(desk: Desk) -> None:
    _, (shipment_id,) = await desk.on_the_road()
    sent = {"shipment_id": shipment_id}
    await desk.refused(
        "record_failed_attempt", "invalid_parameters", reason="wrong_address",
        next_attempt_on=TOMORROW, **sent,
    )  # fmt: skip
    view = await desk.done("record_failed_attempt", reason="wrong_address", **sent)
    assert (view["status"], view["exception_kind"]) == ("exception", "address")
    await desk.refused(
        "resolve_exception", "invalid_parameters", action="retry", resolution="x", lat_e6=1, **sent
    )
    view = await desk.done(
        "resolve_exception", action="retry", resolution="Number 12.", lat_e6=52_530_000,
        lon_e6=13_410_000, **sent,
    )  # fmt: skip
    assert view["status"] == "picked_up"
    assert "exception_kind" not in view
    row = await desk.look(lambda s: s.scalars(select(DeliveryException)).one())
    assert row.resolution == "Number 12."
    assert (await desk.done("plan_routes", iterations=5))["assigned"] == 1


async def test_giving_up_asks_a_person(desk: Desk) -> None:
    _, (shipment_id,) = await desk.on_the_road()
    await desk.done("record_failed_attempt", shipment_id=shipment_id, reason="refused")
    wanted = {"shipment_id": shipment_id, "action": "return_to_sender", "resolution": "No."}
    async with connected(desk.shop, desk_tools()) as alone:
        answer = await call(alone, "resolve_exception", **wanted)
    assert answer["status"] == "approval_required"
    view = await desk.done("resolve_exception", **wanted)
    assert view["status"] == "returned_to_sender"
    await desk.refused("resolve_exception", "rule_violation", **wanted)
    await desk.refused("plan_routes", "rule_violation")


def desk_tools() -> Any:
    from servers.logistics.tools import tools

    return tools


async def test_events_never_turn_back(desk: Desk) -> None:
    made = await handed_over(desk)
    desk.clock.forward(hours=5)

    async def event(id: str, status: str, hour: int, **more: Any) -> dict[str, Any]:
        return await desk.done(
            "record_tracking_event", shipment_id=made["shipment_id"], event_id=id, status=status,
            occurred_at=f"2026-11-02T{hour:02}:00:00Z", **more,
        )  # fmt: skip

    assert (await event("e1", "out_for_delivery", 12))["status"] == "out_for_delivery"
    late = await event("e0", "in_transit", 11)
    assert late["status"] == "out_for_delivery"
    assert late["events"][-2]["status"] == "in_transit"
    assert late["events"][-2]["counted"] is False
    older = await event("e2", "in_transit", 13)
    assert older["status"] == "out_for_delivery"
    count = await desk.look(lambda s: s.scalar(select(func.count()).select_from(TrackingEvent)))
    same = await event("e1", "out_for_delivery", 12)
    assert same["status"] == "out_for_delivery"
    assert count == await desk.look(
        lambda s: s.scalar(select(func.count()).select_from(TrackingEvent))
    )
    stuck = await event("e3", "exception", 13, exception_kind="weather")
    assert stuck["exception_kind"] == "weather"
    assert (await event("e6", "out_for_delivery", 12))["status"] == "exception"
    assert (await event("e4", "in_transit", 14))["status"] == "in_transit"
    wanted = {"shipment_id": made["shipment_id"], "event_id": "e9", "status": "in_transit"}
    for bad in ("2026-11-02T14:00:01Z", "2026-11-02T08:59:59Z"):
        await desk.refused(
            "record_tracking_event", "invalid_parameters", occurred_at=bad, **wanted
        )  # fmt: skip
    await desk.refused(
        "record_tracking_event", "conflict", occurred_at="2026-11-02T13:00:00Z",
        **(wanted | {"event_id": "e1"}),
    )  # fmt: skip
    await desk.refused(
        "record_tracking_event", "invalid_parameters", occurred_at="2026-11-02T13:00:00Z",
        **(wanted | {"status": "exception"}),
    )  # fmt: skip
    await desk.done("record_delivery", shipment_id=made["shipment_id"], received_by="Eve")
    after = await event("e5", "returned_to_sender", 14)
    assert after["status"] == "delivered"


@pytest.mark.parametrize("status", ["delivered", "created", "planned", "gone"])
async def test_no_event_says_delivered(desk: Desk, status: str) -> None:
    made = await handed_over(desk)
    await desk.refused(
        "record_tracking_event", "invalid_parameters", shipment_id=made["shipment_id"],
        event_id="e1", status=status, occurred_at="2026-11-02T09:00:00Z",
    )  # fmt: skip


async def test_the_first_scan_takes_the_money_and_asks(desk: Desk) -> None:
    order_id = await desk.order()
    made = await desk.done("create_shipment", order_id=order_id, carrier="swift")
    told = {
        "shipment_id": made["shipment_id"], "event_id": "e1", "status": "in_transit",
        "occurred_at": "2026-11-02T09:00:00Z",
    }  # fmt: skip
    async with connected(desk.shop, desk_tools()) as alone:
        answer = await call(alone, "record_tracking_event", **told)
        assert answer["status"] == "approval_required"
    await desk.done("record_tracking_event", **told)
    order = await desk.look(lambda s: s.get(Order, order_id))
    assert order is not None
    assert order.payment_status == "captured"


async def test_a_vans_way_is_told_by_its_route(desk: Desk) -> None:
    route, (first, second) = await desk.on_the_road(2)
    told = {"event_id": "e1", "occurred_at": "2026-11-02T09:00:00Z"}
    await desk.refused(
        "record_tracking_event", "rule_violation", shipment_id=first, status="in_transit", **told
    )
    gone = await desk.done("record_tracking_event", shipment_id=first, status="lost", **told)
    assert "open_claim" in gone["next"]
    after = await done(desk.client, "get_route", route_id=route["route_id"])
    assert [stop["status"] for stop in after["stops"]] == ["failed", "enroute"]
    await desk.done("record_delivery", shipment_id=second, received_by="Eve")
    over = await done(desk.client, "get_route", route_id=route["route_id"])
    assert over["status"] == "completed"


async def test_half_an_order(desk: Desk) -> None:
    order_id = await desk.order(("LAMP", 1), ("OIL", 1))

    def elsewhere(call: Any) -> None:
        line = call.all(OrderLine, OrderLine.order_id == order_id, OrderLine.sku == "OIL")[0]
        line.warehouse_id = "WH-2"

    await desk.seed("orders", elsewhere)
    first = await desk.done("create_shipment", order_id=order_id, carrier="post")
    await desk.done("create_shipment", order_id=order_id, carrier="post")

    async def axis() -> str:
        order = await desk.look(lambda s: s.get(Order, order_id))
        assert order is not None
        return order.fulfilment_status

    await desk.done("close_manifest", carrier="post", warehouse="WH-1")
    assert await axis() == "partially_shipped"
    await desk.done("record_delivery", shipment_id=first["shipment_id"], received_by="Eve")
    assert await axis() == "partially_delivered"
    await desk.done("close_manifest", carrier="post", warehouse="WH-2")
    last = await desk.look(
        lambda s: s.scalars(select(Shipment.id).where(Shipment.warehouse_id == "WH-2")).one()
    )
    await desk.done("record_delivery", shipment_id=last, received_by="Eve")
    assert await axis() == "delivered"
    assert (
        await desk.look(lambda s: s.scalar(select(func.count()).select_from(ProofOfDelivery))) == 2
    )
