"""The probe over HTTP: what a server says before anybody signed in, whom it lets in, whom not."""

import base64
import json
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import httpx2
from joserfc import jwt
from joserfc.jwk import ECKey, OKPKey, RSAKey
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from clients.probe.checks import Failed, NotChecked, expect
from common.http.guests import OPEN
from common.scopes import Scope, granted, of_domain
from common.shoppers import GUEST_SCOPES

PATIENCE_S: Final = 30
NEW: Final = "2026-07-28"
ASSERTION: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_META: Final = {
    "io.modelcontextprotocol/protocolVersion": NEW,
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": {"name": "shop-probe", "version": "1"},
}


@dataclass(frozen=True)
class Credentials:
    """A client's id with its secret or its private key, or an API key. Files, never arguments:
    what stands on a command line can be read by every process."""

    client_id: str = ""
    secret: str = field(default="", repr=False)
    private_key: str = field(default="", repr=False)
    api_key: str = field(default="", repr=False)
    expired_token: str = field(default="", repr=False)

    @classmethod
    def read(
        cls, client_id: str, secret: Path | None, private_key: Path | None,
        api_key: Path | None, expired_token: Path | None,
    ) -> "Credentials":  # fmt: skip
        """Raises ValueError when there is not exactly one way to sign in."""
        ways = [secret, private_key] if client_id else [api_key]
        if sum(way is not None for way in (secret, private_key, api_key)) != 1 or not any(ways):
            raise ValueError(
                "name one way to sign in: --client-id with --client-secret-file or --key-file, "
                "or --api-key-file; shop client add and shop api-key create make them"
            )

        def text(path: Path | None) -> str:
            return path.read_text().strip() if path else ""

        return cls(client_id, text(secret), text(private_key), text(api_key), text(expired_token))


@dataclass
class Remote:
    """One server at a URL, and what was learnt about it."""

    url: str
    domain: str
    http: httpx2.AsyncClient
    credentials: Credentials
    metadata: dict[str, Any] = field(default_factory=dict)
    token: str = ""
    scopes: frozenset[str] = frozenset()

    @property
    def resource(self) -> str:
        return f"{self.url}/{self.domain}/mcp"

    @property
    def metadata_url(self) -> str:
        return f"{self.url}/.well-known/oauth-protected-resource/{self.domain}/mcp"

    def authorization(self, token: str = "") -> dict[str, str]:
        """The header that signs a request."""
        if self.credentials.api_key and not token:
            return {"X-MCP-API-Key": self.credentials.api_key}
        return {"Authorization": f"Bearer {token or self.token}"}

    async def post(self, method: str, headers: dict[str, str], **params: Any) -> httpx2.Response:
        """One request of the newer era."""
        named = {"Mcp-Name": params["name"]} if "name" in params else {}
        return await self.http.post(
            self.resource,
            json={"jsonrpc": "2.0", "id": 1, "method": method,
                  "params": params | {"_meta": _META}},
            headers={
                "Accept": "application/json, text/event-stream", "MCP-Protocol-Version": NEW,
                "Mcp-Method": method, **named, **headers,
            },
        )  # fmt: skip

    async def ask(self, scopes: str, *, domain: str = "") -> dict[str, Any]:
        """A token of the client's own. Raises Failed."""
        issuer = self.metadata["authorization_servers"][0]
        found = await self.http.get(_well_known(issuer))
        expect(found.status_code == 200, f"no metadata at {_well_known(issuer)}")
        server = found.json()
        form = {
            "grant_type": "client_credentials", "scope": scopes,
            "resource": f"{self.url}/{domain or self.domain}/mcp",
        }  # fmt: skip
        headers = {}
        if self.credentials.private_key:
            form |= {
                "client_id": self.credentials.client_id, "client_assertion_type": ASSERTION,
                "client_assertion": _assertion(self.credentials, issuer),
            }  # fmt: skip
        else:
            pair = f"{quote(self.credentials.client_id)}:{quote(self.credentials.secret)}"
            headers = {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}
        answer = await self.http.post(server["token_endpoint"], data=form, headers=headers)
        if answer.status_code == 400 and '"invalid_scope"' in answer.text:
            raise NotChecked(f"the client holds none of: {scopes}")
        expect(answer.status_code == 200, f"no token: {answer.status_code} {answer.text[:200]}")
        given: dict[str, Any] = answer.json()
        return given


async def metadata(remote: Remote) -> str:
    """RFC 9728, without signing in."""
    answer = await remote.http.get(remote.metadata_url)
    expect(answer.status_code == 200, f"metadata answers {answer.status_code}")
    found = answer.json()
    expect(found["resource"] == remote.resource, f"names the resource {found['resource']}")
    expect(found.get("authorization_servers"), "names no authorization server")
    scopes = found.get("scopes_supported", [])
    expect(scopes == [f"{remote.domain}:read"], f"offers more than reading at first: {scopes}")
    remote.metadata = found
    return ", ".join(found["authorization_servers"])


async def unauthorized(remote: Remote) -> str:
    """Nobody is let in without credentials, and is told where to get some; where guests are let in,
    nobody beyond what a guest may do."""
    answer = await remote.post("tools/list", {})
    if remote.domain in OPEN:
        expect(answer.status_code == 200, f"answers a guest with {answer.status_code}")
        closed = [
            tool["name"]
            for tool in answer.json()["result"]["tools"]
            if tool["_meta"]["shop/scope"] not in GUEST_SCOPES
        ]
        for name in closed:
            said = _challenge(await remote.post("tools/call", {}, name=name, arguments={}), 401)
            expect(f'resource_metadata="{remote.metadata_url}"' in said, said)
        return f"guests are let in; {len(closed)} tools ask them to sign in"
    said = _challenge(answer, 401)
    expect(f'resource_metadata="{remote.metadata_url}"' in said, said)
    expect(f'scope="{remote.domain}:read"' in said, said)
    expect("error=" not in said, "names an error though nothing was sent")
    return said


async def sign_in(remote: Remote) -> str:
    """Credentials are good here."""
    if not remote.credentials.api_key:
        given = await remote.ask(" ".join(str(scope) for scope in of_domain(remote.domain)))
        remote.token = given["access_token"]
        remote.scopes = granted(frozenset(str(given.get("scope", "")).split()))
    answer = await remote.post("tools/list", remote.authorization())
    expect(answer.status_code == 200, f"answers {answer.status_code} {answer.text[:200]}")
    if remote.credentials.api_key:
        remote.scopes = await _found_by_trying(remote, answer.json()["result"]["tools"])
    return " ".join(sorted(remote.scopes))


async def wrong_audience(remote: Remote) -> str:
    """A token for another server opens nothing."""
    if remote.credentials.api_key:
        return "an API key is for every server"
    given = await _for_another(remote)
    answer = await remote.post("tools/list", remote.authorization(given["access_token"]))
    expect('error="invalid_token"' in _challenge(answer, 401), answer.text)
    return "401"


async def _for_another(remote: Remote) -> dict[str, Any]:
    """A token for any other server the client may use. Raises NotChecked."""
    for other in dict.fromkeys(scope.partition(":")[0] for scope in Scope):
        if other != remote.domain and f"{other}:read" in set(Scope):
            with suppress(NotChecked):
                return await remote.ask(f"{other}:read", domain=other)
    raise NotChecked("the client has scopes of this server alone")


async def bad_tokens(remote: Remote) -> str:
    """Expired, altered, unsigned and made up: 401."""
    tried = [remote.credentials.expired_token] if remote.credentials.expired_token else []
    tried += ["made-up", secrets.token_urlsafe(200)]
    if remote.token.count(".") == 2:
        head, body, signature = remote.token.split(".")
        claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
        late = _b64(json.dumps(claims | {"exp": int(time.time()) + 10**6}).encode())
        past = _b64(json.dumps(claims | {"exp": int(time.time()) - 600}).encode())
        none = _b64(json.dumps({"alg": "none", "typ": "at+jwt"}).encode())
        tried += [f"{head}.{late}.{signature}", f"{head}.{past}.{signature}", f"{none}.{body}."]
    for token in tried:
        answer = await remote.post("tools/list", remote.authorization(token))
        expect('error="invalid_token"' in _challenge(answer, 401), answer.text)
    expired = "" if remote.credentials.expired_token else "; no --expired-token-file was given"
    return f"{len(tried)} refused{expired}"


async def in_the_url(remote: Remote) -> str:
    """A token in the URL is refused, good or not."""
    answer = await remote.http.post(f"{remote.resource}?access_token=x", json={})
    expect(answer.status_code == 400, f"answers {answer.status_code}")
    return "400"


async def forbidden(remote: Remote) -> str:
    """A tool beyond the caller's scopes: 403, naming everything it needs at once."""
    listed = (await remote.post("tools/list", remote.authorization())).json()["result"]["tools"]
    if remote.credentials.api_key:
        headers, held = remote.authorization(), remote.scopes
    else:
        given = await remote.ask(f"{remote.domain}:read")
        headers = remote.authorization(given["access_token"])
        held = granted(frozenset(str(given.get("scope") or f"{remote.domain}:read").split()))
    tried = 0
    for tool in listed:
        scope = tool["_meta"]["shop/scope"]
        if scope in held:
            continue
        answer = await remote.post("tools/call", headers, name=tool["name"], arguments={})
        said = _challenge(answer, 403)
        expect(f'scope="{remote.domain}:read {scope}"' in said, f"{tool['name']}: {said}")
        expect('error="insufficient_scope"' in said, f"{tool['name']}: {said}")
        tried += 1
    return f"{tried} tools refused"


BEFORE: Final[dict[str, Callable[[Remote], Awaitable[str]]]] = {
    check.__name__: check
    for check in (
        metadata, unauthorized, sign_in, wrong_audience, bad_tokens, in_the_url, forbidden
    )
}  # fmt: skip


@asynccontextmanager
async def connected(remote: Remote, mode: str) -> AsyncIterator[Client]:
    """The official client, signed in."""
    async with (
        httpx2.AsyncClient(headers=remote.authorization(), timeout=PATIENCE_S) as http,
        Client(streamable_http_client(remote.resource, http_client=http), mode=mode) as client,
    ):
        yield client


async def _found_by_trying(remote: Remote, tools: list[dict[str, Any]]) -> frozenset[str]:
    """What an API key may do, learnt from calls that every tool refuses for their arguments."""
    held = {f"{remote.domain}:read"}
    for scope in {tool["_meta"]["shop/scope"]: tool["name"] for tool in tools}.items():
        answer = await remote.post(
            "tools/call", remote.authorization(), name=scope[1], arguments={"no_such_argument": 1}
        )
        if answer.status_code == 200:
            held.add(scope[0])
    return frozenset(held & {str(scope) for scope in Scope})


def _challenge(answer: httpx2.Response, status: int) -> str:
    said = answer.headers.get("www-authenticate", "")
    expect(answer.status_code == status, f"answers {answer.status_code}, not {status}")
    expect(said.startswith("Bearer "), f"no challenge: {said}")
    return str(said)


def _well_known(issuer: str) -> str:
    scheme, _, rest = issuer.partition("://")
    host, slash, path = rest.partition("/")
    if not host:
        raise Failed(f"no issuer: {issuer}")
    return f"{scheme}://{host}/.well-known/oauth-authorization-server{slash}{path}".rstrip("/")


def _assertion(credentials: Credentials, issuer: str) -> str:
    key, algorithm = _private(credentials.private_key)
    now = int(time.time())
    claims = {
        "iss": credentials.client_id, "sub": credentials.client_id, "aud": issuer, "iat": now,
        "exp": now + 60, "jti": secrets.token_urlsafe(16),
    }  # fmt: skip
    head = {"alg": algorithm, "kid": key.thumbprint()}
    return jwt.encode(head, claims, key, algorithms=[algorithm])


def _private(pem: str) -> tuple[Any, str]:
    for kind, algorithm in ((ECKey, "ES256"), (RSAKey, "RS256"), (OKPKey, "EdDSA")):
        try:
            return kind.import_key(pem), algorithm
        except (ValueError, TypeError):
            continue
    raise Failed("the key file holds no private key")


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


__all__ = ["BEFORE", "Credentials", "Remote", "connected"]
