"""Sign in, and say what a program may do. No script is needed, and none may run."""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

from authlib.oauth2.rfc6749 import AccessDeniedError, InvalidRequestError, OAuth2Error
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from common.auth.records import effect, note
from common.auth.server import access, signing_in
from common.auth.server.answering import (
    Unreadable,
    address_of,
    asked,
    cookie_name,
    drop_cookie,
    form_of,
    page,
    pairs,
    same_origin,
    sent,
    set_cookie,
)
from common.auth.server.documents import Documents, is_document
from common.auth.server.grants import server_for
from common.auth.server.oauth import Answer, Asked, Server
from common.auth.server.registering import Refused
from common.auth.server.resources import resources
from common.auth.server.sealing import open_form, seal_form
from common.auth.server.signing_in import SignedIn
from common.errors import NotAuthenticated, RateLimited, ShopError
from common.shop import Shop

BROWSER: Final = "shop-browser"
SESSION: Final = "shop-session"
ACRS: Final = (access.PASSWORD, access.TWO_FACTORS)


class Prompted(OAuth2Error):  # type: ignore[misc]
    """OpenID Connect §3.1.2.6: a page would be needed, and must not or cannot help."""

    def __init__(self, error: str, **more: Any) -> None:
        super().__init__(error=error, **more)


@dataclass
class Wanted:
    """An authorization request that is in order, and what it still needs."""

    request: Asked
    grant: Any
    scopes: list[str]
    who: SignedIn | None
    step: str  # "login", "consent" or "done"


async def authorize(request: Request, shop: Shop, documents: Documents) -> Response:
    """The authorization endpoint."""
    now = shop.guard.clock()
    if request.method == "HEAD":
        return Response(status_code=405, headers={"Allow": "GET"})
    encoded, since = request.url.query, int(now.timestamp())
    under_way = open_form(shop.settings, request.query_params.get("i", ""), now)
    if under_way is not None and under_way.get("browser") == _browser(request, shop)[1]:
        encoded, since = under_way["query"], under_way["since"]
    try:
        parsed = asked(request, shop.settings, pairs(encoded))
        document = await _document(parsed, documents)
    except Unreadable as error:
        return page("problem.html", error.status, message=error.why)
    except Refused as refused:
        return page("problem.html", 400, message=refused.description)
    cookie = _session_cookie(request, shop)

    def work(session: Session) -> Response | Wanted:
        server = server_for(session, shop.settings, now, document)
        who = signing_in.current(session, cookie, now)
        try:
            wanted = _considered(server, parsed, who, since)
            if wanted.step == "done":
                assert who is not None
                return sent(_code(server, wanted, who, wanted.scopes))
            return wanted
        except OAuth2Error as error:
            return _refused(server, parsed, error)
        except ValueError:  # authlib's, of a place that may stand in no answer
            return page("problem.html", 400, message="The program sent a wrong request.")

    found = await shop.database.run("*", work)
    if isinstance(found, Response):
        return found
    form = {"query": encoded, "since": since}
    if found.step == "login":
        return _login_page(request, shop, form, found, hint=parsed.form.get("login_hint", ""))
    return _consent_page(request, shop, form, found)


async def login(request: Request, shop: Shop, documents: Documents) -> Response:
    """The form of the login page."""
    now = shop.guard.clock()
    try:
        fields = dict(await form_of(request))
    except Unreadable as error:
        return page("problem.html", error.status, message=error.why)
    form = _opened(request, shop, fields, now)
    if form is None:
        return page("problem.html", 400, message=TOO_OLD)
    try:
        user, methods = await signing_in.check(
            shop, fields.get("username", ""), fields.get("password", ""), fields.get("code", ""),
            address_of(request), "browser",
        )  # fmt: skip
    except (NotAuthenticated, RateLimited) as error:
        return _login_page(request, shop, form, None, error=error, name=fields.get("username", ""))
    former = _session_cookie(request, shop)
    cookie = await shop.database.run("*", lambda s: signing_in.start(s, user, methods, now, former))
    sealed = seal_form(shop.settings, form, now)
    target = f"{shop.settings.http.public_url}/auth/authorize?{urlencode({'i': sealed})}"
    answer = RedirectResponse(target, 303, headers={"Cache-Control": "no-store"})
    set_cookie(answer, shop.settings.http, SESSION, cookie)
    return answer


async def consent(request: Request, shop: Shop, documents: Documents) -> Response:
    """The form of the consent page."""
    now = shop.guard.clock()
    try:
        fields = await form_of(request)
        form = _opened(request, shop, dict(fields), now)
        if form is None:
            return page("problem.html", 400, message=TOO_OLD)
        parsed = asked(request, shop.settings, pairs(form["query"]))
        document = await _document(parsed, documents)
    except Unreadable as error:
        return page("problem.html", error.status, message=error.why)
    except Refused as refused:
        return page("problem.html", 400, message=refused.description)
    cookie, allowed = _session_cookie(request, shop), ("decision", "allow") in fields
    ticked = [value for key, value in fields if key == "scope"]

    def work(session: Session) -> Response:
        server = server_for(session, shop.settings, now, document)
        who = signing_in.current(session, cookie, now)
        if who is None or who.session_id != form.get("session"):
            return page("problem.html", 400, message=TOO_OLD)
        try:
            wanted = _considered(server, parsed, who, form["since"])
            if wanted.step == "login":
                return page("problem.html", 400, message=TOO_OLD)
            scopes = [scope for scope in wanted.scopes if scope in ticked]
            if not allowed or (wanted.scopes and not scopes):
                raise AccessDeniedError(redirect_uri=wanted.grant.redirect_uri)
            return sent(_code(server, wanted, who, scopes))
        except OAuth2Error as error:
            return _refused(server, parsed, error)

    return await shop.database.run("*", work)


async def logout(request: Request, shop: Shop, documents: Documents) -> Response:
    """Sign this browser out; what programs were allowed goes on."""
    if not same_origin(request, shop):
        return page("problem.html", 403, message="Sign out from a page of this server.")
    cookie = _session_cookie(request, shop)
    await shop.database.run("*", lambda session: signing_in.end(session, cookie))
    answer = page("problem.html", 200, message="You are signed out.")
    drop_cookie(answer, shop.settings.http, SESSION)
    return answer


TOO_OLD: Final = "This page was open too long. Start again from the program that sent you here."


def _considered(server: Server, request: Asked, who: SignedIn | None, since: int) -> Wanted:
    """Check the whole request, then see what it needs. Raises OAuth2Error."""
    request.refuse_repetition()
    grant = server.get_consent_grant(request, who.user if who else None)
    try:
        request.resource = server.target(request, request.client)
        prompts = set(request.form.get("prompt", "").split())
        if _must_log_in(server, request, who, since, prompts):
            if "none" in prompts:
                raise Prompted("login_required")
            return Wanted(request, grant, [], who, "login")
        assert who is not None
        scopes = server.allowed(
            request.payload.scope, request.resource, request.client, who.user.scopes
        )
        if request.client.trusted and "consent" not in prompts:
            return Wanted(request, grant, scopes, who, "done")
        if "none" in prompts:
            raise Prompted("consent_required")
        return Wanted(request, grant, scopes, who, "consent")
    except OAuth2Error as error:
        error.redirect_uri, error.state = grant.redirect_uri, request.payload.state
        raise


def _must_log_in(
    server: Server, request: Asked, who: SignedIn | None, since: int, prompts: set[str]
) -> bool:
    if "none" in prompts and len(prompts) > 1:
        raise InvalidRequestError("prompt 'none' stands alone.")
    limit, acrs = request.form.get("max_age", ""), request.form.get("acr_values", "").split()
    if limit and not (limit.isascii() and limit.isdigit() and len(limit) < 10):
        raise InvalidRequestError("max_age is a number of seconds.")
    if who is None:
        return True
    known = [value for value in acrs if value in ACRS]
    if known and access.PASSWORD not in known and "otp" not in who.methods:
        if who.user.totp is None:
            raise Prompted("unmet_authentication_requirements")
        return True
    logged_in = int(who.auth_time.timestamp())
    if prompts & {"login", "select_account"} and logged_in < since:
        return True
    # A login that this very request asked for is recent enough, however small max_age is.
    return bool(limit) and logged_in < since and server.now.timestamp() - logged_in >= int(limit)


def _code(server: Server, wanted: Wanted, who: SignedIn, scopes: list[str]) -> Answer:
    """Back to the client, with a code."""
    request = wanted.request
    request.scope = " ".join(scopes)
    request.methods, request.auth_time = who.methods, who.auth_time

    def keep_scope(grant: Any, redirect_uri: str) -> None:
        request.scope = " ".join(scopes)  # authlib would put the scopes asked for back

    wanted.grant.register_hook("after_validate_authorization_request_payload", keep_scope)
    answer: Answer = server.create_authorization_response(
        request, grant_user=who.user, grant=wanted.grant
    )
    if request.granted is not None:
        actor = signing_in.person(server.settings.http, who.user)
        told = effect(
            "allow", "auth_grant", request.granted.id, client=request.client.id[:200],
            resource=request.resource, scopes=scopes,
        )  # fmt: skip
        note(server.session, server.now, actor, "grant", told)
    return answer


def _refused(server: Server, request: Asked, error: OAuth2Error) -> Response:
    """To the client if it is known and the place is its own; else to the person alone."""
    if getattr(error, "redirect_uri", None):
        error.state = request.payload.state
        return sent(server.handle_error_response(request, error))
    said = error.error or "invalid_request"  # what it says more may be a stranger's own words
    return page("problem.html", 400, message=f"The program sent a wrong request: {said}")


def _login_page(
    request: Request,
    shop: Shop,
    form: dict[str, Any],
    wanted: Wanted | None,
    *,
    error: ShopError | None = None,
    name: str = "",
    hint: str = "",
) -> Response:
    cookie, browser = _browser(request, shop)
    sealed = seal_form(shop.settings, form | {"browser": browser}, shop.guard.clock())
    leads_to = dict(pairs(form["query"])).get("redirect_uri", "")
    status = 200 if error is None else 429 if isinstance(error, RateLimited) else 401
    shown = page(
        "login.html", status, leads_to=leads_to, sealed=sealed, name=(name or hint)[:300],
        error=error.message if error else "", host=urlsplit(shop.settings.http.public_url).netloc,
        client=wanted.request.client.name if wanted else "",
    )  # fmt: skip
    if isinstance(error, RateLimited):
        shown.headers["Retry-After"] = str(error.details["retry_after_s"])
    set_cookie(shown, shop.settings.http, BROWSER, cookie)
    return shown


def _consent_page(request: Request, shop: Shop, form: dict[str, Any], wanted: Wanted) -> Response:
    assert wanted.who is not None
    cookie, browser = _browser(request, shop)
    bound = form | {"browser": browser, "session": wanted.who.session_id}
    client, target = wanted.request.client, wanted.grant.redirect_uri
    everything = resources(shop.settings.http)[wanted.request.resource]
    shown = page(
        "consent.html", leads_to=target, sealed=seal_form(shop.settings, bound, shop.guard.clock()),
        client=client.name, client_id=client.id, described_itself=is_document(client.id),
        user=wanted.who.user.subject, resource=wanted.request.resource,
        scopes=[(scope, access.tells_email([scope])) for scope in wanted.scopes],
        email=wanted.who.user.email,
        target=urlsplit(target).netloc or f"{urlsplit(target).scheme}:",
        held_back=[
            s for s in (wanted.request.payload.scope or "").split()
            if s in everything and s not in wanted.scopes
        ],
    )  # fmt: skip
    set_cookie(shown, shop.settings.http, BROWSER, cookie)
    return shown


def _opened(
    request: Request, shop: Shop, fields: dict[str, str], now: datetime
) -> dict[str, Any] | None:
    """The form, if a page of ours gave it to this very browser."""
    form = open_form(shop.settings, fields.get("i", ""), now)
    if form is None or not same_origin(request, shop):
        return None
    return form if form.get("browser") == _browser(request, shop)[1] else None


def _browser(request: Request, shop: Shop) -> tuple[str, str]:
    """A cookie that tells browsers apart, and its hash, which forms are bound to."""
    cookie = request.cookies.get(cookie_name(shop.settings.http, BROWSER), "")
    if not 40 <= len(cookie) <= 64:
        cookie = secrets.token_urlsafe(32)
    return cookie, hashlib.sha256(cookie.encode()).hexdigest()


def _session_cookie(request: Request, shop: Shop) -> str:
    return request.cookies.get(cookie_name(shop.settings.http, SESSION), "")[:100]


async def _document(request: Asked, documents: Documents) -> Any:
    client_id = request.payload.client_id or ""
    return await documents.client(client_id) if is_document(client_id) else None
