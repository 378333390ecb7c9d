"""Who may write which table, and the one check of it."""

import re

from common.tables.base import WRITERS

_ONE = (
    r"(?:INSERT(?:\s+OR\s+\w+)?\s+INTO|(?<!FOR )(?<!KEY )(?<!DO )UPDATE(?:\s+OR\s+\w+)?"
    r"|(?:REPLACE|MERGE)\s+INTO|TRUNCATE|DELETE\s+FROM)\s+\"?(\w+)"
)
_WRITE = re.compile(rf"\s*{_ONE}", re.IGNORECASE)
_SEVERAL = re.compile(r"\s*WITH\b", re.IGNORECASE)
_EACH = re.compile(rf"\b{_ONE}", re.IGNORECASE)


def written(statement: str) -> tuple[str, ...]:
    """The tables a statement writes: one behind WITH may write several."""
    if _SEVERAL.match(statement):
        return tuple(dict.fromkeys(_EACH.findall(statement)))
    found = _WRITE.match(statement)
    return (found[1],) if found else ()


def refuse_foreign(table: str, domain: str, may_write: bool) -> None:
    """A bug in our code, never the caller's mistake: raises AssertionError, and the guard hides
    the text."""
    writers = WRITERS.get(table)
    if not may_write:
        raise AssertionError(f"a reading transaction may not write {table}")
    if writers is None or (domain not in writers and domain != "*" and "*" not in writers):
        raise AssertionError(f"{domain} may not write {table}")


__all__ = ["WRITERS", "refuse_foreign", "written"]
