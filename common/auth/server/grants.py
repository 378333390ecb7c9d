"""The three grants, and ways a client proves who it is."""

import hashlib
import secrets
from datetime import datetime, timedelta
from typing import Any, Final

from authlib.oauth2.rfc6749 import (
    InvalidClientError,
    InvalidGrantError,
    InvalidRequestError,
    UnauthorizedClientError,
)
from authlib.oauth2.rfc6749.grants import (
    AuthorizationCodeGrant,
    ClientCredentialsGrant,
    RefreshTokenGrant,
)
from authlib.oauth2.rfc7523 import JWTBearerClientAssertion
from joserfc.jwk import KeySet
from sqlalchemy import delete
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from common.auth.server import families
from common.auth.server.clients import METHODS, REFRESH, Client
from common.auth.server.oauth import S256, Asked, Server, for_machines
from common.tables.auth_server import AuthAssertion, AuthCode, AuthGrant, AuthUser

CODE_SECONDS: Final = 60
ASSERTION_SECONDS: Final = 600
LEEWAY_SECONDS: Final = 30


class CodeGrant(AuthorizationCodeGrant):  # type: ignore[misc]
    """The authorization code, once, for the client, redirect and challenge it was made for."""

    TOKEN_ENDPOINT_AUTH_METHODS: Final = METHODS
    server: Server
    request: Asked

    def save_authorization_code(self, code: str, request: Asked) -> None:
        server, now, user = self.server, self.server.now, request.user
        grant = families.begin(
            server.session, request.client.id, user, request.resource, request.scope.split(),
            request.methods, request.auth_time or now, now,
        )  # fmt: skip
        row = AuthCode(
            id=_sha256(code), grant_id=grant.id, redirect_uri=request.payload.redirect_uri,
            challenge=request.payload.data["code_challenge"],
            expires_at=now + timedelta(seconds=CODE_SECONDS), used_at=None,
        )  # fmt: skip
        server.session.add(row)
        request.granted = grant

    def query_authorization_code(self, code: str, client: Client) -> "_Code | None":
        server = self.server
        row = server.session.get(AuthCode, _sha256(code), with_for_update=True)
        if row is None:
            return None
        grant = server.session.get_one(AuthGrant, row.grant_id, with_for_update=True)
        if grant.client_id != client.id:
            return None
        if row.used_at is not None:
            families.revoke(server.session, server.settings, grant, server.now, "code_reused")
            return None
        if row.expires_at <= server.now or grant.revoked_at is not None:
            return None
        return _Code(row, grant)

    def authenticate_user(self, authorization_code: "_Code") -> AuthUser:
        server, grant = self.server, authorization_code.grant
        server.target(self.request, self.request.client, grant.resource)
        user, scopes = families.alive(server.session, grant, server.now)
        refresh = secrets.token_urlsafe(32) if self.client.check_grant_type(REFRESH) else ""
        server.issued.update(_about(grant, user, scopes), refresh_token=refresh)
        return user

    def delete_authorization_code(self, authorization_code: "_Code") -> None:
        authorization_code.row.used_at = self.server.now
        families.issued(self.server.session, authorization_code.grant, self.server.issued,
                        self.server.now)  # fmt: skip


class RefreshGrant(RefreshTokenGrant):  # type: ignore[misc]
    """A refresh token, once: its second use ends the family (RFC 9700 §4.14.2)."""

    TOKEN_ENDPOINT_AUTH_METHODS: Final = METHODS
    INCLUDE_NEW_REFRESH_TOKEN: Final = True
    server: Server
    request: Asked

    def authenticate_refresh_token(self, refresh_token: str) -> "_Refresh | None":
        server = self.server
        found = families.by_refresh_token(server.session, refresh_token)
        if found is None:
            return None
        token, grant = found
        if grant.client_id != self.client.id:
            return None
        if token.used_at is not None:
            families.revoke(server.session, server.settings, grant, server.now, "token_reused")
            return None
        if min(token.expires_at, grant.expires_at) <= server.now or grant.revoked_at is not None:
            return None
        return _Refresh(token, grant)

    def authenticate_user(self, refresh_token: "_Refresh") -> AuthUser:
        server, grant = self.server, refresh_token.grant
        server.target(self.request, self.request.client, grant.resource)
        user, scopes = families.alive(server.session, grant, server.now)
        asked = self.request.payload.scope
        if asked:
            scopes = [scope for scope in scopes if scope in asked.split()]
        about = _about(grant, user, scopes)
        server.issued.update(about, refresh_token=secrets.token_urlsafe(32))
        return user

    def revoke_old_credential(self, refresh_token: "_Refresh") -> None:
        refresh_token.token.used_at = self.server.now
        families.issued(self.server.session, refresh_token.grant, self.server.issued,
                        self.server.now)  # fmt: skip


class CredentialsGrant(ClientCredentialsGrant):  # type: ignore[misc]
    """A program on its own account: no person, so nothing to decide and no keys to make."""

    TOKEN_ENDPOINT_AUTH_METHODS: Final = tuple(m for m in METHODS if m != "none")
    server: Server
    request: Asked

    def create_token_response(self) -> Any:
        server, client = self.server, self.request.client
        resource = server.target(self.request, client)
        if client.scopes is None:  # as far as its user may go; here there is no user
            raise UnauthorizedClientError(description="This client has no rights of its own.")
        asked = self.request.payload.scope or " ".join(client.scopes)
        scopes = for_machines(server.allowed(asked, resource, client))
        server.issued.update(subject=client.id, resource=resource, scopes=scopes)
        return super().create_token_response()


class PrivateKeyJwt(JWTBearerClientAssertion):  # type: ignore[misc]
    """private_key_jwt (RFC 7523), each assertion once and for this server only."""

    CLIENT_AUTH_METHOD: Final = "private_key_jwt"

    def __init__(self, server: Server) -> None:
        super().__init__(leeway=LEEWAY_SECONDS)
        self.server = server

    def resolve_client_public_key(self, client: Client) -> KeySet:
        if client.jwks is None:
            raise InvalidClientError(description="This client has no keys.")
        return KeySet.import_key_set(client.jwks)  # type: ignore[arg-type]

    def verify_claims(self, claims: dict[str, Any]) -> None:
        server, now = self.server, int(self.server.now.timestamp())
        issuer = server.settings.http.public_url
        audience, jti, exp = claims.get("aud"), claims.get("jti"), claims.get("exp")
        listed = audience if isinstance(audience, list) else [audience]
        if not {issuer, f"{issuer}/auth/token"} & {a for a in listed if isinstance(a, str)}:
            raise InvalidClientError(description="The assertion is for another server.")
        if not isinstance(exp, int) or isinstance(exp, bool) or exp + LEEWAY_SECONDS <= now:
            raise InvalidClientError(description="The assertion has expired.")
        if exp > now + ASSERTION_SECONDS + LEEWAY_SECONDS:
            raise InvalidClientError(description="The assertion lives too long.")
        for name in ("nbf", "iat"):
            moment = claims.get(name, now)
            if not isinstance(moment, int) or moment > now + LEEWAY_SECONDS:
                raise InvalidClientError(description="The assertion is not valid yet.")
        if claims.get("iss") != claims["sub"]:
            raise InvalidClientError(description="Issuer and subject must match.")
        if not isinstance(jti, str) or not 0 < len(jti) <= 256:
            raise InvalidClientError(description="The assertion has no jti.")
        self._use(f"{claims['sub']}\0{jti}", exp)

    def _use(self, assertion: str, exp: int) -> None:
        session, now = self.server.session, self.server.now
        session.execute(delete(AuthAssertion).where(AuthAssertion.expires_at < now))
        dies = datetime.fromtimestamp(exp + LEEWAY_SECONDS + 1, tz=now.tzinfo)
        try:
            with session.begin_nested():
                session.add(AuthAssertion(id=_sha256(assertion), expires_at=dies))
        except IntegrityError:
            raise InvalidClientError(description="The assertion was used before.") from None


class _Code:
    """A code as authlib asks about it."""

    def __init__(self, row: AuthCode, grant: AuthGrant) -> None:
        self.row, self.grant = row, grant
        self.challenge = row.challenge

    def get_redirect_uri(self) -> str:
        return self.row.redirect_uri

    def get_scope(self) -> str:
        return " ".join(self.grant.scopes)


class _Refresh:
    def __init__(self, token: Any, grant: AuthGrant) -> None:
        self.token, self.grant = token, grant

    def check_client(self, client: Client) -> bool:
        return self.grant.client_id == client.id

    def get_scope(self) -> str:
        return " ".join(self.grant.scopes)


def server_for(session: Session, settings: Any, now: datetime, document: Any = None) -> Server:
    """Everything put together for one transaction."""
    server = Server(session, settings, now, document)
    server.register_grant(CodeGrant, [S256(required=True)])
    server.register_grant(RefreshGrant)
    server.register_grant(CredentialsGrant)
    server.register_client_auth_method("private_key_jwt", PrivateKeyJwt(server))
    return server


def token_answer(server: Server, request: Asked) -> Any:
    """The token endpoint."""
    try:
        request.refuse_repetition()
    except InvalidRequestError as error:
        return server.handle_error_response(request, error)
    return server.create_token_response(request)


def _about(grant: AuthGrant, user: AuthUser, scopes: list[str]) -> dict[str, Any]:
    return {
        "subject": user.subject, "resource": grant.resource, "scopes": scopes,
        "auth_time": grant.auth_time, "methods": tuple(grant.methods),
        "email": user.email,
    }  # fmt: skip


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


__all__ = ["CodeGrant", "InvalidGrantError", "server_for", "token_answer"]
