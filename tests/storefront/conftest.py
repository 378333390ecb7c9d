"""A grocer's shop a test: on a file, or on either database where a test asks for both."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from common.shop import Shop
from tests.storefront.goods import goods
from tests.support.postgres import Postgres
from tests.support.shop import MovingClock, a_shop, do


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    async with a_shop(tmp_path, clock=MovingClock()) as opened:
        await do(opened, "*", goods)
        yield opened


async def _fill(folder: Path, url: str) -> None:
    async with a_shop(folder, clock=MovingClock(), database_url=url) as opened:
        await do(opened, "*", goods)


@pytest.fixture
def postgresql_url(postgres: Postgres, tmp_path: Path) -> Iterator[str]:
    url = postgres.copy_of("storefront", lambda url: asyncio.run(_fill(tmp_path, url)))
    yield url
    postgres.drop_database(url)


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    folder = tmp_path / "shop"
    asyncio.run(_fill_file(folder))
    return f"sqlite:///{folder / 'shop.db'}"


async def _fill_file(folder: Path) -> None:
    async with a_shop(folder, clock=MovingClock()) as opened:
        await do(opened, "*", goods)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> str:
    """The URL of a database of either kind with the grocer's goods in it."""
    return str(request.getfixturevalue(f"{request.param}_url"))


@pytest.fixture
async def either(url: str, tmp_path: Path) -> AsyncIterator[Shop]:
    async with a_shop(tmp_path, clock=MovingClock(), database_url=url) as opened:
        yield opened
