"""The claims desk through its tools: customers made whole, carriers made to pay."""

import asyncio
from typing import Any

import pytest
from mcp.types import PromptReference, ResourceTemplateReference

from common.call import Call
from common.rules import funds, paid
from common.tables.claims import ClaimLine
from common.tables.inventory import (
    KitComponent,
    PurchaseLine,
    PurchaseOrder,
    Supplier,
    SupplierItem,
)
from common.tables.orders import Order
from common.tables.payments import Refund
from tests.claims.seed import (
    FREIGHT,
    HOUSE,
    LAMP,
    VASE,
    Desk,
    a_dispute,
    a_file,
    a_shipment,
    an_exception,
    an_order,
    books,
)
from tests.support.shop import actor, connected


async def test_a_customer_is_refunded_without_the_carrier(either: Desk) -> None:
    desk = either
    opened = await desk.done(
        "open_claim", type="damage", order_id="ord_1",
        lines=[{"line_id": "ord_1_0", "quantity": 1}], description="Shade cracked.",
    )  # fmt: skip
    id = opened["claim_id"]
    assert opened["state"] == "evidence_pending"
    assert opened["missing"] == ["photo"]
    assert opened["shipment_id"] == "shp_ord_1"
    assert opened["claimed_minor"] == 5_000
    await desk.refused("submit_claim", "rule_violation", claim_id=id)
    await desk.refused("settle_claim", "rule_violation", claim_id=id)
    added = await desk.evidence(id, "photo")
    assert added["missing"] == []
    assert (await desk.done("submit_claim", claim_id=id))["state"] == "under_review"
    settled = await desk.done("settle_claim", claim_id=id)
    assert settled["state"] == "resolved"
    assert settled["resolution"] == "refund"
    assert settled["paid_minor"] == settled["approved_minor"] == 5_000
    refund = await desk.look(lambda s: s.get(Refund, settled["refund_id"]))
    assert refund is not None
    assert (refund.amount_minor, refund.reason, refund.source_id) == (5_000, "claim", id)
    now = desk.clock.now
    assert await desk.look(lambda s: paid.net_paid(s, "ord_1", now)) == {"pm_1": 8_500}
    await desk.refused("settle_claim", "rule_violation", claim_id=id)
    assert (await desk.done("close_claim", claim_id=id))["state"] == "closed"
    again: dict[str, Any] = {"lines": [{"line_id": LAMP, "quantity": 2}], "type": "damage"}
    answer = await desk.refused("open_claim", "rule_violation", order_id="ord_1", **again)
    assert answer["details"]["left"] == 1


async def test_a_carrier_pays_cost_not_price(either: Desk) -> None:
    desk = either
    customer = await desk.reviewed(lines=[{"line_id": LAMP}])
    opened = await desk.done(
        "open_claim", kind="carrier", type="damage", shipment_id="shp_ord_1",
        lines=[{"line_id": LAMP}],
    )  # fmt: skip
    id = opened["claim_id"]
    assert opened["parent_id"] == customer
    assert opened["claimed_minor"] == 2 * 2_000
    assert opened["state"] == "draft"
    assert opened["missing"] == ["proof_of_value", "photo", "packaging_photo"]
    assert any("clear" in note for note in opened["notes"])
    assert opened["deadline_at"] == "2026-12-30T09:00:00Z"
    ready = await desk.evidence(id, *opened["missing"])
    assert ready["state"] == "ready"
    filed = await desk.done("submit_claim", claim_id=id, carrier_reference="SW-77")
    assert filed["state"] == "filed"
    assert filed["deadline_at"] == "2026-12-02T09:00:00Z"
    assert desk.person.questions
    for stage in ("acknowledged", "investigating", "inspection"):
        row = await desk.done("record_carrier_decision", claim_id=id, decision=stage)
        assert row["state"] == stage
    offer = await desk.done(
        "record_carrier_decision", claim_id=id, decision="partially_approved", amount_minor=1_000
    )
    assert offer["state"] == "offered"
    appealed = await desk.done("appeal_claim", claim_id=id, reason="Packed as agreed.")
    assert (appealed["state"], appealed["approved_minor"]) == ("appealed", 0)
    better = await desk.done(
        "record_carrier_decision", claim_id=id, decision="offered", amount_minor=3_001
    )
    assert better["decisions"][-1]["on_appeal"] is True
    accepted = await desk.done("settle_claim", claim_id=id)
    assert (accepted["state"], accepted["approved_minor"]) == ("accepted", 3_001)
    assert await books(desk, id) == (3_001, 0)
    part = await desk.done("record_recovery", claim_id=id, amount_minor=1_000, reference="T-1")
    assert part["state"] == "paid"
    await desk.refused(
        "record_recovery", "rule_violation", claim_id=id, amount_minor=1_000, reference="T-1"
    )
    await desk.refused(
        "record_recovery", "invalid_parameters", claim_id=id, amount_minor=2_002, reference="T-2"
    )
    whole = await desk.done("record_recovery", claim_id=id, amount_minor=2_001, reference="T-2")
    assert whole["state"] == "reconciled"
    assert await books(desk, id) == (0, 3_001)
    assert (await desk.done("close_claim", claim_id=id))["state"] == "closed"
    # The customer's claim was never held up by it.
    assert (await desk.done("settle_claim", claim_id=customer))["state"] == "resolved"
    assert (await desk.read("get_claim", claim_id=customer))["linked_claims"] == [id]


async def test_a_denial_is_taken_by_a_person(desk: Desk) -> None:
    """An agent that records a denial and closes the claim gives up as much as one that withdraws
    it."""
    id = await desk.filed()
    await desk.done(
        "record_carrier_decision", claim_id=id, decision="denied", code="other", text="No."
    )
    desk.person.answer, asked = "no", len(desk.person.questions)
    await desk.refused("close_claim", "approval_invalid", claim_id=id)
    assert "given up: 52.00 EUR" in desk.person.questions[asked]
    desk.person.answer = "yes"
    desk.clock.forward(minutes=11)
    assert (await desk.done("close_claim", claim_id=id))["state"] == "closed"


@pytest.mark.parametrize(("tool", "more"), [
    ("decide_customer_claim", {"decision": "partially_approved", "amount_minor": 1}),
    ("settle_claim", {"amount_minor": 1}),
])  # fmt: skip
async def test_who_gets_a_cent_is_turned_away_by_a_person(
    desk: Desk, tool: str, more: dict[str, Any]
) -> None:
    id = await desk.reviewed()
    asked, desk.person.answer = len(desk.person.questions), "no"
    await desk.refused(tool, "approval_invalid", claim_id=id, **more)
    assert "0.01 EUR of 130.00 EUR" in desk.person.questions[asked]


async def test_what_is_accepted_and_never_paid_is_written_off(desk: Desk) -> None:
    id = await desk.filed()
    accepted = await desk.done("record_carrier_decision", claim_id=id, decision="approved")
    assert accepted["approved_minor"] == 2 * 2_000 + 1_200
    await desk.done("record_recovery", claim_id=id, amount_minor=200, reference="T-1")
    closed = await desk.done("close_claim", claim_id=id)
    assert closed["state"] == "written_off"
    assert await books(desk, id) == (0, 200)
    lines = await desk.look(lambda s: [r.carrier_open for r in s.query(ClaimLine)])
    assert lines == [False, False]


async def test_store_credit_comes_out_of_the_payment(desk: Desk) -> None:
    id = await desk.reviewed(lines=[{"line_id": VASE}])
    settled = await desk.done("settle_claim", claim_id=id, resolution="credit")
    assert settled["resolution"] == "credit"
    now = desk.clock.now
    credit = funds.store_credit("cus_1")
    assert await desk.look(lambda s: funds.credit_balance(s, now, credit, "EUR")) == 3_000
    assert await desk.look(lambda s: paid.net_paid(s, "ord_1", now)) == {"pm_1": 10_500}


async def test_credit_of_a_new_customer_can_be_approved(desk: Desk) -> None:
    """The method made on the way must not make the approval stale."""
    id = await desk.reviewed()
    settled = await desk.done("settle_claim", claim_id=id, resolution="credit")
    assert settled["paid_minor"] == 13_000
    assert any("Settle" in question for question in desk.person.questions or [])


async def test_a_replacement_costs_nothing(desk: Desk) -> None:
    id = await desk.reviewed(lines=[{"line_id": LAMP, "quantity": 1}])
    settled = await desk.done("settle_claim", claim_id=id, resolution="replacement")
    placed = await desk.look(lambda s: s.get(Order, settled["replacement_order_id"]))
    assert placed is not None
    assert (placed.total_minor, placed.replaces_order_id) == (0, "ord_1")
    now = desk.clock.now
    assert await desk.look(lambda s: paid.net_paid(s, "ord_1", now)) == {"pm_1": 13_500}


async def test_a_part_and_a_denial(desk: Desk) -> None:
    id = await desk.reviewed()
    for bad in (
        {"decision": "denied"}, {"decision": "denied", "code": "other"},
        {"decision": "partially_approved"}, {"decision": "approved", "amount_minor": 1},
        {"decision": "partially_approved", "amount_minor": 13_000},
        {"decision": "approved", "code": "other"},
    ):  # fmt: skip
        await desk.refused("decide_customer_claim", "invalid_parameters", claim_id=id, **bad)
    denied = await desk.done(
        "decide_customer_claim", claim_id=id, decision="denied", code="not_our_damage",
        text="Worn out.",
    )  # fmt: skip
    assert denied["state"] == "denied"
    await desk.refused("settle_claim", "rule_violation", claim_id=id)
    reopened = await desk.done("appeal_claim", claim_id=id, reason="New photo.")
    assert reopened["state"] == "reopened"
    await desk.done("submit_claim", claim_id=id)
    part = await desk.done(
        "decide_customer_claim", claim_id=id, decision="partially_approved", amount_minor=4_000
    )
    assert part["state"] == "partially_approved"
    await desk.refused("settle_claim", "invalid_parameters", claim_id=id, amount_minor=3_999)
    await desk.refused("settle_claim", "rule_violation", claim_id=id, resolution="replacement")
    assert (await desk.done("settle_claim", claim_id=id))["paid_minor"] == 4_000


async def test_evidence_is_for_good(desk: Desk) -> None:
    opened = await desk.done("open_claim", type="damage", order_id="ord_1")
    id = opened["claim_id"]
    file = a_file(id, "photo")
    await desk.done("add_claim_evidence", **file)
    await desk.refused("add_claim_evidence", "rule_violation", **file)
    other = a_file(id, "photo", "2")
    for bad in (
        {"sha256": "/tmp/photo.jpg"}, {"sha256": "https://example.com/x"}, {"sha256": "A" * 64},
        {"note": "see https://example.com/x"}, {"note": "C:\\photo.jpg"},
        {"taken_on": "2026-11-03"}, {"media_type": "text/html"}, {"size_bytes": 0},
    ):  # fmt: skip
        await desk.refused("add_claim_evidence", "invalid_parameters", **(other | bad))
    second = await desk.done("open_claim", type="damage", order_id="ord_2")
    noted = await desk.done("add_claim_evidence", **a_file(second["claim_id"], "photo"))
    assert any(id in note for note in noted["notes"])


async def test_the_deadline_stops_a_filing(desk: Desk) -> None:
    opened = await desk.done(
        "open_claim", kind="carrier", type="concealed_damage", shipment_id="shp_ord_1"
    )
    id = opened["claim_id"]
    # Delivered on Saturday the 31st; the fifth business day after is Friday the 6th.
    assert opened["deadline_at"] == "2026-11-06T09:00:00Z"
    await desk.evidence(id, *opened["missing"])
    due = await desk.read("list_claim_deadlines", days=7)
    assert [row["claim_id"] for row in due["claims"]] == [id]
    await desk.refused("close_claim", "rule_violation", claim_id=id)
    desk.clock.forward(days=4, seconds=1)
    answer = await desk.refused("submit_claim", "rule_violation", claim_id=id)
    assert answer["details"]["deadline_at"] == "2026-11-06T09:00:00Z"
    # Late is for a second person to say.
    waiting = await desk.ask("submit_claim", claim_id=id, override_reason="They agreed.")
    assert (waiting["status"], waiting["level"]) == ("approval_required", 2)
    assert (await desk.done("close_claim", claim_id=id))["state"] == "expired"


async def test_deadlines_are_data(desk: Desk) -> None:
    entered = {
        "deadline": "file_by", "days": 1, "counted_from": "delivered", "source": "Terms 2026, 4.2",
        "as_of": "2026-11-01", "carrier_id": "car_swift", "liability_cap_minor": 2_500,
        "currency": "EUR", "covers_freight": True, "evidence": ["photo"],
    }  # fmt: skip
    await desk.refused("set_claim_deadline", "not_found", **(entered | {"carrier_id": "car_x"}))
    del entered["currency"]
    await desk.refused("set_claim_deadline", "invalid_parameters", **entered)
    await desk.done("set_claim_deadline", **entered, currency="EUR")
    opened = await desk.done("open_claim", kind="carrier", type="damage", shipment_id="shp_ord_1")
    assert opened["claimed_minor"] == 2_500 + FREIGHT
    assert sum(line["claimed_minor"] for line in opened["lines"]) == 2_500
    assert opened["missing"] == ["proof_of_value", "photo"]
    assert opened["deadline_at"] == "2026-11-01T09:00:00Z"
    found: Any = await desk.client.read_resource("claims://deadlines")
    assert "Terms 2026" in found.contents[0].text
    assert "49 CFR 370.9" in found.contents[0].text


async def test_late_shipments_are_found_and_drafted(desk: Desk) -> None:
    found = await desk.read("detect_late_shipments")
    assert [row["shipment_id"] for row in found["shipments"]] == ["shp_ord_2"]
    assert found["shipments"][0]["minutes_late"] == 24 * 60
    await desk.refused(
        "open_claim", "rule_violation", kind="carrier", type="late", shipment_id="shp_ord_1"
    )
    drafts = await desk.done("draft_late_claims")
    assert drafts["count"] == 1
    claim = await desk.read("get_claim", claim_id=drafts["claims"][0]["claim_id"])
    assert (claim["type"], claim["claimed_minor"], claim["state"]) == ("late", FREIGHT, "ready")
    assert (await desk.done("draft_late_claims"))["count"] == 0
    late = await desk.reviewed("ord_2", "late")
    goodwill = await desk.read("get_claim", claim_id=late)
    assert goodwill["claimed_minor"] == 1_300 + 500
    await desk.refused(
        "settle_claim", "invalid_parameters", claim_id=late, resolution="replacement"
    )
    await desk.refused("open_claim", "rule_violation", type="late", order_id="ord_2")


async def test_drafting_tells_how_many_it_has_looked_at(either: Desk) -> None:
    def more(call: Call) -> None:
        for number in range(3, 15):
            an_order(call, f"ord_{number}", {LAMP: 1})
            a_shipment(call, f"ord_{number}", late_days=1)

    await either.seed(more, "*")
    for tool, most in (("detect_late_shipments", {"limit": 12}), ("draft_late_claims", {})):
        told: list[tuple[float, float | None]] = []

        async def hear(done: float, total: float | None, message: str | None) -> None:
            told.append((done, total))  # noqa: B023 - awaited before the next round

        result = await either.client.call_tool(tool, most, progress_callback=hear)
        assert not result.is_error
        for _ in range(50):
            await asyncio.sleep(0)
        seen = most.get("limit", 13)
        assert told == [(10, seen), (seen, seen)], tool


async def test_an_excused_delay_is_no_claim(desk: Desk) -> None:
    await desk.seed(an_exception("ord_2", "weather"), "logistics")
    assert (await desk.read("detect_late_shipments"))["shipments"][0]["excuse"] == "weather"
    assert (await desk.done("draft_late_claims"))["count"] == 0
    answer = await desk.refused(
        "open_claim", "rule_violation", kind="carrier", type="late", shipment_id="shp_ord_2"
    )
    assert answer["details"]["excuse"] == "weather"


async def test_one_open_carrier_claim_a_line_and_type(either: Desk) -> None:
    desk = either
    shipment = {"kind": "carrier", "shipment_id": "shp_ord_1"}
    first = await desk.done("open_claim", type="damage", lines=[{"line_id": LAMP}], **shipment)
    answer = await desk.refused("open_claim", "rule_violation", type="damage", **shipment)
    assert answer["details"]["claim_id"] == first["claim_id"]
    await desk.done("open_claim", type="damage", lines=[{"line_id": VASE}], **shipment)
    await desk.done("open_claim", type="shortage", lines=[{"line_id": LAMP}], **shipment)
    gone = await desk.done("withdraw_claim", claim_id=first["claim_id"], reason="Opened twice.")
    assert gone["state"] == "withdrawn"
    await desk.refused(
        "withdraw_claim", "rule_violation", claim_id=first["claim_id"], reason="Again."
    )
    await desk.done("open_claim", type="damage", lines=[{"line_id": LAMP}], **shipment)


async def test_nobody_pays_twice_for_one_loss(either: Desk) -> None:
    desk = either
    carrier = await desk.filed()
    insurer = await desk.done("open_claim", kind="insurer", type="damage", shipment_id="shp_ord_1")
    assert insurer["claimed_minor"] == 5_200
    await desk.evidence(insurer["claim_id"], *insurer["missing"])
    await desk.done("submit_claim", claim_id=insurer["claim_id"])
    await desk.done(
        "record_carrier_decision", claim_id=carrier, decision="offered", amount_minor=3_000
    )
    await desk.done("settle_claim", claim_id=carrier)
    answer = await desk.refused(
        "record_carrier_decision", "rule_violation", claim_id=insurer["claim_id"],
        decision="approved",
    )  # fmt: skip
    assert answer["details"] == {"loss_minor": 5_200, "room_minor": 2_200}
    await desk.done(
        "record_carrier_decision", claim_id=insurer["claim_id"], decision="offered",
        amount_minor=2_200,
    )  # fmt: skip
    await desk.done("settle_claim", claim_id=insurer["claim_id"])
    await desk.seed(a_dispute("ord_1", "won", 1), "payments")
    await desk.refused(
        "record_recovery", "rule_violation", claim_id=carrier, amount_minor=3_000, reference="T-1"
    )


async def test_a_disputed_order_waits(desk: Desk) -> None:
    id = await desk.reviewed()
    await desk.seed(a_dispute("ord_1", "needs_response"), "payments")
    for resolution in ("refund", "credit", "replacement"):
        answer = await desk.refused(
            "settle_claim", "rule_violation", claim_id=id, resolution=resolution
        )
        assert answer["details"]["dispute_id"] == "dsp_ord_1"


async def test_a_lost_dispute_made_the_customer_whole(desk: Desk) -> None:
    id = await desk.reviewed()
    await desk.seed(a_dispute("ord_1", "lost"), "payments")
    for resolution in ("refund", "replacement"):
        await desk.refused("settle_claim", "insufficient_funds", claim_id=id, resolution=resolution)


@pytest.mark.parametrize(
    ("code", "arguments"),
    [
        ("not_found", {"type": "damage", "order_id": "ord_x"}),
        ("not_found", {"type": "damage", "order_id": "ord_1", "lines": [{"line_id": "nope"}]}),
        ("invalid_parameters", {"type": "damage"}),
        ("invalid_parameters", {"type": "fire", "order_id": "ord_1"}),
        ("invalid_parameters", {"type": "damage", "order_id": "ord_1", "lines": [
            {"line_id": LAMP, "quantity": 3}]}),
        ("invalid_parameters", {"type": "damage", "order_id": "ord_1", "lines": [
            {"line_id": LAMP}, {"line_id": "ord_1_0"}]}),
        ("invalid_parameters", {"type": "damage", "kind": "supplier", "order_id": "ord_1"}),
        ("invalid_parameters", {"type": "damage", "order_id": "ord_1", "supplier_id": "sup_1"}),
        ("rule_violation", {"type": "damage", "order_id": "ord_1", "shipment_id": "shp_ord_2"}),
        ("rule_violation", {"type": "loss", "order_id": "ord_1"}),
        ("not_found", {"type": "damage", "order_id": "ord_1", "return_id": "rma_x"}),
        ("not_found", {"type": "damage", "order_id": "ord_1", "kind": "carrier",
            "parent_id": "clm_x"}),
    ],
)  # fmt: skip
async def test_open_claim_refuses(desk: Desk, code: str, arguments: dict[str, Any]) -> None:
    await desk.refused("open_claim", code, **arguments)


async def test_wrong_way_round(desk: Desk) -> None:
    customer, carrier = await desk.reviewed(), await desk.filed()
    await desk.refused(
        "record_carrier_decision", "rule_violation", claim_id=customer, decision="approved"
    )
    await desk.refused(
        "decide_customer_claim", "rule_violation", claim_id=carrier, decision="approved"
    )
    await desk.refused("settle_claim", "rule_violation", claim_id=carrier)
    await desk.refused("settle_claim", "invalid_parameters", claim_id=carrier, resolution="refund")
    money = {"amount_minor": 1, "reference": "T-1"}
    for id in (customer, carrier):
        await desk.refused("record_recovery", "rule_violation", claim_id=id, **money)
        await desk.refused("close_claim", "rule_violation", claim_id=id)
        await desk.refused("appeal_claim", "rule_violation", claim_id=id, reason="No.")
    for tool in ("get_claim", "submit_claim", "settle_claim"):
        await desk.refused(tool, "not_found", claim_id="clm_x")
    await desk.done(
        "record_carrier_decision", claim_id=carrier, decision="denied",
        code="insufficient_packaging", text="One layer only.",
    )  # fmt: skip
    desk.clock.forward(days=731)
    await desk.refused("appeal_claim", "rule_violation", claim_id=carrier, reason="No.")
    assert (await desk.done("close_claim", claim_id=carrier))["state"] == "closed"


async def test_lists(desk: Desk) -> None:
    ids = [await desk.reviewed(), await desk.filed(), await desk.reviewed("ord_2")]
    first = await desk.read("list_claims", limit=2)
    rest = await desk.read("list_claims", limit=2, cursor=first["next_cursor"])
    assert [row["claim_id"] for row in first["claims"] + rest["claims"]] == ids
    carriers = await desk.read("list_claims", kind="carrier")
    assert [row["claim_id"] for row in carriers["claims"]] == [ids[1]]
    await desk.refused("list_claims", "invalid_parameters", cursor="abc")


async def test_resources_prompt_and_completion(desk: Desk) -> None:
    id = await desk.filed()
    one: Any = await desk.client.read_resource(f"claims://claim/{id}")
    assert f'"{id}"' in one.contents[0].text
    packet: Any = await desk.client.read_resource(f"claims://claim/{id}/packet")
    assert packet.contents[0].mime_type == "text/markdown"
    assert "TN-ord_1" in packet.contents[0].text
    assert "| LAMP-1 | 2 | 20.00 EUR | 40.00 EUR | " in packet.contents[0].text
    every: Any = await desk.client.read_resource("claims://open")
    assert id in every.contents[0].text
    prompt = await desk.client.get_prompt("claim_review", {"claim_id": id})
    assert id in str(prompt.messages[0].content)
    for reference in (
        ResourceTemplateReference(type="ref/resource", uri="claims://claim/{claim_id}"),
        PromptReference(type="ref/prompt", name="claim_review"),
    ):
        offered = await desk.client.complete(reference, {"name": "claim_id", "value": id[:6]})
        assert offered.completion.values == [id]


async def test_a_person_must_agree_and_scopes_hold(desk: Desk) -> None:
    id = await desk.reviewed()
    desk.person.answer = "no"
    before = await desk.everything()
    waiting = await desk.ask("settle_claim", claim_id=id)
    assert waiting.get("status") == "approval_required" or "code" in waiting
    assert await desk.everything() == before
    clerk = actor("bob@example.com", "claims:write")
    async with connected(desk.shop, desk_tools(), who=clerk) as client:
        answer: Any = await client.call_tool("settle_claim", {"claim_id": id})
        assert answer.structured_content["code"] == "insufficient_scope"


def desk_tools() -> Any:
    from servers.claims.tools import tools

    return tools


async def test_a_supplier_is_claimed_for_what_it_delivered(desk: Desk) -> None:
    """What was received says whose it is; before that, who is listed with the item."""

    def another(call: Call) -> None:
        call.add(Supplier(id="sup_2", name="Lights", currency="EUR"))
        call.add(
            SupplierItem(
                id="item_1", supplier_id="sup_1", sku=LAMP, unit_cost_minor=1, currency="EUR",
                lead_time_millidays=1,
            )
        )  # fmt: skip
        call.add(KitComponent(id="kit_1", kit_sku=VASE, component_sku=LAMP, quantity=1))

    def bought(call: Call) -> None:
        call.add(
            PurchaseOrder(
                id="po_1", supplier_id="sup_2", warehouse_id=HOUSE, state="received",
                currency="EUR", total_minor=1, reason="", created_at=call.now,
            )
        )  # fmt: skip
        call.add(
            PurchaseLine(
                id="pol_1", purchase_order_id="po_1", position=0, sku=LAMP, ordered=1, received=1,
                unit_cost_minor=1, open=False,
            )
        )  # fmt: skip

    async def whose(sku: str, supplier: str) -> list[str]:
        answer = await desk.refused(
            "open_claim", "rule_violation", kind="supplier", type="damage", order_id="ord_1",
            supplier_id=supplier, lines=[{"line_id": sku}],
        )  # fmt: skip
        found: list[str] = answer["details"]["suppliers"]
        return found

    await desk.seed(another, "inventory")
    assert await whose(LAMP, "sup_2") == ["sup_1"]
    assert await whose(VASE, "sup_2") == ["sup_1"], "a kit is of its parts' suppliers"
    await desk.seed(bought, "inventory")
    assert await whose(LAMP, "sup_1") == ["sup_2"]
    opened = await desk.done(
        "open_claim", kind="supplier", type="damage", order_id="ord_1", supplier_id="sup_2",
        lines=[{"line_id": LAMP}],
    )  # fmt: skip
    assert opened["supplier_id"] == "sup_2"
