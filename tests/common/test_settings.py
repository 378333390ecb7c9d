"""What the environment may say, and that anything else stops the start and is named."""

import subprocess
import sys
from pathlib import Path

import pytest

from common.setting_values import SettingError
from common.settings import Settings, inherited

ROOT = Path(__file__).resolve().parents[2]
FLAGS = {
    "SHOP_READ_ONLY": lambda s: s.read_only, "SHOP_DUTIES": lambda s: s.duties,
    "SHOP_DATABASE_ROLES": lambda s: s.database_roles,
    "SHOP_AUTH_SERVER": lambda s: s.http.auth_server,
    "SHOP_AUTH_BASIC": lambda s: s.http.auth_basic,
    "SHOP_ACCESS_LOG": lambda s: s.http.access_log,
    "SHOP_ALLOW_LIVE": lambda s: s.gateway.allow_live,
}  # fmt: skip
ON_AT_FIRST = {"SHOP_DUTIES", "SHOP_AUTH_SERVER"}
WRONG = {
    "SHOP_PUBLIC_URL": "http://127.0.0.1:port", "SHOP_HTTP_PORT": "abc",
    "SHOP_HTTP_WORKERS": "-1", "SHOP_DATABASE_POOL": "zz", "SHOP_DATABASE_URL": "foo",
    "SHOP_CHECKOUT_MINUTES": "0", "SHOP_GUEST_CART_MINUTES": "1441", "SHOP_LOG_LEVEL": "loud",
    "SHOP_LOG_FORMAT": "xml", "SHOP_RATE_LIMITS": "x", "SHOP_SCOPES": "foo:read",
    "SHOP_TLS": "yes", "SHOP_METRICS_FROM": "everywhere", "SHOP_ROUTE_ENGINE": "x",
    "SHOP_TRAVEL_TIMES": "google",
}  # fmt: skip


@pytest.mark.parametrize("name", FLAGS)
def test_flags(name: str) -> None:
    def read(said: str) -> bool:
        return bool(FLAGS[name](Settings.load({name: said})))

    assert all(read(yes) for yes in ("1", "true", "YES", "on", "On", " TRUE "))
    assert not any(read(no) for no in ("0", "false", "No", "off", "OFF"))
    assert read("") is (name in ON_AT_FIRST)
    for wrong in ("enabled", "2", "y"):
        with pytest.raises(SettingError, match=f"^{name} must be .*, not '{wrong}'"):
            read(wrong)


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_value_is_named(name: str) -> None:
    with pytest.raises(SettingError, match=f"^{name} must be") as refused:
        Settings.load({name: WRONG[name]})
    assert WRONG[name] in str(refused.value)


def test_the_password_in_a_wrong_url_is_not_shown() -> None:
    with pytest.raises(SettingError) as refused:
        Settings.load({"SHOP_DATABASE_URL": "mysql://ana:opensesame@host/shop"})
    assert "mysql" in str(refused.value)
    assert "opensesame" not in str(refused.value)


def test_a_level_in_any_case() -> None:
    assert Settings.load({"SHOP_LOG_LEVEL": "Debug"}).log_level == "DEBUG"


@pytest.mark.parametrize(
    "command",
    [["servers", "inventory"], ["servers", "--http"], ["clients.cli", "approvals"],
     ["clients.serve"]],
    ids=" ".join,
)  # fmt: skip
def test_the_start_stops_in_one_line(tmp_path: Path, command: list[str]) -> None:
    home = tmp_path / "home"
    ended = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, text=True, stdin=subprocess.DEVNULL,
        env=inherited(SHOP_HOME=str(home), SHOP_READ_ONLY="enabled", PYTHONPATH=str(ROOT)),
        capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert ended.returncode == 2
    assert "SHOP_READ_ONLY must be" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
    assert not home.exists()
