"""Tokens as Keycloak, Entra, Okta and Auth0 write them, and the strict profile beside them."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from common.auth import issuers
from common.auth.profiles import PROFILES
from tests.auth.support import INVENTORY, ask, reason, verifying
from tests.support.oidc import Oidc

FOLDER = Path(__file__).parent / "profiles"


def fixtures() -> Iterator[Any]:
    for file in sorted(FOLDER.glob("*.json")):
        for token in json.loads(file.read_text())["tokens"]:
            yield pytest.param(file.stem, token, id=f"{file.stem}: {token['name']}")


def config(file: str, oidc: Oidc, *, profile: str) -> str:
    found = json.loads((FOLDER / f"{file}.json").read_text())
    lines = [
        "[[issuers]]", f"url = {json.dumps(found['issuer'])}", f'profile = "{profile}"',
        f'jwks_uri = "{oidc.issuer}/jwks"',
    ]  # fmt: skip
    tables = []
    for name, value in found["settings"].items():
        if isinstance(value, dict):
            tables.append(f"[issuers.{name}]")
            tables += [f"{json.dumps(key)} = {json.dumps(each)}" for key, each in value.items()]
        else:
            lines.append(f"{name} = {json.dumps(value)}")
    return "\n".join([*lines, *tables])


def minted(oidc: Oidc, profile: str, token: dict[str, Any]) -> str:
    issuer, now = json.loads((FOLDER / f"{profile}.json").read_text())["issuer"], int(time.time())

    def filled(value: Any) -> Any:
        if isinstance(value, list):
            return [filled(each) for each in value]
        if isinstance(value, str) and value[0] in "+-" and value[1:].isdigit():
            return now + int(value)
        names = {"$ISS": issuer, "$AUD": INVENTORY}
        return names.get(value, value) if isinstance(value, str) else value

    claims = {name: filled(value) for name, value in token["claims"].items()}
    return oidc.mint(claims, json.dumps(token["header"]))


@pytest.fixture(autouse=True)
def loopback_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """The keys of the test provider stand in for those of an issuer elsewhere."""
    real = issuers.checked_url
    monkeypatch.setattr(issuers, "checked_url", lambda value, name, like="": real(value, name))


@pytest.mark.parametrize(("profile", "token"), list(fixtures()))
async def test_by_its_own_profile(
    tmp_path: Path, oidc: Oidc, profile: str, token: dict[str, Any]
) -> None:
    signed, expected = minted(oidc, profile, token), token["expect"]
    async with verifying(tmp_path, config(profile, oidc, profile=profile)) as who:
        if isinstance(expected, str):
            assert await reason(who, signed) == expected
            return
        actor = (await ask(who, signed)).actor
        assert {
            "subject": actor.subject, "client": actor.client, "machine": actor.machine,
            "scopes": sorted(actor.scopes),
        } == expected  # fmt: skip


@pytest.mark.parametrize("other", sorted(set(PROFILES) - {"auth0"}))
async def test_no_profile_takes_what_another_writes(tmp_path: Path, oidc: Oidc, other: str) -> None:
    """But Auth0's own RFC 9068 dialect, which the strict profile takes: that is what it is for."""
    for file in sorted(FOLDER.glob("*.json")):
        if file.stem == other:
            continue
        text = config(file.stem, oidc, profile=other)
        async with verifying(tmp_path / file.stem, text) as who:
            for token in json.loads(file.read_text())["tokens"]:
                found = await reason(who, minted(oidc, file.stem, token))
                dialect = other == "rfc9068" and token["header"].get("typ") == "at+jwt"
                assert (found == "accepted") == dialect, (file.stem, token["name"], found)
