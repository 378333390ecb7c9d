"""Pictures of the widgets for the documentation: ``make pictures``."""

import asyncio
import tempfile
from pathlib import Path
from typing import Any, Final

from clients.seeding import seed_demo
from common.clock import utc_now
from servers.inventory.tools import tools as inventory
from servers.logistics.tools import tools as logistics
from servers.returns.tools import tools as returns
from servers.storefront.tools import tools as storefront
from tests.storefront.goods import goods
from tests.storefront.shoppers import ADDRESS, member, worker, world
from tests.support.shop import actor, do
from tests.widgets.hosting import Chat, Hosted, hosted
from tests.widgets.operators import a_round, some_returns

FOLDER: Final = Path(__file__).resolve().parents[2] / "docs" / "images"


async def main() -> None:
    """Write every picture. Raises AssertionError when a page complains."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="shop-pictures-") as folder:
        await _shopper(Path(folder) / "grocer")
        await _guest(Path(folder) / "guest")
        await _stock(Path(folder) / "demo")
        await _van(Path(folder) / "van")
        await _returns(Path(folder) / "returns")
    for file in sorted(FOLDER.glob("widget-*.png")):
        print(f"{file.name}: {file.stat().st_size // 1024} kB")


async def _shopper(folder: Path) -> None:
    async with hosted(folder, [storefront], clock=utc_now) as host, host.device() as one:
        await do(host.shop, "*", goods)
        await do(host.shop, "*", world)
        token = host.token("storefront", member("lea"))
        chat = await host.chat(one, token=token)
        await chat.done("search_products", "Is there any milk?", query="milk", limit=4)
        await _both(chat, "products")
        view = await chat.done("add_to_cart", product_name="eggs", quantity=2)
        cart = {"cart_id": view["cart_id"]}
        for name, quantity in (("whole milk", 1), ("avocado", 2)):
            await chat.page.evaluate(
                "args => ask_quietly('add_to_cart', args)",
                {"product_name": name, "quantity": quantity, **cart},
            )
        await _new(host, chat, token, "get_cart", "Show me my cart", **cart)
        await _both(chat, "cart")
        where = {"shipping_service": "post:standard", "recipient": "Lea Test", "ship_to": ADDRESS}
        await _new(
            host, chat, token, "prepare_checkout", "I would like to check out", **cart, **where
        )
        await _both(chat, "checkout")
        await chat.widget.get_by_role("button", name="Buy for").click()
        await chat.widget.get_by_role("button", name="How far is it?").wait_for()
        await worker(host.shop).drain()
        await chat.widget.get_by_role("button", name="How far is it?").click()
        await chat.widget.get_by_role("heading", name="Thank you").wait_for()
        order = (await chat.heard("contexts"))[-1]["structuredContent"]["order_id"]
        await _new(host, chat, token, "get_order_status", "Where is my order?", order_id=order)
        await _both(chat, "order-status")
        await _new(host, chat, token, "check_membership", "What would I get as a member?")
        await chat.widget.get_by_role("button", name="Join Circle").click()
        await chat.widget.get_by_text("Yours").wait_for()
        await _both(chat, "membership")
        await _new(host, chat, token, "get_account_status", "Am I signed in?")
        await _both(chat, "sign-in")
        assert host.problems == []


async def _guest(folder: Path) -> None:
    async with hosted(folder, [storefront], clock=utc_now) as host, host.device() as one:
        await do(host.shop, "*", goods)
        await do(host.shop, "*", world)
        chat = await host.chat(one)
        await chat.done("get_account_status", "Am I signed in?")
        await _both(chat, "guest")
        await _new(host, chat, "", "add_to_cart", "Put milk into my cart",
                   product_name="milk", quantity=1)  # fmt: skip
        await _both(chat, "refused")
        assert host.problems == []


async def _stock(folder: Path) -> None:
    """Stock, and what a proposal to buy waits for."""
    async with hosted(folder, [inventory], clock=utc_now) as host, host.device() as one:
        await seed_demo(host.shop, days=20)
        token = host.token("inventory", actor())
        chat = await host.chat(one, "inventory", token=token)
        low = await chat.done("list_low_stock", "What runs low?", limit=6)
        await _both(chat, "stock")
        item = next(each for each in low["items"] if each["action"] == "reorder_now")
        asked = await chat.done(
            "create_reorder", sku=item["sku"], warehouse=item["warehouse"],
            quantity=item["order_quantity"], idempotency_key="for-the-picture",
        )  # fmt: skip
        await _new(host, chat, token, "approval_status", "Is it decided?", id=asked["approval_id"])
        await _both(chat, "approval-status")
        assert host.problems == []


async def _van(folder: Path) -> None:
    async with hosted(folder, [logistics]) as host, host.device() as one:
        route = await a_round(host.shop, 5)
        chat = await host.chat(one, "logistics", token=host.token("logistics", actor()))
        await chat.done("get_route", "Where does the van go?", route_id=route["route_id"])
        await chat.widget.get_by_role("img").wait_for()
        await _both(chat, "route-map")
        assert host.problems == []


async def _returns(folder: Path) -> None:
    async with hosted(folder, [returns]) as host, host.device() as one:
        asked = await some_returns(host.shop)
        token = host.token("returns", actor())
        chat = await host.chat(one, "returns", token=token)
        await chat.done("list_returns", "Which returns wait?", open_only=True)
        await _both(chat, "returns")
        await _new(host, chat, token, "get_return", "Show me the first", return_id=asked[0])
        await _both(chat, "return")
        assert host.problems == []


async def _new(
    host: Hosted, chat: Chat, token: str, tool: str, words: str, **arguments: Any
) -> None:
    """A chat begun anew."""
    await chat.page.evaluate("sessionStorage.clear()")
    await host.open(chat, token=token)
    await chat.say(tool, words, **arguments)


async def _both(chat: Chat, name: str) -> None:
    for theme in ("light", "dark"):
        await chat.page.evaluate("theme => dress(theme)", theme)
        await chat.page.wait_for_timeout(400)
        await chat.page.locator("#chat").screenshot(path=FOLDER / f"widget-{name}-{theme}.png")


if __name__ == "__main__":
    asyncio.run(main())
