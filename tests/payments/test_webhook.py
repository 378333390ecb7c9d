"""What Stripe sends by itself, over HTTP, to a shop that runs on Stripe (our own fake)."""

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest
from sqlalchemy import func, select

from common.background.outbox import OutboxWorker
from common.call import Call
from common.gateways import webhook
from common.http.app import compose
from common.rules import paid
from common.settings import GatewaySettings
from common.shop import Shop
from common.tables.payments import Dispute, Outbox, Payment, PaymentMethod, ProviderEvent
from common.tables.spine import AuditRecord
from tests.faults import nemesis
from tests.payments.seed import ANA, authorized, world
from tests.support.fake_stripe import START, FakeStripe
from tests.support.http import on_port, uvicorn_serving
from tests.support.shop import MovingClock, a_shop, do, look

HEADER = "Stripe-Signature"


@pytest.fixture(scope="module")
def running() -> Iterator[FakeStripe]:
    with FakeStripe() as started:
        yield started


@dataclass
class Stand:
    shop: Shop
    stripe: FakeStripe
    clock: MovingClock
    client: httpx2.AsyncClient

    async def send(self, body: bytes, signature: str) -> httpx2.Response:
        return await self.client.post(webhook.PATH, content=body, headers={HEADER: signature})

    async def count(self, kind: Any) -> int:
        query = select(func.count()).select_from(kind)
        return await look(self.shop, lambda s: s.scalar(query)) or 0

    async def outbox(self) -> Outbox:
        return await look(self.shop, lambda s: s.scalars(select(Outbox)).one())

    async def payment(self) -> Payment:
        return await look(self.shop, lambda s: s.scalars(select(Payment)).one())


@pytest.fixture
async def stand(running: FakeStripe, tmp_path: Path) -> AsyncIterator[Stand]:
    stripe = running.reset()
    clock = MovingClock(datetime.fromtimestamp(START, UTC))
    gateway = GatewaySettings(
        "stripe", "rk_test_good", stripe.webhook_secret, stripe.url, allow_live=False
    )
    async with a_shop(tmp_path, clock=clock, gateway=gateway) as shop:
        await do(shop, "*", world)
        async with at(shop) as client:
            yield Stand(shop, stripe, clock, client)


@asynccontextmanager
async def at(shop: Shop) -> AsyncIterator[httpx2.AsyncClient]:
    """The address behind the same front as everything else over HTTP."""
    http = on_port(shop.settings).http
    async with (
        uvicorn_serving(compose(http, {}, webhook.routes(shop)), http),
        httpx2.AsyncClient(base_url=http.public_url, timeout=30) as client,
    ):
        yield client


def card(token: str) -> Any:
    def work(call: Call) -> Payment:
        call.add(
            PaymentMethod(
                id="stripe-card", customer_id=ANA, kind="card", brand="visa", last4="4242",
                provider="stripe", provider_reference=token, created_at=call.now,
            )
        )  # fmt: skip
        return authorized(method="stripe-card")(call)

    return work


async def test_a_notice_that_finds_no_room_is_taken_when_it_comes_again(
    running: FakeStripe,
) -> None:
    stripe = running.reset()
    gateway = GatewaySettings(
        "stripe", "rk_test_good", stripe.webhook_secret, stripe.url, allow_live=False
    )
    clock = MovingClock(datetime.fromtimestamp(START, UTC))
    with nemesis.disk_to_fill() as home:
        async with a_shop(home, clock=clock, gateway=gateway) as shop, at(shop) as client:
            stand = Stand(shop, stripe, clock, client)
            await do(shop, "*", world)
            await do(shop, "*", card("pm_card_processing"))
            await shop.outbox.drain()
            stripe.advance()
            (event,) = stripe.events("payment_intent.amount_capturable_updated")
            with nemesis.filled(home):
                refused = await stand.send(*stripe.signed(event))
            assert (refused.status_code, refused.json()["error"]) == (503, "storage_full")
            assert refused.headers["retry-after"] == "30"
            assert await stand.count(ProviderEvent) == 0
            answer = await stand.send(*stripe.signed(event))
            assert answer.json() == {"received": True, "new": True}


async def test_a_notice_brings_the_answer_sooner(stand: Stand):
    await do(stand.shop, "*", card("pm_card_processing"))
    await stand.shop.outbox.drain()
    waiting = await stand.outbox()
    assert (waiting.state, waiting.next_at > stand.clock.now) == ("sent", True)
    stand.stripe.advance()
    (event,) = stand.stripe.events("payment_intent.amount_capturable_updated")
    answer = await stand.send(*stand.stripe.signed(event))
    assert (answer.status_code, answer.json()) == (200, {"received": True, "new": True})
    assert (await stand.payment()).status == "created", "a notice itself moves nothing"
    assert (await stand.outbox()).next_at == stand.clock.now
    await stand.shop.outbox.drain()
    assert (await stand.payment()).status == "authorized"
    again = await stand.send(*stand.stripe.signed(event))
    assert again.json() == {"received": True, "new": False}
    assert await stand.count(ProviderEvent) == 1


async def test_a_dispute_notice_has_the_disputes_read(stand: Stand):
    await do(stand.shop, "*", card("pm_card_createDispute"))
    worker: OutboxWorker = stand.shop.outbox
    await worker.drain()
    await worker.follow()
    await do(stand.shop, "*", lambda c: paid.capture(c, c.get(Payment, _only(c))))
    await worker.drain()
    assert await worker.follow() == 0, "it was read a moment ago"
    (event,) = stand.stripe.events("charge.dispute.created")
    assert (await stand.send(*stand.stripe.signed(event))).status_code == 200
    assert await worker.follow() == 1
    assert await stand.count(Dispute) == 1
    open_notices = select(func.count()).select_from(ProviderEvent)
    open_notices = open_notices.where(ProviderEvent.handled_at.is_(None))
    assert await look(stand.shop, lambda s: s.scalar(open_notices)) == 0
    assert await worker.follow() == 0


def _only(call: Call) -> str:
    return call.session.scalars(select(Payment.id)).one()


async def test_what_is_not_the_provider_s_is_refused_and_recorded(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
):
    await do(stand.shop, "*", card("pm_card_visa"))
    await stand.shop.outbox.drain()
    (event,) = stand.stripe.events("payment_intent.amount_capturable_updated")
    body, signature = stand.stripe.signed(event)
    forged = [
        (body, ""),
        (body, "t=1,v1=00"),
        (body + b" ", signature),
        stand.stripe.signed(event, age=301),
        stand.stripe.signed(event, secret="whsec_other"),
        stand.stripe.signed({**event, "livemode": True}),
        stand.stripe.signed({"id": "evt_1"}),
        (b"\xff\x00", signature),
    ]
    before = await stand.count(AuditRecord)
    for payload, header in forged:
        answer = await stand.send(payload, header)
        assert (answer.status_code, answer.json()["code"]) == (400, "notice_refused"), payload
    assert await stand.count(AuditRecord) == before + len(forged)
    large = await stand.send(b"x" * (webhook.MOST_BYTES + 1), signature)
    assert large.status_code == 413
    assert await stand.count(ProviderEvent) == 0
    monkeypatch.setattr(webhook, "_RATION", Eaten())
    assert (await stand.send(body, "t=1,v1=00")).status_code == 400
    assert await stand.count(AuditRecord) == before + len(forged), "a flood fills no log"


class Eaten:
    """A ration of which nothing is left."""

    def take(self, caller: str, at: float) -> None:
        return None


async def test_a_notice_holds_nobody_s_data(stand: Stand):
    await do(stand.shop, "*", card("pm_card_visa"))
    await stand.shop.outbox.drain()
    (event,) = stand.stripe.events("payment_intent.amount_capturable_updated")
    event = json.loads(json.dumps(event))
    event["data"]["object"]["receipt_email"] = "canary@example.com"
    assert (await stand.send(*stand.stripe.signed(event))).status_code == 200
    kept = await look(stand.shop, lambda s: s.scalars(select(ProviderEvent)).one().payload)
    assert "canary" not in json.dumps(kept)


async def test_without_a_secret_there_is_no_such_address(tmp_path: Path):
    async with a_shop(tmp_path) as shop:
        assert webhook.routes(shop) == []
        stripe = replace(shop.settings.gateway, name="stripe", stripe_key="rk_test_good")
        shop.settings = replace(shop.settings, gateway=stripe)
        assert webhook.routes(shop) == []
