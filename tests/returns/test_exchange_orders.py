"""The order that an exchange makes: paid with what came back, and not lost with it."""

from typing import Any

import pytest
from sqlalchemy import select

from common.tables.orders import Order
from common.tables.payments import Payment
from servers.claims.tools import tools as claims_tools
from servers.payments.tools import tools as payments_tools
from tests.claims.seed import a_file
from tests.orders.seed import CARD, SHIRT_L, SHIRT_M, Desk, a_delivered_order, delivered
from tests.orders.test_refusals import unchanged
from tests.returns.test_returns import back, step
from tests.support.shop import connected, done, refused


async def asked(desk: Desk) -> tuple[dict[str, Any], str]:
    """A medium shirt came back for another: the return, ready to be settled, and its order."""
    order = await a_delivered_order(desk, (SHIRT_M, 1), captured=True)
    rma = await step(
        desk, "request_exchange", order_id=order["order_id"], method_id=CARD,
        lines=[{"line_id": order["lines"][0]["line_id"], "new_sku": SHIRT_M}],
    )  # fmt: skip
    await back(desk, rma)
    return rma, order["order_id"]


async def made(desk: Desk, old_id: str) -> list[str]:
    query = select(Order.id).where(Order.replaces_order_id == old_id)
    return await desk.look(lambda s: list(s.scalars(query)))


@pytest.fixture
async def new(desk: Desk) -> dict[str, Any]:
    """The order of an exchange that was settled."""
    rma, old_id = await asked(desk)
    await step(desk, "settle_return", return_id=rma["return_id"])
    (new_id,) = await made(desk, old_id)
    return await done(desk.client, "get_order", order_id=new_id)


async def test_it_is_not_cancelled(desk: Desk, new: dict[str, Any]) -> None:
    """The customer paid the old one, sent it back, and would have neither shirt nor money."""
    answer = await unchanged(
        desk, "cancel_order", "rule_violation", order_id=new["order_id"], reason="out_of_stock"
    )
    assert answer["details"]["replaces_order_id"]


async def test_it_costs_no_less_than_was_credited_to_it(desk: Desk, new: dict[str, Any]) -> None:
    await unchanged(
        desk, "amend_order_lines", "rule_violation", order_id=new["order_id"],
        payment_method_id=CARD,
        changes=[{"line_id": new["lines"][0]["line_id"], "new_sku": SHIRT_L}],
    )  # fmt: skip


async def test_there_is_none_while_the_old_one_is_disputed(desk: Desk) -> None:
    rma, old_id = await asked(desk)
    query = select(Payment.id).where(Payment.order_id == old_id)
    payment_id = await desk.look(lambda s: s.scalars(query).one())
    async with connected(desk.shop, payments_tools, person=desk.person) as payments:
        dispute = await done(payments, "record_dispute", payment_id=payment_id, reason="fraudulent")
    answer = await refused(
        desk.returns, "settle_return", "rule_violation", return_id=rma["return_id"]
    )
    assert answer["details"] == {"dispute_id": dispute["dispute_id"]}
    assert await made(desk, old_id) == []


@pytest.mark.parametrize("resolution", ["refund", "replacement"])
async def test_what_it_brings_broken_is_made_good(
    desk: Desk, new: dict[str, Any], resolution: str
) -> None:
    """It cost nothing by itself: what was given for it is what a claim can give back."""
    await desk.seed(delivered(new["order_id"]))
    async with connected(desk.shop, claims_tools, person=desk.person) as claims:
        claim = await done(
            claims, "open_claim", type="damage", order_id=new["order_id"], **desk.key()
        )
        for kind in claim["missing"]:
            file = a_file(claim["claim_id"], kind) | {"taken_on": "2026-11-02"}
            await done(claims, "add_claim_evidence", **file, **desk.key())
        await done(claims, "submit_claim", claim_id=claim["claim_id"], **desk.key())
        settled = await done(
            claims, "settle_claim", claim_id=claim["claim_id"], resolution=resolution, **desk.key()
        )
        assert settled["state"] == "resolved"
    if resolution == "refund":
        old = await desk.look(lambda s: s.get_one(Order, new["order_id"]).replaces_order_id)
        paid = await desk.net_paid(str(old))
        assert paid == {}, "out of the payment of the order it was exchanged for"
