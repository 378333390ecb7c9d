"""What it takes to be reachable by others, and that each lack is named with its remedy."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from common.http.startup import UnsafeToStart, check
from common.settings import HttpSettings, inherited

ROOT = Path(__file__).resolve().parents[2]
RIGHT = {
    "SHOP_HTTP_HOST": "0.0.0.0", "SHOP_PUBLIC_URL": "https://shop.example",
    "SHOP_TLS": "terminated", "SHOP_AUTH_SERVER": "1",
}  # fmt: skip


def test_loopback_needs_nothing() -> None:
    check(HttpSettings.load({}))


def test_behind_a_proxy_with_everything_said() -> None:
    check(HttpSettings.load(RIGHT))


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"SHOP_TLS": ""}, "SHOP_TLS=terminated"),
        ({"SHOP_PUBLIC_URL": ""}, "SHOP_PUBLIC_URL"),
        ({"SHOP_PUBLIC_URL": "http://shop.example"}, "https"),
        ({"SHOP_AUTH_SERVER": "0"}, "SHOP_ISSUERS_FILE"),
        ({"SHOP_ALLOWED_HOSTS": "*.shop.example"}, "SHOP_ALLOWED_HOSTS"),
        ({"SHOP_ALLOWED_ORIGINS": "https://shop.example:*"}, "SHOP_ALLOWED_ORIGINS"),
        ({"SHOP_ALLOWED_ORIGINS": "http://other.example"}, "SHOP_ALLOWED_ORIGINS"),
        ({"SHOP_AUTH_BASIC": "1"}, "SHOP_AUTH_BASIC"),
        ({"SHOP_ISSUERS_FILE": "/does/not/exist.toml"}, "SHOP_ISSUERS_FILE"),
    ],
)
def test_each_lack_is_named(changes: dict[str, str], names: str) -> None:
    with pytest.raises(UnsafeToStart, match=names.replace(".", r"\.")):
        check(HttpSettings.load(RIGHT | changes))


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        done = subprocess.run(
            [sys.executable, "-m", "servers", "inventory", "--http"], cwd=ROOT, text=True,
            env=inherited(SHOP_HOME=str(tmp_path / "home"), SHOP_HTTP_PORT=port),
            capture_output=True, timeout=170, check=False,
        )  # fmt: skip
    assert done.returncode == 2
    assert f"port {port}, cannot be listened on" in done.stderr
    assert "SHOP_HTTP_PORT" in done.stderr


def test_the_command_says_why_and_opens_nothing(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "servers", "inventory", "--http"], cwd=ROOT, text=True,
        env=inherited(SHOP_HOME=str(tmp_path / "home"), SHOP_HTTP_HOST="0.0.0.0"),
        capture_output=True, timeout=170, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "SHOP_TLS=terminated" in done.stderr
    assert not (tmp_path / "home").exists()
