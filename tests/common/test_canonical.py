"""The quick form is the scheme's own, byte for byte."""

import json

import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from common.canonical import canonical

TEXTS = st.text(max_size=20)
LEAVES = st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | TEXTS
JSON = st.recursive(
    LEAVES | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=20,
)


@given(JSON)
def test_equal_to_the_scheme(value: object) -> None:
    assert canonical(value) == rfc8785.dumps(value)  # type: ignore[arg-type]


@given(st.dictionaries(st.text(max_size=3), LEAVES, max_size=6))
def test_keys_in_the_schemes_order(value: dict[str, object]) -> None:
    assert list(json.loads(canonical(value))) == sorted(value, key=lambda k: k.encode("utf-16-be"))


def test_every_control_character_and_large_integers() -> None:
    text = "".join(map(chr, range(0x80))) + "\u2028\U0001f600"
    assert canonical({"a": text, "b": [1, True, None]}) == rfc8785.dumps(
        {"a": text, "b": [1, True, None]}
    )
    assert canonical({"n": 2**60}) == b'{"n":"1152921504606846976"}'
