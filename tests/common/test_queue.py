"""Processes that write one SQLite file take turns; the queue is manners, the lock is SQLite's."""

import asyncio
from pathlib import Path

import pytest
from sqlalchemy.orm import Session

from common.storage import file_lock, schema
from common.storage.database import Database

MANY = 60


@pytest.fixture
def url(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path / 'shop.db'}"
    schema.upgrade_now(url)
    return url


def moment(session: Session) -> str:
    """A transaction that holds the lock for one."""
    sum(range(20_000))
    return "written"


async def test_whoever_has_just_written_goes_to_the_end(url: str) -> None:
    """Two that always want to write, each with a thread of its own: seldom three in a row."""
    turns: list[str] = []

    async def always(name: str) -> None:
        database = Database(url)
        while min(turns.count("one"), turns.count("other")) < MANY:
            await database.run("*", lambda session: (turns.append(name), moment(session)))
        await database.close()

    await asyncio.gather(always("one"), always("other"))
    in_a_row = sum(turns[n] == turns[n + 1] == turns[n + 2] for n in range(len(turns) - 2))
    assert in_a_row < len(turns) / 2, turns


async def test_one_that_stopped_in_the_queue_holds_nobody_up_for_good(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("common.storage.sqlite.WAIT_MS", 50)
    database = Database(url)
    with (tmp_path / "shop.db.queue").open("ab") as stopped:
        assert file_lock.take(stopped)
        assert await database.run("*", moment) == "written"
        file_lock.give_back(stopped)
    assert await database.run("*", moment) == "written"
    await database.close()


async def test_without_a_file_to_queue_in(url: str, tmp_path: Path) -> None:
    (tmp_path / "shop.db.queue").unlink(missing_ok=True)
    (tmp_path / "shop.db.queue").mkdir()
    database = Database(url)
    assert await database.run("*", moment) == "written"
    await database.close()
