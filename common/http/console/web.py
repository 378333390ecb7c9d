"""The frame around every page: who comes in, what forms must carry, what answers look like."""

import hmac
import logging
import re
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final
from urllib.parse import parse_qs, quote

from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from common.audit import outside
from common.call import Actor
from common.errors import (
    LATER,
    ApprovalInvalid,
    Busy,
    InvalidParameters,
    NotAuthenticated,
    NotFound,
    RateLimited,
    ShopError,
    UpstreamError,
)
from common.http.console import sessions
from common.http.console.desk import PREFIX, SERVER, Desk, Problem, Visitor

log = logging.getLogger(__name__)

Form = dict[str, str]
Page = Callable[[Desk, Request, Visitor], Awaitable[Response]]
Action = Callable[[Desk, Request, Visitor, Form], Awaitable[Response]]
Open = Callable[[Desk, Request], Awaitable[Response]]

LARGEST_FORM: Final = 16_384
SECURITY: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=()",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_LOCAL = re.compile(r"/console(?:/[A-Za-z0-9_\-]{1,80}){0,3}(?:\?[A-Za-z0-9_.~%&=+:\-]{0,300})?")
_STATUS: Final[dict[type[ShopError], tuple[int, str]]] = {
    RateLimited: (429, "Too many requests"),
    NotFound: (404, "Not found"),
    InvalidParameters: (400, "That cannot be read"),
    NotAuthenticated: (403, "Not decided"),
    Busy: (503, "Busy"),
    UpstreamError: (503, "Not known"),
}
_FORBIDDEN: Final = frozenset({"machine", "not_approver", "own_request", "level"})


def page(desk: Desk, path: str, handler: Page) -> Route:
    """A page for those who are signed in; others sign in first and come back."""

    async def endpoint(request: Request) -> Response:
        visitor = await sessions.visitor(desk, request)
        if visitor is None:
            return RedirectResponse(login_url(here(request)), 302)
        request.state.console_visitor = visitor
        return await handler(desk, request, visitor)

    return _route(desk, path, endpoint, ["GET", "HEAD"])


def action(desk: Desk, path: str, handler: Action) -> Route:
    """Something a form does, and nothing else can."""

    async def endpoint(request: Request) -> Response:
        check_origin(desk, request)
        form = await read_form(request)
        visitor = await sessions.visitor(desk, request)
        if visitor is None:
            raise Problem(
                401, "You are signed out", "Nothing was done: your session has ended.",
                link=(login_url(back_to(request)), "Sign in"),
            )  # fmt: skip
        if not hmac.compare_digest(form.get("csrf", "").encode(), visitor.csrf.encode()):
            await refused(desk, visitor.actor, f"console_{_name(path)}", _unasked())
            raise Problem(
                403, "Not done", "This form was not made by your session.", reason="csrf",
                next="Open the page again and use the form there.",
            )  # fmt: skip
        request.state.console_visitor = visitor
        return await handler(desk, request, visitor, form)

    return _route(desk, path, endpoint, ["POST"])


def open_page(desk: Desk, path: str, handler: Open) -> Route:
    """A page for everybody."""

    async def endpoint(request: Request) -> Response:
        return await handler(desk, request)

    return _route(desk, path, endpoint, ["GET", "HEAD"])


def shown(
    desk: Desk, template: str, visitor: Visitor | None, status: int = 200, **values: Any
) -> HTMLResponse:
    """A rendered page."""
    text = desk.templates.get_template(template).render(
        visitor=visitor, prefix=PREFIX, now=desk.now(), **values
    )
    return HTMLResponse(text, status)


async def refused(
    desk: Desk, actor: Actor, tool: str, error: ShopError, approval_id: str = ""
) -> None:
    """Record what was refused, within the ration of this person."""
    left_out = desk.ration.take(actor.id, time.monotonic())
    if left_out is None:
        return
    approval = None
    if approval_id:
        approval = {"id": approval_id, "reason": str(error.details.get("reason", error.code))}
    try:
        await outside.refusal_recorded(
            desk.shop.database, desk.now, actor, SERVER, tool, desk.version, error,
            approval=approval, suppressed=left_out,
        )  # fmt: skip
    except Exception:
        log.exception("the record of a refused %s could not be written", tool)


def check_origin(desk: Desk, request: Request) -> None:
    """A form may be sent from our own pages only. Raises Problem."""
    origins = request.headers.getlist("origin")
    if origins:
        fine = origins == [desk.origin]
    else:
        fine = request.headers.getlist("sec-fetch-site") == ["same-origin"]
    if not fine:
        raise Problem(403, "Not done", "This form was sent from another site.", reason="origin")


async def read_form(request: Request) -> Form:
    """The fields of a form, each once. Raises Problem."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise Problem(415, "That cannot be read", "Only plain forms are read here.")
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > LARGEST_FORM:
            raise Problem(413, "Too long", "The form holds more than is read here.")
    try:
        fields = parse_qs(body.decode(), keep_blank_values=True, max_num_fields=20, errors="strict")
    except ValueError:
        raise Problem(400, "That cannot be read", "The form is not valid.") from None
    if any(len(values) > 1 for values in fields.values()):
        raise Problem(400, "That cannot be read", "A field was sent twice.")
    return {name: values[0] for name, values in fields.items()}


def here(request: Request) -> str:
    """This page's address, to come back to."""
    query = f"?{request.url.query}" if request.url.query else ""
    return local(request.url.path + query)


def back_to(request: Request) -> str:
    """The page whose form was sent."""
    return local(request.url.path.rpartition("/")[0])


def local(address: str) -> str:
    """The address if it is a page of the console, else the inbox: nobody is sent elsewhere."""
    whole = _LOCAL.fullmatch(address)
    own_doors = (f"{PREFIX}/login", f"{PREFIX}/callback", f"{PREFIX}/changes")
    return address if whole and not address.startswith(own_doors) else PREFIX


def login_url(back: str, *, again: bool = False) -> str:
    """Where to sign in and come back from; ``again`` asks for the password anew."""
    return f"{PREFIX}/login?back={quote(local(back), safe='')}" + ("&again=1" if again else "")


def problem_of(error: ShopError) -> Problem:
    """A refusal as a page."""
    reason = str(error.details.get("reason", ""))
    status, title = 409, "Not decided"
    if isinstance(error, ApprovalInvalid):
        status = 404 if reason == "unknown" else 403 if reason in _FORBIDDEN else 409
        title = "Not found" if reason == "unknown" else title
    for kind, known in _STATUS.items():
        if isinstance(error, kind):
            status, title = known
            break
    headers = {}
    if isinstance(error, RateLimited):
        headers["Retry-After"] = str(error.details.get("retry_after_s", 60))
    if isinstance(error, LATER):
        headers["Retry-After"] = str(error.retry_after_s)
    return Problem(status, title, error.message, next=error.next, headers=headers, reason=reason)


def problem_page(desk: Desk, problem: Problem, visitor: Visitor | None = None) -> Response:
    """The problem as HTML."""
    answer = shown(desk, "problem.html", visitor, problem.status, problem=problem)
    answer.headers.update(problem.headers)
    return answer


def _route(
    desk: Desk, path: str, endpoint: Callable[[Request], Awaitable[Response]], methods: list[str]
) -> Route:
    async def framed(request: Request) -> Response:
        if request.method == "OPTIONS":
            answer = Response(status_code=204, headers={"Allow": ", ".join([*methods, "OPTIONS"])})
        elif desk.shop.settings.read_only:
            answer = problem_page(
                desk, Problem(503, "Read-only", "This shop was started read-only.")
            )
        else:
            answer = await _answered(desk, request, endpoint)
        for name, value in SECURITY.items():
            answer.headers.setdefault(name, value)
        if desk.secure:
            answer.headers["Strict-Transport-Security"] = "max-age=31536000"
        return answer

    return Route(PREFIX + path, framed, methods=[*methods, "OPTIONS"])


async def _answered(
    desk: Desk, request: Request, endpoint: Callable[[Request], Awaitable[Response]]
) -> Response:
    try:
        return await endpoint(request)
    except Problem as problem:
        return problem_page(desk, problem, _visitor(request))
    except ShopError as error:
        return problem_page(desk, problem_of(error), _visitor(request))
    except ClientDisconnect:
        raise
    except Exception:
        log.exception("a page of the console crashed")
        return problem_page(
            desk, Problem(500, "Something broke", "Nothing was changed. The log says more.")
        )


def _visitor(request: Request) -> Visitor | None:
    found: Visitor | None = getattr(request.state, "console_visitor", None)
    return found


def _unasked() -> ApprovalInvalid:
    return ApprovalInvalid("The form is not of this session.", details={"reason": "csrf"})


def _name(path: str) -> str:
    return path.rpartition("/")[2]
