"""Money: refunded ≤ captured ≤ authorized, and stored value is exact, kept by the ledger itself."""

from datetime import timedelta

import pytest

from common.errors import InsufficientFunds, InvalidParameters, RuleViolation
from common.ledgers.books import SIDES
from common.rules import funds
from common.rules.funds import Moved
from tests.common.ledger_model import broken_promises
from tests.support.ledger import START, Desk

CARD = funds.clearing("card")
WEEK = START + timedelta(days=7)


def refundable(desk: Desk, payment: str = "pay_1") -> int:
    assert desk.look(broken_promises) == []
    return desk.look(lambda s: funds.refundable(s, desk.now, payment, "EUR"))


def paid(desk: Desk, amount: int = 1_000) -> None:
    desk.do("payments", lambda c: funds.charge(c, "pay_1", amount, "EUR", CARD))


def test_refunded_is_at_most_captured_is_at_most_authorized(desk: Desk) -> None:
    id = desk.do("orders", lambda c: funds.authorize(c, "pay_1", 1_000, "EUR", CARD, WEEK))
    assert refundable(desk) == 0
    with pytest.raises(InsufficientFunds):
        desk.do("payments", lambda c: funds.refund(c, "pay_1", 1, "EUR", CARD))
    with pytest.raises(InvalidParameters):
        desk.do("payments", lambda c: funds.capture(c, id, 1_001))
    desk.do("payments", lambda c: funds.capture(c, id, 800))
    with pytest.raises(RuleViolation):
        desk.do("payments", lambda c: funds.capture(c, id, 200))
    assert refundable(desk) == 800
    desk.do("returns", lambda c: funds.refund(c, "pay_1", 500, "EUR", CARD))
    with pytest.raises(InsufficientFunds) as error:
        desk.do("payments", lambda c: funds.refund(c, "pay_1", 301, "EUR", CARD))
    assert error.value.details["available"] == 300
    desk.do("claims", lambda c: funds.refund(c, "pay_1", 300, "EUR", CARD))
    assert refundable(desk) == 0
    assert desk.look(lambda s: funds.moved(s, ["pay_1", "pay_2"], "EUR")) == {
        "pay_1": Moved(captured=800, refunded=800), "pay_2": Moved(),
    }  # fmt: skip


def test_an_authorization_lapses(desk: Desk) -> None:
    id = desk.do("payments", lambda c: funds.authorize(c, "pay_1", 1_000, "EUR", CARD, WEEK))
    desk.now = WEEK
    for word in (funds.capture, funds.void):
        with pytest.raises(RuleViolation, match="already expired"):
            desk.do("payments", lambda c, w=word: w(c, id))


def test_a_hold_keeps_money_from_being_refunded(desk: Desk) -> None:
    paid(desk)
    hold = desk.do("payments", lambda c: funds.hold(c, "pay_1", 700, "EUR", None))
    assert refundable(desk) == 300
    with pytest.raises(InsufficientFunds):
        desk.do("payments", lambda c: funds.refund(c, "pay_1", 301, "EUR", CARD))
    with pytest.raises(InsufficientFunds):
        desk.do("payments", lambda c: funds.hold(c, "pay_1", 301, "EUR", None))
    desk.do("payments", lambda c: funds.release(c, hold))
    assert refundable(desk) == 1_000
    short = desk.do("payments", lambda c: funds.hold(c, "pay_1", 1_000, "EUR", WEEK))
    assert refundable(desk) == 0
    desk.now = WEEK
    assert refundable(desk) == 1_000
    desk.do("payments", lambda c: funds.refund(c, "pay_1", 1_000, "EUR", CARD))
    with pytest.raises(RuleViolation):
        desk.do("payments", lambda c: funds.release(c, short))


def test_a_failed_refund_is_refundable_again(desk: Desk) -> None:
    paid(desk)
    desk.do("payments", lambda c: funds.refund(c, "pay_1", 400, "EUR", CARD))
    desk.do("payments", lambda c: funds.refund_failed(c, "pay_1", 400, "EUR", CARD))
    assert refundable(desk) == 1_000
    moved = desk.look(lambda s: funds.moved(s, ["pay_1"], "EUR"))["pay_1"]
    assert moved == Moved(captured=1_000, refunded=0)
    assert desk.look(lambda s: funds.captured(s, "pay_1", "EUR")) == 1_000


def test_disputed_money_cannot_be_refunded_too(desk: Desk) -> None:
    paid(desk)
    desk.do("payments", lambda c: funds.open_dispute(c, "dsp_1", "pay_1", 600, "EUR"))
    assert refundable(desk) == 400
    with pytest.raises(InsufficientFunds):
        desk.do("payments", lambda c: funds.open_dispute(c, "dsp_2", "pay_1", 401, "EUR"))
    desk.do("payments", lambda c: funds.close_dispute(
        c, "dsp_1", "pay_1", 200, "EUR", lost_to=None))  # fmt: skip
    desk.do("payments", lambda c: funds.close_dispute(
        c, "dsp_1", "pay_1", 400, "EUR", lost_to=CARD))  # fmt: skip
    with pytest.raises(InsufficientFunds):
        desk.do("payments", lambda c: funds.close_dispute(
            c, "dsp_1", "pay_1", 1, "EUR", lost_to=None))  # fmt: skip
    assert refundable(desk) == 600
    moved = desk.look(lambda s: funds.moved(s, ["pay_1"], "EUR"))["pay_1"]
    assert moved == Moved(captured=1_000, disputed=400)


@pytest.mark.parametrize("account", [funds.store_credit("cus_1"), funds.gift_card("gc_1")])
def test_stored_value_is_exact(desk: Desk, account: str) -> None:
    def balance() -> int:
        return desk.look(lambda s: funds.credit_balance(s, desk.now, account, "EUR"))

    assert balance() == 0
    desk.do("payments", lambda c: funds.issue_credit(c, account, 1_000, "EUR", "goodwill_1"))
    desk.do("*", lambda c: funds.open_balance(c, account, 5, "EUR", "import"))
    assert balance() == 1_005
    with pytest.raises(InsufficientFunds) as error:
        desk.do("storefront", lambda c: funds.charge(c, "pay_1", 1_006, "EUR", account))
    assert error.value.details["available"] == 1_005
    desk.do("storefront", lambda c: funds.charge(c, "pay_1", 1_000, "EUR", account))
    id = desk.do("orders", lambda c: funds.authorize(c, "pay_2", 4, "EUR", account, WEEK))
    assert balance() == 1
    with pytest.raises(InsufficientFunds):
        desk.do("orders", lambda c: funds.authorize(c, "pay_3", 2, "EUR", account, WEEK))
    desk.do("payments", lambda c: funds.capture(c, id))
    desk.do("returns", lambda c: funds.refund(c, "pay_1", 999, "EUR", account))
    assert balance() == 1_000
    assert refundable(desk) == 1


def test_an_unlinked_refund_still_comes_out_of_the_payment(desk: Desk) -> None:
    paid(desk)
    other = funds.gift_card("gc_9")
    desk.do("orders", lambda c: funds.refund(c, "pay_1", 900, "EUR", other, unlinked=True))
    assert desk.look(lambda s: funds.credit_balance(s, desk.now, other, "EUR")) == 900
    with pytest.raises(InsufficientFunds):
        desk.do("orders", lambda c: funds.refund(c, "pay_1", 101, "EUR", other, unlinked=True))


def test_a_claim_pays_at_most_what_it_claims(desk: Desk) -> None:
    desk.do("claims", lambda c: funds.claim(c, "clm_1", 500, "EUR"))
    desk.do("claims", lambda c: funds.recover(c, "clm_1", 300, "EUR"))
    for word in (funds.recover, funds.write_off):
        with pytest.raises(InsufficientFunds):
            desk.do("claims", lambda c, w=word: w(c, "clm_1", 201, "EUR"))
    desk.do("claims", lambda c: funds.write_off(c, "clm_1", 200, "EUR"))
    owed = desk.look(lambda s: funds.balance(s, desk.now, "receivable:clm_1", "EUR"))
    assert owed.posted == 0


def test_the_trial_balance_is_balanced(desk: Desk) -> None:
    paid(desk)
    desk.do("payments", lambda c: funds.charge(c, "pay_2", 50, "EUR", CARD))
    desk.do("payments", lambda c: funds.charge(c, "pay_3", 77, "JPY", CARD))
    desk.do("payments", lambda c: funds.refund(c, "pay_1", 200, "EUR", CARD))
    desk.do("payments", lambda c: funds.issue_credit(
        c, funds.store_credit("cus_1"), 30, "EUR", "x"))  # fmt: skip
    desk.do("payments", lambda c: funds.fee(c, "card", 9, "EUR", "pyo_1"))
    desk.do("payments", lambda c: funds.payout(c, "card", 800, "EUR", "pyo_1"))
    lines = desk.look(lambda s: funds.trial_balance(s, "EUR"))
    assert {line.name: line.net for line in lines} == {
        "bank": 800, "clearing": 1_050 - 200 - 9 - 800, "fees": 9, "goodwill": 30,
        "payment": -850, "store_credit": -30,
    }  # fmt: skip
    assert sum(line.net for line in lines) == 0
    assert {line.name: line.accounts for line in lines}["payment"] == 2
    assert {line.name for line in lines} <= set(SIDES["money"])
    assert desk.look(lambda s: funds.trial_balance(s, "KWD")) == []


def test_currencies_are_apart(desk: Desk) -> None:
    paid(desk)
    with pytest.raises(InsufficientFunds):
        desk.do("payments", lambda c: funds.refund(c, "pay_1", 1, "USD", CARD))
    found = desk.look(lambda s: funds.balances(s, desk.now, ["pay_1", "pay_2"], "EUR"))
    assert {name: balance.available for name, balance in found.items()} == {
        "pay_1": 1_000, "pay_2": 0,
    }  # fmt: skip


def test_a_currency_gives_nothing_to_another(desk: Desk) -> None:
    """The same payment's euros are no yen: each currency is a ledger of its own."""
    paid(desk)
    with pytest.raises(InsufficientFunds):
        desk.do("payments", lambda c: funds.refund(c, "pay_1", 1, "JPY", CARD))
    with pytest.raises(InsufficientFunds):
        desk.do("payments", lambda c: funds.hold(c, "pay_1", 1, "JPY", None))
    desk.do("payments", lambda c: funds.charge(c, "pay_1", 300, "JPY", CARD))
    assert refundable(desk) == 1_000
    assert desk.look(lambda s: funds.refundable(s, desk.now, "pay_1", "JPY")) == 300
    desk.do("payments", lambda c: funds.refund(c, "pay_1", 1_000, "EUR", CARD))
    assert refundable(desk) == 0
    assert desk.look(lambda s: funds.refundable(s, desk.now, "pay_1", "JPY")) == 300
