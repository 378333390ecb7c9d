"""Shoppers over real HTTP: guests without a token, 401 to sign in, the same cart afterwards."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from common.auth import Caller
from common.http.guests import guests
from common.limits import network_of
from common.shop import Shop
from common.shoppers import GUEST_SCOPES
from servers.storefront.tools import tools
from tests.storefront.goods import goods
from tests.storefront.shoppers import (
    agreed,
    filled,
    member,
    quoted,
    worker,
    world,
)
from tests.support.http import Face, a_face, on_port
from tests.support.shop import MovingClock, a_shop, call, do, done, settings_in


@asynccontextmanager
async def a_storefront(folder: Path, **changes: Any) -> AsyncIterator[tuple[Shop, Face]]:
    http = on_port(settings_in(folder)).http
    async with a_shop(folder, clock=MovingClock(), http=http, **changes) as shop:
        await do(shop, "*", goods)
        await do(shop, "*", world)
        async with a_face(shop, [tools], guests=guests(http)) as face:
            yield shop, face


def token_of(face: Face, name: str) -> str:
    audience = face.http.audience("storefront")
    token = face.callers.token(audience)
    known = face.callers.callers[token]
    face.callers.callers[token] = replace(known, actor=member(name))
    assert isinstance(known, Caller)
    return token


@asynccontextmanager
async def nobody(face: Face, mode: str) -> AsyncIterator[Client]:
    """The official client without a token."""
    async with (
        httpx2.AsyncClient(timeout=60) as http,
        Client(
            streamable_http_client(face.http.audience("storefront"), http_client=http), mode=mode
        ) as client,
    ):  # fmt: skip
        yield client


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_guest_signs_in(tmp_path: Path, mode: str) -> None:
    async with a_storefront(tmp_path) as (shop, face):
        async with nobody(face, mode) as client, nobody(face, mode) as other:
            cart = await filled(client, ("avocado", 2))
            assert (await done(client, "get_cart", cart_id=cart))["units"] == 2
            assert not (await done(client, "get_account_status"))["signed_in"]
            await filled(other, ("avocado", 1))
        async with face.browser() as browser:
            refused = await browser.post(
                "/storefront/mcp",
                headers={"Accept": "application/json, text/event-stream"} | new_era("checkout"),
                json=request("checkout", {
                    "cart_id": cart, "quote_id": "q" + "0" * 16, "agreed_total_minor": 1
                }),
            )  # fmt: skip
        assert refused.status_code == 401
        said = refused.headers["www-authenticate"]
        (asked,) = re.findall(r'scope="([^"]+)"', said)
        assert set(asked.split()) >= {"storefront:buy", *GUEST_SCOPES}
        async with face.client("storefront", token=token_of(face, "lea"), mode=mode) as client:
            quote = await quoted(client, cart)
            assert (await agreed(client, quote, "pm-lea"))["status"] == "complete_in_progress"
            await worker(shop).drain()
            assert (await agreed(client, quote, "pm-lea"))["status"] == "completed"
        async with nobody(face, mode) as client:
            assert (await call(client, "get_cart", cart_id=cart))["code"] == "cart_not_found"


async def test_guests_share_the_limits_of_their_network(tmp_path: Path) -> None:
    """A new guest costs nothing: neither without a session nor under a name made up."""
    async with (
        a_storefront(tmp_path, rate_limits="requests=1/6 writes=1/2") as (_, face),
        face.browser() as browser,
    ):
        said = {"Accept": "application/json, text/event-stream"} | new_era("get_cart")
        body = request("get_cart", {"cart_id": "crt_" + "x" * 32})
        found = [
            await browser.post("/storefront/mcp", headers=said | more, json=body)
            for more in [{}, {"Mcp-Session-Id": "a" * 32}, {"Mcp-Session-Id": "b" * 32}] * 3
        ]
        assert [answer.status_code for answer in found] == [200] * 6 + [429] * 3
        token = {"Authorization": f"Bearer {token_of(face, 'lea')}"}
        lea = await browser.post("/storefront/mcp", headers=said | token, json=body)
        assert lea.status_code == 200


async def test_guests_begin_few_sessions_at_once(tmp_path: Path) -> None:
    async with (
        a_storefront(tmp_path, rate_limits="writes=1/2") as (_, face),
        face.browser() as browser,
    ):
        body = {
            "jsonrpc": "2.0", "id": 1, "method": "initialize",
            "params": {
                "protocolVersion": "2025-06-18", "capabilities": {},
                "clientInfo": {"name": "x", "version": "1"},
            },
        }  # fmt: skip
        said = {"Accept": "application/json, text/event-stream"}
        begun = [
            (await browser.post("/storefront/mcp", headers=said, json=body)).status_code
            for _ in range(3)
        ]
        assert begun == [200, 200, 429]


async def test_many_streams_of_one_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Streams stay open, and connections are for everybody."""
    monkeypatch.setattr("common.http.gate.MOST_STREAMS", 1)
    async with (
        a_storefront(tmp_path) as (_, face),
        nobody(face, "legacy"),
        nobody(face, "legacy") as other,
        face.browser() as browser,
    ):
        await other.list_tools()
        body = {
            "jsonrpc": "2.0", "id": 1, "method": "subscriptions/listen",
            "params": {
                "notifications": {"toolsListChanged": True},
                "_meta": request("", {})["params"]["_meta"],
            },
        }  # fmt: skip
        said = {
            "Accept": "application/json, text/event-stream",
            "Mcp-Method": "subscriptions/listen", "Mcp-Protocol-Version": "2026-07-28",
        }  # fmt: skip
        answer = await browser.post("/storefront/mcp", headers=said, json=body)
        assert (answer.status_code, answer.json()["error"]) == (429, "streams")


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.7"), ("::ffff:192.0.2.7", "192.0.2.7"), ("", "unknown"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"), ("2001:db8:1:2:ffff::%eth0", "2001:db8:1:2::"),
    ],
)  # fmt: skip
def test_a_network(address: str, network: str) -> None:
    assert network_of(address) == network


def request(tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
    return {
        "jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": {
            "name": tool, "arguments": arguments,
            "_meta": {
                "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientInfo": {"name": "t", "version": "0"},
                "io.modelcontextprotocol/clientCapabilities": {},
            },
        },
    }  # fmt: skip


def new_era(tool: str) -> dict[str, str]:
    return {"MCP-Protocol-Version": "2026-07-28", "Mcp-Method": "tools/call", "Mcp-Name": tool}


async def test_who_signs_in_within_a_session_is_told_to_begin_anew(tmp_path: Path) -> None:
    """In the older era a session belongs to who began it. What a guest who signed in is told, is
    told of sessions that never were as well."""
    said = {"Accept": "application/json, text/event-stream", "Mcp-Protocol-Version": "2025-06-18"}
    begin = {
        "jsonrpc": "2.0", "id": 1, "method": "initialize",
        "params": {
            "protocolVersion": "2025-06-18", "capabilities": {},
            "clientInfo": {"name": "x", "version": "1"},
        },
    }  # fmt: skip
    ask = {"jsonrpc": "2.0", "id": 2, "method": "tools/list"}
    async with a_storefront(tmp_path) as (_, face), face.browser() as browser:
        begun = await browser.post("/storefront/mcp", headers=said, json=begin)
        session = {"Mcp-Session-Id": begun.headers["mcp-session-id"]}
        lea = {"Authorization": f"Bearer {token_of(face, 'lea')}"}
        guest = await browser.post("/storefront/mcp", headers=said | session, json=ask)
        assert guest.status_code == 200
        answers = [
            await browser.post("/storefront/mcp", headers=said | session | lea, json=ask),
            await browser.post(
                "/storefront/mcp", headers=said | lea | {"Mcp-Session-Id": "f" * 32}, json=ask
            ),
        ]
        for answer in answers:
            assert answer.status_code == 404, answer.text
            assert "send initialize" in answer.json()["error"]["message"]
            assert answer.json()["id"] == 2
        stream = await browser.get("/storefront/mcp", headers=said | session | lea)
        assert stream.status_code == 404
        again = await browser.post("/storefront/mcp", headers=said | lea, json=begin)
        assert again.status_code == 200
