"""Freeze what every server offers: ``python -m tests.contract.snapshot``."""

import asyncio
import json
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

from servers.run import DOMAINS
from tests.support.shop import a_shop, connected

HERE = Path(__file__).parent


async def offered(domain: str) -> dict[str, Any]:
    """Everything a client can list on one server, in the order it is listed."""
    tools = import_module(f"servers.{domain}.tools").tools
    with tempfile.TemporaryDirectory() as folder:
        async with a_shop(Path(folder)) as shop, connected(shop, tools) as client:
            lists = {
                "tools": (await client.list_tools()).tools,
                "resources": (await client.list_resources()).resources,
                "templates": (await client.list_resource_templates()).resource_templates,
                "prompts": (await client.list_prompts()).prompts,
            }
    return {
        name: [item.model_dump(mode="json", by_alias=True, exclude_none=True) for item in items]
        for name, items in lists.items()
    }


def text(contract: dict[str, Any]) -> str:
    return json.dumps(contract, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def path(domain: str) -> Path:
    return HERE / f"{domain}.json"


async def main() -> None:
    for domain in DOMAINS:
        path(domain).write_text(text(await offered(domain)))
        print(f"{path(domain).name} written")


if __name__ == "__main__":
    asyncio.run(main())
