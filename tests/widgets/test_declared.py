"""What hosts are told of the widgets, and that each page is complete in itself."""

import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
from iso4217 import Currency

from common.approvals.tools import offered_by
from common.errors import closed_codes
from common.http.console import live
from common.toolset import Toolset
from common.widgets import APP, LOOK, PRESSED, SKYBRIDGE, Widget
from servers.run import DOMAINS
from tests.support.shop import a_shop, connected


def toolsets() -> Iterator[Toolset]:
    for domain in DOMAINS:
        yield offered_by(import_module(f"servers.{domain}.tools").tools)


def widgets() -> list[Widget]:
    return [widget for toolset in toolsets() for widget in toolset.widgets.values()]


def script() -> str:
    found = next(iter(widgets()))
    return found.page()


@pytest.mark.parametrize("widget", widgets(), ids=lambda each: each.uri)
def test_a_page_is_complete_in_itself(widget: Widget) -> None:
    text = widget.page()
    assert "{{ " not in text
    assert widget.file.read_text() in text
    assert not re.findall(r"(?:src|href)\s*=\s*[\"'](?!data:)", text)
    assert not re.findall(r"https?://|//[a-z]+\.|\bfetch\(|XMLHttpRequest|WebSocket|@import", text)
    assert not re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", text)
    assert not re.findall(r"localStorage|sessionStorage|type: ?\"password\"", text)
    assert '<html lang="en">' in text
    assert len(text) < 60_000


@pytest.mark.parametrize("domain", DOMAINS)
async def test_tools_name_pages_that_can_be_read(domain: str, tmp_path: Path) -> None:
    toolset = next(each for each in toolsets() if each.domain == domain)
    async with a_shop(tmp_path) as shop, connected(shop, toolset) as client:
        listed = {str(r.uri): r for r in (await client.list_resources()).resources}
        named = 0
        for tool in (await client.list_tools()).tools:
            meta = tool.meta or {}
            if "ui" not in meta:
                said = {key: meta[key] for key in meta if key.startswith("openai/")}
                assert said in ({}, PRESSED)
                continue
            named += 1
            uris = {meta["ui"]["resourceUri"]: APP, meta["openai/outputTemplate"]: SKYBRIDGE}
            for uri, mime in uris.items():
                assert listed[uri].mime_type == mime
                read = (await client.read_resource(uri)).contents[0]
                assert read.mime_type == mime
                assert read.text.startswith("<!doctype html>")  # type: ignore[union-attr]
                assert read.meta == listed[uri].meta
                assert meta["openai/widgetAccessible"] is True
            for word in ("invoking", "invoked"):
                assert 0 < len(meta[f"openai/toolInvocation/{word}"]) <= 64
        assert bool(named) == bool(toolset.widgets)


@pytest.mark.parametrize("toolset", list(toolsets()), ids=lambda each: each.domain)
def test_a_page_may_call_what_it_calls(toolset: Toolset) -> None:
    """Hosts let a page call only the tools that say so."""
    for widget in toolset.widgets.values():
        text = widget.file.read_text()
        for name in {
            *re.findall(r"tool: \"(\w+)\"", text),
            *re.findall(r"\[\"(\w+_return)\"", text),
        }:
            assert toolset.tools[name].meta["openai/widgetAccessible"] is True, name


def test_the_console_looks_like_the_widgets() -> None:
    """The shared rules are in both, once, and neither says them again."""
    shared = LOOK.read_text()
    console, _ = live._file("console.css")
    for text in (console.decode(), script()):
        assert text.count(shared) == 1
        for name in re.findall(r"^  (--[a-z-]+): ", shared, re.MULTILINE):
            assert text.count(f"{name}: ") == 1, name


def test_every_refusal_has_its_words() -> None:
    body = re.search(r"const REFUSED = \{(.*?)\n  \};", script(), re.DOTALL)
    assert body
    named = set(re.findall(r"^\s+(\w+): \[", body[1], re.MULTILINE))
    assert named - {"unreachable", "cancelled"} == set(closed_codes())


def test_money_has_the_decimals_of_its_currency() -> None:
    body = re.search(r"const DIGITS = \{(.*?)\};", script(), re.DOTALL)
    assert body
    told = {
        name: int(digits)
        for digits, names in re.findall(r"(\d): \"([A-Z ]+)\"", body[1])
        for name in names.split()
    }
    true = {each.value: each.exponent for each in Currency if each.exponent not in (None, 2)}
    assert told == true
