"""Many at once on one payment: each effect happens exactly once, on either database."""

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from common.background.outbox import LEASE, OutboxWorker, take
from common.gateways.port import Outcome
from common.gateways.simulator import Simulator
from common.rules import funds
from common.tables.payments import Payment, Refund
from tests.payments.seed import Desk, a_desk, authorized, charged, order, token_method
from tests.support.shop import call

REFUNDS, CAPTURES = 50, 200
REFUND = {"payment_id": "pay-1", "currency": "EUR", "reason": "return"}
ALLOWED = {"insufficient_funds", "rule_violation", "conflict", "busy"}


async def together(desk: Desk, tool: str, times: int, **arguments: Any) -> Counter[str]:
    answers = await asyncio.gather(
        *(call(desk.client, tool, **desk.key(), **arguments) for _ in range(times))
    )
    counted = Counter(answer.get("code", "done") for answer in answers)
    assert set(counted) <= ALLOWED | {"done"}, counted
    return counted


async def test_fifty_refunds_of_all_there_is(either: Desk):
    await either.seed(charged(amount=4_000))
    counted = await together(either, "refund_payment", REFUNDS, **REFUND, amount_minor=4_000)
    assert counted["done"] == 1
    found = await either.payment("pay-1")
    assert (found["refunded_minor"], found["refundable_minor"]) == (4_000, 0)
    assert len(found["refunds"]) == 1


async def test_fifty_refunds_under_one_key(either: Desk):
    await either.seed(charged(amount=40_000))
    answers = await asyncio.gather(
        *(
            call(
                either.client, "refund_payment", **REFUND, amount_minor=100,
                idempotency_key="one-intent-1",
            )
            for _ in range(REFUNDS)
        )
    )  # fmt: skip
    assert len({answer["refund_id"] for answer in answers}) == 1
    assert (await either.payment("pay-1"))["refunded_minor"] == 100


async def test_fifty_small_refunds_stop_at_what_was_captured(either: Desk):
    await either.seed(charged(amount=700))
    counted = await together(either, "refund_payment", REFUNDS, **REFUND, amount_minor=100)
    assert counted["done"] == 7, "no refund is lost to a race, and none is one too many"
    rows = await either.look(lambda s: s.query(Refund).count())
    assert rows == 7


async def test_two_hundred_captures(either: Desk):
    made = await either.seed(authorized(amount=10_000))
    counted = await together(either, "capture_payment", CAPTURES, payment_id=made.id)
    assert counted["done"] == 1
    captured = await either.look(lambda s: funds.captured(s, made.id, "EUR"))
    assert captured == 10_000
    assert (await either.look(lambda s: s.get_one(Payment, made.id))).status == "captured"


async def test_two_servers_on_one_file(sqlite_url: str, tmp_path: Path):
    """Two processes would each have a database of their own opened: so do these two."""
    async with (
        a_desk(tmp_path / "one", database_url=sqlite_url) as one,
        a_desk(tmp_path / "two", database_url=sqlite_url) as two,
    ):
        await one.seed(charged(amount=1_000))
        two._number = 500
        tally = await asyncio.gather(
            *(
                together(desk, "refund_payment", 10, **REFUND, amount_minor=100)
                for desk in (one, two)
            )
        )
        assert sum(each["done"] for each in tally) == 10
        assert (await one.payment("pay-1"))["refundable_minor"] == 0


# -- with the provider ----------------------------------------------------------------------------


class Counted(Simulator):
    """Counts what arrives at the provider."""

    arrived: Counter[str]

    def refund(self, op_id: str, *given: Any) -> Outcome:
        self.arrived[op_id] += 1
        return super().refund(op_id, *given)


def counted(desk: Desk, folder: Path) -> Counted:
    provider = Counted(folder / "provider.db", clock=desk.clock)
    provider.arrived = Counter()
    return provider


async def captured_with(desk: Desk, worker: OutboxWorker, token: str) -> str:
    """A captured payment that the provider knows."""
    made = await desk.seed(
        lambda c: (token_method("tok-card", token)(c), authorized(method="tok-card")(c))[1]
    )
    for _ in range(4):
        await worker.drain()
        desk.clock.forward(minutes=15)
    await desk.done("capture_payment", payment_id=made.id)
    for _ in range(4):
        await worker.drain()
        desk.clock.forward(minutes=15)
    return made.id


async def test_the_same_refund_after_its_worker_was_killed(either: Desk, tmp_path: Path):
    """Sent and done, and the worker died before it wrote that down; the agent, who got no answer
    either, repeats its call."""
    provider = counted(either, tmp_path)
    killed = OutboxWorker(either.shop.database, {"simulator": provider}, either.clock)
    id = await captured_with(either, killed, "tok_ok")
    wanted = REFUND | {"payment_id": id, "amount_minor": 3_000, "idempotency_key": "one-refund-1"}
    first = await call(either.client, "refund_payment", **wanted)
    now = either.clock.now
    (job,) = await either.shop.database.run("payments", lambda s: take(s, now))
    provider.refund(job.operation_id, job.provider_ref or "", job.amount_minor, job.reason)
    again = await call(either.client, "refund_payment", **wanted)
    assert (again["refund_id"], again["replayed"]) == (first["refund_id"], True)
    either.clock.forward(seconds=LEASE.total_seconds() + 1)
    successor = OutboxWorker(either.shop.database, {"simulator": provider}, either.clock)
    await successor.drain()
    found = await either.payment(id)
    assert [each["status"] for each in found["refunds"]] == ["succeeded"]
    assert provider.totals(found["provider_reference"])[2] == found["refunded_minor"] == 3_000
    assert provider.arrived == {job.operation_id: 1}, "asked about, not sent again"


@pytest.mark.parametrize("fate", ["done", "lost"])
async def test_a_provider_that_does_not_answer(either: Desk, tmp_path: Path, fate: str):
    """Twenty refunds at once, and the provider falls silent over each: every one happens once."""
    provider = counted(either, tmp_path)
    workers = [
        OutboxWorker(either.shop.database, {"simulator": provider}, either.clock) for _ in range(2)
    ]
    id = await captured_with(either, workers[0], f"tok_refund_timeout_{fate}")
    tally = await together(either, "refund_payment", 20, **(REFUND | {"payment_id": id}),
                           amount_minor=100)  # fmt: skip
    assert tally["done"] == 20
    for _ in range(45):  # a payment's operations go out one after the other
        await asyncio.gather(*(worker.drain() for worker in workers))
        either.clock.forward(minutes=1)
    found = await either.payment(id)
    assert {each["status"] for each in found["refunds"]} == {"succeeded"}
    assert provider.totals(found["provider_reference"])[2] == found["refunded_minor"] == 2_000
    most = 1 if fate == "done" else 2
    assert set(provider.arrived.values()) == {most}
    assert len(provider.arrived) == 20


async def test_one_order_is_authorized_once_by_many(either: Desk):
    """Each sees that all of it is open: only one of them may have it."""
    await either.seed(order("ord-1"))
    tally = await together(either, "authorize_payment", 10, order_id="ord-1")
    assert tally["done"] == 1
    held = await either.look(
        lambda s: [p.amount_minor for p in s.query(Payment) if p.status == "authorized"]
    )
    assert held == [10_000]
