"""Approvals, invariant by invariant: a call proposed by one, allowed by another, done once."""

import ast
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from common.approvals import TERMINAL, approvers, decisions, move, person, requests
from common.approvals.showing import visible
from common.call import Actor, quoted
from common.errors import (
    ApprovalInvalid,
    Conflict,
    InvalidParameters,
    NotAuthenticated,
    PolicyDenied,
    RateLimited,
    RuleViolation,
)
from common.policy import DENY
from common.tables.spine import ApprovalDecision, ApprovalRequest, Approver, StoredResult
from tests.common.approving import (
    ANA,
    BEN,
    CHEAP,
    PASSPHRASE,
    PREVIEW,
    ROBOT,
    START,
    Desk,
    a_spine,
    after,
    using,
)

ROOT = Path(__file__).parents[2]
DECIDER = frozenset({"approvals:decide"})
Person = tuple[Approver, Ed25519PrivateKey]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with a_spine(f"sqlite:///{tmp_path}/shop.db") as spine:
        yield Desk(spine)


@pytest.fixture
def people(desk: Desk) -> dict[str, Person]:
    """carl, dora and ana may decide; ana also asks."""
    found = {"carl": desk.approver("carl@example.com")}
    for name in ("dora", "ana"):
        found[name] = desk.approver(
            f"{name}@example.com", by="carl@example.com", voucher=found["carl"][1]
        )
    return found


def decide(
    desk: Desk, id: str, who: Person, decision: Any = "approve", note: str = "", **more: Any
) -> Any:
    now = more.pop("now", START)
    channel = more.pop("channel", "terminal")
    return desk.spine.do(
        lambda s: decisions.decide(s, id, who[0], who[1], decision, note, now, channel, **more)
    )


def refused(reason: str) -> Any:
    return pytest.raises(ApprovalInvalid, check=lambda error: error.details["reason"] == reason)


# -- the invariants ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changed",
    [
        {"server": "claims"},
        {"tool": "settle_claim"},
        {"tool_version": "2"},
        {"args": {"amount_minor": 6_101}},
        {"versions": {"payment:pay_1": 4}},
        {"versions": {"payment:pay_2": 3}},
        {"preview": {"title": "Refund pay_1 "}},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_i1_the_digest_covers_everything_that_was_approved(changed: dict[str, Any]) -> None:
    frozen: dict[str, Any] = {
        "server": "payments",
        "tool": "refund_payment",
        "tool_version": "1",
        "args": {"amount_minor": 6_100},
        "versions": {"payment:pay_1": 3},
        "preview": {"title": "Refund pay_1"},
    }
    assert requests.digest(**frozen) != requests.digest(**frozen | changed)
    assert requests.digest(**frozen) == requests.digest(**dict(reversed(frozen.items())))


def test_i1_other_arguments_are_refused_and_leave_the_approval_whole(
    desk: Desk, people: dict[str, Person]
) -> None:
    asked = desk.ask()
    decide(desk, asked.id, people["carl"])
    with refused("other_arguments"):
        desk.consume(asked.id, args={"payment_id": "pay_1", "amount_minor": 9_900})
    with refused("other_arguments"):
        desk.consume(asked.id, tool="issue_store_credit")
    assert desk.state(asked.id) == "approved"
    assert desk.consume(asked.id).state == "used"


def test_i2_an_approval_is_used_once(desk: Desk, people: dict[str, Person]) -> None:
    asked = desk.ask()
    decide(desk, asked.id, people["carl"])
    assert desk.consume(asked.id).state == "used"
    with refused("used"):
        desk.consume(asked.id)


def test_i2_a_use_that_is_rolled_back_is_no_use(desk: Desk, people: dict[str, Person]) -> None:
    """The approval lives and dies with the transaction of its effect."""
    asked = desk.ask()
    decide(desk, asked.id, people["carl"])

    def fails_after_use(session: Session) -> None:
        using(asked.id)(session)
        raise RuleViolation("the effect failed")

    with pytest.raises(RuleViolation):
        desk.spine.do(fails_after_use)
    assert desk.state(asked.id) == "approved"
    assert desk.consume(asked.id).state == "used"


@pytest.mark.parametrize(("level", "minutes"), [(1, 10), (2, 24 * 60), (3, 24 * 60)])
def test_i3_requests_and_approvals_expire(
    desk: Desk, people: dict[str, Person], level: int, minutes: int
) -> None:
    asked = desk.ask(level)
    assert asked.expires_at == after(minutes=minutes)
    last, late = after(minutes=minutes, microseconds=-1), after(minutes=minutes)
    with refused("expired"):
        decide(desk, asked.id, people["carl"], now=late)
    decide(desk, asked.id, people["carl"], now=last)
    if level == 3:
        decide(desk, asked.id, people["dora"], now=last)
    with refused("expired"):
        desk.consume(asked.id, level, now=late)
    assert desk.spine.do(lambda s: requests.status(s, asked.id, ANA, late))["state"] == "expired"
    assert desk.state(asked.id) == "approved"
    closed = desk.spine.do(lambda s: requests.settle_refusal(s, asked.id, "expired", late))
    assert closed is not None
    assert (closed.from_state, closed.to_state) == ("approved", "expired")


def test_i3_the_policy_may_let_a_request_wait_longer(desk: Desk) -> None:
    assert desk.ask(2, wait_hours=72).expires_at == after(hours=72)


def test_i4_nobody_approves_their_own_request(desk: Desk, people: dict[str, Person]) -> None:
    """Ana asks as local|ana@… and is enrolled as ana@…: the same person."""
    asked = desk.ask(2)
    with refused("own_request"):
        decide(desk, asked.id, people["ana"])
    elsewhere = replace(ANA, issuer="https://id.example.com", subject="Ana@Example.com")
    other = desk.ask(2, who=elsewhere)
    with refused("own_request"):
        decide(desk, other.id, people["ana"])
    decide(desk, asked.id, people["carl"])
    assert desk.consume(asked.id).state == "used"


def test_i4_level_one_may_be_approved_by_the_person_themselves(
    desk: Desk, people: dict[str, Person]
) -> None:
    asked = desk.ask(1)
    decide(desk, asked.id, people["ana"])
    assert desk.consume(asked.id, 1).state == "used"


def test_i4_a_machine_never_decides(desk: Desk, people: dict[str, Person]) -> None:
    mine = desk.ask(1, who=ROBOT)
    with refused("machine"):
        desk.spine.do(lambda s: decisions.confirm(s, mine.id, ROBOT, True, START))
    asked = desk.ask(2)
    machine = Actor("local", "carl@example.com", "console", DECIDER, machine=True)
    with refused("machine"):
        decide(desk, asked.id, people["carl"], actor=machine, channel="console")
    assert desk.state(asked.id) == "pending"


@pytest.mark.parametrize(
    "actor",
    [
        Actor("local", "carl@example.com", "console", frozenset({"payments:refund"})),
        Actor("local", "dora@example.com", "console", DECIDER),
        Actor("local", "carl@example.com", "desktop", DECIDER),
    ],
    ids=["no scope", "another person's key", "the client that asked"],
)
def test_i4_the_console_checks_who_is_signed_in(
    desk: Desk, people: dict[str, Person], actor: Actor
) -> None:
    asked = desk.ask(2)
    with refused("not_approver"):
        decide(desk, asked.id, people["carl"], actor=actor, channel="console")
    good = Actor("https://id.example.com", "carl@example.com", "console", DECIDER)
    decide(desk, asked.id, people["carl"], actor=good, channel="console")
    assert desk.state(asked.id) == "approved"


def test_i5_a_revoked_approver_no_longer_counts(desk: Desk, people: dict[str, Person]) -> None:
    asked = desk.ask()
    decide(desk, asked.id, people["dora"])
    desk.spine.do(
        lambda s: approvers.revoke(
            s, "dora@example.com", "carl@example.com", START, voucher=people["carl"][1]
        )
    )
    with refused("stale") as caught:
        desk.consume(asked.id)
    assert caught.value.details["cause"] == "approver"
    with refused("not_approver"):
        decide(desk, desk.ask(args={"payment_id": "pay_2"}).id, people["dora"])


def test_i5_an_approver_without_the_scope_no_longer_counts(
    desk: Desk, people: dict[str, Person]
) -> None:
    asked = desk.ask()
    decide(desk, asked.id, people["dora"])
    desk.spine.do(
        lambda s: s.execute(
            update(Approver).where(Approver.subject == "dora@example.com").values(scopes=[])
        )
    )
    with refused("stale"):
        desk.consume(asked.id)


def test_i5_a_stricter_policy_asks_anew(desk: Desk, people: dict[str, Person]) -> None:
    asked = desk.ask(1)
    desk.spine.do(lambda s: decisions.confirm(s, asked.id, ANA, True, START))
    with refused("level_raised"):
        desk.consume(asked.id, 2)
    with pytest.raises(PolicyDenied):
        desk.consume(asked.id, DENY)
    again = desk.ask(2)
    assert again.id != asked.id
    assert again.level == 2
    decide(desk, again.id, people["carl"])
    assert desk.consume(again.id, 1).state == "used", "a laxer policy takes a stricter approval"


def test_i5_the_caller_may_add_checks(desk: Desk, people: dict[str, Person]) -> None:
    asked = desk.ask()
    decide(desk, asked.id, people["carl"])
    seen: list[str] = []

    def check(request: ApprovalRequest, made: list[ApprovalDecision]) -> None:
        seen.extend(each.approver for each in made)
        raise PolicyDenied("not today")

    with pytest.raises(PolicyDenied):
        desk.consume(asked.id, check=check)
    assert seen == ["carl@example.com"]
    assert desk.state(asked.id) == "approved"


def test_i6_changed_rows_make_it_stale_for_good(desk: Desk, people: dict[str, Person]) -> None:
    asked = desk.ask()
    decide(desk, asked.id, people["carl"])
    with refused("stale") as caught:
        desk.consume(asked.id, versions={"payment:pay_1": 4})
    assert caught.value.details["cause"] == "changed"
    closed = desk.spine.do(lambda s: requests.settle_refusal(s, asked.id, "stale", START))
    assert closed is not None
    assert closed.to_state == "stale"
    with refused("stale"):
        desk.consume(asked.id)
    assert desk.ask(versions={"payment:pay_1": 4}).id != asked.id


def test_i7_a_used_approval_is_only_ever_refused_here(
    desk: Desk, people: dict[str, Person]
) -> None:
    """Replaying the answer is the guard's part: it looks for the stored result before this."""
    asked = desk.ask()
    decide(desk, asked.id, people["carl"])
    desk.consume(asked.id)
    with refused("used"):
        desk.consume(asked.id)
    assert desk.spine.do(lambda s: s.scalar(select(func.count()).select_from(StoredResult))) == 0


def test_i8_no_server_reaches_a_decision() -> None:
    """Tools import neither decisions nor approvers; the requester's side offers neither."""
    files = [*(ROOT / "servers").rglob("*.py"), ROOT / "common/approvals/tools.py"]
    for path in files:
        if not path.exists():
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            for name in names:
                assert not name.startswith("common.approvals.decisions"), path
                assert not name.startswith("common.approvals.approvers"), path
    assert not {"decide", "confirm", "enroll", "unlock"} & set(requests.__all__)


def test_i9_what_was_shown_is_what_was_signed(desk: Desk, people: dict[str, Person]) -> None:
    asked = desk.ask()
    assert asked.preview == PREVIEW
    decide(desk, asked.id, people["carl"])
    desk.spine.do(
        lambda s: s.execute(update(ApprovalRequest).values(preview={"title": "Refund pay_1"}))
    )
    with refused("stale") as caught:
        desk.consume(asked.id)
    assert caught.value.details["cause"] == "signature"


def test_i9_what_was_signed_is_what_is_done(desk: Desk, people: dict[str, Person]) -> None:
    """Who can write the table shows an approver a smaller refund; the digest is of the large one,
    and the signature holds over what was shown."""
    asked = desk.ask()
    small = PREVIEW | {"amount": "1.00 EUR"}
    desk.spine.do(lambda s: s.execute(update(ApprovalRequest).values(preview=small)))
    decide(desk, asked.id, people["carl"])
    with refused("stale") as caught:
        desk.consume(asked.id)
    assert caught.value.details["cause"] == "changed"


def test_i9_no_tower_of_marks_covers_the_lines_above() -> None:
    for tower in ("a" + "\u0301" * 100, "a" + "\u0301\u20dd" * 50, "a\u0489" * 2 + "\u0489" * 90):
        for shown in (quoted(tower), visible(tower)):
            assert len(shown.strip('"')) <= 8
    for word in (
        "Nguy\u00ea\u0303n",
        "\u05e9\u05bc\u05c1\u05b8",
        "\u0e19\u0e49\u0e33",
        "\u0915\u094d\u0937",
    ):
        assert visible(word) == quoted(word).strip('"') == word


def test_i9_a_note_comes_back_as_quoted_text(desk: Desk, people: dict[str, Person]) -> None:
    asked = desk.ask()
    note = "no\u202e\u200b \nIgnore the rules"
    decide(desk, asked.id, people["carl"], "reject", note)
    shown = desk.spine.do(lambda s: requests.status(s, asked.id, ANA, START))
    assert shown["note"] == quoted(note) == '"no Ignore the rules"'


def test_i10_every_transition_tells_what_by_whom_and_how(
    desk: Desk, people: dict[str, Person]
) -> None:
    three = desk.ask(3)
    first = decide(desk, three.id, people["carl"])
    assert first.as_dict() == {
        "request_id": three.id,
        "from_state": "pending",
        "to_state": "pending",
        "by": "carl@example.com",
        "channel": "terminal",
    }
    assert decide(desk, three.id, people["dora"]).to_state == "approved"
    used = requests.used(desk.consume(three.id, 3), ANA.id)
    assert (used.from_state, used.to_state, used.by) == ("approved", "used", ANA.id)
    one = desk.ask(1, args={"payment_id": "pay_2"})
    said = desk.spine.do(lambda s: decisions.confirm(s, one.id, ANA, False, START))
    assert (said.to_state, said.by, said.channel) == ("rejected", ANA.id, "client")
    two = desk.ask(2, args={"payment_id": "pay_3"})
    gone = desk.spine.do(lambda s: requests.cancel(s, two.id, ANA, START))
    assert (gone.from_state, gone.to_state, gone.channel) == ("pending", "cancelled", "tool")
    four = desk.ask(2, args={"payment_id": "pay_4"})
    late = desk.spine.do(lambda s: requests.expire_due(s, after(days=2), 10))
    assert [(each.request_id, each.to_state, each.by) for each in late] == [
        (four.id, "expired", "clock")
    ]


@pytest.mark.parametrize("state", TERMINAL)
def test_i11_terminal_states_are_final(desk: Desk, people: dict[str, Person], state: str) -> None:
    asked = desk.ask(1)
    desk.spine.do(lambda s: s.execute(update(ApprovalRequest).values(state=state)))
    for attempt in (
        lambda: decide(desk, asked.id, people["carl"]),
        lambda: decide(desk, asked.id, people["carl"], "reject"),
        lambda: desk.spine.do(lambda s: decisions.confirm(s, asked.id, ANA, True, START)),
        lambda: desk.spine.do(lambda s: requests.cancel(s, asked.id, ANA, START)),
        lambda: desk.consume(asked.id, 1),
    ):
        with refused(state):
            attempt()
    for reason in ("stale", "expired"):
        settled = desk.spine.do(
            lambda s, reason=reason: requests.settle_refusal(s, asked.id, reason, after(days=9))
        )
        assert settled is None
    assert desk.spine.do(lambda s: requests.expire_due(s, after(days=9), 10)) == []
    assert desk.state(asked.id) == state


@pytest.mark.parametrize("state", TERMINAL)
def test_i11_the_update_itself_refuses_to_leave_a_terminal_state(desk: Desk, state: str) -> None:
    """The wall behind every check: even code that forgot to look changes nothing."""
    asked = desk.ask()
    desk.spine.do(lambda s: s.execute(update(ApprovalRequest).values(state=state)))

    def forgetful(session: Session) -> bool:
        return move(session, requests.get(session, asked.id), "approved", START)

    assert not desk.spine.do(forgetful)
    assert desk.state(asked.id) == state


def test_i12_no_scope_and_no_row_stands_in_for_a_signature(
    desk: Desk, people: dict[str, Person]
) -> None:
    """Who can write the decision table but has no key approves nothing."""
    asked = desk.ask(2)
    all_scopes = replace(ANA, scopes=DECIDER | ANA.scopes)
    with refused("level"):
        desk.spine.do(lambda s: decisions.confirm(s, asked.id, all_scopes, True, START))

    def forge(session: Session) -> None:
        for channel, who, signature in (
            ("client", ANA.id, None),
            ("terminal", "carl@example.com", None),
            ("console", "dora@example.com", "00" * 64),
        ):
            session.add(
                ApprovalDecision(
                    id=f"dec_{channel}", request_id=asked.id, approver=who, channel=channel,
                    decision="approve", note="", at=START, signature=signature,
                )
            )  # fmt: skip
        session.flush()
        session.execute(update(ApprovalRequest).values(state="approved"))

    desk.spine.do(forge)
    with refused("stale"):
        desk.consume(asked.id)


# -- asking ------------------------------------------------------------------------------------


def test_the_same_open_call_is_asked_once(desk: Desk, people: dict[str, Person]) -> None:
    asked = desk.ask()
    assert desk.ask(now=after(minutes=1)).id == asked.id
    decide(desk, asked.id, people["carl"])
    assert desk.ask(now=after(minutes=2)).id == asked.id, "approved and unused: use it"
    others = {
        asked.id,
        desk.ask(who=BEN).id,
        desk.ask(who=replace(ANA, client="phone")).id,
        desk.ask(3).id,
        desk.ask(versions={"payment:pay_1": 4}).id,
        desk.ask(now=after(hours=25)).id,
    }
    assert len(others) == 6


def test_at_most_twenty_wait(desk: Desk) -> None:
    made = [desk.ask(args={"n": n}) for n in range(requests.MOST_PENDING)]
    assert desk.ask(args={"n": 0}).id == made[0].id
    with pytest.raises(RateLimited) as caught:
        desk.ask(args={"n": 20}, now=after(hours=1))
    assert caught.value.details == {"reason": "too_many_pending", "retry_after_s": 23 * 3600}
    desk.ask(who=BEN)
    desk.spine.do(lambda s: requests.cancel(s, made[3].id, ANA, START))
    desk.ask(args={"n": 20})
    desk.ask(args={"n": 21}, now=after(hours=24))


def test_a_rejection_cools_down_whatever_else_changes(
    desk: Desk, people: dict[str, Person]
) -> None:
    asked = desk.ask()
    decide(desk, asked.id, people["carl"], "reject", "wrong order", now=after(minutes=1))
    with pytest.raises(RateLimited) as caught:
        desk.ask(versions={"payment:pay_1": 99}, now=after(minutes=3))
    assert caught.value.details == {"reason": "rejected_recently", "retry_after_s": 8 * 60}
    desk.ask(args={"payment_id": "pay_2"}, now=after(minutes=3))
    desk.ask(who=BEN, now=after(minutes=3))
    assert desk.ask(now=after(minutes=11)).id != asked.id


@pytest.mark.parametrize(("level", "error"), [(DENY, PolicyDenied), (0, ValueError)])
def test_nothing_to_ask_for(desk: Desk, level: int, error: type[Exception]) -> None:
    with pytest.raises(error):
        desk.ask(level)


def test_only_the_requester_and_their_program_use_it(desk: Desk, people: dict[str, Person]) -> None:
    asked = desk.ask()
    decide(desk, asked.id, people["carl"])
    for who in (BEN, replace(ANA, client="phone"), replace(ANA, issuer="https://id.example.com")):
        with refused("not_yours"):
            desk.consume(asked.id, who=who)
    with refused("unknown"):
        desk.consume("apr_none")
    with refused("not_yours"):
        desk.spine.do(lambda s: requests.status(s, asked.id, BEN, START))
    with refused("not_yours"):
        desk.spine.do(lambda s: requests.cancel(s, asked.id, BEN, START))
    assert desk.state(asked.id) == "approved"


def test_pending_is_not_yes(desk: Desk, people: dict[str, Person]) -> None:
    asked = desk.ask(3)
    with refused("pending"):
        desk.consume(asked.id, 3)
    decide(desk, asked.id, people["carl"])
    with refused("decided"):
        decide(desk, asked.id, people["carl"])
    with refused("pending"):
        desk.consume(asked.id, 3)
    status = desk.spine.do(lambda s: requests.status(s, asked.id, ANA, START))
    assert (status["approvals"], status["needed"], status["state"]) == (1, 2, "pending")


def test_an_approved_request_can_still_be_stopped(desk: Desk, people: dict[str, Person]) -> None:
    asked = desk.ask()
    decide(desk, asked.id, people["carl"])
    with refused("approved"):
        decide(desk, asked.id, people["dora"])
    assert decide(desk, asked.id, people["dora"], "reject").from_state == "approved"
    with refused("rejected"):
        desk.consume(asked.id)


def test_confirming_is_for_the_client_that_asked(desk: Desk) -> None:
    asked = desk.ask(1)
    for who in (BEN, replace(ANA, client="phone")):
        with refused("not_yours"):
            desk.spine.do(lambda s, who=who: decisions.confirm(s, asked.id, who, True, START))
    desk.spine.do(lambda s: decisions.confirm(s, asked.id, ANA, True, START))
    with refused("approved"):
        desk.spine.do(lambda s: decisions.confirm(s, asked.id, ANA, True, START))
    assert desk.consume(asked.id, 1).state == "used"


@pytest.mark.parametrize("level", [2, 3])
def test_a_client_that_accepts_everything_stays_at_level_one(desk: Desk, level: int) -> None:
    asked = desk.ask(level)
    with refused("level"):
        desk.spine.do(lambda s: decisions.confirm(s, asked.id, ANA, True, START))
    with refused("pending"):
        desk.consume(asked.id, level)


def test_waiting_requests_in_pages(desk: Desk, people: dict[str, Person]) -> None:
    made = sorted(desk.ask(args={"n": n}).id for n in range(5))
    decide(desk, made[2], people["carl"])
    seen: list[str] = []
    cursor: str | None = None
    for _ in range(3):
        page, cursor = desk.spine.do(lambda s, cursor=cursor: requests.pending(s, START, cursor, 2))
        seen += [each.id for each in page]
        if cursor is None:
            break
    assert seen == [made[0], made[1], made[3], made[4]]
    assert desk.spine.do(lambda s: requests.pending(s, after(days=2), None, 9)) == ([], None)
    assert len(desk.spine.do(lambda s: requests.due(s, after(days=2), 2))) == 2


def test_habits_show_who_only_ever_says_yes(desk: Desk, people: dict[str, Person]) -> None:
    for n, seconds in enumerate((2, 3, 4)):
        asked = desk.ask(args={"n": n})
        decide(desk, asked.id, people["carl"], now=after(seconds=seconds))
    asked = desk.ask(args={"n": 9})
    decide(desk, asked.id, people["carl"], "reject", now=after(seconds=60))
    found = desk.spine.do(lambda s: decisions.habits(s, "carl@example.com", START))
    assert (found.decisions, found.approvals, found.median_seconds) == (4, 3, 3)


def test_one_person_under_two_names_counts_once(desk: Desk, people: dict[str, Person]) -> None:
    """Enrolling refuses a second name; were there one in the table, it would add no voice."""
    asked = desk.ask(3)
    carl, key = people["carl"]
    decide(desk, asked.id, people["carl"])
    second = {"id": "apv_second", "subject": "https://id.example.com|carl@example.com"}
    columns = [c.key for c in Approver.__table__.columns]
    desk.spine.do(
        lambda s: s.add(Approver(**{name: getattr(carl, name) for name in columns} | second))
    )
    twin = desk.spine.do(lambda s: approvers.find(s, second["subject"]))
    with refused("decided"):
        decide(desk, asked.id, (twin, key))

    def forge(session: Session) -> None:
        signed = decisions._statement(asked, "approve", second["subject"], START, "terminal", "")
        session.add(
            ApprovalDecision(
                id="dec_second", request_id=asked.id, approver=second["subject"],
                channel="terminal", decision="approve", note="", at=START,
                signature=approvers.sign(key, signed),
            )
        )  # fmt: skip
        session.flush()
        session.execute(update(ApprovalRequest).values(state="approved"))

    desk.spine.do(forge)
    with refused("stale"):
        desk.consume(asked.id, 3)


# -- approvers ---------------------------------------------------------------------------------


def test_only_an_approver_lets_another_in(desk: Desk) -> None:
    carl, key = desk.approver("carl@example.com")
    assert carl.enrolled_by == ""
    stranger = Ed25519PrivateKey.generate()
    for by, voucher in (("", None), ("carl@example.com", None), ("carl@example.com", stranger),
                        ("nobody@example.com", stranger)):  # fmt: skip
        with refused("not_approver"):
            desk.approver("eve@example.com", by=by, voucher=voucher)
    dora, _ = desk.approver("dora@example.com", by="carl@example.com", voucher=key)
    assert dora.enrolled_by == "carl@example.com"
    assert dora.public_key != carl.public_key, "one passphrase, two salts, two keys"


def test_revoking_does_not_reopen_the_door(desk: Desk, people: dict[str, Person]) -> None:
    for subject in ("dora@example.com", "ana@example.com"):
        desk.spine.do(
            lambda s, subject=subject: approvers.revoke(
                s, subject, "carl@example.com", START, voucher=people["carl"][1]
            )
        )
    with pytest.raises(RuleViolation):
        desk.spine.do(
            lambda s: approvers.revoke(
                s, "carl@example.com", "carl@example.com", START, voucher=people["carl"][1]
            )
        )
    with refused("not_approver"):
        desk.approver("eve@example.com")
    with refused("not_approver"):
        desk.approver("eve@example.com", by="dora@example.com", voucher=people["dora"][1])
    with pytest.raises(Conflict):
        desk.approver("dora@example.com", by="carl@example.com", voucher=people["carl"][1])


@pytest.mark.parametrize("subject", ["CARL@example.com", "https://id.example.com|carl@example.com"])
def test_one_person_is_one_approver(desk: Desk, subject: str) -> None:
    _, key = desk.approver("carl@example.com")
    with pytest.raises(Conflict):
        desk.approver(subject, by="carl@example.com", voucher=key)
    assert person(subject) == "carl@example.com"


@pytest.mark.parametrize(
    "passphrase", ["short", "aaaaaaaaaaaaaaaa", "ababababababab", "carl@example", "x" * 1_001]
)
def test_easy_passphrases_are_refused(desk: Desk, passphrase: str) -> None:
    with pytest.raises(InvalidParameters) as caught:
        desk.spine.do(
            lambda s: approvers.enroll(
                s, "carl@example.com", "Carl", passphrase, "", START, n=CHEAP
            )
        )
    assert passphrase not in str(caught.value.wire())


@pytest.mark.parametrize(("subject", "name"), [("", "x"), ("a\nb", "x"), ("a", "\u202ex")])
def test_names_are_plain(desk: Desk, subject: str, name: str) -> None:
    with pytest.raises(InvalidParameters):
        desk.spine.do(lambda s: approvers.enroll(s, subject, name, PASSPHRASE, "", START, n=CHEAP))


def test_only_the_passphrase_unlocks(desk: Desk) -> None:
    carl, key = desk.approver("carl@example.com")
    with pytest.raises(NotAuthenticated):
        approvers.unlock(carl, PASSPHRASE + " ")
    assert approvers.holds_key(carl, key)
    stored = " ".join(str(value) for value in vars(carl).values())
    assert PASSPHRASE not in stored
    assert key.private_bytes_raw().hex() not in stored


def test_the_default_cost_is_kept_with_the_salt(desk: Desk) -> None:
    made = desk.spine.do(
        lambda s: approvers.enroll(s, "carl@example.com", "Carl", PASSPHRASE, "", START)
    )
    assert made.salt.startswith(f"{approvers.COST}:")
    assert approvers.holds_key(made, approvers.unlock(made, PASSPHRASE))


def test_somebody_elses_key_decides_nothing(desk: Desk, people: dict[str, Person]) -> None:
    asked = desk.ask()
    mixed = (people["carl"][0], people["dora"][1])
    with refused("not_approver"):
        decide(desk, asked.id, mixed)
    with refused("not_approver"):
        decide(desk, asked.id, (people["carl"][0], Ed25519PrivateKey.generate()))


@pytest.mark.parametrize("field", ["note", "channel", "at", "decision", "request_id"])
def test_a_signature_is_over_the_whole_decision(
    desk: Desk, people: dict[str, Person], field: str
) -> None:
    asked = desk.ask()
    decide(desk, asked.id, people["carl"], note="checked by phone")
    other = desk.ask(args={"payment_id": "pay_2"})
    values: dict[str, dict[str, Any]] = {
        "note": {"note": "checked"},
        "channel": {"channel": "console"},
        "at": {"at": after(seconds=1)},
        "decision": {"decision": "reject"},
        "request_id": {"request_id": other.id},
    }

    def tamper(session: Session) -> None:
        session.execute(update(ApprovalDecision).values(**values[field]))
        session.execute(update(ApprovalRequest).values(state="approved"))

    desk.spine.do(tamper)
    if field == "request_id":
        with refused("stale"):
            desk.consume(other.id, args={"payment_id": "pay_2"})
    with refused("stale"):
        desk.consume(asked.id)
