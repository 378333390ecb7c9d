"""What hosts see: looking up, authorizing, capturing, voiding, credit, books, payouts."""

import json

import pytest
from mcp.types import PromptReference, ResourceTemplateReference

from common.call import Call
from common.incoming import Request, Waiting
from common.rules import funds, paid
from common.tables.payments import Payment
from servers.payments.tools import tools
from tests.payments.seed import (
    ANA,
    BEN,
    BENS_CARD,
    CARD,
    GIFT,
    GIFT_BALANCE,
    WALLET,
    Desk,
    authorized,
    charged,
    order,
    token_method,
)
from tests.support.shop import actor, call, refused


async def test_a_payment_names_everything_that_hangs_on_it(desk: Desk):
    await desk.seed(charged())
    made = await desk.done(
        "refund_payment", payment_id="pay-1", amount_minor=1_000, currency="EUR", reason="goodwill"
    )
    hold = await desk.done(
        "place_hold", payment_id="pay-1", reason="fraud_review", amount_minor=2_000
    )
    found = await desk.payment("pay-1")
    assert found["order_id"] == "ord-1"
    assert (found["captured_minor"], found["refunded_minor"], found["held_minor"]) == (
        10_000, 1_000, 2_000,
    )  # fmt: skip
    assert (found["refundable"], found["refundable_minor"]) == ("70.00 EUR", 7_000)
    assert [each["refund_id"] for each in found["refunds"]] == [made["refund_id"]]
    assert [each["id"] for each in found["holds"]] == [hold["hold_id"]]
    assert found["method"] == "visa ending 4242"


async def test_search_filters_and_pages(either: Desk):
    for number in range(5):
        await either.seed(charged(f"ord-{number}", payment_id=f"pay-{number}"))
        either.clock.forward(hours=1)
    await either.seed(authorized("ord-a"))
    client = either.client
    seen, cursor = [], {}
    for _ in range(4):
        page = (
            await client.call_tool("search_payments", {"customer_id": ANA, "limit": 2, **cursor})
        ).structured_content
        seen += [row["payment_id"] for row in page["payments"]]
        if "next_cursor" not in page:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert seen[1:] == [f"pay-{n}" for n in (4, 3, 2, 1, 0)]
    only = await either.done_reading("search_payments", status="authorized")
    assert [row["order_id"] for row in only["payments"]] == ["ord-a"]
    assert only["payments"][0]["capture_before"]
    by_order = await either.done_reading("search_payments", order_id="ord-3")
    assert by_order["count"] == 1
    day = either.clock.now.date().isoformat()
    assert (await either.done_reading("search_payments", created_from=day))["count"] == 6
    await refused(client, "search_payments", "invalid_parameters", cursor="forged!")
    await refused(client, "search_payments", "invalid_parameters", created_from="2026-02-30")
    await refused(client, "search_payments", "invalid_parameters", created_to="9999-12-31")


async def test_authorizations_that_lapse_are_found_and_then_expired(desk: Desk):
    await desk.seed(authorized("ord-1"))
    later = await desk.done_reading("search_payments", expiring_within_hours=24)
    assert later["count"] == 0
    desk.clock.forward(days=6, hours=12)
    soon = await desk.done_reading("search_payments", expiring_within_hours=24)
    assert [row["order_id"] for row in soon["payments"]] == ["ord-1"]
    id = soon["payments"][0]["payment_id"]
    desk.clock.forward(hours=12)
    assert (await desk.payment(id))["status"] == "expired"
    assert (await desk.done_reading("search_payments", status="expired"))["count"] == 1
    assert (await desk.done_reading("search_payments", status="authorized"))["count"] == 0
    answer = await refused(desk.client, "capture_payment", "rule_violation", payment_id=id)
    assert answer["details"]["status"] == "expired"
    again = await desk.done("authorize_payment", order_id="ord-1")
    assert (again["status"], again["amount_minor"]) == ("authorized", 10_000)
    assert (await desk.done("void_payment", payment_id=id))["status"] == "expired"
    assert await desk.order_status("ord-1") == "authorized"


async def test_housekeeping_closes_what_lapsed(desk: Desk):
    made = await desk.seed(authorized("ord-1"))
    desk.clock.forward(days=7)
    assert await desk.order_status("ord-1") == "authorized"
    assert await desk.shop.housekeeping.once() == 2, "the payment and its pending transfer"
    assert await desk.order_status("ord-1") == "not_paid"
    found = await desk.payment(made.id)
    assert (found["status"], "closed_at" in found) == ("expired", True)
    assert await desk.shop.housekeeping.once() == 0


async def test_capture_whole_part_and_never_twice(either: Desk):
    for name in ("ord-1", "ord-2"):
        await either.seed(authorized(name))
    found = await either.done_reading("search_payments")
    ids = {row["order_id"]: row["payment_id"] for row in found["payments"]}
    one, two = ids["ord-1"], ids["ord-2"]
    client = either.client
    await refused(
        client, "capture_payment", "invalid_parameters", payment_id=one, amount_minor=10_001
    )
    assert (await either.payment(one))["status"] == "authorized"
    whole = await either.done("capture_payment", payment_id=one)
    assert (whole["status"], whole["refundable_minor"]) == ("captured", 10_000)
    assert await either.order_status("ord-1") == "captured"
    part = await either.done("capture_payment", payment_id=two, amount_minor=4_000)
    assert (part["status"], part["captured_minor"]) == ("partially_captured", 4_000)
    assert await either.order_status("ord-2") == "partially_captured"
    for id in (one, two):
        await refused(client, "capture_payment", "rule_violation", payment_id=id, **either.key())
        await refused(client, "void_payment", "rule_violation", payment_id=id, **either.key())


async def test_a_capture_that_lets_the_rest_go_asks_as_a_void_does(desk: Desk):
    made = await desk.seed(authorized())
    desk.person.answer = "no"
    answer = await call(desk.client, "capture_payment", payment_id=made.id, amount_minor=1)
    assert answer.get("code") == "approval_invalid", answer
    assert "99.99 EUR of the authorization is let go" in desk.person.questions[0]
    assert (await desk.payment(made.id))["status"] == "authorized"
    await desk.done("capture_payment", payment_id=made.id)
    assert len(desk.person.questions) == 1, "all of it is captured as before"


async def test_void_frees_stored_value(desk: Desk):
    made = await desk.seed(authorized(amount=4_000, method=GIFT))
    rows = await desk.done_reading("find_payment_methods", customer_id=ANA)
    left = {row["method_id"]: row.get("balance") for row in rows["methods"]}
    assert left[GIFT] == "10.00 EUR"
    assert left[CARD] is None
    await desk.done("void_payment", payment_id=made.id)
    assert await desk.order_status("ord-1") == "not_paid"
    rows = await desk.done_reading("find_payment_methods", customer_id=ANA)
    assert {r["method_id"]: r.get("balance_minor") for r in rows["methods"]}[GIFT] == GIFT_BALANCE


async def test_authorize_no_more_than_is_open_on_ones_own_method(desk: Desk):
    await desk.seed(order("ord-1", 10_000))
    await desk.done("authorize_payment", order_id="ord-1", amount_minor=4_000)
    client = desk.client
    answer = await refused(
        client, "authorize_payment", "rule_violation", order_id="ord-1", amount_minor=6_001
    )
    assert answer["details"]["open_minor"] == 6_000
    await refused(
        client, "authorize_payment", "rule_violation", order_id="ord-1", method_id=BENS_CARD
    )
    await refused(
        client, "authorize_payment", "insufficient_funds", order_id="ord-1", method_id=GIFT
    )
    rest = await desk.done("authorize_payment", order_id="ord-1", method_id=WALLET)
    assert rest["amount_minor"] == 6_000
    await refused(client, "authorize_payment", "rule_violation", order_id="ord-1", **desk.key())


async def test_store_credit_is_made_once_and_adds_up(desk: Desk):
    first = await desk.done(
        "issue_store_credit", customer_id=BEN, amount_minor=500, currency="EUR", reason="goodwill"
    )
    second = await desk.done(
        "issue_store_credit", customer_id=BEN, amount_minor=250, currency="EUR",
        reason="late_delivery",
    )  # fmt: skip
    assert first["method_id"] == second["method_id"]
    assert second["balance"] == "7.50 EUR"
    await refused(
        desk.client, "issue_store_credit", "invalid_parameters", customer_id=BEN,
        amount_minor=1, currency="ZZZ", reason="goodwill",
    )  # fmt: skip
    await desk.seed(order("ord-1"))
    await refused(
        desk.client, "issue_store_credit", "rule_violation", customer_id=BEN, amount_minor=1,
        currency="EUR", reason="goodwill", order_id="ord-1",
    )  # fmt: skip


async def test_the_books_balance_and_a_statement_pages(desk: Desk):
    await desk.seed(charged())
    for amount in (100, 200, 300):
        desk.clock.forward(minutes=2)
        await desk.done(
            "refund_payment", payment_id="pay-1", amount_minor=amount, currency="EUR",
            reason="return",
        )  # fmt: skip
    trial = await desk.done_reading("get_ledger", currency="EUR")
    assert trial["balanced"] is True
    nets = {row["account_class"]: row["net_minor"] for row in trial["classes"]}
    assert nets["payment"] == -9_400
    assert sum(nets.values()) == 0
    entries, cursor = [], {}
    for _ in range(3):
        page = await desk.done_reading(
            "get_ledger", currency="EUR", account="payment:pay-1", limit=2, **cursor
        )
        assert page["balance_minor"] == 9_400
        entries += page["entries"]
        if "next_cursor" not in page:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert [row["signed_minor"] for row in entries] == [-300, -200, -100, 10_000]
    await refused(
        desk.client, "get_ledger", "invalid_parameters", currency="EUR", account="bribes:me"
    )
    await refused(desk.client, "get_ledger", "invalid_parameters", currency="ZZZ")


async def test_a_statement_counts_a_reserved_amount_once(desk: Desk):
    made = await desk.seed(authorized())
    await desk.done("capture_payment", payment_id=made.id, amount_minor=4_000)
    page = await desk.done_reading("get_ledger", currency="EUR", account=f"payment:{made.id}")
    assert sum(row["signed_minor"] for row in page["entries"]) == page["balance_minor"] == 4_000


LINES = [
    {"kind": "charge", "reference": "pay-1", "amount_minor": 10_000, "fee_minor": 190},
    {"kind": "charge", "reference": "pay-2", "amount_minor": 9_000, "fee_minor": 10},
    {"kind": "charge", "reference": "pay-x", "amount_minor": 5},
    {"kind": "fee", "reference": "monthly", "amount_minor": -5},
]
PAYOUT = {
    "provider": "bank_of", "reference": "po-7", "currency": "EUR", "amount_minor": 18_800,
    "arrived_on": "2026-11-02", "lines": LINES,
}  # fmt: skip


async def test_a_payout_is_matched_booked_once_and_its_exceptions_closed_by_people(desk: Desk):
    for number in (1, 2):
        await desk.seed(charged(f"ord-{number}", payment_id=f"pay-{number}"))
    await refused(
        desk.client, "reconcile_payout", "invalid_parameters", **{**PAYOUT, "amount_minor": 1}
    )
    got = await desk.done("reconcile_payout", **PAYOUT)
    assert (got["state"], got["matched"]) == ("exceptions", 2)
    assert [(row["line"], row["outcome"]) for row in got["exceptions"]] == [
        (2, "amount_differs"), (3, "missing"),
    ]  # fmt: skip
    again = await refused(desk.client, "reconcile_payout", "rule_violation", **PAYOUT, **desk.key())
    assert again["details"]["payout_id"] == got["payout_id"]
    more = {"reference": "po-8", "amount_minor": 9_810, "lines": LINES[:1]}
    twice = await desk.done("reconcile_payout", **{**PAYOUT, **more})
    assert [row["outcome"] for row in twice["exceptions"]] == ["duplicate"]
    listed = await desk.done_reading("list_payouts", state="exceptions")
    assert [row["reference"] for row in listed["payouts"]] == ["po-8", "po-7"]
    closed = await desk.approved(
        "accept_payout_exceptions", payout_id=got["payout_id"], note="the bank rounds"
    )
    assert closed["state"] == "reconciled"
    assert {row["outcome"] for row in closed["exceptions"]} == {"accepted"}
    bank = await desk.look(lambda s: funds.balance(s, desk.clock.now, "bank", "EUR").posted)
    assert bank == 18_800 + 9_810
    assert (await desk.done_reading("get_ledger", currency="EUR"))["balanced"]


async def test_who_agrees_to_a_payout_sees_what_matches_nothing(desk: Desk):
    """Fees and adjustments of any size are taken as the file says: the preview tells them, netted
    away or not; and that there are more exceptions than it names."""
    lines = [
        {"kind": "charge", "reference": f"pay-{n}", "amount_minor": 100} for n in range(23)
    ] + [
        {"kind": "adjustment", "reference": "a", "amount_minor": -90_000},
        {"kind": "adjustment", "reference": "b", "amount_minor": 88_000},
    ]  # fmt: skip
    payout = {**PAYOUT, "reference": "po-9", "amount_minor": 300, "lines": lines}
    spec = tools.tools["reconcile_payout"]
    asked = await desk.shop.guard.call(Request(spec, payout, actor()))
    assert isinstance(asked, Waiting)
    assert any("900.00 EUR off, 880.00 EUR on" in line for line in asked.preview["lines"])
    booked = await desk.done("reconcile_payout", **payout)
    waits = await call(
        desk.client, "accept_payout_exceptions", payout_id=booked["payout_id"], note="all"
    )
    assert sum("missing" in line for line in waits["preview"]["lines"]) == 20
    assert "and 3 more" in waits["preview"]["lines"]


async def test_resources(desk: Desk):
    await desk.seed(charged())
    await desk.done("place_hold", payment_id="pay-1", reason="manual", days=2)
    read = await desk.client.read_resource("payments://order/ord-1")
    found = json.loads(read.contents[0].text)
    assert (found["payment_status"], found["net"]) == ("captured", "100.00 EUR")
    assert [row["payment_id"] for row in found["payments"]] == ["pay-1"]
    read = await desk.client.read_resource("payments://holds")
    held = json.loads(read.contents[0].text)
    assert [row["amount"] for row in held["holds"]] == ["100.00 EUR"]


async def test_prompts_and_completions(desk: Desk):
    await desk.seed(charged())
    prompt = await desk.client.get_prompt("hold_review", {"within_days": "3"})
    text = prompt.messages[0].content.text
    for word in ("within 3 days", "list_holds", "release_hold", "ask the person"):
        assert word in text
    prompt = await desk.client.get_prompt("dispute_response", {"dispute_id": "dsp_1"})
    assert "submit_dispute_evidence" in prompt.messages[0].content.text
    known = await desk.client.complete(
        ResourceTemplateReference(uri="payments://order/{order_id}"),
        {"name": "order_id", "value": "ord"},
    )
    assert known.completion.values == ["ord-1"]
    none = await desk.client.complete(
        PromptReference(name="dispute_response"), {"name": "dispute_id", "value": "dsp"}
    )
    assert none.completion.values == []


@pytest.mark.parametrize(("currency", "shown"), [("JPY", "500 JPY"), ("KWD", "0.500 KWD")])
async def test_currencies_have_their_own_decimals(desk: Desk, currency: str, shown: str):
    await desk.seed(charged(amount=500, currency=currency))
    found = await desk.payment("pay-1")
    assert (found["amount"], found["refundable"]) == (shown, shown)


async def test_a_card_of_a_provider_waits_for_its_answer(desk: Desk):
    def work(call: Call) -> Payment:
        token_method("tok-card", "tok_ok")(call)
        return authorized(method="tok-card")(call)

    made = await desk.seed(work)
    assert made.status == "created"
    assert await desk.order_status("ord-1") == "awaiting"
    found = await desk.payment(made.id)
    assert found["unsettled"] == ["authorize pending"]
    answer = await refused(desk.client, "capture_payment", "rule_violation", payment_id=made.id)
    assert "not answered" in answer["next"]
    listed = await desk.done_reading("list_unsettled")
    assert [row["payment_id"] for row in listed["operations"]] == [made.id]
    status = await desk.look(lambda s: paid.payment_status(s, "ord-1", desk.clock.now))
    assert status == "awaiting"
