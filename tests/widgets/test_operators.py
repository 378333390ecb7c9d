"""Operators' widgets: stock with days of cover, and what waits for a decision."""

from pathlib import Path

import pytest
from playwright.async_api import expect

from clients.seeding import seed_demo
from servers.inventory.tools import tools
from tests.support.shop import actor
from tests.widgets.hosting import hosted


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
        assert await chat.serious() == []
        await chat.page.evaluate("dress('dark')")
        assert await chat.serious() == []

        item = low["items"][0]
        asked = await chat.done(
            "create_reorder", sku=item["sku"], warehouse=item["warehouse"],
            quantity=item["order_quantity"] + 1, idempotency_key="another-one",
        )  # fmt: skip
        await chat.done("approval_status", id=asked["approval_id"])
        await expect(chat.widget.get_by_text("has not decided yet")).to_be_visible()
        assert await chat.serious() == []
        await chat.widget.get_by_role("button", name="Withdraw").click()
        await expect(chat.widget.get_by_text("It was withdrawn")).to_be_visible()
        assert host.problems == []
