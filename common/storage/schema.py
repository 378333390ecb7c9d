"""Bringing a database up to this program's schema, and refusing to run on any other.

The migrations are in deploy/migrations. On SQLite everything happens in one transaction that holds
the database's only write lock. On PostgreSQL each migration is a transaction of its own, under an
advisory lock and a short lock timeout, so that servers go on working meanwhile. Of several
processes that start at once one does the work and the others find it done; one that is killed
leaves whole migrations only.

A program runs on a database that is newer than itself only where every migration since its own
says that it may (``compatible = True``: docs/deployment.md has the rules).
"""

import asyncio
import random
import re
import sqlite3
import time
from collections.abc import Awaitable, Callable
from functools import cache
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, create_engine, event, inspect, text
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.pool import NullPool

from common.storage import postgres
from common.storage.database import Database

MIGRATIONS: Final = Path(__file__).resolve().parents[2] / "deploy" / "migrations"
WAIT_SECONDS: Final = 60
# A migration waits this long for a lock, for everybody behind it in the queue waits as long; then
# it lets them pass and tries again.
LOCK_WAIT_MS: Final = 3_000
TRIES: Final = 40
LOCK_NOT_AVAILABLE: Final = "55P03"
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
        asyncio.run(_postgres(url, only_check=False))


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


def check(found: str | None, oldest: str | None = None) -> bool:
    """Whether this program may run on a database at this revision. Raises SchemaError for one it
    does not know, unless the database says that programs since ``oldest`` may."""
    if found is None or found in revisions():
        return found == head()
    if oldest is not None and oldest in revisions():
        return True
    raise SchemaError(
        f"The database is at revision {found}, and this program knows none after {head()}."
        " Start the program that made it, or a newer one."
    )


def oldest(connection: Connection, found: str | None) -> str | None:
    """The oldest revision whose programs may run on a database at this one, if it says so."""
    if found is None or not inspect(connection).has_table("schema_note"):
        return None
    query = text("select oldest from schema_note where revision = :revision")
    said: str | None = connection.scalar(query, {"revision": found})
    return said


def _standing(connection: Connection) -> bool:
    found = current(connection)
    return check(found, oldest(connection, found))


def _bring(connection: Connection) -> None:
    """Under the lock."""
    done = _standing(connection)
    if connection.dialect.name == "postgresql":
        connection.rollback()  # alembic begins a transaction for each migration
    if done:
        return
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
    if not check(current(connection)):
        raise SchemaError(f"The migrations ended before {head()}.")


def _refuse_old(connection: Connection) -> None:
    found = current(connection)
    if not check(found, oldest(connection, found)):
        raise SchemaError(
            f"The database is {'empty' if found is None else f'at revision {found}'}, this"
            f" program may not change it, and needs {head()}. Run: shop db upgrade"
        )


# -- SQLite ----------------------------------------------------------------------------------------


def _sqlite(url: str, read_only: bool) -> None:
    path = Path(url.partition("///")[2])
    if path.name in ("", ":memory:"):
        raise SchemaError("A shop in SQLite needs a file: sqlite:///path/to/shop.db")
    if read_only and not path.exists():
        raise SchemaError(f"There is no database at {path}. Run: shop db upgrade")
    if not read_only:
        path.parent.mkdir(0o700, parents=True, exist_ok=True)
        path.touch(mode=0o600)
    engine = create_engine(
        f"sqlite:///{path}",
        poolclass=NullPool,
        connect_args={"isolation_level": None, "timeout": WAIT_SECONDS},
    )
    try:
        with engine.connect() as connection:
            if read_only:
                _refuse_old(connection)
                return
            done = _standing(connection)
        if not done:
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
    """Run a script of many statements in one transaction, under the lock of the migrations. Raises
    SchemaError."""
    try:
        await _locked(url, lambda connection: _say(connection, f"BEGIN; {script}; COMMIT"))
    except Exception as error:
        if not getattr(error, "sqlstate", ""):  # the driver's own errors have one
            raise
        raise SchemaError(f"Nothing was applied. The database answers: {error}") from error


async def _say(connection: AsyncConnection, script: str) -> None:
    """Many statements at once, outside the transactions of SQLAlchemy."""
    driver = (await connection.get_raw_connection()).driver_connection
    assert driver is not None
    try:
        await driver.execute(script)
    except BaseException:
        await driver.execute("ROLLBACK")
        raise


async def _take_turn(connection: AsyncConnection) -> None:
    """Asked again and again: who waits within a statement holds a snapshot, and an index that is
    built online waits for all of them."""
    driver = (await connection.get_raw_connection()).driver_connection
    assert driver is not None
    while True:
        if await driver.fetchval(f"SELECT pg_try_advisory_lock({LOCK})"):
            return
        await asyncio.sleep(random.uniform(0.05, 0.2))


async def _postgres(url: str, only_check: bool) -> None:
    engine = postgres.engine(url, {"application_name": "shop schema"}, poolclass=NullPool)
    try:
        async with engine.connect() as connection:
            if only_check:
                await connection.run_sync(_refuse_old)
                return
            done = await connection.run_sync(_standing)
    finally:
        await engine.dispose()
    if not done:
        await _locked(url, lambda connection: connection.run_sync(_bring))


async def _locked(url: str, work: Callable[[AsyncConnection], Awaitable[None]]) -> None:
    """Under a lock of the session, which ends with the connection and outlives transactions."""
    engine = postgres.engine(url, {"application_name": "shop schema"}, poolclass=NullPool)
    try:
        async with engine.connect() as connection:
            await _take_turn(connection)
            await _say(connection, f"SET lock_timeout = {LOCK_WAIT_MS}")
            for turn in range(1, TRIES + 1):
                try:
                    await work(connection)
                    return
                except Exception as error:
                    cause = getattr(error, "orig", error)  # the driver's own, or wrapped
                    if getattr(cause, "sqlstate", "") != LOCK_NOT_AVAILABLE:
                        raise
                    if turn == TRIES:
                        raise SchemaError("The tables stayed locked by somebody.") from error
                await connection.rollback()
                await asyncio.sleep(random.uniform(0.1, 1.0))
    finally:
        await engine.dispose()
