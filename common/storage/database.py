"""One engine, one way to run a transaction, one check on who writes what."""

import asyncio
import logging
import random
import sqlite3
import time
from collections.abc import Callable
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, Engine, Pool, event, make_url, select
from sqlalchemy.exc import (
    DBAPIError,
    InvalidatePoolError,
    InvalidRequestError,
    OperationalError,
)
from sqlalchemy.exc import TimeoutError as NoConnection
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import Session
from sqlalchemy.orm.exc import StaleDataError

from common.errors import Busy, Conflict, StorageFull, UpstreamError
from common.ids import new_id
from common.storage import postgres, sqlite
from common.storage.dialects import dialect_of
from common.storage.grants import role_of
from common.storage.hot import DRIVER, WRITING
from common.storage.mapped import stamp
from common.storage.sqlite import SqliteFile
from common.storage.writing import WRITERS, Writing, written
from common.tables import Base, Record
from common.telemetry import span

log = logging.getLogger(__name__)

T = TypeVar("T")
Work = Callable[[Session], T]

ATTEMPTS: Final = 6
LOCK_WAIT_MS: Final = 10_000
STATEMENT_MS: Final = 60_000
POOL: Final = 16
POOL_WAIT_S: Final = 30
IDLE_S: Final = 1.0
USED: Final = "used"  # when a connection was last given back
_READ_ONLY = "25006"  # of a host that was the primary
_RETRY_STATES = {"40001", "40P01", "55P03"}
_DISK_FULL = "53100"


class Rollback(Exception):
    """Ends a transaction without keeping anything; ``value`` is what the work found out."""

    def __init__(self, value: Any) -> None:
        super().__init__("rolled back on purpose")
        self.value = value


class _NothingKept(Exception):
    """The connection broke, or turned out to be to no primary, before a commit was asked for."""

    def __init__(self, pool: Pool) -> None:
        super().__init__("the connection broke before the commit")
        self.pool = pool


class Database:
    """A shop's database: SQLite by one worker thread, PostgreSQL by asyncpg.

    ``run`` is the only door. ``commit()`` appears here and nowhere else. With ``roles`` every
    domain has its own login and pool on PostgreSQL (``grants``); pools open when first used.
    """

    def __init__(
        self, url: str, *, read_only: bool = False, roles: bool = False, pool: int = POOL
    ) -> None:
        self.url = url
        self.read_only = read_only
        self.sqlite = url.startswith("sqlite")
        self.roles = roles and not self.sqlite
        self.told: Callable[[set[str]], None] | None = None  # what a commit touched: common.notices
        self._pool = pool
        self._engines: dict[str, AsyncEngine] = {}
        self._file: SqliteFile | None = None
        if self.sqlite:
            self._file = SqliteFile(url, read_only=read_only)
            event.listen(self._file.engine, "before_cursor_execute", _refuse_foreign_write)

    def login(self, domain: str) -> str:
        """The URL a transaction of the domain connects with."""
        if not self.roles:
            return self.url
        role = role_of(domain, read_only=self.read_only)
        return make_url(self.url).set(username=role).render_as_string(hide_password=False)

    async def run(
        self,
        domain: str,
        work: Work[T],
        *,
        write: bool = True,
        audit_id: str = "",
        name: str = "",
    ) -> T:
        """Run ``work`` in one transaction of ``domain`` and commit, or keep nothing.

        Lost races (SQLite busy, serialization failure, deadlock) and connections that break before
        the commit are tried again, so ``work`` must start from nothing. ``Rollback`` keeps nothing
        and returns its value. A ``name`` says that reads of this name are few statements and take
        about as long as each other.
        Raises Busy when every attempt lost, no connection became free or no host could be reached,
        StorageFull when there is no room, Conflict when a row changed under a version.
        """
        with span("transaction", domain=domain, write=write):
            return await self._tried(domain, work, write and not self.read_only, audit_id, name)

    async def _tried(self, domain: str, work: Work[T], write: bool, audit_id: str, name: str) -> T:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return await self._once(domain, work, write, audit_id, name)
            except StaleDataError:
                raise Conflict("Somebody changed the record at the same moment.") from None
            except NoConnection as error:  # nothing was begun
                raise Busy("Every connection to the database was in use.") from error
            except postgres.Unreachable as error:  # nor was anything here
                log.warning("%s", error)
                raise Busy("The database cannot be reached.") from error
            except _NothingKept as broken:
                if attempt == ATTEMPTS:
                    raise Busy("The connection to the database broke.") from broken
                await self._leave(domain, broken.pool)
                await _wait(attempt)
            except DBAPIError as error:
                if _no_room(error):
                    log.error("the database has no room to write: %s", error.orig)
                    raise StorageFull("The shop's database has no room left.") from error
                if not _lost_race(error):
                    raise
                if attempt == ATTEMPTS:
                    raise Busy("The database stayed busy.") from error
                await _wait(attempt)
        raise AssertionError("unreachable")

    async def close(self) -> None:
        """Give back every connection."""
        await self._dispose()
        if self._file is not None:
            await self._file.close()

    @property
    def engine(self) -> Engine:
        """For what is said of this database in this process, never for a transaction."""
        return self._core()

    def _core(self) -> Engine:
        return self._file.engine if self._file is not None else self._engine("*").sync_engine

    def _engine(self, domain: str) -> AsyncEngine:
        role = role_of(domain, read_only=self.read_only) if self.roles else ""
        if role not in self._engines:
            engine = _postgres_engine(self.login(domain), self._pool, self.read_only)
            event.listen(engine.sync_engine, "before_cursor_execute", _refuse_foreign_write)
            self._engines[role] = engine
        return self._engines[role]

    async def _leave(self, domain: str, pool: Pool) -> None:
        """Where one connection is gone the others are: none of that pool is used again."""
        engine = self._engine(domain)
        if engine.sync_engine.pool is pool:
            await engine.dispose()

    async def _dispose(self) -> None:
        for engine in self._engines.values():
            await engine.dispose()

    async def _once(self, domain: str, work: Work[T], write: bool, audit_id: str, name: str) -> T:
        if self._file is not None:

            def transact(session: Session) -> T:
                session.info["told"] = self.told
                return _transact(session, domain, work, write, audit_id)

            if write:
                return await self._file.write(transact)
            return await self._file.read(transact, name)
        async with AsyncSession(self._engine(domain), expire_on_commit=False) as session:
            session.sync_session.info["told"] = self.told
            options: dict[str, Any] = {"postgresql_readonly": not write}
            if name and not write:
                # A statement sees what was committed before it, inside a transaction or not: short
                # reads do without the two round trips.
                options = {"isolation_level": "AUTOCOMMIT"}
            return await session.run_sync(_transact, domain, work, write, audit_id, options)


async def _wait(attempt: int) -> None:
    await asyncio.sleep(random.uniform(0.01, 0.05) * 2**attempt)


def _transact(
    session: Session,
    domain: str,
    work: Work[T],
    write: bool,
    audit_id: str,
    options: dict[str, Any] | None = None,
) -> T:
    writing = Writing(domain, may=write)
    session.info.update({"domain": domain, "audit_id": audit_id, "write": write, WRITING: writing})
    driver = session.info.get(DRIVER)
    if driver is not None:
        session.get_bind().info[WRITING] = writing  # type: ignore[union-attr]
        sqlite.begin(session, write=write)
        if write:
            session.connection()  # so that the session's commit is the driver's
    else:
        connection = _connected(session, options or {})
        connection.info[WRITING] = writing
        session.info[DRIVER] = connection.connection.dbapi_connection
    try:
        result = _worked(session, work, write)
        if write:
            writing.settle()
            _commit(session)
        return result
    except Rollback as done:
        value: T = done.value
        return value
    finally:
        if write:
            _undo(session)
        else:
            session.close()  # a rollback would expire what the caller was given
        if driver is not None and driver.in_transaction:
            driver.rollback()


def _connected(session: Session, options: dict[str, Any]) -> Connection:
    try:
        return session.connection(execution_options=options)
    except (DBAPIError, InvalidRequestError) as error:  # so does a pool whose new ones break, too
        engine = session.get_bind().engine
        raise _NothingKept(engine.pool) from error


def _worked(session: Session, work: Work[T], write: bool) -> T:
    try:
        result = work(session)
        if write:
            session.flush()
        return result
    except DBAPIError as error:
        engine = session.get_bind().engine
        # An old primary answers a ping and refuses every write: the next one looks further.
        fenced = write and _state(error.orig) == _READ_ONLY
        if engine.dialect.name != "postgresql" or not (error.connection_invalidated or fenced):
            raise
        session.invalidate()
        raise _NothingKept(engine.pool) from error


def _undo(session: Session) -> None:
    """Nothing is kept in either case: a connection that cannot say so is not used again, and what
    went wrong before is what the caller hears of."""
    try:
        session.rollback()
    except DBAPIError as error:
        log.warning("a connection broke in a rollback: %s", type(error.orig).__name__)
        session.invalidate()


def _commit(session: Session) -> None:
    """Raises UpstreamError where the connection broke before the answer: the commit may have
    happened, so nobody is told that it did not, and nothing is tried again here. A commit whose
    last step failed on the disk is undone, but whoever recovers the file after a crash keeps it."""
    try:
        session.commit()
    except (DBAPIError, OSError) as error:
        if isinstance(error, DBAPIError) and not _unanswered(error):
            raise
        raise UpstreamError(
            "The database broke off during the commit: it is not known here whether the change"
            " was kept.",
            next="Repeat the same call with the same idempotency_key: it answers what became of"
            " it. Without a key, read the record before you repeat.",
        ) from error


def lock(session: Session, kind: type[Record], ids: list[str]) -> None:
    """Lock rows in one fixed order. On SQLite the write transaction is lock enough."""
    if dialect_of(session) == "postgresql" and ids:
        query = select(kind.id).where(kind.id.in_(sorted(set(ids)))).order_by(kind.id)
        session.execute(query.with_for_update()).all()


def _postgres_engine(url: str, pool: int, read_only: bool) -> AsyncEngine:
    # Nobody waits for a lock, or holds one while away, longer than a caller would wait.
    limits = {
        "application_name": "shop",
        "lock_timeout": str(LOCK_WAIT_MS),
        "statement_timeout": str(STATEMENT_MS),
        "idle_in_transaction_session_timeout": str(STATEMENT_MS),
        # Said only to restrict: a host that was fenced as read-only must stay so.
        **({"default_transaction_read_only": "on"} if read_only else {}),
    }
    engine = postgres.engine(
        url,
        limits,
        pool_size=pool,
        max_overflow=0,
        pool_timeout=POOL_WAIT_S,
        isolation_level="READ COMMITTED",
        hide_parameters=True,
    )
    _ping_the_idle(engine.sync_engine)
    return engine


def _state(error: object) -> str:
    return str(getattr(error, "sqlstate", ""))


def _ping_the_idle(engine: Engine) -> None:
    """A connection nobody used for a moment may be gone: three round trips find out. One that
    breaks between two calls is found out by the next, which is tried again on another."""

    @event.listens_for(engine, "connect")
    @event.listens_for(engine, "checkin")
    def alive(connection: Any, record: Any) -> None:
        record.info[USED] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def taken(connection: Any, record: Any, _: object) -> None:
        if time.monotonic() - record.info.get(USED, 0.0) < IDLE_S:
            return
        try:
            engine.dialect.do_ping(connection)
        except engine.dialect.loaded_dbapi.Error as error:
            raise InvalidatePoolError("the connection is gone") from error


def _lost_race(error: DBAPIError) -> bool:
    original = error.orig
    if isinstance(error, OperationalError) and isinstance(original, sqlite3.OperationalError):
        return "locked" in str(original) or "busy" in str(original)
    return _state(original) in _RETRY_STATES


def _no_room(error: DBAPIError) -> bool:
    full = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE)
    return _sqlite(error) in full or _state(error.orig) == _DISK_FULL


def _unanswered(error: DBAPIError) -> bool:
    return error.connection_invalidated or _sqlite(error) & 0xFF == sqlite3.SQLITE_IOERR


def _sqlite(error: DBAPIError) -> int:
    return int(getattr(error.orig, "sqlite_errorcode", 0))  # none where the driver itself objects


def _refuse_foreign_write(connection: Connection, cursor: Any, statement: str, *_: Any) -> None:
    if WRITING in connection.info:
        for table in written(statement):
            connection.info[WRITING].note(table, statement)


@event.listens_for(Session, "before_flush")
def _stamp(session: Session, *_: object) -> None:
    for row in [*session.new, *session.dirty]:
        if isinstance(row, Record) and session.is_modified(row):
            stamp(session, row, changed=row in session.dirty)


def new_audit_id() -> str:
    """The id a call's record will have, known before its first row is written."""
    return new_id("audit")


__all__ = ["WRITERS", "Base", "Database", "Rollback", "lock", "new_audit_id"]
