"""Tokens of a real provider at the seven real servers: each audience, answer and scope."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import httpx2
import pytest

from common.auth import revocation
from common.auth.authenticator import authenticator
from common.auth.revocation import SEEN_AFTER_S
from common.clock import utc_now
from common.scopes import granted
from common.toolset import Toolset
from servers.run import DOMAINS
from tests.auth.attacks import REFUSED
from tests.auth.support import Tick, issuer
from tests.support.http import Face, a_face, on_port
from tests.support.oidc import OPERATOR, Oidc, provider, resources
from tests.support.shop import a_shop, settings_in

HEADERS = {
    "accept": "application/json, text/event-stream", "content-type": "application/json",
    "mcp-protocol-version": "2026-07-28",
}  # fmt: skip


@dataclass
class World:
    face: Face
    browser: httpx2.AsyncClient
    oidc: Oidc
    toolsets: list[Toolset]
    tick: Tick
    deny: Any

    async def post(self, domain: str, token: str | None, tool: str = "") -> Any:
        """A request in the newest era: the list of tools, or a call of one."""
        method = "tools/call" if tool else "tools/list"
        params: dict[str, Any] = {"name": tool, "arguments": {}} if tool else {}
        params["_meta"] = {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "0"},
            "io.modelcontextprotocol/clientCapabilities": {},
        }
        headers = HEADERS | {"mcp-method": method} | ({"mcp-name": tool} if tool else {})
        if token is not None:
            headers["authorization"] = f"Bearer {token}"
        message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        return await self.browser.post(f"/{domain}/mcp", json=message, headers=headers)


@pytest.fixture
async def world(tmp_path: Path, oidc: Oidc) -> AsyncIterator[World]:
    file = tmp_path / "issuers.toml"
    file.write_text(issuer(oidc.issuer))
    http = replace(
        on_port(settings_in(tmp_path)).http, issuers_file=file, auth_server=False
    )  # fmt: skip
    oidc.add_resources(resources(http.public_url))
    toolsets = [import_module(f"servers.{name}.tools").tools for name in DOMAINS]
    async with a_shop(tmp_path, clock=utc_now, http=http) as shop:
        tick = Tick()
        who = authenticator(shop, tick=tick)

        async def deny(jti: str) -> None:
            now = utc_now()
            await shop.database.run(
                "*",
                lambda session: revocation.deny_token(
                    session, now, oidc.issuer, jti, reason="a test", by="kim"
                ),
            )

        async with (
            a_face(shop, toolsets, authenticator=who) as face, face.browser() as browser
        ):  # fmt: skip
            yield World(face, browser, oidc, toolsets, tick, deny)
        await who.close()


def parameter(challenge: str, name: str) -> str:
    """One parameter of a WWW-Authenticate header."""
    for part in challenge.removeprefix("Bearer ").split(", "):
        key, _, value = part.partition("=")
        if key == name:
            return value.strip('"')
    return ""


async def test_each_token_opens_its_own_server_and_no_other(world: World) -> None:
    """Seven tokens and the console's, at seven servers."""
    audiences = {domain: world.face.http.audience(domain) for domain in DOMAINS}
    audiences["console"] = f"{world.face.url}/console"
    tokens = {
        name: world.oidc.user_token("kim@example.com", audience)
        for name, audience in audiences.items()
    }
    for held, token in tokens.items():
        for domain in DOMAINS:
            answer = await world.post(domain, token)
            said = answer.headers.get("www-authenticate", "")
            if held == domain:
                assert answer.status_code == 200, (held, domain, answer.text)
            else:
                assert answer.status_code == 401, (held, domain, answer.text)
                assert parameter(said, "error") == "invalid_token"
                assert parameter(said, "scope") == f"{domain}:read"


async def test_the_metadata_names_the_issuer_letter_by_letter(world: World) -> None:
    async with world.face.browser() as browser:
        for domain in DOMAINS:
            answer = await browser.get(f"/.well-known/oauth-protected-resource/{domain}/mcp")
            assert answer.json()["authorization_servers"] == [world.oidc.issuer]


async def test_every_bad_token_is_answered_by_401(world: World) -> None:
    """As the list has it; those a header cannot carry never reach the server as they are."""
    audience = world.face.http.audience("inventory")
    wrong = {}
    for name, forge, _ in REFUSED:
        token = forge(world.oidc, audience)
        text = token if isinstance(token, str) else token.decode("latin-1")
        sendable = text.isprintable() and text.isascii() and text == text.strip()
        if not sendable or not 0 < len(text) <= 12_000:
            continue
        answer = await world.post("inventory", text)
        challenge = answer.headers.get("www-authenticate", "")
        if answer.status_code != 401 or "resource_metadata=" not in challenge:
            wrong[name] = (answer.status_code, challenge)
    assert not wrong


async def test_scopes_of_every_tool(world: World) -> None:
    """No scope, reading, everything of this server, everything of a sibling: each tool's answer."""
    for toolset in world.toolsets:
        domain, audience = toolset.domain, world.face.http.audience(toolset.domain)
        sibling = DOMAINS[(DOMAINS.index(domain) + 1) % len(DOMAINS)]
        own = [scope for scope in OPERATOR if scope.startswith(f"{domain}:")]
        held = {
            "none": "", "read": f"{domain}:read", "write": " ".join(own),
            "sibling": " ".join(s for s in OPERATOR if s.startswith(f"{sibling}:")),
        }  # fmt: skip
        tokens = {
            name: world.oidc.mint(world.oidc.claims(audience, scope=scope))
            for name, scope in held.items()
        }
        for spec in toolset.tools.values():
            need = {f"{domain}:read", str(spec.scope)}
            for name, token in tokens.items():
                answer = await world.post(domain, token, spec.name)
                where = (domain, spec.name, name, answer.text[:200])
                if need <= granted(frozenset(held[name].split())):
                    assert answer.status_code == 200, where
                    continue
                assert answer.status_code == 403, where
                said = answer.headers["www-authenticate"]
                assert parameter(said, "error") == "insufficient_scope", where
                assert set(parameter(said, "scope").split()) == need, where
                assert parameter(said, "resource_metadata"), where


async def test_a_token_taken_back_is_refused_at_once_everywhere(world: World) -> None:
    audience = world.face.http.audience("orders")
    claims = world.oidc.claims(audience, scope="orders:read")
    token = world.oidc.mint(claims)
    assert (await world.post("orders", token)).status_code == 200
    await world.deny(claims["jti"])
    world.tick.forward(SEEN_AFTER_S)
    found = await asyncio.gather(*(world.post("orders", token) for _ in range(5)))
    assert {answer.status_code for answer in found} == {401}


async def test_without_keys_it_is_503_and_not_401(tmp_path: Path) -> None:
    with provider() as own:
        file = tmp_path / "issuers.toml"
        file.write_text(issuer(own.issuer))
        http = replace(on_port(settings_in(tmp_path)).http, issuers_file=file, auth_server=False)
        tools = import_module("servers.orders.tools").tools
        async with a_shop(tmp_path, clock=utc_now, http=http) as shop:
            who = authenticator(shop)
            async with (
                a_face(shop, [tools], authenticator=who) as face, face.browser() as browser
            ):  # fmt: skip
                world = World(face, browser, own, [tools], Tick(), None)
                token = own.mint(own.claims(http.audience("orders"), scope="orders:read"))
                own.jwks("down")
                answer = await world.post("orders", token)
                assert answer.status_code == 503
                assert int(answer.headers["retry-after"]) > 0
                assert "www-authenticate" not in answer.headers
            await who.close()
