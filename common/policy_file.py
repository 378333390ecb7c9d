"""The policy file: read, checked, and turned into ladders of limits.

One table a rule, named ``[server.tool]``:

==================  ==================================================================
level               0, 1, 2, 3 or "deny": the same for every call
steps               levels by amount in the policy's currency; the last step has no upto
steps_by_currency   steps in place of these for one currency
units               levels by units; with steps as well, the stricter counts
window              amounts of one requester within ``hours`` count together above ``upto``;
                    rules with the same ``shared`` name count together
when                facts that raise the level: ``is`` or ``above``, ``unless`` another is true
repeatable          the same call twice within a minute is ordinary
wait_hours          how long an approval request may wait
==================  ==================================================================
"""

import hashlib
import tomllib
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from common.errors import InvalidParameters
from common.money import decimal_text, exponent, parse_minor

DENY: Final = 4
WHO: Final = ("alone", "confirm", "a second person", "two other persons", "denied")
UNITS: Final = "units"
_LARGEST_RATE: Final = Decimal(10) ** 9
_RESERVED: Final = {"currency", "rates"}


class PolicyError(ValueError):
    """The policy file is malformed; the message names the table and the key."""


@dataclass(frozen=True)
class PolicyFile:
    """What the file says. ``rates``: the policy's currency for one unit of another.
    ``version``: SHA-256 of the bytes."""

    currency: str
    rates: Mapping[str, Decimal]
    rules: Mapping[str, "Rule"]
    version: str


def read(file: Path) -> PolicyFile:
    """Parse and check. Raises PolicyError."""
    try:
        raw = file.read_bytes()
        data = tomllib.loads(raw.decode())
    except OSError as error:
        raise PolicyError(f"{file}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise PolicyError(f"{file.name}: {error}") from None
    try:
        return _compile(data, hashlib.sha256(raw).hexdigest())
    except PolicyError as error:
        raise PolicyError(f"{file.name}: {error}") from None


@dataclass(frozen=True)
class Ladder:
    """``limits`` are inclusive and rise; ``levels`` has one more, for all that is above."""

    limits: tuple[int, ...]
    levels: tuple[int, ...]

    @property
    def strictest(self) -> int:
        return self.levels[-1]

    def at(self, amount: int) -> int:
        return self.levels[bisect_left(self.limits, amount)]

    def told(self, amount: int, measure: str) -> str:
        step = bisect_left(self.limits, amount)
        if step < len(self.limits):
            return f"up to {shown(self.limits[step], measure)}"
        return f"above {shown(self.limits[-1], measure)}" if self.limits else "any"

    def explained(self, measure: str) -> str:
        parts = [
            f"≤ {shown(limit, measure)} {WHO[level]}"
            for limit, level in zip(self.limits, self.levels, strict=False)
        ]
        return ", ".join([*parts, f"{'above' if parts else 'always'} {WHO[self.strictest]}"])


@dataclass(frozen=True)
class Window:
    name: str
    hours: int
    upto: int
    measure: str
    ladder: Ladder


@dataclass(frozen=True)
class Rule:
    spec: "_RuleTable"
    floor: int
    money: Ladder | None
    own_money: Mapping[str, Ladder]
    units: Ladder | None
    window: Window | None

    @property
    def fixed(self) -> bool:
        return self.spec.level is not None


class _Table(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


def _no_boolean(value: object) -> object:
    # A literal compares by equality, and true equals 1.
    if isinstance(value, bool):
        raise ValueError('must be 0, 1, 2, 3 or "deny"')
    return value


_Level = Annotated[Literal[0, 1, 2, 3, "deny"], BeforeValidator(_no_boolean)]


class _Step(_Table):
    upto: str | int | None = None
    level: _Level


class _WindowTable(_Table):
    hours: int = Field(ge=1, le=24 * 31)
    upto: str | int
    shared: str = Field(default="", max_length=80, pattern=r"^[a-z_]*$")


class Clause(_Table):
    fact: str = Field(min_length=1)
    equals: bool | int | str | None = Field(default=None, alias="is")
    above: int | None = None
    unless: str | None = None
    level: _Level


class _RuleTable(_Table):
    level: _Level | None = None
    steps: list[_Step] = Field(default_factory=list)
    steps_by_currency: dict[str, list[_Step]] = Field(default_factory=dict)
    units: list[_Step] = Field(default_factory=list)
    window: _WindowTable | None = None
    when: list[Clause] = Field(default_factory=list)
    repeatable: bool = False
    wait_hours: int | None = Field(default=None, ge=1, le=168)


def _compile(data: dict[str, Any], version: str) -> PolicyFile:
    currency = data.get("currency")
    if not isinstance(currency, str):
        raise PolicyError('currency: must be a text such as "EUR"')
    _known_currency(currency, "currency")
    given = data.get("rates", {})
    if not isinstance(given, dict):
        raise PolicyError("[rates] must be a table")
    rates = {code: _rate(code, rate) for code, rate in given.items()} | {currency: Decimal(1)}
    rules: dict[str, Rule] = {}
    for server, tools in data.items():
        if server in _RESERVED:
            continue
        if not isinstance(tools, dict):
            raise PolicyError(f"{server}: unknown key; rules are tables such as [server.tool]")
        for tool, table in tools.items():
            name = f"{server}.{tool}"
            if not isinstance(table, dict):
                raise PolicyError(f"[{server}] {tool}: must be a table [{name}]")
            rules[name] = _compile_rule(name, table, currency, rates)
    return PolicyFile(currency, rates, rules, version)


def _compile_rule(
    name: str, table: dict[str, Any], currency: str, rates: Mapping[str, Decimal]
) -> Rule:
    try:
        spec = _RuleTable.model_validate(table)
    except ValidationError as error:
        first = error.errors()[0]
        raise PolicyError(f"[{name}] {_place(first['loc'])}: {first['msg']}") from None
    if (spec.level is None) == (not spec.steps and not spec.units):
        raise PolicyError(f"[{name}] level: give either level, or steps and units")
    for index, clause in enumerate(spec.when):
        if (clause.equals is None) == (clause.above is None):
            raise PolicyError(f"[{name}] when[{index}]: give either is or above")
    if spec.steps_by_currency and not spec.steps:
        raise PolicyError(f"[{name}] steps_by_currency: needs steps as well")
    money = _ladder(name, "steps", spec.steps, currency)
    own = {}
    for code, steps in spec.steps_by_currency.items():
        place = f"steps_by_currency.{code}"
        _known_currency(code, f"[{name}] {place}")
        if spec.window and code not in rates:
            raise PolicyError(f"[{name}] {place}: a rule with a window needs a rate for {code}")
        if (ladder := _ladder(name, place, steps, code)) is None:
            raise PolicyError(f"[{name}] {place}: give at least one step")
        own[code] = ladder
    units = _ladder(name, "units", spec.units, UNITS)
    window = _compile_window(name, spec.window, money, units, currency)
    return Rule(spec, number(spec.level or 0), money, own, units, window)


def _ladder(name: str, key: str, steps: Sequence[_Step], measure: str) -> Ladder | None:
    if not steps:
        return None
    limits: list[int] = []
    levels = [number(step.level) for step in steps]
    for index, step in enumerate(steps):
        place = f"[{name}] {key}[{index}]"
        if (step.upto is None) != (index == len(steps) - 1):
            raise PolicyError(f"{place}.upto: the last step, and only the last, has no upto")
        if step.upto is not None:
            limits.append(_limit(f"{place}.upto", step.upto, measure))
        if limits[-2:] != sorted(set(limits[-2:])):
            raise PolicyError(f"{place}.upto: must be more than the step before")
        if index and levels[index] < levels[index - 1]:
            raise PolicyError(f"{place}.level: must not be below the step before")
    return Ladder(tuple(limits), tuple(levels))


def _compile_window(
    name: str,
    window: _WindowTable | None,
    money: Ladder | None,
    units: Ladder | None,
    currency: str,
) -> Window | None:
    if window is None:
        return None
    measure = currency if isinstance(window.upto, str) else UNITS
    ladder = units if measure == UNITS else money
    place = f"[{name}] window.upto"
    if ladder is None or not ladder.limits:
        raise PolicyError(f"{place}: text goes with steps, a whole number with units")
    upto = _limit(place, window.upto, measure)
    if upto < ladder.limits[0]:
        raise PolicyError(f"{place}: must not be below the first step")
    return Window(window.shared or name, window.hours, upto, measure, ladder)


def _limit(place: str, value: str | int, measure: str) -> int:
    if (measure == UNITS) != isinstance(value, int):
        kind = "a whole number" if measure == UNITS else 'an amount in quotes, such as "50.00"'
        raise PolicyError(f"{place}: must be {kind}")
    try:
        limit = value if isinstance(value, int) else parse_minor(value, measure)
    except InvalidParameters as error:
        raise PolicyError(f"{place}: {error.message}") from None
    if limit < 0:
        raise PolicyError(f"{place}: must not be negative")
    return limit


def _rate(code: str, value: object) -> Decimal:
    _known_currency(code, f"[rates] {code}")
    try:
        rate = Decimal(value) if isinstance(value, str) else Decimal("nan")
    except InvalidOperation:
        rate = Decimal("nan")
    if not rate.is_finite() or not 0 < rate < _LARGEST_RATE:
        raise PolicyError(f'[rates] {code}: must be a positive number in quotes, such as "0.95"')
    return rate


def _known_currency(code: str, place: str) -> None:
    try:
        exponent(code)
    except InvalidParameters:
        raise PolicyError(f"{place}: {code} is not an ISO 4217 currency") from None


def _place(location: tuple[int | str, ...]) -> str:
    text_ = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return text_.lstrip(".")


def number(level: int | str) -> int:
    return level if isinstance(level, int) else DENY


def shown(amount: int, measure: str) -> str:
    shown = str(amount) if measure == UNITS else decimal_text(amount, measure)
    return f"{shown} {measure}"
