"""Tools that no shop has and some judges look for, on an app of the same making, for guests.

mcp-idprobe wants what it says repeated, to see that no client gets another's answer. The harness
looks for an argument that is a URL, and asks for sampling only where a server declares it. Nothing
of this is served anywhere else.
"""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any
from unittest import mock

from pydantic import Field

from common.auth import Authenticator
from common.auth.authenticator import authenticator
from common.call import Call, Identity
from common.http.app import HttpApp, http_app
from common.http.guests import guests
from common.metrics import Next
from common.scopes import Scope
from common.server import ShopServer
from common.shop import Shop
from common.toolset import Effect, Toolset
from common.wire import Result
from tests.judges.outside.harness import NEW_ERA, reported
from tests.judges.outside.stage import Stage, Verdict
from tests.support.http import on_port, uvicorn_serving
from tests.support.shop import a_shop, settings_in

METHOD_NOT_FOUND = -32601

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


async def sampling_declared(context: Any, call_next: Next) -> Any:
    """Sampling is a client's capability; what a server declares is not a closed set. This opens
    the harness's check and no more: whoever then asks is answered by the gate."""
    answer = await call_next(context)
    if context.method in ("initialize", "server/discover"):
        answer["capabilities"]["sampling"] = {}
    return answer


def _app(shop: Shop, checking: Authenticator) -> HttpApp:
    plain = shop.server

    def declaring(toolset: Toolset, identity: Identity | None = None) -> ShopServer:
        server = plain(toolset, identity)
        server.middleware.append(sampling_declared)  # type: ignore[arg-type]
        return server

    with mock.patch.object(shop, "server", declaring):
        by_guests = guests(shop.settings.http)
        return http_app(shop, [tools], checking, guests=by_guests, faces=False)


@asynccontextmanager
async def served(folder: Path) -> AsyncIterator[str]:
    """The URL of the one server there is."""
    http = on_port(settings_in(folder)).http
    async with a_shop(folder, http=http) as shop:
        checking = authenticator(shop)
        try:
            async with uvicorn_serving(_app(shop, checking), http):
                yield http.audience("storefront")
        finally:
            await checking.close()


async def judged(stage: Stage) -> list[Verdict]:
    async with served(stage.folder / "fixture") as url:
        return [
            await _answers(stage, url),
            await _pages(stage, url),
            await _sampling(stage, url, "older era"),
            await _sampling(stage, url, "newer era", "--protocol-version", NEW_ERA),
        ]


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
    at = ("--transport", "http", "--url", url, "--categories", "ssrf")
    found = await reported(stage, "fixture", *at)
    # The other check of this category is of resources, of which there are none here.
    (result,) = [each for each in found if each["test_id"] in ("MCP-015", "run")]
    outcome = "passed" if result["passed"] else "failed"
    return Verdict("harness fixture", "MCP-015", outcome, str(result["details"]))


async def _sampling(stage: Stage, url: str, era: str, *more: str) -> Verdict:
    """The harness only looks for secrets in the answer, so that it was a refusal is seen here."""
    at = ("--transport", "http", "--url", url, "--categories", "sampling")
    (result,) = await reported(stage, f"sampling {era}", *at, *more)
    answer = result.get("response_received") or {}
    refused = (answer.get("error") or {}).get("code") == METHOD_NOT_FOUND
    details = f"{era}: {result['details']}; {'no such method' if refused else answer}"
    outcome = "passed" if result["passed"] and refused else "failed"
    return Verdict("harness fixture", "MCP-007", outcome, details)
