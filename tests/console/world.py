"""A shop with something to decide, its whole HTTP face, an agent, and people with browsers."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from html import unescape
from pathlib import Path
from typing import Any

import httpx2
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from mcp import Client
from sqlalchemy import select
from sqlalchemy.orm import Session

from common.approvals import approvers
from common.auth import Caller, Headers
from common.auth.authenticator import authenticator
from common.auth.server import users
from common.call import Actor, Call
from common.clock import utc_now
from common.http.app import HttpApp, http_app
from common.http.console import sessions
from common.http.console.desk import CLIENT_ID, SCOPE, Desk
from common.shop import Shop
from common.storage.database import Work
from common.tables.spine import Approver, AuditRecord
from servers.payments.tools import tools
from tests.payments.seed import charged, world
from tests.support.http import NamedCallers, on_port
from tests.support.shop import EVERYTHING, MovingClock, a_shop, call, connected, do, settings_in

ANA, KIM, LEE = "ana@example.com", "kim@example.com", "lee@example.com"
PASSPHRASE = "five random words would do"
WRONG = "five random words would not"
LARGE, HUGE, SMALL = 123_450, 1_500_000, 9_900
AGENT = Actor("https://issuer.example", ANA, "some-agent", EVERYTHING)


class Either(NamedCallers):
    """Callers made up by a test, and real tokens of the shop's own authorization server."""

    def __init__(self, shop: Shop) -> None:
        super().__init__()
        self.real = authenticator(shop)

    async def authenticate(self, headers: Headers, *, audience: str) -> Caller | None:
        token = dict(headers).get(b"authorization", b"")
        known = self.real if token.count(b".") == 2 else super()
        return await known.authenticate(headers, audience=audience)


@dataclass
class Web:
    """The face without a socket: people sign in by name."""

    shop: Shop
    app: HttpApp
    callers: Either
    clock: MovingClock
    agent: Client
    number: int = 0
    open: list[httpx2.AsyncClient] = field(default_factory=list)

    @property
    def url(self) -> str:
        return self.shop.settings.http.public_url

    def browser(self) -> httpx2.AsyncClient:
        """A browser of its own: it follows no redirect and says where forms come from."""
        made = httpx2.AsyncClient(
            base_url=self.url, transport=httpx2.ASGITransport(app=self.app),
            headers={"Origin": self.url},
        )  # fmt: skip
        self.open.append(made)
        return made

    async def person(self, subject: str = KIM, **more: Any) -> "Person":
        """Somebody signed in; ``signed_in_ago``, ``client``, ``machine``, ``scopes`` to differ."""
        await self.shop.database.run("*", lambda s: _known(s, subject, self.clock()))
        token = f"token-{len(self.callers.callers)}"
        self.callers.callers[token] = caller = self.caller(subject, **more)
        desk = Desk(self.shop, self.callers)
        browser = self.browser()
        browser.cookies.set(sessions.cookie_name(desk), await sessions.begin(desk, token, caller))
        return Person(self, browser, token)

    def caller(
        self, subject: str, *, signed_in_ago: int = 0, client: str = CLIENT_ID,
        machine: bool = False, scopes: tuple[str, ...] = (SCOPE,), lives: int = 300,
    ) -> Caller:  # fmt: skip
        now = int(self.clock().timestamp())
        actor = Actor(self.url, subject, client, frozenset(scopes), machine)
        return Caller(
            actor, "token", f"{self.url}/console", expires_at=now + lives,
            auth_time=now - signed_in_ago,
        )  # fmt: skip

    async def enrolled(self, subject: str, by: str = "") -> None:
        """An approver; ``by`` is one who is enrolled already."""

        def work(call: Call) -> None:
            voucher = _key(call.session, by) if by else None
            approvers.enroll(
                call.session, subject, subject.partition("@")[0].title(), PASSPHRASE, by, call.now,
                voucher=voucher, n=2**4,
            )  # fmt: skip

        await do(self.shop, "*", work)

    async def asked(self, amount: int = LARGE, **more: Any) -> str:
        """The id of a new approval for a refund of this many cents."""
        self.number += 1
        payment = await self.paid(max(amount, LARGE))
        asked = await call(self.agent, "refund_payment", **refund(payment, amount), **more)
        assert asked.get("status") == "approval_required", asked
        return str(asked["approval_id"])

    async def paid(self, amount: int, text: str = "") -> str:
        """A captured payment of an order of its own."""
        self.number += 1
        payment = f"pay-{self.number}"
        await do(self.shop, "*", charged(f"ord-{self.number}", amount, payment_id=payment))
        return payment

    async def look(self, work: Work[Any]) -> Any:
        return await self.shop.database.run("*", work, write=False)

    async def state(self, id: str) -> str:
        from common.approvals import requests

        return str(await self.look(lambda s: requests.get(s, id).state))

    async def records(self, tool: str = "") -> list[dict[str, Any]]:
        """What was recorded, in order."""
        query = select(AuditRecord).order_by(AuditRecord.seq)
        found = await self.look(lambda s: [row.record for row in s.scalars(query)])
        return [each for each in found if not tool or each["tool"] == tool]


def _known(session: Session, subject: str, now: datetime) -> None:
    if users.find(session, subject) is None:
        users.add(session, subject, subject, users.NOBODY, [SCOPE], now)


@dataclass
class Person:
    """Somebody at the console."""

    web: Web
    browser: httpx2.AsyncClient
    token: str

    async def get(self, path: str = "", **more: Any) -> httpx2.Response:
        return await self.browser.get(f"/console{path}", **more)

    async def csrf(self) -> str:
        found = re.search(r'name="csrf" value="([^"]+)"', (await self.get()).text)
        assert found
        return unescape(found[1])

    async def post(self, path: str, *, headers: Any = None, **fields: str) -> httpx2.Response:
        """A form of this session; ``csrf=""`` leaves the token out."""
        if "csrf" not in fields:
            fields["csrf"] = await self.csrf()
        data = {name: value for name, value in fields.items() if value}
        return await self.browser.post(f"/console{path}", data=data, headers=headers)

    async def decide(
        self, id: str, decision: str = "approve", *, passphrase: str = PASSPHRASE,
        typed: str = "1234.50", note: str = "", **more: Any,
    ) -> httpx2.Response:  # fmt: skip
        return await self.post(
            f"/requests/{id}/decide", decision=decision, passphrase=passphrase, typed=typed,
            note=note, **more,
        )  # fmt: skip


def refund(payment: str, amount: int, **more: Any) -> dict[str, Any]:
    """The arguments of a refund."""
    return {
        "payment_id": payment, "amount_minor": amount, "currency": "EUR", "reason": "return",
        "idempotency_key": f"refund-{payment}", **more,
    }  # fmt: skip


@asynccontextmanager
async def a_web(folder: Path, **changes: Any) -> AsyncIterator[Web]:
    """The shop, its face in memory, and the agent of somebody who may not decide."""
    clock = MovingClock(utc_now())
    http = on_port(settings_in(folder)).http
    async with (
        a_shop(folder, clock=clock, **({"http": http} | changes)) as shop,
        connected(shop, tools, who=AGENT) as agent,
    ):
        if "database_url" not in changes:
            await do(shop, "*", world)
        callers = Either(shop)
        web = Web(shop, http_app(shop, [tools], callers), callers, clock, agent)
        await web.enrolled(KIM)
        yield web
        for browser in web.open:
            await browser.aclose()
        await callers.real.close()


def _key(session: Session, subject: str) -> Ed25519PrivateKey:
    found: Approver = approvers.find(session, subject)
    return approvers.unlock(found, PASSPHRASE)
