"""What those who decide look at: the inbox, what was decided, and why somebody may not."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from common.approvals import OPEN, approvers, decisions, person
from common.approvals.decisions import Decision, Habits, habits
from common.call import Actor
from common.errors import ApprovalInvalid
from common.paging import page
from common.tables.spine import ApprovalDecision, ApprovalRequest, Approver

LARGEST_PAGE: Final = 100
HABITS_OVER: Final = timedelta(days=30)
MOST_SHOWN: Final = 50


@dataclass(frozen=True)
class Seen:
    """A request and what was said about it so far, in order."""

    request: ApprovalRequest
    decisions: list[ApprovalDecision]

    @property
    def approvals(self) -> int:
        return sum(made.decision == "approve" for made in self.decisions)


def inbox(
    session: Session, now: datetime, cursor: str | None, limit: int
) -> tuple[list[Seen], str | None]:
    """What waits for a decision, what expires first at the top."""
    query = select(ApprovalRequest).where(
        ApprovalRequest.state == "pending", ApprovalRequest.expires_at > now
    )
    keys = (ApprovalRequest.expires_at, ApprovalRequest.id)
    rows, following = page(session, query, keys, cursor, _size(limit))
    return _with_decisions(session, rows), following


def decided(
    session: Session, cursor: str | None, limit: int, *, by: str = "", state: str = ""
) -> tuple[list[Seen], str | None]:
    """What no longer waits, the newest request first; only one approver's, or of one state."""
    query = select(ApprovalRequest).where(ApprovalRequest.state != "pending")
    if state:
        query = query.where(ApprovalRequest.state == state)
    if by:
        query = query.where(
            ApprovalRequest.id.in_(
                select(ApprovalDecision.request_id).where(ApprovalDecision.approver == by)
            )
        )
    rows, following = page(
        session, query, [ApprovalRequest.id], cursor, _size(limit), descending=True
    )
    return _with_decisions(session, rows), following


def one(session: Session, request: ApprovalRequest) -> Seen:
    """A request with its decisions."""
    return Seen(request, decisions.of(session, request.id))


def everybodys_habits(session: Session, now: datetime) -> list[tuple[Approver, Habits]]:
    """How each approver decided in the last thirty days, those who decided most first."""
    since = now - HABITS_OVER
    counted = (
        select(ApprovalDecision.approver, func.count())
        .where(ApprovalDecision.at >= since)
        .group_by(ApprovalDecision.approver)
        .order_by(func.count().desc(), ApprovalDecision.approver)
        .limit(MOST_SHOWN)
    )
    names = [name for name, _ in session.execute(counted)]
    known = select(Approver).where(Approver.subject.in_(names))
    by_subject = {found.subject: found for found in session.scalars(known)}
    return [
        (by_subject[name], habits(session, name, since)) for name in names if name in by_subject
    ]


def approver_of(session: Session, actor: Actor) -> Approver | None:
    """The enrolment of whoever is signed in, if they may decide now."""
    wanted = person(actor.id)
    return next((a for a in approvers.active(session) if person(a.subject) == wanted), None)


def obstacle(
    session: Session, request: ApprovalRequest, approver: Approver | None, actor: Actor,
    now: datetime, decision: Decision = "approve",
) -> str:  # fmt: skip
    """Why this person may not decide so now, in words; nothing if they may."""
    try:
        decisions.check(session, request, approver, decision, now, actor=actor)
    except ApprovalInvalid as refused:
        return refused.message
    return ""


def mark(session: Session, request_id: str = "") -> str:
    """Changes whenever an open request does, or the one named: what a waiting page compares."""
    query = select(
        func.count(), func.sum(ApprovalRequest.version), func.max(ApprovalRequest.id)
    ).where(ApprovalRequest.id == request_id if request_id else ApprovalRequest.state.in_(OPEN))
    said = select(func.count()).select_from(ApprovalDecision)
    if request_id:
        said = said.where(ApprovalDecision.request_id == request_id)
    else:
        open_ones = select(ApprovalRequest.id).where(ApprovalRequest.state.in_(OPEN))
        said = said.where(ApprovalDecision.request_id.in_(open_ones))
    count, versions, newest = session.execute(query).one()
    return f"{count}.{versions or 0}.{newest or ''}.{session.scalar(said) or 0}"


def _with_decisions(session: Session, rows: Iterable[ApprovalRequest]) -> list[Seen]:
    listed = list(rows)
    made: dict[str, list[ApprovalDecision]] = {row.id: [] for row in listed}
    query = select(ApprovalDecision).where(ApprovalDecision.request_id.in_(list(made)))
    for each in session.scalars(query.order_by(ApprovalDecision.at, ApprovalDecision.id)):
        made[each.request_id].append(each)
    return [Seen(row, made[row.id]) for row in listed]


def _size(limit: int) -> int:
    return max(1, min(limit, LARGEST_PAGE))
