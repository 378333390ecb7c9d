"""Access records: in groups, after the answer, never in the way."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from common.audit import access
from common.audit.access import AccessWriter, args_commit
from common.call import Actor
from common.storage.database import Database
from common.tables.spine import AccessRecord
from tests.common.auditing import START, Log

ANA = Actor("local", "ana@example.com", "test", frozenset())


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    database = Database(Log(tmp_path).url)
    yield database
    await database.close()


def note(writer: AccessWriter, count: int = 1, **changes: Any) -> None:
    for _ in range(count):
        writer.note(
            **{
                "now": START, "server": "orders", "target": "get_order", "actor": ANA,
                "outcome": "ok", "args": {"order_id": "ord_1"}, **changes,
            }
        )  # fmt: skip


async def written(database: Database) -> list[Any]:
    def work(session: Session) -> list[Any]:
        return list(session.execute(select(AccessRecord.__table__).order_by(AccessRecord.id)))

    return await database.run("*", work, write=False)


async def until(database: Database, count: int) -> list[Any]:
    for _ in range(1_000):
        if len(rows := await written(database)) >= count:
            return rows
        await asyncio.sleep(0.02)
    raise AssertionError("nothing was written")


async def test_written_without_being_asked(database: Database) -> None:
    writer = AccessWriter(database)
    note(writer)
    (row,) = await until(database, 1)
    assert (row.at, row.server, row.target, row.outcome) == (START, "orders", "get_order", "ok")
    assert (row.subject, row.client) == ("local|ana@example.com", "test")
    salt = bytes.fromhex(row.args_commit[:16])
    assert row.args_commit == args_commit({"order_id": "ord_1"}, salt)
    note(writer)
    await until(database, 2)
    await writer.aclose()


async def test_a_full_batch_does_not_wait(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access, "EVERY_S", 3_600)
    writer = AccessWriter(database)
    note(writer, access.BATCH - 1)
    await asyncio.sleep(0.05)
    assert await written(database) == []
    note(writer)
    await until(database, access.BATCH)
    note(writer, 10)
    await writer.aclose()
    assert len(await written(database)) == access.BATCH + 10


async def test_closing_writes_everything(database: Database) -> None:
    writer = AccessWriter(database)
    note(writer, 3 * access.BATCH + 7)
    await writer.aclose()
    assert len(await written(database)) == 3 * access.BATCH + 7
    note(writer)
    assert writer.dropped == 1
    await writer.aclose()


async def test_closing_what_was_never_used(database: Database) -> None:
    await AccessWriter(database).aclose()


async def test_full_queue_drops_and_says_so(database: Database) -> None:
    writer = AccessWriter(database, queue=5)
    note(writer, 12)
    assert writer.dropped == 7
    await writer.aclose()
    rows = await written(database)
    assert len(rows) == 6
    assert [(row.target, row.outcome) for row in rows if row.target != "get_order"] == [
        ("access records left out", "dropped 7")
    ]


async def test_read_only_shop_writes_nothing(database: Database) -> None:
    writer = AccessWriter(database, enabled=False)
    note(writer, 5)
    await writer.aclose()
    assert await written(database) == []


async def test_a_database_that_fails_is_tried_again(database: Database, tmp_path: Path) -> None:
    """The table is away for a moment; nothing is lost, and no call notices."""
    path = tmp_path / "shop.db"
    writer = AccessWriter(database)
    with sqlite3.connect(path) as connection:
        connection.execute("ALTER TABLE access_record RENAME TO away")
    note(writer, 3)
    await asyncio.sleep(0.4)
    assert writer.dropped == 0
    with sqlite3.connect(path) as connection:
        connection.execute("ALTER TABLE away RENAME TO access_record")
    connection.close()
    await until(database, 3)
    await writer.aclose()
    assert len(await written(database)) == 3


async def test_any_input(database: Database) -> None:
    """Values of resource templates come from outside; columns have their length."""
    writer = AccessWriter(database)
    note(
        writer, args={"a\0": object(), "b": float("nan"), "c": "\ud800", "d": {1, 2}},
        actor=Actor("i" * 300, "s\0" * 300, "c" * 900, frozenset()),
        target="t" * 900, outcome="o" * 99,
    )  # fmt: skip
    await writer.aclose()
    (row,) = await written(database)
    assert (len(row.subject), len(row.client), len(row.target), len(row.outcome)) == (
        300, 200, 200, 32,
    )  # fmt: skip


def test_commitments_do_not_show_equal_arguments() -> None:
    ana, bob = {"email": "ana@example.com"}, {"email": "bob@example.com"}
    one = args_commit(ana)
    assert len(one) == 64
    assert args_commit(ana) != one
    assert args_commit(ana, bytes.fromhex(one[:16])) == one
    assert args_commit(bob, bytes.fromhex(one[:16])) != one
