"""Seven processes on one SQLite file, or four on PostgreSQL, killed at random while they write;
then the reckoning."""

import asyncio
import multiprocessing
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from random import Random
from typing import Any, Final

from common.clock import utc_now
from common.shop import Shop
from tests.faults import history, worker
from tests.faults.bench import POLICY, settings_of, stocked
from tests.support.shop import a_shop, do

ROOT: Final = Path(__file__).resolve().parents[2]
PROCESSES: Final = 7
PATIENCE_S: Final = 90


@dataclass
class Outcome:
    """``wrong`` names every promise that was broken."""

    wrong: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)

    def told(self) -> str:
        counted = ", ".join(f"{count} {name}" for name, count in sorted(self.counts.items()))
        return "\n".join(
            [counted, *self.notes, *self.wrong[:50], "broken" if self.wrong else "sound"]
        )


@dataclass
class Life:
    """One process, from its start to its end."""

    number: int
    life: int
    process: ForkServerProcess
    line: Connection

    def ready(self) -> None:
        assert self.line.poll(PATIENCE_S), f"process {self.number} does not start"
        assert self.line.recv() == "ready"


class Harness:
    """Starts lives, ends some of them, and lets the others finish."""

    def __init__(
        self, folder: Path, seed: int, *, processes: int = PROCESSES, database_url: str = ""
    ) -> None:
        self.folder = folder
        self.processes = processes
        self.database_url = database_url
        self.seed = seed
        self.random = Random(seed)
        # A server that has imported everything forks each process: starting one costs nothing.
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(["tests.faults.worker"])
        self.lives: list[Life] = []
        self.outcome = Outcome()

    def run(self, seconds: float, kills: int) -> Outcome:
        """Open, run, kill, stop, look."""
        (self.folder / "policy.toml").write_text(POLICY)
        asyncio.run(self._opened())
        try:
            self.lives = [self._start(number, 1) for number in range(self.processes)]
            for life in self.lives:
                life.ready()
            self._hunt(seconds, kills)
            for life in self.lives:
                self._end(life)
        finally:
            for life in self.lives:
                life.process.kill()
                life.process.join()
        asyncio.run(self._reckon())
        return self.outcome

    async def _opened(self) -> None:
        more: dict[str, Any] = {"policy_file": self.folder / "policy.toml"}
        if self.database_url:
            (self.folder / "database.url").write_text(self.database_url)
            more |= {"database_url": self.database_url, "database_roles": True}
        async with a_shop(self.folder, clock=utc_now, **more) as shop:
            await do(shop, "inventory", stocked)

    def _start(self, number: int, life: int) -> Life:
        here, there = self.context.Pipe()
        process = self.context.Process(
            target=worker.live, args=(self.folder, number, life, self.seed, there)
        )
        process.start()
        there.close()
        return Life(number, life, process, here)

    def _hunt(self, seconds: float, kills: int) -> None:
        began = time.monotonic()
        for moment in sorted(self.random.uniform(0, seconds) for _ in range(kills)):
            time.sleep(max(0.0, began + moment - time.monotonic()))
            victim = self.random.choice(self.lives)
            victim.process.kill()
            victim.process.join()
            self.lives.remove(victim)
            self.lives.append(self._start(victim.number, victim.life + 1))
            self.outcome.counts["killed"] += 1
        time.sleep(max(0.0, began + seconds - time.monotonic()))

    def _end(self, life: Life) -> None:
        with suppress(OSError):  # it may have broken down by itself
            life.line.send("over")
        life.process.join(PATIENCE_S)
        if life.process.exitcode != 0:
            code = life.process.exitcode
            self.outcome.wrong.append(f"process {life.number}, life {life.life}, exited {code}")

    async def _reckon(self) -> None:
        for file in sorted(self.folder.glob("errors-*.txt")):
            if text := file.read_text():
                self.outcome.wrong.append(f"{file.name}: {text[-1_500:]}")
        shop = await Shop.open(settings_of(self.folder))
        try:
            self.outcome.wrong += await history.wrongs(shop, self.folder)
        finally:
            await shop.close()
        for intent in history.read(self.folder).values():
            self.outcome.counts["acknowledged"] += bool(intent.ok)
            self.outcome.counts["unknown"] += bool(not intent.ok and intent.unknown)
            self.outcome.counts["refused"] += bool(intent.failed)
            self.outcome.counts["replayed"] += sum(
                bool(answer.get("replayed")) for answer in intent.answers
            )
