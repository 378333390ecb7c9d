"""Code and PKCE through both pages, and everything that must not work."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx2
import pytest
import pytest_asyncio
from sqlalchemy import select
from sqlalchemy.orm import Session

from common.auth.server import users
from common.clock import utc_now
from common.tables.auth_server import AuthUser
from common.tables.spine import AuditRecord
from tests.support.auth_server import (
    REDIRECT,
    Flow,
    Served,
    a_code,
    allow,
    auth_server,
    came_back,
    claims,
    hidden,
    sign_in,
    tokens,
)
from tests.support.shop import look

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    async with auth_server(tmp_path_factory.mktemp("code")) as found:
        await found.user()
        yield found


async def exchanged(browser: httpx2.AsyncClient, form: dict[str, str]) -> httpx2.Response:
    return await browser.post("/auth/token", data=form)


async def refused(browser: httpx2.AsyncClient, form: dict[str, str]) -> str:
    answer = await exchanged(browser, form)
    assert answer.status_code in {400, 401}, answer.text
    assert answer.headers["cache-control"] == "no-store"
    return str(answer.json()["error"])


async def test_a_person_gets_a_token(server: Served) -> None:
    browser, flow = server.browser(), Flow(server.audience())
    back = await a_code(browser, flow)
    assert back["state"] == flow.state
    assert back["iss"] == server.url
    answer = await exchanged(browser, flow.exchange(back["code"]))
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    said = claims(answer.json()["access_token"])
    assert said["aud"] == server.audience()
    assert said["iss"] == server.url
    assert said["sub"] == "ana@example.com"
    assert said["client_id"] == "shop-native"
    assert said["scope"] == answer.json()["scope"] == "inventory:read inventory:write"
    assert said["exp"] - said["iat"] == answer.json()["expires_in"] <= 600
    assert said["auth_time"] <= said["iat"]
    assert said["jti"]


async def test_what_was_allowed_is_on_record(server: Served) -> None:
    await tokens(server.browser(), Flow(server.audience()))
    query = select(AuditRecord.record).order_by(AuditRecord.seq)
    told = await look(server.shop, lambda s: list(s.scalars(query)))
    by_tool = {record["tool"]: record for record in told}
    assert by_tool["sign_in"]["actor"]["sub"] == "ana@example.com"
    (allowed,) = by_tool["grant"]["effects"]
    assert allowed["client"] == "shop-native"
    assert allowed["scopes"] == ["inventory:read", "inventory:write"]


async def test_a_refusal(server: Served) -> None:
    browser, flow = server.browser(), Flow(server.audience())
    page = await sign_in(browser, await browser.get(flow.url()))
    back = came_back(await allow(browser, page, "deny"))
    assert back["error"] == "access_denied"
    assert (back["state"], back["iss"]) == (flow.state, server.url)
    assert "code" not in back


async def test_fewer_scopes_than_asked_for(server: Served) -> None:
    browser, flow = server.browser(), Flow(server.audience())
    page = await sign_in(browser, await browser.get(flow.url()))
    fields = {"i": hidden(page.text), "decision": "allow", "scope": ["inventory:read"]}
    back = came_back(await browser.post("/auth/consent", data=fields))
    answer = await exchanged(browser, flow.exchange(back["code"]))
    assert answer.json()["scope"] == "inventory:read"


async def test_never_more_than_the_user_holds(server: Served) -> None:
    await server.user("ben@example.com", ["inventory:read", "orders:write"])
    browser = server.browser()
    asked = "inventory:read inventory:write orders:write approvals:decide nonsense"
    found = await tokens(browser, Flow(server.audience(), scope=asked), subject="ben@example.com")
    assert found["scope"] == "inventory:read"
    page = await browser.get(Flow(server.audience(), scope="inventory:write").url())
    assert came_back(page)["error"] == "invalid_scope"


async def test_nothing_asked_for_is_reading(server: Served) -> None:
    found = await tokens(server.browser(), Flow(server.audience(), scope=""))
    assert found["scope"] == "inventory:read"


async def test_the_consent_form_cannot_widen(server: Served) -> None:
    browser, flow = server.browser(), Flow(server.audience(), scope="inventory:read")
    page = await sign_in(browser, await browser.get(flow.url()))
    scopes = ["inventory:read", "inventory:write", "approvals:decide"]
    fields = {"i": hidden(page.text), "decision": "allow", "scope": scopes}
    back = came_back(await browser.post("/auth/consent", data=fields))
    answer = await exchanged(browser, flow.exchange(back["code"]))
    assert answer.json()["scope"] == "inventory:read"


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"response_type": "code id_token"}, "unsupported_response_type"),
        ({"code_challenge": ""}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"code_challenge_method": ""}, "invalid_request"),
        ({"code_challenge": "short"}, "invalid_request"),
        ({"resource": ""}, "invalid_target"),
        ({"resource": "https://elsewhere.example/mcp"}, "invalid_target"),
        ({"resource": "{url}/console"}, "invalid_target"),
        ({"resource": "{url}/api-keys"}, "invalid_target"),
        ({"max_age": "soon"}, "invalid_request"),
        ({"prompt": "none"}, "login_required"),
        ({"prompt": "none login"}, "invalid_request"),
    ],
)
async def test_errors_go_back_to_the_client(
    server: Served, change: dict[str, str], error: str
) -> None:
    change = {key: value.format(url=server.url) for key, value in change.items()}
    answer = await server.browser().get(Flow(server.audience(), more=change).url())
    back = came_back(answer)
    assert back["error"] == error
    assert back["state"] == "s t/&=ä"
    assert back["iss"] == server.url


@pytest.mark.parametrize(
    "change",
    [
        {"client_id": ""},
        {"client_id": "nobody"},
        {"redirect_uri": ""},
        {"redirect_uri": "https://evil.example/callback"},
        {"redirect_uri": "http://127.0.0.1:9599/other"},
        {"redirect_uri": "http://127.0.0.1:9599/callback?x=1"},
        {"redirect_uri": "http://127.0.0.1:9599/callback#x"},
        {"redirect_uri": "https://127.0.0.1:9599/callback"},
        {"redirect_uri": "http://127.0.0.1.evil.example:9599/callback"},
        {"redirect_uri": "http://127.0.0.1@evil.example/callback"},
        {"redirect_uri": "http://user@127.0.0.1/callback"},
        {"redirect_uri": "http://127.0.0.1:99999/callback"},
        {"redirect_uri": "//127.0.0.1/callback"},
        {"redirect_uri": "http://localhost:9599/../callback"},
    ],
)
async def test_errors_that_do_not(server: Served, change: dict[str, str]) -> None:
    """Nobody is sent to a place that is not known to be the client's."""
    answer = await server.browser().get(Flow(server.audience(), more=change).url())
    assert answer.status_code == 400
    assert "location" not in answer.headers
    assert "evil.example" not in answer.headers["content-security-policy"]


@pytest.mark.parametrize("name", ["client_id", "redirect_uri", "state", "code_challenge", "scope"])
async def test_a_parameter_twice(server: Served, name: str) -> None:
    flow = Flow(server.audience())
    answer = await server.browser().get(f"{flow.url()}&{urlencode({name: 'again'})}")
    if answer.status_code == 303:
        assert came_back(answer)["error"] == "invalid_request"
    else:
        assert answer.status_code == 400


@pytest.mark.parametrize(
    "redirect",
    [
        "http://127.0.0.1:1/callback", "http://127.0.0.1/callback", "http://[::1]:5/callback",
        "http://localhost:65535/oauth/callback", "http://localhost:8/oauth/callback/debug",
    ],
)  # fmt: skip
async def test_any_port_of_a_native_client(server: Served, redirect: str) -> None:
    found = await tokens(server.browser(), Flow(server.audience(), redirect_uri=redirect))
    assert found["access_token"]


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"code_verifier": "x" * 64}, "invalid_grant"),
        ({"code_verifier": ""}, "invalid_request"),
        ({"redirect_uri": "http://127.0.0.1:9598/callback"}, "invalid_grant"),
        ({"redirect_uri": ""}, "invalid_grant"),
        ({"client_id": "shop-console"}, "invalid_grant"),
        ({"client_id": ""}, "invalid_client"),
        ({"resource": "{url}/orders/mcp"}, "invalid_target"),
        ({"code": "forged"}, "invalid_grant"),
        ({"code": ""}, "invalid_request"),
        ({"grant_type": "password"}, "unsupported_grant_type"),
        ({"grant_type": "implicit"}, "unsupported_grant_type"),
    ],
)
async def test_a_code_is_bound(server: Served, change: dict[str, str], error: str) -> None:
    browser, flow = server.browser(), Flow(server.audience())
    form = flow.exchange((await a_code(browser, flow))["code"])
    changed = form | {key: value.format(url=server.url) for key, value in change.items()}
    assert await refused(browser, changed) == error
    if error != "invalid_grant":
        assert (await exchanged(browser, form)).status_code == 200


async def test_a_code_used_again_ends_what_it_gave(server: Served) -> None:
    browser, flow = server.browser(), Flow(server.audience())
    form = flow.exchange((await a_code(browser, flow))["code"])
    first = (await exchanged(browser, form)).json()
    assert await server.active(first["access_token"])
    assert await refused(browser, form) == "invalid_grant"
    again = {
        "grant_type": "refresh_token", "refresh_token": first["refresh_token"],
        "client_id": flow.client_id,
    }  # fmt: skip
    assert await refused(browser, again) == "invalid_grant"
    assert not await server.active(first["access_token"])


async def test_a_code_at_the_same_time(server: Served) -> None:
    browser, flow = server.browser(), Flow(server.audience())
    form = flow.exchange((await a_code(browser, flow))["code"])
    answers = await asyncio.gather(*(exchanged(browser, form) for _ in range(8)))
    assert sorted(answer.status_code for answer in answers) == [200] + [400] * 7


async def test_a_code_of_a_client_with_a_secret(server: Served) -> None:
    """The secret counts as well as the verifier."""
    client, secret = await server.program("web", [REDIRECT])
    browser, flow = server.browser(), Flow(server.audience(), client_id=client)
    form = flow.exchange((await a_code(browser, flow))["code"])
    assert await refused(browser, form) == "invalid_client"
    assert await refused(browser, form | {"client_secret": "wrong"}) == "invalid_client"
    answer = await exchanged(browser, form | {"client_secret": secret})
    assert answer.status_code == 200, answer.text


async def test_an_old_code(tmp_path: Path) -> None:
    clock = Later()
    async with auth_server(tmp_path, clock=clock) as server:
        await server.user()
        browser, flow = server.browser(), Flow(server.audience())
        form = flow.exchange((await a_code(browser, flow))["code"])
        clock.by = timedelta(seconds=61)
        assert await refused(browser, form) == "invalid_grant"


async def test_signed_in_stays_signed_in_but_is_asked_again(server: Served) -> None:
    browser = server.browser()
    await tokens(browser, Flow(server.audience()))
    page = await browser.get(Flow(server.audience("orders"), scope="orders:read").url())
    assert "/auth/consent" in page.text
    back = await a_code(browser, Flow(server.audience(), more={"prompt": "none"}))
    assert back["error"] == "consent_required"


async def test_the_console_is_not_asked_for(server: Served) -> None:
    await server.user("kim@example.com", [*users.USUAL_SCOPES, "approvals:decide"])
    console = Flow(
        f"{server.url}/console", "shop-console", f"{server.url}/console/callback",
        "approvals:decide orders:read",
    )  # fmt: skip
    browser = server.browser()
    found = await tokens(browser, console, subject="kim@example.com")
    assert found["scope"] == "orders:read approvals:decide"
    assert "refresh_token" not in found
    said = claims(found["access_token"])
    assert said["aud"] == f"{server.url}/console"
    assert said["acr"] == "urn:shop:acr:password"


async def test_a_recent_login_is_asked_for(tmp_path: Path) -> None:
    clock = Later()
    async with auth_server(tmp_path, clock=clock) as server:
        await server.user()
        browser = server.browser()
        await tokens(browser, Flow(server.audience()))
        clock.by = timedelta(seconds=200)
        for more, again in (
            ({}, False), ({"max_age": "300"}, False), ({"max_age": "100"}, True),
            ({"prompt": "login"}, True), ({"max_age": "0"}, True),
        ):  # fmt: skip
            page = await browser.get(Flow(server.audience(), more=more).url())
            assert ("/auth/login" in page.text) is again, more
        flow = Flow(server.audience(), more={"prompt": "login", "max_age": "0"})
        said = claims((await tokens(browser, flow))["access_token"])
        assert said["auth_time"] == int(clock().timestamp())


class Later:
    """The time, and a little more."""

    def __init__(self) -> None:
        from common.clock import utc_now

        self.start, self.by = utc_now(), timedelta()

    def __call__(self) -> Any:
        return self.start + self.by


async def test_forms_belong_to_the_browser_that_was_given_them(server: Served) -> None:
    mine, theirs = server.browser(), server.browser()
    flow = Flow(server.audience())
    login = await mine.get(flow.url())
    await theirs.get(flow.url())
    page = await sign_in(theirs, login)
    assert page.status_code == 400
    assert "shop-session" not in theirs.cookies, "nobody is signed in as somebody else"
    consent = await sign_in(mine, login)
    await sign_in(theirs, await theirs.get(flow.url()))
    answer = await allow(theirs, consent)
    assert answer.status_code == 400
    answer = await mine.post(
        "/auth/consent",
        data={"i": hidden(consent.text), "decision": "allow", "scope": "inventory:read"},
        headers={"Origin": "https://evil.example"},
    )
    assert answer.status_code == 400
    assert "code" in came_back(await allow(mine, consent))


async def test_an_old_form(tmp_path: Path) -> None:
    clock = Later()
    async with auth_server(tmp_path, clock=clock) as server:
        await server.user()
        browser = server.browser()
        page = await browser.get(Flow(server.audience()).url())
        clock.by = timedelta(minutes=16)
        assert (await sign_in(browser, page)).status_code == 400


async def test_pages_cannot_be_framed_or_kept(server: Served) -> None:
    answer = await server.browser().get(Flow(server.audience()).url())
    policy = answer.headers["content-security-policy"]
    assert "frame-ancestors 'none'" in policy
    assert "default-src 'none'" in policy
    assert "script" not in policy.replace("script-src 'none'", "")
    assert "form-action 'self' http://127.0.0.1:9599" in policy
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-frame-options"] == "DENY"
    assert "<script" not in answer.text
    cookies = answer.headers.get_list("set-cookie")
    assert all("httponly" in c.lower() and "samesite=lax" in c.lower() for c in cookies)


async def test_what_a_client_calls_itself_is_text(server: Served) -> None:
    client, _ = await server.program("<script>alert(1)</script>", [REDIRECT])
    browser, flow = server.browser(), Flow(server.audience(), client_id=client)
    page = await sign_in(browser, await browser.get(flow.url()))
    assert "<script" not in page.text
    assert "&lt;script&gt;" in page.text


async def test_a_disabled_user(server: Served) -> None:
    await server.user("dan@example.com")
    browser, flow = server.browser(), Flow(server.audience())
    found = await tokens(browser, flow, subject="dan@example.com")

    def disable(session: Any) -> None:
        user = users.get(session, "dan@example.com")
        users.disable(session, server.shop.settings, user, server.shop.guard.clock())

    await server.shop.database.run("*", disable)
    page = await browser.get(flow.url())
    assert "/auth/login" in page.text
    page = await sign_in(browser, page, "dan@example.com")
    assert page.status_code == 401
    again = {
        "grant_type": "refresh_token", "refresh_token": found["refresh_token"],
        "client_id": flow.client_id,
    }  # fmt: skip
    assert await refused(browser, again) == "invalid_grant"


async def test_signing_out(server: Served) -> None:
    browser = server.browser()
    await tokens(browser, Flow(server.audience()))
    answer = await browser.post("/auth/logout", headers={"Origin": "https://evil.example"})
    assert answer.status_code == 403
    assert (await browser.post("/auth/logout", headers={"Origin": server.url})).status_code == 200
    assert "/auth/login" in (await browser.get(Flow(server.audience()).url())).text


async def test_the_consent_page_says_who_learns_an_address(server: Served) -> None:
    """As much as the token will tell: with the scopes that mean it, of those who have one."""
    subject, address = "eva@shop.example", "eva@example.com"
    scopes = ["storefront:read", "storefront:account"]
    await server.user(subject, scopes)
    for known, scope, told in (
        ("", "storefront:read storefront:account", False),
        (address, "storefront:read", False),
        (address, "storefront:read storefront:account", True),
    ):

        def say(session: Session, known: str = known) -> None:
            found = session.scalars(select(AuthUser).where(AuthUser.subject == subject)).one()
            users.set_email(found, known, utc_now())

        await server.shop.database.run("*", say)
        browser, flow = server.browser(), Flow(server.audience("storefront"), scope=scope)
        page = await sign_in(browser, await browser.get(flow.url()), subject=subject)
        assert page.text.count(f"<bdi>{address}</bdi>") == told
        back = came_back(await allow(browser, page))
        answer = await exchanged(browser, flow.exchange(back["code"]))
        said = claims(answer.json()["access_token"])
        assert ("email" in said, said["scope"]) == (told, scope)
