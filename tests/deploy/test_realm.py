"""Tokens of the realm in deploy/, at the servers of the issuers file beside it."""

import json
import tomllib
from pathlib import Path

import pytest

from common.auth import issuers
from common.scopes import Scope
from servers.run import DOMAINS
from tests.auth.support import ask, http_settings, reason, verifying
from tests.deploy.realm import BUILT_IN, FILE, InvalidScope, Realm, User
from tests.support.oidc import Oidc

HOST = "shop.example.com"
PUBLIC = f"https://{HOST}"
STAFF = User("ana@example.com", "ana@example.com", frozenset({"staff"}))
APPROVER = User("kim@example.com", "kim@example.com", frozenset({"approver"}))
BUYER = User("bob@example.com", "bob@example.com", frozenset({"customer"}))
NOBODY = User("eve@example.com", "eve@example.com")
ROBOT = User("service-account-robot", roles=frozenset({"staff"}))
AGENTS = [str(scope) for scope in Scope if scope is not Scope.APPROVALS_DECIDE]


@pytest.fixture
def realm() -> Realm:
    return Realm(HOST)


@pytest.fixture
def trusted(oidc: Oidc, monkeypatch: pytest.MonkeyPatch) -> str:
    """The issuers file of deploy/, with the keys of the test provider."""
    real = issuers.checked_url
    monkeypatch.setattr(issuers, "checked_url", lambda value, name, like="": real(value, name))
    text = FILE.with_name("issuers.keycloak.toml").read_text()
    return f'{text}jwks_uri = "{oidc.issuer}/jwks"\n'


def signed(oidc: Oidc, realm: Realm, client: str, asked: list[str], user: User) -> str:
    return oidc.mint(realm.claims(client, asked, user), {"typ": "JWT"}, alg="ES256")


def audience(domain: str) -> str:
    return f"{PUBLIC}/{domain}/mcp"


def test_the_issuers_file_names_the_realm(realm: Realm, tmp_path: Path) -> None:
    text = FILE.with_name("issuers.keycloak.toml").read_text()
    assert [each["url"] for each in tomllib.loads(text)["issuers"]] == [realm.issuer]
    settings = http_settings(tmp_path, text)
    assert settings.issuers_file is not None
    assert issuers.read(settings.issuers_file, settings)[0].profile.name == "keycloak"


def test_every_scope_its_role_and_its_audience(realm: Realm) -> None:
    assert {name for name in realm.scopes if ":" in name} == {str(scope) for scope in Scope}
    for scope in Scope:
        domain = str(scope).partition(":")[0]
        place = "console" if domain == "approvals" else f"{domain}/mcp"
        mapper = realm.scopes[scope]["protocolMappers"][0]
        assert mapper["config"]["included.custom.audience"] == f"{PUBLIC}/{place}"
        assert {"clientScope": str(scope), "roles": [str(scope)]} in realm.data["scopeMappings"]


def test_what_is_named_exists(realm: Realm) -> None:
    """Keycloak only warns about a scope that is missing."""
    known = {*realm.scopes, *BUILT_IN}
    assert set(realm.data["defaultDefaultClientScopes"]) <= known
    for client in realm.clients.values():
        assert {*client["defaultClientScopes"], *client["optionalClientScopes"]} <= known
        assert client["attributes"]["pkce.code.challenge.method"] == "S256"
        assert client["publicClient"]
        assert not client["directAccessGrantsEnabled"]
        assert not client["implicitFlowEnabled"]
    for role in realm.roles.values():
        assert set(role.get("composites", {}).get("realm", [])) <= set(realm.roles)


def test_every_value_of_a_configuration_is_a_text() -> None:
    for scope in json.loads(FILE.read_text())["clientScopes"]:
        for mapper in scope["protocolMappers"]:
            assert all(type(value) is str for value in mapper["config"].values()), mapper


@pytest.mark.parametrize("domain", DOMAINS)
async def test_a_token_opens_the_server_it_was_asked_for(
    tmp_path: Path, oidc: Oidc, realm: Realm, trusted: str, domain: str
) -> None:
    asked = [scope for scope in AGENTS if scope.startswith(f"{domain}:")]
    user = BUYER if domain == "storefront" else STAFF
    token = signed(oidc, realm, "shop-agent", ["openid", *asked], user)
    async with verifying(tmp_path, trusted) as who:
        caller = await ask(who, token, audience(domain))
        assert caller.actor.scopes == set(asked)
        assert caller.actor.subject == user.name
        assert caller.actor.client == "shop-agent"
        assert caller.actor.email == user.email
        assert not caller.actor.machine
        assert caller.auth_time > 0
        for other in {*DOMAINS} - {domain}:
            assert await reason(who, token, audience(other)) == "audience"


async def test_roles_decide_what_a_token_holds(
    tmp_path: Path, oidc: Oidc, realm: Realm, trusted: str
) -> None:
    one = User("carl", roles=frozenset({"payments:read"}))
    async with verifying(tmp_path, trusted) as who:
        token = signed(oidc, realm, "shop-agent", ["payments:read", "payments:refund"], one)
        assert (await ask(who, token, audience("payments"))).actor.scopes == {"payments:read"}
        token = signed(oidc, realm, "shop-agent", AGENTS, BUYER)
        assert (await ask(who, token, audience("storefront"))).actor.scopes == {
            scope for scope in AGENTS if scope.startswith("storefront:")
        }
        token = signed(oidc, realm, "shop-agent", AGENTS, NOBODY)
        assert await reason(who, token, audience("payments")) == "audience"


async def test_the_console_takes_approvers_alone(
    tmp_path: Path, oidc: Oidc, realm: Realm, trusted: str
) -> None:
    asked, console = ["openid", "approvals:decide"], f"{PUBLIC}/console"
    async with verifying(tmp_path, trusted) as who:
        caller = await ask(who, signed(oidc, realm, "shop-console", asked, APPROVER), console)
        assert caller.actor.scopes == {"approvals:decide"}
        assert caller.actor.client == "shop-console"
        assert caller.auth_time > 0, "a decision asks how long ago the sign-in was"
        token = signed(oidc, realm, "shop-console", asked, STAFF)
        assert await reason(who, token, console) == "audience"
    with pytest.raises(InvalidScope):
        realm.claims("shop-agent", asked, APPROVER)


async def test_a_program_on_its_own_account_is_no_person(
    tmp_path: Path, oidc: Oidc, realm: Realm, trusted: str
) -> None:
    token = signed(oidc, realm, "shop-agent", ["inventory:read"], ROBOT)
    async with verifying(tmp_path, trusted) as who:
        actor = (await ask(who, token, audience("inventory"))).actor
        assert actor.machine
        assert actor.subject == ROBOT.id


async def test_keys_for_programs_are_asked_for_by_name(
    tmp_path: Path, oidc: Oidc, realm: Realm, trusted: str
) -> None:
    asked = ["inventory:read"]
    async with verifying(tmp_path, trusted) as who:
        token = signed(oidc, realm, "shop-agent", asked, STAFF)
        assert await reason(who, token, f"{PUBLIC}/api-keys") == "audience"
        token = signed(oidc, realm, "shop-agent", [*asked, "api-keys"], STAFF)
        caller = await ask(who, token, f"{PUBLIC}/api-keys")
        assert caller.actor.scopes == {"inventory:read"}
