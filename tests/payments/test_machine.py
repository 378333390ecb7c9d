"""Random lives of payments against a model of what must hold (authorize, capture, void, refund,
hold, dispute, time passing), on a file and on PostgreSQL."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import pytest
from hypothesis import HealthCheck, settings
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
from sqlalchemy.orm import Session

from common.call import Call
from common.errors import InvalidParameters, RuleViolation
from common.rules import funds, paid
from common.tables.orders import PAYMENT_STATUSES, Order
from common.tables.payments import Payment, PaymentMethod, Refund
from servers.payments import disputes, holds, service
from tests.payments.seed import ANA, CARD, GIFT_BALANCE, order
from tests.support.shop import MovingClock, a_shop, do, look

T = TypeVar("T")
AMOUNTS = st.integers(1, 4_000)
NO = (RuleViolation, InvalidParameters)


class Ground:
    """A shop with the world in it; every example makes an order of its own."""

    def __init__(self, folder: Path, url: str) -> None:
        self.clock = MovingClock()
        self.number = 0
        self._runner, self._stack = asyncio.Runner(), AsyncExitStack()
        opening = a_shop(folder, database_url=url, clock=self.clock)
        self.shop = self._runner.run(self._stack.enter_async_context(opening))

    def do(self, work: Callable[[Call], T]) -> T:
        return self._runner.run(do(self.shop, "payments", work))

    def make(self, work: Callable[[Call], T]) -> T:
        return self._runner.run(do(self.shop, "*", work))

    def look(self, work: Callable[[Session], T]) -> T:
        return self._runner.run(look(self.shop, work))

    def close(self) -> None:
        self._runner.run(self._stack.aclose())
        self._runner.close()


@dataclass
class Model:
    """What a payment must be. ``holds``: amount and end by hold id. ``gone``: lost in disputes."""

    method: str
    amount: int
    until: datetime | None
    open: bool = True
    captured: int = 0
    refunded: int = 0
    gone: int = 0
    disputed: int = 0
    dispute: str = ""
    holds: dict[str, tuple[int, datetime]] = field(default_factory=dict)

    def held(self, now: datetime) -> int:
        return sum(amount for amount, until in self.holds.values() if until > now)

    def left(self, now: datetime) -> int:
        return self.captured - self.refunded - self.gone - self.disputed - self.held(now)

    def authorized(self, now: datetime) -> bool:
        return self.open and (self.until is None or self.until > now)


class Payments(RuleBasedStateMachine):
    ground: ClassVar[Ground]

    def __init__(self) -> None:
        super().__init__()
        self.models: dict[str, Model] = {}
        self.ground.number += 1
        self.order = f"ord-{self.ground.number}"
        self.gift = f"gift-{self.ground.number}"

    @initialize()
    def an_order_and_a_gift_card(self) -> None:
        def work(call: Call) -> None:
            order(self.order, 10_000)(call)
            call.add(
                PaymentMethod(
                    id=self.gift, customer_id=ANA, kind="gift_card", currency="EUR",
                    created_at=call.now,
                )
            )  # fmt: skip
            funds.open_balance(call, funds.gift_card(self.gift), GIFT_BALANCE, "EUR", self.gift)

        self.ground.make(work)

    @property
    def now(self) -> datetime:
        return self.ground.clock.now

    def stored(self) -> int:
        code = funds.gift_card(self.gift)
        return self.ground.look(lambda s: funds.credit_balance(s, self.now, code, "EUR"))

    def try_to(self, work: Callable[[Call], T], allowed: bool) -> T | None:
        """Done exactly when the model allows it; refused otherwise, with nothing changed."""
        if allowed:
            return self.ground.do(work)
        with pytest.raises(NO):
            self.ground.do(work)
        return None

    def pick(self, data: Any) -> tuple[str, Model]:
        # By number: ids are random, and a failing example must be found again.
        number = data.draw(st.integers(0, len(self.models) - 1))
        return list(self.models.items())[number]

    @rule(card=st.booleans(), amount=AMOUNTS, hours=st.integers(1, 48))
    @precondition(lambda self: len(self.models) < 4)
    def authorize(self, card: bool, amount: int, hours: int) -> None:
        method, until = CARD if card else self.gift, self.now + timedelta(hours=hours)
        fits = method == CARD or amount <= self.stored()
        made = self.try_to(
            lambda c: paid.authorize(
                c, order_id=self.order, customer_id=ANA, method_id=method, amount_minor=amount,
                currency="EUR", expires_at=until,
            ),
            fits,
        )  # fmt: skip
        if made is not None:
            self.models[made.id] = Model(method, amount, until)

    @rule(card=st.booleans(), amount=AMOUNTS)
    @precondition(lambda self: len(self.models) < 4)
    def charge(self, card: bool, amount: int) -> None:
        method = CARD if card else self.gift
        fits = method == CARD or amount <= self.stored()
        made = self.try_to(
            lambda c: paid.charge(
                c, order_id=self.order, customer_id=ANA, method_id=method, amount_minor=amount,
                currency="EUR",
            ),
            fits,
        )  # fmt: skip
        if made is not None:
            self.models[made.id] = Model(method, amount, None, open=False, captured=amount)

    @rule(data=st.data(), amount=AMOUNTS)
    @precondition(lambda self: self.models)
    def capture(self, data: Any, amount: int) -> None:
        id, model = self.pick(data)
        allowed = model.authorized(self.now) and amount <= model.amount
        self.try_to(lambda c: paid.capture(c, c.get(Payment, id), amount), allowed)
        if allowed:
            model.open, model.captured = False, amount

    @rule(data=st.data())
    @precondition(lambda self: self.models)
    def void(self, data: Any) -> None:
        id, model = self.pick(data)
        self.try_to(lambda c: paid.void(c, c.get(Payment, id)), model.open)
        model.open = False

    @rule(data=st.data(), amount=AMOUNTS)
    @precondition(lambda self: self.models)
    def refund(self, data: Any, amount: int) -> None:
        id, model = self.pick(data)
        allowed = amount <= model.left(self.now) and not model.dispute
        self.try_to(lambda c: paid.refund(c, c.get(Payment, id), amount, "return"), allowed)
        if allowed:
            model.refunded += amount

    @rule(data=st.data(), amount=AMOUNTS, days=st.integers(1, 3))
    @precondition(lambda self: self.models)
    def hold(self, data: Any, amount: int, days: int) -> None:
        id, model = self.pick(data)
        allowed = 0 < amount <= model.left(self.now)
        made = self.try_to(lambda c: holds.place(c, id, "manual", amount, days, ""), allowed)
        if made is not None:
            model.holds[made.id] = (amount, self.now + timedelta(days=days))

    @rule(data=st.data(), days=st.integers(1, 3), extend=st.booleans())
    @precondition(lambda self: any(model.holds for model in self.models.values()))
    def end_or_extend_hold(self, data: Any, days: int, extend: bool) -> None:
        every = [(m, id) for m in self.models.values() for id in m.holds]
        model, hold_id = every[data.draw(st.integers(0, len(every) - 1))]
        amount, until = model.holds[hold_id]
        active, later = until > self.now, self.now + timedelta(days=days)
        if not extend:
            self.try_to(lambda c: holds.release(c, hold_id, "over"), active)
            del model.holds[hold_id]
        elif self.try_to(lambda c: holds.extend(c, hold_id, days), active and later > until):
            model.holds[hold_id] = (amount, later)

    @rule(data=st.data(), amount=AMOUNTS)
    @precondition(lambda self: self.models)
    def dispute(self, data: Any, amount: int) -> None:
        id, model = self.pick(data)
        allowed = 0 < amount <= model.captured and not model.dispute
        taken = min(amount, model.left(self.now))
        made = self.try_to(
            lambda c: disputes.record(c, id, "fraudulent", amount, None, None), allowed
        )
        if made is not None:
            model.dispute, model.disputed = made.id, taken

    @rule(data=st.data(), outcome=st.sampled_from(["won", "lost", "prevented"]))
    @precondition(lambda self: any(model.dispute for model in self.models.values()))
    def decide(self, data: Any, outcome: str) -> None:
        disputed = [m for m in self.models.values() if m.dispute]
        model = disputed[data.draw(st.integers(0, len(disputed) - 1))]
        self.ground.do(lambda c: disputes.decide(c, model.dispute, outcome))
        if outcome == "lost":
            model.gone += model.disputed
        model.dispute, model.disputed = "", 0

    @rule(hours=st.integers(1, 30))
    def time_passes(self, hours: int) -> None:
        self.ground.clock.forward(hours=hours)

    @invariant()
    def the_books_say_what_the_model_says(self) -> None:
        now = self.now

        def compare(session: Session) -> None:
            nets = [line.net for line in funds.trial_balance(session, "EUR")]
            assert sum(nets) == 0
            moved = funds.moved(session, list(self.models), "EUR")
            for id, model in self.models.items():
                row = session.get_one(Payment, id)
                assert paid.refundable(session, row, now) == model.left(now) >= 0
                assert moved[id].captured == model.captured <= model.amount
                assert moved[id].refunded == model.refunded
                assert model.refunded + model.gone + model.disputed <= model.captured
                self.status_fits(row, model)
            rows = session.scalars(select(Refund).where(Refund.order_id == self.order)).all()
            assert sum(r.amount_minor for r in rows) == sum(
                m.refunded for m in self.models.values()
            )

        self.ground.look(compare)

    @invariant()
    def the_order_says_it_too(self) -> None:
        def compare(session: Session) -> None:
            found = session.get_one(Order, self.order)
            assert found.payment_status in PAYMENT_STATUSES
            captured = sum(m.captured for m in self.models.values())
            refunded = sum(m.refunded for m in self.models.values())
            if captured:
                whole = captured - refunded >= found.total_minor
                assert (found.payment_status == "captured") == whole
                assert (found.payment_status == "refunded") == (captured == refunded)
            else:
                assert found.payment_status in ("not_paid", "authorized", "awaiting")

        if self.models:
            self.ground.look(compare)

    def teardown(self) -> None:
        """What stored value is missing is what its payments still have."""
        if not self.models:
            return
        mine = [m for m in self.models.values() if m.method == self.gift]
        kept = sum(m.amount if m.authorized(self.now) else m.captured - m.refunded for m in mine)
        assert self.stored() == GIFT_BALANCE - kept

    def status_fits(self, row: Payment, model: Model) -> None:
        status = paid.standing(row, self.now)
        if model.captured:
            assert status in (
                "captured", "partially_captured", "partially_refunded", "refunded",
            )  # fmt: skip
            assert (status == "refunded") == (model.refunded == model.captured)
        elif model.authorized(self.now):
            assert status == "authorized"
        else:
            assert status in ("voided", "expired")
        assert status in service.OPEN_AUTHORIZATIONS or not model.authorized(self.now)


@pytest.fixture
def ground(url: str, tmp_path: Path) -> Iterator[Ground]:
    made = Ground(tmp_path, url)
    yield made
    made.close()


def test_payments(ground: Ground, url: str) -> None:
    few = url.startswith("postgresql")
    Payments.ground = ground
    run_state_machine_as_test(
        Payments,
        settings=settings(
            max_examples=5 if few else 20,
            stateful_step_count=15 if few else 25,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
