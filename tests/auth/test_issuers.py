"""The issuers file: what it may say, what it must not, and what it does to a token."""

from pathlib import Path

import pytest

from common.auth.issuers import IssuersUnusable, read, trusted
from common.settings import HttpSettings
from tests.auth.support import INVENTORY, PUBLIC, ask, http_settings, issuer, reason, verifying
from tests.support.oidc import Oidc, provider


def test_our_own_alone_when_nothing_is_said(tmp_path: Path) -> None:
    [own] = trusted(http_settings(tmp_path))
    assert own.url == PUBLIC
    assert own.local
    assert own.profile.name == "rfc9068"
    assert trusted(http_settings(tmp_path, auth_server=False)) == []


def test_our_own_beside_those_of_the_file(tmp_path: Path) -> None:
    text = issuer("https://login.example")
    both = trusted(http_settings(tmp_path, text, auth_server=True))
    assert [(each.url, each.local) for each in both] == [
        ("https://login.example", False), (PUBLIC, True)
    ]  # fmt: skip
    [named] = trusted(http_settings(tmp_path, issuer(PUBLIC), auth_server=True))
    assert named.local


WRONG = {
    "nothing in it": ("", "1 to 16 tables"),
    "not TOML": ("[[issuers]", "not TOML"),
    "something else": ('[[issuers]]\nurl="https://a.example"\n[other]\n', "nothing else"),
    "a table": ('[issuers]\nurl="https://a.example"', "1 to 16 tables"),
    "texts": ('issuers = ["https://a.example"]', "issuer 1: it must be a table"),
    "too many": (issuer("https://a.example") * 17, "1 to 16 tables"),
    "twice": (issuer("https://a.example") * 2, "twice"),
    "no url": ('[[issuers]]\nprofile="okta"', "url must be"),
    "in the clear": (issuer("http://login.example"), "https://"),
    "an address of the network": (issuer("http://192.0.2.1"), "https://"),
    "no host": (issuer("https:///x"), "not a URL"),
    "a user": (issuer("https://me:secret@a.example"), "not a URL"),
    "a port": (issuer("https://a.example:x"), "not a URL"),
    "a bar": (issuer("https://a.example/|b"), "URL"),
    "a file": (issuer("file:///etc/passwd"), "not a URL"),
    "an unknown profile": (issuer("https://a.example", profile="github"), "one of rfc9068"),
    "an unknown key": (issuer("https://a.example", audiance="x"), "unknown key 'audiance'"),
    "keys in the clear": (issuer("https://a.example", jwks_uri="http://a.example/k"), "https://"),
    "keys on this machine": (issuer("https://a.example", jwks_uri="http://127.0.0.1/k"), "https"),
    "clients a text": (issuer("https://a.example", clients="a"), "clients must be a list"),
    "an unknown scope": (
        issuer("https://a.example") + '[issuers.scopes]\n"x" = ["inventory:steal"]',
        "no scope 'inventory:steal'",
    ),
    "users a list": (issuer("https://a.example") + 'users = ["ana"]', "tables of names"),
    "audiences a text": (issuer("https://a.example", audiences="x"), "must be a table"),
    "introspection without a secret": (
        issuer("https://a.example") + '[issuers.introspection]\nclient_id = "x"', "needs client_id"
    ),
    "introspection with the secret inside": (
        issuer("https://a.example") + '[issuers.introspection]\nclient_secret = "x"', "unknown key"
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("text", "said"), [pytest.param(*case, id=name) for name, case in WRONG.items()]
)
def test_files_that_cannot_be_used(tmp_path: Path, text: str, said: str) -> None:
    settings = http_settings(tmp_path, text)
    with pytest.raises(IssuersUnusable) as error:
        trusted(settings)
    assert said in str(error.value)
    assert str(tmp_path / "issuers.toml") in str(error.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(IssuersUnusable, match="No such file"):
        read(tmp_path / "none.toml", HttpSettings.load({}))


def test_two_cannot_both_be_shown_opaque_tokens(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s")
    asking = '[issuers.introspection]\nclient_id = "x"\nclient_secret_file = "secret"\n'
    text = issuer("https://a.example") + asking + issuer("https://b.example") + asking
    with pytest.raises(IssuersUnusable, match="only one issuer"):
        trusted(http_settings(tmp_path, text))


def test_a_secret_is_not_shown(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("hush\n")
    asking = '[issuers.introspection]\nclient_id = "x"\nclient_secret_file = "secret"\n'
    [found] = trusted(http_settings(tmp_path, issuer("https://a.example") + asking))
    assert found.introspection is not None
    assert found.introspection.client_secret == "hush"
    assert "hush" not in repr(found)


# -- what it does ------------------------------------------------------------------------------


async def test_several_issuers_and_nobody_elses(tmp_path: Path, oidc: Oidc) -> None:
    with provider() as second, provider() as stranger:
        async with verifying(tmp_path, issuer(oidc.issuer) + issuer(second.issuer)) as who:
            for each in (oidc, second):
                caller = await ask(who, each.machine_token(INVENTORY))
                assert caller.actor.issuer == each.issuer
                assert caller.actor.id == f"{each.issuer}|probe"
            assert await reason(who, stranger.machine_token(INVENTORY)) == "issuer"
            # One trusted issuer cannot speak for another.
            claims = second.claims(INVENTORY, iss=oidc.issuer)
            assert await reason(who, second.mint(claims)) == "key"
            kid = oidc.key()["kid"]
            assert await reason(who, second.mint(claims, {"kid": kid})) == "signature"


async def test_audiences_by_server(tmp_path: Path, oidc: Oidc) -> None:
    text = issuer(oidc.issuer, audience="api://shop") + (
        '[issuers.audiences]\npayments = "api://money"\n'
    )
    async with verifying(tmp_path, text) as who:
        shop, money = (oidc.mint(oidc.claims(aud)) for aud in ("api://shop", "api://money"))
        payments = f"{PUBLIC}/payments/mcp"
        assert await reason(who, shop, INVENTORY) == "accepted"
        assert await reason(who, shop, payments) == "audience"
        assert await reason(who, money, payments) == "accepted"
        assert await reason(who, money, INVENTORY) == "audience"
        assert (await ask(who, money, payments)).audience == payments
        assert await reason(who, oidc.mint(oidc.claims(INVENTORY))) == "audience"
        assert await reason(who, shop, f"{PUBLIC}/api-keys") == "audience", "said by itself or not"


async def test_users_clients_and_names_of_scopes(tmp_path: Path, oidc: Oidc) -> None:
    text = issuer(oidc.issuer) + (
        'clients = ["desktop"]\n'
        '[issuers.scopes]\n"Clerk" = ["inventory:read", "inventory:write"]\n'
        '[issuers.users]\n"ana@example.com" = ["inventory:read", "orders:read"]\n"new" = []\n'
    )
    async with verifying(tmp_path, text) as who:

        async def held(**claims: str) -> list[str]:
            caller = await ask(who, oidc.mint(oidc.claims(INVENTORY, **claims)))
            return sorted(caller.actor.scopes)

        assert await held(scope="Clerk") == ["inventory:read"]
        assert await held(scope="orders:read Clerk") == ["inventory:read", "orders:read"]
        assert await held(scope="Clerk", sub="new") == []
        for wrong in ({"sub": "kim@example.com"}, {"client_id": "another"}):
            assert await reason(who, oidc.mint(oidc.claims(INVENTORY, **wrong))) == "identity"


async def test_a_subject_by_another_claim(tmp_path: Path, oidc: Oidc) -> None:
    async with verifying(tmp_path, issuer(oidc.issuer, subject="email")) as who:
        right = {"sub": "7ddaf89f", "email": "ana@example.com", "email_verified": True}
        caller = await ask(who, oidc.mint(oidc.claims(INVENTORY, **right)))
        assert caller.actor.subject == "ana@example.com"
        for change in ({"email_verified": None}, {"email_verified": "true"}, {"email": None}):
            wrong = oidc.mint(oidc.claims(INVENTORY, **right | change))
            assert await reason(who, wrong) == "identity"
        machine = await ask(who, oidc.machine_token(INVENTORY))
        assert machine.actor.subject == "probe"
        assert machine.actor.machine
