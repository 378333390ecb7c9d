"""Callers over HTTP, servers that die, a world that goes wrong; then the reckoning.

Everything is decided by the seed but the order in which processes and the network get on.
"""

import asyncio
import shutil
import time
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from statistics import quantiles
from typing import Any, Final

from common.approvals import approvers, decisions
from common.clock import utc_now
from common.settings import Settings
from common.shop import Shop
from common.storage.database import Database
from tests.common.test_two_versions import WIDER, Newer
from tests.faults import floor, nemesis, reckoning, words
from tests.faults.callers import Book, Caller
from tests.faults.fleet import Fleet
from tests.faults.harness import ROOT, Outcome
from tests.faults.history import History
from tests.payments.seed import PASSPHRASE
from tests.support.postgres import EmbeddedServer
from tests.support.shop import a_shop, do

FAULTS: Final = ("failpoints", "vanish", "locks", "restarts", "disk", "clock", "versions")
LONGEST_S: Final = 3_600
SLOWEST_S: Final = 120.0
QUIET_S: Final = 30.0


@dataclass(frozen=True)
class Plan:
    """What a run is to be. ``faults`` are some of FAULTS; kills are counted by themselves. A slow
    machine goes on after ``seconds`` until there are ``least`` answers."""

    seed: int
    seconds: float = 60
    kills: int = 20
    servers: int = 3
    workers: int = 1
    callers: int = 12
    faults: frozenset[str] = frozenset()
    plant: str = ""
    least: int = 0


@dataclass
class Remote:
    """One run in a folder, on the file there or on a PostgreSQL server of its own."""

    folder: Path
    plan: Plan
    database_url: str = ""
    postgres: EmbeddedServer | None = None
    notes: Path | None = None  # where the callers' book and the servers' words go
    done: list[str] = field(default_factory=list)

    async def run(self) -> Outcome:
        """Open, serve, call, break, stop, look."""
        random = Random(self.plan.seed)
        env = await self._furnished()
        notes = self.notes or self.folder
        fleet = Fleet(notes, self.plan.servers, random, **env)
        self._spoil(fleet)
        book = Book(History(notes / "history-callers.jsonl"))
        began = time.monotonic()
        try:
            await fleet.start()
            served = time.monotonic()
            await self._storm(fleet, book, random)
            outcome = Outcome()
            outcome.counts["seconds"] = int(time.monotonic() - served)
        finally:
            fleet.close()
        await self._reckon(book, outcome)
        outcome.counts.update(self.done)
        outcome.counts["died by themselves"] = fleet.died
        outcome.counts["processes started"] = sum(server.starts for server in fleet.servers)
        outcome.counts["seconds in all"] = int(time.monotonic() - began)
        return outcome

    def settings(self) -> Settings:
        """The harness's own, which are the servers' too."""
        return replace(
            Settings.load(
                {
                    "SHOP_HOME": str(self.folder), "SHOP_OPERATOR": "ana@example.com",
                    **({"SHOP_DATABASE_URL": self.database_url} if self.database_url else {}),
                }
            ),
            policy_file=self.folder / "policy.toml",
        )  # fmt: skip

    async def _furnished(self) -> dict[str, str]:
        policy = self.folder / "policy.toml"
        policy.write_text(floor.policy())
        more: dict[str, Any] = {"policy_file": policy}
        if self.database_url:
            more |= {"database_url": self.database_url, "database_roles": True}
        async with a_shop(self.folder, clock=utc_now, **more) as shop:
            self.approver = await do(shop, "*", floor.furnished)
        self.key = approvers.unlock(self.approver, PASSPHRASE)
        env = {
            "SHOP_HOME": str(self.folder), "SHOP_POLICY_FILE": str(policy),
            "SHOP_HTTP_WORKERS": str(self.plan.workers),
        }  # fmt: skip
        if self.database_url:
            env |= {"SHOP_DATABASE_URL": self.database_url, "SHOP_DATABASE_ROLES": "1"}
            env["SHOP_DATABASE_POOL"] = "3"
        return env

    def _spoil(self, fleet: Fleet) -> None:
        for number, server in enumerate(fleet.servers):
            wrong: dict[str, Any] = {"seed": self.plan.seed, "workers": self.plan.workers}
            if "failpoints" in self.plan.faults and number % 2:
                wrong["failing"] = 0.01
            if "clock" in self.plan.faults and number % 3 == 0:
                wrong["clock"] = 40
            if self.plan.plant:
                wrong["plant"] = self.plan.plant
            server.wrong = wrong if len(wrong) > 2 else {}

    async def _storm(self, fleet: Fleet, book: Book, random: Random) -> None:
        over = asyncio.Event()
        database = Database(self.database_url or f"sqlite:///{self.folder / 'shop.db'}")

        async def decide(approval_id: str) -> None:
            await database.run(
                "approvals",
                lambda s: decisions.decide(
                    s, approval_id, self.approver, self.key, "approve", "", utc_now(), "terminal"
                ),
            )  # fmt: skip

        callers = [
            Caller(
                f"caller-{number}", Random(f"{self.plan.seed}:{number}"), fleet.target, decide,
                book, 0.06 if "vanish" in self.plan.faults else 0.0, over, fleet.served,
            )
            for number in range(self.plan.callers)
        ]  # fmt: skip
        living = [asyncio.create_task(caller.live()) for caller in callers]
        evils = [asyncio.create_task(each) for each in self._evils(fleet, random)]
        began = time.monotonic()
        try:
            await asyncio.wait_for(
                nemesis.kills(fleet, random, self.plan.kills, self.plan.seconds, self.done),
                LONGEST_S,
            )
            while (spent := time.monotonic() - began) < self.plan.seconds or (
                len(book.latencies) < self.plan.least and spent < SLOWEST_S
            ):
                await asyncio.sleep(0.1)
                for task in (*living, *evils):
                    if task.done():
                        task.result()
        finally:
            over.set()
            for task in evils:
                task.cancel()
            await asyncio.gather(*evils, return_exceptions=True)
        await asyncio.gather(*living)
        await self._settle(fleet, callers[0], book)
        self.done += ["hung up"] * book.vanished
        await database.close()

    def _evils(self, fleet: Fleet, random: Random) -> list[Coroutine[Any, Any, None]]:
        faults, url = self.plan.faults, self.database_url
        evils = [fleet.watch()]
        if "locks" in faults:
            file = url or f"sqlite:///{self.folder / 'shop.db'}"
            evils.append(nemesis.locks(file, Random(f"{self.plan.seed}:locks"), self.done))
        if "restarts" in faults and self.postgres is not None:
            seeded = Random(f"{self.plan.seed}:restarts")
            evils.append(nemesis.restarts(self.postgres, seeded, self.done))
        if "disk" in faults:
            seeded = Random(f"{self.plan.seed}:disk")
            evils.append(nemesis.full_disk(self.folder, seeded, self.done))
        if "versions" in faults:
            evils.append(self._newer(fleet))
        return evils

    async def _newer(self, fleet: Fleet) -> None:
        """In the middle of it all the next version migrates and takes one server's place."""
        await asyncio.sleep(self.plan.seconds / 3)
        newer = Newer((self.notes or self.folder) / "newer")
        newer.add("9001_wider", WIDER)
        url = self.database_url or f"sqlite:///{self.folder / 'shop.db'}"
        for attempt in range(5):  # as an operator would, when the database restarts meanwhile
            try:
                await newer.upgrade(url)
                break
            except AssertionError as error:
                if attempt == 4 or not _restarting(str(error)):
                    raise
                await asyncio.sleep(2)
        for name in ("servers", "clients"):
            shutil.copytree(ROOT / name, newer.folder / name)
        server = fleet.servers[-1]
        server.folder, server.wrong = newer.folder, {}
        if server.ready:
            await fleet.again(server)
        self.done.append("newer version beside the older")

    async def _settle(self, fleet: Fleet, caller: Caller, book: Book) -> None:
        """When all is quiet, whoever still does not know asks once more, with the same key."""
        caller.vanishing = 0
        await fleet.returned()
        for server in fleet.servers:
            if server.process is None or server.process.poll() is not None or not server.ready:
                await fleet.again(server)
        deadline = time.monotonic() + QUIET_S

        async def ask(one: Caller) -> None:
            while book.open and time.monotonic() < deadline:
                await one.attempt(book.open.pop())

        await asyncio.gather(*(ask(replace(caller)) for _ in range(4)))

    async def _reckon(self, book: Book, outcome: Outcome) -> None:
        notes = self.notes or self.folder
        also = set({"busy"} if self.plan.faults & {"locks", "failpoints", "disk"} else ())
        if "disk" in self.plan.faults:
            also.add("storage_full")
        if "clock" in self.plan.faults and words.too_new(book, notes):
            also.add(words.STATE_REFUSED)
        with suppress(FileNotFoundError):
            (self.folder / "ballast").unlink()
        shop = await Shop.open(self.settings())
        try:
            outcome.wrong += await reckoning.wrongs(shop, book, also=frozenset(also))
        finally:
            await shop.close()
        for intent in book.intents.values():
            outcome.counts["acknowledged"] += bool(intent.ok)
            outcome.counts["unknown to the end"] += bool(not intent.ok and intent.unknown)
            outcome.counts["unknown answers"] += intent.unknown
            outcome.counts["refused"] += bool(intent.failed and not intent.ok)
            outcome.counts["replayed"] += sum(bool(a.get("replayed")) for a in intent.answers)
        if book.unanswered["http_500"]:
            outcome.wrong.append(f"answered 500: {book.unanswered['http_500']} times")
        for crash, count in words.crashes(notes).items():
            outcome.wrong.append(f"not by a failpoint, {count} times: {crash}")
        why = [f"{count} {code}" for code, count in book.unanswered.most_common(12)]
        outcome.notes.append(f"nothing learnt because of: {', '.join(why) or 'nothing'}")
        outcome.counts["reads of tallies"] = len(book.transactions)
        if len(book.latencies) > 1:
            outcome.counts["p50 ms"] = int(quantiles(book.latencies, n=100)[49] * 1_000)


def _restarting(said: str) -> bool:
    """Whether a migration broke off because the database went away."""
    return any(word in said for word in ("connection was closed", "CannotConnectNow", "shutdown"))
