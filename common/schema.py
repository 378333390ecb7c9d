"""Bringing a database up to this program's schema, and refusing to run on any other.

The migrations are in deploy/migrations. Everything here happens in one transaction that holds
the database's only write lock (SQLite) or an advisory lock (PostgreSQL): of several processes that
start at once one does the work, the others find it done, and one that is killed leaves nothing.
"""

import asyncio
import re
import sqlite3
import time
from functools import cache
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, create_engine, event, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from common.database import Database

MIGRATIONS: Final = Path(__file__).resolve().parent.parent / "deploy" / "migrations"
WAIT_SECONDS: Final = 60
# Any number, as long as every process takes the same.
LOCK: Final = 7_305_214_611
_DOWN: Final = re.compile(r'^down_revision = "(\w+)"', re.MULTILINE)


class SchemaError(RuntimeError):
    """The database's schema is not this program's, and must not or cannot be brought there."""


async def upgrade(database: Database) -> None:
    """Bring a database to the schema of this program; create it first, if it is not there.

    A database opened read-only, or by a login that does not own it, is checked, never changed.
    Raises SchemaError.
    """
    if database.sqlite:
        await asyncio.to_thread(_sqlite, database.url, database.read_only)
    else:
        await _postgres(database.login("*"), database.read_only or database.roles)


def upgrade_now(url: str) -> None:
    """``upgrade`` for commands that have no event loop."""
    if url.startswith("sqlite"):
        _sqlite(url, read_only=False)
    else:
        asyncio.run(_postgres(url, read_only=False))


def head() -> str:
    """The newest revision this program knows."""
    return revisions()[-1]


@cache
def revisions() -> tuple[str, ...]:
    """Every revision, in the order each names the one before it. Alembic is slow to import."""
    after: dict[str, str] = {}
    for path in (MIGRATIONS / "versions").glob("[0-9]*.py"):
        named = _DOWN.search(path.read_text(encoding="utf-8"))
        after[named[1] if named else ""] = path.stem
    ordered: list[str] = []
    last = ""
    while last in after and len(ordered) < len(after):
        last = after[last]
        ordered.append(last)
    return tuple(ordered)


def current(connection: Connection) -> str | None:
    """The revision the database is at; None before the first migration."""
    if connection.dialect.name == "postgresql":
        there = text("select to_regclass('alembic_version')")
    else:
        there = text("select name from sqlite_master where name = 'alembic_version'")
    if connection.scalar(there) is None:
        return None
    found: str | None = connection.scalar(text("select version_num from alembic_version"))
    return found


def check(found: str | None) -> bool:
    """Whether the revision is this program's own. Raises SchemaError for one it does not know."""
    if found is not None and found not in revisions():
        raise SchemaError(
            f"The database is at revision {found}, and this program knows none after {head()}."
            " Start the program that made it, or a newer one."
        )
    return found == head()


def _bring(connection: Connection) -> None:
    """Under the lock, in a transaction of the caller."""
    if check(current(connection)):
        return
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
    if not check(current(connection)):
        raise SchemaError(f"The migrations ended before {head()}.")


def _refuse_old(found: str | None) -> None:
    if not check(found):
        raise SchemaError(
            f"The database is {'empty' if found is None else f'at revision {found}'}, this"
            f" program may not change it, and needs {head()}. Run: shop db upgrade"
        )


# -- SQLite ----------------------------------------------------------------------------------------


def _sqlite(url: str, read_only: bool) -> None:
    path = Path(url.partition("///")[2])
    if not path.name:
        raise SchemaError("A shop in SQLite needs a file: sqlite:///path/to/shop.db")
    if read_only and not path.exists():
        raise SchemaError(f"There is no database at {path}. Run: shop db upgrade")
    if not read_only:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
    engine = create_engine(
        f"sqlite:///{path}",
        poolclass=NullPool,
        connect_args={"isolation_level": None, "timeout": WAIT_SECONDS},
    )
    try:
        with engine.connect() as connection:
            found = current(connection)
        if read_only:
            _refuse_old(found)
        elif not check(found):
            event.listen(engine, "begin", _begin_immediate)
            _write_ahead(path)
            with engine.begin() as connection:
                _bring(connection)
    finally:
        engine.dispose()


def _begin_immediate(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _write_ahead(path: Path) -> None:
    """Turn on the write-ahead log, which a file remembers. SQLite does not wait for this lock."""
    until = time.monotonic() + WAIT_SECONDS
    while True:
        connection = sqlite3.connect(path, timeout=WAIT_SECONDS, isolation_level=None)
        try:
            connection.execute("PRAGMA journal_mode=WAL").fetchall()
            return
        except sqlite3.OperationalError:
            if time.monotonic() > until:
                raise
            time.sleep(0.02)
        finally:
            connection.close()


# -- PostgreSQL ------------------------------------------------------------------------------------


async def apply(url: str, script: str) -> None:
    """Run a script of many statements in one transaction, under the lock of the migrations."""
    engine = create_async_engine(url, poolclass=NullPool)
    try:
        async with engine.begin() as connection:
            await connection.execute(text("select pg_advisory_xact_lock(:lock)"), _LOCKED)
            driver = (await connection.get_raw_connection()).driver_connection
            assert driver is not None
            await driver.execute(script)
    finally:
        await engine.dispose()


async def _postgres(url: str, read_only: bool) -> None:
    engine = create_async_engine(url, poolclass=NullPool)
    try:
        async with engine.connect() as connection:
            found = await connection.run_sync(current)
        if read_only:
            _refuse_old(found)
        elif not check(found):
            async with engine.begin() as connection:
                await connection.execute(text("select pg_advisory_xact_lock(:lock)"), _LOCKED)
                await connection.run_sync(_bring)
    finally:
        await engine.dispose()


_LOCKED: Final[dict[str, Any]] = {"lock": LOCK}
