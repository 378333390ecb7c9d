"""Signing in at the authorization server, staying signed in, and going."""

import re
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from common.auth import revocation
from common.auth.server import users
from common.http.console import issuer, login
from common.http.console import web as frame
from common.tables.console import ConsoleSession
from tests.console.world import KIM, PASSPHRASE, Person, Web, a_web
from tests.payments.seed import world
from tests.support.auth_server import PASSWORD, sign_in
from tests.support.shop import do, settings_in


async def user(web: Web, scope: str = "approvals:decide") -> None:
    kept, now = users.hashed(PASSWORD, 4), web.clock()
    await web.shop.database.run("*", lambda s: users.add(s, KIM, KIM, kept, [scope], now))


async def test_the_whole_way_in_and_out(web: Web) -> None:
    await user(web)
    id = await web.asked()
    browser = web.browser()
    first = await browser.get(f"/console/requests/{id}")
    assert first.status_code == 302
    assert first.headers["location"] == f"/console/login?back=%2Fconsole%2Frequests%2F{id}"
    sent = await browser.get(first.headers["location"])
    asked = {k: v[0] for k, v in parse_qs(urlsplit(sent.headers["location"]).query).items()}
    assert asked["client_id"] == "shop-console"
    assert asked["resource"] == f"{web.url}/console"
    assert asked["scope"] == "approvals:decide"
    assert asked["code_challenge_method"] == "S256"
    assert asked["max_age"] == "600"
    page = await browser.get(sent.headers["location"])
    back = await sign_in(browser, page, KIM)
    while back.status_code == 303 and "/console/callback" not in back.headers["location"]:
        back = await browser.get(back.headers["location"])
    inside = await browser.get(back.headers["location"])
    assert (inside.status_code, inside.headers["location"]) == (303, f"/console/requests/{id}")
    cookie = next(c for c in inside.headers.get_list("set-cookie") if "shop-console=" in c)
    for word in ("HttpOnly", "SameSite=lax", "Path=/", "Max-Age=900"):
        assert word in cookie, cookie
    shown = await browser.get(inside.headers["location"])
    assert shown.status_code == 200
    again = await browser.get(back.headers["location"])
    assert again.status_code == 400, "a sign-in is used once"
    csrf = re.search(r'name="csrf" value="([^"]+)"', shown.text)
    assert csrf
    out = await browser.post("/console/logout", data={"csrf": csrf[1]})
    assert out.headers["location"] == "/console/signed-out"
    secret = cookie.partition("=")[2].partition(";")[0]
    browser.cookies.set("shop-console", secret)
    assert (await browser.get("/console")).status_code == 302, "the session has ended for good"
    assert [r["tool"] for r in await web.records() if r["server"] == "console"] == [
        "console_login", "approval_view", "console_logout",
    ]  # fmt: skip


async def test_people_without_the_scope_stay_outside(web: Web) -> None:
    await user(web, "payments:read")
    browser = web.browser()
    sent = await browser.get("/console/login")
    page = await browser.get(sent.headers["location"])
    back = await sign_in(browser, page, KIM)
    answer = await browser.get(back.headers["location"])
    assert answer.status_code == 403
    assert not any("shop-console=" in c for c in answer.headers.get_list("set-cookie"))
    assert (await browser.get("/console")).status_code == 302


@pytest.mark.parametrize(
    "query",
    [
        "", "code=x", "code=x&state=", "code=x&state=other", "error=access_denied&state=other",
        "code=x&state=a&state=b",
    ],
)  # fmt: skip
async def test_answers_nobody_asked_for(web: Web, query: str) -> None:
    browser = web.browser()
    await browser.get("/console/login")
    assert (await browser.get(f"/console/callback?{query}")).status_code == 400


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        ("code=forged&iss={iss}", 403),
        ("code=forged", 400),
        ("code=forged&iss=https%3A%2F%2Fevil.example", 400),
        ("error=access_denied&iss={iss}", 403),
    ],
)
async def test_answers_that_are_not_the_servers(web: Web, answer: str, status: int) -> None:
    browser = web.browser()
    sent = await browser.get("/console/login")
    state = parse_qs(urlsplit(sent.headers["location"]).query)["state"][0]
    query = answer.format(iss=web.url) + f"&state={state}"
    done = await browser.get(f"/console/callback?{query}")
    assert done.status_code == status
    assert (await browser.get("/console")).status_code == 302


@pytest.mark.parametrize(
    "address",
    [
        "https://evil.example", "//evil.example", "/\\evil.example", "/console/../auth/logout",
        "/console//evil.example", "javascript:alert(1)", "/console\r\nX: y", "/consoles", "",
        "/console/login?back=/console", "/console/callback?code=x", "/console/audit#//x",
        "/console/%2e%2e/x", "/console/changes",
    ],
)  # fmt: skip
def test_nobody_is_sent_elsewhere(address: str) -> None:
    assert frame.local(address) == "/console"


@pytest.mark.parametrize(
    "address", ["/console", "/console/audit?tool=x&cursor=ab_-", "/console/requests/apr_01m8"]
)
def test_pages_one_comes_back_to(address: str) -> None:
    assert frame.local(address) == address


async def test_a_session_ends(web: Web) -> None:
    kim = await web.person()
    assert (await kim.get()).status_code == 200
    web.clock.forward(minutes=14)
    assert (await kim.get()).status_code == 200
    web.clock.forward(minutes=2)
    assert (await kim.get()).status_code == 302
    assert (await kim.browser.post("/console/verify", data={"csrf": "x"})).status_code == 401


async def test_a_revoked_token_ends_the_session(web: Web) -> None:
    kim = await web.person()
    assert (await kim.get()).status_code == 200
    del web.callers.callers[kim.token]
    assert (await kim.get()).status_code == 302
    web.callers.callers[kim.token] = web.caller(KIM)
    assert (await kim.get()).status_code == 302


async def _disabled(web: Web) -> None:
    def work(session: Session) -> None:
        users.disable(session, web.shop.settings, users.get(session, KIM), web.clock())

    await web.shop.database.run("*", work)


async def _back_again(web: Web) -> None:
    await _disabled(web)
    await web.shop.database.run("*", lambda s: users.enable(s, users.get(s, KIM)))


async def _deciding_no_longer(web: Web) -> None:
    await web.shop.database.run(
        "*", lambda s: users.set_scopes(users.get(s, KIM), ["inventory:read"], web.clock())
    )


async def _token_denied(web: Web) -> None:
    row = await web.look(lambda s: s.scalars(select(ConsoleSession)).one())
    await web.shop.database.run(
        "*",
        lambda s: revocation.deny_token(
            s, web.clock(), web.url, row.caller["credential"], reason="test", by="test",
            expires_at=datetime.fromtimestamp(row.caller["expires_at"], tz=UTC),
        ),
    )  # fmt: skip


@pytest.mark.parametrize("later", [2, 6, 14])
@pytest.mark.parametrize("how", [_disabled, _back_again, _deciding_no_longer, _token_denied])
async def test_who_was_sent_away_decides_nothing_more(
    web: Web, how: Callable[[Web], Awaitable[None]], later: int
) -> None:
    """While their token lives, which is five minutes, and when it has died by itself."""
    await user(web)
    id = await web.asked()
    browser = web.browser()
    sent = await browser.get(f"/console/login?back=/console/requests/{id}")
    back = await sign_in(browser, await browser.get(sent.headers["location"]), KIM)
    while "/console/callback" not in back.headers["location"]:
        back = await browser.get(back.headers["location"])
    await browser.get(back.headers["location"])
    kim = Person(web, browser, "")
    form = {"csrf": await kim.csrf(), "decision": "approve", "passphrase": PASSPHRASE}
    web.clock.forward(minutes=1)
    await how(web)
    web.clock.forward(minutes=later - 1)
    answer = await browser.post(f"/console/requests/{id}/decide", data=form)
    assert answer.status_code == 401
    assert await web.state(id) == "pending"
    assert (await kim.get()).status_code == 302


async def test_addresses_of_one_subscriber_begin_as_often_as_one(web: Web) -> None:
    answers = []
    for n in range(login.A_MINUTE + 1):
        come = httpx2.ASGITransport(app=web.app, client=(f"2001:db8::{n + 1:x}", 5_000))
        async with httpx2.AsyncClient(base_url=web.url, transport=come) as browser:
            answers.append((await browser.get("/console/login")).status_code)
    assert answers[-1] == 429
    assert 429 not in answers[:-1]


@pytest.mark.parametrize("cookie", ["", "x", "a" * 43, "ä" * 43, "a" * 5_000])
async def test_made_up_cookies(web: Web, cookie: str) -> None:
    browser = web.browser()
    headers = {"Cookie": f"shop-console={cookie}".encode()}
    answer = await browser.get("/console", headers=headers)
    assert answer.status_code == 302


async def test_the_database_alone_opens_nothing(web: Web) -> None:
    kim = await web.person()
    row = await web.look(lambda s: s.scalars(select(ConsoleSession)).one())
    assert kim.token not in row.token
    browser = web.browser()
    browser.cookies.set("shop-console", row.id[:43])
    assert (await browser.get("/console")).status_code == 302


async def test_on_https_the_cookie_is_bound_to_the_host(tmp_path: Path) -> None:
    from common.settings import HttpSettings

    http = HttpSettings.load({"SHOP_PUBLIC_URL": "https://shop.example", "SHOP_AUTH_SERVER": "1"})
    async with a_web(tmp_path, http=replace(http)) as web:
        browser = web.browser()
        answer = await browser.get("/console/login")
        cookie = answer.headers["set-cookie"]
        assert cookie.startswith("__Host-shop-login-")
        assert "; Secure" in cookie
        assert answer.headers["strict-transport-security"]
        kim = await web.person()
        assert (await kim.get()).status_code == 200
    assert settings_in(tmp_path).http.public_url == "http://127.0.0.1:8300"


async def test_too_many_requests(web: Web) -> None:
    from common.http.console.login import A_MINUTE
    from common.http.console.sessions import REQUESTS_A_MINUTE

    browser = web.browser()
    codes = [(await browser.get("/console/login")).status_code for _ in range(A_MINUTE + 1)]
    assert codes == [302] * A_MINUTE + [429]
    kim = await web.person()

    def busy(session: object) -> None:
        from sqlalchemy import update

        from common.tables.console import ConsoleSession

        session.execute(update(ConsoleSession).values(hits=REQUESTS_A_MINUTE))  # type: ignore[attr-defined]

    await web.shop.database.run("*", busy)
    answer = await kim.get()
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "60")
    web.clock.forward(minutes=1)
    assert (await kim.get()).status_code == 200


async def test_a_read_only_shop_has_no_console(tmp_path: Path) -> None:
    async with a_web(tmp_path):
        pass
    from tests.support.shop import a_shop

    async with a_shop(tmp_path, read_only=True) as shop:
        import httpx2
        from starlette.applications import Starlette

        from common.http.console import routes
        from tests.support.http import NamedCallers

        app = Starlette(routes=routes(shop, NamedCallers()))
        async with httpx2.AsyncClient(
            base_url="http://127.0.0.1", transport=httpx2.ASGITransport(app=app)
        ) as browser:
            assert (await browser.get("/console")).status_code == 503


@pytest.mark.parametrize(
    "more",
    [
        {"scopes": ()}, {"scopes": ("payments:refund",)}, {"machine": True},
        {"client": "some-agent"}, {"method": "api_key"},
    ],
    ids=str,
)  # fmt: skip
async def test_tokens_that_are_no_persons_at_the_console(
    web: Web, more: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The authorization server would not issue them; the console does not take its word for it."""
    method = more.pop("method", "token")
    web.callers.callers["odd"] = replace(web.caller(KIM, **more), method=method)

    async def redeemed(*_: Any) -> str:
        return "odd"

    monkeypatch.setattr(issuer, "redeem", redeemed)
    browser = web.browser()
    sent = await browser.get("/console/login")
    state = parse_qs(urlsplit(sent.headers["location"]).query)["state"][0]
    answer = await browser.get(f"/console/callback?code=x&iss={web.url}&state={state}")
    assert answer.status_code == 403
    assert (await browser.get("/console")).status_code == 302
    assert (await web.records("console_login"))[-1]["outcome"] == "refused"


async def test_on_postgresql(postgres_url: str, tmp_path: Path) -> None:
    """The queries of every page on the other database."""
    async with a_web(tmp_path, database_url=postgres_url) as web:
        await do(web.shop, "*", world)
        id = await web.asked()
        kim = await web.person()
        mark = (await kim.get(f"/changes?on={id}")).json()["mark"]
        assert (await kim.decide(id)).status_code == 303
        assert (await kim.get(f"/changes?on={id}")).json()["mark"] != mark
        for path in ("", f"/requests/{id}", "/history?state=approved", "/audit?outcome=ok"):
            assert (await kim.get(path)).status_code == 200, path
        page = (await kim.get(f"/audit?id={id}&actor={KIM}&server=console")).text
        assert "console.approval_approve" in page
        await web.shop.housekeeping.anchor(force=True)
        assert "The log is sound" in (await kim.post("/verify")).text
        assert (await kim.decide(id, passphrase="x" * 20)).status_code == 409
