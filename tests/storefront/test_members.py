"""Members: tiers, points in double entry, a fee that is agreed, a year that ends."""

from typing import Any

import pytest
from mcp import Client
from sqlalchemy import select

from common.call import Call
from common.gateways.port import Outcome, State
from common.rules import members, paid
from common.rules.paid_answered import settle
from common.shop import Shop
from common.tables.payments import Outbox
from common.tables.spine import Account
from common.tables.storefront import Membership, MembershipTier, PointsAward
from servers.orders.changing import cancel
from servers.storefront.tools import tools
from tests.storefront.shoppers import (
    agreed,
    customer,
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


async def test_join_benefits_points(open_shop: Shop) -> None:
    """Joined for nothing, the discount applies; points come with the money and pay the next."""
    shop = open_shop
    async with connected(shop, tools, who=member()) as client:
        before = await done(client, "check_membership")
        assert not before["member"]
        assert [tier["tier"] for tier in before["tiers"]] == ["circle", "gold"]
        await refused(client, "join_membership", "not_found", tier="platinum", agreed_fee_minor=0)
        await refused(
            client, "join_membership", "invalid_parameters", tier="circle", agreed_fee_minor=1
        )
        joined = await done(client, "join_membership", tier="circle", agreed_fee_minor=0)
        assert joined["member"]
        cart = await filled(client, ("Eggs, dozen, free range", 5))
        quote = await quoted(client, cart)
        assert quote["discounts"][0]["code"] == "MEMBER"
        off = quote["discounts"][0]["amount_minor"]
        assert off == (2 * 5 * 399 * 500 + 10_000) // 20_000
        await agreed(client, quote, "pm-lea")
        await worker(shop).drain()
        bought = await agreed(client, quote, "pm-lea")
        await shop.housekeeping.once()  # nothing is paid yet, and nothing is given up
        waiting = await done(client, "check_membership")
        points = (5 * 399 - off) // 100
        assert (waiting["points"], waiting["pending_points"]) == (0, points)

        await captured(shop, bought["order_id"])
        await shop.housekeeping.once()
        await shop.housekeeping.once()
        earned = await done(client, "check_membership")
        assert (earned["points"], earned["pending_points"]) == (points, 0)

        again = await filled(client, ("avocado", 5))
        paid = await quoted(client, again, redeem_points=10_000)
        assert {d["code"]: d["amount_minor"] for d in paid["discounts"]}["POINTS"] == points
        await agreed(client, paid, "pm-lea")
        held = await done(client, "check_membership")
        assert held["points"] == 0
        await worker(shop).drain()
        assert (await agreed(client, paid, "pm-lea"))["status"] == "completed"
    await points_add_up(shop)


async def test_points_come_back_when_undone(open_shop: Shop) -> None:
    shop = open_shop

    def gift(call: Call) -> None:
        from common.ledgers import ledger

        ledger.transfer(
            call, members.LEDGER, "issued", members.account("cus-tok_declined"), 90,
            "points_earn", "gift",
        )  # fmt: skip

    async with connected(shop, tools, who=member("tok_declined")) as client:
        await done(client, "join_membership", tier="circle", agreed_fee_minor=0)
        await do(shop, "storefront", gift)
        quote = await quoted(client, await filled(client, ("avocado", 5)), redeem_points=90)
        await agreed(client, quote, "pm-tok_declined")
        assert (await done(client, "check_membership"))["points"] == 0
        await worker(shop).drain()
        await shop.housekeeping.once()
        assert (await done(client, "check_membership"))["points"] == 90
    await points_add_up(shop)


async def test_a_paid_tier(open_shop: Shop) -> None:
    """Its fee is charged once, free shipping applies, a declined fee ends it."""
    shop = open_shop
    async with connected(shop, tools, who=member()) as client:
        await refused(client, "join_membership", "not_found", tier="gold", agreed_fee_minor=4900)
        await refused(
            client, "join_membership", "not_found", tier="gold", agreed_fee_minor=4900,
            payment_method_id="pm-max",
        )  # fmt: skip
        gold = await done(
            client, "join_membership", tier="gold", agreed_fee_minor=4900,
            payment_method_id="pm-lea",
        )  # fmt: skip
        assert gold["tier"] == "gold"
        await worker(shop).drain()
        assert (await done(client, "check_membership"))["fee_payment_status"] == "captured"
        quote = await quoted(client, await filled(client, ("Eggs, dozen, free range", 3)))
        assert quote["shipping_minor"] == 0
        shop.guard.clock.forward(minutes=2)  # type: ignore[attr-defined]
        await refused(
            client, "join_membership", "rule_violation", tier="gold", agreed_fee_minor=4900,
            payment_method_id="pm-lea",
        )  # fmt: skip
        shop.guard.clock.forward(days=350)  # type: ignore[attr-defined]
        renewed = await done(
            client, "join_membership", tier="gold", agreed_fee_minor=4900,
            payment_method_id="pm-lea",
        )  # fmt: skip
        assert renewed["renews_at"].startswith("2028")
    async with connected(shop, tools, who=member("tok_declined")) as client:
        await done(
            client, "join_membership", tier="gold", agreed_fee_minor=4900,
            payment_method_id="pm-tok_declined",
        )  # fmt: skip
        asked = await done(client, "check_membership")
        assert (asked["member"], asked["tier"], asked["state"]) == (False, "gold", "pending")
        quote = await quoted(client, await filled(client, ("Eggs, dozen, free range", 3)))
        assert quote["shipping_minor"] > 0, "what is not paid gives nothing"
        await worker(shop).drain()
        await shop.housekeeping.once()
        lapsed = await done(client, "check_membership")
        assert (lapsed["member"], lapsed["state"]) == (False, "lapsed")


async def test_a_year_ends(open_shop: Shop) -> None:
    """A free tier with auto_renew goes on, one without lapses; benefits end on the minute."""
    shop = open_shop
    for name, auto in (("lea", True), ("max", False)):
        async with connected(shop, tools, who=member(name)) as client:
            await done(
                client, "join_membership", tier="circle", agreed_fee_minor=0, auto_renew=auto
            )
    shop.guard.clock.forward(days=365)  # type: ignore[attr-defined]
    async with connected(shop, tools, who=member("max")) as client:
        assert not (await done(client, "check_membership"))["member"]
    await shop.housekeeping.once()
    async with connected(shop, tools, who=member("lea")) as client:
        assert (await done(client, "check_membership"))["member"]
    states = await look(
        shop, lambda s: dict(s.execute(select(Membership.customer_id, Membership.state)).all())
    )
    assert states == {"cus-lea": "active", "cus-max": "lapsed"}


async def test_who_may(open_shop: Shop) -> None:
    """A guest is told how to sign in; a new person becomes a new customer; a verified e-mail
    finds the one customer who has it, and nobody already taken."""
    shop = open_shop
    async with connected(shop, tools, who=guest()) as client:
        assert "sign in" in (await done(client, "check_membership"))["note"]
        await refused(
            client, "join_membership", "insufficient_scope", tier="circle", agreed_fee_minor=0
        )

    def newcomer(call: Call) -> None:
        customer(call, "pia")
        from common.tables.orders import Customer

        call.get(Customer, "cus-pia").subject = None

    await do(shop, "*", newcomer)
    for email, expected in (
        ("", None), ("lea@example.com", None), ("PIA@example.com", "cus-pia"),
    ):  # fmt: skip
        person = member(f"new-{email}", email)
        async with connected(shop, tools, who=person) as client:
            status = await done(client, "get_account_status")
            assert status["signed_in"]
            assert status.get("customer_id") == expected
            await done(client, "join_membership", tier="circle", agreed_fee_minor=0)
            after = await done(client, "get_account_status")
            assert after["membership"] == "circle"
            assert (after["customer_id"] == "cus-pia") is (expected == "cus-pia")
            assert after["customer_id"] != "cus-lea"
    second = member("another-issuer-person", "pia@example.com")
    async with connected(shop, tools, who=second) as client:
        assert (await done(client, "get_account_status")).get("customer_id") is None


async def points_add_up(shop: Shop) -> None:
    """Every point that somebody has was issued; nothing is held beyond open checkouts."""
    rows = await look(
        shop, lambda s: s.scalars(select(Account).where(Account.ledger == members.LEDGER)).all()
    )
    assert sum(row.debits_posted - row.credits_posted for row in rows) == 0
    assert all(row.debits_pending == row.credits_pending == 0 for row in rows)


async def captured(shop: Shop, order_id: str) -> None:
    def capture(call: Call) -> None:
        for payment in paid.payments_of(call.session, order_id):
            paid.capture(call, payment)

    await do(shop, "payments", capture)
    await worker(shop).drain()


async def refunded(shop: Shop, order_id: str, amount_minor: int) -> None:
    await do(
        shop, "payments", lambda call: paid.refund_order(call, order_id, amount_minor, "return")
    )


async def cancelled(shop: Shop, order_id: str) -> None:
    await do(shop, "orders", lambda call: cancel(call, order_id, "no_longer_needed"))


async def bought_and_paid(shop: Shop, client: Client, *items: tuple[str, int], **more: Any) -> Any:
    """An order of Lea's, paid, with its points given; what ``checkout`` said of it."""
    quote = await quoted(client, await filled(client, *items), **more)
    await agreed(client, quote, "pm-lea")
    await worker(shop).drain()
    bought = await agreed(client, quote, "pm-lea")
    assert bought["status"] == "completed"
    await captured(shop, bought["order_id"])
    await shop.housekeeping.once()
    return bought


async def points(client: Client) -> tuple[int, int]:
    found = await done(client, "check_membership")
    assert found["pending_points"] == 0
    return found["points"], found["owed_points"]


async def test_points_go_back_with_the_money(open_shop: Shop) -> None:
    """In the same share, once each, all of them with all of it, and again when a refund fails."""
    shop = open_shop
    async with connected(shop, tools, who=member()) as client:
        await done(client, "join_membership", tier="circle", agreed_fee_minor=0)
        order = await bought_and_paid(shop, client, ("Eggs, dozen, free range", 10))
        total, given = order["total_minor"], (await points(client))[0]
        assert given == (3990 - 200) // 100
        third = total // 3
        await refunded(shop, order["order_id"], third)
        for _ in range(2):
            await shop.housekeeping.once()
            assert await points(client) == (given * (total - third) // total, 0)
        await refunded(shop, order["order_id"], total - third)
        await shop.housekeeping.once()
        assert await points(client) == (0, 0)

        def failed(call: Call) -> None:
            refunds = select(Outbox).where(Outbox.kind == "refund").order_by(Outbox.id)
            row = next(
                each for each in call.session.scalars(refunds)
                if each.payload["amount_minor"] == third
            )  # fmt: skip
            settle(call, row, Outcome(State.FAILED))

        await do(shop, "payments", failed)
        await shop.housekeeping.once()
        assert await points(client) == (given * third // total, 0)
    await points_add_up(shop)


async def test_points_that_were_spent_are_owed(open_shop: Shop) -> None:
    """Nobody has fewer than none: the rest comes off the next ones."""
    shop = open_shop
    async with connected(shop, tools, who=member()) as client:
        await done(client, "join_membership", tier="circle", agreed_fee_minor=0)
        first = await bought_and_paid(shop, client, ("Eggs, dozen, free range", 10))
        given = (await points(client))[0]
        spent = await bought_and_paid(shop, client, ("avocado", 1), redeem_points=given)
        left = (await points(client))[0]
        assert left < given
        await refunded(shop, first["order_id"], first["total_minor"])
        await shop.housekeeping.once()
        assert await points(client) == (0, given - left)
        await bought_and_paid(shop, client, ("Eggs, dozen, free range", 10))
        assert await points(client) == (left, 0)
        assert spent["status"] == "completed"
    await points_add_up(shop)


async def test_points_that_paid_come_back_when_the_order_is_cancelled(open_shop: Shop) -> None:
    """All of them, once, whatever its money was by then; they are not earned anew, and what is
    owed is taken from them."""
    shop = open_shop
    async with connected(shop, tools, who=member()) as client:
        await done(client, "join_membership", tier="circle", agreed_fee_minor=0)
        first = await bought_and_paid(shop, client, ("Eggs, dozen, free range", 10))
        given, earned = await do(shop, "*", lambda c: members.points_of(c, "cus-lea"))
        assert given == earned > 0
        for captured_first in (False, True):
            quote = await quoted(client, await filled(client, ("avocado", 1)), redeem_points=given)
            await agreed(client, quote, "pm-lea")
            await worker(shop).drain()
            bought = await agreed(client, quote, "pm-lea")
            if captured_first:
                await captured(shop, bought["order_id"])
            await shop.housekeeping.once()
            before = (await done(client, "check_membership"))["points"]
            await cancelled(shop, bought["order_id"])
            await worker(shop).drain()
            await shop.housekeeping.once()
            assert await points(client) == (given, 0), before
        assert await do(
            shop, "*", lambda c: members.points_of(c, "cus-lea")
        ) == (given, earned)  # fmt: skip
        last = await bought_and_paid(shop, client, ("avocado", 1), redeem_points=given)
        await refunded(shop, first["order_id"], first["total_minor"])
        await shop.housekeeping.once()
        await cancelled(shop, last["order_id"])
        await shop.housekeeping.once()
        assert await points(client) == (0, given), "they are there, and owed"
        await bought_and_paid(shop, client, ("Eggs, dozen, free range", 10))
        assert await points(client) == (given, 0)
    await points_add_up(shop)


async def test_points_of_a_membership_that_is_over_do_not_come_back(open_shop: Shop) -> None:
    """They would have lapsed with the rest."""
    shop = open_shop
    async with connected(shop, tools, who=member()) as client:
        await done(client, "join_membership", tier="circle", agreed_fee_minor=0)
        await bought_and_paid(shop, client, ("Eggs, dozen, free range", 10))
        given = (await points(client))[0]
        bought = await bought_and_paid(shop, client, ("avocado", 1), redeem_points=given)

        def over(call: Call) -> None:
            (its,) = call.all(Membership, limit=2)
            its.renews_at, its.auto_renew = call.now, False

        await do(shop, "storefront", over)
        await shop.housekeeping.once()
        await cancelled(shop, bought["order_id"])
        await shop.housekeeping.once()
        left, _ = await do(shop, "*", lambda c: members.points_of(c, "cus-lea"))
        assert left == 0
    await points_add_up(shop)


async def test_points_are_of_one_currency(open_shop: Shop) -> None:
    """A point is worth as much for everybody: an order in yen brings none to a tier in euro, and
    none are redeemed in yen."""
    shop = open_shop
    async with connected(shop, tools, who=member()) as client:
        await done(client, "join_membership", tier="circle", agreed_fee_minor=0)
        await bought_and_paid(shop, client, ("Eggs, dozen, free range", 10))
        given = (await points(client))[0]
        assert given > 0
        cart = await filled(client, ("avocado", 1))

        def in_yen(call: Call) -> None:
            call.get(MembershipTier, "circle").currency = "JPY"

        await do(shop, "storefront", in_yen)
        quote = await quoted(client, cart, redeem_points=given)
        assert "POINTS" not in {each["code"] for each in quote["discounts"]}
        await agreed(client, quote, "pm-lea")
        await worker(shop).drain()
        bought = await agreed(client, quote, "pm-lea")
        assert await look(
            shop,
            lambda s: s.scalars(
                select(PointsAward).where(PointsAward.order_id == bought["order_id"])
            ).all(),
        ) == []  # fmt: skip
    await points_add_up(shop)


async def test_paid_and_refunded_before_points_came(open_shop: Shop) -> None:
    shop = open_shop
    async with connected(shop, tools, who=member()) as client:
        await done(client, "join_membership", tier="circle", agreed_fee_minor=0)
        quote = await quoted(client, await filled(client, ("Eggs, dozen, free range", 10)))
        await agreed(client, quote, "pm-lea")
        await worker(shop).drain()
        order = await agreed(client, quote, "pm-lea")
        await captured(shop, order["order_id"])
        await refunded(shop, order["order_id"], order["total_minor"])
        await shop.housekeeping.once()
        assert await points(client) == (0, 0)
    await points_add_up(shop)


async def test_behind_the_wall(behind_the_wall: Shop) -> None:
    """With the rights of its own role alone: bought, paid, points given, spent, and taken back;
    what is never answered is undone, what was answered unseen is completed."""
    shop = behind_the_wall
    await do(shop, "*", world)
    async with connected(shop, tools, who=member()) as client:
        await done(client, "join_membership", tier="circle", agreed_fee_minor=0)
        first = await bought_and_paid(shop, client, ("Eggs, dozen, free range", 10))
        given = (await points(client))[0]
        second = await bought_and_paid(shop, client, ("avocado", 1), redeem_points=given)
        await cancelled(shop, second["order_id"])
        await shop.housekeeping.once()
        assert await points(client) == (given, 0)
        await bought_and_paid(shop, client, ("avocado", 1), redeem_points=given)
        await refunded(shop, first["order_id"], first["total_minor"])
        await shop.housekeeping.once()
        assert (await points(client))[1] > 0
        unseen = await quoted(client, await filled(client, ("avocado", 1)))
        await agreed(client, unseen, "pm-lea")
        await worker(shop).drain()
        await shop.housekeeping.once()
        assert (await agreed(client, unseen, "pm-lea"))["status"] == "completed"
    async with connected(shop, tools, who=member("tok_timeout_lost")) as client:
        lost = await quoted(client, await filled(client, ("avocado", 1)))
        await agreed(client, lost, "pm-tok_timeout_lost")
        shop.guard.clock.forward(minutes=16)  # type: ignore[attr-defined]
        await shop.housekeeping.once()
        assert (await done(client, "get_cart", cart_id=lost["cart_id"]))["units"] == 1
    await nothing_stranded(shop)
    await points_add_up(shop)
