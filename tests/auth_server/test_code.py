"""Code and PKCE through both pages."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.auth_server import (
    Flow,
    Served,
    a_code,
    auth_server,
    came_back,
    claims,
    sign_in,
    tokens,
)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Served]:
    async with auth_server(tmp_path) as found:
        await found.user()
        yield found


async def test_a_person_gets_a_token(server: Served) -> None:
    browser, flow = server.browser(), Flow(server.audience())
    back = await a_code(browser, flow)
    assert back["state"] == flow.state
    assert back["iss"] == server.url
    answer = await browser.post("/auth/token", data=flow.exchange(back["code"]))
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    said = claims(answer.json()["access_token"])
    assert said["aud"] == server.audience()
    assert said["iss"] == server.url
    assert said["sub"] == "ana@example.com"
    assert said["client_id"] == "shop-native"
    assert said["scope"] == "inventory:read inventory:write"
    assert said["exp"] - said["iat"] <= 600
    assert said["auth_time"] <= said["iat"]
    assert said["jti"]


async def test_a_wrong_password(server: Served) -> None:
    browser, flow = server.browser(), Flow(server.audience())
    page = await sign_in(browser, await browser.get(flow.url()), password="wrong")
    assert page.status_code == 401
    assert "is wrong" in page.text


async def test_tokens(server: Served) -> None:
    found = await tokens(server.browser(), Flow(server.audience()))
    assert found["refresh_token"]
    assert came_back
