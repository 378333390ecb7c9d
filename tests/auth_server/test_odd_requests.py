"""What no program sends on purpose, to every door of the authorization server that is open to
strangers: an answer, never a crash. On PostgreSQL too, which keeps no NUL in a text."""

import base64
import html
import json
import logging
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx2
import pytest
import pytest_asyncio

from common.auth.server import managing, users
from common.storage import schema
from tests.support import toy
from tests.support.auth_server import COST, PASSWORD, Flow, hidden
from tests.support.http import on_port, remote
from tests.support.postgres import Postgres
from tests.support.shop import a_shop, settings_in

pytestmark = pytest.mark.asyncio(loop_scope="module")
NUL = "a\0b"
NO_HOSTS = (
    "https://a..b/x", f"https://{'a' * 70}.example/x", "https://[v1.a]/x", "https://.example/x",
    "https://[::1%25lo]/x", "https://xn--/x", "https://localhost:0/x", "https://0/x", "https://[/x",
)  # fmt: skip
NO_PLACES = (
    "http://[", "http://127.0.0.1:99999/callback", "http://127.0.0.1:x/callback", NUL,
    "http://127.0.0.1/callback\r\nX: y", "javascript:alert(1)",
)  # fmt: skip
NO_KEYS: tuple[Any, ...] = (
    {"kty": []}, {"kty": {}}, {"kty": "RSA"}, {"kty": "RSA", "n": 1, "e": 1},
    {"kty": "RSA", "n": [], "e": "AQAB"}, {"kty": "EC", "crv": [], "x": 1, "y": {}},
    {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA", "alg": []}, [], None, "x",
)  # fmt: skip
FORM = {"grant_type": "authorization_code", "code": "x", "client_id": "shop-native"}


@dataclass
class Doors:
    """A shop's whole face, and what went wrong at it."""

    browser: httpx2.AsyncClient
    url: str
    signed_in: dict[str, str]
    invited: dict[str, str]
    crashed: list[Any] = field(default_factory=list)

    async def __call__(self, method: str, path: str, **more: Any) -> httpx2.Response:
        answer = await self.browser.request(method, path, **more)
        if answer.status_code >= 500:
            self.crashed.append((method, path, more, answer.text[:200]))
        return answer

    async def authorize(self, **changes: str) -> httpx2.Response:
        asked = Flow(f"{self.url}/inventory/mcp").parameters() | changes
        return await self("GET", f"/auth/authorize?{urlencode(asked)}")


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    if request.param == "sqlite":
        yield {}
        return
    server: Postgres = request.getfixturevalue("postgres")
    url = server.copy_of("schema", schema.upgrade_now)
    yield {"database_url": url}
    server.drop_database(url)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def open_doors(
    database: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Doors]:
    folder: Path = tmp_path_factory.mktemp("odd")
    changes: dict[str, Any] = {
        "policy_file": toy.policy_in(folder), "http": on_port(settings_in(folder)).http,
        "rate_limits": "off", **database,
    }  # fmt: skip
    async with a_shop(folder, **changes) as shop:
        kept, now, scopes = users.hashed(PASSWORD, COST), shop.guard.clock(), users.USUAL_SCOPES
        invitation = await shop.database.run(
            "*", lambda s: managing.invite(s, [], "test", now, uses=900, hours=1)
        )
        await shop.database.run("*", lambda s: users.add(s, "ana", "Ana", kept, scopes, now))
        async with (
            remote(shop, [toy.tools]) as url,
            httpx2.AsyncClient(base_url=url, timeout=30) as browser,
        ):
            known = await browser.post("/login", json={"username": "ana", "password": PASSWORD})
            signed_in = {"authorization": f"Bearer {known.json()['data']['token']}"}
            invited = {"authorization": f"Bearer {invitation}"}
            yield Doors(browser, url, signed_in, invited)


@pytest.fixture
def doors(open_doors: Doors, caplog: pytest.LogCaptureFixture) -> Iterator[Doors]:
    yield open_doors
    crashed, open_doors.crashed = open_doors.crashed, []
    assert not crashed
    assert not [r.getMessage() for r in caplog.records if r.levelno >= logging.ERROR]


@pytest.mark.parametrize("client", [*NO_HOSTS, NUL])
async def test_clients_that_cannot_be(doors: Doors, client: str) -> None:
    assert (await doors.authorize(client_id=client)).status_code == 400
    for path in ("token", "revoke"):
        form = FORM | {"client_id": client, "token": "x"}
        assert (await doors("POST", f"/auth/{path}", data=form)).status_code in {400, 401}


@pytest.mark.parametrize("place", NO_PLACES)
async def test_places_nobody_can_be_sent_to(doors: Doors, place: str) -> None:
    assert (await doors.authorize(redirect_uri=place)).status_code == 400


@pytest.mark.parametrize("pair", [b"\xff\xfe:x", b"%00:x", b"a\0b:x", b"x", b":", b"%ff:%ff"])
async def test_basic_that_cannot_be_read(doors: Doors, pair: bytes) -> None:
    said = {"authorization": f"Basic {base64.b64encode(pair).decode()}"}
    form = {"grant_type": "client_credentials", "token": "x"}
    for path in ("token", "revoke", "introspect"):
        answer = await doors("POST", f"/auth/{path}", data=form, headers=said)
        assert answer.status_code in {400, 401}, answer.text


@pytest.mark.parametrize("key", NO_KEYS, ids=str)
async def test_keys_that_are_none(doors: Doors, key: Any) -> None:
    """``kty`` may be anything at all."""
    asked = {
        "redirect_uris": ["https://x.example/cb"], "jwks": {"keys": [key]},
        "token_endpoint_auth_method": "private_key_jwt",
    }  # fmt: skip
    answer = await doors("POST", "/auth/register", json=asked, headers=doors.invited)
    assert answer.status_code == 400, answer.text


async def test_a_nul_in_what_is_looked_up(doors: Doors) -> None:
    assert (await doors.authorize(state=NUL)).status_code == 400
    known = {"username": NUL, "password": "x"}
    assert (await doors("POST", "/login", json=known)).status_code == 401
    form = {"i": hidden((await doors.authorize()).text)} | known
    assert (await doors("POST", "/auth/login", data=form)).status_code == 400
    for method, path in (("PUT", "/api-keys/a%00b/revoke"), ("DELETE", "/api-keys/a%00b")):
        assert (await doors(method, path, headers=doors.signed_in)).status_code in {400, 404}
    cursor = await doors("GET", "/api-keys?cursor=a%00b", headers=doors.signed_in)
    assert cursor.status_code == 400


async def test_a_nul_in_what_is_listened_to(doors: Doors) -> None:
    method, era = "subscriptions/listen", "io.modelcontextprotocol/"
    key = await doors("POST", "/api-keys", json={"name": "k"}, headers=doors.signed_in)
    meta = {
        f"{era}protocolVersion": "2026-07-28", f"{era}clientCapabilities": {},
        f"{era}clientInfo": {"name": "x", "version": "1"},
    }  # fmt: skip
    wanted = {"resourceSubscriptions": [f"approvals://request/{NUL}"]}
    body = {
        "jsonrpc": "2.0", "id": 1, "method": method,
        "params": {"notifications": wanted, "_meta": meta},
    }  # fmt: skip
    said = {
        "x-mcp-api-key": key.json()["data"]["key"], "mcp-method": method,
        "accept": "application/json, text/event-stream", "mcp-protocol-version": "2026-07-28",
    }  # fmt: skip
    async with doors.browser.stream("POST", "/inventory/mcp", json=body, headers=said) as answer:
        first = ""
        async for line in answer.aiter_lines():
            first = line.removeprefix("data: ")
            if first.startswith("{"):
                break
    assert "-32603" not in first, first


@pytest.mark.parametrize("name", ["redirect_uri", "client_id", "response_type"])
async def test_the_sign_in_page_says_nothing_that_a_link_says(doors: Doors, name: str) -> None:
    """Whoever makes a link would speak to people in our name."""
    answer = await doors.authorize(**{name: "YOUR ACCOUNT IS LOCKED. Call +1 555 0100"})
    said = html.unescape(re.sub(r"<[^>]+>", " ", answer.text))
    assert "555" not in said
    assert answer.status_code in {303, 400}


async def test_bodies_of_every_kind(doors: Doors) -> None:
    odd: list[Any] = [[], {}, 1, "x", None, True, [[]], [{}], "\0", "\ud800", [None]]
    for name in ("redirect_uris", "grant_types", "token_endpoint_auth_method", "client_name"):
        for value in odd:
            said = json.dumps({"redirect_uris": ["https://x.example/cb"], name: value})
            await doors("POST", "/auth/register", content=said, headers=doors.invited)
    for body in (
        b"", b"[]", b"1", b'{"username":1}', b'{"username":"\\ud800","password":"x"}', b"\xff",
        b"[" * 50_000, b"9" * 5_000, b'{"username":"a","password":"\\ud800"}',
    ):  # fmt: skip
        kind = {"content-type": "application/json"}
        assert (await doors("POST", "/login", content=body, headers=kind)).is_client_error
        signed_in = kind | doors.signed_in
        await doors("POST", "/api-keys", content=body, headers=signed_in)
