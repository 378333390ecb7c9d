"""An audit log for a test: a real database file, its anchors and its keys, and ways to tamper."""

import asyncio
import json
import shutil
import sqlite3
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from common.audit import anchors, chain
from common.audit.chain import START as NOTHING
from common.audit.links import Row
from common.audit.verify import Report, verify
from common.keys import anchor_key
from common.storage.database import Database, new_audit_id
from common.tables.whole import Base

T = TypeVar("T")
START = datetime(2026, 11, 2, 9, 0, 0, 123_456, tzinfo=UTC)


def a_record(**changes: Any) -> dict[str, Any]:
    """What the guard writes of an ordinary call."""
    return {
        "v": 1, "server": "inventory", "version": "1", "tool": "receive_goods", "outcome": "ok",
        "actor": {"iss": "local", "sub": "ana@example.com", "client": "test"},
        "args": {"sku": "MUG-1", "quantity": 4, "rush": False},
        "money": {"minor": 1_999, "currency": "EUR"}, "ms": 3,
        **changes,
    }  # fmt: skip


class Log:
    """A database with an audit log. ``sql`` is what somebody with the file in hand can do."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "shop.db"
        self.anchors = folder / "anchors.jsonl"
        self.keys = folder / "keys"
        self.now = START
        if not self.path.exists():
            self.path.write_bytes(empty_database())
        self.url = f"sqlite:///{self.path}"
        self._runner = asyncio.Runner()
        self._database: Database | None = None

    def close(self) -> None:
        """Give the file back. The next use opens it again."""
        if self._database is not None:
            self._runner.run(self._database.close())
            self._database = None
        self._runner.close()
        self._runner = asyncio.Runner()

    def add(self, count: int = 1, payload: dict[str, Any] | None = None, **said: Any) -> list[str]:
        """Append records, each in its transaction. Their ids."""

        async def go(database: Database) -> list[str]:
            return [await append(database, self._tick(), payload, **said) for _ in range(count)]

        return self._run(go)

    def do(self, work: Callable[[Session], T]) -> T:
        return self._run(lambda database: database.run("*", work))

    def anchor(self, *, force: bool = True, **later: float) -> bool:
        self.now += timedelta(**later)
        return self._run(
            lambda database: anchors.anchor(
                database, self.anchors, self.keys, now=self.now, force=force
            )
        )

    def verify(self, **options: Any) -> Report:
        key = anchor_key(self.keys).public_key()
        return self._run(
            lambda database: database.run(
                "*", lambda session: verify(session, self.anchors, key, **options), write=False
            )
        )

    def sql(self, statement: str, *values: Any) -> list[Any]:
        connection = sqlite3.connect(self.path, isolation_level=None)
        try:
            return connection.execute(statement, values).fetchall()
        finally:
            connection.close()

    def rows(self) -> list[Row]:
        """The records as they lie in the file."""
        return [Row(*row) for row in self.sql(f"SELECT {COLUMNS} FROM audit_record ORDER BY 2, 3")]

    def loosen(self) -> None:
        """Take the constraints away, as the file's owner can."""
        self.sql("CREATE TABLE loose AS SELECT * FROM audit_record")
        self.sql("DROP TABLE audit_record")
        self.sql("ALTER TABLE loose RENAME TO audit_record")

    def insert(self, row: Row) -> None:
        self.sql(f"INSERT INTO audit_record ({COLUMNS}) VALUES (?,?,?,?,?,?,?)", *row)

    def rewrite(self, change: Callable[[int, dict[str, Any]], dict[str, Any]]) -> None:
        """Compute the whole chain anew, as somebody who owns the database and our code can."""
        prev, number = NOTHING, 0
        for number, row in enumerate(self.rows(), 1):
            said = change(number, json.loads(row.record))
            h = chain.link(0, number, prev, said)
            self.sql(
                "UPDATE audit_record SET record=?, prev=?, h=? WHERE seq=?",
                json.dumps(said), prev, h, number,
            )  # fmt: skip
            prev = h
        self.sql("UPDATE audit_head SET seq=?, h=?", number, prev)

    def kept(self) -> Path:
        """A copy of the database as it is now."""
        self.sql("PRAGMA wal_checkpoint(TRUNCATE)")
        return Path(shutil.copy(self.path, self.folder / f"kept-{self.now:%H%M%S%f}.db"))

    def restore(self, copy: Path) -> None:
        self.close()
        for leftover in (f"{self.path}-wal", f"{self.path}-shm"):
            Path(leftover).unlink(missing_ok=True)
        shutil.copy(copy, self.path)

    def _tick(self) -> datetime:
        self.now += timedelta(milliseconds=1)
        return self.now

    def _run(self, work: Callable[[Database], Coroutine[Any, Any, T]]) -> T:
        if self._database is None:
            self._database = Database(self.url)
        return self._runner.run(work(self._database))


async def append(
    database: Database, now: datetime, payload: dict[str, Any] | None = None, **said: Any
) -> str:
    """One record in its own transaction. Its id."""
    audit_id = new_audit_id()

    def work(session: Session) -> None:
        chain.append(session, audit_id=audit_id, now=now, record=a_record(**said), payload=payload)

    await database.run("inventory", work, audit_id=audit_id)
    return audit_id


@cache
def empty_database() -> bytes:
    """The bytes of a SQLite file with every table and no row."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "empty.db"
        engine = create_engine(f"sqlite:///{path}")
        Base.metadata.create_all(engine)
        engine.dispose()
        return path.read_bytes()


COLUMNS = ", ".join(Row._fields)
