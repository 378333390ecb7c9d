"""Operators' widgets: stock with days of cover, the way of a van, returns, what waits for a
decision."""

from pathlib import Path

import pytest
from playwright.async_api import expect

from clients.seeding import seed_demo
from common.tables.returns import Return
from servers.inventory.tools import tools
from servers.logistics.tools import tools as logistics
from servers.returns.tools import tools as returns
from tests.support.shop import actor, look
from tests.widgets.hosting import hosted
from tests.widgets.operators import a_round, dispatched, some_returns


@pytest.mark.slow
async def test_stock_and_approval(tmp_path: Path) -> None:
    """Buying asks for a decision, which the page says; the approval can be withdrawn."""
    async with hosted(tmp_path, [tools]) as host, host.device() as one:
        await seed_demo(host.shop, days=20)
        chat = await host.chat(one, "inventory", token=host.token("inventory", actor()))
        low = await chat.done("list_low_stock", action="reorder_now", limit=3)
        widget = chat.widget
        await expect(widget.get_by_role("region")).to_have_count(
            len({item["warehouse"] for item in low["items"]})
        )
        await widget.get_by_role("button", name="Propose to buy").first.click()
        await expect(widget.get_by_role("alert")).to_contain_text("nothing was changed yet")
        await chat.looks_right()

        item = low["items"][0]
        asked = await chat.done(
            "create_reorder", sku=item["sku"], warehouse=item["warehouse"],
            quantity=item["order_quantity"] + 1, idempotency_key="another-one",
        )  # fmt: skip
        await chat.done("approval_status", id=asked["approval_id"])
        await expect(chat.widget.get_by_text("has not decided yet")).to_be_visible()
        await chat.looks_right()
        await host.open(chat, token=host.token("inventory", actor()))  # it reads again
        await expect(chat.widget.get_by_text("has not decided yet")).to_be_visible()
        await chat.widget.get_by_role("button", name="Withdraw").click()
        await expect(chat.widget.get_by_text("It was withdrawn")).to_be_visible()
        assert host.problems == []


@pytest.mark.slow
async def test_the_way_of_a_van(tmp_path: Path) -> None:
    """The stops as a list, and a picture of the way that the page may read though it has no net."""
    async with hosted(tmp_path, [logistics]) as host, host.device() as one:
        route = await a_round(host.shop, 4)
        chat = await host.chat(one, "logistics", token=host.token("logistics", actor()))
        await chat.done("get_route", route_id=route["route_id"])
        stops = chat.widget.get_by_role("list", name="Stops").get_by_role("listitem")
        await expect(stops).to_have_count(4)
        for at, stop in enumerate(route["stops"]):
            await expect(stops.nth(at)).to_contain_text(stop["shipment_id"])
        picture = chat.widget.get_by_role("img", name=f"The way of route {route['route_id']}")
        await expect(picture).to_be_visible()
        assert await picture.evaluate("img => img.complete && img.naturalWidth > 100")
        await chat.looks_right()
        await chat.widget.get_by_role("button", name="Dispatch it").click()
        await expect(chat.widget.get_by_role("status")).to_have_text("Sent to the chat.")
        assert await chat.heard("messages") == [f"Please dispatch route {route['route_id']}."]
        await dispatched(host.shop, route["route_id"])
        await chat.page.frames[-1].evaluate("window.dispatchEvent(new Event('focus'))")
        await expect(chat.widget.get_by_text("Dispatched")).to_be_visible()
        await expect(chat.widget.get_by_role("button", name="Dispatch it")).to_have_count(0)
        assert host.problems == []


@pytest.mark.slow
async def test_the_returns_desk(tmp_path: Path) -> None:
    """The list, one of it, the next step, and back."""
    async with hosted(tmp_path, [returns]) as host, host.device() as one:
        asked = await some_returns(host.shop)
        chat = await host.chat(one, "returns", token=host.token("returns", actor()))
        await chat.done("list_returns", open_only=True)
        rows = chat.widget.get_by_role("list", name="Returns").get_by_role("listitem")
        await expect(rows).to_have_count(len(asked))
        await chat.looks_right()
        await chat.widget.get_by_role("button", name=f"Open return {asked[0]}").click()
        await expect(chat.widget.get_by_role("heading", name=f"Return {asked[0]}")).to_be_visible()
        await chat.looks_right()
        await chat.widget.get_by_role("button", name="Authorize").click()
        await expect(chat.widget.get_by_text("Label issued", exact=True)).to_be_visible()
        assert await look(host.shop, lambda s: s.get_one(Return, asked[0]).state) == "label_issued"
        told = (await chat.heard("contexts"))[-1]
        assert told["structuredContent"]["state"] == "label_issued"
        await chat.widget.get_by_role("button", name="All returns").click()
        await expect(rows).to_have_count(len(asked))
        assert host.problems == []
