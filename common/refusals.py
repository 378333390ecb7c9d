"""Input that is refused wherever it appears."""

from typing import Any, Final

from common.audit.redact import find_pan
from common.errors import InvalidParameters

DEEPEST = 12
NO_CARDS: Final = "no payment card numbers: name a stored payment method by its id"
MISREAD: Final = "its last digit is not right for a barcode (scan it again), and else "
# Which lengths barcodes have that could be card numbers: with a right check digit none is one.
BARCODES: Final = (13, 14, 18)


def refuse_card_numbers(arguments: Any, path: str = "arguments", depth: int = 0) -> None:
    """Raise InvalidParameters where a text looks like a payment card number. The value is never
    repeated. Raises too for arguments nested deeper than any tool needs."""
    if depth > DEEPEST:
        raise InvalidParameters.field(path, None, "less deeply nested")
    if isinstance(arguments, str):
        if find_pan(arguments):
            barcode = arguments.isdigit() and len(arguments) in BARCODES
            raise InvalidParameters.field(path, None, f"{MISREAD if barcode else ''}{NO_CARDS}")
    elif isinstance(arguments, dict):
        for key, value in arguments.items():
            refuse_card_numbers(value, str(key)[:60], depth + 1)
    elif isinstance(arguments, list):
        for value in arguments:
            refuse_card_numbers(value, path, depth + 1)
