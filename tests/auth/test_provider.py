"""The authorization server the other tests lean on does what they believe."""

import secrets
import time

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet

from tests.support.oidc import (
    ALGORITHMS,
    CALLBACK,
    DESKTOP,
    EVERYTHING,
    READING,
    Oidc,
    Refused,
    provider,
)

INVENTORY = "http://127.0.0.1:8300/inventory/mcp"
CONSOLE = "http://127.0.0.1:8300/console"


def read(oidc: Oidc, token: str) -> jwt.Token:
    keys = KeySet.import_key_set(oidc.http.get(f"{oidc.issuer}/jwks").json())
    return jwt.decode(token, keys, algorithms=list(ALGORITHMS))


def test_a_machine_gets_an_rfc_9068_token_for_one_resource(oidc: Oidc) -> None:
    token = read(oidc, oidc.machine_token(INVENTORY, "inventory:read"))
    assert token.header["typ"] == "at+jwt"
    assert token.claims["iss"] == oidc.issuer
    assert token.claims["aud"] == INVENTORY
    assert token.claims["sub"] == token.claims["client_id"] == "probe"
    assert token.claims["scope"] == "inventory:read"
    with pytest.raises(Refused) as refused:
        oidc.machine_token("http://127.0.0.1:9/other", "inventory:read")
    assert refused.value.body["error"] == "invalid_target"


def test_a_person_is_narrowed_to_what_they_may_grant(oidc: Oidc) -> None:
    token = read(oidc, oidc.user_token("clerk@example.com", INVENTORY))
    assert token.claims["sub"] == "clerk@example.com"
    assert set(token.claims["scope"].split()) <= set(READING)
    assert token.claims["auth_time"] <= time.time() + 1
    kim = read(oidc, oidc.user_token("kim@example.com", CONSOLE))
    assert kim.claims["scope"] == "approvals:decide"
    with pytest.raises(Refused) as refused:
        oidc.sign_in("nobody@example.com", INVENTORY)
    assert refused.value.body["error"] == "access_denied"
    assert refused.value.body["iss"] == oidc.issuer


def test_refresh_tokens_rotate_and_reuse_ends_the_family(oidc: Oidc) -> None:
    first = oidc.sign_in("ana@example.com", INVENTORY)
    second = oidc.refresh(first["refresh_token"])
    assert second["refresh_token"] != first["refresh_token"]
    for used in (first, second):
        with pytest.raises(Refused) as refused:
            oidc.refresh(used["refresh_token"])
        assert refused.value.body["error"] == "invalid_grant"


def test_private_key_jwt(oidc: Oidc) -> None:
    key = ECKey.generate_key("P-256", {"kid": "robot-1", "use": "sig", "alg": "ES256"})
    oidc.add_clients({
        "client_id": "robot", "token_endpoint_auth_method": "private_key_jwt",
        "jwks": {"keys": [key.as_dict(private=False)]}, "redirect_uris": [], "response_types": [],
        "grant_types": ["client_credentials"], "scope": " ".join(EVERYTHING),
    })  # fmt: skip
    now = int(time.time())
    claims = {
        "iss": "robot", "sub": "robot", "aud": oidc.issuer, "iat": now, "exp": now + 60,
        "jti": secrets.token_urlsafe(12),
    }  # fmt: skip
    form = {
        "grant_type": "client_credentials", "resource": INVENTORY, "scope": "inventory:read",
        "client_id": "robot",
        "client_assertion": jwt.encode({"alg": "ES256", "kid": "robot-1"}, claims, key),
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
    }  # fmt: skip
    assert oidc.ask(None, **form)["token_type"] == "Bearer"
    with pytest.raises(Refused):
        oidc.ask(None, **form)
    oidc.reset()


def test_opaque_tokens_are_introspected_and_revoked(oidc: Oidc) -> None:
    oidc.add_resources({"urn:opaque": {"scope": "inventory:read", "format": "opaque"}})
    token = oidc.machine_token("urn:opaque", "inventory:read")
    assert "." not in token
    assert oidc.introspect(token)["aud"] == "urn:opaque"
    oidc.revoke(token)
    assert oidc.introspect(token) == {"active": False}
    oidc.reset()


@pytest.mark.parametrize("alg", ALGORITHMS)
def test_minted_tokens_are_really_signed(oidc: Oidc, alg: str) -> None:
    claims = oidc.claims(INVENTORY, sub="whoever")
    assert read(oidc, oidc.mint(claims, alg=alg)).claims == claims
    oidc.add_resources({INVENTORY: {"scope": "inventory:read", "alg": alg}})
    assert read(oidc, oidc.machine_token(INVENTORY, "inventory:read")).header["alg"] == alg
    oidc.reset()


def test_keys_turn_and_retire() -> None:
    with provider() as own:
        before = own.key()["kid"]
        own.rotate()
        assert own.key()["kid"] != before
        assert before in {key["kid"] for key in own.published()}
        assert [key["kid"] for key in own.retire()] == [before]
        assert before not in {key["kid"] for key in own.published()}
        own.jwks("down")
        assert own.http.get(f"{own.issuer}/jwks").status_code == 503
        assert own.hits() == 1
        assert own.sign_in("ana@example.com", INVENTORY, client=DESKTOP, redirect_uri=CALLBACK)
