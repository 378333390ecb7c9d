"""A change that one worker commits is heard by the clients of another."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from mcp import MCPError

from common import notices
from common.call import Call
from common.incoming import Request, Waiting
from common.notices import Notices
from common.shop import Shop
from common.storage.database import Database
from common.tables.inventory import Warehouse
from servers.inventory.tools import tools as inventory
from tests.support import toy
from tests.support.shop import a_shop, actor, connected, do

PATIENCE_S = 30
STOCK = "inventory://warehouse/WH-1/stock"


def placed(call: Call) -> None:
    call.add(Warehouse(id="WH-1", name="Lyon", region="south", address={}))


@pytest.fixture
async def workers(url: str, tmp_path: Path) -> AsyncIterator[tuple[Shop, Shop]]:
    """Two processes' shops on one database."""
    policy = toy.policy_in(tmp_path)
    async with AsyncExitStack() as both:
        shops = [
            await both.enter_async_context(
                a_shop(tmp_path / name, database_url=url, policy_file=policy)
            )
            for name in ("one", "two")
        ]
        await do(shops[0], "*", toy.stocked)
        await do(shops[0], "*", placed)
        for shop in shops:
            shop.notices.start()
        yield shops[0], shops[1]


@asynccontextmanager
async def listening(shop: Shop, *uris: str) -> AsyncIterator[list[str]]:
    """What a client of the worker's inventory server hears."""
    heard: list[str] = []
    async with (
        connected(shop, inventory) as client,
        client.listen(resource_subscriptions=list(uris)) as stream,
    ):

        async def listen() -> None:
            async for event in stream:
                heard.append(str(event.uri))

        task = asyncio.create_task(listen())
        await asyncio.sleep(0.5)  # until the carrier listens as well: there is no replay
        yield heard
        task.cancel()


async def until_heard(heard: list[str], uri: str) -> None:
    for _ in range(PATIENCE_S * 20):
        if uri in heard:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"{uri} is not among {heard}")


async def test_stock_and_approvals_changed_by_another_worker(workers: tuple[Shop, Shop]) -> None:
    one, two = workers
    take = toy.tools.tools["take"]
    asked = await one.guard.call(Request(take, {"quantity": 10}, actor()))
    assert isinstance(asked, Waiting)
    approval = f"approvals://request/{asked.approval_id}"
    async with listening(two, STOCK, approval) as heard:
        await one.guard.call(
            Request(take, {"quantity": 1, "idempotency_key": "noticed-0001"}, actor())
        )
        await until_heard(heard, STOCK)
        await one.guard.confirm(asked.approval_id, actor(), accepted=True)
        await until_heard(heard, approval)
    assert set(heard) == {STOCK, approval}


async def test_what_is_rolled_back_is_not_told(workers: tuple[Shop, Shop]) -> None:
    one, two = workers
    take = toy.tools.tools["take"]
    async with listening(two, STOCK) as heard:
        waiting = await one.guard.call(Request(take, {"quantity": 10}, actor()))
        assert isinstance(waiting, Waiting)  # a dry run moved stock, and put it back
        await asyncio.sleep(0.5)
        assert heard == []


async def refused(shop: Shop, *uris: str, **more: Any) -> str:
    async with connected(shop, inventory, **more) as client:
        with pytest.raises(MCPError) as caught:
            async with client.listen(resource_subscriptions=list(uris)):
                pass
        return caught.value.error.message


async def test_who_may_not_read_may_not_listen(tmp_path: Path) -> None:
    async with a_shop(tmp_path, policy_file=toy.policy_in(tmp_path)) as shop:
        await do(shop, "*", toy.stocked)
        await do(shop, "*", placed)
        asked = await shop.guard.call(Request(toy.tools.tools["take"], {"quantity": 10}, actor()))
        assert isinstance(asked, Waiting)
        own = f"approvals://request/{asked.approval_id}"
        ben, orders_only = actor("ben@example.com"), actor("ana@example.com", "orders:read")
        assert "scope" in await refused(shop, STOCK, who=orders_only)
        assert "somebody else" in await refused(shop, own, who=ben)
        assert "no such approval" in await refused(shop, "approvals://request/apr_none")
        assert "No such resource" in await refused(shop, "orders://order/1")
        assert "No warehouse" in await refused(shop, "inventory://warehouse/WH-9/stock")
        assert "At most" in await refused(shop, *[STOCK] * 33)


async def test_many_uris_are_told_in_bounded_payloads(url: str) -> None:
    database = Database(url)
    told, heard = Notices(database), Notices(database)
    got: list[str] = []
    end = heard.listen(got.append)
    await asyncio.sleep(0.5)
    wanted = {f"orders://order/ord_{number:060}" for number in range(500)}
    told.changed(wanted)
    for _ in range(PATIENCE_S * 20):
        if len(got) >= len(wanted):
            break
        await asyncio.sleep(0.05)
    assert set(got) == wanted
    end()
    told.changed(["orders://order/late"])
    await told.stop()
    await heard.stop()
    assert "orders://order/late" not in got
    await database.close()


async def test_the_file_of_notices_stays_small(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notices, "LARGEST_FILE", 1_000)
    database = Database(f"sqlite:///{tmp_path / 'shop.db'}")
    carrier = notices._File(database)
    for number in range(200):
        await carrier.send(f'["orders://order/{number}"]')
    assert (tmp_path / "shop.db.notices").stat().st_size < 1_100
    await database.close()
