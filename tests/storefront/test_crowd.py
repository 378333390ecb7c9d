"""Many shoppers, few units; and nobody reaches what is another's."""

import asyncio
from random import Random
from typing import Any

import pytest
from mcp import Client, MCPError
from sqlalchemy import func, select

from common.call import Call
from common.errors import ShopError
from common.shop import Shop
from common.tables.orders import Order
from common.tables.payments import Payment
from common.tables.storefront import Cart, Checkout
from servers.storefront import carts, checkouts
from servers.storefront.checkouts import Details, quote_name
from servers.storefront.tools import tools
from tests.storefront.shoppers import (
    ADDRESS,
    TOKENS,
    agreed,
    all_sold,
    customer,
    filled,
    guest,
    member,
    more,
    nothing_stranded,
    quoted,
    worker,
    world,
)
from tests.support.shop import call, connected, do, done, look

SHOPPERS, UNITS = 200, 50
AT_ONCE = 20


@pytest.fixture
async def open_shop(either: Shop) -> Shop:
    await do(either, "*", world)
    return either


@pytest.mark.slow
async def test_the_last_fifty(open_shop: Shop) -> None:
    """200 want one of the last 50 each; cards decline, never answer, or lose their answer. Who
    found nothing left comes again, who could not pay does not: exactly 50 orders, nothing stranded,
    every book at zero."""
    shop, dice = open_shop, Random(5)
    tokens = [dice.choice(TOKENS) for _ in range(SHOPPERS)]
    for n, kind in enumerate(("tok_ok",) * UNITS):  # enough of them can pay
        tokens[n * 4 % SHOPPERS] = kind

    def crowd(call: Call) -> None:
        more(call, "OUT-1", UNITS)
        for n, token in enumerate(tokens):
            customer(call, f"n{n}", token)

    await do(shop, "*", crowd)
    handles: dict[int, str] = {}
    gate, at_work = asyncio.Semaphore(AT_ONCE), worker(shop)
    said = Details(ADDRESS, "Somebody", "post:standard")

    def shopping(call: Call, n: int) -> tuple[str, str, int]:
        handle = handles.get(n) or carts.add(call, "OUT-1", 1, None).handle
        quote = checkouts.prepare(call, handle, said)
        return handle, quote_name(quote.checkout), quote.checkout.total_minor

    async def shops(n: int) -> str:
        who = member(f"n{n}")
        async with gate:
            try:
                handle, name, total = await do(
                    shop, "storefront", lambda call: shopping(call, n), who=who
                )
                handles[n] = handle
                bought = await do(
                    shop, "storefront",
                    lambda call: checkouts.buy(call, handle, name, total, f"pm-n{n}"), who=who,
                )  # fmt: skip
            except ShopError as error:
                return error.code
            return bought.checkout.state

    waiting = set(range(SHOPPERS))
    for _ in range(8):
        turn = sorted(waiting)
        dice.shuffle(turn)
        outcomes = dict(zip(turn, await asyncio.gather(*map(shops, turn)), strict=True))
        assert set(outcomes.values()) <= {
            "complete_in_progress", "completed", "cart_operation_failed", "insufficient_stock",
        }, set(outcomes.values())  # fmt: skip
        await at_work.drain()
        await shop.housekeeping.once()
        shop.guard.clock.forward(minutes=1)  # type: ignore[attr-defined]
        await at_work.drain()
        await shop.housekeeping.once()
        shop.guard.clock.forward(minutes=20)  # type: ignore[attr-defined]
        await shop.housekeeping.once()
        await at_work.drain()
        bought = await look(shop, lambda s: set(s.scalars(select(Order.customer_id))))
        gave_up = await look(
            shop, lambda s: set(s.scalars(select(Checkout.customer_id).where(
                Checkout.failure_code.is_not(None)
            )))
        )  # fmt: skip
        waiting -= {n for n in waiting if f"cus-n{n}" in bought | gave_up}
        if len(bought) >= UNITS:
            break
    await nothing_stranded(shop)
    await all_sold(shop, UNITS)


async def test_nobody_elses(open_shop: Shop) -> None:
    """A stranger who knows every id, handle and URI of a shopper reads and changes nothing."""
    shop = open_shop
    async with connected(shop, tools, who=guest("victim")) as client:
        await filled(client, ("avocado", 2))
    async with connected(shop, tools, who=member()) as client:
        await done(client, "join_membership", tier="circle", agreed_fee_minor=0)
        bought = await quoted(client, await filled(client, ("avocado", 1)))
        await agreed(client, bought, "pm-lea")
        await worker(shop).drain()
        order = await agreed(client, bought, "pm-lea")
        cart = await filled(client, ("tomatoes on the vine", 2))
        quote = await quoted(client, cart)
        await done(client, "search_products", query="tomatoes on the vine")
    row = await look(shop, lambda s: s.scalar(select(Cart.id).where(Cart.owner_subject.is_(None))))
    before = await everything(shop)
    ids = [cart, bought["cart_id"], str(row), order["order_id"], order["checkout_id"], "cus-lea"]
    for stranger in (member("eve"), member("lea2", "lea@example.com"), guest("eve")):
        async with connected(shop, tools, who=stranger) as client:
            await attempts(client, ids, quote)
    assert await everything(shop) == before


async def test_a_cart_that_was_taken_along_and_a_name_that_is_not_mine(open_shop: Shop) -> None:
    """The handle of a guest's cart opens it for nobody else once its guest has signed in; and the
    resource answers to one's own names alone, even to who has a cart of their own."""
    shop = open_shop
    async with connected(shop, tools, who=guest("lea")) as client:
        handle = await filled(client, ("avocado", 1))
    async with connected(shop, tools, who=member()) as client:
        await done(client, "add_to_cart", product_name="avocado", quantity=1, cart_id=handle)
        assert (await done(client, "get_cart", cart_id=handle))["units"] == 2
    async with connected(shop, tools, who=member("eve")) as client:
        await filled(client, ("tomatoes on the vine", 1))
        assert "Tomatoes" in str(await client.read_resource("shopping://cart/me"))
        for name in ("lea", "cus-lea"):
            with pytest.raises(MCPError):
                await client.read_resource(f"shopping://cart/{name}")
    for stranger in (member("eve"), guest("lea"), guest("eve")):
        async with connected(shop, tools, who=stranger) as client:
            for tool, more in (
                ("get_cart", {}), ("prepare_checkout", {}),
                ("add_to_cart", {"product_name": "avocado", "quantity": 1}),
            ):  # fmt: skip
                answer = await call(client, tool, cart_id=handle, **more)
                assert answer.get("code") == "cart_not_found", (tool, answer)


async def attempts(client: Client, ids: list[str], quote: dict[str, Any]) -> None:
    """Each of a shopper's ids in each place where an id may stand."""
    for id in ids:
        calls: list[tuple[str, dict[str, Any]]] = [
            ("get_order_status", {"order_id": id}),
            ("join_membership", {
                "tier": "gold", "agreed_fee_minor": 4900, "payment_method_id": "pm-lea"
            }),
        ]  # fmt: skip
        if id.startswith("crt_"):
            calls += [
                ("get_cart", {"cart_id": id}),
                ("add_to_cart", {"product_name": "avocado", "quantity": 1, "cart_id": id}),
                ("remove_from_cart", {"product_name": "avocado", "cart_id": id}),
                ("prepare_checkout", {"cart_id": id, "promotion_codes": ["TEN"]}),
                ("checkout", {
                    "cart_id": id, "quote_id": quote["quote_id"],
                    "agreed_total_minor": quote["total_minor"], "payment_method_id": "pm-lea",
                }),
            ]  # fmt: skip
        for tool, arguments in calls:
            answer = await call(client, tool, **arguments)
            assert answer.get("code") in {
                "cart_not_found", "not_found", "insufficient_scope", "not_authenticated",
            }, (tool, answer)  # fmt: skip
            assert "Tomatoes" not in str(answer)
    for name in ("lea", "cus-lea", "https://accounts.example|lea", *ids):
        with pytest.raises(MCPError):
            await client.read_resource(f"shopping://cart/{name.replace('/', '%2F')}")
    status = await done(client, "get_account_status")
    assert "cus-lea" not in str(status)
    assert status["orders"] == []
    assert status["payment_methods"] == [] or "pm-lea" not in str(status)
    assert not (await done(client, "check_membership"))["member"]


async def everything(shop: Shop) -> Any:
    def rows(session: Any) -> Any:
        carts = session.execute(
            select(Cart.id, Cart.version, Cart.owner_subject, Cart.status).order_by(Cart.id)
        ).all()
        checkouts = session.execute(
            select(Checkout.id, Checkout.version, Checkout.state).order_by(Checkout.id)
        ).all()
        return carts, checkouts, session.scalar(select(func.count()).select_from(Payment))

    return await look(shop, rows)
