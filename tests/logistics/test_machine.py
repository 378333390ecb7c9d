"""Whatever a dispatcher does, in any order: no parcel twice, no van too full, no word unproved."""

import asyncio
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import and_, or_, select
from sqlalchemy.orm import Session

from common.call import Call
from common.errors import ShopError
from common.rules import paid, placing, stock
from common.storage import schema
from common.tables.fleet import Driver, Route, Stop, Vehicle
from common.tables.logistics import ProofOfDelivery, Shipment, ShipmentLine, TrackingEvent
from common.tables.orders import Order, OrderLine
from servers.logistics import (
    delivering,
    fleet,
    moving,
    planning,
    reassigning,
    replanning,
    routes,
    shipping,
    tracking,
)
from servers.logistics.delivering import Correction, Proof
from servers.logistics.tracking import Reported
from servers.orders import fulfilling
from tests.logistics.seed import address, customer, world
from tests.support.postgres import Postgres
from tests.support.shop import MovingClock, a_shop, do, look

T = TypeVar("T")
which = st.integers(0, 20)
STOCK = 100
SKUS = ("LAMP", "OIL", "SAFE")


class Quiet:
    """Progress nobody looks at."""

    def report(self, done: int, total: int, message: str = "") -> None: ...

    def cancelled(self) -> bool:
        return False


class Deliveries(RuleBasedStateMachine):
    """``url``: where the shop of a run lives; None is a file of its own."""

    url: ClassVar[Callable[[], str] | None] = None

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = Path(tempfile.mkdtemp(prefix="shop-machine-"))
        self.clock, self.stack = MovingClock(), AsyncExitStack()
        more = {} if self.url is None else {"database_url": type(self).url()}
        opened = a_shop(self.folder, clock=self.clock, **more)
        self.shop = self.loop.run_until_complete(self.stack.enter_async_context(opened))
        self.run("*", world)
        self.orders: list[str] = []
        self.events: dict[str, tuple[Any, ...]] = {}
        self.ended: dict[str, str] = {}

    def run(self, domain: str, work: Callable[[Call], T]) -> T:
        return self.loop.run_until_complete(do(self.shop, domain, work))

    def attempt(self, work: Callable[[Call], Any], domain: str = "logistics") -> Any:
        """The outcome, or None where the rules refuse."""
        try:
            return self.run(domain, work)
        except ShopError:
            return None

    def ids(self, kind: type[Any]) -> list[str]:
        query = select(kind.id).order_by(kind.id)
        return self.loop.run_until_complete(look(self.shop, lambda s: list(s.scalars(query))))

    def one(self, kind: type[Any], number: int) -> str:
        found = self.ids(kind)
        return found[number % len(found)] if found else "none"

    def teardown(self) -> None:
        self.loop.run_until_complete(self.stack.aclose())
        self.loop.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    # -- what happens --------------------------------------------------------------------------

    @initialize()
    def begin(self) -> None:
        """Two parcels are on the road and two in a draft: the interesting part is further on."""
        for number in range(2):
            self.order(("LAMP", 1), False)
            self.ship(number, None, False)
        self.plan(False, False)
        self.dispatch(0, None)
        for number in range(2, 4):
            self.order(("LAMP", 1), False)
            self.ship(number, None, False)
        self.plan(False, False)
        # One is delivered, and one is with a carrier.
        self.deliver(0, True, False)
        self.order(("LAMP", 1), False)
        self.ship(4, "post", False)
        self.wait(120)
        self.hand_over()

    @rule(line=st.tuples(st.sampled_from(SKUS), st.integers(1, 2)), promised=st.booleans())
    def order(self, line: tuple[str, int], promised: bool) -> None:
        number = len(self.orders) + 1
        self.run("orders", lambda call: customer(call, number))
        new = placing.NewOrder(
            customer_id=f"cus-{number}", lines=[placing.NewLine(*line)], ship_to=address(number),
            payment_method_id=f"card-{number}", warehouse_id="WH-1",
            promised_at=self.clock.now + timedelta(hours=3) if promised else None,
        )  # fmt: skip
        order_id = self.run("*", lambda call: placing.place(call, new)).id
        self.attempt(lambda call: fulfilling.release(call, order_id), "orders")
        self.orders.append(order_id)

    @rule(number=which, carrier=st.sampled_from((None, None, "post")), window=st.booleans())
    def ship(self, number: int, carrier: str | None, window: bool) -> None:
        closes = self.clock.now + timedelta(hours=2) if window else None
        wanted = shipping.Wanted(carrier_id=carrier, closes_at=closes)
        order_id = self.orders[number % len(self.orders)]
        self.attempt(lambda call: shipping.create(call, order_id, wanted))

    @rule(replan=st.booleans(), all_vans=st.booleans())
    def plan(self, replan: bool, all_vans: bool) -> None:
        vans = None if all_vans else ["VAN-1"]
        brief = self.attempt(lambda call: planning.prepare(call, None, "DEP-1", vans, 1, 4, replan))
        if brief is not None:
            planned = planning.compute(brief, Quiet())
            self.attempt(lambda call: planning.keep(call, planned))

    @rule(number=which)
    def plan_on_the_road(self, number: int) -> None:
        id = self.one(Route, number)
        brief = self.attempt(
            lambda call: replanning.prepare(call, None, None, None, 1, 4, False, id)
        )
        if brief is not None:
            planned = planning.compute(brief, Quiet())
            made = [row for row in self.stops(id) if row[1] in ("done", "failed", "enroute")]
            self.attempt(lambda call: replanning.keep(call, planned))
            assert [row for row in self.stops(id) if row in made] == made

    def stops(self, route_id: str) -> list[tuple[Any, ...]]:
        query = (
            select(Stop.id, Stop.status, Stop.position, Stop.shipment_id, Stop.departed_at)
            .where(Stop.route_id == route_id)
            .order_by(Stop.id)
        )
        return self.loop.run_until_complete(
            look(self.shop, lambda s: [tuple(row) for row in s.execute(query)])
        )

    @rule(number=which, driver=st.none() | st.sampled_from(("DRV-1", "DRV-2")))
    def dispatch(self, number: int, driver: str | None) -> None:
        route_id = self.one(Route, number)
        self.attempt(lambda call: routes.dispatch(call, route_id, driver))

    @rule(number=which, proved=st.sampled_from((True, True, False)), damaged=st.booleans())
    def deliver(self, number: int, proved: bool, damaged: bool) -> None:
        proof = Proof(received_by="Eve" if proved else None, damage_noted=damaged)
        id = self.one(Shipment, number)
        self.attempt(lambda call: delivering.deliver(call, id, proof))

    @rule(number=which, reason=st.sampled_from(("nobody_home", "refused", "wrong_address")))
    def fail(self, number: int, reason: str) -> None:
        id = self.one(Shipment, number)
        self.attempt(lambda call: delivering.fail(call, id, reason, "", None, None))

    @rule(number=which, action=st.sampled_from(("retry", "retry", "return_to_sender")))
    def resolve(self, number: int, action: str) -> None:
        id = self.one(Shipment, number)
        self.attempt(lambda call: delivering.resolve(call, id, action, "ok", Correction()))

    @rule(
        number=which, status=st.sampled_from(tracking.LEAVES + tracking.BRANCHES),
        ago=st.integers(-1, 4), event=st.integers(0, 5),
    )  # fmt: skip
    def report(self, number: int, status: str, ago: int, event: int) -> None:
        id = self.one(Shipment, number)
        kind = "weather" if status == "exception" else None
        at = self.clock.now - timedelta(minutes=20 * ago)
        told = Reported(f"e{event}", status, at, exception_kind=kind)
        before = self.standing(id)
        self.attempt(lambda call: tracking.report(call, id, told))
        after = self.standing(id)
        if before is None or after is None:
            return
        if before[0] in moving.OVER or at < before[1]:
            assert after == before, "an end, or news that came late"
        elif before[0] in moving.RANK and after[0] in moving.RANK:
            assert moving.RANK[after[0]] >= moving.RANK[before[0]]

    def standing(self, shipment_id: str) -> tuple[str, datetime] | None:
        query = select(Shipment.status, Shipment.status_at).where(Shipment.id == shipment_id)
        found = self.loop.run_until_complete(look(self.shop, lambda s: s.execute(query).first()))
        return None if found is None else (found[0], found[1])

    @rule(number=which, status=st.sampled_from(tracking.LEAVES + tracking.BRANCHES))
    def late_news(self, number: int, status: str) -> None:
        """Older than the last that counted; of a parcel at its end, anything."""
        with_carrier = and_(Shipment.carrier_id.is_not(None), Shipment.shipped_at.is_not(None))
        told = or_(with_carrier, Shipment.status.in_(moving.OVER))
        query = select(Shipment.id).where(told).order_by(Shipment.id)
        found = self.loop.run_until_complete(look(self.shop, lambda s: list(s.scalars(query))))
        id = found[number % len(found)]
        before = self.standing(id)
        assert before is not None
        over = before[0] in moving.OVER
        news = Reported(
            f"late-{len(self.events)}", status,
            self.clock.now if over else before[1] - timedelta(minutes=1),
            exception_kind="weather" if status == "exception" else None,
        )  # fmt: skip
        self.attempt(lambda call: tracking.report(call, id, news))
        assert self.standing(id) == before

    def arrivals_are_ahead(self) -> None:
        """Nobody is told an arrival that is past."""
        query = select(Route.id).where(Route.status.in_(fleet.ON_ROAD))
        for id in self.loop.run_until_complete(look(self.shop, lambda s: list(s.scalars(query)))):
            found = self.run("logistics", lambda call, id=id: routes.whole(call, id))
            etas = [halt.eta for halt in found.halts if halt.stop.status in moving.LIVE]
            assert etas
            assert all(eta is not None and eta >= self.clock.now for eta in etas)

    @rule()
    def hand_over(self) -> None:
        self.attempt(lambda call: tracking.close_manifest(call, "post", "WH-1"))

    @rule(number=which, route=which, position=st.none() | st.integers(1, 3))
    def reassign(self, number: int, route: int, position: int | None) -> None:
        ids = self.one(Shipment, number), self.one(Route, route)
        brief = self.attempt(lambda call: reassigning.prepare(call, *ids, position))
        if brief is not None:
            times = reassigning.compute(brief, Quiet())
            self.attempt(lambda call: reassigning.reassign(call, *ids, position, times))

    @rule(number=which, whole_route=st.booleans())
    def cancel(self, number: int, whole_route: bool) -> None:
        if whole_route:
            route_id = self.one(Route, number)
            self.attempt(lambda call: routes.cancel(call, route_id))
        else:
            id = self.one(Shipment, number)
            self.attempt(lambda call: delivering.cancel(call, id))

    @rule(
        van=st.sampled_from(("VAN-1", "VAN-2")),
        status=st.sampled_from(("broken_down", "available", "available", "maintenance")),
    )  # fmt: skip
    def van(self, van: str, status: str) -> None:
        self.attempt(lambda call: fleet.set_vehicle(call, van, status, "note"))

    @rule(
        driver=st.sampled_from(("DRV-1", "DRV-2")),
        status=st.sampled_from(("off", "available", "on_duty", "driving", "break")),
    )  # fmt: skip
    def driver(self, driver: str, status: str) -> None:
        self.attempt(lambda call: fleet.set_driver(call, driver, status))

    @rule(minutes=st.sampled_from((20, 120, 1_200)))
    def wait(self, minutes: int) -> None:
        self.clock.forward(minutes=minutes)
        self.arrivals_are_ahead()

    # -- what holds ----------------------------------------------------------------------------

    @invariant()
    def all_is_well(self) -> None:
        self.loop.run_until_complete(look(self.shop, self._check))

    def _check(self, session: Session) -> None:
        shipments = {row.id: row for row in session.scalars(select(Shipment))}
        all_routes = {row.id: row for row in session.scalars(select(Route))}
        stops = list(session.scalars(select(Stop).order_by(Stop.position, Stop.id)))
        live = [stop for stop in stops if stop.status in moving.LIVE]
        self._check_shipments(session, shipments, live, all_routes)
        self._check_routes(session, shipments, live, all_routes)
        self._check_events(session)
        self._check_stock_and_money(session, shipments)

    def _check_shipments(
        self,
        session: Session,
        shipments: dict[str, Shipment],
        live: list[Stop],
        all_routes: dict[str, Route],
    ) -> None:
        assert max(Counter(stop.shipment_id for stop in live).values(), default=0) <= 1
        on = {stop.shipment_id: all_routes[stop.route_id] for stop in live}
        proofs = set(session.scalars(select(ProofOfDelivery.shipment_id)))
        assert proofs == {id for id, row in shipments.items() if row.status == "delivered"}
        for id, row in shipments.items():
            if row.carrier_id is None:
                assert (row.status == "planned") == (id in on and on[id].status == "draft")
                assert (row.status == "out_for_delivery") == (
                    id in on and on[id].status in fleet.ON_ROAD
                )
            else:
                assert id not in on
            assert row.status != "delivered" or row.shipped_at is not None
            assert row.delivered_at is None or row.delivered_at >= row.created_at
            assert id not in on or row.status not in moving.OVER
        now = {id: row.status for id, row in shipments.items()}
        assert {id: now[id] for id in self.ended} == self.ended
        self.ended = {id: status for id, status in now.items() if status in moving.OVER}

    def _check_routes(
        self,
        session: Session,
        shipments: dict[str, Shipment],
        live: list[Stop],
        all_routes: dict[str, Route],
    ) -> None:
        vans = {row.id: row for row in session.scalars(select(Vehicle))}
        drivers = {row.id: row for row in session.scalars(select(Driver))}
        out = [row for row in all_routes.values() if row.status in fleet.ON_ROAD]
        for attribute, known, busy in (
            ("vehicle_id", vans, ("on_route",)), ("driver_id", drivers, ("driving", "break")),
        ):  # fmt: skip
            names = [getattr(row, attribute) for row in out]
            assert len(names) == len(set(names))
            taken = {id for id, row in known.items() if row.status == "on_route"}
            taken |= {id for id, row in known.items() if row.status == "driving"}
            assert taken <= set(names)
            assert all(known[name].status in busy for name in names)
        ahead = [r for r in all_routes.values() if r.status not in ("completed", "cancelled")]
        days = [(route.vehicle_id, route.on_date) for route in ahead]
        assert len(days) == len(set(days))
        for route in all_routes.values():
            mine = [stop for stop in live if stop.route_id == route.id]
            over = route.status in ("completed", "cancelled")
            assert bool(mine) != over
            if route.status != "draft":
                continue
            van, driver = vans[route.vehicle_id], drivers[route.driver_id or ""]
            assert route.duty_seconds <= driver.max_duty_seconds
            assert route.driving_seconds <= driver.max_driving_seconds
            assert route.planned_finish - route.planned_start >= timedelta(
                seconds=route.driving_seconds + route.waiting_seconds
            )
            weight = sum(shipments[stop.shipment_id].weight_g for stop in mine)
            assert route.load_weight_g == weight <= van.capacity_weight_g
            assert route.load_volume_cm3 <= van.capacity_volume_cm3
            assert [stop.position for stop in mine] == list(range(1, len(mine) + 1))
            for stop in mine:
                weight -= shipments[stop.shipment_id].weight_g
                assert stop.load_weight_g == weight >= 0
                closes = shipments[stop.shipment_id].window_closes_at
                assert closes is None or stop.planned_arrival <= closes
                assert route.planned_start <= stop.planned_arrival <= route.planned_finish

    def _check_events(self, session: Session) -> None:
        """What was once told stays as it was told; nothing is told from the future."""
        now: dict[str, tuple[Any, ...]] = {}
        for event in session.scalars(select(TrackingEvent)):
            now[event.id] = (event.shipment_id, event.status, event.occurred_at, event.applied)
            assert event.occurred_at <= self.clock.now
        assert {id: now.get(id) for id in self.events} == self.events
        self.events = now

    def _check_stock_and_money(self, session: Session, shipments: dict[str, Shipment]) -> None:
        gone: Counter[str] = Counter()
        for inside in session.scalars(select(ShipmentLine)):
            if shipments[inside.shipment_id].shipped_at is not None:
                gone[inside.sku] += inside.quantity
        for sku in SKUS:
            level = stock.level(session, self.clock.now, sku, "WH-1")
            assert level.on_hand == STOCK - gone[sku]
        left = {row.order_id for row in shipments.values() if row.shipped_at is not None}
        for order in session.scalars(select(Order)):
            lines = session.scalars(select(OrderLine).where(OrderLine.order_id == order.id))
            (state,) = {line.status for line in lines}
            taken = sum(paid.net_paid(session, order.id, self.clock.now).values())
            assert taken == (order.total_minor if order.id in left else 0)
            assert (state in ("shipped", "delivered")) == (order.id in left)
            assert (order.fulfilment_status == "delivered") == (state == "delivered")
            assert (order.fulfilment_status == "shipped") == (state == "shipped")
            assert (order.delivered_at is not None) == (state == "delivered")


# A failure is told at once: each example is a shop of its own, and shrinking makes hundreds.
ONCE = settings(derandomize=True, deadline=None, phases=[Phase.generate])
SHORT = settings(ONCE, max_examples=6, stateful_step_count=25)
SHORTEST = settings(ONCE, max_examples=2, stateful_step_count=15)


def test_deliveries_on_sqlite() -> None:
    run_state_machine_as_test(Deliveries, settings=SHORT)


def test_deliveries_on_postgresql(postgres: Postgres) -> None:
    made: list[str] = []

    class There(Deliveries):
        @staticmethod
        def url() -> str:
            made.append(postgres.copy_of("schema", schema.upgrade_now))
            return made[-1]

    run_state_machine_as_test(There, settings=SHORTEST)
    for url in made:
        postgres.drop_database(url)
