"""What befalls the hosts while callers write, and the reckoning after each of it.

Everything is decided by the seed but the order in which processes and the network get on.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any, Final

from common.approvals import approvers, decisions
from common.clock import utc_now
from common.settings import Settings, inherited
from common.shop import Shop
from common.storage.database import Database
from tests.faults import floor, reckoning
from tests.faults.callers import Book, Caller
from tests.faults.harness import ROOT, Outcome
from tests.faults.history import History
from tests.hosts.apps import NAME, AppHost, Everywhere, Proxy
from tests.hosts.databases import PORT, DatabaseHost, programs
from tests.hosts.network import Network, caller_address
from tests.hosts.plan import Plan
from tests.payments.seed import PASSPHRASE
from tests.support.shop import a_shop, do, walled

PATIENCE_S: Final = 12.0  # of a caller, for one answer
LONGEST_S: Final = 90.0  # until somebody is served again
QUIET_S: Final = 60.0
WRITTEN: Final = "SELECT pg_snapshot_xmax(pg_current_snapshot())::text"  # by whoever writes
ENOUGH: Final = 3  # effects that show that somebody is served


class Story:
    """One run, in a box."""

    def __init__(self, folder: Path, plan: Plan) -> None:
        self.folder = folder
        self.plan = plan
        self.random = Random(plan.seed)
        self.outcome = Outcome()
        self.network = Network()
        place = folder / "postgres"
        place.mkdir(mode=0o711)
        found = programs(place)
        self.primary, self.standby = (
            DatabaseHost(self.network, name, place, found) for name in ("one", "two")
        )
        hosts = "&".join(f"host={each.address}:{PORT}" for each in (self.primary, self.standby))
        self.url = f"postgresql+asyncpg://postgres@/shop?{hosts}"
        self.over = asyncio.Event()
        self.book = Book(History(folder / "history.jsonl"))

    async def run(self) -> Outcome:
        """Every leg; the last, whose writes must get lost, shows that losses are found."""
        began = time.monotonic()
        await self._built()
        self._count("seconds to build it", began)
        sound = [name for name in self.plan.legs if name != "asynchronous"]
        for name in self.plan.legs:
            began = time.monotonic()
            wrong = await self._leg(getattr(self, f"_{name}"))
            if name == "asynchronous":
                lost = [each for each in wrong if ": 0 effects" in each]
                self.outcome.counts["acknowledged effects lost without waiting"] = len(lost)
                wrong = [] if lost else ["nothing was found lost where nothing was waited for"]
            elif name == sound[-1]:
                wrong += await self._verified()
            self.outcome.wrong += [f"{name}: {each}" for each in wrong]
            self._count(f"seconds, {name}", began)
            print(f"{name}: {'broken' if wrong else 'sound'}", flush=True)
            if wrong:
                break
        intents = self.book.intents.values()
        self.outcome.counts["acknowledged"] = sum(bool(each.ok) for each in intents)
        self.outcome.counts["unknown answers"] = sum(each.unknown for each in intents)
        self.outcome.counts["never answered"] = sum(
            bool(not each.ok and each.unknown) for each in intents
        )
        self.outcome.counts["replayed"] = sum(
            bool(answer.get("replayed")) for each in intents for answer in each.answers
        )
        return self.outcome

    # -- What befalls ------------------------------------------------------------------------------

    async def _cut(self) -> None:
        """The host that leads is cut off mid-write; the other one serves, and comes to lead."""
        lost = await self._leader()
        self.network.cut(lost.name)
        self.outcome.counts["seconds until served, host cut"] = await self._served()
        began = time.monotonic()
        while (await self._leader()) is lost:
            if time.monotonic() - began > LONGEST_S:
                self.outcome.wrong.append(f"cut: {lost.name} still leads, and nobody reaches it")
                break
            await asyncio.sleep(0.2)
        self.network.mend(lost.name)
        await lost.until_ready()

    async def _restarted(self) -> None:
        """The primary ends as in a crash, then politely."""
        for mode in ("immediate", "fast"):
            await self.primary.restart(mode)
            waited = await self._served()
            self.outcome.counts[f"seconds until served, {mode} restart"] = waited
        await self._in_step()

    async def _promoted(self) -> None:
        """The primary is cut off and lives on; the replica takes its place."""
        self.network.cut(self.primary.name)
        await asyncio.sleep(1)
        self.standby.promote()
        self.primary, self.standby = self.standby, self.primary
        self.outcome.counts["seconds until served, promotion"] = await self._served()

    async def _fenced(self) -> None:
        """The old primary comes back, first as it was but fenced, then as a replica."""
        old = self.standby
        await old.configure("default_transaction_read_only", "on")
        await old.configure("synchronous_standby_names", "")  # what got through would be kept
        await old.configure("autovacuum", "off")
        before = await old.ask(WRITTEN)
        self.network.mend(old.name)
        await self.apps[0].again()  # which knows nothing, and whose URL names the old one first
        await self._served()
        if (found := await old.ask(WRITTEN)) != before:
            self.outcome.wrong.append(f"fenced: the old primary wrote, from {before} to {found}")
        await self._replica_again()
        await self._served()
        if not await old.ask("SELECT pg_is_in_recovery()"):
            self.outcome.wrong.append("fenced: the old primary is no replica")

    async def _asynchronous(self) -> None:
        """Nobody waits for the replica, which hears nothing for a while and is then promoted."""
        if not await self.standby.ask("SELECT pg_is_in_recovery()"):
            await self._replica_again()
        await self.primary.configure("synchronous_standby_names", "")
        self.network.cut(self.standby.name)
        await self._served()
        self.primary.stop("immediate")
        self.network.mend(self.standby.name)
        self.standby.promote()
        self.primary, self.standby = self.standby, self.primary
        await self._served()

    async def _replica_again(self) -> None:
        """The old primary follows the new one, which waits for it from then on."""
        self.standby.stop("immediate")
        self.network.mend(self.standby.name)
        await self.standby.rewind(self.primary)
        await self.primary.configure("synchronous_standby_names", self.standby.name)
        await self._in_step()

    # -- How it is done ----------------------------------------------------------------------------

    async def _built(self) -> None:
        self.primary.create()
        await self.primary.start()
        await self.primary.ask("CREATE DATABASE shop")
        await asyncio.to_thread(walled, self.url)
        policy = self.folder / "policy.toml"
        policy.write_text(floor.policy())
        said: dict[str, Any] = {"database_url": self.url, "database_roles": True}
        async with a_shop(self.folder, clock=utc_now, policy_file=policy, **said) as shop:
            approver = await do(shop, "*", floor.furnished)
        key = approvers.unlock(approver, PASSPHRASE)
        self.env = {
            "SHOP_HOME": str(self.folder), "SHOP_POLICY_FILE": str(policy),
            "SHOP_DATABASE_URL": self.url, "SHOP_DATABASE_ROLES": "1", "SHOP_DATABASE_POOL": "3",
        }  # fmt: skip
        await self._serve()
        await self.standby.copy(self.primary)
        await self.primary.configure("synchronous_standby_names", self.standby.name)
        await self._in_step()
        self.database = Database(self.url)

        async def decide(approval_id: str) -> None:
            await self.database.run(
                "approvals",
                lambda s: decisions.decide(
                    s, approval_id, approver, key, "approve", "", utc_now(), "terminal"
                ),
            )  # fmt: skip

        target = self.proxy.target(self.issuer)
        self.callers = [
            Caller(
                f"caller-{number}", Random(f"{self.plan.seed}:{number}"), target, decide,
                self.book, 0.03, self.over, patience_s=PATIENCE_S,
                how={
                    "ssl": self.proxy.trusts, "server_hostname": NAME,
                    "local_addr": (caller_address(number), 0),
                },
            )
            for number in range(self.plan.callers)
        ]  # fmt: skip
        await asyncio.gather(*(app.until_ready() for app in self.apps))

    async def _serve(self) -> None:
        self.issuer = Everywhere(self.network, "a", "b")
        issuers = self.folder / "issuers.toml"
        issuers.write_text(
            f'[[issuers]]\nurl = "{self.issuer.url}"\njwks_uri = "{self.issuer.url}/jwks"\n'
        )
        env = self.env | {"SHOP_ISSUERS_FILE": str(issuers)}
        self.apps = [AppHost(self.network, name, self.folder, **env) for name in ("a", "b")]
        self.proxy = Proxy(self.network, self.folder, "a", "b")
        for app in self.apps:
            app.start()
        self.proxy.start()

    async def _leg(self, befalls: Callable[[], Awaitable[None]]) -> list[str]:
        self.over.clear()
        living = [asyncio.create_task(caller.live()) for caller in self.callers]
        try:
            await asyncio.sleep(self.plan.seconds)
            await befalls()
            await asyncio.sleep(self.plan.seconds)
        finally:
            self.over.set()
            await asyncio.gather(*living)
        await self._settle()
        shop = await Shop.open(Settings.load(self.env | {"SHOP_OPERATOR": "ana"}))
        try:
            return await reckoning.wrongs(shop, self.book, also=frozenset({"busy"}))
        finally:
            await shop.close()

    async def _settle(self) -> None:
        """When all is quiet, whoever still does not know asks once more, with the same key."""
        deadline = time.monotonic() + QUIET_S

        async def ask(one: Caller) -> None:
            while self.book.open and time.monotonic() < deadline:
                await one.attempt(self.book.open.pop())

        await asyncio.gather(*(ask(replace(each, vanishing=0)) for each in self.callers[:4]))

    async def _verified(self) -> list[str]:
        """As an operator would look."""
        command = [str(ROOT / ".venv/bin/shop"), "audit", "verify"]
        done = await asyncio.create_subprocess_exec(
            *command, env=inherited(**self.env), stdout=asyncio.subprocess.PIPE
        )
        said, _ = await done.communicate()
        return [f"shop audit verify: {said.decode()}"] if done.returncode else []

    async def _served(self) -> int:
        """Until effects are acknowledged that nobody was about to acknowledge before. Seconds."""
        began = time.monotonic()
        await asyncio.sleep(1)
        before = self._acknowledged()
        while self._acknowledged() < before + ENOUGH:
            if time.monotonic() - began > LONGEST_S:
                raise RuntimeError("nobody is served any more")
            await asyncio.sleep(0.05)
        return round(time.monotonic() - began)

    def _acknowledged(self) -> int:
        return sum(each.ok > 0 for each in self.book.intents.values())

    async def _leader(self) -> AppHost:
        query = (
            "SELECT host(client_addr) FROM pg_locks JOIN pg_stat_activity USING (pid)"
            " WHERE locktype = 'advisory' AND application_name = 'shop leader'"
        )
        address = await self.primary.ask(query)
        led = [app for app in self.apps if app.address == address]
        return led[0] if led else self.apps[0]

    async def _in_step(self) -> None:
        """Until the replica confirms every commit. Raises RuntimeError."""
        query = "SELECT string_agg(sync_state, ' ') FROM pg_stat_replication"
        deadline = time.monotonic() + LONGEST_S
        while await self.primary.ask(query) != "sync":
            if time.monotonic() > deadline:
                raise RuntimeError("the replica does not come into step")
            await asyncio.sleep(0.1)

    def _count(self, name: str, began: float) -> None:
        self.outcome.counts[name] = round(time.monotonic() - began)
