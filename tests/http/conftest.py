"""One shop of toys, and all seven servers, on a real socket."""

from collections.abc import AsyncIterator
from importlib import import_module
from pathlib import Path

import pytest

from common.shop import Shop
from servers.run import DOMAINS
from tests.support import toy
from tests.support.http import Face, a_face, on_port
from tests.support.shop import a_shop, do, settings_in


@pytest.fixture
async def toys(tmp_path: Path) -> AsyncIterator[Shop]:
    """A stocked shop whose only server is the toy one."""
    http = on_port(settings_in(tmp_path)).http
    async with a_shop(tmp_path, policy_file=toy.policy_in(tmp_path), http=http) as shop:
        await do(shop, "inventory", toy.stocked)
        yield shop


@pytest.fixture
async def face(toys: Shop) -> AsyncIterator[Face]:
    """The toy server over HTTP."""
    async with a_face(toys, [toy.tools]) as face:
        yield face


@pytest.fixture
async def fleet(tmp_path: Path) -> AsyncIterator[Face]:
    """All seven servers of an empty shop over HTTP."""
    http = on_port(settings_in(tmp_path)).http
    async with (
        a_shop(tmp_path, http=http) as shop,
        a_face(shop, [import_module(f"servers.{name}.tools").tools for name in DOMAINS]) as face,
    ):
        yield face
