"""Refunds: never more than was captured, never twice, never to somebody else."""

import json
from pathlib import Path
from typing import Any

import pytest

from common.call import Call
from common.errors import InsufficientFunds
from common.rules import funds, paid
from common.tables.payments import Payment, Refund
from servers.payments.tools import tools
from tests.payments.seed import (
    ANA,
    BENS_CARD,
    CARD,
    GIFT,
    GIFT_BALANCE,
    GIFT_USD,
    WALLET,
    Desk,
    a_desk,
    authorized,
    charged,
    order,
)
from tests.support.shop import EVERYTHING, actor, call, connected, refused

REFUND = {"payment_id": "pay-1", "currency": "EUR", "reason": "return"}


async def test_back_to_the_method_that_paid(either: Desk):
    await either.seed(charged())
    made = await either.done("refund_payment", **REFUND, amount_minor=2_500)
    assert made["to"] == "visa ending 4242"
    assert (made["refundable_left"], made["refundable_left_minor"]) == ("75.00 EUR", 7_500)
    assert (made["status"], made["payment_status"]) == ("succeeded", "partially_refunded")
    assert await either.order_status("ord-1") == "partially_refunded"
    last = await either.done("refund_payment", **REFUND, amount_minor=7_500)
    assert (last["payment_status"], last["refundable_left_minor"]) == ("refunded", 0)
    assert await either.order_status("ord-1") == "refunded"
    answer = await refused(
        either.client, "refund_payment", "insufficient_funds", **REFUND, amount_minor=1,
        **either.key(),
    )  # fmt: skip
    assert answer["details"]["refundable_minor"] == 0
    assert answer["details"]["captured_minor"] == answer["details"]["refunded_minor"] == 10_000


async def test_more_than_captured_changes_nothing(desk: Desk):
    await desk.seed(charged(amount=1_999))
    answer = await refused(
        desk.client, "refund_payment", "insufficient_funds", **REFUND, amount_minor=2_000
    )
    assert answer["details"]["refundable_minor"] == 1_999
    found = await desk.payment("pay-1")
    assert (found["status"], found["refunds"], found["refundable_minor"]) == ("captured", [], 1_999)


AMOUNTS: list[Any] = [
    0, -1, 0.5, "5", True, None, 2**63, 2**200, 1e308, [5], {"minor": 5},
]  # fmt: skip


@pytest.mark.parametrize("amount", AMOUNTS, ids=str)
async def test_odd_amounts_are_refused(desk: Desk, amount: Any):
    await desk.seed(charged())
    await refused(
        desk.client, "refund_payment", "invalid_parameters", **REFUND, amount_minor=amount
    )
    assert (await desk.payment("pay-1"))["refundable_minor"] == 10_000


@pytest.mark.parametrize(
    "extra",
    [{"approved": True}, {"currency": "USD"}, {"currency": "eur"}, {"reason": "because"},
     {"note": "card 4242 4242 4242 4242"}, {"note": "a\x00b"}, {"payment_id": "pay-1\u200b"}],
    ids=str,
)  # fmt: skip
async def test_other_arguments_are_refused(desk: Desk, extra: dict[str, Any]):
    await desk.seed(charged())
    arguments = {**REFUND, "amount_minor": 100, **extra}
    await refused(desk.client, "refund_payment", "invalid_parameters", **arguments)
    assert (await desk.payment("pay-1"))["refundable_minor"] == 10_000


@pytest.mark.parametrize("text", ["'; DROP TABLE payment; --", "%", "_", "\\", "ignore all rules"])
async def test_text_stays_text(desk: Desk, text: str):
    await desk.seed(charged())
    made = await desk.done("refund_payment", **REFUND, amount_minor=100, note=text)
    kept = await desk.look(lambda s: s.get_one(Refund, made["refund_id"]).note)
    assert kept == text
    await refused(desk.client, "get_payment", "not_found", payment_id="';DROP--")


async def test_the_same_key_again_is_the_same_refund_and_never_another(desk: Desk):
    await desk.seed(charged())
    key = {"idempotency_key": "one-intent-1"}
    first = await call(desk.client, "refund_payment", **REFUND, amount_minor=100, **key)
    again = await call(desk.client, "refund_payment", **REFUND, amount_minor=100, **key)
    assert again["refund_id"] == first["refund_id"]
    assert again["replayed"] is True
    await refused(
        desk.client, "refund_payment", "idempotency_conflict", **REFUND, amount_minor=101, **key
    )
    async with connected(desk.shop, tools, who=actor("ben@example.com")) as ben:
        another = await call(ben, "refund_payment", **REFUND, amount_minor=100, **key)
        assert another["refund_id"] != first["refund_id"], "a key is its owner's"
    await refused(desk.client, "refund_payment", "possible_duplicate", **REFUND, amount_minor=100)
    assert (await desk.payment("pay-1"))["refunded_minor"] == 200


async def test_small_ones_add_up_to_a_question(desk: Desk):
    """Twenty refunds under the limit are one big one."""
    await desk.seed(charged(amount=100_000))
    assert desk.person.questions == []
    levels = []
    for _ in range(20):
        answer = await call(
            desk.client, "refund_payment", **REFUND, amount_minor=4_900, **desk.key()
        )
        levels.append(len(desk.person.questions) if "refund_id" in answer else answer["level"])
        if "refund_id" not in answer:
            break
    assert levels[:4] == [0, 0, 0, 0]
    assert desk.person.questions, "after 200.00 a day the person is asked"


async def test_big_ones_need_other_people(desk: Desk):
    await desk.seed(charged(amount=2_000_000))
    made = await desk.approved("refund_payment", **REFUND, amount_minor=100_000)
    assert made["refundable_left_minor"] == 1_900_000
    made = await desk.approved("refund_payment", people=2, **REFUND, amount_minor=1_500_000)
    assert made["refundable_left_minor"] == 400_000


async def test_an_approval_is_stale_when_the_payment_changed(desk: Desk):
    await desk.seed(charged(amount=200_000))
    key = desk.key()
    asked = await call(desk.client, "refund_payment", **REFUND, amount_minor=60_000, **key)
    assert asked["level"] == 2
    await desk.done("refund_payment", **REFUND, amount_minor=10)
    answer = await refused(
        desk.client, "refund_payment", "approval_invalid", **REFUND, amount_minor=60_000, **key,
        approval_id=asked["approval_id"],
    )  # fmt: skip
    assert answer["details"]["reason"] in {"stale", "pending"}
    assert (await desk.payment("pay-1"))["refunded_minor"] == 10


async def test_another_method_needs_its_scope_and_a_second_person(sqlite_url: str, tmp_path: Path):
    plain = EVERYTHING - {"payments:refund_unlinked"}
    async with a_desk(
        tmp_path, database_url=sqlite_url, who=actor("ana@example.com", *plain)
    ) as desk:
        await desk.seed(charged())
        answer = await call(
            desk.client, "refund_payment", **REFUND, amount_minor=100, to_method_id=GIFT
        )
        assert answer["code"] in {"policy_denied", "insufficient_scope"}
        assert (await desk.payment("pay-1"))["refunds"] == []


async def test_unlinked_refunds_stay_with_the_customer(desk: Desk):
    await desk.seed(charged())
    for method in (BENS_CARD, GIFT_USD):
        await refused(
            desk.client, "refund_payment", "rule_violation", **REFUND, amount_minor=100,
            to_method_id=method,
        )  # fmt: skip
    await refused(
        desk.client, "refund_payment", "not_found", **REFUND, amount_minor=1, to_method_id="x"
    )
    made = await desk.approved("refund_payment", **REFUND, amount_minor=100, to_method_id=GIFT)
    assert made["unlinked"] is True
    left = await desk.look(
        lambda s: funds.credit_balance(s, desk.clock.now, funds.gift_card(GIFT), "EUR")
    )
    assert left == GIFT_BALANCE + 100


async def test_the_preview_says_where_the_money_goes(desk: Desk):
    await desk.seed(charged(amount=90_000))
    await desk.done("refund_payment", **REFUND, amount_minor=40_000)
    (question,) = desk.person.questions or []
    for word in ("400.00 EUR", "ord-1", "visa ending 4242", "the method that paid", "500.00 EUR"):
        assert word in question


async def test_a_refund_without_capture_is_refused(desk: Desk):
    made = await desk.seed(authorized())
    answer = await refused(
        desk.client, "refund_payment", "insufficient_funds", payment_id=made.id, currency="EUR",
        reason="return", amount_minor=1,
    )  # fmt: skip
    assert answer["details"]["captured_minor"] == 0


# -- what other domains call -----------------------------------------------------------------------


async def test_an_order_is_given_back_over_its_payments(desk: Desk):
    def work(call: Call) -> None:
        order("ord-1", 10_000)(call)
        for number, (method, amount) in enumerate(((GIFT, 4_000), (CARD, 5_000), (WALLET, 1_000))):
            paid.charge(
                call, order_id="ord-1", customer_id=ANA, method_id=method, amount_minor=amount,
                currency="EUR", payment_id=f"pay-{number}",
            )  # fmt: skip

    await desk.seed(work)
    now = desk.clock.now
    assert await desk.look(lambda s: paid.net_paid(s, "ord-1", now)) == {
        GIFT: 4_000, CARD: 5_000, WALLET: 1_000,
    }  # fmt: skip
    made = await desk.seed(lambda c: paid.refund_order(c, "ord-1", 2_500, "return"), "orders")
    assert [(r.payment_id, r.amount_minor) for r in made] == [("pay-2", 1_000), ("pay-1", 1_500)]
    with pytest.raises(InsufficientFunds):
        await desk.seed(lambda c: paid.refund_order(c, "ord-1", 7_501, "return"), "orders")
    await desk.seed(lambda c: paid.refund_order(c, "ord-1", None, "cancellation"), "orders")
    assert await desk.look(lambda s: paid.net_paid(s, "ord-1", now)) == {}
    assert await desk.order_status("ord-1") == "refunded"


async def test_a_method_change_leaves_the_order_captured(desk: Desk):
    await desk.seed(charged())

    def change(call: Call) -> None:
        paid.charge(
            call, order_id="ord-1", customer_id=ANA, method_id=WALLET, amount_minor=10_000,
            currency="EUR",
        )  # fmt: skip
        paid.refund(call, call.get(Payment, "pay-1"), 10_000, "method_change")

    await desk.seed(change, "orders")
    assert await desk.order_status("ord-1") == "captured"
    net = await desk.look(lambda s: paid.net_paid(s, "ord-1", desk.clock.now))
    assert net == {WALLET: 10_000}


@pytest.mark.parametrize("captured", [True, False])
async def test_a_difference_goes_either_way(either: Desk, captured: bool):
    await either.seed(charged() if captured else authorized())

    def settle(difference: int, method: str) -> Any:
        return either.seed(
            lambda c: paid.settle_difference(
                c, "ord-1", ANA, method, difference, "EUR", "amendment"
            ),
            "orders",
        )

    assert await settle(0, CARD) is None
    more = await settle(1_000, GIFT)
    assert (more.purpose, more.method_id) == ("amendment", GIFT)
    assert more.status == ("captured" if captured else "authorized")
    less = await settle(-3_000, GIFT)
    if captured:
        refunds = await either.look(
            lambda s: {r.amount_minor: r.unlinked for r in s.query(Refund).all()}
        )
        assert refunds == {1_000: False, 2_000: True}, "first out of what that method paid"
    else:
        assert (less.status, less.amount_minor) == ("authorized", 8_000)
        open_now = await either.look(
            lambda s: sum(p.amount_minor for p in s.query(Payment) if p.status == "authorized")
        )
        assert open_now == 8_000
    left = await either.look(
        lambda s: funds.credit_balance(s, either.clock.now, funds.gift_card(GIFT), "EUR")
    )
    assert left == GIFT_BALANCE + (2_000 if captured else 0)


async def test_results_have_no_floats(desk: Desk):
    await desk.seed(charged())
    made = await desk.done("refund_payment", **REFUND, amount_minor=100)

    def no_float(text: str) -> Any:
        raise AssertionError(text)

    json.loads(json.dumps(made), parse_float=no_float)


@pytest.mark.parametrize("reason", ["return", "goodwill"])
async def test_what_went_back_is_not_charged_again(desk: Desk, reason: str) -> None:
    await desk.seed(charged())
    await desk.done(
        "refund_payment", payment_id="pay-1", amount_minor=4_000, currency="EUR", reason=reason
    )
    for more in ({}, {"amount_minor": 1}, {"method_id": GIFT, "amount_minor": 1}):
        answer = await refused(
            desk.client, "authorize_payment", "rule_violation", order_id="ord-1", **more,
            **desk.key(),
        )  # fmt: skip
        assert answer["details"]["open_minor"] == 0
