"""What programs call: token, revocation, introspection, registration, metadata, keys."""

import base64
import binascii
import hashlib
import json
import secrets
from typing import Any, Final
from urllib.parse import unquote_plus

from authlib.oauth2.rfc7009 import RevocationEndpoint
from authlib.oauth2.rfc7662 import IntrospectionEndpoint
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from common.auth.records import effect, note
from common.auth.server import access, families
from common.auth.server.answering import (
    NOT_KEPT,
    Unreadable,
    asked,
    body_of,
    form_of,
    refusal,
    sent,
)
from common.auth.server.clients import CODE, CREDENTIALS, METHODS, REFRESH, Client
from common.auth.server.documents import Documents, is_document
from common.auth.server.grants import server_for, token_answer
from common.auth.server.keys import ALGORITHMS, local_jwks
from common.auth.server.oauth import Asked
from common.auth.server.pages import ACRS
from common.auth.server.registering import Refused, described
from common.auth.server.resources import resources
from common.call import Actor
from common.ids import new_id
from common.shop import Shop
from common.tables.auth_server import AuthClient, AuthGrant, AuthInvitation, AuthUser


def metadata(shop: Shop) -> dict[str, Any]:
    """RFC 8414."""
    issuer = shop.settings.http.public_url
    at = f"{issuer}/auth"
    proving = [method for method in METHODS if method != "none"]
    reads = sorted({s for scopes in resources(shop.settings.http).values() for s in scopes})
    return {
        "issuer": issuer,
        "authorization_endpoint": f"{at}/authorize",
        "token_endpoint": f"{at}/token",
        "jwks_uri": f"{at}/jwks",
        "registration_endpoint": f"{at}/register",
        "revocation_endpoint": f"{at}/revoke",
        "introspection_endpoint": f"{at}/introspect",
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": [CODE, REFRESH, CREDENTIALS],
        "scopes_supported": [s for s in reads if s.endswith(":read")],
        "code_challenge_methods_supported": ["S256"],
        "token_endpoint_auth_methods_supported": list(METHODS),
        "token_endpoint_auth_signing_alg_values_supported": list(ALGORITHMS),
        "revocation_endpoint_auth_methods_supported": list(METHODS),
        "revocation_endpoint_auth_signing_alg_values_supported": list(ALGORITHMS),
        "introspection_endpoint_auth_methods_supported": proving,
        "introspection_endpoint_auth_signing_alg_values_supported": list(ALGORITHMS),
        "authorization_response_iss_parameter_supported": True,
        "client_id_metadata_document_supported": True,
        "acr_values_supported": list(ACRS),
        "prompt_values_supported": ["none", "login", "consent"],
    }


async def published(request: Request, shop: Shop, documents: Documents) -> Response:
    """The metadata, for anybody."""
    headers = {"Cache-Control": "max-age=300", "Access-Control-Allow-Origin": "*"}
    return JSONResponse(metadata(shop), headers=headers)


async def jwks(request: Request, shop: Shop, documents: Documents) -> Response:
    """The public keys, for anybody."""
    headers = {"Cache-Control": "max-age=300", "Access-Control-Allow-Origin": "*"}
    return JSONResponse(await local_jwks(shop), headers=headers)


async def token(request: Request, shop: Shop, documents: Documents) -> Response:
    """RFC 6749 §3.2."""
    found = await _posted(request, shop, documents)
    if isinstance(found, Response):
        return found
    parsed, document = found
    now = shop.guard.clock()

    def work(session: Session) -> Any:
        return token_answer(server_for(session, shop.settings, now, document), parsed)

    return sent(await shop.database.run("*", work))


async def revoke(request: Request, shop: Shop, documents: Documents) -> Response:
    """RFC 7009."""
    return await _endpoint(request, shop, documents, Revocation)


async def introspect(request: Request, shop: Shop, documents: Documents) -> Response:
    """RFC 7662."""
    return await _endpoint(request, shop, documents, Introspection)


async def register(request: Request, shop: Shop, documents: Documents) -> Response:
    """RFC 7591, for those who were given an initial access token."""
    scheme, _, invitation = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not invitation:
        answer = refusal("invalid_token", "Registration needs an initial access token.", 401)
        answer.headers["WWW-Authenticate"] = "Bearer"
        return answer
    try:
        said = json.loads(await body_of(request))
        if not isinstance(said, dict):
            raise ValueError
        client_id = new_id("client")
        client = described(client_id, said, default_method="client_secret_basic", methods=METHODS)
    except Unreadable as error:
        return refusal("invalid_client_metadata", error.why, error.status)
    except (ValueError, RecursionError):
        return refusal("invalid_client_metadata", "Send one JSON object.")
    except Refused as refused:
        return refusal(refused.error, refused.description)
    secret = secrets.token_urlsafe(32) if client.method == "client_secret" else ""
    now = shop.guard.clock()

    def work(session: Session) -> bool:
        found = session.get(AuthInvitation, _sha256(invitation), with_for_update=True)
        if found is None or found.uses_left < 1 or found.expires_at <= now:
            return False
        found.uses_left -= 1
        session.add(AuthClient(
            id=client.id, name=client.name, method=client.method,
            secret_sha256=_sha256(secret) if secret else None, jwks=client.jwks,
            redirect_uris=[*client.redirect_uris], grant_types=[*client.grant_types],
            scopes=found.scopes, introspects=False, registered_by="registration",
            created_at=now, revoked_at=None,
        ))  # fmt: skip
        session.flush()
        actor = Actor(shop.settings.http.public_url, found.made_by, "registration", frozenset())
        note(session, now, actor, "client_register", effect("create", "auth_client", client.id))
        return True

    if not await shop.database.run("*", work):
        answer = refusal("invalid_token", "The initial access token is not valid any more.", 401)
        answer.headers["WWW-Authenticate"] = 'Bearer error="invalid_token"'
        return answer
    method = said.get("token_endpoint_auth_method", "client_secret_basic")
    content = {
        "client_id": client.id, "client_id_issued_at": int(now.timestamp()),
        "client_name": client.name, "redirect_uris": [*client.redirect_uris],
        "grant_types": [*client.grant_types], "token_endpoint_auth_method": method,
        "response_types": ["code"] if CODE in client.grant_types else [],
    }  # fmt: skip
    if secret:
        content |= {"client_secret": secret, "client_secret_expires_at": 0}
    if client.jwks:
        content["jwks"] = client.jwks
    return JSONResponse(content, 201, headers=NOT_KEPT)


class _Ours:
    """A token of ours as authlib asks about it."""

    def __init__(self, claims: dict[str, Any], grant: AuthGrant | None, *, active: bool) -> None:
        self.claims, self.grant, self.active = claims, grant, active

    def check_client(self, client: Client) -> bool:
        return bool(self.claims["client_id"] == client.id)

    def is_expired(self) -> bool:
        return not self.active

    def is_revoked(self) -> bool:
        return not self.active


class _Querying:
    """What both endpoints do: find the token, whichever kind it is."""

    server: Any

    def query_token(self, token: str, hint: str | None) -> _Ours | None:
        server = self.server
        session, now = server.session, server.now
        claims = access.read(session, server.settings, now, token)
        if claims is not None:
            alive = claims["exp"] > now.timestamp() and not families.denied(
                session, server.settings, claims, now
            )
            return _Ours(claims, None, active=alive)
        found = families.by_refresh_token(session, token)
        if found is None:
            return None
        row, grant = found
        user = session.get_one(AuthUser, grant.user_id)
        told = {
            "client_id": grant.client_id, "sub": user.subject, "scope": " ".join(grant.scopes),
            "iss": server.settings.http.public_url, "exp": int(row.expires_at.timestamp()),
        }  # fmt: skip
        alive = (
            row.used_at is None and grant.revoked_at is None and user.disabled_at is None
            and min(row.expires_at, grant.expires_at) > now
        )  # fmt: skip
        return _Ours(told, grant, active=alive)


class Revocation(_Querying, RevocationEndpoint):  # type: ignore[misc]
    """A client gives back its own tokens: a refresh token takes its family with it."""

    CLIENT_AUTH_METHODS: Final = [*METHODS]

    def revoke_token(self, token: _Ours, request: Asked) -> None:
        server = self.server
        if token.grant is not None:
            families.revoke(server.session, server.settings, token.grant, server.now, "given_back")
        elif token.active:
            families.deny_claims(server.session, server.settings, token.claims, server.now)


class Introspection(_Querying, IntrospectionEndpoint):  # type: ignore[misc]
    """For clients that prove who they are: their own tokens, or all, where they may."""

    CLIENT_AUTH_METHODS: Final = [method for method in METHODS if method != "none"]

    def check_permission(self, token: _Ours, client: Client, request: Asked) -> bool:
        return client.introspects or token.check_client(client)

    def introspect_token(self, token: _Ours) -> dict[str, Any]:
        kind = {} if token.grant is not None else {"token_type": "Bearer"}
        return {"active": True, "username": token.claims["sub"]} | kind | token.claims


async def _endpoint(
    request: Request, shop: Shop, documents: Documents, kind: type[Any]
) -> Response:
    found = await _posted(request, shop, documents)
    if isinstance(found, Response):
        return found
    parsed, document = found
    now = shop.guard.clock()

    def work(session: Session) -> Any:
        server = server_for(session, shop.settings, now, document)
        server.register_endpoint(kind)
        return server.create_endpoint_response(kind.ENDPOINT_NAME, parsed)

    return sent(await shop.database.run("*", work))


async def _posted(
    request: Request, shop: Shop, documents: Documents
) -> Response | tuple[Asked, Client | None]:
    """The form and, where the client is a URL, its document."""
    try:
        parsed = asked(request, shop.settings, await form_of(request))
        client_id = _client_id(parsed, request.headers.get("authorization", ""))
        document = await documents.client(client_id) if is_document(client_id) else None
    except Unreadable as error:
        return refusal("invalid_request", error.why, error.status)
    except Refused as refused:
        return refusal("invalid_client", refused.description)
    if len(request.headers.getlist("authorization")) > 1 or _two_ways(parsed, request):
        return refusal("invalid_request", "Authenticate the client in one way.")
    return parsed, document


def _two_ways(parsed: Asked, request: Request) -> bool:
    ways = (
        "authorization" in request.headers,
        "client_secret" in parsed.form,
        "client_assertion" in parsed.form,
    )
    return sum(ways) > 1


def _client_id(parsed: Asked, authorization: str) -> str:
    """Who the client says it is; whether it is comes later."""
    scheme, _, rest = authorization.partition(" ")
    try:
        if scheme.lower() == "basic":
            return _basic_name(rest)
        payload = parsed.form.get("client_assertion", "").split(".")[1:2]
        if payload:
            padded = payload[0] + "=" * (-len(payload[0]) % 4)
            claims = json.loads(base64.urlsafe_b64decode(padded))
            return str(claims.get("sub", "")) if isinstance(claims, dict) else ""
    except (ValueError, binascii.Error, RecursionError):
        return ""
    return parsed.form.get("client_id", "")


def _basic_name(encoded: str) -> str:
    """Raises Unreadable."""
    try:
        pair = base64.b64decode(encoded, validate=True).decode()
    except ValueError:
        pair = "\0"
    name = unquote_plus(pair.partition(":")[0])
    if "\0" in name:
        raise Unreadable(400, "The client's credentials cannot be read.")
    return name


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()
