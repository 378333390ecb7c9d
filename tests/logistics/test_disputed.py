"""While a bank may take the money back, the goods stay in the house: at every step out of it."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from mcp import Client

from common.call import Call
from common.rules import paid
from common.tables.orders import Order
from common.tables.payments import Payment
from servers.orders.tools import tools as orders_tools
from servers.payments.tools import tools as payments_tools
from tests.logistics.seed import TODAY, Desk, a_desk, everything
from tests.support.shop import call, connected, done


@dataclass
class House:
    """The shop with clients of the three servers an order passes."""

    desk: Desk
    orders: Client
    payments: Client

    async def disputed(self, order_id: str, **more: Any) -> dict[str, Any]:
        """Its money is taken, and the bank is asked for it back."""

        def take(call: Call) -> str:
            (payment,) = call.all(Payment, Payment.order_id == order_id)
            if payment.status == "authorized":
                paid.capture(call, payment)
            return payment.id

        payment_id = await self.desk.seed("*", take)
        ask = {"payment_id": payment_id, "reason": "fraudulent"}
        return await done(self.payments, "record_dispute", **ask, **more, **self.desk.key())

    async def decided(self, dispute: dict[str, Any], outcome: str) -> None:
        ask = {"dispute_id": dispute["dispute_id"], "outcome": outcome}
        await done(self.payments, "record_dispute_outcome", **ask, **self.desk.key())

    async def stays(self, client: Client, tool: str, dispute: dict[str, Any], **ask: Any) -> None:
        """The step is refused, the dispute named, and nothing changed."""
        before = await self.desk.look(everything)
        answer = await call(client, tool, **ask, **self.desk.key())
        assert answer.get("code") == "rule_violation", answer
        assert answer["details"]["dispute_id"] == dispute["dispute_id"]
        assert await self.desk.look(everything) == before


@pytest.fixture
async def house(url: str, tmp_path: Path) -> AsyncIterator[House]:
    async with (
        a_desk(tmp_path, database_url=url) as desk,
        connected(desk.shop, orders_tools, person=desk.person) as orders,
        connected(desk.shop, payments_tools, person=desk.person) as payments,
    ):
        yield House(desk, orders, payments)


def picked_up(shipment_id: str) -> dict[str, str]:
    return {
        "shipment_id": shipment_id, "status": "picked_up", "event_id": "evt-door",
        "occurred_at": "2026-11-02T09:00:00Z",
    }  # fmt: skip


async def test_at_every_step_until_it_is_won(house: House) -> None:
    """Nor does a part of it go: a dispute of one cent stops all."""
    desk, parcel = house.desk, {"carrier": "swift"}
    order_id = await desk.order(release=False)
    ask = {"order_id": order_id}

    first = await house.disputed(order_id, amount_minor=1)
    await house.stays(house.orders, "release_to_fulfilment", first, **ask)
    await house.decided(first, "won")
    await done(house.orders, "release_to_fulfilment", **ask, **desk.key())

    second = await house.disputed(order_id)
    await house.stays(desk.client, "create_shipment", second, **ask, **parcel)
    await house.decided(second, "won")
    made = await desk.done("create_shipment", **ask, **parcel)

    third = await house.disputed(order_id)
    leaving = picked_up(made["shipment_id"])
    await house.stays(desk.client, "record_tracking_event", third, **leaving)
    await house.decided(third, "prevented")
    await desk.done("record_tracking_event", **leaving)
    gone = await done(house.orders, "get_order", **ask)
    assert gone["fulfilment_status"] == "shipped"


async def test_an_inquiry_stops_nothing_until_it_is_a_dispute(house: House) -> None:
    desk = house.desk
    order_id = await desk.order(release=False)
    asked = await house.disputed(order_id, inquiry=True)
    await done(house.orders, "release_to_fulfilment", order_id=order_id, **desk.key())
    made = await desk.done("create_shipment", order_id=order_id, carrier="swift")
    await house.decided(asked, "needs_response")
    leaving = picked_up(made["shipment_id"])
    await house.stays(desk.client, "record_tracking_event", asked, **leaving)
    await house.decided(asked, "won")
    again = await house.disputed(order_id, inquiry=True)
    assert again["status"] == "inquiry"
    await desk.done("record_tracking_event", **leaving)


async def test_the_van_does_not_take_it_along(house: House) -> None:
    desk = house.desk
    order_id = await desk.order()
    await desk.done("create_shipment", order_id=order_id)
    planned = await desk.done("plan_routes", date=TODAY, vehicles=["VAN-1"], iterations=20)
    ask = {"route_id": planned["routes"][0]["route_id"]}
    dispute = await house.disputed(order_id)
    await house.stays(desk.client, "dispatch_route", dispute, **ask)
    await house.decided(dispute, "won")
    await desk.done("dispatch_route", **ask)


async def test_the_carrier_takes_the_others(house: House) -> None:
    desk = house.desk
    stays, goes = [await desk.order() for _ in range(2)]
    made = {
        order_id: (await desk.done("create_shipment", order_id=order_id, carrier="swift"))
        for order_id in (stays, goes)
    }
    dispute = await house.disputed(stays)
    pickup = {"carrier": "swift", "warehouse": "WH-1"}
    for order_id in (goes, stays):
        closed = await desk.done("close_manifest", **pickup)
        assert closed["shipment_ids"] == [made[order_id]["shipment_id"]]
        await desk.refused("close_manifest", "not_found", **pickup)
        if order_id == goes:
            await house.decided(dispute, "won")


@pytest.mark.parametrize("twice", [False, True])
async def test_what_replaces_it_stays_as_well(house: House, twice: bool) -> None:
    """An exchange, or one of an exchange, is paid with the first order's money."""
    desk = house.desk
    first, between, last = [await desk.order() for _ in range(3)]

    def replaces(call: Call) -> None:
        call.get(Order, between).replaces_order_id = first
        call.get(Order, last).replaces_order_id = between if twice else first

    await desk.seed("orders", replaces)
    made = await desk.done("create_shipment", order_id=last, carrier="swift")
    dispute = await house.disputed(first)
    leaving = picked_up(made["shipment_id"])
    await house.stays(desk.client, "record_tracking_event", dispute, **leaving)
    pickup = {"carrier": "swift", "warehouse": "WH-1"}
    await desk.refused("close_manifest", "not_found", **pickup)
    await house.decided(dispute, "won")
    await desk.done("close_manifest", **pickup)


async def test_lost_money_pays_for_nothing(house: House) -> None:
    desk = house.desk
    order_id = await desk.order()
    made = await desk.done("create_shipment", order_id=order_id, carrier="swift")
    await house.decided(await house.disputed(order_id), "lost")
    told = await desk.refused(
        "record_tracking_event", "rule_violation", **picked_up(made["shipment_id"])
    )
    assert told["details"]["lost_minor"] > 0
    assert "not paid in full: 0.00" in told["message"]
