"""Limits, guests, streams that end with their token, protocol errors in both eras."""

import time
from pathlib import Path
from typing import Any

import pytest
from mcp import MCPError

from common.auth import Caller, Headers, IssuerUnavailable
from common.call import Actor
from common.errors import Busy
from common.shop import Shop
from tests.http.test_scopes import asking, bearer
from tests.support import toy
from tests.support.http import Face, a_face, on_port
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
