"""Who may write which table, and the one check of it."""

import re
from typing import Final

from common.tables import tables

_WRITE = re.compile(
    r"(?:^\s*|\bWITH\b.*\b)"
    r"(?:INSERT(?:\s+OR\s+\w+)?\s+INTO|(?<!FOR )UPDATE|DELETE\s+FROM)\s+\"?(\w+)",
    re.IGNORECASE | re.DOTALL,
)

WRITERS: Final[dict[str, frozenset[str]]] = {
    name: frozenset({kind.owner}) | kind.also_written_by for name, kind in tables().items()
}


def written(statement: str) -> str:
    """The table a statement writes first, or an empty text."""
    found = _WRITE.match(statement)
    return found[1] if found else ""


def refuse_foreign(table: str, domain: str, may_write: bool) -> None:
    """A bug in our code, never the caller's mistake: raises AssertionError, and the guard hides
    the text."""
    writers = WRITERS.get(table)
    if not may_write:
        raise AssertionError(f"a reading transaction may not write {table}")
    if writers is None or (domain not in writers and domain != "*" and "*" not in writers):
        raise AssertionError(f"{domain} may not write {table}")
