"""One door to the database: who may write what, what is kept, what is tried again."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from common.errors import Busy, Conflict
from common.storage import schema
from common.storage.database import WRITERS, Database, Rollback, new_audit_id
from common.storage.writing import written
from common.tables.inventory import Warehouse
from common.tables.orders import Customer
from common.tables.whole import tables
from tests.support.shop import START

RECORD = (
    "INSERT INTO audit_record (id, chain, seq, at, record, prev, h)"
    " VALUES (:id, 0, :seq, '2026-01-01 00:00:00', '{}', '', '')"
)


@pytest.fixture
async def database(url: str) -> AsyncIterator[Database]:
    opened = Database(url)
    yield opened
    await opened.close()


def warehouse(id: str, name: str = "Main") -> Warehouse:
    return Warehouse(id=id, name=name, region="north", address={})


def add(session: Session, *rows: object) -> None:
    seq = session.scalar(text("SELECT count(*) FROM audit_record")) or 0
    session.execute(text(RECORD), {"id": session.info["audit_id"], "seq": seq + 1})
    session.add_all(rows)
    session.flush()


async def count(database: Database) -> int:
    query = select(func.count()).select_from(Warehouse)
    return await database.run("*", lambda s: s.scalar(query) or 0, write=False)


async def test_what_is_done_is_kept_and_stamped(database: Database) -> None:
    audit_id = new_audit_id()
    await database.run("inventory", lambda s: add(s, warehouse("A")), audit_id=audit_id)
    row = await database.run("*", lambda s: s.get_one(Warehouse, "A"), write=False)
    assert (row.version, row.audit_id, row.name) == (1, audit_id, "Main")


async def test_an_error_or_a_rollback_keeps_nothing(database: Database) -> None:
    def wrong(session: Session) -> None:
        add(session, warehouse("A"))
        raise ValueError("no")

    def done(session: Session) -> None:
        add(session, warehouse("B"))
        raise Rollback("found out")

    with pytest.raises(ValueError, match="no"):
        await database.run("inventory", wrong, audit_id=new_audit_id())
    found: object = await database.run("inventory", done, audit_id=new_audit_id())
    assert found == "found out"
    assert await count(database) == 0


# What orders may write comes last, and what it may not before it.
FOREIGN_FIRST = (
    "WITH a AS (DELETE FROM warehouse RETURNING id) INSERT INTO customer (id) SELECT id FROM a"
)


@pytest.mark.parametrize(
    ("statement", "tables"),
    [
        (FOREIGN_FIRST, ("warehouse", "customer")),
        ("WITH a AS (SELECT 1) SELECT id FROM customer FOR UPDATE", ()),
        ("WITH a AS (SELECT 1) SELECT id FROM customer FOR NO KEY UPDATE OF customer", ()),
        (
            "WITH a AS (SELECT 1) INSERT INTO x (id) VALUES (1) ON CONFLICT DO UPDATE SET id = 2",
            ("x",),
        ),
        ("INSERT INTO x (id) VALUES ('with UPDATE y')", ("x",)),
        ("UPDATE OR IGNORE x SET id = 1", ("x",)),
        ("SELECT updated FROM x FOR UPDATE", ()),
    ],
)
def test_every_table_a_statement_writes_is_seen(statement: str, tables: tuple[str, ...]) -> None:
    assert written(statement) == tables


async def test_nobody_writes_another_domains_table(database: Database) -> None:
    customer = Customer(id="c", first_name="A", name_key="a", created_at=START)
    for work in (
        lambda s: add(s, warehouse("A")),
        lambda s: s.execute(text("UPDATE warehouse SET name = 'x'")),
        lambda s: s.execute(text("DELETE FROM warehouse")),
        lambda s: s.execute(text("WITH a AS (SELECT 1) DELETE FROM warehouse")),
        lambda s: s.execute(text(FOREIGN_FIRST)),
        lambda s: s.execute(text("TRUNCATE warehouse")),
        lambda s: s.execute(text("UPDATE no_such_table SET a = 1")),
    ):
        with pytest.raises(AssertionError, match="may not write"):
            await database.run("orders", work, audit_id=new_audit_id())
    await database.run("orders", lambda s: add(s, customer), audit_id=new_audit_id())


async def test_a_reading_transaction_writes_nothing(database: Database) -> None:
    with pytest.raises(AssertionError, match="may not write"):
        await database.run(
            "inventory", lambda s: s.execute(text("DELETE FROM warehouse")), write=False
        )


async def test_a_row_without_an_audited_call_is_refused(database: Database) -> None:
    with pytest.raises(AssertionError, match="outside an audited call"):
        await database.run("inventory", lambda s: s.add(warehouse("A")))


async def test_a_row_whose_record_does_not_exist_is_refused(database: Database) -> None:
    with pytest.raises(AssertionError, match="warehouse written without an audit record"):
        await database.run("inventory", lambda s: s.add(warehouse("A")), audit_id=new_audit_id())
    assert await count(database) == 0


async def test_a_change_counts_the_version_and_an_old_one_is_a_conflict(
    database: Database,
) -> None:
    await database.run("inventory", lambda s: add(s, warehouse("A")), audit_id=new_audit_id())

    def rename(session: Session) -> int:
        add(session)
        row = session.get_one(Warehouse, "A")
        row.name = "Other"
        session.flush()
        return row.version

    assert await database.run("inventory", rename, audit_id=new_audit_id()) == 2

    def behind(session: Session) -> None:
        add(session)
        row = session.get_one(Warehouse, "A")
        session.execute(text("UPDATE warehouse SET version = 9 WHERE id = 'A'"))
        row.name = "Lost"
        session.flush()

    with pytest.raises(Conflict):
        await database.run("inventory", behind, audit_id=new_audit_id())


async def test_calls_at_once_wait_for_each_other(database: Database) -> None:
    await database.run("inventory", lambda s: add(s, warehouse("A", "0")), audit_id=new_audit_id())

    def one_more(session: Session) -> None:
        session.execute(
            text("UPDATE warehouse SET name = cast(cast(name as integer) + 1 as varchar(9))")
        )
        add(session)

    await asyncio.gather(
        *(database.run("inventory", one_more, audit_id=new_audit_id()) for _ in range(20))
    )
    row = await database.run("*", lambda s: s.get_one(Warehouse, "A"), write=False)
    assert row.name == "20"


async def test_a_database_that_stays_locked_is_busy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("common.storage.sqlite.WAIT_MS", 20)
    monkeypatch.setattr("common.storage.database.ATTEMPTS", 2)
    file = tmp_path / "shop.db"
    database = Database(f"sqlite:///{file}")
    await schema.upgrade(database)
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        with pytest.raises(Busy):
            await database.run("inventory", lambda s: add(s), audit_id=new_audit_id())
    finally:
        other.execute("ROLLBACK")
        other.close()
    await database.run("inventory", lambda s: add(s), audit_id=new_audit_id())
    await database.close()


async def test_without_a_free_connection_the_database_is_busy(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("common.storage.database.POOL_WAIT_S", 0.05)
    database = Database(postgres_url, pool=1)
    await schema.upgrade(database)
    async with database._engine("*").connect():
        with pytest.raises(Busy, match="connection"):
            await count(database)
    assert await count(database) == 0
    await database.close()


async def test_read_only_opens_read_only(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'shop.db'}"
    writer = Database(url)
    await schema.upgrade(writer)
    reader = Database(url, read_only=True)
    with pytest.raises((AssertionError, Exception), match=r"may not write|readonly|query_only"):
        await reader.run("inventory", lambda s: s.execute(text("DELETE FROM warehouse")))
    await reader.close()
    await writer.close()


def test_every_table_has_an_owner() -> None:
    domains = {
        "*", "inventory", "orders", "logistics", "returns", "claims", "payments", "storefront"
    }  # fmt: skip
    assert set(WRITERS) == set(tables())
    for name, writers in WRITERS.items():
        assert writers <= domains, name
        assert writers, name
