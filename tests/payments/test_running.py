"""The provider in the running shop: chosen in one place, told by itself, by many at once."""

import asyncio
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from common.background.outbox import OutboxWorker
from common.call import Call
from common.gateways import choosing
from common.gateways.port import GatewayMisconfigured, Outcome
from common.gateways.simulator import Simulator
from common.rules.disputed_at_provider import follow
from common.settings import Settings, inherited
from common.shop import opened
from common.storage.database import Database
from common.tables.payments import Dispute, Outbox, Payment
from servers.payments.tools import tools
from tests.payments.seed import Desk, authorized, token_method, world
from tests.support.shop import connected, do, done, settings_in

ORDERS = 20


def gateway(**env: str) -> Settings:
    return Settings.load({"SHOP_HOME": "/nowhere", "SHOP_OPERATOR": "ana@example.com"} | env)


@pytest.mark.parametrize(
    ("env", "said", "way_out"),
    [
        ({"SHOP_GATEWAY": "paypal"}, "no gateway", "simulator or stripe"),
        ({"SHOP_GATEWAY": "stripe"}, "SHOP_STRIPE_KEY is not set", "rk_test_"),
        ({"SHOP_GATEWAY": "stripe", "SHOP_STRIPE_KEY": "pk_test_12345"}, "no secret", "rk_test_"),
        (
            {"SHOP_GATEWAY": "stripe", "SHOP_STRIPE_KEY": "sk_live_12345"},
            "refused", "SHOP_ALLOW_LIVE=1",
        ),
    ],
)  # fmt: skip
def test_a_gateway_that_is_not_meant(env: dict[str, str], said: str, way_out: str):
    with pytest.raises(GatewayMisconfigured) as refused:
        choosing.check(gateway(**env).gateway)
    assert said in refused.value.message
    assert way_out in refused.value.next
    assert env.get("SHOP_STRIPE_KEY", "12345") not in str(refused.value) + refused.value.next


def test_the_choice(tmp_path: Path):
    assert set(choosing.chosen(settings_in(tmp_path), lambda: None)) == {"simulator"}  # type: ignore[arg-type,return-value]
    live = {"SHOP_GATEWAY": "stripe", "SHOP_STRIPE_KEY": "rk_live_12345", "SHOP_ALLOW_LIVE": "1"}
    settings = gateway(**live, SHOP_STRIPE_WEBHOOK_SECRET="whsec_1")
    assert set(choosing.chosen(settings, lambda: None)) == {"stripe"}  # type: ignore[arg-type,return-value]
    assert "rk_live" not in repr(settings)
    assert "whsec" not in repr(settings)


def test_a_server_says_why_it_does_not_start(tmp_path: Path):
    env = inherited(
        SHOP_HOME=str(tmp_path), SHOP_GATEWAY="stripe", SHOP_STRIPE_KEY="sk_live_secret",
    )  # fmt: skip
    ended = subprocess.run(
        [sys.executable, "-m", "servers", "payments"], env=env, capture_output=True, text=True,
        check=False, cwd=Path(__file__).parents[2], timeout=60,
    )  # fmt: skip
    assert ended.returncode == 2
    assert "SHOP_ALLOW_LIVE=1" in ended.stderr
    assert "secret" not in ended.stderr.replace("secret or restricted", "")
    assert "Traceback" not in ended.stderr


async def until(found: Callable[[], Any], rounds: int = 400) -> None:
    """Until it is so, or until the test's own patience is over."""
    for _ in range(rounds):
        if await found():
            return
        await asyncio.sleep(0.05)
    raise AssertionError("it never came")


async def test_a_tool_s_call_reaches_the_provider(tmp_path: Path):
    """Nothing is driven by hand: the shop runs as a server opens it."""
    async with opened(settings_in(tmp_path)) as shop:
        await do(shop, "*", lambda c: (world(c), token_method("tok-card", "tok_ok")(c)))
        async with connected(shop, tools) as client:
            made = await do(shop, "*", authorized(method="tok-card"))
            shop.outbox.nudge()  # a seed is no tool: nobody else tells the worker

            async def settled() -> bool:
                found = await done(client, "get_payment", payment_id=made.id)
                return not found["unsettled"]

            await until(settled)
            await done(client, "capture_payment", payment_id=made.id)
            await until(settled)
            back = {"amount_minor": 1_000, "currency": "EUR", "reason": "return"}
            await done(client, "refund_payment", payment_id=made.id, **back)
            await until(settled)
            found = await done(client, "get_payment", payment_id=made.id)
        provider = shop.gateways["simulator"]
        assert isinstance(provider, Simulator)
        assert provider.totals(found["provider_reference"]) == (10_000, 10_000, 1_000)


async def test_a_read_only_shop_tells_nobody_anything(tmp_path: Path):
    async with opened(settings_in(tmp_path)):
        pass
    async with opened(replace(settings_in(tmp_path), read_only=True)) as shop:
        assert "outbox" not in vars(shop)


class Counting(Simulator):
    """Counts what is sent, by operation."""

    sent: Counter[str] = Counter()

    def authorize(self, op_id: str, *given: Any) -> Outcome:
        self.sent[op_id] += 1
        return super().authorize(op_id, *given)

    def capture(self, op_id: str, *given: Any) -> Outcome:
        self.sent[op_id] += 1
        return super().capture(op_id, *given)


async def test_workers_of_several_processes_send_each_operation_once(
    either: Desk, url: str, tmp_path: Path
):
    """Each has its own connections, as processes have."""

    def many(call: Call) -> list[str]:
        token_method("tok-card", "tok_dispute")(call)
        return [authorized(f"ord-{n}", method="tok-card")(call).id for n in range(ORDERS)]

    ids = await either.seed(many)
    provider = Counting(tmp_path / "provider.db", clock=either.clock)
    provider.sent.clear()
    databases = [Database(url) for _ in range(4)]
    workers = [OutboxWorker(d, {"simulator": provider}, either.clock) for d in databases]
    await asyncio.gather(*(worker.drain() for worker in workers))
    for id in ids:
        await either.done("capture_payment", payment_id=id)
    await asyncio.gather(*(worker.drain() for worker in workers))
    rounds = await asyncio.gather(*(follow(d, provider, either.clock) for d in databases))
    for database in databases:
        await database.close()
    assert len(provider.sent) == 2 * ORDERS
    assert set(provider.sent.values()) == {1}
    states = await either.look(lambda s: set(s.scalars(select(Outbox.state))))
    assert states == {"done"}
    assert await either.look(lambda s: s.scalar(select(func.count(Dispute.id)))) == ORDERS
    assert sum(rounds) == ORDERS, "each was recorded by one of them"


async def test_stop_lets_what_is_on_its_way_end(desk: Desk, tmp_path: Path):
    provider = Simulator(tmp_path / "provider.db", clock=desk.clock)
    await desk.seed(
        lambda c: (token_method("tok-card", "tok_ok")(c), authorized(method="tok-card")(c))
    )
    worker = OutboxWorker(desk.shop.database, {"simulator": provider}, desk.clock)
    worker.start()
    worker.nudge()
    await asyncio.sleep(0)
    await worker.stop()
    state = await desk.look(lambda s: s.scalar(select(Payment.status)))
    assert state == "authorized"
    worker.start()
    await worker.stop()


async def test_what_was_paid_late_at_the_provider_is_settled_with_time(desk: Desk, tmp_path: Path):
    provider = Simulator(tmp_path / "provider.db", clock=desk.clock)
    worker = OutboxWorker(desk.shop.database, {"simulator": provider}, desk.clock)
    await desk.seed(
        lambda c: (token_method("tok-card", "tok_async")(c), authorized(method="tok-card")(c))
    )
    await worker.drain()
    assert await desk.look(lambda s: s.scalar(select(Payment.status))) == "created"
    await worker.follow()
    desk.clock.forward(minutes=15)
    await worker.drain()
    assert await desk.look(lambda s: s.scalar(select(Payment.status))) == "authorized"
    assert await worker.follow() == 0
    assert worker._followed == desk.clock.now - timedelta(0)
