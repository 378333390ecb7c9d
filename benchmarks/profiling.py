"""A profiler in every thread that works on calls, and what it found: function calls and layers.

The number of function calls is the same however busy the machine is. Time is that of each thread
on a core, and the profiler adds to it, most where functions are short: shares, not durations.
"""

import cProfile
import pstats
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from benchmarks.stage import ROOT

# The first that a file's path holds; what is in C counts where it was called from.
LAYERS: Final = (
    ("common/http/", "gate, token, limits"), ("common/auth/", "gate, token, limits"),
    ("common/limits", "gate, token, limits"), ("common/metrics", "gate, token, limits"),
    ("common/audit/access", "access record"),
    ("common/audit/", "audit record"), ("common/canonical", "audit record"),
    ("common/idempotency", "idempotency"),
    ("common/policy", "policy and approvals"), ("common/approvals", "policy and approvals"),
    ("common/storage/hot", "statements (hot, mapped)"),
    ("common/storage/mapped", "statements (hot, mapped)"),
    ("common/storage/database", "transaction"), ("common/storage/sqlite", "transaction"),
    ("common/server", "guard, arguments, result"), ("common/guard", "guard, arguments, result"),
    ("common/wire", "guard, arguments, result"), ("common/untrusted", "guard, arguments, result"),
    ("common/", "rule"), ("servers/", "rule"), ("benchmarks/", "benchmark"),
    ("sqlalchemy", "SQLAlchemy"), ("asyncpg", "driver"), ("sqlite3", "driver"),
    ("mcp", "SDK"), ("starlette", "SDK"), ("pydantic", "SDK"), ("anyio", "SDK"),
    ("opentelemetry", "SDK"), ("sse_starlette", "SDK"),
)  # fmt: skip
_DRIVER: Final = ("sqlite3.", "asyncpg.")


class Found:
    """What the profilers of one block saw."""

    def __init__(self) -> None:
        self.profiles: list[cProfile.Profile] = []

    def stats(self) -> pstats.Stats:
        """All threads together."""
        first, *rest = self.profiles
        return pstats.Stats(first, stream=sys.stderr).add(*rest)

    def calls(self) -> int:
        """How many functions were called."""
        return sum(entry[1] for entry in self._entries().values())

    def shares(self) -> dict[str, float]:
        """The part of each layer in the time of all, the largest first."""
        spent: dict[str, float] = defaultdict(float)
        for (file, _, name), (_, _, own, _, callers) in self._entries().items():
            if file != "~":
                spent[_layer(file)] += own
            elif any(driver in name for driver in _DRIVER):
                spent["driver"] += own
            else:
                for (caller, _, _), (_, _, share, _) in callers.items():
                    spent[_layer(caller)] += share
        spent.pop("benchmark", None)
        whole = sum(spent.values())
        return dict(sorted(((k, v / whole) for k, v in spent.items()), key=lambda kv: -kv[1]))

    def _entries(self) -> dict[Any, Any]:
        entries: dict[Any, Any] = self.stats().stats  # type: ignore[attr-defined]
        return entries


def _layer(file: str) -> str:
    inside = file.removeprefix(f"{ROOT}/") if "site-packages" not in file else file
    inside = inside.rpartition("site-packages/")[2]
    return next((name for part, name in LAYERS if inside.startswith(part)), "Python's library")


@contextmanager
def every_thread() -> Iterator[Found]:
    """Profile this thread, and those of the database from their next transaction on."""
    from common.storage import sqlite

    found, others, plain = Found(), dict[str, cProfile.Profile](), sqlite._Seat.run

    def noticed(seat: Any, transact: Any) -> Any:
        thread = threading.current_thread().name
        if not thread.startswith("database-"):  # it is done on this one
            return plain(seat, transact)
        profile = others.setdefault(thread, cProfile.Profile(time.thread_time))
        profile.enable()
        try:
            return plain(seat, transact)
        finally:
            profile.disable()

    here = cProfile.Profile(time.thread_time)
    sqlite._Seat.run = noticed  # type: ignore[method-assign]
    here.enable()
    try:
        yield found
    finally:
        here.disable()
        sqlite._Seat.run = plain  # type: ignore[method-assign]
        found.profiles = [here, *others.values()]
