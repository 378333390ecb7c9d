"""``shop probe --url``: green on a right server however one signs in, red on a wrong one."""

from collections.abc import AsyncIterator, Sequence
from importlib import import_module
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from joserfc.jwk import ECKey

from clients.probe import probe_remote
from clients.probe.http import BEFORE, Credentials
from common.auth.api_keys import Owner, create
from common.auth.server import managing, users
from common.clock import utc_now
from common.http.guests import guests
from common.scopes import of_domain
from common.shop import Shop
from tests.support.auth_server import COST, PASSWORD
from tests.support.http import on_port, remote
from tests.support.shop import a_shop, settings_in

ANA = "ana@example.com"
DOMAINS = ("orders", "inventory", "storefront")
SCOPES = [str(scope) for domain in DOMAINS[:2] for scope in of_domain(domain)]


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    http = on_port(settings_in(tmp_path)).http
    toolsets = [import_module(f"servers.{name}.tools").tools for name in DOMAINS]
    open_to = guests(http)
    async with (
        a_shop(tmp_path, clock=utc_now, http=http) as shop,
        remote(shop, toolsets, guests=open_to),
    ):
        yield shop


async def reds(shop: Shop, credentials: Credentials, server: str = "orders") -> list[str]:
    found = await probe_remote([server], shop.settings.http.public_url, credentials)
    assert len(found) >= len(BEFORE)
    return [f"{check.mode} {check.name}: {check.detail}" for check in found if not check.ok]


async def machine(
    shop: Shop, jwks: object = None, scopes: Sequence[str] = SCOPES
) -> tuple[str, str]:
    now = shop.guard.clock()
    client, secret = await shop.database.run(
        "*", lambda s: managing.add_client(s, "probe", "test", now, scopes=scopes, jwks=jwks)
    )
    return client.id, secret


async def test_with_a_secret(shop: Shop) -> None:
    assert await reds(shop, Credentials(*await machine(shop))) == []


async def test_with_a_private_key(shop: Shop) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    public = ECKey.import_key(pem)
    published = {"keys": [public.as_dict(private=False) | {"kid": public.thumbprint()}]}
    client_id, _ = await machine(shop, published)
    assert await reds(shop, Credentials(client_id, private_key=pem)) == []


async def test_with_an_api_key(shop: Shop) -> None:
    kept, now = users.hashed(PASSWORD, COST), shop.guard.clock()
    owner = Owner(shop.settings.http.public_url, ANA)
    await shop.database.run("*", lambda s: users.add(s, ANA, "Ana", kept, users.USUAL_SCOPES, now))
    made = await shop.database.run(
        "*", lambda s: create(s, shop.settings.http, owner, "probe", ["orders:read"], now)
    )
    assert await reds(shop, Credentials(api_key=made[1])) == []


async def test_wrong_credentials_are_red(shop: Shop) -> None:
    client_id, _ = await machine(shop)
    (found,) = await reds(shop, Credentials(client_id, "wrong"))
    assert found.startswith("http sign_in"), "and what comes after it is not tried"


async def test_the_storefront_lets_guests_in(shop: Shop) -> None:
    shopper = await machine(shop, scopes=[*map(str, of_domain("storefront")), "orders:read"])
    assert await reds(shop, Credentials(*shopper), "storefront") == []


async def test_what_the_client_may_not_do_is_not_checked(
    shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    credentials = Credentials(*await machine(shop, scopes=["inventory:read", "inventory:write"]))
    url = shop.settings.http.public_url
    found = await probe_remote(["inventory", "orders"], url, credentials)
    assert [check for check in found if not check.ok] == []
    assert [(c.server, c.name) for c in found if not c.checked] == [
        ("inventory", "wrong_audience"),
        *(("orders", name) for name in list(BEFORE)[list(BEFORE).index("sign_in") :]),
    ]
    assert capsys.readouterr().err == "Checking inventory …\nChecking orders …\n"


async def test_a_server_that_lets_everybody_in_is_red(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    from common.auth import Caller
    from common.auth.authenticator import Composed
    from common.call import Actor

    async def anybody(self: Composed, headers: object, *, audience: str) -> Caller:
        return Caller(Actor("i", "s", "c", frozenset(SCOPES)), "token", audience)

    credentials = Credentials(*await machine(shop))
    monkeypatch.setattr(Composed, "authenticate", anybody)
    red = {line.partition(":")[0] for line in await reds(shop, credentials)}
    assert {"http unauthorized", "http wrong_audience", "http bad_tokens"} <= red
