"""Business rows and audit records, joined both ways: no effect without a record, no record of an
effect that is not there."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from sqlalchemy import ColumnElement, inspect, literal, select
from sqlalchemy.orm import Session

from common.audit.links import Bad, parsed
from common.tables.spine import AuditRecord
from common.tables.whole import tables

PAGE: Final = 500
MAX_SUSPECTS: Final = 1_000
REMOVALS: Final = frozenset({"delete", "remove", "erase"})


def row_without_record(session: Session) -> Bad | None:
    """A row of any table whose ``audit_id`` names no record."""
    for name, kind in sorted(tables().items()):
        columns = inspect(kind).local_table.c
        if "audit_id" not in columns:
            continue
        keys: list[ColumnElement[Any]] = [column for column in columns if column.primary_key]
        query = (
            select(columns.audit_id, *keys)
            .outerjoin(AuditRecord, AuditRecord.id == columns.audit_id)
            .where(AuditRecord.id.is_(None))
            .order_by(*keys)
            .limit(1)
        )
        found = session.execute(query).first()
        if found is not None:
            key = "/".join(map(str, found[1:]))
            why = f"{name} {key} names an audit record that does not exist"
            return Bad("row", None, None, str(found[0])[:80], why)
    return None


class Told(NamedTuple):
    """What one record says of one row. ``amount`` of a transfer, which never changes."""

    bad: Bad
    amount: str


@dataclass
class Effects:
    """Rows that records say were created, looked up a page at a time."""

    session: Session
    _page: dict[str, dict[str, Told]] = field(default_factory=dict)
    _held: int = 0
    _suspects: dict[tuple[str, str], Bad] = field(default_factory=dict)

    def note(self, chain: int, seq: int, event_id: str, said: Mapping[str, Any]) -> None:
        """Remember what one record says it created."""
        if said.get("outcome") != "ok":
            return
        for effect in _effects(said):
            name, id, moved = str(effect.get("type")), str(effect.get("id")), ""
            if effect.get("op") == "transfer":
                name, moved = "transfer", str(effect.get("amount"))
            elif effect.get("op") != "create" or not _has_id(name):
                continue
            why = f"it created {name} {id[:80]}, which is not there"
            if moved:
                why = f"it moved {moved} by transfer {id[:80]}, which is not there or not the same"
            told = Told(Bad("effect", chain, seq, event_id, why), moved)
            self._page.setdefault(name, {}).setdefault(id, told)
            self._held += 1
        if self._held >= PAGE:
            self._look()

    def first_missing(self) -> Bad | None:
        """The first created row that is gone although no record says it was removed."""
        self._look()
        if not self._suspects:
            return None
        query = select(AuditRecord.record)
        for (said,) in self.session.execute(query, execution_options={"yield_per": PAGE}):
            content = parsed(said, exact=False)
            for effect in _effects(content or {}):
                if effect.get("op") in REMOVALS:
                    self._suspects.pop((str(effect.get("type")), str(effect.get("id"))), None)
        return next(iter(self._suspects.values()), None)

    def _look(self) -> None:
        for name, wanted in self._page.items():
            columns = inspect(tables()[name]).local_table.c
            ids = list(wanted)
            for start in range(0, len(ids), PAGE):
                amount = columns.amount if name == "transfer" else literal("")
                query = select(columns.id, amount).where(columns.id.in_(ids[start : start + PAGE]))
                for found, moved in self.session.execute(query):
                    if wanted[found].amount in ("", str(moved)):
                        del wanted[found]
            for id, told in wanted.items():
                if len(self._suspects) < MAX_SUSPECTS:
                    self._suspects.setdefault((name, id), told.bad)
        self._page, self._held = {}, 0


def _has_id(name: str) -> bool:
    kind = tables().get(name)
    return kind is not None and "id" in inspect(kind).local_table.c


def _effects(said: Mapping[str, Any]) -> list[dict[str, Any]]:
    listed = said.get("effects")
    return [item for item in listed if isinstance(item, dict)] if isinstance(listed, list) else []
