"""Shoppers: search that forgives, a cart that lasts, nothing guessed, nobody else's cart."""

from typing import Any

import pytest
from mcp import Client, MCPError
from sqlalchemy import func, select

from common.call import Call
from common.shop import Shop
from common.tables.inventory import Variant
from common.tables.storefront import Cart
from servers.storefront import carts
from servers.storefront.tools import tools
from tests.storefront.shoppers import guest, member
from tests.support.shop import actor, connected, do, done, look, refused


async def add(client: Client, name: str, quantity: int, cart: str | None = None) -> dict[str, Any]:
    more = {"cart_id": cart} if cart else {}
    return await done(client, "add_to_cart", product_name=name, quantity=quantity, **more)


async def test_a_cart_over_several_turns(shop: Shop) -> None:
    async with connected(shop, tools, who=member()) as client:
        cart = (await add(client, "eggs dozen free range", 2))["cart_id"]
        await add(client, "Whole milk 1 l", 1, cart)
        await add(client, "avocado", 2, cart)
        await add(client, "avocado", 1, cart)
        view = await done(client, "get_cart", cart_id=cart)
        assert [(i["sku"], i["quantity"]) for i in view["items"]] == [
            ("EGG-12", 2), ("MILK-1", 1), ("AVO-1", 3)
        ]  # fmt: skip
        assert view["subtotal_minor"] == 2 * 399 + 149 + 3 * 120
        less = await done(
            client, "remove_from_cart", product_name="avocado", cart_id=cart, quantity=1
        )
        assert less["units"] == 5
        none = await done(client, "remove_from_cart", product_name="whole milk", cart_id=cart)
        assert [i["sku"] for i in none["items"]] == ["EGG-12", "AVO-1"]
        own: Any = await client.read_resource("shopping://cart/me")
        assert "AVO-1" in own.contents[0].text


async def test_it_never_guesses(shop: Shop) -> None:
    async with connected(shop, tools, who=member()) as client:
        answer = await refused(
            client, "add_to_cart", "product_not_found", product_name="milk 1 l", quantity=1
        )
        assert {s["sku"] for s in answer["details"]["suggestions"]} >= {"MILK-1", "MILK-2"}
        await refused(client, "add_to_cart", "product_not_found", product_name="zzqx", quantity=1)
    assert await look(shop, lambda s: s.scalar(select(func.count()).select_from(Cart))) == 0


async def test_refusals_change_nothing(shop: Shop) -> None:
    async with connected(shop, tools, who=member()) as client:
        cart = (await add(client, "avocado", 1))["cart_id"]
        await refused(
            client, "add_to_cart", "cart_operation_failed", product_name="tomatoes on the vine",
            quantity=3, cart_id=cart,
        )  # fmt: skip
        await refused(
            client, "add_to_cart", "cart_operation_failed", product_name="saffron 1 g",
            quantity=1, cart_id=cart,
        )  # fmt: skip
        await refused(
            client, "remove_from_cart", "product_not_found", product_name="eggs", cart_id=cart
        )
        await refused(
            client, "remove_from_cart", "invalid_parameters", product_name="avocado",
            cart_id=cart, quantity=2,
        )  # fmt: skip
        await refused(client, "get_cart", "cart_not_found", cart_id="crt_" + "x" * 32)
        assert (await done(client, "get_cart", cart_id=cart))["units"] == 1


async def test_nobody_elses_cart(shop: Shop) -> None:
    async with connected(shop, tools, who=member()) as client:
        cart = (await add(client, "avocado", 1))["cart_id"]
    async with connected(shop, tools, who=member("eve")) as eve:
        await refused(eve, "get_cart", "cart_not_found", cart_id=cart)
        await refused(
            eve, "remove_from_cart", "cart_not_found", product_name="avocado", cart_id=cart
        )
        with pytest.raises(MCPError):
            await eve.read_resource("shopping://cart/lea")


async def test_a_guests_cart_expires(shop: Shop) -> None:
    async with connected(shop, tools, who=guest()) as client:
        cart = (await add(client, "avocado", 1))["cart_id"]
        shop.guard.clock.forward(minutes=9)  # type: ignore[attr-defined]
        await add(client, "avocado", 1, cart)
        shop.guard.clock.forward(minutes=9)  # type: ignore[attr-defined]
        assert (await done(client, "get_cart", cart_id=cart))["units"] == 2
        shop.guard.clock.forward(minutes=11)  # type: ignore[attr-defined]
        await refused(client, "get_cart", "cart_not_found", cart_id=cart)


async def test_a_changed_price_is_shown(shop: Shop) -> None:
    async with connected(shop, tools, who=member()) as client:
        cart = (await add(client, "avocado", 1))["cart_id"]

        def dearer(call: Call) -> None:
            call.get(Variant, "AVO-1").price_minor = 150

        await do(shop, "inventory", dearer)
        view = await done(client, "get_cart", cart_id=cart)
        assert view["items"][0]["price_minor"] == 150
        assert view["items"][0]["price_was_minor"] == 120
        assert view["note"]


async def test_resources_and_prompt(shop: Shop) -> None:
    async with connected(shop, tools, who=guest()) as client:
        for uri in ("shopping://products", "shopping://categories"):
            read: Any = await client.read_resource(uri)
            assert "Dairy" in read.contents[0].text
        prompt: Any = await client.get_prompt("shop_for", {"wish": "breakfast"})
        assert "breakfast" in prompt.messages[0].content.text


async def test_staff_does_not_shop(shop: Shop) -> None:
    """Any scope of the back office, and no cart is opened; the catalogue may be read."""
    async with connected(shop, tools, who=actor("ana@example.com")) as staff:
        assert (await done(staff, "search_products", query="avocado"))["count"] == 1
        await refused(staff, "add_to_cart", "not_authenticated", product_name="avocado", quantity=1)
        await refused(staff, "get_account_status", "not_authenticated")
        await refused(staff, "get_cart", "not_authenticated", cart_id="crt_" + "x" * 32)
    assert await look(shop, lambda s: s.scalar(select(func.count()).select_from(Cart))) == 0


async def test_guests_are_limited(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Five carts for each, and a bound for all of them; an expired one makes room."""
    monkeypatch.setattr(carts, "MOST_GUEST_CARTS", 7)
    async with connected(shop, tools, who=guest()) as client:
        for _ in range(carts.MOST_OF_ONE_GUEST):
            await add(client, "avocado", 1)
        await refused(client, "add_to_cart", "rate_limited", product_name="avocado", quantity=1)
    async with connected(shop, tools, who=guest("two")) as client:
        await add(client, "avocado", 1)
        await add(client, "avocado", 1)
        await refused(client, "add_to_cart", "rate_limited", product_name="avocado", quantity=1)
        shop.guard.clock.forward(minutes=10)  # type: ignore[attr-defined]
        await add(client, "avocado", 1)
    await shop.housekeeping.once()
    left = await look(shop, lambda s: s.scalars(select(Cart.status)).all())
    assert sorted(left) == ["active"] + ["expired"] * 7


async def test_one_cart_on_two_devices(shop: Shop) -> None:
    """The same person from another client sees and changes the same cart by the same id."""
    async with connected(shop, tools, who=member()) as phone:
        cart = (await add(phone, "avocado", 1))["cart_id"]
        async with connected(shop, tools, who=member()) as desk:
            assert (await add(desk, "Whole milk 1 l", 1))["cart_id"] == cart
        view = await done(phone, "get_cart", cart_id=cart)
        assert view["units"] == 2
