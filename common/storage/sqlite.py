"""How one process uses a SQLite file.

Three connections: one thread writes, another reads, and reads that are known to be short run where
the caller is, without a thread between. In the write-ahead log no reader waits for the writer.

Processes that write the same file queue. SQLite alone lets each of them look again after sleeps of
up to a tenth of a second, and whoever has just written is there first every time.
"""

import asyncio
import contextvars
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import SimpleQueue
from typing import IO, Any, Final, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from common.storage import file_lock
from common.storage.hot import DRIVER

T = TypeVar("T")
Transact = Callable[[Session], T]

WAIT_MS: Final = 10_000
WAIT_HERE_MS: Final = 50  # on the caller's thread: rather lose the race and try again
LOOK_AGAIN_S: Final = 0.001
QUEUE: Final = "queue"  # where the session of the thread that writes says where it queues
SHORT_S: Final = 0.002
_LONG: Final = (1.0, 1.0)
_MOST_NAMES: Final = 2_000


class SqliteFile:
    """The carrier of a ``sqlite:///…`` database. ``engine`` is for events and migrations."""

    def __init__(self, url: str, *, read_only: bool) -> None:
        self.engine = _engine(url, read_only)
        self._writer = _Worker("database-write", _Seat(self.engine, 0, _Queue(_path(url))))
        self._reader = _Worker("database-read", _Seat(self.engine, WAIT_MS))
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

    def __init__(self, engine: Engine, wait_ms: int, queue: "_Queue | None" = None) -> None:
        self._engine = engine
        self._wait_ms = wait_ms
        self._queue = queue
        self._connection: Connection | None = None
        self._session = Session()
        self._driver: sqlite3.Connection | None = None

    def run(self, transact: Transact[T]) -> T:
        if self._connection is None or self._connection.closed:
            self._open()
        session = self._session
        session.info.update({DRIVER: self._driver, QUEUE: self._queue})
        try:
            return transact(session)
        finally:
            if session.in_transaction() or session.identity_map or session.new:
                session.close()
            session.info.clear()

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
        if self._queue is not None:
            self._queue.close()

    def _open(self) -> None:
        self._connection = self._engine.connect()
        driver = self._connection.connection.driver_connection
        assert isinstance(driver, sqlite3.Connection)
        driver.execute(f"PRAGMA busy_timeout={self._wait_ms}")
        self._driver = driver
        self._session = Session(self._connection, expire_on_commit=False)


def begin(session: Session, *, write: bool) -> None:
    """Begin a transaction now: a write takes its lock before it reads."""
    driver, statement = session.info[DRIVER], "BEGIN IMMEDIATE" if write else "BEGIN"
    try:
        if write:
            session.info[QUEUE].first(lambda: driver.execute(statement))
        else:
            driver.execute(statement)
    except sqlite3.OperationalError as error:
        raise OperationalError(statement, None, error) from error


class _Queue:
    """Where processes wait for a file's write lock: one of them looks whether it is free, the
    others whether they are next, and whoever has just written goes to the end. Only manners: who
    cannot queue, or has queued for WAIT_MS, tries all the same, and the database's lock decides."""

    def __init__(self, path: str) -> None:
        self._file = Path(f"{path}.queue") if path else None
        self._handle: IO[bytes] | None = None

    def first(self, take: Callable[[], object]) -> None:
        """``take`` once it is our turn, again and again while it finds the database locked. Raises
        what it raises after WAIT_MS."""
        until = time.monotonic() + WAIT_MS / 1000
        with self._next(until):
            while True:
                try:
                    take()
                    return
                except sqlite3.OperationalError as error:
                    if not _taken(error) or time.monotonic() >= until:
                        raise
                time.sleep(LOOK_AGAIN_S)

    @contextmanager
    def _next(self, until: float) -> Iterator[None]:
        handle = self._opened()
        while handle is not None and not file_lock.take(handle):
            if time.monotonic() >= until:
                handle = None
            time.sleep(LOOK_AGAIN_S)
        try:
            yield
        finally:
            if handle is not None:
                file_lock.give_back(handle)

    def _opened(self) -> IO[bytes] | None:
        if self._handle is None and self._file is not None:
            with suppress(OSError):  # a full disk takes no new file, and what it has may be read
                self._handle = self._file.open("ab")
        return self._handle

    def close(self) -> None:
        if self._handle is not None:
            self._handle.close()
            self._handle = None


def _taken(error: sqlite3.OperationalError) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY


class _Worker:
    """One thread and its connection. Answers that are ready together cross back together."""

    def __init__(self, name: str, seat: _Seat) -> None:
        self._seat = seat
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


def _path(url: str) -> str:
    return url.partition("///")[2]


def _engine(url: str, read_only: bool) -> Engine:
    path = _path(url)
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
