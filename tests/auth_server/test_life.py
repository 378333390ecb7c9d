"""Tokens, keys, people and clients over time; programs that introduce themselves."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
import pyotp
import pytest
import pytest_asyncio
from joserfc.jwk import ECKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from common.auth.server import IssuerRefused, check_issuer, documents, keys, managing, users
from common.auth.server.clients import same_place
from common.auth.server.registering import Refused, checked_jwks
from common.settings import HttpSettings
from common.tables.auth_server import AuthCode, AuthGrant, AuthToken
from tests.support.auth_server import (
    REDIRECT,
    Flow,
    Served,
    a_code,
    auth_server,
    claims,
    sign_in,
    tokens,
)
from tests.support.http import free_port
from tests.support.serving import served

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    async with auth_server(tmp_path_factory.mktemp("life")) as found:
        await found.user()
        yield found


def refreshing(token: str, client: str = "shop-native") -> dict[str, str]:
    return {"grant_type": "refresh_token", "refresh_token": token, "client_id": client}


async def kid(server: Served, browser: httpx2.AsyncClient) -> str:
    found = await tokens(browser, Flow(server.audience()))
    head = found["access_token"].split(".")[0]
    import base64

    said = json.loads(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)))
    assert said["typ"] == "at+jwt"
    return str(said["kid"])


async def test_a_refresh_token_at_the_same_time(server: Served) -> None:
    browser = server.browser()
    found = await tokens(browser, Flow(server.audience()))
    form = refreshing(found["refresh_token"])
    answers = await asyncio.gather(*(browser.post("/auth/token", data=form) for _ in range(6)))
    good = [answer for answer in answers if answer.status_code == 200]
    assert len(good) == 1
    again = refreshing(good[0].json()["refresh_token"])
    assert (await browser.post("/auth/token", data=again)).status_code == 400


async def test_fewer_scopes_at_the_next_refresh(server: Served) -> None:
    await server.user("eve@example.com")
    browser = server.browser()
    found = await tokens(browser, Flow(server.audience()), subject="eve@example.com")
    assert found["scope"] == "inventory:read inventory:write"
    now = server.shop.guard.clock()
    await server.shop.database.run(
        "*", lambda s: users.set_scopes(users.get(s, "eve@example.com"), ["inventory:read"], now)
    )
    answer = await browser.post("/auth/token", data=refreshing(found["refresh_token"]))
    assert answer.json()["scope"] == "inventory:read"


async def test_an_access_token_given_back(server: Served) -> None:
    browser = server.browser()
    token = (await tokens(browser, Flow(server.audience())))["access_token"]
    assert await server.active(token)
    other, secret = await server.machine("other", ["inventory:read"])
    answer = await browser.post("/auth/revoke", data={"token": token}, auth=(other, secret))
    assert answer.status_code == 400
    assert await server.active(token), "another client takes nothing back"
    answer = await browser.post("/auth/revoke", data={"token": token, "client_id": "shop-native"})
    assert answer.status_code == 200
    assert not await server.active(token)


async def test_introspection_tells_a_client_of_its_own_alone(server: Served) -> None:
    browser = server.browser()
    token = (await tokens(browser, Flow(server.audience())))["access_token"]
    other = await server.machine("curious", ["inventory:read"])
    answer = await browser.post("/auth/introspect", data={"token": token}, auth=other)
    assert answer.json() == {"active": False}
    form = {"grant_type": "client_credentials", "resource": server.audience()}
    own = (await browser.post("/auth/token", data=form, auth=other)).json()["access_token"]
    said = (await browser.post("/auth/introspect", data={"token": own}, auth=other)).json()
    assert said["active"] is True
    assert said["aud"] == server.audience()
    assert said["client_id"] == said["sub"] == other[0]
    forged = own[:-8] + "AAAAAAAA"
    answer = await browser.post("/auth/introspect", data={"token": forged}, auth=other)
    assert answer.json() == {"active": False}


async def test_a_client_revoked(server: Served) -> None:
    client, secret = await server.program("web", [REDIRECT])
    browser, flow = server.browser(), Flow(server.audience(), client_id=client)
    form = flow.exchange((await a_code(browser, flow))["code"]) | {"client_secret": secret}
    found = (await browser.post("/auth/token", data=form)).json()
    now, settings = server.shop.guard.clock(), server.shop.settings
    await server.shop.database.run("*", lambda s: managing.revoke_client(s, settings, client, now))
    assert not await server.active(found["access_token"])
    again = refreshing(found["refresh_token"], client) | {"client_secret": secret}
    assert (await browser.post("/auth/token", data=again)).json()["error"] == "invalid_client"
    assert (await browser.get(flow.url())).status_code == 400


async def test_keys_rotate(tmp_path: Path) -> None:
    clock = Later()
    async with auth_server(tmp_path, clock=clock) as server:
        await server.user()
        browser = server.browser()
        old = await kid(server, browser)
        token = (await tokens(browser, Flow(server.audience())))["access_token"]
        settings = server.shop.settings
        await server.shop.database.run("*", lambda s: keys.rotate(s, settings, clock(), "RS256"))
        new = await kid(server, browser)

        async def published() -> list[str]:
            return [key["kid"] for key in (await browser.get("/auth/jwks")).json()["keys"]]

        assert await published() == [new, old]
        assert await server.active(token)
        clock.by = timedelta(seconds=claims(token)["exp"] - claims(token)["iat"] + 60)
        assert await published() == [new, old], "as long as a token of the old one may live"
        clock.by = keys.OVERLAP + timedelta(seconds=1)
        assert await published() == [new]


async def test_what_is_long_dead_is_deleted(tmp_path: Path) -> None:
    clock = Later()
    async with auth_server(tmp_path, clock=clock) as server:
        await server.user()
        browser = server.browser()

        async def rows() -> list[int]:
            def counted(session: Any) -> list[int]:
                kinds = (AuthGrant, AuthCode, AuthToken)
                return [session.query(kind).count() for kind in kinds]

            return await server.shop.database.run("*", counted, write=False)

        for day in (0, 14, 16, 92):
            clock.by = timedelta(days=day)
            await tokens(browser, Flow(server.audience()))
            assert await rows() == {0: [1, 1, 1], 14: [2, 1, 2], 16: [3, 1, 2], 92: [3, 1, 1]}[day]


async def test_private_keys_are_sealed(server: Served) -> None:
    await tokens(server.browser(), Flow(server.audience()))
    read = await server.shop.database.run(
        "*", lambda s: keys.published(s, server.shop.guard.clock()), write=False
    )
    assert b'"d"' not in read[0].sealed
    assert "d" not in read[0].public


async def test_one_time_codes(tmp_path: Path) -> None:
    clock = Later()
    async with auth_server(tmp_path, clock=clock) as server:
        await server.user()
        secret, settings = users.new_totp(), server.shop.settings
        await server.shop.database.run(
            "*",
            lambda s: users.set_totp(settings, users.get(s, "ana@example.com"), secret, clock()),
        )
        browser, totp = server.browser(), pyotp.TOTP(secret)
        right = totp.at(clock())
        flow = Flow(server.audience())
        for wrong in ("", "000000" if right != "000000" else "111111", "abc"):
            page = await sign_in(browser, await browser.get(flow.url()), code=wrong)
            assert page.status_code == 401
        found = await tokens(browser, flow, code=right)
        assert claims(found["access_token"])["acr"] == "urn:shop:acr:two-factors"
        again = server.browser()
        page = await sign_in(again, await again.get(flow.url()), code=right)
        assert page.status_code == 401, "a code counts once"
        clock.by = timedelta(seconds=30)
        await tokens(again, flow, code=totp.at(clock()))


async def test_two_factors_asked_for(server: Served) -> None:
    browser = server.browser()
    more = {"acr_values": "urn:shop:acr:two-factors"}
    await tokens(browser, Flow(server.audience()))
    back = await a_code(browser, Flow(server.audience(), more=more))
    assert back["error"] == "unmet_authentication_requirements"
    more = {"acr_values": "urn:shop:acr:two-factors urn:shop:acr:password"}
    assert "code" in await a_code(browser, Flow(server.audience(), more=more))


async def test_guessing_ends(tmp_path: Path) -> None:
    clock = Later()
    async with auth_server(tmp_path, clock=clock) as server:
        await server.user()
        await server.user("ben@example.com")
        browser, flow = server.browser(), Flow(server.audience())
        login = await browser.get(flow.url())
        answers = await asyncio.gather(
            *(sign_in(browser, login, password=f"guess {n}") for n in range(9))
        )
        assert sorted(answer.status_code for answer in answers) == [401] * 5 + [429] * 4
        page = await sign_in(browser, login)
        assert page.status_code == 429, "the right password does not help now"
        assert int(page.headers["retry-after"]) > 0
        assert "code" in await a_code(server.browser(), flow, subject="ben@example.com")
        clock.by = timedelta(minutes=15, seconds=1)
        assert "code" in await a_code(server.browser(), flow)


async def test_nobody_and_a_wrong_password_look_the_same(server: Served) -> None:
    browser = server.browser()
    login = await browser.get(Flow(server.audience()).url())
    one = await sign_in(browser, login, "nobody@example.com")
    two = await sign_in(browser, login, "ana@example.com", "wrong")
    assert one.status_code == two.status_code == 401
    assert "wrong" in one.text
    strip = [text.split("<form")[0] for text in (one.text, two.text)]
    assert strip[0] == strip[1]


# -- registration ------------------------------------------------------------------------------


async def invited(server: Served, uses: int = 1) -> dict[str, str]:
    now = server.shop.guard.clock()
    token = await server.shop.database.run(
        "*",
        lambda s: managing.invite(s, ["inventory:read"], "test", now, uses=uses, hours=1),
    )
    return {"Authorization": f"Bearer {token}"}


async def test_registration_by_invitation(server: Served) -> None:
    browser, asked = server.browser(), {"redirect_uris": [REDIRECT], "client_name": "New"}
    assert (await browser.post("/auth/register", json=asked)).status_code == 401
    forged = {"Authorization": "Bearer forged"}
    answer = await browser.post("/auth/register", json=asked, headers=forged)
    assert answer.status_code == 401
    headers = await invited(server)
    answer = await browser.post("/auth/register", json=asked, headers=headers)
    assert answer.status_code == 201, answer.text
    made = answer.json()
    again = await browser.post("/auth/register", json=asked, headers=headers)
    assert again.status_code == 401, "an invitation is used up"
    flow = Flow(server.audience(), client_id=made["client_id"])
    form = flow.exchange((await a_code(browser, flow))["code"])
    auth = (made["client_id"], made["client_secret"])
    answer = await browser.post("/auth/token", data=form, auth=auth)
    assert answer.status_code == 200, answer.text
    assert answer.json()["scope"] == "inventory:read", "as far as the invitation went"


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"redirect_uris": []}, "invalid_redirect_uri"),
        ({"redirect_uris": ["http://elsewhere.example/"]}, "invalid_redirect_uri"),
        ({"redirect_uris": ["javascript:alert(1)"]}, "invalid_redirect_uri"),
        ({"redirect_uris": ["https://*.example/"]}, "invalid_redirect_uri"),
        ({"redirect_uris": ["https://a.example/#x"]}, "invalid_redirect_uri"),
        ({"redirect_uris": REDIRECT}, "invalid_client_metadata"),
        ({"token_endpoint_auth_method": "client_secret_jwt"}, "invalid_client_metadata"),
        ({"token_endpoint_auth_method": "private_key_jwt"}, "invalid_client_metadata"),
        ({"grant_types": ["implicit"]}, "invalid_client_metadata"),
        (
            {"grant_types": ["client_credentials"], "token_endpoint_auth_method": "none"},
            "invalid_client_metadata",
        ),
    ],
)
async def test_registrations_refused(server: Served, change: dict[str, Any], error: str) -> None:
    headers = await invited(server)
    asked = {"redirect_uris": [REDIRECT]} | change
    answer = await server.browser().post("/auth/register", json=asked, headers=headers)
    assert (answer.status_code, answer.json()["error"]) == (400, error)


async def test_private_keys_are_not_taken() -> None:
    with pytest.raises(Refused, match="private key"):
        checked_jwks({"keys": [ECKey.generate_key("P-256").as_dict(private=True)]})


# -- clients that describe themselves ------------------------------------------------------------


class Site:
    """A web site that holds a client's document."""

    def __init__(self, url: str) -> None:
        self.url = f"{url}/client.json"
        self.document: dict[str, Any] = {
            "client_id": self.url, "client_name": "Far client", "redirect_uris": [REDIRECT],
        }  # fmt: skip
        self.answer: Response | None = None
        self.asked = 0

    async def __call__(self, request: Request) -> Response:
        self.asked += 1
        return self.answer or JSONResponse(self.document)


@pytest_asyncio.fixture(loop_scope="module")
async def site() -> AsyncIterator[Site]:
    port = free_port()
    found = Site(f"http://127.0.0.1:{port}")
    app = Starlette(routes=[Route("/client.json", found.__call__)])
    async with served(app, port):
        yield found


async def test_a_client_that_describes_itself(server: Served, site: Site) -> None:
    browser, flow = server.browser(), Flow(server.audience(), client_id=site.url)
    page = await sign_in(browser, await browser.get(flow.url()))
    assert "Far client" in page.text
    assert site.url in page.text
    found = await tokens(browser, flow)
    assert claims(found["access_token"])["client_id"] == site.url
    answer = await browser.post(
        "/auth/token", data=refreshing(found.get("refresh_token", "x"), site.url)
    )
    assert answer.status_code == 400, "it did not ask for refresh_token"
    assert site.asked == 1, "kept for a while"
    away = Flow(server.audience(), client_id=site.url, redirect_uri="https://evil.example/")
    assert (await browser.get(away.url())).status_code == 400


@pytest.mark.parametrize(
    "change",
    [
        {"client_id": "http://127.0.0.1/other.json"},
        {"client_id": None},
        {"client_secret": "x"},
        {"token_endpoint_auth_method": "client_secret_basic"},
        {"redirect_uris": ["http://elsewhere.example/callback"]},
        {"redirect_uris": "http://127.0.0.1/callback"},
    ],
)
async def test_documents_refused(server: Served, site: Site, change: dict[str, Any]) -> None:
    site.document |= change
    flow = Flow(server.audience(), client_id=site.url)
    assert (await server.browser().get(flow.url())).status_code == 400


@pytest.mark.parametrize(
    "answer",
    [
        RedirectResponse("http://127.0.0.1:9/"),
        JSONResponse({}, 404),
        Response("{}", media_type="text/html"),
        Response("{", media_type="application/json"),
        Response("[" * 5_000, media_type="application/json"),
        Response(" " * 20_000, media_type="application/json"),
        Response("[]", media_type="application/json"),
    ],
)
async def test_answers_refused(server: Served, site: Site, answer: Response) -> None:
    site.answer = answer
    flow = Flow(server.audience(), client_id=site.url)
    assert (await server.browser().get(flow.url())).status_code == 400
    assert site.asked == 1


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1/client.json", "https://10.0.0.1/client.json",
        "https://169.254.169.254/latest", "https://[::1]/c.json", "https://[::ffff:10.0.0.1]/c",
        "https://[fd00::1]/c.json", "https://0.0.0.0/c.json", "https://localhost/c.json",
        "http://client.example/c.json", "https://client.example:8443/c.json",
        "https://client.example", "https://client.example/", "https://user@client.example/c.json",
        "https://client.example/a/../c.json", "https://client.example/c.json#x",
        "https://224.0.0.1/c.json", "https://100.64.0.1/c.json",
        "https://[64:ff9b::a9fe:a9fe]/c.json", "https://[2002:7f00:1::]/c.json",
        "https://[::127.0.0.1]/c.json", "https://[2001:0:4136:e378:8000:63bf:3fff:fdd2]/c.json",
        "https://[fec0::1]/c.json",
    ],
)  # fmt: skip
async def test_a_public_server_fetches_from_public_places_alone(url: str) -> None:
    public = HttpSettings.load(
        {"SHOP_PUBLIC_URL": "https://shop.example", "SHOP_HTTP_HOST": "0.0.0.0"}
    )
    with pytest.raises(Refused, match="The URL of a client or of its keys"):
        await documents.Documents(public).client(url)


# -- what starts -----------------------------------------------------------------------------------


async def test_no_clear_text_off_loopback(server: Served) -> None:
    public = {"SHOP_PUBLIC_URL": "http://shop.example", "SHOP_AUTH_SERVER": "1"}
    with pytest.raises(IssuerRefused):
        check_issuer(HttpSettings.load(public))
    check_issuer(HttpSettings.load(public | {"SHOP_PUBLIC_URL": "https://shop.example"}))


async def test_off_in_production_unless_asked_for() -> None:
    public = {"SHOP_PUBLIC_URL": "https://shop.example", "SHOP_HTTP_HOST": "0.0.0.0"}
    assert not HttpSettings.load(public).auth_server
    assert HttpSettings.load(public | {"SHOP_AUTH_SERVER": "1"}).auth_server
    assert HttpSettings.load({}).auth_server


@pytest.mark.parametrize(
    ("known", "asked", "same"),
    [
        ("https://a.example/cb", "https://a.example/cb", True),
        ("https://a.example/cb", "https://a.example:444/cb", False),
        ("https://a.example/cb", "https://a.example/cb/", False),
        ("http://127.0.0.1/cb", "http://127.0.0.1:1234/cb", True),
        ("http://127.0.0.1/cb", "http://localhost:1234/cb", False),
        ("http://127.0.0.1/cb", "http://127.0.0.1:1234/cb?x", False),
        ("http://127.0.0.1/cb", "http://127.0.0.1:1234/CB", False),
        ("com.example.app:/cb", "com.example.app:/cb", True),
        ("com.example.app:/cb", "com.example.app:/cb2", False),
    ],
)
async def test_redirects(known: str, asked: str, same: bool) -> None:
    assert same_place(known, asked) is same


class Later:
    """The time, and a little more."""

    def __init__(self) -> None:
        from common.clock import utc_now

        self.start, self.by = utc_now(), timedelta()

    def __call__(self) -> Any:
        return self.start + self.by
