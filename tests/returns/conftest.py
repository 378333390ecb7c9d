"""One seeded shop a test: on a file, or on PostgreSQL where a test asks for both."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from common import schema
from tests.orders.seed import Desk, a_desk
from tests.support.postgres import Postgres


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with a_desk(tmp_path) as found:
        yield found


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a database of either kind, with the schema and nothing in it."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'shop.db'}"
        return
    postgres: Postgres = request.getfixturevalue("postgres")
    url = postgres.copy_of("schema", schema.upgrade_now)
    yield url
    postgres.drop_database(url)


@pytest.fixture
async def either(url: str, tmp_path: Path) -> AsyncIterator[Desk]:
    async with a_desk(tmp_path, database_url=url) as found:
        yield found
