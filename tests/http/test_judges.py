"""Judges nobody here wrote, on a remote shop with its own authorization server."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from importlib import import_module
from pathlib import Path
from typing import Any

import httpx2
import pytest

from common.auth.server import managing
from common.clock import utc_now
from common.scopes import of_domain
from common.settings import inherited
from common.shop import Shop
from servers.run import DOMAINS
from tests.support.http import on_port, remote
from tests.support.shop import a_shop, settings_in

BIN = Path(sys.executable).parent
pytestmark = pytest.mark.slow


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    http = on_port(settings_in(tmp_path)).http
    toolsets = [import_module(f"servers.{name}.tools").tools for name in DOMAINS]
    async with a_shop(tmp_path, clock=utc_now, http=http) as shop, remote(shop, toolsets):
        yield shop


async def token(shop: Shop, domain: str) -> str:
    """Of a machine, for one server."""
    http, now = shop.settings.http, shop.guard.clock()
    scopes = [str(scope) for scope in of_domain(domain)]
    client, secret = await shop.database.run(
        "*", lambda s: managing.add_client(s, f"judge {domain}", "test", now, scopes=scopes)
    )
    form = {
        "grant_type": "client_credentials", "client_id": client.id, "client_secret": secret,
        "resource": http.audience(domain), "scope": " ".join(scopes),
    }  # fmt: skip
    async with httpx2.AsyncClient() as browser:
        answer = await browser.post(f"{http.public_url}/auth/token", data=form)
    return str(answer.json()["access_token"])


async def judged(home: Path, *command: str, **environment: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        str(BIN / command[0]), *command[1:],
        env=inherited(HOME=str(home), XDG_CONFIG_HOME=str(home), **environment),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    out, _ = await asyncio.wait_for(process.communicate(), 120)
    return process.returncode or 0, out.decode()


async def test_authlab_grades_a(shop: Shop, tmp_path: Path) -> None:
    url = shop.settings.http.audience("inventory")
    report = tmp_path / "report.json"
    code, said = await judged(
        tmp_path, "mcp-authlab", "scan", url, "--no-login", "--fail-under", "A",
        "--format", "json", "-o", str(report),
        MCP_AUTHLAB_TOKEN=await token(shop, "inventory"),
        MCP_AUTHLAB_FOREIGN_TOKEN=await token(shop, "orders"),
    )  # fmt: skip
    assert code == 0, said
    found: dict[str, Any] = json.loads(report.read_text())
    failed = [check for check in found.get("results", []) if check.get("status") == "fail"]
    assert not failed, failed


async def test_mcpcheck_strict(shop: Shop, tmp_path: Path) -> None:
    for domain in DOMAINS:
        code, said = await judged(
            tmp_path, "mcpcheck", shop.settings.http.audience(domain), "--probe", "all",
            "--strict", MCPCHECK_TOKEN=await token(shop, domain),
        )  # fmt: skip
        assert code == 0, said
