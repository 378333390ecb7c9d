"""A grocer's shop a test: on a file, or on either database where a test asks for both."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from common.shop import Shop
from tests.conftest import CopyOf
from tests.storefront.goods import goods
from tests.support.shop import MovingClock, a_shop, do, filled, walled

FILL = filled("*", goods)


@pytest.fixture
async def shop(copy_of: CopyOf, tmp_path: Path) -> AsyncIterator[Shop]:
    async with a_shop(
        tmp_path, clock=MovingClock(), database_url=copy_of("sqlite", "storefront", FILL)
    ) as opened:
        yield opened


@pytest.fixture
def url(kind: str, copy_of: CopyOf) -> str:
    """The URL of a database of either kind with the grocer's goods in it."""
    return copy_of(kind, "storefront", FILL)


@pytest.fixture
async def either(url: str, tmp_path: Path) -> AsyncIterator[Shop]:
    async with a_shop(tmp_path, clock=MovingClock(), database_url=url) as opened:
        yield opened


@pytest.fixture
def walled_url(copy_of: CopyOf) -> str:
    return copy_of("postgresql", "walled", walled)


@pytest.fixture
async def behind_the_wall(walled_url: str, tmp_path: Path) -> AsyncIterator[Shop]:
    """A grocer's shop on PostgreSQL whose servers have a login each."""
    async with a_shop(
        tmp_path, clock=MovingClock(), database_url=walled_url, database_roles=True
    ) as opened:
        await do(opened, "*", goods)
        yield opened
