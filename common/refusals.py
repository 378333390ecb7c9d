"""Input that is refused wherever it appears."""

from typing import Any

from common.audit.redact import find_pan
from common.errors import InvalidParameters

DEEPEST = 12


def refuse_card_numbers(arguments: Any, path: str = "arguments", depth: int = 0) -> None:
    """Raise InvalidParameters where a text looks like a payment card number. The value is never
    repeated. Raises too for arguments nested deeper than any tool needs."""
    if depth > DEEPEST:
        raise InvalidParameters.field(path, None, "less deeply nested")
    if isinstance(arguments, str):
        if find_pan(arguments):
            raise InvalidParameters.field(
                path, None, "no payment card numbers: name a stored payment method by its id"
            )
    elif isinstance(arguments, dict):
        for key, value in arguments.items():
            refuse_card_numbers(value, str(key)[:60], depth + 1)
    elif isinstance(arguments, list):
        for value in arguments:
            refuse_card_numbers(value, path, depth + 1)
