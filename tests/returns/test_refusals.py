"""What the returns server refuses, and that nothing has changed then."""

from typing import Any

from tests.orders.seed import (
    BOBS,
    CARD,
    CARD2,
    CREAM,
    GIFT,
    MUG,
    SHIRT_M,
    SHIRT_S,
    SOUTH,
    Desk,
    a_delivered_order,
    a_policy,
    an_order,
)
from tests.support.shop import done, refused


async def unchanged(desk: Desk, tool: str, code: str, **arguments: Any) -> dict[str, Any]:
    """A refusal with this code that leaves every row as it was."""
    before = await desk.picture()
    answer = await refused(desk.returns, tool, code, **arguments, **desk.key())
    assert answer["next"]
    assert await desk.picture() == before
    return answer


async def step(desk: Desk, tool: str, **arguments: Any) -> dict[str, Any]:
    return await done(desk.returns, tool, **arguments, **desk.key())


async def test_the_window_runs_from_delivery(desk: Desk):
    order = await a_delivered_order(desk, (SHIRT_S, 1))
    ask = {"order_id": order["order_id"]}
    desk.clock.forward(days=30)
    verdict = await done(desk.returns, "check_return_eligibility", **ask)
    assert verdict["eligible"] is True
    desk.clock.forward(seconds=1)
    answer = await unchanged(desk, "request_return", "rule_violation", **ask)
    assert answer["details"]["window_ends_at"] == "2026-12-02T09:00:00Z"
    verdict = await done(desk.returns, "check_return_eligibility", **ask)
    assert (verdict["eligible"], verdict["refund_minor"]) == (False, 0)
    assert "ended on 2026-12-02T09:00:00Z" in verdict["lines"][0]["rule"]


async def test_what_may_not_come_back(desk: Desk):
    mug = await a_delivered_order(desk, (MUG, 1))
    answer = await unchanged(desk, "request_return", "rule_violation", order_id=mug["order_id"])
    assert answer["details"]["rule"] == "it was a final sale."
    open_order = await desk.seed(an_order((SHIRT_S, 1)))
    answer = await unchanged(desk, "request_return", "rule_violation", order_id=open_order)
    assert answer["details"] == {"fulfilment_status": "not_fulfilled"}
    await unchanged(desk, "request_return", "not_found", order_id="#W0")
    order = await a_delivered_order(desk, (SHIRT_S, 2))
    ask, line = {"order_id": order["order_id"]}, order["lines"][0]["line_id"]
    await unchanged(desk, "request_return", "not_found", lines=[{"line_id": "x"}], **ask)
    asked = {"line_id": line, "quantity": 3}
    await unchanged(desk, "request_return", "rule_violation", lines=[asked], **ask)
    await step(desk, "request_return", lines=[{"line_id": line, "quantity": 1}], **ask)
    asked = {"line_id": line, "quantity": 2}
    answer = await unchanged(desk, "request_return", "rule_violation", lines=[asked], **ask)
    assert answer["details"]["left"] == 1
    twice = [{"line_id": line, "quantity": 1}] * 2
    await unchanged(desk, "request_return", "rule_violation", lines=twice, **ask)
    await step(desk, "request_return", **ask)
    await unchanged(desk, "request_return", "rule_violation", **ask)


async def test_where_the_money_may_go(desk: Desk):
    order = await a_delivered_order(desk, (SHIRT_S, 1))
    ask = {"order_id": order["order_id"]}
    for code, more in (
        ("rule_violation", {"refund_to": "method", "method_id": CARD2}),
        ("rule_violation", {"refund_to": "method", "method_id": BOBS}),
        ("not_found", {"refund_to": "method", "method_id": "none"}),
        ("invalid_parameters", {"refund_to": "method"}),
        ("invalid_parameters", {"refund_to": "original", "method_id": CARD}),
    ):
        await unchanged(desk, "request_return", code, **ask, **more)


async def test_one_open_return_an_order(desk: Desk):
    await desk.seed(a_policy(most_open_per_order=1), "returns")
    order = await a_delivered_order(desk, (SHIRT_S, 2))
    ask, line = {"order_id": order["order_id"]}, order["lines"][0]["line_id"]
    one = await step(desk, "request_return", lines=[{"line_id": line, "quantity": 1}], **ask)
    answer = await unchanged(desk, "request_return", "rule_violation", **ask)
    assert answer["details"] == {"return_ids": [one["return_id"]]}
    await unchanged(
        desk, "request_exchange", "rule_violation", method_id=CARD, **ask,
        lines=[{"line_id": line, "new_sku": SHIRT_M, "quantity": 1}],
    )  # fmt: skip
    await step(desk, "cancel_return", return_id=one["return_id"])
    await step(desk, "request_return", **ask)


async def test_exchanging(desk: Desk):
    order = await a_delivered_order(desk, (SHIRT_S, 2))
    ask, line = {"order_id": order["order_id"]}, order["lines"][0]["line_id"]
    await desk.seed(an_order((SHIRT_M, 1), (SHIRT_S, 1), (CREAM, 1), method=GIFT))
    for code, method, change in (
        ("rule_violation", CARD, {"new_sku": MUG}),
        ("not_found", CARD, {"new_sku": "SHIRT-X"}),
        ("rule_violation", BOBS, {"new_sku": SHIRT_M}),
        ("insufficient_funds", GIFT, {"new_sku": SHIRT_M}),
        ("rule_violation", CARD, {"new_sku": SHIRT_M, "quantity": 3}),
    ):
        await unchanged(
            desk, "request_exchange", code, method_id=method, lines=[{"line_id": line} | change],
            **ask,
        )  # fmt: skip
    await desk.seed(an_order((SHIRT_M, 18)))
    await unchanged(
        desk, "request_exchange", "insufficient_stock", method_id=CARD, **ask,
        lines=[{"line_id": line, "new_sku": SHIRT_M}],
    )  # fmt: skip
    open_order = await desk.seed(an_order((SHIRT_S, 1)))
    await unchanged(
        desk, "request_exchange", "rule_violation", method_id=CARD, order_id=open_order,
        lines=[{"line_id": line, "new_sku": SHIRT_M}],
    )  # fmt: skip


async def test_each_step_in_its_turn(desk: Desk):
    order = await a_delivered_order(desk, (SHIRT_S, 2))
    rma = await step(desk, "request_return", order_id=order["order_id"])
    ask, line = {"return_id": rma["return_id"]}, rma["lines"][0]["line_id"]
    here = {"lines": [{"line_id": line, "quantity": 2}]}
    look = {"line_id": line, "grade": "A", "condition": "opened", "disposition": "restock"}
    for tool, more in (
        ("receive_return", here),
        ("inspect_return", {"lines": [look | {"quantity": 1}]}),
        ("settle_return", {}),
    ):
        await unchanged(desk, tool, "rule_violation", **ask, **more)
    await unchanged(desk, "authorize_return", "rule_violation", returnless=True, **ask)
    await step(desk, "authorize_return", **ask)
    await unchanged(desk, "authorize_return", "rule_violation", **ask)
    await unchanged(desk, "settle_return", "rule_violation", **ask)
    for code, more in (
        ("rule_violation", {"lines": [{"line_id": line, "quantity": 3}]}),
        ("not_found", {"lines": [{"line_id": "x", "quantity": 1}]}),
        ("invalid_parameters", {"lines": [{"line_id": line, "quantity": 1, "damaged": 2}]}),
        ("not_found", {"warehouse": "WH-X", **here}),
    ):
        await unchanged(desk, "receive_return", code, **ask, **more)
    await step(desk, "receive_return", lines=[{"line_id": line, "quantity": 1}], **ask)
    await unchanged(
        desk, "receive_return", "rule_violation", warehouse=SOUTH, **ask,
        lines=[{"line_id": line, "quantity": 1}],
    )  # fmt: skip
    for tool, more in (
        ("settle_return", {}),
        ("cancel_return", {}),
        ("reject_return", {"reason": "other", "note": "no"}),
        ("inspect_return", {"lines": [look | {"quantity": 2}]}),
        ("inspect_return", {"lines": [look | {"quantity": 1, "grade": "C"}]}),
        ("inspect_return", {"lines": [look | {"quantity": 1, "condition": "damaged"}]}),
    ):
        await unchanged(desk, tool, "rule_violation", **ask, **more)
    await step(desk, "receive_return", lines=[{"line_id": line, "quantity": 1}], **ask)
    await step(desk, "inspect_return", lines=[look | {"quantity": 2}], **ask)
    await step(desk, "settle_return", **ask)
    for tool, more in (
        ("settle_return", {}),
        ("cancel_return", {}),
        ("receive_return", here),
        ("reject_return", {"reason": "other", "note": "no"}),
    ):
        await unchanged(desk, tool, "rule_violation", **ask, **more)


async def test_an_expired_return_is_over(desk: Desk):
    order = await a_delivered_order(desk, (SHIRT_S, 1))
    rma = await step(desk, "request_return", order_id=order["order_id"])
    ask = {"return_id": rma["return_id"]}
    desk.clock.forward(days=14)
    for tool, more in (
        ("authorize_return", {}),
        ("cancel_return", {}),
        ("settle_return", {}),
        ("receive_return", {"lines": [{"line_id": rma["lines"][0]["line_id"], "quantity": 1}]}),
    ):
        answer = await unchanged(desk, tool, "rule_violation", **ask, **more)
        assert answer["details"]["state"] == "expired"


async def test_refunded_at_once_is_not_withdrawn(desk: Desk):
    await desk.seed(a_policy(instant_refund=True), "returns")
    order = await a_delivered_order(desk, (SHIRT_S, 1))
    rma = await step(desk, "request_return", order_id=order["order_id"])
    ask = {"return_id": rma["return_id"]}
    await step(desk, "authorize_return", **ask)
    await step(desk, "settle_return", **ask)
    await unchanged(desk, "cancel_return", "rule_violation", **ask)
    await unchanged(desk, "reject_return", "rule_violation", reason="other", note="no", **ask)
    await unchanged(desk, "settle_return", "rule_violation", **ask)
    await unchanged(desk, "request_return", "rule_violation", order_id=order["order_id"])


async def test_cream_is_never_for_sale_again(desk: Desk):
    order = await a_delivered_order(desk, (CREAM, 1))
    rma = await step(desk, "request_return", order_id=order["order_id"])
    ask, line = {"return_id": rma["return_id"]}, rma["lines"][0]["line_id"]
    await step(desk, "authorize_return", **ask)
    await step(desk, "receive_return", lines=[{"line_id": line, "quantity": 1}], **ask)
    for way in ("restock", "open_box"):
        await unchanged(
            desk, "inspect_return", "rule_violation", **ask,
            lines=[
                {
                    "line_id": line, "quantity": 1, "grade": "A", "condition": "unopened",
                    "disposition": way,
                }
            ],
        )  # fmt: skip
