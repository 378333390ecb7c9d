"""One process at a time leads, and another one when it is gone."""

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from common.background.election import LOCK, Election, lock_for
from common.settings import inherited
from common.storage.database import Database
from tests.support.postgres import Postgres, execute

ROOT = Path(__file__).parent.parent.parent
PATIENCE_S = 30
LEADER = """
import asyncio, sys
from common.storage.database import Database
from common.background.election import Election, lock_for

async def main():
    election = Election(lock_for(Database(sys.argv[1])), every_s=0.05)
    election.start()
    await election.leading.wait()
    print("leading", flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database of each kind; an election needs no tables."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'shop.db'}"
        return
    postgres: Postgres = request.getfixturevalue("postgres")
    made = postgres.create_database()
    yield made
    postgres.drop_database(made)


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(PATIENCE_S * 100):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it never came to be")


class Candidate:
    """An election, and whether its duty is being done."""

    def __init__(self, url: str) -> None:
        self.at_work = 0
        self.election = Election(lock_for(Database(url)), every_s=0.05)
        self.election.duty(self.work)
        self.election.start()

    async def work(self) -> None:
        self.at_work += 1
        try:
            await asyncio.Event().wait()
        finally:
            self.at_work -= 1

    async def leads(self) -> None:
        async with asyncio.timeout(PATIENCE_S):
            await self.election.leading.wait()
        await until(lambda: self.at_work > 0)


async def test_one_leads_and_the_next_follows(url: str) -> None:
    first = Candidate(url)
    await first.leads()
    second = Candidate(url)
    await asyncio.sleep(0.3)
    assert (first.at_work, second.at_work) == (1, 0)
    await first.election.stop()
    assert first.at_work == 0
    await second.leads()
    await second.election.stop()


async def test_a_killed_leader_is_followed(url: str) -> None:
    leader = await asyncio.create_subprocess_exec(
        sys.executable, "-c", LEADER, url, cwd=ROOT, env=inherited(), stdout=subprocess.PIPE
    )
    assert leader.stdout
    assert await asyncio.wait_for(leader.stdout.readline(), PATIENCE_S) == b"leading\n"
    second = Candidate(url)
    await asyncio.sleep(0.3)
    assert second.at_work == 0
    leader.kill()
    await leader.wait()
    await second.leads()
    await second.election.stop()


async def test_a_lost_connection_is_a_lost_lead(postgres: Postgres) -> None:
    url = postgres.create_database()
    candidate = Candidate(url)
    await candidate.leads()
    held = f"FROM pg_locks WHERE locktype = 'advisory' AND objid = {LOCK % 2**32}"
    await execute(postgres.server_url, f"SELECT pg_terminate_backend(pid) {held}")
    await until(lambda: candidate.at_work == 0)
    await candidate.leads()
    other = Database(url)
    count = await other.run("*", lambda s: s.scalar(text(f"SELECT count(*) {held}")), write=False)
    assert count == 1
    await other.close()
    await candidate.election.stop()
    postgres.drop_database(url)


async def test_a_duty_that_breaks_is_begun_again(url: str) -> None:
    begun = 0
    election = Election(lock_for(Database(url)), every_s=0.02)

    async def breaks() -> None:
        nonlocal begun
        begun += 1
        raise RuntimeError("once more")

    election.duty(breaks)
    election.start()
    await until(lambda: begun >= 3)
    await election.stop()
