"""Fixtures for every test. Real parts come from tests/support and start when first asked for."""

import gc
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from common.storage import schema
from tests.support import node as node_support
from tests.support import oidc as oidc_support
from tests.support import postgres as postgres_support
from tests.support import schemas, templates, unavailable
from tests.support.memory import prefer_memory
from tests.support.oidc import Oidc
from tests.support.postgres import Postgres

settings.register_profile("shop", derandomize=True, deadline=None)
settings.load_profile("shop")

RUN = pytest.StashKey[postgres_support.Run]()


def pytest_configure(config: pytest.Config) -> None:
    prefer_memory()
    schemas.remember_valid_ones()
    # The settings of a developer's own shop must not reach the tests.
    for name in list(os.environ):
        if name.startswith("SHOP_") and not name.startswith("SHOP_TEST_"):
            del os.environ[name]
    if not hasattr(config, "workerinput"):
        config.stash[RUN] = postgres_support.Run()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # Files with slow tests first: the last ones to begin decide when the run ends.
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def pytest_collection_finish(session: pytest.Session) -> None:
    # What is loaded stays: looking through it again and again took a tenth of the time.
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    node.workerinput["postgres_folder"] = str(node.config.stash[RUN].folder)


def pytest_unconfigure(config: pytest.Config) -> None:
    if RUN in config.stash:
        config.stash[RUN].close()


@pytest.fixture(scope="session")
def postgres(pytestconfig: pytest.Config) -> Iterator[Postgres]:
    """The run's PostgreSQL server: ``create_database()``, ``copy_of(name, build)``."""
    worker: dict[str, str] = getattr(pytestconfig, "workerinput", {})
    folder = worker.get("postgres_folder") or str(pytestconfig.stash[RUN].folder)
    try:
        url = postgres_support.server_url(folder)
    except postgres_support.Unavailable as error:
        unavailable(str(error))
    server = Postgres(url, worker.get("workerid", "main"))
    yield server
    server.close()


@pytest.fixture
def postgres_url(postgres: Postgres) -> Iterator[str]:
    """``postgresql+asyncpg://…`` of a new, empty database, dropped after the test."""
    url = postgres.create_database()
    yield url
    postgres.drop_database(url)


@pytest.fixture(params=["sqlite", "postgresql"])
def kind(request: pytest.FixtureRequest) -> str:
    """Which database: a test that names it, or ``url``, runs on both."""
    return str(request.param)


CopyOf = Callable[[str, str, Callable[[str], object]], str]


@pytest.fixture
def copy_of(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[CopyOf]:
    """``copy_of(kind, name, build)``: the URL of a copy, for this test, of what ``build(url)``
    made once. ``build`` must close its connections."""
    made: list[str] = []

    def copy(kind: str, name: str, build: Callable[[str], object]) -> str:
        if kind == "sqlite":
            return templates.copied(templates.template(name, build), tmp_path / "shop.db")
        server: Postgres = request.getfixturevalue("postgres")
        made.append(server.copy_of(name, build))
        return made[-1]

    yield copy
    for url in made:
        request.getfixturevalue("postgres").drop_database(url)


@pytest.fixture
def url(kind: str, copy_of: CopyOf) -> str:
    """The URL of a database of either kind, with the schema and nothing in it."""
    return copy_of(kind, "schema", schema.upgrade_now)


@pytest.fixture(scope="session")
def node() -> list[str]:
    """The command that starts Node 22 or newer."""
    try:
        return node_support.node_command()
    except node_support.Unavailable as error:
        unavailable(str(error))


@pytest.fixture(scope="session")
def inspector(node: list[str]) -> list[str]:
    """The command that starts the MCP Inspector's command line; its options follow."""
    try:
        return [*node, str(node_support.npm_install()), "--cli"]
    except node_support.Unavailable as error:
        unavailable(str(error))


@pytest.fixture(scope="session")
def oidc() -> Iterator[Oidc]:
    """An authorization server that is not ours, one for all tests of a worker: do not turn or
    break its keys, ``tests.support.oidc.provider()`` is for that."""
    with ExitStack() as stack:
        try:
            running = stack.enter_context(oidc_support.provider())
        except node_support.Unavailable as error:
            unavailable(str(error))
        yield running
