"""A short storm over HTTP, and a planted bug it has to find. The long ones: ``make faults``."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.remote import Plan, Remote
from tests.support.postgres import Postgres
from tests.support.shop import walled


@pytest.fixture
def url(postgres: Postgres) -> Iterator[str]:
    """A database with one login a server."""
    made = postgres.copy_of("walled", walled)
    yield made
    postgres.drop_database(made)


@pytest.mark.slow
def test_workers_on_postgresql_killed_every_second_while_callers_write(
    tmp_path: Path, url: str
) -> None:
    faults = frozenset({"vanish", "failpoints", "clock"})
    plan = Plan(
        seed=3, seconds=6, kills=6, servers=2, workers=2, callers=6, faults=faults, least=20
    )
    outcome = asyncio.run(Remote(tmp_path, plan, url).run())
    assert not outcome.wrong, outcome.told()
    assert outcome.counts["killed"] == 6
    assert outcome.counts["acknowledged"] >= 10


@pytest.mark.slow
def test_a_planted_bug_is_found(tmp_path: Path) -> None:
    plan = Plan(
        seed=5, seconds=5, kills=0, servers=1, workers=2, callers=6, plant="reserve", least=120
    )
    outcome = asyncio.run(Remote(tmp_path, plan).run())
    found = ("2 effects", "moved, asked for")
    assert any(text in wrong for wrong in outcome.wrong for text in found), outcome.told()
