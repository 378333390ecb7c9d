"""A changing call has one effect, however often it arrives."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from common import idempotency
from common.errors import IdempotencyConflict, InvalidParameters, RuleViolation
from common.tables.spine import StoredResult
from tests.common.approving import ANA, START, Spine, a_spine, after

KEY = "refund-42-once"
CALL = (ANA, "payments", "refund_payment")
RESULT = {"refund_id": "ref_1", "amount_minor": 6_100, "lines": [{"sku": "é"}]}


@pytest.fixture
def spine(tmp_path: Path) -> Iterator[Spine]:
    with a_spine(f"sqlite:///{tmp_path}/shop.db") as found:
        yield found


def keep(keys: list[str], soft: str = "", **other: Any) -> Callable[[Session], None]:
    given: dict[str, Any] = {
        "server": "payments", "tool": "refund_payment", "args_digest": "a" * 64,
        "result": RESULT, "now": START, "audit_id": "aud_1",
    }  # fmt: skip
    return lambda session: idempotency.keep(session, keys, soft, **given | other)


def once(place: str, result: dict[str, Any] = RESULT, args: str = "a" * 64) -> Any:
    """What the guard does: replay, or do it and store the answer."""

    def work(session: Session) -> tuple[dict[str, Any], bool]:
        found = idempotency.replay(session, place, args)
        if found is not None:
            return found, True
        keep([place], result=result, args_digest=args)(session)
        return result, False

    return work


def rows(spine: Spine) -> int:
    return spine.do(lambda s: s.scalar(select(func.count()).select_from(StoredResult))) or 0


def test_the_answer_is_given_again(spine: Spine) -> None:
    place = idempotency.key_of(*CALL, KEY)
    assert spine.do(once(place)) == (RESULT, False)
    assert spine.do(once(place, {"refund_id": "another"})) == (RESULT, True)
    assert rows(spine) == 1


def test_other_arguments_are_a_conflict(spine: Spine) -> None:
    place = idempotency.key_of(*CALL, KEY)
    spine.do(once(place))
    with pytest.raises(IdempotencyConflict):
        spine.do(once(place, args="b" * 64))


def test_a_key_belongs_to_one_caller_program_and_tool() -> None:
    others = [
        (replace(ANA, issuer="https://id.example.com"), "payments", "refund_payment", KEY),
        (replace(ANA, subject="ben@example.com"), "payments", "refund_payment", KEY),
        (replace(ANA, client="phone"), "payments", "refund_payment", KEY),
        (ANA, "claims", "refund_payment", KEY),
        (ANA, "payments", "void_payment", KEY),
        (ANA, "payments", "refund_payment", KEY + "2"),
    ]
    places = {idempotency.key_of(*CALL, KEY), *(idempotency.key_of(*other) for other in others)}
    kinds = {idempotency.approval_key(*CALL, KEY), idempotency.soft_key(*CALL, KEY)}
    assert len(places | kinds) == len(others) + 3
    assert all(len(place) == 64 for place in places)
    scoped = replace(ANA, scopes=frozenset({"payments:refund"}))
    assert idempotency.key_of(scoped, *CALL[1:], KEY) in places, "a new token, the same caller"


def test_parts_of_a_key_do_not_run_together() -> None:
    one = replace(ANA, subject="ab", client="c")
    two = replace(ANA, subject="a", client="bc")
    assert idempotency.key_of(one, *CALL[1:], KEY) != idempotency.key_of(two, *CALL[1:], KEY)


@pytest.mark.parametrize("key", ["", "1234567", "x" * 129, "with space", "ünïcödé8", "12345678\n"])
def test_badly_formed_keys_are_refused(key: str) -> None:
    with pytest.raises(InvalidParameters) as caught:
        idempotency.key_of(*CALL, key)
    assert caught.value.details["problems"][0]["field"] == "idempotency_key"


@pytest.mark.parametrize("key", ["12345678", "x" * 128, "A-Z_09-z"])
def test_well_formed_keys_pass(key: str) -> None:
    assert idempotency.key_of(*CALL, key)


def test_a_failed_call_leaves_no_answer(spine: Spine) -> None:
    place = idempotency.key_of(*CALL, KEY)

    def fails(session: Session) -> None:
        once(place)(session)
        raise RuleViolation("the effect failed")

    with pytest.raises(RuleViolation):
        spine.do(fails)
    assert spine.do(once(place)) == (RESULT, False)


def test_storing_twice_is_raced(spine: Spine) -> None:
    """The wall behind the lock: whoever comes second keeps nothing and runs again."""
    place = idempotency.key_of(*CALL, KEY)
    spine.do(keep([place]))
    with pytest.raises(idempotency.Raced):
        spine.do(keep([place, "another"], "soft", result={"n": 2}))
    assert spine.do(once(place)) == (RESULT, True)
    assert rows(spine) == 1


def test_the_same_call_without_a_key_a_moment_later(spine: Spine) -> None:
    soft = idempotency.soft_key(*CALL, "a" * 64)

    def note(audit_id: str, now: Any) -> Callable[[Session], None]:
        return keep([], soft, now=now, audit_id=audit_id)

    def recent(now: Any) -> str | None:
        return spine.do(lambda s: idempotency.recent(s, soft, now))

    assert recent(START) is None
    spine.do(note("aud_1", START))
    assert recent(after(seconds=59)) == "aud_1"
    assert recent(after(seconds=60)) is None
    spine.do(note("aud_2", after(seconds=90)))
    assert recent(after(seconds=100)) == "aud_2"
    assert rows(spine) == 1


def test_several_keys_and_the_note_together(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    sqlite = kind == "sqlite"
    url = f"sqlite:///{tmp_path}/own.db" if sqlite else request.getfixturevalue("postgres_url")
    with a_spine(url) as spine:
        spine.do(keep(["one", "two"], "soft"))
        spine.do(keep(["three"], "soft", now=after(seconds=30), audit_id="aud_2"))
        spine.do(keep([]))
        assert rows(spine) == 4
        for place in ("one", "two", "three"):
            assert spine.do(once(place)) == (RESULT, True)
        assert spine.do(lambda s: idempotency.recent(s, "soft", after(seconds=89))) == "aud_2"
        with pytest.raises(idempotency.Raced):
            spine.do(keep(["four", "two"], "soft", now=after(seconds=60), audit_id="aud_3"))
        assert spine.do(lambda s: idempotency.recent(s, "soft", after(seconds=89))) == "aud_2"


def test_answers_are_kept_seven_days(spine: Spine) -> None:
    for n in range(5):
        spine.do(keep([f"place-{n}"], now=after(hours=n)))
    sweep = idempotency.sweep
    assert spine.do(lambda s: sweep(s, after(days=7), 100)) == 0
    assert spine.do(lambda s: sweep(s, after(days=7, hours=2, seconds=1), 2)) == 2
    assert spine.do(lambda s: sweep(s, after(days=7, hours=2, seconds=1), 2)) == 1
    assert rows(spine) == 2


def test_parallel_calls_have_one_effect(postgres_url: str) -> None:
    """Eight at once on PostgreSQL: one does it, seven wait and get its answer."""
    place = idempotency.key_of(*CALL, KEY)
    with a_spine(postgres_url) as spine:
        found = spine.both(*(once(place, {"n": n}) for n in range(8)))
        assert rows(spine) == 1
    answers = [answer for answer, _ in found]
    assert answers == [answers[0]] * 8
    assert sorted(replayed for _, replayed in found) == [False] + [True] * 7


def test_a_waiting_call_goes_ahead_when_the_first_fails(postgres_url: str) -> None:
    place = idempotency.key_of(*CALL, KEY)

    def fails(session: Session) -> None:
        once(place)(session)
        raise RuleViolation("the effect failed")

    with a_spine(postgres_url) as spine:
        failed, second = spine.both(fails, once(place, {"n": 2}))
        assert isinstance(failed, RuleViolation)
        assert second == ({"n": 2}, False)


def test_the_wall_holds_without_the_lock(postgres_url: str) -> None:
    """Two transactions store one key and neither looked first: the second is Raced."""
    with a_spine(postgres_url) as spine:
        found = spine.both(*(keep(["place"], result={"n": n}) for n in range(4)))
        assert rows(spine) == 1
    assert sum(isinstance(each, idempotency.Raced) for each in found) == 3
    assert not any(isinstance(each, asyncio.CancelledError) for each in found)
