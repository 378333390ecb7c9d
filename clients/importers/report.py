"""What an import did: read, written, refused and why. Nothing is dropped silently."""

from dataclasses import dataclass, field
from typing import Any


class Refused(Exception):
    """A row that is not taken in; the message says why, for a person."""


@dataclass(frozen=True)
class Refusal:
    """``kind`` is ``order``, ``product``, …; ``id`` is the row's own, as the file has it."""

    kind: str
    id: str
    reason: str


@dataclass
class Report:
    """Counts by kind, every row refused, and notes on what the file does not say."""

    format: str
    dry_run: bool = False
    read: dict[str, int] = field(default_factory=dict)
    written: dict[str, int] = field(default_factory=dict)
    refused: list[Refusal] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def saw(self, kind: str) -> None:
        self.read[kind] = self.read.get(kind, 0) + 1
        self.written.setdefault(kind, 0)

    def took(self, kind: str, count: int = 1) -> None:
        self.written[kind] = self.written.get(kind, 0) + count

    def refuse(self, kind: str, id: str, reason: str) -> None:
        self.refused.append(Refusal(kind, id, reason))

    def note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)

    def as_dict(self) -> dict[str, Any]:
        """JSON for scripts."""
        return {
            "format": self.format, "dry_run": self.dry_run, "read": self.read,
            "written": self.written, "notes": self.notes,
            "refused": [
                {"kind": each.kind, "id": each.id, "reason": each.reason} for each in self.refused
            ],
        }  # fmt: skip
