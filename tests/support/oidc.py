"""An authorization server that is not ours: the certified npm package oidc-provider, on loopback.

``oidc`` (tests/conftest.py) is one for the whole run of a worker; what a test changes, it undoes
with ``reset()``. ``provider()`` starts another, for tests that turn or break keys.
"""

import base64
import hashlib
import json
import secrets
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlencode, urljoin, urlsplit

import httpx2

from common.scopes import Scope
from tests.support.node import FOLDER, Unavailable, node_command, npm_install

PROGRAM: Final = Path(__file__).with_name("oidc.mjs")
START_SECONDS: Final = 60
SECONDS: Final = 20
CALLBACK: Final = "http://127.0.0.1/callback"
"""A native client's redirect; any port will do at the provider."""
DOMAINS: Final = (
    "inventory", "orders", "logistics", "returns", "claims", "payments", "storefront"
)  # fmt: skip
ALGORITHMS: Final = ("RS256", "PS256", "ES256", "EdDSA")
MACHINE: Final = ("probe", "probe-secret-probe-secret-probe-secret")
READER: Final = ("reader", "reader-secret-reader-secret-reader-se")
RESOURCE_SERVER: Final = ("resource-server", "rs-secret-rs-secret-rs-secret-rs-secret")
DESKTOP: Final = "desktop"

EVERYTHING: Final = [str(scope) for scope in Scope]
OPERATOR: Final = [scope for scope in EVERYTHING if scope != "approvals:decide"]
READING: Final = [scope for scope in EVERYTHING if scope.endswith(":read")]
USERS: Final[dict[str, Any]] = {
    "ana@example.com": {"grant": OPERATOR},
    "kim@example.com": {"grant": "*"},
    "clerk@example.com": {"grant": READING},
}


def resources(public_url: str, *, domains: Sequence[str] = DOMAINS, **more: Any) -> dict[str, Any]:
    """The servers behind a public URL, as resources of the provider (and the console)."""
    found = {}
    for domain in domains:
        scopes = [scope for scope in EVERYTHING if scope.startswith(f"{domain}:")]
        found[f"{public_url}/{domain}/mcp"] = {"scope": " ".join(scopes), **more}
    found[f"{public_url}/console"] = {"scope": "approvals:decide", **more}
    return found


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def clients() -> list[dict[str, Any]]:
    """The programs known at the start."""
    quiet: dict[str, Any] = {"redirect_uris": [], "response_types": []}
    machine = {**quiet, "grant_types": ["client_credentials"]}
    return [
        {
            **machine, "client_id": MACHINE[0], "client_secret": MACHINE[1],
            "scope": " ".join(OPERATOR),
        },
        {
            **machine, "client_id": READER[0], "client_secret": READER[1],
            "scope": " ".join(READING),
        },
        {
            **quiet, "client_id": RESOURCE_SERVER[0], "client_secret": RESOURCE_SERVER[1],
            "grant_types": [],
        },
        {
            "client_id": DESKTOP, "token_endpoint_auth_method": "none",
            "application_type": "native", "redirect_uris": [CALLBACK], "response_types": ["code"],
            "grant_types": ["authorization_code", "refresh_token"],
        },
    ]  # fmt: skip


@dataclass
class Refused(Exception):
    """The provider said no."""

    status: int
    body: dict[str, Any]


class Oidc:
    """A running provider."""

    def __init__(self, issuer: str, admin_key: str) -> None:
        self.issuer = issuer
        self.admin_key = admin_key
        self.http = httpx2.Client(timeout=SECONDS, trust_env=False)
        self._keys: dict[str, dict[str, Any]] = {}

    def metadata(self) -> dict[str, Any]:
        return dict(self.http.get(f"{self.issuer}/.well-known/openid-configuration").json())

    # -- tokens ------------------------------------------------------------------------------------

    def ask(self, client: str | tuple[str, str] | None, **form: Any) -> dict[str, Any]:
        """The token endpoint. Raises Refused."""
        return self.post("/token", client, **form)

    def post(self, path: str, client: str | tuple[str, str] | None, **form: Any) -> dict[str, Any]:
        """A form, as a client with a secret, as a public one, or with other credentials."""
        data = {name: value for name, value in form.items() if value is not None}
        auth = client if isinstance(client, tuple) else None
        if isinstance(client, str):
            data["client_id"] = client
        answer = self.http.post(f"{self.issuer}{path}", data=data, auth=auth)
        body = answer.json() if answer.content else {}
        if answer.status_code >= 400:
            raise Refused(answer.status_code, body)
        return dict(body)

    def machine_token(
        self, resource: str, scope: str | None = None, client: tuple[str, str] = MACHINE
    ) -> str:
        """A client's own access token; without ``scope`` everything the resource knows."""
        scope = scope if scope is not None else self.scope_of(resource)
        answer = self.ask(client, grant_type="client_credentials", resource=resource, scope=scope)
        return str(answer["access_token"])

    def user_token(self, user: str, resource: str, scope: str | None = None) -> str:
        """A person's access token for one server."""
        return str(self.sign_in(user, resource, scope)["access_token"])

    def sign_in(
        self, user: str, resource: str | None, scope: str | None = None, *, client: str = DESKTOP,
        redirect_uri: str = CALLBACK, **more: str,
    ) -> dict[str, Any]:  # fmt: skip
        """Code and PKCE from the first redirect to the tokens. Raises Refused."""
        verifier = secrets.token_urlsafe(48)
        back = self.authorize(
            user, resource, scope, client=client, redirect_uri=redirect_uri,
            code_challenge=b64(hashlib.sha256(verifier.encode()).digest()),
            code_challenge_method="S256", **more,
        )  # fmt: skip
        if "code" not in back:
            raise Refused(302, back)
        return self.ask(
            client, grant_type="authorization_code", code=back["code"], code_verifier=verifier,
            redirect_uri=redirect_uri, resource=resource,
        )  # fmt: skip

    def authorize(
        self, user: str, resource: str | None, scope: str | None = None, *, client: str = DESKTOP,
        redirect_uri: str = CALLBACK, **more: str,
    ) -> dict[str, str]:  # fmt: skip
        """The browser's way: what comes back at the redirect. The person agrees to all they may."""
        if scope is None:
            scope = self.scope_of(resource) if resource else "openid"
        asked = {
            "client_id": client, "response_type": "code", "redirect_uri": redirect_uri,
            "scope": scope, "state": secrets.token_urlsafe(8), "login_hint": user, **more,
        } | ({"resource": resource} if resource else {})  # fmt: skip
        return self.follow(f"{self.issuer}/auth?{urlencode(asked)}", redirect_uri)

    def follow(self, url: str, redirect_uri: str) -> dict[str, str]:
        """From an authorization URL to the parameters at the redirect."""
        with httpx2.Client(timeout=SECONDS, trust_env=False) as browser:
            for _ in range(10):
                answer = browser.get(url)
                if not answer.is_redirect:
                    raise Refused(answer.status_code, {"text": answer.text[:500]})
                url = urljoin(url, answer.headers["location"])
                if url.startswith(redirect_uri):
                    return {k: v[0] for k, v in parse_qs(urlsplit(url).query).items()}
        raise Refused(302, {"text": "it never came back"})

    def refresh(self, token: str, *, client: str = DESKTOP, **form: str) -> dict[str, Any]:
        return self.ask(client, grant_type="refresh_token", refresh_token=token, **form)

    def revoke(self, token: str, client: str | tuple[str, str] = MACHINE) -> None:
        """RFC 7009: opaque and refresh tokens only."""
        self.post("/token/revocation", client, token=token)

    def introspect(self, token: str) -> dict[str, Any]:
        return self.post("/token/introspection", RESOURCE_SERVER, token=token)

    def scope_of(self, resource: str) -> str:
        """Every scope of the domain a resource is named for."""
        path = urlsplit(resource).path.strip("/").split("/")
        domain = "approvals" if path == ["console"] else path[0]
        return " ".join(scope for scope in EVERYTHING if scope.startswith(f"{domain}:"))

    # -- the plane of control ----------------------------------------------------------------------

    def admin(self, name: str, body: Any = None) -> dict[str, Any]:
        answer = self.http.post(
            f"{self.issuer}/_admin/{name}", json=body if body is not None else {},
            headers={"x-admin-key": self.admin_key},
        )  # fmt: skip
        assert answer.status_code == 200, answer.text
        found = dict(answer.json())
        if "keys" in found:
            self._keys = {}
            for key in found["keys"]:
                self._keys.setdefault(key["alg"], key)
        return found

    def key(self, alg: str = "RS256") -> dict[str, Any]:
        """The public key that signs now."""
        if not self._keys:
            self.admin("state")
        return self._keys[alg]

    def published(self) -> list[dict[str, Any]]:
        """Every published key."""
        return list(self.admin("state")["keys"])

    def hits(self) -> int:
        """How often the JWKS was fetched."""
        return int(self.admin("state")["hits"])

    def rotate(self, alg: str = "RS256") -> None:
        """A new key signs; the old ones stay published."""
        self.admin("rotate", {"alg": alg})

    def retire(self) -> list[dict[str, Any]]:
        """Publish the newest keys only. Returns the retired ones."""
        return list(self.admin("retire")["retired"])

    def jwks(self, mode: str = "ok", *, delay_ms: int = 0) -> None:
        """ok, down, html, redirect, huge, drip, oct or list."""
        self.admin("jwks", {"mode": mode, "delay_ms": delay_ms})

    def add_resources(self, more: Mapping[str, Any]) -> None:
        """More resources: ``{url: {scope, format?, alg?, ttl?}}``; see ``resources()``."""
        self.admin("resources", dict(more))

    def add_users(self, more: Mapping[str, Any]) -> None:
        """More people: ``{name: {"grant": "*" or a list of scopes}}``."""
        self.admin("users", dict(more))

    def add_clients(self, *more: dict[str, Any]) -> None:
        """More programs, in the words of RFC 7591 with a ``client_id``."""
        self.admin("clients", list(more))

    def reset(self) -> None:
        """Resources, people, programs and JWKS as at the start. Keys stay as they are."""
        self.admin("reset")

    # -- forging -----------------------------------------------------------------------------------

    def claims(self, audience: Any, **changes: Any) -> dict[str, Any]:
        """What a right token of a person says; a change to None leaves the claim out."""
        now = int(time.time())
        right = {
            "iss": self.issuer, "sub": "ana@example.com", "aud": audience, "client_id": DESKTOP,
            "iat": now, "exp": now + 300, "jti": secrets.token_urlsafe(12),
            "scope": "inventory:read inventory:write",
        }  # fmt: skip
        return {k: v for k, v in (right | changes).items() if v is not None}

    def mint(
        self, payload: Mapping[str, Any] | str | bytes,
        header: Mapping[str, Any] | str | None = None, *, alg: str = "RS256", kid: str = "",
    ) -> str:  # fmt: skip
        """A token really signed with a key of the provider, whatever it says.

        A mapping as ``header`` changes the usual one (None leaves a member out); text, and text or
        bytes as ``payload``, is taken as it is, with ``$KID`` for the key's id. ``kid`` picks the
        key that signs, retired ones too.
        """
        key = kid or self.key(alg)["kid"]
        if isinstance(header, str):
            head = header.replace("$KID", key)
        else:
            usual = {"alg": alg, "typ": "at+jwt", "kid": key} | dict(header or {})
            head = json.dumps({k: v for k, v in usual.items() if v is not None})
        if isinstance(payload, bytes | str):
            data = payload.encode() if isinstance(payload, str) else payload
        else:
            data = json.dumps(payload).encode()
        return self.signed(f"{b64(head.encode())}.{b64(data)}", key)

    def signed(self, signing_input: str, kid: str = "", *, alg: str = "RS256") -> str:
        """These two parts with a real signature behind them."""
        asked = {"kid": kid or self.key(alg)["kid"], "input": b64(signing_input.encode())}
        return f"{signing_input}.{self.admin('sign', asked)['signature']}"


@contextmanager
def provider(public_url: str = "http://127.0.0.1:8300", **changes: Any) -> Iterator[Oidc]:
    """A provider of one's own, ended with the block. Raises Unavailable."""
    npm_install()
    admin_key = secrets.token_urlsafe(24)
    config = {
        "port": 0, "admin_key": admin_key, "scopes": EVERYTHING, "users": USERS,
        "resources": resources(public_url), "clients": clients(), "cimd": False, **changes,
    }  # fmt: skip
    process = subprocess.Popen(
        [*node_command(), str(PROGRAM), str(FOLDER)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    told: list[str] = []
    try:
        assert process.stdin is not None
        process.stdin.write(json.dumps(config) + "\n")
        process.stdin.flush()
        oidc = Oidc(_ready(process, told), admin_key)
        try:
            yield oidc
        finally:
            oidc.http.close()
    finally:
        _end(process)


def _ready(process: subprocess.Popen[str], told: list[str]) -> str:
    assert process.stdout is not None
    assert process.stderr is not None
    said: list[str] = []
    reading = threading.Thread(target=lambda: said.append(process.stdout.readline()), daemon=True)  # type: ignore[union-attr]
    threading.Thread(target=_drain, args=(process.stderr, told), daemon=True).start()
    reading.start()
    reading.join(START_SECONDS)
    if not said or not said[0].startswith("READY "):
        raise Unavailable(f"oidc-provider did not start: {' '.join(told)[:400]}")
    return said[0].split()[1]


def _drain(stream: Any, told: list[str]) -> None:
    with suppress(ValueError):
        for line in stream:
            if len(told) < 50:
                told.append(line.strip())


def _end(process: subprocess.Popen[str]) -> None:
    with suppress(OSError):
        assert process.stdin is not None
        process.stdin.close()
    try:
        process.wait(SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
