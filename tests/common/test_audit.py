"""The audit chain: what is written, and that nothing can be changed without being named."""

import asyncio
import hashlib
import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import Session

from common.audit import chain
from common.audit.chain import START as NOTHING
from common.audit.chain import Head
from common.audit.links import Row, first_bad
from common.audit.redact import MAX_SIZE
from common.audit.verify import verify
from common.settings import inherited
from common.storage.database import Database, new_audit_id
from common.tables.spine import AuditHead, AuditRecord
from common.tables.whole import Base, tables
from tests.common.auditing import START, Log, a_record, append
from tests.support.postgres import Postgres

ROOT = Path(__file__).parents[2]


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    with closing(Log(tmp_path)) as log:
        yield log


@pytest.fixture
def postgres_log(postgres: Postgres) -> Iterator[str]:
    """The URL of a PostgreSQL database with every table."""

    def build(url: str) -> None:
        async def go() -> None:
            engine = create_async_engine(url)
            async with engine.begin() as connection:
                await connection.run_sync(Base.metadata.create_all)
            await engine.dispose()

        asyncio.run(go())

    url = postgres.copy_of("audit", build)
    yield url
    postgres.drop_database(url)


# -- what is written ---------------------------------------------------------------------------


def test_hash_of_a_link() -> None:
    """The bytes under the hash, spelled out; a change of the format breaks every log there is."""
    record = {"b": "ü", "a": [1, True, None]}
    content = '{"a":[1,true,null],"b":"ü"}'.encode()
    prev = "ab" * 32
    plain = b"\x00" + b"\x00\x00\x00\x07" + b"\x00" * 7 + b"\x02" + b"\xab" * 32 + content
    assert chain.link(7, 2, prev, record) == hashlib.sha256(plain).hexdigest()


def test_record_holds_every_column(log: Log) -> None:
    first, second = log.add(2, payload={"note": "for Ana"})
    rows = log.rows()
    assert [row.id for row in rows] == [first, second]
    assert [(row.chain, row.seq) for row in rows] == [(0, 1), (0, 2)]
    assert [row.prev for row in rows] == [NOTHING, rows[0].h]
    said = json.loads(rows[0].record)
    assert said["event_id"] == first
    assert said["ts"] == "2026-11-02T09:00:00.124456Z"
    assert rows[0].at == "2026-11-02 09:00:00.124456"
    assert said.items() >= a_record().items()
    assert log.sql("SELECT chain, seq, h FROM audit_head") == [(0, 2, rows[1].h)]


def test_commitment_needs_the_salt(log: Log) -> None:
    log.add(2, payload={"email": "ana@example.com"})
    said = [json.loads(row.record) for row in log.rows()]
    assert said[0]["args_commit"] != said[1]["args_commit"]
    (salt, payload), *_ = log.sql("SELECT salt, payload FROM audit_payload ORDER BY audit_id")
    assert len(salt) == 32
    assert chain.commitment(salt, json.loads(payload)) == said[0]["args_commit"]


def test_unknown_outcome_is_a_bug(log: Log) -> None:
    with pytest.raises(ValueError, match="no such outcome"):
        log.add(outcome="fine")
    assert log.rows() == []


def test_rolled_back_leaves_no_trace(log: Log) -> None:
    log.add()

    def work(session: Session) -> None:
        chain.append(session, audit_id=new_audit_id(), now=START, record=a_record())
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        log.do(work)
    log.add()
    assert [row.seq for row in log.rows()] == [1, 2]
    log.anchor()
    assert log.verify().ok


def test_two_records_in_one_transaction(log: Log) -> None:
    def work(session: Session) -> None:
        for _ in range(3):
            chain.append(session, audit_id=new_audit_id(), now=START, record=a_record())

    log.do(work)
    log.anchor()
    report = log.verify()
    assert (report.exit_code, report.checked) == (0, 3)


@pytest.mark.parametrize(
    "payload",
    [
        {"note": "a\0b"},
        {"note": "\ud800"},
        {"\0": float("nan"), "x": float("inf"), "y": 0.1, "z": -0.0},
        {"n": 2**200, "m": -(2**63), "k": 2**53},
        {"note": "x" * 1_000_000},
        {"list": ["x" * 100] * 5_000},
        {"bytes": b"\xff", "none": None, "set": {1}},
        {"e": "é\u0301\U0001f600\u2028"},
    ],
    ids=lambda payload: "-".join(map(ascii, payload)),
)
def test_any_input_can_be_recorded(log: Log, payload: dict[str, Any]) -> None:
    """Refused calls are recorded with whatever they sent."""
    log.add(payload=payload, outcome="refused", args=payload)
    log.anchor()
    report = log.verify()
    assert (report.first_bad, report.exit_code) == (None, 0)
    assert len(log.sql("SELECT payload FROM audit_payload")[0][0]) <= 8 * MAX_SIZE


def test_deep_payload(log: Log) -> None:
    deep: Any = "end"
    for _ in range(900):
        deep = [deep]
    log.add(payload={"deep": deep}, outcome="refused")
    log.anchor()
    assert log.verify().ok


def test_erasing_leaves_the_chain_whole(log: Log) -> None:
    first, second, third = log.add(3, payload={"email": "ana@example.com"})
    log.anchor()
    assert log.do(lambda session: chain.erase(session, [first, third, "aud_unknown"])) == 2
    report = log.verify()
    assert (report.exit_code, report.checked, report.erased) == (0, 3, 2)
    assert log.sql("SELECT audit_id FROM audit_payload") == [(second,)]
    log.do(lambda session: chain.erase(session, [second]))
    log.sql("PRAGMA wal_checkpoint(TRUNCATE)")
    stored = log.path.read_bytes().replace(b'"sub":"ana@example.com"', b"")
    assert b"ana@example.com" not in stored, "an erased payload can still be read in the file"
    assert log.verify().ok


# -- tampering with rows -----------------------------------------------------------------------


def stored(value: object) -> bytes:
    return value.to_bytes(8, "big", signed=True) if isinstance(value, int) else str(value).encode()


def loaded(raw: bytes, like: object) -> object:
    if isinstance(like, int):
        return int.from_bytes(raw, "big", signed=True)
    return raw.decode("utf-8", "surrogateescape")


def flips(row: Row) -> Iterator[tuple[str, Row]]:
    """The row with each byte of each column changed in four ways."""
    for column in Row._fields:
        value = getattr(row, column)
        raw = stored(value)
        for place in range(len(raw)):
            for change in (0x01, 0x10, 0x20, 0x80):
                byte = bytes([raw[place] ^ change])
                changed = loaded(raw[:place] + byte + raw[place + 1 :], value)
                yield column, row._replace(**{column: changed})


def test_every_byte_of_every_column(log: Log) -> None:
    log.add(3, payload={"note": "x"}, args={"sku": "Ü-1", "note": 'é "\\', "n": 10, "b": [True]})
    rows = log.rows()
    heads = [Head(*log.sql("SELECT chain, seq, h FROM audit_head")[0])]
    assert first_bad(rows, heads, exact=True) is None
    tried = 0
    for place, row in enumerate(rows):
        for column, changed in flips(row):
            others = [*rows[:place], changed, *rows[place + 1 :]]
            others.sort(key=lambda row: (row.chain, row.seq))
            bad = first_bad(others, heads, exact=True)
            assert bad is not None, f"{column} {getattr(changed, column)!r}"
            if column not in {"chain", "seq"}:
                assert (bad.kind, bad.seq) == ("changed", row.seq), (column, bad)
            tried += 1
    assert tried > 5_000


def test_every_byte_of_the_head(log: Log) -> None:
    log.add(2)
    rows = log.rows()
    head = Head(*log.sql("SELECT chain, seq, h FROM audit_head")[0])
    for name in Head._fields:
        value = getattr(head, name)
        raw = stored(value)
        for place in range(len(raw)):
            for change in (0x01, 0x20, 0x80):
                byte = bytes([raw[place] ^ change])
                changed = loaded(raw[:place] + byte + raw[place + 1 :], value)
                assert first_bad(rows, [head._replace(**{name: changed})], exact=True) is not None


def test_bytes_changed_in_the_file(log: Log) -> None:
    """A sample of the same, through the database and the whole check."""
    log.add(2, payload={"note": "x"})
    log.anchor()
    assert log.verify().ok
    rows = log.rows()
    for column in ("id", "at", "record", "prev", "h"):
        raw = stored(getattr(rows[1], column))
        for place in range(3, len(raw), max(5, len(raw) // 6)):
            byte = bytes([raw[place] ^ 0x80])
            changed = raw[:place] + byte + raw[place + 1 :]
            log.sql(f"UPDATE audit_record SET {column}=CAST(? AS TEXT) WHERE seq=2", changed)
            bad = log.verify().first_bad
            assert bad is not None, (column, place)
            assert (bad.kind, bad.chain, bad.seq) == ("changed", 0, 2), (column, place)
            log.sql(f"UPDATE audit_record SET {column}=CAST(? AS TEXT) WHERE seq=2", raw)
    assert log.verify().ok


@pytest.mark.parametrize(("gone", "named"), [(1, 1), (3, 3), (5, 5)])
def test_removed(log: Log, gone: int, named: int) -> None:
    log.add(5)
    log.sql("DELETE FROM audit_record WHERE seq=?", gone)
    bad = log.verify().first_bad
    assert bad is not None
    assert (bad.kind, bad.seq) == ("missing", named)


def test_all_removed(log: Log) -> None:
    log.add(5)
    log.anchor()
    log.sql("DELETE FROM audit_record")
    bad = log.verify().first_bad
    assert bad is not None
    assert (bad.kind, bad.seq, bad.why) == ("missing", 1, "records 1 to 5 are gone")
    log.sql("DELETE FROM audit_head")
    bad = log.verify().first_bad
    assert bad is not None
    assert (bad.kind, bad.chain, bad.seq) == ("cut", 0, 1)


def forged(before: Row, seq: int, prev: str) -> Row:
    """A new record that fits where it is put."""
    audit_id = new_audit_id()
    said = a_record(event_id=audit_id, ts=chain.moment(START), ms=99)
    h = chain.link(0, seq, prev, said)
    at = "2026-11-02 09:00:00.123456"
    return before._replace(id=audit_id, seq=seq, at=at, record=json.dumps(said), prev=prev, h=h)


def test_inserted_in_the_middle(log: Log) -> None:
    log.add(5)
    rows = log.rows()
    log.loosen()
    log.sql("UPDATE audit_record SET seq=seq+1 WHERE seq>2")
    new = forged(rows[1], 3, rows[1].h)
    log.insert(new)
    bad = log.verify().first_bad
    assert bad is not None
    assert (bad.kind, bad.seq, bad.event_id) == ("inserted", 3, new.id)


def test_inserted_at_the_end(log: Log) -> None:
    log.add(2)
    log.insert(forged(log.rows()[1], 3, log.rows()[1].h))
    bad = log.verify().first_bad
    assert bad is not None
    assert (bad.kind, bad.seq) == ("head", 3)


def test_inserted_beside(log: Log) -> None:
    log.add(3)
    rows = log.rows()
    log.loosen()
    log.insert(forged(rows[0], 2, rows[0].h)._replace(id="zzz"))
    bad = log.verify().first_bad
    assert bad is not None
    assert (bad.kind, bad.seq, bad.event_id) == ("inserted", 2, "zzz")


@pytest.mark.parametrize(("one", "other"), [(2, 3), (1, 5), (2, 5)])
def test_swapped(log: Log, one: int, other: int) -> None:
    log.add(5)
    log.sql("UPDATE audit_record SET seq=-1 WHERE seq=?", one)
    log.sql("UPDATE audit_record SET seq=? WHERE seq=?", one, other)
    log.sql("UPDATE audit_record SET seq=? WHERE seq=-1", other)
    bad = log.verify().first_bad
    assert bad is not None
    assert (bad.kind, bad.seq) == ("reordered", one)
    assert bad.why == f"it was written as number {other} of its chain"


def test_swapped_contents(log: Log) -> None:
    """Everything but the number exchanged, so that each row is at the other's place."""
    log.add(4)
    _, two, three, _ = log.rows()
    log.sql("DELETE FROM audit_record WHERE seq IN (2, 3)")
    log.insert(two._replace(seq=3))
    log.insert(three._replace(seq=2))
    bad = log.verify().first_bad
    assert bad is not None
    assert (bad.kind, bad.seq, bad.event_id) == ("reordered", 2, three.id)


def test_duplicated(log: Log) -> None:
    log.add(3)
    row = log.rows()[1]
    log.loosen()
    log.insert(row)
    bad = log.verify().first_bad
    assert bad is not None
    assert (bad.kind, bad.seq, bad.event_id) == ("duplicated", 2, row.id)


def test_duplicated_at_another_place(log: Log) -> None:
    log.add(3)
    row = log.rows()[1]
    log.insert(row._replace(id="aud_copy", seq=4))
    bad = log.verify().first_bad
    assert bad is not None
    assert bad.seq == 4


def test_one_record_rewritten_with_its_hash(log: Log) -> None:
    log.add(4)
    row = log.rows()[1]
    said = json.loads(row.record) | {"ms": 7}
    h = chain.link(0, 2, row.prev, said)
    log.sql("UPDATE audit_record SET record=?, h=? WHERE seq=2", json.dumps(said), h)
    bad = log.verify().first_bad
    assert bad is not None
    assert (bad.kind, bad.seq, bad.event_id) == ("changed", 2, row.id)


@pytest.mark.parametrize(
    ("statement", "kind"),
    [
        ("UPDATE audit_head SET seq=seq+1", "missing"),
        ("UPDATE audit_head SET seq=seq-1", "head"),
        ("UPDATE audit_head SET h=(SELECT prev FROM audit_record WHERE seq=3)", "head"),
        ("UPDATE audit_head SET chain=1", "head"),
        ("DELETE FROM audit_head", "head"),
        ("INSERT INTO audit_head (chain, seq, h) VALUES (1, 4, 'x')", "missing"),
    ],
)
def test_head_edited(log: Log, statement: str, kind: str) -> None:
    log.add(3)
    log.sql(statement)
    bad = log.verify().first_bad
    assert bad is not None
    assert bad.kind == kind


@pytest.mark.parametrize(
    "statement",
    [
        'UPDATE audit_payload SET payload=\'{"note": "y"}\' WHERE audit_id=?',
        'UPDATE audit_payload SET payload=\'{"note" : "x"}\' WHERE audit_id=?',
        "UPDATE audit_payload SET payload='[]' WHERE audit_id=?",
        "UPDATE audit_payload SET salt=zeroblob(32) WHERE audit_id=?",
        "UPDATE audit_payload SET salt='text' WHERE audit_id=?",
    ],
)
def test_payload_changed(log: Log, statement: str) -> None:
    log.add()
    (second,) = log.add(payload={"note": "x"})
    log.sql(statement, second)
    bad = log.verify().first_bad
    assert bad is not None
    assert (bad.kind, bad.seq, bad.event_id) == ("payload", 2, second)


def test_payload_planted(log: Log) -> None:
    (first,) = log.add()
    log.sql("INSERT INTO audit_payload VALUES (?, zeroblob(32), '{}')", first)
    bad = log.verify().first_bad
    assert bad is not None
    assert (bad.kind, bad.event_id) == ("payload", first)


# -- what only the anchors show ----------------------------------------------------------------


def test_tail_cut_with_its_head(log: Log) -> None:
    log.add(5)
    log.anchor()
    log.sql("DELETE FROM audit_record WHERE seq>3")
    log.sql("UPDATE audit_head SET seq=3, h=(SELECT h FROM audit_record WHERE seq=3)")
    report = log.verify()
    assert report.first_bad is not None
    assert (report.first_bad.kind, report.first_bad.seq, report.exit_code) == ("cut", 4, 1)
    log.anchors.write_bytes(b"")
    report = log.verify()
    assert (report.first_bad, report.exit_code) == (None, 2)


def test_older_database_put_back(log: Log) -> None:
    log.add(3)
    log.anchor()
    copy = log.kept()
    log.add(2)
    log.anchor(seconds=60)
    log.restore(copy)
    bad = log.verify().first_bad
    assert bad is not None
    assert (bad.kind, bad.seq) == ("cut", 4)
    assert "older database" in bad.why


def test_older_database_put_back_that_went_on(log: Log) -> None:
    log.add(3)
    log.anchor()
    copy = log.kept()
    log.add(2)
    log.anchor(seconds=60)
    log.restore(copy)
    log.add(4)
    log.anchor(seconds=60)
    report = log.verify()
    assert report.first_bad is not None
    assert (report.first_bad.kind, report.first_bad.seq) == ("rewritten", 4)
    assert report.first_bad.event_id == log.rows()[3].id


def test_history_rewritten_by_the_owner(log: Log) -> None:
    for _ in range(3):
        log.add(3)
        log.anchor(seconds=60)

    def change(number: int, said: dict[str, Any]) -> dict[str, Any]:
        return said | {"money": {"minor": 1, "currency": "EUR"}} if number == 5 else said

    log.rewrite(change)
    report = log.verify()
    assert report.first_bad is not None
    assert report.first_bad.kind == "rewritten"
    assert report.first_bad.seq == 4, "the first one after the last anchor that still holds"
    assert "records 4 to 6" in report.first_bad.why
    assert report.exit_code == 1
    log.anchors.write_bytes(b"")
    assert log.verify().first_bad is None, "the chain alone cannot tell"


def test_rewritten_without_change_is_no_change(log: Log) -> None:
    log.add(4)
    log.anchor()
    log.rewrite(lambda number, said: said)
    assert log.verify().ok


# -- exit codes --------------------------------------------------------------------------------


def test_sound(log: Log) -> None:
    log.add(4)
    log.anchor()
    log.add(2)
    report = log.verify()
    assert (report.ok, report.exit_code, report.checked, report.chains) == (True, 0, 6, 1)
    assert (report.anchors, report.unanchored) == (1, 2)


def test_cannot_be_checked(log: Log) -> None:
    log.add(2)
    report = log.verify()
    assert (report.exit_code, report.checked) == (2, 2)
    assert "No such file" in report.unchecked
    log.anchor()
    assert log.verify().exit_code == 0
    none = log.do(lambda session: verify(session, log.anchors, None))
    assert none.exit_code == 2
    assert "there is no public key" in none.unchecked
    log.sql("UPDATE audit_record SET id='x' WHERE seq=1")
    none = log.do(lambda session: verify(session, None, None))
    assert none.exit_code == 1, "a broken chain needs no anchor to be broken"


def test_nothing_yet(log: Log) -> None:
    log.anchors.touch()
    assert log.verify().exit_code == 0


def test_database_unreadable(log: Log) -> None:
    log.add()
    log.anchor()
    log.sql("ALTER TABLE audit_record DROP COLUMN prev")
    report = log.verify()
    assert (report.exit_code, report.first_bad) == (2, None)


# -- joins -------------------------------------------------------------------------------------


def test_row_without_its_record(log: Log) -> None:
    """Every table that names audit records is joined with them."""
    (known,) = log.add()
    log.anchor()
    audited = [name for name, kind in tables().items() if "audit_id" in kind.__table__.c]
    assert {"transfer", "stored_result", "policy_use", "audit_payload"} < set(audited)
    for table in audited:
        if table != "audit_payload":
            fill(log, table, known)
            assert log.verify().ok, table
            log.sql(f"DELETE FROM {table}")
        fill(log, table, "aud_nobody")
        bad = log.verify().first_bad
        assert bad is not None
        assert (bad.kind, bad.event_id) == ("row", "aud_nobody")
        assert bad.why.startswith(f"{table} ")
        log.sql(f"DELETE FROM {table}")


def fill(log: Log, table: str, audit_id: str) -> None:
    """A row of anything, as the file's owner can put it there."""
    row: dict[str, Any] = {}
    for column in tables()[table].__table__.c:
        name = type(column.type).__name__
        row[column.name] = "{}" if name == "JSON" else b"1" if name == "LargeBinary" else 1
    row["audit_id"] = audit_id
    with closing(sqlite3.connect(log.path, isolation_level=None)) as connection:
        connection.execute("PRAGMA ignore_check_constraints=ON")
        names, marks = ", ".join(f'"{name}"' for name in row), ", ".join("?" * len(row))
        connection.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", [*row.values()])


def an_account(log: Log, id: str) -> None:
    log.sql("INSERT INTO account VALUES (?, 'units/MUG', ?, 'none', 0, 0, 0, 0)", id, id)


def created(*ids: str, op: str = "create") -> list[dict[str, str]]:
    return [{"op": op, "type": "account", "id": id} for id in ids]


def test_effect_without_its_row(log: Log) -> None:
    an_account(log, "acc_1")
    an_account(log, "acc_2")
    log.add(effects=created("acc_1"))
    (second,) = log.add(effects=created("acc_2"))
    log.add(effects=[{"op": "create", "type": "no_table", "id": "1"}, {"op": "update"}, "odd"])
    log.add(effects=created("acc_3"), outcome="pending")
    log.anchor()
    assert log.verify().ok
    log.sql("DELETE FROM account WHERE id='acc_2'")
    bad = log.verify().first_bad
    assert bad is not None
    assert (bad.kind, bad.seq, bad.event_id) == ("effect", 2, second)
    assert "acc_2" in bad.why
    log.add(effects=created("acc_2", op="delete"))
    assert log.verify().ok, "a removal that was recorded is no fault"


def test_effects_of_many_records(log: Log) -> None:
    """More than a page of effects, and the first missing one is named."""
    ids = [f"acc_{number:04}" for number in range(1_200)]
    there = [(id, id) for id in ids if id not in {"acc_0900", "acc_1100"}]
    with closing(sqlite3.connect(log.path)) as connection, connection:
        connection.executemany(
            "INSERT INTO account VALUES (?, 'units/MUG', ?, 'none', 0, 0, 0, 0)", there
        )
    for start in range(0, 1_200, 200):
        log.add(effects=created(*ids[start : start + 200]))
    bad = log.verify().first_bad
    assert bad is not None
    assert (bad.kind, bad.seq, "acc_0900" in bad.why) == ("effect", 5, True)


def test_transfer_is_what_its_record_says(log: Log) -> None:
    moved = {"op": "transfer", "type": "sale", "id": "tra_1", "amount": 500}
    an_account(log, "a")
    an_account(log, "b")
    (first,) = log.add(effects=[moved])
    log.anchor()
    log.sql(
        "INSERT INTO transfer VALUES ('tra_1', 'units/MUG', 'a', 'b', 500, 'posted', 'sale', 'r',"
        " NULL, NULL, '2026-11-02 09:00:00.000000', ?)",
        first,
    )
    assert log.verify().ok
    log.sql("UPDATE transfer SET amount=5")
    bad = log.verify().first_bad
    assert bad is not None
    assert (bad.kind, bad.event_id) == ("effect", first)


# -- many writers ------------------------------------------------------------------------------

WRITER = """
import asyncio, sys
from common.storage.database import Database
from tests.common.auditing import START, append

async def main() -> None:
    database = Database(sys.argv[1])
    for _ in range(int(sys.argv[2])):
        await append(database, START, {"note": "x"})
    await database.close()

asyncio.run(main())
"""


def test_four_processes_one_chain(log: Log) -> None:
    processes = [
        subprocess.Popen([sys.executable, "-c", WRITER, log.url, "25"], cwd=ROOT, env=inherited())
        for _ in range(4)
    ]
    assert [process.wait(120) for process in processes] == [0, 0, 0, 0]
    log.anchor()
    report = log.verify()
    assert (report.first_bad, report.checked, report.chains) == (None, 100, 1)
    assert [row.seq for row in log.rows()] == list(range(1, 101))


async def test_chains_of_postgres(postgres_log: str) -> None:
    database = Database(postgres_log)
    await asyncio.gather(
        *(append(database, START + timedelta(microseconds=n), {"n": n}) for n in range(300))
    )
    await asyncio.gather(database.run("*", _two_records), database.run("*", _two_records))
    report = await database.run("*", lambda session: verify(session, None, None), write=False)
    assert (report.first_bad, report.checked) == (None, 304)
    assert report.chains > 32

    def tamper(session: Session) -> tuple[int, int, str]:
        row = session.scalars(select(AuditRecord).where(AuditRecord.seq == 3).limit(1)).one()
        row.record = row.record | {"ms": 4}
        return row.chain, row.seq, row.id

    named = await database.run("*", tamper)
    report = await database.run("*", lambda session: verify(session, None, None), write=False)
    bad = report.first_bad
    assert bad is not None
    assert (bad.kind, (bad.chain, bad.seq, bad.event_id)) == ("changed", named)
    await database.close()


def _two_records(session: Session) -> None:
    rows = [
        chain.append(session, audit_id=new_audit_id(), now=START, record=a_record())
        for _ in range(2)
    ]
    assert rows[0].chain == rows[1].chain


async def test_any_input_on_postgres(postgres_log: str) -> None:
    database = Database(postgres_log)
    for payload in (
        {"a\0": "b\0", "s": "\ud800", "f": 1e300, "g": 1.0, "n": 2**70, "nan": float("nan")},
        {"z": 1, "a": {"ü": "é", "list": [None, True, "\u2028"]}},
    ):
        await append(database, START, payload, args=payload)
    report = await database.run("*", lambda session: verify(session, None, None), write=False)
    assert (report.first_bad, report.checked) == (None, 2)
    await database.close()


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
async def test_checked_while_written(kind: str, log: Log, request: pytest.FixtureRequest) -> None:
    """A check in the middle of traffic sees one moment, and finds it sound."""
    url = log.url if kind == "sqlite" else request.getfixturevalue("postgres_log")
    writing, checking = Database(url), Database(url)
    stop = asyncio.Event()

    async def write() -> None:
        while not stop.is_set():
            await append(writing, START)

    writers = [asyncio.create_task(write()) for _ in range(4)]
    seen = 0
    while seen < 60:
        report = await checking.run("*", lambda session: verify(session, None, None), write=False)
        assert report.first_bad is None
        seen = report.checked
        await asyncio.sleep(0.02)
    stop.set()
    await asyncio.gather(*writers)
    await writing.close()
    await checking.close()


async def test_new_chain_begun_twice_at_once(postgres_log: str) -> None:
    """Two transactions that begin the same chain: one waits, both get their number."""
    database = Database(postgres_log)
    ids = [f"aud_{number}" for number in range(4_000)]
    same = [
        id for id in ids
        if int.from_bytes(hashlib.sha256(id.encode()).digest()[:8], "big") % chain.CHAINS == 7
    ][:12]  # fmt: skip

    def one(id: str) -> Any:
        def work(session: Session) -> None:
            chain.append(session, audit_id=id, now=START, record=a_record())

        return database.run("*", work)

    await asyncio.gather(*map(one, same))

    def look(session: Session) -> list[tuple[int, int]]:
        return [(head.chain, head.seq) for head in session.scalars(select(AuditHead))]

    assert await database.run("*", look, write=False) == [(7, 12)]
    await database.close()
