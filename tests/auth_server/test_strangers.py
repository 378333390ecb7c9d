"""What somebody whom nobody invited can get out of the authorization server: nothing."""

import base64
import hmac
import json
import secrets
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from joserfc import jwt
from joserfc.jwk import ECKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from common.auth.server import families, managing, signing_in
from common.errors import NotAuthenticated, RateLimited
from tests.support.auth_server import (
    PASSWORD,
    REDIRECT,
    Flow,
    Served,
    a_code,
    auth_server,
    came_back,
    tokens,
)
from tests.support.serving import free_port, served

pytestmark = pytest.mark.asyncio(loop_scope="module")
KEY = ECKey.generate_key("P-256")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    async with auth_server(tmp_path_factory.mktemp("strangers")) as found:
        await found.user()
        yield found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site() -> AsyncIterator[str]:
    """A client's document, which asks for everything there is."""
    port = free_port()
    url = f"http://127.0.0.1:{port}/client.json"

    async def document(request: Request) -> Response:
        return JSONResponse({
            "client_id": url, "client_name": "Far client", "redirect_uris": [REDIRECT],
            "grant_types": ["authorization_code", "refresh_token", "client_credentials"],
            "token_endpoint_auth_method": "private_key_jwt",
            "jwks": {"keys": [KEY.as_dict(private=False)]},
        })  # fmt: skip

    async with served(Starlette(routes=[Route("/client.json", document)]), port):
        yield url


def proof(server: Served, client: str, key: ECKey = KEY) -> dict[str, str]:
    now = int(time.time())
    said = {
        "iss": client, "sub": client, "aud": server.url, "iat": now, "exp": now + 60,
        "jti": secrets.token_hex(8),
    }  # fmt: skip
    return {
        "client_assertion": jwt.encode({"alg": "ES256"}, said, key),
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
    }


@pytest.mark.parametrize("scope", ["", "payments:refund payments:write"])
async def test_a_document_is_no_account(server: Served, site: str, scope: str) -> None:
    """Anybody can publish a document with a key of theirs: that proves who asks, and gives no
    right to anything."""
    form = {
        "grant_type": "client_credentials", "resource": server.audience("payments"),
        "scope": scope,
    } | proof(server, site)  # fmt: skip
    answer = await server.browser().post("/auth/token", data=form)
    assert answer.status_code >= 400, answer.text
    assert "access_token" not in answer.json()


@pytest.mark.parametrize("place", ["api-keys", "console"])
async def test_what_is_for_our_own_pages(server: Served, place: str) -> None:
    """A key made with a token for the keys would hold all that the person holds, and go on after
    they took back what they allowed."""
    client, _ = await server.program("Far", [REDIRECT], scopes=["inventory:read"], public=True)
    flow = Flow(f"{server.url}/{place}", client_id=client, scope="")
    back = came_back(await server.browser().get(flow.url()))
    assert back["error"] == "invalid_target"


async def test_an_invitation_without_scopes_gives_machines_nothing(server: Served) -> None:
    now = server.shop.guard.clock()
    invitation = await server.shop.database.run(
        "*", lambda s: managing.invite(s, [], "test", now, uses=1, hours=1)
    )
    browser = server.browser()
    made = await browser.post(
        "/auth/register", json={"grant_types": ["client_credentials"]},
        headers={"Authorization": f"Bearer {invitation}"},
    )  # fmt: skip
    assert made.status_code == 201, made.text
    form = {"grant_type": "client_credentials", "resource": server.audience("payments")}
    auth = (made.json()["client_id"], made.json()["client_secret"])
    answer = await browser.post("/auth/token", data=form, auth=auth)
    assert answer.json().get("error") == "unauthorized_client", answer.text


async def test_our_own_page_at_another_port(server: Served) -> None:
    """Nobody is asked whether the console may sign them in: whoever listens on another port of
    this machine is not the console."""
    port = free_port()
    flow = Flow(
        f"{server.url}/console", client_id="shop-console", scope="",
        redirect_uri=f"http://127.0.0.1:{port}/console/callback",
    )  # fmt: skip
    answer = await server.browser().get(flow.url())
    assert answer.status_code == 400, answer.headers


@pytest.mark.parametrize("algorithm", ["none", "HS256"])
async def test_proofs_that_prove_nothing(server: Served, site: str, algorithm: str) -> None:
    """Signed by nobody, or with the public key taken for a secret."""
    header, said, _ = proof(server, site)["client_assertion"].split(".")
    header = _part({"alg": algorithm, "typ": "JWT"})
    public = KEY.as_pem(private=False)
    signature = hmac.digest(public, f"{header}.{said}".encode(), "sha256")
    for end in ("", base64.urlsafe_b64encode(signature).decode().rstrip("=")):
        form = proof(server, site) | {"client_assertion": f"{header}.{said}.{end}"}
        answer = await server.browser().post(
            "/auth/token", data=form | {"grant_type": "refresh_token", "refresh_token": "x"}
        )
        assert answer.json().get("error") == "invalid_client", answer.text


@dataclass
class Elsewhere:
    """A client whose keys are not in its document."""

    url: str
    document: dict[str, Any]
    keys: Response


@pytest_asyncio.fixture(loop_scope="module")
async def elsewhere() -> AsyncIterator[Elsewhere]:
    port = free_port()
    url = f"http://127.0.0.1:{port}/client.json"
    found = Elsewhere(
        url,
        {
            "client_id": url, "redirect_uris": [REDIRECT], "jwks_uri": f"{url}.keys",
            "token_endpoint_auth_method": "private_key_jwt",
        },
        JSONResponse({"keys": [KEY.as_dict(private=False)]}),
    )  # fmt: skip

    async def document(request: Request) -> Response:
        return JSONResponse(found.document)

    async def keys(request: Request) -> Response:
        return found.keys

    routes = [Route("/client.json", document), Route("/client.json.keys", keys)]
    async with served(Starlette(routes=routes), port):
        yield found


async def test_a_client_whose_keys_are_elsewhere(server: Served, elsewhere: Elsewhere) -> None:
    """By ``jwks_uri``: fetched like the document, and a proof made with them is believed."""
    browser, flow = server.browser(), Flow(server.audience(), client_id=elsewhere.url)
    code = (await a_code(browser, flow))["code"]
    other = ECKey.generate_key("P-256")
    for key, status in ((other, 400), (KEY, 200)):
        form = flow.exchange(code) | proof(server, elsewhere.url, key)
        answer = await browser.post("/auth/token", data=form)
        assert answer.status_code == status, answer.text


@pytest.mark.parametrize(
    ("place", "keys"),
    [
        ("https://10.0.0.7/keys", None), ("https://169.254.169.254/keys", None),
        ("http://keys.example/keys", None), ("file:///etc/passwd", None), (7, None),
        ("", RedirectResponse("http://127.0.0.1:9/")), ("", JSONResponse({}, 404)),
        ("", JSONResponse({"keys": []})),
        ("", Response(" " * 20_000, media_type="application/json")),
    ],
)  # fmt: skip
async def test_keys_elsewhere_refused(
    server: Served, elsewhere: Elsewhere, place: Any, keys: Response | None
) -> None:
    elsewhere.keys = keys or elsewhere.keys
    elsewhere.document["jwks_uri"] = place or elsewhere.document["jwks_uri"]
    flow = Flow(server.audience(), client_id=elsewhere.url)
    assert (await server.browser().get(flow.url())).status_code == 400


async def test_keys_in_two_places_are_refused(server: Served, elsewhere: Elsewhere) -> None:
    elsewhere.document["jwks"] = {"keys": [KEY.as_dict(private=False)]}
    flow = Flow(server.audience(), client_id=elsewhere.url)
    assert (await server.browser().get(flow.url())).status_code == 400


def _part(value: dict[str, str]) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


async def test_a_stolen_family_ends_with_all_its_tokens(server: Served) -> None:
    """However many it has: more than are swept at once."""
    browser = server.browser()

    async def refreshed(found: dict[str, Any]) -> dict[str, Any]:
        form = {"grant_type": "refresh_token", "client_id": "shop-native"}
        form["refresh_token"] = found["refresh_token"]
        answer: dict[str, Any] = (await browser.post("/auth/token", data=form)).json()
        return answer

    family = [await tokens(browser, Flow(server.audience()))]
    for _ in range(families.BATCH + 10):
        family.append(await refreshed(family[-1]))
    assert (await refreshed(family[0]))["error"] == "invalid_grant"
    assert not [each for each in family if await server.active(each["access_token"])]


async def test_addresses_of_one_subscriber_are_one_address(tmp_path: Path) -> None:
    """A /64 has more addresses than there are guesses."""
    async with auth_server(tmp_path) as server:
        await server.user()

        async def looked_at(n: int) -> bool:
            address = f"2001:db8::{n + 1:x}"
            try:
                await signing_in.check(server.shop, f"p{n}", "wrong", "", address, "browser")
            except NotAuthenticated:
                return True
            except RateLimited:
                return False
            return True

        assert sum([await looked_at(n) for n in range(70)]) == 60
        right = ("ana@example.com", PASSWORD, "", "2001:db8:0:1::1", "browser")
        assert await signing_in.check(server.shop, *right), "another subscriber"


async def test_strangers_are_limited(tmp_path: Path) -> None:
    async with auth_server(tmp_path, rate_limits="requests=1/3") as few:
        browser = few.browser()
        form = {"grant_type": "refresh_token", "refresh_token": "x", "client_id": "x"}
        found = [await browser.post("/auth/token", data=form) for _ in range(4)]
        assert [answer.status_code for answer in found][-1] == 429
        assert int(found[-1].headers["retry-after"]) >= 1
        assert (await browser.get("/auth/authorize")).status_code == 429
        public = await browser.get("/.well-known/oauth-authorization-server")
        assert public.status_code == 200
