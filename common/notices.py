"""What changed, told to every worker: the resources behind ``subscriptions/listen``.

A committed transaction leaves the URIs it touched. Each process gathers them for a moment and
passes them on: by NOTIFY in PostgreSQL, by a file beside the database in SQLite, which the others
look at. Not in the transaction itself: NOTIFY there makes every commit wait for every other one.
So a notice says "read it again", it may come twice, and a process that dies takes its last ones
along. Nothing is decided by a notice.
"""

import asyncio
import json
import logging
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Protocol

from sqlalchemy import event, text
from sqlalchemy.orm import Session

from common.storage import postgres
from common.storage.database import Database

log = logging.getLogger(__name__)

Listener = Callable[[str], None]

CHANNEL: Final = "shop_changed"
GATHER_S: Final = 0.05
LOOK_S: Final = 0.2
MOST_GATHERED: Final = 2_000
LARGEST_PAYLOAD: Final = 7_000  # PostgreSQL takes 8,000 bytes
LARGEST_FILE: Final = 256 * 1024
AGAIN_S: Final = 2.0


class Carrier(Protocol):
    """How notices travel between processes."""

    async def send(self, payload: str) -> None: ...

    async def receive(self, deliver: Callable[[str], None]) -> None:
        """Deliver every payload from now on, until cancelled."""
        ...


class Notices:
    """One a process. ``listen`` hears of every change in the shop, also of this process's own."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._carrier: Carrier = _File(database) if database.sqlite else _Notify(database)
        self._listeners: dict[object, Listener] = {}
        self._gathered: set[str] = set()
        self._sending: asyncio.Task[None] | None = None
        self._receiving: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        """From now on, what this process commits is told."""
        self._loop = asyncio.get_running_loop()
        self._database.told = self._committed

    async def stop(self) -> None:
        """Tell what is gathered, then nothing more."""
        self._database.told = None
        if self._sending is not None:
            with suppress(asyncio.CancelledError):
                await self._sending
        if self._receiving is not None:
            self._receiving.cancel()
            with suppress(asyncio.CancelledError):
                await self._receiving

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Call ``listener`` with each URI, on this event loop. Returns what ends it."""
        token = object()
        self._listeners[token] = listener
        if self._receiving is None or self._receiving.done():
            self._receiving = asyncio.get_running_loop().create_task(self._receive())

        def end() -> None:
            self._listeners.pop(token, None)

        return end

    def changed(self, uris: Iterable[str]) -> None:
        """Tell everybody, soon. On this event loop."""
        for uri in uris:
            if len(self._gathered) < MOST_GATHERED:
                self._gathered.add(uri)
        if self._gathered and (self._sending is None or self._sending.done()):
            self._sending = asyncio.get_running_loop().create_task(self._send())

    def _committed(self, uris: set[str]) -> None:
        # On SQLite a thread commits.
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self.changed, uris)

    async def _send(self) -> None:
        while self._gathered:
            await asyncio.sleep(GATHER_S)
            uris, self._gathered = sorted(self._gathered), set()
            try:
                for payload in _payloads(uris):
                    await self._carrier.send(payload)
            except Exception:
                log.exception("%d notices of changes were lost", len(uris))

    async def _receive(self) -> None:
        while True:
            try:
                await self._carrier.receive(self._deliver)
            except Exception as error:
                log.warning("notices of changes are not heard: %s", type(error).__name__)
            await asyncio.sleep(AGAIN_S)

    def _deliver(self, payload: str) -> None:
        try:
            uris = json.loads(payload)
        except ValueError:
            return
        for uri in uris if isinstance(uris, list) else ():
            for listener in list(self._listeners.values()):
                try:
                    listener(str(uri))
                except Exception:
                    log.exception("a listener broke; the others go on")


def _payloads(uris: list[str]) -> Iterable[str]:
    batch: list[str] = []
    size = 2
    for uri in uris:
        if size + len(uri) + 4 > LARGEST_PAYLOAD:
            yield json.dumps(batch)
            batch, size = [], 2
        batch.append(uri)
        size += len(uri) + 4
    if batch:
        yield json.dumps(batch)


class _Notify:
    """LISTEN over a connection of its own; NOTIFY in small transactions of their own."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def send(self, payload: str) -> None:
        query = text("SELECT pg_notify(:channel, :payload)")
        values = {"channel": CHANNEL, "payload": payload}
        await self._database.run("*", lambda session: session.execute(query, values).all())

    async def receive(self, deliver: Callable[[str], None]) -> None:
        connection = await postgres.connect(
            self._database.login("*"), {"application_name": "shop notices"}
        )
        gone = asyncio.Event()
        connection.add_termination_listener(lambda _: gone.set())
        try:
            await connection.add_listener(CHANNEL, lambda *said: deliver(str(said[3])))
            await gone.wait()
        finally:
            await connection.close(timeout=2)


class _File:
    """A file of lines beside the database. It says nothing that must be kept: when it has grown
    it begins anew."""

    def __init__(self, database: Database) -> None:
        self._file = Path(f"{database.url.partition('///')[2]}.notices")

    async def send(self, payload: str) -> None:
        handle = os.open(self._file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            if os.fstat(handle).st_size > LARGEST_FILE:
                os.ftruncate(handle, 0)
            os.write(handle, payload.encode() + b"\n")
        finally:
            os.close(handle)

    async def receive(self, deliver: Callable[[str], None]) -> None:
        read = self._size()
        while True:
            await asyncio.sleep(LOOK_S)
            size = self._size()
            if size < read:
                read = 0
            if size > read:
                with self._file.open("rb") as file:
                    file.seek(read)
                    lines = file.read(size - read)
                whole, _, _ = lines.rpartition(b"\n")
                read += len(whole) + 1 if whole else 0
                for line in whole.splitlines():
                    deliver(line.decode("utf-8", "replace"))

    def _size(self) -> int:
        try:
            return self._file.stat().st_size
        except FileNotFoundError:
            return 0


@event.listens_for(Session, "after_commit")
def _tell(session: Session) -> None:
    told: Any = session.info.get("told")
    touched = session.info.pop("touched", None)
    if told is not None and touched:
        told(touched)
