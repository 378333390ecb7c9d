"""The shopper's widgets in the other form: a host that offers ``window.openai``."""

from pathlib import Path

import pytest
from playwright.async_api import expect

from servers.storefront.tools import tools
from tests.storefront.goods import goods
from tests.storefront.shoppers import ADDRESS, member, worker, world
from tests.support.shop import do
from tests.widgets.hosting import Chat, Hosted, hosted


@pytest.mark.slow
async def test_from_search_to_order(tmp_path: Path) -> None:
    """Every page of a shopper, shown by toolOutput, acting by callTool, telling the model by
    widgetState and the chat by sendFollowUpMessage, in the host's theme and of its own height."""
    async with hosted(tmp_path, [tools]) as host, host.device() as one:
        await do(host.shop, "*", goods)
        await do(host.shop, "*", world)
        token = host.token("storefront", member("lea"))
        chat = await host.chat(one, token=token, form="openai")
        await chat.done("search_products", query="milk")
        await chat.looks_right()
        await chat.widget.get_by_role("button", name="Add Whole milk 1 l").click()
        await expect(chat.widget.get_by_text("Your cart: 1 unit")).to_be_visible()
        told = (await chat.heard("contexts"))[-1]
        assert "Added 1 × Whole milk" in told["text"]
        assert told["data"]["units"] == 1
        await chat.widget.get_by_role("button", name="Show the cart").click()
        await expect(chat.widget.get_by_role("status")).to_have_text("Sent to the chat.")
        assert await chat.heard("messages") == ["Show me my cart."]
        await _cart(host, chat, told["data"]["cart_id"], token)
        await _bought(host, chat, told["data"]["cart_id"])
        assert min(await chat.heard("heights")) > 50
        assert host.problems == []


async def _cart(host: Hosted, chat: Chat, cart: str, token: str) -> None:
    """Two of it in the widget; what the page was given at first is old after a reload, and it
    reads again."""
    await chat.done("get_cart", cart_id=cart)
    await chat.looks_right()
    await chat.widget.get_by_role("button", name="One more Whole milk").click()
    await expect(chat.widget.locator(".amount")).to_have_text("2")
    await host.open(chat, token=token)
    await expect(chat.widget.locator(".amount")).to_have_text("2")
    assert (await chat.page.evaluate("cart => ask_quietly('get_cart', {cart_id: cart})", cart))[
        "structuredContent"
    ]["units"] == 2


async def _bought(host: Hosted, chat: Chat, cart: str) -> None:
    await chat.done(
        "prepare_checkout", cart_id=cart, recipient="Lea Test", ship_to=ADDRESS,
        shipping_service="post:standard",
    )  # fmt: skip
    await chat.looks_right()
    await chat.widget.get_by_role("button", name="Buy for").click()
    await expect(chat.widget.get_by_role("heading", name="The payment is being")).to_be_visible()
    await worker(host.shop).drain()
    await chat.widget.get_by_role("button", name="How far is it?").click()
    await expect(chat.widget.get_by_role("heading", name="Thank you")).to_be_visible()
    await chat.looks_right()
    order = (await chat.heard("contexts"))[-1]["data"]["order_id"]
    await chat.done("get_order_status", order_id=order)
    await expect(chat.widget.get_by_role("heading", name=f"Order {order}")).to_be_visible()
    await chat.looks_right()


@pytest.mark.slow
async def test_signing_in_and_joining(tmp_path: Path) -> None:
    async with hosted(tmp_path, [tools]) as host, host.device() as one:
        await do(host.shop, "*", goods)
        await do(host.shop, "*", world)
        guest = await host.chat(one, form="openai")
        await guest.done("get_account_status")
        await guest.looks_right()
        await guest.widget.get_by_role("button", name="Sign in").click()
        await expect(guest.widget.get_by_role("status")).to_have_text("Sent to the chat.")
        assert await guest.heard("messages") == ["I would like to sign in to the shop."]
        await guest.done("check_membership")
        await guest.widget.get_by_role("button", name="Join Circle").click()
        await expect(guest.widget.get_by_role("alert")).to_contain_text("Please sign in first")

        lea = await host.chat(one, token=host.token("storefront", member("lea")), form="openai")
        await lea.done("get_account_status")
        await lea.looks_right()
        await lea.done("check_membership")
        await lea.widget.get_by_role("button", name="Join Circle").click()
        await expect(lea.widget.get_by_text("Yours")).to_be_visible()
        await lea.looks_right()
        async with lea.cut_off():
            await lea.widget.get_by_role("button", name="Join Gold").click()
            await expect(lea.widget.get_by_role("alert")).to_contain_text("did not answer")
        assert host.problems == []
