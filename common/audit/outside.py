"""What people do outside tools, at a terminal or in the console: one transaction, one record."""

from collections.abc import Callable
from typing import Any, TypeVar

from sqlalchemy.orm import Session

from common.audit import chain
from common.audit.records import FORM, who
from common.call import Actor, Call
from common.clock import Clock
from common.errors import ShopError
from common.storage.database import Database, new_audit_id

T = TypeVar("T")


async def recorded(
    database: Database,
    clock: Clock,
    actor: Actor,
    server: str,
    tool: str,
    version: str,
    work: Callable[[Call], T],
    *,
    domain: str = "*",
    approval: dict[str, Any] | None = None,
) -> T:
    """Do something in one transaction with its own audit record."""
    audit_id, now = new_audit_id(), clock()

    def inside(session: Session) -> T:
        call = Call(actor, session, now, audit_id, server, tool)
        result = work(call)
        session.flush()
        record = _record(actor, server, tool, version, "ok", approval)
        chain.append(session, audit_id=audit_id, now=now, record=record | {"effects": call.effects})
        return result

    return await database.run(domain, inside, audit_id=audit_id)


async def refusal_recorded(
    database: Database,
    clock: Clock,
    actor: Actor,
    server: str,
    tool: str,
    version: str,
    error: ShopError,
    *,
    approval: dict[str, Any] | None = None,
    suppressed: int = 0,
) -> None:
    """What was refused is on record too."""
    audit_id, now = new_audit_id(), clock()
    record = _record(actor, server, tool, version, "refused", approval) | {"error": error.code}
    if suppressed:
        record["suppressed"] = suppressed
    await database.run(
        "*", lambda s: chain.append(s, audit_id=audit_id, now=now, record=record), audit_id=audit_id
    )


def _record(
    actor: Actor, server: str, tool: str, version: str, outcome: str,
    approval: dict[str, Any] | None,
) -> dict[str, Any]:  # fmt: skip
    record: dict[str, Any] = {
        "v": FORM, "server": server, "version": version, "tool": tool, "outcome": outcome,
        "actor": who(actor), "args": {},
    }  # fmt: skip
    return record | ({"approval": approval} if approval else {})
