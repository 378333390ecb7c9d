"""Anchors: signed lines outside the database, and what a damaged file shows."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy.orm import Session

from common.audit import anchors
from common.audit.anchors import Anchor, AnchorsBroken, due, last, merkle_root, read
from common.audit.verify import verify
from common.keys import anchor_key
from common.settings import inherited
from common.storage.database import Database
from tests.common.auditing import START, Log, append

ROOT = Path(__file__).parents[2]


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Log]:
    with closing(Log(tmp_path)) as log:
        yield log


@pytest.fixture
def log(empty: Log) -> Log:
    """Seven records, three anchors."""
    for count in (3, 2, 2):
        empty.add(count)
        assert empty.anchor(seconds=60)
    return empty


# Roots that RFC 9162 logs give for these leaves (certificate-transparency-go, merkle tests).
LEAVES = [
    bytes.fromhex(leaf)
    for leaf in (
        "", "00", "10", "2021", "3031", "40414243", "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]  # fmt: skip
ROOTS = {
    0: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    1: "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    2: "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    3: "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    8: "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
}


@pytest.mark.parametrize(("count", "root"), ROOTS.items())
def test_merkle_root(count: int, root: str) -> None:
    assert merkle_root(LEAVES[:count]).hex() == root


def test_due() -> None:
    before = Anchor(1, START, 10, (), "")
    second = timedelta(seconds=1)
    assert not due(None, now=START, count=0)
    assert due(None, now=START, count=1)
    assert not due(before, now=START + 59 * second, count=11)
    assert due(before, now=START + 60 * second, count=11)
    assert not due(before, now=START + 600 * second, count=10)
    assert not due(before, now=START, count=1_009)
    assert due(before, now=START, count=1_010)
    assert due(before, now=START, count=9), "a database that shrank is anchored at once"
    assert due(before, now=START - second, count=11), "a clock that was put back stops no anchors"


def test_lines(log: Log) -> None:
    key = anchor_key(log.keys).public_key()
    found = list(read(log.anchors, key))
    assert [(a.n, a.count) for a in found] == [(1, 3), (2, 5), (3, 7)]
    assert [[tuple(head) for head in a.heads] for a in found] == [
        [(0, seq, log.rows()[seq - 1].h)] for seq in (3, 5, 7)
    ]
    assert last(log.anchors) == found[-1]
    assert log.verify().last_anchor == found[-1].digest


def test_nothing_new_is_not_anchored(log: Log) -> None:
    before = log.anchors.read_bytes()
    assert not log.anchor(force=False, seconds=3_600)
    assert log.anchors.read_bytes() == before
    assert log.anchor(force=True)
    assert log.verify().anchors == 4


def test_empty_shop_has_no_anchor(empty: Log) -> None:
    assert not empty.anchor(force=True)
    assert empty.anchors.read_bytes() == b""


def test_every_byte_of_the_file(log: Log) -> None:
    key = anchor_key(log.keys).public_key()
    whole = b"".join(log.anchors.read_bytes().splitlines(keepends=True)[:2])
    for place in range(len(whole)):
        for change in (0x01, 0x20, 0x80):
            damaged = whole[:place] + bytes([whole[place] ^ change]) + whole[place + 1 :]
            log.anchors.write_bytes(damaged)
            with pytest.raises(AnchorsBroken) as broken:
                list(read(log.anchors, key))
            line = whole[:place].count(b"\n") + 1
            assert broken.value.line == line, (place, change)


@pytest.mark.parametrize("order", [[1, 2], [0, 2], [0, 2, 1], [1, 0, 2], [0, 1, 1, 2], [0, 0], [2]])
def test_lines_removed_moved_doubled(log: Log, order: list[int]) -> None:
    lines = log.anchors.read_bytes().splitlines(keepends=True)
    log.anchors.write_bytes(b"".join(lines[place] for place in order))
    bad = log.verify().first_bad
    assert bad is not None
    assert bad.kind == "anchor"
    expected = next(n for n, place in enumerate([*order, -1], 1) if place != n - 1)
    assert f"line {expected}:" in bad.why


def test_line_of_another_file(log: Log) -> None:
    """Signed by the right key, with the right number, after another line."""
    lines = log.anchors.read_bytes().splitlines(keepends=True)
    log.anchors.write_bytes(lines[0])
    assert log.anchor()
    assert log.anchor()
    other = log.anchors.read_bytes().splitlines(keepends=True)
    log.anchors.write_bytes(lines[0] + lines[1] + other[2])
    bad = log.verify().first_bad
    assert bad is not None
    assert "line 3: the line before is not the one" in bad.why


def test_same_content_in_another_form(log: Log) -> None:
    lines = log.anchors.read_bytes().splitlines(keepends=True)
    body = json.loads(lines[2])
    log.anchors.write_bytes(lines[0] + lines[1] + json.dumps(body).encode() + b"\n")
    bad = log.verify().first_bad
    assert bad is not None
    assert "line 3: the line is not in canonical form" in bad.why


def test_file_cut_between_lines(log: Log) -> None:
    """A shorter file is a valid file. It shows as records without an anchor, and to whoever kept a
    later digest."""
    digest = log.verify().last_anchor
    lines = log.anchors.read_bytes().splitlines(keepends=True)
    log.anchors.write_bytes(lines[0])
    report = log.verify()
    assert (report.exit_code, report.anchors, report.unanchored) == (0, 1, 4)
    report = log.verify(known_anchor=digest)
    assert report.first_bad is not None
    assert (report.first_bad.kind, report.exit_code) == ("anchor", 1)
    log.anchors.write_bytes(b"".join(lines))
    assert log.verify(known_anchor=digest).ok


def test_file_cut_inside_a_line(log: Log) -> None:
    whole = log.anchors.read_bytes()
    log.anchors.write_bytes(whole[:-20])
    bad = log.verify().first_bad
    assert bad is not None
    assert "line 3: the line is incomplete" in bad.why


def test_torn_line_is_replaced(log: Log) -> None:
    """A crash in the middle of a write leaves half a line; the next anchor takes its place."""
    lines = log.anchors.read_bytes().splitlines(keepends=True)
    log.anchors.write_bytes(b"".join(lines[:2]) + lines[2][:50])
    log.add()
    assert log.anchor(seconds=60)
    report = log.verify()
    assert (report.exit_code, report.anchors, report.unanchored) == (0, 3, 0)


def test_signed_by_somebody_else(log: Log) -> None:
    for name in ("anchor.key", "anchor.pub"):
        (log.keys / name).unlink()
    bad = log.verify().first_bad
    assert bad is not None
    assert "another key" in bad.why
    log.anchors.unlink()
    log.anchor()
    assert log.verify().ok


def test_key_id_forged(log: Log) -> None:
    """A line signed by another key under the name of the right one."""
    key = anchor_key(log.keys).public_key()
    other = Ed25519PrivateKey.generate()
    line = log.anchors.read_bytes().splitlines()[0]
    body = json.loads(line)
    del body["sig"]
    body["sig"] = other.sign(b"shop audit anchor 1\n" + anchors.canonical(body)).hex()
    log.anchors.write_bytes(anchors.canonical(body) + b"\n")
    with pytest.raises(AnchorsBroken, match="the signature does not hold"):
        list(read(log.anchors, key))


def test_right_key_wrong_content(log: Log) -> None:
    """Even with the key, a root that is not that of the heads is refused."""
    key = anchor_key(log.keys)
    body = json.loads(log.anchors.read_bytes().splitlines()[0])
    del body["sig"]
    for change in ({"root": "00" * 32}, {"count": 4}):
        wrong = body | change
        wrong["sig"] = key.sign(b"shop audit anchor 1\n" + anchors.canonical(wrong)).hex()
        log.anchors.write_bytes(anchors.canonical(wrong) + b"\n")
        with pytest.raises(AnchorsBroken, match="the root is not that of the heads"):
            list(read(log.anchors, key.public_key()))


def test_shrunken_database_shows_in_the_file_alone(log: Log) -> None:
    copy = log.kept()
    log.add(3)
    log.anchor(seconds=60)
    log.restore(copy)
    assert log.anchor(force=False), "what happens from here on must be vouched for too"
    with pytest.raises(AnchorsBroken, match="line 5: chain 0 is shorter"):
        list(read(log.anchors, anchor_key(log.keys).public_key()))


def test_broken_last_line_stops_anchoring(log: Log) -> None:
    whole = log.anchors.read_bytes()
    log.anchors.write_bytes(whole[:-10] + b"x" * 9 + b"\n")
    log.add()
    with pytest.raises(AnchorsBroken):
        log.anchor(seconds=60)


ANCHORER = """
import asyncio, sys
from datetime import timedelta
from pathlib import Path
from common.audit.anchors import anchor
from common.storage.database import Database
from tests.common.auditing import START, append

async def main() -> None:
    folder, own = Path(sys.argv[1]), int(sys.argv[2])
    database = Database(f"sqlite:///{folder / 'shop.db'}")
    for turn in range(4):
        now = START + timedelta(minutes=turn, seconds=own)
        await append(database, now)
        await anchor(database, folder / "anchors.jsonl", folder / "keys", now=now, force=True)
    await database.close()

asyncio.run(main())
"""


def test_seven_processes_anchor(empty: Log) -> None:
    """They make the key, share the file, and leave one chain of anchors."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", ANCHORER, str(empty.folder), str(number)],
            cwd=ROOT,
            env=inherited(),
        )
        for number in range(7)
    ]
    assert [process.wait(120) for process in processes] == [0] * 7
    report = empty.verify()
    assert (report.first_bad, report.exit_code, report.checked) == (None, 0, 28)
    assert report.anchors >= 4
    assert empty.anchors.read_bytes().count(b"\n") == report.anchors


async def test_cancelled_anchor_leaves_a_whole_file(empty: Log) -> None:
    log = empty
    database = Database(log.url)
    for turn in range(12):
        await append(database, START)
        now = START + timedelta(minutes=turn)
        task = asyncio.create_task(
            anchors.anchor(database, log.anchors, log.keys, now=now, force=True)
        )
        for _ in range(turn):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
    assert await anchors.anchor(database, log.anchors, log.keys, now=now, force=True)

    def work(session: Session) -> int:
        return verify(session, log.anchors, anchor_key(log.keys).public_key()).exit_code

    assert await database.run("*", work, write=False) == 0
    await database.close()
