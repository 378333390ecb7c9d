"""The whole OAuth dance of the official client, step-up included, in both eras, at two
authorization servers: our own and one that is not ours."""

import asyncio
import json
import os
import pty
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest
from mcp import Client
from mcp.client.auth import OAuthClientProvider
from mcp.client.auth.oauth2 import AuthorizationCodeResult
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import OAuthClientInformationFull, OAuthClientMetadata, OAuthToken
from pydantic import AnyUrl

from common.auth.server import users
from common.clock import utc_now
from common.settings import HttpSettings
from common.shop import Shop
from tests.support import auth_server, toy
from tests.support import oidc as oidc_support
from tests.support.http import free_port, remote
from tests.support.node import node_environment, npm_install
from tests.support.oidc import Oidc
from tests.support.shop import a_shop, do, done

Browser = Callable[[str], Awaitable[dict[str, str]]]
ERAS = {"legacy": "2025-11-25", "auto": "2026-07-28"}


@dataclass
class Kept:
    """A client's storage: what it was told, and every token it was given."""

    client: OAuthClientInformationFull | None
    tokens: list[OAuthToken] = field(default_factory=list)

    async def get_tokens(self) -> OAuthToken | None:
        return self.tokens[-1] if self.tokens else None

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self.tokens.append(tokens)

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self.client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self.client = client_info


@dataclass
class Signing:
    """A remote shop, and somebody who signs in with a browser."""

    shop: Shop
    client_id: str
    redirect_uri: str
    browser: Browser
    visits: int = 0

    @property
    def url(self) -> str:
        return self.shop.settings.http.audience("inventory")

    @asynccontextmanager
    async def client(self, mode: str, kept: Kept) -> AsyncIterator[Client]:
        came_back: dict[str, str] = {}

        async def go(url: str) -> None:
            self.visits += 1
            came_back.clear()
            came_back.update(await self.browser(url))

        async def back() -> AuthorizationCodeResult:
            return AuthorizationCodeResult(
                code=came_back["code"], state=came_back.get("state"), iss=came_back.get("iss")
            )

        provider = OAuthClientProvider(
            self.url, self.metadata(), kept, redirect_handler=go, callback_handler=back
        )
        async with (
            httpx2.AsyncClient(auth=provider, timeout=60) as http,
            Client(streamable_http_client(self.url, http_client=http), mode=mode) as client,
        ):  # fmt: skip
            yield client

    def metadata(self) -> OAuthClientMetadata:
        return OAuthClientMetadata(
            client_name="test", redirect_uris=[AnyUrl(self.redirect_uri)],
            grant_types=["authorization_code", "refresh_token"], response_types=["code"],
            token_endpoint_auth_method="none",
        )  # fmt: skip

    def known(self, issuer: str) -> Kept:
        """A client that was registered beforehand."""
        return Kept(
            OAuthClientInformationFull(
                client_id=self.client_id, issuer=issuer, **self.metadata().model_dump()
            )
        )


@asynccontextmanager
async def toys_at(folder: Path, http: HttpSettings) -> AsyncIterator[Shop]:
    """The toy shop with tokens really verified and every page there is."""
    policy = toy.policy_in(folder)
    async with a_shop(folder, clock=utc_now, policy_file=policy, http=http) as shop:
        await do(shop, "inventory", toy.stocked)
        async with remote(shop, [toy.tools]):
            yield shop


@pytest.fixture
async def ours(tmp_path: Path) -> AsyncIterator[Signing]:
    http = HttpSettings.load({"SHOP_PUBLIC_URL": f"http://127.0.0.1:{free_port()}"})
    async with toys_at(tmp_path, http) as shop:
        kept = users.hashed(auth_server.PASSWORD, auth_server.COST)
        await shop.database.run(
            "*",
            lambda s: users.add(
                s, "ana@example.com", "Ana", kept, users.USUAL_SCOPES, shop.guard.clock()
            ),
        )
        async with httpx2.AsyncClient(base_url=http.public_url) as cookies:

            async def browse(url: str) -> dict[str, str]:
                page = await cookies.get(url)
                if "/auth/login" in page.text:
                    page = await auth_server.sign_in(cookies, page)
                if page.status_code == 200:
                    page = await auth_server.allow(cookies, page)
                return auth_server.came_back(page)

            yield Signing(shop, "shop-native", auth_server.REDIRECT, browse)


@pytest.fixture
async def theirs(tmp_path: Path, oidc: Oidc) -> AsyncIterator[Signing]:
    issuers = tmp_path / "issuers.toml"
    issuers.write_text(f'[[issuers]]\nurl = "{oidc.issuer}"\nprofile = "rfc9068"\n')
    url = f"http://127.0.0.1:{free_port()}"
    http = HttpSettings.load({
        "SHOP_PUBLIC_URL": url, "SHOP_ISSUERS_FILE": str(issuers), "SHOP_AUTH_SERVER": "0",
    })  # fmt: skip
    oidc.add_resources(oidc_support.resources(url))

    async def browse(url: str) -> dict[str, str]:
        return oidc.follow(f"{url}&login_hint=ana@example.com", oidc_support.CALLBACK)

    async with toys_at(tmp_path, http) as shop:
        yield Signing(shop, oidc_support.DESKTOP, oidc_support.CALLBACK, browse)
    oidc.reset()


async def issuer_of(signing: Signing) -> str:
    """What the server's own metadata says."""
    path = urlsplit(signing.url).path
    base = signing.shop.settings.http.public_url
    async with httpx2.AsyncClient() as http:
        answer = await http.get(f"{base}/.well-known/oauth-protected-resource{path}")
    return str(answer.json()["authorization_servers"][0])


@pytest.mark.parametrize("mode", ERAS)
async def test_step_up_at_our_own_server(ours: Signing, mode: str) -> None:
    await from_nothing_to_a_step_up(ours, mode)


@pytest.mark.parametrize("mode", ERAS)
async def test_step_up_at_another_server(theirs: Signing, mode: str) -> None:
    await from_nothing_to_a_step_up(theirs, mode)


async def from_nothing_to_a_step_up(signing: Signing, mode: str) -> None:
    kept = signing.known(await issuer_of(signing))
    async with signing.client(mode, kept) as client:
        assert client.protocol_version == ERAS[mode]
        assert (await done(client, "peek"))["available"] == 1_000
        assert signing.visits == 1
        assert set((kept.tokens[-1].scope or "").split()) == {"inventory:read"}
        # What needs more is asked for once, with everything it needs.
        assert (await done(client, "take", quantity=1))["available"] == 999
        assert signing.visits == 2
        assert "inventory:write" in (kept.tokens[-1].scope or "").split()
        await done(client, "take", quantity=2)
        assert signing.visits == 2


CLIENTS = {"sdk 1": ("1", "legacy"), "client 2 legacy": ("2", "legacy"), "client 2": ("2", "new")}


@pytest.mark.slow
@pytest.mark.parametrize("name", CLIENTS)
async def test_npm_clients_sign_in_and_step_up(ours: Signing, node: list[str], name: str) -> None:
    npm_install()
    version, era = CLIENTS[name]
    program = Path(__file__).parent.parent / "node" / "oauth_client.mjs"
    process = await asyncio.create_subprocess_exec(
        *node, str(program), version, ours.url, era, ours.redirect_uri, ours.client_id,
        env=node_environment(), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        async with asyncio.timeout(100):
            while line := await process.stdout.readline():
                said = json.loads(line)
                if "authorize" not in said:
                    break
                back = await ours.browser(said["authorize"])
                process.stdin.write(json.dumps(back).encode() + b"\n")
                ours.visits += 1
            else:
                raise AssertionError((await process.stderr.read()).decode()[-2_000:])
            await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert said == {"tools": said["tools"], "available": 1_000, "taken": 999}
    assert ours.visits == 2


@pytest.mark.slow
@pytest.mark.parametrize("era", ["legacy", "modern"])
async def test_the_inspector_signs_in(
    ours: Signing, inspector: list[str], tmp_path: Path, era: str
) -> None:
    """It wants a terminal to show where to sign in, and listens for the browser to come back."""
    callback = f"http://127.0.0.1:{free_port()}/oauth/callback"
    ours_end, its_end = pty.openpty()
    command = [
        *inspector, "--server-url", ours.url, "--transport", "http", "--protocol-era", era,
        "--client-id", ours.client_id, "--callback-url", callback, "--format", "json",
        "--method", "tools/call", "--tool-name", "peek",
    ]  # fmt: skip
    process = await asyncio.create_subprocess_exec(
        *command, stdin=its_end, stdout=its_end, stderr=its_end, start_new_session=True,
        env=node_environment() | {"HOME": str(tmp_path), "MCP_INSPECTOR_SECRET_STORE": "memory",
                                  "BROWSER": "/bin/true", "DISPLAY": ""},
    )  # fmt: skip
    os.close(its_end)
    said = ""
    try:
        async with asyncio.timeout(100):
            while not (
                found := re.search(r"http://[^\s\x00-\x1f]+/auth/authorize\?[^\s\x00-\x1f]+", said)
            ):
                said += await _read(ours_end)
            back = await ours.browser(found[0])
            async with httpx2.AsyncClient() as browser:
                await browser.get(callback, params=back)
            while more := await _read(ours_end):
                said += more
            assert await process.wait() == 0, said
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        os.close(ours_end)
    assert '"available":1000' in said.replace(" ", "").replace("\\", ""), said


async def _read(terminal: int) -> str:
    """What a program printed on its terminal; "" when it has gone."""
    try:
        return (await asyncio.to_thread(os.read, terminal, 65_536)).decode(errors="replace")
    except OSError:
        return ""
