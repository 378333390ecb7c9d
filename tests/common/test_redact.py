"""What is kept out of records, and that harmless numbers are left alone."""

import json
import random
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from common.audit import chain
from common.audit.redact import bounded, find_pan, loggable, mask, masked, sealed
from common.canonical import canonical
from common.ids import PREFIXES, new_id
from tests.common.auditing import Log

# The networks' and processors' published test numbers.
CARDS = [
    "4111111111111111", "4012888888881881", "4242424242424242", "4000056655665556",
    "5555555555554444", "5105105105105100", "2223003122003222", "2720994326581252",
    "378282246310005", "371449635398431", "6011111111111117", "6011000990139424",
    "3530111333300000", "3566002020360505", "30569309025904", "38520000023237",
    "36227206271667", "6205500000000000004", "6200000000000005", "6759649826438453",
    "2200000000000004",
]  # fmt: skip


def digit(number: str) -> str:
    """The Luhn check digit of a number without one."""
    total = 0
    for place, character in enumerate(reversed(number)):
        doubled = int(character) * (2 - place % 2)
        total += doubled - 9 if doubled > 9 else doubled
    return str(-total % 10)


def grouped(card: str, separator: str) -> str:
    sizes = [4, 6, 5] if len(card) == 15 else [4] * (len(card) // 4 + 1)
    parts, rest = [], card
    for size in sizes:
        parts.append(rest[:size])
        rest = rest[size:]
    return separator.join(part for part in parts if part)


@pytest.mark.parametrize("card", CARDS)
def test_card_numbers(card: str) -> None:
    wide = "".join(chr(ord(c) + 0xFEE0) for c in card)
    for text in (
        card, f"card {card}, thanks", f"card:{card}", f"x={card}&y=1", f"PAN{card}", f"({card})",
        *(grouped(card, s) for s in (" ", "-", ".", "  ", " - "[:2], "\u00a0", "\u2013", "\u200b")),
        *(grouped(card, s) for s in ("\n", "/", ",", " | ", "   ", "\t")),
        " ".join(card), wide, f"{card[:4]} {card[4:]}", f"{grouped(card, ' ')} 12/27 123",
        f"order 7 {card}", f"{card} 12", f"{card}.", f'"{card}"',
    ):  # fmt: skip
        assert find_pan(text) is not None, text
        hidden = mask(text)
        assert "[card]" in hidden, text
        assert find_pan(hidden) is None
        assert card[4:12] not in hidden.replace(" ", "").replace("-", "")


@pytest.mark.parametrize(
    "text",
    [
        "", "2743386202", "8349118210", "9523456873",
        "4111111111111112", "411111111111", "41111111111111111111", "1234567890123452",
        "+49 151 2345 6789 12", "+4111111111111111",
        "4006381333931", "4012345678901", "04006381333931", "340123450000000018",
        "1Z999AA10123456784", "9400 1000 0000 0000 0000 00", "420 94107 9400110200881234567890",
        "00340434161094042557", "JJD014600003RR123456785DE", "490154203237518", "352099001761481",
        "2026-11-02 09:00:00.123456", "2026-11-02T09:00:00.123456Z", "1730538000123",
        "order W2378156, item 1008292230, 9747045638", "10.0.0.1 192.168.100.200",
        "AB4111111111111111CD", "0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15",
        "3fa85f64-5717-4562-b3fc-2c963f66afa6", "1999 EUR, 4999 EUR, 12999 EUR",
        "+1 (555) 123-4567, +44 20 7946 0958", "41111111 11111111",
    ],
)  # fmt: skip
def test_harmless_numbers(text: str) -> None:
    assert find_pan(text) is None
    assert mask(text) == text


def test_ids_and_digests_are_left_alone() -> None:
    """Ids of ours, ten-digit variant ids, hexadecimal digests and UUIDs, by the thousand."""
    chance = random.Random(7)
    for _ in range(3_000):
        for text in (
            str(chance.randrange(10**9, 10**10)),
            f"{chance.getrandbits(256):064x}",
            f"{chance.getrandbits(160):040x}",
            f"#W{chance.randrange(10**7)}",
        ):
            assert mask(text) == text, text
    for kind in PREFIXES:
        for _ in range(20):
            id = new_id(kind)
            assert mask(id) == id


def test_barcodes_are_left_alone() -> None:
    chance = random.Random(8)
    for _ in range(3_000):
        body = str(chance.randrange(10**11, 10**12))
        total = sum(int(d) * (3 if i % 2 == 0 else 1) for i, d in enumerate(reversed(body)))
        assert find_pan(body + str(-total % 10)) is None


@given(
    st.sampled_from(["4", "51", "2221", "34", "6011", "62", "3528"]),
    st.text("0123456789", min_size=15, max_size=15),
    st.sampled_from(["", " ", "-"]),
    st.text(alphabet=st.characters(exclude_categories=["Nd", "No", "Nl"]), max_size=20),
)
def test_made_up_cards(prefix: str, body: str, separator: str, around: str) -> None:
    length = 15 if prefix == "34" else 16
    number = (prefix + body)[: length - 1]
    text = f"{around} {grouped(number + digit(number), separator)} {around}"
    assert find_pan(text) is not None


SECRETS = {
    "Authorization: Bearer abcdef1234567890": "abcdef1234567890",
    "bearer  AbC.dEf-123_456~789+/==": "AbC.dEf",
    "Basic dXNlcjpwYXNzd29yZA==": "dXNlcjpw",
    "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhbmEifQ.c2lnbmF0dXJl": "eyJ",
    "key sk_live_51HxAbCdEfGhIjKl end": "51Hx",
    "rk_test_abcdefgh": "abcdefgh",
    "whsec_abcdefghijk": "abcdefghijk",
    "ghp_abcdefghijklmnopqrstuvwxyz0123456789": "abcdefghij",
    "xoxb-1234-abcdefgh": "abcdefgh",
    "AKIAIOSFODNN7EXAMPLE": "IOSFODNN",
    f"my key is mcp_{'0a1b2c3d' * 8}.": "0a1b2c3d",
    "crt_IBwUcs4LOpTRA7tt2MrCxaTt4BZVCRi-": "IBwUcs4L",
    "postgresql://shop:hunter22@db/shop": "hunter22",
    "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2Vw\n-----END PRIVATE KEY-----": "MC4C",
    "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2Vw": "MC4C",
    "cvc 123": "123", "CVV: 4321": "4321", "the security code is 987": "987", "cvv2=111": "111",
    "DE89 3704 0044 0532 0130 00 please": "3704",
    "IBAN DE89370400440532013000.": "3704",
    "gb29nwbk60161331926819": "6016",
    "NL91 ABNA 0417 1643 00": "0417",
    "MT84MALT011000012345MTLCAST001S": "MALT",
}  # fmt: skip


@pytest.mark.parametrize(("text", "secret"), SECRETS.items())
def test_secrets(text: str, secret: str) -> None:
    assert secret in text
    hidden = mask(text)
    assert secret not in hidden
    assert mask(hidden) == hidden


@pytest.mark.parametrize(
    "text",
    [
        "Basic cotton shirt", "basic instruction manual", "the bearer of this", "task_live_show",
        "Skip the line", "DE89370400440532013001", "GB00 1234", "code 123", "secure 1234",
        "https://example.com/a:b@c", "mailto:ana@example.com", "12:30 to 14:45", "AB12 CDEF GHIJ",
    ],
)  # fmt: skip
def test_harmless_words(text: str) -> None:
    assert mask(text) == text


def test_named_secrets() -> None:
    assert masked({"password": "hunter2", "Card-Number": 1, "token": None, "note": "x"}) == {
        "password": "[secret]", "Card-Number": "[secret]", "token": None, "note": "x",
    }  # fmt: skip
    assert masked({"4111 1111 1111 1111": [4111111111111111, {"n": "4111111111111111"}]}) == {
        "[card]": ["[card]", {"n": "[card]"}]
    }


@given(st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
))  # fmt: skip
def test_masked_is_json_that_stays(value: Any) -> None:
    clean = masked(value)
    assert masked(clean) == clean
    assert json.loads(canonical(clean)) == clean
    assert b"\\u0000" not in canonical(clean)


def test_no_rest_of_a_card_where_text_is_cut() -> None:
    for before in range(3_900, 4_100):
        cut = masked("x" * before + " 4111 1111 1111 1111 " + "y" * 200)
        assert len(cut) <= 4_001
        assert "4111" not in cut


def test_bounded() -> None:
    small = {"a": ["x" * 100] * 50, "b": {"c": None}}
    assert bounded(small) is small
    for large in ({"a": "x" * 40_000}, {"a": [0] * 40_000}, {"x" * 40_000: 1}):
        assert bounded(large) == {"left_out": "more than 32000 characters"}


LOGGED = frozenset({"sku", "ids", "reason", "cursor", "lines", "when"})


def test_what_may_stand_in_a_record() -> None:
    payload = {
        "sku": "MUG-1/ß"[:5], "ids": ["ord_1", "ord 2x!", "a@b.example"], "quantity": 3,
        "rush": True, "limit": None, "reason": "no longer needed", "cursor": "eyJ",
        "note": "call Ana", "email": "ana@example.com",
        "address": {"line1": "Main Street 1", "country": "DE", "floor": 4},
        "lines": [{"sku": "MUG-1", "note": "Ana's cup", "quantity": 2}],
        "when": "2026-11-02", "rate": 0.5,
    }  # fmt: skip
    assert loggable(payload, LOGGED) == {
        "sku": "MUG-1", "ids": ["ord_1"], "quantity": 3, "rush": True, "limit": None,
        "reason": "no longer needed", "cursor": "eyJ", "address": {"floor": 4},
        "lines": [{"sku": "MUG-1", "quantity": 2}], "when": "2026-11-02",
    }  # fmt: skip


@pytest.mark.parametrize(
    "value",
    ["Ana Lopez", "ana@example.com", "Main Street 1", "x" * 401, "tel\t1", "Ünal", "", "it's, ok "],
)
def test_text_that_is_no_identifier(value: str) -> None:
    assert loggable({"sku": value}, LOGGED) == {}


def test_logged_fields_are_masked_too() -> None:
    assert loggable({"sku": "4111-1111-1111-1111", "n": 4111111111111111}, LOGGED) == {
        "sku": "[card]", "n": "[card]",
    }  # fmt: skip


CANARIES = [
    "4111 1111 1111 1111", "5555555555554444", "sk_live_canary0123456789",
    "Bearer canary.canary.canary", "DE89 3704 0044 0532 0130 00",
]  # fmt: skip


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    with closing(Log(tmp_path)) as log:
        yield log


def test_canaries(log: Log) -> None:
    """Planted secrets are nowhere in the file; personal data only until it is erased."""
    person = {"email": "canary@example.com", "name": "Cana Ry", "phone": "+49 151 000 000 01"}
    payload = person | {"notes": CANARIES, "deep": [{"note": CANARIES[0]}], CANARIES[1]: 1}
    (first,) = log.add(
        payload=payload, args=loggable(payload, LOGGED | {"notes"}), rule=CANARIES[2],
        effects=[{"op": "note", "type": "x", "id": CANARIES[1]}],
    )  # fmt: skip
    log.sql("PRAGMA wal_checkpoint(TRUNCATE)")
    stored = log.path.read_bytes()
    for canary in CANARIES:
        assert canary.encode() not in stored, canary
    for value in person.values():
        assert value not in log.rows()[0].record
        assert value.encode() in stored
    assert log.do(lambda session: chain.erase(session, [first])) == 1
    log.sql("PRAGMA wal_checkpoint(TRUNCATE)")
    stored = log.path.read_bytes()
    for value in person.values():
        assert value.encode() not in stored, value
    log.anchor()
    assert log.verify().ok


_SECRETS = st.sampled_from((
    "4111 1111 1111 1111", "4111111111111111", "DE89 3704 0044 0532 0130 00", "Bearer abcdefgh1234",
    "https://ana:pass@example.com/", "cvc 123", "sk_live_abcdef", "AKIA0123456789ABCDEF",
    "-----BEGIN PRIVATE KEY-----x", "eyJhbGciOi.eyJzdWIiOi.x", "plain", "no longer needed",
))  # fmt: skip
_NAMES = st.sampled_from(("note", "password", "access_token", "pan", "card_number", "n", "é", "7"))
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30) | _SECRETS
    | st.tuples(_SECRETS, st.text(max_size=8), _SECRETS).map("".join),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_NAMES, inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@settings(max_examples=600)
@given(said=st.dictionaries(_NAMES, _VALUES, max_size=5))
@example(said={"n": 1, "deep": [[[[[[[[[[[[[[[[[["x"]]]]]]]]]]]]]]]]]]})
@example(said={"iss": "http://127.0.0.1:80", "sub": "ana@example.com"})
@example(said={"note": "4111 1111 1111 1111"})
@example(said={"note": "NL91ABNA0417164300"})
@example(said={"note": "https://ana:pass@example.com/"})
@example(said={"n": 1.5})
@example(said={"n": 4111111111111111})
@example(said={"note": "x" * 5_000})
@example(said={"a": "4111", "b": "1111 1111 1111"})
@example(said={"a": ["12.50", "2e3"], "b": 2**60})
def test_what_is_sealed_at_a_glance_is_what_is_masked_word_by_word(said: dict[str, Any]) -> None:
    assert sealed(said) == canonical(masked(said))
    own = {"event_id": "aud_1", "ts": "2026-11-02T09:00:00.000000Z"}
    assert sealed(said, own) == canonical(masked(said) | own)
