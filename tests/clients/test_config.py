"""What ``shop config`` prints starts servers, on a machine that knows nothing but the paste."""

import gc
import json
import os
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, StdioServerParameters
from typer.testing import CliRunner, Result

from clients.cli import app
from servers import run
from servers.run import DOMAINS
from tests.support.shop import call, refused

ROOT = Path(__file__).resolve().parents[2]


def printed(home: Path, *words: str) -> Result:
    variables = {"SHOP_HOME": str(home), "SHOP_OPERATOR": "ana@example.com"}
    return CliRunner().invoke(app, ["config", *words], env=variables)


@pytest.mark.parametrize(
    ("host", "key"), [("claude", "mcpServers"), ("cursor", "mcpServers"), ("vscode", "servers")]
)
def test_each_host_has_its_form(tmp_path: Path, host: str, key: str) -> None:
    result = printed(tmp_path, host)
    assert result.exit_code == 0, result.output
    listed = json.loads(result.stdout)
    assert set(listed) == {key}
    assert set(listed[key]) == {f"shop-{domain}" for domain in DOMAINS}
    for name, entry in listed[key].items():
        assert entry.get("type") == ("stdio" if host == "vscode" else None)
        assert Path(entry["command"]).is_absolute()
        assert entry["args"] == ["-m", "servers", name.removeprefix("shop-")]
        assert Path(entry["env"]["SHOP_HOME"]).is_absolute()
        assert all(isinstance(value, str) for value in entry["env"].values())
    assert "Paste it into" in result.stderr
    assert not (tmp_path / "shop.db").exists(), "printing opens nothing"


def started(entry: dict[str, Any]) -> StdioServerParameters:
    """As a host starts it: its own bare environment, another folder, and what was pasted."""
    bare = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return StdioServerParameters(
        command=entry["command"], args=entry["args"], env=bare | entry["env"], cwd=entry.get("cwd")
    )


async def test_a_pasted_server_starts(tmp_path: Path) -> None:
    """Also where the host ignores ``cwd``, as some do; and read-only it changes nothing."""
    home = tmp_path / "my shop"
    entry = json.loads(printed(home, "claude", "--server", "storefront").stdout)["mcpServers"]
    assert list(entry) == ["shop-storefront"]
    pasted = {k: v for k, v in entry["shop-storefront"].items() if k != "cwd"}
    async with Client(started(pasted | {"cwd": str(tmp_path)})) as client:
        assert (await call(client, "search_products", query="mug"))["count"] == 0
    closed = json.loads(printed(home, "vscode", "--server", "storefront", "--read-only").stdout)
    async with Client(started(closed["servers"]["shop-storefront"])) as client:
        assert (await call(client, "search_products", query="mug"))["count"] == 0
        await refused(client, "approval_cancel", "policy_denied", id="apr_x")


def test_the_host_opens_the_shop_that_is_meant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without its database a host would begin an empty shop, without its policy ask nobody."""
    meant = {
        "SHOP_DATABASE_URL": "postgresql+asyncpg://db/shop", "SHOP_DATABASE_ROLES": "1",
        "SHOP_POLICY_FILE": str(tmp_path / "policy.toml"), "SHOP_KEY_DIR": str(tmp_path / "k"),
        "SHOP_ANCHOR_FILE": str(tmp_path / "kept" / "anchors.jsonl"),
    }  # fmt: skip
    for name, value in meant.items():
        monkeypatch.setenv(name, value)
    (entry,) = pasted(tmp_path).values()
    assert meant.items() <= entry["env"].items()
    monkeypatch.setenv("SHOP_DATABASE_URL", "postgresql+asyncpg://ana:opensesame@db/shop")
    (entry,) = pasted(tmp_path).values()
    assert entry["env"]["SHOP_DATABASE_URL"] == "postgresql+asyncpg://ana@db/shop"


def pasted(folder: Path) -> dict[str, Any]:
    said = printed(folder, "claude", "--server", "orders").stdout
    found: dict[str, Any] = json.loads(said)["mcpServers"]
    return found


def test_a_host_or_server_that_is_not_there(tmp_path: Path) -> None:
    for words in (["emacs"], ["claude", "--server", "banking"], []):
        result = printed(tmp_path, *words)
        assert result.exit_code == 2, words
        assert "{" not in result.stdout


def test_the_repository_offers_every_server_to_hosts() -> None:
    """tests/faults starts them from this file."""
    listed = json.loads((ROOT / "mcp.json").read_text())["mcpServers"]
    assert {name: entry["args"] for name, entry in listed.items()} == {
        domain: ["-m", "servers", domain] for domain in DOMAINS
    }
    assert {entry["command"] for entry in listed.values()} == {".venv/bin/python"}


@pytest.mark.parametrize(
    "settings",
    [
        {"SHOP_HOME": "empty", "SHOP_READ_ONLY": "1"},
        {"SHOP_HOME": "file/shop"},
        {"SHOP_HOME": "empty", "SHOP_POLICY_FILE": "file"},
    ],
    ids=["no database to read", "no folder", "no policy"],
)
def test_a_server_that_cannot_open_its_shop_says_so(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    settings: dict[str, str],
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("not a folder, and no policy")
    monkeypatch.chdir(tmp_path)
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    try:
        assert run.main(["storefront"]) == 2
    finally:
        gc.enable()
    said = capsys.readouterr()
    assert said.out == "", "standard output belongs to the protocol"
    assert said.err
    assert "Traceback" not in said.err


@pytest.mark.parametrize(
    ("host", "key", "kind"),
    [
        ("claude", "mcpServers", "http"),
        ("cursor", "mcpServers", None),
        ("vscode", "servers", "http"),
    ],
)
def test_a_remote_shop(tmp_path: Path, host: str, key: str, kind: str | None) -> None:
    result = printed(tmp_path, host, "--url", "https://shop.example/", "--server", "orders")
    assert result.exit_code == 0, result.output
    entry = json.loads(result.stdout)[key]["shop-orders"]
    assert entry.get("type") == kind
    assert entry["url"] == "https://shop.example/orders/mcp"
    assert "client id: shop-native" in result.stderr
    assert printed(tmp_path, host, "--url", "https://a", "--read-only").exit_code != 0
