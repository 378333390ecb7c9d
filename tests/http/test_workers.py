"""``make serve`` with two workers: a person may meet either of them with every click, and an agent
with every call. Whichever is not meant to answer is stopped meanwhile."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from html import unescape
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import psutil
import pytest
from uvicorn.config import STARTUP_FAILURE

from benchmarks.requests import Target
from common.approvals import approvers
from common.auth.server import users
from common.call import Call
from common.clock import utc_now
from common.settings import inherited
from tests.payments.seed import charged, world
from tests.support.auth_server import COST, PASSWORD, Flow, hidden
from tests.support.http import free_port
from tests.support.shop import a_shop, do

ROOT = Path(__file__).resolve().parents[2]
ANA, KIM = "ana@example.com", "kim@example.com"
PASSPHRASE = "five random words would do"
PATIENCE_S = 120
AMOUNT = 123_450


async def prepared(home: Path) -> None:
    async with a_shop(home, clock=utc_now) as shop:
        await do(shop, "*", world)
        await do(shop, "*", charged("ord-1", AMOUNT, payment_id="pay-1"))
        for subject, scopes in ((ANA, users.USUAL_SCOPES), (KIM, ["approvals:decide"])):

            def add(session: Any, subject: str = subject, scopes: Any = scopes) -> None:
                kept = users.hashed(PASSWORD, COST)
                users.add(session, subject, subject, kept, scopes, utc_now())

            await shop.database.run("*", add)

        def enrolled(call: Call) -> None:
            approvers.enroll(call.session, KIM, "Kim", PASSPHRASE, "", call.now, n=2**4)

        await do(shop, "*", enrolled)


@dataclass
class Serving:
    """The parent, and the workers it has at this moment."""

    url: str
    process: subprocess.Popen[bytes]

    @property
    def workers(self) -> list[psutil.Process]:
        found = psutil.Process(self.process.pid).children()
        return sorted(
            (each for each in found if each.status() != psutil.STATUS_ZOMBIE),
            key=lambda each: each.create_time(),
        )

    @contextmanager
    def only(self, number: int) -> Iterator[None]:
        """One worker answers; the others stand still."""
        others = [each for n, each in enumerate(self.workers) if n != number]
        for each in others:
            each.suspend()
        try:
            yield
        finally:
            for each in others:
                each.resume()

    def until(self, holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            if holds():
                return
            time.sleep(0.05)
        raise AssertionError("it does not come about")

    def ready(self) -> bool:
        with httpx2.Client(timeout=PATIENCE_S) as browser:
            try:
                return browser.get(f"{self.url}/readyz").status_code == 200
            except httpx2.TransportError:
                return False


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Serving]:
    home, url = tmp_path / "home", f"http://127.0.0.1:{free_port()}"
    asyncio.run(prepared(home))
    with (tmp_path / "words").open("wb") as words:
        process = subprocess.Popen(
            [sys.executable, "-m", "clients.serve"], cwd=ROOT, stdout=words, stderr=words,
            env=inherited(
                SHOP_HOME=str(home), SHOP_PUBLIC_URL=url, PYTHONPATH=str(ROOT),
                SHOP_HTTP_WORKERS="2", SHOP_DUTIES="0",
            ),
        )  # fmt: skip
    found = Serving(url, process)
    try:
        found.until(found.ready)
        for number in (0, 1):
            with found.only(number):
                assert found.ready()
        yield found
    finally:
        workers = found.workers if process.poll() is None else []
        process.terminate()
        try:
            process.wait(PATIENCE_S)
        finally:
            for each in workers:
                if each.is_running():
                    each.kill()


def turns(serving: Serving) -> Callable[..., httpx2.Response]:
    """A browser whose every request is answered by the other worker, over a connection anew."""
    browser = httpx2.Client(
        base_url=serving.url, timeout=PATIENCE_S, headers={"Connection": "close"}
    )
    turn = count()

    def ask(method: str, path: str, **more: Any) -> httpx2.Response:
        with serving.only(next(turn) % 2):
            return browser.request(method, path, **more)

    return ask


def signed_in(ask: Callable[..., httpx2.Response], page: httpx2.Response, subject: str) -> str:
    """From the login page to where the browser is sent back."""
    fields = {"i": hidden(page.text), "username": subject, "password": PASSWORD}
    page = ask("POST", "/auth/login", data=fields)
    while page.status_code == 303 and "code=" not in page.headers["location"]:
        page = ask("GET", page.headers["location"])
        if page.status_code == 200:
            scopes = re.findall(r'name="scope" value="([^"]+)"', page.text)
            form = {"i": hidden(page.text), "decision": "allow", "scope": scopes}
            page = ask("POST", "/auth/consent", data=form)
    return str(page.headers["location"])


@pytest.mark.slow
def test_sign_in_console_and_approval_pass_from_worker_to_worker(serving: Serving) -> None:
    turn = count()
    flow = Flow(f"{serving.url}/payments/mcp", scope="payments:read payments:refund")
    agent = turns(serving)
    back = signed_in(agent, agent("GET", flow.url()), ANA)
    code = dict(pair.split("=") for pair in urlsplit(back).query.split("&"))["code"]
    answer = agent("POST", "/auth/token", data=flow.exchange(code))
    token = answer.json()["access_token"]

    def refund(**more: str) -> dict[str, Any]:
        arguments = {
            "payment_id": "pay-1", "amount_minor": AMOUNT, "currency": "EUR", "reason": "return",
            "idempotency_key": "once-and-no-more", **more,
        }  # fmt: skip
        target = Target(urlsplit(serving.url).port or 0, "/payments/mcp", token)
        with serving.only(next(turn) % 2):
            answer, body = target.once(target.call("refund_payment", arguments))
        assert answer.status == 200, body
        found: dict[str, Any] = json.loads(body)["result"]["structuredContent"]
        return found

    asked = refund()
    assert asked["status"] == "approval_required", asked
    person = turns(serving)
    sent = person("GET", "/console/login")
    came = signed_in(person, person("GET", sent.headers["location"]), KIM)
    assert person("GET", came).status_code == 303
    place = f"/console/requests/{asked['approval_id']}"
    shown = person("GET", place)
    csrf = re.search(r'name="csrf" value="([^"]+)"', shown.text)
    assert csrf, shown.text
    decided = person(
        "POST", f"{place}/decide", headers={"Origin": serving.url},
        data={"csrf": unescape(csrf[1]), "decision": "approve", "passphrase": PASSPHRASE,
              "typed": "1234.50"},
    )  # fmt: skip
    assert decided.status_code == 303, decided.text
    done = refund(approval_id=asked["approval_id"])
    assert done["amount_minor"] == AMOUNT, done
    again = refund(approval_id=asked["approval_id"])
    assert again["replayed"] is True
    assert again["refund_id"] == done["refund_id"]


@pytest.mark.slow
def test_workers_that_die_are_replaced_and_none_outlives_its_parent(serving: Serving) -> None:
    first = serving.workers
    for each in first:
        each.kill()
    serving.until(lambda: len(serving.workers) == 2 and not set(serving.workers) & set(first))
    serving.until(serving.ready)
    second = serving.workers
    os.kill(serving.process.pid, signal.SIGHUP)
    serving.until(lambda: len(serving.workers) == 2 and not set(serving.workers) & set(second))
    assert serving.ready()
    third = serving.workers
    serving.process.kill()
    serving.process.wait()
    _, left = psutil.wait_procs(third, PATIENCE_S)
    for each in left:
        each.kill()
    assert not left


@pytest.mark.slow
def test_a_shop_that_cannot_be_opened_ends_the_parent_too(tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text("nonsense")
    done = subprocess.run(
        [sys.executable, "-m", "servers", "inventory", "--http"], cwd=ROOT, timeout=PATIENCE_S,
        env=inherited(
            SHOP_HOME=str(tmp_path), SHOP_HTTP_WORKERS="2", SHOP_AUTH_SERVER="1",
            SHOP_POLICY_FILE=str(policy),
            SHOP_PUBLIC_URL=f"http://127.0.0.1:{free_port()}",
        ),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == STARTUP_FAILURE, done.stderr
