"""Many at once on one payment: each effect happens exactly once, on either database."""

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

from common import funds
from common.tables.payments import Payment, Refund
from tests.payments.seed import Desk, a_desk, authorized, charged
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
