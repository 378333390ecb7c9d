"""The promises of carts and checkouts, whatever the order of events, on both databases."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
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
from sqlalchemy import select

from common.call import Call
from common.errors import ShopError
from common.rules import stock
from common.shop import Shop
from common.tables.inventory import Product, Reservation, Variant
from common.tables.orders import Order, OrderAdjustment, OrderLine
from common.tables.storefront import Cart, Checkout
from servers.storefront import carts, checkouts
from servers.storefront.checkouts import Details, quote_name
from tests.storefront.shoppers import (
    ADDRESS,
    TOKENS,
    customer,
    guest,
    member,
    nothing_stranded,
    worker,
    world,
)
from tests.support.shop import MovingClock, a_shop, do, look

T = TypeVar("T")
NUMBERS = count(1)


class Ground:
    """An open shop that examples share; each has shoppers and goods of its own."""

    def __init__(self, folder: Path, url: str) -> None:
        self.clock = MovingClock()
        self._runner = asyncio.Runner()
        self._stack = AsyncExitStack()
        opened = a_shop(folder, clock=self.clock, database_url=url)
        self.shop: Shop = self._runner.run(self._stack.enter_async_context(opened))
        self.run(do(self.shop, "*", world))
        self.worker = worker(self.shop)

    def run(self, work: Any) -> Any:
        return self._runner.run(work)

    def do(self, work: Callable[[Call], T], who: Any) -> T:
        return self.run(do(self.shop, "storefront", work, who=who))  # type: ignore[no-any-return]

    def close(self) -> None:
        self.run(self._stack.aclose())
        self._runner.close()


@pytest.fixture
def ground(url: str, tmp_path: Path) -> Iterator[Ground]:
    found = Ground(tmp_path, url)
    yield found
    found.close()


class Shopping(RuleBasedStateMachine):
    """Three shoppers (one is a guest first), two products with few units."""

    ground: Ground

    @initialize(tokens=st.lists(st.sampled_from(TOKENS), min_size=3, max_size=3))
    def begin(self, tokens: list[str]) -> None:
        number = next(NUMBERS)
        self.skus = [f"M{number}-A", f"M{number}-B"]
        self.names = [f"m{number}-{n}" for n in range(3)]
        self.handles: dict[int, str] = {}
        self.quotes: dict[int, tuple[str, int]] = {}

        def make(call: Call) -> None:
            for position, sku in enumerate(self.skus):
                call.add(Product(id=f"P-{sku}", name=sku, category="Dairy"))
                call.add(
                    Variant(
                        id=sku, product_id=f"P-{sku}", name=sku, price_minor=333 + position * 34,
                        currency="EUR",
                    )
                )  # fmt: skip
                stock.receive(call, sku, "WH-1", 7, "seed")
            for name, token in zip(self.names, tokens, strict=True):
                customer(call, name, token)

        self.ground.run(do(self.ground.shop, "*", make))

    def try_(self, n: int, work: Callable[[Call], T], *, as_guest: bool = False) -> T | None:
        who = guest(self.names[n]) if as_guest else member(self.names[n])
        try:
            return self.ground.do(work, who)
        except ShopError:
            return None

    @rule(n=st.integers(0, 2), sku=st.integers(0, 1), units=st.integers(1, 4), out=st.booleans())
    def add(self, n: int, sku: int, units: int, out: bool) -> None:
        handle = self.handles.get(n)
        found = self.try_(
            n, lambda call: carts.add(call, self.skus[sku], units, handle),
            as_guest=out and handle is None,
        ) or self.try_(n, lambda call: carts.add(call, self.skus[sku], units, None))  # fmt: skip
        if found is not None:
            self.handles[n] = found.handle

    @precondition(lambda self: self.handles)
    @rule(data=st.data(), sku=st.integers(0, 1))
    def remove(self, data: st.DataObject, sku: int) -> None:
        n = data.draw(st.sampled_from(sorted(self.handles)))
        self.try_(n, lambda call: carts.remove(call, self.skus[sku], self.handles[n], 1))

    @precondition(lambda self: self.handles)
    @rule(
        data=st.data(),
        codes=st.lists(st.sampled_from(["TEN", "DAIRY5", "ALONE", "SHIPFREE"]), max_size=3),
        region=st.sampled_from(["", "CA"]),
    )
    def quote(self, data: st.DataObject, codes: list[str], region: str) -> None:
        n = data.draw(st.sampled_from(sorted(self.handles)))
        place = ADDRESS | ({"country": "US", "region": region} if region else {})
        said = Details(place, "Somebody", "post:standard", codes)
        found = self.try_(n, lambda call: checkouts.prepare(call, self.handles[n], said))
        if found is not None:
            self.handles[n] = found.handle
            self.quotes[n] = quote_name(found.checkout), found.checkout.total_minor

    @precondition(lambda self: self.quotes)
    @rule(data=st.data(), more=st.sampled_from([0, 0, 0, 1, -1]))
    def buy(self, data: st.DataObject, more: int) -> None:
        n = data.draw(st.sampled_from(sorted(self.quotes)))
        name, total = self.quotes[n]
        before = self.count()
        found = self.try_(
            n, lambda call: checkouts.buy(
                call, self.handles[n], name, total + more, f"pm-{self.names[n]}"
            ),
        )  # fmt: skip
        if more and found is not None:
            # Only what was bought before is told again.
            assert self.count() == before

    @rule()
    def dearer(self) -> None:
        def work(call: Call) -> None:
            call.get(Variant, self.skus[0]).price_minor += 1

        self.ground.run(do(self.ground.shop, "*", work))

    @rule()
    def provider_answers(self) -> None:
        self.ground.run(self.ground.worker.drain())

    @rule(minutes=st.sampled_from([1, 6, 16]))
    def time_passes(self, minutes: int) -> None:
        self.ground.clock.forward(minutes=minutes)

    @rule()
    def housekeeping(self) -> None:
        self.ground.run(self.ground.shop.housekeeping.once())

    def count(self) -> int:
        query = select(Order.id).where(Order.customer_id.in_([f"cus-{n}" for n in self.names]))
        return len(self.look(lambda s: s.scalars(query).all()))

    def look(self, work: Callable[[Any], T]) -> T:
        return self.ground.run(look(self.ground.shop, work))  # type: ignore[no-any-return]

    @invariant()
    def kept(self) -> None:
        if not hasattr(self, "skus"):
            return
        self.ground.run(nothing_stranded(self.ground.shop))
        self.look(self.all_of_it)

    def all_of_it(self, session: Any) -> None:
        now = self.ground.clock()
        whose = [f"cus-{name}" for name in self.names]
        orders = session.scalars(select(Order).where(Order.customer_id.in_(whose))).all()
        open_ = session.scalars(
            select(Checkout).where(
                Checkout.customer_id.in_(whose), Checkout.state == "complete_in_progress"
            )
        ).all()
        for sku in self.skus:
            sold = session.scalars(
                select(OrderLine.quantity).where(
                    OrderLine.sku == sku, OrderLine.order_id.in_([o.id for o in orders])
                )
            ).all()
            held = sum(
                line["quantity"] for c in open_ for line in c.agreed["lines"]
                if line["sku"] == sku and c.expires_at > now
            )  # fmt: skip
            level = stock.level(session, now, sku)
            assert level.reserved == sum(sold) + held
            assert level.available == 7 - level.reserved
        for order in orders:
            lines = session.scalars(select(OrderLine).where(OrderLine.order_id == order.id)).all()
            rows = session.scalars(
                select(OrderAdjustment).where(OrderAdjustment.order_id == order.id)
            ).all()
            goods = sum(x.unit_price_minor * x.quantity - x.discount_minor for x in lines)
            tax = sum(r.amount_minor for r in rows if r.kind == "tax" and not r.included)
            assert goods + order.shipping_minor + tax == order.total_minor
            checkout = session.scalars(select(Checkout).where(Checkout.order_id == order.id)).one()
            assert checkout.total_minor == order.total_minor
        for cart in session.scalars(select(Cart).where(Cart.status == "checkout")):
            assert session.scalars(
                select(Checkout).where(
                    Checkout.cart_id == cart.id, Checkout.state == "complete_in_progress"
                )
            ).one()
        assert not session.scalars(
            select(Reservation).where(
                Reservation.source_type == "order", Reservation.state == "pending"
            )
        ).all()


def test_whatever_the_order(ground: Ground) -> None:
    Shopping.ground = ground
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        Shopping,
        settings=settings(
            max_examples=8, stateful_step_count=25, deadline=None, phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )  # fmt: skip
