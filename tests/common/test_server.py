"""What a client meets: both protocol eras, questions, refusals, resources, prompts."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, MCPError
from mcp.types import ElicitResult, InputRequiredResult
from sqlalchemy import select

from common.incoming import Waiting
from common.scopes import Scope
from common.shop import Shop
from common.tables.spine import ApprovalRequest
from common.toolset import Effect
from tests.support import toy
from tests.support.shop import (
    MovingClock,
    Person,
    a_shop,
    call,
    connected,
    do,
    done,
    look,
    refused,
)

INVALID_PARAMS = -32602
ERAS = {"legacy": "2025-11-25", "auto": "2026-07-28"}


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    async with a_shop(tmp_path, clock=MovingClock(), policy_file=toy.policy_in(tmp_path)) as opened:
        await do(opened, "inventory", toy.stocked)
        yield opened


@pytest.fixture(params=ERAS)
async def client(shop: Shop, request: pytest.FixtureRequest) -> AsyncIterator[Client]:
    async with connected(shop, toy.tools, mode=request.param) as connection:
        assert connection.protocol_version == ERAS[request.param]
        yield connection


async def states(shop: Shop) -> list[str]:
    query = select(ApprovalRequest.state).order_by(ApprovalRequest.created_at)
    return await look(shop, lambda s: list(s.scalars(query)))


async def test_a_renamed_tool_answers_under_its_old_name(client: Client) -> None:
    assert await done(client, "look_at") == await done(client, "peek")
    assert "look_at" not in {tool.name for tool in (await client.list_tools()).tools}


def test_an_old_name_is_nobody_elses() -> None:
    register = toy.tools.tool(scope=Scope.INVENTORY_READ, effect=Effect.READS, aliases=("look_at",))
    with pytest.raises(ValueError, match="look_at"):
        register(lambda call: call)


async def test_lists(client: Client) -> None:
    tools = {tool.name: tool for tool in (await client.list_tools()).tools}
    assert set(toy.tools.tools) | {"approval_status", "approval_cancel"} == set(tools)
    peek, take = tools["peek"], tools["take"]
    assert peek.description == "Look at the shelf of widgets.\n\nUse it before you take any."
    assert peek.input_schema == {
        "additionalProperties": False, "properties": {}, "type": "object"
    }  # fmt: skip
    assert take.input_schema["required"] == ["quantity"]
    assert "title" not in str(take.input_schema)
    assert "null" not in str(take.input_schema)
    assert peek.annotations
    assert peek.annotations.read_only_hint is True
    assert take.annotations
    assert (take.annotations.destructive_hint, take.annotations.idempotent_hint) == (True, False)
    assert (take.meta or {})["shop/scope"] == "inventory:write"
    listed = [r.uri for r in (await client.list_resources()).resources]
    assert [uri for uri in listed if not uri.startswith("ui://")] == ["inventory://shelf"]
    templates = (await client.list_resource_templates()).resource_templates
    assert [t.uri_template for t in templates] == ["inventory://shelf/{name}{?days}"]
    prompts = (await client.list_prompts()).prompts
    assert [(a.name, a.required) for a in prompts[0].arguments or []] == [
        ("corner", True), ("thoroughly", False)
    ]  # fmt: skip


async def test_results_are_structured_and_their_text_is_compact(client: Client) -> None:
    result: Any = await client.call_tool("peek", {})
    assert result.structured_content == {"available": 1_000, "reserved": 0}
    assert [block.text for block in result.content] == ['{"available":1000,"reserved":0}']
    empty: Any = await client.call_tool("parts", {"wanted": []})
    assert empty.content[0].text == '{"parts":[]}'


async def test_unknown_names_are_protocol_errors(client: Client) -> None:
    for wrong in (
        lambda: client.call_tool("nothing", {}),
        lambda: client.get_prompt("nothing", {}),
        lambda: client.get_prompt("tidy", {}),
        lambda: client.get_prompt("tidy", {"corner": "x", "thoroughly": "maybe"}),
        lambda: client.read_resource("inventory://nothing"),
        lambda: client.read_resource("inventory://shelf/none"),
        lambda: client.read_resource("inventory://shelf/left?days=900"),
        lambda: client.read_resource("inventory://shelf/left?days=x"),
        lambda: client.read_resource("inventory://shelf/left?other=1"),
        lambda: client.read_resource("inventory://shelf/a%0d%0ab"),
        lambda: client.read_resource("inventory://shelf/a%00b"),
        lambda: client.read_resource("inventory://shelf/%ff"),
        lambda: client.read_resource("inventory://shelf/../../etc/passwd"),
        lambda: client.read_resource("file:///etc/passwd"),
    ):
        with pytest.raises(MCPError) as caught:
            await wrong()
        assert caught.value.error.code == INVALID_PARAMS, caught.value.error


async def test_a_crashing_resource_says_nothing_of_the_inside(client: Client) -> None:
    with pytest.raises(MCPError) as caught:
        await client.read_resource("inventory://shelf/crash")
    assert caught.value.error.code == -32603
    assert "secret" not in str(caught.value.error)


async def test_resources_prompts_and_completions(client: Client) -> None:
    read: Any = await client.read_resource("inventory://shelf/left?days=3")
    assert read.contents[0].text == '{"parts":["left","3"]}'
    assert read.contents[0].mime_type == "application/json"
    prompt: Any = await client.get_prompt("tidy", {"corner": "the back"})
    assert prompt.messages[0].content.text == "Tidy the back, thoroughly: no."
    from mcp.types import ResourceTemplateReference

    reference = ResourceTemplateReference(uri="inventory://shelf/{name}{?days}")
    found = await client.complete(reference, {"name": "name", "value": "l"})
    assert found.completion.values == ["left", "lower"]
    none = await client.complete(reference, {"name": "days", "value": "l"})
    assert none.completion.values == []


def test_two_people_decide() -> None:
    told = Waiting("apr_1", 3, "0" * 64, "soon", "why").structured()
    assert "Two other people decide with `shop approve apr_1 --as YOU`" in told["next"]
    told = Waiting("apr_1", 2, "0" * 64, "soon", "why").structured()
    assert "Another person decides with" in told["next"]


async def test_a_client_that_cannot_ask_is_told_how_to_go_on(shop: Shop, client: Client) -> None:
    answer = await call(client, "take", quantity=10)
    assert (answer["status"], answer["level"]) == ("approval_required", 1)
    assert answer["how"] == f"shop approve {answer['approval_id']} --as YOU"
    standing = await done(client, "approval_status", id=answer["approval_id"])
    assert standing["state"] == "pending"
    withdrawn = await done(client, "approval_cancel", id=answer["approval_id"])
    assert withdrawn["state"] == "cancelled"
    await refused(
        client, "take", "approval_invalid", quantity=10, approval_id=answer["approval_id"]
    )
    assert await states(shop) == ["cancelled"]


@pytest.mark.parametrize("mode", ERAS)
async def test_the_person_is_asked_in_the_client(shop: Shop, mode: str) -> None:
    person = Person(questions=[])
    async with connected(shop, toy.tools, mode=mode, person=person) as client:
        assert (await done(client, "take", quantity=10))["available"] == 990
    assert person.questions
    assert person.questions[0].startswith("Take 10 of 1000 widgets\n")
    assert await states(shop) == ["used"]


@pytest.mark.parametrize("mode", ERAS)
@pytest.mark.parametrize(("answer", "state"), [("no", "rejected"), ("cancel", "pending")])
async def test_a_no_is_a_no(shop: Shop, mode: str, answer: str, state: str) -> None:
    async with connected(shop, toy.tools, mode=mode, person=Person(answer)) as client:
        await refused(client, "take", "approval_invalid", quantity=10)
        assert (await done(client, "peek"))["available"] == 1_000
    assert await states(shop) == [state]


@pytest.mark.parametrize("mode", ERAS)
async def test_accepting_without_agreeing_is_a_no(shop: Shop, mode: str) -> None:
    async def careless(context: Any, params: Any) -> ElicitResult:
        return ElicitResult(action="accept", content={"agree": False})

    async with connected(shop, toy.tools, mode=mode, person=careless) as client:
        await refused(client, "take", "approval_invalid", quantity=10)
        assert (await done(client, "peek"))["available"] == 1_000


@pytest.mark.parametrize("mode", ERAS)
async def test_an_answer_in_the_client_never_counts_above_level_one(shop: Shop, mode: str) -> None:
    person = Person(questions=[])
    async with connected(shop, toy.tools, mode=mode, person=person) as client:
        answer = await call(client, "take", quantity=100)
        assert (answer["status"], answer["level"]) == ("approval_required", 2)
        assert person.questions == []
        refusal = await refused(
            client, "take", "approval_invalid", quantity=100, approval_id=answer["approval_id"]
        )
        assert refusal["details"]["reason"] == "pending"
        assert (await done(client, "peek"))["available"] == 1_000


async def test_a_sealed_answer_replayed_has_one_effect(shop: Shop) -> None:
    async with connected(shop, toy.tools, person=Person()) as client:
        asked: Any = await client.session.call_tool(
            "take", {"quantity": 10}, allow_input_required=True
        )
        assert isinstance(asked, InputRequiredResult)
        answers = {"confirm": ElicitResult(action="accept", content={"agree": True})}
        for _ in range(3):
            await client.session.call_tool(
                "take", {"quantity": 10}, input_responses=answers,
                request_state=asked.request_state, allow_input_required=True,
            )  # fmt: skip
        assert (await done(client, "peek"))["available"] == 990
        for wrong_state in ("", "x", str(asked.request_state)[:-4] + "AAAA"):
            with pytest.raises(MCPError):
                await client.session.call_tool(
                    "take", {"quantity": 10}, input_responses=answers,
                    request_state=wrong_state, allow_input_required=True,
                )  # fmt: skip
        with pytest.raises(MCPError):
            await client.session.call_tool(
                "take", {"quantity": 11}, input_responses=answers,
                request_state=asked.request_state, allow_input_required=True,
            )  # fmt: skip
        assert (await done(client, "peek"))["available"] == 990


async def test_an_answer_nobody_asked_for_is_asked_again(shop: Shop) -> None:
    async with connected(shop, toy.tools, person=Person()) as client:
        answers = {"confirm": ElicitResult(action="accept", content={"agree": True})}
        asked: Any = await client.session.call_tool(
            "take", {"quantity": 10}, input_responses=answers, allow_input_required=True
        )
        assert isinstance(asked, InputRequiredResult)
        assert (await done(client, "peek"))["available"] == 1_000


@pytest.mark.parametrize("mode", ERAS)
async def test_what_breaks_beside_the_guard_is_hidden_too(
    shop: Shop, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def breaks(*_: object) -> None:
        raise RuntimeError("secret inside")

    monkeypatch.setattr(shop.guard, "confirm", breaks)
    async with connected(shop, toy.tools, mode=mode, person=Person("yes", [])) as client:
        answer = await call(client, "take", quantity=10)
    assert answer["code"] == "internal_error"
    assert "secret" not in str(answer)


CARD_NUMBER = "4111111111111111"


async def test_what_is_refused_by_protocol_repeats_no_secret(shop: Shop) -> None:
    async with connected(shop, toy.tools) as client:
        for ask in (
            client.read_resource(f"toy://nothing/{CARD_NUMBER}"),
            client.call_tool(f"take_{CARD_NUMBER[:4]} {CARD_NUMBER}", {}),
            client.get_prompt(CARD_NUMBER, {}),
        ):
            with pytest.raises(MCPError) as caught:
                await ask
            assert "[card]" in str(caught.value.error)
            assert CARD_NUMBER not in str(caught.value.error)
