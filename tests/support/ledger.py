"""A database with the ledger's tables alone, and calls made by hand."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar, cast

from sqlalchemy import Table, delete
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import Session

from common.call import Actor, Call
from common.storage.database import Database, Rollback, new_audit_id
from common.tables.base import Base
from common.tables.spine import Account, AuditRecord, OpenPending, Transfer
from tests.support.postgres import Postgres

T = TypeVar("T")
START = datetime(2026, 11, 2, 9, 0, tzinfo=UTC)
TABLES = [cast(Table, kind.__table__) for kind in (OpenPending, Transfer, Account, AuditRecord)]


class Desk:
    """Runs rules one after the other, at a time the test moves."""

    def __init__(self, url: str, now: datetime = START) -> None:
        self.database = Database(url)
        self.now = now
        self._runner = asyncio.Runner()

    def do(self, domain: str, work: Callable[[Call], T], *, keep: bool = True) -> T:
        """A changing call. ``keep=False`` is a dry run: it returns what it found, kept nowhere."""
        audit_id = new_audit_id()

        def inside(session: Session) -> T:
            call = call_of(session, domain, self.now, audit_id)
            result = work(call)
            if not keep:
                raise Rollback(result)
            return result

        return self._runner.run(self.database.run(domain, inside, audit_id=audit_id))

    def look(self, work: Callable[[Session], T]) -> T:
        return self._runner.run(self.database.run("*", work, write=False))

    def wait(self, **by: float) -> None:
        self.now += timedelta(**by)

    def clear(self) -> None:
        """Take every row away."""

        def work(session: Session) -> None:
            for table in TABLES:
                session.execute(delete(table))

        self._runner.run(self.database.run("*", work))

    def close(self) -> None:
        self._runner.run(self.database.close())
        self._runner.close()


def call_of(session: Session, domain: str, now: datetime, audit_id: str) -> Call:
    """A call with its audit record, as the guard would make them."""
    record = AuditRecord(
        id=audit_id, chain=0, seq=int.from_bytes(audit_id.encode()[-7:], "big"), at=now,
        record={}, prev="", h="",
    )  # fmt: skip
    session.add(record)
    actor = Actor("local", "ana@example.com", "test", frozenset())
    return Call(actor, session, now, audit_id, domain, "test")


def sqlite_ledger(folder: Path) -> str:
    """The URL of a new, empty ledger."""
    folder.mkdir(parents=True, exist_ok=True)
    url = f"sqlite:///{folder / 'ledger.db'}"
    create_tables(url)
    return url


def postgres_ledger(postgres: Postgres) -> str:
    return postgres.copy_of("ledger", create_tables)


def create_tables(url: str) -> None:
    async def create() -> None:
        engine = create_async_engine(url.replace("sqlite:", "sqlite+aiosqlite:"))
        async with engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all, tables=TABLES)
        await engine.dispose()

    asyncio.run(create())


def rows_of(session: Session, table: Any) -> list[dict[str, Any]]:
    """Every row of a table, by primary key."""
    query = table.__table__.select().order_by(*table.__table__.primary_key)
    return [dict(row._mapping) for row in session.execute(query)]
