"""Everybody wants the last units, over real sockets, with real tokens: each sold once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import httpx2
import pytest
from sqlalchemy import select

from common.auth.authenticator import authenticator
from common.auth.server import access
from common.call import Call
from common.http.app import http_app
from common.http.guests import guests
from common.shop import Shop
from common.shoppers import SHOPPER_SCOPES
from common.tables.orders import Customer, Order
from common.tables.storefront import Checkout
from servers.storefront.tools import tools
from tests.storefront.shoppers import (
    ADDRESS,
    TOKENS,
    all_sold,
    customer,
    more,
    nothing_stranded,
    worker,
    world,
)
from tests.storefront.test_http import new_era, request
from tests.support.http import on_port, uvicorn_serving
from tests.support.shop import MovingClock, a_shop, do, look, settings_in

AT_ONCE = 20
MOST_ROUNDS = 8


@pytest.mark.parametrize(
    ("kind", "shoppers", "units"),
    [
        pytest.param("sqlite", 60, 15, marks=pytest.mark.slow, id="sqlite-60"),
        pytest.param("postgresql", 60, 15, marks=pytest.mark.slow, id="postgresql-60"),
        pytest.param("sqlite", 12, 3, id="sqlite-12"),
        pytest.param("postgresql", 12, 3, id="postgresql-12"),
    ],
    indirect=["kind"],
)
async def test_the_last_units(tmp_path: Path, url: str, shoppers: int, units: int) -> None:
    """Cards decline, never answer, or lose their answer. Every second shopper fills a cart before
    signing in. Who found nothing left comes again, who could not pay does not."""
    dice = Random(7)
    cards = [dice.choice(TOKENS) for _ in range(shoppers)]
    for n in range(units):  # enough of them can pay
        cards[n * 4 % shoppers] = "tok_ok"
    async with a_market(tmp_path, url) as shop:
        await do(shop, "*", lambda call: crowd(call, shop, cards, units))
        waiting, at_work = set(range(shoppers)), worker(shop)
        carts: dict[int, str] = {}
        for _ in range(MOST_ROUNDS):
            turn = dice.sample(sorted(waiting), len(waiting))
            outcomes = await everybody(shop, turn, carts)
            assert outcomes <= {
                "complete_in_progress", "completed", "cart_operation_failed", "insufficient_stock",
            }  # fmt: skip
            for minutes in (1, 20):
                await at_work.drain()
                await shop.housekeeping.once()
                shop.guard.clock.forward(minutes=minutes)  # type: ignore[attr-defined]
            await shop.housekeeping.once()
            await at_work.drain()
            bought, gave_up = await look(shop, who_is_done)
            waiting -= {n for n in waiting if f"cus-n{n}" in bought | gave_up}
            if len(bought) >= units:
                break
        await nothing_stranded(shop)
        await all_sold(shop, units)


@asynccontextmanager
async def a_market(folder: Path, url: str) -> AsyncIterator[Shop]:
    http = on_port(settings_in(folder)).http
    async with a_shop(folder, clock=MovingClock(), http=http, database_url=url) as shop:
        await do(shop, "*", world)
        checking = authenticator(shop)
        app = http_app(shop, [tools], checking, guests=guests(http), faces=False)
        async with uvicorn_serving(app, http):
            yield shop
        await checking.close()


def crowd(call: Call, shop: Shop, cards: list[str], units: int) -> None:
    more(call, "OUT-1", units)
    for n, card in enumerate(cards):
        customer(call, f"n{n}", card)
        found = call.get(Customer, f"cus-n{n}")
        found.subject = f"{shop.settings.http.public_url}|n{n}"


def who_is_done(session: Any) -> tuple[set[str], set[str]]:
    """Who has an order, and whose payment was refused or never answered."""
    gave_up = select(Checkout.customer_id).where(Checkout.failure_code.is_not(None))
    return set(session.scalars(select(Order.customer_id))), set(session.scalars(gave_up))


async def everybody(shop: Shop, turn: list[int], carts: dict[int, str]) -> set[str]:
    """Each shops once, so many at a time; what came of it."""
    http, now = shop.settings.http, shop.guard.clock()
    audience = http.audience("storefront")

    def tokens(call: Call) -> dict[int, str]:
        return {
            n: access.issue(
                call.session, shop.settings, now, subject=f"n{n}", client_id="test",
                resource=audience, scopes=sorted(SHOPPER_SCOPES),
            ).token
            for n in turn
        }  # fmt: skip

    issued, gate = await do(shop, "*", tokens), asyncio.Semaphore(AT_ONCE)

    async def one(n: int) -> str:
        async with gate:
            signed_in = Shopping(browser, audience, {"Authorization": f"Bearer {issued[n]}"})
            first = Shopping(browser, audience, {}) if n % 2 else signed_in
            cart = carts.get(n)
            if cart is None:
                added = await first.call("add_to_cart", product_name="OUT-1", quantity=1)
                if "cart_id" not in added:
                    return str(added["code"])
                cart = str(added["cart_id"])
            quote = await signed_in.call(
                "prepare_checkout", cart_id=cart, recipient="Somebody", ship_to=ADDRESS,
                shipping_service="post:standard",
            )  # fmt: skip
            if "quote_id" not in quote:
                return str(quote["code"])
            carts[n] = str(quote["cart_id"])  # theirs from now on
            ended = await signed_in.call(
                "checkout", cart_id=carts[n], quote_id=quote["quote_id"],
                agreed_total_minor=quote["total_minor"], payment_method_id=f"pm-n{n}",
            )  # fmt: skip
            return str(ended.get("status") or ended["code"])

    async with httpx2.AsyncClient(timeout=60) as browser:
        return set(await asyncio.gather(*map(one, turn)))


@dataclass
class Shopping:
    """Somebody's calls, each a request that stands alone, made once."""

    browser: httpx2.AsyncClient
    url: str
    headers: dict[str, str]

    async def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        said = {"Accept": "application/json, text/event-stream"} | new_era(tool) | self.headers
        answer = await self.browser.post(self.url, headers=said, json=request(tool, arguments))
        assert answer.status_code == 200, (tool, answer.status_code, answer.text)
        found: dict[str, Any] = answer.json()["result"]["structuredContent"]
        return found
