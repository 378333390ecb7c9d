"""The console in a real browser, over a real socket, signed in at the shop's own server."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from playwright.async_api import Browser, BrowserContext, Page, async_playwright, expect

from common.auth.authenticator import authenticator
from common.auth.server import users
from common.shop import Shop
from common.toolset import Toolset
from tests.support import node as node_support
from tests.support import unavailable
from tests.support.auth_server import PASSWORD, Flow, tokens
from tests.support.http import a_face, on_port
from tests.support.shop import a_shop, settings_in

expect.set_options(timeout=20_000)  # a page may be slow where other tests run beside it
CHROMIUM = "/usr/bin/chromium"
SERIOUS = ("serious", "critical")


@dataclass
class Served:
    """A shop at a URL, and one browser for everybody."""

    shop: Shop
    url: str
    browser: Browser
    problems: list[str] = field(default_factory=list)

    async def user(self, subject: str, *more: str) -> None:
        """Somebody with a password at the authorization server."""
        kept, now = users.hashed(PASSWORD, 4), self.shop.guard.clock()
        scopes = [*users.USUAL_SCOPES, *more]
        await self.shop.database.run(
            "*", lambda s: users.add(s, subject, subject, kept, scopes, now)
        )

    async def context(self, **more: Any) -> BrowserContext:
        """Cookies of its own. What the pages complain about is collected."""
        context = await self.browser.new_context(base_url=self.url, **more)
        context.set_default_timeout(20_000)
        context.on("console", self._heard)
        context.on("weberror", lambda error: self.problems.append(str(error.error)))
        return context

    def _heard(self, message: Any) -> None:
        if message.type in ("error", "warning") and "status of 4" not in message.text:
            self.problems.append(message.text)

    @asynccontextmanager
    async def agent(self, subject: str, domain: str, *scopes: str) -> AsyncIterator[Client]:
        """An official client with a token that this person signed in for."""
        audience = self.shop.settings.http.audience(domain)
        async with httpx2.AsyncClient(base_url=self.url) as browser:
            flow = Flow(audience, scope=" ".join(scopes))
            token = (await tokens(browser, flow, subject=subject))["access_token"]
        headers = {"Authorization": f"Bearer {token}"}
        async with (
            httpx2.AsyncClient(headers=headers, timeout=60) as http,
            Client(streamable_http_client(audience, http_client=http)) as client,
        ):
            yield client


@asynccontextmanager
async def serving(folder: Path, toolsets: list[Toolset], **changes: Any) -> AsyncIterator[Served]:
    """The whole face on loopback, and Chromium."""
    http = on_port(settings_in(folder)).http
    async with (
        a_shop(folder, **({"http": http} | changes)) as shop,
        async_playwright() as playwright,
    ):
        made = authenticator(shop)
        browser = await playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        try:
            async with a_face(shop, toolsets, authenticator=made, faces=True) as face:
                yield Served(shop, face.url, browser)
                await browser.close()
        finally:
            await made.close()


def chromium() -> None:
    """Say so where there is none."""
    if not Path(CHROMIUM).exists():
        unavailable(f"no Chromium at {CHROMIUM}")


async def sign_in(page: Page, subject: str) -> None:
    """Fill in the authorization server's page."""
    await page.get_by_label("Name").fill(subject)
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Sign in").click()
    await page.wait_for_url(re.compile("/console"))


async def accessibility(context: BrowserContext, path: str) -> list[str]:
    """What axe-core finds serious on a page. The context must have been told to bypass the CSP."""
    try:
        node_support.npm_install()
    except node_support.Unavailable as error:
        unavailable(str(error))
    source = (node_support.FOLDER / "node_modules/axe-core/axe.min.js").read_text()
    page = await context.new_page()
    await page.goto(path)
    await page.add_script_tag(content=source)
    found = await page.evaluate("axe.run()")
    await page.close()
    return [
        f"{path}: {each['id']}: {node['html'][:120]} {node['failureSummary'][:200]}"
        for each in found["violations"]
        if each["impact"] in SERIOUS
        for node in each["nodes"]
    ]
