"""The approver's side: one person's word on one request, signed over what they were shown.

No tool reaches ``decide``: the console and the terminal do. ``confirm`` is the one thing a client
may say, and it counts for level 1 only.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import median_low
from typing import Any, Final, Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import select
from sqlalchemy.orm import Session

from common.approvals import OPEN, Transition, locked, move, person, refusal
from common.approvals.approvers import holds_key, may_decide, sign, signed_by
from common.call import Actor
from common.canonical import digest
from common.errors import InvalidParameters
from common.ids import new_id
from common.scopes import Scope
from common.tables.spine import ApprovalDecision, ApprovalRequest, Approver

Decision = Literal["approve", "reject"]
Channel = Literal["console", "terminal"]
CLIENT: Final = "client"
LONGEST_NOTE: Final = 500
_MOST_DECISIONS: Final = 100


def decide(
    session: Session,
    request_id: str,
    approver: Approver,
    private_key: Ed25519PrivateKey,
    decision: Decision,
    note: str,
    now: datetime,
    channel: Channel,
    *,
    actor: Actor | None = None,
) -> Transition:
    """Approve or reject. A rejection is final and may still stop an approved, unused request.

    ``actor`` is who is signed in at the console; a terminal has only the key. The transition is
    from pending to pending while more approvers are needed. Raises ApprovalInvalid.
    """
    if decision not in ("approve", "reject") or channel not in ("console", "terminal"):
        raise ValueError(f"no such decision or channel: {decision}, {channel}")
    if len(note) > LONGEST_NOTE:
        raise InvalidParameters.field("note", note, f"at most {LONGEST_NOTE} characters")
    request = locked(session, request_id)
    fresh = session.get(Approver, approver.id, populate_existing=True)
    if fresh is None or not may_decide(fresh) or not holds_key(fresh, private_key):
        raise refusal("not_approver")
    check(session, request, fresh, decision, now, actor=actor)
    statement = _statement(request, decision, fresh.subject, now, channel, note)
    session.add(
        ApprovalDecision(
            id=new_id("decision"),
            request_id=request.id,
            approver=fresh.subject,
            channel=channel,
            decision=decision,
            note=note,
            at=now,
            signature=sign(private_key, statement),
        )
    )
    session.flush()
    return _settled(session, request, decision, fresh.subject, now, channel)


def check(
    session: Session,
    request: ApprovalRequest,
    approver: Approver | None,
    decision: Decision,
    now: datetime,
    *,
    actor: Actor | None = None,
) -> None:
    """Whether this approver may decide so, the passphrase apart. Raises ApprovalInvalid."""
    if actor is not None and actor.machine:
        raise refusal("machine")
    if approver is None or not may_decide(approver):
        raise refusal("not_approver")
    _check_actor(actor, approver, request)
    _check_open(request, now, OPEN if decision == "reject" else ("pending",))
    if request.level >= 2 and person(approver.subject) == person(request.requester):
        raise refusal("own_request")
    if any(person(other.approver) == person(approver.subject) for other in of(session, request.id)):
        raise refusal("decided")


def confirm(
    session: Session, request_id: str, actor: Actor, accepted: bool, now: datetime
) -> Transition:
    """The requester's own person answered in the requester's own client. Level 1 only.

    It proves that the host said so, no more. Raises ApprovalInvalid.
    """
    request = locked(session, request_id)
    if (request.requester, request.requester_client) != (actor.id, actor.client):
        raise refusal("not_yours")
    if request.level != 1:
        raise refusal("level")
    if actor.machine:
        raise refusal("machine")
    _check_open(request, now, ("pending",))
    decision: Decision = "approve" if accepted else "reject"
    session.add(
        ApprovalDecision(
            id=new_id("decision"),
            request_id=request.id,
            approver=actor.id,
            channel=CLIENT,
            decision=decision,
            note="",
            at=now,
            signature=None,
        )
    )
    session.flush()
    return _settled(session, request, decision, actor.id, now, CLIENT)


def of(session: Session, request_id: str) -> list[ApprovalDecision]:
    """Every decision on a request, in order."""
    query = select(ApprovalDecision).where(ApprovalDecision.request_id == request_id)
    ordered = query.order_by(ApprovalDecision.at, ApprovalDecision.id).limit(_MOST_DECISIONS)
    return list(session.scalars(ordered.execution_options(populate_existing=True)))


def counted(
    session: Session, request: ApprovalRequest
) -> tuple[list[ApprovalDecision], Literal["", "approver", "signature"]]:
    """The approvals that count now, one a person, and why one of the others does not.

    Nothing stored is believed: rights and signatures are looked at again.
    """
    valid: dict[str, ApprovalDecision] = {}
    cause: Literal["", "approver", "signature"] = ""
    for made in of(session, request.id):
        if made.decision != "approve":
            continue
        why = _void(session, request, made)
        if why:
            cause = why
        else:
            valid.setdefault(person(made.approver), made)
    return list(valid.values()), cause


@dataclass(frozen=True)
class Habits:
    """How somebody decides. Many approvals after few seconds mean that nobody reads them."""

    decisions: int
    approvals: int
    median_seconds: int | None


def habits(session: Session, subject: str, since: datetime, limit: int = 1_000) -> Habits:
    """Over the latest decisions of an approver."""
    query = (
        select(ApprovalDecision.decision, ApprovalDecision.at, ApprovalRequest.created_at)
        .join(ApprovalRequest, ApprovalRequest.id == ApprovalDecision.request_id)
        .where(ApprovalDecision.approver == subject, ApprovalDecision.at >= since)
        .order_by(ApprovalDecision.at.desc())
        .limit(min(limit, 1_000))
    )
    rows = session.execute(query).all()
    waits = [int((made - asked).total_seconds()) for _, made, asked in rows]
    approvals = sum(decision == "approve" for decision, _, _ in rows)
    return Habits(len(rows), approvals, median_low(waits) if waits else None)


def _settled(
    session: Session,
    request: ApprovalRequest,
    decision: Decision,
    by: str,
    now: datetime,
    channel: str,
) -> Transition:
    before = request.state
    if decision == "reject":
        after = "rejected"
    else:
        valid, _ = counted(session, request)
        after = "approved" if len(valid) >= request.needed else "pending"
    if after != before and not move(session, request, after, now):
        raise refusal(request.state)
    return Transition(request.id, before, after, by, channel)


def _check_actor(actor: Actor | None, approver: Approver, request: ApprovalRequest) -> None:
    if actor is None:
        return
    if str(Scope.APPROVALS_DECIDE) not in actor.scopes:
        raise refusal("not_approver")
    if person(actor.id) != person(approver.subject) or actor.client == request.requester_client:
        raise refusal("not_approver")


def _check_open(request: ApprovalRequest, now: datetime, states: Sequence[str]) -> None:
    if request.state not in states:
        raise refusal(request.state)
    if request.expires_at <= now:
        raise refusal("expired")


def _void(
    session: Session, request: ApprovalRequest, made: ApprovalDecision
) -> Literal["", "approver", "signature"]:
    if made.channel == CLIENT:
        own = request.level == 1 and made.approver == request.requester
        return "" if own else "approver"
    approver = session.scalar(
        select(Approver)
        .where(Approver.subject == made.approver)
        .execution_options(populate_existing=True)
    )
    if approver is None or not may_decide(approver):
        return "approver"
    if request.level >= 2 and person(approver.subject) == person(request.requester):
        return "approver"
    statement = _statement(request, made.decision, made.approver, made.at, made.channel, made.note)
    return "" if signed_by(approver, statement, made.signature) else "signature"


def _statement(
    request: ApprovalRequest, decision: str, approver: str, at: datetime, channel: str, note: str
) -> dict[str, Any]:
    """What is signed: the whole decision, the frozen call, and what the person was shown."""
    return {
        "purpose": "approval decision",
        "v": 1,
        "request": request.id,
        "digest": request.digest,
        "shown": digest(request.preview),
        "level": request.level,
        "decision": decision,
        "approver": approver,
        "at": at.astimezone(UTC).isoformat(timespec="microseconds"),
        "channel": channel,
        "note": note,
    }
