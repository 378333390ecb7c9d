"""What a person does in the console, done in Chromium."""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from common.approvals import approvers
from common.call import Call
from common.clock import utc_now
from servers.payments.tools import tools
from tests.console.browsing import Served, accessibility, chromium, serving, sign_in
from tests.console.world import ANA, KIM, LARGE, PASSPHRASE, WRONG, refund
from tests.payments.seed import charged, world
from tests.support.shop import MovingClock, call, do, done

SCOPES = ("payments:read", "payments:write", "payments:refund")
pytestmark = pytest.mark.slow


class Now(MovingClock):
    """The real time, moved by a test."""

    def __init__(self) -> None:
        super().__init__(utc_now())
        self.began = utc_now()

    def __call__(self) -> object:  # type: ignore[override]
        return self.now + (utc_now() - self.began)


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    chromium()
    async with serving(tmp_path, [tools], clock=Now()) as served:
        await do(served.shop, "*", world)
        for number in (1, 2):
            payment = charged(f"ord-{number}", LARGE, payment_id=f"pay-{number}")
            await do(served.shop, "*", payment)
        await do(served.shop, "*", enrolled)
        for subject in (ANA, KIM):
            await served.user(subject, "approvals:decide")
        yield served


def enrolled(call: Call) -> None:
    """Kim, and on Kim's word Ana: she may decide, only never what she asked for herself."""
    kim = approvers.enroll(call.session, KIM, "Kim", PASSPHRASE, "", call.now, n=2**4)
    key = approvers.unlock(kim, PASSPHRASE)
    approvers.enroll(call.session, ANA, "Ana", PASSPHRASE, KIM, call.now, voucher=key, n=2**4)


async def test_a_day_at_the_console(served: Served) -> None:
    kims = await served.context()
    kim = await kims.new_page()
    await kim.goto("/console")
    await sign_in(kim, KIM)
    await expect(kim.get_by_text("Nothing waits.")).to_be_visible()

    async with served.agent(ANA, "payments", *SCOPES) as agent:
        asked = await call(agent, "refund_payment", **refund("pay-1", LARGE))
        id = asked["approval_id"]
        assert asked["decide_at"] == f"{served.url}/console/requests/{id}"
        # It appears by itself.
        await kim.get_by_role("link", name="Refund 1234.50 EUR of payment pay-1").click()
        await approve(kim, WRONG, "1234.50")
        await expect(kim.get_by_role("alert")).to_contain_text("passphrase does not match")
        await approve(kim, PASSPHRASE, "1243.50")
        await expect(kim.get_by_role("alert")).to_contain_text("not what is shown")
        await approve(kim, PASSPHRASE, "1.234,50")
        await expect(kim.get_by_text("The agent may repeat its call now.")).to_be_visible()
        receipt = await done(agent, "refund_payment", **refund("pay-1", LARGE), approval_id=id)
        assert receipt["amount_minor"] == LARGE
        await expect(kim.get_by_role("heading", name="What was done")).to_be_visible()

        second = await call(agent, "refund_payment", **refund("pay-2", LARGE))
        await the_requester_cannot(served, second["approval_id"])
        await rejected_by_keyboard(kim)
        answer = await call(
            agent, "refund_payment", **refund("pay-2", LARGE), approval_id=second["approval_id"]
        )
        assert answer["details"]["reason"] == "rejected"

    await served.shop.housekeeping.anchor(force=True)
    await the_log(kim)
    state = await kims.storage_state()
    await nothing_serious(served, id, second["approval_id"], state)
    await kim.get_by_role("button", name="Sign out").click()
    await expect(kim.get_by_text("You are signed out")).to_be_visible()
    await kim.goto("/console")
    await kim.go_back()
    assert served.problems == []


async def test_a_decision_asks_to_sign_in_again_and_comes_back(served: Served) -> None:
    context = await served.context()
    page = await context.new_page()
    async with served.agent(ANA, "payments", *SCOPES) as agent:
        asked = await call(agent, "refund_payment", **refund("pay-1", LARGE))
    await page.goto(f"/console/requests/{asked['approval_id']}")
    await sign_in(page, KIM)
    await expect(page.get_by_role("button", name="Sign and decide")).to_be_visible()
    served.shop.guard.clock.forward(minutes=11)  # type: ignore[attr-defined]
    await approve(page, PASSPHRASE, "1234.50")
    await expect(page.get_by_text("A decision needs a sign-in")).to_be_visible()
    await page.get_by_role("link", name="Sign in and come back").click()
    await sign_in(page, KIM)
    await expect(page).to_have_url(re.compile(f"/console/requests/{asked['approval_id']}$"))
    await approve(page, PASSPHRASE, "1234.50")
    await expect(page.get_by_text("The agent may repeat its call now.")).to_be_visible()
    assert served.problems == []


async def test_without_scripts(served: Served) -> None:
    context = await served.context(java_script_enabled=False)
    page = await context.new_page()
    async with served.agent(ANA, "payments", *SCOPES) as agent:
        asked = await call(agent, "refund_payment", **refund("pay-1", LARGE))
    await page.goto("/console")
    await sign_in(page, KIM)
    await page.get_by_role("link", name="Refund 1234.50 EUR").click()
    await approve(page, PASSPHRASE, "1234.50")
    await expect(page.get_by_text("The agent may repeat its call now.")).to_be_visible()
    assert asked["approval_id"] in page.url


async def approve(page: Page, passphrase: str, amount: str) -> None:
    await page.get_by_role("radio", name="Approve").check()
    await page.get_by_label("Type 1234.50 EUR to approve").fill(amount)
    await page.get_by_label("Your approver's passphrase").fill(passphrase)
    await page.get_by_role("button", name="Sign and decide").click()


async def the_requester_cannot(served: Served, id: str) -> None:
    context = await served.context()
    page = await context.new_page()
    await page.goto(f"/console/requests/{id}")
    await sign_in(page, ANA)
    await expect(page.get_by_text("Nobody decides their own request")).to_be_visible()
    assert await page.get_by_label("Your approver's passphrase").count() == 0
    # The form of another page, sent by hand.
    csrf = await page.locator("input[name=csrf]").first.get_attribute("value")
    answer = await page.request.post(
        f"/console/requests/{id}/decide",
        form={
            "csrf": csrf or "", "decision": "approve", "typed": "1234.50", "passphrase": PASSPHRASE
        },
        headers={"Origin": served.url},
    )  # fmt: skip
    assert answer.status == 403
    assert "Nobody decides their own request" in await answer.text()
    await context.close()


async def rejected_by_keyboard(page: Page) -> None:
    """From the inbox to the rejection without a mouse."""
    await page.goto("/console")
    await expect(
        page.get_by_role("link", name="Refund 1234.50 EUR of payment pay-2")
    ).to_be_visible()
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    await page.keyboard.press("Enter")
    await page.keyboard.press("Tab")
    await expect(
        page.get_by_role("link", name="Refund 1234.50 EUR of payment pay-2")
    ).to_be_focused()
    await page.keyboard.press("Enter")
    await page.wait_for_url(re.compile("/requests/"))
    first = page.get_by_role("radio", name="Approve")
    for _ in range(40):
        if await first.evaluate("radio => radio === document.activeElement"):
            break
        await page.keyboard.press("Tab")
    await page.keyboard.press("ArrowDown")
    await expect(page.get_by_role("radio", name="Reject")).to_be_checked()
    await expect(page.get_by_label("Type 1234.50 EUR to approve")).to_be_hidden()
    await page.keyboard.press("Tab")
    await page.keyboard.type("The goods are not back yet")
    await page.keyboard.press("Tab")
    await page.keyboard.type(PASSPHRASE)
    await page.keyboard.press("Enter")
    await expect(page.get_by_text("cannot ask for the same again")).to_be_visible()
    await expect(page.get_by_text("The goods are not back yet")).to_be_visible()


async def the_log(page: Page) -> None:
    await page.get_by_role("link", name="Audit log").click()
    await page.get_by_label("Tool").fill("approval_reject")
    await page.get_by_label("Outcome").select_option("ok")
    await page.get_by_role("button", name="Show").click()
    rows = page.locator(".log tbody tr")
    await expect(rows).to_have_count(1)
    await rows.get_by_role("link").click()
    await expect(page.get_by_text("fits its content")).to_be_visible()
    await page.get_by_role("link", name="Audit log").first.click()
    await page.get_by_role("button", name="Verify the log").click()
    await expect(page.get_by_role("heading", name="The log is sound")).to_be_visible()


async def nothing_serious(served: Served, used: str, rejected: str, state: object) -> None:
    for scheme in ("light", "dark"):
        context = await served.context(bypass_csp=True, storage_state=state, color_scheme=scheme)
        found: list[str] = []
        paths = ["/console", f"/console/requests/{used}", "/console/history", "/console/audit"]
        for path in [*paths, f"/console/requests/{rejected}", "/console/audit?outcome=refused"]:
            found += await accessibility(context, path)
        assert not found, "\n".join(found)
        await context.close()
    await asyncio.sleep(0)
