"""What a server over stdio has in memory is what it works with."""

import asyncio
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from common.background.election import FileLock
from common.settings import inherited
from common.storage import schema
from common.tables import whole

ROOT = Path(__file__).resolve().parent.parent.parent
HEAVY = (
    "PIL", "aiosqlite", "alembic", "asyncpg", "biip", "jinja2", "joserfc", "numpy",
    "opentelemetry.sdk", "pyvrp", "stripe", "common.auth.server", "common.http",
    "common.background.housekeeping", "common.background.outbox", "common.carriers.worker",
)  # fmt: skip
TABLES = {
    "inventory": {"inventory", "logistics", "orders", "stock_documents"},
    "payments": {"inventory", "logistics", "orders", "payments", "returns"},
    "storefront": {"inventory", "logistics", "orders", "payments", "storefront"},
}
CALLS = {
    "inventory": ("list_low_stock", {}),
    "payments": ("list_disputes", {}),
    "storefront": ("search_products", {"query": "coffee"}),
}


def loaded(domain: str, home: Path) -> set[str]:
    """Modules of a server that has answered a call, started while another leads."""
    opening = {
        "protocolVersion": "2025-11-25", "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    }  # fmt: skip
    name, arguments = CALLS[domain]
    asked = [
        {"id": 1, "method": "initialize", "params": opening},
        {"method": "notifications/initialized"},
        {"id": 2, "method": "tools/call", "params": {"name": name, "arguments": arguments}},
    ]
    command = [sys.executable, "-X", "importtime", "-m", "servers", domain]
    words = home / "words"
    with (
        words.open("w") as said,
        subprocess.Popen(
            command, cwd=ROOT, env=inherited(SHOP_HOME=str(home)), stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=said, text=True,
        ) as server,
    ):  # fmt: skip
        assert server.stdin is not None
        assert server.stdout is not None
        for message in asked:
            server.stdin.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
        server.stdin.flush()
        answered = [json.loads(server.stdout.readline()) for _ in range(2)]
        server.stdin.close()
    assert answered[1]["result"]["isError"] is False, answered[1]
    told = words.read_text().splitlines()
    return {line.rpartition("|")[2].strip() for line in told if line.startswith("import time:")}


@pytest.mark.slow
@pytest.mark.parametrize("domain", TABLES)
async def test_a_server_loads_what_it_works_with(domain: str, tmp_path: Path) -> None:
    await asyncio.to_thread(schema.upgrade_now, f"sqlite:///{tmp_path / 'shop.db'}")
    lock = FileLock(tmp_path / "shop.db.leader")
    assert await lock.take()
    try:
        modules = await asyncio.to_thread(loaded, domain, tmp_path)
    finally:
        await lock.give_back()
    assert "common.guard" in modules, "the list is read wrongly"
    heavy = {
        module
        for module in modules
        if any(module == name or module.startswith(f"{name}.") for name in HEAVY)
    }
    assert not heavy
    here = {re.sub(r"^common\.tables\.", "", m) for m in modules if m.startswith("common.tables.")}
    assert here - {"base", "columns", "spine"} == TABLES[domain]


@pytest.mark.parametrize("module", sorted(set(whole.__all__) - {"Base", "tables"}))
def test_tables_bring_what_their_foreign_keys_name(module: str) -> None:
    """A flush looks for them."""
    alone = (
        f"import common.tables.{module}\n"
        "from common.tables.base import Base\n"
        "for table in Base.metadata.tables.values():\n"
        "    for key in table.foreign_keys:\n"
        "        key.column\n"
    )
    subprocess.run([sys.executable, "-c", alone], cwd=ROOT, check=True)
