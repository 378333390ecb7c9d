"""Reading what a stranger sent: JSON in which nothing is said twice, base64url in one spelling."""

import base64
import binascii
import json
import math
from typing import Any, Final

from common.strict_json import no_constant, once


class Unreadable(ValueError):
    """Not the one way to write what it seems to say."""


class StrictDecoder(json.JSONDecoder):
    """No member twice, no NaN, no number beyond a float."""

    def __init__(self, **_: Any) -> None:
        super().__init__(
            object_pairs_hook=once, parse_constant=no_constant, parse_float=_finite, strict=True
        )


def json_object(data: bytes | str) -> dict[str, Any]:
    """A JSON object. Raises Unreadable."""
    try:
        text = data.decode("utf-8") if isinstance(data, bytes) else data
        value = _DECODER.decode(text)
    except (ValueError, RecursionError):
        raise Unreadable("not one JSON object") from None
    if not isinstance(value, dict):
        raise Unreadable("not a JSON object")
    return value


def base64url(part: bytes) -> bytes:
    """Decoded, if it is the canonical unpadded spelling. Raises Unreadable."""
    try:
        data = base64.b64decode(part + b"=" * (-len(part) % 4), b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise Unreadable("not base64url") from None
    if base64.urlsafe_b64encode(data).rstrip(b"=") != part:
        raise Unreadable("not the canonical base64url")
    return data


def number(value: object) -> float | None:
    """A JSON number as seconds; None for anything else, ``true`` among it."""
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 2**53:
        return None
    return float(value)


def word(value: object, longest: int) -> str | None:
    """A name without invisible characters, at most so long; None for anything else."""
    if not isinstance(value, str) or not 0 < len(value) <= longest:
        return None
    return value if value.isprintable() and value == value.strip() else None


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise Unreadable("a number is too large")
    return value


_DECODER: Final = StrictDecoder()
