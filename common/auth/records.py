"""Audit records of what is done outside a tool: sign-ins, users, clients, keys."""

from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from common.audit import chain
from common.audit.records import FORM, who
from common.call import Actor
from common.storage.database import new_audit_id


def note(
    session: Session,
    now: datetime,
    actor: Actor,
    what: str,
    *effects: dict[str, Any],
    outcome: str = "ok",
    error: str = "",
) -> None:
    """One record, in the transaction of what it tells. No secret and no token belongs in it."""
    record: dict[str, Any] = {
        "v": FORM, "server": "auth", "tool": what, "outcome": outcome, "actor": who(actor),
        "args": {},
    }  # fmt: skip
    if effects:
        record["effects"] = list(effects)
    if error:
        record["error"] = error
    chain.append(session, audit_id=new_audit_id(), now=now, record=record)


def effect(operation: str, kind: str, id: str, **more: Any) -> dict[str, Any]:
    """What was done to what."""
    return {"op": operation, "type": kind, "id": id, **more}
