"""What holds for every table, whatever the domain."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import CheckConstraint, String, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import Session

from common.errors import Conflict
from common.storage import schema
from common.storage.database import Database
from common.tables import Base, Record
from common.tables.inventory import Product
from common.tables.spine import AuditRecord
from common.tables.whole import tables
from servers.run import DOMAINS
from tests.support.postgres import Postgres

RECORDS = {name: kind for name, kind in tables().items() if issubclass(kind, Record)}


def test_every_table_has_an_owner() -> None:
    for name, kind in tables().items():
        assert kind.owner in {*DOMAINS, "*"}, name
        assert kind.also_written_by <= set(DOMAINS) - {kind.owner}, name
        assert (kind.owner == "*") != issubclass(kind, Record), name


def test_money_has_a_currency() -> None:
    """On the row itself, or on the row it belongs to."""
    for name in RECORDS:
        table = Base.metadata.tables[name]
        if not any(column.endswith("_minor") for column in table.columns.keys()):  # noqa: SIM118
            continue
        above = [key.column.table for key in table.foreign_keys]
        assert any("currency" in one.columns for one in [table, *above]), name


def test_state_words_fit_their_columns() -> None:
    for name in RECORDS:
        for check in Base.metadata.tables[name].constraints:
            if not isinstance(check, CheckConstraint):
                continue
            column = str(check.name).removeprefix(f"ck_{name}_")
            known = Base.metadata.tables[name].columns.get(column)
            if known is None or not isinstance(known.type, String):
                continue
            words = [word for word in str(check.sqltext).split("'")[1::2] if word.isidentifier()]
            assert all(len(word) <= (known.type.length or 0) for word in words), name


def test_a_row_changed_meanwhile_is_not_overwritten(postgres: Postgres) -> None:
    """Two callers read a row; the second to write is told so. (SQLite has one writer at a time.)"""
    url = postgres.copy_of("schema", schema.upgrade_now)
    database = Database(url)

    def create(session: Session) -> None:
        session.add(Product(id="prd_1", name="Mug"))
        record(session, "aud_1")

    def rename(session: Session) -> None:
        product = session.get_one(Product, "prd_1")
        with ThreadPoolExecutor(1) as other:
            other.submit(run, url, "update product set name = 'Cup', version = 2").result()
        product.name = "Jug"
        record(session, "aud_2")

    async def both() -> str:
        await database.run("inventory", create, audit_id="aud_1")
        with pytest.raises(Conflict):
            await database.run("inventory", rename, audit_id="aud_2")
        name: Callable[[Session], str] = lambda s: s.get_one(Product, "prd_1").name  # noqa: E731
        found = await database.run("*", name, write=False)
        await database.close()
        return found

    assert asyncio.run(both()) == "Cup"
    postgres.drop_database(url)


def record(session: Session, id: str) -> None:
    session.add(
        AuditRecord(id=id, chain=0, seq=int(id[4:]), at=datetime.now(UTC), record={}, prev="", h="")
    )


def run(url: str, statement: str) -> None:
    async def once() -> Any:
        engine = create_async_engine(url)
        async with engine.begin() as connection:
            await connection.execute(text(statement))
        await engine.dispose()

    asyncio.run(once())
