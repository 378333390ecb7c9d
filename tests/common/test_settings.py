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
POSTGRES = "postgresql+asyncpg://host/shop"
ON_AT_FIRST = {"SHOP_DUTIES", "SHOP_AUTH_SERVER"}
WRONG = {
    "SHOP_PUBLIC_URL": "http://127.0.0.1:port", "SHOP_HTTP_PORT": "abc",
    "SHOP_HTTP_WORKERS": "-1", "SHOP_DATABASE_POOL": "zz", "SHOP_DATABASE_URL": "foo",
    "SHOP_CHECKOUT_MINUTES": "0", "SHOP_GUEST_CART_MINUTES": "1441", "SHOP_LOG_LEVEL": "loud",
    "SHOP_LOG_FORMAT": "xml", "SHOP_RATE_LIMITS": "x", "SHOP_SCOPES": "foo:read",
    "SHOP_TLS": "yes", "SHOP_METRICS_FROM": "everywhere", "SHOP_ROUTE_ENGINE": "x",
    "SHOP_TRAVEL_TIMES": "google", "SHOP_TRUSTED_PROXIES": "10.0.0.1,10.0.0.2",
    "SHOP_DATABASE_ROLES": "1",
}  # fmt: skip


@pytest.mark.parametrize("name", FLAGS)
def test_flags(name: str) -> None:
    def read(said: str) -> bool:
        return bool(FLAGS[name](Settings.load({name: said, "SHOP_DATABASE_URL": POSTGRES})))

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


@pytest.mark.parametrize("rest", ["ana:open/sesame@host/shop", "ana:open@ses#ame@host/shop",
                                  "ana:opense@same/s@host/shop", "host:port/shop"])  # fmt: skip
def test_a_database_url_that_means_another_host_is_refused(rest: str) -> None:
    with pytest.raises(SettingError, match="percent-encoded") as refused:
        Settings.load({"SHOP_DATABASE_URL": f"postgresql+asyncpg://{rest}"})
    assert "ame" not in str(refused.value).replace("name", "")
    for right in ("ana:open%2Fsesame@host:5432/shop", "/shop?host=one:5432&host=two:5432"):
        Settings.load({"SHOP_DATABASE_URL": f"postgresql+asyncpg://{right}"})


@pytest.mark.parametrize(("wrong", "right"), [
    ("SHOP_READONLY", "SHOP_READ_ONLY"), ("SHOP_DATABASE_URI", "SHOP_DATABASE_URL"),
    ("SHOP_ALLOWED_HOST", "SHOP_ALLOWED_HOSTS"),
])  # fmt: skip
def test_a_misspelt_name_is_named(wrong: str, right: str) -> None:
    with pytest.raises(SettingError, match=f"^{wrong} must be {right}"):
        Settings.load({wrong: "1"})


def test_what_other_programs_are_told_is_none_of_ours() -> None:
    for name in ("SHOP_HOST", "SHOP_OWNER_PASSWORD", "SHOP_TEST_DATABASE_URL", "SHOP_DESK_PORT"):
        Settings.load({name: "x"})


def test_spaces_and_quotes_around_a_value() -> None:
    loaded = Settings.load({"SHOP_HOME": "/srv/shop ", "SHOP_STRIPE_WEBHOOK_SECRET": "whsec_x\n"})
    assert loaded.key_dir == Path("/srv/shop/keys")
    assert loaded.gateway.webhook_secret == "whsec_x"
    with pytest.raises(SettingError, match="SHOP_STRIPE_KEY must be without quotes") as refused:
        Settings.load({"SHOP_STRIPE_KEY": '"sk_test_opensesame"'})
    assert "opensesame" not in str(refused.value)


def test_a_folder_of_ones_own_home() -> None:
    loaded = Settings.load({"SHOP_KEY_DIR": "~/keys", "SHOP_ANCHOR_FILE": "~/a.jsonl"})
    assert (loaded.key_dir, loaded.anchor_file) == (Path.home() / "keys", Path.home() / "a.jsonl")


def test_the_public_url_is_a_host_and_nothing_more() -> None:
    named = Settings.load({"SHOP_PUBLIC_URL": "https://Shop.Example.com/"}).http
    assert named.public_url == "https://shop.example.com"
    assert named.allowed_hosts == ("shop.example.com",)
    for wrong in ("https://shop.example.com?a=b", "https://ana:x@shop.example.com"):
        with pytest.raises(SettingError):
            Settings.load({"SHOP_PUBLIC_URL": wrong})


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
