"""The policy: what it answers, what it counts together, and what it refuses to read."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from common.call import Actor, Stakes
from common.money import parse_minor
from common.policy import DENY, WHO, Policy, PolicyError, Verdict
from common.tables.spine import PolicyUse
from tests.common.approving import ANA, BEN, START, Spine, a_spine, after

REFUND = "payments.refund_payment"
HEAD = 'currency = "EUR"\n[rates]\nUSD = "0.90"\nJPY = "0.0065"\n'


@pytest.fixture(scope="module")
def spine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Spine]:
    with a_spine(f"sqlite:///{tmp_path_factory.mktemp('policy')}/shop.db") as found:
        yield found


@pytest.fixture(autouse=True)
def empty(spine: Spine) -> None:
    spine.clear()


@pytest.fixture
def written(tmp_path: Path) -> Callable[[str], Policy]:
    """A policy from rules in TOML."""

    def write(rules: str, head: str = HEAD) -> Policy:
        file = tmp_path / "policy.toml"
        file.write_text(head + rules)
        return Policy.load(file)

    return write


def money(amount: str, currency: str = "EUR", **facts: bool | int | str) -> Stakes:
    return Stakes(True, parse_minor(amount, currency), currency, 0, facts)


def units(count: int) -> Stakes:
    return Stakes(True, units=count)


def refund(amount: str, currency: str = "EUR") -> Stakes:
    return money(amount, currency, destination_differs=False)


def verdict(
    spine: Spine, policy: Policy, rule: str, stakes: Stakes, *, who: Any = ANA, now: Any = START
) -> Verdict:
    return spine.do(lambda s: policy.decide(s, rule=rule, actor=who, stakes=stakes, now=now))


def spend(
    spine: Spine, policy: Policy, audit_id: str, stakes: Stakes, *, rule: str = REFUND,
    who: Any = ANA, now: Any = START, level: int = 0,
) -> None:  # fmt: skip
    spine.do(
        lambda s: policy.use(
            s, audit_id=audit_id, rule=rule, actor=who, stakes=stakes, now=now, level=level
        )
    )


# -- the packaged rules ------------------------------------------------------------------------

DEFAULT = Policy.load()


@pytest.mark.parametrize(
    ("amount", "level"),
    [
        ("0.01", 0), ("50.00", 0), ("50.01", 1), ("200.00", 1), ("500.00", 1), ("500.01", 2),
        ("10000.00", 2), ("10000.01", 3), ("9999999.00", 3), ("-600.00", 2),
    ],
)  # fmt: skip
def test_refunds_by_amount(spine: Spine, amount: str, level: int) -> None:
    assert verdict(spine, DEFAULT, REFUND, refund(amount)).level == level


@pytest.mark.parametrize(
    ("facts", "level"),
    [
        ({"destination_differs": False}, 0),
        ({"destination_differs": True}, DENY),
        ({"destination_differs": True, "unlinked_allowed": True}, 2),
        ({"destination_differs": True, "unlinked_allowed": 1}, DENY),
        ({"destination_differs": "no"}, DENY),
        ({}, DENY),
    ],
    ids=str,
)
def test_a_refund_to_another_instrument(
    spine: Spine, facts: dict[str, bool | int | str], level: int
) -> None:
    """What the call does not say counts as the worse answer."""
    assert verdict(spine, DEFAULT, REFUND, money("10.00", **facts)).level == level


@pytest.mark.parametrize(
    ("rule", "stakes", "level"),
    [
        ("inventory.create_reorder", money("0.00"), 1),
        ("inventory.create_reorder", money("1000.00"), 1),
        ("inventory.create_reorder", money("1000.01"), 2),
        ("payments.release_hold", Stakes(), 2),
        ("inventory.reserve_stock", Stakes(), 0),
        ("logistics.dispatch_route", Stakes(), 1),
        ("orders.cancel_order", money("0.00"), 0),
        ("orders.cancel_order", Stakes(True), 0),
        ("orders.cancel_order", money("0.01"), 1),
        ("orders.update_shipping_address", Stakes(True, facts={"released": False}), 0),
        ("orders.update_shipping_address", Stakes(True, facts={"released": True}), 1),
        ("orders.update_shipping_address", Stakes(True), 1),
        ("inventory.adjust_stock", Stakes(True, 99_99, "EUR", 11), 1),
        ("inventory.adjust_stock", Stakes(True, 2_000_00, "EUR", -1), 2),
        ("inventory.adjust_stock", Stakes(True, 0, "", -101), 2),
        ("inventory.transfer_stock", units(100), 0),
    ],
)
def test_packaged_rules(spine: Spine, rule: str, stakes: Stakes, level: int) -> None:
    found = verdict(spine, DEFAULT, rule, stakes)
    assert (found.level, found.rule) == (level, rule)
    assert found.reason


@pytest.mark.parametrize("rule", DEFAULT.rules())
def test_every_packaged_rule_explains_itself_and_fails_closed(spine: Spine, rule: str) -> None:
    assert any(who in DEFAULT.explain(rule) for who in WHO)
    level = verdict(spine, DEFAULT, rule, Stakes()).level
    assert level == DENY if DEFAULT.needs_stakes(rule) else level < DENY


def test_an_explanation_reads_like_a_sentence() -> None:
    assert DEFAULT.explain("inventory.create_reorder") == (
        "≤ 1000.00 EUR confirm, ≤ 25000.00 EUR a second person, above two other persons"
    )
    assert DEFAULT.explain("orders.update_shipping_address") == (
        "alone; confirm when released is true"
    )
    assert "counted together above 200.00 EUR in 24 h" in DEFAULT.explain(REFUND)
    assert "denied when destination_differs is true unless unlinked" in DEFAULT.explain(REFUND)


# -- what is not foreseen ----------------------------------------------------------------------


def test_unknown_tools_and_unstated_stakes_are_denied(spine: Spine) -> None:
    assert verdict(spine, DEFAULT, "payments.print_money", refund("1.00")).denied
    assert verdict(spine, DEFAULT, REFUND, Stakes()).denied
    assert verdict(spine, DEFAULT, REFUND, Stakes(False, 100, "EUR")).denied


@pytest.mark.parametrize(
    ("amount", "currency", "level"),
    [
        ("55.55", "USD", 0),  # 49.995 → 50.00
        ("55.56", "USD", 1),  # 50.004 → 50.01: rounded up
        ("7692", "JPY", 0),  # 49.998
        ("7693", "JPY", 1),
        ("0.01", "KWD", 3),  # no rate: the last step
        ("0.00", "KWD", 0),
    ],
)
def test_other_currencies(
    spine: Spine, written: Callable[[str], Policy], amount: str, currency: str, level: int
) -> None:
    policy = written(
        '[payments.pay]\nsteps = [{upto="50.00", level=0}, {upto="500.00", level=1}, {level=3}]'
    )
    assert verdict(spine, policy, "payments.pay", money(amount, currency)).level == level


def test_a_currency_may_have_steps_of_its_own(
    spine: Spine, written: Callable[[str], Policy]
) -> None:
    policy = written(
        '[payments.pay]\nsteps = [{upto="50.00", level=0}, {level=2}]\n'
        'steps_by_currency.KWD = [{upto="1.000", level=0}, {level=1}]'
    )
    assert verdict(spine, policy, "payments.pay", money("1.000", "KWD")).level == 0
    assert verdict(spine, policy, "payments.pay", money("1.001", "KWD")).level == 1
    assert verdict(spine, policy, "payments.pay", money("-1.001", "KWD")).level == 1
    assert "≤ 1.000 KWD alone" in policy.explain("payments.pay")


def test_facts_with_limits_and_texts(spine: Spine, written: Callable[[str], Policy]) -> None:
    policy = written(
        "[a.b]\nlevel = 0\nwhen = ["
        '{fact="lines", above=3, level=1}, {fact="kind", is="fraud", level=2}]'
    )
    assert policy.facts("a.b") == {"lines", "kind"}

    def level(**facts: bool | int | str) -> int:
        return verdict(spine, policy, "a.b", Stakes(True, facts=facts)).level

    assert level(lines=3, kind="manual") == 0
    assert level(lines=4, kind="manual") == 1
    assert level(lines="many", kind="manual") == 1
    assert level(lines=True, kind="manual") == 1
    assert level(lines=0, kind="fraud") == 2
    assert level(lines=0) == 2
    told = verdict(spine, policy, "a.b", Stakes(True, facts={"lines": 0, "kind": "fraud"}))
    assert told.reason == 'kind is "fraud" (a second person).'


def test_waiting_and_repeating(spine: Spine, written: Callable[[str], Policy]) -> None:
    policy = written("[a.b]\nlevel = 2\nwait_hours = 72\nrepeatable = true\n[a.c]\nlevel = 2")
    assert verdict(spine, policy, "a.b", Stakes()).wait_hours == 72
    assert verdict(spine, policy, "a.c", Stakes()).wait_hours is None
    assert (policy.repeatable("a.b"), policy.repeatable("a.c")) == (True, False)
    assert not policy.repeatable("a.unknown")


def test_the_version_is_of_the_file(written: Callable[[str], Policy]) -> None:
    one, two = written("[a.b]\nlevel = 0"), written("[a.b]\nlevel = 0 # looser")
    assert one.version != two.version
    assert len(one.version) == 64


# -- windows -----------------------------------------------------------------------------------


def test_small_refunds_add_up(spine: Spine) -> None:
    """Four times 50 is alone, the fifth is not; the sixth hundred takes a second person."""
    for n in range(4):
        assert verdict(spine, DEFAULT, REFUND, refund("50.00")).level == 0
        spend(spine, DEFAULT, f"aud_{n}", refund("50.00"))
    found = verdict(spine, DEFAULT, REFUND, refund("0.01"))
    assert found.level == 1
    assert found.reason == "More than 200.00 EUR within 24 h (confirm)."
    assert verdict(spine, DEFAULT, REFUND, refund("300.00")).level == 1
    assert verdict(spine, DEFAULT, REFUND, refund("300.01")).level == 2


def test_windows_are_by_requester_and_slide(spine: Spine) -> None:
    spend(spine, DEFAULT, "aud_1", refund("200.00"))
    assert verdict(spine, DEFAULT, REFUND, refund("1.00"), who=BEN).level == 0
    just, over = after(hours=24, microseconds=-1), after(hours=24)
    assert verdict(spine, DEFAULT, REFUND, refund("1.00"), now=just).level == 1
    assert verdict(spine, DEFAULT, REFUND, refund("1.00"), now=over).level == 0


@pytest.mark.parametrize("who", [
    replace(ANA, issuer="https://id.example.com"), replace(ANA, subject="ANA@example.com"),
    replace(ANA, client="another"),
])  # fmt: skip
def test_a_person_has_one_window_whoever_vouches_for_them(spine: Spine, who: Actor) -> None:
    spend(spine, DEFAULT, "aud_1", refund("200.00"))
    assert verdict(spine, DEFAULT, REFUND, refund("1.00"), who=who).level == 1


def test_what_was_used_before_an_upgrade_counts(spine: Spine) -> None:
    """Until 0.2 a use named the issuer too."""
    spend(spine, DEFAULT, "aud_1", refund("200.00"))
    spine.do(lambda s: s.execute(update(PolicyUse).values(subject=ANA.id)))
    assert verdict(spine, DEFAULT, REFUND, refund("1.00")).level == 1


def test_rules_may_share_a_window(spine: Spine) -> None:
    spend(spine, DEFAULT, "aud_1", refund("150.00"), rule="returns.settle_return")
    spend(spine, DEFAULT, "aud_2", money("50.00"), rule="payments.issue_store_credit")
    assert verdict(spine, DEFAULT, REFUND, refund("1.00")).level == 1
    assert verdict(spine, DEFAULT, "payments.authorize_payment", money("1.00")).level == 0


def test_what_others_approved_does_not_use_up_what_one_may_do_alone(spine: Spine) -> None:
    """A refund of 9,000 by two people leaves small ones free, but two of them need three."""
    spend(spine, DEFAULT, "aud_1", refund("9000.00"), level=2)
    assert verdict(spine, DEFAULT, REFUND, refund("50.00")).level == 0
    assert verdict(spine, DEFAULT, REFUND, refund("400.00")).level == 1
    assert verdict(spine, DEFAULT, REFUND, refund("9000.00")).level == 3
    spend(spine, DEFAULT, "aud_2", refund("400.00"), level=1)
    assert verdict(spine, DEFAULT, REFUND, refund("150.00")).level == 2


def test_windows_count_other_currencies_too(spine: Spine) -> None:
    spend(spine, DEFAULT, "aud_1", refund("200.00", "USD"))
    rows = spine.do(lambda s: s.execute(select(PolicyUse.measure, PolicyUse.amount)).all())
    assert [tuple(row) for row in rows] == [("EUR:0", 190_00)]
    assert verdict(spine, DEFAULT, REFUND, refund("10.01")).level == 1


def test_windows_of_units(spine: Spine, written: Callable[[str], Policy]) -> None:
    policy = written(
        "[a.b]\nunits = [{upto=10, level=0}, {upto=100, level=1}, {level=2}]\n"
        "window = {hours=1, upto=15}"
    )
    spend(spine, policy, "aud_1", units(-10), rule="a.b")
    assert verdict(spine, policy, "a.b", units(5)).level == 0
    assert verdict(spine, policy, "a.b", units(6)).level == 1
    assert verdict(spine, policy, "a.b", units(91)).level == 2


def test_no_row_without_a_window_or_an_amount(spine: Spine) -> None:
    spend(spine, DEFAULT, "aud_1", money("9.00"), rule="payments.capture_payment")
    spend(spine, DEFAULT, "aud_2", refund("0.00"))
    spend(spine, DEFAULT, "aud_3", money("9.00"), rule="a.unknown")
    assert spine.do(lambda s: s.scalars(select(PolicyUse)).all()) == []


@settings(max_examples=30)
@given(amounts=st.lists(st.integers(1, 300_00), min_size=1, max_size=8))
def test_splitting_never_asks_for_less(spine: Spine, amounts: list[int]) -> None:
    """However a sum is cut, the strictest part is asked for at least what the window allows."""
    spine.clear()
    strictest = 0
    for n, minor in enumerate(amounts):
        stakes = Stakes(True, minor, "EUR", 0, {"destination_differs": False})
        strictest = max(strictest, verdict(spine, DEFAULT, REFUND, stakes).level)
        spend(spine, DEFAULT, f"aud_{n}", stakes)
    whole = Stakes(True, sum(amounts), "EUR", 0, {"destination_differs": False})
    spine.clear()
    if sum(amounts) > 200_00:
        assert strictest >= verdict(spine, DEFAULT, REFUND, whole).level


def test_parallel_calls_cannot_slip_under_a_window(postgres_url: str) -> None:
    """Ten parallel refunds of 40: five reach 200, the others see them."""
    with a_spine(postgres_url) as spine:

        def refunds(n: int) -> Callable[[Session], int]:
            def work(session: Session) -> int:
                stakes = refund("40.00")
                who = {"rule": REFUND, "actor": ANA, "stakes": stakes, "now": START}
                level = DEFAULT.decide(session, **who).level  # type: ignore[arg-type]
                if level == 0:
                    DEFAULT.use(session, audit_id=f"aud_{n}", **who)  # type: ignore[arg-type]
                return level

            return work

        levels = spine.both(*(refunds(n) for n in range(10)))
    assert sorted(levels) == [0] * 5 + [1] * 5


# -- malformed files ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ("[a.b]\nlevel = 9", "[a.b] level"),
        ("[a.b]\nlevel = true", "[a.b] level"),
        ("[a.b]\nsteps = [{level = false}]", "[a.b] steps[0].level"),
        ('[a.b]\nlevel = "never"', "[a.b] level"),
        ("[a.b]", "[a.b] level: give either"),
        ("[a.b]\nlevel = 1\nunits = [{level=1}]", "[a.b] level: give either"),
        ("[a.b]\nlevle = 1", "[a.b] levle"),
        ("[a.b]\nlevel = 1\nwait_hours = 0", "[a.b] wait_hours"),
        ("[a.b]\nlevel = 1\nwait_hours = 1000", "[a.b] wait_hours"),
        ('[a.b]\nlevel = 1\nrepeatable = "yes"', "[a.b] repeatable"),
        ("[a.b]\nsteps = [{upto=50.00, level=0}, {level=1}]", "[a.b] steps[0].upto"),
        ("[a.b]\nsteps = [{upto=50, level=0}, {level=1}]", "[a.b] steps[0].upto: must be an am"),
        ('[a.b]\nsteps = [{upto="5.001", level=0}, {level=1}]', "[a.b] steps[0].upto"),
        ('[a.b]\nsteps = [{upto="-1.00", level=0}, {level=1}]', "[a.b] steps[0].upto: must not"),
        ('[a.b]\nsteps = [{upto="fifty", level=0}, {level=1}]', "[a.b] steps[0].upto"),
        ('[a.b]\nsteps = [{upto="5.00", level=0}]', "[a.b] steps[0].upto: the last step"),
        ("[a.b]\nsteps = [{level=0}, {level=1}]", "[a.b] steps[0].upto: the last step"),
        (
            '[a.b]\nsteps = [{upto="5.00", level=0}, {upto="5.00", level=1}, {level=2}]',
            "[a.b] steps[1].upto: must be more",
        ),
        (
            '[a.b]\nsteps = [{upto="5.00", level=2}, {level=1}]',
            "[a.b] steps[1].level: must not be below",
        ),
        ('[a.b]\nunits = [{upto="5", level=0}, {level=1}]', "[a.b] units[0].upto: must be a wh"),
        ('[a.b]\nlevel=1\nwhen = [{fact="x", level=1}]', "[a.b] when[0]: give either is or"),
        ("[a.b]\nlevel=1\nwhen = [{is=true, level=1}]", "[a.b] when[0].fact"),
        ('[a.b]\nlevel=1\nwhen = [{fact="x", is=true, level=1, or=2}]', "[a.b] when[0].or"),
        ('[a.b]\nlevel=1\nwindow = {hours=1, upto="1.00"}', "[a.b] window.upto: text goes"),
        ('[a.b]\nunits=[{level=1}]\nwindow = {hours=1, upto="1.00"}', "[a.b] window.upto"),
        (
            '[a.b]\nsteps=[{upto="5.00", level=0}, {level=1}]\nwindow = {hours=1, upto="4.99"}',
            "[a.b] window.upto: must not be below",
        ),
        (
            '[a.b]\nsteps=[{upto="5.00", level=0}, {level=1}]\nwindow = {hours=0, upto="9.00"}',
            "[a.b] window.hours",
        ),
        (
            '[a.b]\nsteps=[{upto="5.00", level=0}, {level=1}]\nwindow = {hours=1, upto="9.00"}\n'
            "steps_by_currency.KWD = [{level=1}]",
            "[a.b] steps_by_currency.KWD: a rule with a window needs a rate",
        ),
        ("[a.b]\nunits=[{level=1}]\nsteps_by_currency.USD = [{level=1}]", "[a.b] steps_by_curr"),
        (
            "[a.b]\nsteps=[{level=1}]\nsteps_by_currency.USD = []",
            "[a.b] steps_by_currency.USD: give at least",
        ),
        (
            "[a.b]\nsteps=[{level=1}]\nsteps_by_currency.EURO = [{level=1}]",
            "[a.b] steps_by_currency.EURO: EURO is not an ISO 4217",
        ),
        ("[a]\nb = 1", "[a] b: must be a table [a.b]"),
        ("[a.b\nlevel = 1", "policy.toml:"),
        ("[a.b]\nlevel = 1\n[a.b]\nlevel = 0", "policy.toml:"),
    ],
)
def test_a_malformed_rule_is_named(written: Callable[[str], Policy], rules: str, said: str) -> None:
    with pytest.raises(PolicyError) as caught:
        written(rules)
    assert str(caught.value).startswith("policy.toml: ")
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("head", "said"),
    [
        ("", "currency: must be"),
        ('currency = "EURO"\n', "currency: EURO is not"),
        ('currency = "XAU"\n', "currency: XAU is not"),
        ('currency = "EUR"\nlimits = 3\n', "limits: unknown key"),
        ('currency = "EUR"\nrates = 3\n', "[rates] must be a table"),
        ('currency = "EUR"\n[rates]\nUSD = 0.9\n', "[rates] USD: must be a positive number in q"),
        ('currency = "EUR"\n[rates]\nUSD = "0"\n', "[rates] USD: must be a positive"),
        ('currency = "EUR"\n[rates]\nUSD = "nan"\n', "[rates] USD: must be a positive"),
        ('currency = "EUR"\n[rates]\nUSD = "x"\n', "[rates] USD: must be a positive"),
        ('currency = "EUR"\n[rates]\nDOLLAR = "1"\n', "[rates] DOLLAR: DOLLAR is not"),
    ],
)
def test_a_malformed_head_is_named(written: Any, head: str, said: str) -> None:
    with pytest.raises(PolicyError) as caught:
        written("[a.b]\nlevel = 0", head)
    assert said in str(caught.value)


def test_a_missing_or_unreadable_file(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="cannot be read"):
        Policy.load(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(PolicyError, match=r"bad\.toml"):
        Policy.load(tmp_path / "bad.toml")
