"""Listing, and what hosts list: resources, the label, the prompt, completions."""

import asyncio
import json

import pytest
from mcp.shared.exceptions import MCPError
from mcp.types import PromptReference, ResourceTemplateReference

from tests.orders.seed import SHIRT_M, SHIRT_S, Desk, a_delivered_order
from tests.support.shop import call, done, refused


async def three(desk: Desk) -> list[str]:
    """Three returns, a minute apart, the first the oldest."""
    made = []
    for _ in range(3):
        order = await a_delivered_order(desk, (SHIRT_S, 1), (SHIRT_M, 1))
        rma = await done(desk.returns, "request_return", order_id=order["order_id"], **desk.key())
        made.append(rma["return_id"])
        desk.clock.forward(minutes=1)
    return made


async def test_lists(either: Desk):
    made = await three(either)
    pages, cursor = [], {}
    for _ in range(3):
        page = await done(either.returns, "list_returns", limit=1, **cursor)
        pages += [row["return_id"] for row in page["returns"]]
        cursor = {"cursor": page["next_cursor"]} if "next_cursor" in page else {}
    assert pages == made
    assert cursor == {}
    await done(either.returns, "cancel_return", return_id=made[0], **either.key())
    assert (await done(either.returns, "list_returns"))["count"] == 2
    assert (await done(either.returns, "list_returns", open_only=False))["count"] == 3
    gone = await done(either.returns, "list_returns", state="cancelled")
    assert [row["return_id"] for row in gone["returns"]] == made[:1]
    row = (await done(either.returns, "list_returns"))["returns"][0]
    mine = await done(either.returns, "list_returns", order_id=row["order_id"])
    assert [each["return_id"] for each in mine["returns"]] == [row["return_id"]]
    await refused(either.returns, "list_returns", "invalid_parameters", cursor="nonsense")
    await refused(either.returns, "get_return", "not_found", return_id="ret_x")


async def test_resources_and_the_label(desk: Desk):
    made = await three(desk)

    async def read(uri: str) -> str:
        return (await desk.returns.read_resource(uri)).contents[0].text

    assert json.loads(await read(f"returns://return/{made[0]}"))["state"] == "requested"
    assert json.loads(await read("returns://open"))["count"] == 3
    with pytest.raises(MCPError, match="no label"):
        await read(f"returns://return/{made[0]}/label")
    rma = await done(desk.returns, "authorize_return", return_id=made[0], **desk.key())
    label = await read(f"returns://return/{made[0]}/label")
    assert label.startswith("<svg")
    assert rma["label_code"] in label


async def test_prompt_and_completions(desk: Desk):
    made = await three(desk)
    prompt = await desk.returns.get_prompt("returns_desk", {"state": "received"})
    text = prompt.messages[0].content.text
    assert "(received)" in text
    assert text.endswith("ask the person which steps to take.")
    states = await desk.returns.complete(
        PromptReference(name="returns_desk"), {"name": "state", "value": "rec"}
    )
    assert states.completion.values == ["received"]
    known = await desk.returns.complete(
        ResourceTemplateReference(uri="returns://return/{return_id}"),
        {"name": "return_id", "value": made[1]},
    )
    assert known.completion.values == [made[1]]


async def test_retries_with_the_same_key_change_nothing(desk: Desk):
    order = await a_delivered_order(desk, (SHIRT_S, 1))
    ask = {"order_id": order["order_id"], **desk.key()}
    first = await done(desk.returns, "request_return", **ask)
    before = await desk.picture()
    again = await done(desk.returns, "request_return", **ask)
    assert again.pop("replayed") is True
    assert again == first
    assert await desk.picture() == before


async def test_two_desks_at_the_same_moment(either: Desk):
    order = await a_delivered_order(either, (SHIRT_S, 1))
    ask = {"order_id": order["order_id"]}
    answers = await asyncio.gather(
        *(call(either.returns, "request_return", **ask, **either.key()) for _ in range(3))
    )
    assert sorted(answer.get("code", "") for answer in answers) == ["", *["rule_violation"] * 2]
    rma = next(answer for answer in answers if "code" not in answer)
    ask = {"return_id": rma["return_id"]}
    await done(either.returns, "authorize_return", **ask, **either.key())
    unit = {"line_id": rma["lines"][0]["line_id"], "quantity": 1}
    await done(either.returns, "receive_return", lines=[unit], **ask, **either.key())
    found = unit | {"grade": "A", "condition": "opened", "disposition": "restock"}
    await done(either.returns, "inspect_return", lines=[found], **ask, **either.key())
    answers = await asyncio.gather(
        *(call(either.returns, "settle_return", **ask, **either.key()) for _ in range(3))
    )
    assert [a.get("code", "") for a in answers].count("") == 1
    assert await either.net_paid(order["order_id"]) == {}
