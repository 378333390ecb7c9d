"""Anchors: what the chains looked like, signed with a key the database does not hold.

A chain alone cannot show that its tail was cut, that an older copy was put back, or that whoever
owns the database computed it anew. An anchor is one line of a JSONL file: every chain's head, the
Merkle root over them (RFC 9162), the SHA-256 of the line before, and an Ed25519 signature. The file
belongs on a disk, a log host or an object store that the database's owner cannot rewrite.

What the file alone cannot show is that its own newest lines were cut off: a shorter file is a valid
file. It shows as records without an anchor, and to anybody who kept a later line's digest.
"""

import asyncio
import hashlib
import json
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from sqlalchemy import select, tuple_
from sqlalchemy.orm import Session

from common.audit.chain import START, Head, heads, moment
from common.canonical import canonical
from common.keys import anchor_key
from common.storage import file_lock
from common.storage.database import Database
from common.tables.spine import AuditRecord

log = logging.getLogger(__name__)

EVERY: Final = timedelta(seconds=60)
RECORDS: Final = 1_000
MAX_LINE: Final = 64 * 1024
_DOMAIN: Final = b"shop audit anchor 1\n"
_FIELDS: Final = frozenset({"v", "n", "at", "count", "heads", "root", "prev", "key", "sig"})
_LOCK_TRIES: Final = 50


class AnchorsBroken(Exception):
    """A line of the file is not what was written. ``line`` counts from 1."""

    def __init__(self, line: int, why: str) -> None:
        super().__init__(f"line {line}: {why}")
        self.line = line
        self.why = why


@dataclass(frozen=True)
class After:
    """What the first line of a file begun anew says: the file before ended with the line of this
    ``digest``, and ``record`` is the audit record of who began anew and why."""

    digest: str
    record: str


@dataclass(frozen=True)
class Anchor:
    """One line. ``count`` is how many records there were in all; ``digest`` is of the line."""

    n: int
    at: datetime
    count: int
    heads: tuple[Head, ...]
    digest: str
    after: After | None = None


async def anchor(
    database: Database, file: Path, key_dir: Path, *, now: datetime, force: bool = False
) -> bool:
    """Append an anchor if one is due, or, with ``force``, if there is any record.

    False when there was nothing to do, or another process is at it. Raises AnchorsBroken if the
    file's last line cannot be read, KeyUnusable, OSError.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    for _ in range(_LOCK_TRIES if force else 1):
        with locked(file) as handle:
            if handle is not None:
                return await _anchor(database, handle, key_dir, now, force)
        await asyncio.sleep(0.1 if force else 0)
    return False


def due(previous: Anchor | None, *, now: datetime, count: int) -> bool:
    """Whether ``count`` records call for an anchor: 1,000 new ones, or one after 60 seconds."""
    if previous is None:
        return count > 0
    if count < previous.count:
        return True
    # A clock that was put back is behind the last anchor, maybe for years.
    recent = timedelta() <= now - previous.at < EVERY
    return count - previous.count >= RECORDS or (count > previous.count and not recent)


def last(file: Path) -> Anchor | None:
    """The newest anchor, not verified. Raises AnchorsBroken, OSError."""
    with file.open("rb") as handle:
        return last_of(handle)


def kept(file: Path) -> str:
    """The digest of the last line of a copy, or of a file that is that line alone. Raises
    AnchorsBroken, OSError."""
    with file.open("rb") as handle:
        handle.seek(max(0, handle.seek(0, os.SEEK_END) - 2 * MAX_LINE))
        return _parsed(handle.read().strip().rpartition(b"\n")[2], 1)[1].digest


def read(file: Path, public_key: Ed25519PublicKey, *, size: int | None = None) -> Iterator[Anchor]:
    """Every anchor of the file's first ``size`` bytes, each verified against the key and the line
    before. Raises AnchorsBroken at the first line that does not hold, OSError."""
    left = file.stat().st_size if size is None else size
    prev, number, seen = START, 0, dict[int, Head]()
    with file.open("rb") as handle:
        while left > 0:
            raw = handle.readline(min(left, MAX_LINE))
            left -= len(raw)
            number += 1
            if not raw.endswith(b"\n"):
                raise AnchorsBroken(number, "the line is incomplete")
            found = _verified(raw[:-1], number, prev, public_key)
            if found.after is not None and number > 1:
                raise AnchorsBroken(number, "only the first line may begin anew")
            for head in found.heads:
                if head.chain in seen and head.seq < seen[head.chain].seq:
                    raise AnchorsBroken(
                        number,
                        f"chain {head.chain} is shorter than in the anchor before:"
                        " records were cut off, or an older database was put back",
                    )
            if seen.keys() - {head.chain for head in found.heads}:
                raise AnchorsBroken(number, "a chain of the anchor before is gone")
            seen = {head.chain: head for head in found.heads}
            prev = found.digest
            yield found


def merkle_root(leaves: Sequence[bytes]) -> bytes:
    """RFC 9162, section 2.1.1: leaves hashed with 0x00 before them, nodes with 0x01."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\0" + leaves[0]).digest()
    half = 1 << ((len(leaves) - 1).bit_length() - 1)
    return hashlib.sha256(b"\1" + merkle_root(leaves[:half]) + merkle_root(leaves[half:])).digest()


async def _anchor(
    database: Database, handle: IO[bytes], key_dir: Path, now: datetime, force: bool
) -> bool:
    previous = last_of(handle)

    def look(session: Session) -> tuple[list[Head], bool]:
        return heads(session), previous is None or _holds(session, previous)

    found, holds = await database.run("*", look, write=False)
    if not holds:
        # Written down all the same: what happens from here on must be vouched for too.
        log.critical("the database no longer holds what its last anchor says")
    count = sum(head.seq for head in found)
    if not (due(previous, now=now, count=count) or (force and count > 0)):
        return False
    line = _signed(anchor_key(key_dir), previous, now, found)
    writing = asyncio.ensure_future(asyncio.to_thread(_append, handle, line))
    try:
        await asyncio.shield(writing)
    except asyncio.CancelledError:
        await asyncio.wait([writing])  # the lock is held until the line is whole
        raise
    return True


def _holds(session: Session, previous: Anchor) -> bool:
    points = [(head.chain, head.seq) for head in previous.heads]
    column = tuple_(AuditRecord.chain, AuditRecord.seq)
    query = select(AuditRecord.chain, AuditRecord.seq, AuditRecord.h).where(column.in_(points))
    return {Head(*row) for row in session.execute(query)} == set(previous.heads)


def first_of(key: Ed25519PrivateKey, now: datetime, found: list[Head], after: After) -> bytes:
    """The first line of a file begun anew."""
    return _signed(key, None, now, found, after)


def _signed(
    key: Ed25519PrivateKey, previous: Anchor | None, now: datetime, found: list[Head],
    after: After | None = None,
) -> bytes:  # fmt: skip
    body: dict[str, Any] = {
        "v": 1,
        "n": previous.n + 1 if previous else 1,
        "at": moment(now),
        "count": sum(head.seq for head in found),
        "heads": [list(head) for head in found],
        "root": _root(found),
        "prev": previous.digest if previous else START,
        "key": key_id(key.public_key()),
    }
    if after is not None:
        body["after"] = {"digest": after.digest, "record": after.record}
    body["sig"] = key.sign(_DOMAIN + canonical(body)).hex()
    return canonical(body)


def key_id(key: Ed25519PublicKey) -> str:
    """16 hexadecimal digits that name a public key."""
    return hashlib.sha256(key.public_bytes(Encoding.Raw, PublicFormat.Raw)).hexdigest()[:16]


def _verified(raw: bytes, number: int, prev: str, key: Ed25519PublicKey) -> Anchor:
    body, found = _parsed(raw, number)
    if body["key"] != key_id(key):
        raise AnchorsBroken(number, f"signed with another key ({ascii(body['key'])[:40]})")
    signature = body.pop("sig")
    try:
        key.verify(bytes.fromhex(signature), _DOMAIN + canonical(body))
    except (InvalidSignature, ValueError, TypeError):
        raise AnchorsBroken(number, "the signature does not hold") from None
    if body["n"] != number:
        raise AnchorsBroken(number, f"this is anchor {found.n}: lines were removed or moved")
    if body["prev"] != prev:
        raise AnchorsBroken(number, "the line before is not the one it was signed after")
    if body["root"] != _root(list(found.heads)) or found.count != sum(h.seq for h in found.heads):
        raise AnchorsBroken(number, "the root is not that of the heads")
    return found


def _parsed(raw: bytes, number: int) -> tuple[dict[str, Any], Anchor]:
    """A line's content. The bytes must be the canonical ones: one content has one form."""
    try:
        body = json.loads(raw)
        if canonical(body) != raw:
            raise AnchorsBroken(number, "the line is not in canonical form")
        if body.keys() - {"after"} != _FIELDS:
            raise AnchorsBroken(number, "the line has other fields than an anchor")
        at = datetime.strptime(body["at"], "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
        found = tuple(Head(int(chain), int(seq), str(h)) for chain, seq, h in body["heads"])
        if body["sig"] != bytes.fromhex(body["sig"]).hex() or body["v"] != 1:
            raise AnchorsBroken(number, "the line has a form that is not known")
        digest = hashlib.sha256(raw).hexdigest()
        after = After(**body["after"]) if "after" in body else None
        return body, Anchor(int(body["n"]), at, int(body["count"]), found, digest, after)
    except AnchorsBroken:
        raise
    except Exception:  # whatever a changed byte can make of a line
        raise AnchorsBroken(number, "the line is not an anchor") from None


def _root(found: list[Head]) -> str:
    return merkle_root(
        [h.chain.to_bytes(4, "big") + h.seq.to_bytes(8, "big") + bytes.fromhex(h.h) for h in found]
    ).hex()


def last_of(handle: IO[bytes]) -> Anchor | None:
    """The last whole line. A torn one after it, left by a crash, does not count."""
    size = handle.seek(0, os.SEEK_END)
    handle.seek(max(0, size - 2 * MAX_LINE))
    lines = handle.read().split(b"\n")[:-1]
    return _parsed(lines[-1], 0)[1] if lines else None


def _append(handle: IO[bytes], line: bytes) -> None:
    """One write and its fsync; what a crash left of an unfinished line goes first."""
    if len(line) >= MAX_LINE:
        raise ValueError("an anchor is longer than a line may be")
    size = handle.seek(0, os.SEEK_END)
    start = max(0, size - MAX_LINE)
    handle.seek(start)
    tail = handle.read()
    whole = start + tail.rfind(b"\n") + 1
    if whole < size:
        handle.truncate(whole)
    handle.seek(0, os.SEEK_END)
    handle.write(line + b"\n")
    handle.flush()
    os.fsync(handle.fileno())


@contextmanager
def locked(file: Path) -> Iterator[IO[bytes] | None]:
    """The file, for this process alone; None if another has it, or has put another in its place."""
    with file.open("a+b") as handle:
        if not file_lock.take(handle):
            yield None
            return
        current = file.stat() if file.exists() else None
        same = current is not None and os.path.samestat(os.fstat(handle.fileno()), current)
        yield handle if same else None
