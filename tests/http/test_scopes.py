"""Every tool with every kind of caller, and every server with every other's token."""

import itertools
from importlib import import_module
from typing import Any

from mcp_types import CLIENT_CAPABILITIES_META_KEY, PROTOCOL_VERSION_META_KEY
from sqlalchemy import select

from common.approvals.tools import offered_by
from common.scopes import Scope, of_domain
from common.shop import Shop
from common.tables.spine import AuditRecord
from servers.run import DOMAINS
from tests.support.http import Face
from tests.support.shop import look

NEW = "2026-07-28"


def asking(method: str, **params: Any) -> tuple[dict[str, Any], dict[str, str]]:
    """A request of the newer era, and its headers."""
    meta = {PROTOCOL_VERSION_META_KEY: NEW, CLIENT_CAPABILITIES_META_KEY: {}}
    headers = {
        "MCP-Protocol-Version": NEW, "Mcp-Method": method,
        "Accept": "application/json, text/event-stream",
    }  # fmt: skip
    if "name" in params:
        headers["Mcp-Name"] = params["name"]
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params | {"_meta": meta}}
    return body, headers


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def test_every_tool_with_every_kind_of_caller(fleet: Face) -> None:
    """An unknown argument is sent: whoever is let in is refused by the tool, and nothing runs."""
    async with fleet.browser() as browser:
        for domain in DOMAINS:
            read, *others = [str(scope) for scope in of_domain(domain)]
            sibling = "orders:write" if domain != "orders" else "claims:write"
            callers = {
                (): fleet.token(domain),
                (read,): fleet.token(domain, read),
                (f"{domain}:write",): fleet.token(domain, f"{domain}:write"),
                (sibling,): fleet.token(domain, sibling),
                (read, *others): fleet.token(domain, read, *others),
            }
            offered = offered_by(import_module(f"servers.{domain}.tools").tools)
            for (held, token), spec in itertools.product(callers.items(), offered.tools.values()):
                body, headers = asking("tools/call", name=spec.name, arguments={"no_such": 1})
                answer = await browser.post(
                    f"/{domain}/mcp", json=body, headers=headers | bearer(token)
                )
                needed = [read] if spec.scope == read else [read, str(spec.scope)]
                implied = set(held) | ({read} if any(h.startswith(domain) for h in held) else set())
                if set(needed) <= implied:
                    assert answer.status_code == 200, (domain, spec.name, held)
                    refused = answer.json()["result"]["structuredContent"]
                    assert refused["code"] == "invalid_parameters"
                    continue
                assert answer.status_code == 403, (domain, spec.name, held, answer.text)
                said = answer.headers["www-authenticate"]
                assert f'scope="{" ".join(needed)}"' in said, (spec.name, held)
                assert 'error="insufficient_scope"' in said
                metadata = f"{fleet.url}/.well-known/oauth-protected-resource/{domain}/mcp"
                assert f'resource_metadata="{metadata}"' in said


async def test_a_restricted_scope_is_implied_by_nothing(fleet: Face) -> None:
    """Not by write, not by another restricted one; and what restricts implies no write."""
    holds = fleet.token("payments", "payments:write", "payments:refund")
    body, headers = asking("tools/call", name="release_hold", arguments={})
    async with fleet.browser() as browser:
        answer = await browser.post("/payments/mcp", json=body, headers=headers | bearer(holds))
        assert answer.status_code == 403
        assert 'scope="payments:read payments:release"' in answer.headers["www-authenticate"]
        narrow = fleet.token("payments", "payments:refund")
        body, headers = asking("tools/call", name="place_hold", arguments={})
        answer = await browser.post("/payments/mcp", json=body, headers=headers | bearer(narrow))
        assert answer.status_code == 403


async def test_no_server_takes_another_servers_token(fleet: Face) -> None:
    """Seven by seven, with every scope of every server in each token."""
    everything = [str(scope) for scope in Scope]
    body, headers = asking("tools/list")
    async with fleet.browser() as browser:
        for meant, used in itertools.product(DOMAINS, DOMAINS):
            token = fleet.token(meant, *everything)
            answer = await browser.post(f"/{used}/mcp", json=body, headers=headers | bearer(token))
            assert answer.status_code == (200 if meant == used else 401), (meant, used)
            if meant != used:
                assert 'error="invalid_token"' in answer.headers["www-authenticate"]


async def test_every_method_needs_to_read(face: Face) -> None:
    """Nothing is served to a token without a scope of this server, not even a list."""
    methods = {
        "tools/list": {}, "resources/list": {}, "resources/templates/list": {},
        "prompts/list": {}, "server/discover": {}, "prompts/get": {"name": "tidy"},
        "resources/read": {"uri": "inventory://shelf"}, "subscriptions/listen": {},
        "completion/complete": {},
    }  # fmt: skip
    empty, other = face.token("inventory"), face.token("inventory", "orders:write")
    async with face.browser() as browser:
        for method, params in methods.items():
            body, headers = asking(method, **params)
            for token in (empty, other):
                answer = await browser.post(
                    "/inventory/mcp", json=body, headers=headers | bearer(token)
                )
                assert answer.status_code == 403, method
                assert 'scope="inventory:read"' in answer.headers["www-authenticate"]


async def test_what_is_denied_is_recorded(toys: Shop, face: Face) -> None:
    token = face.token("inventory", "inventory:read", subject="eve@example.com")
    body, headers = asking("tools/call", name="take", arguments={"quantity": 1})
    async with face.browser() as browser:
        await browser.post("/inventory/mcp", json=body, headers=headers | bearer(token))
        await browser.post("/inventory/mcp", json=body, headers=headers)
    records = await look(toys, lambda s: [row.record for row in s.scalars(select(AuditRecord))])
    denied = [record for record in records if record["outcome"] == "denied"]
    assert len(denied) == 1, "a stranger leaves no record, a known caller leaves one"
    assert denied[0]["tool"] == "take"
    assert denied[0]["actor"]["sub"] == "eve@example.com"
    assert denied[0]["missing"] == ["inventory:write"]
