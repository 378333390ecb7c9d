"""Every request of the shopping assistant's document, sent as it stands there, over real stdio.

docs/storefront.md says for each what it gets, and why some of it is another thing today.
"""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from common.call import Call
from common.rules import stock
from common.settings import inherited
from common.tables.inventory import Product, Variant, Warehouse
from tests.support.shop import a_shop, do

ROOT = Path(__file__).parents[2]
SOLD = (
    ("FS-1", "Fjallraven - Foldsack No. 1 Backpack", "men's clothing", 10995,
     "Your perfect pack for everyday use"),
    ("FS-3", "Mens Cotton Jacket", "men's clothing", 5599,
     "Great outerwear for spring and fall"),
    ("FS-5", "Dragon Station Chain Bracelet", "jewelery", 69500, ""),
    ("FS-9", "External Hard Drive", "electronics", 6400, ""),
    ("FS-18", "Boat Neck V", "women's clothing", 985, ""),
)  # fmt: skip
HELLO = {
    "jsonrpc": "2.0", "id": "init-1", "method": "initialize",
    "params": {
        "protocolVersion": "2024-11-05", "capabilities": {"tools": {}, "resources": {}},
        "clientInfo": {"name": "shopping-client", "version": "1.0.0"},
    },
}  # fmt: skip


def call(id: str, name: str, **arguments: Any) -> dict[str, Any]:
    return {
        "jsonrpc": "2.0", "id": id, "method": "tools/call",
        "params": {"name": name, "arguments": arguments},
    }  # fmt: skip


def read(id: str, uri: str) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": id, "method": "resources/read", "params": {"uri": uri}}


REQUESTS: dict[str, dict[str, Any]] = {
    "tools-1": {"jsonrpc": "2.0", "id": "tools-1", "method": "tools/list"},
    "search-1": call(
        "search-1", "search_products", query="jacket", category="men's clothing", limit=5
    ),
    "add-1": call("add-1", "add_to_cart", product_name="Mens Cotton Jacket", quantity=2),
    "cart-1": call("cart-1", "get_cart", cart_id=123),
    "remove-1": call(
        "remove-1", "remove_from_cart", product_name="Mens Cotton Jacket", cart_id=123, quantity=1
    ),
    "categories-1": call("categories-1", "get_categories"),
    "resources-1": {"jsonrpc": "2.0", "id": "resources-1", "method": "resources/list"},
    "read-1": read("read-1", "shopping://products"),
    "read-2": read("read-2", "shopping://cart/1"),
    # What its errors are told of.
    "unknown": call("unknown", "add_to_cart", product_name="Red T-Shirt", quantity=1),
    "negative": call("negative", "add_to_cart", product_name="Mens Cotton Jacket", quantity=-1),
    "no-cart": call("no-cart", "get_cart", cart_id="crt_" + "0" * 26),
    "no-tool": call("no-tool", "shopping_set_user_context"),
    "no-method": {"jsonrpc": "2.0", "id": "no-method", "method": "shopping/set_user_context"},
}  # fmt: skip


def goods(call: Call) -> None:
    call.add(Warehouse(id="WH-1", name="Main", region="", address={}))
    for sku, name, category, price, told in SOLD:
        call.add(Product(id=f"P-{sku}", name=name, category=category, description=told))
        call.add(
            Variant(id=sku, product_id=f"P-{sku}", name=name, price_minor=price, currency="USD")
        )
        stock.receive(call, sku, "WH-1", 10, "seed")


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What a server over stdio answers to all of them, by id."""
    return asyncio.run(_asked(tmp_path_factory.mktemp("document")))


async def _asked(home: Path) -> dict[str, dict[str, Any]]:
    async with a_shop(home) as shop:
        await do(shop, "*", goods)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "servers", "storefront", cwd=ROOT,
        env=inherited(SHOP_HOME=str(home)),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL, limit=2**20,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    found: dict[str, dict[str, Any]] = {}

    async def send(message: dict[str, Any]) -> None:
        assert process.stdin is not None
        process.stdin.write(json.dumps(message).encode() + b"\n")
        await process.stdin.drain()

    async def ask(message: dict[str, Any]) -> dict[str, Any]:
        await send(message)
        assert process.stdout is not None
        while True:
            line = await asyncio.wait_for(process.stdout.readline(), 60)
            said: dict[str, Any] = json.loads(line)
            if said.get("id") == message["id"]:
                return said

    found["init-1"] = await ask(HELLO)
    await send({"jsonrpc": "2.0", "method": "notifications/initialized"})
    for id, message in REQUESTS.items():
        found[id] = await ask(message)
    cart = found["add-1"]["result"]["structuredContent"]["cart_id"]
    for id, message in (
        ("cart-2", call("cart-2", "get_cart", cart_id=cart)),
        ("remove-2", call("remove-2", "remove_from_cart", product_name="Mens Cotton Jacket",
                          cart_id=cart, quantity=1)),
    ):  # fmt: skip
        found[id] = await ask(message)
    process.stdin.close()
    await asyncio.wait_for(process.wait(), 60)
    return found


def structured(answer: dict[str, Any]) -> dict[str, Any]:
    result = answer["result"]
    copy = json.loads(result["content"][0]["text"])
    assert copy == result["structuredContent"], "the text stands alone"
    return dict(result["structuredContent"])


def test_initialize(answers: dict[str, Any]) -> None:
    result = answers["init-1"]["result"]
    assert result["protocolVersion"] == "2024-11-05"
    assert "tools" in result["capabilities"]
    assert "resources" in result["capabilities"]
    assert result["serverInfo"]["name"] == "shop-storefront"


def test_tools(answers: dict[str, Any]) -> None:
    listed = {tool["name"]: tool for tool in answers["tools-1"]["result"]["tools"]}
    promised = {
        "search_products": ({"query", "category", "limit"}, {"query"}),
        "add_to_cart": ({"product_name", "quantity", "cart_id"}, {"product_name", "quantity"}),
        "remove_from_cart": (
            {"product_name", "cart_id", "quantity"}, {"product_name", "cart_id"}
        ),
        "get_cart": ({"cart_id"}, {"cart_id"}),
        "get_categories": (set(), set()),
    }  # fmt: skip
    for name, (arguments, required) in promised.items():
        schema = listed[name]["inputSchema"]
        assert arguments <= set(schema["properties"]), name
        assert set(schema.get("required", [])) == required, name
    assert listed["search_products"]["inputSchema"]["properties"]["limit"]["default"] == 20


def test_search(answers: dict[str, Any]) -> None:
    found = structured(answers["search-1"])
    assert found["products"][0]["name"] == "Mens Cotton Jacket"
    assert found["products"][0]["price"] == "55.99 USD"
    assert found["products"][0]["description"].startswith("Great outerwear")
    assert not answers["search-1"]["result"].get("isError")


def test_add(answers: dict[str, Any]) -> None:
    cart = structured(answers["add-1"])
    assert cart["units"] == 2
    assert cart["subtotal"] == "111.98 USD"
    assert cart["items"][0]["price_minor"] == 5599
    assert answers["add-1"]["result"]["_meta"]["widgetSessionId"]


def test_cart_ids_are_handles(answers: dict[str, Any]) -> None:
    """A number that others can count up to opens no cart: the field is named, its value told."""
    for id in ("cart-1", "remove-1"):
        assert answers[id]["result"]["isError"]
        refusal = structured(answers[id])
        assert refusal["code"] == "invalid_parameters"
        assert refusal["details"]["problems"][0]["field"] == "cart_id"
        assert refusal["details"]["problems"][0]["value"] == 123
    assert structured(answers["cart-2"])["subtotal"] == "111.98 USD"
    left = structured(answers["remove-2"])
    assert left["units"] == 1
    assert left["subtotal"] == "55.99 USD"


def test_categories(answers: dict[str, Any]) -> None:
    names = [each["category"] for each in structured(answers["categories-1"])["categories"]]
    assert names == ["electronics", "jewelery", "men's clothing", "women's clothing"]


def test_resources(answers: dict[str, Any]) -> None:
    listed = {each["uri"] for each in answers["resources-1"]["result"]["resources"]}
    shown = {uri for uri in listed if not uri.startswith("ui://")}
    assert shown == {"shopping://products", "shopping://categories"}  # the cart is a template
    content = answers["read-1"]["result"]["contents"][0]
    assert content["mimeType"] == "application/json"
    assert len(json.loads(content["text"])["products"]) == len(SOLD)


def test_nobody_elses_cart_by_number(answers: dict[str, Any]) -> None:
    error = answers["read-2"]["error"]
    assert error["code"] == -32602
    assert error["data"]["code"] == "not_found"


def test_errors(answers: dict[str, Any]) -> None:
    unknown = structured(answers["unknown"])
    assert unknown["code"] == "product_not_found"
    assert unknown["details"]["searched"] == "Red T-Shirt"
    assert unknown["details"]["suggestion"]
    negative = structured(answers["negative"])
    assert negative["code"] == "invalid_parameters"
    problem = negative["details"]["problems"][0]
    assert (problem["field"], problem["value"]) == ("quantity", -1)
    assert problem["requirement"]
    assert structured(answers["no-cart"])["code"] == "cart_not_found"
    assert answers["no-tool"]["error"]["code"] == -32602
    assert answers["no-method"]["error"]["code"] == -32601
