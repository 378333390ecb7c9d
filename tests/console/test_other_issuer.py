"""The console with an authorization server that is not ours: npm's certified oidc-provider."""

import re
from html import unescape
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from common.auth import CredentialsRefused
from common.auth.authenticator import authenticator
from common.auth.server import users
from common.http.console import issuer
from tests.console.world import ANA, KIM, Person, Web, a_web
from tests.support.auth_server import PASSWORD, claims, sign_in
from tests.support.http import on_port
from tests.support.oidc import Oidc, resources
from tests.support.shop import settings_in


async def come_in(web: Web, oidc: Oidc, subject: str) -> Person:
    """From the console to the provider and back, in a browser of one's own."""
    browser = web.browser()
    sent = (await browser.get("/console/login")).headers["location"]
    assert sent.startswith(f"{oidc.issuer}/")
    assert parse_qs(urlsplit(sent).query)["max_age"] == ["600"]
    who = urlencode({"login_hint": subject})  # what a person would type there
    back = oidc.follow(f"{sent}&{who}", f"{web.url}/console/callback")
    await browser.get(f"/console/callback?{urlencode(back)}")
    return Person(web, browser, "")


async def test_somebody_signs_in_elsewhere_and_decides_here(tmp_path: Path, oidc: Oidc) -> None:
    trusted = tmp_path / "issuers.toml"
    trusted.write_text(f'[[issuers]]\nurl = "{oidc.issuer}"\n')
    http = on_port(settings_in(tmp_path), SHOP_AUTH_SERVER="0", SHOP_ISSUERS_FILE=str(trusted)).http
    oidc.add_resources(resources(http.public_url))
    oidc.add_clients(
        {
            "client_id": "shop-console", "token_endpoint_auth_method": "none",
            "application_type": "native", "response_types": ["code"],
            "redirect_uris": [f"{http.public_url}/console/callback"],
            "grant_types": ["authorization_code"],
        }
    )  # fmt: skip
    try:
        async with a_web(tmp_path, http=http) as web:
            id = await web.asked()
            kim = await come_in(web, oidc, KIM)
            assert (await kim.get(f"/requests/{id}")).status_code == 200
            assert (await kim.decide(id)).status_code == 303
            assert await web.state(id) == "approved"
            decided = (await web.records("approval_approve"))[-1]
            assert decided["actor"]["iss"] == oidc.issuer
            ana = await come_in(web, oidc, ANA)
            assert (await ana.get()).status_code == 302, "the provider grants her nothing here"
            assert (await kim.post("/logout")).headers["location"] == "/console/signed-out"
            assert (await kim.get()).status_code == 302
    finally:
        oidc.reset()


async def test_who_signs_out_takes_the_token_back(
    web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the browser's session was made from is refused by every server afterwards."""
    kept, now = users.hashed(PASSWORD, 4), web.clock()
    await web.shop.database.run(
        "*", lambda s: users.add(s, KIM, KIM, kept, ["approvals:decide"], now)
    )
    tokens: list[str] = []
    redeem = issuer.redeem

    async def seen(*arguments: object) -> str:
        tokens.append(await redeem(*arguments))  # type: ignore[arg-type]
        return tokens[-1]

    monkeypatch.setattr(issuer, "redeem", seen)
    browser = web.browser()
    sent = await browser.get("/console/login")
    back = await sign_in(browser, await browser.get(sent.headers["location"]), KIM)
    await browser.get(back.headers["location"])
    headers = [(b"authorization", f"Bearer {tokens[0]}".encode())]
    audience = f"{web.url}/console"
    before = authenticator(web.shop)
    try:
        assert await before.authenticate(headers, audience=audience)
    finally:
        await before.close()
    csrf = re.search(r'name="csrf" value="([^"]+)"', (await browser.get("/console")).text)
    assert csrf
    await browser.post("/console/logout", data={"csrf": unescape(csrf[1])})
    for tool in ("console_login", "console_logout"):
        named = (await web.records(tool))[-1]["actor"]["credential"]
        assert named == claims(tokens[0])["jti"], "the record says which token it was"
    after = authenticator(web.shop)
    try:
        with pytest.raises(CredentialsRefused):
            await after.authenticate(headers, audience=audience)
    finally:
        await after.close()
