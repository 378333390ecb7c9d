"""Fixtures of the spine's tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.ledger import Desk, postgres_ledger, sqlite_ledger
from tests.support.postgres import Postgres


@pytest.fixture(scope="session")
def postgres_ledger_url(postgres: Postgres) -> Iterator[str]:
    """A ledger that every test of a worker shares, one after the other."""
    url = postgres_ledger(postgres)
    yield url
    postgres.drop_database(url)


@pytest.fixture(params=["sqlite", "postgres"])
def ledger_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty ledger on each database."""
    if request.param == "sqlite":
        return sqlite_ledger(tmp_path)
    url: str = request.getfixturevalue("postgres_ledger_url")
    desk = Desk(url)
    desk.clear()
    desk.close()
    return url


@pytest.fixture
def desk(ledger_url: str) -> Iterator[Desk]:
    """Runs rules on an empty ledger, on each database."""
    desk = Desk(ledger_url)
    yield desk
    desk.close()
