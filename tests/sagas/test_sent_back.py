"""A parcel that nobody took goes back to its sender: goods and money find their way home."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from common.call import Call
from common.rules import stock
from common.tables.orders import OrderLine
from common.tables.returns import ReturnPolicy
from common.tables.spine import Account
from servers.logistics.tracking import Reported, report
from tests.logistics.seed import everything
from tests.sagas.town import HOUSE, JAM, LAMP, Town, a_town, plain
from tests.support.shop import do

LAMP_MINOR, JAM_MINOR = 4_000, 900


@pytest.fixture
async def town(url: str, tmp_path: Path) -> AsyncIterator[Town]:
    async with a_town(tmp_path, database_url=url) as found:
        yield found


async def sent(town: Town, **more: Any) -> tuple[dict[str, Any], str]:
    """Ordered, paid for, and with the carrier."""
    order = await town.order(**more)
    await town.provider_answers()
    shipment = await town.shipped(order["order_id"])
    await town.provider_answers()
    return order, shipment


async def sent_back(town: Town, shipment: str) -> dict[str, Any]:
    town.clock.forward(hours=20)
    await town.event(shipment, "out_for_delivery")
    await town.do("logistics", "record_failed_attempt", shipment_id=shipment, reason="refused")
    return await town.do(
        "logistics", "resolve_exception", shipment_id=shipment, action="return_to_sender",
        resolution="Nobody wants it.",
    )  # fmt: skip


async def axes(town: Town, order: dict[str, Any]) -> tuple[str, str, str]:
    found = await town.do("orders", "get_order", order_id=order["order_id"])
    return found["status"], found["payment_status"], found["fulfilment_status"]


async def with_customers(town: Town, sku: str) -> int:
    """Units that customers have, and that all places of the ledger together are none."""
    net = Account.debits_posted - Account.credits_posted
    ledger = select(func.sum(net)).where(Account.ledger == stock.units(sku))
    assert await town.look(lambda s: s.scalar(ledger)) == 0
    there = ledger.where(Account.code == stock.CUSTOMER)
    return int(await town.look(lambda s: s.scalar(there)) or 0)


async def received(town: Town, rma: dict[str, Any], disposition: str = "restock") -> None:
    """All of it is here and looked at."""
    for line in rma["lines"]:
        units = {"line_id": line["line_id"], "quantity": line["quantity"]}
        await town.do("returns", "receive_return", return_id=rma["return_id"], lines=[units])
        found = {"grade": "A", "condition": "unopened", "disposition": disposition, **units}
        await town.do("returns", "inspect_return", return_id=rma["return_id"], lines=[found])


async def unchanged(town: Town, server: str, tool: str, **arguments: Any) -> dict[str, Any]:
    before = await town.look(everything)
    told = await town.refused(server, tool, "rule_violation", **arguments)
    assert await town.look(everything) == before
    return told


async def refunded(town: Town, order: dict[str, Any]) -> int:
    id = order["payment_ids"][0]
    paid = await town.do("payments", "get_payment", payment_id=id)
    return town.provider.totals(paid["provider_reference"])[2]


@pytest.mark.parametrize("disposition", ["restock", "quarantine"])
async def test_it_comes_home_and_the_money_goes_back(town: Town, disposition: str):
    before = await town.available(JAM)
    order, shipment = await sent(town, quantity=2, sku=JAM)
    ask = {"order_id": order["order_id"]}
    early = await unchanged(town, "returns", "request_return", **ask)
    assert "resolve_exception" in early["next"]
    assert await with_customers(town, JAM) == 2

    view = await sent_back(town, shipment)
    assert "returns.request_return" in view["next"]
    assert await axes(town, order) == ("in_fulfilment", "captured", "shipped")
    may = await town.do("returns", "check_return_eligibility", **ask)
    assert (may["eligible"], may["refund_minor"]) == (True, 2 * JAM_MINOR)

    rma = await town.do("returns", "request_return", **ask)
    assert (rma["state"], rma["refund"]) == ("in_transit", "18.00 EUR")
    assert "label_code" not in rma
    assert "expires_at" not in rma
    assert rma["next"].startswith("receive_return")
    town.clock.forward(days=40)
    await unchanged(town, "returns", "settle_return", return_id=rma["return_id"])
    await received(town, rma, disposition)
    lots = await town.look(lambda s: stock.by_lot(s, town.clock.now, JAM, HOUSE))
    home = (lots["lot-L1"].available, lots["lot-L1"].quarantine)
    assert home == ((4, 0) if disposition == "restock" else (2, 2))
    assert await town.available(JAM) == before - (0 if disposition == "restock" else 2)
    assert await with_customers(town, JAM) == 0

    done = await town.do("returns", "settle_return", return_id=rma["return_id"])
    assert (done["state"], done["lines"][0]["settled_minor"]) == ("settled", 2 * JAM_MINOR)
    await town.provider_answers()
    assert await refunded(town, order) == 2 * JAM_MINOR
    assert await axes(town, order) == ("completed", "refunded", "not_fulfilled")
    found = await town.do("orders", "get_order", **ask)
    assert [line["status"] for line in found["lines"]] == ["returned"]
    assert {"returned_to_sender", "return_settled"} <= {each["what"] for each in found["timeline"]}
    await town.books(order["order_id"])

    # Nothing twice.
    await unchanged(town, "returns", "settle_return", return_id=rma["return_id"])
    told = await unchanged(town, "returns", "request_return", **ask)
    assert "all of it has been returned" in told["message"]
    await unchanged(
        town, "claims", "open_claim", kind="customer", type="loss", shipment_id=shipment,
        description="Never had it.",
    )  # fmt: skip
    await unchanged(town, "orders", "cancel_order", reason="no_longer_needed", **ask)


async def test_while_its_money_is_disputed_nothing_goes_back(town: Town):
    order, shipment = await sent(town)
    await sent_back(town, shipment)
    rma = await town.do("returns", "request_return", order_id=order["order_id"])
    await received(town, rma)
    dispute = await town.do(
        "payments", "record_dispute", payment_id=order["payment_ids"][0],
        reason="product_not_received",
    )  # fmt: skip
    told = await unchanged(town, "returns", "settle_return", return_id=rma["return_id"])
    assert told["details"]["dispute_id"] == dispute["dispute_id"]
    ended = {"dispute_id": dispute["dispute_id"], "outcome": "lost"}
    await town.do("payments", "record_dispute_outcome", **ended)
    lost = await town.ask("returns", "settle_return", return_id=rma["return_id"])
    assert lost["code"] == "insufficient_funds"


async def test_its_refund_waits_for_a_person(town: Town):
    order, shipment = await sent(town, quantity=13)
    await sent_back(town, shipment)
    rma = await town.do("returns", "request_return", order_id=order["order_id"])
    await received(town, rma)
    asked = await town.ask("returns", "settle_return", return_id=rma["return_id"])
    assert (asked["status"], asked["level"]) == ("approval_required", 2)
    assert await axes(town, order) == ("in_fulfilment", "captured", "shipped")


async def test_before_it_left_and_after_it_came_back(town: Town):
    order = await town.order()
    await town.provider_answers()
    ask = {"order_id": order["order_id"]}
    await town.do("orders", "release_to_fulfilment", **ask)
    made = await town.do(
        "logistics", "create_shipment", carrier="post", service="standard", **ask
    )  # fmt: skip
    shipment = {"shipment_id": made["shipment_id"]}
    stuck = {"event_id": "evt-stuck", "occurred_at": made["status_at"], **shipment}
    back = stuck | {"status": "returned_to_sender"}
    told = await unchanged(town, "logistics", "record_tracking_event", **back)
    assert "cancel_shipment" in told["next"]
    # A carrier that is asked says more than was recorded here: kept, and nothing moves.
    news = Reported("evt-early", "returned_to_sender", town.clock.now)
    await do(town.shop, "*", lambda c: report(c, made["shipment_id"], news, may_leave=False))
    seen = await town.do("logistics", "track_shipment", **shipment)
    assert (seen["status"], seen["events"][-1]["counted"]) == (made["status"], False)
    await town.do(
        "logistics", "record_tracking_event", status="exception", exception_kind="address", **stuck
    )
    give_up = {"action": "return_to_sender", "resolution": "Nowhere.", **shipment}
    told = await unchanged(town, "logistics", "resolve_exception", **give_up)
    assert told["next"].startswith("cancel_shipment")

    await town.event(shipment["shipment_id"], "picked_up")
    # The carrier itself says so, and once.
    view = await town.event(shipment["shipment_id"], "returned_to_sender")
    assert view["status"] == "returned_to_sender"
    for tool, more in (
        ("record_delivery", {"received_by": "Eve"}), ("record_failed_attempt", {"reason": "other"}),
        ("resolve_exception", {"action": "retry", "resolution": "Again."}),
    ):  # fmt: skip
        told = await unchanged(town, "logistics", tool, **shipment, **more)
        assert "returns.request_return" in told["next"]
    told = await unchanged(town, "logistics", "create_shipment", carrier="post", **ask)
    assert "returns.request_exchange" in told["next"]
    found = await town.do("orders", "get_order", **ask)
    assert "returned_to_sender" in {each["what"] for each in found["timeline"]}


async def test_it_is_sent_again_as_an_exchange(town: Town):
    """For the same SKU: what replaces it costs nothing, and goes where the order says."""
    order, shipment = await sent(town)
    before = await town.available()
    await sent_back(town, shipment)
    line = {"line_id": order["lines"][0]["line_id"], "new_sku": LAMP}
    rma = await town.do(
        "returns", "request_exchange", order_id=order["order_id"], lines=[line], method_id="card-1"
    )
    assert (rma["state"], rma["price_difference_minor"]) == ("in_transit", 0)
    assert await town.available() == before - 1
    await received(town, rma)
    done = await town.do("returns", "settle_return", return_id=rma["return_id"])
    again = done["lines"][0]["exchange_order_id"]
    assert await axes(town, order) == ("completed", "captured", "not_fulfilled")
    await town.do(
        "orders", "update_shipping_address", order_id=again, address=plain(3),
    )  # fmt: skip
    await town.delivered(await town.shipped(again))
    assert (await axes(town, {"order_id": again}))[::2] == ("completed", "delivered")
    await town.provider_answers()
    assert await refunded(town, order) == 0
    assert await with_customers(town, LAMP) == 1
    await town.books(order["order_id"], again)


async def two_parcels(town: Town) -> tuple[dict[str, Any], list[str]]:
    """A lamp and a jam, each from a house of its own."""
    order = await town.do(
        "orders", "place_order", customer_id="cus-1", payment_method_id="card-1", warehouse=HOUSE,
        lines=[{"sku": LAMP, "quantity": 1}, {"sku": JAM, "quantity": 1}], ship_to=plain(1),
    )  # fmt: skip
    await town.provider_answers()

    def elsewhere(call: Call) -> None:
        call.get(OrderLine, order["lines"][1]["line_id"]).warehouse_id = "WH-2"

    await do(town.shop, "*", elsewhere)
    first = await town.shipped(order["order_id"])
    made = await town.do(
        "logistics", "create_shipment", order_id=order["order_id"], carrier="post",
        service="standard",
    )  # fmt: skip
    await town.event(made["shipment_id"], "picked_up")
    await town.provider_answers()
    return order, [first, made["shipment_id"]]


@pytest.mark.parametrize("first", ["delivery", "settlement"])
async def test_one_of_two_parcels_comes_back(town: Town, first: str):
    order, (lamp, jam) = await two_parcels(town)
    ask = {"order_id": order["order_id"]}
    jams = [{"line_id": order["lines"][1]["line_id"]}]
    if first == "delivery":
        await town.delivered(lamp)
        assert (await axes(town, order))[2] == "partially_delivered"
    await sent_back(town, jam)
    for lines in ({}, {"lines": [*jams, {"line_id": order["lines"][0]["line_id"]}]}):
        told = await unchanged(town, "returns", "request_return", **ask, **lines)
        assert told["details"]["line_ids"] == [jams[0]["line_id"]]
    rma = await town.do("returns", "request_return", lines=jams, **ask)
    assert (rma["warehouse"], rma["refund"]) == ("WH-2", "9.00 EUR")
    await received(town, rma)
    await town.do("returns", "settle_return", return_id=rma["return_id"])
    if first == "settlement":
        assert await axes(town, order) == ("in_fulfilment", "partially_refunded", "shipped")
        await unchanged(town, "returns", "request_return", **ask)
        await town.delivered(lamp)
    assert await axes(town, order) == ("completed", "partially_refunded", "delivered")
    found = await town.do("orders", "get_order", **ask)
    assert [line["status"] for line in found["lines"]] == ["delivered", "returned"]
    # What was delivered comes back as ever: within its window, with a label.
    rest = await town.do("returns", "request_return", **ask)
    assert (rest["state"], rest["refund"]) == ("requested", "40.00 EUR")
    assert (await with_customers(town, LAMP), await with_customers(town, JAM)) == (1, 0)
    await town.provider_answers()
    await town.books(order["order_id"])


async def test_it_is_lost_on_its_way_back(town: Town):
    order, shipment = await sent(town)
    await sent_back(town, shipment)
    rma = await town.do("returns", "request_return", order_id=order["order_id"])
    lost = {"type": "loss", "shipment_id": shipment, "description": "Gone on its way back."}
    theirs = await town.do("claims", "open_claim", kind="carrier", **lost)
    assert theirs["claimed_minor"] > 0
    await unchanged(town, "claims", "open_claim", kind="customer", **lost)
    over = await town.do("returns", "cancel_return", return_id=rma["return_id"])
    assert over["state"] == "cancelled"
    ours = await town.do("claims", "open_claim", kind="customer", **lost)
    await town.evidence(ours["claim_id"], *ours["missing"])
    await town.do("claims", "submit_claim", claim_id=ours["claim_id"])
    await town.do("claims", "settle_claim", claim_id=ours["claim_id"], resolution="refund")
    await town.provider_answers()
    assert await refunded(town, order) == LAMP_MINOR
    await unchanged(town, "returns", "request_return", order_id=order["order_id"])
    await town.books(order["order_id"])


async def test_a_part_of_it_is_lost_on_its_way_back(town: Town):
    order, shipment = await sent(town, quantity=2)
    await sent_back(town, shipment)
    rma = await town.do("returns", "request_return", order_id=order["order_id"])
    one = {**rma, "lines": [{**rma["lines"][0], "quantity": 1}]}
    await received(town, one)
    await unchanged(town, "returns", "cancel_return", return_id=rma["return_id"])
    await town.do("returns", "settle_return", return_id=rma["return_id"])
    assert await axes(town, order) == ("in_fulfilment", "partially_refunded", "shipped")
    late = await town.do("returns", "request_return", order_id=order["order_id"])
    assert (late["state"], late["lines"][0]["quantity"]) == ("in_transit", 1)
    await received(town, late)
    await town.do("returns", "settle_return", return_id=late["return_id"])
    await town.provider_answers()
    assert await refunded(town, order) == 2 * LAMP_MINOR
    assert await axes(town, order) == ("completed", "refunded", "not_fulfilled")
    assert await with_customers(town, LAMP) == 0


async def test_it_does_not_wait_for_another_return_of_the_order(town: Town):
    await do(town.shop, "*", one_at_a_time)
    order, (lamp, jam) = await two_parcels(town)
    await town.delivered(lamp)
    ask = {"order_id": order["order_id"]}
    await town.do("returns", "request_return", **ask, lines=[lines_of(order)[0]])
    await sent_back(town, jam)
    await town.do("returns", "request_return", **ask, lines=[lines_of(order)[1]])


def one_at_a_time(call: Call) -> None:
    call.get(ReturnPolicy, "rp").most_open_per_order = 1


def lines_of(order: dict[str, Any]) -> list[dict[str, str]]:
    return [{"line_id": line["line_id"]} for line in order["lines"]]


async def test_it_is_not_over_while_another_return_of_the_line_waits(town: Town):
    order, shipment = await sent(town, quantity=2)
    await sent_back(town, shipment)
    ask = {"order_id": order["order_id"], "lines": [{**lines_of(order)[0], "quantity": 1}]}
    first, second = [await town.do("returns", "request_return", **ask) for _ in range(2)]
    await received(town, first)
    await town.do("returns", "settle_return", return_id=first["return_id"])
    assert (await axes(town, order))[::2] == ("in_fulfilment", "shipped")
    await town.do("returns", "cancel_return", return_id=second["return_id"])
    last = await town.do("returns", "request_return", order_id=order["order_id"])
    await received(town, last)
    await town.do("returns", "settle_return", return_id=last["return_id"])
    assert await axes(town, order) == ("completed", "refunded", "not_fulfilled")


async def test_the_policy_still_has_its_word(town: Town):
    """A fee for restocking, and a look at what is dear; no label to pay for, nothing to keep."""

    def strict(call: Call) -> None:
        policy = call.get(ReturnPolicy, "rp")
        policy.restocking_fee_bps, policy.return_shipping_minor = 1_000, 500
        policy.final_sale, policy.review_from_minor, policy.window_days = True, 1, 0
        policy.returnless_up_to_minor = 10_000

    await do(town.shop, "*", strict)
    order, shipment = await sent(town)
    await sent_back(town, shipment)
    rma = await town.do("returns", "request_return", order_id=order["order_id"])
    assert (rma["state"], rma["fee_minor"], rma["refund"]) == ("needs_review", 400, "36.00 EUR")
    told = await unchanged(
        town, "returns", "authorize_return", return_id=rma["return_id"], returnless=True
    )
    assert "nothing to keep" in told["message"]
    rma = await town.do("returns", "authorize_return", return_id=rma["return_id"])
    assert rma["state"] == "in_transit"
    assert "label_code" not in rma
    await received(town, rma)
    await town.do("returns", "settle_return", return_id=rma["return_id"])
    await town.provider_answers()
    assert await refunded(town, order) == 3_600
