"""Who may write which table, and that what was written has its audit record: one check of each."""

import re

from common.tables.base import OWING, WRITERS
from common.tables.spine import AuditRecord

_ONE = (
    r"(?:INSERT(?:\s+OR\s+\w+)?\s+INTO|(?<!FOR )(?<!KEY )(?<!DO )UPDATE(?:\s+OR\s+\w+)?"
    r"|(?:REPLACE|MERGE)\s+INTO|TRUNCATE|DELETE\s+FROM)\s+\"?(\w+)"
)
_WRITE = re.compile(rf"\s*{_ONE}", re.IGNORECASE)
_SEVERAL = re.compile(r"\s*WITH\b", re.IGNORECASE)
_EACH = re.compile(rf"\b{_ONE}", re.IGNORECASE)

_RECORD = AuditRecord.__tablename__


def written(statement: str) -> tuple[str, ...]:
    """The tables a statement writes: one behind WITH may write several."""
    if _SEVERAL.match(statement):
        return tuple(dict.fromkeys(_EACH.findall(statement)))
    found = _WRITE.match(statement)
    return (found[1],) if found else ()


class Writing:
    """What one transaction may write, and has written. A refusal is a bug in our code, never the
    caller's mistake: AssertionError, whose text the guard hides."""

    __slots__ = ("_domain", "_may", "_owing", "_tables")

    def __init__(self, domain: str, *, may: bool) -> None:
        self._domain = domain
        self._may = may
        self._tables: set[str] = set()
        self._owing: set[str] = set()

    def note(self, table: str, statement: str) -> None:
        """A statement that writes this table is about to run. Raises AssertionError."""
        if not self._may:
            raise AssertionError(f"a reading transaction may not write {table}")
        if table in OWING and "audit_id" in statement:  # a lease or a counter names no record anew
            self._owing.add(table)
        if table in self._tables:
            return
        writers, domain = WRITERS.get(table), self._domain
        if writers is None or (domain not in writers and domain != "*" and "*" not in writers):
            raise AssertionError(f"{domain} may not write {table}")
        self._tables.add(table)

    def settle(self) -> None:
        """Before the commit. Raises AssertionError for rows that name a record nobody wrote."""
        if self._owing and _RECORD not in self._tables:
            owing = ", ".join(sorted(self._owing))
            raise AssertionError(f"{owing} written without an audit record")


__all__ = ["WRITERS", "Writing", "written"]
