"""The ledger against a model of plain dicts: any order of any calls, on both databases.

Refusals are caught inside the transaction, which then commits: a refusal must leave nothing.
"""

import itertools
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy.orm import Session

from common.call import Call
from common.errors import (
    Conflict,
    InsufficientFunds,
    InsufficientStock,
    InvalidParameters,
    RuleViolation,
    ShopError,
)
from common.ledgers import accounts, ledger
from common.tables.spine import Transfer
from tests.common.ledger_model import Model, Pending, broken_promises
from tests.support.ledger import START, Desk, rows_of

UNITS, EUR, JPY = "units/SKU-1", "money/EUR", "money/JPY"
# domain, ledger, code, debit, credit
AT_ONCE = [
    ("inventory", UNITS, "receive", "WH-1/available", "supplier"),
    ("inventory", UNITS, "receive", "WH-2/quarantine/lot_a", "supplier"),
    ("inventory", UNITS, "damage", "WH-1/damaged", "WH-1/available"),
    ("inventory", UNITS, "quarantine", "WH-1/quarantine", "WH-1/available"),
    ("inventory", UNITS, "unquarantine", "WH-1/available", "WH-1/quarantine"),
    ("inventory", UNITS, "transfer_out", "WH-2/in_transit", "WH-1/available"),
    ("inventory", UNITS, "transfer_in", "WH-2/available", "WH-2/in_transit"),
    ("inventory", UNITS, "count_loss", "adjustments", "WH-1/available"),
    ("payments", EUR, "charge", "clearing:card", "payment:1"),
    ("payments", EUR, "refund", "payment:1", "clearing:card"),
    ("payments", EUR, "credit_issue", "goodwill", "store_credit:c"),
    ("payments", EUR, "credit_spend", "store_credit:c", "payment:2"),
    ("payments", EUR, "credit_refund", "payment:2", "store_credit:c"),
    ("payments", EUR, "dispute_open", "payment:1", "disputed:d"),
    ("payments", EUR, "dispute_won", "disputed:d", "payment:1"),
    ("payments", JPY, "charge", "clearing:card", "payment:1"),
]
LATER = [
    ("inventory", UNITS, "reserve", "customer", "WH-1/available"),
    ("orders", UNITS, "reserve", "customer", "WH-2/available"),
    ("payments", EUR, "authorize", "clearing:card", "payment:1"),
    ("payments", EUR, "authorize", "store_credit:c", "payment:2"),
    ("payments", EUR, "hold", "payment:1", "held"),
]
RESOLVERS = {"reserve": "inventory", "authorize": "payments", "hold": "payments"}
AMOUNTS = st.one_of(st.integers(1, 8), st.just(10**15))

pending_ids: Bundle[str] = Bundle("pending_ids")
done: Bundle[tuple[str, Callable[..., Any]]] = Bundle("done")


class LedgerMachine(RuleBasedStateMachine):
    desk: Desk

    @initialize()
    def start(self) -> None:
        self.desk.clear()
        self.desk.now = START
        self.model = Model()
        self.numbers = itertools.count(1)

    # -- what is done to the ledger ----------------------------------------------------------------

    @rule(target=done, route=st.sampled_from(AT_ONCE), amount=AMOUNTS)
    def transfer(self, route: tuple[str, ...], amount: int) -> Any:
        domain, name, code, debit, credit = route
        id = self.fresh("t")

        def work(call: Call, amount: int = amount) -> str:
            return ledger.transfer(call, name, debit, credit, amount, code, "ref", id=id)

        if not self.attempt(domain, work, self.shortage(name, debit, credit, amount)):
            return multiple()
        self.model.move(name, debit, credit, amount)
        return (domain, work)

    @rule(
        target=pending_ids,
        route=st.sampled_from(LATER),
        amount=st.integers(1, 8),
        seconds=st.one_of(st.none(), st.integers(1, 60)),
    )
    def pend(self, route: tuple[str, ...], amount: int, seconds: int | None) -> Any:
        domain, name, code, debit, credit = route
        id = self.fresh("p")
        expires_at = None if seconds is None else self.desk.now + timedelta(seconds=seconds)

        def work(call: Call, amount: int = amount) -> str:
            return ledger.pend(
                call, name, debit, credit, amount, code, "ref", expires_at=expires_at, id=id
            )

        if not self.attempt(domain, work, self.shortage(name, debit, credit, amount)):
            return multiple()
        self.model.pendings[id] = Pending(name, debit, credit, amount, expires_at)
        self.replays[id] = (domain, work)
        self.codes[id] = code
        return id

    @rule(target=done, id=pending_ids, part=st.sampled_from([None, 1, 3, 9]))
    def post(self, id: str, part: int | None) -> Any:
        if self.codes[id] == "hold":
            return multiple()
        pending = self.model.pendings[id]
        name = self.fresh("r")

        def work(call: Call, amount: int | None = part) -> str:
            return ledger.post(call, id, amount, id=name)

        amount = pending.amount if part is None else part
        state = pending.state(self.desk.now)
        refused: type[ShopError] | None = None
        if amount > pending.amount:
            refused = InvalidParameters
        elif state != "pending":
            refused = RuleViolation
        domain = RESOLVERS[self.codes[id]]
        error = self.attempt_error(domain, work, refused)
        if error is not None:
            if refused is RuleViolation:
                assert error.details["state"] == state
                assert state in error.message
            return multiple()
        pending.resolved, pending.moved = "posted", amount
        self.model.move(pending.ledger, pending.debit, pending.credit, amount)
        return (domain, work)

    @rule(target=done, id=pending_ids)
    def void(self, id: str) -> Any:
        pending = self.model.pendings[id]
        name = self.fresh("v")

        def work(call: Call, amount: int = 0) -> str:
            return ledger.void(call, id, id=name)

        state = pending.state(self.desk.now)
        domain = RESOLVERS[self.codes[id]]
        error = self.attempt_error(domain, work, None if state == "pending" else RuleViolation)
        if error is not None:
            assert error.details["state"] == state
            return multiple()
        pending.resolved = "voided"
        return multiple()

    @rule(id=pending_ids)
    def void_if_open(self, id: str) -> None:
        pending = self.model.pendings[id]
        was_open = pending.state(self.desk.now) == "pending"
        domain = RESOLVERS[self.codes[id]]
        assert self.desk.do(domain, lambda call: ledger.void_if_open(call, id)) is was_open
        if was_open:
            pending.resolved = "voided"

    @rule(limit=st.integers(1, 3))
    def sweep(self, limit: int) -> None:
        due = [id for id, p in self.model.pendings.items() if p.state(self.desk.now) == "expired"]
        swept = self.desk.do("*", lambda call: ledger.expire_due(call, limit))
        assert len(swept) <= limit
        assert set(swept) <= set(due)

    @rule(seconds=st.integers(1, 40))
    def wait(self, seconds: int) -> None:
        self.desk.wait(seconds=seconds)

    # -- what must change nothing ------------------------------------------------------------------

    @rule(again=consumes(done))
    def replay(self, again: tuple[str, Callable[..., Any]]) -> None:
        domain, work = again
        self.unchanged(lambda: self.desk.do(domain, work))

    @rule(id=pending_ids)
    def replay_pending(self, id: str) -> None:
        domain, work = self.replays[id]
        self.unchanged(lambda: self.desk.do(domain, work))

    @rule(id=pending_ids)
    def reuse_id(self, id: str) -> None:
        domain, work = self.replays[id]
        other = self.model.pendings[id].amount + 1
        self.unchanged(lambda: self.attempt(domain, lambda call: work(call, other), Conflict))

    @rule(
        route=st.sampled_from(AT_ONCE + LATER),
        amount=st.sampled_from([0, -1, 10**15 + 1, True, 1.5, 2.0, "3", None]),
    )
    def bad_amount(self, route: tuple[str, ...], amount: Any) -> None:
        domain, name, code, debit, credit = route

        def work(call: Call) -> str:
            if route in LATER:
                return ledger.pend(call, name, debit, credit, amount, code, "ref", expires_at=None)
            return ledger.transfer(call, name, debit, credit, amount, code, "ref")

        self.unchanged(lambda: self.attempt(domain, work, InvalidParameters))

    @rule(id=pending_ids, seconds=st.integers(0, 5))
    def dry_run(self, id: str, seconds: int) -> None:
        """Sweep and void inside a transaction that is rolled back."""

        def work(call: Call) -> None:
            ledger.expire_due(call)
            ledger.void_if_open(call, id)

        self.unchanged(lambda: self.desk.do("*", work, keep=False))

    # -- what must be true at any time -------------------------------------------------------------

    @invariant()
    def rows_keep_their_promises(self) -> None:
        assert self.desk.look(broken_promises) == []

    @invariant()
    def looks_like_the_model(self) -> None:
        now = self.desk.now

        def look(session: Session) -> Any:
            names = {route[1] for route in AT_ONCE}
            found = accounts.totals_of(session, sorted(names), now=now)
            return found, ledger.states_of(session, list(self.model.pendings), now)

        balances, states = self.desk.look(look)
        for key, balance in balances.items():
            assert balance.posted == self.model.balance(key), key
            assert balance.available == self.model.available(key, now), key
        for key, net in self.model.posted.items():
            assert net == 0 or key in balances
        for id, pending in self.model.pendings.items():
            seen = states[id]
            assert (seen.state, seen.posted_amount) == (pending.state(now), pending.moved)

    # -- tools -------------------------------------------------------------------------------------

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        self.replays: dict[str, tuple[str, Callable[..., Any]]] = {}
        self.codes: dict[str, str] = {}

    def fresh(self, kind: str) -> str:
        return f"{kind}_{next(self.numbers)}"

    def shortage(self, name: str, debit: str, credit: str, amount: int) -> type[ShopError] | None:
        if self.model.short(name, debit, credit, amount, self.desk.now) is None:
            return None
        return InsufficientStock if name == UNITS else InsufficientFunds

    def attempt(
        self, domain: str, work: Callable[[Call], Any], refused: type[ShopError] | None
    ) -> bool:
        return self.attempt_error(domain, work, refused) is None

    def attempt_error(
        self, domain: str, work: Callable[[Call], Any], refused: type[ShopError] | None
    ) -> ShopError | None:
        def caught(call: Call) -> ShopError | None:
            try:
                work(call)
            except ShopError as error:
                return error
            return None

        error = self.desk.do(domain, caught)
        assert (None if error is None else type(error)) is refused, error
        if isinstance(error, InsufficientStock | InsufficientFunds):
            key = (error.details["ledger"], error.details["account"])
            assert error.details["available"] == self.model.available(key, self.desk.now)
            assert error.details["available"] < error.details["asked"]
        return error

    def unchanged(self, action: Callable[[], Any]) -> None:
        before = self.desk.look(lambda session: rows_of(session, Transfer))
        action()
        assert self.desk.look(lambda session: rows_of(session, Transfer)) == before


def play(desk: Desk, examples: int, steps: int) -> None:
    class Machine(LedgerMachine):
        pass

    Machine.desk = desk
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        Machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            derandomize=True,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.slow
def test_any_order_of_calls(desk: Desk) -> None:
    play(desk, 40 if desk.database.sqlite else 15, 40)
