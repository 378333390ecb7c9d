"""Clients nobody here wrote, on every server over stdio: the SDK's own and the npm Inspector."""

import asyncio
import json
import sys
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, StdioServerParameters

from clients.seeding import seed_demo
from common.settings import inherited
from common.shop import opened
from servers.run import DOMAINS
from tests.support.node import node_environment
from tests.support.shop import settings_in

ROOT = Path(__file__).parent.parent.parent
pytestmark = pytest.mark.slow
ERAS = {"legacy": "2025-11-25", "auto": "2026-07-28"}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small demo shop, shared by every client of this file."""
    folder = tmp_path_factory.mktemp("outside")

    async def seed() -> None:
        async with opened(settings_in(folder)) as shop:
            await seed_demo(shop, days=3)

    asyncio.run(seed())
    return folder


def environment(home: Path) -> dict[str, str]:
    return inherited(SHOP_HOME=str(home), SHOP_OPERATOR="outside@example.com", PYTHONPATH=str(ROOT))


@pytest.mark.parametrize("mode", ERAS)
@pytest.mark.parametrize("domain", DOMAINS)
async def test_the_official_client(home: Path, domain: str, mode: str) -> None:
    parameters = StdioServerParameters(
        command=sys.executable, args=["-m", "servers", domain], env=environment(home), cwd=ROOT
    )
    async with Client(parameters, mode=mode) as client:
        assert client.protocol_version == ERAS[mode]
        tools = (await client.list_tools()).tools
        read = [
            tool for tool in tools
            if tool.annotations and tool.annotations.read_only_hint
            and not tool.input_schema.get("required")
        ]  # fmt: skip
        assert read
        for tool in read:
            result: Any = await client.call_tool(tool.name, {})
            found = result.structured_content
            assert not result.is_error or found["code"] == "invalid_parameters", (tool.name, found)
        for resource in (await client.list_resources()).resources:
            assert (await client.read_resource(resource.uri)).contents


async def inspect(inspector: list[str], home: Path, domain: str, era: str, *more: str) -> Any:
    process = await asyncio.create_subprocess_exec(
        *inspector, sys.executable, "-m", "servers", domain, "--protocol-era", era,
        "--format", "json", *more,
        env=node_environment() | environment(home), cwd=ROOT,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await asyncio.wait_for(process.communicate(), 120)
    assert process.returncode == 0, (more, out.decode()[-2_000:], err.decode()[-2_000:])
    return json.loads(out)["result"]


@pytest.mark.parametrize(("domain", "era"), list(zip(DOMAINS, cycle(("legacy", "modern")))))
async def test_the_inspector(inspector: list[str], home: Path, domain: str, era: str) -> None:
    tools = (await inspect(inspector, home, domain, era, "--method", "tools/list"))["tools"]
    names = {tool["name"] for tool in tools}
    assert {"approval_status", "approval_cancel"} <= names
    quiet = next(
        tool["name"] for tool in tools
        if tool["annotations"]["readOnlyHint"] and not tool["inputSchema"].get("required")
        and tool["name"] != "find_customer"
    )  # fmt: skip
    answer = await inspect(
        inspector, home, domain, era, "--method", "tools/call", "--tool-name", quiet
    )
    assert isinstance(answer["structuredContent"], dict)
