"""What only Stripe does: keys, the library, network failures, webhooks, its own words."""

import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import stripe

from common.errors import InvalidParameters
from common.gateways.port import (
    GatewayMisconfigured,
    GatewayUnavailable,
    NoticeRefused,
    Outcome,
    PaymentGateway,
    Sent,
    State,
)
from common.gateways.stripe_client import API_VERSION
from common.gateways.stripe_gateway import StripeGateway
from common.gateways.stripe_words import evidence, line, refusal
from tests.support.fake_stripe import START, FakeStripe

NOW = datetime.fromtimestamp(START, UTC)
SENT = Sent("authorize", None, NOW)


@pytest.fixture(scope="module")
def running() -> Iterator[FakeStripe]:
    with FakeStripe() as started:
        yield started


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library would wait half a second before it tries again."""
    monkeypatch.setattr(stripe.HTTPClient, "INITIAL_DELAY", 0.01)


@pytest.fixture
def fake(running: FakeStripe) -> FakeStripe:
    return running.reset()


@pytest.fixture
def gateway(fake: FakeStripe) -> StripeGateway:
    return StripeGateway("rk_test_good", api_base=fake.url, webhook_secret=fake.webhook_secret)


def authorize(gateway: PaymentGateway, method: str = "pm_card_visa") -> Outcome:
    return gateway.authorize("op-authorize", 5000, "EUR", method, {"order": "W1"})


def test_the_version_is_that_of_the_library() -> None:
    assert stripe._api_version._ApiVersion.CURRENT == API_VERSION


def test_what_is_sent(fake: FakeStripe, gateway: StripeGateway) -> None:
    outcome = authorize(gateway, "cus_1:pm_card_visa")
    sent = fake.headers[-1]
    assert sent["idempotency-key"] == "op-authorize"
    assert sent["stripe-version"] == API_VERSION
    assert "telemetry" not in "".join(sent)
    intent = fake.objects[outcome.provider_ref or ""]
    assert intent["metadata"] == {"order": "W1", "shop_op_id": "op-authorize"}
    assert (intent["capture_method"], intent["customer"]) == ("manual", "cus_1")


@pytest.mark.parametrize("key", [
    "sk_live_abcdefgh", "rk_live_abcdefgh", "sk_org_live_abcdefgh",
])  # fmt: skip
def test_live_keys_are_refused_unless_allowed(key: str) -> None:
    with pytest.raises(GatewayMisconfigured) as refused:
        StripeGateway(key)
    assert "abcdefgh" not in f"{refused.value.message} {refused.value.next}"
    allowed = StripeGateway(key, allow_live=True)
    assert repr(allowed) == "StripeGateway(live)"
    with pytest.raises(GatewayMisconfigured):
        StripeGateway(key, allow_live=True, api_base="https://stripe.example")


@pytest.mark.parametrize("key", ["", "pk_test_abcdefgh", "whsec_abcdefgh", " sk_live_abcdefgh"])
def test_other_keys_are_refused(key: str) -> None:
    for allow_live in (False, True):
        with pytest.raises(GatewayMisconfigured):
            StripeGateway(key, allow_live=allow_live)


@pytest.mark.parametrize("address", [
    "http://stripe.example", "ftp://127.0.0.1", "http://127.0.0.1.example", "stripe",
])  # fmt: skip
def test_a_key_is_not_sent_just_anywhere(address: str) -> None:
    with pytest.raises(GatewayMisconfigured):
        StripeGateway("sk_test_good", api_base=address)


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "stripe", None)
    with pytest.raises(GatewayMisconfigured) as missing:
        StripeGateway("sk_test_good")
    assert "shop[stripe]" in missing.value.next


def test_a_key_that_stripe_refuses(fake: FakeStripe) -> None:
    gateway = StripeGateway("rk_test_wrong", api_base=fake.url)
    for call in (
        lambda: authorize(gateway),
        lambda: gateway.ask("op-authorize", SENT),
        lambda: gateway.disputes(NOW),
    ):
        with pytest.raises(GatewayMisconfigured):
            call()
    assert not fake.effects


def test_a_busy_stripe_is_asked_again(fake: FakeStripe, gateway: StripeGateway) -> None:
    fake.lose("before", how=409, times=2)
    assert authorize(gateway).state is State.DONE
    assert (fake.requests["create_intent"], fake.effects["authorize"]) == (3, 1)


def test_an_error_after_the_effect_is_repaired_by_the_key(
    fake: FakeStripe, gateway: StripeGateway
) -> None:
    fake.lose("after", how=500, times=2)
    assert authorize(gateway).state is State.DONE
    assert (fake.requests["create_intent"], fake.effects["authorize"]) == (3, 1)


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_failing_stripe_leaves_the_outcome_unknown(
    fake: FakeStripe, gateway: StripeGateway, when: Any
) -> None:
    fake.lose(when, how=503, times=3)
    outcome = authorize(gateway)
    assert (outcome.state, outcome.code) == (State.UNKNOWN, "provider_error")
    asked = gateway.ask("op-authorize", SENT)
    assert asked.state is (State.DONE if when == "after" else State.NOT_FOUND)
    assert fake.requests["create_intent"] == 3


def test_too_many_calls_did_nothing(fake: FakeStripe, gateway: StripeGateway) -> None:
    fake.lose("before", how=429)
    with pytest.raises(GatewayUnavailable):
        authorize(gateway)
    assert not fake.effects
    assert authorize(gateway).state is State.DONE


def test_a_time_out_after_the_effect(fake: FakeStripe, gateway: StripeGateway) -> None:
    hasty = StripeGateway("rk_test_good", api_base=fake.url, timeout_s=1)
    fake.lose("after", how="hang", times=3)
    outcome = authorize(hasty)
    assert (outcome.state, outcome.code) == (State.UNKNOWN, "timeout")
    assert gateway.ask("op-authorize", SENT).state is State.DONE
    assert fake.effects["authorize"] == 1


def test_nobody_answers_at_all() -> None:
    with FakeStripe() as gone:
        gateway = StripeGateway("rk_test_good", api_base=gone.url)
    stopped = authorize(gateway)
    assert stopped.state is State.UNKNOWN
    assert gateway.ask("op-authorize", SENT).state is State.UNKNOWN
    with pytest.raises(GatewayUnavailable):
        gateway.payouts(NOW)


def test_asking_sends_nothing(fake: FakeStripe, gateway: StripeGateway) -> None:
    ref = authorize(gateway).provider_ref or ""
    posts = sum(fake.requests.values())
    for sent in (SENT, Sent("capture", ref, NOW), Sent("void", ref, NOW), Sent("refund", ref, NOW)):
        gateway.ask("op-of-nobody", sent)
    assert sum(fake.requests.values()) == posts
    for odd in (Sent("authorize", ref, NOW), Sent("capture", None, NOW)):
        with pytest.raises(InvalidParameters):
            gateway.ask("op-of-nobody", odd)


def test_an_old_key_that_stripe_forgot_is_still_answered(
    fake: FakeStripe, gateway: StripeGateway
) -> None:
    """After 24 hours sending again would authorize twice; asking does not."""
    done = authorize(gateway)
    fake.pass_time(2 * 86_400)
    fake.keys.clear()
    assert gateway.ask("op-authorize", SENT) == done
    assert fake.effects["authorize"] == 1
    # And it really would: this is why RESEND_WITHIN is a rule.
    authorize(gateway)
    assert fake.effects["authorize"] == 2


def test_too_many_payments_to_look_through_is_no_answer(
    gateway: StripeGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    authorize(gateway)
    for n in range(3):
        gateway.authorize(f"op-another-{n}", 1, "EUR", "pm_card_visa", {})
    monkeypatch.setattr("common.gateways.stripe_gateway.PAGE", 1)
    monkeypatch.setattr("common.gateways.stripe_gateway._MOST_PAGES", 3)
    assert gateway.ask("op-authorize", SENT).code == "too_many"
    assert gateway.ask("op-of-nobody", SENT).state is State.UNKNOWN


def test_a_challenge_counts_as_declined(fake: FakeStripe, gateway: StripeGateway) -> None:
    outcome = authorize(gateway, "pm_card_authenticationRequired")
    assert (outcome.state, outcome.code) == (State.DECLINED, "authentication_required")
    assert not fake.effects


@pytest.mark.parametrize(("amount", "currency"), [
    (500, "ISK"), (500, "UGX"), (500, "MGA"), (5124, "KWD"),
])  # fmt: skip
def test_amounts_stripe_would_read_otherwise(
    fake: FakeStripe, gateway: StripeGateway, amount: int, currency: str
) -> None:
    with pytest.raises(InvalidParameters):
        gateway.authorize("op-authorize", amount, currency, "pm_card_visa", {})
    assert not fake.requests


@pytest.mark.parametrize(("amount", "currency"), [(500, "JPY"), (5120, "KWD")])
def test_amounts_in_their_own_units(
    fake: FakeStripe, gateway: StripeGateway, amount: int, currency: str
) -> None:
    outcome = gateway.authorize("op-authorize", amount, currency, "pm_card_visa", {})
    assert fake.objects[outcome.provider_ref or ""]["amount"] == amount


@pytest.mark.parametrize("method", ["tok_ok", "pm_", "cus_1:", "cus_1:pm_1:pm_2", "pm_1&amount=1"])
def test_odd_methods(gateway: StripeGateway, method: str) -> None:
    with pytest.raises(InvalidParameters):
        authorize(gateway, method)


class TestWebhooks:
    def event(self, fake: FakeStripe, gateway: StripeGateway) -> dict[str, Any]:
        ref = authorize(gateway, "pm_card_createDispute").provider_ref or ""
        gateway.capture("op-capture", ref, 5000)
        (event,) = fake.events("charge.dispute.created")
        return event

    def test_a_signed_one(self, fake: FakeStripe, gateway: StripeGateway) -> None:
        event = self.event(fake, gateway)
        notice = gateway.notice(*fake.signed(event))
        assert (notice.event_id, notice.kind) == (event["id"], "charge.dispute.created")
        assert (notice.at, notice.op_id) == (NOW, "op-capture")
        assert notice.payment_ref == fake.objects[notice.ref]["payment_intent"]
        assert notice.facts["amount"] == 5000
        (paid,) = fake.events("payment_intent.succeeded")
        seen = gateway.notice(*fake.signed(paid))
        assert seen.ref == seen.payment_ref == notice.payment_ref

    def test_forged_stale_or_of_the_other_mode(
        self, fake: FakeStripe, gateway: StripeGateway
    ) -> None:
        event = self.event(fake, gateway)
        body, signature = fake.signed(event)
        for payload, header in (
            (body, ""),
            (body, "t=1,v1=00"),
            (body, "nonsense"),
            (body.replace(b"5000", b"1"), signature),
            (body + b" ", signature),
            fake.signed(event, age=301),
            fake.signed(event, secret="whsec_other"),
            fake.signed({**event, "livemode": True}),
        ):
            with pytest.raises(NoticeRefused):
                gateway.notice(payload, header)

    def test_without_a_secret_nothing_is_believed(self, fake: FakeStripe) -> None:
        gateway = StripeGateway("rk_test_good", api_base=fake.url)
        with pytest.raises(NoticeRefused):
            gateway.notice(*fake.signed({"id": "evt_1"}))


def test_evidence_in_the_fields_stripe_has_for_text() -> None:
    fields = evidence({
        "tracking": "1Z 999 AA1 01", "refund_policy": "30 days.", "proof_of_delivery": "Signed.",
        "invoice": "One lamp.",
    })  # fmt: skip
    assert fields == {
        "shipping_tracking_number": "1Z 999 AA1 01",
        "refund_policy_disclosure": "30 days.",
        "uncategorized_text": "Invoice:\nOne lamp.\n\nProof of delivery:\nSigned.",
    }
    assert "Tracking:\nDelivered; signed" in evidence({"tracking": "Delivered; signed."})[
        "uncategorized_text"
    ]  # fmt: skip


def test_refusals_carry_no_card_number() -> None:
    told = {"code": "odd", "message": "Card 4242424242424242 of " + "x" * 300}
    outcome = refusal(told, "pi_1")
    assert (outcome.state, outcome.code) == (State.FAILED, "refused")
    assert "4242" not in outcome.message
    assert len(outcome.message) <= 200


@pytest.mark.parametrize(("entry", "kind"), [
    ({"type": "stripe_fee"}, "fee"),
    ({"type": "refund_failure", "reporting_category": "refund_failure"}, "adjustment"),
    ({"type": "adjustment", "reporting_category": "dispute_reversal"}, "dispute"),
    ({"type": "something_new"}, "adjustment"),
])  # fmt: skip
def test_lines_of_a_payout(entry: dict[str, Any], kind: str) -> None:
    found = line({"id": "txn_1", "amount": -5, "fee": 0, "source": None, **entry})
    assert (found.kind, found.provider_ref, found.amount_minor) == (kind, "txn_1", -5)


def test_a_dispute_follows_its_payment_for_days(fake: FakeStripe, gateway: StripeGateway) -> None:
    ref = authorize(gateway, "pm_card_createDispute").provider_ref or ""
    gateway.capture("op-capture", ref, 5000)
    fake.pass_time(3 * 86_400)
    assert gateway.disputes(NOW).items[0].opened_at == NOW
    assert gateway.disputes(NOW + timedelta(seconds=1)).items == ()
