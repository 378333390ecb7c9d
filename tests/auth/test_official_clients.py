"""Machines with the official client at a provider that is not ours, by secret and by key."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import httpx2
import pytest
from joserfc.jwk import ECKey
from mcp import Client
from mcp.client.auth.extensions.client_credentials import (
    ClientCredentialsOAuthProvider,
    PrivateKeyJWTOAuthProvider,
    SignedJWTParameters,
)
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import OAuthClientInformationFull, OAuthToken

from common.auth.authenticator import authenticator
from common.clock import utc_now
from tests.auth.support import issuer
from tests.support.http import Face, a_face, on_port
from tests.support.oidc import MACHINE, OPERATOR, Oidc, resources
from tests.support.shop import a_shop, settings_in


class Memory:
    """What a client keeps."""

    tokens: OAuthToken | None = None
    client: OAuthClientInformationFull | None = None

    async def get_tokens(self) -> OAuthToken | None:
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self.tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self.client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self.client = client_info


@pytest.fixture
async def face(tmp_path: Path, oidc: Oidc) -> AsyncIterator[Face]:
    file = tmp_path / "issuers.toml"
    file.write_text(issuer(oidc.issuer))
    http = replace(on_port(settings_in(tmp_path)).http, issuers_file=file, auth_server=False)
    oidc.add_resources(resources(http.public_url))
    tools = import_module("servers.inventory.tools").tools
    async with a_shop(tmp_path, clock=utc_now, http=http) as shop:
        who = authenticator(shop)
        async with a_face(shop, [tools], authenticator=who) as face:
            yield face
        await who.close()


@asynccontextmanager
async def signed_in(face: Face, auth: httpx2.Auth, mode: str) -> AsyncIterator[Client]:
    url = face.http.audience("inventory")
    async with (
        httpx2.AsyncClient(auth=auth, timeout=60, follow_redirects=True) as http,
        Client(streamable_http_client(url, http_client=http), mode=mode) as client,  # type: ignore[arg-type]
    ):
        yield client


async def reads_then_writes(client: Client, memory: Memory) -> None:
    """The second call needs a scope the first did not: the client goes and gets it."""
    listed = await client.call_tool("list_low_stock", {})
    assert not listed.is_error, listed
    assert memory.tokens is not None
    before = memory.tokens.access_token
    written = await client.call_tool(
        "release_reservation",
        {"reservation_id": "rsv_unknown", "idempotency_key": secrets.token_hex(8)},
    )
    assert written.structured_content is not None
    assert written.structured_content["code"] == "not_found", written.structured_content
    assert memory.tokens.access_token != before


@pytest.mark.parametrize("mode", ["2026-07-28", "legacy"])
async def test_a_machine_with_a_secret(face: Face, oidc: Oidc, mode: str) -> None:
    memory = Memory()
    auth = ClientCredentialsOAuthProvider(
        face.http.audience("inventory"), memory, *MACHINE, issuer=oidc.issuer
    )
    async with signed_in(face, auth, mode) as client:
        await reads_then_writes(client, memory)


async def test_a_machine_with_a_key(face: Face, oidc: Oidc) -> None:
    key = ECKey.generate_key("P-256", {"kid": "robot-1", "use": "sig", "alg": "ES256"})
    oidc.add_clients({
        "client_id": "robot", "token_endpoint_auth_method": "private_key_jwt",
        "jwks": {"keys": [key.as_dict(private=False)]}, "redirect_uris": [], "response_types": [],
        "grant_types": ["client_credentials"], "scope": " ".join(OPERATOR),
    })  # fmt: skip
    signing = SignedJWTParameters(
        issuer="robot", subject="robot", signing_algorithm="ES256",
        signing_key=key.as_pem(private=True).decode(),
    )  # fmt: skip
    memory = Memory()
    auth = PrivateKeyJWTOAuthProvider(
        face.http.audience("inventory"), memory, "robot",
        signing.create_assertion_provider(), issuer=oidc.issuer,
    )  # fmt: skip
    async with signed_in(face, auth, "auto") as client:
        await reads_then_writes(client, memory)
