"""One budget a caller and class, whoever of the workers is asked."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from mcp import Client
from sqlalchemy import func, select

from common import limits
from common.call import Actor
from common.call_rates import DEFAULT, Rate, rates
from common.errors import RateLimited
from common.limits import Limits
from common.settings import inherited
from common.storage.database import Database
from common.tables.spine import RateBucket
from tests.support import toy
from tests.support.shop import a_shop, actor, call, connected, do

ROOT = Path(__file__).parent.parent.parent
SHARE = """
import asyncio, sys
from common.call import Actor
from common.storage.database import Database
from common.errors import RateLimited
from common.call_rates import Rate
from common.limits import Limits

async def main():
    database = Database(sys.argv[1])
    limits = Limits(database, {"writes": Rate(1, 100)})
    given = 0
    print("ready", flush=True)
    sys.stdin.read()
    for _ in range(150):
        await asyncio.sleep(0.002)
        try:
            await limits.take(Actor("local", "ana", "x", frozenset()), "writes")
            given += 1
        except RateLimited:
            pass
    print(given)
    await database.close()

asyncio.run(main())
"""


@pytest.fixture
async def database(url: str) -> AsyncIterator[Database]:
    opened = Database(url)
    yield opened
    await opened.close()


class Moving:
    """Microseconds that a test moves."""

    def __init__(self) -> None:
        self.now = 10**15

    def __call__(self) -> int:
        return self.now


async def given(budget: Limits, times: int, who: Actor | None = None) -> int:
    """How many of so many calls were let through."""
    through = 0
    for _ in range(times):
        try:
            await budget.take(who or actor(), "writes")
            through += 1
        except RateLimited:
            pass
    return through


async def test_a_burst_then_the_rate(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Moving()
    monkeypatch.setattr(limits, "LEASE_S", 3_600.0)

    def worker() -> Limits:  # a fresh one has neither a lease nor a memory of being refused
        return Limits(database, {"writes": Rate(60, 20)}, now_us=clock)

    assert await given(worker(), 50) == 20
    clock.now += 3_000_000
    assert await given(worker(), 50) == 3
    clock.now += 3_600_000_000
    assert await given(worker(), 50) == 20
    assert await given(worker(), 1, actor("ben@example.com")) == 1, "another caller"
    with pytest.raises(RateLimited) as caught:
        await worker().take(actor(), "writes")
    assert caught.value.details["retry_after_s"] == 1


async def test_a_clock_put_back_shuts_nobody_out(database: Database) -> None:
    clock = Moving()
    assert await given(Limits(database, {"writes": Rate(60, 20)}, now_us=clock), 50) == 20
    clock.now -= 3_600_000_000
    assert await given(Limits(database, {"writes": Rate(60, 20)}, now_us=clock), 50) == 20
    clock.now -= 30_000_000
    again = await given(Limits(database, {"writes": Rate(60, 20)}, now_us=clock), 50)
    assert again == 0, "hosts whose clocks differ by seconds share what is left"


async def test_a_refused_caller_costs_no_statement(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    budget = Limits(database, {"writes": Rate(1, 1)}, now_us=Moving())
    assert await given(budget, 2) == 1

    async def never(*_: object, **__: object) -> None:
        raise AssertionError("the database was asked")

    monkeypatch.setattr(database, "run", never)
    assert await given(budget, 100) == 0


async def test_a_busy_caller_costs_few_statements(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = 0
    run = database.run

    async def counted(*given: object, **more: object) -> object:
        nonlocal asked
        asked += 1
        return await run(*given, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(database, "run", counted)
    budget = Limits(database, {"writes": Rate(1_000, 1_000)})
    tries = [budget.take(actor(), "writes") for _ in range(900)]
    await asyncio.gather(*tries)
    assert asked < 90


async def test_who_calls_now_and_then_is_not_counted_each_time(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = 1_000.0
    monkeypatch.setattr(limits.time, "monotonic", lambda: clock)
    asked: list[str] = []
    run = database.run

    async def counted(*given: object, **more: object) -> object:
        asked.append("")
        return await run(*given, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(database, "run", counted)
    budget = Limits(database, {"reads": DEFAULT["reads"]})
    for _ in range(30):
        await budget.take(actor(), "reads")
        clock += 10.0
    assert len(asked) == 5, "once a minute"


def test_two_processes_share_one_budget(url: str) -> None:
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", SHARE, url], cwd=ROOT, env=inherited(), text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )
        for _ in range(2)
    ]  # fmt: skip
    for worker in workers:
        assert worker.stdout
        assert worker.stdout.readline() == "ready\n"
    for worker in workers:
        assert worker.stdin
        worker.stdin.close()
        worker.stdin = None
    told = [int(worker.communicate(timeout=60)[0]) for worker in workers]
    # A slice one of them has not given out is lost to the other: at most a tenth of the burst.
    assert 90 <= sum(told) <= 102, told
    assert all(told), told


async def test_full_buckets_are_forgotten(database: Database) -> None:
    clock = Moving()
    await given(Limits(database, {"writes": Rate(60, 20)}, now_us=clock), 1)

    async def left() -> int | None:
        query = select(func.count(RateBucket.id))
        return await database.run("*", lambda s: s.scalar(query), write=False)

    for passed, expected in ((1, 1), (120_000_000, 0)):
        clock.now += passed
        await database.run("*", lambda s: limits.sweep(s, clock.now, 10))
        assert await left() == expected


def test_rates_are_read_or_refused() -> None:
    assert rates("off") == {}
    assert rates("money=3/2")["money"] == Rate(3, 2)
    assert rates("") == DEFAULT
    for wrong in ("writes", "writes=1", "wishes=1/1", "reads=0/1", "reads=-1/5", "reads=1/9999999"):
        with pytest.raises(ValueError, match="SHOP_RATE_LIMITS"):
            rates(wrong)


async def test_the_model_is_told_when_to_come_back(tmp_path: Path) -> None:
    """Through a real server: a typed refusal, on record, and other classes go on."""
    async with a_shop(
        tmp_path, policy_file=toy.policy_in(tmp_path), rate_limits="writes=1/2"
    ) as shop:
        await do(shop, "inventory", toy.stocked)
        async with connected(shop, toy.tools) as client:
            answers = [await take(client, number) for number in range(3)]
            assert [answer.get("code") for answer in answers] == [None, None, "rate_limited"]
            assert answers[2]["details"]["retry_after_s"] in range(1, 61)
            assert "retry_after_s" in answers[2]["next"]
            assert "available" in await call(client, "peek")
            json.dumps(answers)


async def take(client: Client, number: int) -> dict[str, object]:
    return await call(client, "take", quantity=1, idempotency_key=f"limited-{number:04}")
