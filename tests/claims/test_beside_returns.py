"""A claim and a return of the same units: whichever is settled second pays nothing."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from mcp import Client
from sqlalchemy import func, select

from common.call import Call
from common.tables.logistics import ShipmentLine
from common.tables.orders import Order, OrderLine
from common.tables.payments import Refund
from servers.returns.tools import tools as returns_tools
from tests.claims.seed import LAMP, PRICES, VASE, Desk
from tests.claims.test_once import thirty_days
from tests.support.shop import connected, done, refused

LAMPS, ONE_VASE = "ord_1_0", "ord_1_1"  # lines of the first order: two lamps, a vase


def came(call: Call) -> None:
    """Both orders reached the customer today. Domain: orders."""
    for order_id in ("ord_1", "ord_2"):
        call.get(Order, order_id).fulfilment_status = "delivered"
        for line in call.all(OrderLine, OrderLine.order_id == order_id):
            line.delivered_at = call.now


@pytest.fixture
async def returns(desk: Desk) -> AsyncIterator[Client]:
    """A client of the returns server, where what came today may go back for thirty days."""
    await desk.seed(thirty_days, "returns")
    await desk.seed(came, "orders")
    async with connected(desk.shop, returns_tools, person=desk.person) as client:
        yield client


async def sent_back(returns: Client, tool: str, line: str, **more: Any) -> dict[str, str]:
    """All units of a line are asked back, came and were looked at: what names the return."""
    rma = await done(
        returns, tool, order_id="ord_1", lines=[{"line_id": line, **more.pop("wanted", {})}], **more
    )
    ask = {"return_id": rma["return_id"]}
    await done(returns, "authorize_return", **ask)
    (unit,) = ({"line_id": row["line_id"], "quantity": row["quantity"]} for row in rma["lines"])
    await done(returns, "receive_return", lines=[unit], **ask)
    found = unit | {"grade": "A", "condition": "unopened", "disposition": "restock"}
    await done(returns, "inspect_return", lines=[found], **ask)
    return ask


async def given(desk: Desk) -> tuple[int, int]:
    """What went back in money, and how many orders went out instead of the first."""
    money = select(func.coalesce(func.sum(Refund.amount_minor), 0))
    orders = select(func.count(Order.id)).where(Order.replaces_order_id == "ord_1")
    return await desk.look(lambda s: (int(s.scalar(money) or 0), int(s.scalar(orders) or 0)))


@pytest.mark.parametrize("denied_first", [False, True])
async def test_what_a_return_refunded_no_claim_pays(
    desk: Desk, returns: Client, denied_first: bool
) -> None:
    """The claim was open before the return; or it was denied, and is taken up again after it."""
    claim = await desk.reviewed(lines=[{"line_id": VASE, "quantity": 1}])
    if denied_first:
        await desk.done(
            "decide_customer_claim", claim_id=claim, decision="denied", code="not_our_damage",
            text="none",
        )  # fmt: skip
    rma = await sent_back(returns, "request_return", ONE_VASE)
    await done(returns, "settle_return", **rma)
    if denied_first:
        await desk.done("appeal_claim", claim_id=claim, reason="again")
        await desk.done("submit_claim", claim_id=claim)
    for resolution in ("refund", "replacement", "credit"):
        answer = await desk.refused(
            "settle_claim", "rule_violation", claim_id=claim, resolution=resolution
        )
        assert answer["details"] == {"line_id": ONE_VASE, "left": 0}
    assert await given(desk) == (PRICES[VASE][0], 0)


async def test_what_a_claim_replaced_no_return_refunds(desk: Desk, returns: Client) -> None:
    claim = await desk.reviewed(lines=[{"line_id": LAMP, "quantity": 2}])
    rma = await sent_back(returns, "request_return", LAMPS)
    await desk.done("settle_claim", claim_id=claim, resolution="replacement")
    answer = await refused(returns, "settle_return", "rule_violation", **rma)
    assert answer["details"]["line_id"] == LAMPS
    assert await given(desk) == (0, 1)


async def test_what_a_claim_replaced_no_exchange_replaces(desk: Desk, returns: Client) -> None:
    claim = await desk.reviewed(lines=[{"line_id": VASE, "quantity": 1}])
    rma = await sent_back(
        returns, "request_exchange", ONE_VASE, method_id="pm_1", wanted={"new_sku": VASE}
    )
    await desk.done("settle_claim", claim_id=claim, resolution="replacement")
    await refused(returns, "settle_return", "rule_violation", **rma)
    assert await given(desk) == (0, 1)


async def test_what_came_late_and_was_made_good_may_still_go_back(
    desk: Desk, returns: Client
) -> None:
    claim = await desk.reviewed("ord_2", "late")
    await desk.done("settle_claim", claim_id=claim)
    found = await done(returns, "check_return_eligibility", order_id="ord_2")
    assert [(line["sku"], line["left"]) for line in found["lines"]] == [(LAMP, 2), (VASE, 1)]


async def test_a_return_that_was_never_sent_stands_in_no_claims_way(
    desk: Desk, returns: Client
) -> None:
    rma = await done(returns, "request_return", order_id="ord_1", lines=[{"line_id": ONE_VASE}])
    await done(returns, "authorize_return", return_id=rma["return_id"])
    vase = {"type": "damage", "order_id": "ord_1", "lines": [{"line_id": VASE}]}
    await desk.refused("open_claim", "rule_violation", **vase)
    desk.clock.forward(days=15)
    claim = await desk.reviewed(lines=[{"line_id": VASE}])
    await desk.done("settle_claim", claim_id=claim)
    assert await given(desk) == (PRICES[VASE][0], 0)


async def test_what_was_kept_and_not_paid_for_may_be_claimed(desk: Desk, returns: Client) -> None:
    """Of a return only the vase came, and only the vase was refunded."""
    rma = await done(returns, "request_return", order_id="ord_1")
    ask = {"return_id": rma["return_id"]}
    await done(returns, "authorize_return", **ask)
    (vase,) = (
        {"line_id": row["line_id"], "quantity": 1} for row in rma["lines"] if row["sku"] == VASE
    )
    await done(returns, "receive_return", lines=[vase], **ask)
    found = vase | {"grade": "A", "condition": "unopened", "disposition": "restock"}
    await done(returns, "inspect_return", lines=[found], **ask)
    await done(returns, "settle_return", **ask)
    await desk.refused(
        "open_claim", "rule_violation", type="damage", order_id="ord_1", lines=[{"line_id": VASE}]
    )
    claim = await desk.reviewed(lines=[{"line_id": LAMP}])
    await desk.done("settle_claim", claim_id=claim)
    assert await given(desk) == (PRICES[VASE][0] + 2 * PRICES[LAMP][0], 0)


async def test_units_of_a_line_in_two_boxes_are_counted_together(
    desk: Desk, returns: Client
) -> None:
    """One lamp lies in each: with one of them back, a claim for both is for one too many."""

    def in_two_boxes(call: Call) -> None:
        (row,) = call.all(ShipmentLine, ShipmentLine.order_line_id == LAMPS)
        row.quantity = 1
        call.add(
            ShipmentLine(
                id="sl_second", shipment_id=row.shipment_id, order_line_id=LAMPS, sku=LAMP,
                quantity=1,
            )
        )  # fmt: skip

    await desk.seed(in_two_boxes, "logistics")
    claim = await desk.reviewed(lines=[{"line_id": LAMP}])
    rma = await sent_back(returns, "request_return", LAMPS, wanted={"quantity": 1})
    await done(returns, "settle_return", **rma)
    answer = await desk.refused("settle_claim", "rule_violation", claim_id=claim)
    assert answer["details"] == {"line_id": LAMPS, "left": 1}
    assert await given(desk) == (PRICES[LAMP][0], 0)


async def test_claimed_unit_by_unit_a_line_gives_what_it_had_cost(desk: Desk) -> None:
    """99.99 for two lamps: two halves of it are a cent too much."""

    def a_cent_off(call: Call) -> None:
        line, order = call.get(OrderLine, LAMPS), call.get(Order, "ord_1")
        line.discount_minor = order.discount_minor = 1
        order.total_minor -= 1

    await desk.seed(a_cent_off, "orders")
    for _ in range(2):
        claim = await desk.reviewed(lines=[{"line_id": LAMP, "quantity": 1}])
        await desk.done("settle_claim", claim_id=claim)
    assert await given(desk) == (2 * PRICES[LAMP][0] - 1, 0)
