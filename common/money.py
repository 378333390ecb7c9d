"""Money is an integer count of minor units and an ISO 4217 currency. No float anywhere."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Final

from iso4217 import Currency

from common.errors import InvalidParameters

LARGEST_MINOR: Final = 10**15


@dataclass(frozen=True, order=True)
class Money:
    """``minor`` minor units of ``currency``: 1999 EUR is 19.99 euro, 1999 JPY is 1999 yen."""

    minor: int
    currency: str

    def __str__(self) -> str:
        return f"{decimal_text(self.minor, self.currency)} {self.currency}"


@lru_cache(maxsize=256)
def exponent(currency: str) -> int:
    """How many decimals the currency has (JPY 0, EUR 2, KWD 3)."""
    try:
        found = Currency(currency)
    except ValueError:
        raise InvalidParameters.field("currency", currency, "an ISO 4217 code") from None
    if found.exponent is None:
        raise InvalidParameters.field("currency", currency, "a currency with minor units")
    return found.exponent


def decimal_text(minor: int, currency: str) -> str:
    """``1999, EUR`` → ``19.99``."""
    places = exponent(currency)
    return f"{Decimal(minor).scaleb(-places):.{places}f}"


def parse_minor(text: str, currency: str, field: str = "amount") -> int:
    """``19.99, EUR`` → 1999. Raises InvalidParameters for more decimals than the currency has."""
    try:
        value = Decimal(text.strip())
    except InvalidOperation:
        raise InvalidParameters.field(field, text, "a decimal number") from None
    if not value.is_finite():
        raise InvalidParameters.field(field, text, "a finite decimal number")
    scaled = value.scaleb(exponent(currency))
    if scaled != scaled.to_integral_value():
        raise InvalidParameters.field(field, text, f"at most {exponent(currency)} decimals")
    minor = int(scaled)
    if abs(minor) > LARGEST_MINOR:
        raise InvalidParameters.field(field, text, "not larger than 10^15 minor units")
    return minor


def allocate(total: int, weights: Sequence[int]) -> list[int]:
    """Split ``total`` in proportion to non-negative ``weights`` so that the parts add up exactly.

    Largest remainder (Hamilton) method; ties go to the earlier part. With all weights zero the
    split is even. A negative total is split as its absolute value, then negated.
    """
    if not weights:
        if total:
            raise ValueError("nothing to allocate to")
        return []
    if total < 0:
        return [-part for part in allocate(-total, weights)]
    scale = sum(weights)
    if scale == 0:
        return allocate(total, [1] * len(weights))
    parts = [total * weight // scale for weight in weights]
    by_remainder = sorted(range(len(weights)), key=lambda i: (-(total * weights[i] % scale), i))
    for index in by_remainder[: total - sum(parts)]:
        parts[index] += 1
    return parts
