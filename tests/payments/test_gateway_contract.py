"""What every payment gateway must do: the same tests for the simulator and for Stripe's library."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol, get_args

import pytest

from common.errors import InvalidParameters
from common.gateways.port import (
    FAILURES,
    EvidenceKind,
    Kind,
    LineKind,
    OperationMismatch,
    Outcome,
    PaymentGateway,
    Sent,
    State,
)
from common.gateways.simulator import Simulator
from common.gateways.stripe_gateway import StripeGateway
from common.tables.payments import (
    DISPUTE_REASONS,
    DISPUTE_STATES,
    EVIDENCE_KINDS,
    PAYOUT_KINDS,
)
from tests.support.fake_stripe import START, FakeStripe

NOW = datetime.fromtimestamp(START, UTC)
METHODS = (
    "ok", "declined", "no_money", "async", "dispute", "inquiry", "refund_async", "refund_failed",
)  # fmt: skip


class Bench(Protocol):
    """A gateway, and the strings of the provider behind it."""

    gateway: PaymentGateway

    def method(self, behaviour: str) -> str: ...
    def losing(self, kind: str, fate: str) -> str: ...
    def pass_time(self, by: timedelta) -> None: ...
    def advance(self) -> None: ...
    def pay_out(self) -> None: ...
    def totals(self, ref: str) -> tuple[int, int, int]: ...


class SimulatorBench:
    def __init__(self, folder: Path) -> None:
        self.now = NOW
        self.simulator = Simulator(folder / "provider.db", seed=7, clock=lambda: self.now)
        self.gateway: PaymentGateway = self.simulator

    def method(self, behaviour: str) -> str:
        return "tok_insufficient_funds" if behaviour == "no_money" else f"tok_{behaviour}"

    def losing(self, kind: str, fate: str) -> str:
        infix = "" if kind == "authorize" else f"{kind}_"
        return f"tok_{infix}timeout_{fate}"

    def pass_time(self, by: timedelta) -> None:
        self.now += by

    def advance(self) -> None:
        self.simulator.advance()

    def pay_out(self) -> None:
        self.simulator.pay_out()

    def totals(self, ref: str) -> tuple[int, int, int]:
        return self.simulator.totals(ref)


class StripeBench:
    def __init__(self, fake: FakeStripe) -> None:
        self.fake = fake
        self.gateway: PaymentGateway = StripeGateway(
            "rk_test_good", api_base=fake.url, webhook_secret=fake.webhook_secret
        )

    def method(self, behaviour: str) -> str:
        names = dict(zip(METHODS, (
            "visa", "chargeDeclined", "chargeDeclinedInsufficientFunds", "processing",
            "createDispute", "createDisputeInquiry", "pendingRefund", "refundFail",
        ), strict=True))  # fmt: skip
        return f"pm_card_{names[behaviour]}"

    def losing(self, kind: str, fate: str) -> str:
        paths = {
            "authorize": "intents$", "capture": "capture$", "void": "cancel$", "refund": "refunds$",
        }  # fmt: skip
        self.fake.lose("after" if fate == "done" else "before", calls=paths[kind])
        return "pm_card_visa"

    def pass_time(self, by: timedelta) -> None:
        self.fake.pass_time(int(by.total_seconds()))

    def advance(self) -> None:
        self.fake.advance()

    def pay_out(self) -> None:
        self.fake.pay_out()

    def totals(self, ref: str) -> tuple[int, int, int]:
        intent = self.fake.objects[ref]
        charge = self.fake.objects.get(intent["latest_charge"] or "", {})
        held = intent["amount"] if intent["status"] in {"requires_capture", "succeeded"} else 0
        return held, charge.get("amount_captured", 0), charge.get("amount_refunded", 0)


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeStripe]:
    with FakeStripe() as running:
        yield running


@pytest.fixture(params=["simulator", "stripe"])
def bench(request: pytest.FixtureRequest, tmp_path: Path, fake: FakeStripe) -> Bench:
    return SimulatorBench(tmp_path) if request.param == "simulator" else StripeBench(fake.reset())


def authorized(
    bench: Bench, method: str = "ok", op: str = "op-authorize", amount: int = 5000
) -> str:
    token = bench.method(method) if method in METHODS else method
    outcome = bench.gateway.authorize(op, amount, "EUR", token, {"order": "W1"})
    assert outcome.state is State.DONE, outcome
    assert outcome.provider_ref
    return outcome.provider_ref


def captured(bench: Bench, method: str = "ok", amount: int = 5000) -> str:
    ref = authorized(bench, method, amount=amount)
    assert bench.gateway.capture("op-capture", ref, amount).state is State.DONE
    return ref


def failure(outcome: Outcome) -> str:
    assert outcome.state is State.FAILED, outcome
    assert outcome.code in FAILURES
    assert outcome.message
    return outcome.code


class TestContract:
    def test_authorize_then_capture_a_part(self, bench: Bench) -> None:
        outcome = bench.gateway.authorize("op-authorize", 5000, "EUR", bench.method("ok"), {})
        assert outcome.state is State.DONE
        assert outcome.capture_before == NOW + timedelta(days=7)
        ref = outcome.provider_ref or ""
        assert bench.totals(ref) == (5000, 0, 0)

        taken = bench.gateway.capture("op-capture", ref, 3000)
        assert taken == Outcome(State.DONE, ref, fee_minor=57)
        assert bench.totals(ref) == (5000, 3000, 0)
        # A capture is final: the rest was released.
        assert failure(bench.gateway.capture("op-capture-2", ref, 1000)) == "already_captured"
        assert failure(bench.gateway.void("op-voiding", ref)) == "already_captured"
        assert bench.totals(ref) == (5000, 3000, 0)

    def test_declined(self, bench: Bench) -> None:
        for method, code in (("declined", None), ("no_money", "insufficient_funds")):
            outcome = bench.gateway.authorize(
                f"op-declined-{method}", 5000, "EUR", bench.method(method), {}
            )
            assert outcome.state is State.DECLINED
            assert outcome.provider_ref
            assert outcome.code == (code or outcome.code)
            asked = bench.gateway.ask(f"op-declined-{method}", Sent("authorize", None, NOW))
            assert asked == outcome
            capture = bench.gateway.capture(f"op-capture-{method}", outcome.provider_ref, 1)
            assert failure(capture) == "refused"

    def test_over_capture_is_refused(self, bench: Bench) -> None:
        ref = authorized(bench)
        assert failure(bench.gateway.capture("op-capture", ref, 5001)) == "amount_too_large"
        assert bench.totals(ref) == (5000, 0, 0)

    def test_void(self, bench: Bench) -> None:
        ref = authorized(bench)
        assert bench.gateway.void("op-void-11", ref) == Outcome(State.DONE, ref)
        assert failure(bench.gateway.void("op-void-2", ref)) == "already_voided"
        assert failure(bench.gateway.capture("op-capture", ref, 1)) == "already_voided"
        assert failure(bench.gateway.refund("op-refund", ref, 1, "return")) == "not_captured"
        # An authorization that was made stays made, whatever came of it later.
        assert bench.gateway.ask("op-authorize", Sent("authorize", None, NOW)).state is State.DONE

    def test_capture_after_the_hold_lapsed(self, bench: Bench) -> None:
        ref = authorized(bench)
        bench.pass_time(timedelta(days=7))
        assert failure(bench.gateway.capture("op-capture", ref, 5000)) == "expired"
        assert failure(bench.gateway.void("op-voiding", ref)) == "expired"
        assert bench.totals(ref) == (0, 0, 0)

    def test_capture_just_before_the_hold_lapses(self, bench: Bench) -> None:
        ref = authorized(bench)
        bench.pass_time(timedelta(days=7) - timedelta(seconds=1))
        assert bench.gateway.capture("op-capture", ref, 5000).state is State.DONE

    def test_refunds_never_exceed_what_was_captured(self, bench: Bench) -> None:
        ref = captured(bench)
        first = bench.gateway.refund("op-refund-1", ref, 2000, "return")
        assert first.state is State.DONE
        assert first.provider_ref not in {None, ref}
        assert failure(bench.gateway.refund("op-refund-2", ref, 3001, "x")) == "amount_too_large"
        assert bench.gateway.refund("op-refund-3", ref, 3000, "duplicate").state is State.DONE
        assert failure(bench.gateway.refund("op-refund-4", ref, 1, "x")) == "already_refunded"
        assert bench.totals(ref) == (5000, 5000, 5000)

    def test_the_same_operation_twice_is_one(self, bench: Bench) -> None:
        gateway, token = bench.gateway, bench.method("ok")
        calls = [gateway.authorize("op-authorize", 5000, "EUR", token, {}) for _ in range(2)]
        ref = calls[0].provider_ref or ""
        captures = [gateway.capture("op-capture", ref, 4000) for _ in range(2)]
        refunds = [gateway.refund("op-refund", ref, 1500, "return") for _ in range(2)]
        for first, second in (calls, captures, refunds):
            assert first == second
        assert bench.totals(ref) == (5000, 4000, 1500)

    def test_a_refusal_is_repeated_too(self, bench: Bench) -> None:
        ref = captured(bench)
        for _ in range(2):
            assert failure(bench.gateway.refund("op-refund", ref, 9000, "x")) == "amount_too_large"

    def test_other_parameters_under_the_same_operation(self, bench: Bench) -> None:
        ref = authorized(bench)
        with pytest.raises(OperationMismatch):
            bench.gateway.authorize("op-authorize", 5001, "EUR", bench.method("ok"), {})
        with pytest.raises(OperationMismatch):
            bench.gateway.void("op-authorize", ref)
        bench.gateway.capture("op-capture", ref, 4000)
        with pytest.raises(OperationMismatch):
            bench.gateway.capture("op-capture", ref, 3999)
        assert bench.totals(ref) == (5000, 4000, 0)

    @pytest.mark.parametrize("fate", ["done", "lost"])
    def test_authorize_without_an_answer(self, bench: Bench, fate: str) -> None:
        token = bench.losing("authorize", fate)
        call: Any = lambda: bench.gateway.authorize("op-authorize", 5000, "EUR", token, {})  # noqa: E731
        assert call().state is State.UNKNOWN
        sent = Sent("authorize", None, NOW)
        asked = bench.gateway.ask("op-authorize", sent)
        assert asked.state is (State.DONE if fate == "done" else State.NOT_FOUND)
        again = call()
        assert again.state is State.DONE
        assert asked in {again, Outcome(State.NOT_FOUND)}
        assert bench.gateway.ask("op-authorize", sent) == again
        assert bench.totals(again.provider_ref or "") == (5000, 0, 0)

    @pytest.mark.parametrize("fate", ["done", "lost"])
    @pytest.mark.parametrize("kind", ["capture", "void", "refund"])
    def test_later_steps_without_an_answer(self, bench: Bench, kind: Kind, fate: str) -> None:
        ref = authorized(bench, bench.losing(kind, fate))
        if kind == "refund":
            assert bench.gateway.capture("op-capture", ref, 5000).state is State.DONE
        calls: dict[str, Any] = {
            "capture": lambda: bench.gateway.capture("op-a-step", ref, 5000),
            "void": lambda: bench.gateway.void("op-a-step", ref),
            "refund": lambda: bench.gateway.refund("op-a-step", ref, 700, "return"),
        }
        expected = {"capture": (5000, 5000, 0), "void": (0, 0, 0), "refund": (5000, 5000, 700)}
        before = bench.totals(ref)
        assert calls[kind]().state is State.UNKNOWN
        assert bench.totals(ref) == (expected[kind] if fate == "done" else before)
        asked = bench.gateway.ask("op-a-step", Sent(kind, ref, NOW))
        assert asked.state is (State.DONE if fate == "done" else State.NOT_FOUND)
        again = calls[kind]()
        assert again.state is State.DONE
        assert bench.gateway.ask("op-a-step", Sent(kind, ref, NOW)) == again
        assert bench.totals(ref) == expected[kind]

    def test_asking_changes_nothing(self, bench: Bench) -> None:
        ref = captured(bench)
        for kind in ("capture", "void", "refund"):
            asked = bench.gateway.ask("op-never-sent", Sent(kind, ref, NOW))
            assert asked == Outcome(State.NOT_FOUND)
        asked = bench.gateway.ask("op-never-sent", Sent("authorize", None, NOW))
        assert asked == Outcome(State.NOT_FOUND)
        assert bench.totals(ref) == (5000, 5000, 0)

    def test_pending_until_the_provider_says(self, bench: Bench) -> None:
        token = bench.method("async")
        outcome = bench.gateway.authorize("op-authorize", 5000, "EUR", token, {})
        assert outcome.state is State.PENDING
        sent = Sent("authorize", None, NOW)
        assert bench.gateway.ask("op-authorize", sent).state is State.PENDING
        ref = outcome.provider_ref or ""
        assert failure(bench.gateway.capture("op-early-capture", ref, 5000)) == "refused"
        bench.advance()
        assert bench.gateway.ask("op-authorize", sent).state is State.DONE
        assert bench.gateway.capture("op-capture", ref, 5000).state is State.DONE

    def test_a_refund_that_waits(self, bench: Bench) -> None:
        ref = captured(bench, "refund_async")
        refund = bench.gateway.refund("op-refund", ref, 5000, "return")
        assert refund.state is State.PENDING
        # What waits is no longer there to refund.
        assert failure(bench.gateway.refund("op-refund-2", ref, 1, "x")) == "already_refunded"
        bench.advance()
        asked = bench.gateway.ask("op-refund", Sent("refund", ref, NOW))
        assert asked == Outcome(State.DONE, refund.provider_ref)

    def test_a_refund_that_comes_back(self, bench: Bench) -> None:
        ref = captured(bench, "refund_failed")
        refund = bench.gateway.refund("op-refund", ref, 5000, "return")
        bench.advance()
        asked = bench.gateway.ask("op-refund", Sent("refund", ref, NOW))
        assert failure(asked) == "refund_failed"
        assert asked.provider_ref == refund.provider_ref
        assert bench.totals(ref) == (5000, 5000, 0)

    def test_unknown_references(self, bench: Bench) -> None:
        gateway = bench.gateway
        assert failure(gateway.capture("op-nothing-1", "pi_nothing", 1)) == "no_such_payment"
        assert failure(gateway.void("op-nothing-2", "pi_nothing")) == "no_such_payment"
        assert failure(gateway.refund("op-nothing-3", "pi_nothing", 1, "x")) == "no_such_payment"
        assert failure(gateway.accept_dispute("op-nothing-4", "dp_nothing")) == "no_such_dispute"
        method = "tok_of_nobody" if gateway.name == "simulator" else "pm_nothing"
        outcome = gateway.authorize("op-nothing-5", 1, "EUR", method, {})
        assert failure(outcome) == "no_such_method"

    def test_a_dispute_won_with_evidence(self, bench: Bench) -> None:
        gateway = bench.gateway
        ref = captured(bench, "dispute")
        (dispute,) = gateway.disputes(NOW).items
        assert (dispute.payment_ref, dispute.status) == (ref, "needs_response")
        assert (dispute.amount_minor, dispute.currency) == (5000, "EUR")
        assert dispute.reason in DISPUTE_REASONS
        assert dispute.respond_by == NOW + timedelta(days=7)
        assert failure(gateway.refund("op-refund", ref, 100, "return")) == "disputed"

        evidence: dict[EvidenceKind, str] = {"tracking": "1Z 999 AA1", "invoice": "One lamp."}
        outcome = gateway.submit_evidence("op-evidence", dispute.ref, evidence)
        assert outcome == Outcome(State.DONE, dispute.ref)
        assert gateway.submit_evidence("op-evidence", dispute.ref, evidence) == outcome
        asked = gateway.ask("op-evidence", Sent("submit_evidence", dispute.ref, NOW))
        assert asked == outcome
        late = gateway.submit_evidence("op-more-evidence", dispute.ref, evidence)
        assert failure(late) == "dispute_closed"
        assert gateway.disputes(NOW).items[0].status == "under_review"
        bench.advance()
        assert gateway.disputes(NOW).items[0].status == "won"
        assert gateway.disputes(NOW + timedelta(days=1)).items == ()

    def test_a_dispute_accepted(self, bench: Bench) -> None:
        gateway = bench.gateway
        captured(bench, "dispute")
        (dispute,) = gateway.disputes(NOW).items
        sent = Sent("accept_dispute", dispute.ref, NOW)
        assert gateway.ask("op-accept", sent).state is State.NOT_FOUND
        outcome = gateway.accept_dispute("op-accept", dispute.ref)
        assert outcome == Outcome(State.DONE, dispute.ref) == gateway.ask("op-accept", sent)
        assert gateway.disputes(NOW).items[0].status == "lost"
        assert failure(gateway.accept_dispute("op-accept-2", dispute.ref)) == "dispute_closed"

    def test_an_inquiry_moves_no_money(self, bench: Bench) -> None:
        gateway = bench.gateway
        ref = captured(bench, "inquiry")
        (inquiry,) = gateway.disputes(NOW).items
        assert inquiry.status == "inquiry"
        answer = gateway.submit_evidence("op-evidence", inquiry.ref, {"other": "All was well."})
        assert answer.state is State.DONE
        bench.advance()
        assert gateway.disputes(NOW).items[0].status == "prevented"
        assert gateway.refund("op-refund", ref, 100, "goodwill").state is State.DONE

    def test_payout_lines_add_up(self, bench: Bench) -> None:
        gateway = bench.gateway
        refs = [authorized(bench, "ok", f"op-authorize-{n}") for n in range(3)]
        for n, ref in enumerate(refs):
            assert gateway.capture(f"op-capture-{n}", ref, 5000).state is State.DONE
        refund = gateway.refund("op-refund", refs[0], 1200, "return")
        assert gateway.payouts(NOW).items == ()
        bench.pay_out()
        (payout,) = gateway.payouts(NOW).items
        assert sum(line.amount_minor - line.fee_minor for line in payout.lines) == (
            payout.amount_minor
        )
        assert payout.amount_minor == 3 * (5000 - 95) - 1200
        assert (payout.currency, payout.arrived_on) == ("EUR", NOW.date())
        lines = {(line.kind, line.provider_ref, line.amount_minor) for line in payout.lines}
        expected = {("charge", ref, 5000) for ref in refs}
        assert lines == expected | {("refund", refund.provider_ref, -1200)}
        assert gateway.payouts(NOW + timedelta(days=1)).items == ()

    def test_a_lost_dispute_in_a_payout(self, bench: Bench) -> None:
        captured(bench, "dispute")
        ref = authorized(bench, "ok", "op-authorize-2")
        bench.gateway.capture("op-capture-2", ref, 5000)
        (dispute,) = bench.gateway.disputes(NOW).items
        bench.pay_out()
        (payout,) = bench.gateway.payouts(NOW).items
        lines = [(line.kind, line.provider_ref, line.amount_minor) for line in payout.lines]
        assert ("dispute", dispute.ref, -5000) in lines
        assert payout.amount_minor == 5000 - 2 * 95

    def test_lists_go_on(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        for module in ("simulator", "simulator_books", "stripe_gateway"):
            monkeypatch.setattr(f"common.gateways.{module}.PAGE", 2)
        for n in range(5):
            ref = authorized(bench, "dispute", f"op-authorize-{n}", 1000 + n)
            bench.gateway.capture(f"op-capture-{n}", ref, 1000 + n)
            bench.pass_time(timedelta(minutes=1))
        seen, after = [], None
        for _ in range(3):
            page = bench.gateway.disputes(NOW, after)
            seen += [dispute.amount_minor for dispute in page.items]
            after = page.next
        assert after is None
        assert seen == [1004, 1003, 1002, 1001, 1000]
        # An operation is found behind the first page too.
        asked = bench.gateway.ask("op-authorize-0", Sent("authorize", None, NOW))
        assert asked.state is State.DONE

    def test_fifty_at_once_refund_no_more_than_there_is(self, bench: Bench) -> None:
        ref = captured(bench)
        with ThreadPoolExecutor(10) as pool:
            outcomes = list(
                pool.map(
                    lambda n: bench.gateway.refund(f"op-refund-{n}", ref, 300, "return"), range(50)
                )
            )
        done = [outcome for outcome in outcomes if outcome.state is State.DONE]
        assert len(done) == 16
        assert {o.code for o in outcomes if o not in done} == {"amount_too_large"}
        assert bench.totals(ref) == (5000, 5000, 4800)

    def test_one_operation_sent_by_many(self, bench: Bench) -> None:
        ref = authorized(bench)
        with ThreadPoolExecutor(10) as pool:
            outcomes = set(
                pool.map(lambda _: bench.gateway.capture("op-capture", ref, 4000), range(20))
            )
        assert [outcome.state for outcome in outcomes] == [State.DONE]
        assert bench.totals(ref) == (5000, 4000, 0)

    @pytest.mark.parametrize("amount", [0, -1, 10**15 + 1, True, 10.5])
    def test_amounts_no_provider_sees(self, bench: Bench, amount: Any) -> None:
        ref = captured(bench)
        for call in (
            lambda: bench.gateway.authorize("op-bad-amount", amount, "EUR", bench.method("ok"), {}),
            lambda: bench.gateway.capture("op-bad-amount", ref, amount),
            lambda: bench.gateway.refund("op-bad-amount", ref, amount, "return"),
        ):
            with pytest.raises(InvalidParameters):
                call()
        assert bench.totals(ref) == (5000, 5000, 0)

    def test_card_numbers_go_nowhere(self, bench: Bench) -> None:
        gateway, token, card = bench.gateway, bench.method("ok"), "4242 4242 4242 4242"
        ref = captured(bench)
        for call in (
            lambda: gateway.authorize("op-card-number", 1, "EUR", card, {}),
            lambda: gateway.authorize("op-card-number", 1, "EUR", token, {"note": card}),
            lambda: gateway.refund("op-card-number", ref, 1, card),
            lambda: gateway.submit_evidence("op-card-number", "dp_1", {"other": card}),
        ):
            with pytest.raises(InvalidParameters) as refused:
                call()
            assert "4242" not in str(refused.value.wire())

    def test_arguments_no_provider_sees(self, bench: Bench) -> None:
        gateway, token = bench.gateway, bench.method("ok")
        nothing: Any = {}
        odd: Any = {"gossip": "text"}
        for call in (
            lambda: gateway.authorize("short", 1, "EUR", token, {}),
            lambda: gateway.authorize("op-bad-thing", 1, "XXX", token, {}),
            lambda: gateway.authorize("op-bad-thing", 1, "EUR", token, {"note": "x" * 501}),
            lambda: gateway.capture("op-bad-thing", "pi_1/../refunds", 1),
            lambda: gateway.submit_evidence("op-bad-thing", "dp_1", nothing),
            lambda: gateway.submit_evidence("op-bad-thing", "dp_1", odd),
            lambda: gateway.submit_evidence("op-bad-thing", "dp_1", {"other": "  "}),
        ):
            with pytest.raises(InvalidParameters):
                call()


def test_the_port_speaks_the_words_of_the_tables() -> None:
    assert get_args(EvidenceKind) == EVIDENCE_KINDS
    assert get_args(LineKind) == PAYOUT_KINDS
    from common.gateways.stripe_words import dispute

    stripe_states = (
        "warning_needs_response", "warning_under_review", "warning_closed", "needs_response",
        "under_review", "won", "lost", "prevented", "appeal_needs_response", "appeal_under_review",
    )  # fmt: skip
    for status in stripe_states:
        found = {
            "id": "dp_1", "status": status, "reason": "general", "amount": 1, "currency": "eur",
            "created": START, "payment_intent": None,
        }  # fmt: skip
        assert dispute(found).status in DISPUTE_STATES


def test_an_outcome_survives_its_record() -> None:
    whole = Outcome(State.DONE, "pi_1", "code", "message", 12, NOW)
    for outcome in (whole, Outcome(State.UNKNOWN, code="timeout")):
        assert Outcome.read(outcome.record()) == outcome
