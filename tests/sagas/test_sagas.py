"""What crosses domains, from end to end through the servers' own tools, failure legs included."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from common.clock import stamp
from tests.sagas.town import HOUSE, JAM, LAMP, Town, a_town

LAMP_MINOR = 4_000


@pytest.fixture
async def town(url: str, tmp_path: Path) -> AsyncIterator[Town]:
    async with a_town(tmp_path, database_url=url) as found:
        yield found


async def payment_of(town: Town, order: dict[str, Any]) -> dict[str, Any]:
    return await town.do("payments", "get_payment", payment_id=order["payment_ids"][0])


async def status(town: Town, order: dict[str, Any]) -> tuple[str, str, str]:
    found = await town.do("orders", "get_order", order_id=order["order_id"])
    return found["status"], found["payment_status"], found["fulfilment_status"]


# 1. Checkout: reserve → authorise → place; fail: release, void.


async def test_checkout_holds_stock_and_money_until_it_is_cancelled(town: Town):
    before = await town.available()
    order = await town.order(quantity=3)
    assert await town.available() == before - 3
    assert (await status(town, order))[:2] == ("placed", "awaiting")
    await town.provider_answers()
    assert (await status(town, order))[:2] == ("placed", "authorized")
    reference = (await payment_of(town, order))["provider_reference"]
    assert town.provider.totals(reference) == (3 * LAMP_MINOR, 0, 0)
    await town.do("orders", "cancel_order", order_id=order["order_id"], reason="no_longer_needed")
    await town.provider_answers()
    assert await town.available() == before
    assert (await payment_of(town, order))["status"] == "voided"
    assert town.provider.totals(reference) == (0, 0, 0)
    await town.books(order["order_id"])


async def test_checkout_with_a_card_that_is_declined_ships_nothing(town: Town):
    before = await town.available()
    order = await town.order(2)
    await town.provider_answers()
    assert (await payment_of(town, order))["status"] == "declined"
    await town.refused(
        "orders", "release_to_fulfilment", "rule_violation", order_id=order["order_id"]
    )
    await town.refused("logistics", "create_shipment", "rule_violation", order_id=order["order_id"])
    await town.do("orders", "cancel_order", order_id=order["order_id"], reason="payment_failed")
    assert await town.available() == before
    assert (await status(town, order))[0] == "cancelled"
    await town.books(order["order_id"])


async def test_checkout_of_more_than_there_is_takes_no_money(town: Town):
    before = await town.available()
    answer = await town.ask(
        "orders", "place_order", customer_id="cus-1", payment_method_id="card-1",
        lines=[{"sku": LAMP, "quantity": before + 1}], warehouse=HOUSE,
    )  # fmt: skip
    assert answer["code"] == "insufficient_stock"
    assert await town.available() == before
    found = await town.do("payments", "search_payments", customer_id="cus-1")
    assert found["payments"] == []


# 2. Ship: consume reservation → capture → event.


async def test_shipping_consumes_the_stock_and_captures_the_money(town: Town):
    order = await town.order(quantity=2)
    await town.provider_answers()
    shipment = await town.shipped(order["order_id"])
    again = await town.do(
        "logistics", "record_tracking_event", shipment_id=shipment, status="picked_up",
        event_id="evt-again", occurred_at=stamp(town.clock.now),
    )  # fmt: skip
    assert again["status"] == "picked_up"
    await town.provider_answers()
    paid = await payment_of(town, order)
    assert paid["status"] == "captured"
    assert town.provider.totals(paid["provider_reference"]) == (8_000, 8_000, 0)
    stock = await town.do("inventory", "get_stock", sku=LAMP, warehouse=HOUSE)
    assert (stock["on_hand"], stock["available"]) == (98, 98)
    assert (await status(town, order))[1:] == ("captured", "shipped")
    whole = await town.do("orders", "get_order", order_id=order["order_id"])
    assert {"released", "shipped"} <= {event["what"] for event in whole["timeline"]}
    await town.refused(
        "orders", "cancel_order", "rule_violation", order_id=order["order_id"],
        reason="no_longer_needed",
    )  # fmt: skip
    await town.books(order["order_id"])


async def test_what_is_paid_in_part_does_not_leave_the_house(town: Town):
    order = await town.order(quantity=3)
    await town.provider_answers()
    id = order["order_id"]
    await town.do("orders", "release_to_fulfilment", order_id=id)
    made = await town.do(
        "logistics", "create_shipment", order_id=id, carrier="post", service="standard"
    )
    await town.do("payments", "void_payment", payment_id=order["payment_ids"][0])
    await town.do("payments", "authorize_payment", order_id=id, amount_minor=LAMP_MINOR)
    await town.provider_answers()
    leaving = {
        "shipment_id": made["shipment_id"], "status": "picked_up", "event_id": "evt-left",
        "occurred_at": stamp(town.clock.now),
    }  # fmt: skip
    refused = await town.refused("logistics", "record_tracking_event", "rule_violation", **leaving)
    assert refused["details"]["taken_minor"] == LAMP_MINOR
    assert (await status(town, order))[1] == "authorized", "and nothing of it was taken"
    await town.do("payments", "authorize_payment", order_id=id)
    await town.provider_answers()
    await town.do("logistics", "record_tracking_event", **leaving)
    assert (await status(town, order))[1:] == ("captured", "shipped")


# 3. Return: receive → inspect → restock → refund once.


async def test_a_return_is_restocked_and_refunded_once(town: Town):
    order, _ = await town.sold(quantity=2)
    before = await town.available()
    asked = [{"line_id": order["lines"][0]["line_id"], "quantity": 1, "reason": "unwanted"}]
    made = await town.do("returns", "request_return", order_id=order["order_id"], lines=asked)
    id, line = made["return_id"], made["lines"][0]["line_id"]
    await town.refused("returns", "settle_return", "rule_violation", return_id=id)
    await town.do("returns", "authorize_return", return_id=id)
    await town.do(
        "returns", "receive_return", return_id=id, lines=[{"line_id": line, "quantity": 1}]
    )
    assert await town.available() == before, "not for sale before somebody looked at it"
    found = {
        "line_id": line, "quantity": 1, "grade": "A", "condition": "unopened",
        "disposition": "restock",
    }  # fmt: skip
    await town.do("returns", "inspect_return", return_id=id, lines=[found])
    await town.do("returns", "settle_return", return_id=id)
    await town.refused("returns", "settle_return", "rule_violation", return_id=id)
    await town.provider_answers()
    assert await town.available() == before + 1
    paid = await payment_of(town, order)
    assert [each["status"] for each in paid["refunds"]] == ["succeeded"]
    assert town.provider.totals(paid["provider_reference"])[2] == LAMP_MINOR
    assert (await status(town, order))[1] == "partially_refunded"
    await town.books(order["order_id"])


# 4. Damage: POD exception → customer claim + carrier claim → refund + recovery, no double.


async def test_damage_is_paid_once_and_recovered_once(town: Town):
    order = await town.order()
    await town.provider_answers()
    shipment = await town.shipped(order["order_id"])
    await town.delivered(shipment, damage_noted=True, condition_note="Carton crushed.")
    await town.provider_answers()
    line = [{"line_id": order["lines"][0]["line_id"], "quantity": 1}]
    ours = await town.do(
        "claims", "open_claim", kind="customer", type="damage", shipment_id=shipment, lines=line,
        description="Broken.",
    )  # fmt: skip
    await town.evidence(ours["claim_id"], *ours["missing"])
    await town.do("claims", "submit_claim", claim_id=ours["claim_id"])
    theirs = await town.do(
        "claims", "open_claim", kind="carrier", type="damage", shipment_id=shipment, lines=line,
        parent_id=ours["claim_id"], description="Broken on the way.",
    )  # fmt: skip
    assert theirs["claimed_minor"] <= 1_500 + 2_000, "cost, not retail"
    # The customer does not wait for the carrier.
    await town.do("claims", "settle_claim", claim_id=ours["claim_id"], resolution="refund")
    await town.provider_answers()
    await town.evidence(theirs["claim_id"], *theirs["missing"])
    await town.do("claims", "submit_claim", claim_id=theirs["claim_id"])
    await town.do(
        "claims", "record_carrier_decision", claim_id=theirs["claim_id"], decision="approved"
    )
    won = await town.do("claims", "get_claim", claim_id=theirs["claim_id"])
    await town.refused(
        "claims", "record_recovery", "invalid_parameters", claim_id=theirs["claim_id"],
        amount_minor=won["approved_minor"] + 1, reference="TR-0",
    )  # fmt: skip
    await town.do(
        "claims", "record_recovery", claim_id=theirs["claim_id"],
        amount_minor=won["approved_minor"], reference="TR-1",
    )  # fmt: skip
    # Nothing twice: no return, no second claim, no more from the carrier.
    await town.refused(
        "returns", "request_return", "rule_violation", order_id=order["order_id"],
        lines=[{"line_id": line[0]["line_id"], "quantity": 1, "reason": "damaged_in_transit"}],
    )  # fmt: skip
    await town.refused(
        "claims", "open_claim", "rule_violation", kind="customer", type="damage",
        shipment_id=shipment, lines=line, description="Again.",
    )  # fmt: skip
    await town.refused(
        "claims", "record_recovery", "rule_violation", claim_id=theirs["claim_id"],
        amount_minor=1, reference="TR-2",
    )  # fmt: skip
    paid = await payment_of(town, order)
    assert town.provider.totals(paid["provider_reference"])[2] == LAMP_MINOR
    await town.books(order["order_id"])


# 5. Late: promised < actual → claim + goodwill credit cap.


async def test_a_late_parcel_is_claimed_and_made_good_once(town: Town):
    order = await town.order()
    await town.provider_answers()
    shipment = await town.shipped(order["order_id"])
    await town.provider_answers()
    town.clock.forward(days=9)
    await town.delivered(shipment)
    late = await town.do("claims", "detect_late_shipments", days=30)
    assert [row["shipment_id"] for row in late["shipments"]] == [shipment]
    drafted = await town.do("claims", "draft_late_claims", days=30)
    assert drafted["count"] == 1
    again = await town.do("claims", "draft_late_claims", days=30)
    assert again["count"] == 0, "drafted once"
    ours = await town.do(
        "claims", "open_claim", kind="customer", type="late", shipment_id=shipment,
        description="Nine days late.",
    )  # fmt: skip
    await town.evidence(ours["claim_id"], *ours["missing"])
    await town.do("claims", "submit_claim", claim_id=ours["claim_id"])
    too_much = await town.ask(
        "claims", "settle_claim", claim_id=ours["claim_id"], resolution="credit",
        amount_minor=ours["claimed_minor"] + 1,
    )  # fmt: skip
    assert too_much["code"] in ("invalid_parameters", "rule_violation"), "goodwill has a cap"
    await town.do("claims", "settle_claim", claim_id=ours["claim_id"], resolution="credit")
    methods = await town.do("payments", "find_payment_methods", customer_id="cus-1")
    credit = [each for each in methods["methods"] if each["kind"] == "store_credit"]
    assert len(credit) == 1
    await town.books(order["order_id"])


# 6. Dispute product_not_received: evidence from POD.


async def test_a_dispute_is_answered_from_the_proof_of_delivery(town: Town):
    order, shipment = await town.sold(3)
    (row,) = (await town.do("payments", "list_disputes"))["disputes"]
    dispute = await town.do("payments", "get_dispute", dispute_id=row["dispute_id"])
    assert dispute["reason"] == "product_not_received"
    offered = {piece["kind"]: piece for piece in dispute["available"]}
    assert offered["proof_of_delivery"]["source_id"] == shipment
    # While it is open nothing is paid a second time.
    await town.refused(
        "payments", "refund_payment", "rule_violation", payment_id=order["payment_ids"][0],
        amount_minor=100, currency="EUR", reason="goodwill",
    )  # fmt: skip
    await town.do(
        "payments", "submit_dispute_evidence", dispute_id=row["dispute_id"],
        kinds=["proof_of_delivery", "tracking", "invoice"],
    )  # fmt: skip
    await town.provider_answers()
    town.clock.forward(minutes=15)
    await town.shop.outbox.follow()
    closed = await town.do("payments", "get_dispute", dispute_id=row["dispute_id"])
    assert closed["status"] == "lost", "this card's bank believes its customer"
    whole = await town.do("orders", "get_order", order_id=order["order_id"])
    assert {"disputed", "dispute_lost"} <= {event["what"] for event in whole["timeline"]}
    await town.refused(
        "payments", "refund_payment", "insufficient_funds", payment_id=order["payment_ids"][0],
        amount_minor=100, currency="EUR", reason="goodwill",
    )  # fmt: skip
    await town.books(order["order_id"])


# 7. Recall: lot → orders → returns bulk.


async def test_a_recalled_lot_comes_back_from_everybody(town: Town):
    first, _ = await town.sold(1, 2, JAM)
    second, _ = await town.sold(5, 2, JAM)
    spared, _ = await town.sold(6, 1, JAM)
    await town.refused("returns", "request_recall_returns", "rule_violation", sku=JAM, lot="L1")
    town.clock.forward(days=90)  # far beyond the policy's window
    line = {"line_id": first["lines"][0]["line_id"], "quantity": 1}
    await town.refused(
        "returns", "request_return", "rule_violation", order_id=first["order_id"], lines=[line]
    )
    recalled = await town.do("inventory", "recall_lot", sku=JAM, lot="L1", reason="Glass found.")
    affected = {first["order_id"], second["order_id"]}
    assert set(recalled["shipped_orders"]) == affected
    part = await town.do("returns", "request_recall_returns", sku=JAM, lot="L1", most=1)
    assert (part["count"], part["waiting"]) == (1, 1)
    told: list[tuple[float, float | None]] = []

    async def hear(done: float, total: float | None, message: str | None) -> None:
        told.append((done, total))

    answer = await town.clients["returns"].call_tool(
        "request_recall_returns", {"sku": JAM, "lot": "L1", "idempotency_key": "recall-rest-1"},
        progress_callback=hear,
    )  # fmt: skip
    rest = answer.structured_content
    assert rest is not None
    assert told[-1:] == [(1, 1)], "whoever asks is told how far it is"
    assert (rest["count"], rest["waiting"]) == (1, 0)
    rows = part["returns"] + rest["returns"]
    assert {row["order_id"] for row in rows} == affected
    assert spared["order_id"] not in affected
    none = await town.do("returns", "request_recall_returns", sku=JAM, lot="L1")
    assert (none["count"], none["waiting"]) == (0, 0), "nobody is called back twice"
    before = await town.available(JAM)
    await come_back(town, rows[0]["return_id"])
    await town.provider_answers()
    assert await town.available(JAM) == before, "a recalled lot is never sold again"
    whole = await town.do("orders", "get_order", order_id=rows[0]["order_id"])
    assert whole["payment_status"] == "refunded"
    await town.books(*affected)


async def come_back(town: Town, id: str) -> None:
    """Received, looked at and settled; a recalled lot cannot be put up for sale."""
    made = await town.do("returns", "get_return", return_id=id)
    line = made["lines"][0]
    arrived = {"line_id": line["line_id"], "quantity": line["quantity"]}
    await town.do("returns", "receive_return", return_id=id, lines=[arrived])
    looked = arrived | {"grade": "C", "condition": "opened", "disposition": "scrap"}
    await town.do("returns", "inspect_return", return_id=id, lines=[looked])
    await town.do("returns", "settle_return", return_id=id)


# 8. Hold expiring before ship-by: re-authorise or alert.


async def test_an_authorization_that_ends_before_shipping_is_seen_and_renewed(town: Town):
    order = await town.order(4)
    await town.shop.outbox.drain()
    await town.do("payments", "get_payment", payment_id=order["payment_ids"][0])
    alert = await town.do("payments", "search_payments", expiring_within_hours=24)
    assert [row["order_id"] for row in alert["payments"]] == [order["order_id"]]
    town.clock.forward(minutes=15)
    assert (await payment_of(town, order))["status"] == "expired"
    await town.refused(
        "orders", "release_to_fulfilment", "rule_violation", order_id=order["order_id"]
    )
    await town.refused(
        "payments", "capture_payment", "rule_violation", payment_id=order["payment_ids"][0]
    )
    await town.shop.housekeeping.once()
    assert (await status(town, order))[1] == "not_paid"
    renewed = await town.do("payments", "authorize_payment", order_id=order["order_id"])
    await town.shop.outbox.drain()
    assert renewed["payment_id"] != order["payment_ids"][0]
    assert (await status(town, order))[:2] == ("placed", "authorized")
    assert (await town.available()) == 99, "the goods were kept for them all the time"
    shipment = await town.shipped(order["order_id"])
    await town.shop.outbox.drain()
    paid = await town.do("payments", "get_payment", payment_id=renewed["payment_id"])
    assert (paid["status"], shipment != "") == ("captured", True)
    await town.books(order["order_id"])
