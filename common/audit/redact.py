"""What of a call's arguments may stand in the audit record, and what is masked everywhere.

A record is never erased, so it holds only what cannot name a person: numbers, booleans, and text
of types declared as loggable (ids, enumerations, days). Everything else goes to the erasable
payload beside it. Card numbers, security codes, bank accounts and credentials go nowhere.
"""

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Final

from common.canonical import canonical, quick, shape

MAX_TEXT: Final = 4_000
MAX_DEPTH: Final = 16
MAX_SIZE: Final = 32_000
_MARGIN: Final = 80
_SAFE: Final = 2**53 - 1
_SMALL: Final = 10**12  # too short for a card number

# Identifier-like, or a few lower-case words such as an enumeration's "no longer needed". No "@".
_PLAIN = re.compile(r"[!-?A-~]{1,400}|[a-z]{1,20}(?: [a-z]{1,20}){1,7}")

_CREDENTIALS = (
    re.compile(
        r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----.*?(?:-----END [A-Z ]{0,40}PRIVATE KEY-----|\Z)",
        re.DOTALL,
    ),
    re.compile(r"\beyJ[\w-]{5,}\.[\w-]{5,}(?:\.[\w-]*){0,3}"),
    re.compile(r"\b(?:bearer|dpop)\s+[\w.~+/=-]{8,}", re.IGNORECASE),
    re.compile(r"\b[Bb]asic\s+(?=[^\s=]*[A-Z0-9])(?=[^\s=]*[a-z])[A-Za-z0-9+/]{12,}={0,2}"),
    re.compile(r"\b(?:sk|rk|pk)_(?:live|test)_\w{4,}|\bwhsec_\w{8,}", re.IGNORECASE),
    re.compile(r"\b(?:gh[pousr]_|github_pat_)\w{16,}|\bxox[abpors]-[\w-]{8,}|\bAKIA[0-9A-Z]{12,}"),
    re.compile(r"\bmcp_[0-9a-f]{32,}|\bcrt_[\w-]{32}"),  # API keys, and what opens a guest's cart
    re.compile(r"://[^\s/:@]{1,200}:[^\s/@]{1,200}@"),
)
# Every credential and code has one of these in it, in whatever case.
_HINTS: Final = (
    "eyj", "bearer", "dpop", "basic", "_live_", "_test_", "whsec_", "ghp_", "gho_", "ghu_", "ghs_",
    "ghr_", "github_pat_", "xox", "akia", "mcp_", "crt_", "://", "-----begin", "cvc", "cvv", "csc",
    "card verification", "security code",
)  # fmt: skip
_SHORTEST: Final = 13  # no card number or bank account is shorter
_LONGEST_KEY: Final = 64
_CODE = re.compile(
    r"\b(cvc2?|cvv2?|csc|card verification (?:code|value|number)|security code)\b"
    r"(\W{0,3}(?:is|no|nr)?\W{0,3})\d{3,4}(?!\d)",
    re.IGNORECASE,
)
_IBAN = re.compile(r"(?<![A-Za-z0-9])([A-Za-z]{2})[0-9]{2}(?:[ -]?[A-Za-z0-9]){11,30}")
# Length by country, SWIFT's IBAN registry.
_IBAN_LENGTH: Final = {
    country: int(length)
    for country, length in re.findall(
        r"([A-Z]{2})(\d\d)",
        "AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27"
        " DK18 DO28 EE20 EG29 ES24 FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HN28 HR21"
        " HU28 IE22 IL23 IQ23 IS26 IT27 JO30 KW30 KZ20 LB28 LC32 LI21 LT20 LU20 LV21 LY25 MC27"
        " MD24 ME22 MK19 MN20 MR27 MT31 MU30 NI28 NL18 NO15 OM23 PK24 PL28 PS29 PT25 QA29 RO24"
        " RS22 RU33 SA24 SC31 SD18 SE24 SI19 SK24 SM27 SO23 ST25 SV28 TL23 TN24 TR26 UA29 VA22"
        " VG24 XK20 YE30",
    )
}
_BETWEEN: Final = bytes(c for c in range(128) if not chr(c).isalnum())
_APART: Final = bytes(32 if c in _BETWEEN else c for c in range(256))
_SECRET_NAME = re.compile(
    r"(?:access|refresh)?[_-]?token|api[_-]?key|private[_-]?key|authorization|secret|passphrase"
    r"|password|pan|card[_-]?number|c[sv]c2?|cvv2?|security[_-]?code",
    re.IGNORECASE,
)
_SECRET_KEY = re.compile(rf'"(?:{_SECRET_NAME.pattern})":', re.IGNORECASE)
_URL_SECRET = re.compile(r'://[^\s/:@"]{1,200}:[^\s/@"]{1,200}@')  # within one text of JSON
_SECRET_PARTS: Final = (
    "token", "key", "authorization", "secret", "passphrase", "password", "pan", "number", "csc",
    "cvc", "cvv", "code",
)  # fmt: skip

# Digits in groups, with three separators at most between two digits.
_RUN = re.compile(r"(?<![0-9])[0-9](?:[\W_]{0,3}[0-9]){12,}")
_DOUBLED: Final = dict(zip("0123456789", (0, 2, 4, 6, 8, 1, 3, 5, 7, 9), strict=True))
_GROUP = re.compile(r"[0-9]+")
_HASH = re.compile(
    r"\b(?:[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}|(?:[0-9a-f]{32}){1,4}|[0-9a-f]{40})\b",
    re.IGNORECASE,
)

# Issuer prefixes and the lengths they are issued in, from the networks' public ranges
# (ISO/IEC 7812): Visa, Mastercard, American Express, Diners Club, JCB, Discover, UnionPay,
# Maestro, Mir, RuPay, Verve, Troy, InterPayment, Dankort.
_ISSUERS: Final = (
    (re.compile(r"4"), {13, 16, 18, 19}),
    (re.compile(r"5[1-5]|222[1-9]|22[3-9]|2[3-6]|27[01]|2720"), {16}),
    (re.compile(r"3[47]"), {15}),
    (re.compile(r"30[0-5]|309|3[689]"), {14, 16, 19}),
    (re.compile(r"35(?:2[89]|[3-8])"), {16, 17, 18, 19}),
    (re.compile(r"6011|64[4-9]|65|62|8[12]|220[0-4]|636"), {16, 17, 18, 19}),
    (re.compile(r"5018|5020|5038|5893|6304|6390|6759|676[1-3]"), set(range(13, 20))),
    (re.compile(r"60|508|506|5019|9792"), {16, 18, 19}),
)


def loggable(payload: dict[str, Any], logged: frozenset[str]) -> dict[str, Any]:
    """The part of ``payload`` (JSON) that may stand in a record. ``logged`` names the top-level
    fields whose text may. Numbers and booleans stay at every depth."""
    kept = {str(key): _allowed(value, key in logged, 0) for key, value in payload.items()}
    return {key: value for key, value in kept.items() if value is not _DROPPED}


def find_pan(text: str) -> tuple[int, int] | None:
    """Where the first payment card number stands, if there is one.

    A card number is 13 to 19 digits, solid or in groups as people write cards (equal groups, or a
    first one of 4 or 6; spaces, dashes or dots between), that begins with an issuer's prefix, has
    a length this issuer uses, and passes the Luhn check. Not taken for one: digits after a ``+``
    (telephone), digits inside a UUID or a hexadecimal digest, digits with letters on both sides
    (tracking numbers), and 13, 14 or 18 digits with a valid GS1 check digit (EAN, GTIN and SSCC
    barcodes; a tenth of the long retired 13-digit cards goes through with them). A carrier's
    all-digit number that satisfies all of it is refused: one in ten of those that share an
    issuer's prefix and length.
    """
    return next(_pans(text), None)


def mask(text: str) -> str:
    """The text with card numbers, security codes, bank accounts and credentials replaced by
    their kind in brackets. Masking twice changes nothing more."""
    if text.isascii() and not _suspect(text):
        return text
    for pattern in _CREDENTIALS:
        text = pattern.sub("[token]", text)
    if not any(character.isdigit() for character in text):
        return text
    text = _CODE.sub(r"\1\2[cvc]", text)
    text = _IBAN.sub(_without_iban, text)
    pieces, end = [], 0
    for start, stop in _pans(text):
        pieces += [text[end:start], "[card]"]
        end = stop
    return "".join([*pieces, text[end:]])


def _suspect(text: str) -> bool:
    """Whether there may be something to mask: most texts end here."""
    lower = text.lower()
    for hint in _HINTS:
        if hint in lower:
            return True
    return len(text) >= _SHORTEST and bool(_RUN.search(text) or _IBAN.search(text))


@lru_cache(maxsize=2_000)
def _key(name: str) -> tuple[str, bool]:
    """A field's name masked, and whether what it names is a secret."""
    return masked(name), _SECRET_NAME.fullmatch(name) is not None


def masked(value: Any, depth: int = 0) -> Any:
    """``value`` as JSON that every database keeps unchanged: masked, without floats, without
    characters a database refuses, texts cut to MAX_TEXT, nested no deeper than MAX_DEPTH."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        if -_SMALL < value < _SMALL:
            return value
        return masked(str(value)) if abs(value) > _SAFE or find_pan(str(value)) else value
    if isinstance(value, float):
        return mask(repr(value))
    if depth >= MAX_DEPTH:
        return "[deep]"
    if isinstance(value, dict):
        kept = {}
        for key, item in value.items():
            name = str(key)
            shown, secret = (_key if len(name) <= _LONGEST_KEY else _key.__wrapped__)(name)
            hidden = secret and item not in (None, "")
            kept[shown] = "[secret]" if hidden else masked(item, depth + 1)
        return kept
    if isinstance(value, list | tuple | set | frozenset):
        return [masked(item, depth + 1) for item in value]
    text = storable(str(value))
    if len(text) <= MAX_TEXT:
        return mask(text)
    # What the cut leaves of a number at the very end is cut off too.
    return f"{mask(text[: MAX_TEXT + _MARGIN])[:-_MARGIN]}…"


def sealed(said: dict[str, Any], own: dict[str, Any] | None = None) -> bytes:
    """The canonical form of ``masked(said)`` and of our ``own`` words beside it. Most records have
    nothing to mask, which one look at the whole text shows."""
    text = quick(said | own if own else said)
    if (
        text is not None
        and len(text) <= MAX_TEXT
        and "\\" not in text
        and text.count("{") + text.count("[") <= MAX_DEPTH
        and not _holds_secrets(text)
    ):
        return text.encode()
    return canonical(masked(said) | (own or {}))


def _holds_secrets(text: str) -> bool:
    """Whether anything in the text, which is JSON, may have to be masked."""
    lower, form = text.lower(), shape(text)
    for hint in _HINTS:
        if hint in lower and (hint != "://" or _URL_SECRET.search(text) is not None):
            return True
    if b"0" * _SHORTEST in form.translate(None, _BETWEEN):
        return True
    apart = form.translate(_APART)
    start = apart.find(b" aa00")
    while start >= 0:
        if lower[start + 1 : start + 3].upper() in _IBAN_LENGTH:
            return True
        start = apart.find(b" aa00", start + 1)
    return any(name in lower for name in _SECRET_PARTS) and _SECRET_KEY.search(text) is not None


def bounded(value: Any, most: int = MAX_SIZE) -> Any:
    """The value, or how large it is if its texts and items are more than ``most``: masking costs
    time for each character, and refused calls may send anything."""
    size, waiting = 0, [value]
    while waiting and size <= most:
        item = waiting.pop()
        size += len(item) if isinstance(item, str | bytes) else 1
        if isinstance(item, dict):
            waiting += [*item.keys(), *item.values()]
        elif isinstance(item, list | tuple | set | frozenset):
            waiting += item
    return {"left_out": f"more than {most} characters"} if size > most else value


def storable(text: str) -> str:
    """The text without NUL and lone surrogates, which no database keeps."""
    if "\0" in text:
        text = text.replace("\0", "\ufffd")
    return text.encode("utf-8", "replace").decode() if not text.isascii() else text


_DROPPED: Final = object()


def _allowed(value: Any, named: bool, depth: int) -> Any:
    if value is None or isinstance(value, bool | int):
        return masked(value)
    if isinstance(value, str):
        return masked(value) if named and _PLAIN.fullmatch(value) else _DROPPED
    if depth < MAX_DEPTH and isinstance(value, list):
        kept = [_allowed(item, named, depth + 1) for item in value]
        return [item for item in kept if item is not _DROPPED] or _DROPPED
    if depth < MAX_DEPTH and isinstance(value, dict):
        inner = {
            str(key): _allowed(item, named, depth + 1)
            for key, item in value.items()
            if _PLAIN.fullmatch(str(key))
        }
        return {key: item for key, item in inner.items() if item is not _DROPPED} or _DROPPED
    return _DROPPED


def _pans(text: str) -> Iterator[tuple[int, int]]:
    plain = text if text.isascii() else "".join(map(_flat, text))
    hashes = [found.span() for found in _HASH.finditer(plain)] if len(plain) >= 32 else []
    for run in _RUN.finditer(plain):
        groups = [group.span() for group in _GROUP.finditer(plain, run.start(), run.end())]
        yield from _cards(plain, groups, hashes)


def _cards(
    text: str, groups: list[tuple[int, int]], hashes: list[tuple[int, int]]
) -> Iterator[tuple[int, int]]:
    """Spans of whole neighbouring groups that make a card number, left to right."""
    first = 0
    while first < len(groups):
        start, digits = groups[first][0], ""
        last = first if text[start] in "017" else len(groups)  # no issuer begins so
        for place in range(first, min(first + 19, last)):
            stop = groups[place][1]
            digits += text[groups[place][0] : stop]
            if len(digits) > 19:
                break
            if len(digits) < 13 or not _card(digits):
                continue
            sizes = [high - low for low, high in groups[first : place + 1]]
            if _written(sizes) and not _inside(text, start, stop, hashes):
                yield start, stop
                first = place
                break
        first += 1


def _written(sizes: list[int]) -> bool:
    """Whether digits in groups of these sizes look like one number, not like a list of them."""
    *whole, end = sizes
    if not whole:
        return True
    if set(whole) == {whole[0]} and end <= whole[0] <= 5:
        return True
    return whole[0] in (4, 6) and all(size >= 3 for size in sizes[1:])


def _inside(text: str, start: int, stop: int, hashes: list[tuple[int, int]]) -> bool:
    before, after = text[start - 1 : start], text[stop : stop + 1]
    if before == "+" or (before.isalpha() and after.isalpha()):
        return True
    return any(low <= start and stop <= high for low, high in hashes)


def _card(digits: str) -> bool:
    if not _luhn(digits) or (len(digits) in (13, 14, 18) and _gs1(digits)):
        return False
    return any(len(digits) in lengths and prefix.match(digits) for prefix, lengths in _ISSUERS)


def _luhn(digits: str) -> bool:
    """ISO/IEC 7812-1 annex B."""
    return (
        sum(map(int, digits[-1::-2])) + sum(map(_DOUBLED.__getitem__, digits[-2::-2]))
    ) % 10 == 0


def _gs1(digits: str) -> bool:
    """Check digit of GS1 General Specifications 7.9: weights 3 and 1 from the right."""
    total = sum(int(d) * (3 if i % 2 else 1) for i, d in enumerate(reversed(digits)))
    return total % 10 == 0


def _without_iban(found: re.Match[str]) -> str:
    """The match with its account number masked, if the check digits of ISO 13616 hold."""
    text, length = found[0], _IBAN_LENGTH.get(found[1].upper(), 0)
    places = [place for place, character in enumerate(text) if character not in " -"][:length]
    if not length or len(places) < length:
        return text
    plain = "".join(text[place] for place in places).upper()
    if int("".join(str(int(c, 36)) for c in plain[4:] + plain[:4])) % 97 != 1:
        return text
    return f"[iban]{text[places[-1] + 1 :]}"


def _flat(character: str) -> str:
    """One ASCII character for digits of any script, dashes, spaces and invisible characters."""
    digit = unicodedata.digit(character, None)
    if digit is not None:
        return str(digit)
    category = unicodedata.category(character)
    return {"Pd": "-", "Zs": " ", "Cf": "\u200b"}.get(category, character)
