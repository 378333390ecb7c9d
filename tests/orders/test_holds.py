"""Holds of all five kinds: placed with a reason, what each stops and what it does not, released."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, get_args

import pytest

from common.clock import stamp
from common.tables.payments import PaymentMethod
from servers.orders.tools import HoldKind
from tests.sagas.town import Town, a_town
from tests.support.shop import do, done

KINDS = get_args(HoldKind)


@pytest.fixture
async def town(url: str, tmp_path: Path) -> AsyncIterator[Town]:
    async with a_town(tmp_path, database_url=url) as found:
        yield found


async def held(town: Town, order_id: str, kind: str) -> dict[str, Any]:
    order = await town.do(
        "orders", "hold_order", order_id=order_id, kind=kind, reason=f"Look at the {kind}."
    )
    assert order["status"] == "on_hold"
    assert [(h["kind"], h["reason"]) for h in order["holds"]] == [(kind, f"Look at the {kind}.")]
    return order


async def released(town: Town, order_id: str, kind: str) -> dict[str, Any]:
    order = await town.do(
        "orders", "release_order_hold", order_id=order_id, kind=kind, reason="It is in order."
    )
    assert order["holds"] == []
    assert order["timeline"][-1]["what"] == "hold_released"
    return order


def test_there_are_five() -> None:
    assert set(KINDS) == {"fraud", "address", "payment", "stock", "manual"}


async def test_each_stops_an_order_at_every_step_out_of_the_house(town: Town) -> None:
    """Before the release, before a label is made, and at the door; and at each it goes on from
    where it was."""
    for number, kind in enumerate(KINDS, 1):
        number = (1, 4, 5, 6, 1)[number - 1]  # whose cards the provider authorizes
        order = await town.order(number)
        await town.shop.outbox.drain()
        id = order["order_id"]
        before = await town.available()

        await held(town, id, kind)
        stopped = await town.refused(
            "orders", "release_to_fulfilment", "rule_violation", order_id=id
        )
        assert kind in stopped["message"]
        assert (await released(town, id, kind))["status"] == "placed"

        await town.do("orders", "release_to_fulfilment", order_id=id)
        await held(town, id, kind)
        parcel = {"order_id": id, "carrier": "post", "service": "standard"}
        await town.refused("logistics", "create_shipment", "rule_violation", **parcel)
        assert (await released(town, id, kind))["status"] == "in_fulfilment"

        made = await town.do("logistics", "create_shipment", **parcel)
        await held(town, id, kind)
        leaving = {
            "shipment_id": made["shipment_id"], "status": "picked_up",
            "event_id": f"evt-door-{kind}", "occurred_at": stamp(town.clock.now),
        }  # fmt: skip
        await town.refused("logistics", "record_tracking_event", "rule_violation", **leaving)
        payment = await town.do("payments", "get_payment", payment_id=order["payment_ids"][0])
        assert payment["status"] == "authorized", "nothing is taken for what does not leave"
        assert await town.available() == before, "and its units stay reserved"
        await released(town, id, kind)
        await town.do("logistics", "record_tracking_event", **leaving)
        gone = await town.do("orders", "get_order", order_id=id)
        assert gone["fulfilment_status"] == "shipped"
        await town.refused(
            "orders", "hold_order", "rule_violation", order_id=id, kind=kind, reason="Too late."
        )


async def test_what_a_hold_does_not_stop(town: Town) -> None:
    """The cure is allowed: another address, another way to pay, or giving it up."""
    for kind, cure, more in (
        ("address", "update_shipping_address", {"address": {
            "line1": "Quai 1", "city": "Lyon", "country": "FR"}}),
        ("payment", "change_payment_method", {"payment_method_id": "card-new"}),
        ("stock", "cancel_order", {"reason": "out_of_stock"}),
        ("fraud", "cancel_order", {"reason": "fraud"}),
        ("manual", "add_order_note", {"text": "Rang them."}),
    ):  # fmt: skip
        order = await town.order()
        await town.shop.outbox.drain()
        await held(town, order["order_id"], kind)
        if cure == "change_payment_method":
            more = {"payment_method_id": await another_card(town)}
        await town.do("orders", cure, order_id=order["order_id"], **more)
        now = await done(town.clients["orders"], "get_order", order_id=order["order_id"])
        over = cure == "cancel_order"
        assert now["status"] == ("cancelled" if over else "on_hold")
        assert [h["kind"] for h in now["holds"]] == ([] if over else [kind])


async def another_card(town: Town) -> str:
    await do(
        town.shop, "*",
        lambda c: c.add(
            PaymentMethod(
                id="card-new", customer_id="cus-1", kind="card", brand="visa", last4="1111",
                provider="simulator", provider_reference="tok_ok", created_at=c.now,
            )
        ),
    )  # fmt: skip
    return "card-new"


async def test_two_holds_need_two_releases(town: Town) -> None:
    order = await town.order()
    await town.shop.outbox.drain()
    id = order["order_id"]
    await held(town, id, "fraud")
    both = await town.do("orders", "hold_order", order_id=id, kind="stock", reason="Count it.")
    assert [h["kind"] for h in both["holds"]] == ["fraud", "stock"]
    one = await town.do(
        "orders", "release_order_hold", order_id=id, kind="fraud", reason="Known customer."
    )
    assert (one["status"], [h["kind"] for h in one["holds"]]) == ("on_hold", ["stock"])
    await town.refused("orders", "release_to_fulfilment", "rule_violation", order_id=id)
    assert (await released(town, id, "stock"))["status"] == "placed"
