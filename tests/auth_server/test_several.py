"""Two processes, one PostgreSQL database: what one begins the other ends, and once is once."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pyotp
import pytest
import pytest_asyncio
from sqlalchemy.orm import Session
from starlette.applications import Starlette

from common.auth.server import routes, signing_in, users
from common.clock import utc_now
from common.errors import NotAuthenticated
from common.settings import HttpSettings
from common.storage import schema
from tests.support.auth_server import (
    PASSWORD,
    Flow,
    Served,
    a_code,
    allow,
    came_back,
    claims,
    sign_in,
)
from tests.support.http import free_port
from tests.support.postgres import Postgres
from tests.support.serving import served
from tests.support.shop import a_shop


@pytest_asyncio.fixture
async def two(tmp_path: Path, postgres: Postgres) -> AsyncIterator[tuple[Served, Served]]:
    url = postgres.copy_of("schema", schema.upgrade_now)
    ports = [free_port(), free_port()]
    http = replace(HttpSettings.load({"SHOP_PUBLIC_URL": f"http://127.0.0.1:{ports[0]}"}))
    async with AsyncExitStack() as stack:
        found = []
        for port in ports:
            shop = await stack.enter_async_context(
                a_shop(tmp_path, clock=utc_now, http=http, database_url=url)
            )
            at = await stack.enter_async_context(served(Starlette(routes=routes(shop)), port))
            found.append(Served(shop, at))
        await found[0].user()
        yield found[0], found[1]
        for each in found:
            for browser in each.browsers:
                await browser.aclose()
    postgres.drop_database(url)


async def test_once_is_once_on_two_processes(two: tuple[Served, Served]) -> None:
    one, other = two
    browser, flow = one.browser(), Flow(one.audience())
    # The login page of one, its form to the other, the consent page of one, its form to the other.
    login = await browser.get(flow.url())
    moved = _moved(browser, other)
    consent = await sign_in(moved, login)
    back = came_back(await allow(moved, consent))
    form = flow.exchange(back["code"])

    async def everywhere(form: dict[str, str]) -> list[httpx2.Response]:
        asking = (each.browser().post("/auth/token", data=form) for each in [one, other] * 4)
        return list(await asyncio.gather(*asking))

    answers = await everywhere(form)
    good = [answer.json() for answer in answers if answer.status_code == 200]
    assert len(good) == 1
    assert all(a.json()["error"] == "invalid_grant" for a in answers if a.status_code != 200)
    # The other seven were a second use: the family has ended, on both.
    assert not await one.active(good[0]["access_token"])
    again = await a_code(browser, flow)
    found = (await other.browser().post("/auth/token", data=flow.exchange(again["code"]))).json()
    assert claims(found["access_token"])["iss"] == one.url
    refresh = {
        "grant_type": "refresh_token", "refresh_token": found["refresh_token"],
        "client_id": flow.client_id,
    }  # fmt: skip
    answers = await everywhere(refresh)
    assert sorted(answer.status_code for answer in answers) == [200] + [400] * 7


async def test_a_one_time_code_at_the_same_time(
    two: tuple[Served, Served], monkeypatch: pytest.MonkeyPatch
) -> None:
    secret, shops = users.new_totp(), [each.shop for each in two]
    now = shops[0].guard.clock()

    def enrol(session: Session) -> None:
        users.set_totp(shops[0].settings, users.get(session, "ana@example.com"), secret, now)

    await shops[0].database.run("*", enrol)
    right = users.totp_matches

    def slowly(*given: Any) -> bool:
        found = right(*given)
        time.sleep(0.3)
        return found

    monkeypatch.setattr(users, "totp_matches", slowly)
    code = pyotp.TOTP(secret).at(now)
    found = await asyncio.gather(
        *(
            signing_in.check(shop, "ana@example.com", PASSWORD, code, "192.0.2.1", "test")
            for shop in shops * 2
        ),
        return_exceptions=True,
    )
    refused = [each for each in found if isinstance(each, NotAuthenticated)]
    assert len(refused) == 3, found


async def test_both_sign_with_one_key(two: tuple[Served, Served]) -> None:
    asking = [each.browser().get("/auth/jwks") for each in [*two, *two]]
    answers = await asyncio.gather(*asking)
    kids = [[key["kid"] for key in answer.json()["keys"]] for answer in answers]
    assert len(kids[0]) == 1
    assert kids == [kids[0]] * 4


async def test_guesses_are_counted_together(two: tuple[Served, Served]) -> None:
    one, other = two
    browser = one.browser()
    login = await browser.get(Flow(one.audience()).url())
    moved = _moved(browser, other)
    tries = [
        sign_in(each, login, password=f"guess {n}") for n, each in enumerate([browser, moved] * 5)
    ]
    answers = await asyncio.gather(*tries)
    assert sorted(answer.status_code for answer in answers) == [401] * 5 + [429] * 5


def _moved(browser: httpx2.AsyncClient, to: Served) -> httpx2.AsyncClient:
    """The same browser, its cookies too, at another process."""
    moved = to.browser()
    moved.cookies = browser.cookies
    return moved
