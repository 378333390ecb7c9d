"""Approvals under random orders of events: whatever happens, nothing is done that was not allowed.

The model is plain dictionaries and its own reading of the rules. One database serves a whole run
and is emptied before each example.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import select
from sqlalchemy.orm import Session

from common.approvals import OPEN, TERMINAL, approvers, decisions, person, requests
from common.call import Actor
from common.errors import ApprovalInvalid, RateLimited
from common.tables.spine import ApprovalDecision, ApprovalRequest
from tests.common.approving import ANA, BEN, START, Desk, Spine, a_spine, at_level

REQUESTERS = (ANA, BEN, replace(ANA, client="phone"))
DECIDERS = ("carl", "dora", "ana")
Pick = tuple[int, bool]
PICK = st.tuples(st.integers(0, 7), st.sampled_from([False, False, False, True]))
COOLDOWN = requests.COOLDOWN
WAIT = {1: timedelta(minutes=10), 2: timedelta(hours=24), 3: timedelta(hours=24)}


@dataclass
class Known:
    """What the model believes about one request."""

    who: Actor
    level: int
    call: dict[str, str]
    item: int
    version: int
    expires_at: datetime
    state: str = "pending"
    approved_by: set[str] = field(default_factory=set)
    voices: set[str] = field(default_factory=set)
    effects: int = 0


class Approvals(RuleBasedStateMachine):
    """``spine`` is set on a subclass for each database."""

    spine: ClassVar[Spine]

    def __init__(self) -> None:
        super().__init__()
        self.spine.clear()
        self.desk = Desk(self.spine)
        self.now = START
        self.known: dict[str, Known] = {}
        self.revoked: set[str] = set()
        self.rejected: list[tuple[str, str, datetime]] = []
        self.people = {"carl": self.desk.approver("carl@example.com")}
        for name in ("dora", "ana"):
            self.people[name] = self.desk.approver(
                f"{name}@example.com", by="carl@example.com", voucher=self.people["carl"][1]
            )

    # -- what happens --------------------------------------------------------------------------

    @rule(
        who=st.sampled_from(REQUESTERS),
        level=st.sampled_from([1, 2, 2, 3]),
        item=st.integers(0, 2),
        version=st.integers(0, 1),
    )
    def ask(self, who: Actor, level: int, item: int, version: int) -> None:
        call = self._call(item, version)

        def work(session: Session) -> ApprovalRequest:
            return requests.ask(
                session, server="payments", tool="refund_payment", preview={"title": str(item)},
                reason="", actor=who, verdict=at_level(level), now=self.now, **call,
            )  # fmt: skip

        cooling = any(
            requester == who.id and args == call["args_digest"] and self.now < at + COOLDOWN
            for requester, args, at in self.rejected
        )
        if cooling:
            with pytest.raises(RateLimited):
                self.spine.do(work)
            return
        made = self.spine.do(work)
        if made.id in self.known:
            known = self.known[made.id]
            assert (known.who, known.call) == (who, call)
            assert known.state in OPEN
            assert known.level >= level
            assert self.now < known.expires_at
        else:
            same = [k for k in self.known.values() if (k.who, k.call) == (who, call)]
            assert not any(
                k.state in OPEN and self.now < k.expires_at and k.level >= level for k in same
            ), "asked twice"
            self.known[made.id] = Known(who, level, call, item, version, self.now + WAIT[level])

    @initialize()
    def a_usual_morning(self) -> None:
        for item, (who, level) in enumerate([(ANA, 1), (BEN, 2), (ANA, 3)]):
            self.ask(who=who, level=level, item=item, version=0)

    @rule(pick=PICK, names=st.lists(st.sampled_from(DECIDERS), min_size=1, max_size=3))
    def several_approve(self, pick: Pick, names: list[str]) -> None:
        for name in names:
            self.decide(pick=pick, name=name, decision="approve", wrong_key=False)

    @rule(
        pick=PICK,
        name=st.sampled_from(DECIDERS),
        decision=st.sampled_from(["approve"] * 5 + ["reject"]),
        wrong_key=st.sampled_from([False] * 5 + [True]),
    )
    def decide(self, pick: Pick, name: str, decision: Any, wrong_key: bool) -> None:
        id, known = self._picked(pick, "pending")
        approver, key = self.people[name]
        if wrong_key:
            key = self.people["dora" if name != "dora" else "carl"][1]
        allowed = (
            not wrong_key
            and name not in self.revoked
            and self.now < known.expires_at
            and known.state in (OPEN if decision == "reject" else ("pending",))
            and not (known.level >= 2 and known.who.subject.startswith(name))
            and name not in known.voices
        )

        def work(session: Session) -> str:
            return decisions.decide(
                session, id, approver, key, decision, "", self.now, "terminal"
            ).to_state

        if not allowed:
            self._refused(work)
            return
        after = self.spine.do(work)
        known.voices.add(name)
        if decision == "reject":
            assert after == "rejected"
            self._reject(known)
        else:
            known.approved_by.add(name)
            assert after == ("approved" if self._enough(known) else "pending")
            known.state = after

    @rule(
        pick=PICK,
        who=st.sampled_from([None, None, None, *REQUESTERS]),
        accepted=st.sampled_from([True, True, True, False]),
    )
    def confirm(self, pick: Pick, who: Actor | None, accepted: bool) -> None:
        id, known = self._picked(pick, "pending")
        caller = who or known.who
        allowed = (
            known.who == caller
            and known.level == 1
            and known.state == "pending"
            and self.now < known.expires_at
        )

        def work(session: Session) -> str:
            return decisions.confirm(session, id, caller, accepted, self.now).to_state

        if not allowed:
            self._refused(work)
        elif accepted:
            assert self.spine.do(work) == "approved"
            known.voices.add(caller.subject.partition("@")[0])
            known.approved_by.add("client")
            known.state = "approved"
        else:
            assert self.spine.do(work) == "rejected"
            self._reject(known)

    @rule(
        pick=PICK,
        who=st.sampled_from([None] * 5 + list(REQUESTERS)),
        changed=st.sampled_from(["", "", "", "arguments", "rows"]),
        stricter=st.sampled_from([-1, 0, 0, 0, 1, 2]),
    )
    def consume(self, pick: Pick, who: Actor | None, changed: str, stricter: int) -> None:
        id, known = self._picked(pick, "approved")
        caller, level = who or known.who, min(3, max(1, known.level + stricter))
        call = {
            "": known.call,
            "arguments": self._call(known.item + 1, known.version),
            "rows": self._call(known.item, known.version + 1),
        }[changed]
        refusal = self._why_not(known, caller, changed, level)

        def work(session: Session) -> str:
            return requests.consume(
                session, approval_id=id, server="payments", tool="refund_payment",
                actor=caller, verdict=at_level(level), now=self.now,
                preview={"title": str(known.item)}, **call,
            ).state  # fmt: skip

        if not refusal:
            assert self.spine.do(work) == "used"
            known.state, known.effects = "used", known.effects + 1
            return
        reason = self._refused(work)
        assert reason == refusal
        moved = self.spine.do(lambda s: requests.settle_refusal(s, id, reason, self.now))
        if moved is not None:
            assert known.state in OPEN
            known.state = moved.to_state

    @rule(pick=PICK, who=st.sampled_from([None, *REQUESTERS]), sure=st.integers(0, 2))
    def cancel(self, pick: Pick, who: Actor | None, sure: int) -> None:
        if sure:
            return
        id, known = self._picked(pick, "pending")
        caller = who or known.who
        allowed = caller.id == known.who.id and known.state in OPEN and self.now < known.expires_at

        def work(session: Session) -> str:
            return requests.cancel(session, id, caller, self.now).to_state

        if allowed:
            assert self.spine.do(work) == "cancelled"
            known.state = "cancelled"
        else:
            self._refused(work)

    @rule(minutes=st.sampled_from([1, 1, 5, 5, 11, 60, 24 * 60]))
    def time_passes(self, minutes: int) -> None:
        self.now += timedelta(minutes=minutes)

    @rule()
    def sweep(self) -> None:
        closed = {t.request_id for t in self.spine.do(self._expire)}
        late = {
            id
            for id, known in self.known.items()
            if known.state in OPEN and known.expires_at <= self.now
        }
        assert closed == late
        for id in late:
            self.known[id].state = "expired"

    @rule(name=st.sampled_from(["dora", "ana"]))
    def revoke(self, name: str) -> None:
        if name in self.revoked or len(self.known) < 4:  # late, so that most examples have three
            return
        self.spine.do(
            lambda s: approvers.revoke(
                s, f"{name}@example.com", "carl@example.com", self.now,
                voucher=self.people["carl"][1],
            )
        )  # fmt: skip
        self.revoked.add(name)

    # -- what always holds ---------------------------------------------------------------------

    @invariant()
    def what_is_stored_is_what_happened(self) -> None:
        rows, made = self.spine.see(
            lambda s: (
                s.scalars(select(ApprovalRequest)).all(),
                s.scalars(select(ApprovalDecision)).all(),
            )
        )
        assert {row.id: row.state for row in rows} == {
            id: known.state for id, known in self.known.items()
        }
        for row in rows:
            assert (row.closed_at is not None) == (row.state in TERMINAL)
        for each in made:
            known = self.known[each.request_id]
            if known.level >= 2:
                assert person(each.approver) != person(known.who.id)
                assert each.signature
        pairs = [(each.request_id, person(each.approver)) for each in made]
        assert len(pairs) == len(set(pairs))

    @invariant()
    def nothing_is_done_twice_or_unasked(self) -> None:
        for known in self.known.values():
            assert known.effects == (1 if known.state == "used" else 0)

    # -- helpers -------------------------------------------------------------------------------

    def _call(self, item: int, version: int) -> dict[str, str]:
        args = {"payment_id": f"pay_{item}"}
        rows = {f"payment:pay_{item}": version}
        return {
            "args_digest": requests.digest("", "", "", args, {}, {}),
            "digest": requests.digest(
                "payments", "refund_payment", "1", args, rows, {"title": str(item)}
            ),
        }

    def _picked(self, pick: Pick, preferred: str) -> tuple[str, Known]:
        """Mostly one for which the event means something, now and then any."""
        which, any_state = pick
        wanted = [id for id, known in self.known.items() if known.state == preferred]
        ids = list(self.known) if any_state or not wanted else wanted
        id = ids[-1 - which % len(ids)]
        return id, self.known[id]

    def _why_not(self, known: Known, caller: Actor, changed: str, level: int) -> str:
        for holds, reason in (
            (caller != known.who, "not_yours"),
            (changed == "arguments", "other_arguments"),
            (known.state in TERMINAL, known.state),
            (self.now >= known.expires_at, "expired"),
            (changed == "rows", "stale"),
            (level > known.level, "level_raised"),
            (known.state == "pending", "pending"),
            (not self._enough(known), "stale"),
        ):
            if holds:
                return reason
        return ""

    def _enough(self, known: Known) -> bool:
        valid = known.approved_by - self.revoked
        return len(valid) >= (2 if known.level == 3 else 1)

    def _reject(self, known: Known) -> None:
        known.state = "rejected"
        self.rejected.append((known.who.id, known.call["args_digest"], self.now))

    def _refused(self, work: Callable[[Session], Any]) -> str:
        with pytest.raises(ApprovalInvalid) as caught:
            self.spine.do(work)
        return str(caught.value.details["reason"])

    def _expire(self, session: Session) -> Any:
        return requests.expire_due(session, self.now, 100)


def run(spine: Spine, examples: int, steps: int) -> None:
    machine = type("ApprovalsHere", (Approvals,), {"spine": spine})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            derandomize=True,
            deadline=None,
            # A failing order has at most ``steps`` steps as it is; shortening it takes minutes.
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_any_order_of_events(tmp_path: Path) -> None:
    with a_spine(f"sqlite:///{tmp_path}/shop.db") as spine:
        run(spine, examples=60, steps=30)


def test_any_order_of_events_on_postgresql(postgres_url: str) -> None:
    with a_spine(postgres_url) as spine:
        run(spine, examples=12, steps=30)


def test_parallel_uses_have_one_effect(postgres_url: str) -> None:
    """Eight transactions use one approval at once: one does, seven are refused."""
    with a_spine(postgres_url) as spine:
        desk = Desk(spine)
        carl, key = desk.approver("carl@example.com")
        asked = desk.ask(2)
        spine.do(
            lambda s: decisions.decide(s, asked.id, carl, key, "approve", "", START, "terminal")
        )
        call = {"args_digest": asked.args_digest, "digest": asked.digest}

        def use(session: Session) -> str:
            return requests.consume(
                session, approval_id=asked.id, server="payments", tool="refund_payment",
                actor=ANA, verdict=at_level(2), now=START, preview=asked.preview, **call,
            ).state  # fmt: skip

        found = spine.both(*[use] * 8)
    assert found.count("used") == 1
    refusals = [each for each in found if isinstance(each, ApprovalInvalid)]
    assert [each.details["reason"] for each in refusals] == ["used"] * 7


def test_parallel_asks_make_one_request(postgres_url: str) -> None:
    with a_spine(postgres_url) as spine:

        def ask(session: Session) -> str:
            return requests.ask(
                session, server="payments", tool="refund_payment", args_digest="a", digest="d",
                preview={}, reason="", actor=ANA, verdict=at_level(2), now=START,
            ).id  # fmt: skip

        assert len(set(spine.both(*[ask] * 8))) == 1


def test_parallel_approvals_are_both_counted(postgres_url: str) -> None:
    """Two approvers of a level 3 request at the same moment: approved, not stuck at one."""
    with a_spine(postgres_url) as spine:
        desk = Desk(spine)
        carl = desk.approver("carl@example.com")
        dora = desk.approver("dora@example.com", by="carl@example.com", voucher=carl[1])
        for n in range(5):
            asked = desk.ask(3, args={"n": n})

            def approve(who: Any, id: str = asked.id) -> Callable[[Session], str]:
                return lambda s: (
                    decisions.decide(
                        s, id, who[0], who[1], "approve", "", START, "terminal"
                    ).to_state
                )

            assert sorted(spine.both(approve(carl), approve(dora))) == ["approved", "pending"]
            assert desk.state(asked.id) == "approved"
