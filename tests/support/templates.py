"""Database files made once a process and copied for each test: copying is quicker than making."""

import atexit
import shutil
import sqlite3
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

from common.storage import schema
from tests.support import apart


@cache
def _folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="shop-templates-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@cache
def template(name: str, build: Callable[[str], object]) -> Path:
    """The file that ``build(url)`` fills; it must close its connections."""
    file = _folder() / f"{name}.db"
    apart(build, f"sqlite:///{file}")
    with sqlite3.connect(file) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    return file


def bare() -> Path:
    """The file with the schema and nothing in it."""
    return template("schema", schema.upgrade_now)


def copied(source: Path, target: Path) -> str:
    """The URL of a copy."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    return f"sqlite:///{target}"
