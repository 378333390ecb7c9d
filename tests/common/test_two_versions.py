"""Two versions of the program on one database, at once."""

import asyncio
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import text

from common.incoming import Done, Request
from common.settings import inherited
from common.shop import Shop
from common.storage import schema
from tests.support import toy
from tests.support.shop import a_shop, actor, do, look, settings_in

ROOT = Path(__file__).parent.parent.parent
WIDER = """
import sqlalchemy as sa
from alembic import op

revision = "9001_wider"
down_revision = "{before}"
compatible = True


def upgrade() -> None:
    op.add_column("transfer", sa.Column("colour", sa.String(20)))
    op.create_table("swatch", sa.Column("id", sa.String(64), primary_key=True))
"""
INDEX = """
from deploy.migrations.parts import index_online

revision = "9002_index"
down_revision = "9001_wider"
compatible = True


def upgrade() -> None:
    index_online("ix_transfer_colour", "transfer", ["colour", "at"])
"""
NARROWER = """
from alembic import op

revision = "9003_narrower"
down_revision = "9002_index"


def upgrade() -> None:
    op.execute("DROP TABLE swatch")
"""


class Newer:
    """The next version of the program, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("common", "deploy"):
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, folder / name, ignore=ignored)

    def add(self, name: str, text: str) -> None:
        file = self.folder / "deploy" / "migrations" / "versions" / f"{name}.py"
        file.write_text(text.lstrip().replace("{before}", schema.head()))

    async def upgrade(self, url: str) -> None:
        program = "import sys; from common.storage import schema; schema.upgrade_now(sys.argv[1])"
        running = await asyncio.create_subprocess_exec(
            sys.executable, "-c", program, url, cwd=self.folder,
            env=inherited(PYTHONPATH=str(self.folder)), stderr=subprocess.PIPE,
        )  # fmt: skip
        _, said = await running.communicate()
        assert running.returncode == 0, said.decode()[-2_000:]


async def write(shop: Shop) -> None:
    answer = await shop.guard.call(Request(toy.tools.tools["again"], {}, actor()))
    assert isinstance(answer, Done)


async def revision(shop: Shop) -> str | None:
    return await look(shop, lambda s: s.scalar(text("select version_num from alembic_version")))


async def test_the_older_program_goes_on_while_the_newer_one_migrates(
    url: str, tmp_path: Path
) -> None:
    newer = Newer(tmp_path / "newer")
    newer.add("9001_wider", WIDER)
    newer.add("9002_index", INDEX)
    policy = toy.policy_in(tmp_path)
    async with a_shop(tmp_path / "home", database_url=url, policy_file=policy) as old:
        await do(old, "inventory", toy.stocked)
        migrating = asyncio.create_task(newer.upgrade(url))
        done = 0
        while not migrating.done():
            await write(old)
            done += 1
        await migrating
        assert done > 1
        assert await revision(old) == "9002_index"
        await write(old)
        # The older program also starts on what the newer one made of the database.
        settings = settings_in(tmp_path / "home", database_url=url, policy_file=policy)
        again = await Shop.open(settings)
        await write(again)
        await again.close()

        newer.add("9003_narrower", NARROWER)
        await newer.upgrade(url)
        with pytest.raises(schema.SchemaError, match="9003_narrower"):
            await Shop.open(settings)


async def test_a_migration_waits_for_nobody_for_long(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Locked by a long transaction, it gives up its place in the queue and tries again."""
    from common.storage.database import Database

    monkeypatch.setattr(schema, "LOCK_WAIT_MS", 50)
    tries: list[float] = []

    def soon(*bounds: float) -> float:
        tries.append(bounds[0])
        return 0.01

    monkeypatch.setattr("common.storage.schema.random.uniform", soon)
    await asyncio.to_thread(schema.upgrade_now, postgres_url)
    database, held, over = Database(postgres_url), asyncio.Event(), asyncio.Event()

    async def hold() -> None:
        async with database._engine("*").connect() as connection:
            await connection.execute(text("LOCK TABLE product IN ACCESS SHARE MODE"))
            held.set()
            await over.wait()

    holding = asyncio.create_task(hold())
    await held.wait()
    change = "ALTER TABLE product ADD COLUMN colour text"
    applying = asyncio.create_task(schema.apply(postgres_url, change))
    async with asyncio.timeout(30):
        while len(tries) < 2:  # noqa: ASYNC110 - what tries is another task, in the way of failing
            await asyncio.sleep(0.02)
    over.set()
    await holding
    await applying
    await database.close()
