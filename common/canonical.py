"""One byte form for what is hashed or signed: JSON Canonicalization Scheme (RFC 8785)."""

import hashlib
import json
from typing import Any

import rfc8785

_SAFE = 2**53 - 1


def canonical(value: Any) -> bytes:
    """RFC 8785 bytes of JSON data. Integers beyond 2^53 become strings: the scheme has none."""
    return rfc8785.dumps(_portable(value))


def digest(value: Any) -> str:
    """SHA-256 of the canonical form, in hexadecimal."""
    return hashlib.sha256(canonical(value)).hexdigest()


def compact(value: Any) -> str:
    """Short JSON for people and models: no spaces, characters as they are."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _portable(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _portable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_portable(item) for item in value]
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > _SAFE:
        return str(value)
    return value
