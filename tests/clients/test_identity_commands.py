"""shop user, shop client, shop auth, shop api-key."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import ECKey
from typer.testing import CliRunner, Result

from clients.cli import app
from common.auth.server import users as rules
from common.errors import ShopError
from tests.support.auth_server import PASSWORD
from tests.support.shop import begin

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    begin(tmp_path)
    monkeypatch.setenv("SHOP_HOME", str(tmp_path))
    monkeypatch.setattr("clients.commands.users.ask_passphrase", lambda prompt: PASSWORD)
    monkeypatch.setattr(rules, "COST", 4)
    runner = CliRunner()

    def ran(*arguments: str, input: str = "") -> Result:
        return runner.invoke(app, list(arguments), input=input)

    return ran


def told(result: Result) -> Any:
    assert result.exit_code == 0, result.output + str(result.exception)
    return json.loads(result.output)


def code_of(result: Result) -> str:
    assert isinstance(result.exception, ShopError), result.output
    return result.exception.code


def test_users(run: Run) -> None:
    assert run("user", "add", "Kim@Example.com", "--name", "Kim", "--decide").exit_code == 0
    (kim,) = told(run("user", "list", "--json"))
    assert kim["subject"] == "kim@example.com"
    assert "approvals:decide" in kim["scopes"]
    assert code_of(run("user", "add", "kim@example.com")) == "conflict"
    assert run("user", "scopes", "kim@example.com", "orders:read").exit_code == 0
    assert code_of(run("user", "scopes", "kim@example.com", "no:such")) == "invalid_parameters"
    assert run("user", "passwd", "kim@example.com").exit_code == 0
    assert run("user", "disable", "kim@example.com").exit_code == 0
    (kim,) = told(run("user", "list", "--json"))
    assert kim["scopes"] == ["orders:read"]
    assert kim["disabled_at"]
    assert run("user", "enable", "kim@example.com").exit_code == 0
    assert code_of(run("user", "disable", "nobody@example.com")) == "not_found"
    assert "orders:read" in run("user", "list").output


def test_scopes_can_all_be_taken_away(run: Run) -> None:
    run("user", "add", "ana@example.com")
    assert run("user", "scopes", "ana@example.com", "").output == "ana@example.com: nothing\n"
    (ana,) = told(run("user", "list", "--json"))
    assert ana["scopes"] == []
    only = run("user", "scopes", "ana@example.com", "", "--decide")
    assert only.output == "ana@example.com: approvals:decide\n"


def test_a_wrong_scope_is_named_with_the_right_ones(run: Run) -> None:
    run("user", "add", "ana@example.com")
    refused = run("user", "scopes", "ana@example.com", "orders:read no:such").exception
    assert isinstance(refused, ShopError)
    assert "'no:such'" in refused.message
    assert "inventory:read, inventory:write" in refused.message


def test_one_time_codes(run: Run) -> None:
    run("user", "add", "kim@example.com")
    wrong = run("user", "totp", "kim@example.com", input="000000\n")
    assert code_of(wrong) == "invalid_parameters"
    assert told(run("user", "list", "--json"))[0]["totp"] is False


def test_clients(run: Run, tmp_path: Path) -> None:
    made = told(run("client", "add", "probe", "--scopes", "inventory:read", "--json"))
    assert made["client_secret"]
    web = told(run("client", "add", "web", "--redirect", "https://a.example/cb", "--json"))
    keys = tmp_path / "keys.json"
    public = ECKey.generate_key("P-256").as_dict(private=False)
    keys.write_text(json.dumps({"keys": [public]}))
    robot = told(
        run("client", "add", "r", "--scopes", "orders:read", "--jwks", str(keys), "--json")
    )
    assert robot["client_secret"] is None
    assert code_of(run("client", "add", "nothing")) == "invalid_parameters"
    refused = run("client", "add", "x", "--scopes", "approvals:decide")
    assert code_of(refused) == "invalid_parameters"
    assert run("client", "revoke", web["client_id"]).exit_code == 0
    listed = told(run("client", "list", "--json"))
    assert [c["method"] for c in listed] == ["client_secret", "client_secret", "private_key_jwt"]
    assert [bool(c["revoked_at"]) for c in listed] == [False, True, False]
    assert made["client_secret"] not in run("client", "list", "--json").output
    assert len(run("client", "registration-token").output.strip()) > 40


def test_what_is_wrong_is_said_for_a_terminal(run: Run, tmp_path: Path) -> None:
    run("user", "add", "ana@example.com")
    ended = run("api-key", "create", "laptop", "--for", "ana@example.com", "--days", "-1")
    assert ended.exit_code == 2
    assert "--days" in ended.output
    gone = run("api-key", "revoke", "nope").exception
    assert isinstance(gone, ShopError)
    assert "shop api-key list" in gone.next
    bare = run("client", "add", "nothing").exception
    assert isinstance(bare, ShopError)
    assert "--scopes for a machine" in bare.next
    file = tmp_path / "jwks.json"
    file.write_text("{")
    assert f"{file} is not JSON" in str(run("client", "add", "r", "--jwks", str(file)).exception)


def test_signing_keys(run: Run) -> None:
    assert run("auth", "rotate-keys").exit_code == 0
    assert run("auth", "rotate-keys", "--algorithm", "RS256").exit_code == 0
    new, old = told(run("auth", "keys", "--json"))
    assert (new["algorithm"], old["algorithm"]) == ("RS256", "ES256")
    assert old["published_until"]
    assert not new["published_until"]


def test_api_keys(run: Run) -> None:
    run("user", "add", "ana@example.com")
    made = told(run("api-key", "create", "laptop", "--for", "ana@example.com", "--json"))
    assert made["key"].startswith("mcp_")
    assert made["key"] not in run("api-key", "list", "--json").output
    assert run("api-key", "revoke", made["id"]).exit_code == 0
    (key,) = told(run("api-key", "list", "--of", "ana@example.com", "--json"))
    assert key["revokedAt"]
    assert run("api-key", "delete", made["id"]).exit_code == 0
    assert told(run("api-key", "list", "--json")) == []
    assert code_of(run("api-key", "delete", made["id"])) == "not_found"
    assert run("audit", "anchor").exit_code == 0
    assert run("audit", "verify").exit_code == 0
