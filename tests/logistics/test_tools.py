"""Resources, prompts, completions, and who may call what."""

import json
from typing import Any

import pytest
from mcp import MCPError
from mcp.types import PromptReference, ResourceTemplateReference

from servers.logistics.tools import tools
from tests.logistics.seed import TODAY, Desk
from tests.support.shop import actor, call, connected, done

FIXED = {
    "list_drivers", "set_driver_status", "list_vehicles", "plan_routes", "get_route",
    "dispatch_route", "reassign_stop", "quote_rates", "create_shipment", "track_shipment",
    "record_delivery", "record_failed_attempt",
}  # fmt: skip


async def read(desk: Desk, uri: str) -> Any:
    (content,) = (await desk.client.read_resource(uri)).contents
    return json.loads(content.text)


def test_the_names_are_there() -> None:
    assert set(tools.tools) >= FIXED
    assert {"logistics://drivers", "logistics://routes/{date}"} <= set(tools.resources)
    assert set(tools.prompts) == {"plan_the_day", "delivery_exception_review"}


async def test_resources(desk: Desk) -> None:
    shipment_id = await desk.shipment()
    plan = await desk.done("plan_routes", iterations=5)
    drivers = await read(desk, "logistics://drivers")
    assert [row["driver_id"] for row in drivers["drivers"]] == ["DRV-1", "DRV-2", "DRV-3"]
    assert drivers["drivers"][0]["shift"] == "08:00-17:00"
    day = await read(desk, f"logistics://routes/{TODAY}")
    assert [row["route_id"] for row in day["routes"]] == [plan["routes"][0]["route_id"]]
    view = await read(desk, f"logistics://shipment/{shipment_id}")
    assert view["route_id"] == plan["routes"][0]["route_id"]
    assert view["eta"]
    for uri in (
        "logistics://routes/2026-02-30", "logistics://routes/x", "logistics://shipment/none",
        "logistics://route/none/map",
    ):  # fmt: skip
        with pytest.raises(MCPError):
            await desk.client.read_resource(uri)


async def test_prompts(desk: Desk) -> None:
    plain = await desk.client.get_prompt("plan_the_day", {"depot": "DEP-1"})
    text = plain.messages[0].content.text  # type: ignore[union-attr]
    assert "DEP-1" in text
    assert "ask the person" in text
    review = await desk.client.get_prompt("delivery_exception_review", {})
    assert "resolve_exception" in review.messages[0].content.text  # type: ignore[union-attr]


async def test_completions(desk: Desk) -> None:
    shipment_id = await desk.shipment()
    plan = await desk.done("plan_routes", iterations=5)

    async def complete(uri: str, name: str, value: str) -> list[str]:
        found = await desk.client.complete(
            ResourceTemplateReference(uri=uri), {"name": name, "value": value}
        )
        return list(found.completion.values)

    assert await complete("logistics://shipment/{shipment_id}", "shipment_id", "shp_") == [
        shipment_id
    ]
    assert await complete("logistics://shipment/{shipment_id}", "shipment_id", "%") == []
    assert await complete("logistics://routes/{date}", "date", "2026-11") == [TODAY]
    assert await complete("logistics://route/{route_id}/map", "route_id", "rte") == [
        plan["routes"][0]["route_id"]
    ]
    depots = await desk.client.complete(
        PromptReference(name="plan_the_day"), {"name": "depot", "value": "DEP"}
    )
    assert list(depots.completion.values) == ["DEP-1", "DEP-2"]


async def test_lists_go_by_pages_and_filters(desk: Desk) -> None:
    first = await done(desk.client, "list_drivers", limit=2)
    second = await done(desk.client, "list_drivers", limit=2, cursor=first["next_cursor"])
    assert [row["driver_id"] for row in second["drivers"]] == ["DRV-3"]
    vans = await done(desk.client, "list_vehicles", depot="DEP-2")
    assert [row["vehicle_id"] for row in vans["vehicles"]] == ["VAN-3"]
    await desk.done("set_vehicle_status", vehicle_id="VAN-3", status="retired", note="sold")
    assert (await done(desk.client, "list_vehicles", depot="DEP-2"))["count"] == 0
    assert (await done(desk.client, "list_vehicles", status="retired"))["count"] == 1


async def test_scopes(desk: Desk) -> None:
    reader = actor("ana@example.com", "logistics:read")
    writer = actor("ana@example.com", "logistics:read", "logistics:write")
    async with connected(desk.shop, tools, who=reader) as client:
        assert (await done(client, "list_drivers"))["count"] == 3
        refused = await call(client, "set_driver_status", driver_id="DRV-1", status="off")
        assert refused["code"] == "insufficient_scope"
    async with connected(desk.shop, tools, who=writer) as client:
        refused = await call(client, "dispatch_route", route_id="rte_1")
        assert refused["code"] == "insufficient_scope"


async def test_a_retry_makes_one_shipment(desk: Desk) -> None:
    order_id = await desk.order()
    key = {"idempotency_key": "one-shipment"}
    first = await done(desk.client, "create_shipment", order_id=order_id, **key)
    again = await done(desk.client, "create_shipment", order_id=order_id, **key)
    assert again["replayed"] is True
    assert again["shipment_id"] == first["shipment_id"]
    other = await call(desk.client, "create_shipment", order_id=order_id, carrier="post", **key)
    assert other["code"] == "idempotency_conflict"
