"""The promises of a warehouse, whatever the order of events: a model beside the real rules."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from common.call import Call
from common.errors import InsufficientStock, InvalidParameters, RuleViolation, ShopError
from common.rules import reserving, stock
from common.shop import Shop
from common.tables.inventory import Lot, PurchaseLine, Reservation, SupplierItem, Variant
from common.tables.spine import Account, Transfer
from common.tables.stock_documents import ReceiptLine
from servers.inventory import (
    corrections,
    counts,
    levels,
    purchasing,
    receiving,
    reservations,
    transferring,
)
from servers.inventory.counts import Counted
from servers.inventory.receiving import ReceivedLine
from servers.inventory.transferring import ArrivedLine, SentLine
from tests.inventory.seed import NORTH, SOUTH
from tests.support.shop import MovingClock, a_shop, do, look

T = TypeVar("T")
SITES = st.sampled_from([NORTH, SOUTH])
FEW = st.integers(1, 12)
NUMBERS = count(1)


class Ground:
    """An open shop that examples share; each works on items of its own."""

    def __init__(self, folder: Path, url: str) -> None:
        self.clock = MovingClock()
        self._runner = asyncio.Runner()
        self._stack = AsyncExitStack()
        self.shop: Shop = self._runner.run(
            self._stack.enter_async_context(a_shop(folder, clock=self.clock, database_url=url))
        )

    def do(self, work: Callable[[Call], T]) -> T:
        return self._runner.run(do(self.shop, "inventory", work))

    def look(self, work: Callable[[Session], T]) -> T:
        return self._runner.run(look(self.shop, work))

    def close(self) -> None:
        self._runner.run(self._stack.aclose())
        self._runner.close()


@pytest.fixture
def ground(url: str, tmp_path: Path) -> Iterator[Ground]:
    found = Ground(tmp_path, url)
    yield found
    found.close()


@dataclass
class Held:
    id: str
    sku: str
    site: str
    units: int
    until: datetime


class Warehouses(RuleBasedStateMachine):
    ground: Ground

    @initialize()
    def items(self) -> None:
        number = next(NUMBERS)
        self.sku, self.milk = f"PLAIN-{number}", f"LOTS-{number}"
        self.units: Counter[tuple[str, str]] = Counter()
        self.lots: Counter[tuple[str, str]] = Counter()
        self.expiry: dict[str, date] = {}
        self.held: list[Held] = []
        self.on_the_way: list[tuple[str, str, int]] = []
        self.orders: dict[str, list[int]] = {}
        self.odd: Counter[tuple[str, str]] = Counter()
        self.in_world = 0

        def make(call: Call) -> None:
            for sku, lots in ((self.sku, False), (self.milk, True)):
                call.add(
                    Variant(
                        id=sku, product_id="prd_CUP-01", name=sku, price_minor=500,
                        currency="EUR", lot_tracked=lots,
                    )
                )  # fmt: skip
                call.add(
                    SupplierItem(
                        id=f"o-{sku}", supplier_id="sup_1", sku=sku, unit_cost_minor=200,
                        currency="EUR", lead_time_millidays=1000,
                    )
                )  # fmt: skip

        self.ground.do(make)

    # -- helpers -----------------------------------------------------------------------------------

    def try_(self, allowed: bool, work: Callable[[Call], T], error: type[ShopError]) -> T | None:
        """The rule succeeds exactly when the model says so."""
        if not allowed:
            with pytest.raises(error):
                self.ground.do(work)
            return None
        return self.ground.do(work)

    def reserved(self, sku: str, site: str) -> int:
        return sum(h.units for h in self.live() if (h.sku, h.site) == (sku, site))

    def live(self) -> list[Held]:
        return [h for h in self.held if h.until > self.ground.clock.now]

    def free(self, site: str) -> int:
        return self.units[site, "available"] - self.reserved(self.sku, site)

    # -- buying and receiving ----------------------------------------------------------------------

    @rule(units=FEW | st.just(20), force=st.booleans())
    def order(self, units: int, force: bool) -> None:
        is_open = any(left for _, _, left in self.orders.values())
        made = self.try_(
            force or not is_open,
            lambda c: purchasing.create_reorder(c, self.sku, units, NORTH, None, "", force),
            RuleViolation,
        )
        if made is not None:
            self.orders[made.purchase_order_id] = [units, 0, units]

    @precondition(lambda self: self.orders)
    @rule(
        data=st.data(), good=st.integers(0, 14), bad=st.integers(0, 3),
        last=st.sampled_from([False, False, True]), more=st.sampled_from([None, None, 0, 1, 2]),
    )  # fmt: skip
    def receive(
        self, data: st.DataObject, good: int, bad: int, last: bool, more: int | None
    ) -> None:
        """In part, or all that is left and some more."""
        id = data.draw(st.sampled_from(sorted(self.orders)))
        ordered, arrived, left = self.orders[id]
        if more is not None:
            good, bad = left + more, 0
        fits = left > 0 and good + bad > 0 and arrived + good + bad <= ordered + ordered // 10
        line = ReceivedLine(sku=self.sku, received=good, damaged=bad)
        self.try_(
            fits,
            lambda c: receiving.receive_purchase_order(c, id, [line], None, last),
            ShopError,
        )
        if fits:
            self.units[NORTH, "available"] += good
            self.units[NORTH, "damaged"] += bad
            self.in_world += good + bad
            arrived += good + bad
            self.odd[id, "over"] += max(0, min(good, arrived - ordered - self.odd[id, "over"]))
            self.odd[id, "damaged"] += bad
            left = max(0, left - good - bad)
            if last:
                self.odd[id, "short"] += left
            self.orders[id] = [ordered, arrived, 0 if last else left]

    # -- promising ---------------------------------------------------------------------------------

    @rule(units=FEW, site=SITES, minutes=st.integers(1, 90))
    def reserve(self, units: int, site: str, minutes: int) -> None:
        made = self.try_(
            units <= self.free(site),
            lambda c: reservations.reserve_stock(
                c, self.sku, units, site, "ref", minutes, "manual", None
            ),
            InsufficientStock,
        )
        if made is not None:
            until = self.ground.clock.now + timedelta(minutes=minutes)
            id = made.reservations[0].reservation_id
            self.held.append(Held(id, self.sku, site, units, until))

    @precondition(lambda self: self.held)
    @rule(data=st.data(), how=st.sampled_from(["release", "consume", "extend"]))
    def resolve(self, data: st.DataObject, how: str) -> None:
        chosen = data.draw(st.sampled_from(self.held))
        alive = chosen in self.live()
        later = self.ground.clock.now + timedelta(minutes=120)
        allowed = alive and (how != "extend" or later > chosen.until)

        def work(call: Call) -> None:
            if how == "release":
                reservations.release_reservation(call, chosen.id)
            elif how == "extend":
                reservations.extend_reservation(call, chosen.id, 120)
            else:
                reserving.consume(call, call.get(Reservation, chosen.id))

        self.try_(allowed, work, RuleViolation if not alive else ShopError)
        if not allowed:
            return
        if how == "extend":
            chosen.until = later
            return
        self.held.remove(chosen)
        if how == "consume":
            self.in_world -= chosen.units
            if chosen.sku == self.sku:
                self.units[chosen.site, "available"] -= chosen.units
            else:
                lot = self.ground.look(lambda s: s.get(Reservation, chosen.id)).lot_id
                self.lots[chosen.site, lot] -= chosen.units

    @rule(minutes=st.sampled_from([1, 45, 1440]))
    def time(self, minutes: int) -> None:
        self.ground.clock.forward(minutes=minutes)

    # -- lots --------------------------------------------------------------------------------------

    @rule(units=FEW, days=st.integers(-1, 4))
    def lot(self, units: int, days: int) -> None:
        id, expires = f"lot_{next(NUMBERS)}", self.ground.clock.now.date() + timedelta(days=days)

        def make(call: Call) -> None:
            call.add(Lot(id=id, sku=self.milk, code=id, expires_on=expires, received_at=call.now))
            stock.adjust(call, self.milk, NORTH, units, "x", lot=id)

        self.ground.do(make)
        self.expiry[id] = expires
        self.lots[NORTH, id] += units
        self.in_world += units

    @rule(units=FEW)
    def reserve_lots(self, units: int) -> None:
        today = self.ground.clock.now.date()
        held = Counter(self.lots)
        for h in self.live():
            if h.sku == self.milk:
                lot = self.ground.look(lambda s, h=h: s.get(Reservation, h.id)).lot_id
                held[NORTH, lot] -= h.units
        good = {
            lot: free for (_, lot), free in held.items() if free > 0 and self.expiry[lot] >= today
        }
        made = self.try_(
            units <= sum(good.values()),
            lambda c: reservations.reserve_stock(
                c, self.milk, units, NORTH, "ref", 30, "manual", None
            ),
            InsufficientStock,
        )
        if made is None:
            return
        taken = {row.lot: row.quantity for row in made.reservations}
        assert sum(taken.values()) == units
        last = max(self.expiry[lot] for lot in taken)
        for lot, free in good.items():
            if self.expiry[lot] < last:
                assert taken.get(lot) == free, "an earlier expiry is used up first"
        until = self.ground.clock.now + timedelta(minutes=30)
        self.held += [
            Held(row.reservation_id, self.milk, NORTH, row.quantity, until)
            for row in made.reservations
        ]

    # -- moving and correcting ---------------------------------------------------------------------

    @rule(units=st.integers(-8, 8), site=SITES)
    def adjust(self, units: int, site: str) -> None:
        allowed = units != 0 and self.free(site) + units >= 0
        self.try_(
            allowed,
            lambda c: corrections.adjust_stock(
                c, self.sku, site, units, "data_entry", "available", None, ""
            ),
            ShopError,
        )
        if allowed:
            self.units[site, "available"] += units
            self.in_world += units

    @rule(units=FEW, site=SITES, path=st.sampled_from(sorted(corrections.STEPS)))
    def move(self, units: int, site: str, path: tuple[Any, str]) -> None:
        source, target = path
        has = self.free(site) if source == "available" else self.units[site, source]
        self.try_(
            units <= has,
            lambda c: corrections.move_stock(c, self.sku, site, units, source, target, None, "x"),
            InsufficientStock,
        )
        if units <= has:
            self.units[site, source] -= units
            if target in corrections.AWAY:
                self.in_world -= units
            else:
                self.units[site, target] += units

    @rule(units=FEW, south=st.booleans())
    def send(self, units: int, south: bool) -> None:
        source, target = (NORTH, SOUTH) if south else (SOUTH, NORTH)
        line = SentLine(sku=self.sku, quantity=units)
        made = self.try_(
            units <= self.free(source),
            lambda c: transferring.transfer_stock(c, source, target, [line], 1, ""),
            InsufficientStock,
        )
        if made is not None:
            self.units[source, "available"] -= units
            self.on_the_way.append((made.transfer_id, target, units))

    @precondition(lambda self: self.on_the_way)
    @rule(good=st.integers(0, 6), bad=st.integers(0, 2), lost=st.integers(0, 2))
    def arrive(self, good: int, bad: int, lost: int) -> None:
        id, target, left = self.on_the_way[0]
        total = good + bad + lost
        line = ArrivedLine(sku=self.sku, received=good, damaged=bad, lost=lost)
        self.try_(
            0 < total <= left,
            lambda c: transferring.receive_transfer(c, id, [line], None),
            InvalidParameters,
        )
        if 0 < total <= left:
            self.units[target, "available"] += good
            self.units[target, "damaged"] += bad
            self.in_world -= lost
            self.on_the_way[0] = (id, target, left - total)
            if left == total:
                self.on_the_way.pop(0)

    @rule(site=SITES, off=st.integers(-4, 4), leaves=st.integers(0, 3))
    def count(self, site: str, off: int, leaves: int) -> None:
        """Units leave between the snapshot and the posting; the variance is the snapshot's, and
        there is none where those that left are all that is missing."""
        snapshot = self.units[site, "available"]
        found = max(0, snapshot + off)
        off = found - snapshot
        leaves = min(leaves, self.free(site))
        sheet = self.ground.do(
            lambda c: counts.start_cycle_count(c, site, [self.sku], 1, "available")
        )

        def submit(call: Call) -> Any:
            given = [Counted(line=1, counted=found)]
            return counts.submit_cycle_count(call, sheet.count_id, given, "submit")

        if leaves:
            self.move(leaves, site, ("available", "damaged"))
        first = self.ground.do(submit)
        exact = off in (0, -leaves)
        assert first.state == ("posted" if exact else "recount")
        if exact:
            return
        possible = self.free(site) + off >= 0
        self.try_(possible, submit, RuleViolation)
        if possible:
            self.units[site, "available"] += off
            self.in_world += off
        else:
            self.ground.do(lambda c: counts.submit_cycle_count(c, sheet.count_id, [], "cancel"))

    # -- what always holds -------------------------------------------------------------------------

    @invariant()
    def levels_are_the_model(self) -> None:
        now = self.ground.clock.now
        for site in (NORTH, SOUTH):
            level = self.ground.look(lambda s, site=site: stock.level(s, now, self.sku, site))
            reserved = self.reserved(self.sku, site)
            assert level.reserved == reserved
            assert level.available == self.units[site, "available"] - reserved >= 0
            for status in ("quarantine", "damaged", "refurbish", "inspection"):
                assert getattr(level, status) == self.units[site, status]
            coming = sum(left for _, target, left in self.on_the_way if target == site)
            assert level.in_transit == coming
        milk = self.ground.look(lambda s: stock.level(s, now, self.milk, NORTH))
        assert milk.reserved == self.reserved(self.milk, NORTH)
        assert milk.on_hand == sum(self.lots.values())
        assert milk.available == milk.on_hand - milk.reserved >= 0

    @invariant()
    def reservations_are_somebodys(self) -> None:
        """Each says for whom and until when; the open ones that stand are the model's."""

        def compare(session: Session) -> None:
            mine = select(Reservation).where(Reservation.sku.in_((self.sku, self.milk)))
            for row in session.scalars(mine):
                assert row.source_type == "manual"
                assert row.source_id == "ref"
                assert row.expires_at is not None
            still = mine.where(
                Reservation.state.in_(reserving.OPEN),
                Reservation.expires_at > self.ground.clock.now,
            )
            found = {row.id: row.quantity for row in session.scalars(still)}
            assert found == {held.id: held.units for held in self.live()}

        self.ground.look(compare)

    @invariant()
    def differences_are_kept(self) -> None:
        """Over, short and damaged units of every order, on its line and on its receipts."""

        def compare(session: Session) -> None:
            for line in session.scalars(select(PurchaseLine).where(PurchaseLine.sku == self.sku)):
                id = line.purchase_order_id
                kept = (line.over, line.damaged, line.short)
                assert kept == tuple(self.odd[id, kind] for kind in ("over", "damaged", "short"))
                assert line.received + line.damaged <= line.ordered + line.ordered // 10
                mine = select(ReceiptLine).where(ReceiptLine.purchase_line_id == line.id)
                for row in session.scalars(mine):
                    assert row.discrepancy is not None or not row.damaged
                    assert (row.discrepancy is None) == (row.note == "")
                told = session.scalars(mine).all()
                for kind in ("over", "damaged", "short"):
                    words = [part.split() for row in told for part in row.note.split("; ")]
                    units = sum(int(word[1]) for word in words if word and word[0] == kind)
                    assert units == self.odd[id, kind]

        self.ground.look(compare)

    @invariant()
    def nothing_appears_or_vanishes(self) -> None:
        now = self.ground.clock.now
        both = [
            self.ground.look(lambda s, sku=sku: stock.level(s, now, sku))
            for sku in (self.sku, self.milk)
        ]
        assert sum(level.on_hand + level.in_transit for level in both) == self.in_world

    @invariant()
    def balances_are_their_transfers(self) -> None:
        def compare(session: Session, sku: str) -> None:
            name = stock.units(sku)
            moved: Counter[str] = Counter()
            query = select(Transfer.debit_id, Transfer.credit_id, Transfer.amount).where(
                Transfer.ledger == name, Transfer.kind.in_(("posted", "post"))
            )
            for debit, credit, amount in session.execute(query):
                moved[debit] += amount
                moved[credit] -= amount
            for row in session.scalars(select(Account).where(Account.ledger == name)):
                assert row.debits_posted - row.credits_posted == moved[row.id]

        for sku in (self.sku, self.milk):
            self.ground.look(lambda s, sku=sku: compare(s, sku))

    @invariant()
    def orders_are_kept(self) -> None:
        def compare(session: Session) -> None:
            arrived = func.sum(PurchaseLine.received + PurchaseLine.damaged)
            query = select(PurchaseLine.purchase_order_id, arrived).where(
                PurchaseLine.sku == self.sku
            )
            found = dict(session.execute(query.group_by(PurchaseLine.purchase_order_id)).all())
            assert found == {id: came for id, (_, came, _) in self.orders.items()}
            left = sum(left for _, _, left in self.orders.values())
            assert levels.incoming_units(session, [self.sku]).get((self.sku, NORTH), 0) == left

        self.ground.look(compare)


def test_warehouses(ground: Ground, url: str) -> None:
    few = url.startswith("postgresql")
    Warehouses.ground = ground
    run_state_machine_as_test(
        Warehouses,
        settings=settings(
            max_examples=6 if few else 25,
            stateful_step_count=20 if few else 30,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
            phases=(Phase.generate,),  # shrinking would take minutes against a database
        ),
    )
