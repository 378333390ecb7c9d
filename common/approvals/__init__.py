"""Approvals: a call proposed by one, allowed by another, done once.

::

    pending ──enough approvals──▶ approved ──the same call again──▶ used
       │ │                            │
       └─┴─▶ rejected · cancelled · expired · stale ◀──┘     (terminal: nothing leaves them)

``requests`` is the requester's side, ``decisions`` the approver's, ``approvers`` who may decide.
Every change of state is one conditional update and returns a Transition to be audited.
"""

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, select, update
from sqlalchemy.orm import Session

from common.changes import approval_touched
from common.errors import ApprovalInvalid
from common.tables.spine import ApprovalRequest

OPEN: Final = ("pending", "approved")
TERMINAL: Final = ("used", "rejected", "cancelled", "expired", "stale")

_MESSAGES: Final = {
    "unknown": "There is no such approval.",
    "not_yours": "This approval was asked for by somebody else or from another program.",
    "other_arguments": "This approval is for another call or other arguments.",
    "stale": "What was shown to the approver has changed since.",
    "expired": "This approval has expired.",
    "used": "This approval was used already.",
    "rejected": "This approval was rejected.",
    "cancelled": "This approval was withdrawn.",
    "pending": "Nobody has decided yet.",
    "approved": "This request is approved already.",
    "level_raised": "The call now needs more than this approval gives.",
    "own_request": "Nobody decides their own request at this level.",
    "machine": "Only a person decides; this caller is a machine.",
    "decided": "You have decided this request already.",
    "not_approver": "You may not decide approvals.",
    "level": "This level is not decided by the requester's own client.",
}
_NEXT: Final = {
    "not_yours": "Call again without approval_id, from this program, to ask for an approval.",
    "other_arguments": "Repeat the approved call unchanged, or leave out approval_id to ask anew.",
    "used": "Look at the record: the call was made. For another one, leave out approval_id.",
    "rejected": "Do not ask again. Ask the person what they want instead.",
    "pending": "Wait, look with approval_status, then repeat the same call.",
    "own_request": "Another person has to decide.",
    "machine": "A person has to decide.",
    "decided": "Another person has to decide.",
    "not_approver": "A person enrolled as an approver has to decide.",
    "level": "An enrolled approver decides, in the console or at a terminal.",
    "approved": "The requester may repeat the call with approval_id.",
}


@dataclass(frozen=True)
class Transition:
    """One change of state, for the audit. ``by`` is ``issuer|subject`` or ``clock``."""

    request_id: str
    from_state: str
    to_state: str
    by: str
    channel: str

    def as_dict(self) -> dict[str, str]:
        """As JSON."""
        return asdict(self)


def refusal(reason: str, **details: Any) -> ApprovalInvalid:
    """The refusal of this reason; ``details.reason`` names it to programs."""
    return ApprovalInvalid(
        _MESSAGES[reason], next=_NEXT.get(reason), details={"reason": reason, **details}
    )


def person(id: str) -> str:
    """Who is meant, whatever issuer vouches: the part after the last bar, without case.

    Two issuers may use one subject for two people. They then count as one, which only ever
    refuses an approval.
    """
    return id.rpartition("|")[2].strip().casefold()


def locked(session: Session, id: str) -> ApprovalRequest:
    """The request as it is now, held until the transaction ends. Raises ApprovalInvalid."""
    query = select(ApprovalRequest).where(ApprovalRequest.id == id).with_for_update()
    found = session.scalar(query.execution_options(populate_existing=True))
    if found is None:
        raise refusal("unknown")
    return found


def move(
    session: Session,
    request: ApprovalRequest,
    to_state: str,
    now: datetime,
    *where: ColumnElement[bool],
) -> bool:
    """Change the state if it still is what it was and ``where`` holds. Whether it did."""
    values: dict[str, Any] = {"state": to_state, "version": ApprovalRequest.version + 1}
    if to_state in TERMINAL:
        values["closed_at"] = now
    moved = session.scalars(
        update(ApprovalRequest)
        .where(ApprovalRequest.id == request.id, ApprovalRequest.state == request.state, *where)
        .where(ApprovalRequest.state.in_(OPEN))
        .values(values)
        .returning(ApprovalRequest.id)
        .execution_options(synchronize_session=False)
    ).all()
    session.refresh(request)
    approval_touched(session, request.id)
    return len(moved) == 1
