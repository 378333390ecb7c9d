"""From an order's lines to a parcel, and what carriers ask for it."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from common.call import Call
from common.tables.logistics import Label, RateCard, Shipment
from common.tables.orders import Order, OrderLine
from servers.orders import fulfilling
from tests.logistics.seed import TOMORROW, Desk, address
from tests.support.shop import call, done


async def test_a_released_order_becomes_a_parcel(desk: Desk) -> None:
    order_id = await desk.order(("LAMP", 3), ("OIL", 1), promised_at=desk.clock.now)
    made = await desk.done("create_shipment", order_id=order_id)
    assert made["order_id"] == order_id
    assert made["status"] == "created"
    assert made["weight_g"] == 3 * 2_000 + 900
    assert made["volume_cm3"] == 4 * 30 * 20 * 10
    assert {(line["sku"], line["quantity"]) for line in made["lines"]} == {("LAMP", 3), ("OIL", 1)}
    assert made["promised_at"] == "2026-11-02T09:00:00Z"
    shipment = await desk.look(lambda s: s.get(Shipment, made["shipment_id"]))
    assert shipment is not None
    assert shipment.skills == ["hazmat"]
    assert shipment.declared_value_minor == 4 * 4_000
    again = await desk.refused("create_shipment", "rule_violation", order_id=order_id)
    assert again["details"]["shipment_ids"] == [made["shipment_id"]]


async def test_what_cannot_be_shipped(desk: Desk) -> None:
    open_order = await desk.order(release=False)
    await desk.refused("create_shipment", "rule_violation", order_id=open_order)
    await desk.refused("create_shipment", "not_found", order_id="ord_none")
    held = await desk.order()
    await desk.seed("orders", lambda call: fulfilling.hold(call, held, "fraud", "look"))
    await desk.refused("create_shipment", "rule_violation", order_id=held)
    heavy = await desk.order(("ODD", 1))
    answer = await desk.refused("create_shipment", "invalid_parameters", order_id=heavy)
    assert answer["details"]["skus"] == ["ODD"]
    assert (await desk.done("create_shipment", order_id=heavy, weight_g=40))["weight_g"] == 40


async def test_own_vans_need_coordinates(desk: Desk) -> None:
    plain = {"line1": "Road 1", "city": "Berlin", "postal_code": "10115", "country": "DE"}
    order_id = await desk.order(ship_to=plain)
    answer = await desk.refused("create_shipment", "invalid_parameters", order_id=order_id)
    assert "lat_e6" in answer["message"]
    made = await desk.done(
        "create_shipment", order_id=order_id, lat_e6=52_500_000, lon_e6=13_400_000
    )
    assert made["status"] == "created"


@pytest.mark.parametrize(
    "bad",
    [
        {"window_closes_at": "2026-11-01T09:00:00Z"},
        {"window_opens_at": "2026-11-02T12:00:00Z", "window_closes_at": "2026-11-02T11:00:00Z"},
        {"window_closes_at": "2026-13-01T09:00:00Z"},
        {"window_closes_at": "2026-11-02T11:00:00"},
        {"lat_e6": 91_000_000},
        {"weight_g": 0},
        {"weight_g": 1.5},
        {"weight_g": "40"},
        {"size": {"length_mm": 1, "width_mm": 1}},
        {"delivery_code": "12"},
        {"order_id": "x\u202ey"},
    ],
)  # fmt: skip
async def test_bad_arguments(desk: Desk, bad: dict[str, Any]) -> None:
    order_id = await desk.order()
    await desk.refused("create_shipment", "invalid_parameters", **({"order_id": order_id} | bad))


async def test_rates(desk: Desk) -> None:
    found = await done(
        desk.client, "quote_rates", country="DE", postal_code="20095", weight_g=2_300
    )
    by = {(q["carrier"], q["service"]): q for q in found["quotes"]}
    # 4.00 and three kilograms begun at 0.50, fuel 10 %.
    assert by["post", "standard"]["price_minor"] == 605
    assert by["swift", "express"]["price_minor"] == 990 + 300
    assert by["post", "standard"]["ships_on"] == "2026-11-02"
    assert by["post", "standard"]["arrives_by"] == "2026-11-05"
    assert [q["price_minor"] for q in found["quotes"]] == [605, 1_290]
    near = await done(desk.client, "quote_rates", country="DE", postal_code="10 115", weight_g=900)
    assert near["quotes"][0]["price_minor"] == 385  # 3.50 and 10 %, of the longest prefix
    far = await done(desk.client, "quote_rates", country="FR", weight_g=900)
    assert [q["price_minor"] for q in far["quotes"]] == [900]
    big = await done(
        desk.client, "quote_rates", country="DE", postal_code="2", weight_g=900,
        size={"length_mm": 500, "width_mm": 400, "height_mm": 300},
    )  # fmt: skip
    by = {q["carrier"]: q for q in big["quotes"]}
    assert by["post"]["dim_weight_g"] == by["post"]["billed_weight_g"] == 12_000
    assert by["swift"]["dim_weight_g"] == 15_000
    nothing = await call(desk.client, "quote_rates", country="FR", weight_g=40_000)
    assert nothing["code"] == "not_found"
    assert (await call(desk.client, "quote_rates", country="FR"))["code"] == "invalid_parameters"


async def test_rates_to_a_country_by_any_name(desk: Desk) -> None:
    asked = {"postal_code": "20095", "weight_g": 2_300}
    by_code = await done(desk.client, "quote_rates", country="DE", **asked)
    for name in ("de", "DEU", "Germany"):
        assert await done(desk.client, "quote_rates", country=name, **asked) == by_code
    for name in ("XX", "Nowhereland"):
        wrong = await call(desk.client, "quote_rates", country=name, **asked)
        assert wrong["code"] == "invalid_parameters"
        assert "a country, such as DE or Germany" in wrong["message"]
    heavy = await call(desk.client, "quote_rates", country="France", weight_g=40_000)
    assert heavy["message"] == "No carrier takes this parcel to France."


async def test_the_cheapest_service_that_keeps_the_promise(desk: Desk) -> None:
    def express(call: Call) -> None:
        call.add(
            RateCard(
                id="rate-express", carrier_id="post", service="express", max_weight_g=31_500,
                base_minor=1_500, per_kg_minor=0, currency="EUR", transit_days_min=1,
                transit_days_max=1, valid_from=(call.now - timedelta(days=30)).date(),
            )
        )  # fmt: skip

    await desk.seed("logistics", express)

    async def shipped(days: int, **more: str) -> tuple[str, bool]:
        promised = desk.clock.now + timedelta(days=days, hours=9)
        order_id = await desk.order(promised_at=promised)
        made = await desk.done("create_shipment", order_id=order_id, carrier="post", **more)
        return made["service"], made["at_risk"]

    # Standard comes on the third day, express on the next.
    assert await shipped(3) == ("standard", False)
    assert await shipped(2) == ("express", False)
    assert await shipped(2, service="standard") == ("standard", True)
    assert await shipped(0) == ("standard", True), "none keeps it: the cheapest, and it is told"

    order_id = await desk.order(promised_at=desk.clock.now + timedelta(days=1))
    made = await desk.done("create_shipment", order_id=order_id, carrier="post", service="standard")
    await desk.done("cancel_shipment", shipment_id=made["shipment_id"], only_label=True)
    await desk.done("buy_label", shipment_id=made["shipment_id"], carrier="post")
    again = await done(desk.client, "track_shipment", shipment_id=made["shipment_id"])
    assert (again["service"], again["at_risk"]) == ("express", False)


async def test_after_the_cutoff_and_over_the_weekend(desk: Desk) -> None:
    desk.clock.forward(days=4, hours=8)  # Friday 17:00 UTC
    found = await done(
        desk.client, "quote_rates", country="DE", weight_g=900, warehouse="WH-1"
    )  # fmt: skip
    quote = next(q for q in found["quotes"] if q["carrier"] == "swift")
    assert (quote["ships_on"], quote["arrives_by"]) == ("2026-11-09", "2026-11-10")


async def test_a_carriers_parcel_to_the_pick_up(desk: Desk) -> None:
    order_id = await desk.order(("LAMP", 2))
    quoted = await done(desk.client, "quote_rates", order_id=order_id)
    made = await desk.done(
        "create_shipment", order_id=order_id, carrier="post", tracking_number="PP123"
    )
    assert (made["status"], made["service"]) == ("label_created", "standard")
    assert made["cost_minor"] == quoted["quotes"][0]["price_minor"]
    assert made["billed_weight_g"] == quoted["quotes"][0]["billed_weight_g"]
    held_order = await desk.order()
    held = await desk.done("create_shipment", order_id=held_order, carrier="post")
    await desk.seed("orders", lambda call: fulfilling.hold(call, held_order, "fraud", "look"))
    manifest = await desk.done("close_manifest", carrier="post", warehouse="WH-1")
    assert manifest["shipment_ids"] == [made["shipment_id"]]
    there = await done(desk.client, "track_shipment", shipment_id="PP123")
    assert there["status"] == "picked_up"
    order = await desk.look(lambda s: s.get(Order, order_id))
    assert order is not None
    assert (order.fulfilment_status, order.payment_status) == ("shipped", "captured")
    assert (await done(desk.client, "track_shipment", shipment_id=held["shipment_id"]))[
        "status"
    ] == "label_created"
    await desk.refused("close_manifest", "not_found", carrier="post", warehouse="WH-1")


async def test_a_service_nobody_offers(desk: Desk) -> None:
    order_id = await desk.order()
    await desk.refused(
        "create_shipment", "rule_violation", order_id=order_id, carrier="post", service="express"
    )
    await desk.refused("create_shipment", "not_found", order_id=order_id, carrier="nobody")


async def test_a_shipment_cancelled_before_it_left(desk: Desk) -> None:
    order_id = await desk.order()
    made = await desk.done("create_shipment", order_id=order_id, carrier="post")
    gone = await desk.done("cancel_shipment", shipment_id=made["shipment_id"])
    assert gone["status"] == "cancelled"
    states = await desk.look(lambda s: list(s.scalars(select(Label.state))))
    assert states == ["voided"]
    lines = await desk.look(
        lambda s: list(s.scalars(select(OrderLine.status).where(OrderLine.order_id == order_id)))
    )
    assert lines == ["allocated"]
    again = await desk.done("create_shipment", order_id=order_id, carrier="own")
    assert again["status"] == "created"
    assert "carrier" not in again
    await desk.refused("cancel_shipment", "rule_violation", shipment_id=made["shipment_id"])


async def test_queues(desk: Desk) -> None:
    late = await desk.shipment(promised_at=desk.clock.now)
    plain = await desk.shipment()
    await desk.order()
    desk.clock.forward(hours=1)

    async def queue(name: str, **more: Any) -> list[str]:
        found = await done(desk.client, "list_shipments", queue=name, **more)
        return [row["shipment_id"] for row in found["shipments"]]

    assert await queue("all") == [late, plain]
    assert await queue("late_risk") == [late]
    assert await queue("unassigned") == [late, plain]
    assert await queue("exceptions") == []
    await desk.done("plan_routes", iterations=5)
    assert await queue("unassigned") == []
    first = await done(desk.client, "list_shipments", limit=1)
    second = await done(desk.client, "list_shipments", limit=1, cursor=first["next_cursor"])
    assert [row["shipment_id"] for row in second["shipments"]] == [plain]
    assert "next_cursor" not in second
    forged = await call(desk.client, "list_shipments", cursor="Zm9yZ2Vk")
    assert forged["code"] == "invalid_parameters"
    # Not overdue yet, and on a van that will come too late.
    hurried = await desk.shipment(promised_at=desk.clock.now + timedelta(hours=1))
    assert await queue("late_risk") == [late]
    await desk.done("plan_routes", date=TOMORROW, iterations=5)
    assert await queue("late_risk") == [late, hurried]
    view = await done(desk.client, "track_shipment", shipment_id=hurried)
    assert view["at_risk"] is True


async def test_lines_in_two_warehouses_make_two_parcels(desk: Desk) -> None:
    order_id = await desk.order(("LAMP", 1), ("OIL", 1), ship_to=address(3))

    def elsewhere(call: Any) -> None:
        line = call.all(OrderLine, OrderLine.order_id == order_id, OrderLine.sku == "OIL")[0]
        line.warehouse_id = "WH-2"

    await desk.seed("orders", elsewhere)
    first = await desk.done("create_shipment", order_id=order_id)
    second = await desk.done("create_shipment", order_id=order_id)
    assert [first["warehouse"], second["warehouse"]] == ["WH-1", "WH-2"]
    assert [line["sku"] for line in second["lines"]] == ["OIL"]
