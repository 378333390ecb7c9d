"""The inbox, one request with its whole trail, and what was decided before."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import Response

from common.approvals import TERMINAL, looking, requests, showing
from common.approvals.decisions import LONGEST_NOTE
from common.approvals.looking import Seen
from common.audit import browse, outside
from common.call import Call
from common.http.console import web
from common.http.console.desk import PREFIX, SERVER, Desk, Visitor, query_of
from common.tables.spine import ApprovalRequest, Approver, AuditRecord

PAGE: Final = 25
STATES: Final = ("approved", *TERMINAL)
_AFTER: Final = timedelta(minutes=1)
_DONE: Final = {
    "approved": "Approved. The agent may repeat its call now.",
    "pending": "Recorded. One more person has to approve.",
    "rejected": "Rejected. The agent is told so and cannot ask for the same again right away.",
}


@dataclass(frozen=True)
class Row:
    """One request in a list."""

    seen: Seen
    shown: showing.Shown
    own: bool


@dataclass(frozen=True)
class Whole:
    """Everything there is to know about one request."""

    seen: Seen
    shown: showing.Shown
    to_type: str
    approver: Approver | None
    obstacle: str
    may_reject: bool
    trail: list[AuditRecord]
    committed: AuditRecord | None
    mark: str


async def inbox(desk: Desk, request: Request, visitor: Visitor) -> Response:
    """What waits, what expires first at the top."""
    cursor = query_of(request, "cursor")["cursor"] or None

    def work(session: Session) -> dict[str, Any]:
        rows, following = looking.inbox(session, desk.now(), cursor, PAGE)
        me = looking.approver_of(session, visitor.actor)
        return {
            "rows": [_row(seen, visitor) for seen in rows],
            "following": following,
            "approver": me,
            "mark": looking.mark(session),
        }

    values = await desk.shop.database.run("*", work, write=False)
    _read(desk, visitor, "inbox")
    return web.shown(desk, "inbox.html", visitor, here="inbox", first=cursor is None, **values)


async def one(desk: Desk, request: Request, visitor: Visitor) -> Response:
    """One request. That it was looked at is on record."""
    id = request.path_params["id"]
    await desk.shop.database.run("*", lambda s: requests.get(s, id).id, write=False)
    await _viewed(desk, visitor, id)
    said = _DONE.get(query_of(request, "said")["said"], "")
    return await form_again(desk, visitor, id, said=said)


async def form_again(
    desk: Desk, visitor: Visitor, id: str, *, status: int = 200, said: str = "",
    mistake: str = "", form: web.Form | None = None,
) -> Response:  # fmt: skip
    """The request and the form to decide it, with what was typed there already and what was wrong
    with it. A passphrase never comes back."""
    whole = await desk.shop.database.run("*", lambda s: _whole(s, desk, visitor, id), write=False)
    again = web.login_url(f"{PREFIX}/requests/{id}", again=True)
    filled = {name: (form or {}).get(name, "") for name in ("decision", "note", "typed")}
    return web.shown(
        desk, "request.html", visitor, status, here="inbox", whole=whole, said=said,
        mistake=mistake, filled=filled, recent=visitor.recent(desk.now()), again=again,
        longest_note=LONGEST_NOTE,
    )  # fmt: skip


async def history(desk: Desk, request: Request, visitor: Visitor) -> Response:
    """What was decided, by whom and when, and how each approver decides."""
    wanted = query_of(request, "cursor", "by", "state", longest=300)
    state = wanted["state"] if wanted["state"] in STATES else ""

    def work(session: Session) -> dict[str, Any]:
        rows, following = looking.decided(
            session, wanted["cursor"] or None, PAGE, by=wanted["by"], state=state
        )
        return {
            "rows": [_row(seen, visitor) for seen in rows],
            "following": following,
            "habits": looking.everybodys_habits(session, desk.now()),
        }

    values = await desk.shop.database.run("*", work, write=False)
    _read(desk, visitor, "history")
    return web.shown(
        desk, "history.html", visitor, here="history", states=STATES,
        wanted=wanted | {"state": state}, **values,
    )  # fmt: skip


def _whole(session: Session, desk: Desk, visitor: Visitor, id: str) -> Whole:
    request, now = requests.get(session, id), desk.now()
    me = looking.approver_of(session, visitor.actor)
    until = None if request.closed_at is None else request.closed_at + _AFTER
    trail = browse.about(session, id, request.created_at - _AFTER, until)
    return Whole(
        seen=looking.one(session, request),
        shown=showing.shown(request),
        to_type=showing.to_type(request),
        approver=me,
        obstacle=looking.obstacle(session, request, me, visitor.actor, now),
        may_reject=not looking.obstacle(session, request, me, visitor.actor, now, "reject"),
        trail=trail,
        committed=_committed(request, trail),
        mark=looking.mark(session, id),
    )


def _committed(request: ApprovalRequest, trail: list[AuditRecord]) -> AuditRecord | None:
    """The record of the call that used the approval."""
    for found in trail:
        said, approval = found.record, found.record.get("approval")
        same = (said.get("server"), said.get("tool")) == (request.server, request.tool)
        named = isinstance(approval, dict) and approval.get("id") == request.id
        if same and named and said.get("outcome") == "ok":
            return found
    return None


def _row(seen: Seen, visitor: Visitor) -> Row:
    own = seen.request.requester == visitor.actor.id
    return Row(seen, showing.shown(seen.request), own)


async def _viewed(desk: Desk, visitor: Visitor, id: str) -> None:
    def work(call: Call) -> None:
        call.effect("view", "approval_request", id)

    await outside.recorded(
        desk.shop.database, desk.now, visitor.actor, SERVER, "approval_view", desk.version, work,
        approval={"id": id},
    )  # fmt: skip


def _read(desk: Desk, visitor: Visitor, what: str) -> None:
    desk.shop.access.note(
        now=desk.now(), server=SERVER, target=what, actor=visitor.actor, outcome="ok", args={}
    )
