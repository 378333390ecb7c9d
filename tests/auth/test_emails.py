"""Whose e-mail address is taken from a token: only one that its issuer says it verified."""

import json
from pathlib import Path
from typing import Any

import pytest

from common.auth import issuers
from common.auth.profiles import PROFILES
from tests.auth.support import ask, verifying
from tests.auth.test_profiles import FOLDER, config, minted
from tests.support.oidc import Oidc

EMAIL = "ana@example.com"
VERIFIED = {"email": EMAIL, "email_verified": True}


@pytest.fixture(autouse=True)
def loopback_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """The keys of the test provider stand in for those of an issuer elsewhere."""
    real = issuers.checked_url
    monkeypatch.setattr(issuers, "checked_url", lambda value, name, like="": real(value, name))


async def email(folder: Path, oidc: Oidc, profile: str, more: dict[str, Any], who: int = 0) -> str:
    """The caller's address, of one of the profile's example tokens with more claims."""
    people = [
        token
        for token in json.loads((FOLDER / f"{profile}.json").read_text())["tokens"]
        if isinstance(token["expect"], dict) and token["expect"]["machine"] is bool(who)
    ]
    claims = {
        name: value for name, value in people[0]["claims"].items() if not name.startswith("email")
    }
    token = people[0] | {"claims": claims | more}
    async with verifying(folder, config(profile, oidc, profile=profile)) as verifier:
        return (await ask(verifier, minted(oidc, profile, token))).actor.email


@pytest.mark.parametrize("profile", sorted(set(PROFILES) - {"rfc9068", "entra"}))
async def test_a_verified_one(tmp_path: Path, oidc: Oidc, profile: str) -> None:
    assert await email(tmp_path / "a", oidc, profile, VERIFIED) == EMAIL
    assert await email(tmp_path / "b", oidc, profile, {"email": EMAIL}) == ""
    assert await email(tmp_path / "c", oidc, profile, VERIFIED, who=1) == ""


async def test_entra_verifies_none(tmp_path: Path, oidc: Oidc) -> None:
    """What an administrator of any tenant writes there is nobody's proof."""
    assert await email(tmp_path, oidc, "entra", VERIFIED | {"xms_edov": True}) == ""


@pytest.mark.parametrize(
    "claims",
    [
        {"email": EMAIL, "email_verified": False}, {"email": EMAIL, "email_verified": "true"},
        {"email": EMAIL, "email_verified": 1}, {"email_verified": True},
        {"email": [EMAIL], "email_verified": True}, {"email": 7, "email_verified": True},
        {"email": "ana", "email_verified": True}, {"email": "a@b@c", "email_verified": True},
        {"email": "a na@example.com", "email_verified": True},
        {"email": "gro\u00df@example.com", "email_verified": True},
        {"email": "ana@example.com\u200b", "email_verified": True},
        {"email": "a" * 300 + "@example.com", "email_verified": True},
        {"email": f"{EMAIL} ", "email_verified": True},
    ],
)  # fmt: skip
async def test_anything_else_is_none(tmp_path: Path, oidc: Oidc, claims: dict[str, Any]) -> None:
    assert await email(tmp_path, oidc, "keycloak", claims) == ""
