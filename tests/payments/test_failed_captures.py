"""What is done with a capture before its provider says that it failed: no money comes of it."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import select

from common.audit.verify import verify
from common.background.housekeeping import Housekeeping
from common.background.outbox import OutboxWorker, book
from common.gateways.port import Outcome, State
from common.gateways.simulator import Simulator
from common.keys import anchor_key
from common.rules import funds
from common.tables.payments import Hold, Outbox
from tests.payments.seed import GIFT, GIFT_BALANCE, Desk
from tests.payments.test_outbox import paying, settled
from tests.support.shop import refused

REFUND = {"currency": "EUR", "reason": "return"}


@pytest.fixture
def desk(either: Desk) -> Desk:
    return either


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


async def nothing_came(desk: Desk, id: str, refusal: str = "insufficient_funds") -> dict[str, Any]:
    """The payment, of which there is nothing to give back, neither said nor done; no account has
    anything of it; and the record is whole."""
    found = await desk.payment(id)
    names = ("captured", "refundable", "refunded", "held", "disputed")
    assert [found[f"{name}_minor"] for name in names] == [0] * 5
    assert found["status"] == "failed"
    for more in ({}, {"to_method_id": GIFT}):
        ask = {"payment_id": id, "amount_minor": 1, **REFUND, **more}
        await refused(desk.client, "refund_payment", refusal, **ask, **desk.key())
    assert await desk.order_status("ord-1") == "not_paid"
    lines = await desk.look(lambda s: funds.trial_balance(s, "EUR"))
    assert {line.name for line in lines if line.net} == {"opening", "gift_card"}
    await verified(desk)
    return found


async def verified(desk: Desk) -> None:
    """``shop audit verify`` has nothing to say."""
    settings = desk.shop.settings
    await Housekeeping(desk.shop.database, settings, desk.clock).anchor(force=True)
    key = anchor_key(settings.key_dir).public_key()
    report = await desk.look(lambda s: verify(s, settings.anchor_file, key))
    assert report.ok, report


async def test_a_hold_of_it_ends_with_it(desk: Desk, worker: OutboxWorker, late: str) -> None:
    held = await desk.done("place_hold", payment_id=late, reason="manual", amount_minor=3_000)
    await fails(desk, worker)
    found = await nothing_came(desk, late)
    assert [each["state"] for each in found["holds"]] == ["released"]
    hold = await desk.look(lambda s: s.get_one(Hold, held["hold_id"]))
    assert (hold.close_reason, hold.closed_by) == ("the capture failed", "shop|outbox")
    ask = {"hold_id": held["hold_id"]}
    await refused(desk.client, "release_hold", "rule_violation", **ask, note="x")
    await refused(desk.client, "extend_hold", "rule_violation", **ask, days=30)
    await refused(desk.client, "place_hold", "rule_violation", payment_id=late, reason="manual")


@pytest.mark.parametrize("after", [True, False], ids=["afterwards", "before"])
async def test_a_hold_of_it_that_lapses_frees_no_money(
    desk: Desk, worker: OutboxWorker, late: str, after: bool
) -> None:
    """Neither one that would have lapsed later, nor one that had and was not swept yet."""
    await desk.done("place_hold", payment_id=late, reason="manual", days=1)
    if after:
        await fails(desk, worker)
    desk.clock.forward(days=2)
    await fails(desk, worker)
    await Housekeeping(desk.shop.database, desk.shop.settings, desk.clock).once()
    found = await nothing_came(desk, late)
    assert [each["state"] for each in found["holds"]] == ["released" if after else "expired"]


@pytest.mark.parametrize("outcome", ["won", "lost"])
@pytest.mark.parametrize("after", [True, False], ids=["afterwards", "before"])
async def test_a_dispute_of_it_frees_and_loses_no_money(
    desk: Desk, worker: OutboxWorker, late: str, outcome: str, after: bool
) -> None:
    made = await desk.done(
        "record_dispute", payment_id=late, reason="fraudulent", amount_minor=6_000
    )
    if after:
        await fails(desk, worker)
        await nothing_came(desk, late, "rule_violation")  # a dispute is open
    await desk.done("record_dispute_outcome", dispute_id=made["dispute_id"], outcome=outcome)
    await fails(desk, worker)
    await nothing_came(desk, late)
    shown = await desk.done_reading("get_dispute", dispute_id=made["dispute_id"])
    assert shown["status"] == outcome
    await refused(
        desk.client, "record_dispute", "rule_violation", payment_id=late, reason="general"
    )


@pytest.mark.parametrize("state", [State.FAILED, State.DONE])
async def test_a_refund_of_it_fails_as_well_and_is_never_asked_for(
    desk: Desk, worker: OutboxWorker, late: str, state: State
) -> None:
    """Also when an answer to it should come all the same."""
    await desk.done("refund_payment", payment_id=late, amount_minor=4_000, **REFUND)
    await fails(desk, worker)
    row = await desk.look(lambda s: s.scalars(select(Outbox).where(Outbox.kind == "refund")).one())
    assert (row.state, row.attempts, row.error) == ("done", 0, "never captured")
    answered = SimpleNamespace(outbox_id=row.id, attempts=row.attempts, ask=False)
    await desk.seed(lambda c: book(c, answered, Outcome(state, "re_1", "late"), ""), "payments")
    found = await nothing_came(desk, late)
    assert [(each["status"], each["failure"]) for each in found["refunds"]] == [
        ("failed", "not_captured")
    ]
    assert found["unsettled"] == ["capture failed"]


BOUND: list[tuple[str, dict[str, Any]]] = [
    ("place_hold", {"reason": "manual", "amount_minor": 3_000}),
    ("record_dispute", {"reason": "fraudulent", "amount_minor": 6_000}),
    ("refund_payment", {"amount_minor": 4_000, "currency": "EUR", "reason": "method_change"}),
]


@pytest.mark.parametrize(("tool", "how"), BOUND, ids=[tool for tool, _ in BOUND])
async def test_all_of_it_is_open_again(
    desk: Desk, worker: OutboxWorker, late: str, tool: str, how: dict[str, Any]
) -> None:
    await desk.done(tool, payment_id=late, **how)
    await fails(desk, worker)
    assert await desk.order_status("ord-1") == "not_paid"
    more = {"order_id": "ord-1", "amount_minor": 10_001}
    answer = await refused(desk.client, "authorize_payment", "rule_violation", **more)
    assert answer["details"]["open_minor"] == 10_000
    anew = await desk.done("authorize_payment", order_id="ord-1")
    await desk.done("capture_payment", payment_id=anew["payment_id"])
    await fails(desk, worker)
    assert await desk.order_status("ord-1") == "captured"
    again = {"order_id": "ord-1", "amount_minor": 1}
    answer = await refused(
        desk.client, "authorize_payment", "rule_violation", **again, **desk.key()
    )
    assert answer["details"]["open_minor"] == 0
    assert (await desk.payment(anew["payment_id"]))["refundable_minor"] == 10_000
    await verified(desk)


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


async def test_a_provider_that_pays_it_out_all_the_same_is_an_exception(
    desk: Desk, worker: OutboxWorker, late: str
) -> None:
    await fails(desk, worker)
    got = await desk.done(
        "reconcile_payout", provider="simulator", reference="po-1", currency="EUR",
        amount_minor=10_000, arrived_on="2026-11-02",
        lines=[{"kind": "charge", "reference": late, "amount_minor": 10_000}],
    )  # fmt: skip
    assert [(row["outcome"], row["note"]) for row in got["exceptions"]] == [
        ("amount_differs", "we have 0")
    ]
