"""Opaque tokens: asked about, remembered for a moment, refused when in doubt."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from common.auth import IssuerUnavailable
from common.auth.authenticator import Composed
from common.auth.fetching import FetchFailed
from common.auth.introspection import ACTIVE_S, INACTIVE_S
from tests.auth.support import INVENTORY, Tick, ask, issuer, reason, verifying
from tests.support.oidc import RESOURCE_SERVER, Oidc

OPAQUE = "http://127.0.0.1:8300/claims/mcp"


def config(oidc: Oidc, folder: Path) -> str:
    folder.mkdir(exist_ok=True)
    (folder / "secret").write_text(RESOURCE_SERVER[1] + "\n")
    return f"""{issuer(oidc.issuer)}
[issuers.introspection]
client_id = "{RESOURCE_SERVER[0]}"
client_secret_file = "secret"
"""


@pytest.fixture
def opaque(oidc: Oidc) -> str:
    oidc.add_resources({OPAQUE: {"scope": "claims:read claims:write", "format": "opaque"}})
    return OPAQUE


@pytest.fixture
def tick() -> Tick:
    return Tick()


@pytest.fixture
async def who(tmp_path: Path, oidc: Oidc, opaque: str, tick: Tick) -> AsyncIterator[Composed]:
    async with verifying(tmp_path, config(oidc, tmp_path), tick=tick) as made:
        yield made


async def test_a_living_token(who: Composed, oidc: Oidc) -> None:
    caller = await ask(who, oidc.machine_token(OPAQUE, "claims:read"), OPAQUE)
    assert caller.method == "introspected"
    assert caller.actor.machine
    assert caller.actor.scopes == {"claims:read"}
    assert caller.actor.issuer == oidc.issuer
    person = await ask(who, oidc.user_token("ana@example.com", OPAQUE), OPAQUE)
    assert (person.actor.subject, person.actor.machine) == ("ana@example.com", False)
    assert person.actor.client == "desktop"


async def test_signed_tokens_beside_them(who: Composed, oidc: Oidc) -> None:
    assert (await ask(who, oidc.machine_token(INVENTORY))).method == "token"


async def test_for_another_server(who: Composed, oidc: Oidc) -> None:
    token = oidc.machine_token(OPAQUE)
    assert await reason(who, token, INVENTORY) == "audience"


async def test_taken_back(who: Composed, oidc: Oidc, tick: Tick) -> None:
    token = oidc.machine_token(OPAQUE)
    await ask(who, token, OPAQUE)
    oidc.revoke(token)
    tick.forward(ACTIVE_S - 1)
    assert await reason(who, token, OPAQUE) == "accepted"
    tick.forward(2)
    assert await reason(who, token, OPAQUE) == "inactive"


@pytest.mark.parametrize(
    "token", ["x" * 40, "a.b", "a.b.c.d", "short", "spa ce" * 8, "x" * 4_000, "é" * 20, "a=b" * 9]
)
async def test_what_nobody_issued(who: Composed, token: str) -> None:
    assert await reason(who, token, OPAQUE) in {"inactive", "malformed"}


# -- answers a bad or broken issuer could give -------------------------------------------------


@dataclass
class Answering:
    who: Composed
    asked: list[dict[str, str]]
    answer: dict[str, Any] | Exception


RIGHT: dict[str, Any] = {
    "active": True, "aud": OPAQUE, "client_id": "desktop", "sub": "ana", "scope": "claims:read",
}  # fmt: skip


@pytest.fixture
def answering(who: Composed, monkeypatch: pytest.MonkeyPatch) -> Answering:
    found = Answering(who, [], {})

    async def post(url: str, form: dict[str, str], basic: tuple[str, str]) -> dict[str, Any]:
        found.asked.append(form)
        assert basic == RESOURCE_SERVER
        if isinstance(found.answer, Exception):
            raise found.answer
        return found.answer

    monkeypatch.setattr(who._fetcher, "post", post)
    return found


TOKEN = "0123456789-opaque-and-long-enough"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"active": "true"}, "inactive"),
        ({"active": 1}, "inactive"),
        ({"active": None}, "inactive"),
        ({"aud": None}, "audience"),
        ({"aud": [OPAQUE + "/"]}, "audience"),
        ({"iss": "https://evil.example"}, "issuer"),
        ({"exp": 1}, "expired"),
        ({"exp": "soon"}, "time"),
        ({"nbf": 10**12}, "early"),
        ({"cnf": {"jkt": "x"}}, "bound"),
        ({"token_type": "DPoP"}, "type"),
        ({"token_type": ["Bearer"]}, "type"),
        ({"client_id": None}, "identity"),
        ({"sub": "a\0b"}, "identity"),
        ({"scope": ["claims:read"]}, "scope"),
    ],
)
async def test_answers_that_are_not_enough(
    answering: Answering, change: dict[str, Any], expected: str
) -> None:
    answering.answer = {k: v for k, v in (RIGHT | change).items() if v is not None}
    assert await reason(answering.who, TOKEN, OPAQUE) == expected


async def test_the_least_that_is_enough(answering: Answering) -> None:
    answering.answer = RIGHT
    assert await reason(answering.who, TOKEN, OPAQUE) == "accepted"
    assert answering.asked == [{"token": TOKEN, "token_type_hint": "access_token"}]


async def test_no_answer_is_no_yes(answering: Answering) -> None:
    answering.answer = FetchFailed("away")
    with pytest.raises(IssuerUnavailable):
        await ask(answering.who, TOKEN, OPAQUE)
    answering.answer = RIGHT
    assert await reason(answering.who, TOKEN, OPAQUE) == "accepted"
    answering.answer = FetchFailed("away")  # and what is remembered lasts its moment
    assert await reason(answering.who, TOKEN, OPAQUE) == "accepted"


async def test_asked_seldom(answering: Answering, tick: Tick) -> None:
    answering.answer = {"active": False}
    for _ in range(20):
        assert await reason(answering.who, TOKEN, OPAQUE) == "inactive"
    assert len(answering.asked) == 1
    tick.forward(INACTIVE_S)
    answering.answer = RIGHT
    for _ in range(20):
        assert await reason(answering.who, TOKEN, OPAQUE) == "accepted"
    assert len(answering.asked) == 2
