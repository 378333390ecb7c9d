"""API keys: over REST as their clients know them, and as the authenticator checks them."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from sqlalchemy import select
from starlette.applications import Starlette

from common import auth
from common.auth import Caller, CredentialsRefused, api_keys
from common.auth.api_keys import Owner, checking
from common.auth.api_keys.http import routes
from common.auth.server import access, users
from common.call import Actor
from common.errors import InvalidParameters, RuleViolation
from common.settings import HttpSettings
from common.shop import Shop
from common.tables.auth_server import ApiKey
from common.tables.spine import AuditRecord
from tests.support.auth_server import COST, PASSWORD
from tests.support.shop import MovingClock, a_shop, look

URL = "http://127.0.0.1:8300"


class OurTokens:
    """An authenticator that knows nothing but our own tokens and keys."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop

    async def authenticate(self, headers: auth.Headers, *, audience: str) -> Caller | None:
        for name, value in headers:
            if name == b"x-mcp-api-key":
                return await checking.key_check(self.shop)(value.decode(), audience)
            if name == b"authorization":
                return await self._token(value.decode().partition(" ")[2], audience)
        return None

    async def _token(self, token: str, audience: str) -> Caller:
        now, settings = self.shop.guard.clock(), self.shop.settings
        said = await self.shop.database.run(
            "*", lambda s: access.read(s, settings, now, token), write=False
        )
        if said is None or said["exp"] <= now.timestamp() or said["aud"] != audience:
            raise CredentialsRefused("token")
        scopes = frozenset(said["scope"].split())
        actor = Actor(said["iss"], said["sub"], said["client_id"], scopes)
        return Caller(actor, "token", audience)


class Rest:
    """The REST face of one shop."""

    def __init__(self, shop: Shop, clock: MovingClock) -> None:
        self.shop, self.clock = shop, clock
        app = Starlette(routes=routes(shop, OurTokens(shop)))
        self.http = httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url=URL)
        self.tokens: dict[str, str] = {}

    async def user(self, name: str, scopes: Sequence[str] = users.USUAL_SCOPES) -> None:
        kept, now = users.hashed(PASSWORD, COST), self.clock()
        await self.shop.database.run("*", lambda s: users.add(s, name, name, kept, scopes, now))
        answer = await self.http.post("/login", json={"username": name, "password": PASSWORD})
        assert answer.status_code == 200, answer.text
        self.tokens[name] = answer.json()["data"]["token"]

    async def ask(self, who: str, method: str, path: str, **more: Any) -> httpx2.Response:
        headers = {"Authorization": f"Bearer {self.tokens[who]}"}
        return await self.http.request(method, path, headers=headers, **more)

    async def made(self, who: str, **asked: Any) -> dict[str, Any]:
        answer = await self.ask(who, "POST", "/api-keys", json={"name": "My client"} | asked)
        assert answer.status_code == 201, answer.text
        found: dict[str, Any] = answer.json()["data"]
        return found

    async def works(self, key: str) -> Caller | None:
        return await checking.key_check(self.shop)(key, "any")

    async def audited(self, tool: str) -> list[dict[str, Any]]:
        query = select(AuditRecord.record).order_by(AuditRecord.seq)
        records = await look(self.shop, lambda s: list(s.scalars(query)))
        return [record for record in records if record["tool"] == tool]


@pytest.fixture
async def rest(tmp_path: Path) -> AsyncIterator[Rest]:
    clock = MovingClock()
    async with a_shop(tmp_path, clock=clock, http=HttpSettings.load({})) as shop:
        found = Rest(shop, clock)
        await found.user("ana@example.com")
        await found.user("ben@example.com", ["orders:read"])
        yield found
        await found.http.aclose()


async def test_the_whole_life_of_a_key(rest: Rest) -> None:
    made = await rest.made("ana@example.com")
    assert set(made) >= {"id", "name", "key", "createdAt"}
    assert made["key"].startswith("mcp_")
    assert len(made["key"]) == 68
    caller = await rest.works(made["key"])
    assert caller is not None
    assert caller.actor.id == f"{URL}|ana@example.com"
    assert caller.actor.client == f"key:{made['id']}"
    assert caller.credential_id == made["id"]
    assert "storefront:write" in caller.actor.scopes
    assert "payments:refund" not in caller.actor.scopes
    answer = await rest.ask("ana@example.com", "GET", "/api-keys")
    (listed,) = answer.json()["data"]
    assert listed["lastUsedAt"] == "2026-11-02T09:00:00Z"
    assert made["key"] not in answer.text
    path = f"/api-keys/{made['id']}"
    answer = await rest.ask("ana@example.com", "PUT", f"{path}/revoke")
    assert answer.json()["success"] is True
    assert answer.json()["data"]["revokedAt"]
    assert await rest.works(made["key"]) is None
    answer = await rest.ask("ana@example.com", "DELETE", path)
    assert answer.json() == {"success": True, "data": {"id": made["id"], "deleted": True}}
    answer = await rest.ask("ana@example.com", "GET", "/api-keys")
    assert answer.json()["data"] == []
    for tool in ("api_key_create", "api_key_revoke", "api_key_delete"):
        (record,) = await rest.audited(tool)
        assert record["actor"]["sub"] == "ana@example.com"
        assert record["effects"][0]["id"] == made["id"]
        assert made["key"] not in str(record)


async def test_the_secret_is_not_kept(rest: Rest) -> None:
    made = await rest.made("ana@example.com")
    (row,) = await look(rest.shop, lambda s: list(s.scalars(select(ApiKey))))
    assert made["key"][4:] not in str(vars(row))


async def test_only_ones_own(rest: Rest) -> None:
    made = await rest.made("ana@example.com")
    assert (await rest.ask("ben@example.com", "GET", "/api-keys")).json()["data"] == []
    for method, path in (("PUT", f"{made['id']}/revoke"), ("DELETE", made["id"])):
        answer = await rest.ask("ben@example.com", method, f"/api-keys/{path}")
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")
    assert await rest.works(made["key"]) is not None


async def test_never_more_than_the_owner(rest: Rest) -> None:
    body = {"name": "wide", "scopes": ["orders:write"]}
    answer = await rest.ask("ben@example.com", "POST", "/api-keys", json=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_parameters")
    made = await rest.made("ana@example.com", scopes=["orders:write", "payments:refund"])
    caller = await rest.works(made["key"])
    assert caller is not None
    assert "payments:refund" in caller.actor.scopes

    def narrow(session: Any) -> None:
        users.set_scopes(users.get(session, "ana@example.com"), ["orders:read"], rest.clock())

    await rest.shop.database.run("*", narrow)
    caller = await rest.works(made["key"])
    assert caller is not None
    assert caller.actor.scopes == {"orders:read"}


async def test_a_key_never_decides(rest: Rest) -> None:
    await rest.user("kim@example.com", [*users.USUAL_SCOPES, "approvals:decide"])
    body = {"name": "mine", "scopes": ["approvals:decide"]}
    answer = await rest.ask("kim@example.com", "POST", "/api-keys", json=body)
    assert answer.status_code == 400
    made = await rest.made("kim@example.com")

    def forge(session: Any) -> None:
        session.get(ApiKey, made["id"]).scopes = ["approvals:decide", "orders:read"]

    await rest.shop.database.run("*", forge)
    caller = await rest.works(made["key"])
    assert caller is not None
    assert caller.actor.scopes == {"orders:read"}


async def test_a_disabled_owner(rest: Rest) -> None:
    made = await rest.made("ana@example.com")

    def disable(session: Any) -> None:
        user = users.get(session, "ana@example.com")
        users.disable(session, rest.shop.settings, user, rest.clock())

    await rest.shop.database.run("*", disable)
    assert await rest.works(made["key"]) is None


async def test_expiry_and_last_use(rest: Rest) -> None:
    made = await rest.made("ana@example.com", expiresInDays=1)
    first = await rest.works(made["key"])
    assert first is not None
    assert first.expires_at == int((rest.clock() + timedelta(days=1)).timestamp())

    async def last() -> Any:
        return await look(rest.shop, lambda s: s.scalar(select(ApiKey.last_used_at)))

    began = await last()
    rest.clock.forward(seconds=59)
    await rest.works(made["key"])
    assert await last() == began
    rest.clock.forward(seconds=1)
    await rest.works(made["key"])
    assert await last() == began + timedelta(seconds=60)
    rest.clock.forward(days=1)
    assert await rest.works(made["key"]) is None


@pytest.mark.parametrize(
    "secret", ["", "mcp_", "mcp_" + "0" * 64, "mcp_" + "A" * 64, "mcp_" + "0" * 63, "x" * 68]
)
async def test_keys_that_are_none(rest: Rest, secret: str) -> None:
    await rest.made("ana@example.com")
    assert await rest.works(secret) is None


async def test_keys_do_not_manage_keys(rest: Rest) -> None:
    made = await rest.made("ana@example.com")
    answer = await rest.http.get("/api-keys", headers={"X-MCP-API-Key": made["key"]})
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "not_authenticated")
    answer = await rest.http.get("/api-keys")
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"


async def test_a_token_for_a_server_does_not_manage_keys(rest: Rest) -> None:
    settings, now = rest.shop.settings, rest.clock()
    token = await rest.shop.database.run(
        "*",
        lambda s: access.issue(
            s, settings, now, subject="ana@example.com", client_id="x",
            resource=settings.http.audience("orders"), scopes=["orders:read"],
        ).token,
    )  # fmt: skip
    rest.tokens["ana@example.com"] = token
    assert (await rest.ask("ana@example.com", "GET", "/api-keys")).status_code == 401


async def test_bodies(rest: Rest) -> None:
    bad: list[Any] = [
        {}, {"name": ""}, {"name": "x" * 201}, {"name": 1}, {"name": "x", "admin": True},
        {"name": "x", "scopes": ["no:such"]}, {"name": "x", "expiresInDays": 0},
        {"name": "x", "scopes": "orders:read"}, {"name": "a\0b"}, [], "x", None,
    ]  # fmt: skip
    for body in bad:
        answer = await rest.ask("ana@example.com", "POST", "/api-keys", json=body)
        assert answer.status_code == 400, body
        assert answer.json()["success"] is False
        assert answer.json()["error"]["code"] == "invalid_parameters"
    answer = await rest.ask("ana@example.com", "POST", "/api-keys", content=b"{")
    assert answer.status_code == 400
    answer = await rest.ask("ana@example.com", "GET", "/api-keys?cursor=forged")
    assert answer.status_code == 400


async def test_login(rest: Rest) -> None:
    body = {"username": "ana@example.com", "password": "wrong"}
    for _ in range(5):
        answer = await rest.http.post("/login", json=body)
        assert (answer.status_code, answer.json()["success"]) == (401, False)
    answer = await rest.http.post("/login", json=body | {"password": PASSWORD})
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) > 0
    rest.clock.forward(minutes=16)
    answer = await rest.http.post("/login", json=body | {"password": PASSWORD})
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"


async def test_pages(rest: Rest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("common.auth.api_keys.http.PAGE", 2)
    ids = [(await rest.made("ana@example.com"))["id"] for _ in range(3)]
    first = (await rest.ask("ana@example.com", "GET", "/api-keys")).json()
    path = f"/api-keys?cursor={first['nextCursor']}"
    second = (await rest.ask("ana@example.com", "GET", path)).json()
    assert [key["id"] for key in first["data"] + second["data"]] == ids
    assert "nextCursor" not in second


async def test_at_most_so_many(rest: Rest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_keys, "MOST_KEYS", 1)
    await rest.made("ana@example.com")
    answer = await rest.ask("ana@example.com", "POST", "/api-keys", json={"name": "two"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, RuleViolation.code)
    await rest.made("ben@example.com", scopes=["orders:read"])


async def test_owners_of_other_issuers_are_others(rest: Rest) -> None:
    here, there = Owner(URL, "ana@example.com"), Owner("https://idp.example", "ana@example.com")
    http, now = rest.shop.settings.http, rest.clock()

    def work(session: Any) -> tuple[int, int, Any]:
        api_keys.create(session, http, there, "theirs", ["orders:read"], now)
        _, secret = api_keys.create(
            session, http, there, "w", ["orders:write"], now, scopes=["orders:write"]
        )
        verified = api_keys.verify(session, http, secret, now)
        mine, theirs = (api_keys.listed(session, o, None, 10)[0] for o in (here, there))
        return len(mine), len(theirs), verified

    mine, theirs, verified = await rest.shop.database.run("*", work)
    assert (mine, theirs) == (0, 2)
    assert verified.actor.scopes == {"orders:write", "orders:read"}
    assert verified.actor.id == "https://idp.example|ana@example.com", "not ours of that name"
    with pytest.raises(InvalidParameters):
        await rest.shop.database.run(
            "*", lambda s: api_keys.create(s, http, there, "w", [], now, scopes=["orders:read"])
        )


async def test_a_password_in_the_header(rest: Rest) -> None:
    check = checking.password_check(rest.shop)
    for _ in range(8):
        caller = await check("Ana@Example.com", PASSWORD, "any")
        assert caller is not None
        assert caller.method == "basic"
        assert "approvals:decide" not in caller.actor.scopes
    assert await check("ana@example.com", "wrong", "any") is None
    assert await check("nobody@example.com", PASSWORD, "any") is None

    def secure(session: Any) -> None:
        user = users.get(session, "ana@example.com")
        users.set_totp(rest.shop.settings, user, users.new_totp(), rest.clock())

    await rest.shop.database.run("*", secure)
    assert await check("ana@example.com", PASSWORD, "any") is None


async def test_no_login_without_users(rest: Rest) -> None:
    rest.shop.settings = replace(
        rest.shop.settings, http=replace(rest.shop.settings.http, auth_server=False)
    )
    paths = {route.path for route in routes(rest.shop, OurTokens(rest.shop))}  # type: ignore[attr-defined]
    assert "/login" not in paths
    assert "/api-keys" in paths
