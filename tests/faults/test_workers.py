"""Workers on one PostgreSQL database: any of them may die, any of them may go on."""

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from common.approvals import approvers, decisions
from common.shop import Shop
from common.tables.payments import Refund
from common.tables.spine import Transfer
from servers.payments.tools import tools
from tests.faults.harness import Harness
from tests.payments.seed import PASSPHRASE, charged, world
from tests.support.http import Face, NamedCallers, a_face, on_port
from tests.support.postgres import Postgres
from tests.support.shop import MovingClock, call, do, look, settings_in, walled


@pytest.fixture
def url(postgres: Postgres) -> Iterator[str]:
    """A database with one login a server."""
    made = postgres.copy_of("walled", walled)
    yield made
    postgres.drop_database(made)


@pytest.mark.slow
def test_four_workers_on_postgresql_one_killed_every_second(tmp_path: Path, url: str) -> None:
    outcome = Harness(tmp_path, seed=4, processes=4, database_url=url).run(seconds=5, kills=5)
    assert not outcome.wrong, outcome.told()
    assert outcome.counts["killed"] == 5
    assert outcome.counts["acknowledged"] > 20


async def refunds(shop: Shop) -> dict[str, int]:
    def count(session: Session) -> dict[str, int]:
        money = select(func.count()).where(Transfer.code == "refund")
        return {
            "rows": session.scalar(select(func.count(Refund.id))) or 0,
            "transfers": session.scalar(money) or 0,
        }

    return await look(shop, count)


async def test_a_refund_asked_approved_and_made_on_three_workers_happens_once(
    tmp_path: Path, url: str
) -> None:
    """Over HTTP, without sessions, each worker with its own shop, behind one login a server."""
    clock, callers = MovingClock(), NamedCallers()
    async with AsyncExitStack() as workers:
        shops: list[Shop] = []
        faces: list[Face] = []
        for number in range(3):
            settings = on_port(
                settings_in(tmp_path / str(number), database_url=url, database_roles=True)
            )
            shop = await Shop.open(settings, clock=clock)
            workers.push_async_callback(shop.close)
            shops.append(shop)
            faces.append(
                await workers.enter_async_context(
                    a_face(shop, [tools], authenticator=callers, sessions=False)
                )
            )
        await do(shops[0], "*", world)
        payment = await do(shops[0], "*", charged("ord-1", 900_000))
        payment_id = payment.id
        me = await do(
            shops[0], "*",
            lambda c: approvers.enroll(
                c.session, "kim@example.com", "Kim", PASSPHRASE, "", c.now, n=2**4
            ),
        )  # fmt: skip

        async def ask(worker: int, **more: Any) -> dict[str, Any]:
            audience = faces[worker].http.audience("payments")
            token = callers.token(audience, "payments:read", "payments:write", "payments:refund")
            async with faces[worker].client("payments", token=token) as client:
                return await call(
                    client, "refund_payment", payment_id=payment_id, amount_minor=400_000,
                    reason="goodwill", currency="EUR", idempotency_key="three-workers-1", **more,
                )  # fmt: skip

        asked = await ask(0)
        assert asked.get("status") == "approval_required", asked
        await shops[1].database.run(
            "approvals",
            lambda s: decisions.decide(
                s, asked["approval_id"], me, approvers.unlock(me, PASSPHRASE), "approve", "",
                clock(), "terminal",
            ),
        )  # fmt: skip
        assert await refunds(shops[1]) == {"rows": 0, "transfers": 0}
        answers = await asyncio.gather(
            *(ask(worker, approval_id=asked["approval_id"]) for worker in (2, 0, 1, 2))
        )
        assert all("refund_id" in answer for answer in answers), answers
        assert len({answer["refund_id"] for answer in answers}) == 1
        assert sum(not answer.get("replayed") for answer in answers) == 1
        assert await refunds(shops[0]) == {"rows": 1, "transfers": 1}
