"""Every bad token is refused for its own reason, no good one is, and nothing crashes."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from common.auth.authenticator import Composed
from tests.auth.attacks import ACCEPTED, REFUSED, Forge
from tests.auth.support import INVENTORY, ask, issuer, reason, verifying
from tests.support.oidc import Oidc


@pytest.fixture
async def who(tmp_path: Path, oidc: Oidc) -> AsyncIterator[Composed]:
    async with verifying(tmp_path, issuer(oidc.issuer)) as made:
        yield made


async def test_bad_tokens(who: Composed, oidc: Oidc) -> None:
    wrong = {
        name: got
        for name, forge, expected in REFUSED
        if (got := await reason(who, forge(oidc, INVENTORY))) != expected
    }
    assert not wrong


@pytest.mark.parametrize("forge", [pytest.param(forge, id=name) for name, forge in ACCEPTED])
async def test_good_tokens(who: Composed, oidc: Oidc, forge: Forge) -> None:
    caller = await ask(who, forge(oidc, INVENTORY))
    assert caller.audience == INVENTORY
    assert caller.actor.issuer == oidc.issuer
    assert caller.method == "token"


def test_the_list_is_long_enough_to_mean_something() -> None:
    numbers = {int(name.split()[0]) for name, *_ in REFUSED}
    elsewhere = {21, 40, 51, 52, 60, 61, 62, 63}  # good ones, and tests of keys and revocation
    assert numbers | elsewhere == set(range(1, 64))
