"""Signing in, signing in again for a decision, signing out."""

import hmac
import json
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from common.audit import outside
from common.auth import Caller, CredentialsMalformed, CredentialsRefused, IssuerUnavailable
from common.call import Actor, Call
from common.errors import NotAuthenticated, ScopeMissing, ShopError
from common.http.console import counting, issuer, sessions, web
from common.http.console.desk import (
    CLIENT_ID,
    PREFIX,
    SCOPE,
    SERVER,
    Desk,
    Problem,
    Visitor,
    credentials,
    query_of,
)
from common.limits import network_of

WITHIN: Final = timedelta(minutes=10)
MOST_AT_ONCE: Final = 5
A_MINUTE: Final = 30
_NAME: Final = "shop-login-"
_METHODS: Final = frozenset({"token", "introspected"})
_NOBODY: Final = Actor("", "", CLIENT_ID, frozenset())


@dataclass(frozen=True)
class _Begun:
    """What the browser keeps while its person is at the authorization server."""

    state: str
    verifier: str
    back: str


async def start(desk: Desk, request: Request) -> Response:
    """Send the browser to the authorization server."""
    await _count(desk, request)
    wanted = query_of(request, "back", "again", longest=500)
    at = await issuer.issuer(desk)
    begun = _Begun(secrets.token_urlsafe(24), secrets.token_urlsafe(48), web.local(wanted["back"]))
    url = issuer.authorization_url(
        desk, at, begun.state, begun.verifier, again=wanted["again"] == "1"
    )
    answer = RedirectResponse(url, 302)
    waiting = [name for name in request.cookies if _prefix(desk) in name]
    for name in waiting[: max(0, len(waiting) - MOST_AT_ONCE + 1)]:
        _keep(desk, answer, name, "")
    _keep(desk, answer, _cookie(desk, begun.state), _packed(begun))
    return answer


async def callback(desk: Desk, request: Request) -> Response:
    """Come back with a code: redeem it, verify the token as any server does, open a session."""
    await _count(desk, request)
    said = query_of(request, "state", "code", "error", "iss", longest=4_096)
    name = _cookie(desk, said["state"])
    begun = _unpacked(request.cookies.get(name, ""))
    if begun is None or not hmac.compare_digest(begun.state.encode(), said["state"].encode()):
        raise Problem(
            400, "Not signed in", "This sign-in was not begun in this browser, or is too old.",
            link=(web.login_url(PREFIX), "Sign in"), reason="state",
        )  # fmt: skip
    answer = await _signed_in(desk, request, begun, said)
    _keep(desk, answer, name, "")
    return answer


async def end(desk: Desk, request: Request, visitor: Visitor, form: web.Form) -> Response:
    """Close the session and give the token up."""
    token = await sessions.end(desk, sessions.secret_of(desk, request))
    await issuer.revoke(desk, request, token)
    await _recorded(desk, visitor.actor, "console_logout")
    answer = RedirectResponse(f"{PREFIX}/signed-out", 303)
    sessions.put(desk, answer, "")
    answer.headers["Clear-Site-Data"] = '"cache", "storage"'
    return answer


async def signed_out(desk: Desk, request: Request) -> Response:
    """Nobody is signed in here any more."""
    return web.shown(desk, "signed_out.html", None, again=web.login_url(PREFIX, again=True))


async def _signed_in(desk: Desk, request: Request, begun: _Begun, said: dict[str, str]) -> Response:
    again = (web.login_url(begun.back), "Sign in again")
    at = await issuer.issuer(desk)
    if (said["iss"] and said["iss"] != at.name) or (at.says_iss and not said["iss"]):
        raise Problem(400, "Not signed in", "Another server answered.", link=again, reason="iss")
    if said["error"] or not said["code"]:
        raise Problem(
            403, "Not signed in", "The authorization server did not let you in.",
            link=again, reason="denied",
        )  # fmt: skip
    try:
        token = await issuer.redeem(desk, request, at, said["code"], begun.verifier)
        caller = await desk.authenticator.authenticate(credentials(token), audience=desk.audience)
    except (issuer.SignInFailed, CredentialsRefused, CredentialsMalformed):
        caller = None
    except IssuerUnavailable as error:
        raise Problem(
            503, "Not signed in", "The authorization server does not answer.", link=again,
            headers={"Retry-After": str(error.retry_after_s)},
        ) from None  # fmt: skip
    if caller is None:
        refusal = NotAuthenticated("The sign-in is not valid.")
        await web.refused(desk, _NOBODY, "console_login", refusal)
        raise Problem(403, "Not signed in", "The sign-in is not valid here.", link=again)
    await _let_in(desk, caller)
    await sessions.end(desk, sessions.secret_of(desk, request) or "none")
    secret = await sessions.begin(desk, token, caller)
    await _recorded(desk, caller.actor, "console_login")
    answer = RedirectResponse(begun.back, 303)
    sessions.put(desk, answer, secret)
    return answer


async def _let_in(desk: Desk, caller: Caller) -> None:
    """People only, through the console's own client, with the scope. Raises Problem."""
    actor = caller.actor
    error: ShopError
    if actor.machine or caller.method not in _METHODS:
        error = NotAuthenticated("Only a person comes in here; this caller is a machine.")
    elif actor.client != CLIENT_ID:
        error = NotAuthenticated("This sign-in was made for another program.")
    elif SCOPE not in actor.scopes:
        error = ScopeMissing(f"This needs the scope {SCOPE}.")
    else:
        return
    await web.refused(desk, actor, "console_login", error)
    raise Problem(
        403, "Not let in", error.message,
        next="Whoever runs the authorization server can grant it.",
        link=(web.login_url(PREFIX, again=True), "Sign in as somebody else"), reason=error.code,
    )  # fmt: skip


async def _recorded(desk: Desk, actor: Actor, tool: str) -> None:
    def work(call: Call) -> None:
        call.effect(tool.rpartition("_")[2], "console_session", "")

    await outside.recorded(desk.shop.database, desk.now, actor, SERVER, tool, desk.version, work)


async def _count(desk: Desk, request: Request) -> None:
    key = f"login:{network_of(request.client.host if request.client else '')}"
    await desk.shop.database.run(
        "*", lambda s: counting.take(s, key, A_MINUTE, timedelta(minutes=1), desk.now())
    )


def _prefix(desk: Desk) -> str:
    return ("__Host-" if desk.secure else "") + _NAME


def _cookie(desk: Desk, state: str) -> str:
    return _prefix(desk) + "".join(c for c in state[:12] if c.isalnum() or c in "-_")


def _keep(desk: Desk, answer: Response, name: str, value: str) -> None:
    answer.set_cookie(
        name, value, max_age=int(WITHIN.total_seconds()) if value else 0, path="/",
        secure=desk.secure, httponly=True, samesite="lax",
    )  # fmt: skip


def _packed(begun: _Begun) -> str:
    plain = json.dumps([begun.state, begun.verifier, begun.back], separators=(",", ":"))
    return urlsafe_b64encode(plain.encode()).decode().rstrip("=")


def _unpacked(cookie: str) -> _Begun | None:
    try:
        values = json.loads(urlsafe_b64decode(cookie + "=" * (-len(cookie) % 4)))
        state, verifier, back = values
    except (ValueError, TypeError):
        return None
    if not all(isinstance(value, str) for value in values) or not state:
        return None
    return _Begun(state, verifier, web.local(back))
