"""What the servers of a storm said, one JSON object a line in ``server-*.log``."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from tests.faults.callers import Book
from tests.faults.steps import FAILPOINT

STATE_REFUSED: Final = "invalid_request_state"
TOO_NEW: Final = "requestState rejected on tools/call: minted in the future"


def said(notes: Path) -> Iterator[dict[str, Any]]:
    """Each line; what a killed process left torn is passed over."""
    for file in sorted(notes.glob("server-*.log")):
        for line in file.read_text(errors="replace").splitlines():
            try:
                yield json.loads(line)
            except ValueError:
                continue


def too_new(book: Book, notes: Path) -> bool:
    """Whether every sealed state that was refused was minted too far ahead for the clock of who
    looked at it: the answer has one reason for all, the true one is in the servers' words. Whoever
    hung up was told nothing, so there may be more of those."""
    told = sum(intent.failed.count(STATE_REFUSED) for intent in book.intents.values())
    return told <= sum(TOO_NEW in each.get("message", "") for each in said(notes))


def crashes(notes: Path) -> Counter[str]:
    """How many calls crashed otherwise than by a failpoint, by the last line of each crash."""
    found: Counter[str] = Counter()
    for each in said(notes):
        last = each.get("exception", "").strip().rpartition("\n")[2]
        if each.get("message", "").endswith(" crashed") and not last.endswith(FAILPOINT):
            found[f"{each['message']}: {last}"] += 1
    return found
