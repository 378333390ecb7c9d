"""Which of several hosts a connection goes to. What a cut cable does: tests/hosts."""

import asyncio
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import URL, make_url, text
from sqlalchemy.orm import Session

from common.errors import Busy, StorageFull
from common.storage import hot
from common.storage import postgres as connecting
from common.storage.database import Database
from tests.support.postgres import Postgres, embedded_server, execute


@pytest.fixture
def url(postgres: Postgres) -> Iterator[str]:
    made = postgres.create_database()
    yield made
    postgres.drop_database(made)


@dataclass(frozen=True)
class Other:
    """A second host, reached by a socket and by TCP."""

    sockets: str
    port: int

    def url(self, database: str = "postgres", host: str = "") -> str:
        said = {"host": host or self.sockets, "port": str(self.port)}
        made = URL.create("postgresql+asyncpg", "postgres", database=database, query=said)
        return made.render_as_string()


@pytest.fixture(scope="module")
def other() -> Iterator[Other]:
    with embedded_server(durable=False) as server, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        with (server.data / "postgresql.conf").open("a") as file:
            file.write(f"listen_addresses = '127.0.0.1'\nport = {port}\n")
        server.restart("fast")
        yield Other(str(server.sockets), port)


def several(url: str, *hosts: str) -> str:
    """The database of ``url`` on hosts in this order."""
    return make_url(url).set(query={"host": hosts}).render_as_string(hide_password=False)


def socket_of(url: str) -> str:
    return str(make_url(url).query["host"])


def where(session: Session) -> str:
    return str(session.scalar(text("SHOW unix_socket_directories")))


NO_ROOM = text("DO $$ BEGIN RAISE EXCEPTION 'no room' USING ERRCODE = 'disk_full'; END $$")
MARK = text("CREATE TEMPORARY TABLE mark (id int) ON COMMIT DROP")


def fenced(session: Session) -> str:
    return str(session.scalar(text("SHOW default_transaction_read_only")))


async def test_a_host_that_is_not_there_is_passed_over(url: str, tmp_path: Path) -> None:
    real = socket_of(url)
    database = Database(several(url, f"{tmp_path}:5432", f"{real}:5432"))
    assert await database.run("*", where) == real
    await database.close()


async def test_a_database_that_is_away_is_busy_and_not_a_crash(url: str, tmp_path: Path) -> None:
    database = Database(several(url, f"{tmp_path}:5432"))
    for write in (False, True):
        with pytest.raises(Busy, match="cannot be reached"):
            await database.run("*", where, write=write)
    await database.close()


@pytest.mark.parametrize("straight", [False, True], ids=["session", "driver"])
async def test_a_server_without_room_says_so(url: str, straight: bool) -> None:
    def working(session: Session) -> None:
        if straight:
            hot.change(session, NO_ROOM)
        else:
            session.execute(NO_ROOM)

    database = Database(url)
    with pytest.raises(StorageFull):
        await database.run("*", working)
    await database.close()


@pytest.mark.parametrize("straight", [False, True], ids=["session", "driver"])
async def test_a_host_fenced_as_read_only_is_left_and_not_found_again(
    url: str, other: Other, straight: bool
) -> None:
    real, name = socket_of(url), str(make_url(url).database)
    both = several(url, f"{other.sockets}:{other.port}", f"{real}:5432")
    away = make_url(other.url())
    await execute(away, f'CREATE DATABASE "{name}"')

    def writing(session: Session) -> str:
        if straight:
            hot.change(session, MARK)
        else:
            session.execute(MARK)
        return where(session)

    database, fresh, alone = Database(both), Database(both), Database(other.url(name))
    assert await database.run("*", writing) == other.sockets
    await execute(away, "ALTER SYSTEM SET default_transaction_read_only = on")
    await execute(away, "SELECT pg_reload_conf()")
    for _ in range(400):  # the word goes round by signals
        if await database.run("*", fenced, write=False) == "on":
            break
        await asyncio.sleep(0.05)
    try:
        assert await database.run("*", writing) == real
        connecting._order.clear()
        assert await fresh.run("*", writing) == real
        with pytest.raises(Busy):
            await alone.run("*", writing)
    finally:
        await execute(away, "ALTER SYSTEM RESET default_transaction_read_only")
        await execute(away, "SELECT pg_reload_conf()")
        for each in (database, fresh, alone):
            await each.close()


async def test_a_connection_of_its_own_passes_a_dead_host_over_too(
    url: str, tmp_path: Path
) -> None:
    real = socket_of(url)
    connection = await connecting.connect(several(url, f"{tmp_path}:5432", f"{real}:5432"), {})
    assert await connection.fetchval("SHOW unix_socket_directories") == real
    await connection.close()


async def test_who_gives_up_on_a_silent_host_asks_the_other_one_next(url: str) -> None:
    real = socket_of(url)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        both = several(url, f"127.0.0.1:{silent.getsockname()[1]}", f"{real}:5432")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await connecting.connect(both, {})
        async with asyncio.timeout(connecting.SEARCH_S / 2):
            connection = await connecting.connect(both, {})
    await connection.close()


async def test_a_connection_over_tcp_is_watched_at_both_ends(other: Other) -> None:
    connection = await connecting.connect(other.url(host="127.0.0.1"), {})
    own = connection._transport.get_extra_info("socket")
    assert own.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    silent = own.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
    assert silent == connecting.SILENT_MS
    assert await connection.fetchval("SHOW tcp_user_timeout") == str(connecting.SILENT_MS)
    assert await connection.fetchval("SHOW tcp_keepalives_idle") == str(connecting.IDLE_S)
    await connection.close()


async def test_the_host_of_a_connection_that_ended_is_asked_last(url: str, other: Other) -> None:
    real, name = socket_of(url), "postgres"
    both = several(url, f"{real}:5432", f"{other.sockets}:{other.port}")
    both = make_url(both).set(database=name).render_as_string(hide_password=False)
    found = []
    for _ in range(3):
        connection = await connecting.connect(both, {})
        found.append(await connection.fetchval("SHOW unix_socket_directories"))
        connection.terminate()
        await asyncio.sleep(0)  # listeners are told in the next turn
    assert found == [real, other.sockets, real]
