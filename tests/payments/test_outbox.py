"""The worker and a provider that loses answers: what is booked is what the provider did."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from common.background.outbox import LEASE, MOST_ATTEMPTS, OutboxWorker, take
from common.call import Call
from common.gateways.simulator import Simulator
from common.rules import funds, paid
from common.rules.disputed_at_provider import follow
from common.tables.orders import Order
from common.tables.payments import Outbox, Payment
from tests.payments.seed import ANA, Desk, authorized, delivered, order, token_method
from tests.support.shop import refused

REFUND = {"currency": "EUR", "reason": "return"}


@pytest.fixture
def provider(desk: Desk, tmp_path: Path) -> Simulator:
    return Simulator(tmp_path / "provider.db", clock=desk.clock)


@pytest.fixture
def worker(desk: Desk, provider: Simulator) -> OutboxWorker:
    return OutboxWorker(desk.shop.database, {"simulator": provider}, desk.clock)


async def settled(desk: Desk, worker: OutboxWorker, hours: int = 3) -> None:
    """Until nothing is due any more, though answers get lost."""
    for _ in range(hours * 4):
        await worker.drain()
        desk.clock.forward(minutes=15)


def paying(token: str, work: Callable[[Call], Payment] | None = None) -> Callable[[Call], Payment]:
    def seed(call: Call) -> Payment:
        token_method("tok-card", token)(call)
        return (work or authorized(method="tok-card"))(call)

    return seed


async def books(desk: Desk, provider: Simulator, id: str) -> None:
    """The provider's books and ours say the same."""

    def ours(session: Any) -> tuple[str | None, funds.Moved]:
        row = session.get_one(Payment, id)
        return row.provider_reference, funds.moved(session, [id], row.currency)[id]

    ref, moved = await desk.look(ours)
    _, captured, went_back = provider.totals(ref or "none")
    assert (moved.captured - moved.refunded) == captured - went_back
    assert (await desk.done_reading("get_ledger", currency="EUR"))["balanced"]


def never(*_: Any, **__: Any) -> Any:
    raise AssertionError("sent a second time")


FAULTS = ("ok", "timeout_done", "timeout_lost", "capture_timeout_done", "capture_timeout_lost",
          "refund_timeout_done", "refund_timeout_lost")  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
async def test_each_effect_happens_once_whatever_is_lost(
    desk: Desk, provider: Simulator, worker: OutboxWorker, fault: str
):
    made = await desk.seed(paying(f"tok_{fault}"))
    await settled(desk, worker)
    assert (await desk.payment(made.id))["status"] == "authorized"
    await desk.done("capture_payment", payment_id=made.id, amount_minor=9_000)
    await settled(desk, worker)
    back = await desk.done("refund_payment", payment_id=made.id, amount_minor=2_000, **REFUND)
    assert back["status"] == "pending"
    await settled(desk, worker)
    found = await desk.payment(made.id)
    assert found["refunds"][0]["status"] == "succeeded"
    assert found["unsettled"] == []
    assert provider.totals(found["provider_reference"])[1:] == (9_000, 2_000)
    await books(desk, provider, made.id)


@pytest.mark.parametrize("token", ["tok_declined", "tok_async_declined"])
async def test_a_declined_authorization_frees_the_order(
    desk: Desk, provider: Simulator, worker: OutboxWorker, token: str
):
    made = await desk.seed(paying(token))
    assert await desk.order_status("ord-1") == "awaiting"
    await worker.drain()
    provider.advance()
    await settled(desk, worker, hours=1)
    found = await desk.payment(made.id)
    assert (found["status"], found["decline_code"]) == ("declined", "card_declined")
    assert found["closed_at"]
    waiting = await desk.look(
        lambda s: funds.balance(s, desk.clock.now, funds.payment(made.id), "EUR").credits_pending
    )
    assert waiting == 0
    assert await desk.order_status("ord-1") == "not_paid"
    await refused(desk.client, "capture_payment", "rule_violation", payment_id=made.id)
    await desk.done("authorize_payment", order_id="ord-1")
    assert await desk.order_status("ord-1") == "authorized"


async def test_a_failed_refund_is_money_of_the_payment_again(
    desk: Desk, provider: Simulator, worker: OutboxWorker
):
    made = await desk.seed(paying("tok_refund_failed"))
    await worker.drain()
    await desk.done("capture_payment", payment_id=made.id)
    await worker.drain()
    await desk.done("refund_payment", payment_id=made.id, amount_minor=4_000, **REFUND)
    await worker.drain()
    assert (await desk.payment(made.id))["refundable_minor"] == 6_000
    provider.advance()
    await settled(desk, worker, hours=1)
    found = await desk.payment(made.id)
    assert found["refunds"][0]["status"] == "failed"
    assert (found["status"], found["refundable_minor"]) == ("captured", 10_000)
    assert await desk.order_status("ord-1") == "captured"


async def test_a_capture_that_failed_is_no_money(
    desk: Desk, provider: Simulator, worker: OutboxWorker
):
    """Somebody let the authorization go at the provider itself."""
    made = await desk.seed(paying("tok_ok"))
    await worker.drain()
    found = await desk.payment(made.id)
    provider.void("by-hand-1", found["provider_reference"])
    await desk.done("capture_payment", payment_id=made.id)
    assert await desk.order_status("ord-1") == "captured"
    await worker.drain()
    after = await desk.payment(made.id)
    assert (after["status"], after["refundable_minor"]) == ("failed", 0)
    assert await desk.order_status("ord-1") == "not_paid"
    await books(desk, provider, made.id)
    await desk.done("authorize_payment", order_id="ord-1")


async def test_a_charge_is_captured_once_it_is_authorized(
    desk: Desk, provider: Simulator, worker: OutboxWorker
):
    def charge(call: Call) -> Payment:
        order("ord-1")(call)
        return paid.charge(
            call, order_id="ord-1", customer_id=ANA, method_id="tok-card", amount_minor=10_000,
            currency="EUR",
        )  # fmt: skip

    made = await desk.seed(paying("tok_ok", charge))
    assert made.status == "created"
    await worker.drain()
    found = await desk.payment(made.id)
    assert (found["status"], found["unsettled"]) == ("captured", [])
    await books(desk, provider, made.id)


async def test_a_void_before_the_authorization_went_out(
    desk: Desk, provider: Simulator, worker: OutboxWorker
):
    made = await desk.seed(paying("tok_ok"))
    await desk.done("void_payment", payment_id=made.id)
    await worker.drain()
    found = await desk.payment(made.id)
    assert (found["status"], found["unsettled"]) == ("voided", [])
    assert provider.totals(found["provider_reference"])[0] == 0, "nothing stays held there"


async def test_a_killed_worker_is_asked_after_never_repeated(
    desk: Desk, provider: Simulator, worker: OutboxWorker
):
    """Sent and executed, and the worker died before it wrote that down."""
    made = await desk.seed(paying("tok_ok"))
    now = desk.clock.now
    (job,) = await desk.shop.database.run("payments", lambda s: take(s, now))
    provider.authorize(
        job.operation_id, job.amount_minor, job.currency, job.token or "", job.metadata
    )
    assert await worker.once() == 0, "leased"
    provider.authorize = never  # type: ignore[method-assign]
    desk.clock.forward(seconds=LEASE.total_seconds() + 1)
    assert await worker.drain() == 1
    assert (await desk.payment(made.id))["status"] == "authorized"


async def test_an_answer_that_never_comes_is_given_to_a_person(desk: Desk):
    class Silent(Simulator):
        def authorize(self, *_: Any, **__: Any) -> Any:
            raise TimeoutError

        ask = authorize

    made = await desk.seed(paying("tok_ok"))
    silent = Silent(desk.shop.settings.home / "silent.db", clock=desk.clock)
    worker = OutboxWorker(desk.shop.database, {"simulator": silent}, desk.clock)
    for _ in range(MOST_ATTEMPTS + 5):
        await worker.drain()
        desk.clock.forward(hours=1)
    row = await desk.look(lambda s: s.query(Outbox).one())
    assert (row.state, row.attempts) == ("failed", MOST_ATTEMPTS)
    listed = await desk.done_reading("list_unsettled")
    assert "a person has to look" in listed["operations"][0]["error"]
    status = await desk.look(lambda s: s.get_one(Payment, made.id).status)
    assert status == "created", "nobody knows: nothing is undone"


async def test_without_its_provider_nothing_is_lost(desk: Desk, provider: Simulator):
    made = await desk.seed(paying("tok_ok"))
    await OutboxWorker(desk.shop.database, {}, desk.clock).drain()
    assert (await desk.payment(made.id))["unsettled"] == ["authorize pending"]
    desk.clock.forward(hours=1)
    await OutboxWorker(desk.shop.database, {"simulator": provider}, desk.clock).drain()
    assert (await desk.payment(made.id))["status"] == "authorized"


@pytest.mark.parametrize(("token", "end"), [("tok_dispute", "won"), ("tok_dispute_lost", "lost")])
async def test_a_dispute_comes_goes_and_ends_with_the_provider(
    desk: Desk, provider: Simulator, worker: OutboxWorker, token: str, end: str
):
    made = await desk.seed(paying(token))
    await worker.drain()
    await desk.done("capture_payment", payment_id=made.id)
    await worker.drain()
    await desk.seed(delivered())
    database = desk.shop.database
    assert await follow(database, provider, desk.clock) == 1
    assert await follow(database, provider, desk.clock) == 0, "once"
    (row,) = (await desk.done_reading("list_disputes"))["disputes"]
    assert (row["status"], row["payment_id"]) == ("needs_response", made.id)
    await desk.done(
        "submit_dispute_evidence", dispute_id=row["dispute_id"], kinds=["proof_of_delivery"]
    )
    await worker.drain()
    (theirs,) = provider.disputes(desk.clock.now - timedelta(days=1)).items
    assert theirs.status == "under_review"
    assert await follow(database, provider, desk.clock) == 0
    provider.advance()
    assert await follow(database, provider, desk.clock) == 1
    found = await desk.done_reading("get_dispute", dispute_id=row["dispute_id"])
    assert found["status"] == end
    left = (await desk.payment(made.id))["refundable_minor"]
    assert left == (10_000 if end == "won" else 0)
    assert (await desk.done_reading("get_ledger", currency="EUR"))["balanced"]


async def test_an_inquiry_comes_as_an_inquiry(
    desk: Desk, provider: Simulator, worker: OutboxWorker
):
    made = await desk.seed(paying("tok_inquiry"))
    await worker.drain()
    await desk.done("capture_payment", payment_id=made.id)
    await worker.drain()
    assert await follow(desk.shop.database, provider, desk.clock) == 1
    found = await desk.payment(made.id)
    assert (found["disputes"][0]["state"], found["disputed_minor"]) == ("inquiry", 0)


async def test_every_answer_has_its_audit_record(
    desk: Desk, provider: Simulator, worker: OutboxWorker
):
    await desk.seed(paying("tok_ok"))
    await worker.drain()
    row = await desk.look(lambda s: (s.query(Outbox).one().audit_id, s.get_one(Order, "ord-1")))
    assert row[0].startswith("aud_")
    assert row[1].payment_status == "authorized"
