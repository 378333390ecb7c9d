"""A real host of MCP Apps in Chromium, in front of the real HTTP face.

The host is the official AppBridge and client, bundled by esbuild; it stands on the face's own
origin, so that nothing has to be allowed for it.
"""

import json
import os
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from playwright.async_api import (
    Browser,
    BrowserContext,
    FrameLocator,
    Page,
    Request,
    Route,
    async_playwright,
    expect,
)

from common.auth.authenticator import authenticator
from common.call import Actor
from common.clock import Clock
from common.http.guests import guests
from common.shop import Shop
from common.toolset import Toolset
from tests.console.browsing import CHROMIUM, SERIOUS
from tests.support import node as node_support
from tests.support import unavailable
from tests.support.http import Face, a_face, on_port
from tests.support.shop import MovingClock, a_shop, settings_in

HERE = Path(__file__).parent
MODULES = node_support.FOLDER / "node_modules"
PLACE = "/test-host/"
CAME_BACK = "new BroadcastChannel('came-back').postMessage(location.search)"


@cache
def bundle() -> str:
    """The host as one script. Where there is no Node, no esbuild or no Chromium, tests say so."""
    if not Path(CHROMIUM).exists():
        unavailable(f"no Chromium at {CHROMIUM}")
    try:
        node_support.npm_install()
        node = node_support.node_command()
    except node_support.Unavailable as error:
        unavailable(str(error))
    made = subprocess.run(
        [*node, str(MODULES / "esbuild/bin/esbuild"), str(HERE / "host.mjs"), "--bundle",
         "--format=esm", "--log-level=error"],
        env={**os.environ, "NODE_PATH": str(MODULES)}, capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    return made.stdout


@dataclass
class Chat:
    """One conversation in one browser window. What pages complain about is collected."""

    page: Page
    domain: str
    form: str = "apps"  # or openai: the host that offers window.openai
    links: bool = False  # whether the person can sign in from it
    called: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("request", self._requested)

    def _requested(self, request: Request) -> None:
        """Calls that a widget made: only they have such a key."""
        ours = request.method == "POST" and request.url.endswith("/mcp")
        body = json.loads(request.post_data or "{}") if ours else {}
        arguments = body.get("params", {}).get("arguments", {})
        if str(arguments.get("idempotency_key", "")).startswith("w_"):
            self.called.append({"name": body["params"]["name"], "arguments": arguments})

    @asynccontextmanager
    async def cut_off(self) -> AsyncIterator[None]:
        """Nothing reaches the shop."""
        await self.page.route("**/mcp", lambda route: route.abort())
        yield
        await self.page.unroute("**/mcp")

    async def say(self, tool: str, words: str = "", **arguments: Any) -> dict[str, Any]:
        """What the model calls; the whole result as it got it."""
        said: dict[str, Any] = await self.page.evaluate(
            "([tool, args, words]) => say(tool, args, words)", [tool, arguments, words]
        )
        return said

    async def done(self, tool: str, words: str = "", **arguments: Any) -> dict[str, Any]:
        said = await self.say(tool, words, **arguments)
        assert not said.get("isError"), said
        structured: dict[str, Any] = said["structuredContent"]
        return structured

    @property
    def widget(self) -> FrameLocator:
        """The latest one."""
        return self.page.frame_locator("iframe >> nth=-1")

    async def heard(self, what: str) -> list[Any]:
        found: list[Any] = await self.page.evaluate(f"chat.{what}")
        return found

    async def looks_right(self) -> None:
        """Nothing serious, in the dark either."""
        for theme in ("dark", "light"):
            assert await self.serious() == []
            await self.page.evaluate("theme => dress(theme)", theme)
            await expect(self.widget.locator("html")).to_have_attribute("data-theme", theme)

    async def serious(self) -> list[str]:
        """What axe-core finds serious in the latest widget."""
        frame = self.page.frames[-1]
        await frame.evaluate((MODULES / "axe-core/axe.min.js").read_text())
        found = await frame.evaluate("axe.run()")
        return [
            f"{each['id']}: {node['html'][:160]} {node['failureSummary'][:200]}"
            for each in found["violations"]
            if each["impact"] in SERIOUS
            for node in each["nodes"]
        ]


@dataclass
class Hosted:
    """A shop with its face, and a browser for any number of devices."""

    shop: Shop
    face: Face
    browser: Browser
    problems: list[str] = field(default_factory=list)

    def token(self, domain: str, actor: Actor) -> str:
        token = self.face.callers.token(self.face.http.audience(domain))
        self.face.callers.callers[token] = replace(self.face.callers.callers[token], actor=actor)
        return token

    @asynccontextmanager
    async def device(self, **more: Any) -> AsyncIterator[BrowserContext]:
        context = await self.browser.new_context(
            base_url=self.face.url, **({"viewport": {"width": 760, "height": 900}} | more)
        )
        context.set_default_timeout(20_000)
        context.on("console", self._heard)
        context.on("weberror", lambda error: self.problems.append(str(error.error)))
        await context.route(f"**{PLACE}*", _host)
        yield context
        await context.close()

    async def chat(
        self, context: BrowserContext, domain: str = "storefront", *, token: str = "",
        theme: str = "light", mode: str = "auto", form: str = "apps", links: bool = False,
    ) -> Chat:  # fmt: skip
        chat = Chat(await context.new_page(), domain, form, links)
        await self.open(chat, token=token, theme=theme, mode=mode)
        return chat

    async def open(
        self, chat: Chat, *, token: str = "", theme: str = "light", mode: str = "auto"
    ) -> None:
        """Go to the chat, or load it again."""
        await chat.page.goto(PLACE)
        await chat.page.wait_for_function("window.hostReady")
        url = self.face.http.audience(chat.domain)
        settings = {
            "url": url, "token": token, "theme": theme, "mode": mode, "form": chat.form,
            "links": chat.links,
        }  # fmt: skip
        await chat.page.evaluate("settings => connect(settings)", settings)

    def _heard(self, message: Any) -> None:
        expected = any(part in message.text for part in ("status of 4", "net::ERR_FAILED"))
        if message.type in ("error", "warning") and not expected:
            self.problems.append(message.text)


async def _host(route: Route) -> None:
    if route.request.url.endswith("host.js"):
        await route.fulfill(body=bundle(), content_type="text/javascript")
    else:
        page = (HERE / "host.html").read_text()
        await route.fulfill(body=page, content_type="text/html")


async def back_in_the_host(page: Page) -> None:
    """The window has come to the address where the host waits: it hears so, and closes it."""
    await page.wait_for_url("**/oauth/callback?*")
    await page.evaluate(CAME_BACK)
    await page.close()


@asynccontextmanager
async def hosted(
    folder: Path, toolsets: Sequence[Toolset], *, clock: Clock | None = None, real: bool = False
) -> AsyncIterator[Hosted]:
    """A shop in a folder, served on loopback, and Chromium. ``real``: tokens are those of the
    shop's own authorization server, which is there too."""
    bundle()
    http = on_port(settings_in(folder)).http
    async with (
        a_shop(folder, clock=clock or MovingClock(), http=http) as shop,
        AsyncExitStack() as more,
        async_playwright() as playwright,
    ):
        checking = authenticator(shop) if real else None
        if checking is not None:
            more.push_async_callback(checking.close)
        face = await more.enter_async_context(
            a_face(shop, toolsets, authenticator=checking, guests=guests(http), faces=real)
        )
        # In a process of its own a frame is handed no clicks for a while after another window was
        # closed: they go to the page around it.
        one_process = "--disable-features=IsolateSandboxedIframes"
        browser = await playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu", one_process]
        )
        found = Hosted(shop, face, browser)
        yield found
        await browser.close()


def text(result: dict[str, Any]) -> Any:
    """What stands in an answer for those who have no widget."""
    return json.loads(result["content"][0]["text"])
