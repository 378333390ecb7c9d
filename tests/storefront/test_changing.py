"""What one order can have, and what changes between looking and buying."""

from datetime import timedelta

from sqlalchemy import select

from common.call import Call
from common.rules import stock
from common.shop import Shop
from common.tables.inventory import Lot, Product, Variant, Warehouse
from common.tables.payments import PaymentMethod
from common.tables.storefront import Checkout, Promotion
from servers.storefront.tools import tools
from tests.storefront.shoppers import (
    ADDRESS,
    agreed,
    customer,
    filled,
    guest,
    member,
    quoted,
    worker,
    world,
)
from tests.support.shop import START, connected, do, done, look, refused


def houses(call: Call) -> None:
    """Expired saffron in the first house, two lots in the second; tomatoes in three, one closed."""
    call.add(Warehouse(id="WH-2", name="Two", region="north", address={}))
    call.add(Warehouse(id="WH-9", name="Closed", region="north", address={}, active=False))
    call.get(Variant, "OUT-1").lot_tracked = True
    for code, house, units, days in (
        ("old", "WH-1", 50, -3), ("a", "WH-2", 3, 9), ("b", "WH-2", 4, 19),
    ):  # fmt: skip
        day = (START + timedelta(days=days)).date()
        id = f"lot_{code}"
        call.add(Lot(id=id, sku="OUT-1", code=code, expires_on=day, received_at=call.now))
        stock.receive(call, "OUT-1", house, units, "seed", lot=id)
    stock.receive(call, "TOM-1", "WH-2", 2, "seed")
    stock.receive(call, "TOM-1", "WH-9", 7, "seed")


async def test_offered_is_what_an_order_can_have(either: Shop) -> None:
    """Neither expired lots nor closed houses nor units of several houses or lots together."""
    await do(either, "*", world)
    await do(either, "*", houses)
    async with connected(either, tools, who=member()) as client:
        for sku, most in (("OUT-1", 4), ("TOM-1", 2)):
            told = await refused(
                client, "add_to_cart", "cart_operation_failed", product_name=sku, quantity=5
            )
            assert told["details"]["available"] == most
        cart = await filled(client, ("OUT-1", 4), ("TOM-1", 2))
        bought = await agreed(client, await quoted(client, cart), "pm-lea")
        assert bought["status"] == "complete_in_progress", bought


async def test_a_lot_that_expires_in_the_cart(shop: Shop) -> None:
    await do(shop, "*", world)
    await do(shop, "*", houses)
    async with connected(shop, tools, who=member()) as client:
        cart = await filled(client, ("OUT-1", 3))
        shop.guard.clock.forward(days=20)  # type: ignore[attr-defined]
        shown = await done(client, "get_cart", cart_id=cart)
        assert shown["items"][0]["available"] == 0
        found = await done(client, "search_products", query="OUT-1")
        assert not found["products"][0]["in_stock"]


async def test_a_price_stays_marked_until_it_is_quoted(shop: Shop) -> None:
    """Adding another one does not hide that the price went up."""
    await do(shop, "*", world)
    async with connected(shop, tools, who=member()) as client:
        cart = await filled(client, ("AVO-1", 1))

        def dearer(call: Call) -> None:
            call.get(Variant, "AVO-1").price_minor = 150

        await do(shop, "*", dearer)
        more = await done(client, "add_to_cart", product_name="AVO-1", quantity=1, cart_id=cart)
        assert (more["items"][0]["price_minor"], more["items"][0]["price_was_minor"]) == (150, 120)
        await quoted(client, cart)
        shown = await done(client, "get_cart", cart_id=cart)
        assert "price_was_minor" not in shown["items"][0]


async def test_a_product_taken_off_the_shelves(shop: Shop) -> None:
    await do(shop, "*", world)
    async with connected(shop, tools, who=member()) as client:
        cart = await filled(client, ("AVO-1", 1))

        def off(call: Call) -> None:
            call.get(Product, "P-AVO-1").active = False

        await do(shop, "*", off)
        told = await refused(client, "prepare_checkout", "cart_operation_failed", cart_id=cart)
        assert told["details"] == {"skus": ["AVO-1"]}


async def test_no_carrier_asks_for_this_currency(shop: Shop) -> None:
    """It is said, instead of asking for a service that there is none of."""
    await do(shop, "*", world)

    def dollars(call: Call) -> None:
        call.get(Variant, "AVO-1").currency = "USD"

    await do(shop, "*", dollars)
    async with connected(shop, tools, who=member()) as client:
        cart = await filled(client, ("AVO-1", 1))
        told = await refused(
            client, "prepare_checkout", "cart_operation_failed", cart_id=cart, ship_to=ADDRESS
        )
        assert "USD" in told["message"]


async def test_a_refused_renewal_leaves_the_year_that_runs(either: Shop) -> None:
    """It was paid for. Afterwards it ends as it would have."""
    await do(either, "*", world)

    def another_card(call: Call) -> None:
        customer(call, "poor", "tok_declined")
        call.get(PaymentMethod, "pm-poor").customer_id = "cus-lea"

    await do(either, "*", another_card)
    wanted = {"tier": "gold", "agreed_fee_minor": 4900}
    async with connected(either, tools, who=member()) as client:
        await done(client, "join_membership", **wanted, payment_method_id="pm-lea")
        await worker(either).drain()
        first = await done(client, "check_membership")
        either.guard.clock.forward(days=350)  # type: ignore[attr-defined]
        asked = await done(client, "join_membership", **wanted, payment_method_id="pm-poor")
        assert asked["member"]
        await worker(either).drain()
        await either.housekeeping.once()
        now = await done(client, "check_membership")
        assert (now["member"], now["renews_at"]) == (True, first["renews_at"])
        either.guard.clock.forward(days=15)  # type: ignore[attr-defined]
        assert not (await done(client, "check_membership"))["member"]


async def test_a_code_with_nothing_left_is_not_used(shop: Shop) -> None:
    """It is said, and the one use it has stays for another day."""
    await do(shop, "*", world)

    def more(call: Call) -> None:
        wide = {"currency": "EUR", "stackable": True}
        call.add(Promotion(id="OFF9", name="9 off", kind="amount", value=900, **wide))
        call.get(Promotion, "LAST").stackable = True

    await do(shop, "*", more)
    async with connected(shop, tools, who=member()) as client:
        quote = await quoted(
            client, await filled(client, ("AVO-1", 1)),
            promotion_codes=["OFF9", "LAST", "SHIPFREE"],
        )  # fmt: skip
        assert [each["code"] for each in quote["discounts"]] == ["OFF9"]
        assert [(each["code"], each["why"]) for each in quote["rejected_codes"]] == [
            ("LAST", "nothing_left")
        ]
        assert (await agreed(client, quote, "pm-lea"))["status"] == "completed"
        again = await quoted(client, await filled(client, ("AVO-1", 1)), promotion_codes=["LAST"])
        assert [each["code"] for each in again["discounts"]] == ["LAST"]


async def test_what_a_guest_said_comes_along(shop: Shop) -> None:
    """Also into the cart that the shopper has: nothing has to be said again."""
    await do(shop, "*", world)
    async with (
        connected(shop, tools, who=guest()) as stranger,
        connected(shop, tools, who=member()) as client,
    ):
        await filled(client, ("EGG-12", 1))
        cart = await filled(stranger, ("AVO-1", 1))
        await quoted(stranger, cart, promotion_codes=["TEN"])
        quote = await done(client, "prepare_checkout", cart_id=cart)
        assert (quote["missing"], len(quote["items"])) == ([], 2)
        assert quote["ship_to"]["line1"] == ADDRESS["line1"]
        assert [each["code"] for each in quote["discounts"]] == ["TEN"]


async def test_a_quote_lasts_no_longer_than_its_cart(shop: Shop) -> None:
    """A guest's is gone with the cart: it does not say that it were there half an hour."""
    await do(shop, "*", world)
    for who, minutes in ((guest(), 10), (member(), 30)):
        async with connected(shop, tools, who=who) as client:
            quote = await quoted(client, await filled(client, ("AVO-1", 1)))
            assert quote["expires_at"] == f"2026-11-02T09:{minutes}:00Z"


async def test_an_empty_cart_has_no_currency(shop: Shop) -> None:
    """What was taken out of it does not decide what may be put in, nor which cart comes along."""
    await do(shop, "*", world)

    def dollars(call: Call) -> None:
        call.get(Variant, "AVO-1").currency = "USD"

    await do(shop, "*", dollars)
    egg, avocado = {"product_name": "EGG-12"}, {"product_name": "AVO-1"}
    async with (
        connected(shop, tools, who=guest()) as stranger,
        connected(shop, tools, who=member()) as client,
    ):
        own = (await done(client, "add_to_cart", **egg, quantity=1))["cart_id"]
        await done(client, "prepare_checkout", cart_id=own)
        theirs = await filled(stranger, ("AVO-1", 1))
        for refusal in (
            await refused(client, "add_to_cart", "cart_operation_failed", **avocado, quantity=1),
            await refused(client, "prepare_checkout", "cart_operation_failed", cart_id=theirs),
        ):
            assert "empty" in refusal["next"]
        await done(client, "remove_from_cart", **egg, cart_id=own)
        cart = await done(client, "add_to_cart", **avocado, quantity=1)
        assert (cart["cart_id"], cart["currency"]) == (own, "USD")
        await done(client, "remove_from_cart", **avocado, cart_id=own)
        await done(client, "add_to_cart", **egg, quantity=1)
        await done(client, "remove_from_cart", **egg, cart_id=own)
        quote = await done(client, "prepare_checkout", cart_id=theirs)
        assert (quote["currency"], quote["total"]) == ("USD", "1.20 USD")
    written = await look(shop, lambda session: list(session.scalars(select(Checkout.currency))))
    assert written == ["USD"]
