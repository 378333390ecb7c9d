"""Everybody wants the last units, over real sockets, with real tokens: each sold once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
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
    agreed,
    all_sold,
    customer,
    more,
    nothing_stranded,
    worker,
    world,
)
from tests.support.http import on_port, uvicorn_serving
from tests.support.shop import MovingClock, a_shop, call, do, look, settings_in

AT_ONCE = 20
MOST_ROUNDS = 8


@pytest.mark.parametrize(
    ("shoppers", "units"),
    [pytest.param(200, 50, marks=pytest.mark.slow, id="200"), pytest.param(12, 3, id="12")],
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
        for _ in range(MOST_ROUNDS):
            outcomes = await everybody(shop, sorted(waiting), dice)
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


async def everybody(shop: Shop, turn: list[int], dice: Random) -> set[str]:
    """Each shops once, so many at a time; what came of it."""
    dice.shuffle(turn)
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
            cart = None
            if n % 2:
                async with connected(audience) as client:
                    cart = await a_cart(client)
            async with connected(audience, Authorization=f"Bearer {issued[n]}") as client:
                return await buys(client, n, cart)

    return set(await asyncio.gather(*map(one, turn)))


@asynccontextmanager
async def connected(url: str, **headers: str) -> AsyncIterator[Client]:
    async with (
        httpx2.AsyncClient(timeout=120, headers=headers) as http,
        Client(streamable_http_client(url, http_client=http)) as client,
    ):
        yield client


async def a_cart(client: Client) -> str | None:
    added = await call(client, "add_to_cart", product_name="OUT-1", quantity=1)
    cart: str | None = added.get("cart_id")
    return cart


async def buys(client: Client, n: int, cart: str | None) -> str:
    """The cart of this shopper, bought if that can be; what came of it."""
    if cart is None:
        added = await call(client, "add_to_cart", product_name="OUT-1", quantity=1)
        if "cart_id" not in added:
            return str(added["code"])
        cart = str(added["cart_id"])
    quote = await call(
        client, "prepare_checkout", cart_id=cart, recipient="Somebody", ship_to=ADDRESS,
        shipping_service="post:standard",
    )  # fmt: skip
    if "quote_id" not in quote:
        return str(quote["code"])
    ended = await agreed(client, quote, f"pm-n{n}")
    return str(ended.get("status") or ended["code"])
