"""Who read what: written in groups after the answer, so that no read waits for a transaction.

A call is never made to wait. When the database cannot keep up the queue is full, and what is left
out is counted and written down as a number.
"""

import asyncio
import hashlib
import logging
import os
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, Final

from pydantic_core import to_jsonable_python
from sqlalchemy import insert
from sqlalchemy.orm import Session

from common.audit.redact import bounded, masked, sealed
from common.call import Actor
from common.errors import Busy
from common.ids import new_id
from common.storage.database import Database
from common.tables.spine import AccessRecord

log = logging.getLogger(__name__)

BATCH: Final = 256
EVERY_S: Final = 0.2
QUEUE: Final = 10_000
CLOSING_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class _Read:
    now: datetime
    server: str
    target: str
    actor: Actor
    outcome: str
    args: Mapping[str, Any]


class AccessWriter:
    """One a process. Rows reach the database within 200 ms, or at 256, in one transaction."""

    def __init__(self, database: Database, *, enabled: bool = True, queue: int = QUEUE) -> None:
        self.dropped = 0
        self._database = database
        self._enabled = enabled
        self._limit = queue
        self._waiting: deque[_Read] = deque()
        self._unsaid = 0
        self._full = asyncio.Event()
        self._closing = False
        self._task: asyncio.Task[None] | None = None

    def note(
        self,
        *,
        now: datetime,
        server: str,
        target: str,
        actor: Actor,
        outcome: str,
        args: Mapping[str, Any],
    ) -> None:
        """Remember one read. Costs the call a queue entry, and nothing is awaited."""
        if not self._enabled:
            return
        if self._closing or len(self._waiting) >= self._limit:
            self.dropped += 1
            self._unsaid += 1
            return
        self._waiting.append(_Read(now, server, target, actor, outcome, args))
        if len(self._waiting) >= BATCH:
            self._full.set()
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._write())

    async def aclose(self) -> None:
        """Write what is waiting and end, within five seconds. Later reads are counted only."""
        self._closing = True
        self._full.set()
        if self._task is not None:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._task, CLOSING_S)
        if self._waiting:
            log.error("%d access records were not written", len(self._waiting))

    async def _write(self) -> None:
        """Ends when nothing is left, so that an idle writer holds no task."""
        while self._waiting:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._full.wait(), EVERY_S)
            if not self._closing:
                self._full.clear()
            try:
                await self._flush()
            except Exception as error:
                trace = not isinstance(error, Busy)
                log.error(
                    "access records could not be written; they will be tried again", exc_info=trace
                )
                if self._closing:
                    return
                await asyncio.sleep(1)
            if len(self._waiting) >= BATCH:
                self._full.set()

    async def _flush(self) -> None:
        reads = [self._waiting[place] for place in range(min(BATCH, len(self._waiting)))]
        unsaid = self._unsaid

        def work(session: Session) -> None:
            rows = [_row(read) for read in reads]
            if unsaid:
                rows.append(rows[-1] | {
                    "id": new_id("event"), "target": "access records left out",
                    "outcome": f"dropped {unsaid}", "args_commit": "",
                })  # fmt: skip
            session.execute(insert(AccessRecord), rows)

        await self._database.run("*", work)
        for _ in reads:
            self._waiting.popleft()
        self._unsaid -= unsaid


def _row(read: _Read) -> dict[str, Any]:
    return {
        "id": new_id("event"),
        "at": read.now,
        "server": read.server[:32],
        "target": _named(read.target)[:200],
        "subject": _named(read.actor.id)[:300],
        "client": _named(read.actor.client)[:200],
        "outcome": read.outcome[:32],
        "args_commit": args_commit(read.args),
    }


@lru_cache(maxsize=2_000)
def _named(name: str) -> str:
    return str(masked(name))


def args_commit(args: Mapping[str, Any], salt: bytes | None = None) -> str:
    """Salt (8 bytes) and the first 24 bytes of SHA-256 over salt and arguments, in hexadecimal:
    whoever knows the arguments can show that they were these; equal ones do not look equal."""
    salt = os.urandom(8) if salt is None else salt
    plain = sealed(bounded(to_jsonable_python(dict(args), fallback=str)))
    return salt.hex() + hashlib.sha256(salt + plain).hexdigest()[:48]
