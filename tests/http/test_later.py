"""A database that takes nothing now: every door says when to come again, each in its own shape."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx2
import pytest
import uvicorn
from sqlalchemy.orm import Session
from starlette.types import Receive, Scope, Send

from common.errors import LATER, ShopError
from common.http.front import Front
from common.storage import database
from tests.http.test_scopes import asking, bearer
from tests.support import toy
from tests.support.auth_server import Flow
from tests.support.http import Face, Quiet, a_face, on_port
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


async def test_a_server_that_ends_says_that_it_does_not_know() -> None:
    """Its time to wait is over and a call is under way: 500 would say that the call broke."""
    under_way = asyncio.Event()

    async def stuck(scope: Scope, receive: Receive, send: Send) -> None:
        under_way.set()
        await asyncio.Event().wait()

    with socket.create_server(("127.0.0.1", 0)) as there:
        host, port = there.getsockname()[:2]
        front = Front(stuck, [f"{host}:{port}"], [])
        config = uvicorn.Config(front, lifespan="off", log_level=100, timeout_graceful_shutdown=1)
        server = Quiet(config)
        serving = asyncio.create_task(server.serve([there]))
        async with httpx2.AsyncClient() as browser:
            asked = asyncio.create_task(browser.get(f"http://{host}:{port}/"))
            await under_way.wait()
            server.should_exit = True
            answer = await asked
        await serving
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert answer.json()["error"] == "upstream_error"
