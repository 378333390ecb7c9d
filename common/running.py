"""Long work in a thread: progress to the caller, cancellation to the step."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any, Final
from weakref import WeakValueDictionary

from common.incoming import ProgressSink
from common.toolset import Progress

MOST_OF_ONE: Final = 2
# Their own: anchors, outbox and passphrases never wait for a computation.
_THREADS: Final = ThreadPoolExecutor(8, thread_name_prefix="computing")
_turns: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()


class Running:
    """Implements ``Progress`` for one call."""

    def __init__(self, sink: ProgressSink) -> None:
        self._sink = sink
        self._loop = asyncio.get_running_loop()
        self._stop = threading.Event()

    async def run(self, compute: Callable[[Any, Progress], Any], data: Any, whose: str) -> Any:
        """The outcome of ``compute``, MOST_OF_ONE at a time for one caller. A cancelled call tells
        the step to stop, and waits for it."""
        turn = _turns.setdefault(whose, asyncio.Semaphore(MOST_OF_ONE))
        async with turn:
            work = copy_context().run
            task = self._loop.run_in_executor(_THREADS, work, compute, data, self)
            try:
                return await asyncio.shield(task)
            except asyncio.CancelledError:
                self._stop.set()
                await asyncio.wait([task], timeout=5)
                raise

    def report(self, done: int, total: int, message: str = "") -> None:
        """Called by the step, from its thread."""
        if not self._stop.is_set():
            self._loop.call_soon_threadsafe(self._sink, done, total, message)

    def cancelled(self) -> bool:
        return self._stop.is_set()
