"""Every id argument of the six servers is completed, by prefix, for whoever may read there."""

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from mcp.types import PromptReference

from common.approvals.tools import offered_by
from common.server.completing import _DOCUMENTS, _STANDING, FOREIGN, _column, completing
from common.toolset import Toolset
from common.wire import ID_PATTERN
from servers.run import DOMAINS
from tests.payments.seed import ANA, charged, order, world
from tests.support.shop import a_shop, actor, call, connected, do

REFERENCE = PromptReference(type="ref/prompt", name="any")


def toolset_of(domain: str) -> Toolset:
    tools: Toolset = import_module(f"servers.{domain}.tools").tools
    return completing(offered_by(tools))


def ids_in(schema: Any, name: str = "") -> set[str]:
    """Names of the properties that are identifiers."""
    if isinstance(schema, list):
        return set().union(*(ids_in(item, name) for item in schema))
    if not isinstance(schema, dict):
        return set()
    found = (
        {name} if schema.get("pattern") == ID_PATTERN and schema.get("maxLength") == 64 else set()
    )
    for key, value in schema.items():
        if key in ("properties", "$defs"):
            for inner, each in value.items():
                found |= ids_in(each, inner)
        else:
            found |= ids_in(value, name)
    return found


@pytest.mark.parametrize("domain", [name for name in DOMAINS if name != "storefront"])
def test_every_id_argument_has_a_completer(domain: str):
    tools = toolset_of(domain)
    specs = [*tools.tools.values(), *tools.resources.values(), *tools.prompts.values()]
    named = set().union(*(ids_in(spec.arguments.model_json_schema()) for spec in specs))
    # A word that an outside system made, and approval_status's ``id``, which the state names.
    wanted = named - FOREIGN - {"id"}
    assert len(wanted) >= 5
    assert wanted - set(tools.completers) == set()


def test_every_named_column_is_there():
    for path in {path for paths in [*_DOCUMENTS.values(), *_STANDING.values()] for path in paths}:
        assert path == f"{_column(path).class_.__module__.split('.')[-1]}.{_column(path)}"


def test_a_shopper_completes_nobodys_ids():
    named = {"approval_id", "category", "user_id", "wish"}
    assert set(toolset_of("storefront").completers) == named


@pytest.mark.parametrize(
    ("domain", "argument", "prefix", "expected"),
    [
        ("payments", "customer_id", "cus-a", [ANA]),
        ("payments", "order_id", "ord-", ["ord-2", "ord-1"]),
        ("payments", "to_method_id", "gift", ["gift-ana", "gift-usd"]),
        ("orders", "line_id", "ord-2", ["ord-2-1"]),
        ("orders", "new_sku", "C", ["CUP"]),
        ("returns", "warehouse", "", ["WH-1"]),
        ("claims", "carrier_id", "po", ["post"]),
        ("inventory", "from_warehouse", "WH", ["WH-1"]),
        ("logistics", "order_id", "%", []),
    ],
)  # fmt: skip
async def test_by_prefix(
    tmp_path: Path, domain: str, argument: str, prefix: str, expected: list[str]
):
    async with a_shop(tmp_path) as shop:
        await do(shop, "*", lambda c: (world(c), order("ord-1")(c), order("ord-2")(c)))
        who = actor("reader@example.com", f"{domain}:read")
        tools = import_module(f"servers.{domain}.tools").tools
        async with connected(shop, tools, who=who) as client:
            found = await client.complete(REFERENCE, {"name": argument, "value": prefix})
        assert found.completion.values == expected
        async with connected(shop, tools, who=actor("x@example.com", "nothing:at_all")) as client:
            found = await client.complete(REFERENCE, {"name": argument, "value": prefix})
        assert found.completion.values == []


async def test_only_own_approvals(tmp_path: Path):
    async with a_shop(tmp_path) as shop:
        await do(shop, "*", lambda c: (world(c), charged()(c)))
        tools = import_module("servers.payments.tools").tools
        async with connected(shop, tools) as client:
            asked = await call(
                client, "refund_payment", payment_id="pay-1", amount_minor=9_000, currency="EUR",
                reason="return",
            )  # fmt: skip
            mine = await client.complete(REFERENCE, {"name": "approval_id", "value": "apr"})
            assert mine.completion.values == [asked["approval_id"]]
        async with connected(shop, tools, who=actor("ben@example.com")) as client:
            none = await client.complete(REFERENCE, {"name": "approval_id", "value": "apr"})
            assert none.completion.values == []
