"""Disputes: no double loss, and answers out of the shop's own records."""

from typing import Any

import pytest

from common.rules import funds
from tests.payments.seed import Desk, charged, delivered
from tests.support.shop import call, refused

REFUND = {"payment_id": "pay-1", "currency": "EUR", "reason": "return"}
DISPUTE = {"payment_id": "pay-1", "reason": "product_not_received"}


async def net(desk: Desk, account: str) -> int:
    return await desk.look(lambda s: funds.balance(s, desk.clock.now, account, "EUR").posted)


async def test_disputed_money_is_not_refunded_as_well(either: Desk):
    await either.seed(charged())
    made = await either.done("record_dispute", **DISPUTE, amount_minor=4_000)
    assert (made["status"], made["order_id"]) == ("needs_response", "ord-1")
    answer = await refused(
        either.client, "refund_payment", "rule_violation", **REFUND, amount_minor=1
    )
    assert answer["details"]["dispute_id"] == made["dispute_id"]
    await refused(either.client, "record_dispute", "rule_violation", **DISPUTE, **either.key())
    won = await either.done("record_dispute_outcome", dispute_id=made["dispute_id"], outcome="won")
    assert won["status"] == "won"
    found = await either.payment("pay-1")
    assert (found["disputed_minor"], found["refundable_minor"]) == (0, 10_000)
    await either.done("refund_payment", **REFUND, amount_minor=1)
    assert (await either.done_reading("get_ledger", currency="EUR"))["balanced"]


async def test_lost_money_is_gone_once(desk: Desk):
    await desk.seed(charged())
    made = await desk.done("record_dispute", **DISPUTE, amount_minor=4_000)
    before = await net(desk, "clearing:card")
    await desk.done("record_dispute_outcome", dispute_id=made["dispute_id"], outcome="lost")
    assert await net(desk, "clearing:card") == before - 4_000
    await refused(
        desk.client, "record_dispute_outcome", "rule_violation", dispute_id=made["dispute_id"],
        outcome="won",
    )  # fmt: skip
    assert (await desk.payment("pay-1"))["refundable_minor"] == 6_000
    await desk.done("refund_payment", **REFUND, amount_minor=100)
    assert (await desk.done_reading("get_ledger", currency="EUR"))["balanced"]


async def test_what_went_back_before_is_a_loss(desk: Desk):
    await desk.seed(charged(amount=4_000))
    await desk.done("refund_payment", **REFUND, amount_minor=3_000)
    made = await desk.done("record_dispute", **DISPUTE)
    assert made["amount_minor"] == 4_000
    await desk.done("accept_dispute", dispute_id=made["dispute_id"])
    assert await net(desk, "dispute_losses") == 3_000
    assert await net(desk, "clearing:card") == -3_000
    assert (await desk.done_reading("get_ledger", currency="EUR"))["balanced"]


async def test_the_answer_comes_from_the_records(desk: Desk):
    await desk.seed(charged())
    await desk.seed(delivered())
    made = await desk.done("record_dispute", **DISPUTE, answer_within_days=5)
    id = made["dispute_id"]
    found = await desk.done_reading("get_dispute", dispute_id=id)
    assert [row["kind"] for row in found["available"]] == [
        "proof_of_delivery", "tracking", "invoice",
    ]  # fmt: skip
    proof = found["available"][0]
    assert 'received by "A. Lee"' in proof["text"]
    assert "delivery code" in proof["text"]
    assert "PP123" in found["available"][1]["text"]
    assert "CUP" in found["available"][2]["text"]
    answered = await desk.done(
        "submit_dispute_evidence", dispute_id=id, kinds=["proof_of_delivery", "tracking"]
    )
    assert answered["status"] == "under_review"
    assert answered["submitted"] == ["proof_of_delivery shp-ord-1", "tracking shp-ord-1"]
    assert any("A. Lee" in question for question in desk.person.questions or [])
    after = await desk.done_reading("get_dispute", dispute_id=id)
    assert [row["kind"] for row in after["submitted"]] == ["proof_of_delivery", "tracking"]
    assert [row["kind"] for row in after["available"]] == ["invoice"]
    await refused(
        desk.client, "submit_dispute_evidence", "rule_violation", dispute_id=id,
        kinds=["invoice"],
    )  # fmt: skip


async def test_too_late_or_nothing_to_say(desk: Desk):
    await desk.seed(charged())
    made = await desk.done("record_dispute", **DISPUTE, answer_within_days=1)
    answer: dict[str, Any] = {"dispute_id": made["dispute_id"]}
    await refused(
        desk.client, "submit_dispute_evidence", "rule_violation", **answer,
        kinds=["proof_of_delivery"],
    )  # fmt: skip
    desk.clock.forward(days=1)
    late = await refused(
        desk.client, "submit_dispute_evidence", "rule_violation", **answer, kinds=["invoice"]
    )
    assert "due" in late["message"]
    assert (await desk.done_reading("get_dispute", **answer))["submitted"] == []


async def test_an_inquiry_takes_no_money_until_it_is_a_dispute(desk: Desk):
    await desk.seed(charged())
    made = await desk.done("record_dispute", **DISPUTE, inquiry=True)
    await desk.done("refund_payment", **REFUND, amount_minor=500)
    await desk.done(
        "record_dispute_outcome", dispute_id=made["dispute_id"], outcome="needs_response"
    )
    found = await desk.payment("pay-1")
    assert (found["disputed_minor"], found["refundable_minor"]) == (9_500, 0)
    listed = await desk.done_reading("list_disputes", status="needs_response")
    assert [row["dispute_id"] for row in listed["disputes"]] == [made["dispute_id"]]
    assert (await desk.done_reading("list_disputes", order_id="ord-1"))["count"] == 1


async def test_giving_up_much_needs_a_second_person(desk: Desk):
    await desk.seed(charged(amount=60_000))
    made = await desk.done("record_dispute", **DISPUTE)
    id = made["dispute_id"]
    asked = await call(desk.client, "accept_dispute", dispute_id=id, **desk.key())
    assert (asked["status"], asked["level"]) == ("approval_required", 2)
    assert (await desk.done_reading("get_dispute", dispute_id=id))["status"] == "needs_response"
    done = await desk.approved("accept_dispute", dispute_id=id)
    assert done["status"] == "accepted"


async def test_no_more_than_was_captured_is_disputed(desk: Desk):
    await desk.seed(charged())
    await refused(
        desk.client, "record_dispute", "invalid_parameters", **DISPUTE, amount_minor=10_001
    )
    await refused(desk.client, "record_dispute", "not_found", payment_id="x", reason="general")
    assert (await desk.done_reading("list_disputes"))["count"] == 0


@pytest.mark.parametrize("given_up", ["accepted", "lost"])
async def test_an_inquiry_given_up_takes_its_money(desk: Desk, given_up: str) -> None:
    await desk.seed(charged())
    made = await desk.done("record_dispute", **DISPUTE, inquiry=True)
    id = made["dispute_id"]
    if given_up == "accepted":
        await desk.done("accept_dispute", dispute_id=id)
    else:
        await desk.done("record_dispute_outcome", dispute_id=id, outcome="lost")
    assert (await desk.payment("pay-1"))["refundable_minor"] == 0
    await refused(
        desk.client, "refund_payment", "insufficient_funds", **REFUND, amount_minor=1, **desk.key()
    )
    assert await net(desk, "clearing:card") == await net(desk, "dispute_losses") == 0
    assert (await desk.done_reading("get_ledger", currency="EUR"))["balanced"]


async def test_what_was_lost_to_a_dispute_is_not_disputed_again(desk: Desk) -> None:
    await desk.seed(charged())
    made = await desk.done("record_dispute", **DISPUTE, amount_minor=4_000)
    await desk.done("accept_dispute", dispute_id=made["dispute_id"])
    ask = DISPUTE | {"reason": "fraudulent"}
    for more in (6_001, 10_000):
        await refused(desk.client, "record_dispute", "invalid_parameters", **ask, amount_minor=more)
    rest = await desk.done("record_dispute", **ask, amount_minor=6_000)
    await desk.done("accept_dispute", dispute_id=rest["dispute_id"])
    await refused(desk.client, "record_dispute", "invalid_parameters", **ask, **desk.key())
    assert await net(desk, "dispute_losses") == 0


async def test_a_dispute_is_settled_by_one_payout(desk: Desk) -> None:
    for number in (1, 2):
        await desk.seed(charged(f"ord-{number}", 30_000, payment_id=f"pay-{number}"))
    made = await desk.done("record_dispute", **DISPUTE, amount_minor=10_000)
    taken = {"kind": "dispute", "reference": made["dispute_id"], "amount_minor": -10_000}
    outcomes = []
    for number in (1, 2):
        charge = {"kind": "charge", "reference": f"pay-{number}", "amount_minor": 30_000}
        got = await desk.done(
            "reconcile_payout", provider="bank_of", reference=f"po-{number}", currency="EUR",
            amount_minor=20_000, arrived_on="2026-11-02", lines=[charge, taken],
        )  # fmt: skip
        outcomes.append([row["outcome"] for row in got["exceptions"]])
    assert outcomes == [[], ["duplicate"]]
