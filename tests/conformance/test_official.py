"""The official conformance suite, with authentication, policy and audit on the path."""

import asyncio
from collections.abc import AsyncIterator
from importlib import import_module
from pathlib import Path

import pytest
from sqlalchemy import func, select

from common.auth import calling_actor
from common.http import health, metadata
from common.http.app import compose, serve_one
from common.http.required_scopes import Needs
from common.http.watch import Watching
from common.keys import request_state_key
from common.shop import Shop
from common.tables.spine import AuditRecord
from servers.run import DOMAINS
from tests.conformance import fixtures
from tests.support import conformance
from tests.support.http import Face, NamedCallers, a_face, on_port, uvicorn_serving
from tests.support.shop import a_shop, look, settings_in

REQUIRED = {"2025-11-25": 30, "2026-07-28": 37}
FIXTURE_FREE = {
    "2025-11-25": [
        "server-initialize", "server-session-lifecycle", "ping", "tools-list", "resources-list",
        "prompts-list", "server-sse-multiple-streams", "dns-rebinding-protection",
    ],
    "2026-07-28": [
        "tools-list", "resources-list", "prompts-list", "caching", "sep-2164-resource-not-found",
        "http-header-validation", "server-sse-multiple-streams", "dns-rebinding-protection",
        "input-required-result-unsupported-methods",
    ],
}  # fmt: skip


@pytest.fixture
async def fixtures_shop(tmp_path: Path) -> AsyncIterator[Shop]:
    http = on_port(settings_in(tmp_path)).http
    async with a_shop(tmp_path, policy_file=fixtures.policy_in(tmp_path), http=http) as shop:
        yield shop


@pytest.fixture
async def fixtures_face(fixtures_shop: Shop) -> AsyncIterator[Face]:
    """The fixtures' server behind the same gate as every other."""
    shop, http = fixtures_shop, fixtures_shop.settings.http
    server = fixtures.ConformanceServer(
        fixtures.tools, shop.guard, calling_actor,
        state_key=request_state_key(shop.settings.key_dir), notices=shop.notices,
    )  # fmt: skip
    callers = NamedCallers()
    needs = Needs(fixtures.tools, metadata.base_scope("inventory"), fixtures.EXTRA)
    served = {"/inventory/mcp": serve_one(server, needs, http, callers, Watching(shop))}
    async with uvicorn_serving(compose(http, served, health.routes(shop)), http):
        yield Face(http, callers)


@pytest.mark.slow
@pytest.mark.parametrize("version", REQUIRED)
async def test_every_required_scenario(
    node: list[str], fixtures_shop: Shop, fixtures_face: Face, tmp_path: Path, version: str
) -> None:
    face = fixtures_face
    token = face.token("inventory", "inventory:read", "inventory:write")
    found = await conformance.run(
        node, tmp_path / "out", token, face.http.audience("inventory"), "--requirements", version
    )
    assert found.code == 0, found.said
    wanted = await _required(node, version)
    assert len(wanted) == REQUIRED[version]
    assert wanted <= set(found.scenarios)
    assert not wanted & set(found.failed()), found.said
    recorded = await look(fixtures_shop, lambda s: s.scalar(select(func.count(AuditRecord.id))))
    assert recorded, "no call of the harness left a record"


async def _required(node: list[str], version: str) -> set[str]:
    """The server scenarios a revision requires, by the runner's own list."""
    program = conformance.package_program(conformance.FOLDER, conformance.PACKAGE, "conformance")
    process = await asyncio.create_subprocess_exec(
        *node, str(program), "list", "--requirements", version, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    server = out.decode().partition("Server scenarios")[2].partition("Client scenarios")[0]
    return {line.strip()[2:] for line in server.split("\n") if line.strip().startswith("- ")}


@pytest.mark.slow
async def test_without_a_token_nothing_passes(
    node: list[str], fixtures_face: Face, tmp_path: Path
) -> None:
    found = await conformance.run(
        node, tmp_path / "out", "", fixtures_face.http.audience("inventory"),
        "--scenario", "tools-list", "--spec-version", "2026-07-28",
    )  # fmt: skip
    assert found.code != 0


@pytest.mark.slow
@pytest.mark.parametrize("domain", DOMAINS)
async def test_scenarios_that_need_no_fixtures(
    node: list[str], tmp_path: Path, domain: str
) -> None:
    http = on_port(settings_in(tmp_path)).http
    toolset = import_module(f"servers.{domain}.tools").tools
    async with a_shop(tmp_path, http=http) as shop, a_face(shop, [toolset]) as face:
        token = face.token(domain, f"{domain}:read", f"{domain}:write")
        for version, scenarios in FIXTURE_FREE.items():
            # The whole suite runs: what needs fixtures fails, and is not looked at.
            found = await conformance.run(
                node, tmp_path / version, token, http.audience(domain), "--requirements", version
            )
            assert set(scenarios) <= set(found.scenarios), found.said
            failed = set(scenarios) & set(found.failed())
            assert not failed, (sorted(failed), [found.worst[name] for name in failed])
