"""The migrated database is what the tables say, on both databases, however many start at once."""

import asyncio
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import JSON, Column, Connection, String, insert, inspect, text
from sqlalchemy.exc import DBAPIError

from common.settings import Settings, inherited
from common.shop import Shop
from common.storage import schema
from common.storage.database import Database
from common.tables.base import Utc
from common.tables.whole import Base
from tests.support.sql import inside
from tests.support.templates import bare, copied

ROOT = Path(__file__).parent.parent.parent
APPEND_ONLY = ("transfer", "audit_record", "approval_decision", "claim_evidence", "tracking_event")


@pytest.fixture(params=["sqlite", "postgres"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database nobody has touched, of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'sub folder' / '100%.db'}"
    url: str = request.getfixturevalue("postgres_url")
    return url


def say(url: str, statement: str) -> list[tuple[Any, ...]]:
    """One statement; its rows, if it has any."""

    def work(connection: Connection) -> list[tuple[Any, ...]]:
        result = connection.execute(text(statement))
        return [tuple(found) for found in result] if result.returns_rows else []

    rows: list[tuple[Any, ...]] = inside(url, work)
    return rows


def ours(name: str | None, kind: str, parents: Any) -> bool:
    """Search indexes are the migrations' alone: the metadata has no words for them."""
    return not (name or "").startswith("search_")


def difference(connection: Connection) -> list[Any]:
    opts = {"compare_type": True, "include_name": ours}
    context = MigrationContext.configure(connection, opts=opts)
    found: list[Any] = compare_metadata(context, Base.metadata)
    return found


def test_migrated_schema_is_the_metadata(url: str) -> None:
    assert inside(url, difference) == []
    assert inside(url, schema.current) == schema.head()


def test_every_constraint_and_index_is_migrated(
    url: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """What alembic does not compare: CHECKs, deferred keys, the conditions of partial indexes."""
    if url.startswith("sqlite"):
        other = f"sqlite:///{tmp_path / 'metadata.db'}"
    else:
        other = request.getfixturevalue("postgres_url")
    inside(other, Base.metadata.create_all)
    migrated, meant = inside(url, definitions), inside(other, definitions)
    assert migrated.keys() == meant.keys()
    assert [name for name in meant if migrated[name] != meant[name]] == []


def definitions(connection: Connection) -> dict[str, Any]:
    """Tables, constraints and indexes by name, in the database's own words."""
    if connection.dialect.name == "postgresql":
        found = connection.execute(
            text(
                "select conrelid::regclass || ' ' || conname, pg_get_constraintdef(oid)"
                " from pg_constraint where connamespace = 'public'::regnamespace"
                " and conrelid != coalesce(to_regclass('alembic_version')::oid, 0)"
                " union all select indexname, indexdef from pg_indexes"
                " where schemaname = 'public' and tablename != 'alembic_version'"
            )
        )
        return {str(name): said for name, said in found if ours(str(name), "", None)}
    found = connection.execute(
        text(
            "select name, sql from sqlite_master where sql is not null"
            " and type in ('table', 'index') and name != 'alembic_version'"
        )
    )
    return {name: sorted(clauses(sql)) for name, sql in found if ours(name, "", None)}


def clauses(sql: str) -> list[str]:
    """Columns and constraints one by one: their order, and spaces, do not matter."""
    depth, found = 0, [""]
    for character in sql:
        depth += (character == "(") - (character == ")")
        if character == "," and depth == 1:
            found.append("")
        else:
            found[-1] += character
    head, _, first = found[0].partition("(")
    last, _, tail = (found[-1] if len(found) > 1 else first).rpartition(")")
    inner = [first, *found[1:-1], last] if len(found) > 1 else [last]
    return ["".join(part.replace('"', "").split()) for part in [head, *inner, tail]]


def test_a_second_upgrade_changes_nothing(url: str) -> None:
    inside(url, lambda c: c.execute(insert(row("account")), ACCOUNT))
    schema.upgrade_now(url)
    assert say(url, "select count(*) from account") == [(1,)]


async def test_upgrade_of_an_open_database(empty_url: str) -> None:
    database = Database(empty_url)
    try:
        await schema.upgrade(database)
        found = await database.run("*", lambda s: schema.current(s.connection()), write=False)
    finally:
        await database.close()
    assert found == schema.head()


def test_a_database_of_a_newer_program_is_refused(url: str) -> None:
    newer = "update alembic_version set version_num = '9999_future'"
    say(url, newer)
    with pytest.raises(schema.SchemaError, match="9999_future"):
        schema.upgrade_now(url)


def test_read_only_never_migrates(url: str) -> None:
    def opened() -> None:
        asyncio.run(schema.upgrade(Database(url, read_only=True)))

    opened()
    for revision in (schema.revisions()[-2], None):
        older = "delete from alembic_version"
        if revision is not None:
            older = f"update alembic_version set version_num = '{revision}'"
        say(url, older)
        with pytest.raises(schema.SchemaError, match="shop db upgrade"):
            opened()


def test_a_read_only_sqlite_file_is_not_made(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'shop.db'}", read_only=True)
    with pytest.raises(schema.SchemaError, match="no database"):
        asyncio.run(schema.upgrade(database))
    assert list(tmp_path.iterdir()) == []


def test_a_migration_that_fails_leaves_nothing(
    empty_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A table in the way of a late revision. On SQLite the early ones are taken back with it; on
    PostgreSQL each stands for itself, and the next start goes on from there."""
    say(empty_url_with_folder(empty_url), "create table cart (x int)")
    with pytest.raises(DBAPIError, match="cart"):
        schema.upgrade_now(empty_url)
    left = inside(empty_url, lambda c: inspect(c).get_table_names())
    if empty_url.startswith("sqlite"):
        assert left == ["cart"]
    else:
        assert inside(empty_url, schema.current) == "0009_claims"
        assert "membership_tier" not in left
    say(empty_url, "drop table cart")
    schema.upgrade_now(empty_url)


def empty_url_with_folder(url: str) -> str:
    if url.startswith("sqlite"):
        Path(url.partition("///")[2]).parent.mkdir()
    return url


@pytest.mark.parametrize("processes", [7])
def test_seven_processes_start_at_once(empty_url: str, processes: int) -> None:
    """As seven servers of one host do on a first start: one creates, all find it whole."""
    program = (
        "import asyncio, sys\n"
        "from common.storage import schema\n"
        "from common.storage.database import Database\n"
        "async def main():\n"
        "    database = Database(sys.argv[1])\n"
        "    sys.stdin.read()\n"
        "    await schema.upgrade(database)\n"
        "    count = lambda s: s.connection().exec_driver_sql(\n"
        "        'select count(*) from audit_record').scalar()\n"
        "    print(await database.run('*', count))\n"
        "    await database.close()\n"
        "asyncio.run(main())\n"
    )
    running = [
        subprocess.Popen(
            [sys.executable, "-c", program, empty_url],
            cwd=ROOT, env=inherited(), text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for _ in range(processes)
    ]  # fmt: skip
    for process in running:
        assert process.stdin
        process.stdin.close()
        process.stdin = None
    ended = [process.communicate(timeout=120) for process in running]
    assert [process.returncode for process in running] == [0] * processes, ended
    assert [out.strip() for out, _ in ended] == ["0"] * processes
    assert inside(empty_url, schema.current) == schema.head()


def test_the_file_is_for_its_owner_alone() -> None:
    file = bare()
    assert file.stat().st_mode & 0o077 == 0
    connection = sqlite3.connect(file)
    assert connection.execute("pragma journal_mode").fetchone() == ("wal",)
    connection.close()


async def test_a_new_shops_folder_is_for_its_owner_alone(tmp_path: Path) -> None:
    """Anchors and the simulator's books lie there as well."""
    await asyncio.to_thread(schema.upgrade_now, f"sqlite:///{tmp_path / 'migrated' / 'shop.db'}")
    opened = await Shop.open(Settings.load({"SHOP_HOME": str(tmp_path / "opened")}))
    await opened.close()
    for name in ("migrated", "opened"):
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o700


def test_opening_an_up_to_date_shop_does_not_import_alembic(tmp_path: Path) -> None:
    program = (
        "import sys; from common.storage import schema; schema.upgrade_now(sys.argv[1]);"
        "print('alembic' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, copied(bare(), tmp_path / "shop.db")],
        cwd=ROOT, env=inherited(), capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == "False"


def test_revisions_are_one_line() -> None:
    scripts = ScriptDirectory(str(schema.MIGRATIONS))
    assert scripts.get_heads() == [schema.head()]
    walked = [script.revision for script in scripts.walk_revisions()]
    assert walked[::-1] == list(schema.revisions())
    assert max(map(len, walked)) <= 32, "alembic_version has 32 characters"


# -- append-only -----------------------------------------------------------------------------------


@pytest.fixture
def filled_url(url: str) -> str:
    """A row in each append-only table; what their foreign keys name is left out."""

    def fill(connection: Connection) -> None:
        if connection.dialect.name == "postgresql":
            connection.execute(text("set session_replication_role = replica"))
        for name in APPEND_ONLY:
            connection.execute(insert(row(name)), sample(name))

    inside(url, fill)
    return url


def test_nobody_changes_what_is_append_only(filled_url: str) -> None:
    for table in APPEND_ONLY:
        last = row(table).columns.keys()[-1]
        statements = [
            f"update {table} set id = 'x'", f"update {table} set {last} = {last}",
            f"delete from {table}",
        ]  # fmt: skip
        if not filled_url.startswith("sqlite"):
            statements.append(f"truncate {table} cascade")
        for statement in statements:
            with pytest.raises(DBAPIError, match=f"{table} is append-only"):
                say(filled_url, statement)
        assert say(filled_url, f"select count(*) from {table}") == [(1,)]


def row(table: str) -> Any:
    return Base.metadata.tables[table]


ACCOUNT = {
    "id": "acc_1", "ledger": "units/A", "code": "supplier", "side": "none", "debits_posted": 0,
    "credits_posted": 0, "debits_pending": 0, "credits_pending": 0,
}  # fmt: skip


def sample(table: str) -> dict[str, Any]:
    """A row that every CHECK of the table accepts."""
    known = SAMPLES[table] | {"sha256": "0" * 64}
    return {
        column.name: known.get(column.name, plain(column))
        for column in row(table).columns
        if not column.nullable
    }


def plain(column: Column[Any]) -> Any:
    if isinstance(column.type, Utc):
        return datetime(2026, 11, 2, tzinfo=UTC)
    if isinstance(column.type, String):
        return "x"
    return {} if isinstance(column.type, JSON) else 1


SAMPLES: dict[str, dict[str, Any]] = {
    "transfer": {"credit_id": "y", "kind": "posted"},
    "audit_record": {},
    "approval_decision": {"decision": "approve"},
    "claim_evidence": {"kind": "photo"},
    "tracking_event": {"status": "in_transit", "applied": True},
}
