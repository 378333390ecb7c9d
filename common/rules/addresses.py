"""Addresses as people read them."""

from collections.abc import Mapping
from typing import Any, Final

PARTS: Final = ("line1", "line2", "postal_code", "city", "region", "country")


def one_line(address: Mapping[str, Any] | None) -> str:
    """All that is known of it, by commas."""
    address = address or {}
    return ", ".join(str(address[part]) for part in PARTS if address.get(part))
