"""Tools that no shop has and some judges look for, on an app of the same making, for guests.

mcp-idprobe wants what it says repeated, to see that no client gets another's answer. The harness
looks for an argument that is a URL. Nothing of this is served anywhere else.
"""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from common.auth.authenticator import authenticator
from common.call import Call
from common.http.app import http_app
from common.http.guests import guests
from common.scopes import Scope
from common.toolset import Effect, Toolset
from common.wire import Result
from tests.judges.outside.stage import Stage, Verdict
from tests.support.http import on_port, uvicorn_serving
from tests.support.shop import a_shop, settings_in

tools = Toolset("storefront", "Fixture", "For judges.")
Words = Annotated[str, Field(max_length=100)]
Page = Annotated[str, Field(max_length=100, pattern=r"^https://pages\.example/[a-z]+$")]


class Heard(Result):
    text: str


@tools.tool(scope=Scope.STOREFRONT_READ, effect=Effect.READS)
def echo(call: Call, text: Words) -> Heard:
    """Say the same."""
    return Heard(text=text)


@tools.tool(scope=Scope.STOREFRONT_READ, effect=Effect.READS)
def name_page(call: Call, url: Page) -> Heard:
    """Say which of our pages a URL is of, without asking it."""
    return Heard(text=url.rpartition("/")[2])


@asynccontextmanager
async def served(folder: Path) -> AsyncIterator[str]:
    """The URL of the one server there is."""
    http = on_port(settings_in(folder)).http
    async with a_shop(folder, http=http) as shop:
        checking = authenticator(shop)
        app = http_app(shop, [tools], checking, guests=guests(http), faces=False)
        try:
            async with uvicorn_serving(app, http):
                yield http.audience("storefront")
        finally:
            await checking.close()


async def judged(stage: Stage) -> list[Verdict]:
    async with served(stage.folder / "fixture") as url:
        return [await _answers(stage, url), await _pages(stage, url)]


async def _answers(stage: Stage, url: str) -> Verdict:
    """Two sessions with the same numbers; each gets its own answers, and all of them."""
    code, said = await stage.run("mcp-idprobe", "--url", url, "--tool", "echo", "--json")
    evidence = json.loads(said[said.index("{") : said.rindex("}") + 1])
    found: dict[str, Any] = evidence["probe"]
    seen = found["evidence"]
    lost = len(seen["missing_responses"]) + len(found["send_errors"])
    good = code == 0 and found["verdict"] == "PASS" and not lost
    own = len(seen["correctly_delivered"])
    details = f"{found['verdict']}: {own} answers, each to who had asked, {lost} lost"
    return Verdict("mcp-idprobe", "answers", "passed" if good else "failed", details)


async def _pages(stage: Stage, url: str) -> Verdict:
    report = stage.folder / "harness-fixture.json"
    code, said = await stage.run(
        "agent-security", "test", "mcp", "--transport", "http", "--url", url,
        "--categories", "ssrf", "--report", str(report),
    )  # fmt: skip
    if not report.exists():
        return Verdict("harness fixture", "run", "failed", f"{code}: {said[-400:]}")
    results = json.loads(report.read_text(encoding="utf-8"))["results"]
    found = next(each for each in results if each["test_id"] == "MCP-015")
    outcome = "passed" if found["passed"] else "failed"
    return Verdict("harness fixture", "MCP-015", outcome, str(found["details"]))
