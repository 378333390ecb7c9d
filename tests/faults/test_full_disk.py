"""A disk without a byte left: every door says so, nothing is changed, and room is all it takes."""

import asyncio
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from html import unescape
from pathlib import Path
from typing import Any

import httpx2
import pytest
from sqlalchemy import func, select

from benchmarks.requests import Target
from common.approvals import approvers
from common.auth.server import managing, users
from common.call import Call
from common.clock import utc_now
from common.errors import ShopError, StorageFull
from common.rules import stock
from common.settings import inherited
from common.shop import Shop
from common.tables.spine import AccessRecord
from tests.faults import nemesis
from tests.faults.fleet import ROOT
from tests.faults.test_faults import kept, sound
from tests.payments.seed import charged, world
from tests.support import toy
from tests.support.auth_server import COST, PASSWORD, Flow, allow, came_back, hidden, sign_in
from tests.support.http import free_port
from tests.support.shop import a_shop, call, connected, do, look, settings_in

ANA, KIM = "ana@example.com", "kim@example.com"
PATIENCE_S = 60
LOG_MB = 48
FRAME, INDEXED = 4_120, 4_062  # bytes of one in the log; how many its index's first part holds
FULL = "The shop's database has no room left."
REFUND = {
    "payment_id": "pay-1", "amount_minor": 100, "currency": "EUR", "reason": "return",
    "idempotency_key": "full-disk-0001",
}  # fmt: skip


@dataclass
class Told:
    """What every door answered while there was no room, and afterwards."""

    full: dict[str, httpx2.Response] = field(default_factory=dict)
    after: dict[str, httpx2.Response] = field(default_factory=dict)
    words: str = ""
    lived: bool = False
    reads: int = 0


@dataclass
class Door:
    """Everybody who calls, each signed in while there was room."""

    url: str
    machine: tuple[str, str]
    people: dict[str, httpx2.AsyncClient] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=dict)
    pages: dict[str, Any] = field(default_factory=dict)

    def someone(self, name: str) -> httpx2.AsyncClient:
        """A browser that goes on from where it was."""
        if name not in self.people:
            self.people[name] = httpx2.AsyncClient(base_url=self.url, timeout=PATIENCE_S)
        return self.people[name]

    async def came_in(self, name: str, subject: str, path: str) -> str:
        """Through every page, to where the browser is sent with its code."""
        browser = self.someone(name)
        page = await browser.get(path)
        while page.status_code == 302:
            page = await browser.get(page.headers["location"])
        page = await sign_in(browser, page, subject)
        while "code=" not in page.headers.get("location", ""):
            page = await allow(browser, page)
        return str(page.headers["location"])

    async def mcp(self, credential: str, method: str, params: dict[str, Any]) -> httpx2.Response:
        """One request of the newer era to the payments server."""
        target = Target(0, headers={"Authorization": f"Bearer {credential}"})
        head, _, body = target.request(method, params).partition(b"\r\n\r\n")
        named = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
        kept = {k: v for k, v in named.items() if k not in ("Host", "Content-Length")}
        return await self.someone("agent").post("/payments/mcp", content=body, headers=kept)

    async def read(self, credential: str) -> httpx2.Response:
        asked = {"name": "get_payment", "arguments": {"payment_id": "pay-1"}}
        return await self.mcp(credential, "tools/call", asked)

    async def refund(self) -> httpx2.Response:
        asked = {"name": "refund_payment", "arguments": REFUND}
        return await self.mcp(self.tokens["writes"], "tools/call", asked)

    async def everything(self) -> dict[str, httpx2.Response]:
        """One request to every door that writes, and to some that only read."""
        ana, tokens, pages = self.someone("ana"), self.tokens, self.pages
        bearer = {"Authorization": f"Bearer {tokens['login']}"}
        login = {"username": ANA, "password": PASSWORD}
        form = {"i": hidden(pages["login"].text), **login}
        flow: Flow = pages["flow"]
        again = {"grant_type": "refresh_token", "refresh_token": tokens["refresh"],
                 "client_id": flow.client_id, "resource": flow.resource}  # fmt: skip
        alone = {"grant_type": "client_credentials", "resource": flow.resource}
        return {
            "alive": await ana.get("/healthz"),
            "ready": await ana.get("/readyz"),
            "figures": await ana.get("/metrics"),
            "a read": await self.read(tokens["reads"]),
            "a change": await self.refund(),
            "a list": await self.mcp(tokens["lists"], "tools/list", {}),
            "a key": await self.read(tokens["key"]),
            "a code": await ana.post("/auth/token", data=flow.exchange(pages["code"])),
            "a refresh": await ana.post("/auth/token", data=again),
            "a machine": await ana.post("/auth/token", data=alone, auth=self.machine),
            "authorize": await ana.get(pages["flow"].url()),
            "the login form": await self.someone("stranger").post("/auth/login", data=form),
            "the consent form": await allow(ana, pages["consent"]),
            "login over REST": await ana.post("/login", json=login),
            "a new key": await ana.post("/api-keys", json={"name": "new"}, headers=bearer),
            "own keys": await ana.get("/api-keys", headers=bearer),
            "the console": await self.someone("kim").get("/console"),
            "coming in": await self.someone("lee").get(pages["callback"]),
        }

    async def close(self) -> None:
        for browser in self.people.values():
            await browser.aclose()


async def furnished(shop: Shop) -> tuple[str, str]:
    """A payment, two people, an approver, and a machine."""
    await do(shop, "*", world)
    await do(shop, "*", charged("ord-1", 123_450, payment_id="pay-1"))
    refunds = (*users.USUAL_SCOPES, "payments:refund")
    for subject, scopes in ((ANA, refunds), (KIM, ["approvals:decide"])):
        await shop.database.run(
            "*",
            lambda s, subject=subject, scopes=scopes: users.add(
                s, subject, subject, users.hashed(PASSWORD, COST), scopes, utc_now()
            ),
        )  # fmt: skip
    await do(
        shop, "*",
        lambda c: approvers.enroll(c.session, KIM, "Kim", "five random words", "", c.now, n=2**4),
    )  # fmt: skip
    machine, secret = await shop.database.run(
        "*", lambda s: managing.add_client(s, "m", "test", utc_now(), scopes=["payments:read"])
    )
    return machine.id, secret


async def signed_in(door: Door) -> None:
    """Whatever is needed to ask everything later."""
    audience = f"{door.url}/payments/mcp"
    scope = "payments:read payments:refund offline_access"
    for name in ("writes", "reads", "lists", "refresh"):  # a grant each, and so a client each
        flow = Flow(audience, scope=scope)
        back = came_back(await consented(door, flow))
        answer = await door.someone("ana").post("/auth/token", data=flow.exchange(back["code"]))
        door.tokens[name] = answer.json()["refresh_token" if name == "refresh" else "access_token"]
    flow = door.pages["flow"] = Flow(audience, scope=scope)
    door.pages["code"] = came_back(await consented(door, flow))["code"]
    door.pages["consent"] = await door.someone("ana").get(flow.url())
    door.pages["login"] = await door.someone("stranger").get(flow.url())
    login = {"username": ANA, "password": PASSWORD}
    answer = await door.someone("ana").post("/login", json=login)
    door.tokens["login"] = answer.json()["data"]["token"]
    bearer = {"Authorization": f"Bearer {door.tokens['login']}"}
    made = await door.someone("ana").post("/api-keys", json={"name": "old"}, headers=bearer)
    door.tokens["key"] = made.json()["data"]["key"]
    came = await door.came_in("kim", KIM, "/console/login")
    assert (await door.someone("kim").get(came)).status_code == 303
    door.pages["callback"] = await door.came_in("lee", KIM, "/console/login")


async def consented(door: Door, flow: Flow) -> httpx2.Response:
    ana = door.someone("ana")
    page = await ana.get(flow.url())
    if "/auth/login" in page.text:
        page = await sign_in(ana, page, ANA)
    return await allow(ana, page)


@contextmanager
def serving(home: Path, url: str, words: Path) -> Iterator[subprocess.Popen[bytes]]:
    """``python -m servers --http``, as it is."""
    with words.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "servers", "--http"], cwd=ROOT, stdout=out, stderr=out,
            env=inherited(
                SHOP_HOME=str(home), SHOP_PUBLIC_URL=url, SHOP_HTTP_PORT=url.rpartition(":")[2],
                SHOP_AUTH_SERVER="1", SHOP_DUTIES="0", PYTHONPATH=str(ROOT),
            ),
        )  # fmt: skip
    try:
        until_ready(url)
        yield process
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


def until_ready(url: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        with suppress(httpx2.TransportError):
            if httpx2.get(f"{url}/readyz").status_code == 200:
                return
        time.sleep(0.1)
    raise AssertionError("the server does not start")


async def asked(door: Door, home: Path) -> Told:
    """Everything, first without room and then with it."""
    told = Told()
    await signed_in(door)
    assert (await door.read(door.tokens["reads"])).status_code == 200  # its record is yet to come
    with nemesis.filled(home):
        told.full = await door.everything()
    told.after = await door.everything()
    await door.close()
    return told


async def furnished_in(home: Path) -> tuple[str, str]:
    async with a_shop(home, clock=utc_now) as shop:
        return await furnished(shop)


async def reads_on_record(home: Path) -> int:
    """After the audit log was verified."""
    shop = await Shop.open(settings_in(home))
    try:
        await sound(shop)
        query = select(func.count(AccessRecord.id)).where(AccessRecord.target == "get_payment")
        return await look(shop, lambda s: s.scalar(query)) or 0
    finally:
        await shop.close()


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Told:
    words = tmp_path_factory.mktemp("full") / "words"
    url = f"http://127.0.0.1:{free_port()}"
    with nemesis.disk_to_fill() as home:
        door = Door(url, asyncio.run(furnished_in(home)))
        with serving(home, url, words) as process:
            told = asyncio.run(asked(door, home))
            told.lived = process.poll() is None
        told.words = words.read_text()
        told.reads = asyncio.run(reads_on_record(home))
    return told


@pytest.mark.slow
def test_no_door_that_writes_breaks(told: Told) -> None:
    """503 and when to come back, in the door's own shape."""
    for door in (
        "a key", "a code", "a refresh", "the login form",
        "the consent form", "login over REST", "a new key", "the console", "coming in",
    ):  # fmt: skip
        answer = told.full[door]
        assert answer.status_code == 503, f"{door}: {answer.status_code} {answer.text}"
        assert answer.headers["retry-after"] == str(StorageFull.retry_after_s), door
        assert FULL in unescape(answer.text), f"{door}: {answer.text}"
    assert told.full["a key"].json()["error"] == "storage_full"
    refused = told.full["a change"].json()["result"]  # past the gate: counted a moment before
    assert refused["isError"]
    assert refused["structuredContent"]["code"] == "storage_full"
    for door in ("a code", "a refresh"):
        assert told.full[door].json()["error"] == "temporarily_unavailable", door
    for door in ("login over REST", "a new key"):
        assert told.full[door].json()["error"]["code"] == "storage_full", door
    for door in ("the login form", "the consent form", "the console", "coming in"):
        assert told.full[door].headers["content-type"].startswith("text/html"), door


@pytest.mark.slow
def test_what_only_reads_is_answered(told: Told) -> None:
    assert told.full["alive"].status_code == 200
    for door in ("a read", "a list"):  # of somebody who was counted a moment before
        assert told.full[door].status_code == 200, door
    for door in ("a machine", "authorize", "own keys"):  # counting who asks may take a row
        assert told.full[door].status_code in (200, 503), f"{door}: {told.full[door].text}"


@pytest.mark.slow
def test_readiness_figures_and_log_say_it(told: Told) -> None:
    assert told.full["ready"].status_code == 503
    expected = {"database": True, "schema": True, "keys": True, "room": False}
    assert told.full["ready"].json()["checks"] == expected
    assert "shop_storage_free_bytes 0.0" in told.full["figures"].text
    assert "the database has no room to write: database or disk is full" in told.words
    assert "Traceback" not in told.words
    refusals = told.after["figures"].text
    assert 'reason="storage_full",server="payments",status="503"' in refusals


@pytest.mark.slow
def test_with_room_again_everything_goes_on_where_it_was(told: Told) -> None:
    """The same process; codes, refresh tokens and forms that were refused are still good."""
    assert told.lived
    for door, answer in told.after.items():
        assert answer.status_code < 400, f"{door}: {answer.status_code} {answer.text}"
    assert told.after["ready"].json()["checks"]["room"] is True
    done = told.after["a change"].json()["result"]["structuredContent"]
    assert done["amount_minor"] == REFUND["amount_minor"]
    assert "replayed" not in done
    # The one before, the one on the full disk, and with room again one by token and one by key.
    assert told.reads == 4


async def test_a_commit_that_failed_half_way_is_not_called_undone(tmp_path: Path) -> None:
    """The log's index could not grow after the log itself was written. It is undone for as long as
    anybody has the file open, and kept by whoever recovers it after a crash."""
    told = list[str]()
    with nemesis.disk_to_fill(LOG_MB) as home:
        async with a_shop(home) as shop:
            await do(shop, "inventory", toy.stocked)
            before = (await kept(shop))["left"]
            with long_log(home / "shop.db"), nemesis.filled(home):
                while told[-1:] != ["upstream_error"]:
                    nemesis.give_back(home, 4_096)
                    with pytest.raises(ShopError) as refused:
                        await do(shop, "inventory", taken)
                    told.append(refused.value.code)
                assert "idempotency_key" in refused.value.next
                assert set(told) == {"storage_full", "upstream_error"}, told
                for file in ("shop.db", "shop.db-wal"):  # as a crash would leave them
                    shutil.copy(home / file, tmp_path / file)
                with pytest.raises(StorageFull) as early:  # before the commit nothing is kept
                    await do(shop, "inventory", spilled)
                assert "disk I/O error" in str(early.value.__cause__)
                assert (await kept(shop))["left"] == before
            async with a_shop(tmp_path) as crashed:
                assert (await kept(crashed))["left"] == before - 1
            await do(shop, "inventory", taken)
            assert (await kept(shop))["left"] == before - 1
            await sound(shop)


def taken(call: Call) -> None:
    stock.adjust(call, "widget", "WH-1", -1, "full disk")


def spilled(call: Call) -> None:
    """So much that some of it goes into the log before the commit."""
    call.session.connection().exec_driver_sql("PRAGMA cache_size=1")
    for _ in range(20):
        taken(call)
        call.session.flush()


@contextmanager
def long_log(file: Path) -> Iterator[None]:
    """A write-ahead log that nobody can begin anew, just too short for a second part of index."""
    log = file.with_name(f"{file.name}-wal")
    with (
        closing(sqlite3.connect(file, isolation_level=None)) as writer,
        closing(sqlite3.connect(file, isolation_level=None)) as reader,
    ):
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM transfer").fetchone()
        writer.execute("CREATE TABLE ballast (page BLOB)")
        while (left := INDEXED - 6 - log.stat().st_size // FRAME) > 0:
            writer.execute("BEGIN IMMEDIATE")
            for _ in range(max(left // 2, 1)):
                writer.execute("INSERT INTO ballast VALUES (zeroblob(3500))")
            writer.execute("COMMIT")
        yield


async def test_a_tool_call_is_refused_by_name_and_may_be_repeated(tmp_path: Path) -> None:
    """Inside the guard, in a file and in memory, until there is room."""
    arguments = {"quantity": 1, "idempotency_key": "full-disk-0002"}
    with nemesis.disk_to_fill() as home:
        async with (
            a_shop(home, policy_file=toy.policy_in(tmp_path)) as shop,
            connected(shop, toy.tools) as client,
        ):
            await do(shop, "inventory", toy.stocked)
            before = await kept(shop)
            with nemesis.filled(home):
                refused = await call(client, "take", **arguments)
                assert refused["code"] == "storage_full", refused
                assert "Nothing was changed" in refused["next"]
                assert (await call(client, "peek"))["available"] == before["left"]
                assert await kept(shop) == before
            assert (await call(client, "take", **arguments))["available"] == before["left"] - 1
            await sound(shop)
