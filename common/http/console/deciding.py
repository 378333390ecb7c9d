"""Approve or reject: everything is looked at again, then the passphrase unlocks the key."""

import asyncio
from datetime import timedelta
from typing import Final, Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from common.approvals import approvers, decisions, looking, refusal, requests, showing
from common.audit import outside
from common.call import Call
from common.errors import InvalidParameters, NotAuthenticated, RateLimited, ShopError
from common.http.console import counting, web
from common.http.console.desk import PREFIX, RECENT, SERVER, Desk, Problem, Visitor
from common.http.console.requests import form_again
from common.tables.spine import Approver

Decision = Literal["approve", "reject"]
WRONG_AT_MOST: Final = 5
WRONG_WITHIN: Final = timedelta(minutes=15)
DECISIONS_AT_MOST: Final = 20
DECISIONS_WITHIN: Final = timedelta(minutes=1)
_WORDS: Final[dict[str, Decision]] = {"approve": "approve", "reject": "reject"}


async def decide(desk: Desk, request: Request, visitor: Visitor, form: web.Form) -> Response:
    """One person's word on one request. Raises Problem, ShopError; a refusal is on record."""
    id = request.path_params["id"]
    decision = _WORDS.get(form.get("decision", ""))
    if decision is None:
        raise Problem(400, "Not decided", "Say approve or reject.", link=_back(id))
    if not visitor.recent(desk.now()):
        stale = NotAuthenticated("You signed in too long ago.", details={"reason": "stale"})
        await web.refused(desk, visitor.actor, f"approval_{decision}", stale, id)
        raise _step_up(id)
    try:
        state = await _decided(desk, visitor, form, id, decision)
    except ShopError as error:
        await web.refused(desk, visitor.actor, f"approval_{decision}", error, id)
        problem = web.problem_of(error)
        problem.link = _back(id)
        if not isinstance(error, InvalidParameters | NotAuthenticated | RateLimited):
            raise problem from None
        again = await form_again(
            desk, visitor, id, status=problem.status, mistake=f"{error.message} {error.next}",
            form=form,
        )  # fmt: skip
        again.headers.update(problem.headers)
        return again
    return RedirectResponse(f"{PREFIX}/requests/{id}?said={state}", 303)


async def _decided(
    desk: Desk, visitor: Visitor, form: web.Form, id: str, decision: Decision
) -> str:
    note = " ".join(form.get("note", "").split())
    if decision == "reject" and not note:
        raise InvalidParameters("Say why, for the one who asked.", next="Give a reason.")

    def before(session: Session) -> tuple[Approver, str]:
        now = desk.now()
        counting.take(
            session, f"decide:{visitor.session_id}", DECISIONS_AT_MOST, DECISIONS_WITHIN, now
        )
        asked = requests.get(session, id)
        me = looking.approver_of(session, visitor.actor)
        decisions.check(session, asked, me, decision, now, actor=visitor.actor)
        if me is None:
            raise refusal("not_approver")
        return me, showing.to_type(asked)

    me, wanted = await desk.shop.database.run("*", before)
    if decision == "approve" and wanted and not showing.typed_right(wanted, form.get("typed", "")):
        raise InvalidParameters(
            "What you typed is not what is shown.", next=f"Type {wanted} exactly."
        )
    key = await _unlocked(desk, me, form.get("passphrase", ""))

    def work(call: Call) -> str:
        moved = decisions.decide(
            call.session, id, me, key, decision, note, call.now, "console", actor=visitor.actor
        )
        call.effect(decision, "approval_request", id, **moved.as_dict())
        return moved.to_state

    return await outside.recorded(
        desk.shop.database, desk.now, visitor.actor, SERVER, f"approval_{decision}",
        desk.version, work, approval={"id": id},
    )  # fmt: skip


async def _unlocked(desk: Desk, me: Approver, passphrase: str) -> Ed25519PrivateKey:
    """The approver's key. Every try is counted before it is made. Raises NotAuthenticated,
    RateLimited."""
    counter, run = f"passphrase:{me.id}", desk.shop.database.run
    await run("*", lambda s: counting.take(s, counter, WRONG_AT_MOST, WRONG_WITHIN, desk.now()))
    async with desk.unlocking:
        key = await asyncio.to_thread(approvers.unlock, me, passphrase)
    await run("*", lambda s: counting.forget(s, counter))
    return key


def _step_up(id: str) -> Problem:
    """RFC 9470: the sign-in is too old for this; sign in again and come back to the decision."""
    seconds = int(RECENT.total_seconds())
    challenge = (
        'Bearer error="insufficient_user_authentication", '
        f'error_description="A more recent sign-in is needed", max_age="{seconds}"'
    )
    return Problem(
        401, "Sign in again", "A decision needs a sign-in of the last ten minutes.",
        next="Nothing was decided. You come back to this request.",
        link=(web.login_url(f"{PREFIX}/requests/{id}", again=True), "Sign in and come back"),
        headers={"WWW-Authenticate": challenge}, reason="stale",
    )  # fmt: skip


def _back(id: str) -> tuple[str, str]:
    return web.local(f"{PREFIX}/requests/{id}"), "Back to the request"
