"""Other people's clients get tokens from the server and use them: the official SDK, and the
official conformance runner's scenarios for authorization servers."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
import pytest_asyncio
from joserfc.jwk import ECKey
from mcp import Client
from mcp.client.auth import AuthorizationCodeResult, OAuthClientProvider
from mcp.client.auth.extensions.client_credentials import (
    ClientCredentialsOAuthProvider,
    PrivateKeyJWTOAuthProvider,
    SignedJWTParameters,
)
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import OAuthClientInformationFull, OAuthClientMetadata, OAuthToken
from pydantic import AnyUrl

from common.auth.authenticator import authenticator
from common.clock import utc_now
from servers.inventory.tools import tools as inventory
from tests.support import unavailable
from tests.support.auth_server import REDIRECT, Served, allow, sign_in
from tests.support.http import a_face, free_port, on_port
from tests.support.node import (
    FOLDER,
    Unavailable,
    node_command,
    node_environment,
    npm_install,
    package_program,
)
from tests.support.shop import a_shop, settings_in

pytestmark = pytest.mark.asyncio(loop_scope="module")
SECONDS = 60


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    """The whole face: the inventory behind the gate, and the authorization server."""
    folder = tmp_path_factory.mktemp("official")
    http = on_port(settings_in(folder)).http
    async with a_shop(folder, clock=utc_now, http=http) as shop:
        checks = authenticator(shop)
        async with a_face(shop, [inventory], authenticator=checks, faces=True) as face:
            found = Served(shop, face.url)
            await found.user()
            yield found
            for browser in found.browsers:
                await browser.aclose()
        await checks.close()


class Memory:
    """What a client remembers."""

    def __init__(self, known: OAuthClientInformationFull | None = None) -> None:
        self.known, self.tokens = known, None

    async def get_tokens(self) -> OAuthToken | None:
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self.tokens = tokens  # type: ignore[assignment]

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self.known

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self.known = client_info


async def browsed(server: Served, url: str) -> str:
    """A person at the pages; where they end up."""
    browser = server.browser()
    page = await browser.get(url)
    if "/auth/login" in page.text:
        page = await sign_in(browser, page)
    if page.status_code == 200:
        page = await allow(browser, page)
    return str(page.headers["location"])


async def used(server: Served, auth: httpx2.Auth, mode: str) -> set[str]:
    """The tools a client sees with these credentials, and one call."""
    async with (
        httpx2.AsyncClient(auth=auth, timeout=SECONDS) as http,
        Client(
            streamable_http_client(server.audience(), http_client=http),
            mode=mode,  # type: ignore[arg-type]
        ) as client,
    ):
        await client.call_tool("list_low_stock", {})
        return {tool.name for tool in (await client.list_tools()).tools}


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_the_sdk_for_a_person(server: Served, mode: str) -> None:
    back: dict[str, str] = {}

    async def opened(url: str) -> None:
        query = urlsplit(await browsed(server, url)).query
        back.update({key: values[0] for key, values in parse_qs(query).items()})

    async def returned() -> AuthorizationCodeResult:
        return AuthorizationCodeResult(
            code=back["code"], state=back.get("state"), iss=back.get("iss")
        )

    said = OAuthClientMetadata(
        redirect_uris=[AnyUrl(REDIRECT)], token_endpoint_auth_method="none",
        grant_types=["authorization_code", "refresh_token"], client_name="SDK",
    )  # fmt: skip
    known = OAuthClientInformationFull(
        client_id="shop-native", issuer=server.url, **said.model_dump(exclude={"issuer"})
    )
    memory = Memory(known)
    auth = OAuthClientProvider(server.audience(), said, memory, opened, returned)
    assert "get_stock" in await used(server, auth, mode)
    assert memory.tokens is not None
    assert memory.tokens.refresh_token


async def test_the_sdk_with_a_secret(server: Served) -> None:
    client, secret = await server.machine("sdk", ["inventory:read"])
    auth = ClientCredentialsOAuthProvider(
        server.audience(), Memory(), client, secret, issuer=server.url
    )
    assert "get_stock" in await used(server, auth, "auto")


async def test_the_sdk_with_a_key(server: Served) -> None:
    key = ECKey.generate_key("P-256")
    client, _ = await server.machine(
        "sdk", ["inventory:read"], jwks={"keys": [key.as_dict(private=False)]}
    )
    signed = SignedJWTParameters(
        issuer=client, subject=client, signing_algorithm="ES256",
        signing_key=key.as_pem(private=True).decode(),
    )  # fmt: skip
    auth = PrivateKeyJWTOAuthProvider(
        server.audience(), Memory(), client, signed.create_assertion_provider(), issuer=server.url
    )
    assert "get_stock" in await used(server, auth, "auto")


async def test_the_conformance_runner(server: Served, tmp_path: Path) -> None:
    """As a public client: with a secret the runner would not send it to a server that also has
    public clients."""
    try:
        npm_install()
        node = node_command()
    except Unavailable as error:
        unavailable(str(error))
    port = free_port()
    program = package_program(FOLDER, "@modelcontextprotocol/conformance", "conformance")
    running = await asyncio.create_subprocess_exec(
        *node, str(program), "authorization", "--url", server.url,
        "--client-id", "shop-native", "-p", str(port),
        "--resource", server.audience(), "-o", str(tmp_path),
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT, env=node_environment(),
    )  # fmt: skip
    said = ""
    try:
        async with asyncio.timeout(SECONDS):
            said = await _driven(server, running)
            await running.wait()
    finally:
        if running.returncode is None:
            running.kill()
    assert running.returncode == 0, said + str(_results(tmp_path))
    files, checks = _results(tmp_path)
    assert files == 2, said
    bad = [check for check in checks if check["status"] in {"FAILURE", "WARNING"}]
    assert not bad, bad


def _results(folder: Path) -> tuple[int, list[dict[str, Any]]]:
    files = list(folder.rglob("checks.json"))
    return len(files), [check for file in files for check in json.loads(file.read_text())]


async def _driven(server: Served, running: Any) -> str:
    """Play the browser for the runner; everything it said."""
    said = ""
    while line := (await running.stdout.readline()).decode():
        said += line
        found = re.search(rf"{re.escape(server.url)}/auth/authorize\?\S+", line)
        if found:
            target = await browsed(server, found[0])
            async with httpx2.AsyncClient() as callback:
                await callback.get(target)
    return said
