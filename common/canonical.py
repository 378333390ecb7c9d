"""One byte form for what is hashed or signed: JSON Canonicalization Scheme (RFC 8785)."""

import hashlib
import json
from typing import Any, Final

import rfc8785

_SAFE = 2**53 - 1


# Without floats and with ASCII keys, the standard encoder in C writes the very same bytes.
_ENCODER: Final = json.JSONEncoder(
    ensure_ascii=False, check_circular=False, allow_nan=False, sort_keys=True,
    separators=(",", ":"),
)  # fmt: skip


class _NeedsTheScheme(Exception):
    """A float, or a key whose place depends on UTF-16."""


def canonical(value: Any) -> bytes:
    """RFC 8785 bytes of JSON data. Integers beyond 2^53 become strings: the scheme has none."""
    try:
        return _ENCODER.encode(_plain(value)).encode()
    except (_NeedsTheScheme, UnicodeEncodeError):
        return rfc8785.dumps(_portable(value))


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
