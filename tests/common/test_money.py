"""Minor units, currencies, and splitting without losing a cent."""

from decimal import Decimal
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import InvalidParameters
from common.money import LARGEST_MINOR, Money, allocate, decimal_text, exponent, parse_minor

CURRENCIES = {"JPY": 0, "EUR": 2, "USD": 2, "KWD": 3, "CLF": 4}
minors = st.integers(-LARGEST_MINOR, LARGEST_MINOR)
weights = st.lists(st.integers(0, 10**9), min_size=1, max_size=20)


@pytest.mark.parametrize(("currency", "places"), CURRENCIES.items())
def test_exponents(currency: str, places: int) -> None:
    assert exponent(currency) == places


@pytest.mark.parametrize("currency", ["", "EU", "eur", "EURO", "XXX", "XAU", "ABC", "E R"])
def test_what_is_no_currency(currency: str) -> None:
    with pytest.raises(InvalidParameters):
        exponent(currency)


@given(minors, st.sampled_from(sorted(CURRENCIES)))
def test_text_and_back(minor: int, currency: str) -> None:
    text = decimal_text(minor, currency)
    assert parse_minor(text, currency) == minor
    assert Decimal(text) * 10 ** CURRENCIES[currency] == minor
    assert str(Money(minor, currency)) == f"{text} {currency}"
    assert "E" not in text


@pytest.mark.parametrize(
    ("minor", "currency", "text"),
    [
        (1999, "EUR", "19.99"), (5, "EUR", "0.05"), (-5, "EUR", "-0.05"), (0, "EUR", "0.00"),
        (1999, "JPY", "1999"), (1999, "KWD", "1.999"), (LARGEST_MINOR, "EUR", "10000000000000.00"),
    ],
)  # fmt: skip
def test_texts(minor: int, currency: str, text: str) -> None:
    assert decimal_text(minor, currency) == text


@pytest.mark.parametrize(
    ("text", "currency"),
    [
        ("19.999", "EUR"), ("1.5", "JPY"), ("1.2345", "KWD"), ("", "EUR"), ("abc", "EUR"),
        ("NaN", "EUR"), ("sNaN", "EUR"), ("Infinity", "EUR"), ("-Infinity", "EUR"), ("1,50", "EUR"),
        ("10000000000000.01", "EUR"), ("-10000000000000.01", "EUR"), ("1e400", "EUR"),
        ("1e-400", "EUR"),
    ],
)  # fmt: skip
def test_texts_refused(text: str, currency: str) -> None:
    with pytest.raises(InvalidParameters) as error:
        parse_minor(text, currency, "price")
    assert error.value.details["problems"][0]["field"] == "price"


def test_texts_taken_generously() -> None:
    assert parse_minor(" 19.9 ", "EUR") == 1990
    assert parse_minor("19.990", "EUR") == 1999
    assert parse_minor("2e1", "EUR") == 2000


@given(minors, weights)
def test_parts_add_up_and_are_fair(total: int, shares: list[int]) -> None:
    parts = allocate(total, shares)
    assert sum(parts) == total
    assert len(parts) == len(shares)
    scale = sum(shares) or len(shares)
    for part, share in zip(parts, shares if sum(shares) else [1] * len(shares), strict=True):
        assert abs(part - Fraction(total * share, scale)) < 1
        assert part * total >= 0
        if share == 0:
            assert part == 0


@given(st.integers(0, 10**6), weights)
def test_a_larger_share_never_gets_less(total: int, shares: list[int]) -> None:
    parts = allocate(total, shares)
    ranked = sorted(zip(shares, parts, strict=True))
    for (small, less), (large, more) in pairwise(ranked):
        assert less <= more or small == large


@given(minors, weights)
def test_a_negative_total_mirrors(total: int, shares: list[int]) -> None:
    assert allocate(-total, shares) == [-part for part in allocate(total, shares)]


def test_splits() -> None:
    assert allocate(100, [1, 1, 1]) == [34, 33, 33]
    assert allocate(-100, [1, 1, 1]) == [-34, -33, -33]
    assert allocate(5, [0, 0]) == [3, 2]
    assert allocate(10, [7, 2, 1]) == [7, 2, 1]
    assert allocate(1, [1, 3]) == [0, 1]
    assert allocate(0, []) == []
    with pytest.raises(ValueError, match="nothing to allocate to"):
        allocate(1, [])
