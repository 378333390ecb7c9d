"""One credential a request, wherever it stands; who it is, or why not."""

import base64
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from common.auth import Authenticator, Caller, CredentialsMalformed, CredentialsRefused
from common.auth.authenticator import Composed, authenticator
from common.call import Actor
from common.clock import utc_now
from tests.auth.support import INVENTORY, http_settings, issuer
from tests.support.oidc import Oidc
from tests.support.shop import a_shop

KEY = "mcp_" + "a" * 43


def caller(method: str, name: str, audience: str) -> Caller:
    return Caller(Actor("local", name, method, frozenset()), method, audience)  # type: ignore[arg-type]


async def key(secret: str, audience: str) -> Caller | None:
    return caller("api_key", "owner", audience) if secret == KEY else None


async def password(name: str, word: str, audience: str) -> Caller | None:
    return caller("basic", name, audience) if word == "right:word" else None


@pytest.fixture
async def who(tmp_path: Path, oidc: Oidc) -> AsyncIterator[Composed]:
    settings = http_settings(tmp_path, issuer(oidc.issuer), auth_basic=True)
    async with a_shop(tmp_path, clock=utc_now, http=settings) as shop:
        made = authenticator(shop, check_key=key, check_password=password)
        yield made
        await made.close()


def basic(text: str) -> bytes:
    return base64.b64encode(text.encode())


async def test_every_kind(who: Composed, oidc: Oidc) -> None:
    found: Authenticator = who
    token = oidc.machine_token(INVENTORY).encode()
    for headers, method in (
        ([(b"authorization", b"Bearer " + token)], "token"),
        ([(b"authorization", b"bEARER " + token)], "token"),
        ([(b"authorization", b"Bearer " + KEY.encode())], "api_key"),
        ([(b"x-mcp-api-key", KEY.encode())], "api_key"),
        ([(b"x-mcp-auth", basic("ana:right:word"))], "basic"),
    ):
        caller = await found.authenticate(
            [(b"host", b"x"), *headers, (b"accept", b"*/*")], audience=INVENTORY
        )
        assert caller is not None
        assert (caller.method, caller.audience) == (method, INVENTORY)


@pytest.mark.parametrize("headers", [[], [(b"authorization", b"Basic YTpi")], [(b"cookie", b"x")]])
async def test_no_credentials(who: Composed, headers: list[tuple[bytes, bytes]]) -> None:
    assert await who.authenticate(headers, audience=INVENTORY) is None


KINDS = [
    (b"authorization", b"Bearer " + KEY.encode()), (b"x-mcp-api-key", KEY.encode()),
    (b"x-mcp-auth", basic("ana:right:word")), (b"authorization", b"Basic YTpi"),
]  # fmt: skip


@pytest.mark.parametrize("first", KINDS)
@pytest.mark.parametrize("second", KINDS)
async def test_two_credentials(
    who: Composed, first: tuple[bytes, bytes], second: tuple[bytes, bytes]
) -> None:
    with pytest.raises(CredentialsMalformed):
        await who.authenticate([first, (b"host", b"x"), second], audience=INVENTORY)


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ((b"authorization", b"Bearer"), "malformed"),
        ((b"authorization", b"Bearer "), "malformed"),
        ((b"authorization", b"Bearer  two-spaces"), "malformed"),
        ((b"authorization", b"Bearer\ttab"), ""),
        ((b"authorization", b"Bearer mcp_wrong"), "api_key"),
        ((b"x-mcp-api-key", b""), "api_key"),
        ((b"x-mcp-api-key", KEY.encode() * 20), "api_key"),
        ((b"x-mcp-api-key", KEY.encode() + b"\xff"), "api_key"),
        ((b"x-mcp-auth", b""), "basic"),
        ((b"x-mcp-auth", b"not base64!"), "basic"),
        ((b"x-mcp-auth", base64.b64encode(b"\xff\xfe")), "basic"),
        ((b"x-mcp-auth", basic("ana")), "basic"),
        ((b"x-mcp-auth", basic(":right:word")), "basic"),
        ((b"x-mcp-auth", basic("ana:")), "basic"),
        ((b"x-mcp-auth", basic("ana:wrong")), "basic"),
        ((b"x-mcp-auth", basic("ana:" + "x" * 5_000)), "basic"),
    ],
)
async def test_bad_credentials(who: Composed, header: tuple[bytes, bytes], reason: str) -> None:
    if not reason:
        assert await who.authenticate([header], audience=INVENTORY) is None
        return
    with pytest.raises(CredentialsRefused) as error:
        await who.authenticate([header], audience=INVENTORY)
    assert error.value.reason == reason


@pytest.mark.parametrize("change", [{"auth_basic": False}, {"host": "0.0.0.0"}])
async def test_passwords_only_where_that_is_set_and_on_this_machine(
    tmp_path: Path, change: dict[str, object]
) -> None:
    settings = replace(http_settings(tmp_path, auth_basic=True), **change)  # type: ignore[arg-type]
    async with a_shop(tmp_path, http=settings) as shop:
        who = authenticator(shop, check_password=password)
        with pytest.raises(CredentialsRefused) as error:
            await who.authenticate([(b"x-mcp-auth", basic("ana:right:word"))], audience=INVENTORY)
        assert error.value.reason == "basic"
