"""Whatever is done to orders: sums add up, stock and money are where the orders say they are."""

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule, run_state_machine_as_test
from sqlalchemy import select
from sqlalchemy.orm import Session

from common.call import Call
from common.rules import funds, paid, stock
from common.storage import schema
from common.tables.orders import Order, OrderAdjustment, OrderLine
from common.tables.payments import Payment
from servers.orders import amending, changing, fulfilling
from servers.orders.amending import Change
from tests.orders.machine import SHORT, SHORTEST, ShopMachine
from tests.orders.seed import (
    BERLIN,
    CARD,
    CARD2,
    GIFT,
    LYON,
    PRICES,
    SHIRT_L,
    SHIRT_M,
    SHIRT_S,
    WIEN,
    an_order,
    delivered,
)
from tests.support.postgres import Postgres

SHIRTS = (SHIRT_S, SHIRT_M, SHIRT_L)
skus, methods = st.sampled_from(SHIRTS), st.sampled_from((CARD, CARD2, GIFT))
which = st.integers(0, 11)


class Orders(ShopMachine):
    def __init__(self) -> None:
        super().__init__()
        self.orders: list[str] = []
        for captured, ship_to in ((False, BERLIN), (True, LYON), (False, WIEN)):
            self.place([(SHIRT_S, 2), (SHIRT_L, 1)], CARD, captured, ship_to, 777, 490)

    def one(self, number: int) -> str:
        """Mostly an order that is still open: there is more to be done with it."""
        open_still = ("placed", "on_hold", "in_fulfilment")
        query = select(Order.id).where(Order.status.in_(open_still)).order_by(Order.id)
        still = self.look(lambda s: s.scalars(query).all())
        among = self.orders if number == 0 else still or self.orders
        return among[number % len(among)]

    @rule(
        lines=st.lists(st.tuples(skus, st.integers(1, 4)), min_size=1, max_size=3),
        method=methods, captured=st.booleans(), ship_to=st.sampled_from((LYON, BERLIN, WIEN)),
        discount=st.sampled_from((0, 1, 777)), shipping=st.sampled_from((0, 490)),
    )  # fmt: skip
    def place(self, lines, method, captured, ship_to, discount, shipping) -> None:
        made = self.attempt(
            "orders",
            an_order(
                *lines, method=method, captured=captured, ship_to=ship_to,
                discount_minor=discount, shipping_minor=shipping,
            ),
        )  # fmt: skip
        self.orders += [made] if made else []

    @rule(number=which, sku=skus, method=methods, line=which, units=st.none() | st.integers(1, 3))
    def amend(self, number: int, sku: str, method: str, line: int, units: int | None) -> None:
        id = self.one(number)

        def work(call: Call) -> Any:
            lines = call.all(OrderLine, OrderLine.order_id == id)
            chosen = lines[line % len(lines)]
            fits = units if units is None or units <= chosen.quantity else None
            return amending.amend(call, id, [Change(chosen.id, sku, fits)], method)

        self.attempt("orders", work)

    @rule(number=which, line=which, units=st.integers(1, 3))
    def split(self, number: int, line: int, units: int) -> None:
        id = self.one(number)

        def work(call: Call) -> Any:
            lines = call.all(OrderLine, OrderLine.order_id == id)
            lines = [each for each in lines if each.quantity > units] or lines
            return amending.split(call, id, lines[line % len(lines)].id, units)

        self.attempt("orders", work)

    @rule(number=which, method=methods)
    def pay_otherwise(self, number: int, method: str) -> None:
        id = self.one(number)
        self.attempt("orders", lambda c: changing.pay_otherwise(c, id, method))

    @rule(number=which)
    def cancel(self, number: int) -> None:
        id = self.one(number)
        self.attempt("orders", lambda c: changing.cancel(c, id, "duplicate"))

    @rule(number=which, kind=st.sampled_from(("fraud", "manual")), end=st.booleans())
    def hold(self, number: int, kind: str, end: bool) -> None:
        id, step = self.one(number), fulfilling.release_hold if end else fulfilling.hold
        self.attempt("orders", lambda c: step(c, id, kind, "look"))

    @rule(number=which)
    def release(self, number: int) -> None:
        id = self.one(number)
        self.attempt("orders", lambda c: fulfilling.release(c, id))

    @rule(number=which)
    def deliver(self, number: int) -> None:
        id = self.one(number)
        if self.orders and self.look(lambda s: s.get(Order, id).status) == "in_fulfilment":
            self.attempt("*", delivered(id))

    @rule(hours=st.sampled_from((1, 5, 170)))
    def wait(self, hours: int) -> None:
        self.clock.forward(hours=hours)

    @invariant()
    def everything_adds_up(self) -> None:
        self.look(self._check)

    def _check(self, session: Session) -> None:
        now = self.clock.now
        reserved, gone = dict.fromkeys(PRICES, 0), dict.fromkeys(PRICES, 0)
        for order in session.scalars(select(Order)):
            lines = session.scalars(select(OrderLine).where(OrderLine.order_id == order.id)).all()
            assert order.subtotal_minor == sum(x.unit_price_minor * x.quantity for x in lines)
            assert order.discount_minor == sum(x.discount_minor for x in lines)
            taxes = session.scalars(
                select(OrderAdjustment).where(
                    OrderAdjustment.order_id == order.id, OrderAdjustment.kind == "tax"
                )
            ).all()
            assert sum(t.amount_minor for t in taxes) == sum(x.tax_minor for x in lines)
            assert order.tax_minor == sum(t.amount_minor for t in taxes if not t.included)
            for line in lines:
                assert (line.status == "allocated") == (
                    order.status not in ("cancelled", "completed")
                )
                reserved[line.sku] += line.quantity if line.status == "allocated" else 0
                gone[line.sku] += line.quantity if line.status == "delivered" else 0
            self._check_money(session, order)
        for sku, level in ((s, stock.level(session, now, s)) for s in PRICES):
            assert (level.on_hand, level.reserved) == (20 - gone[sku], reserved[sku])
        assert funds.credit_balance(session, now, funds.gift_card(GIFT), "EUR") >= 0

    def _check_money(self, session: Session, order: Order) -> None:
        now = self.clock.now
        payments = session.scalars(select(Payment).where(Payment.order_id == order.id)).all()
        waiting = sum(p.amount_minor for p in payments if p.status == "authorized")
        taken = sum(paid.net_paid(session, order.id, now).values())
        if order.status == "cancelled":
            assert (waiting, taken) == (0, 0)
        else:
            assert waiting + taken == order.total_minor
        assert order.status != "on_hold" or order.fulfilment_status != "delivered"


def test_orders_on_sqlite() -> None:
    run_state_machine_as_test(Orders, settings=SHORT)


def test_orders_on_postgresql(postgres: Postgres) -> None:
    made: list[str] = []

    class There(Orders):
        def database_url(self) -> str:
            made.append(postgres.copy_of("schema", schema.upgrade_now))
            return made[-1]

    run_state_machine_as_test(There, settings=SHORTEST)
    for url in made:
        postgres.drop_database(url)
