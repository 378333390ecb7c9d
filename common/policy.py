"""What a call may do alone and what needs whom: the shop's policy, read from one TOML file.

``decide`` answers with a level: 0 alone, 1 the requester's own person confirms, 2 a second person,
3 two other persons, or DENY. Whatever the file does not foresee is denied: an unknown tool, stakes
the rule did not state. An amount in a currency without a rate takes the last step, and a fact that
a rule asks about and the call did not state counts as the worse answer.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import ROUND_CEILING, Decimal
from pathlib import Path
from typing import Final, cast

from sqlalchemy import Table, bindparam, func, insert, select
from sqlalchemy.orm import Session

from common.approvals import person
from common.call import Actor, Stakes, quoted
from common.money import exponent
from common.policy_file import (
    DENY,
    UNITS,
    WHO,
    Clause,
    PolicyError,
    PolicyFile,
    Rule,
    Window,
    number,
    shown,
)
from common.policy_file import read as read_file
from common.storage import hot
from common.storage.locks import one_at_a_time
from common.tables.spine import PolicyUse

_use: Final = PolicyUse.__table__.c
_USED: Final = insert(cast(Table, PolicyUse.__table__))
_EARLIER: Final = (
    select(_use.measure, func.sum(_use.amount))
    .where(
        _use.tool == bindparam("tool"),
        _use.subject.in_(bindparam("subjects", expanding=True)),
        _use.measure.in_(bindparam("measures", expanding=True)),
        _use.at > bindparam("since"),
    )
    .group_by(_use.measure)
)
DEFAULT: Final = Path(__file__).with_name("policy.toml")


@dataclass(frozen=True)
class Verdict:
    """``level`` 0 to 3, or DENY. ``wait_hours``: how long a request may wait, if not as usual."""

    level: int
    rule: str
    reason: str
    wait_hours: int | None = None

    @property
    def denied(self) -> bool:
        """No approval could allow it."""
        return self.level >= DENY


class Policy:
    """The rules of one file. Reading is done at ``load``; nothing changes afterwards."""

    def __init__(self, file: PolicyFile) -> None:
        self.currency = file.currency
        self.version = file.version
        self._rates = file.rates
        self._rules = file.rules

    @classmethod
    def load(cls, path: Path | None = None) -> "Policy":
        """From a TOML file, by default the packaged one. Raises PolicyError."""
        return cls(read_file(path or DEFAULT))

    def rules(self) -> list[str]:
        """Every rule's name, ``<server>.<tool>``, sorted."""
        return sorted(self._rules)

    def needs_stakes(self, rule: str) -> bool:
        """Whether the level depends on what the call states."""
        found = self._rules.get(rule)
        return found is not None and bool(found.money or found.units or found.spec.when)

    def facts(self, rule: str) -> set[str]:
        """The facts a call under this rule must state, each one, each time."""
        found = self._rules.get(rule)
        return {clause.fact for clause in found.spec.when} if found else set()

    def repeatable(self, rule: str) -> bool:
        """Whether the same call twice within a minute is ordinary."""
        found = self._rules.get(rule)
        return found is not None and found.spec.repeatable

    def explain(self, rule: str) -> str:
        """The rule in one line, for documentation and refusals. Raises KeyError."""
        return _explain(self._rules[rule], self.currency)

    def decide(
        self, session: Session, *, rule: str, actor: Actor, stakes: Stakes, now: datetime
    ) -> Verdict:
        """Who must agree to this call. Every answer is the strictest of the rule's parts."""
        found = self._rules.get(rule)
        if found is None:
            return Verdict(DENY, rule, f"The policy has no rule for {rule}.")
        if self.needs_stakes(rule) and not stakes.stated:
            return Verdict(DENY, rule, f"{rule} did not state what is at stake.")
        level, reason = found.floor, f"{rule} is always: {WHO[found.floor]}."
        for other, why in (
            self._by_amount(found, stakes),
            self._by_units(found, stakes),
            *(_by_fact(clause, stakes) for clause in found.spec.when),
            self._by_window(session, found, actor, stakes, now),
        ):
            if why and (other > level or (other == level and not found.fixed)):
                level, reason = other, why
        return Verdict(level, rule, reason, found.spec.wait_hours)

    def use(
        self,
        session: Session,
        *,
        audit_id: str,
        rule: str,
        actor: Actor,
        stakes: Stakes,
        now: datetime,
        level: int = 0,
    ) -> None:
        """Count a committed call towards its window. ``level`` is that of the approval it used.

        What a second person approved does not use up what the requester may do alone.
        """
        found = self._rules.get(rule)
        if found is None or found.window is None:
            return
        amount = self._measured(found.window, stakes)
        if amount:
            hot.change(
                session, _USED, audit_id=audit_id, tool=found.window.name, subject=person(actor.id),
                measure=f"{found.window.measure}:{level}", amount=amount, at=now,
            )  # fmt: skip

    def _by_amount(self, rule: Rule, stakes: Stakes) -> tuple[int, str]:
        if not rule.money:
            return 0, ""
        if not stakes.amount_minor:
            return rule.money.at(0), "No money is at stake."
        own = rule.own_money.get(stakes.currency)
        amount = abs(stakes.amount_minor) if own else self.converted(stakes)
        ladder = own or rule.money
        if amount is None:
            return ladder.strictest, f"The policy has no rate for {stakes.currency[:8] or 'it'}."
        level = ladder.at(amount)
        amount_text = shown(abs(stakes.amount_minor), stakes.currency)
        currency = stakes.currency if own else self.currency
        return level, f"{amount_text}: {ladder.told(amount, currency)} ({WHO[level]})."

    def _by_units(self, rule: Rule, stakes: Stakes) -> tuple[int, str]:
        if not rule.units:
            return 0, ""
        amount = abs(stakes.units)
        level = rule.units.at(amount)
        return level, f"{amount} units: {rule.units.told(amount, UNITS)} ({WHO[level]})."

    def _by_window(
        self, session: Session, rule: Rule, actor: Actor, stakes: Stakes, now: datetime
    ) -> tuple[int, str]:
        """A sum takes level k when what less than level k had allowed so far falls in step k."""
        window = rule.window
        amount = self._measured(window, stakes) if window else None
        if window is None or not amount:
            return 0, ""
        one_at_a_time(session, f"policy:{window.name}:{person(actor.id)}")
        earlier = _earlier_uses(session, window, actor, now)
        level = 0
        for k in range(1, DENY + 1):
            total = amount + sum(earlier[:k])
            if total > window.upto and window.ladder.at(total) >= k:
                level = k
        if not level:
            return 0, ""
        limit = shown(window.upto, window.measure)
        return level, f"More than {limit} within {window.hours} h ({WHO[level]})."

    def _measured(self, window: Window | None, stakes: Stakes) -> int | None:
        if window is None:
            return None
        return abs(stakes.units) if window.measure == UNITS else self.converted(stakes)

    def converted(self, stakes: Stakes) -> int | None:
        """The amount in minor units of the policy's currency, rounded up. None without a rate."""
        if not stakes.amount_minor:
            return 0
        rate = self._rates.get(stakes.currency)
        if rate is None:
            return None
        shift = exponent(self.currency) - exponent(stakes.currency)
        value = Decimal(abs(stakes.amount_minor)).scaleb(shift) * rate
        return int(value.to_integral_value(ROUND_CEILING))


def _by_fact(clause: Clause, stakes: Stakes) -> tuple[int, str]:
    if clause.unless and stakes.facts.get(clause.unless) is True:
        return 0, ""
    level = number(clause.level)
    value = stakes.facts.get(clause.fact)
    if value is None:
        return level, f"The call did not state {clause.fact} ({WHO[level]})."
    if clause.above is not None:
        holds = isinstance(value, bool | str) or value > clause.above
    else:
        holds = type(value) is not type(clause.equals) or value == clause.equals
    told = quoted(value) if isinstance(value, str) else str(value).lower()
    return (level, f"{clause.fact} is {told} ({WHO[level]}).") if holds else (0, "")


def _earlier_uses(session: Session, window: Window, actor: Actor, now: datetime) -> list[int]:
    """Sums within the window, by the level that had allowed them; one's own whatever issuer
    vouches. Until version 0.2 a use named the issuer, too."""
    measures = [f"{window.measure}:{level}" for level in range(DENY)]
    since = now - timedelta(hours=window.hours)
    subjects = [person(actor.id), actor.id]
    found = hot.rows(
        session, _EARLIER, tool=window.name, subjects=subjects, measures=measures, since=since
    )
    sums = {measure: int(total) for measure, total in found}
    return [sums.get(measure, 0) for measure in measures]


def _explain(rule: Rule, currency: str) -> str:
    always = "" if rule.spec.when else "always "
    parts = [] if rule.money or rule.units else [f"{always}{WHO[rule.floor]}"]
    for ladder, measure in (
        (rule.money, currency),
        *((ladder, code) for code, ladder in rule.own_money.items()),
        (rule.units, UNITS),
    ):
        if ladder:
            parts.append(ladder.explained(measure))
    if rule.window:
        limit = shown(rule.window.upto, rule.window.measure)
        parts.append(f"counted together above {limit} in {rule.window.hours} h")
    for clause in rule.spec.when:
        test = f"is {str(clause.equals).lower()}" if clause.above is None else f"> {clause.above}"
        unless = f" unless {clause.unless}" if clause.unless else ""
        parts.append(f"{WHO[number(clause.level)]} when {clause.fact} {test}{unless}")
    return "; ".join(parts)


__all__ = ["DENY", "WHO", "Policy", "PolicyError", "Verdict"]
