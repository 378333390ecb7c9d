"""The shopper's scene: a few words, a cart, a quote, and an order the operators see at once."""

import asyncio
from typing import Any

from clients.demo.stage import SHOPPER, DemoFailed, Stage

LOOKS, WAIT_S = 100, 0.1


async def buys(stage: Stage) -> None:
    """Typos forgiven, nothing guessed, nothing bought but what was shown."""
    stage.act("A shopper, on the other side of the counter")
    found = await stage.do("storefront", "search_products", query="mugg", limit=3)
    names = ", ".join(f"{p['name']} ({p['price']})" for p in found["products"])
    stage.person(f"{SHOPPER} looks for a “mugg”: {names}")
    first = found["products"][0]
    cart = await stage.do("storefront", "add_to_cart", product_name=first["sku"], quantity=2)
    stage.server(f"cart: 2 × {first['name']}, {cart['subtotal']}")
    with_it = await stage.do("storefront", "get_recommendations", skus=[first["sku"]], limit=1)
    for each in with_it["products"]:
        stage.server(f"{each['name']}: {each['why']}")
    quote = await _quoted(stage, cart["cart_id"])
    stage.server(f"quote: {quote['total']} with shipping; nothing is reserved yet")
    wanted: dict[str, Any] = {
        "cart_id": cart["cart_id"], "quote_id": quote["quote_id"],
        "agreed_total_minor": quote["total_minor"],
        "payment_method_id": quote["payment_methods"][0]["payment_method_id"],
    }  # fmt: skip
    stage.agent("tries to buy for a cent less")
    await stage.refused(
        "storefront", "checkout", **(wanted | {"agreed_total_minor": quote["total_minor"] - 1})
    )
    stage.person(f"agrees to {quote['total']}")
    bought = await stage.do("storefront", "checkout", **wanted)
    for _ in range(LOOKS):
        if bought["status"] != "complete_in_progress":
            break
        await asyncio.sleep(WAIT_S)
        bought = await stage.do("storefront", "checkout", **wanted)
    if bought["status"] != "completed" or bought["total_minor"] != quote["total_minor"]:
        raise DemoFailed(f"the shopper did not get what was agreed: {bought}")
    order = await stage.do("orders", "get_order", order_id=bought["order_id"])
    stage.server(f"the operators' order {order['order_id']}: {order['status']}, {order['total']}")


async def _quoted(stage: Stage, cart_id: str) -> dict[str, Any]:
    said: dict[str, Any] = {
        "cart_id": cart_id, "recipient": "A. Shopper",
        "ship_to": {
            "line1": "Lindenweg 4", "city": "Bonn", "postal_code": "53111", "country": "DE"
        },
    }  # fmt: skip
    offered = await stage.do("storefront", "prepare_checkout", **said)
    options = offered["shipping_options"]
    stage.server("; ".join(f"{option['name']}, by {option['arrives_by']}" for option in options))
    chosen = options[0]["shipping_service"]
    return await stage.do(
        "storefront", "prepare_checkout", cart_id=cart_id, shipping_service=chosen
    )
