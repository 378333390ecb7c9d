"""How one process uses a SQLite file.

Three connections: one thread writes, another reads, and reads that are known to be short run where
the caller is, without a thread between. In the write-ahead log no reader waits for the writer.
"""

import asyncio
import contextvars
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from common.storage.hot import DRIVER

T = TypeVar("T")
Transact = Callable[[Session], T]

WAIT_MS: Final = 10_000
WAIT_HERE_MS: Final = 50  # on the caller's thread: rather lose the race and try again
SHORT_S: Final = 0.002
_LONG: Final = (1.0, 1.0)
_MOST_NAMES: Final = 2_000


class SqliteFile:
    """The carrier of a ``sqlite:///…`` database. ``engine`` is for events and migrations."""

    def __init__(self, url: str, *, read_only: bool) -> None:
        self.engine = _engine(url, read_only)
        self._writer = _Worker("database-write", self.engine)
        self._reader = _Worker("database-read", self.engine)
        self._here = _Seat(self.engine, WAIT_HERE_MS)
        self._took: dict[str, tuple[float, float]] = {}  # the last two times

    async def write(self, transact: Transact[T]) -> T:
        """In the one thread that writes."""
        return await self._writer.run(transact)

    async def read(self, transact: Transact[T], name: str) -> T:
        """Beside the writer; on this thread if one of the last two called ``name`` was short.
        (One alone may have been slow because the machine was busy.)"""
        start = time.perf_counter()
        if name and min(self._took.get(name, _LONG)) < SHORT_S:
            result = self._here.run(transact)
            took = time.perf_counter() - start
        else:
            result, took = await self._reader.run(lambda session: _timed(transact, session))
        if name:
            if len(self._took) >= _MOST_NAMES:
                self._took.clear()
            self._took[name] = (self._took.get(name, _LONG)[1], took)
        return result

    async def close(self) -> None:
        """End both threads and close every connection."""
        for worker in (self._writer, self._reader):
            await worker.close()
        self._here.close()
        self.engine.dispose()


class _Seat:
    """A connection and its session, for one transaction at a time."""

    def __init__(self, engine: Engine, wait_ms: int) -> None:
        self._engine = engine
        self._wait_ms = wait_ms
        self._connection: Connection | None = None
        self._session = Session()
        self._driver: sqlite3.Connection | None = None

    def run(self, transact: Transact[T]) -> T:
        if self._connection is None or self._connection.closed:
            self._open()
        session = self._session
        session.info[DRIVER] = self._driver
        try:
            return transact(session)
        finally:
            if session.in_transaction() or session.identity_map or session.new:
                session.close()
            session.info.clear()

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()

    def _open(self) -> None:
        self._connection = self._engine.connect()
        driver = self._connection.connection.driver_connection
        assert isinstance(driver, sqlite3.Connection)
        driver.execute(f"PRAGMA busy_timeout={self._wait_ms}")
        self._driver = driver
        self._session = Session(self._connection, expire_on_commit=False)


def begin(driver: sqlite3.Connection, *, write: bool) -> None:
    """Begin a transaction now: a write takes its lock before it reads."""
    statement = "BEGIN IMMEDIATE" if write else "BEGIN"
    try:
        driver.execute(statement)
    except sqlite3.OperationalError as error:
        raise OperationalError(statement, None, error) from error


class _Worker:
    """One thread and its connection. Answers that are ready together cross back together."""

    def __init__(self, name: str, engine: Engine) -> None:
        self._seat = _Seat(engine, WAIT_MS)
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._ready: deque[_Job] = deque()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._started = False

    async def run(self, transact: Transact[T]) -> T:
        if not self._started:
            self._started = True
            self._thread.start()
        job = _Job(asyncio.get_running_loop(), transact)
        self._jobs.put(job)
        result: T = await job.answer
        return result

    async def close(self) -> None:
        if self._started:
            self._jobs.put(None)
            await asyncio.to_thread(self._thread.join, WAIT_MS / 1000)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                job.result = job.context.run(self._seat.run, job.transact)
            except BaseException as error:
                job.error = error
            self._ready.append(job)
            if len(self._ready) == 1:
                self._post(job.loop)
        self._seat.close()

    def _post(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            loop.call_soon_threadsafe(self._deliver)
        except RuntimeError:  # the loop is gone, and with it whoever waited
            self._ready.clear()

    def _deliver(self) -> None:
        while self._ready:
            job = self._ready.popleft()
            if job.answer.done():
                continue  # cancelled meanwhile
            if job.error is None:
                job.answer.set_result(job.result)
            else:
                job.answer.set_exception(job.error)


class _Job:
    """One transaction asked for, and what became of it."""

    __slots__ = ("answer", "context", "error", "loop", "result", "transact")

    def __init__(self, loop: asyncio.AbstractEventLoop, transact: Transact[Any]) -> None:
        self.loop = loop
        self.transact = transact
        self.context = contextvars.copy_context()  # the trace goes on in the thread
        self.answer: asyncio.Future[Any] = loop.create_future()
        self.result: Any = None
        self.error: BaseException | None = None


def _timed(transact: Transact[T], session: Session) -> tuple[T, float]:
    start = time.perf_counter()
    return transact(session), time.perf_counter() - start


def _engine(url: str, read_only: bool) -> Engine:
    path = url.partition("///")[2]
    if path and not read_only:
        Path(path).parent.mkdir(parents=True, exist_ok=True)

    def connect() -> sqlite3.Connection:
        mode = "ro" if read_only else "rwc"
        where = f"{Path(path).absolute().as_uri()}?mode={mode}" if path else ":memory:"
        return sqlite3.connect(
            where, uri=bool(path), check_same_thread=False, isolation_level=None,
            timeout=WAIT_MS / 1000,
        )  # fmt: skip

    engine = create_engine(
        f"sqlite:///{path}",
        creator=connect,
        hide_parameters=True,  # they would end up in logs
    )

    @event.listens_for(engine, "connect")
    def configure(connection: Any, _: object) -> None:
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout={WAIT_MS}")
        if read_only:
            cursor.execute("PRAGMA query_only=ON")
        else:
            cursor.execute("PRAGMA journal_mode=WAL")
            cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.execute("PRAGMA recursive_triggers=ON")  # REPLACE must meet the delete triggers
        cursor.close()

    return engine
