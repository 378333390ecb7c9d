"""Holds: placed by one, released by another, over by themselves."""

from pathlib import Path

import pytest

from common.errors import InsufficientFunds
from common.rules import paid
from common.tables.payments import Payment
from tests.payments.seed import Desk, a_desk, authorized, charged
from tests.support.shop import EVERYTHING, actor, call, refused

REFUND = {"payment_id": "pay-1", "currency": "EUR", "reason": "return"}


async def test_held_money_stays_until_a_second_person_agrees(either: Desk):
    await either.seed(charged())
    hold = await either.done(
        "place_hold", payment_id="pay-1", reason="fraud_review", amount_minor=9_500, days=3
    )
    assert (hold["state"], hold["amount"], hold["order_id"]) == ("active", "95.00 EUR", "ord-1")
    answer = await refused(
        either.client, "refund_payment", "insufficient_funds", **REFUND, amount_minor=501
    )
    assert answer["details"]["held_minor"] == 9_500
    asked = await call(
        either.client, "release_hold", hold_id=hold["hold_id"], note="checked", **either.key()
    )
    assert (asked["status"], asked["level"]) == ("approval_required", 2)
    assert (await either.payment("pay-1"))["held_minor"] == 9_500, "asking releases nothing"
    freed = await either.approved("release_hold", hold_id=hold["hold_id"], note="reviewed twice")
    assert (freed["state"], freed["close_reason"]) == ("released", "reviewed twice")
    await either.done("refund_payment", **REFUND, amount_minor=501)
    again = await refused(
        either.client, "release_hold", "rule_violation", hold_id=hold["hold_id"], note="again"
    )
    assert again["details"]["state"] == "released"


async def test_release_needs_its_own_scope(sqlite_url: str, tmp_path: Path):
    some = EVERYTHING - {"payments:release"}
    async with a_desk(tmp_path, database_url=sqlite_url, who=actor("a@b.c", *some)) as desk:
        await desk.seed(charged())
        hold = await desk.done("place_hold", payment_id="pay-1", reason="manual")
        await refused(
            desk.client, "release_hold", "insufficient_scope", hold_id=hold["hold_id"], note="x"
        )


async def test_a_hold_ends_by_itself_without_any_sweep(desk: Desk):
    await desk.seed(charged())
    hold = await desk.done("place_hold", payment_id="pay-1", reason="return_pending", days=2)
    soon = await desk.done_reading("list_holds", expiring_within_hours=48)
    assert [row["hold_id"] for row in soon["holds"]] == [hold["hold_id"]]
    longer = await desk.done("extend_hold", hold_id=hold["hold_id"], days=4)
    assert longer["expires_at"] > hold["expires_at"]
    await refused(desk.client, "extend_hold", "invalid_parameters", hold_id=hold["hold_id"], days=1)
    desk.clock.forward(days=3)
    assert (await desk.payment("pay-1"))["held_minor"] == 10_000
    desk.clock.forward(days=1)
    assert (await desk.payment("pay-1"))["holds"][0]["state"] == "expired"
    assert (await desk.done_reading("list_holds"))["count"] == 0
    assert (await desk.done_reading("list_holds", state="expired"))["count"] == 1
    await refused(desk.client, "extend_hold", "rule_violation", hold_id=hold["hold_id"], days=9)
    await refused(desk.client, "release_hold", "rule_violation", hold_id=hold["hold_id"], note="x")
    made = await desk.done("refund_payment", **REFUND, amount_minor=5_000)
    assert made["refundable_left_minor"] == 5_000


async def test_only_captured_money_can_be_held(desk: Desk):
    made = await desk.seed(authorized())
    await refused(desk.client, "place_hold", "rule_violation", payment_id=made.id, reason="manual")
    await desk.done("capture_payment", payment_id=made.id)
    await refused(
        desk.client, "place_hold", "insufficient_funds", payment_id=made.id, reason="manual",
        amount_minor=10_001, **desk.key(),
    )  # fmt: skip
    assert (await desk.payment(made.id))["holds"] == []


async def test_a_whole_order_is_not_given_back_past_a_hold(desk: Desk):
    await desk.seed(charged())
    await desk.done("place_hold", payment_id="pay-1", reason="manual", amount_minor=1)
    with pytest.raises(InsufficientFunds):
        await desk.seed(lambda c: paid.refund_order(c, "ord-1", None, "cancellation"), "orders")
    left = await desk.look(
        lambda s: paid.refundable(s, s.get_one(Payment, "pay-1"), desk.clock.now)
    )
    assert left == 9_999


async def test_holds_are_listed_by_filter_and_page(desk: Desk):
    for number in range(3):
        await desk.seed(charged(f"ord-{number}", payment_id=f"pay-{number}"))
        await desk.done("place_hold", payment_id=f"pay-{number}", reason="manual", days=number + 1)
        desk.clock.forward(minutes=1)
    first = await desk.done_reading("list_holds", limit=2)
    rest = await desk.done_reading("list_holds", limit=2, cursor=first["next_cursor"])
    seen = [row["order_id"] for row in first["holds"] + rest["holds"]]
    assert seen == ["ord-0", "ord-1", "ord-2"]
    only = await desk.done_reading("list_holds", order_id="ord-1")
    assert only["count"] == 1
    page = await desk.done_reading("list_holds", expiring_within_hours=72, limit=1)
    after = await desk.done_reading(
        "list_holds", expiring_within_hours=72, limit=5, cursor=page["next_cursor"]
    )
    assert [row["order_id"] for row in after["holds"]] == ["ord-1", "ord-2"]
