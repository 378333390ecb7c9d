"""One byte form for what is hashed or signed: JSON Canonicalization Scheme (RFC 8785)."""

import hashlib
import json
import re
from typing import Any, Final

import rfc8785

_SAFE = 2**53 - 1


# Without floats and with ASCII keys, the standard encoder in C writes the very same bytes.
# Digits as 0, letters as a: what is looked for in a whole text is then found as it is read.
_SHAPE: Final = bytes(
    ord("0") if chr(c).isdigit() else ord("a") if chr(c).isalpha() else c for c in range(128)
) + bytes(range(128, 256))
_FLOATS: Final = tuple(re.compile(start + rb"-?0+[.a]") for start in (rb'":', rb",", rb"\["))
_NUMBERED: Final = (b'{"0', b',"0', b'{"-0', b',"-0')  # a key may have been a number
_ENCODER: Final = json.JSONEncoder(
    ensure_ascii=False, check_circular=False, allow_nan=False, sort_keys=True,
    separators=(",", ":"),
)  # fmt: skip


class _NeedsTheScheme(Exception):
    """A float, or a key whose place depends on UTF-16."""


def canonical(value: Any) -> bytes:
    """RFC 8785 bytes of JSON data. Integers beyond 2^53 become strings: the scheme has none."""
    try:
        return (quick(value) or _ENCODER.encode(_plain(value))).encode()
    except (_NeedsTheScheme, UnicodeEncodeError):
        return rfc8785.dumps(_portable(value))


def shape(text: str) -> bytes:
    """An ASCII text with 0 for every digit and a for every letter."""
    return text.encode("ascii").translate(_SHAPE)


def quick(value: Any) -> str | None:
    """The canonical form of what is all ASCII and has no floats, no integers past 2^53 and no
    numbers for keys; None for everything else."""
    try:
        text = _ENCODER.encode(value)
    except (TypeError, ValueError):
        return None
    if not text.isascii() or text[0] not in "{[":
        return None
    form = shape(text)
    if b"0" * 16 in form or any(key in form for key in _NUMBERED):
        return None
    return None if any(found.search(form) for found in _FLOATS) else text


def digest(value: Any) -> str:
    """SHA-256 of the canonical form, in hexadecimal."""
    return hashlib.sha256(canonical(value)).hexdigest()


def compact(value: Any) -> str:
    """Short JSON for people and models: no spaces, characters as they are."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _plain(value: Any) -> Any:
    kind = type(value)
    if kind is str or value is None or kind is bool:
        return value
    if kind is int:
        return value if -_SAFE <= value <= _SAFE else str(value)
    if kind is dict:
        plain = {}
        for key, item in value.items():
            if type(key) is not str or not key.isascii():
                raise _NeedsTheScheme
            plain[key] = _plain(item)
        return plain
    if kind is list or kind is tuple:
        return [_plain(item) for item in value]
    raise _NeedsTheScheme


def _portable(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _portable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_portable(item) for item in value]
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > _SAFE:
        return str(value)
    return value
