"""A changing call has one effect, however often it arrives.

The answer is stored under the caller, the tool and the caller's key, in the transaction of the
effect: there is no half-done state to find after a crash. A parallel call with the same key waits
in ``replay`` before any rule has run, then finds the answer.
"""

import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import cache
from typing import Any, Final, cast

from sqlalchemy import Executable, Table, bindparam, delete, select
from sqlalchemy.orm import Session

from common.call import Actor
from common.canonical import digest
from common.errors import IdempotencyConflict, InvalidParameters
from common.storage import hot
from common.storage.dialects import dialect_of, upsert
from common.storage.locks import one_at_a_time
from common.tables.spine import StoredResult

KEPT: Final = timedelta(days=7)
MOMENT: Final = timedelta(seconds=60)
LARGEST_SWEEP: Final = 10_000
_TABLE: Final = cast(Table, StoredResult.__table__)
_STORED: Final = select(_TABLE.c.args_digest, _TABLE.c.result).where(
    _TABLE.c.id == bindparam("stored_id")
)
_RECENT: Final = select(_TABLE.c.audit_id).where(
    _TABLE.c.id == bindparam("stored_id"), _TABLE.c.at > bindparam("since")
)
_KEY: Final = re.compile(r"[A-Za-z0-9_-]{8,128}", re.ASCII)


class Raced(Exception):
    """Another transaction stored the same key first. Keep nothing and run the call again."""


def key_of(actor: Actor, server: str, tool: str, key: str) -> str:
    """Where the answer to a caller's key is stored. Raises InvalidParameters."""
    if not _KEY.fullmatch(key):
        requirement = "8 to 128 characters out of A-Z a-z 0-9 _ -"
        raise InvalidParameters.field("idempotency_key", key, requirement)
    return _place("key", actor, server, tool, key)


def approval_key(actor: Actor, server: str, tool: str, approval_id: str) -> str:
    """Where the answer to an approved call is stored; no caller's key can meet it."""
    return _place("approval", actor, server, tool, approval_id)


def soft_key(actor: Actor, server: str, tool: str, args_digest: str) -> str:
    """Where a call without a key is remembered for a moment."""
    return _place("soft", actor, server, tool, args_digest)


def replay(session: Session, stored_id: str, args_digest: str) -> dict[str, Any] | None:
    """The stored answer, or None for a new key. Raises IdempotencyConflict for other arguments."""
    one_at_a_time(session, f"key:{stored_id}")
    found = hot.first(session, _STORED, stored_id=stored_id)
    if found is None:
        return None
    if found.args_digest != args_digest:
        raise IdempotencyConflict("This idempotency_key was used for other arguments.")
    result: dict[str, Any] = found.result
    return result


def keep(
    session: Session,
    keys: Sequence[str],
    soft: str,
    *,
    server: str,
    tool: str,
    args_digest: str,
    result: dict[str, Any],
    now: datetime,
    audit_id: str,
) -> None:
    """Keep the answer under each of the keys, with its effect, and note under ``soft``, unless that
    is empty, that the call was made now. Raises Raced when a key was stored meanwhile."""
    kept = [*((key, result) for key in keys), *([(soft, {})] if soft else ())]
    if not kept:
        return
    values: dict[str, Any] = {
        "server": server, "tool": tool, "args_digest": args_digest, "at": now,
        "audit_id": audit_id, "soft": soft,
    }  # fmt: skip
    for place, (id, answer) in enumerate(kept):
        values |= {f"id_{place}": id, f"result_{place}": answer}
    if hot.change(session, _keeping(dialect_of(session), len(kept)), **values) != len(kept):
        raise Raced(*keys)


def recent(session: Session, soft: str, now: datetime) -> str | None:
    """The audit id of the same call less than a minute ago."""
    one_at_a_time(session, f"key:{soft}")
    found = hot.first(session, _RECENT, stored_id=soft, since=now - MOMENT)
    return None if found is None else str(found[0])


def sweep(session: Session, now: datetime, limit: int) -> int:
    """Forget answers kept long enough, the oldest first. Returns how many."""
    old = (
        select(StoredResult.id)
        .where(StoredResult.at < now - KEPT)
        .order_by(StoredResult.at)
        .limit(min(limit, LARGEST_SWEEP))
    )
    gone = session.scalars(
        delete(StoredResult)
        .where(StoredResult.id.in_(old))
        .returning(StoredResult.id)
        .execution_options(synchronize_session=False)
    )
    return len(gone.all())


def _place(kind: str, actor: Actor, server: str, tool: str, name: str) -> str:
    return digest([kind, actor.issuer, actor.subject, actor.client, server, tool, name])


@cache
def _keeping(dialect: str, rows: int) -> Executable:
    """Only the note that a call was made now is written again; of a key stored before, nothing."""
    shared = {
        name: bindparam(name, type_=_TABLE.c[name].type)
        for name in ("server", "tool", "args_digest", "at", "audit_id")
    }
    made = upsert(dialect, StoredResult).values([
        shared
        | {
            "id": bindparam(f"id_{place}", type_=_TABLE.c.id.type),
            "result": bindparam(f"result_{place}", type_=_TABLE.c.result.type),
        }
        for place in range(rows)
    ])  # fmt: skip
    fresh = {"at": made.excluded.at, "audit_id": made.excluded.audit_id}
    note = made.excluded.id == bindparam("soft", type_=_TABLE.c.id.type)
    return made.on_conflict_do_update(index_elements=["id"], set_=fresh, where=note)
