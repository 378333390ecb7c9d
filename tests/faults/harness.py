"""Seven processes on one SQLite file, killed at random while they write; then the reckoning."""

import asyncio
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Final

from common.shop import Shop
from tests.faults import history
from tests.faults.bench import POLICY, settings_of, stocked
from tests.support.shop import do

ROOT: Final = Path(__file__).resolve().parents[2]
PROCESSES: Final = 7
PATIENCE_S: Final = 90


@dataclass
class Outcome:
    """``wrong`` names every promise that was broken."""

    wrong: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def told(self) -> str:
        counted = ", ".join(f"{count} {name}" for name, count in sorted(self.counts.items()))
        return "\n".join([counted, *self.wrong[:50], "broken" if self.wrong else "sound"])


@dataclass
class Life:
    """One process, from its start to its end."""

    number: int
    life: int
    process: subprocess.Popen[str]
    errors: Path

    def ready(self) -> None:
        assert self.process.stdout is not None
        said = self.process.stdout.readline()
        assert said == "ready\n", f"{said!r}: {self.errors.read_text()[-2_000:]}"


class Harness:
    """Starts lives, ends some of them, and lets the others finish."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.seed = seed
        self.random = Random(seed)
        self.lives: list[Life] = []
        self.outcome = Outcome()

    def run(self, seconds: float, kills: int) -> Outcome:
        """Open, run, kill, stop, look."""
        (self.folder / "policy.toml").write_text(POLICY)
        asyncio.run(self._opened())
        try:
            self.lives = [self._start(number, 1) for number in range(PROCESSES)]
            for life in self.lives:
                life.ready()
            self._hunt(seconds, kills)
            for life in self.lives:
                self._end(life)
        finally:
            for life in self.lives:
                life.process.kill()
                life.process.wait()
        asyncio.run(self._reckon())
        return self.outcome

    async def _opened(self) -> None:
        shop = await Shop.open(settings_of(self.folder))
        await do(shop, "inventory", stocked)
        await shop.close()

    def _start(self, number: int, life: int) -> Life:
        errors = self.folder / f"errors-{number}-{life}.txt"
        with errors.open("w") as stderr:
            process = subprocess.Popen(
                [
                    sys.executable, "-m", "tests.faults.worker", str(self.folder), str(number),
                    str(life), str(self.seed),
                ],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, text=True, cwd=ROOT,
            )  # fmt: skip
        return Life(number, life, process, errors)

    def _hunt(self, seconds: float, kills: int) -> None:
        began = time.monotonic()
        for moment in sorted(self.random.uniform(0, seconds) for _ in range(kills)):
            time.sleep(max(0.0, began + moment - time.monotonic()))
            victim = self.random.choice(self.lives)
            victim.process.kill()
            victim.process.wait()
            self.lives.remove(victim)
            self.lives.append(self._start(victim.number, victim.life + 1))
            self.outcome.counts["killed"] += 1
        time.sleep(max(0.0, began + seconds - time.monotonic()))

    def _end(self, life: Life) -> None:
        assert life.process.stdin is not None
        life.process.stdin.close()
        code = life.process.wait(PATIENCE_S)
        if code != 0:
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
