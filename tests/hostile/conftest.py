"""One demo shop for all of it, on either database."""

import pytest

from common.storage import schema
from tests.conftest import CopyOf
from tests.hostile.stand import seeded


@pytest.fixture
def url(kind: str, copy_of: CopyOf) -> str:
    """A copy of the demo shop."""
    return copy_of(kind, "two days of the demo shop", seeded)


@pytest.fixture
def empty(kind: str, copy_of: CopyOf) -> str:
    """A database with the schema and nothing in it."""
    return copy_of(kind, "schema", schema.upgrade_now)
