"""What was taken back is refused: at once where it was remembered, and in every worker soon."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.orm import Session
from typer.testing import CliRunner, Result

from clients.cli import app
from common.auth import IssuerUnavailable, revocation
from common.auth.authenticator import Composed, authenticator
from common.auth.revocation import LEEWAY, SEEN_AFTER_S, Named, RevocationsUnknown
from common.clock import utc_now
from common.errors import InvalidParameters
from common.shop import Shop
from common.tables.auth_tokens import AuthDenial
from tests.auth.support import INVENTORY, PUBLIC, Tick, ask, http_settings, issuer, reason
from tests.support.oidc import Oidc
from tests.support.shop import a_shop, begin, look


@dataclass
class World:
    shop: Shop
    who: Composed
    tick: Tick
    oidc: Oidc

    async def deny(self, kind: str, value: str, **more: object) -> None:
        rule = getattr(revocation, f"deny_{kind}")
        now = utc_now()
        await self.shop.database.run(
            "*",
            lambda session: rule(
                session, now, self.oidc.issuer, value, reason="a test", by="kim", **more
            ),
        )


@pytest.fixture
async def world(tmp_path: Path, oidc: Oidc) -> AsyncIterator[World]:
    tick, settings = Tick(), http_settings(tmp_path, issuer(oidc.issuer))
    async with a_shop(tmp_path, clock=utc_now, http=settings) as shop:
        who = authenticator(shop, tick=tick)
        yield World(shop, who, tick, oidc)
        await who.close()


async def test_one_token(world: World) -> None:
    gone, other = (world.oidc.machine_token(INVENTORY) for _ in range(2))
    jti = (await ask(world.who, gone)).credential_id
    await ask(world.who, other)
    await world.deny("token", jti)
    world.tick.forward(SEEN_AFTER_S)
    assert await reason(world.who, gone) == "revoked"
    assert await reason(world.who, gone) == "revoked"
    assert await reason(world.who, other) == "accepted"


@pytest.mark.parametrize("kind", ["subject", "client"])
async def test_all_tokens_until_now(world: World, kind: str) -> None:
    def mint(ago: int) -> str:
        now = int(utc_now().timestamp())
        claims = world.oidc.claims(INVENTORY, sub="leaver", client_id="lost laptop")
        return world.oidc.mint(claims | {"iat": now - ago, "exp": now + 300})

    old, new = mint(20), mint(-20)
    other = world.oidc.mint(world.oidc.claims(INVENTORY))
    for each in (old, new, other):
        await ask(world.who, each)
    named = {"subject": "leaver", "client": "lost laptop"}[kind]
    await world.deny(kind, named, before=utc_now())
    world.tick.forward(SEEN_AFTER_S)
    assert await reason(world.who, old) == "revoked"
    assert await reason(world.who, new) == "accepted"
    assert await reason(world.who, other) == "accepted"


@pytest.mark.parametrize("kind", ["subject", "client"])
async def test_an_issuers_clock_may_be_ahead(world: World, kind: str) -> None:
    """Whatever of it is accepted now is denied now."""
    claims = world.oidc.claims(INVENTORY, sub="leaver", client_id="lost laptop")
    now = int(utc_now().timestamp())
    ahead = world.oidc.mint(claims | {"iat": now + 20, "exp": now + 300})
    assert await reason(world.who, ahead) == "accepted"
    await world.deny(kind, {"subject": "leaver", "client": "lost laptop"}[kind])
    world.tick.forward(SEEN_AFTER_S)
    assert await reason(world.who, ahead) == "revoked"


async def test_another_issuers_namesake_is_not_meant(world: World) -> None:
    good = world.oidc.mint(world.oidc.claims(INVENTORY, jti="the-id"))
    now = utc_now()
    await world.shop.database.run(
        "*",
        lambda session: revocation.deny_token(
            session, now, "https://other.example", "the-id", reason="", by=""
        ),
    )
    assert await reason(world.who, good) == "accepted"


async def test_a_token_without_an_id_is_denied_by_its_hash(tmp_path: Path, oidc: Oidc) -> None:
    settings = http_settings(tmp_path, issuer(oidc.issuer, profile="auth0"))
    async with a_shop(tmp_path, clock=utc_now, http=settings) as shop:
        tick = Tick()
        who = authenticator(shop, tick=tick)
        token = oidc.mint(oidc.claims(INVENTORY, jti=None, azp="desktop"), {"typ": "JWT"})
        id = (await ask(who, token)).credential_id
        assert id.startswith("sha256:")
        await World(shop, who, tick, oidc).deny("token", id)
        tick.forward(SEEN_AFTER_S)
        assert await reason(who, token) == "revoked"
        await who.close()


async def test_another_worker_sees_it(world: World, oidc: Oidc) -> None:
    token = oidc.machine_token(INVENTORY)
    tick = Tick()
    other = authenticator(world.shop, tick=tick)
    jti = (await ask(other, token)).credential_id
    await world.deny("token", jti)
    assert await reason(other, token) == "accepted"  # it looks again in a moment
    tick.forward(SEEN_AFTER_S)
    assert await reason(other, token) == "revoked"
    await other.close()


async def test_more_denials_than_are_kept_in_memory(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(revocation, "MOST_KNOWN", 3)
    gone, other = (world.oidc.machine_token(INVENTORY) for _ in range(2))
    jti = (await ask(world.who, gone)).credential_id
    for number in range(5):
        await world.deny("token", f"another {number}")
    await world.deny("token", jti)
    world.tick.forward(SEEN_AFTER_S)
    assert await reason(world.who, gone) == "revoked"
    assert await reason(world.who, other) == "accepted"


async def test_nothing_is_accepted_while_the_database_does_not_answer(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = world.oidc.machine_token(INVENTORY)
    await ask(world.who, token)

    async def away(*_: object, **__: object) -> None:
        raise RuntimeError("away")

    with monkeypatch.context() as patched:
        patched.setattr(world.shop.database, "run", away)
        assert await reason(world.who, token) == "accepted"
        world.tick.forward(SEEN_AFTER_S)
        for _ in range(3):
            with pytest.raises(IssuerUnavailable) as error:
                await ask(world.who, token)
            assert isinstance(error.value, RevocationsUnknown)
    assert await reason(world.who, token) == "accepted"


async def test_a_slow_read_refuses_nobody_but_the_denied(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What counts is when the read began, not how long it took."""
    gone, other = (world.oidc.machine_token(INVENTORY) for _ in range(2))
    jti = (await ask(world.who, gone)).credential_id
    await world.deny("token", jti)
    run = world.shop.database.run

    async def slow(*parts: Any, **more: Any) -> Any:
        found = await run(*parts, **more)
        world.tick.forward(10 * SEEN_AFTER_S)
        return found

    world.tick.forward(SEEN_AFTER_S)
    monkeypatch.setattr(world.shop.database, "run", slow)
    assert await reason(world.who, other) == "accepted"
    assert await reason(world.who, gone) == "revoked"


async def test_a_read_that_began_long_before_the_caller_came_is_not_enough(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone, other = (world.oidc.machine_token(INVENTORY) for _ in range(2))
    jti = (await ask(world.who, gone)).credential_id
    run, read, go_on = world.shop.database.run, asyncio.Event(), asyncio.Event()

    async def held(*parts: Any, **more: Any) -> Any:
        found = await run(*parts, **more)
        read.set()
        await go_on.wait()
        return found

    world.tick.forward(SEEN_AFTER_S)
    with monkeypatch.context() as patched:
        patched.setattr(world.shop.database, "run", held)
        first = asyncio.create_task(reason(world.who, other))
        await read.wait()
    await world.deny("token", jti)
    world.tick.forward(SEEN_AFTER_S)
    late = asyncio.create_task(reason(world.who, gone))
    await asyncio.sleep(0)
    go_on.set()
    assert await first == "accepted"
    assert await late == "revoked"


async def test_nobody_waits_for_ever(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    token = world.oidc.machine_token(INVENTORY)
    await ask(world.who, token)
    world.tick.forward(SEEN_AFTER_S)
    monkeypatch.setattr(revocation, "LONGEST_WAIT_S", 0.01)
    hung = asyncio.Event()

    async def hangs(*_: object, **__: object) -> dict[str, float]:
        await hung.wait()
        return {}

    with monkeypatch.context() as patched:
        patched.setattr(world.shop.database, "run", hangs)
        with pytest.raises(RevocationsUnknown):
            await ask(world.who, token)
    hung.set()


# -- the rules themselves ----------------------------------------------------------------------

NOW = datetime(2026, 11, 2, 9, 0, tzinfo=UTC)
ISSUER = "https://login.example"


async def test_denials_end_when_the_tokens_would_have(tmp_path: Path) -> None:
    async with a_shop(tmp_path) as shop:

        def rules(session: Session) -> None:
            revocation.deny_token(
                session, NOW, ISSUER, "a", reason="", by="", expires_at=NOW + timedelta(minutes=5)
            )
            revocation.deny_subject(session, NOW, ISSUER, "kim", reason="", by="")

        await shop.database.run("*", rules)
        token = Named(ISSUER, "a", "ana", "desktop", NOW.timestamp() - 60)

        async def denied(after: timedelta) -> bool:
            return await look(shop, lambda s: revocation.denied(s, NOW + after, token))

        assert await denied(timedelta(minutes=20, seconds=59)), "what was begun with it ended"
        assert not await denied(timedelta(minutes=21, seconds=1))

        async def swept(after: timedelta) -> int:
            return await shop.database.run("*", lambda s: revocation.sweep(s, NOW + after))

        assert await swept(timedelta(minutes=20)) == 0
        assert await swept(timedelta(minutes=22)) == 1
        assert await swept(timedelta(hours=24)) == 0
        assert await swept(timedelta(hours=25)) == 1


async def test_a_second_denial_only_ever_denies_more(tmp_path: Path) -> None:
    async with a_shop(tmp_path) as shop:

        def twice(session: Session) -> AuthDenial:
            revocation.deny_subject(session, NOW, ISSUER, "kim", reason="left", by="ana")
            return revocation.deny_subject(
                session, NOW, ISSUER, "kim", reason="x", by="x", before=NOW - timedelta(hours=1)
            )

        row = await shop.database.run("*", twice)
        assert row.before == NOW + LEEWAY
        assert row.reason == "left"


# -- at a terminal -----------------------------------------------------------------------------


def shop_command(folder: Path, *words: str, **environment: str) -> Result:
    variables = {"SHOP_HOME": str(folder), "SHOP_OPERATOR": "kim@example.com", "COLUMNS": "200"}
    return CliRunner().invoke(app, words, env=variables | environment)


def test_shop_deny(tmp_path: Path) -> None:
    begin(tmp_path)
    for words in (
        ("token", "the-id", "--reason", "lost laptop"),
        ("person", "ana@example.com"),
        ("client", "desktop"),
    ):
        done = shop_command(tmp_path, "deny", *words)
        assert done.exit_code == 0, done.output
    listed = json.loads(shop_command(tmp_path, "deny", "list", "--json").output)
    assert [(row["kind"], row["value"]) for row in listed] == [
        ("token", "the-id"), ("subject", "ana@example.com"), ("client", "desktop")
    ]  # fmt: skip
    assert {row["issuer"] for row in listed} == {PUBLIC}
    assert listed[0]["reason"] == "lost laptop"
    assert listed[0]["by"] == "kim@example.com"
    assert "lost laptop" in shop_command(tmp_path, "deny", "list").output


def test_shop_deny_needs_to_know_whose_token(tmp_path: Path) -> None:
    begin(tmp_path)
    file = tmp_path / "issuers.toml"
    file.write_text(issuer("https://a.example") + issuer("https://b.example"))
    both = {"SHOP_ISSUERS_FILE": str(file), "SHOP_AUTH_SERVER": "0"}
    for wrong in ((), ("--issuer", "https://c.example")):
        done = shop_command(tmp_path, "deny", "token", "x", *wrong, **both)
        assert isinstance(done.exception, InvalidParameters)
    right = shop_command(tmp_path, "deny", "token", "x", "--issuer", "https://b.example", **both)
    assert right.exit_code == 0
