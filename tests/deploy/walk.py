"""``python -m tests.deploy.walk CERTIFICATE``: what people do with the shop of compose.yaml.

Ana's program signs in, finds an order and asks for a refund; Kim signs in at the console and
approves it; the program makes it. CERTIFICATE is the one that the proxy's was signed with. It needs
a running compose on this machine, as shop.example.com, with tests/deploy/identity.py in place of
Keycloak, the demo's orders (`shop seed`), and Kim enrolled with the password of the people there.
"""

import argparse
import asyncio
import re
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from html import unescape
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import httpx2
from mcp import Client
from mcp.client.auth import OAuthClientProvider
from mcp.client.auth.oauth2 import AuthorizationCodeResult
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import OAuthClientInformationFull, OAuthClientMetadata
from pydantic import AnyUrl

from tests.deploy.identity import PASSWORD

NAME: Final = "shop.example.com"
URL: Final = f"https://{NAME}"
BACK: Final = "http://127.0.0.1:33418/callback"
SHUT: Final = ("/metrics", "/id/admin/", "/id/realms/master/", "/id/metrics")


class Kept:
    """What a host keeps of a server it signed in at."""

    def __init__(self) -> None:
        self.tokens: Any = None
        about = OAuthClientMetadata(
            redirect_uris=[AnyUrl(BACK)], token_endpoint_auth_method="none", client_name="walk"
        )
        self.client = OAuthClientInformationFull(
            client_id="shop-agent", issuer=f"{URL}/id/realms/shop", **about.model_dump()
        )

    async def get_tokens(self) -> Any:
        return self.tokens

    async def set_tokens(self, tokens: Any) -> None:
        self.tokens = tokens

    async def get_client_info(self) -> Any:
        return self.client

    async def set_client_info(self, client_info: Any) -> None:
        self.client = client_info


class Walk:
    """One machine in front of the proxy."""

    def __init__(self, authority: str) -> None:
        self.trusts = ssl.create_default_context(cafile=authority)

    def browser(self, **more: Any) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(
            verify=self.trusts, trust_env=False, timeout=60, base_url=URL, **more
        )

    @asynccontextmanager
    async def program(self, server: str) -> AsyncIterator[Client]:
        """Ana's: it finds the identity provider by itself and signs in when it is told to."""
        came: dict[str, str] = {}

        async def go(url: str) -> None:
            async with self.browser() as browser:
                page = await browser.get(url)
                page = await sign_in(browser, page, "ana@example.com")
                came.update(query(page.headers["location"]))

        async def back() -> AuthorizationCodeResult:
            return AuthorizationCodeResult(code=came["code"], state=came["state"], iss=came["iss"])

        kept = Kept()
        about = OAuthClientMetadata(
            redirect_uris=[AnyUrl(BACK)], token_endpoint_auth_method="none", client_name="walk"
        )
        address = f"{URL}/{server}/mcp"
        auth = OAuthClientProvider(address, about, kept, redirect_handler=go, callback_handler=back)
        async with (
            self.browser(auth=auth) as http,
            Client(streamable_http_client(address, http_client=http)) as client,
        ):
            yield client

    async def doors(self) -> None:
        """What the proxy lets through, and what it does not."""
        async with self.browser() as browser:
            for path in SHUT:
                assert (await browser.get(path)).status_code == 404, path
            assert (await browser.get("/readyz")).json()["status"] == "ready"
            refused = await browser.get("/readyz", headers={"Host": "elsewhere.example"})
            assert refused.status_code == 421
            told = await browser.post("/payments/mcp", json={})
            assert told.status_code == 401
            assert "oauth-protected-resource/payments/mcp" in told.headers["www-authenticate"]

    async def refund(self) -> None:
        """Asked, approved, made; a repeat answers the same."""
        async with self.program("orders") as orders:
            found = await call(orders, "search_orders", payment_status="captured", limit=100)
            order = max(found["orders"], key=lambda each: minor(each["total"])[0])
            order = await call(orders, "get_order", order_id=order["order_id"])
        amount, currency = minor(order["total"])
        wanted = {
            "payment_id": order["payment_ids"][0], "amount_minor": amount,
            "currency": currency, "reason": "return",
            "idempotency_key": f"walk-{order['order_id']}",
        }  # fmt: skip
        async with self.program("payments") as payments:
            asked = await call(payments, "refund_payment", **wanted)
            assert asked["status"] == "approval_required", asked
            id = asked["approval_id"]
            early = await payments.call_tool("refund_payment", {**wanted, "approval_id": id})
            assert early.is_error, "nobody has decided yet"
            await self.decide(id)
            made = await call(payments, "refund_payment", **wanted, approval_id=id)
            again = await call(payments, "refund_payment", **wanted, approval_id=id)
            assert made["refund_id"] == again["refund_id"]
            print(f"{made['refund_id']} of {order['order_id']}: asked, approved, made once")

    async def decide(self, id: str) -> None:
        """Kim, from the console's door to the decision and out again."""
        async with self.browser(headers={"Origin": URL}) as browser:
            page = await browser.get(f"/console/requests/{id}")
            while page.is_redirect:
                page = await browser.get(page.headers["location"])
            page = await sign_in(browser, page, "kim@example.com")
            while page.is_redirect:
                page = await browser.get(page.headers["location"])
            assert page.status_code == 200, page.text
            typed = re.search(r"[Tt]ype\D*?([\d.,]+)", unescape(re.sub("<[^>]*>", " ", page.text)))
            form = {
                "csrf": hidden(page.text, "csrf"), "decision": "approve", "passphrase": PASSWORD,
                "typed": typed[1] if typed else "", "note": "",
            }  # fmt: skip
            done = await browser.post(f"/console/requests/{id}/decide", data=form)
            assert done.status_code == 303, done.text
            out = await browser.post("/console/logout", data={"csrf": form["csrf"]})
            assert out.status_code == 303
            assert (await browser.get("/console")).status_code == 302


async def sign_in(browser: httpx2.AsyncClient, page: httpx2.Response, name: str) -> httpx2.Response:
    """The identity provider's page."""
    assert page.status_code == 200, page
    return await browser.post(str(page.url), data={"username": name, "password": PASSWORD})


async def call(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    answer = await client.call_tool(tool, arguments)
    assert not answer.is_error, answer.content
    assert answer.structured_content is not None
    return dict(answer.structured_content)


def minor(amount: str) -> tuple[int, str]:
    """Of ``12.50 EUR``."""
    number, currency = amount.split()
    return int(Decimal(number) * 100), currency


def hidden(html: str, name: str) -> str:
    found = re.search(rf'name="{name}" value="([^"]+)"', html)
    assert found, html
    return unescape(found[1])


def query(url: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}


async def walk(authority: str) -> None:
    way = Walk(authority)
    await way.doors()
    await way.refund()


def main() -> int:
    real = socket.getaddrinfo

    def here(host: Any, *more: Any, **named: Any) -> Any:
        return real("127.0.0.1" if host in {NAME, NAME.encode()} else host, *more, **named)

    parser = argparse.ArgumentParser(prog="python -m tests.deploy.walk", description=__doc__)
    parser.add_argument("certificate", help="of the authority, PEM")
    chosen = parser.parse_args()
    socket.getaddrinfo = here
    asyncio.run(walk(chosen.certificate))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
