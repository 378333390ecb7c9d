"""One demo shop for all of it."""

from pathlib import Path

import pytest

from tests.hostile.stand import seeded


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return seeded(tmp_path_factory.mktemp("hostile-template"))
