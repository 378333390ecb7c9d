"""What is done with a capture before its provider says that it failed: no money comes of it."""

from pathlib import Path
from typing import Any

import pytest

from common.background.outbox import OutboxWorker
from common.gateways.simulator import Simulator
from common.rules import funds
from tests.payments.seed import GIFT, GIFT_BALANCE, Desk
from tests.payments.test_outbox import paying, settled
from tests.support.shop import refused

REFUND = {"currency": "EUR", "reason": "return"}


@pytest.fixture
def worker(desk: Desk, tmp_path: Path) -> OutboxWorker:
    provider = Simulator(tmp_path / "provider.db", clock=desk.clock)
    return OutboxWorker(desk.shop.database, {"simulator": provider}, desk.clock)


@pytest.fixture
async def late(desk: Desk, worker: OutboxWorker) -> str:
    """A payment of 100.00 captured here just before its authorization lapses there."""
    made = await desk.seed(paying("tok_expires_soon"))
    await worker.drain()
    desk.clock.forward(minutes=9)
    await desk.done("capture_payment", payment_id=made.id)
    return made.id


async def fails(desk: Desk, worker: OutboxWorker) -> None:
    """The provider hears of the capture too late."""
    desk.clock.forward(minutes=5)
    await settled(desk, worker)


async def nothing_came(desk: Desk, id: str) -> dict[str, Any]:
    """The payment, of which there is nothing to give back, neither said nor done."""
    found = await desk.payment(id)
    assert (found["status"], found["refundable_minor"]) == ("failed", 0)
    for more in ({}, {"to_method_id": GIFT}):
        ask = {"payment_id": id, "amount_minor": 1, **REFUND, **more}
        await refused(desk.client, "refund_payment", "insufficient_funds", **ask, **desk.key())
    assert await desk.order_status("ord-1") == "not_paid"
    assert (await desk.done_reading("get_ledger", currency="EUR"))["balanced"]
    return found


async def in_the_books(desk: Desk, id: str) -> int:
    """What the ledger says the shop has of the payment."""
    return await desk.look(
        lambda s: funds.balance(s, desk.clock.now, funds.payment(id), "EUR").posted
    )


async def test_a_hold_of_it_frees_no_money_when_it_ends(
    desk: Desk, worker: OutboxWorker, late: str
) -> None:
    held = await desk.done("place_hold", payment_id=late, reason="manual", days=1)
    await fails(desk, worker)
    await desk.approved("release_hold", hold_id=held["hold_id"], note="over")
    await nothing_came(desk, late)
    assert await in_the_books(desk, late) == 0


async def test_a_hold_of_it_that_lapses_frees_no_money(
    desk: Desk, worker: OutboxWorker, late: str
) -> None:
    await desk.done("place_hold", payment_id=late, reason="manual", days=1)
    await fails(desk, worker)
    desk.clock.forward(days=2)
    assert (await desk.payment(late))["refundable_minor"] == 0
    ask = {"payment_id": late, "amount_minor": 5_000, **REFUND}
    await refused(desk.client, "refund_payment", "insufficient_funds", **ask)


async def test_a_dispute_of_it_frees_no_money_when_it_is_won(
    desk: Desk, worker: OutboxWorker, late: str
) -> None:
    made = await desk.done("record_dispute", payment_id=late, reason="fraudulent")
    await fails(desk, worker)
    await desk.done("record_dispute_outcome", dispute_id=made["dispute_id"], outcome="won")
    await nothing_came(desk, late)
    assert await in_the_books(desk, late) == 0


async def test_a_refund_of_it_that_fails_as_well_frees_no_money(
    desk: Desk, worker: OutboxWorker, late: str
) -> None:
    await desk.done("refund_payment", payment_id=late, amount_minor=4_000, **REFUND)
    await fails(desk, worker)
    found = await nothing_came(desk, late)
    assert [each["status"] for each in found["refunds"]] == ["failed"]
    assert await in_the_books(desk, late) == 0


async def test_elsewhere_goes_only_what_has_come(
    desk: Desk, worker: OutboxWorker, late: str
) -> None:
    ask = {"payment_id": late, "amount_minor": 10_000, "to_method_id": GIFT, **REFUND}
    answer = await refused(desk.client, "refund_payment", "rule_violation", **ask)
    assert "not confirmed" in answer["message"]
    await fails(desk, worker)
    await nothing_came(desk, late)
    left = await desk.look(
        lambda s: funds.credit_balance(s, desk.clock.now, funds.gift_card(GIFT), "EUR")
    )
    assert left == GIFT_BALANCE


async def test_once_it_has_come_it_may_go_elsewhere(desk: Desk, worker: OutboxWorker) -> None:
    made = await desk.seed(paying("tok_ok"))
    await worker.drain()
    await desk.done("capture_payment", payment_id=made.id)
    await worker.drain()
    ask: dict[str, Any] = {
        "payment_id": made.id,
        "amount_minor": 10_000,
        "to_method_id": GIFT,
        **REFUND,
    }
    assert (await desk.approved("refund_payment", **ask))["status"] == "succeeded"
