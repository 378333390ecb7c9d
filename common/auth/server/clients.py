"""Programs that may ask for tokens: built in, added at the terminal, registered, or named by the
URL of their own metadata document."""

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from sqlalchemy.orm import Session

from common.auth.server.resources import console
from common.settings import LOOPBACK, HttpSettings
from common.tables.auth_server import AuthClient

CODE: Final = "authorization_code"
REFRESH: Final = "refresh_token"
CREDENTIALS: Final = "client_credentials"
CONSOLE: Final = "shop-console"
NATIVE: Final = "shop-native"
SECRET_METHODS: Final = frozenset({"client_secret_basic", "client_secret_post"})
METHODS: Final = ("none", "client_secret_basic", "client_secret_post", "private_key_jwt")


@dataclass(frozen=True)
class Client:
    """A client as authlib asks about it. ``scopes`` None: as far as its user may go.
    ``resources`` None: every server, and nothing else.
    ``trusted``: ours, so that the person is not asked whether to allow it."""

    id: str
    name: str
    method: str
    redirect_uris: tuple[str, ...]
    grant_types: tuple[str, ...]
    scopes: tuple[str, ...] | None = None
    resources: tuple[str, ...] | None = None
    secret_sha256: str | None = None
    jwks: dict[str, Any] | None = None
    introspects: bool = False
    trusted: bool = False

    @property
    def client_id(self) -> str:
        return self.id

    def get_client_id(self) -> str:
        return self.id

    def get_default_redirect_uri(self) -> str | None:
        """None: every request names the place to go back to."""
        return None

    def get_allowed_scope(self, scope: str | None) -> str:
        """Narrowed later, when audience and user are known."""
        return scope or ""

    def check_redirect_uri(self, redirect_uri: str) -> bool:
        if self.trusted:  # nobody is asked, so a code goes to our own page alone
            return redirect_uri in self.redirect_uris
        return any(same_place(known, redirect_uri) for known in self.redirect_uris)

    def check_client_secret(self, client_secret: str) -> bool:
        if self.secret_sha256 is None:
            return False
        given = hashlib.sha256(client_secret.encode("utf-8", "replace")).hexdigest()
        return hmac.compare_digest(given, self.secret_sha256)

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        if self.method == "client_secret":
            return method in SECRET_METHODS
        return method == self.method

    def check_response_type(self, response_type: str) -> bool:
        return response_type == "code" and CODE in self.grant_types

    def check_grant_type(self, grant_type: str) -> bool:
        return grant_type in self.grant_types


def known(session: Session, http: HttpSettings, client_id: str) -> Client | None:
    """Built in, added or registered, and not revoked."""
    built_in = _built_in(http).get(client_id)
    if built_in is not None:
        return built_in
    row = session.get(AuthClient, client_id) if client_id else None
    return from_row(row) if row is not None and row.revoked_at is None else None


def from_row(row: AuthClient) -> Client:
    """A client that was added or registered."""
    return Client(
        id=row.id, name=row.name, method=row.method, redirect_uris=tuple(row.redirect_uris),
        grant_types=tuple(row.grant_types), scopes=tuple(row.scopes) or None,
        secret_sha256=row.secret_sha256, jwks=row.jwks, introspects=row.introspects,
    )  # fmt: skip


def same_place(known: str, asked: str) -> bool:
    """Whether ``asked`` is the redirect URI ``known``: the same text, or, where both are http on
    one loopback host, the same text but for the port (RFC 8252 §7.3)."""
    if known == asked:
        return True
    try:
        ours, theirs = urlsplit(known), urlsplit(asked)
        bare = theirs.hostname in LOOPBACK and "@" not in theirs.netloc and theirs.port != 0
    except ValueError:
        return False
    return (
        bare
        and ours.scheme == theirs.scheme == "http"
        and ours.hostname == theirs.hostname
        and asked == _with_netloc(known, ours.netloc, theirs.netloc)
    )


def _with_netloc(url: str, old: str, new: str) -> str:
    return url.replace(f"http://{old}", f"http://{new}", 1)


def _built_in(http: HttpSettings) -> dict[str, Client]:
    own = Client(
        id=CONSOLE, name="Approvals console", method="none",
        redirect_uris=(f"{http.public_url}/console/callback",), grant_types=(CODE,),
        resources=(console(http),), trusted=True,
    )  # fmt: skip
    native = Client(
        id=NATIVE, name="A program on your computer", method="none",
        redirect_uris=tuple(_loopback(("/", "/callback", "/oauth/callback",
                                       "/oauth/callback/debug"))),
        grant_types=(CODE, REFRESH),
    )  # fmt: skip
    return {own.id: own, native.id: native}


def _loopback(paths: Sequence[str]) -> list[str]:
    return [
        f"http://{host}{path}" for host in ("127.0.0.1", "[::1]", "localhost") for path in paths
    ]
