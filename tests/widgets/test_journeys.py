"""A shopper's other ways through the widgets: search to order, membership, signing in."""

from pathlib import Path

import pytest
from playwright.async_api import expect

from servers.storefront.tools import tools
from tests.storefront.goods import goods
from tests.storefront.shoppers import member, nothing_stranded, worker, world
from tests.support.shop import do
from tests.widgets.hosting import Chat, Hosted, hosted


@pytest.mark.slow
async def test_from_search_to_order(tmp_path: Path) -> None:
    async with hosted(tmp_path, [tools]) as host, host.device() as one:
        await do(host.shop, "*", goods)
        await do(host.shop, "*", world)
        chat = await host.chat(one, token=host.token("storefront", member("lea")))
        await chat.done("search_products", query="milk")
        await chat.looks_right()
        await chat.widget.get_by_role("button", name="Add Whole milk 1 l").click()
        await expect(chat.widget.get_by_text("Your cart: 1 unit")).to_be_visible()
        await chat.widget.get_by_role("button", name="Show the cart").click()
        await expect(chat.widget.get_by_role("status")).to_have_text("Sent to the chat.")
        assert await chat.heard("messages") == ["Show me my cart."]
        await _bought(host, chat)
        assert host.problems == []


async def _bought(host: Hosted, chat: Chat) -> None:
    cart = (await chat.done("get_account_status"))["cart_id"]
    await chat.looks_right()
    await chat.done("prepare_checkout", cart_id=cart)
    widget = chat.widget
    await expect(widget.get_by_text("Still needed")).to_be_visible()
    for label, value in (
        ("Name on the parcel", "Lea Test"), ("Street and number", "Lindenweg 4"),
        ("Postal code", "53111"), ("City", "Bonn"), ("Country code", "DE"),
    ):  # fmt: skip
        field = widget.get_by_label(label)
        if await field.count():
            await field.fill(value)
    if await widget.get_by_role("button", name="Use this address").count():
        await widget.get_by_role("button", name="Use this address").click()
    # The view is drawn anew with what the shop says; what is clicked before that is the old one.
    await expect(widget.get_by_role("button", name="Change")).to_be_visible()
    await widget.get_by_label("express").click()
    await expect(widget.get_by_role("button", name="Buy for")).to_have_text("Buy for €14.39")
    await chat.looks_right()
    await widget.get_by_role("button", name="Buy for").click()
    await expect(widget.get_by_role("heading", name="The payment is being")).to_be_visible()
    await worker(host.shop).drain()
    await widget.get_by_role("button", name="How far is it?").click()
    await expect(widget.get_by_role("heading", name="Thank you")).to_be_visible()
    assert await chat.serious() == []
    told = (await chat.heard("contexts"))[-1]["structuredContent"]
    order = (await chat.done("get_account_status"))["orders"][0]["order_id"]
    assert (told["status"], told["order_id"]) == ("completed", order)
    seen = await chat.done("get_order_status", order_id=order)
    assert seen["total_minor"] == 1439
    await expect(chat.widget.get_by_role("heading", name=f"Order {order}")).to_be_visible()
    await chat.looks_right()
    await nothing_stranded(host.shop)


@pytest.mark.slow
async def test_joining_and_signing_in(tmp_path: Path) -> None:
    async with hosted(tmp_path, [tools]) as host, host.device() as one:
        await do(host.shop, "*", goods)
        await do(host.shop, "*", world)
        guest = await host.chat(one)
        await guest.done("get_account_status")
        await expect(
            guest.widget.get_by_role("heading", name="You shop as a guest")
        ).to_be_visible()
        await guest.looks_right()
        await guest.widget.get_by_role("button", name="Sign in").click()
        await expect(guest.widget.get_by_role("status")).to_have_text("Sent to the chat.")
        assert await guest.heard("messages") == ["I would like to sign in to the shop."]
        await guest.done("check_membership")
        await guest.widget.get_by_role("button", name="Join Circle").click()
        await expect(guest.widget.get_by_role("alert")).to_contain_text("Please sign in first")
        assert await guest.serious() == []

        lea = await host.chat(one, token=host.token("storefront", member("lea")))
        await lea.done("get_account_status")
        await expect(lea.widget.get_by_role("heading", name="Hello, Lea Test")).to_be_visible()
        await lea.done("check_membership")
        await lea.looks_right()
        await lea.widget.get_by_role("button", name="Join Circle").click()
        await expect(lea.widget.get_by_text("Yours")).to_be_visible()
        await lea.looks_right()
        assert (await lea.done("check_membership"))["tier"] == "circle"
        assert host.problems == []
