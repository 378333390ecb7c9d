"""One seeded shop a test: on a file, or on PostgreSQL where a test asks for both.

The schema and the world are made once a run and copied.
"""

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.logistics.seed import Desk, a_desk, world
from tests.support.postgres import Postgres
from tests.support.shop import a_shop, do


async def _fill(folder: Path, url: str) -> None:
    async with a_shop(folder, database_url=url) as shop:
        await do(shop, "*", world)


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database file with the world in it."""
    folder = tmp_path_factory.mktemp("logistics")
    path = folder / "template.db"
    asyncio.run(_fill(folder, f"sqlite:///{path}"))
    return path


@pytest.fixture
def sqlite_url(template: Path, tmp_path: Path) -> str:
    path = tmp_path / "shop.db"
    for file in template.parent.glob(f"{template.name}*"):
        shutil.copy(file, path.with_name(file.name.replace(template.name, path.name)))
    return f"sqlite:///{path}"


@pytest.fixture
def postgresql_url(postgres: Postgres, tmp_path: Path) -> Iterator[str]:
    url = postgres.copy_of("logistics", lambda url: asyncio.run(_fill(tmp_path, url)))
    yield url
    postgres.drop_database(url)


@pytest.fixture
async def desk(sqlite_url: str, tmp_path: Path) -> AsyncIterator[Desk]:
    async with a_desk(tmp_path, database_url=sqlite_url) as found:
        yield found


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> str:
    """The URL of a database of either kind with the world in it."""
    return str(request.getfixturevalue(f"{request.param}_url"))


@pytest.fixture
async def either(url: str, tmp_path: Path) -> AsyncIterator[Desk]:
    async with a_desk(tmp_path, database_url=url) as found:
        yield found
