"""The first half of the day: stock comes in, an order goes out."""

import asyncio
from typing import Any

from clients.demo.colleague import at_terminal
from clients.demo.stage import DemoFailed, Stage

COLLEAGUE = "kim@example.com"
PASSPHRASE = "correct horse battery staple"


async def enroll(stage: Stage) -> None:
    """A second person is enrolled, at a terminal."""
    stage.act("Who may decide")
    await asyncio.to_thread(
        at_terminal, stage.home, COLLEAGUE, ["approver", "enroll", COLLEAGUE, "--name", "Kim"],
        [("New passphrase", PASSPHRASE), ("Once more", PASSPHRASE)],
    )  # fmt: skip
    stage.person(f"{COLLEAGUE} enrolls at a terminal; the passphrase is stored nowhere")


async def approve(stage: Stage, asked: dict[str, Any]) -> None:
    """The colleague looks at the request, types its amount, and approves it with a passphrase."""
    preview = asked["preview"]
    shown = str(preview.get("amount") or preview.get("units") or "approve")
    screen = await asyncio.to_thread(
        at_terminal, stage.home, COLLEAGUE, ["approve", asked["approval_id"]],
        [(f"Type {shown}", shown), ("Passphrase", PASSPHRASE)],
    )  # fmt: skip
    if "Approved" not in screen:
        raise DemoFailed(f"the approval did not go through:\n{screen}")
    stage.person(f"{COLLEAGUE} reads the preview in a terminal of their own and approves")


async def low_stock(stage: Stage) -> None:
    """Low stock is found, a reorder proposed, approved by a second person, received."""
    stage.act("Low stock in the north")
    prompt = await stage.clients["inventory"].get_prompt("low_stock_review", {"region": "north"})
    stage.agent(f"follows the prompt low_stock_review ({len(str(prompt.messages))} characters)")
    low = await stage.do("inventory", "list_low_stock", region="north", action="reorder_now")
    if not low["items"]:
        raise DemoFailed("nothing runs low")
    for item in low["items"][:3]:
        stage.agent(f"{item['sku']} in {item['warehouse']}: {item['reason']}")
        for step in item["arithmetic"][:3]:
            stage.say(f"          {step}")
    item = low["items"][0]
    wanted = {
        "sku": item["sku"], "warehouse": item["warehouse"],
        "quantity": max(int(item.get("order_quantity") or 0), 400),
    }  # fmt: skip
    stage.agent(f"proposes to buy {wanted['quantity']} × {wanted['sku']}")
    asked = await stage.propose("inventory", "create_reorder", **wanted)
    if asked["level"] != 2:
        raise DemoFailed(f"expected four eyes: {asked}")
    stage.agent("tries to go on without waiting")
    await stage.refused("inventory", "create_reorder", **wanted, approval_id=asked["approval_id"])
    await approve(stage, asked)
    bought = await stage.do(
        "inventory", "create_reorder", **wanted, approval_id=asked["approval_id"]
    )
    order_id = bought["purchase_order_id"]
    stage.server(f"{order_id} is {bought['state']}, expected {bought['expected_on']}")
    await stage.do("inventory", "update_purchase_order", purchase_order_id=order_id, action="send")
    before = await stage.do("inventory", "get_stock", sku=item["sku"])
    line = {"sku": item["sku"], "received": bought["quantity"] - 2, "damaged": 2}
    received = await stage.do(
        "inventory", "receive_purchase_order", purchase_order_id=order_id, lines=[line],
        delivery_note="DN-1",
    )  # fmt: skip
    after = await stage.do("inventory", "get_stock", sku=item["sku"])
    stage.server(
        f"received: {received['good']} good, {received['damaged']} damaged; on hand "
        f"{before['on_hand']} → {after['on_hand']}"
    )


async def order_to_delivery(stage: Stage) -> dict[str, Any]:
    """An order by phone is placed, routed, dispatched and delivered, one parcel damaged."""
    stage.act("An order, from the phone to the door")
    found = await stage.do("orders", "find_customer", customer_id="cus-0001")
    method = found["methods"][0]
    stage.agent(f"{found['first_name']} orders two white mugs and a coffee by phone")
    mugs = await stage.do("inventory", "find_item", query="white mug stoneware")
    mug = mugs["items"][0]
    stage.server(f"found by name: {mug['name']} is {mug['sku']}, {mug['available']} left")
    lines = [{"sku": mug["sku"], "quantity": 2}, {"sku": "COF-0201", "quantity": 1}]
    wanted: dict[str, Any] = {
        "customer_id": found["customer_id"], "lines": lines,
        "payment_method_id": method["method_id"], "warehouse": "WH-NORTH",
        "idempotency_key": "phone-order-0001",
    }  # fmt: skip
    order = await stage.do("orders", "place_order", **wanted)
    stage.server(f"{order['order_id']}: {order['total']}, stock reserved, the card is asked")
    again = await stage.do("orders", "place_order", **wanted)
    if not again.get("replayed") or again["order_id"] != order["order_id"]:
        raise DemoFailed("the retry made a second order")
    stage.server("the same call again (a lost answer): replayed, no second order")
    paid = await stage.answered_payment(order["payment_ids"][0])
    stage.server(f"the provider answers: {paid['provider_reference']} is {paid['status']}")
    await stage.do("orders", "release_to_fulfilment", order_id=order["order_id"])
    return await _deliver(stage, order)


async def _deliver(stage: Stage, order: dict[str, Any]) -> dict[str, Any]:
    """By one of the shop's own vans: planned, confirmed by the operator, handed over damaged."""
    shipment = await stage.do("logistics", "create_shipment", order_id=order["order_id"])
    shipment_id = shipment["shipment_id"]
    planned = await stage.do("logistics", "plan_routes", seed=1, iterations=200)
    routes = [
        route for route in planned["routes"]
        if any(stop["shipment_id"] == shipment_id for stop in route["stops"])
    ]  # fmt: skip
    if not routes:
        raise DemoFailed(f"{shipment_id} is on no route: {planned['unassigned']}")
    route = routes[0]
    stage.server(f"planned for {planned['date']}: {route['summary']}")
    sent = await stage.do("logistics", "dispatch_route", route_id=route["route_id"])
    stage.server(f"{route['route_id']} is {sent['status']}; units left stock, payment captured")
    delivered = await stage.do(
        "logistics", "record_delivery", shipment_id=shipment_id, received_by="A. neighbour",
        photo_sha256="c" * 64, damage_noted=True, condition_note="Carton crushed on one side.",
    )  # fmt: skip
    stage.server(f"{shipment_id} is {delivered['status']}; the receiver noted damage")
    return {"order": order, "shipment_id": shipment_id}
