"""A guest signs in from the chat: at the shop's own authorization server, in its own window."""

from pathlib import Path

import pytest
from playwright.async_api import BrowserContext, Page, expect

from common.auth.server import users
from common.call import Call
from common.clock import utc_now
from common.shoppers import SHOPPER_SCOPES
from common.tables.orders import Customer
from servers.storefront.tools import tools
from tests.console.browsing import PASSWORD
from tests.storefront.goods import goods
from tests.storefront.shoppers import ADDRESS, customer, worker, world
from tests.support.shop import do
from tests.widgets.hosting import Chat, Hosted, back_in_the_host, hosted

PIA = "pia@shop.example"


def people(call: Call) -> None:
    """A customer from before, who has an account at the shop and never linked it."""
    customer(call, "pia")
    call.get(Customer, "cus-pia").subject = None
    kept = users.hashed(PASSWORD, 4)
    users.add(call.session, PIA, "Pia", kept, SHOPPER_SCOPES, call.now, email="pia@example.com")


@pytest.mark.slow
async def test_a_guest_links_an_account(tmp_path: Path) -> None:
    """The sign-in page says guest; a widget's button needs more; the shop's page opens, says what
    the host would learn, and the same press goes on. The guest's cart is Pia's from then on."""
    async with hosted(tmp_path, [tools], clock=utc_now, real=True) as host, host.device() as one:
        for work in (goods, world, people):
            await do(host.shop, "*", work)
        chat = await host.chat(one, links=True)
        cart = (await chat.done("add_to_cart", product_name="avocado", quantity=2))["cart_id"]
        await chat.done("get_account_status")
        await expect(chat.widget.get_by_role("heading", name="You shop as a guest")).to_be_visible()
        await chat.done("check_membership")
        async with one.expect_page() as opened:
            await chat.widget.get_by_role("button", name="Join Circle").click()
        await _signs_in(await opened.value)
        await expect(chat.widget.get_by_text("Yours")).to_be_visible()
        await chat.done("get_account_status")
        await expect(chat.widget.get_by_role("heading", name="Hello, Pia")).to_be_visible()
        await _adopted(host, chat, cart)
        (asked,) = await chat.heard("asked")  # once: who signs in can do what a guest can, and buy
        assert "storefront:buy" in asked
        assert host.problems == []


async def _signs_in(page: Page) -> None:
    """No password in any widget: on the shop's page, under its own address."""
    await page.get_by_label("Name").fill(PIA)
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Sign in").click()
    told = page.get_by_text("and learn your e-mail address, pia@example.com")
    await expect(told.first).to_be_visible()
    await page.get_by_role("button", name="Allow").click()
    await back_in_the_host(page)


async def _adopted(host: Hosted, chat: Chat, cart: str) -> None:
    """Bought with the cart of before; after a reload still signed in; nobody else opens it."""
    quote = await chat.done(
        "prepare_checkout", cart_id=cart, recipient="Pia Test", ship_to=ADDRESS,
        shipping_service="post:standard",
    )  # fmt: skip
    assert [each["payment_method_id"] for each in quote["payment_methods"]] == ["pm-pia"]
    async with host.device() as two:
        other = await host.chat(two)
        refused = await other.say("get_cart", cart_id=cart)
        assert refused["structuredContent"]["code"] == "cart_not_found"
        await expect(other.widget.get_by_role("alert")).to_contain_text("no longer there")
    await chat.widget.get_by_role("button", name="Buy for").click()
    await expect(chat.widget.get_by_role("heading", name="The payment is being")).to_be_visible()
    await worker(host.shop).drain()
    await chat.widget.get_by_role("button", name="How far is it?").click()
    await expect(chat.widget.get_by_role("heading", name="Thank you")).to_be_visible()
    told = (await chat.heard("contexts"))[-1]["structuredContent"]
    assert (told["status"], told["items"][0]["sku"]) == ("completed", "AVO-1")


@pytest.mark.slow
async def test_a_guest_who_changes_their_mind(tmp_path: Path) -> None:
    """The page is closed by refusing; the widget says what happened, and nothing was done."""
    async with hosted(tmp_path, [tools], clock=utc_now, real=True) as host, host.device() as one:
        for work in (goods, world, people):
            await do(host.shop, "*", work)
        chat = await host.chat(one, links=True)
        await chat.done("check_membership")
        await _refuses(one, chat)
        await expect(chat.widget.get_by_role("alert")).to_contain_text("Please sign in first")
        assert not (await chat.done("check_membership"))["member"]
        assert host.problems == []


async def _refuses(context: BrowserContext, chat: Chat) -> None:
    async with context.expect_page() as opened:
        await chat.widget.get_by_role("button", name="Join Circle").click()
    page = await opened.value
    await page.get_by_label("Name").fill(PIA)
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Sign in").click()
    await page.get_by_role("button", name="Refuse").click()
    await back_in_the_host(page)
