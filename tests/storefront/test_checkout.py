"""From a cart to an order: what was shown is what is bought, or nothing is."""

from typing import Any

import pytest
from sqlalchemy import func, select

from common.call import Call
from common.rules.reserving import OPEN
from common.shop import Shop
from common.shoppers import local_shopper
from common.tables.inventory import Reservation, Variant
from common.tables.orders import Order, OrderAdjustment, OrderLine
from common.tables.payments import Payment
from common.tables.storefront import Cart, Checkout, PromotionUse
from servers.orders.tools import tools as orders
from servers.storefront.tools import tools
from tests.storefront.shoppers import (
    ADDRESS,
    agreed,
    filled,
    guest,
    member,
    nothing_stranded,
    quoted,
    worker,
    world,
)
from tests.support.shop import connected, do, done, look, refused


@pytest.fixture
async def open_shop(either: Shop) -> Shop:
    await do(either, "*", world)
    return either


async def test_bought_as_agreed(open_shop: Shop) -> None:
    """Quote, payment by the worker, order; the operators see the same order."""
    shop = open_shop
    async with connected(shop, tools, who=member()) as client:
        cart = await filled(client, ("avocado", 3), ("Whole milk 1 l", 2))
        first = await done(client, "prepare_checkout", cart_id=cart)
        assert first["status"] == "incomplete"
        assert set(first["missing"]) == {"ship_to", "recipient", "shipping_service"}
        quote = await quoted(client, cart, promotion_codes=["ten", "nonsense", "BIG"])
        assert quote["status"] == "ready_for_complete"
        assert {r["code"]: r["why"] for r in quote["rejected_codes"]} == {
            "NONSENSE": "unknown", "BIG": "below_minimum"
        }  # fmt: skip
        goods = 3 * 120 + 2 * 149
        assert quote["subtotal_minor"] == goods
        assert [d["amount_minor"] for d in quote["discounts"]] == [(goods + 5) // 10]
        assert quote["total_minor"] == goods - (goods + 5) // 10 + 490
        assert sum(i["total_minor"] for i in quote["items"]) == goods - (goods + 5) // 10
        assert quote["taxes"][0]["included"]
        waiting = await agreed(client, quote, "pm-lea")
        assert waiting["status"] == "complete_in_progress", waiting
        await refused(
            client, "add_to_cart", "cart_operation_failed", product_name="avocado", quantity=1
        )
        await nothing_stranded(shop)
        await worker(shop).drain()
        bought = await agreed(client, quote, "pm-lea")
        assert bought["status"] == "completed", bought
        assert bought["total_minor"] == quote["total_minor"]
        again = await agreed(client, quote, "pm-lea", idempotency_key="another-key")
        assert again["order_id"] == bought["order_id"]
        status = await done(client, "get_order_status", order_id=bought["order_id"])
        assert status["payment_status"] == "authorized"
    await nothing_stranded(shop)
    async with connected(shop, orders) as operator:
        order = await done(operator, "get_order", order_id=bought["order_id"])
    assert "Bonn" in str(order)
    assert await look(shop, lambda s: s.scalar(select(func.count()).select_from(Order))) == 1

    def adds_up(session: Any) -> None:
        order = session.get(Order, bought["order_id"])
        lines = session.scalars(select(OrderLine).where(OrderLine.order_id == order.id)).all()
        rows = session.scalars(
            select(OrderAdjustment).where(OrderAdjustment.order_id == order.id)
        ).all()
        assert order.total_minor == quote["total_minor"]
        assert sum(r.amount_minor for r in rows if r.kind == "discount") == -order.discount_minor
        assert sum(line.discount_minor for line in lines) == order.discount_minor
        assert session.scalar(select(func.count()).select_from(PromotionUse)) == 1

    await look(shop, adds_up)


@pytest.mark.parametrize(
    ("who", "state", "failure"),
    [
        ("tok_declined", "ready_for_complete", "card_declined"),
        ("tok_async", "expired", "timed_out"),
    ],
)
async def test_undone(open_shop: Shop, who: str, state: str, failure: str) -> None:
    """A refused payment, and one that is never answered: goods and money are let go."""
    shop = open_shop
    async with connected(shop, tools, who=member(who)) as client:
        cart = await filled(client, ("avocado", 20))
        quote = await quoted(client, cart)
        assert (await agreed(client, quote, f"pm-{who}"))["status"] == "complete_in_progress"
        full = await done(client, "search_products", query="avocado")
        assert not full["products"][0]["in_stock"]
        await worker(shop).drain()
        shop.guard.clock.forward(minutes=16)  # type: ignore[attr-defined]
        await shop.housekeeping.once()
        await worker(shop).drain()
        checkout = await look(shop, lambda s: s.scalars(select(Checkout)).one())
        assert (checkout.state, checkout.failure_code) == (state, failure)
        assert (await done(client, "search_products", query="avocado"))["products"][0]["in_stock"]
        view = await done(client, "get_cart", cart_id=cart)
        assert view["units"] == 20
        assert "being_paid" not in view
    await nothing_stranded(shop)
    assert await look(shop, lambda s: s.scalar(select(func.count()).select_from(Order))) == 0


async def test_units_held_too_long_are_not_sold_twice(open_shop: Shop) -> None:
    """The first buyer's time runs out before the card is answered; the second takes the units."""
    shop = open_shop
    async with (
        connected(shop, tools, who=member("lea")) as first,
        connected(shop, tools, who=member("max")) as second,
    ):
        late = await quoted(first, await filled(first, ("avocado", 20)))
        assert (await agreed(first, late, "pm-lea"))["status"] == "complete_in_progress"
        full = await done(second, "search_products", query="avocado")
        assert not full["products"][0]["in_stock"]
        shop.guard.clock.forward(minutes=16)  # type: ignore[attr-defined]
        quote = await quoted(second, await filled(second, ("avocado", 20)))
        assert (await agreed(second, quote, "pm-max"))["status"] == "complete_in_progress"
        await worker(shop).drain()
        bought = await agreed(second, quote, "pm-max")
        assert bought["status"] == "completed", bought
        answer = await agreed(first, late, "pm-lea")
        assert (answer["status"], answer["failure"]) == ("expired", "timed_out"), answer
        assert "order_id" not in answer
        assert not (await done(first, "get_account_status"))["orders"]
    await worker(shop).drain()
    await nothing_stranded(shop)

    def sold_once(session: Any) -> None:
        units = select(func.sum(OrderLine.quantity)).where(OrderLine.sku == "AVO-1")
        assert session.scalar(units) == 20
        held = select(func.sum(Reservation.quantity)).where(Reservation.state.in_(OPEN))
        assert session.scalar(held) == 20
        states = session.scalars(select(Checkout.state).order_by(Checkout.customer_id)).all()
        assert states == ["expired", "completed"]
        payments = session.scalars(select(Payment.status).order_by(Payment.customer_id)).all()
        assert payments == ["voided", "authorized"]

    await look(shop, sold_once)


@pytest.mark.parametrize("who", ["tok_timeout_done", "tok_timeout_lost"])
async def test_an_unknown_outcome_is_asked_about(open_shop: Shop, who: str) -> None:
    shop = open_shop
    at_work = worker(shop)
    async with connected(shop, tools, who=member(who)) as client:
        quote = await quoted(client, await filled(client, ("avocado", 1)))
        await agreed(client, quote, f"pm-{who}")
        await at_work.drain()
        assert (await agreed(client, quote, f"pm-{who}"))["status"] == "complete_in_progress"
        shop.guard.clock.forward(minutes=1)  # type: ignore[attr-defined]
        await at_work.drain()
        await shop.housekeeping.once()
        status = await done(client, "get_account_status")
        assert len(status["orders"]) == 1
    await nothing_stranded(shop)


async def test_nothing_but_the_quote(open_shop: Shop) -> None:
    """Another total, another quote, a dearer product, fewer units, somebody else's card."""
    shop = open_shop
    async with connected(shop, tools, who=member()) as client:
        cart = await filled(client, ("avocado", 2), ("tomatoes on the vine", 2))
        quote = await quoted(client, cart)
        for wrong in (
            {"agreed_total_minor": quote["total_minor"] - 1},
            {"agreed_total_minor": quote["total_minor"] + 1},
            {"quote_id": "q" + "0" * 16},
        ):
            answer = await agreed(client, quote, "pm-lea", **wrong)
            assert answer["code"] == "cart_operation_failed", answer
        assert (await agreed(client, quote, "pm-eve"))["code"] == "not_found"
        assert (await agreed(client, quote, "pm-nobody"))["code"] == "not_found"

        def dearer(call: Call) -> None:
            call.get(Variant, "AVO-1").price_minor = 121

        await do(shop, "inventory", dearer)
        answer = await agreed(client, quote, "pm-lea")
        assert answer["code"] == "cart_operation_failed"
        assert answer["details"]["total_minor"] == quote["total_minor"] + 2
        view = await done(client, "get_cart", cart_id=cart)
        assert view["items"][0]["price_was_minor"] == 120
        fresh = await quoted(client, cart)
        async with connected(shop, tools, who=member("max")) as other:
            theirs = await quoted(other, await filled(other, ("tomatoes on the vine", 2)))
            taken = await agreed(other, theirs, "pm-max")
            assert taken["status"] == "complete_in_progress"
        gone = await agreed(client, fresh, "pm-lea")
        assert gone["code"] == "cart_operation_failed"
    await nothing_stranded(shop)
    paid = await look(shop, lambda s: s.scalar(select(func.count()).select_from(Payment)))
    assert paid == 1


async def test_guests_quote_and_sign_in_to_buy(open_shop: Shop) -> None:
    """A guest's cart comes along when the shopper signs in, once."""
    shop = open_shop
    async with connected(shop, tools, who=guest()) as client:
        cart = await filled(client, ("avocado", 2))
        quote = await quoted(client, cart)
        assert quote["payment_methods"] == []
        answer = await agreed(client, quote, "pm-lea")
        assert answer["code"] == "insufficient_scope"
        status = await done(client, "get_account_status")
        assert not status["signed_in"]
        assert "password" in status["how_to_sign_in"]
    async with connected(shop, tools, who=member()) as client:
        mine = await quoted(client, cart)
        assert mine["cart_id"] != cart
        assert [m["payment_method_id"] for m in mine["payment_methods"]] == ["pm-lea"]
        assert (await agreed(client, mine, "pm-lea"))["status"] == "complete_in_progress"
        view = await done(client, "get_cart", cart_id=cart)
        assert view["cart_id"] == mine["cart_id"]
    for stranger in (guest(), guest("two"), member("eve")):
        async with connected(shop, tools, who=stranger) as client:
            await refused(client, "get_cart", "cart_not_found", cart_id=cart)
            await refused(client, "get_cart", "cart_not_found", cart_id=mine["cart_id"])


async def test_a_guests_cart_goes_into_ones_own(open_shop: Shop) -> None:
    shop = open_shop
    async with connected(shop, tools, who=member()) as client:
        own = await filled(client, ("avocado", 2), ("tomatoes on the vine", 2))
    async with connected(shop, tools, who=guest()) as client:
        theirs = await filled(client, ("avocado", 3), ("tomatoes on the vine", 1))
    async with connected(shop, tools, who=member()) as client:
        merged = await done(
            client, "add_to_cart", product_name="Whole milk 1 l", quantity=1, cart_id=theirs
        )
        assert merged["cart_id"] == own
        assert {i["sku"]: i["quantity"] for i in merged["items"]} == {
            "AVO-1": 5, "TOM-1": 2, "MILK-1": 1
        }  # fmt: skip
        again = await done(client, "get_cart", cart_id=theirs)
        assert again["units"] == 8
    async with connected(shop, tools, who=guest()) as client:
        await refused(client, "get_cart", "cart_not_found", cart_id=theirs)


async def test_combining_codes(open_shop: Shop) -> None:
    shop = open_shop
    async with connected(shop, tools, who=member()) as client:
        cart = await filled(client, ("avocado", 5), ("Whole milk 1 l", 5))
        alone = await quoted(client, cart, promotion_codes=["ALONE", "TEN"])
        assert [d["code"] for d in alone["discounts"]] == ["ALONE"]
        assert alone["rejected_codes"][0]["why"] == "not_combinable"
        both = await quoted(client, cart, promotion_codes=["DAIRY5", "TEN", "ALONE", "SHIPFREE"])
        assert [d["code"] for d in both["discounts"]] == ["DAIRY5", "TEN"]
        assert both["shipping_minor"] == 0
        assert both["discounts"][0]["amount_minor"] == 500
        express = await quoted(
            client, cart, promotion_codes=["SHIPFREE"], shipping_service="post:express"
        )
        assert express["shipping_minor"] == 1290
        gold = await quoted(client, cart, promotion_codes=["GOLDIES", "ONCE"])
        assert {r["code"]: r["why"] for r in gold["rejected_codes"]} == {"GOLDIES": "members_only"}
        await agreed(client, gold, "pm-lea")
        await worker(shop).drain()
        assert (await agreed(client, gold, "pm-lea"))["status"] == "completed"
        next_cart = await filled(client, ("avocado", 1))
        assert next_cart != cart
        once = await quoted(client, next_cart, promotion_codes=["ONCE"])
        assert once["rejected_codes"][0]["why"] == "used_already"
        free = await quoted(client, next_cart, promotion_codes=[])
        assert free["total_minor"] == 120 + 490


async def test_the_last_use_of_a_code(open_shop: Shop) -> None:
    """Two quotes with it; the first purchase takes it, an undone one gives it back."""
    shop = open_shop
    declined = member("tok_declined")
    async with (
        connected(shop, tools, who=declined) as one,
        connected(shop, tools, who=member("max")) as two,
    ):
        first = await quoted(one, await filled(one, ("avocado", 1)), promotion_codes=["LAST"])
        cart = await filled(two, ("avocado", 1))
        second = await quoted(two, cart, promotion_codes=["LAST"])
        await agreed(one, first, "pm-tok_declined")
        refusal = await agreed(two, second, "pm-max")
        assert refusal["code"] == "cart_operation_failed"
        await worker(shop).drain()
        await shop.housekeeping.once()
        second = await quoted(two, cart, promotion_codes=["LAST"])
        assert second["discounts"]
        taken = await agreed(two, second, "pm-max")
        assert taken["status"] == "complete_in_progress"


async def test_tax_on_top(open_shop: Shop) -> None:
    shop = open_shop
    place = {"line1": "1 Main St", "city": "Davis", "region": "CA", "country": "US"}
    async with connected(shop, tools, who=member()) as client:
        cart = await filled(client, ("avocado", 3))
        quote = await quoted(client, cart, ship_to=place)
        assert quote["tax_minor"] == (2 * 360 * 725 + 10_000) // 20_000
        assert quote["total_minor"] == 360 + 490 + quote["tax_minor"]
        await agreed(client, quote, "pm-lea")
        await worker(shop).drain()
        assert (await agreed(client, quote, "pm-lea"))["total_minor"] == quote["total_minor"]


async def test_carts_have_a_widget_session(open_shop: Shop) -> None:
    async with connected(open_shop, tools, who=member()) as client:
        added: Any = await client.call_tool(
            "add_to_cart", {"product_name": "avocado", "quantity": 1}
        )
        cart = added.structured_content["cart_id"]
        for tool, arguments in (
            ("get_cart", {"cart_id": cart}),
            ("prepare_checkout", {"cart_id": cart}),
            ("remove_from_cart", {"cart_id": cart, "product_name": "avocado"}),
        ):
            result: Any = await client.call_tool(tool, arguments)
            assert result.meta["widgetSessionId"] == added.meta["widgetSessionId"]
            assert "_meta" not in result.structured_content
            assert result.structured_content["items"] is not None
    assert (
        await look(open_shop, lambda s: s.scalar(select(Cart.id))) == added.meta["widgetSessionId"]
    )


async def test_the_confirmation_shows_what_was_agreed(open_shop: Shop) -> None:
    """Where to, how, each line, each discount, each tax: as the quote said."""
    async with connected(open_shop, tools, who=member()) as client:
        cart = await filled(client, ("Eggs, dozen, free range", 3))
        quote = await quoted(client, cart, promotion_codes=["TEN"])
        assert quote["ship_to"] == ADDRESS | {"recipient": "Lea Test"}
        await agreed(client, quote, "pm-lea")
        await worker(open_shop).drain()
        bought = await agreed(client, quote, "pm-lea")
        assert bought["status"] == "completed"
        chosen = next(each for each in quote["shipping_options"] if each["chosen"])
        assert bought["shipping"] == chosen["name"]
        for name in ("ship_to", "items", "subtotal_minor", "discounts", "shipping_minor", "taxes",
                     "total_minor", "currency"):  # fmt: skip
            assert bought[name] == quote[name], name
        shown = await done(client, "get_order_status", order_id=bought["order_id"])
        assert shown["discounts"] == quote["discounts"] != []


async def test_an_order_by_phone_is_told_to_its_shopper_alone(open_shop: Shop) -> None:
    async with connected(open_shop, tools, who=member()) as client:
        cart = await filled(client, ("avocado", 3))
        sku = (await done(client, "get_cart", cart_id=cart))["items"][0]["sku"]
    asked = {
        "customer_id": "cus-lea", "payment_method_id": "pm-lea", "shipping_minor": 490,
        "lines": [{"sku": sku, "quantity": 3}],
    }  # fmt: skip
    async with connected(open_shop, orders) as operator:
        order = await done(operator, "place_order", **asked)
        draft = await done(operator, "place_order", **asked, draft=True)
    async with connected(open_shop, tools, who=member()) as client:
        told = await done(client, "get_order_status", order_id=order["order_id"])
        assert (told["status"], told["order_status"]) == ("completed", "placed")
        assert (told["total_minor"], told["shipping_minor"]) == (3 * 120 + 490, 490)
        assert [(item["sku"], item["quantity"]) for item in told["items"]] == [(sku, 3)]
        assert told["ship_to"]["city"] == "Bonn"
        assert told["taxes"][0]["included"]
        assert "checkout_id" not in told
        await refused(client, "get_order_status", "not_found", order_id=draft["order_id"])
    for who in (member("max"), member("nobody-known")):
        async with connected(open_shop, tools, who=who) as client:
            await refused(client, "get_order_status", "not_found", order_id=order["order_id"])


async def test_over_stdio_nobody_is_sent_to_sign_in(open_shop: Shop) -> None:
    """There it is the configuration that says who shops."""
    one = local_shopper(open_shop.settings)
    async with connected(open_shop, tools, who=one) as client:
        status = await done(client, "get_account_status")
        assert not status["signed_in"]
        said = [status["how_to_sign_in"], (await done(client, "check_membership"))["note"]]
        refusal = await refused(client, "get_order_status", "not_authenticated", order_id="none")
        for words in (*said, refusal["next"]):
            assert "SHOP_CUSTOMER" in words
            assert "OAuth" not in words
    async with connected(open_shop, tools, who=guest()) as client:
        assert "OAuth" in (await done(client, "get_account_status"))["how_to_sign_in"]
