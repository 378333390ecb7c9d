"""What befalls a shop from outside, each at moments a seed decides."""

import asyncio
import os
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random
from typing import Final

from sqlalchemy import make_url

from tests.faults.fleet import Fleet
from tests.support import unavailable
from tests.support.postgres import EmbeddedServer

DISK_MB: Final = 96


class NoDisk(Exception):
    """No file system of our own can be mounted here."""


async def kills(fleet: Fleet, random: Random, count: int, seconds: float, done: list[str]) -> None:
    """Evenly over the time, each at a moment of its own; later where nobody is there to kill."""
    clock = asyncio.get_running_loop()
    began, apart = clock.time(), seconds / max(count, 1)
    for number in range(count):
        at = began + (number + random.uniform(0.1, 0.9)) * apart
        await asyncio.sleep(max(at - clock.time(), 0))
        await fleet.kill()
        done.append("killed")


async def locks(url: str, random: Random, done: list[str]) -> None:
    """Somebody else holds what every writer needs, now and then for longer than they wait."""
    while True:
        await asyncio.sleep(random.uniform(3, 9))
        seconds = random.choice((0.2, 1.0, 3.0, 12.0))
        with suppress(sqlite3.Error, OSError):
            if url.startswith("sqlite"):
                await asyncio.to_thread(_hold_file, url.removeprefix("sqlite:///"), seconds)
            else:
                await _hold_tables(url, seconds)
            done.append("locked")


def _hold_file(file: str, seconds: float) -> None:
    import time

    connection = sqlite3.connect(file, timeout=5)
    try:
        connection.execute("BEGIN IMMEDIATE")
        time.sleep(seconds)
        connection.rollback()
    finally:
        connection.close()


async def _hold_tables(url: str, seconds: float) -> None:
    import asyncpg

    plain = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    with suppress(asyncpg.PostgresError, asyncpg.InterfaceError):  # it may be restarted meanwhile
        connection = await asyncpg.connect(plain, timeout=10)
        try:
            async with connection.transaction():
                await connection.execute("LOCK TABLE account IN EXCLUSIVE MODE")
                await asyncio.sleep(seconds)
        finally:
            connection.terminate()


async def restarts(server: EmbeddedServer, random: Random, done: list[str]) -> None:
    """PostgreSQL ends at once, as after a power cut, or politely, and comes back."""
    while True:
        await asyncio.sleep(random.uniform(6, 15))
        await asyncio.to_thread(server.restart, random.choice(("immediate", "fast")))
        done.append("database restarted")


async def full_disk(folder: Path, random: Random, done: list[str]) -> None:
    """The file system has no byte left, for a moment."""
    while True:
        await asyncio.sleep(random.uniform(2, 5))
        with filled(folder):
            done.append("disk full")
            await asyncio.sleep(random.uniform(0.3, 2))


@contextmanager
def filled(folder: Path) -> Iterator[None]:
    """Not a byte is left within."""
    ballast = folder / "ballast"
    try:
        _fill(ballast)
        yield
    finally:
        ballast.unlink(missing_ok=True)


def give_back(folder: Path, size: int) -> None:
    """A little room, in a folder that is filled."""
    ballast = folder / "ballast"
    os.truncate(ballast, max(ballast.stat().st_size - size, 0))


def _fill(ballast: Path) -> None:
    block = b"\0" * 65_536
    with ballast.open("wb", buffering=0) as file:
        for size in (len(block), 512):
            with suppress(OSError):
                while file.write(block[:size]):
                    pass


@contextmanager
def disk_to_fill(megabytes: int = 8) -> Iterator[Path]:
    """A small disk for a test, which is skipped where there can be none."""
    try:
        with small_disk(megabytes) as folder:
            yield folder
    except NoDisk as error:
        unavailable(f"no disk can be filled here: {error}")


@contextmanager
def small_disk(megabytes: int) -> Iterator[Path]:
    """A folder that is a file system of its own, in memory. Raises NoDisk."""
    folder = Path(tempfile.mkdtemp(prefix="shop-disk-"))
    options = f"size={megabytes}m,mode=700"
    command = ["mount", "-t", "tmpfs", "-o", options, "shop-faults", str(folder)]
    if os.getuid() != 0 or shutil.which("mount") is None:
        raise NoDisk("mounting a small file system needs root")
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    if said.returncode:
        raise NoDisk(said.stderr.strip())
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)
        folder.rmdir()
