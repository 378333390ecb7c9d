"""Pictures of the widgets for the documentation: ``make pictures``."""

import asyncio
import tempfile
from pathlib import Path
from typing import Any, Final

from clients.seeding import seed_demo
from common.clock import utc_now
from servers.inventory.tools import tools as inventory
from servers.storefront.tools import tools as storefront
from tests.storefront.goods import goods
from tests.storefront.shoppers import ADDRESS, member, world
from tests.support.shop import actor, do
from tests.widgets.hosting import Chat, Hosted, hosted

FOLDER: Final = Path(__file__).resolve().parents[2] / "docs" / "images"


async def main() -> None:
    """Write every picture. Raises AssertionError when a page complains."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="shop-pictures-") as folder:
        await _shopper(Path(folder) / "grocer")
        await _operator(Path(folder) / "demo")
    for file in sorted(FOLDER.glob("widget-*.png")):
        print(f"{file.name}: {file.stat().st_size // 1024} kB")


async def _shopper(folder: Path) -> None:
    async with hosted(folder, [storefront], clock=utc_now) as host, host.device() as one:
        await do(host.shop, "*", goods)
        await do(host.shop, "*", world)
        token = host.token("storefront", member("lea"))
        chat = await host.chat(one, token=token)
        view = await chat.done(
            "add_to_cart", "Add 2 eggs to my cart", product_name="eggs", quantity=2
        )
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
        await _new(host, chat, token, "check_membership", "What would I get as a member?")
        await _both(chat, "membership")
        assert host.problems == []


async def _operator(folder: Path) -> None:
    async with hosted(folder, [inventory], clock=utc_now) as host, host.device() as one:
        await seed_demo(host.shop, days=20)
        chat = await host.chat(one, "inventory", token=host.token("inventory", actor()))
        await chat.done("list_low_stock", "What runs low?", limit=6)
        await _both(chat, "stock")
        assert host.problems == []


async def _new(
    host: Hosted, chat: Chat, token: str, tool: str, words: str, **arguments: Any
) -> None:
    """A chat begun anew."""
    await chat.page.evaluate("sessionStorage.clear()")
    await host.open(chat, token=token)
    await chat.done(tool, words, **arguments)


async def _both(chat: Chat, name: str) -> None:
    for theme in ("light", "dark"):
        await chat.page.evaluate("theme => dress(theme)", theme)
        await chat.page.wait_for_timeout(400)
        await chat.page.locator("#chat").screenshot(path=FOLDER / f"widget-{name}-{theme}.png")


if __name__ == "__main__":
    asyncio.run(main())
