"""When a search stops and what it tells on the way."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from servers.logistics.engine.plan import Ending

REPORTS = 50
"""Progress reports a search sends at most while it improves."""


@dataclass(frozen=True, slots=True)
class Progress:
    permille: int
    """Of the budget that is used up; never falls."""
    iterations: int
    cost: int
    """Minor units of the best plan so far."""
    unassigned: int


ProgressCallback = Callable[[Progress], None]
Cancelled = Callable[[], bool]


class BudgetError(ValueError):
    """Neither iterations nor seconds were given, or one of them is not positive."""


class Watch:
    """Counts iterations against a budget and asks for cancellation at every one of them."""

    def __init__(
        self,
        iterations: int | None,
        seconds: float | None,
        progress: ProgressCallback | None = None,
        cancelled: Cancelled | None = None,
    ) -> None:
        if iterations is None and seconds is None:
            raise BudgetError("give iterations (reproducible), seconds, or both")
        if (iterations is not None and iterations < 1) or (seconds is not None and seconds <= 0):
            raise BudgetError("iterations and seconds must be positive")
        self.iterations = 0
        self.permille = 0
        self.ended: Ending | None = None
        self._most = iterations
        self._seconds = seconds
        self._progress = progress
        self._cancelled = cancelled
        self._started = time.perf_counter()
        self._share = 0.0
        self._reported = -1

    def share(self) -> float:
        """Used part of the budget, 0 to 1: the larger of iterations and seconds."""
        return self._share

    def go_on(self) -> bool:
        """Start the next iteration? Once False it stays False and `ended` says why."""
        if self.stopped():
            return False
        share = 0.0
        if self._most is not None:
            if self.iterations >= self._most:
                self.ended = Ending.ITERATIONS
                return False
            share = self.iterations / self._most
        if self._seconds is not None:
            elapsed = time.perf_counter() - self._started
            if elapsed >= self._seconds:
                self.ended = Ending.SECONDS
                return False
            share = max(share, elapsed / self._seconds)
        self._share = max(self._share, share)
        self.iterations += 1
        return True

    def stopped(self) -> bool:
        """Cancelled, or stopped before? Cheap enough to ask once a stop while constructing."""
        if self.ended is None and self._cancelled is not None and self._cancelled():
            self.ended = Ending.CANCELLED
        return self.ended is not None

    def due(self) -> bool:
        """Would `report` send anything now?"""
        return self._progress is not None and int(self._share * REPORTS) > self._reported

    def report(self, cost: int, unassigned: int, *, last: bool = False) -> None:
        if self._progress is None or (not last and not self.due()):
            return
        self._reported = int(self._share * REPORTS)
        if not last:
            self.permille = int(self._share * 1000)
        elif self.ended is not Ending.CANCELLED:
            self.permille = 1000
        self._progress(Progress(self.permille, self.iterations, cost, unassigned))
