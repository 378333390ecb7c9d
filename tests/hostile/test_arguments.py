"""Every tool of six servers, every argument, everything it must not be: refused in the one shape,
nothing changed, and on record. And by the tool's own schema: never a crash."""

from pathlib import Path
from random import Random
from typing import Any

import pytest
from mcp import MCPError

from common.errors import closed_codes
from tests.hostile.schemas import FLOOD, Maker, wrong
from tests.hostile.stand import SIX, Stand, every_tool, spec_of, standing
from tests.support.shop import Person

ROUNDS = 6
EVERYWHERE = {"idempotency_key", "approval_id", "cursor", "limit"}
CODES = set(closed_codes()) - {"internal_error"}
BAD_URIS = (
    "file:///etc/passwd", "http://169.254.169.254/latest", "{scheme}://../../etc/passwd",
    "{scheme}://order/%2e%2e%2fpasswd", "{scheme}://order/%00", "{scheme}://order/a%0d%0ab",
    "{scheme}://order/%ff", "{scheme}://order/a?approved=true", "{scheme}://", "x",
    "{scheme}://shipment/\u043erd", "{scheme}://warehouse/" + "a" * 5_000 + "/stock",
    "{scheme}://feed/demand?days=0", "{scheme}://feed/demand?days=1&days=2",
    "{scheme}://claim/%2525", "{scheme}://return/..%2f..%2flabel",
)  # fmt: skip


def refusal(answer: dict[str, Any], about: Any) -> None:
    assert answer.get("code") in CODES, (about, answer)
    assert set(answer) == {"code", "message", "details", "next"}, (about, answer)
    assert len(str(answer)) < 20_000, "a refusal repeats no flood"


@pytest.mark.slow
@pytest.mark.parametrize("domain", SIX)
async def test_what_an_argument_must_not_be(url: str, tmp_path: Path, domain: str):
    quick = url.startswith("sqlite")  # a look at every row takes PostgreSQL a second
    async with standing(url, tmp_path) as stand:
        first = before = await stand.harm()
        for number, (_, tool) in enumerate(t for t in every_tool() if t[0] == domain):
            maker = Maker(stand.ids, domain, Random(number))
            records, tried = await stand.refusals(), 0
            for name, value, arguments in attempts(maker, domain, tool, 6 if quick else 1):
                about = (tool, name, str(value)[:80])
                answer = await stand.call(domain, tool, arguments)
                refusal(answer, about)
                tried += 1
            before = await stand.harm() if quick else before
            assert before == first, tool
            assert await stand.refusals() == records + tried, f"{tool}: each is on record"
        assert await stand.harm() == first


def attempts(maker: Maker, domain: str, tool: str, most_each: int) -> Any:
    schema = spec_of(domain, tool).input_schema
    defs = schema.get("$defs", {})
    right = maker.group(schema, defs)
    yield "approved", True, right | {"approved": True}
    yield "dry_run", False, right | {"dry_run": False}
    for name in schema.get("required", ()):
        yield name, "left out", {key: value for key, value in right.items() if key != name}
    flooded = False
    for name, each in schema["properties"].items():
        values = list(wrong(name, each, defs))
        # Not all for each: the same types stand behind them, and the next tool draws others.
        most = min(2, most_each) if name in EVERYWHERE else most_each
        values = maker.random.sample(values, min(most, len(values)))
        for value in values:
            yield name, value, right | {name: value}
        if not flooded and each.get("type") == "string":
            flooded = True
            yield name, "a megabyte", right | {name: FLOOD}


@pytest.mark.slow
@pytest.mark.parametrize("domain", SIX)
async def test_by_their_own_schemas(url: str, tmp_path: Path, domain: str):
    """Random arguments around what the schema allows, on a shop full of rows: whatever a tool
    answers, it is no crash."""
    async with standing(url, tmp_path, person=Person()) as stand:
        done = 0
        for number, (_, tool) in enumerate(t for t in every_tool() if t[0] == domain):
            maker = Maker(stand.ids, domain, Random(1_000 + number))
            schema = spec_of(domain, tool).input_schema
            for _ in range(ROUNDS if url.startswith("sqlite") else ROUNDS // 2):
                arguments = maker.odd(schema, schema.get("$defs", {}))
                answer = await stand.call(domain, tool, arguments)
                if "code" in answer and "message" in answer:
                    refusal(answer, (tool, arguments))
                else:
                    done += 1
            stand.clock.forward(minutes=1)
        assert done > 0, "some of it was allowed, or this tests nothing"
        await ledgers_are_whole(stand)


async def ledgers_are_whole(stand: Stand) -> None:
    for currency in ("EUR", "USD"):
        answer = await stand.call("payments", "get_ledger", {"currency": currency})
        assert answer.get("balanced", True), answer


@pytest.mark.parametrize("domain", SIX)
async def test_addresses_of_nothing(url: str, tmp_path: Path, domain: str):
    async with standing(url, tmp_path) as stand:
        before = await stand.harm()
        for uri in BAD_URIS:
            with pytest.raises(MCPError) as refused:
                await stand.clients[domain].read_resource(uri.format(scheme=domain))
            assert refused.value.error.code == -32602, (uri, refused.value)
        assert await stand.harm() == before


@pytest.mark.parametrize("domain", SIX)
def test_no_argument_is_an_address_to_fetch(domain: str):
    for _, tool in (t for t in every_tool() if t[0] == domain):
        for name, schema in spec_of(domain, tool).input_schema["properties"].items():
            assert "url" not in name.split("_"), (tool, name)
            assert schema.get("format") not in ("uri", "url"), (tool, name)
