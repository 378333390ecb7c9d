"""Any calls in any order: the promises of a claim hold after each, on both databases."""

import asyncio
import itertools
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from common.call import Call
from common.errors import ShopError
from common.rules import funds
from common.shop import Shop
from common.tables.claims import Claim, ClaimDecision, ClaimLine, ClaimRecovery
from common.tables.orders import Order
from common.tables.payments import Refund
from servers.claims import (
    checklist,
    deadlines,
    deciding,
    filing,
    opening,
    recovering,
    service,
    settling,
    states,
)
from servers.claims.deciding import Answer
from servers.claims.opening import Asked, NewClaim
from servers.claims.settling import Settlement
from tests.claims.seed import LAMP, VASE, a_file, a_payment, an_order, goods, shipments
from tests.support.postgres import Postgres
from tests.support.shop import MovingClock, a_shop, do, look

TYPES = ("damage", "concealed_damage", "shortage", "late", "theft")
CODES = ("not_our_damage", "other")
AMOUNTS = st.sampled_from([1, 300, 1_200, 2_000, 3_000, 5_200])
CLAIMS = st.integers(0, 7)
MOST = 8


class ClaimsMachine(RuleBasedStateMachine):
    """Refusals are caught outside: their transaction is gone. Then every promise is looked at."""

    url: str | None = None

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.stack = AsyncExitStack()
        self.folder = TemporaryDirectory()
        self.clock = MovingClock()
        self.claims: list[str] = []
        self.states: dict[str, str] = {}
        self.numbers = itertools.count()

    @initialize()
    def start(self) -> None:
        self.shop: Shop = self.loop.run_until_complete(self._open())
        for kind in ("customer", "carrier", "insurer"):
            self.open_one(kind, "damage", "ord_1", ())
        for kind in ("customer", "carrier"):
            self.open_one(kind, "late", "ord_2", ())
        for n in range(len(self.claims)):
            self.onwards(n, 1, False)

    async def _open(self) -> Shop:
        more = {"database_url": self.url} if self.url else {}
        opened = await self.stack.enter_async_context(
            a_shop(Path(self.folder.name), clock=self.clock, **more)
        )
        await do(opened, "inventory", goods)
        for name in ("ord_1", "ord_2"):
            await do(opened, "orders", lambda call, name=name: an_order(call, name))
            await do(opened, "payments", lambda call, name=name: a_payment(call, name))
        await do(opened, "logistics", shipments)
        return opened

    def teardown(self) -> None:
        self.loop.run_until_complete(self.stack.aclose())
        self.loop.close()
        self.folder.cleanup()

    def attempt(self, work: Any) -> Any:
        try:
            return self.loop.run_until_complete(do(self.shop, "claims", work))
        except ShopError:
            return None

    def pick(self, n: int) -> str:
        return self.claims[n % len(self.claims)] if self.claims else "clm_none"

    @rule(
        kind=st.sampled_from(["customer", "customer", "carrier", "carrier", "insurer", "supplier"]),
        type=st.sampled_from(TYPES),
        order=st.sampled_from(["ord_1", "ord_2"]),
        lines=st.sampled_from([(), ((LAMP, 1),), ((VASE, None),), ((LAMP, 2),)]),
    )
    def open_one(self, kind: str, type: str, order: str, lines: Any) -> None:
        if len(self.claims) == MOST:
            return
        new = NewClaim(
            kind, type, order, supplier_id="sup_1" if kind == "supplier" else None,
            lines=[Asked(*line) for line in lines],
        )  # fmt: skip
        id = self.attempt(lambda call: opening.open_claim(call, new).id)
        if id is not None:
            self.claims.append(id)

    @rule(n=CLAIMS, several=st.booleans())
    def add_what_is_missing(self, n: int, several: bool) -> None:
        self.attempt(lambda call: self._complete(call, self.pick(n), several))

    def _complete(self, call: Call, id: str, several: bool) -> None:
        claim = service.find(call, id)
        for kind in checklist.of(call, claim).missing[: None if several else 1]:
            given = a_file("", kind, str(next(self.numbers)))
            del given["claim_id"]
            filing.add_evidence(call, claim.id, filing.File(**given))

    @rule(n=CLAIMS, amount=AMOUNTS, offer=st.booleans())
    def onwards(self, n: int, amount: int, offer: bool) -> None:
        """The usual next step of a claim, so that many get far."""
        id = self.pick(n)

        def work(call: Call) -> None:
            claim = service.find(call, id)
            owed = claim.approved_minor - claim.paid_minor
            if claim.state in ("draft", "ready", "triage", "evidence_pending", "reopened"):
                self._complete(call, id, True)
                filing.submit(call, id, None, None)
            elif claim.kind == "customer" or claim.state == "offered":
                settling.settle(call, id, Settlement())
            elif claim.state in ("accepted", "paid"):
                most = min(amount, owed) if offer else owed
                recovering.record_recovery(call, id, most, f"T-{next(self.numbers)}")
            else:
                offered = Answer("offered", min(amount, claim.claimed_minor))
                deciding.record_answer(call, id, offered if offer else Answer("approved"))

        self.attempt(work)

    @rule(n=CLAIMS, amount=AMOUNTS, offer=st.booleans())
    def further(self, n: int, amount: int, offer: bool) -> None:
        for _ in range(3):
            self.onwards(n, amount, offer)

    @rule(n=CLAIMS, reason=st.sampled_from([None, "Agreed with them."]))
    def submit(self, n: int, reason: str | None) -> None:
        self.attempt(lambda call: filing.submit(call, self.pick(n), reason, None))

    @rule(
        n=CLAIMS, amount=AMOUNTS,
        decision=st.sampled_from(
            ["acknowledged", "inspection", "offered", "approved", "partially_approved", "denied"]
        ),
    )  # fmt: skip
    def answered(self, n: int, decision: str, amount: int) -> None:
        given = amount if decision in ("offered", "partially_approved") else None
        code, text = ("other", "No.") if decision == "denied" else (None, "")
        answer = Answer(decision, given, code, text)
        self.attempt(lambda call: deciding.record_answer(call, self.pick(n), answer))
        if decision not in ("acknowledged", "inspection", "offered"):
            self.attempt(lambda call: deciding.decide_customer(call, self.pick(n), answer))

    @rule(
        n=CLAIMS, amount=st.none() | AMOUNTS,
        resolution=st.sampled_from([None, None, "refund", "replacement", "credit"]),
    )  # fmt: skip
    def settle(self, n: int, resolution: str | None, amount: int | None) -> None:
        wanted = Settlement(resolution, amount)
        self.attempt(lambda call: settling.settle(call, self.pick(n), wanted))

    @rule(n=CLAIMS)
    def appeal(self, n: int) -> None:
        self.attempt(lambda call: deciding.appeal(call, self.pick(n), "Look again."))

    @rule(n=CLAIMS, amount=AMOUNTS, reference=st.sampled_from(["T-1", "T-2", "T-3"]))
    def recover(self, n: int, amount: int, reference: str) -> None:
        self.attempt(lambda call: recovering.record_recovery(call, self.pick(n), amount, reference))

    @rule(n=CLAIMS, how=st.integers(0, 3))
    def end(self, n: int, how: int) -> None:
        if how == 0:
            self.attempt(lambda call: filing.withdraw(call, self.pick(n), "Enough."))
        else:
            self.attempt(lambda call: recovering.close(call, self.pick(n)))

    @rule(days=st.sampled_from([0, 0, 1, 10, 70]))
    def later(self, days: int) -> None:
        self.clock.forward(days=days)

    @invariant()
    def promises(self) -> None:
        if not hasattr(self, "shop"):
            return
        now = self.clock.now
        broken, found = self.loop.run_until_complete(
            look(self.shop, lambda session: broken_promises(session, now))
        )
        assert not broken
        for id, state in found.items():
            before = self.states.get(id)
            if before in states.OVER:
                assert state == before
        self.states = found


def broken_promises(session: Session, now: Any) -> tuple[list[str], dict[str, str]]:
    """What does not hold, in words; and each claim's state."""
    broken: list[str] = []
    claims = list(session.scalars(select(Claim).order_by(Claim.id)))
    lines: dict[str, list[ClaimLine]] = {claim.id: [] for claim in claims}
    for line in session.scalars(select(ClaimLine)):
        lines[line.claim_id].append(line)
    for claim in claims:
        own = lines[claim.id]
        if not claim.paid_minor <= claim.approved_minor <= claim.claimed_minor:
            broken.append(f"{claim.id}: paid ≤ approved ≤ claimed")
        if sum(line.claimed_minor for line in own) + claim.freight_minor != claim.claimed_minor:
            broken.append(f"{claim.id}: lines and freight are the claim")
        for line in own:
            if not line.paid_minor <= line.approved_minor <= line.claimed_minor:
                broken.append(f"{line.id}: paid ≤ approved ≤ claimed")
            if line.carrier_open != (claim.kind == "carrier" and claim.state not in states.OVER):
                broken.append(f"{line.id}: carrier_open")
        broken += of_a_recovery(session, now, claim, own) if claim.kind != "customer" else []
        if (claim.state == "denied") and not session.scalar(
            select(ClaimDecision.id).where(
                ClaimDecision.claim_id == claim.id, ClaimDecision.code.is_not(None),
                ClaimDecision.text != "",
            )
        ):  # fmt: skip
            broken.append(f"{claim.id}: denied without code and text")
    broken += over_all(session, claims, lines)
    return broken, {claim.id: claim.state for claim in claims}


def of_a_recovery(session: Session, now: Any, claim: Claim, own: list[ClaimLine]) -> list[str]:
    broken = []
    cost = sum(line.unit_cost_minor * line.quantity for line in own)
    if claim.claimed_minor > cost + claim.freight_minor:
        broken.append(f"{claim.id}: more than cost")
    owed = funds.balance(session, now, f"receivable:{claim.id}", claim.currency).posted
    rows = session.scalar(
        select(func.sum(ClaimRecovery.amount_minor)).where(ClaimRecovery.claim_id == claim.id)
    )
    if int(rows or 0) != claim.paid_minor:
        broken.append(f"{claim.id}: paid is what came in")
    expected = claim.approved_minor - claim.paid_minor
    if owed != (expected if claim.state in ("accepted", "paid", "reconciled") else 0):
        broken.append(f"{claim.id}: the books say {owed} is owed")
    late = claim.filed_at and not claim.deadline_override
    if late and claim.kind == "carrier" and claim.filed_at > claim.opened_at + timedelta(days=61):
        broken.append(f"{claim.id}: filed after its window")
    return broken


def over_all(session: Session, claims: list[Claim], lines: dict[str, list[ClaimLine]]) -> list[str]:
    broken = []
    for order_id in ("ord_1", "ord_2"):
        of_order = [claim for claim in claims if claim.order_id == order_id]
        order = session.get(Order, order_id)
        assert order is not None
        given = sum(claim.paid_minor for claim in of_order if claim.kind == "customer")
        if given > order.total_minor:
            broken.append(f"{order_id}: the customer got more than they paid")
        refunded = session.scalar(
            select(func.sum(Refund.amount_minor)).where(Refund.order_id == order_id)
        )
        by_refund = [c for c in of_order if c.resolution in ("refund", "credit")]
        if int(refunded or 0) != sum(claim.paid_minor for claim in by_refund):
            broken.append(f"{order_id}: refunds are what the claims paid")
        for late in (True, False):
            back = sum(
                c.paid_minor for c in of_order
                if c.kind != "customer" and (c.type == "late") == late
            )  # fmt: skip
            if back > (700 if late else 5_200):
                broken.append(f"{order_id}: {back} recovered is more than the loss")
    seen = set()
    for claim in claims:
        for line in lines[claim.id]:
            key = (line.shipment_line_id, line.claim_type)
            if line.carrier_open and key in seen:
                broken.append(f"{key}: two open carrier claims")
            if line.carrier_open:
                seen.add(key)
    return broken


QUIET = [HealthCheck.too_slow, HealthCheck.data_too_large]


def test_claims_keep_their_promises() -> None:
    few = settings(max_examples=10, stateful_step_count=30, suppress_health_check=QUIET)
    run_state_machine_as_test(ClaimsMachine, settings=few)


def test_claims_keep_their_promises_on_postgresql(postgres: Postgres) -> None:
    urls: list[str] = []

    class OnPostgres(ClaimsMachine):
        def __init__(self) -> None:
            super().__init__()
            self.url = postgres.create_database()
            urls.append(self.url)

        def teardown(self) -> None:
            super().teardown()
            postgres.drop_database(urls.pop())

    few = settings(max_examples=2, stateful_step_count=30, suppress_health_check=QUIET)
    run_state_machine_as_test(OnPostgres, settings=few)


@pytest.mark.parametrize("table", [states.CUSTOMER, states.CARRIER])
def test_every_state_is_reached_and_ends(table: dict[str, tuple[str, ...]]) -> None:
    first = next(iter(table))
    reached, waiting = {first}, [first]
    while waiting:
        for state in table[waiting.pop()]:
            if state not in reached:
                reached.add(state)
                waiting.append(state)
    assert reached == set(table)
    assert {state for state, after in table.items() if not after} == states.OVER & set(table)


def test_defaults_have_a_source_and_a_day() -> None:
    assert all(each.source and each.as_of for each in deadlines.DEFAULTS)
