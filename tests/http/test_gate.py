"""Limits, guests, streams that end with their token, protocol errors in both eras."""

import asyncio
import json
import logging
import time
from pathlib import Path
from typing import Any

import pytest
from mcp import MCPError

from common.auth import Caller, Headers, IssuerUnavailable
from common.call import Actor
from common.errors import Busy
from common.http import passage
from common.shop import Shop
from tests.http.test_scopes import asking, bearer
from tests.support import toy
from tests.support.http import Face, a_face, on_port, remote
from tests.support.shop import a_shop, settings_in

ERAS = ("legacy", "auto")


async def test_too_many_requests(tmp_path: Path) -> None:
    """One caller is asked to wait; another is not."""
    http = on_port(settings_in(tmp_path)).http
    settings: dict[str, Any] = {"rate_limits": "requests=60/3", "http": http}
    async with a_shop(tmp_path, **settings) as shop, a_face(shop, [toy.tools]) as face:
        flooding = face.token("inventory", "inventory:read")
        other = face.token("inventory", "inventory:read", subject="bo@example.com")
        body, headers = asking("tools/list")
        async with face.browser() as browser:
            answers = [
                await browser.post("/inventory/mcp", json=body, headers=headers | bearer(flooding))
                for _ in range(6)
            ]
            assert [answer.status_code for answer in answers[:3]] == [200, 200, 200]
            assert answers[-1].status_code == 429
            assert int(answers[-1].headers["retry-after"]) >= 1
            fine = await browser.post("/inventory/mcp", json=body, headers=headers | bearer(other))
            assert fine.status_code == 200


async def test_guests_have_their_scopes_and_are_asked_to_sign_in_for_more(toys: Shop) -> None:
    audience = toys.settings.http.audience("inventory")

    def guest(headers: Headers, address: str) -> Caller:
        actor = Actor("guest", "guest-1", "guest", frozenset({"inventory:read"}))
        return Caller(actor, "guest", audience)

    async with (
        a_face(toys, [toy.tools], guests={"inventory": guest}) as face,
        face.browser() as browser,
    ):
        body, headers = asking("tools/call", name="peek", arguments={})
        assert (await browser.post("/inventory/mcp", json=body, headers=headers)).is_success
        body, headers = asking("tools/call", name="take", arguments={"quantity": 1})
        asked = await browser.post("/inventory/mcp", json=body, headers=headers)
        assert asked.status_code == 401
        said = asked.headers["www-authenticate"]
        assert 'scope="inventory:read inventory:write"' in said
        assert "error=" not in said
        wrong = await browser.post("/inventory/mcp", json=body, headers=headers | bearer("wrong"))
        assert 'error="invalid_token"' in wrong.headers["www-authenticate"]


async def test_keys_that_cannot_be_had(toys: Shop) -> None:
    class Unreachable:
        async def authenticate(self, headers: Headers, *, audience: str) -> Caller | None:
            raise IssuerUnavailable("https://issuer.example", 7)

    async with a_face(toys, [toy.tools], authenticator=Unreachable()) as face:
        async with face.browser() as browser:
            answer = await browser.post("/inventory/mcp", json={})
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "7"
        assert "www-authenticate" not in answer.headers


async def test_a_database_too_busy_to_admit_anybody(
    toys: Shop, face: Face, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nobody(*_: object) -> None:
        raise Busy("Every connection to the database was in use.")

    monkeypatch.setattr(toys.guard.limits, "take", nobody)
    body, headers = asking("tools/call", name="peek", arguments={})
    token = face.token("inventory", "inventory:read")
    async with face.browser() as browser:
        answer = await browser.post("/inventory/mcp", json=body, headers=headers | bearer(token))
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert answer.json()["error"] == "busy"


async def test_a_stream_ends_with_its_token(face: Face) -> None:
    token = face.token("inventory", "inventory:read", expires_at=int(time.time()) + 2)
    body, headers = asking("subscriptions/listen", notifications={"toolsListChanged": True})
    async with face.browser() as browser:
        answer = await browser.post(
            "/inventory/mcp", json=body, headers=headers | bearer(token), timeout=60
        )
    assert answer.status_code == 200
    assert "notifications/subscriptions/acknowledged" in answer.text


async def test_a_stream_ends_soon_after_its_token_was_taken_back(
    face: Face, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every stream of it, and those of nobody else; all of them are asked about at once."""
    monkeypatch.setattr(passage, "LOOKED_AT_S", 0.1)
    gone, good = (face.token("inventory", "inventory:read", subject=who) for who in ("ana", "bo"))
    asked: list[str] = []
    known = face.callers.callers

    class Counted(dict[str, Caller]):
        def get(self, token: str, default: Any = None) -> Any:
            asked.append(token)
            return known.get(token, default)

    face.callers.callers = Counted()
    body, headers = asking("subscriptions/listen", notifications={"toolsListChanged": True})

    async def listen(token: str) -> str:
        async with face.browser() as browser:
            answer = await browser.post(
                "/inventory/mcp", json=body, headers=headers | bearer(token), timeout=60
            )
            return answer.text

    streams = [asyncio.create_task(listen(token)) for token in (gone, gone, gone, good)]
    await asyncio.sleep(1.5)
    assert not any(each.done() for each in streams)
    assert 5 <= asked.count(gone) - 3 <= 15, "once for all three"
    del known[gone]
    for ended in await asyncio.wait_for(asyncio.gather(*streams[:3]), 20):
        assert "notifications/subscriptions/acknowledged" in ended
    assert not streams[3].done()
    del known[good]
    await asyncio.wait_for(streams[3], 20)


async def test_a_stream_outlasts_an_issuer_that_does_not_answer(
    face: Face, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passage, "LOOKED_AT_S", 0.1)
    token = face.token("inventory", "inventory:read")
    body, headers = asking("subscriptions/listen", notifications={"toolsListChanged": True})

    async def unavailable(*_: object, **__: object) -> None:
        raise IssuerUnavailable("https://issuer.example")

    async with (
        face.browser() as browser,
        browser.stream(
            "POST", "/inventory/mcp", json=body, headers=headers | bearer(token)
        ) as answer,
    ):
        lines = answer.aiter_lines()
        await anext(lines)
        monkeypatch.setattr(face.callers, "authenticate", unavailable)

        async def ended() -> None:
            async for _ in lines:
                pass

        with pytest.raises(TimeoutError):
            await asyncio.wait_for(ended(), 1.5)


@pytest.mark.parametrize(
    "inside",
    [
        ",".join(["[" * 55 + "]" * 55] * 10_000), ",".join(["{}"] * 60_000),
        ",".join(["9" * 4_300] * 500), ",".join(["-" + "9" * 401] * 2),
    ],
    ids=["nested", "objects", "long numbers", "a long number"],
)  # fmt: skip
async def test_what_is_short_to_send_and_long_to_read_is_not_read(face: Face, inside: str) -> None:
    body, headers = asking("tools/call", name="peek", arguments={})
    raw = json.dumps(body).replace('"arguments": {}', f'"arguments": {{"x": [{inside}]}}')
    token = face.token("inventory", "inventory:read")
    headers |= bearer(token) | {"content-type": "application/json"}
    async with face.browser() as browser:
        answer = await browser.post("/inventory/mcp", content=raw, headers=headers)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == -32600
    assert "brackets" in answer.text


async def test_hanging_up_is_no_crash(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Half a body, then nobody: at every door that reads one."""
    http = on_port(settings_in(tmp_path)).http
    form, data = "application/x-www-form-urlencoded", "application/json"
    doors = {
        "/auth/token": form, "/login": data, "/console/logout": form, "/auth/register": data,
        "/inventory/mcp": data,
    }  # fmt: skip
    async with a_shop(tmp_path, http=http) as shop, remote(shop, [toy.tools]) as url:
        host, _, port = url.removeprefix("http://").partition(":")
        for path, kind in doors.items():
            _, writer = await asyncio.open_connection(host, int(port))
            writer.write(
                f"POST {path} HTTP/1.1\r\nHost: {host}:{port}\r\nOrigin: {url}\r\n"
                f"Authorization: Bearer x\r\nContent-Type: {kind}\r\nContent-Length: 100\r\n\r\n"
                "abc".encode()
            )
            await writer.drain()
            await asyncio.sleep(0.2)
            writer.close()
            await asyncio.sleep(0.2)
    assert not [r.getMessage() for r in caplog.records if r.levelno >= logging.ERROR]


@pytest.mark.parametrize("mode", ERAS)
async def test_unknown_names_are_protocol_errors(face: Face, mode: str) -> None:
    """The three cases the official suite does not look at."""
    async with face.client("inventory", "inventory:write", mode=mode) as client:
        for asked in (
            client.call_tool("no_such_tool", {}),
            client.get_prompt("no_such_prompt", {}),
            client.get_prompt("tidy", {}),
        ):
            with pytest.raises(MCPError) as refused:
                await asked
            assert refused.value.error.code == -32602


async def test_cross_origin(face: Face) -> None:
    """The one origin that is listed may read the challenge; another may not even ask."""
    async with face.browser() as browser:
        ours = {"Origin": face.url, "Access-Control-Request-Method": "POST"}
        allowed = await browser.options("/inventory/mcp", headers=ours)
        assert allowed.headers["access-control-allow-origin"] == face.url
        asked = await browser.post("/inventory/mcp", json={}, headers={"Origin": face.url})
        assert asked.status_code == 401
        assert "WWW-Authenticate" in asked.headers["access-control-expose-headers"]
        evil = ours | {"Origin": "https://evil.example"}
        assert (await browser.options("/inventory/mcp", headers=evil)).status_code == 403
