"""A customer is made whole once: by a claim, or by a return."""

import pytest

from common.call import Call
from common.tables.logistics import Shipment
from common.tables.returns import ReturnPolicy
from servers.orders.tools import tools as orders
from servers.payments.tools import tools as payments
from servers.returns.tools import tools as returns
from tests.claims.seed import ADDRESS, CARRIER, HOUSE, LAMP, VASE, Desk
from tests.support.shop import connected, done, refused


def thirty_days(call: Call) -> None:
    call.add(ReturnPolicy(id="standard", name="Thirty days", window_days=30, currency="EUR"))


@pytest.mark.parametrize("resolution", ["refund", "replacement", "credit"])
async def test_what_a_claim_settled_cannot_be_returned_as_well(desk: Desk, resolution: str) -> None:
    await desk.seed(thirty_days, "returns")
    async with connected(desk.shop, returns) as client:

        async def left() -> int:
            answer = await done(client, "check_return_eligibility", order_id="ord_1")
            return next(line["left"] for line in answer["lines"] if line["sku"] == LAMP)

        before = await left()
        id = await desk.reviewed(lines=[{"line_id": LAMP, "quantity": 1}])
        await desk.done("settle_claim", claim_id=id, resolution=resolution)
        assert await left() == before - 1


async def test_the_same_units_are_claimed_once_however_they_are_named(desk: Desk) -> None:
    """By the line of the order, or by the shipment it went with: the same units."""

    def in_two_parcels(call: Call) -> None:
        call.add(
            Shipment(
                id="shp_more", order_id="ord_1", warehouse_id=HOUSE, status="delivered",
                status_at=call.now, ship_to=ADDRESS, carrier_id=CARRIER, currency="EUR",
                created_at=call.now, shipped_at=call.now, delivered_at=call.now,
            )
        )  # fmt: skip

    await desk.seed(in_two_parcels, "logistics")
    ours = {"kind": "insurer", "type": "damage"}
    by_order = ours | {"order_id": "ord_1", "lines": [{"line_id": LAMP, "quantity": 1}]}
    by_parcel = ours | {"shipment_id": "shp_ord_1", "lines": [{"line_id": LAMP, "quantity": 1}]}
    for first, second in ((by_order, by_parcel), (by_parcel, by_order)):
        found = await desk.done("open_claim", **first)
        await desk.refused("open_claim", "rule_violation", **second)
        await desk.done("withdraw_claim", claim_id=found["claim_id"], reason="tried")


async def test_a_denied_claim_taken_up_again_pays_nothing_that_another_has_paid(desk: Desk) -> None:
    vase = [{"line_id": VASE, "quantity": 1}]
    first = await desk.reviewed(lines=vase)
    await desk.done(
        "decide_customer_claim", claim_id=first, decision="denied", code="not_our_damage",
        text="none",
    )  # fmt: skip
    second = await desk.reviewed(lines=vase)
    await desk.done("settle_claim", claim_id=second)
    await desk.done("appeal_claim", claim_id=first, reason="again")
    await desk.done("submit_claim", claim_id=first)
    for resolution in ("refund", "replacement", "credit"):
        await desk.refused("settle_claim", "rule_violation", claim_id=first, resolution=resolution)


@pytest.mark.parametrize("resolution", ["refund", "replacement"])
async def test_an_inquiry_that_was_given_up_made_the_customer_whole(
    desk: Desk, resolution: str
) -> None:
    id = await desk.reviewed(lines=[{"line_id": VASE, "quantity": 1}])
    async with connected(desk.shop, payments, person=desk.person) as client:
        asked = await done(
            client, "record_dispute", payment_id="pay_ord_1", reason="unrecognized", inquiry=True
        )
        await done(client, "record_dispute_outcome", dispute_id=asked["dispute_id"], outcome="lost")
        payment = await done(client, "get_payment", payment_id="pay_ord_1")
    assert payment["refundable_minor"] == 0
    await desk.refused("settle_claim", "insufficient_funds", claim_id=id, resolution=resolution)


async def test_a_replacement_is_not_cancelled_and_so_lost(desk: Desk) -> None:
    """It cost nothing, so nothing would go back, and its claim pays no second time."""
    id = await desk.reviewed(lines=[{"line_id": VASE, "quantity": 1}])
    made = await desk.done("settle_claim", claim_id=id, resolution="replacement")
    ask = {"order_id": made["replacement_order_id"]}
    async with connected(desk.shop, orders, person=desk.person) as client:
        answer = await refused(
            client, "cancel_order", "rule_violation", reason="out_of_stock", **ask
        )
        assert answer["details"] == {"replaces_order_id": "ord_1"}
        assert (await done(client, "get_order", **ask))["status"] != "cancelled"
