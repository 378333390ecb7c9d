"""The OAuth 2.1 protocol, by authlib: one server object a transaction.

authlib's grants are synchronous and so is a transaction here: each runs whole inside
``shop.database.run``. What authlib leaves open is closed: S256 alone, one resource a token
(RFC 8707), ``iss`` in every answer of the authorization endpoint (RFC 9207).
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlsplit

from authlib.common.urls import add_params_to_uri
from authlib.oauth2.rfc6749 import (
    AuthorizationServer,
    InvalidRequestError,
    InvalidScopeError,
    OAuth2Error,
    OAuth2Request,
)
from authlib.oauth2.rfc6749.requests import OAuth2Payload
from authlib.oauth2.rfc7636 import CodeChallenge
from sqlalchemy.orm import Session

from common.auth.server import access, clients
from common.auth.server.clients import Client
from common.auth.server.keys import ACCESS_SECONDS
from common.auth.server.resources import narrowed, resources, servers
from common.scopes import Scope
from common.settings import Settings

SINGLE: Final = (
    "response_type", "client_id", "redirect_uri", "scope", "state", "code_challenge",
    "code_challenge_method", "prompt", "max_age", "acr_values", "login_hint", "grant_type",
    "code", "code_verifier", "refresh_token", "token", "client_secret", "client_assertion",
)  # fmt: skip
"""Parameters that may appear once (RFC 6749 §3.1 and §3.2)."""


class InvalidTarget(OAuth2Error):  # type: ignore[misc]
    """RFC 8707 §2: the resource is missing, unknown, or not the one that was granted."""

    error = "invalid_target"


@dataclass
class Answer:
    """What to send back, whatever framework sends it."""

    status: int
    body: Any
    headers: dict[str, str]


class Asked(OAuth2Request):  # type: ignore[misc]
    """One request's parameters, from the query or from the form."""

    def __init__(
        self, method: str, uri: str, parameters: list[tuple[str, str]], headers: Mapping[str, str]
    ) -> None:
        super().__init__(method, uri, headers=dict(headers))
        self.payload = _Parameters(parameters)
        self.resource = ""
        self.granted: Any = None
        self.methods: tuple[str, ...] = ()
        self.auth_time: datetime | None = None

    @property
    def form(self) -> dict[str, str]:
        return dict(self.payload.data)

    @property
    def args(self) -> dict[str, str]:
        return dict(self.payload.data)

    @property
    def resources(self) -> list[str]:
        """Every ``resource`` that was named."""
        listed: list[str] = self.payload.datalist.get("resource", [])
        return listed

    def refuse_repetition(self) -> None:
        """Raises InvalidRequestError for a parameter given twice."""
        for name in SINGLE:
            if len(self.payload.datalist.get(name, [])) > 1:
                raise InvalidRequestError(f"Multiple '{name}' in request.")


class _Parameters(OAuth2Payload):  # type: ignore[misc]
    def __init__(self, pairs: list[tuple[str, str]]) -> None:
        self._data: dict[str, str] = {}
        self._listed: defaultdict[str, list[str]] = defaultdict(list)
        for key, value in pairs:
            if value:  # RFC 6749 §3.1: a parameter without a value counts as left out
                self._data.setdefault(key, value)
                self._listed[key].append(value)

    @property
    def data(self) -> dict[str, str]:
        return self._data

    @property
    def datalist(self) -> defaultdict[str, list[str]]:
        return self._listed


@dataclass
class Server(AuthorizationServer):  # type: ignore[misc]
    """For the length of one transaction. ``document`` is the client that described itself at the
    URL it has for an id, fetched before."""

    session: Session
    settings: Settings
    now: datetime
    document: Client | None = None
    issued: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__init__()
        self.register_token_generator("default", self.make_token)

    def query_client(self, client_id: str) -> Client | None:
        if self.document is not None and self.document.id == client_id:
            return self.document
        return clients.known(self.session, self.settings.http, client_id)

    def create_oauth2_request(self, request: Asked) -> Asked:
        return request

    def send_signal(self, name: str, *args: Any, **kwargs: Any) -> None:
        return None

    def save_token(self, token: dict[str, Any], request: Asked) -> None:
        return None

    def handle_response(self, status: int, body: Any, headers: Any) -> Answer:
        """Every redirect to a client says who answers; nothing here may be kept."""
        sent = {**dict(headers), "Cache-Control": "no-store", "Pragma": "no-cache"}
        if "Location" in sent:
            issuer = [("iss", self.settings.http.public_url)]
            sent["Location"] = add_params_to_uri(sent["Location"], issuer)
            status = 303
        return Answer(status, dict(body) if isinstance(body, list) else body, sent)

    def make_token(
        self, grant_type: str, client: Client, scope: str | None = None, **_: Any
    ) -> dict[str, Any]:
        """The token endpoint's answer; each grant has put what it is about into ``issued``."""
        about = self.issued
        token = access.issue(
            self.session, self.settings, self.now,
            subject=about["subject"], client_id=client.id, resource=about["resource"],
            scopes=about["scopes"], auth_time=about.get("auth_time"),
            methods=about.get("methods", ()), email=about.get("email"),
        )  # fmt: skip
        about["access"] = token
        answer = {
            "access_token": token.token, "token_type": "Bearer",
            "expires_in": ACCESS_SECONDS, "scope": " ".join(about["scopes"]),
        }  # fmt: skip
        if about.get("refresh_token"):
            answer["refresh_token"] = about["refresh_token"]
        return answer

    def target(self, request: Asked, client: Client, granted: str = "") -> str:
        """The one resource asked for, or the one granted before. Raises InvalidTarget."""
        named = request.resources
        if not named and granted:
            return granted
        if len(set(named)) != 1:
            raise InvalidTarget("Name one resource: a token is for one server.")
        resource = named[0]
        if resource not in resources(self.settings.http) or "#" in resource:
            raise InvalidTarget("There is no such resource here.")
        # The console and the keys are for our own pages: whoever made a key, say, would act as
        # the person long after they took back what they allowed.
        if resource not in (client.resources or servers(self.settings.http)):
            raise InvalidTarget("This client cannot have tokens for that resource.")
        if granted and resource != granted:
            raise InvalidTarget("Another resource was granted.")
        return resource

    def allowed(
        self, request_scope: str | None, resource: str, client: Client, *limits: list[str]
    ) -> list[str]:
        """The scopes a token may carry: those asked for, or everything that only reads, narrowed
        by the resource, the client and whoever else sets a limit. Raises InvalidScopeError when
        something was asked for and nothing is left."""
        meant = resources(self.settings.http)[resource]
        asked = (request_scope or "").split()
        default = [s for s in meant if s.endswith(":read")]
        every = [*limits, *([list(client.scopes)] if client.scopes is not None else [])]
        left = narrowed(set(asked or default) & set(meant), *every)
        if asked and meant and not left:
            raise InvalidScopeError("None of these scopes can be had here by this user.")
        return left


class S256(CodeChallenge):  # type: ignore[misc]
    """PKCE for every client, by S256 alone: without it there is no code (OAuth 2.1 §7.5.2)."""

    DEFAULT_CODE_CHALLENGE_METHOD = None
    SUPPORTED_CODE_CHALLENGE_METHOD: Final = ["S256"]

    def validate_code_challenge(self, grant: Any, redirect_uri: str) -> None:
        data = grant.request.payload.data
        if not data.get("code_challenge") or data.get("code_challenge_method") != "S256":
            raise InvalidRequestError("PKCE is required: code_challenge with method S256.")
        if len(data["code_challenge"]) != 43:
            raise InvalidRequestError("Invalid 'code_challenge'")
        super().validate_code_challenge(grant, redirect_uri)

    def get_authorization_code_challenge(self, authorization_code: Any) -> str:
        return str(authorization_code.challenge)

    def get_authorization_code_challenge_method(self, authorization_code: Any) -> str:
        return "S256"


def for_machines(scopes: list[str]) -> list[str]:
    """No machine decides."""
    return [scope for scope in scopes if scope != Scope.APPROVALS_DECIDE]


def transport(settings: Settings, path: str) -> str:
    """The URL authlib is told: it insists on https or loopback, which start-up has checked."""
    parts = urlsplit(settings.http.public_url)
    return f"{parts.scheme}://{parts.netloc}{path}"
