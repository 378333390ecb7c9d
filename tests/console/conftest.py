"""One shop a test, with an approver (Kim) and an agent whose person is Ana."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.console.world import Web, a_web


@pytest.fixture
async def web(tmp_path: Path) -> AsyncIterator[Web]:
    async with a_web(tmp_path) as found:
        yield found
