"""Long work in a thread: progress to the caller, cancellation to the step."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

from common.incoming import ProgressSink
from common.toolset import Progress


class Running:
    """Implements ``Progress`` for one call."""

    def __init__(self, sink: ProgressSink) -> None:
        self._sink = sink
        self._loop = asyncio.get_running_loop()
        self._stop = threading.Event()

    async def run(self, compute: Callable[[Any, Progress], Any], data: Any) -> Any:
        """The outcome of ``compute``. A cancelled call tells the step to stop, and waits for it."""
        task = asyncio.ensure_future(asyncio.to_thread(compute, data, self))
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
