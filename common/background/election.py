"""One process at a time does the work in the background: sweeps, anchors, what goes to providers.

On PostgreSQL the leader holds an advisory lock over a connection of its own: who loses the
connection has lost the lock. On SQLite it holds the lock of a file beside the database, which the
system gives back when a process ends, however it ends. A leader that is cut off may go on for a
few seconds beside the next one, so the work itself must bear that: rows are leased or locked.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Final, Protocol

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.pool import NullPool

from common.storage import file_lock, postgres
from common.storage.database import Database

log = logging.getLogger(__name__)

EVERY_S: Final = 3.0
ANSWER_S: Final = 5.0
LOCK: Final = 7_305_214_612
"""Any number, as long as every process takes the same; advisory locks are a database's own."""

Duty = Callable[[], Awaitable[None]]
"""Work without an end; it is cancelled when the lead is lost."""


class Lock(Protocol):
    """What only one process can hold."""

    async def take(self) -> bool:
        """Whether it is ours now. Never waits for another holder."""
        ...

    async def held(self) -> bool:
        """Whether it still is."""
        ...

    async def give_back(self) -> None: ...


class Election:
    """Tries to lead every few seconds; while it leads, its duties run."""

    def __init__(self, lock: Lock, *, every_s: float = EVERY_S) -> None:
        self.leading = asyncio.Event()
        self._lock = lock
        self._every_s = every_s
        self._duties: list[Duty] = []
        self._task: asyncio.Task[None] | None = None

    def duty(self, work: Duty) -> None:
        """Have ``work`` done by the leader. Before ``start``."""
        self._duties.append(work)

    def start(self) -> None:
        """Stand for election in the background."""
        self._task = asyncio.create_task(self._forever())

    async def stop(self) -> None:
        """End the duties, then give the lock back: the next leader never overlaps with a clean
        end."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        await self._lock.give_back()

    async def _forever(self) -> None:
        while True:
            try:
                if await self._lock.take():
                    await self._lead()
            except (SQLAlchemyError, OSError) as error:
                log.warning("the election cannot be held: %s", type(error).__name__)
            except Exception:
                log.exception("work in the background broke; it will be begun again")
            await asyncio.sleep(self._every_s)

    async def _lead(self) -> None:
        duties = [asyncio.ensure_future(work()) for work in self._duties]
        self.leading.set()
        try:
            while True:
                await asyncio.sleep(self._every_s)
                if not await self._lock.held():
                    log.warning("the lead was lost")
                    return
                for duty in duties:
                    if duty.done():
                        duty.result()  # a duty has no end: whatever ended it is told
        finally:
            self.leading.clear()
            for duty in duties:
                duty.cancel()
            await asyncio.gather(*duties, return_exceptions=True)
            await self._lock.give_back()


def lock_for(database: Database) -> Lock:
    """The lock of a shop, by the kind of its database."""
    if database.sqlite:
        return FileLock(Path(f"{database.url.partition('///')[2]}.leader"))
    return AdvisoryLock(database.login("*"))


class AdvisoryLock:
    """A session's lock in PostgreSQL, over one connection that does nothing else."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._engine: AsyncEngine | None = None
        self._connection: AsyncConnection | None = None

    async def take(self) -> bool:
        await self.give_back()
        self._engine = postgres.engine(
            self._url, {"application_name": "shop leader"}, poolclass=NullPool,
            isolation_level="AUTOCOMMIT",
        )  # fmt: skip
        taken = False
        try:
            async with asyncio.timeout(ANSWER_S):
                self._connection = await self._engine.connect()
                taken = bool(await self._ask("select pg_try_advisory_lock(:lock)", lock=LOCK))
        finally:
            if not taken:
                await self.give_back()
        return taken

    async def held(self) -> bool:
        try:
            async with asyncio.timeout(ANSWER_S):
                await self._ask("select 1")
        except (SQLAlchemyError, OSError):
            return False
        return True

    async def give_back(self) -> None:
        connection, engine = self._connection, self._engine
        self._connection = self._engine = None
        with suppress(SQLAlchemyError, OSError):
            if connection is not None:
                await connection.close()
            if engine is not None:
                await engine.dispose()

    async def _ask(self, query: str, **values: Any) -> Any:
        if self._connection is None:
            return None
        return await self._connection.scalar(text(query), values)


class FileLock:
    """A file's lock, for the processes of one machine."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._handle: IO[bytes] | None = None

    async def take(self) -> bool:
        handle = self._file.open("ab")
        if not file_lock.take(handle):
            handle.close()
            return False
        self._handle = handle
        return True

    async def held(self) -> bool:
        return self._handle is not None

    async def give_back(self) -> None:
        if self._handle is not None:
            self._handle.close()
            self._handle = None
