"""An order with one tax on top and another inside its prices gives back what was paid for it."""

from collections.abc import Callable
from typing import Any

import pytest

from common.call import Call
from common.rules import taxes
from common.tables.inventory import Product
from common.tables.orders import Order, OrderLine, TaxRate
from servers.claims.tools import tools as claims_tools
from tests.claims.seed import a_file
from tests.orders.seed import (
    CARD,
    CREAM,
    GENT,
    SHIRT_L,
    SHIRT_M,
    SHIRT_S,
    WIEN,
    Desk,
    a_delivered_order,
    an_order,
    delivered,
    two_taxes,
)
from tests.returns.test_returns import back, requested, step
from tests.support.shop import connected, done

SHIPPING = 490
ODD = {"ship_to": GENT, "discount_minor": 777, "shipping_minor": SHIPPING}


async def an_odd_order(desk: Desk) -> dict[str, Any]:
    """Three shirts and three creams, paid and there, of which nothing divides evenly."""
    await desk.seed(two_taxes, "*")
    order = await a_delivered_order(desk, (SHIRT_S, 3), (CREAM, 3), **ODD)
    shirts, creams = order["lines"]
    assert order["tax_minor"] == shirts["tax_minor"] > 0 < creams["tax_minor"]
    return order


async def returned(desk: Desk, order: dict[str, Any], *lines: tuple[str, int]) -> int:
    """Send units back until they are settled: what was given for them."""
    wanted = [{"line_id": id, "quantity": units} for id, units in lines]
    rma = await requested(desk, order, lines=wanted)
    await back(desk, rma, disposition="quarantine")
    over = await step(desk, "settle_return", return_id=rma["return_id"])
    return sum(line["settled_minor"] for line in over["lines"])


async def test_returned_by_the_unit(either: Desk) -> None:
    desk = either
    order = await an_odd_order(desk)
    whole = await done(desk.returns, "check_return_eligibility", order_id=order["order_id"])
    worth = {line["line_id"]: line["refund_minor"] for line in whole["lines"]}
    assert sum(worth.values()) == order["total_minor"] - SHIPPING
    shirts, creams = (line["line_id"] for line in order["lines"])
    assert worth[creams] == 3 * 1200 - order["lines"][1]["discount_minor"]
    one = await returned(desk, order, (shirts, 1), (creams, 1))
    two = await returned(desk, order, (creams, 2), (shirts, 2))
    assert one + two == sum(worth.values())
    assert await desk.net_paid(order["order_id"]) == {CARD: SHIPPING}


def _moved(call: Call) -> None:
    call.get(Order, call.all(Order)[0].id).ship_to = WIEN


def _repealed(call: Call) -> None:
    for rate in call.all(TaxRate, TaxRate.country == "BE"):
        call.session.delete(rate)


def _reclassed(call: Call) -> None:
    call.get(Product, "cream").tax_class = "standard"


@pytest.mark.parametrize("changed", [_moved, _repealed, _reclassed])
async def test_whatever_has_changed_since(desk: Desk, changed: Callable[[Call], None]) -> None:
    """Address, rates and classes of today say nothing of what was agreed."""
    order = await an_odd_order(desk)
    await desk.seed(changed, "*")
    shirts, creams = (line["line_id"] for line in order["lines"])
    given = await returned(desk, order, (creams, 3))
    assert given == 3 * 1200 - order["lines"][1]["discount_minor"]
    assert given + await returned(desk, order, (shirts, 3)) == order["total_minor"] - SHIPPING


def _rates(on_top: int, inside: int) -> Callable[[Call], None]:
    def work(call: Call) -> None:
        call.get(TaxRate, "rate_BE_standard").rate_bps = on_top
        call.get(TaxRate, "rate_BE_reduced").rate_bps = inside

    return work


async def values(desk: Desk, order: dict[str, Any]) -> list[int]:
    """What the order's lines are worth, the cheapest first."""

    def work(call: Call) -> list[int]:
        lines = call.all(OrderLine, OrderLine.order_id == order["order_id"])
        return sorted(taxes.line_values(call, call.get(Order, lines[0].order_id), lines).values())

    return await desk.seed(work)


async def test_of_rates_that_give_the_same_it_is_the_one_of_its_class(desk: Desk) -> None:
    """20 % on top and 25 % inside are the same amount of the same price."""
    await desk.seed(two_taxes, "*")
    await desk.seed(_rates(2000, 2500), "*")
    order = await a_delivered_order(desk, (SHIRT_S, 1), (CREAM, 1), ship_to=GENT)
    assert [line["tax_minor"] for line in order["lines"]] == [400, 240]
    assert await values(desk, order) == [1200, 2400]


async def test_of_rates_that_give_nearly_the_same_it_is_the_nearest(desk: Desk) -> None:
    await desk.seed(two_taxes, "*")
    await desk.seed(_rates(1600, 1900), "*")
    order = await a_delivered_order(desk, (SHIRT_S, 1), (CREAM, 2), ship_to=GENT)
    assert [line["tax_minor"] for line in order["lines"]] == [320, 383], "not 319, nor 384"
    await desk.seed(_repealed, "*")
    assert await values(desk, order) == [2320, 2400]


async def test_exchanged_for_the_same_again(desk: Desk) -> None:
    """Both lines cost what they had cost: nothing is charged, nothing goes back."""
    order = await an_odd_order(desk)
    shirts, creams = order["lines"]
    rma = await step(
        desk, "request_exchange", order_id=order["order_id"], method_id=CARD,
        lines=[
            {"line_id": shirts["line_id"], "new_sku": SHIRT_S},
            {"line_id": creams["line_id"], "new_sku": CREAM},
        ],
    )  # fmt: skip
    await back(desk, rma, disposition="quarantine")
    over = await step(desk, "settle_return", return_id=rma["return_id"])
    # What the discount had taken off, of the shirts with their tax.
    less = creams["discount_minor"] + shirts["discount_minor"] + (3 * 2000 * 21 // 100)
    assert over["price_difference_minor"] == less - shirts["tax_minor"]
    sent = await done(desk.client, "get_order", order_id=over["lines"][0]["exchange_order_id"])
    assert sent["total_minor"] == over["price_difference_minor"]
    # It comes back as well: both orders had paid for it.
    await desk.seed(delivered(sent["order_id"]))
    given = await returned(desk, sent, *((line["line_id"], 3) for line in sent["lines"]))
    assert given == order["total_minor"] - SHIPPING + sent["total_minor"]
    assert await desk.net_paid(order["order_id"]) == {CARD: SHIPPING}
    assert await desk.net_paid(sent["order_id"]) == {}


@pytest.mark.parametrize("sku", [SHIRT_M, SHIRT_L])
async def test_amended_in_part_then_returned(desk: Desk, sku: str) -> None:
    await desk.seed(two_taxes, "*")
    order_id = await desk.seed(an_order((CREAM, 2), (SHIRT_S, 3), captured=True, **ODD))
    order = await done(desk.client, "get_order", order_id=order_id)
    line = order["lines"][1]["line_id"]
    now = await done(
        desk.client, "amend_order_lines", order_id=order_id, payment_method_id=CARD,
        changes=[{"line_id": line, "new_sku": sku, "quantity": 1}], **desk.key(),
    )  # fmt: skip
    assert now["tax_minor"] == sum(x["tax_minor"] for x in now["lines"] if x["sku"] != CREAM)
    await desk.seed(delivered(order_id))
    given = [await returned(desk, now, (x["line_id"], x["quantity"])) for x in now["lines"]]
    assert sum(given) == now["total_minor"] - SHIPPING
    assert await desk.net_paid(order_id) == {CARD: SHIPPING}


@pytest.mark.parametrize("captured", [True, False])
async def test_cancelled(desk: Desk, captured: bool) -> None:
    await desk.seed(two_taxes, "*")
    order_id = await desk.seed(an_order((SHIRT_S, 1), (CREAM, 1), captured=captured, **ODD))
    split = await done(desk.client, "get_order", order_id=order_id)
    assert split["total_minor"] == 2000 + 1200 - 777 + split["tax_minor"] + SHIPPING
    tool, why = "cancel_order", "no_longer_needed"
    await done(desk.client, tool, order_id=order_id, reason=why, **desk.key())
    assert await desk.net_paid(order_id) == {}


@pytest.mark.parametrize("resolution", ["refund", "credit"])
async def test_claimed(desk: Desk, resolution: str) -> None:
    order = await an_odd_order(desk)
    async with connected(desk.shop, claims_tools, person=desk.person) as claims:

        async def step(tool: str, **more: Any) -> dict[str, Any]:
            return await done(claims, tool, **more, **desk.key())

        given = 0
        for line in order["lines"]:
            claim = await step(
                "open_claim", type="damage", order_id=order["order_id"],
                lines=[{"line_id": line["line_id"]}],
            )  # fmt: skip
            ask = {"claim_id": claim["claim_id"]}
            for kind in claim["missing"]:
                file = a_file(claim["claim_id"], kind) | {"taken_on": "2026-11-02"}
                await step("add_claim_evidence", **file)
            await step("submit_claim", **ask)
            over = await step("settle_claim", resolution=resolution, **ask)
            given += over["paid_minor"]
    assert given == order["total_minor"] - SHIPPING
    assert sum((await desk.net_paid(order["order_id"])).values()) == SHIPPING
