"""A database that takes nothing now: every door says when to come again, each in its own shape."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx2
import pytest
from sqlalchemy.orm import Session

from common.errors import LATER, ShopError
from common.storage import database
from tests.http.test_scopes import asking, bearer
from tests.support import toy
from tests.support.auth_server import Flow
from tests.support.http import Face, a_face, on_port
from tests.support.shop import a_shop, settings_in

Ask = Callable[[httpx2.AsyncClient, Face], Awaitable[httpx2.Response]]


async def a_list(browser: httpx2.AsyncClient, face: Face) -> httpx2.Response:
    body, headers = asking("tools/list")
    token = bearer(face.token("inventory", "inventory:read"))
    return await browser.post("/inventory/mcp", json=body, headers=headers | token)


async def a_token(browser: httpx2.AsyncClient, face: Face) -> httpx2.Response:
    return await browser.post("/auth/token", data={"grant_type": "refresh_token"})


async def a_page(browser: httpx2.AsyncClient, face: Face) -> httpx2.Response:
    return await browser.get(Flow(face.http.audience("inventory")).url())


async def a_key(browser: httpx2.AsyncClient, face: Face) -> httpx2.Response:
    return await browser.post("/login", json={"username": "ana", "password": "x"})


async def the_console(browser: httpx2.AsyncClient, face: Face) -> httpx2.Response:
    return await browser.get("/console/login")


@pytest.mark.parametrize("kind", LATER)
@pytest.mark.parametrize("ask", [a_list, a_token, a_page, a_key, the_console])
async def test_each_door(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ask: Ask, kind: type[ShopError]
) -> None:
    http = on_port(settings_in(tmp_path), SHOP_AUTH_SERVER="1").http
    async with (
        a_shop(tmp_path, http=http, rate_limits="") as shop,
        a_face(shop, [toy.tools], faces=True) as face,
        face.browser() as browser,
    ):

        def broken(session: Session) -> None:
            raise kind("Nobody can say now.")

        monkeypatch.setattr(database, "_commit", broken)
        answer = await ask(browser, face)
    assert answer.status_code == 503, answer.text
    assert answer.headers["retry-after"] == "1"
    assert "Nobody can say now." in answer.text
    if ask in (a_page, the_console):
        assert answer.headers["content-type"].startswith("text/html")
    elif ask is a_key:
        assert answer.json()["error"]["code"] == kind.code
    else:
        told = "temporarily_unavailable" if ask is a_token else kind.code
        assert answer.json()["error"] == told
