"""The app: every server at its path, both eras, the right caller on every request."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from servers.run import DOMAINS
from tests.support import toy
from tests.support.http import Face, a_face, on_port
from tests.support.shop import Person, a_shop, done, settings_in

ERAS = {"legacy": "2025-11-25", "auto": "2026-07-28"}


@pytest.mark.parametrize("mode", ERAS)
async def test_all_seven_servers(fleet: Face, mode: str) -> None:
    for domain in DOMAINS:
        async with fleet.client(domain, f"{domain}:read", mode=mode) as client:
            assert client.protocol_version == ERAS[mode]
            assert (await client.list_tools()).tools
            for resource in (await client.list_resources()).resources:
                assert (await client.read_resource(resource.uri)).contents


@pytest.mark.parametrize("mode", ERAS)
async def test_a_person_is_asked_in_either_era(face: Face, mode: str) -> None:
    person = Person(questions=[])
    async with face.client("inventory", "inventory:write", mode=mode,
                           elicitation_callback=person) as client:  # fmt: skip
        answer = await done(client, "take", quantity=9)
    assert answer["available"] == 991
    assert len(person.questions or []) == 1


@pytest.mark.parametrize("mode", ERAS)
async def test_progress_reaches_the_client(face: Face, mode: str) -> None:
    seen: list[float] = []

    async def progress(done: float, total: float | None, message: str | None) -> None:
        seen.append(done)

    async with face.client("inventory", "inventory:write", mode=mode) as client:
        await client.call_tool("compute", {"rounds": 30}, progress_callback=progress)
        await asyncio.sleep(0.05)
    assert seen
    assert seen == sorted(seen)


async def test_a_session_sees_the_caller_of_each_request(face: Face) -> None:
    """A session's task was started by its first request; a later one brings other scopes."""
    reading = face.token("inventory", "inventory:read")
    writing = face.token("inventory", "inventory:write")
    async with face.browser() as browser:

        async def post(token: str, message: dict[str, Any], session: str = "") -> Any:
            headers = {
                "Authorization": f"Bearer {token}",
                "Accept": "application/json, text/event-stream",
            } | ({"Mcp-Session-Id": session} if session else {})
            return await browser.post("/inventory/mcp", json=message, headers=headers)

        hello = {
            "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
                "protocolVersion": "2025-11-25", "capabilities": {},
                "clientInfo": {"name": "raw", "version": "0"},
            },
        }  # fmt: skip
        opened = await post(reading, hello)
        session = opened.headers["mcp-session-id"]
        await post(reading, {"jsonrpc": "2.0", "method": "notifications/initialized"}, session)
        take = {
            "jsonrpc": "2.0", "id": 2, "method": "tools/call",
            "params": {"name": "take", "arguments": {"quantity": 1}},
        }  # fmt: skip
        assert (await post(reading, take, session)).status_code == 403
        allowed = await post(writing, take, session)
        assert allowed.status_code == 200
        assert '"available":999' in allowed.text


@pytest.mark.parametrize("path", ["/login", "/api-keys", "/auth/token", "/auth/login"])
async def test_what_writes_is_not_served_read_only(tmp_path: Path, path: str) -> None:
    http = on_port(settings_in(tmp_path)).http
    async with a_shop(tmp_path):
        pass
    async with (
        a_shop(tmp_path, http=http, read_only=True) as shop,
        a_face(shop, [toy.tools], faces=True) as face,
        face.browser() as browser,
    ):
        person = {"username": "ana@example.com", "password": "correct horse battery"}
        for body in ({"json": person}, {"data": {"grant_type": "refresh_token"}}):
            answer = await browser.post(path, **body)
            assert (answer.status_code, answer.json()["error"]) == (503, "read_only")
        async with face.client("inventory", "inventory:read") as client:
            assert not (await client.call_tool("peek", {})).is_error
