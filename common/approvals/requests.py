"""The requester's side: ask, look, withdraw, and use an approval once."""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from math import ceil
from typing import Any, Final

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from common.approvals import OPEN, Transition, decisions, locked, move, refusal
from common.call import Actor, quoted
from common.canonical import digest as digest_of
from common.changes import approval_touched
from common.clock import stamp
from common.errors import PolicyDenied, RateLimited
from common.ids import new_id
from common.policy import Verdict
from common.storage.locks import one_at_a_time
from common.tables.spine import ApprovalDecision, ApprovalRequest

MOST_PENDING: Final = 20
COOLDOWN: Final = timedelta(minutes=10)
WAITS: Final = {1: timedelta(minutes=10), 2: timedelta(hours=24), 3: timedelta(hours=24)}
NEEDED: Final = {1: 1, 2: 1, 3: 2}
LARGEST_PAGE: Final = 100
LARGEST_BATCH: Final = 1_000
CLOCK: Final = "clock"
_LONGEST_REASON: Final = 2_000

Check = Callable[[ApprovalRequest, list[ApprovalDecision]], None]


def digest(
    server: str,
    tool: str,
    tool_version: str,
    args: Mapping[str, Any],
    versions: Mapping[str, int],
    preview: Mapping[str, Any],
) -> str:
    """What an approval is for: the call, the rows it was worked out from, what was shown."""
    return digest_of(
        {
            "server": server,
            "tool": tool,
            "tool_version": tool_version,
            "args": dict(args),
            "versions": dict(versions),
            "preview": dict(preview),
        }
    )


def ask(
    session: Session,
    *,
    server: str,
    tool: str,
    args_digest: str,
    digest: str,
    preview: dict[str, Any],
    reason: str,
    actor: Actor,
    verdict: Verdict,
    now: datetime,
) -> ApprovalRequest:
    """A new request, or the open one for the very same call. Raises RateLimited, PolicyDenied.

    Right after a rejection the same arguments are not asked again, whatever else has changed.
    """
    if verdict.denied:
        raise PolicyDenied(verdict.reason)
    if verdict.level not in NEEDED:
        raise ValueError(f"nothing to ask for at level {verdict.level}")
    one_at_a_time(session, f"approvals:{actor.id}")
    mine = ApprovalRequest.requester == actor.id
    same_call = [
        mine,
        ApprovalRequest.server == server,
        ApprovalRequest.tool == tool,
        ApprovalRequest.args_digest == args_digest,
    ]
    _check_cooldown(session, same_call, now)
    live = [mine, ApprovalRequest.expires_at > now]
    open_already = select(ApprovalRequest).where(
        *live,
        ApprovalRequest.state.in_(OPEN),
        ApprovalRequest.digest == digest,
        ApprovalRequest.requester_client == actor.client,
        ApprovalRequest.level >= verdict.level,
    )
    found = session.scalars(open_already.order_by(ApprovalRequest.id.desc()).limit(1)).first()
    if found is not None:
        return found
    _check_cap(session, [*live, ApprovalRequest.state == "pending"], now)
    request = ApprovalRequest(
        id=new_id("approval"),
        server=server,
        tool=tool,
        level=verdict.level,
        needed=NEEDED[verdict.level],
        state="pending",
        digest=digest,
        args_digest=args_digest,
        preview=preview,
        reason=reason[:_LONGEST_REASON],
        requester=actor.id,
        requester_client=actor.client,
        requester_scopes=sorted(actor.scopes),
        policy_rule=verdict.rule,
        created_at=now,
        expires_at=now + _wait(verdict),
        closed_at=None,
    )
    session.add(request)
    session.flush()
    approval_touched(session, request.id)
    return request


def consume(
    session: Session,
    *,
    approval_id: str,
    server: str,
    tool: str,
    args_digest: str,
    digest: str,
    preview: Mapping[str, Any],
    actor: Actor,
    verdict: Verdict,
    now: datetime,
    check: Check | None = None,
) -> ApprovalRequest:
    """Use an approval up, in the transaction of its effect. Raises ApprovalInvalid, PolicyDenied.

    Nothing that was true when it was given is taken for granted: the caller, the arguments, the
    rows, the policy and the approvers' rights and signatures are looked at again.
    """
    request = locked(session, approval_id)
    if (request.requester, request.requester_client) != (actor.id, actor.client):
        raise refusal("not_yours")
    if (request.server, request.tool, request.args_digest) != (server, tool, args_digest):
        raise refusal("other_arguments")
    if request.state not in OPEN:
        raise refusal(request.state)
    if request.expires_at <= now:
        raise refusal("expired")
    if request.digest != digest:
        raise refusal("stale", cause="changed")
    if verdict.denied:
        raise PolicyDenied(verdict.reason)
    if verdict.level > request.level:
        raise refusal("level_raised", level=verdict.level)
    if request.state == "pending":
        raise refusal("pending", needed=request.needed)
    approvals = _approvals(session, request, preview)
    if check is not None:
        check(request, approvals)
    still: list[ColumnElement[bool]] = [
        ApprovalRequest.digest == digest,
        ApprovalRequest.requester == actor.id,
        ApprovalRequest.expires_at > now,
    ]
    if not move(session, request, "used", now, *still):
        raise refusal(request.state if request.state not in OPEN else "stale")
    return request


def settle_refusal(
    session: Session, approval_id: str, reason: str, now: datetime
) -> Transition | None:
    """Close a request that ``consume`` found stale or expired; its own transaction kept nothing.

    For any other reason the request stays as it is.
    """
    if reason not in ("stale", "expired"):
        return None
    request = locked(session, approval_id)
    before = request.state
    late: list[ColumnElement[bool]] = (
        [ApprovalRequest.expires_at <= now] if reason == "expired" else []
    )
    if before not in OPEN or not move(session, request, reason, now, *late):
        return None
    return Transition(request.id, before, reason, CLOCK, "server")


def used(request: ApprovalRequest, by: str) -> Transition:
    """The record of a consumed request."""
    return Transition(request.id, "approved", "used", by, "server")


def status(session: Session, id: str, actor: Actor, now: datetime) -> dict[str, Any]:
    """Where a request of one's own stands, as JSON. Raises ApprovalInvalid."""
    request = get(session, id)
    if request.requester != actor.id:
        raise refusal("not_yours")
    made = decisions.of(session, id)
    late = request.state in OPEN and request.expires_at <= now
    return {
        "approval_id": request.id,
        "server": request.server,
        "tool": request.tool,
        "state": "expired" if late else request.state,
        "level": request.level,
        "needed": request.needed,
        "approvals": sum(decision.decision == "approve" for decision in made),
        "digest8": request.digest[:8],
        "title": str(request.preview.get("title", "")),
        "reason": request.reason,
        "expires_at": stamp(request.expires_at),
        "note": next((quoted(each.note, 300) for each in reversed(made) if each.note), ""),
    }


def cancel(session: Session, id: str, actor: Actor, now: datetime) -> Transition:
    """Withdraw a request of one's own that is still open. Raises ApprovalInvalid."""
    request = locked(session, id)
    if request.requester != actor.id:
        raise refusal("not_yours")
    if request.state in OPEN and request.expires_at <= now:
        raise refusal("expired")
    before = request.state
    if before not in OPEN or not move(session, request, "cancelled", now):
        raise refusal(request.state)
    return Transition(request.id, before, "cancelled", actor.id, "tool")


def get(session: Session, id: str) -> ApprovalRequest:
    """Any request, for those who decide. Raises ApprovalInvalid."""
    found = session.get(ApprovalRequest, id, populate_existing=True) if id.isprintable() else None
    if found is None:
        raise refusal("unknown")
    return found


def pending(
    session: Session, now: datetime, cursor: str | None, limit: int
) -> tuple[list[ApprovalRequest], str | None]:
    """What waits for a decision, oldest first, and the cursor of the next page."""
    size = max(1, min(limit, LARGEST_PAGE))
    query = select(ApprovalRequest).where(
        ApprovalRequest.state == "pending", ApprovalRequest.expires_at > now
    )
    if cursor is not None:
        query = query.where(ApprovalRequest.id > cursor)
    rows = list(session.scalars(query.order_by(ApprovalRequest.id).limit(size + 1)))
    return rows[:size], rows[size - 1].id if len(rows) > size else None


def due(session: Session, now: datetime, limit: int) -> list[str]:
    """Ids of open requests past their time."""
    query = select(ApprovalRequest.id).where(
        ApprovalRequest.state.in_(OPEN), ApprovalRequest.expires_at <= now
    )
    return list(session.scalars(query.order_by(ApprovalRequest.id).limit(_batch(limit))))


def expire_due(session: Session, now: datetime, limit: int) -> list[Transition]:
    """Close open requests past their time."""
    closed = (settle_refusal(session, id, "expired", now) for id in due(session, now, limit))
    return [transition for transition in closed if transition is not None]


def _approvals(
    session: Session, request: ApprovalRequest, preview: Mapping[str, Any]
) -> list[ApprovalDecision]:
    """Enough of them that count now, for ``preview``: they are signed over what the row showed."""
    approvals, cause = decisions.counted(session, request)
    if len(approvals) < max(request.needed, NEEDED[request.level]):
        raise refusal("stale", cause=cause or "approver")
    if digest_of(request.preview) != digest_of(dict(preview)):
        raise refusal("stale", cause="changed")
    return approvals


def _wait(verdict: Verdict) -> timedelta:
    if verdict.wait_hours is not None:
        return timedelta(hours=verdict.wait_hours)
    return WAITS[verdict.level]


def _check_cooldown(session: Session, same_call: list[ColumnElement[bool]], now: datetime) -> None:
    query = select(func.max(ApprovalRequest.closed_at)).where(
        *same_call, ApprovalRequest.state == "rejected", ApprovalRequest.closed_at > now - COOLDOWN
    )
    rejected_at = session.scalar(query)
    if rejected_at is not None:
        raise RateLimited(
            "The same call was rejected a moment ago.",
            next="Do not ask again. Ask the person what they want instead.",
            details={
                "reason": "rejected_recently",
                "retry_after_s": ceil((rejected_at + COOLDOWN - now).total_seconds()),
            },
        )


def _check_cap(session: Session, mine: list[ColumnElement[bool]], now: datetime) -> None:
    query = select(func.count(), func.min(ApprovalRequest.expires_at)).where(*mine)
    count, soonest = session.execute(query).one()
    if count >= MOST_PENDING:
        raise RateLimited(
            f"{MOST_PENDING} of your requests wait for a person already.",
            next="Let the person decide some, or withdraw some with approval_cancel.",
            details={
                "reason": "too_many_pending",
                "retry_after_s": max(1, ceil((soonest - now).total_seconds())),
            },
        )


def _batch(limit: int) -> int:
    return max(1, min(limit, LARGEST_BATCH))


__all__ = [
    "ApprovalRequest", "ask", "cancel", "consume", "digest", "due", "expire_due", "get",
    "pending", "settle_refusal", "status", "used",
]  # fmt: skip
