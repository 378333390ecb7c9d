"""One file, two authorization servers: ours and npm's certified oidc-provider.

Whatever is asked of ours is asked of the other, by the same calls, and every token either gives
passes the same verifier. So ours is not marked by our own tests alone.
"""

import asyncio
import hashlib
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx2
import pytest

from common.auth import Caller, CredentialsRefused
from common.auth.authenticator import authenticator
from common.auth.server import managing, users
from common.clock import utc_now
from common.settings import HttpSettings
from common.storage.database import Database
from tests.support import oidc as other
from tests.support import unavailable
from tests.support.auth_server import COST, PASSWORD, hidden
from tests.support.http import free_port
from tests.support.node import Unavailable
from tests.support.shop import a_shop

OPERATOR, READER = "ana@example.com", "clerk@example.com"
CALLBACK = other.CALLBACK
PUBLIC = "http://127.0.0.1:8300"


class Server(Protocol):
    """What the tests need to know of a server."""

    issuer: str
    public_url: str
    desktop: str
    machine: tuple[str, str]
    resource_server: tuple[str, str]
    metadata_path: str

    def browse(self, user: str, query: dict[str, str]) -> dict[str, str]:
        """From an authorization request to what comes back; the person says yes."""
        ...


class Provider:
    """oidc-provider."""

    desktop, machine = other.DESKTOP, other.MACHINE
    resource_server = other.RESOURCE_SERVER
    metadata_path = "/.well-known/openid-configuration"
    public_url = PUBLIC

    def __init__(self, running: other.Oidc) -> None:
        self.running, self.issuer = running, running.issuer

    def browse(self, user: str, query: dict[str, str]) -> dict[str, str]:
        asked = urlencode(query | {"login_hint": user})
        return self.running.follow(f"{self.issuer}/auth?{asked}", query["redirect_uri"])


class Ours:
    """The shop's own."""

    desktop = "shop-native"
    metadata_path = "/.well-known/oauth-authorization-server"

    def __init__(self, issuer: str, machine: tuple[str, str], asking: tuple[str, str]) -> None:
        self.issuer = self.public_url = issuer
        self.machine, self.resource_server = machine, asking

    def browse(self, user: str, query: dict[str, str]) -> dict[str, str]:
        with httpx2.Client(base_url=self.issuer, trust_env=False) as browser:
            page = browser.get(f"/auth/authorize?{urlencode(query)}")
            if "/auth/login" in page.text:
                fields = {"i": hidden(page.text), "username": user, "password": PASSWORD}
                page = browser.get(browser.post("/auth/login", data=fields).headers["location"])
            if page.status_code == 200:
                scopes = [part.split('"')[0] for part in page.text.split('name="scope" value="')]
                sent = {"i": hidden(page.text), "decision": "allow", "scope": scopes[1:]}
                page = browser.post("/auth/consent", data=sent)
            assert page.status_code == 303, page.text
            return _query(page.headers["location"])


@contextmanager
def ours(folder: Path) -> Iterator[Ours]:
    """The whole HTTP face in processes of its own."""
    url = f"http://127.0.0.1:{free_port()}"
    environment = {
        "SHOP_HOME": str(folder), "SHOP_PUBLIC_URL": url, "PATH": "/usr/bin:/bin",
    }  # fmt: skip
    made = asyncio.run(_prepared(folder, url))
    process = subprocess.Popen(
        [sys.executable, "-m", "servers", "--http"], env=environment,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        _wait(f"{url}/auth/jwks", process)
        yield Ours(url, *made)
    finally:
        process.terminate()
        process.wait(timeout=20)


async def _prepared(folder: Path, url: str) -> tuple[tuple[str, str], tuple[str, str]]:
    http, now = HttpSettings.load({"SHOP_PUBLIC_URL": url}), utc_now()
    async with a_shop(folder, clock=utc_now, http=http) as shop:
        kept = users.hashed(PASSWORD, COST)

        def work(session: Any) -> tuple[tuple[str, str], tuple[str, str]]:
            users.add(session, OPERATOR, "Ana", kept, other.OPERATOR, now)
            users.add(session, READER, "Clerk", kept, other.READING, now)
            machine, secret = managing.add_client(
                session, "probe", "test", now, scopes=other.OPERATOR
            )
            asking, asking_secret = managing.add_client(
                session, "servers", "test", now, introspects=True
            )
            return (machine.id, secret), (asking.id, asking_secret)

        database: Database = shop.database
        return await database.run("*", work)


def _wait(url: str, process: "subprocess.Popen[bytes]") -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        try:
            if httpx2.get(url, trust_env=False).status_code == 200:
                return
        except httpx2.TransportError:
            time.sleep(0.05)
    raise AssertionError("the server never answered")


@pytest.fixture(scope="module", params=["ours", "oidc-provider"])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    if request.param == "ours":
        with ours(tmp_path_factory.mktemp("ours")) as found:
            yield found
        return
    try:
        with other.provider(PUBLIC) as running:
            yield Provider(running)
    except Unavailable as error:
        unavailable(str(error))


@dataclass
class Talk:
    """The calls of a client, by the server's own metadata."""

    server: Server
    metadata: dict[str, Any]
    http: httpx2.Client

    def resource(self, domain: str = "inventory") -> str:
        return f"{self.server.public_url}/{domain}/mcp"

    def post(self, endpoint: str, auth: Any = None, **form: Any) -> httpx2.Response:
        sent = {key: value for key, value in form.items() if value is not None}
        return self.http.post(self.metadata[endpoint], data=sent, auth=auth)

    def asked(self, verifier: str, **change: Any) -> dict[str, str]:
        challenge = other.b64(hashlib.sha256(verifier.encode()).digest())
        asked = {
            "response_type": "code", "client_id": self.server.desktop, "redirect_uri": CALLBACK,
            "scope": "inventory:read inventory:write", "state": secrets.token_urlsafe(8),
            "resource": self.resource(), "code_challenge": challenge,
            "code_challenge_method": "S256",
        }  # fmt: skip
        return {k: v for k, v in (asked | change).items() if v is not None}

    def code(self, user: str = OPERATOR, **change: Any) -> dict[str, str]:
        """The form that exchanges a fresh code."""
        verifier = secrets.token_urlsafe(48)
        asked = self.asked(verifier, **change)
        back = self.server.browse(user, asked)
        assert back.get("state") == asked["state"], back
        assert back.get("iss") == self.server.issuer
        return {
            "grant_type": "authorization_code", "code": back["code"], "code_verifier": verifier,
            "client_id": asked["client_id"], "redirect_uri": asked["redirect_uri"],
        }  # fmt: skip

    def tokens(self, user: str = OPERATOR, **change: Any) -> dict[str, Any]:
        answer = self.post("token_endpoint", **self.code(user, **change))
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def refreshed(self, token: str, **form: Any) -> httpx2.Response:
        form = {"grant_type": "refresh_token", "refresh_token": token} | form
        return self.post("token_endpoint", client_id=self.server.desktop, **form)

    def machine(self, **form: Any) -> httpx2.Response:
        sent = {"resource": self.resource(), "scope": "inventory:read"} | form
        return self.post(
            "token_endpoint", self.server.machine, grant_type="client_credentials", **sent
        )


@pytest.fixture(scope="module")
def talk(server: Server) -> Iterator[Talk]:
    with httpx2.Client(trust_env=False) as http:
        metadata = http.get(f"{server.issuer}{server.metadata_path}").json()
        yield Talk(server, metadata, http)


Verify = Callable[..., Caller]


@pytest.fixture(scope="module")
def verify(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Verify:
    """The verifier of the HTTP face, in another process than the server, by its JWKS."""
    folder = tmp_path_factory.mktemp("verifier")
    issuers = folder / "issuers.toml"
    uri = httpx2.get(f"{server.issuer}{server.metadata_path}", trust_env=False).json()["jwks_uri"]
    issuers.write_text(f'[[issuers]]\nurl = "{server.issuer}"\njwks_uri = "{uri}"\n')

    def verified(token: str, domain: str = "inventory") -> Caller:
        async def once() -> Caller | None:
            http = replace(
                HttpSettings.load({"SHOP_PUBLIC_URL": PUBLIC}), auth_server=False,
                issuers_file=issuers,
            )  # fmt: skip
            async with a_shop(folder, clock=utc_now, http=http) as shop:
                checks = authenticator(shop)
                try:
                    headers = [(b"authorization", f"Bearer {token}".encode())]
                    audience = f"{server.public_url}/{domain}/mcp"
                    return await checks.authenticate(headers, audience=audience)
                finally:
                    await checks.close()

        caller = asyncio.run(once())
        assert caller is not None
        return caller

    return verified


def _query(url: str) -> dict[str, str]:
    return {key: values[0] for key, values in parse_qs(urlsplit(url).query).items()}


def test_metadata(talk: Talk) -> None:
    said = talk.metadata
    assert said["issuer"] == talk.server.issuer
    assert said["response_types_supported"] == ["code"]
    assert said["code_challenge_methods_supported"] == ["S256"]
    assert said["authorization_response_iss_parameter_supported"] is True
    assert {"authorization_code", "refresh_token", "client_credentials"} <= set(
        said["grant_types_supported"]
    )
    methods = {"none", "client_secret_basic", "client_secret_post", "private_key_jwt"}
    assert methods <= set(said["token_endpoint_auth_methods_supported"])
    for key in talk.http.get(said["jwks_uri"]).json()["keys"]:
        assert key["kty"] in {"RSA", "EC", "OKP"}
        assert not {"d", "p", "q", "k"} & set(key)


def test_a_person(talk: Talk, verify: Verify) -> None:
    answer = talk.post("token_endpoint", **talk.code())
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json()["token_type"].lower() == "bearer"
    caller = verify(answer.json()["access_token"])
    assert caller.actor.subject == OPERATOR
    assert caller.actor.client == talk.server.desktop
    assert not caller.actor.machine
    assert {"inventory:read", "inventory:write"} <= caller.actor.scopes


def test_a_machine(talk: Talk, verify: Verify) -> None:
    answer = talk.machine()
    assert answer.status_code == 200, answer.text
    caller = verify(answer.json()["access_token"])
    assert caller.actor.subject == talk.server.machine[0]
    assert caller.actor.machine
    assert "refresh_token" not in answer.json()


def test_a_token_is_for_one_server(talk: Talk, verify: Verify) -> None:
    token = talk.tokens()["access_token"]
    for domain in ("orders", "payments", "console"):
        with pytest.raises(CredentialsRefused):
            verify(token, domain)


def test_the_user_limits_the_scopes(talk: Talk, verify: Verify) -> None:
    caller = verify(talk.tokens(READER)["access_token"])
    assert "inventory:read" in caller.actor.scopes
    assert "inventory:write" not in caller.actor.scopes


@pytest.mark.parametrize(
    "change",
    [
        {"code_challenge": None, "code_challenge_method": None},
        {"code_challenge_method": "plain"},
        {"code_challenge_method": None},
        {"resource": "https://elsewhere.example/mcp"},
    ],
)
def test_wrong_requests_go_back(talk: Talk, change: dict[str, Any]) -> None:
    asked = talk.asked(secrets.token_urlsafe(48), **change)
    back = talk.server.browse(OPERATOR, asked)
    assert "code" not in back
    assert back["error"]
    assert back["state"] == asked["state"]
    assert back["iss"] == talk.server.issuer


@pytest.mark.parametrize(
    "change",
    [{"redirect_uri": "https://evil.example/callback"}, {"client_id": "nobody"}],
)
def test_unknown_places_get_nothing(talk: Talk, change: dict[str, str]) -> None:
    asked = talk.asked(secrets.token_urlsafe(48), **change)
    answer = talk.http.get(f"{talk.metadata['authorization_endpoint']}?{urlencode(asked)}")
    assert answer.status_code == 400
    assert "location" not in answer.headers


@pytest.mark.parametrize(
    ("change", "errors"),
    [
        ({"code_verifier": "x" * 64}, {"invalid_grant"}),
        ({"code_verifier": None}, {"invalid_grant", "invalid_request"}),
        ({"redirect_uri": f"{CALLBACK}2"}, {"invalid_grant"}),
        ({"code": "forged"}, {"invalid_grant"}),
        ({"client_id": "nobody"}, {"invalid_client"}),
        ({"resource": "https://elsewhere.example/mcp"}, {"invalid_target"}),
        ({"grant_type": "password"}, {"unsupported_grant_type"}),
    ],
)
def test_a_code_is_bound(talk: Talk, change: dict[str, Any], errors: set[str]) -> None:
    answer = talk.post("token_endpoint", **(talk.code() | change))
    assert answer.status_code in {400, 401}
    assert answer.json()["error"] in errors


def test_a_code_works_once(talk: Talk) -> None:
    form = talk.code()
    first = talk.post("token_endpoint", **form)
    assert first.status_code == 200
    assert talk.post("token_endpoint", **form).json()["error"] == "invalid_grant"
    refused = talk.refreshed(first.json()["refresh_token"])
    assert refused.json()["error"] == "invalid_grant"


def test_refresh_tokens_rotate(talk: Talk, verify: Verify) -> None:
    first = talk.tokens()
    second = talk.refreshed(first["refresh_token"]).json()
    assert second["refresh_token"] != first["refresh_token"]
    assert verify(second["access_token"]).actor.subject == OPERATOR
    third = talk.refreshed(second["refresh_token"]).json()
    assert talk.refreshed(second["refresh_token"]).json()["error"] == "invalid_grant"
    assert talk.refreshed(third["refresh_token"]).json()["error"] == "invalid_grant"


def test_a_refresh_may_ask_for_less_and_never_more(talk: Talk, verify: Verify) -> None:
    found = talk.tokens()
    less = talk.refreshed(found["refresh_token"], scope="inventory:read").json()
    assert "inventory:write" not in verify(less["access_token"]).actor.scopes
    more = talk.refreshed(less["refresh_token"], scope="inventory:read payments:refund")
    if more.status_code == 200:
        assert "payments:refund" not in verify(more.json()["access_token"]).actor.scopes
    else:
        assert more.json()["error"] == "invalid_scope"


def test_a_refresh_token_is_its_clients(talk: Talk) -> None:
    found = talk.tokens()
    answer = talk.post(
        "token_endpoint", talk.server.machine, grant_type="refresh_token",
        refresh_token=found["refresh_token"],
    )  # fmt: skip
    assert answer.status_code == 400
    assert talk.refreshed(found["refresh_token"]).status_code == 200


def test_a_refresh_token_given_back(talk: Talk) -> None:
    found = talk.tokens()
    given = {"token": found["refresh_token"], "client_id": talk.server.desktop}
    assert talk.post("revocation_endpoint", **given).status_code == 200
    assert talk.refreshed(found["refresh_token"]).json()["error"] == "invalid_grant"
    assert talk.post("revocation_endpoint", **given).status_code == 200
    unknown = given | {"token": "unknown"}
    assert talk.post("revocation_endpoint", **unknown).status_code == 200


def test_introspection_needs_a_client(talk: Talk) -> None:
    found = talk.tokens()
    token = {"token": found["refresh_token"]}
    said = talk.post("introspection_endpoint", talk.server.resource_server, **token).json()
    assert said["active"] is True
    assert said["client_id"] == talk.server.desktop
    assert talk.post("introspection_endpoint", **token).status_code in {400, 401}
    unknown = talk.post("introspection_endpoint", talk.server.resource_server, token="unknown")
    assert unknown.json() == {"active": False}


@pytest.mark.parametrize(
    ("form", "auth", "error"),
    [
        ({}, ("nobody", "secret"), "invalid_client"),
        ({}, None, "invalid_client"),
        ({"resource": "https://elsewhere.example/mcp"}, (), "invalid_target"),
    ],
)
def test_machines_refused(talk: Talk, form: dict[str, str], auth: Any, error: str) -> None:
    given = talk.server.machine if auth == () else auth
    sent = {"resource": talk.resource(), "scope": "inventory:read"} | form
    if given is None:
        sent["client_id"] = talk.server.machine[0]
    answer = talk.post("token_endpoint", given, grant_type="client_credentials", **sent)
    assert answer.json()["error"] == error
    wrong = talk.post(
        "token_endpoint", (talk.server.machine[0], "wrong"), grant_type="client_credentials", **sent
    )
    assert wrong.status_code == 401
    assert wrong.headers["www-authenticate"].lower().startswith("basic")
