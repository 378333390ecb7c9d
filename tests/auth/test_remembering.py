"""A token verified once is not verified again, and yet never good for longer."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from common.auth import tokens
from common.auth.authenticator import Composed
from common.auth.jwks import FRESH_S
from common.clock import utc_now
from tests.auth.support import INVENTORY, PUBLIC, Tick, ask, issuer, reason, verifying
from tests.support.oidc import Oidc
from tests.support.shop import MovingClock


@pytest.fixture
def clock() -> MovingClock:
    return MovingClock(utc_now())


@pytest.fixture
def tick() -> Tick:
    return Tick()


@pytest.fixture
async def who(
    tmp_path: Path, oidc: Oidc, clock: MovingClock, tick: Tick
) -> AsyncIterator[Composed]:
    async with verifying(tmp_path, issuer(oidc.issuer), clock=clock, tick=tick) as made:
        yield made


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """One entry for each signature that was checked."""
    found: list[Any] = []
    real = tokens.jwt.decode

    def counting(*args: Any, **kwargs: Any) -> Any:
        found.append(args)
        return real(*args, **kwargs)

    monkeypatch.setattr(tokens.jwt, "decode", counting)
    return found


async def test_verified_once(who: Composed, oidc: Oidc, decoded: list[Any]) -> None:
    token = oidc.machine_token(INVENTORY)
    callers = {await ask(who, token) for _ in range(50)}
    assert len(callers) == 1
    assert len(decoded) == 1


async def test_not_for_another_audience(who: Composed, oidc: Oidc) -> None:
    token = oidc.machine_token(INVENTORY)
    assert await reason(who, token) == "accepted"
    assert await reason(who, token, f"{PUBLIC}/payments/mcp") == "audience"
    assert await reason(who, token) == "accepted"


async def test_not_past_its_expiry(who: Composed, oidc: Oidc, clock: MovingClock) -> None:
    token = oidc.machine_token(INVENTORY)
    caller = await ask(who, token)
    clock.forward(seconds=caller.expires_at - clock.now.timestamp() - 1)
    assert await reason(who, token) == "accepted"
    clock.forward(seconds=2)
    assert await reason(who, token) == "expired"


async def test_not_past_the_freshness_of_its_key(
    who: Composed, oidc: Oidc, tick: Tick, decoded: list[Any]
) -> None:
    token = oidc.machine_token(INVENTORY)
    await ask(who, token)
    tick.forward(FRESH_S - 1)
    await ask(who, token)
    assert len(decoded) == 1
    tick.forward(2)
    await ask(who, token)
    assert len(decoded) == 2


async def test_bad_ones_are_not_remembered_as_good(who: Composed, oidc: Oidc) -> None:
    good = oidc.machine_token(INVENTORY)
    await ask(who, good)
    for bad in (good[:-5], good + "A", good.swapcase()):
        assert await reason(who, bad) != "accepted"


async def test_a_bounded_number(
    who: Composed, oidc: Oidc, monkeypatch: pytest.MonkeyPatch, decoded: list[Any]
) -> None:
    monkeypatch.setattr(tokens, "MOST_REMEMBERED", 3)
    held = [oidc.mint(oidc.claims(INVENTORY)) for _ in range(5)]
    for token in held:
        await ask(who, token)
    assert len(who.verifier._remembered) == 3
    await ask(who, held[4])
    assert len(decoded) == 5
    await ask(who, held[0])
    assert len(decoded) == 6


async def test_expires_at_allows_for_clocks_that_differ(who: Composed, oidc: Oidc) -> None:
    """Who checks the expiry again must not refuse what was accepted."""
    claims = oidc.claims(INVENTORY)
    caller = await ask(who, oidc.mint(claims))
    assert caller.expires_at == claims["exp"] + tokens.LEEWAY_S
