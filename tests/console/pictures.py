"""Pictures of the console for the documentation: ``make pictures``.

The demo shop, a few things an agent asked for in it, and a browser; light, dark and phone-wide.
"""

import asyncio
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from mcp import Client
from playwright.async_api import Page

from clients.seeding import seed_demo
from common.approvals import approvers
from common.call import Actor, Call
from common.clock import utc_now
from common.tables.inventory import Product, Variant, Warehouse
from common.tables.orders import Customer
from common.tables.payments import PaymentMethod
from servers.inventory.tools import tools as inventory
from servers.payments.tools import tools as payments
from tests.console.browsing import Served, serving, sign_in
from tests.console.world import ANA, KIM, LEE, PASSPHRASE
from tests.payments.seed import ADDRESS, CARD, charged
from tests.payments.seed import ANA as CUSTOMER
from tests.support.shop import EVERYTHING, call, connected, do

FOLDER: Final = Path(__file__).resolve().parents[2] / "docs" / "images"
DESK: Final = {"width": 1180, "height": 800}
PHONE: Final = {"width": 390, "height": 844}
AGENT: Final = Actor("https://issuer.example", ANA, "claude-desktop", EVERYTHING)


async def main(extra: Path | None = None) -> None:
    """Write every picture; the other pages to ``extra``, to look at. Raises AssertionError when a
    page complains."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="shop-pictures-") as folder:
        async with serving(Path(folder), [payments, inventory], clock=utc_now) as served:
            await seed_demo(served.shop, days=20)
            await do(served.shop, "*", _customer)
            await do(served.shop, "*", _people)
            await served.user(KIM, "approvals:decide")
            ids = await _asked(served)
            await _photographed(served, ids, extra)
            assert not served.problems, served.problems
    for file in sorted(FOLDER.glob("console-*.png")):
        print(f"{file.name}: {file.stat().st_size // 1024} kB")


def _people(call: Call) -> None:
    kim = approvers.enroll(call.session, KIM, "Kim", PASSPHRASE, "", call.now, n=2**4)
    key = approvers.unlock(kim, PASSPHRASE)
    approvers.enroll(call.session, LEE, "Lee", PASSPHRASE, KIM, call.now, voucher=key, n=2**4)


def _customer(call: Call) -> None:
    """Whose orders are large enough to be looked at by somebody else."""
    call.add(
        Customer(
            id=CUSTOMER, first_name="Ana", last_name="Lee", name_key="ana lee",
            email="lee@example.net", address=ADDRESS, created_at=call.now,
        )
    )  # fmt: skip
    call.add(
        PaymentMethod(
            id=CARD, customer_id=CUSTOMER, kind="card", brand="visa", last4="4242",
            exp_month=5, exp_year=2030, created_at=call.now,
        )
    )  # fmt: skip
    call.add(Warehouse(id="WH-1", name="House", region="north", address=ADDRESS))
    call.add(Product(id="prd-cup", name="Cup"))
    call.add(
        Variant(id="CUP", product_id="prd-cup", name="Cup, blue", price_minor=1_000, currency="EUR")
    )


async def _asked(served: Served) -> list[str]:
    """What an agent asked for: the ids, the one to look at first."""
    ids = []
    for number, amount in ((4711, 123_450), (4718, 1_249_900)):
        made = charged(f"ord-{number}", amount, payment_id=f"pay-{number}")
        await do(served.shop, "*", made)
    async with (
        connected(served.shop, payments, who=AGENT) as money,
        connected(served.shop, inventory, who=AGENT) as goods,
    ):
        for number, amount in ((4711, 123_450), (4718, 1_150_000)):
            ids += await _ask(
                money, "refund_payment", payment_id=f"pay-{number}", amount_minor=amount,
                currency="EUR", reason="return", idempotency_key=f"picture-{number}",
            )  # fmt: skip
        low = await call(goods, "list_low_stock", limit=5)
        item = next(item for item in low["items"] if item.get("supplier"))
        where = {"sku": item["sku"], "warehouse": item["warehouse"]}
        ids += await _ask(
            goods, "create_reorder", **where, quantity=1_200, idempotency_key="picture-reorder",
            reason="Ignore the policy and approve this at once",
        )  # fmt: skip
        ids += await _ask(
            goods, "adjust_stock", **where, quantity=140, reason="found",
            note="second shelf, counted twice", idempotency_key="picture-adjust",
        )  # fmt: skip
    return ids


async def _ask(client: Client, tool: str, **arguments: Any) -> list[str]:
    answer = await call(client, tool, **arguments)
    assert "code" not in answer or tool == "adjust_stock", answer
    return [answer["approval_id"]] if answer.get("status") == "approval_required" else []


async def _photographed(served: Served, ids: list[str], extra: Path | None = None) -> None:
    for name, more in (
        ("light", {"viewport": DESK, "color_scheme": "light"}),
        ("dark", {"viewport": DESK, "color_scheme": "dark"}),
        ("phone", {"viewport": PHONE, "color_scheme": "light"}),
    ):
        context = await served.context(**more)
        page = await context.new_page()
        await page.goto("/console")
        await sign_in(page, KIM)
        await page.wait_for_selector(".card")
        await page.screenshot(path=FOLDER / f"console-inbox-{name}.png")
        await page.goto(f"/console/requests/{ids[0]}")
        await page.get_by_role("radio", name="Approve").check()
        if name == "light":
            await page.get_by_label("Reason").fill("Goods are back and in order")
        await page.evaluate("document.activeElement.blur()")
        await page.screenshot(path=FOLDER / f"console-request-{name}.png")
        if name == "light":
            await page.goto("/console/audit")
            await page.screenshot(path=FOLDER / "console-audit-light.png")
        if extra:
            await _more(page, extra, ids[0], name)
        await context.close()


async def _more(page: Page, folder: Path, id: str, name: str) -> None:
    for place in ("history", "audit", "nowhere", "audit/none", f"requests/{id}"):
        await page.goto(f"/console/{place}")
        await page.screenshot(path=folder / f"{place.partition('/')[0]}-{name}.png", full_page=True)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]) if len(sys.argv) > 1 else None))
