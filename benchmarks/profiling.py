"""A profiler in every thread, and what it found by layer."""

import cProfile
import pstats
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

Shares = dict[str, float]


class Found:
    def __init__(self) -> None:
        self.profiles: list[cProfile.Profile] = []

    def stats(self) -> pstats.Stats:
        first, *rest = self.profiles
        return pstats.Stats(first).add(*rest) if rest else pstats.Stats(first)

    def functions(self) -> None:
        stats = self.stats()
        stats.sort_stats("cumulative").print_stats(150)
        stats.sort_stats("tottime").print_stats(70)

    def shares(self) -> Shares:
        return {}


@contextmanager
def every_thread() -> Iterator[Found]:
    from common import sqlite

    found = Found()
    here = cProfile.Profile(time.thread_time)
    found.profiles.append(here)
    profiles: dict[str, cProfile.Profile] = {}
    original = sqlite._session

    def profiled(connection: Any) -> Any:
        name = threading.current_thread().name
        if name.startswith("database-") and name not in profiles:
            p = cProfile.Profile(time.thread_time)
            profiles[name] = p
            found.profiles.append(p)
            p.enable()
        return original(connection)

    sqlite._session = profiled
    here.enable()
    try:
        yield found
    finally:
        here.disable()
        sqlite._session = original
        for p in profiles.values():
            p.disable()
