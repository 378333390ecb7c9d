"""The run of the cart document, in a browser: chat, widget, reload, a second device."""

import asyncio
from pathlib import Path
from typing import Any

from playwright.async_api import APIResponse, Locator, Route, expect

from servers.storefront.tools import tools
from tests.storefront.goods import GOODS, goods
from tests.storefront.shoppers import member, more, world
from tests.support.shop import do
from tests.widgets.hosting import Chat, hosted, text

ITEMS = [("EGG-12", 2), ("MILK-1", 1), ("AVO-1", 2), ("TOM-1", 3)]


async def test_the_run_of_the_document(tmp_path: Path) -> None:
    """2 eggs by chat, milk by chat, 2 avocados in the widget, 3 tomatoes by chat."""
    async with hosted(tmp_path, [tools]) as host, host.device() as one, host.device() as two:
        await do(host.shop, "*", goods)
        await do(host.shop, "*", world)
        await do(host.shop, "*", lambda call: more(call, "TOM-1", 5))
        token = host.token("storefront", member("lea"))
        chat = await host.chat(one, token=token)

        first = await chat.say("add_to_cart", product_name="eggs", quantity=2)
        cart = first["structuredContent"]["cart_id"]
        session = first["_meta"]["widgetSessionId"]
        assert text(first) == first["structuredContent"]
        await _agrees(chat, cart, ITEMS[:1])

        second = await chat.say("add_to_cart", product_name="whole milk", quantity=1, cart_id=cart)
        assert second["_meta"]["widgetSessionId"] == session
        await _agrees(chat, cart, ITEMS[:2])

        await _avocados(chat)
        await _agrees(chat, cart, ITEMS[:3])
        contexts = await chat.heard("contexts")
        assert _items(contexts[-1]["structuredContent"]) == ITEMS[:3]
        assert "Avocado" in contexts[-1]["content"][0]["text"]

        await host.open(chat, token=token)  # the page is loaded again, with the old answer
        await _agrees(chat, cart, ITEMS[:3])

        await chat.done("add_to_cart", product_name="tomatoes", quantity=3, cart_id=cart)
        await _agrees(chat, cart, ITEMS)

        other = await host.chat(two, token=token)
        await other.done("get_cart", cart_id=cart)
        await _agrees(other, cart, ITEMS)
        await other.widget.get_by_role("button", name="One less Eggs").click()
        fewer = [("EGG-12", 1), *ITEMS[1:]]
        await _agrees(other, cart, fewer)
        await chat.page.frames[-1].evaluate("window.dispatchEvent(new Event('focus'))")
        await _agrees(chat, cart, fewer)
        assert await other.serious() == []
        await other.page.evaluate("dress('dark')")
        await expect(other.widget.locator("html")).to_have_attribute("data-theme", "dark")
        assert await other.serious() == []
        assert host.problems == []


async def _avocados(chat: Chat) -> None:
    """Two, by keyboard and pointer. Every press is an intent of its own, with its own key."""
    widget = chat.widget
    await widget.get_by_label("Add something").fill("avocdo")
    await chat.page.keyboard.press("Enter")
    await widget.get_by_role("button", name="Add Avocado").click()
    await expect(widget.get_by_role("status")).to_contain_text("Added 1 × Avocado")
    more = widget.get_by_role("button", name="One more Avocado")
    await more.focus()
    await chat.page.keyboard.press("Enter")
    await expect(widget.get_by_role("group", name="Quantity of Avocado")).to_contain_text("2")
    await expect(more).to_be_focused()
    called = [each for each in chat.called if each["name"] == "add_to_cart"]
    keys = [each["arguments"]["idempotency_key"] for each in called]
    assert len(keys) == len(set(keys)) == 2


async def _agrees(chat: Chat, cart: str, items: list[tuple[str, int]]) -> None:
    """The widget, and what the model is answered now."""
    await expect(_shown(chat)).to_have_count(len(items))
    for sku, quantity in items:
        group = chat.widget.get_by_role("group", name=f"Quantity of {GOODS[sku][0]}")
        await expect(group.locator(".amount")).to_have_text(str(quantity))
    model = await chat.page.evaluate("cart => ask_quietly('get_cart', {cart_id: cart})", cart)
    assert _items(model["structuredContent"]) == items


def _shown(chat: Chat) -> Locator:
    return chat.widget.get_by_role("list", name="Items").get_by_role("listitem")


def _items(view: dict[str, Any]) -> list[tuple[str, int]]:
    return [(item["sku"], item["quantity"]) for item in view["items"]]


async def test_refusals_are_shown_and_tried_again_with_the_same_key(tmp_path: Path) -> None:
    async with hosted(tmp_path, [tools]) as host, host.device() as one:
        await do(host.shop, "*", goods)
        chat = await host.chat(one)
        refused = await chat.say("add_to_cart", product_name="milk", quantity=2)
        assert refused["isError"]
        widget = chat.widget
        await expect(widget.get_by_role("alert")).to_contain_text("Which product is meant?")
        assert await chat.serious() == []
        await widget.get_by_role("button", name="Add Whole milk 1 l").click()
        await expect(_shown(chat)).to_contain_text("Whole milk 1 l")
        await expect(widget.locator(".amount")).to_have_text("2")

        await _broken_network(chat)
        await widget.get_by_role("button", name="Remove Whole milk").click()
        await expect(widget.get_by_text("Nothing in it yet")).to_be_visible()
        assert await chat.serious() == []
        assert host.problems == []


async def _broken_network(chat: Chat) -> None:
    widget = chat.widget
    async with chat.cut_off():
        await widget.get_by_role("button", name="One more Whole milk").click()
        await expect(widget.get_by_role("alert")).to_contain_text("The shop did not answer")
    await widget.get_by_role("button", name="Try again").click()
    await expect(widget.locator(".amount")).to_have_text("3")
    await expect(widget.get_by_role("alert")).to_have_count(0)
    tried = [each["arguments"] for each in chat.called[-2:]]
    assert tried[0] == tried[1]


async def test_what_a_product_is_called_stays_text(tmp_path: Path) -> None:
    """A name that is markup is shown as it is written; the page asks the chat to go on."""
    name = "<img src=x onerror=parent.hacked=1> cup"

    def odd(call: Any) -> None:
        goods(call)
        from common.rules import stock
        from common.tables.inventory import Product, Variant

        call.add(Product(id="P-X", name=name, category="Odd"))
        call.add(Variant(id="ODD-1", product_id="P-X", name=name, price_minor=100, currency="EUR"))
        stock.receive(call, "ODD-1", "WH-1", 5, "seed")

    async with hosted(tmp_path, [tools]) as host, host.device() as one:
        await do(host.shop, "*", odd)
        chat = await host.chat(one)
        await chat.done("add_to_cart", product_name="ODD-1", quantity=1)
        await expect(_shown(chat)).to_contain_text("<img src=x")
        assert await chat.widget.locator("img").count() == 0
        await chat.widget.get_by_role("button", name="Check out").click()
        await expect(chat.widget.get_by_role("status")).to_have_text("Sent to the chat.")
        assert await chat.heard("messages") == ["I would like to check out my cart."]
        assert host.problems == []


async def test_what_was_read_before_is_not_shown_after(tmp_path: Path) -> None:
    """Reading again takes longer than what the person does meanwhile."""
    async with hosted(tmp_path, [tools]) as host, host.device() as one:
        await do(host.shop, "*", goods)
        chat = await host.chat(one)
        held: list[tuple[Route, APIResponse]] = []

        async def slow(route: Route) -> None:
            if '"get_cart"' not in (route.request.post_data or ""):
                await route.continue_()
            else:
                held.append((route, await route.fetch()))

        await chat.page.route("**/mcp", slow)
        await chat.done("add_to_cart", product_name="eggs", quantity=2)
        for _ in range(100):  # the widget reads again what it was given
            if held:
                break
            await asyncio.sleep(0.05)
        await chat.widget.get_by_role("button", name="One more Eggs").click()
        await expect(chat.widget.locator(".amount")).to_have_text("3")
        for route, answer in held:
            await route.fulfill(response=answer)
        await asyncio.sleep(0.5)
        await expect(chat.widget.locator(".amount")).to_have_text("3")


async def test_nothing_is_drawn_anew_under_a_finger(tmp_path: Path) -> None:
    async with hosted(tmp_path, [tools]) as host, host.device() as one:
        await do(host.shop, "*", goods)
        chat = await host.chat(one)
        await chat.done("add_to_cart", product_name="eggs", quantity=2)
        more = chat.widget.get_by_role("button", name="One more Eggs")
        pressed = await more.element_handle()
        await more.dispatch_event("pointerdown")
        await chat.page.evaluate("dress('dark')")
        await expect(chat.widget.locator("html")).to_have_attribute("data-theme", "dark")
        assert await pressed.evaluate("button => button.isConnected")
        await more.dispatch_event("pointerup")
        await chat.page.evaluate("dress('light')")
        await expect(chat.widget.locator("html")).to_have_attribute("data-theme", "light")
        await expect(more).to_be_visible()
        assert not await pressed.evaluate("button => button.isConnected")
