"""A carrier that is reached: labels bought and voided once, whatever answers get lost."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from common.call import Call
from common.carriers.port import Scan
from common.carriers.simulator import CarrierSimulator
from common.carriers.worker import CarrierWorker
from common.tables.logistics import Carrier, CarrierPickup, Label, Manifest, Shipment
from common.tables.orders import OrderEvent
from common.tables.payments import Outbox
from tests.logistics.seed import Desk, a_desk, address
from tests.support.shop import call, done


def connect(call: Call) -> None:
    call.get(Carrier, "post").connection = "simulator"


def reach(desk: Desk, **faults: str) -> CarrierSimulator:
    """The desk's carrier, which loses these answers."""
    carrier = CarrierSimulator(desk.shop.settings.home / "post.db", clock=desk.clock, faults=faults)
    desk.shop.guard.ports["carriers"] = {"simulator": carrier}
    desk.shop.labels = CarrierWorker(desk.shop.database, {"simulator": carrier}, desk.clock)
    return carrier


@pytest.fixture
async def posting(desk: Desk) -> Desk:
    await desk.seed("logistics", connect)
    return desk


async def settled(desk: Desk) -> None:
    for _ in range(3):
        await desk.shop.labels.drain()
        desk.clock.forward(minutes=15)


async def labels(desk: Desk) -> list[Label]:
    return await desk.look(lambda s: list(s.scalars(select(Label).order_by(Label.id))))


async def parcel(desk: Desk, **more: Any) -> dict[str, Any]:
    order_id = await desk.order()
    return await desk.done("create_shipment", order_id=order_id, carrier="post", **more)


@pytest.mark.parametrize("faults", [{}, {"buy": "lost"}, {"buy": "done"}], ids=str)
async def test_a_label_is_bought_once(posting: Desk, faults: dict[str, str]) -> None:
    carrier = reach(posting, **faults)
    made = await parcel(posting)
    assert (made["status"], made["label_state"]) == ("created", "pending")
    assert "tracking_number" not in made
    await settled(posting)
    found = await done(posting.client, "track_shipment", shipment_id=made["shipment_id"])
    assert (found["status"], found["label_state"]) == ("label_created", "purchased")
    assert found["tracking_validated"] is True
    assert list(carrier.labels().values()) == ["bought"]
    await posting.shop.labels.drain()
    assert len(carrier.labels()) == 1


async def test_one_live_label_a_shipment_and_two_workers(either: Desk) -> None:
    posting = either
    await posting.seed("logistics", connect)
    carrier = reach(posting)
    made = await parcel(posting)
    await posting.refused(
        "buy_label", "rule_violation", shipment_id=made["shipment_id"], carrier="post"
    )
    other = CarrierWorker(posting.shop.database, {"simulator": carrier}, posting.clock)
    await asyncio.gather(posting.shop.labels.drain(), other.drain())
    assert len(carrier.labels()) == 1
    assert [label.state for label in await labels(posting)] == ["purchased"]


@pytest.mark.parametrize(
    ("bought", "fault"), [(True, ""), (True, "lost"), (True, "done"), (False, "")]
)
async def test_a_label_is_given_back(posting: Desk, bought: bool, fault: str) -> None:
    carrier = reach(posting, **({"void": fault} if fault else {}))
    made = await parcel(posting)
    if bought:
        await settled(posting)
    kept = await posting.done(
        "cancel_shipment", shipment_id=made["shipment_id"], only_label=True
    )  # fmt: skip
    assert (kept["status"], kept["label_state"]) == ("created", "voiding")
    assert "carrier" not in kept
    await settled(posting)
    assert [label.state for label in await labels(posting)] == ["voided"]
    assert list(carrier.labels().values()) == ["voided"]
    again = await posting.done("buy_label", shipment_id=made["shipment_id"], carrier="post")
    assert again["state"] == "pending"
    await settled(posting)
    assert sorted(carrier.labels().values()) == ["bought", "voided"]
    cancelled = await posting.done("cancel_shipment", shipment_id=made["shipment_id"])
    assert cancelled["status"] == "cancelled"
    await settled(posting)
    assert list(carrier.labels().values()) == ["voided", "voided"]


async def test_an_address_that_does_not_exist(posting: Desk) -> None:
    reach(posting)
    nowhere = address(1) | {"city": " "}
    order_id = await posting.order(ship_to=nowhere)
    made = await posting.done("create_shipment", order_id=order_id, carrier="post")
    await settled(posting)
    found = await done(posting.client, "track_shipment", shipment_id=made["shipment_id"])
    assert (found["status"], found["label_state"]) == ("created", "failed")
    assert "no such address" in found["next"]
    queue = await done(posting.client, "list_shipments", queue="exceptions")
    assert [row["shipment_id"] for row in queue["shipments"]] == [made["shipment_id"]]
    swift = await posting.done("buy_label", shipment_id=made["shipment_id"], carrier="swift")
    assert swift["state"] == "purchased"
    assert not (await done(posting.client, "list_shipments", queue="exceptions"))["shipments"]


async def test_the_carrier_is_never_called_inside_a_transaction(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    await desk.seed("logistics", connect)
    carrier = reach(desk)
    open_now: list[str] = []
    run = desk.shop.database._once
    called: list[str] = []

    async def watched(domain: str, work: Any, *rest: Any) -> Any:
        open_now.append(domain)
        try:
            return await run(domain, work, *rest)
        finally:
            open_now.remove(domain)

    def watching(name: str) -> Callable[..., Any]:
        real = getattr(carrier, name)

        def method(*args: Any) -> Any:
            assert not open_now, f"{name} inside a transaction"
            called.append(name)
            return real(*args)

        return method

    monkeypatch.setattr(desk.shop.database, "_once", watched)
    for name in ("buy", "void", "close", "collect", "scans", "rates"):
        monkeypatch.setattr(carrier, name, watching(name))
    made = await parcel(desk)
    await done(desk.client, "quote_rates", country="DE", weight_g=500)
    await settled(desk)
    await desk.done("request_pickup", carrier="post", warehouse="WH-1", **window(desk))
    second = await parcel(desk)
    await settled(desk)
    await desk.done("cancel_shipment", shipment_id=second["shipment_id"])
    await desk.done("close_manifest", carrier="post", warehouse="WH-1")
    await settled(desk)
    await desk.done("pull_tracking", shipment_id=made["shipment_id"])
    assert set(called) == {"buy", "void", "close", "collect", "scans", "rates"}


def window(desk: Desk, hours: int = 2) -> dict[str, str]:
    opens = desk.clock.now.replace(second=0, microsecond=0) + timedelta(hours=1)
    closes = opens + timedelta(hours=hours)
    return {
        "opens_at": f"{opens:%Y-%m-%dT%H:%M:%SZ}", "closes_at": f"{closes:%Y-%m-%dT%H:%M:%SZ}"
    }  # fmt: skip


async def test_a_day_with_the_carrier(posting: Desk) -> None:
    carrier = reach(posting)
    ids = [(await parcel(posting))["shipment_id"] for _ in range(2)]
    await settled(posting)
    asked = await posting.done(
        "request_pickup", carrier="post", warehouse="WH-1", **window(posting)
    )
    assert (asked["state"], asked["parcels"]) == ("requested", 2)
    await posting.refused(
        "request_pickup", "rule_violation", carrier="post", warehouse="WH-1", **window(posting)
    )
    await settled(posting)
    pickup = await posting.look(lambda s: s.get(CarrierPickup, asked["pickup_id"]))
    assert pickup is not None
    assert pickup.state == "confirmed"
    closed = await posting.done("close_manifest", carrier="post", warehouse="WH-1")
    assert sorted(closed["shipment_ids"]) == sorted(ids)
    await settled(posting)
    manifest = await posting.look(lambda s: s.get(Manifest, closed["manifest_id"]))
    assert manifest is not None
    assert manifest.provider_reference
    assert set(carrier.labels().values()) == {"handed_over"}
    posting.clock.forward(hours=7)
    pulled = await posting.done("pull_tracking", carrier="post")
    # Two scans a parcel so far; the pick-up was known from the manifest.
    assert (pulled["counted"], pulled["kept"], pulled["refused"]) == (2, 2, {})
    again = await posting.done("pull_tracking", carrier="post")
    assert (again["counted"], again["kept"]) == (0, 0)
    posting.clock.forward(hours=24)
    await posting.done("pull_tracking", carrier="post")
    for id in ids:
        found = await done(posting.client, "track_shipment", shipment_id=id)
        assert found["status"] == "delivered"
        assert found["proof"]["received_by"] == "the receiver"
    await posting.refused("pull_tracking", "rule_violation", carrier="post")
    await posting.refused(
        "cancel_shipment", "rule_violation", shipment_id=ids[0], only_label=True
    )  # fmt: skip


async def test_a_pickup_that_is_no_window(posting: Desk) -> None:
    reach(posting)
    await posting.refused(
        "request_pickup", "rule_violation", carrier="post", warehouse="WH-1", **window(posting)
    )
    await parcel(posting)
    await settled(posting)
    for bad in (window(posting, hours=-1), window(posting, hours=0), window(posting, hours=30)):
        await posting.refused(
            "request_pickup", "invalid_parameters", carrier="post", warehouse="WH-1", **bad
        )
    await posting.refused(
        "request_pickup", "rule_violation", carrier="own", warehouse="WH-1", **window(posting)
    )


async def test_scans_before_the_manifest_wait_for_it(posting: Desk) -> None:
    carrier = reach(posting)
    made = await parcel(posting)
    await settled(posting)
    number = (await labels(posting))[0].tracking_number or ""
    carrier.scan(Scan("early-1", number, "in_transit", posting.clock.now))
    odd = posting.clock.now + timedelta(hours=9)
    carrier.scan(Scan("odd-1", number, "exception", posting.clock.now))
    carrier.scan(Scan("odd-2", number, "in_transit", odd))
    pulled = await posting.done("pull_tracking", shipment_id=made["shipment_id"])
    assert (pulled["counted"], pulled["kept"]) == (0, 1)
    assert list(pulled["refused"]) == ["odd-1"]
    found = await done(posting.client, "track_shipment", shipment_id=made["shipment_id"])
    assert found["status"] == "label_created"
    order = await posting.look(lambda s: s.get(Shipment, made["shipment_id"]))
    assert order is not None
    assert order.shipped_at is None
    await posting.done("close_manifest", carrier="post", warehouse="WH-1")
    found = await done(posting.client, "track_shipment", shipment_id=made["shipment_id"])
    assert found["status"] == "in_transit"


async def test_a_silent_carrier_stops_nobody(posting: Desk) -> None:
    reach(posting)
    made = await parcel(posting)
    await settled(posting)
    reach(posting, scans="down", rates="down")
    pulled = await posting.done("pull_tracking", shipment_id=made["shipment_id"])
    assert pulled["silent"] == {"post": "The carrier does not answer."}
    quotes = await done(posting.client, "quote_rates", country="DE", weight_g=500)
    assert all("confirmed" not in quote for quote in quotes["quotes"])


async def test_the_carrier_says_what_it_takes(posting: Desk) -> None:
    reach(posting)
    quotes = await done(posting.client, "quote_rates", country="DE", weight_g=500)
    assert {q["carrier"]: q.get("confirmed") for q in quotes["quotes"]} == {
        "post": True, "swift": None,
    }  # fmt: skip
    answer = await call(
        posting.client, "create_shipment", order_id=await posting.order(), carrier="post",
        tracking_number="X1", **posting.key(),
    )  # fmt: skip
    assert answer["code"] == "invalid_parameters"


async def test_a_carrier_that_never_answers_is_given_up(posting: Desk) -> None:
    posting.shop.labels = CarrierWorker(posting.shop.database, {}, posting.clock)
    made = await parcel(posting)
    for _ in range(40):
        await posting.shop.labels.drain()
        posting.clock.forward(hours=1)
    rows = await posting.look(
        lambda s: list(s.scalars(select(Outbox.state).where(Outbox.port == "carrier")))
    )
    assert rows == ["failed"]
    queue = await done(posting.client, "list_shipments", queue="exceptions")
    assert [row["shipment_id"] for row in queue["shipments"]] == [made["shipment_id"]]


async def test_the_worker_runs_with_the_shop(tmp_path: Path, sqlite_url: str) -> None:
    """Through the shop's own wiring: the simulator in its home folder."""
    async with a_desk(tmp_path, database_url=sqlite_url) as desk:
        await desk.seed("logistics", connect)
        await parcel(desk)
        await desk.shop.labels.drain()
        assert [label.state for label in await labels(desk)] == ["purchased"]
        assert (desk.shop.settings.home / "carrier.db").exists()


async def test_a_label_dearer_than_the_contract_is_found(either: Desk) -> None:
    posting = either
    await posting.seed("logistics", connect)
    reach(posting, price="125")
    quotes = await done(posting.client, "quote_rates", country="DE", weight_g=2_000)
    post = next(row for row in quotes["quotes"] if row["carrier"] == "post")
    assert (post["price_minor"], post["asked_minor"], post["asked"]) == (550, 688, "6.88 EUR")
    assert not any("asked" in row for row in quotes["quotes"] if row["carrier"] != "post")
    assert not (await done(posting.client, "list_shipments", queue="overcharged"))["shipments"]
    dear = await parcel(posting)
    await settled(posting)
    found = await done(posting.client, "track_shipment", shipment_id=dear["shipment_id"])
    assert found["cost_minor"] == 688
    assert (found["overcharge_minor"], found["overcharge"]) == (138, "1.38 EUR")
    rows = await labels(posting)
    assert [(row.agreed_minor, row.cost_minor) for row in rows] == [(550, 688)]
    told = select(OrderEvent.detail).where(OrderEvent.kind == "label_overcharged")
    assert await posting.look(lambda s: list(s.scalars(told))) == [
        "post took 1.38 EUR more than its contract says"
    ]

    reach(posting)
    fair = await parcel(posting)
    await settled(posting)
    found = await done(posting.client, "track_shipment", shipment_id=fair["shipment_id"])
    assert "overcharge_minor" not in found
    reach(posting, price="80")
    await parcel(posting)
    await settled(posting)
    queue = await done(posting.client, "list_shipments", queue="overcharged")
    assert [row["shipment_id"] for row in queue["shipments"]] == [dear["shipment_id"]]

    await posting.done("cancel_shipment", shipment_id=dear["shipment_id"], only_label=True)
    await settled(posting)
    assert not (await done(posting.client, "list_shipments", queue="overcharged"))["shipments"]
