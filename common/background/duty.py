"""What the shop does by itself, in one transaction with its own audit record."""

from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy.orm import Session

from common.audit import chain
from common.audit.records import FORM
from common.call import Actor, Call
from common.storage.database import Database, new_audit_id

T = TypeVar("T")


async def recorded(
    database: Database,
    now: datetime,
    who: str,
    tool: str,
    args: dict[str, Any],
    work: Callable[[Call], T],
    *,
    domain: str = "payments",
) -> T:
    """Run ``work`` as the shop's own ``who``. ``args`` goes on record: no personal data."""
    audit_id = new_audit_id()
    actor = Actor("shop", who, "shop", frozenset(), machine=True)

    def inside(session: Session) -> T:
        call = Call(actor, session, now, audit_id, domain, tool)
        result = work(call)
        session.flush()
        chain.append(
            session, audit_id=audit_id, now=now, payload=None,
            record={
                "v": FORM, "server": domain, "tool": tool, "outcome": "ok",
                "actor": {"iss": "shop", "sub": who, "client": "shop"},
                "args": args, "effects": call.effects,
            },
        )  # fmt: skip
        return result

    return await database.run(domain, inside, audit_id=audit_id)
