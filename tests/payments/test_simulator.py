"""What only the simulator does: its file, its tokens, its seed."""

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from common.gateways.behaviours import BEHAVIOURS
from common.gateways.port import Sent, State
from common.gateways.simulator import Simulator

NOW = datetime(2026, 11, 21, 8, 30, tzinfo=UTC)
ROOT = Path(__file__).parents[2]

# Captures in a process of its own, then dies without a word: a worker killed after the effect.
KILLED_WORKER = """
import os, sys
from pathlib import Path
from common.gateways.simulator import Simulator
outcome = Simulator(Path(sys.argv[1])).capture("op-capture", sys.argv[2], 5000)
os.kill(os.getpid(), 9)
"""


class Shop:
    def __init__(self, path: Path, seed: int = 0) -> None:
        self.now = NOW
        self.gateway = Simulator(path, seed=seed, clock=lambda: self.now)

    def captured(self, token: str, amount: int = 5000, n: int = 0) -> str:
        outcome = self.gateway.authorize(f"op-authorize-{n}", amount, "EUR", token, {})
        assert outcome.provider_ref
        assert self.gateway.capture(f"op-capture-{n}", outcome.provider_ref, amount).fee_minor
        return outcome.provider_ref


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path / "provider.db")


def test_references_depend_on_seed_and_operation_alone(tmp_path: Path) -> None:
    seeds = {"a": 1, "b": 1, "c": 2}
    refs = [Shop(tmp_path / name, seed).captured("tok_ok") for name, seed in seeds.items()]
    assert refs[0] == refs[1] != refs[2]


def test_it_outlives_a_killed_worker(tmp_path: Path) -> None:
    path = tmp_path / "provider.db"
    before = Simulator(path)
    sent_at = datetime.now(UTC)
    ref = before.authorize("op-authorize", 5000, "EUR", "tok_ok", {}).provider_ref or ""
    killed = subprocess.run(
        [sys.executable, "-c", KILLED_WORKER, str(path), ref], cwd=ROOT, check=False, timeout=60
    )
    assert killed.returncode == -9
    after = Simulator(path)
    asked = after.ask("op-capture", Sent("capture", ref, sent_at))
    assert asked.state is State.DONE
    assert after.capture("op-capture", ref, 5000) == asked
    assert after.totals(ref) == (5000, 5000, 0)


def test_a_request_is_lost_once(shop: Shop) -> None:
    states = [
        shop.gateway.authorize("op-authorize", 5000, "EUR", "tok_timeout_lost", {}).state
        for _ in range(3)
    ]
    assert states == [State.UNKNOWN, State.DONE, State.DONE]


def test_async_declined(shop: Shop) -> None:
    outcome = shop.gateway.authorize("op-authorize", 5000, "EUR", "tok_async_declined", {})
    assert outcome.state is State.PENDING
    assert shop.gateway.advance() == 1
    assert shop.gateway.advance() == 0
    asked = shop.gateway.ask("op-authorize", Sent("authorize", None, NOW))
    assert (asked.state, asked.code) == (State.DECLINED, "card_declined")


def test_voided_before_it_settled(shop: Shop) -> None:
    outcome = shop.gateway.authorize("op-authorize", 5000, "EUR", "tok_async", {})
    assert shop.gateway.void("op-voiding", outcome.provider_ref or "").state is State.DONE
    assert shop.gateway.advance() == 0
    asked = shop.gateway.ask("op-authorize", Sent("authorize", None, NOW))
    assert (asked.state, asked.code) == (State.FAILED, "already_voided")


def test_a_short_hold(shop: Shop) -> None:
    outcome = shop.gateway.authorize("op-authorize", 5000, "EUR", "tok_expires_soon", {})
    assert outcome.capture_before == NOW + timedelta(minutes=10)
    shop.now += timedelta(minutes=10)
    refused = shop.gateway.capture("op-capture", outcome.provider_ref or "", 5000)
    assert (refused.state, refused.code) == (State.FAILED, "expired")


def test_a_dispute_lost_with_evidence(shop: Shop) -> None:
    ref = shop.captured("tok_dispute_lost")
    (dispute,) = shop.gateway.disputes(NOW).items
    assert dispute.reason == "product_not_received"
    shop.gateway.submit_evidence("op-evidence", dispute.ref, {"other": "It was delivered."})
    shop.gateway.advance()
    assert shop.gateway.disputes(NOW).items[0].status == "lost"
    # No refund on top of a lost dispute: the customer would be paid twice.
    assert shop.gateway.refund("op-refund", ref, 1, "return").code == "disputed"


def test_a_payout_waits_until_there_is_something_to_pay(shop: Shop) -> None:
    assert shop.gateway.pay_out() == ()
    shop.captured("tok_dispute")
    # The disputed amount is withdrawn, the fee stays: the shop owes the provider.
    assert shop.gateway.pay_out() == ()
    shop.captured("tok_ok", 10_000, n=1)
    assert len(shop.gateway.pay_out()) == 1
    assert shop.gateway.pay_out() == ()
    (payout,) = shop.gateway.payouts(NOW).items
    assert payout.amount_minor == 10_000 - 190 - 95


def test_payouts_by_currency(shop: Shop) -> None:
    for n, currency in enumerate(("EUR", "JPY", "KWD")):
        outcome = shop.gateway.authorize(f"op-authorize-{n}", 1000, currency, "tok_ok", {})
        shop.gateway.capture(f"op-capture-{n}", outcome.provider_ref or "", 1000)
    assert len(shop.gateway.pay_out()) == 3
    payouts = shop.gateway.payouts(NOW).items
    assert {(p.currency, p.amount_minor) for p in payouts} == {
        ("EUR", 981), ("JPY", 981), ("KWD", 981),
    }  # fmt: skip


def test_every_token_of_the_table_and_any_other_makers(shop: Shop) -> None:
    assert shop.gateway.authorize("op-tau-like", 1, "EUR", "credit_card_9", {}).state is State.DONE
    import common.gateways.behaviours as module

    documented = module.__doc__ or ""
    for token in BEHAVIOURS:
        assert token in documented or "_timeout_" in token
        outcome = shop.gateway.authorize(f"op-of-{token}", 100, "EUR", token, {})
        assert outcome.state is not State.FAILED
