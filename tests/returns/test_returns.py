"""The life of a return through the tools, as it should go."""

from typing import Any

from tests.orders.seed import (
    BERLIN,
    CARD,
    GIFT,
    NORTH,
    SHIRT_L,
    SHIRT_M,
    SHIRT_S,
    Desk,
    a_delivered_order,
    a_policy,
    an_order,
    delivered,
)
from tests.support.shop import done


async def step(desk: Desk, tool: str, **arguments: Any) -> dict[str, Any]:
    return await done(desk.returns, tool, **arguments, **desk.key())


async def requested(desk: Desk, order: dict[str, Any], **more: Any) -> dict[str, Any]:
    return await step(desk, "request_return", order_id=order["order_id"], **more)


async def back(desk: Desk, rma: dict[str, Any], *, grade: str = "A", disposition: str = "restock"):
    """Authorized if need be, received whole and inspected."""
    ask = {"return_id": rma["return_id"]}
    if rma["state"] in ("requested", "needs_review"):
        await step(desk, "authorize_return", **ask)
    units = [{"line_id": line["line_id"], "quantity": line["quantity"]} for line in rma["lines"]]
    await step(desk, "receive_return", lines=units, **ask)
    found = {"grade": grade, "condition": "opened", "disposition": disposition}
    return await step(desk, "inspect_return", lines=[unit | found for unit in units], **ask)


async def test_from_request_to_refund(either: Desk):
    order = await a_delivered_order(either, (SHIRT_S, 2), (SHIRT_M, 1))
    verdict = await done(either.returns, "check_return_eligibility", order_id=order["order_id"])
    assert (verdict["eligible"], verdict["refund"]) == (True, "65.00 EUR")
    assert verdict["lines"][0]["rule"] == "within 30 days from delivery (Thirty days)."
    line = order["lines"][0]["line_id"]
    rma = await requested(either, order, lines=[{"line_id": line, "reason": "style"}])
    assert (rma["state"], rma["refund"]) == ("requested", "40.00 EUR")
    assert "label_code" not in rma
    labelled = await step(either, "authorize_return", return_id=rma["return_id"])
    assert labelled["state"] == "label_issued"
    assert labelled["label_code"].startswith("R")
    assert await either.net_paid(order["order_id"]) == {CARD: 6500}
    dispositioned = await back(either, labelled)
    assert dispositioned["state"] == "dispositioned"
    assert await either.available(SHIRT_S) == 20
    over = await step(either, "settle_return", return_id=rma["return_id"])
    assert (over["state"], over["lines"][0]["settlement"]) == ("settled", "refund")
    assert over["lines"][0]["settled_minor"] == 4000
    assert await either.net_paid(order["order_id"]) == {CARD: 2500}
    after = await done(either.client, "get_order", order_id=order["order_id"])
    assert [each["status"] for each in after["lines"]] == ["returned", "delivered"]
    assert after["return_ids"] == [rma["return_id"]]
    assert after["payment_status"] == "partially_refunded"


async def test_every_line_when_none_is_named(desk: Desk):
    order = await a_delivered_order(desk, (SHIRT_S, 2), (SHIRT_M, 1))
    first = await requested(desk, order, lines=[{"line_id": order["lines"][0]["line_id"]}])
    rest = await requested(desk, order, lines=[])
    assert [line["sku"] for line in first["lines"]] == [SHIRT_S]
    assert [line["sku"] for line in rest["lines"]] == [SHIRT_M]


async def test_in_part(either: Desk):
    desk = either
    order = await a_delivered_order(desk, (SHIRT_S, 3))
    rma = await requested(desk, order)
    ask, line = {"return_id": rma["return_id"]}, rma["lines"][0]["line_id"]
    await step(desk, "authorize_return", **ask)
    part = await step(
        desk, "receive_return", lines=[{"line_id": line, "quantity": 1, "damaged": 1}], **ask
    )
    assert part["state"] == "partially_received"
    assert await desk.available(SHIRT_S) == 17
    found = {"line_id": line, "grade": "B", "condition": "opened"}
    await step(
        desk, "inspect_return", lines=[found | {"quantity": 1, "disposition": "quarantine"}], **ask
    )
    await step(desk, "receive_return", lines=[{"line_id": line, "quantity": 1}], **ask)
    looked = await step(
        desk, "inspect_return", lines=[found | {"quantity": 1, "disposition": "restock"}], **ask
    )
    assert looked["state"] == "partially_received"
    assert await desk.available(SHIRT_S) == 18
    over = await step(desk, "settle_return", **ask)
    assert (over["state"], over["lines"][0]["settled_minor"]) == ("settled", 4000)
    assert await desk.net_paid(order["order_id"]) == {CARD: 2000}
    # The third never came back: it may still.
    again = await requested(desk, order)
    assert (again["lines"][0]["quantity"], again["refund"]) == (1, "20.00 EUR")
    await back(desk, again)
    await step(desk, "settle_return", return_id=again["return_id"])
    assert await desk.net_paid(order["order_id"]) == {}


async def test_the_cents_of_a_line_add_up(desk: Desk):
    order = await a_delivered_order(desk, (SHIRT_S, 3), discount_minor=999, ship_to=BERLIN)
    total = 0
    for _ in range(3):
        rma = await requested(
            desk, order, lines=[{"line_id": order["lines"][0]["line_id"], "quantity": 1}]
        )
        total += rma["lines"][0]["refund_minor"]
    assert total == order["total_minor"]


async def test_store_credit_and_own_gift_card(either: Desk):
    desk = either
    order = await a_delivered_order(desk, (SHIRT_S, 1), (SHIRT_M, 1))
    one, two = (line["line_id"] for line in order["lines"])
    credit = await requested(desk, order, lines=[{"line_id": one}], refund_to="store_credit")
    await back(desk, credit)
    over = await step(desk, "settle_return", return_id=credit["return_id"])
    assert over["lines"][0]["settlement"] == "store_credit"
    person = await done(desk.client, "find_customer", customer_id="cus_eve")
    assert [m["balance_minor"] for m in person["methods"] if m["kind"] == "store_credit"] == [2000]
    card = await requested(
        desk, order, lines=[{"line_id": two}], refund_to="method", method_id=GIFT
    )
    await back(desk, card)
    await step(desk, "settle_return", return_id=card["return_id"])
    assert await desk.balance() == 8500
    assert await desk.net_paid(order["order_id"]) == {}


async def exchanged(
    desk: Desk, order: dict[str, Any], *new: str, method: str = CARD
) -> dict[str, Any]:
    line = order["lines"][0]["line_id"]
    rma = await step(
        desk, "request_exchange", order_id=order["order_id"], method_id=method,
        lines=[{"line_id": line, "new_sku": sku, "quantity": 1} for sku in new],
    )  # fmt: skip
    await back(desk, rma)
    return await step(desk, "settle_return", return_id=rma["return_id"])


async def test_exchange_for_something_dearer(either: Desk):
    order = await a_delivered_order(either, (SHIRT_S, 1))
    over = await exchanged(either, order, SHIRT_M, method=GIFT)
    assert (over["state"], over["price_difference_minor"]) == ("settled", 500)
    sent = await done(either.client, "get_order", order_id=over["lines"][0]["exchange_order_id"])
    assert (sent["total_minor"], sent["payment_status"]) == (500, "authorized")
    assert sent["payment_ids"] == [over["lines"][0]["payment_id"]]
    assert [(line["sku"], line["unit_price_minor"]) for line in sent["lines"]] == [(SHIRT_M, 2500)]
    assert (await either.available(SHIRT_M), await either.available(SHIRT_S)) == (19, 20)
    assert await either.balance() == 5500
    await done(either.client, "release_to_fulfilment", order_id=sent["order_id"], **either.key())
    # The new one comes back as well: both orders had paid for it.
    await either.seed(delivered(sent["order_id"]))
    rma = await requested(either, sent)
    assert rma["refund"] == "25.00 EUR"
    await back(either, rma)
    await step(either, "settle_return", return_id=rma["return_id"])
    assert await either.net_paid(order["order_id"]) == {}
    assert await either.net_paid(sent["order_id"]) == {}
    assert await either.balance() == 6000


async def test_exchange_for_something_cheaper(either: Desk):
    desk = either
    order = await a_delivered_order(desk, (SHIRT_S, 1))
    over = await exchanged(desk, order, SHIRT_L)
    assert over["price_difference_minor"] == -500
    assert over["lines"][0]["refund_id"]
    assert await desk.net_paid(order["order_id"]) == {CARD: 1500}
    sent = await done(desk.client, "get_order", order_id=over["lines"][0]["exchange_order_id"])
    assert (sent["total_minor"], sent["subtotal_minor"]) == (0, 1500)
    gone = await done(desk.client, "release_to_fulfilment", order_id=sent["order_id"], **desk.key())
    assert gone["fulfilment_status"] == "fulfilled"


async def test_exchange_for_the_same_again_and_for_two_things(desk: Desk):
    same = await a_delivered_order(desk, (SHIRT_S, 1))
    over = await exchanged(desk, same, SHIRT_S)
    assert over["price_difference_minor"] == 0
    assert await desk.net_paid(same["order_id"]) == {CARD: 2000}
    two = await a_delivered_order(desk, (SHIRT_S, 2))
    over = await exchanged(desk, two, SHIRT_M, SHIRT_L)
    assert over["price_difference_minor"] == 0
    sent = await done(desk.client, "get_order", order_id=over["lines"][0]["exchange_order_id"])
    assert [line["sku"] for line in sent["lines"]] == [SHIRT_M, SHIRT_L]
    after = await done(desk.client, "get_order", order_id=two["order_id"])
    assert [line["status"] for line in after["lines"]] == ["returned"]


async def test_exchange_with_tax_on_top(desk: Desk):
    order = await a_delivered_order(desk, (SHIRT_S, 1), ship_to=BERLIN)
    over = await exchanged(desk, order, SHIRT_M)
    assert over["price_difference_minor"] == 595
    sent = await done(desk.client, "get_order", order_id=over["lines"][0]["exchange_order_id"])
    assert (sent["total_minor"], sent["tax_minor"]) == (595, 475)


async def test_the_customer_keeps_it(either: Desk):
    desk = either
    await desk.seed(a_policy(returnless_up_to_minor=2000), "returns")
    order = await a_delivered_order(desk, (SHIRT_S, 1))
    rma = await requested(desk, order)
    kept = await step(desk, "authorize_return", return_id=rma["return_id"], returnless=True)
    assert kept["state"] == "returnless"
    assert len(desk.person.questions or []) == 1
    over = await step(desk, "settle_return", return_id=rma["return_id"])
    assert over["state"] == "settled"
    assert await desk.net_paid(order["order_id"]) == {}
    assert await desk.available(SHIRT_S) == 19


async def test_instant_refund_then_the_goods(either: Desk):
    desk = either
    await desk.seed(a_policy(instant_refund=True), "returns")
    order = await a_delivered_order(desk, (SHIRT_S, 1))
    rma = await requested(desk, order)
    labelled = await step(desk, "authorize_return", return_id=rma["return_id"])
    paid = await step(desk, "settle_return", return_id=rma["return_id"])
    assert (paid["state"], paid["lines"][0]["settlement"]) == ("label_issued", "refund")
    assert await desk.net_paid(order["order_id"]) == {}
    desk.clock.forward(days=20)
    closed = await back(desk, labelled)
    assert closed["state"] == "closed"
    assert await desk.available(SHIRT_S) == 20


async def test_fees_are_the_customers_unless_it_is_our_fault(desk: Desk):
    await desk.seed(a_policy(restocking_fee_bps=1000, return_shipping_minor=495), "returns")
    order = await a_delivered_order(desk, (SHIRT_S, 1), (SHIRT_M, 1))
    one, two = (line["line_id"] for line in order["lines"])
    theirs = await requested(desk, order, lines=[{"line_id": one, "reason": "unwanted"}])
    assert (theirs["refund"], theirs["fee_minor"]) == ("13.05 EUR", 695)
    await back(desk, theirs)
    over = await step(desk, "settle_return", return_id=theirs["return_id"])
    assert over["lines"][0]["settled_minor"] == 1305
    ours = await requested(desk, order, lines=[{"line_id": two, "reason": "damaged_in_transit"}])
    assert ours["refund"] == "25.00 EUR"
    assert "open_claim" in ours["next"]


async def test_expiry_frees_units_and_stock(either: Desk):
    desk = either
    order = await a_delivered_order(desk, (SHIRT_S, 1))
    ask = {
        "order_id": order["order_id"], "method_id": CARD,
        "lines": [{"line_id": order["lines"][0]["line_id"], "new_sku": SHIRT_M}],
    }  # fmt: skip
    rma = await step(desk, "request_exchange", **ask)
    await step(desk, "authorize_return", return_id=rma["return_id"])
    assert await desk.available(SHIRT_M) == 19
    desk.clock.forward(days=14)
    assert await desk.available(SHIRT_M) == 20
    shown = await done(desk.returns, "get_return", return_id=rma["return_id"])
    assert (shown["state"], shown["next"]) == ("expired", "It is over.")
    assert (await done(desk.returns, "list_returns"))["returns"] == []
    await step(desk, "request_exchange", **ask)


async def test_turned_down_and_withdrawn(either: Desk):
    desk = either
    order = await a_delivered_order(desk, (SHIRT_S, 1))
    line = order["lines"][0]["line_id"]
    rma = await step(
        desk, "request_exchange", order_id=order["order_id"], method_id=CARD,
        lines=[{"line_id": line, "new_sku": SHIRT_M}],
    )  # fmt: skip
    no = await step(
        desk, "reject_return", return_id=rma["return_id"], reason="condition", note="Worn."
    )
    assert (no["state"], no["reject_reason"]) == ("rejected", "condition")
    assert await desk.available(SHIRT_M) == 20
    second = await requested(desk, order)
    off = await step(desk, "cancel_return", return_id=second["return_id"])
    assert off["state"] == "cancelled"
    assert (await requested(desk, order))["state"] == "requested"


async def test_review_above_a_value(desk: Desk):
    await desk.seed(a_policy(review_from_minor=3000), "returns")
    order = await a_delivered_order(desk, (SHIRT_S, 2))
    rma = await requested(desk, order)
    assert rma["state"] == "needs_review"


async def test_what_may_not_be_sold_again(desk: Desk):
    order_id = await desk.seed(an_order(("CREAM-1", 1)))
    await desk.seed(delivered(order_id))
    order = await done(desk.client, "get_order", order_id=order_id)
    rma = await requested(desk, order)
    over = await back(desk, rma, disposition="scrap")
    assert over["state"] == "dispositioned"
    assert await desk.available("CREAM-1", NORTH) == 19
