"""A shop whose tokens come from the test provider, and a clock for its caches."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from common.auth import Caller, CredentialsRefused
from common.auth.authenticator import Composed, authenticator
from common.clock import utc_now
from common.settings import HttpSettings
from tests.support.shop import a_shop

PUBLIC = "http://127.0.0.1:8300"
INVENTORY = f"{PUBLIC}/inventory/mcp"


class Tick:
    """Seconds that pass when a test says so: what caches and fetches are timed by."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now

    def forward(self, seconds: float) -> None:
        self.now += seconds


def http_settings(folder: Path, issuers: str | None = None, **changes: Any) -> HttpSettings:
    """The HTTP settings of a shop, with an issuers file of this text."""
    found = HttpSettings.load({})
    if issuers is not None:
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / "issuers.toml"
        file.write_text(issuers)
        found = replace(found, issuers_file=file, auth_server=False)
    return replace(found, **changes)


def issuer(url: str, **more: str) -> str:
    """One issuer of an issuers file."""
    lines = [f'{name} = "{value}"' for name, value in {"url": url, **more}.items()]
    return "\n".join(["[[issuers]]", *lines, ""])


@asynccontextmanager
async def verifying(
    folder: Path, issuers: str | None, *, tick: Tick | None = None, **more: Any
) -> AsyncIterator[Composed]:
    """The authenticator of a new shop."""
    settings = http_settings(folder, issuers)
    async with a_shop(folder, clock=more.pop("clock", utc_now), http=settings) as shop:
        made = authenticator(shop, tick=tick or Tick(), **more)
        try:
            yield made
        finally:
            await made.close()


async def ask(who: Composed, token: str | bytes, audience: str = INVENTORY) -> Caller:
    """As the gate does, with one bearer token."""
    data = token.encode() if isinstance(token, str) else token
    caller = await who.authenticate([(b"authorization", b"Bearer " + data)], audience=audience)
    assert caller is not None
    return caller


async def reason(who: Composed, token: str | bytes, audience: str = INVENTORY) -> str:
    """Why a token is refused, in one word; ``accepted`` if it is not."""
    try:
        await ask(who, token, audience)
    except CredentialsRefused as error:
        said = error
    else:
        return "accepted"
    assert said.description.isascii()
    assert not set(said.description) & set('"\\')
    return said.reason
