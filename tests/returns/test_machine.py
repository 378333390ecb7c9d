"""Whatever is done to returns: no unit comes back twice, no cent goes back twice."""

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule, run_state_machine_as_test
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from common.call import Call
from common.rules import made_good, paid, stock
from common.storage import schema
from common.tables.inventory import Reservation
from common.tables.orders import Order, OrderLine
from common.tables.payments import Payment, Refund
from common.tables.returns import Inspection, Return, ReturnLine, Settlement
from servers.returns import eligibility, handling, service, settling
from servers.returns.eligibility import Asked
from servers.returns.handling import Arrived, Inspected
from tests.orders.machine import SHORT, SHORTEST, ShopMachine
from tests.orders.seed import (
    BERLIN,
    CARD,
    CREAM,
    EVE,
    GENT,
    GIFT,
    LYON,
    PRICES,
    SHIRT_L,
    SHIRT_M,
    SHIRT_S,
    a_policy,
    an_order,
    delivered,
    two_taxes,
)
from tests.support.postgres import Postgres

skus = st.sampled_from((SHIRT_S, SHIRT_M, SHIRT_L))
which, some = st.integers(0, 5), st.integers(1, 2)


class Returns(ShopMachine):
    def __init__(self) -> None:
        super().__init__()
        self.run("*", two_taxes)
        self.orders: list[str] = []
        self.returns: list[str] = []
        self.deliver([(SHIRT_S, 3), (SHIRT_M, 1)], LYON, 100)
        self.deliver([(SHIRT_S, 2), (SHIRT_L, 2)], BERLIN, 777)
        self.ask_return(0, 0, 2, "original")
        self.ask_exchange(0, 1, 1, SHIRT_L, CARD)
        self.ask_exchange(1, 0, 2, SHIRT_M, GIFT)

    def one(self, number: int) -> str:
        """Mostly a return that is not over: there is more to be done with it."""
        query = select(Return.id).where(eligibility.not_over(self.clock.now)).order_by(Return.id)
        still = self.look(lambda s: s.scalars(query).all())
        among = self.returns if number == 0 else still or self.returns
        return among[number % len(among)]

    def remember(self, found: Any) -> None:
        self.returns += [found.rma.id] if found else []

    @rule(
        lines=st.lists(st.tuples(skus | st.just(CREAM), some), min_size=1, max_size=2),
        ship_to=st.sampled_from((LYON, BERLIN, GENT)), discount=st.sampled_from((0, 100, 777)),
    )  # fmt: skip
    def deliver(self, lines: list[Any], ship_to: Any, discount: int) -> None:
        made = self.attempt("orders", an_order(*lines, ship_to=ship_to, discount_minor=discount))
        if made:
            self.run("*", delivered(made))
            self.orders.append(made)

    @rule(
        fee=st.sampled_from((0, 1000)), label=st.sampled_from((0, 495)), instant=st.booleans(),
        keep=st.sampled_from((0, 5000)), most=st.none() | st.integers(1, 2),
    )  # fmt: skip
    def policy(self, fee: int, label: int, instant: bool, keep: int, most: int | None) -> None:
        values = {
            "restocking_fee_bps": fee, "return_shipping_minor": label, "instant_refund": instant,
            "returnless_up_to_minor": keep, "most_open_per_order": most,
        }  # fmt: skip
        self.run("returns", a_policy(**values))

    @rule(
        order=which,
        line=which,
        units=some,
        to=st.sampled_from(("original", "method", "store_credit")),
    )
    def ask_return(self, order: int, line: int, units: int, to: str) -> None:
        def work(call: Call) -> Any:
            id, asked = self._asked(call, order, line, units, None)
            return service.request_return(
                call, id, [asked], to, GIFT if to == "method" else None, ""
            )

        self.remember(self.attempt("returns", work))

    @rule(order=which, line=which, units=some, sku=skus, method=st.sampled_from((CARD, GIFT)))
    def ask_exchange(self, order: int, line: int, units: int, sku: str, method: str) -> None:
        def work(call: Call) -> Any:
            id, asked = self._asked(call, order, line, units, sku)
            return service.request_exchange(call, id, [asked], method, "")

        self.remember(self.attempt("returns", work))

    def _asked(
        self, call: Call, order: int, line: int, units: int, sku: str | None
    ) -> tuple[str, Asked]:
        id = self.orders[order % len(self.orders)]
        lines = call.all(OrderLine, OrderLine.order_id == id)
        return id, Asked(lines[line % len(lines)].id, units, "style", sku)

    @rule(number=which, returnless=st.booleans())
    def authorize(self, number: int, returnless: bool) -> None:
        id = self.one(number)
        self.attempt("returns", lambda c: handling.authorize(c, id, returnless))

    @rule(number=which, no=st.booleans())
    def end(self, number: int, no: bool) -> None:
        id = self.one(number)
        if no:
            self.attempt("returns", lambda c: handling.reject(c, id, "other", "x"))
        else:
            self.attempt("returns", lambda c: handling.cancel(c, id))

    @rule(number=which, units=some)
    def receive(self, number: int, units: int) -> None:
        self._on_first_line(
            number, lambda c, r, x: handling.receive(c, r, [Arrived(x, units)], None)
        )

    @rule(number=which, units=some, way=st.sampled_from(("restock", "scrap", "quarantine")))
    def inspect(self, number: int, units: int, way: str) -> None:
        self._on_first_line(
            number,
            lambda c, r, x: handling.inspect(c, r, [Inspected(x, units, "A", "opened", way)]),
        )

    @rule(number=which)
    def settle(self, number: int) -> None:
        self._settle(self.one(number))

    def _settle(self, id: str) -> None:
        found = self.attempt("returns", lambda c: settling.settle(c, id))
        for each in found.settlements.values() if found else ():
            if each.exchange_order_id:
                self.run("*", delivered(each.exchange_order_id))
                self.orders.append(each.exchange_order_id)

    @rule(number=which)
    def all_the_way(self, number: int) -> None:
        """Straight ahead, so that the ends of the road are reached often."""
        id = self.one(number)
        self.attempt("returns", lambda c: handling.authorize(c, id, False))
        lines = self.look(
            lambda s: s.execute(
                select(ReturnLine.id, ReturnLine.quantity).where(ReturnLine.return_id == id)
            ).all()
        )
        for line, units in lines:
            self.attempt(
                "returns", lambda c, x=line, n=units: handling.receive(c, id, [Arrived(x, n)], None)
            )
            self.attempt(
                "returns",
                lambda c, x=line, n=units: handling.inspect(
                    c, id, [Inspected(x, n, "A", "opened", "restock")]
                ),
            )
        self._settle(id)

    @rule(days=st.sampled_from((1, 8)))
    def wait(self, days: int) -> None:
        self.clock.forward(days=days)

    def _on_first_line(self, number: int, work: Callable[[Call, str, str], Any]) -> None:
        id = self.one(number)

        def first(call: Call) -> Any:
            lines = call.all(ReturnLine, ReturnLine.return_id == id)
            return work(call, id, lines[0].id if lines else "x")

        self.attempt("returns", first)

    @invariant()
    def nothing_twice(self) -> None:
        self.look(self._check)

    def _check(self, session: Session) -> None:
        back = self._check_returns(session)
        for line in session.scalars(select(OrderLine)):
            units, value = back.get(line.id, (0, 0))
            assert units <= line.quantity
            net = line.unit_price_minor * line.quantity - line.discount_minor
            assert value <= net + (0 if line.sku == CREAM else line.tax_minor)
            assert line.status != "returned" or units == line.quantity
        self._check_stock(session)
        self._check_money(session)

    def _check_returns(self, session: Session) -> dict[str, tuple[int, int]]:
        """Units and settled money by order line, of returns that count."""
        back: dict[str, tuple[int, int]] = {}
        for rma in session.scalars(select(Return)):
            lines = session.scalars(select(ReturnLine).where(ReturnLine.return_id == rma.id)).all()
            state = made_good.standing(rma, self.clock.now)
            for line in lines:
                query = select(Settlement).where(Settlement.return_line_id == line.id)
                settled = session.scalars(query).all()
                assert len(settled) == (rma.settled_at is not None)
                seen = session.scalar(
                    select(func.coalesce(func.sum(Inspection.quantity), 0)).where(
                        Inspection.return_line_id == line.id
                    )
                )
                assert seen <= line.received <= line.quantity
                early = rma.instant or (rma.authorized_at is not None and rma.received_at is None)
                assert not settled or seen == line.received or early
                if state in ("rejected", "expired", "cancelled"):
                    assert not settled
                    assert not line.received
                    continue
                over = state in ("settled", "closed")
                units = made_good.units_settled(rma, line) if over else line.quantity
                money = sum(s.amount_minor for s in settled if s.kind != "exchange")
                before = back.get(line.order_line_id, (0, 0))
                back[line.order_line_id] = (before[0] + units, before[1] + money)
                if line.exchange_sku and not over:
                    held = session.get(Reservation, line.reservation_id)
                    assert held is not None
                    assert (held.sku, held.quantity) == (line.exchange_sku, line.quantity)
                    assert held.state in ("pending", "confirmed")
        return back

    def _check_stock(self, session: Session) -> None:
        set_aside = dict.fromkeys(PRICES, 0)
        query = select(ReturnLine, Return).join(Return, Return.id == ReturnLine.return_id)
        for line, rma in session.execute(query):
            over = made_good.standing(rma, self.clock.now) in eligibility.OVER
            if line.exchange_sku and not over:
                set_aside[line.exchange_sku] += line.quantity
        for sku in PRICES:
            sold = session.scalar(
                select(func.coalesce(func.sum(OrderLine.quantity), 0)).where(
                    OrderLine.sku == sku, OrderLine.status.in_(("delivered", "returned"))
                )
            )
            ways = dict(
                session.execute(
                    select(Inspection.disposition, func.sum(Inspection.quantity))
                    .join(ReturnLine, ReturnLine.id == Inspection.return_line_id)
                    .where(ReturnLine.sku == sku)
                    .group_by(Inspection.disposition)
                ).all()
            )
            level = stock.level(session, self.clock.now, sku)
            assert level.reserved == set_aside[sku]
            assert level.available + level.reserved == 20 - sold + ways.get("restock", 0)
            assert level.quarantine == ways.get("quarantine", 0)

    def _check_money(self, session: Session) -> None:
        """Every cent that went back was settled, and what was kept is what was not."""
        settled = session.scalar(
            select(func.coalesce(func.sum(Settlement.amount_minor), 0)).where(
                Settlement.kind != "exchange"
            )
        )
        refunded = session.scalar(
            select(func.coalesce(func.sum(Refund.amount_minor), 0)).where(Refund.reason == "return")
        )
        assert settled == refunded
        for refund in session.scalars(select(Refund)):
            assert (refund.order_id in self.orders, refund.source_type) == (True, "return")
        for order_id in session.scalars(select(Order.id)):
            assert all(v > 0 for v in paid.net_paid(session, order_id, self.clock.now).values())
        assert session.scalar(select(func.count()).where(Payment.customer_id != EVE)) == 0


def test_returns_on_sqlite() -> None:
    run_state_machine_as_test(Returns, settings=SHORT)


def test_returns_on_postgresql(postgres: Postgres) -> None:
    made: list[str] = []

    class There(Returns):
        def database_url(self) -> str:
            made.append(postgres.copy_of("schema", schema.upgrade_now))
            return made[-1]

    run_state_machine_as_test(There, settings=SHORTEST)
    for url in made:
        postgres.drop_database(url)
