"""The audit chain: each record bound to the one before it, in the transaction of its effect.

``h = SHA-256(0x00 ‖ chain ‖ seq ‖ prev ‖ JCS(record))``, with the chain as 4 and the sequence
number as 8 bytes, big-endian, and ``prev`` as 32 bytes. The columns ``id`` and ``at`` stand in the
record again, as ``event_id`` and ``ts``, so the hash covers every column of a row.

SQLite has one writer and one chain. PostgreSQL has 64 chains, for a single head would make every
writer wait for the one before it; a transaction writes to one of them only, and locks its head
last, so that two transactions never wait for each other.
"""

import hashlib
import os
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple, cast

from sqlalchemy import (
    BigInteger,
    BindParameter,
    CursorResult,
    DateTime,
    Insert,
    LargeBinary,
    String,
    Table,
    Text,
    TextualSelect,
    bindparam,
    delete,
    insert,
    select,
    text,
    update,
)
from sqlalchemy.orm import Session

from common.audit.redact import bounded, sealed
from common.canonical import canonical
from common.storage import hot
from common.storage.dialects import dialect_of, upsert
from common.tables import Base
from common.tables.spine import AuditHead, AuditPayload, AuditRecord

CHAINS: Final = 64
START: Final = "0" * 64
OUTCOMES: Final = frozenset(
    {"ok", "denied", "refused", "failed", "replayed", "pending", "cancelled"}
)


class Head(NamedTuple):
    """The newest link of one chain."""

    chain: int
    seq: int
    h: str


def append(
    session: Session,
    *,
    audit_id: str,
    now: datetime,
    record: dict[str, Any],
    payload: dict[str, Any] | None = None,
) -> Head:
    """Add a record to its chain, as the last thing a transaction does. Returns where it stands.

    ``payload`` holds what may name a person; the record gets a salted commitment to it. Both are
    masked. Raises ValueError for an outcome not in OUTCOMES.
    """
    if record.get("outcome") not in OUTCOMES:
        raise ValueError(f"no such outcome: {record.get('outcome')!r}")
    own: dict[str, Any] = {"event_id": audit_id, "ts": moment(now)}
    values: dict[str, Any] = {"id": audit_id, "at": now}
    if payload:
        kept, salt = sealed(bounded(payload)), os.urandom(32)
        own["args_commit"] = _commitment(salt, kept)
        values |= {"salt": salt, "payload": kept.decode()}
    content = sealed({name: record[name] for name in record if name != "args_commit"}, own)
    session.flush()
    if dialect_of(session) == "postgresql":
        return _at_once(session, _chain_of(session, audit_id), values | {"content": content})
    return _in_turn(session, values, content)


def _in_turn(session: Session, values: dict[str, Any], content: bytes) -> Head:
    """SQLite: one chain, and the write transaction is lock enough."""
    head = _head_of(session, 0)
    after = Head(0, head.seq + 1, _hash(0, head.seq + 1, head.h, content))
    if "payload" in values:
        hot.change(
            session, _ASIDE, audit_id=values["id"], salt=values["salt"], payload=values["payload"]
        )
    row = {"id": values["id"], "at": values["at"], "record": content.decode(), "prev": head.h}
    hot.change(session, _ADD, **row, **after._asdict())
    hot.change(session, _MOVE, of=0, to_seq=after.seq, to_h=after.h)
    return after


def _at_once(session: Session, chain: int, values: dict[str, Any]) -> Head:
    """All of it in one statement: the head is locked for no round trip but the commit's."""
    statement = _ADD_ASIDE if "payload" in values else _ADD_ALONE
    found = hot.first(session, statement, of=chain, **values)
    if found is None:
        _begin(session, chain)
        found = hot.first(session, statement, of=chain, **values)
    return Head(int(found.chain), int(found.seq), str(found.h))


def erase(session: Session, audit_ids: Iterable[str]) -> int:
    """Delete the payloads of these records: the personal data and the salt. The chain stays whole.
    Returns how many there were."""
    if dialect_of(session) == "sqlite":
        # Deleted content would otherwise stay readable in the file's free pages.
        session.connection().exec_driver_sql("PRAGMA secure_delete=ON")
    ids, erased = sorted(set(audit_ids)), 0
    for start in range(0, len(ids), 500):
        found = session.execute(
            delete(AuditPayload).where(AuditPayload.audit_id.in_(ids[start : start + 500])),
            execution_options={"synchronize_session": False},
        )
        assert isinstance(found, CursorResult)
        erased += found.rowcount
    return erased


def heads(session: Session) -> list[Head]:
    """Every chain's newest link, in one statement, by chain."""
    query = select(AuditHead.chain, AuditHead.seq, AuditHead.h).order_by(AuditHead.chain)
    return [Head(*row) for row in session.execute(query)]


def link(chain: int, seq: int, prev: str, record: dict[str, Any]) -> str:
    """The hash of one link, in hexadecimal. Raises ValueError or OverflowError for values that no
    link can have."""
    return _hash(chain, seq, prev, canonical(record))


def commitment(salt: bytes, payload: Any) -> str:
    """SHA-256 over salt and payload: without the salt nobody can try values against it."""
    return _commitment(salt, canonical(payload))


def _commitment(salt: bytes, content: bytes) -> str:
    return hashlib.sha256(salt + content).hexdigest()


def moment(now: datetime) -> str:
    """RFC 3339 with a Z, to the microsecond."""
    return now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _hash(chain: int, seq: int, prev: str, content: bytes) -> str:
    fixed = b"\0" + chain.to_bytes(4, "big") + seq.to_bytes(8, "big") + bytes.fromhex(prev)
    return hashlib.sha256(fixed + content).hexdigest()


def _chain_of(session: Session, audit_id: str) -> int:
    """By hash of the id; the same chain again for a second record of one transaction."""
    if dialect_of(session) == "sqlite":
        return 0
    transaction = session.get_transaction()
    taken, chain = session.info.get("audit_chain", (None, 0))
    if taken is None or taken is not transaction:
        chain = int.from_bytes(hashlib.sha256(audit_id.encode()).digest()[:8], "big") % CHAINS
        session.info["audit_chain"] = (transaction, chain)
    return int(chain)


def _begin(session: Session, chain: int) -> None:
    new = upsert(dialect_of(session), AuditHead).on_conflict_do_nothing()
    session.connection().execute(new, {"chain": chain, "seq": 0, "h": START})


def _head_of(session: Session, chain: int) -> Head:
    """The chain's head, begun if the chain is new."""
    found = hot.first(session, _HEAD, of=chain)
    if found is None:
        _begin(session, chain)
        found = hot.first(session, _HEAD, of=chain)
    return Head(chain, found.seq, found.h)


# Built once: a record is written with every change, and building costs more than running.
_head: Final = AuditHead.__table__.c
_HEAD: Final = select(_head.seq, _head.h).where(_head.chain == bindparam("of"))
_MOVE: Final = (
    update(cast(Table, AuditHead.__table__))
    .where(_head.chain == bindparam("of"))
    .values(seq=bindparam("to_seq"), h=bindparam("to_h"))
)


def _adding(kind: type[Base], written: str) -> Insert:
    """``written`` is JSON that goes in as the text it was hashed as."""
    table = cast(Table, kind.__table__)
    return insert(table).values(
        {c.name: bindparam(c.name, type_=Text() if c.name == written else c.type) for c in table.c}
    )


_ADD: Final = _adding(AuditRecord, "record")
_ASIDE: Final = _adding(AuditPayload, "payload")


def _one_statement(aside: str, *more: BindParameter[Any]) -> TextualSelect:
    """The hash as ``_hash`` makes it. A writer that waited for the head computes it from the head
    it then finds, as PostgreSQL evaluates an update anew on the row that was changed meanwhile."""
    return (
        text(
            "WITH moved AS ("
            " UPDATE audit_head SET seq = seq + 1, prev = h, h = encode(sha256("
            "  decode('00', 'hex') || int4send(CAST(chain AS int)) || int8send(seq + 1)"
            "  || decode(h, 'hex') || :content), 'hex')"
            " WHERE chain = :of RETURNING chain, seq, h, prev"
            "), added AS ("
            " INSERT INTO audit_record (id, chain, seq, at, record, prev, h)"
            " SELECT :id, chain, seq, :at, CAST(convert_from(:content, 'UTF8') AS jsonb), prev, h"
            f" FROM moved){aside} SELECT chain, seq, h FROM moved"
        )
        .bindparams(
            *more,
            bindparam("of", type_=BigInteger()),
            bindparam("id", type_=String()),
            bindparam("at", type_=DateTime(timezone=True)),
            bindparam("content", type_=LargeBinary()),
        )
        .columns(AuditHead.chain, AuditHead.seq, AuditHead.h)
    )


_ADD_ALONE: Final = _one_statement("")
_ADD_ASIDE: Final = _one_statement(
    ", aside AS (INSERT INTO audit_payload (audit_id, salt, payload)"
    " SELECT :id, :salt, CAST(CAST(:payload AS text) AS jsonb) FROM moved)",
    bindparam("salt", type_=LargeBinary()), bindparam("payload", type_=Text()),
)  # fmt: skip
