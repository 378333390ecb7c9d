"""One seeded shop a test: on a file, or on PostgreSQL where a test asks for both.

The schema and the world are made once and copied.
"""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.conftest import CopyOf
from tests.payments.seed import Desk, a_desk, world
from tests.support.shop import filled

FILL = filled("*", world)


@pytest.fixture
def sqlite_url(copy_of: CopyOf) -> str:
    return copy_of("sqlite", "payments", FILL)


@pytest.fixture
async def desk(sqlite_url: str, tmp_path: Path) -> AsyncIterator[Desk]:
    async with a_desk(tmp_path, database_url=sqlite_url) as found:
        yield found


@pytest.fixture
def url(kind: str, copy_of: CopyOf) -> str:
    """The URL of a database of either kind with the world in it."""
    return copy_of(kind, "payments", FILL)


@pytest.fixture
async def either(url: str, tmp_path: Path) -> AsyncIterator[Desk]:
    async with a_desk(tmp_path, database_url=url) as found:
        yield found
