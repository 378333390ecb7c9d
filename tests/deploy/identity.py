"""``python -m tests.deploy.identity``: stands where compose.yaml has Keycloak.

It knows the realm of ``deploy/`` (tests/deploy/realm.py), two people, their login page, the code
flow with PKCE and refresh tokens that work once. It is no Keycloak and judges nothing of one.
"""

import os
import secrets
import sys
import time
from base64 import urlsafe_b64encode
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

import uvicorn
from joserfc import jwt
from joserfc.jwk import ECKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from tests.deploy.realm import InvalidScope, Realm, User

PASSWORD: Final = "correct horse battery staple"
PEOPLE: Final = (
    User("ana@example.com", "ana@example.com", frozenset({"staff"})),
    User("kim@example.com", "kim@example.com", frozenset({"approver"})),
)


class Refused(Exception):
    """The OAuth error."""


@dataclass
class Identity:
    """The realm's endpoints."""

    realm: Realm
    key: ECKey = field(default_factory=lambda: ECKey.generate_key("P-256", auto_kid=True))
    sessions: dict[str, tuple[User, float]] = field(default_factory=dict)
    codes: dict[str, dict[str, Any]] = field(default_factory=dict)
    refreshing: dict[str, dict[str, Any]] = field(default_factory=dict)

    def app(self) -> Starlette:
        base = "/id/realms/shop"
        protocol = f"{base}/protocol/openid-connect"
        return Starlette(
            routes=[
                Route(f"{base}/.well-known/openid-configuration", self.metadata),
                Route(f"{protocol}/certs", self.certs),
                Route(f"{protocol}/auth", self.auth, methods=["GET", "POST"]),
                Route(f"{protocol}/token", self.token, methods=["POST"]),
                Route(f"{protocol}/revoke", self.revoke, methods=["POST"]),
            ]
        )

    async def metadata(self, _: Request) -> Response:
        protocol = f"{self.realm.issuer}/protocol/openid-connect"
        return JSONResponse(
            {
                "issuer": self.realm.issuer, "jwks_uri": f"{protocol}/certs",
                "authorization_endpoint": f"{protocol}/auth",
                "token_endpoint": f"{protocol}/token", "revocation_endpoint": f"{protocol}/revoke",
                "scopes_supported": ["openid", *self.realm.scopes],
                "code_challenge_methods_supported": ["plain", "S256"],
                "authorization_response_iss_parameter_supported": True,
            }
        )  # fmt: skip

    async def certs(self, _: Request) -> Response:
        public = {**self.key.as_dict(private=False), "use": "sig", "alg": "ES256"}
        return JSONResponse({"keys": [public]})

    async def auth(self, request: Request) -> Response:
        asked = dict(request.query_params)
        client = self.realm.clients.get(asked.get("client_id", ""))
        if client is None or not _matches(client["redirectUris"], asked.get("redirect_uri", "")):
            return HTMLResponse("Invalid parameter: redirect_uri", 400)
        form = await request.form()
        who = self._signed_in(request, asked) if request.method == "GET" else self._login(form)
        if who is None:
            page = '<form method="post"><input name="username"><input name="password"></form>'
            return HTMLResponse(page)
        user, at = who
        back = {"state": asked.get("state", ""), "iss": self.realm.issuer}
        try:
            self.realm.claims(asked["client_id"], asked.get("scope", "").split(), user)
            if asked.get("code_challenge_method") != "S256" or "code_challenge" not in asked:
                raise Refused("invalid_request")
            code = secrets.token_urlsafe(24)
            self.codes[code] = {**asked, "user": user, "at": at}
            back["code"] = code
        except InvalidScope:
            back["error"] = "invalid_scope"
        except Refused as error:
            back["error"] = str(error)
        answer = RedirectResponse(f"{asked['redirect_uri']}?{urlencode(back)}", 302)
        session = secrets.token_urlsafe(24)
        self.sessions[session] = who
        answer.set_cookie(
            "KEYCLOAK_IDENTITY", session, path="/id/realms/shop/", secure=True, httponly=True,
        )  # fmt: skip
        return answer

    async def token(self, request: Request) -> Response:
        form = {name: str(value) for name, value in (await request.form()).items()}
        try:
            if form.get("grant_type") == "authorization_code":
                given = self._redeemed(form)
            elif form.get("grant_type") == "refresh_token":
                given = self.refreshing.pop(form.get("refresh_token", ""), None) or {}
            else:
                raise Refused("unsupported_grant_type")
            if not given or given["client_id"] != form.get("client_id"):
                raise Refused("invalid_grant")
        except Refused as error:
            return JSONResponse({"error": str(error)}, 400)
        claims = self.realm.claims(
            given["client_id"], given.get("scope", "").split(), given["user"],
            signed_in_at=given["at"],
        )  # fmt: skip
        again = secrets.token_urlsafe(24)
        self.refreshing[again] = given
        header = {"alg": "ES256", "typ": "JWT", "kid": self.key.kid}
        return JSONResponse(
            {
                "access_token": jwt.encode(header, claims, self.key, algorithms=["ES256"]),
                "token_type": "Bearer", "expires_in": claims["exp"] - claims["iat"],
                "refresh_token": again, "scope": claims["scope"],
            }
        )  # fmt: skip

    async def revoke(self, _: Request) -> Response:
        return Response()

    def _signed_in(self, request: Request, asked: dict[str, str]) -> tuple[User, float] | None:
        known = self.sessions.get(request.cookies.get("KEYCLOAK_IDENTITY", ""))
        if known is None or asked.get("prompt") == "login":
            return None
        longest = float(asked.get("max_age", "inf"))
        return known if time.time() - known[1] <= longest else None

    def _login(self, form: Any) -> tuple[User, float] | None:
        named = [user for user in PEOPLE if user.name == form.get("username")]
        right = named and form.get("password") == PASSWORD
        return (named[0], time.time()) if right else None

    def _redeemed(self, form: dict[str, str]) -> dict[str, Any]:
        given = self.codes.pop(form.get("code", ""), {})
        digest = sha256(form.get("code_verifier", "").encode()).digest()
        challenge = urlsafe_b64encode(digest).decode().rstrip("=")
        if (
            given.get("redirect_uri") != form.get("redirect_uri")
            or given.get("code_challenge") != challenge
        ):
            raise Refused("invalid_grant")
        return given


def _matches(allowed: list[str], uri: str) -> bool:
    """A star ends what must be the same; a loopback's port may be any."""
    parts = urlsplit(uri)
    if parts.scheme == "http" and parts.hostname in {"127.0.0.1", "localhost"}:
        uri = f"http://{parts.hostname}{parts.path}"
    return any(uri.startswith(each[:-1]) if each.endswith("*") else uri == each for each in allowed)


def main() -> None:
    assert sys.argv[1:] == ["start", "--import-realm"], sys.argv
    host = os.environ["SHOP_HOST"]
    assert os.environ["KC_HOSTNAME"] == f"https://{host}/id"
    uvicorn.run(Identity(Realm(host)).app(), host="0.0.0.0", port=8080, log_level="warning")


if __name__ == "__main__":
    main()
