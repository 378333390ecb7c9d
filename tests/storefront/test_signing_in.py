"""The storefront as it is started, a guest who signs in by OAuth, and the customer found by the
e-mail address that the authorization server verified."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp import Client
from mcp.client.auth import OAuthClientProvider
from mcp.client.auth.oauth2 import AuthorizationCodeResult
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import OAuthClientInformationFull, OAuthClientMetadata, OAuthToken
from pydantic import AnyUrl

from common.auth.server import users
from common.call import Call
from common.clock import utc_now
from common.settings import inherited
from common.shoppers import SHOPPER_SCOPES
from common.tables.orders import Customer
from tests.storefront.goods import goods
from tests.storefront.shoppers import customer, filled, world
from tests.support import auth_server
from tests.support.http import free_port
from tests.support.shop import a_shop, call, do, done

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 60
PIA = "pia@shop.example"


class Kept:
    """A client's storage."""

    def __init__(self, client: OAuthClientInformationFull) -> None:
        self.client = client
        self.tokens: list[Any] = [None]

    async def get_tokens(self) -> OAuthToken | None:
        found: OAuthToken | None = self.tokens[-1]
        return found

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self.tokens.append(tokens)

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self.client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self.client = client_info


async def fill(folder: Path) -> None:
    """Two customers from before, who never signed in; both sign in at the shop, but only Pia's
    address is known for certain there."""

    def people(call: Call) -> None:
        kept = users.hashed(auth_server.PASSWORD, auth_server.COST)
        for name in ("pia", "kim"):
            customer(call, name)
            call.get(Customer, f"cus-{name}").subject = None
        users.add(call.session, PIA, "Pia", kept, SHOPPER_SCOPES, call.now, email="Pia@example.com")
        users.add(call.session, "kim@example.com", "Kim", kept, SHOPPER_SCOPES, call.now)

    async with a_shop(folder, clock=utc_now) as shop:
        await do(shop, "*", goods)
        await do(shop, "*", world)
        await do(shop, "*", people)


@pytest.fixture
def storefront(tmp_path: Path) -> Any:
    """``python -m servers storefront --http``; its URL."""
    asyncio.run(fill(tmp_path / "home"))
    url = f"http://127.0.0.1:{(port := free_port())}"
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "servers", "storefront", "--http"], cwd=ROOT, stdout=log,
            stderr=subprocess.STDOUT,
            env=inherited(
                SHOP_HOME=str(tmp_path / "home"), SHOP_PUBLIC_URL=url, SHOP_PORT=str(port),
                PYTHONPATH=str(ROOT), PATH=os.environ["PATH"],
            ),
        )  # fmt: skip
        try:
            transport = httpx2.HTTPTransport(retries=9)
            with httpx2.Client(timeout=PATIENCE_S, transport=transport) as browser:
                assert browser.get(f"{url}/readyz").status_code == 200
            yield url
        finally:
            process.terminate()
            process.wait(PATIENCE_S)


@asynccontextmanager
async def shopping(
    url: str, subject: str, mode: str
) -> AsyncIterator[tuple[Client, Kept]]:  # fmt: skip
    """The official client: without credentials until it is asked to sign in."""
    place, came_back = f"{url}/storefront/mcp", {}
    metadata = OAuthClientMetadata(
        client_name="test", redirect_uris=[AnyUrl(auth_server.REDIRECT)],
        grant_types=["authorization_code", "refresh_token"], response_types=["code"],
        token_endpoint_auth_method="none",
    )  # fmt: skip
    kept = Kept(
        OAuthClientInformationFull(client_id="shop-native", issuer=url, **metadata.model_dump())
    )
    async with httpx2.AsyncClient(base_url=url, timeout=PATIENCE_S) as cookies:

        async def go(asked: str) -> None:
            page = await cookies.get(asked)
            if "/auth/login" in page.text:
                page = await auth_server.sign_in(cookies, page, subject=subject)
            if page.status_code == 200:
                page = await auth_server.allow(cookies, page)
            came_back.update(auth_server.came_back(page))

        async def back() -> AuthorizationCodeResult:
            return AuthorizationCodeResult(
                code=came_back["code"], state=came_back.get("state"), iss=came_back.get("iss")
            )

        provider = OAuthClientProvider(
            place, metadata, kept, redirect_handler=go, callback_handler=back
        )
        async with (
            httpx2.AsyncClient(auth=provider, timeout=PATIENCE_S) as http,
            Client(streamable_http_client(place, http_client=http), mode=mode) as client,
        ):
            yield client, kept


@pytest.mark.slow
async def test_found_by_a_verified_address(storefront: str) -> None:
    async with shopping(storefront, PIA, "auto") as (client, kept):
        cart = await filled(client, ("avocado", 2))
        assert not (await done(client, "get_account_status"))["signed_in"]
        assert kept.tokens == [None]
        await done(client, "join_membership", tier="circle", agreed_fee_minor=0)
        assert "storefront:buy" in (kept.tokens[-1].scope or "")
        status = await done(client, "get_account_status")
        assert (status["customer_id"], status["membership"]) == ("cus-pia", "circle")
        assert [method["payment_method_id"] for method in status["payment_methods"]] == ["pm-pia"]
        await done(client, "add_to_cart", product_name="avocado", quantity=1, cart_id=cart)
        claims = auth_server.claims(kept.tokens[-1].access_token)
        assert (claims["email"], claims["email_verified"]) == ("Pia@example.com", True)
    async with shopping(storefront, "kim@example.com", "auto") as (client, kept):
        await done(client, "join_membership", tier="circle", agreed_fee_minor=0)
        assert "email" not in auth_server.claims(kept.tokens[-1].access_token)
        status = await done(client, "get_account_status")
        assert status["customer_id"] not in ("cus-kim", "cus-pia")
        assert status["payment_methods"] == []
        assert (await call(client, "get_cart", cart_id=cart))["code"] == "cart_not_found"
