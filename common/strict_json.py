"""JSON that can be read one way only. Nothing but the standard library: a server that is not yet
loaded reads with it, too."""

import json
from typing import Any


def read(text: str) -> Any:
    """No member twice, no NaN. Raises ValueError, and RecursionError for what is too deep."""
    return json.loads(text, object_pairs_hook=once, parse_constant=no_constant)


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object. Raises ValueError where a member is there twice."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a member is there twice")
    return found


def no_constant(name: str) -> float:
    """Raises ValueError for NaN and Infinity."""
    raise ValueError(f"{name} is no JSON")
