"""A parcel that a carrier takes: quoted, labelled, handed over, followed to the door."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

from clients.demo.stage import DemoFailed, Stage

CODE = "7Q4X"


async def by_carrier(stage: Stage) -> None:
    """The carrier scans late and twice; the receiver tells the code that the shop gave them."""
    stage.act("A parcel by carrier")
    found = await stage.do("orders", "find_customer", customer_id="cus-0003")
    order = await stage.do(
        "orders", "place_order", customer_id=found["customer_id"],
        lines=[{"sku": "COF-0201", "quantity": 1}], warehouse="WH-NORTH",
        payment_method_id=found["methods"][0]["method_id"],
    )  # fmt: skip
    await stage.answered_payment(order["payment_ids"][0])
    order_id = order["order_id"]
    await stage.do("orders", "release_to_fulfilment", order_id=order_id)
    quotes = (await stage.do("logistics", "quote_rates", order_id=order_id))["quotes"]
    offers = [f"{q['carrier']} {q['service']} {q['price']} by {q['arrives_by']}" for q in quotes]
    stage.server(f"rates: {'; '.join(offers)}")
    cheapest = quotes[0]
    made = await stage.do(
        "logistics", "create_shipment", order_id=order_id, carrier=cheapest["carrier"],
        service=cheapest["service"], delivery_code=CODE,
    )  # fmt: skip
    labelled = await _labelled(stage, made["shipment_id"])
    stage.server(
        f"{labelled['shipment_id']}: label bought for {labelled['cost']}, tracking number "
        f"{labelled['tracking_number']}, its check digit is right"
    )
    drawn = await stage.clients["logistics"].read_resource(
        f"logistics://label/{labelled['label_id']}"
    )
    stage.agent(f"shows the label, {len(str(drawn.contents[0])):,} characters of SVG")
    manifest = await stage.do(
        "logistics", "close_manifest", carrier=cheapest["carrier"], warehouse="WH-NORTH"
    )
    stage.server(f"{manifest['manifest_id']}: {manifest['count']} parcels handed over")
    await _followed(stage, labelled["shipment_id"])


async def _labelled(stage: Stage, shipment_id: str) -> dict[str, Any]:
    """The shipment, when the carrier has answered."""
    for _ in range(100):
        found = await stage.do("logistics", "track_shipment", shipment_id=shipment_id)
        if found.get("label_state") == "purchased" and found.get("tracking_validated"):
            return found
        await asyncio.sleep(0.1)
    raise DemoFailed(f"the carrier does not answer: {found}")


async def _followed(stage: Stage, shipment_id: str) -> None:
    await asyncio.sleep(1.1)  # carriers tell whole seconds
    now = datetime.now(UTC).replace(microsecond=0)
    scans = (
        ("scan-2", "out_for_delivery", now),
        ("scan-2", "out_for_delivery", now),
        ("scan-1", "in_transit", now - timedelta(seconds=1)),
    )
    for number, (event_id, status, at) in enumerate(scans):
        told = await stage.do(
            "logistics", "record_tracking_event", shipment_id=shipment_id, event_id=event_id,
            status=status, occurred_at=f"{at:%Y-%m-%dT%H:%M:%SZ}", place="Delivery base",
            idempotency_key=f"carrier-message-{number}",
        )  # fmt: skip
    if told["status"] != "out_for_delivery":
        raise DemoFailed(f"a late scan moved the status back: {told['status']}")
    stage.server("scanned out of order and one twice: still out_for_delivery")
    proof = {"received_by": "M. Larsen", "photo_sha256": "d" * 64}
    await stage.refused(
        "logistics", "record_delivery", shipment_id=shipment_id, **proof, code="0000"
    )
    await stage.do("logistics", "record_delivery", shipment_id=shipment_id, **proof, code=CODE)
    found = await stage.do("logistics", "track_shipment", shipment_id=shipment_id)
    for event in found["events"]:
        late = " (late, not counted)" if event.get("counted") is False else ""
        stage.say(f"          {event['at']}  {event['status']}{late}")
    proved = found["proof"]
    stage.server(
        f"proof of delivery {proved['proof_id']}: {proved['received_by']}, {proved['at']}, code "
        f"{'right' if proved['code_verified'] else 'not asked'}, photo "
        f"{proved['photo_sha256'][:8]}…"
    )
