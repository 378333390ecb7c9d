"""Statements that go straight to the driver are in the session's transaction, under its rules."""

import asyncio
import traceback
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import bindparam, func, insert, select, text, update
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from common.errors import Busy, Conflict
from common.storage import database as door
from common.storage import hot, mapped, schema
from common.storage.database import Database, Rollback, new_audit_id
from common.tables.inventory import Warehouse
from common.tables.orders import Customer
from common.tables.spine import PolicyUse, StoredResult
from common.telemetry import clean

NOW = datetime(2026, 11, 2, 9, 0, 0, 125, tzinfo=UTC)
MOMENTS = 50  # turns of the loop, more than a transaction takes
_stored, _used = StoredResult.__table__.c, PolicyUse.__table__.c
ADD = insert(StoredResult.__table__)  # type: ignore[arg-type]
READ = select(_stored.result, _stored.at).where(_stored.id == bindparam("id"))
SOME = (
    select(_stored.id)
    .where(
        _stored.id.in_(bindparam("ids", expanding=True)),
        _stored.tool.in_(bindparam("tools", expanding=True)),
        _stored.server.in_(["inventory", "orders"]),
    )
    .order_by(_stored.id)
)
MOVE = (
    update(PolicyUse.__table__)  # type: ignore[arg-type]
    .where(_used.audit_id == bindparam("id"))
    .values(amount=_used.amount + bindparam("more"))
)
FOREIGN = update(Customer.__table__).values(first_name="B")  # type: ignore[arg-type]
RECORD = (
    "INSERT INTO audit_record (id, chain, seq, at, record, prev, h)"
    " VALUES (:id, 0, :seq, '2026-01-01 00:00:00', '{}', '', '')"
)


@pytest.fixture
async def database(url: str) -> AsyncIterator[Database]:
    opened = Database(url, pool=2)
    yield opened
    await opened.close()


def put(session: Session, id: str, tool: str = "take") -> int:
    return hot.change(
        session, ADD, id=id, server="inventory", tool=tool, args_digest="", result={"é": [1]},
        at=NOW, audit_id="aud",
    )  # fmt: skip


def record(session: Session) -> None:
    seq = session.scalar(text("SELECT count(*) FROM audit_record")) or 0
    session.execute(text(RECORD), {"id": session.info["audit_id"], "seq": seq + 1})


def warehouse(id: str) -> Warehouse:
    return Warehouse(id=id, name="Main", region="north", address={"city": "Kiel"})


async def test_what_is_written_is_kept_with_the_rest_and_read_as_its_type(
    database: Database,
) -> None:
    def both(session: Session) -> None:
        assert put(session, "a") == 1
        record(session)
        mapped.add(session, warehouse("A"))

    def neither(session: Session) -> None:
        put(session, "b")
        raise Rollback(None)

    await database.run("inventory", both, audit_id=new_audit_id())
    await database.run("inventory", neither, audit_id=new_audit_id())

    def look(session: Session) -> None:
        row = hot.first(session, READ, id="a")
        assert (row.result, row.at) == ({"é": [1]}, NOW)
        assert hot.first(session, READ, id="b") is None
        assert session.get_one(Warehouse, "A").address == {"city": "Kiel"}

    await database.run("*", look, write=False)


async def test_what_only_went_to_the_driver_is_kept(database: Database) -> None:
    await database.run("*", lambda s: put(s, "a"))
    found = await database.run("*", lambda s: hot.first(s, READ, id="a"), write=False)
    assert found is not None


async def test_lists_of_every_length(database: Database) -> None:
    def work(session: Session) -> None:
        for id, tool in (("a", "x"), ("b", "y"), ("c", "x")):
            put(session, id, tool)
        for ids, tools, found in (
            (["a", "b", "c"], ["x"], ["a", "c"]),
            (["a"], ["x", "y"], ["a"]),
            (["c", "b"], ["y", "x"], ["b", "c"]),
            ([], ["x"], []),
        ):
            assert [row.id for row in hot.rows(session, SOME, ids=ids, tools=tools)] == found

    await database.run("*", work)


async def test_a_change_says_how_many_rows_it_touched(database: Database) -> None:
    def work(session: Session) -> None:
        use = PolicyUse(audit_id="u", tool="t", subject="s", measure="m", amount=1, at=NOW)
        session.add(use)  # written before the statement that needs it
        assert hot.change(session, MOVE, id="u", more=4) == 1
        assert hot.change(session, MOVE, id="nobody", more=4) == 0
        assert session.scalar(select(func.sum(PolicyUse.amount))) == 5

    await database.run("*", work)


async def test_the_driver_is_no_way_around_who_may_write_what(database: Database) -> None:
    with pytest.raises(AssertionError, match="inventory may not write customer"):
        await database.run("inventory", lambda s: hot.change(s, FOREIGN))
    with pytest.raises(AssertionError, match="reading transaction may not write stored_result"):
        await database.run("inventory", lambda s: put(s, "a"), write=False)


async def test_a_broken_constraint_is_the_error_it_always_is(database: Database) -> None:
    with pytest.raises(IntegrityError):
        await database.run("*", lambda s: [put(s, "a"), put(s, "a")])


async def test_a_row_added_and_a_row_loaded_are_the_sessions(database: Database) -> None:
    first, second = new_audit_id(), new_audit_id()

    def made(session: Session) -> None:
        record(session)
        row = mapped.add(session, warehouse("A"))
        assert (row.version, row.audit_id, row.active) == (1, first, True)
        assert session.get(Warehouse, "A") is row
        row.name = "Other"

    def changed(session: Session) -> None:
        record(session)
        row = mapped.load(session, Warehouse, "A")
        assert row is not None
        assert (row.name, row.version) == ("Other", 2)
        assert session.get(Warehouse, "A") is row
        assert mapped.load(session, Warehouse, "A") is row
        assert mapped.load(session, Warehouse, "B") is None
        row.name = "Third"

    await database.run("inventory", made, audit_id=first)
    await database.run("inventory", changed, audit_id=second)
    row = await database.run("*", lambda s: s.get_one(Warehouse, "A"), write=False)
    assert (row.name, row.version, row.audit_id) == ("Third", 3, second)


async def test_a_row_added_needs_an_audited_call(database: Database) -> None:
    with pytest.raises(AssertionError, match="outside an audited call"):
        await database.run("inventory", lambda s: mapped.add(s, warehouse("A")))


async def test_a_savepoint_takes_back_what_was_added_in_it(database: Database) -> None:
    def work(session: Session) -> None:
        record(session)
        savepoint = session.begin_nested()
        mapped.add(session, warehouse("A"))
        savepoint.rollback()
        assert mapped.load(session, Warehouse, "A") is None
        mapped.add(session, warehouse("A"))

    await database.run("inventory", work, audit_id=new_audit_id())


async def test_a_connection_that_breaks_before_the_commit_is_no_failure(postgres_url: str) -> None:
    """The database ends it in the middle of a call: nothing was kept, and all of it runs again."""
    database = Database(postgres_url, pool=2)
    await schema.upgrade(database)
    runs = []

    def work(session: Session) -> None:
        runs.append(session.scalar(text("SELECT pg_backend_pid()")))
        put(session, "a")
        if len(runs) == 1:
            session.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
        put(session, "b")

    await database.run("*", work)
    assert len(set(runs)) == 2
    found = await database.run("*", lambda s: hot.first(s, READ, id="b"), write=False)
    assert found is not None
    await database.close()


async def test_a_connection_that_died_while_idle_is_not_handed_out(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "IDLE_S", 0.0)
    database, other = Database(postgres_url, pool=1), Database(postgres_url, pool=1)
    await schema.upgrade(database)
    runs = []

    def pid(session: Session) -> int:
        runs.append(1)
        return int(session.scalar(text("SELECT pg_backend_pid()")) or 0)

    before = await database.run("*", pid)
    end = text("SELECT pg_terminate_backend(:pid)")
    await other.run("*", lambda s: s.scalar(end, {"pid": before}))
    after = await database.run("*", pid)
    assert after != before
    assert len(runs) == 2  # found out before the work began
    await database.close()
    await other.close()


async def test_where_one_connection_is_gone_none_of_the_others_is_tried(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "IDLE_S", 999.0)
    database, other = Database(postgres_url, pool=8), Database(postgres_url, pool=1)
    await schema.upgrade(database)
    runs = []

    def short(session: Session) -> None:
        runs.append(1)
        put(session, "a")

    def wait(session: Session) -> None:
        session.scalar(text("SELECT 1 FROM pg_sleep(0.3)"))

    await asyncio.gather(*(database.run("*", wait) for _ in range(8)))
    end = text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid !="
               " pg_backend_pid() AND datname = current_database()")  # fmt: skip
    await other.run("*", lambda s: s.execute(end).all())
    await database.run("*", short)
    assert len(runs) == 2
    await database.close()
    await other.close()


@pytest.mark.parametrize("broken", ["do_ping", "initialize"])
async def test_a_pool_whose_new_connections_break_is_asked_again(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    """While the database restarts, several in a row: nothing was begun, so nothing is lost."""
    await schema.upgrade(Database(postgres_url))
    monkeypatch.setattr(door, "IDLE_S", 0.0)
    right, left = getattr(PGDialect_asyncpg, broken), [3]

    def breaks(dialect: Any, connection: Any) -> Any:
        if left[0]:
            left[0] -= 1
            raise dialect.loaded_dbapi.InternalServerError("it went away")
        return right(dialect, connection)

    monkeypatch.setattr(PGDialect_asyncpg, broken, breaks)
    database = Database(postgres_url)
    await database.run("*", lambda session: put(session, "a"))
    assert left == [0]
    monkeypatch.setattr(door, "ATTEMPTS", 2)
    await database.close()
    left[0] = 99
    with pytest.raises(Busy):
        await Database(postgres_url).run("*", lambda session: put(session, "b"))


async def test_a_rollback_that_breaks_hides_nothing(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The caller hears what went wrong before, and the connection is not used again."""
    database = Database(postgres_url, pool=1)
    await schema.upgrade(database)
    before = await database.run("*", lambda s: s.scalar(text("SELECT pg_backend_pid()")))

    def broken(dialect: Any, connection: Any) -> None:
        raise dialect.loaded_dbapi.InternalClientError("another operation is in progress")

    def refused(session: Session) -> None:
        put(session, "a")
        monkeypatch.setattr(PGDialect_asyncpg, "do_rollback", broken)
        raise Conflict("no")

    with pytest.raises(Conflict):
        await database.run("*", refused)
    monkeypatch.undo()
    after = await database.run("*", lambda s: s.scalar(text("SELECT pg_backend_pid()")))
    assert after != before
    found = await database.run("*", lambda s: hot.first(s, READ, id="a"), write=False)
    assert found is None
    await database.close()


async def test_a_row_that_was_refused_is_not_told_in_the_log(database: Database) -> None:
    """PostgreSQL names every value of it, and so would each line of a traceback."""
    name = "\n\n".join(["Eve", "No" + "ir"])

    def work(session: Session) -> None:
        record(session)
        session.execute(
            text(
                "INSERT INTO customer (id, version, audit_id, first_name) VALUES ('c', 1, '', :n)"
            ),
            {"n": name},
        )

    with pytest.raises(IntegrityError) as caught:
        await database.run("*", work, audit_id=new_audit_id())
    told = "".join(traceback.format_exception(caught.value))
    assert "Noir" not in clean(told)
    assert "NOT NULL" in clean(told).upper() or "NULL VALUE" in clean(told).upper()


@pytest.mark.parametrize("idle", [door.IDLE_S, 0.0], ids=["used", "pinged"])
async def test_who_gives_up_at_any_moment_leaves_no_transaction_behind(
    postgres_url: str, idle: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A BEGIN that nobody waited for would take every later commit on its connection with it."""
    monkeypatch.setattr(door, "IDLE_S", idle)
    ours, other = Database(postgres_url, pool=1), Database(postgres_url, pool=1)
    await schema.upgrade(ours)
    for moment in range(MOMENTS):
        given_up = asyncio.create_task(ours.run("orders", lambda s, n=moment: put(s, f"gone-{n}")))
        for _ in range(moment):
            await asyncio.sleep(0)
        given_up.cancel()
        await asyncio.gather(given_up, return_exceptions=True)
        await ours.run("orders", lambda s, n=moment: put(s, f"kept-{n}"))
        kept = await other.run(
            "orders", lambda s, n=moment: hot.first(s, READ, id=f"kept-{n}"), write=False
        )
        assert kept is not None, moment
    await ours.close()
    await other.close()
