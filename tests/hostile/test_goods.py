"""What a tired or hostile client sends about goods: quantities no shelf has, SKUs that only look
right, windows that end before they start, a driver in two vans, the same scan twice, events from
the future. Each is refused by its code and on record once, and nothing else has changed."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from common.call import Call
from common.storage import schema
from common.tables.inventory import Supplier, SupplierItem
from common.tables.spine import AuditRecord
from servers.inventory.tools import tools as inventory
from tests.hostile.stand import Unrationed, digest
from tests.hostile.test_business import filled
from tests.logistics.seed import TODAY, Desk, a_desk, world
from tests.support.shop import call, connected, done

BAD = "invalid_parameters"
NOW, BEFORE, EARLY = "2026-11-02T09:30:00Z", "2026-11-02T09:29:00Z", "2026-11-01T09:00:00Z"
AHEAD, LATER = "2026-11-02T12:00:00Z", "2026-11-02T13:00:00Z"
HOUSE = {"warehouse": "WH-1"}
QUANTITIES = (-1, 0, 10**6 + 1, 10**30, 1.5, "2")
CONFUSABLE = (
    "L\u0410MP", "\uff2c\uff21\uff2d\uff30", "LAMP\u200b", "\u202eLAMP", "LA\u0301MP", " LAMP",
    "LAMP\n", "", "L" * 65,
)  # fmt: skip


class Row(NamedTuple):
    server: str
    tool: str
    code: str
    arguments: dict[str, Any]


def of_goods(sku: Any, quantity: Any) -> list[tuple[str, dict[str, Any]]]:
    """Every change of the books that names a SKU and a number of units."""
    one = {"sku": sku, "quantity": quantity}
    return [
        ("reserve_stock", HOUSE | one | {"source_id": "me"}),
        ("adjust_stock", HOUSE | one | {"reason": "found"}),
        (
            "move_stock",
            HOUSE | one | {"from_status": "available", "to": "quarantine", "reason": "look"},
        ),
        ("build_kit", HOUSE | {"kit_sku": sku, "quantity": quantity}),
        ("create_reorder", HOUSE | one | {"even_if_open": True}),
        (
            "transfer_stock",
            {"from_warehouse": "WH-1", "to_warehouse": "WH-2", "lines": [one]},
        ),
        (
            "receive_purchase_order",
            {"purchase_order_id": "$order", "lines": [{"sku": sku, "received": quantity}]},
        ),
    ]


def quantities() -> list[Row]:
    found = []
    for quantity in QUANTITIES:
        for tool, arguments in of_goods("LAMP", quantity):
            # A correction may be negative, and of a delivered line nothing may have come.
            if (tool, quantity) in (("adjust_stock", -1), ("receive_purchase_order", 0)):
                continue
            found.append(Row("inventory", tool, BAD, arguments))
    lamps = dict(of_goods("LAMP", 10**6))
    sheet = {"count_id": "$count"}
    return [
        *found,
        *(
            Row("inventory", tool, "insufficient_stock", lamps[tool])
            for tool in ("reserve_stock", "move_stock", "transfer_stock")
        ),
        Row("inventory", "adjust_stock", "insufficient_stock",
            lamps["adjust_stock"] | {"quantity": -101, "reason": "shrinkage"}),
        Row("inventory", "receive_purchase_order", "rule_violation",
            lamps["receive_purchase_order"]),
        *(
            Row("inventory", "submit_cycle_count", BAD,
                sheet | {"counts": [{"line": 1, "counted": units}]})
            for units in (-1, 1.5, 10**30, "2")
        ),
        *(
            Row("inventory", "reserve_stock", BAD,
                HOUSE | {"sku": "LAMP", "quantity": 1, "source_id": "me", "minutes": minutes})
            for minutes in (-5, 0, 1.5, 10**9)
        ),
        *(
            Row("logistics", "create_shipment", BAD, {"order_id": "$open", "weight_g": grams})
            for grams in (-1, 0, 1.5, 10**30)
        ),
    ]  # fmt: skip


def skus() -> list[Row]:
    found = [
        Row("inventory", tool, BAD, arguments)
        for sku in CONFUSABLE
        for tool, arguments in of_goods(sku, 1)
    ]
    for sku in ("NONE", "LAMP-", "lamp"):
        found += [
            Row("inventory", tool, "product_not_found", arguments)
            for tool, arguments in of_goods(sku, 1)
        ]
    return found


def windows() -> list[Row]:
    backwards = {"window_opens_at": LATER, "window_closes_at": AHEAD}
    over = {"window_opens_at": EARLY, "window_closes_at": BEFORE}
    pickup = {"carrier": "post", "warehouse": "WH-1"}
    return [
        *(
            Row("logistics", tool, BAD, arguments | window)
            for window in (backwards, over)
            for tool, arguments in (
                ("create_shipment", {"order_id": "$open"}),
                ("resolve_exception",
                 {"shipment_id": "$stuck", "action": "retry", "resolution": "Again."}),
            )
        ),
        Row("logistics", "request_pickup", BAD, pickup | {"opens_at": LATER, "closes_at": AHEAD}),
        Row("logistics", "request_pickup", BAD, pickup | {"opens_at": AHEAD, "closes_at": AHEAD}),
        Row("logistics", "request_pickup", BAD, pickup | {"opens_at": EARLY, "closes_at": BEFORE}),
        Row("logistics", "plan_routes", BAD, {"date": "2026-11-01"}),
        Row("logistics", "plan_routes", BAD, {"date": "2026-02-30"}),
    ]  # fmt: skip


def twice() -> list[Row]:
    event = {"shipment_id": "$parcel", "event_id": "post-1"}
    return [
        Row("logistics", "dispatch_route", "rule_violation",
            {"route_id": "$draft", "driver_id": "DRV-1"}),
        Row("logistics", "dispatch_route", "rule_violation", {"route_id": "$driven"}),
        Row("logistics", "create_shipment", "rule_violation", {"order_id": "$packed"}),
        Row("logistics", "record_delivery", "rule_violation",
            {"shipment_id": "$delivered", "received_by": "Somebody else"}),
        Row("logistics", "record_tracking_event", "conflict",
            event | {"status": "in_transit", "occurred_at": BEFORE}),
        Row("logistics", "record_tracking_event", "conflict",
            event | {"status": "tendered", "occurred_at": NOW}),
        Row("inventory", "receive_purchase_order", "rule_violation",
            {"purchase_order_id": "$order", "delivery_note": "DN-1",
             "lines": [{"sku": "LAMP", "received": 1}]}),
        Row("inventory", "submit_cycle_count", BAD,
            {"count_id": "$count", "counts": [{"line": 1, "counted": 1}] * 2}),
        Row("inventory", "start_cycle_count", "rule_violation", HOUSE | {"skus": ["SAFE"]}),
    ]  # fmt: skip


def times() -> list[Row]:
    event = {"shipment_id": "$parcel", "event_id": "post-2", "status": "in_transit"}
    found = []
    for at in ("2026-11-03T09:00:00Z", "9998-12-31T23:59:59Z", EARLY, "2026-13-01T00:00:00Z"):
        found += [
            Row("logistics", "record_tracking_event", BAD, event | {"occurred_at": at}),
            Row("logistics", "record_delivery", BAD,
                {"shipment_id": "$aboard", "received_by": "Eve", "at": at}),
            Row("logistics", "record_failed_attempt", BAD,
                {"shipment_id": "$aboard", "reason": "nobody_home", "at": at}),
        ]  # fmt: skip
    return found


KINDS = (quantities, skus, windows, twice, times)


@pytest.fixture(params=["sqlite", "postgresql"])
def changes(request: pytest.FixtureRequest) -> dict[str, Any]:
    """What makes the shop's database one or the other."""
    if request.param == "sqlite":
        return {}
    url = str(request.getfixturevalue("postgres_url"))
    schema.upgrade_now(url)
    return {"database_url": url}


def supplied(call: Call) -> None:
    call.add(Supplier(id="sup-1", name="Lights", currency="EUR"))
    call.add(
        SupplierItem(
            id="offer-1", supplier_id="sup-1", sku="LAMP", unit_cost_minor=100, currency="EUR",
            minimum_order=1, pack_multiple=1, lead_time_millidays=5_000,
        )
    )  # fmt: skip


def heads(session: Session) -> dict[int, int]:
    """How far each chain of the audit is."""
    query = select(AuditRecord.chain, func.max(AuditRecord.seq)).group_by(AuditRecord.chain)
    return {row[0]: row[1] for row in session.execute(query)}


def since(session: Session, known: dict[int, int]) -> list[dict[str, Any]]:
    found = []
    for chain in heads(session):
        query = select(AuditRecord.record).where(
            AuditRecord.chain == chain, AuditRecord.seq > known.get(chain, -1)
        )
        found += list(session.scalars(query))
    return found


@asynccontextmanager
async def a_dock(folder: Path, changes: dict[str, Any]) -> AsyncIterator[Any]:
    """A shop in the middle of its day, a client of each server, and the ids of what is there."""
    async with a_desk(folder, **changes) as desk:
        await desk.seed("*", world)
        await desk.seed("*", supplied)
        desk.shop.guard._ration = Unrationed()  # type: ignore[assignment]
        async with connected(desk.shop, inventory, person=desk.person) as goods:
            ids = await on_the_way(desk)
            bought = await done(
                goods, "create_reorder", **desk.key(), **HOUSE, sku="LAMP", quantity=10
            )
            ids["order"] = bought["purchase_order_id"]
            await done(
                goods, "receive_purchase_order", **desk.key(), purchase_order_id=ids["order"],
                delivery_note="DN-1", lines=[{"sku": "LAMP", "received": 4}],
            )  # fmt: skip
            sheet = await done(
                goods, "start_cycle_count", **desk.key(), **HOUSE, skus=["SAFE", "OIL"]
            )
            ids["count"] = sheet["count_id"]
            yield desk, {"inventory": goods, "logistics": desk.client}, ids


async def on_the_way(desk: Desk) -> dict[str, str]:
    """A van with a parcel delivered, one stuck and one aboard; a draft; a carrier's parcel."""
    route, (delivered, stuck, aboard) = await desk.on_the_road(3)
    await desk.shipment()
    plan = await desk.done("plan_routes", date=TODAY, vehicles=["VAN-2"], iterations=5)
    packed = await desk.order()
    parcel = await desk.done("create_shipment", order_id=packed, carrier="post")
    desk.clock.forward(minutes=30)
    await desk.done("record_delivery", shipment_id=delivered, received_by="Eve")
    await desk.done("record_failed_attempt", shipment_id=stuck, reason="wrong_address")
    await desk.done(
        "record_tracking_event", shipment_id=parcel["shipment_id"], event_id="post-1",
        status="tendered", occurred_at=BEFORE,
    )  # fmt: skip
    return {
        "driven": route["route_id"], "draft": plan["routes"][0]["route_id"], "packed": packed,
        "delivered": delivered, "stuck": stuck, "aboard": aboard,
        "parcel": parcel["shipment_id"], "open": await desk.order(),
    }  # fmt: skip


@pytest.mark.slow
async def test_bad_input_changes_nothing(tmp_path: Path, changes: dict[str, Any]) -> None:
    quick = not changes  # a look at every row takes PostgreSQL a second: there, once at the end
    async with a_dock(tmp_path, changes) as (desk, clients, ids):
        before = await desk.look(digest)
        for row in (row for kind in KINDS for row in kind()):
            arguments = filled(row.arguments, ids) | desk.key()
            known = await desk.look(heads)
            answer = await call(clients[row.server], row.tool, **arguments)
            assert answer.get("code") == row.code, (row, answer)
            assert set(answer) == {"code", "message", "details", "next"}, row
            assert not quick or await desk.look(digest) == before, row
            said = await desk.look(partial(since, known=known))
            assert [(one["tool"], one.get("error")) for one in said] == [(row.tool, row.code)], row
        assert await desk.look(digest) == before


async def test_the_same_event_twice_is_one(tmp_path: Path, changes: dict[str, Any]) -> None:
    """A carrier that repeats itself is no error: it is answered, and counts once."""
    async with a_dock(tmp_path, changes) as (desk, _, ids):
        known = await done(desk.client, "track_shipment", shipment_id=ids["parcel"])
        again = await desk.done(
            "record_tracking_event", shipment_id=ids["parcel"], event_id="post-1",
            status="tendered", occurred_at=BEFORE,
        )  # fmt: skip
        assert again["events"] == known["events"]
        assert await done(desk.client, "track_shipment", shipment_id=ids["parcel"]) == known
