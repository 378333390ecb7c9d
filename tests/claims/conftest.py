"""One seeded shop a test: on a file, or on PostgreSQL where a test asks for both."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.claims.seed import Desk, a_desk


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with a_desk(tmp_path) as found:
        yield found


@pytest.fixture
async def either(url: str, tmp_path: Path) -> AsyncIterator[Desk]:
    async with a_desk(tmp_path, database_url=url) as found:
        yield found
