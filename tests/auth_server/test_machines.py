"""Programs on their own account: every way to prove who they are."""

import secrets
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey

from tests.support.auth_server import Served, auth_server, claims


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Served]:
    async with auth_server(tmp_path) as found:
        yield found


def asking(server: Served, **more: str) -> dict[str, str]:
    return {"grant_type": "client_credentials", "resource": server.audience()} | more


async def test_a_secret_in_the_header(server: Served) -> None:
    client, secret = await server.machine("probe", ["inventory:read", "orders:read"])
    answer = await server.browser().post("/auth/token", data=asking(server), auth=(client, secret))
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    said = claims(answer.json()["access_token"])
    assert said["sub"] == said["client_id"] == client
    assert said["aud"] == server.audience()
    assert said["scope"] == "inventory:read"
    assert "auth_time" not in said
    assert "refresh_token" not in answer.json()


async def test_a_secret_in_the_form(server: Served) -> None:
    client, secret = await server.machine("probe", ["inventory:read"])
    form = asking(server, client_id=client, client_secret=secret)
    answer = await server.browser().post("/auth/token", data=form)
    assert answer.status_code == 200, answer.text


async def test_a_wrong_secret(server: Served) -> None:
    client, _ = await server.machine("probe", ["inventory:read"])
    browser = server.browser()
    answer = await browser.post("/auth/token", data=asking(server), auth=(client, "wrong"))
    assert answer.status_code == 401
    assert answer.json()["error"] == "invalid_client"
    answer = await browser.post("/auth/token", data=asking(server, client_id=client))
    assert answer.json()["error"] == "invalid_client"


@pytest.mark.parametrize(
    ("resource", "error"),
    [
        ("", "invalid_target"),
        ("https://elsewhere.example/mcp", "invalid_target"),
        ("{url}/inventory/mcp/", "invalid_target"),
        ("{url}/console", "invalid_target"),
        ("{url}/api-keys", "invalid_target"),
        ("{url}/orders/mcp", "invalid_scope"),
    ],
)
async def test_resources(server: Served, resource: str, error: str) -> None:
    auth = await server.machine("probe", ["inventory:read"])
    form = asking(server, scope="inventory:read", resource=resource.format(url=server.url))
    answer = await server.browser().post("/auth/token", data=form, auth=auth)
    assert (answer.status_code, answer.json()["error"]) == (400, error)


async def test_two_resources(server: Served) -> None:
    auth = await server.machine("probe", ["inventory:read"])
    form: dict[str, Any] = asking(server)
    form["resource"] = [server.audience(), server.audience("orders")]
    answer = await server.browser().post("/auth/token", data=form, auth=auth)
    assert answer.json()["error"] == "invalid_target"


async def test_no_machine_decides(server: Served) -> None:
    with pytest.raises(Exception, match="no machine decides"):
        await server.machine("probe", ["approvals:decide"])


async def assertion(
    browser: httpx2.AsyncClient, server: Served, key: ECKey, client: str, **change: Any
) -> httpx2.Response:
    now = int(time.time())
    said = {
        "iss": client, "sub": client, "aud": server.url, "iat": now, "exp": now + 60,
        "jti": secrets.token_hex(8),
    }  # fmt: skip
    said = {k: v for k, v in (said | change).items() if v is not None}
    token = jwt.encode({"alg": "ES256"}, said, key)
    form = asking(
        server, client_assertion=token,
        client_assertion_type="urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
    )  # fmt: skip
    answer = await browser.post("/auth/token", data=form)
    if answer.status_code == 200 and not change:
        again = await browser.post("/auth/token", data=form)
        assert again.json()["error"] == "invalid_client", "an assertion counts once"
    return answer


async def test_private_key_jwt(server: Served) -> None:
    key, other = ECKey.generate_key("P-256"), ECKey.generate_key("P-256")
    client, _ = await server.machine(
        "robot", ["inventory:read"], jwks={"keys": [key.as_dict(private=False)]}
    )
    browser, now = server.browser(), int(time.time())
    good = await assertion(browser, server, key, client)
    assert good.status_code == 200, good.text
    good = await assertion(browser, server, key, client, aud=f"{server.url}/auth/token")
    assert good.status_code == 200, good.text
    bad: list[dict[str, Any]] = [
        {"aud": "https://elsewhere.example"}, {"aud": None}, {"exp": now - 60}, {"exp": None},
        {"exp": now + 86_400}, {"exp": "soon"}, {"jti": None}, {"jti": ""}, {"iss": "other"},
        {"nbf": now + 600},
    ]  # fmt: skip
    for change in bad:
        answer = await assertion(browser, server, key, client, **change)
        assert answer.json().get("error") == "invalid_client", change
    answer = await assertion(browser, server, other, client)
    assert answer.json().get("error") == "invalid_client"
    answer = await browser.post("/auth/token", data=asking(server, client_id=client))
    assert answer.json().get("error") == "invalid_client"
