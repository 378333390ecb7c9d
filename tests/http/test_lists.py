"""Lists are rendered once, and nobody gets one who would not have got it before."""

from functools import partial
from typing import Any

import pytest
from sqlalchemy.orm import Session

from common.auth import api_keys
from common.auth.api_keys import Owner
from common.auth.authenticator import authenticator
from common.auth.server import users
from common.http import lists
from common.http.lists import Lists
from common.scopes import of_domain
from common.shop import Shop
from tests.http.test_scopes import asking, bearer
from tests.support import toy
from tests.support.auth_server import COST, PASSWORD
from tests.support.http import Face, a_face


class Asked:
    """Counts how often the SDK is asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        plain = Lists._asked

        async def counted(kept: Lists, *arguments: Any) -> None:
            self.count += 1
            await plain(kept, *arguments)

        monkeypatch.setattr(Lists, "_asked", counted)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    return Asked(monkeypatch)


@pytest.mark.parametrize("method", sorted(lists.METHODS))
async def test_the_same_answer_but_for_the_id(face: Face, asked: Asked, method: str) -> None:
    body, headers = asking(method)
    token = bearer(face.token("inventory", "inventory:read"))
    other = bearer(face.token("inventory", "inventory:read", subject="bo@example.com"))
    answers = []
    async with face.browser() as browser:
        for id, who in ((1, token), ("a\\u0041\u00e9", other), (2**53, token)):
            answer = await browser.post(
                "/inventory/mcp", json=body | {"id": id}, headers=headers | who
            )
            assert answer.status_code == 200
            assert answer.headers["content-type"] == "application/json"
            said = answer.json()
            assert said.pop("id") == id
            answers.append(said)
    assert answers[0]["result"]
    assert answers[0] == answers[1] == answers[2]
    assert asked.count == 1


async def test_a_trace_makes_no_other_request(face: Face, asked: Asked) -> None:
    body, headers = asking("tools/list")
    token = bearer(face.token("inventory", "inventory:read"))
    async with face.browser() as browser:
        for span in "12":
            body["params"]["_meta"]["traceparent"] = f"00-{'a' * 32}-{span * 16}-01"
            await browser.post("/inventory/mcp", json=body, headers=headers | token)
    assert asked.count == 1


async def test_what_was_refused_is_refused_after_the_list_was_given(
    face: Face, asked: Asked
) -> None:
    body, headers = asking("tools/list")
    token = bearer(face.token("inventory", "inventory:read"))
    stranger = bearer(face.token("inventory", "orders:read"))
    async with face.browser() as browser:

        async def status(sent: dict[str, Any], named: dict[str, str]) -> int:
            answer = await browser.post("/inventory/mcp", json=sent, headers=named)
            return answer.status_code

        assert await status(body, headers | token) == 200
        assert await status(body, headers) == 401
        assert await status(body, headers | stranger) == 403
        assert await status(body, headers | token | {"Mcp-Method": "prompts/list"}) == 400
        assert await status(body, headers | token | {"Accept": "text/html"}) == 406
        worse = {**body, "params": {**body["params"], "cursor": 3}}
        assert await status(worse, headers | token) != 200
        assert await status(body, headers | token) == 200
    assert asked.count == 4  # the first, and the three only the SDK can judge


async def test_who_lost_a_right_lost_it_though_the_list_is_kept(toys: Shop, asked: Asked) -> None:
    """A right that is taken away is gone with the next request; the others notice nothing."""
    http, now = toys.settings.http, toys.guard.clock()
    rights = [str(scope) for scope in of_domain("inventory")]
    keys = {}

    def enrolled(session: Session, who: str) -> tuple[str, str]:
        users.add(session, who, who, users.hashed(PASSWORD, COST), rights, now)
        owner = Owner(http.public_url, who)
        key, secret = api_keys.create(session, http, owner, "k", rights, now, scopes=rights)
        return key.id, secret

    for who in ("ana@example.com", "ben@example.com"):
        keys[who] = await toys.database.run("*", partial(enrolled, who=who))
    (id, ana), (_, ben) = keys.values()
    listing, taking = asking("tools/list"), asking("tools/call", name="take", arguments={})
    checking = authenticator(toys)
    try:
        async with a_face(toys, [toy.tools], authenticator=checking) as face:

            async def told(key: str, sent: tuple[dict[str, Any], dict[str, str]]) -> Any:
                body, headers = sent
                async with face.browser() as browser:
                    answer = await browser.post(
                        "/inventory/mcp", json=body, headers=headers | bearer(key)
                    )
                return answer.json() if answer.status_code == 200 else answer.status_code

            before = await told(ana, listing)
            assert "take" in {tool["name"] for tool in before["result"]["tools"]}
            assert [await told(ben, listing), asked.count] == [before, 1]
            assert "result" in await told(ana, taking)

            def reads_only(session: Session) -> None:
                users.set_scopes(users.get(session, "ana@example.com"), rights[:1], now)

            await toys.database.run("*", reads_only)
            assert [await told(ana, listing), await told(ana, taking)] == [before, 403]

            def revoked(session: Session) -> None:
                api_keys.revoke(session, None, id, now)

            await toys.database.run("*", revoked)
            assert [await told(ana, listing), await told(ana, taking)] == [401, 401]
            assert await told(ben, listing) == before
            assert "result" in await told(ben, taking)
            assert asked.count == 1
    finally:
        await checking.close()


async def test_no_more_is_kept_than_a_few(face: Face, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lists, "MOST", 2)
    body, headers = asking("tools/list")
    token = bearer(face.token("inventory", "inventory:read"))
    seen = Asked(monkeypatch)
    async with face.browser() as browser:
        for name in ("a", "b", "c", "c", "b", "a"):
            body["params"]["_meta"]["io.modelcontextprotocol/clientInfo"] = {
                "name": name, "version": "1"
            }  # fmt: skip
            await browser.post("/inventory/mcp", json=body, headers=headers | token)
    assert seen.count == 4
