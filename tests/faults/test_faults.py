"""Processes die, steps fail, calls are given up: nothing is lost and nothing doubled."""

import asyncio
import json
import random
import sqlite3
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing, contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from asyncpg.transaction import Transaction
from mcp import Client, StdioServerParameters
from sqlalchemy import event, func, select
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session
from sqlalchemy.orm.exc import StaleDataError

from common.audit.verify import verify
from common.errors import ShopError, StorageFull
from common.incoming import Done, Request, Waiting
from common.keys import anchor_key
from common.rules import stock
from common.settings import inherited
from common.shop import Shop
from common.tables.spine import (
    ApprovalRequest,
    AuditRecord,
    PolicyUse,
    StoredResult,
    Transfer,
)
from servers.run import DOMAINS
from tests.faults.harness import PROCESSES, ROOT, Harness
from tests.faults.steps import STEPS
from tests.support import toy
from tests.support.raw import raw_server
from tests.support.shop import MovingClock, a_shop, actor, call, connected, do, look, settings_in


@pytest.mark.slow
def test_seven_processes_killed_while_they_write(tmp_path: Path) -> None:
    outcome = Harness(tmp_path, seed=20_261).run(seconds=4, kills=3)
    assert not outcome.wrong, outcome.told()
    assert outcome.counts["killed"] == 3
    assert outcome.counts["acknowledged"] > 50
    assert outcome.counts["replayed"] > 5


# -- each step of a commit fails once --------------------------------------------------------------


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    async with a_shop(tmp_path, clock=MovingClock(), policy_file=toy.policy_in(tmp_path)) as opened:
        await do(opened, "inventory", toy.stocked)
        yield opened


async def kept(shop: Shop) -> dict[str, int]:
    """What a failed call must leave as it was."""

    def count(session: Session) -> dict[str, int]:
        tables = (Transfer, StoredResult, PolicyUse)
        return {
            kind.__tablename__: session.scalar(select(func.count()).select_from(kind)) or 0
            for kind in tables
        } | {
            "used": session.scalar(
                select(func.count()).where(ApprovalRequest.state == "used")
            ) or 0,
            "left": stock.level(session, shop.guard.clock(), "widget", "WH-1").available,
        }  # fmt: skip

    return await look(shop, count)


async def outcomes(shop: Shop) -> list[str]:
    query = select(AuditRecord.record).order_by(AuditRecord.chain, AuditRecord.seq)
    return [said["outcome"] for said in await look(shop, lambda s: list(s.scalars(query)))]


async def sound(shop: Shop) -> None:
    await shop.housekeeping.anchor(force=True)
    key, file = anchor_key(shop.settings.key_dir).public_key(), shop.settings.anchor_file
    report = await look(shop, lambda s: verify(s, file, key))
    assert report.exit_code == 0, report


@contextmanager
def failing(
    monkeypatch: pytest.MonkeyPatch, step: str, error: BaseException, *, after: bool
) -> Iterator[list[str]]:
    """The step raises the error once, before or after it did its work."""
    place, name = STEPS[step]
    right: Callable[..., Any] = getattr(place, name)
    failed: list[str] = []

    def fails_once(*args: Any, **named: Any) -> Any:
        if failed:
            return right(*args, **named)
        failed.append(step)
        if after:
            right(*args, **named)
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(place, name, fails_once)
        yield failed


async def approved(shop: Shop) -> dict[str, Any]:
    """The arguments of an approved call of every step."""
    spec = toy.tools.tools["take"]
    asked = await shop.guard.call(Request(spec, {"quantity": 10}, actor()))
    assert isinstance(asked, Waiting)
    await shop.guard.confirm(asked.approval_id, actor(), accepted=True)
    return {
        "quantity": 10, "approval_id": asked.approval_id, "idempotency_key": "failing-0001"
    }  # fmt: skip


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("step", STEPS)
async def test_a_step_that_breaks_keeps_nothing(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, step: str, after: bool
) -> None:
    request = Request(toy.tools.tools["take"], await approved(shop), actor())
    before = await kept(shop)
    with failing(monkeypatch, step, RuntimeError("secret inside"), after=after) as failed:
        with pytest.raises(ShopError) as caught:
            await shop.guard.call(request)
        assert failed
    assert caught.value.code == "internal_error"
    assert "secret" not in str(caught.value.wire())
    if (step, after) == ("the commit", True):
        # It was kept and the reply was lost: the same call again finds the answer.
        answer = await shop.guard.call(request)
        assert answer == Done({"available": 990, "reserved": 0, "replayed": True}, replayed=True)
    else:
        assert await kept(shop) == before
        assert (await outcomes(shop))[-1] == "failed"
        assert await shop.guard.call(request) == Done({"available": 990, "reserved": 0})
    again = await shop.guard.call(request)
    assert isinstance(again, Done)
    assert again.replayed
    assert (await kept(shop))["left"] == 990
    await sound(shop)


@pytest.mark.parametrize("kept_first", [False, True], ids=["before", "after"])
async def test_nobody_is_told_that_a_commit_with_a_lost_answer_changed_nothing(
    postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept_first: bool
) -> None:
    """The connection breaks in the commit. It is not tried again: the caller's key finds out."""
    right, broken = Transaction.commit, []

    async def breaks_once(transaction: Any) -> None:
        if armed and not broken:
            broken.append(1)
            if kept_first:
                await right(transaction)
            transaction._connection.terminate()
        await right(transaction)

    armed: list[int] = []
    monkeypatch.setattr(Transaction, "commit", breaks_once)
    policy = toy.policy_in(tmp_path)
    async with (
        a_shop(tmp_path, database_url=postgres_url, policy_file=policy) as shop,
        connected(shop, toy.tools) as client,
    ):
        await do(shop, "inventory", toy.stocked)
        armed.append(1)
        arguments = {"quantity": 1, "idempotency_key": "unknown-0001"}
        answer = await call(client, "take", **arguments)
        assert broken
        assert answer["code"] == "upstream_error", answer
        assert "idempotency_key" in answer["next"]
        assert (await kept(shop))["left"] == (999 if kept_first else 1_000)
        again = await call(client, "take", **arguments)
        assert again["available"] == 999
        assert again.get("replayed", False) is kept_first
        assert (await kept(shop))["left"] == 999
        assert ("failed" in await outcomes(shop)) is not kept_first
        await sound(shop)


def locked() -> OperationalError:
    return OperationalError("INSERT", {}, sqlite3.OperationalError("database is locked"))


@pytest.mark.parametrize("step", [step for step in STEPS if step != "the commit"])
async def test_a_lost_race_at_any_step_is_run_again(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    request = Request(toy.tools.tools["take"], await approved(shop), actor())
    with failing(monkeypatch, step, locked(), after=True) as failed:
        assert await shop.guard.call(request) == Done({"available": 990, "reserved": 0})
        assert failed
    assert (await outcomes(shop))[-1] == "ok"
    assert (await kept(shop))["left"] == 990
    await sound(shop)


async def test_a_database_that_stays_locked_is_busy_and_nothing_happened(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = Request(toy.tools.tools["again"], {}, actor())
    before = await kept(shop)

    def always(*_: Any, **__: Any) -> None:
        raise locked()

    with monkeypatch.context() as patch:
        patch.setattr(stock, "adjust", always)
        patch.setattr("common.storage.database.random.uniform", lambda *_: 0.0)
        with pytest.raises(ShopError) as caught:
            await shop.guard.call(request)
    assert caught.value.code == "busy"
    assert await kept(shop) == before
    assert (await outcomes(shop))[-1] == "refused"


async def test_a_row_changed_under_a_version_is_a_conflict(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = Request(toy.tools.tools["again"], {}, actor())
    before = await kept(shop)
    with (
        failing(monkeypatch, "the record", StaleDataError("x"), after=False),
        pytest.raises(ShopError) as caught,
    ):
        await shop.guard.call(request)
    assert caught.value.code == "conflict"
    assert await kept(shop) == before


async def test_the_record_of_a_refusal_that_cannot_be_written_hides_no_refusal(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        failing(monkeypatch, "the record", RuntimeError("disk full"), after=False) as failed,
        pytest.raises(ShopError) as caught,
    ):
        await shop.guard.call(Request(toy.tools.tools["crash"], {"how": "rule"}, actor()))
    assert failed
    assert caught.value.code == "rule_violation"


async def test_asking_that_breaks_asks_nobody(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        failing(monkeypatch, "the record", RuntimeError("x"), after=True),
        pytest.raises(ShopError),
    ):
        await shop.guard.call(Request(toy.tools.tools["take"], {"quantity": 10}, actor()))
    assert await look(shop, lambda s: s.scalar(select(func.count(ApprovalRequest.id)))) == 0
    assert (await outcomes(shop))[-1] == "failed"


async def test_a_disk_that_is_full(shop: Shop) -> None:
    """SQLite's own limit on pages: every write fails until there is room again."""
    engine = shop.database._core()
    before = await kept(shop)
    small = {"on": True}

    @event.listens_for(engine, "begin")
    def limit(connection: Any) -> None:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar() if small["on"] else 2**30
        connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")

    refused = 0
    for number in range(40):
        arguments = {"quantity": 1, "why": "x" * 2_000, "idempotency_key": f"full-{number:05}"}
        try:
            await shop.guard.call(Request(toy.tools.tools["take"], arguments, actor()))
        except StorageFull:
            refused += 1
    assert refused
    small["on"] = False
    assert (await kept(shop))["left"] == before["left"] - (40 - refused)
    await shop.guard.call(Request(toy.tools.tools["again"], {}, actor()))
    await sound(shop)


# -- calls given up --------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_calls_given_up_at_random_have_one_effect_when_repeated(
    shop: Shop, mode: str
) -> None:
    chance = random.Random(7)
    async with connected(shop, toy.tools, mode=mode) as client:
        for number in range(16):
            key = f"given-up-{number:05}"
            with suppress(TimeoutError, asyncio.CancelledError):
                async with asyncio.timeout(chance.uniform(0, 0.02)):
                    await call(client, "take", quantity=1, idempotency_key=key)
            answer = await call(client, "take", quantity=1, idempotency_key=key)
            assert "available" in answer, answer
        assert (await call(client, "peek"))["available"] == 984
    await sound(shop)


async def test_a_cancelled_call_and_its_own_record_do_not_meet(shop: Shop) -> None:
    """Cancelled while its refusal or replay is being written: both records are there."""
    chance = random.Random(11)
    for number in range(30):
        arguments = {"quantity": 1, "idempotency_key": f"cancelled-{number % 5:05}"}
        tool = toy.tools.tools["take" if number % 2 else "crash"]
        request = Request(tool, arguments if number % 2 else {"how": "rule"}, actor())
        task = asyncio.create_task(shop.guard.call(request))
        await asyncio.sleep(chance.uniform(0, 0.015))
        task.cancel()
        with suppress(asyncio.CancelledError, ShopError):
            await task
    await asyncio.sleep(0.3)
    await sound(shop)
    assert (await kept(shop))["left"] == 995


# -- starting --------------------------------------------------------------------------------------


async def test_seven_servers_at_once_make_one_database(tmp_path: Path) -> None:
    """As the repository's own mcp.json starts them."""
    there = [d for d in DOMAINS if find_spec(f"servers.{d}") and find_spec(f"servers.{d}.tools")]
    home = tmp_path / "not" / "there" / "yet"
    hosts = json.loads((ROOT / "mcp.json").read_text())["mcpServers"]

    async def one(domain: str) -> str:
        parameters = StdioServerParameters(
            command=sys.executable, args=hosts[domain]["args"], cwd=ROOT,
            env=inherited(SHOP_HOME=str(home), SHOP_OPERATOR="seven@example.com"),
        )  # fmt: skip
        async with Client(parameters) as client:
            answer = await call(client, "approval_status", id="apr_none")
            return str(answer["details"]["reason"])

    seven = [there[number % len(there)] for number in range(PROCESSES)]
    assert await asyncio.gather(*(one(domain) for domain in seven)) == ["unknown"] * PROCESSES
    with closing(sqlite3.connect(home / "shop.db")) as connection:
        assert connection.execute("SELECT count(*) FROM alembic_version").fetchone() == (1,)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    shop = await Shop.open(settings_in(home))
    try:
        assert await outcomes(shop) == ["refused"] * PROCESSES
    finally:
        await shop.close()


async def test_a_server_killed_in_a_call_leaves_a_shop_that_opens(tmp_path: Path) -> None:
    """Over stdio: the pipe breaks for the client, the next server starts on the same file."""
    async with a_shop(tmp_path / "home"):
        command = [sys.executable, "-m", "tests.faults.one_server", str(tmp_path / "home")]
    told: list[dict[str, Any] | None] = []
    for _ in range(2):
        async with raw_server(command, inherited(), ROOT) as server:
            await server.call(1, "drop_dead", idempotency_key="the-same-key-1")
            told.append(await server.answer(1))
    assert told == [None, {"available": 1, "replayed": True}]
