"""What was fit to go when it was promised and is not any more: lots, and yesterday's plans."""

from datetime import timedelta
from typing import Any

import pytest

from common.call import Call
from common.errors import InsufficientStock
from common.rules import stock
from common.tables.inventory import Lot, Variant
from common.tables.orders import OrderLine
from servers.orders import fulfilling
from tests.logistics.seed import TODAY, TOMORROW, Desk
from tests.support.shop import done, refused


def lots(call: Call) -> None:
    """Lamps are kept in lots: ten that expire in two days, ten in thirty, and no others."""
    for house in ("WH-1", "WH-2"):
        stock.adjust(call, "LAMP", house, -100, "counted")
    call.get(Variant, "LAMP").lot_tracked = True
    for code, days in (("A", 2), ("B", 30)):
        day = (call.now + timedelta(days=days)).date()
        id = f"lot_{code}"
        call.add(Lot(id=id, sku="LAMP", code=code, expires_on=day, received_at=call.now))
        stock.receive(call, "LAMP", "WH-1", 10, "seed", lot=id)


def recall(call: Call) -> None:
    call.get(Lot, "lot_A").state = "recalled"


async def reserved(desk: Desk) -> list[int]:
    """Units of each lot that are promised."""
    now = desk.clock.now
    found = await desk.look(lambda session: stock.by_lot(session, now, "LAMP", "WH-1"))
    return [found["lot_A"].reserved, found["lot_B"].reserved]


async def test_a_lot_expires_before_it_is_packed(desk: Desk) -> None:
    """No parcel is made of it; releasing the order again takes other units."""
    await desk.seed("*", lots)
    order_id = await desk.order(("LAMP", 2))
    desk.clock.forward(days=5)
    told = await desk.refused("create_shipment", "rule_violation", order_id=order_id)
    assert told["details"]["lot_id"] == "lot_A"
    assert "release_to_fulfilment" in told["next"]
    await desk.seed("orders", lambda call: fulfilling.release(call, order_id))
    assert await reserved(desk) == [0, 2]
    await desk.done("create_shipment", order_id=order_id)


async def test_released_without_other_units(desk: Desk) -> None:
    """The first release already looks: what is bad stays behind, the rest goes."""
    await desk.seed("*", lots)
    order_id = await desk.order(("LAMP", 10), ("OIL", 1), release=False)
    await desk.order(("LAMP", 10), release=False)
    await desk.seed("*", recall)
    await desk.seed("orders", lambda call: fulfilling.release(call, order_id))
    lines = await desk.look(
        lambda session: {
            line.sku: line.status
            for line in session.query(OrderLine).where(OrderLine.order_id == order_id)
        }
    )
    assert lines == {"LAMP": "backordered", "OIL": "allocated"}


async def test_more_than_one_lot_has(desk: Desk) -> None:
    """It is not said that there were fewer than there are."""
    await desk.seed("*", lots)
    with pytest.raises(InsufficientStock, match="No one lot of LAMP in WH-1 has 15; the fullest"):
        await desk.order(("LAMP", 15))
    await desk.seed("*", recall)
    with pytest.raises(InsufficientStock, match="has 10 of LAMP in lots that may go out"):
        await desk.order(("LAMP", 15))


async def test_recalled_in_the_parcel(desk: Desk) -> None:
    """It stays here, whether a van or a carrier should take it, and stops no other parcel."""
    await desk.seed("*", lots)
    by_van, by_post = await desk.order(("LAMP", 1)), await desk.order(("LAMP", 1))
    other = await desk.order(("OIL", 1))
    bad = (await desk.done("create_shipment", order_id=by_post, carrier="post"))["shipment_id"]
    good = (await desk.done("create_shipment", order_id=other, carrier="post"))["shipment_id"]
    await desk.done("create_shipment", order_id=by_van)
    planned = await desk.done("plan_routes", date=TODAY, vehicles=["VAN-1"], iterations=20)
    await desk.seed("*", recall)
    told = await desk.refused(
        "dispatch_route", "rule_violation", route_id=planned["routes"][0]["route_id"]
    )
    assert told["details"]["order_id"] == by_van
    handed = await desk.done("close_manifest", carrier="post", warehouse="WH-1")
    assert handed["shipment_ids"] == [good]
    await desk.done("cancel_shipment", shipment_id=bad)
    await desk.seed("orders", lambda call: fulfilling.release(call, by_post))
    await desk.done("create_shipment", order_id=by_post, carrier="post")
    await desk.done("close_manifest", carrier="post", warehouse="WH-1")
    assert await reserved(desk) == [1, 0]


async def test_a_stop_called_off_before_its_turn(desk: Desk) -> None:
    """It does not make the van early for those before it."""
    route, shipments = await desk.on_the_road(4)
    before = route["stops"]
    desk.clock.forward(minutes=1)
    await desk.done(
        "record_tracking_event", shipment_id=shipments[3], event_id="phone", status="exception",
        exception_kind="refused", occurred_at=desk.clock.now.isoformat(),
    )  # fmt: skip
    after = await done(desk.client, "get_route", route_id=route["route_id"])
    assert after["stops"][3]["status"] == "failed"
    assert [stop.get("eta") for stop in after["stops"][:3]] == [
        stop.get("eta") for stop in before[:3]
    ]


async def test_a_draft_nobody_drove(desk: Desk) -> None:
    """The next plan takes what it has; the refused dispatch says so."""
    shipment = await desk.shipment()
    planned = await desk.done("plan_routes", date=TODAY, vehicles=["VAN-1"], iterations=20)
    old = planned["routes"][0]["route_id"]
    desk.clock.forward(days=1)
    told = await refused(
        desk.client, "dispatch_route", "rule_violation", route_id=old, **desk.key()
    )
    assert "plan_routes" in told["next"]
    again = await desk.done("plan_routes", iterations=20)
    assert [stop["shipment_id"] for stop in again["routes"][0]["stops"]] == [shipment]
    assert (await done(desk.client, "get_route", route_id=old))["status"] == "cancelled"


async def test_a_draft_without_one_of_its_parcels(desk: Desk) -> None:
    """One was cancelled, one moved to another van: the rest goes, each with its own van."""
    first = await a_draft(desk, "VAN-1", 3)
    second = await a_draft(desk, "VAN-2", 1)
    gone, moved, rest = (stop["shipment_id"] for stop in first["stops"])
    await desk.done("cancel_shipment", shipment_id=gone)
    await desk.done("reassign_stop", shipment_id=moved, route_id=second["route_id"])
    sent = await desk.done("dispatch_route", route_id=first["route_id"])
    assert {stop["shipment_id"]: stop["status"] for stop in sent["stops"]} == {
        gone: "skipped", moved: "skipped", rest: "enroute",
    }  # fmt: skip
    assert sent["summary"].startswith("1 stop,")
    planned = await done(desk.client, "track_shipment", shipment_id=moved)
    assert planned["status"] == "planned"
    other = await desk.done("dispatch_route", route_id=second["route_id"], driver_id="DRV-2")
    assert {stop["shipment_id"] for stop in other["stops"]} >= {moved}
    await desk.done("record_delivery", shipment_id=rest, received_by="Bo")
    assert (await done(desk.client, "get_route", route_id=first["route_id"]))["status"] == (
        "completed"
    )


async def test_a_parcel_that_came_back_to_its_route(desk: Desk) -> None:
    """It has a stop that was taken off and one to be made: only that one is put in order."""
    first, second = await a_draft(desk, "VAN-1", 4), await a_draft(desk, "VAN-2", 1)
    last = first["stops"][3]["shipment_id"]
    await desk.done("reassign_stop", shipment_id=last, route_id=second["route_id"])
    await desk.done("reassign_stop", shipment_id=last, route_id=first["route_id"], position=2)
    await desk.done("dispatch_route", route_id=first["route_id"])
    anew = await desk.done("plan_routes", route_id=first["route_id"], iterations=20)
    live = [stop for stop in anew["routes"][0]["stops"] if stop["status"] != "skipped"]
    assert [stop["position"] for stop in live] == [1, 2, 3, 4]
    assert [stop["arrival"] for stop in live] == sorted(stop["arrival"] for stop in live)


async def test_the_next_attempt_is_on_a_day_of_the_house(desk: Desk) -> None:
    """Not on the day before, of which UTC has the last hour when it is over in Berlin."""
    _, shipments = await desk.on_the_road(1)
    desk.clock.forward(hours=14, minutes=30)  # 0:30 in Berlin, 23:30 in UTC
    tried = {"shipment_id": shipments[0], "reason": "nobody_home"}
    await desk.refused(
        "record_failed_attempt", "invalid_parameters", next_attempt_on=TODAY, **tried
    )
    await desk.done("record_failed_attempt", next_attempt_on=TOMORROW, **tried)


async def a_draft(desk: Desk, van: str, parcels: int) -> dict[str, Any]:
    """A route of new parcels for a van."""
    for _ in range(parcels):
        await desk.shipment()
    planned = await desk.done("plan_routes", date=TODAY, vehicles=[van], iterations=20)
    route: dict[str, Any] = planned["routes"][0]
    return route
