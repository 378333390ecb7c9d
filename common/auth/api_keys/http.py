"""API keys over REST, in the envelope of their clients: ``{"success": …, "data": …}``.

========================  =================================================================
POST /login               name and password to a token for the calls below, for ten minutes
POST /api-keys            a new key; the only time it is told
GET /api-keys             one's own keys
PUT /api-keys/ID/revoke   of no use from now on
DELETE /api-keys/ID       gone
========================  =================================================================
"""

import json
from collections.abc import Awaitable, Callable
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from common import auth
from common.auth import api_keys
from common.auth.api_keys import Owner
from common.auth.records import effect, note
from common.auth.server import access, signing_in
from common.auth.server import resources as targets
from common.auth.server.answering import NOT_KEPT, Unreadable, address_of, body_of, stranger
from common.auth.server.users import find as find_user
from common.clock import stamp
from common.errors import (
    LATER,
    Busy,
    Conflict,
    InvalidParameters,
    NotAuthenticated,
    NotFound,
    RateLimited,
    RuleViolation,
    ShopError,
    UpstreamError,
)
from common.shop import Shop
from common.tables.auth_server import ApiKey

LOGIN_SECONDS: Final = 600
LOGIN_CLIENT: Final = "shop-login"
PAGE: Final = 50
_STATUS: Final[dict[type[ShopError], int]] = {
    NotAuthenticated: 401, InvalidParameters: 400, NotFound: 404, Conflict: 409,
    RuleViolation: 409, RateLimited: 429, Busy: 503,
    UpstreamError: 503,
}  # fmt: skip
Work = Callable[[Request, auth.Caller], Awaitable[Response]]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Login(_Body):
    username: str = Field(min_length=1, max_length=300)
    password: str = Field(min_length=1, max_length=1_000)
    code: str = Field(default="", max_length=10)


class NewKey(_Body):
    name: str = Field(min_length=1, max_length=200)
    scopes: list[str] | None = Field(default=None, max_length=100)
    expires_in_days: int | None = Field(default=None, alias="expiresInDays", ge=1, le=3_650)


def routes(shop: Shop, authenticator: auth.Authenticator) -> list[BaseRoute]:
    """The routes; ``POST /login`` only where users are kept here."""
    keys = _Keys(shop)

    def guarded(work: Work) -> Callable[[Request], Awaitable[Response]]:
        async def answered(request: Request) -> Response:
            try:
                await shop.guard.limits.take(stranger(request), "requests")
                return await work(request, await _caller(request, shop, authenticator))
            except auth.CredentialsMalformed as error:
                return _failed(InvalidParameters(str(error)))
            except auth.IssuerUnavailable as error:
                answer = _failed(Conflict(str(error)), 503)
                answer.headers["Retry-After"] = str(error.retry_after_s)
                return answer
            except ShopError as error:
                return _failed(error)

        return answered

    found: list[BaseRoute] = [
        Route("/api-keys", guarded(keys.create), methods=["POST"]),
        Route("/api-keys", guarded(keys.list), methods=["GET"]),
        Route("/api-keys/{id}/revoke", guarded(keys.revoke), methods=["PUT"]),
        Route("/api-keys/{id}", guarded(keys.delete), methods=["DELETE"]),
    ]
    if shop.settings.http.auth_server:

        async def login(request: Request) -> Response:
            try:
                await shop.guard.limits.take(stranger(request), "requests")
                return await _login(request, shop)
            except ShopError as error:
                return _failed(error)

        found.append(Route("/login", login, methods=["POST"]))
    return found


class _Keys:
    """The four calls, each for the caller's own keys."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop

    async def create(self, request: Request, caller: auth.Caller) -> Response:
        asked, now, http = await _parsed(request, NewKey), self._now(), self.shop.settings.http
        owner = _owner(caller)

        def work(session: Session) -> tuple[ApiKey, str]:
            user = find_user(session, owner.subject) if owner.issuer == http.public_url else None
            held = user.scopes if user is not None else caller.actor.scopes
            key, secret = api_keys.create(
                session, http, owner, asked.name, held, now, scopes=asked.scopes,
                days=asked.expires_in_days,
            )  # fmt: skip
            told = effect("create", "api_key", key.id, scopes=key.scopes)
            note(session, now, caller.actor, "api_key_create", told)
            return key, secret

        key, secret = await self.shop.database.run("*", work)
        return _done(shown(key) | {"key": secret}, 201)

    async def list(self, request: Request, caller: auth.Caller) -> Response:
        cursor = request.query_params.get("cursor")

        def work(session: Session) -> tuple[list[ApiKey], str | None]:
            return api_keys.listed(session, _owner(caller), cursor, PAGE)

        found, after = await self.shop.database.run("*", work, write=False)
        more = {"nextCursor": after} if after else {}
        return _done([shown(key) for key in found], 200, **more)

    async def revoke(self, request: Request, caller: auth.Caller) -> Response:
        now, id = self._now(), request.path_params["id"]

        def work(session: Session) -> ApiKey:
            key = api_keys.revoke(session, _owner(caller), id, now)
            note(session, now, caller.actor, "api_key_revoke", effect("revoke", "api_key", key.id))
            return key

        return _done(shown(await self.shop.database.run("*", work)))

    async def delete(self, request: Request, caller: auth.Caller) -> Response:
        now, id = self._now(), request.path_params["id"]

        def work(session: Session) -> str:
            key = api_keys.remove(session, _owner(caller), id)
            note(session, now, caller.actor, "api_key_delete", effect("delete", "api_key", key.id))
            return key.id

        return _done({"id": await self.shop.database.run("*", work), "deleted": True})

    def _now(self) -> Any:
        return self.shop.guard.clock()


def shown(key: ApiKey) -> dict[str, Any]:
    """A key as its owner sees it: all but the secret."""
    return {
        "id": key.id, "name": key.name, "hint": f"{api_keys.PREFIX}…{key.hint}",
        "scopes": key.scopes, "createdAt": stamp(key.created_at),
        "lastUsedAt": stamp(key.last_used_at) if key.last_used_at else None,
        "expiresAt": stamp(key.expires_at) if key.expires_at else None,
        "revokedAt": stamp(key.revoked_at) if key.revoked_at else None,
    }  # fmt: skip


async def _login(request: Request, shop: Shop) -> Response:
    asked, now = await _parsed(request, Login), shop.guard.clock()
    user, methods = await signing_in.check(
        shop, asked.username, asked.password, asked.code, address_of(request), LOGIN_CLIENT
    )

    def work(session: Session) -> str:
        return access.issue(
            session, shop.settings, now, subject=user.subject, client_id=LOGIN_CLIENT,
            resource=targets.api_keys(shop.settings.http), scopes=[], auth_time=now,
            methods=methods, seconds=LOGIN_SECONDS,
        ).token  # fmt: skip

    token = await shop.database.run("*", work)
    who = {"username": user.subject, "name": user.name}
    return _done({"token": token, "tokenType": "Bearer", "expiresIn": LOGIN_SECONDS, "user": who})


async def _caller(request: Request, shop: Shop, authenticator: auth.Authenticator) -> auth.Caller:
    """A person with a token for this very interface. Raises NotAuthenticated and auth's own."""
    audience = targets.api_keys(shop.settings.http)
    try:
        caller = await authenticator.authenticate(request.headers.raw, audience=audience)
    except auth.CredentialsRefused as error:
        raise NotAuthenticated(error.description, next="Log in again with POST /login.") from None
    if caller is None:
        raise NotAuthenticated("Send a token.", next="Log in with POST /login.")
    if caller.method not in {"token", "introspected"} or caller.actor.machine:
        raise NotAuthenticated(
            "Keys are managed by the person they act for.", next="Log in with POST /login."
        )
    return caller


async def _parsed(request: Request, kind: type[Any]) -> Any:
    """The JSON body as a model. Raises InvalidParameters."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise InvalidParameters("Send application/json.")
    try:
        return kind.model_validate(json.loads(await body_of(request)))
    except Unreadable as error:
        raise InvalidParameters(error.why) from None
    except ValidationError as error:
        problems = [
            {"field": ".".join(map(str, problem["loc"])), "requirement": problem["msg"]}
            for problem in error.errors(include_input=False, include_url=False)[:10]
        ]
        raise InvalidParameters(
            "The body is not in order.", details={"problems": problems}
        ) from None
    except (ValueError, RecursionError):
        raise InvalidParameters("The body is not JSON.") from None


def _owner(caller: auth.Caller) -> Owner:
    return Owner(caller.actor.issuer, caller.actor.subject)


def _done(data: Any, status: int = 200, **more: Any) -> JSONResponse:
    return JSONResponse({"success": True, "data": data, **more}, status, headers=NOT_KEPT)


def _failed(error: ShopError, status: int = 0) -> JSONResponse:
    code = status or next((s for kind, s in _STATUS.items() if isinstance(error, kind)), 400)
    answer = JSONResponse({"success": False, "error": error.wire()}, code, headers=NOT_KEPT)
    if code == 401:
        answer.headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, LATER):
        answer.headers["Retry-After"] = str(error.retry_after_s)
    if isinstance(error, RateLimited):
        answer.headers["Retry-After"] = str(error.details.get("retry_after_s", 60))
    return answer
