"""What a person is shown before they decide, and what they type to show that they read it.

The console and the terminal show the same things by these functions. Every text here came from a
row and may have been written by anybody: what hides or moves text is made visible first.
"""

import re
import unicodedata
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from common.tables.spine import ApprovalRequest
from common.untrusted import levelled

TYPED_FROM: Final = 2
_HIDDEN: Final = frozenset({"Cc", "Cf", "Co", "Cs", "Zl", "Zp"})
_WHO: Final = {1: "the requester's own person", 2: "another person", 3: "two other persons"}


@dataclass(frozen=True)
class Figure:
    """One figure that the call changes."""

    what: str
    before: str
    after: str


@dataclass(frozen=True)
class Shown:
    """The server's own preview of one request, safe to print."""

    title: str
    lines: list[str]
    figures: list[Figure]
    amount: str
    units: str


def visible(text: str) -> str:
    """Nothing that moves the cursor, reverses the reading direction, hides or covers."""
    seen = "".join("\ufffd" if unicodedata.category(ch) in _HIDDEN else ch for ch in text)
    return levelled(seen)


def shown(request: ApprovalRequest) -> Shown:
    """The preview as recorded, whatever is in it."""
    preview = request.preview
    title = str(preview.get("title") or f"{request.server}.{request.tool}")
    return Shown(
        title=visible(title),
        lines=[visible(str(line)) for line in _listed(preview.get("lines")) if str(line)],
        figures=[
            Figure(*(visible(str(each.get(key, ""))) for key in ("what", "before", "after")))
            for each in _listed(preview.get("figures"))
            if isinstance(each, dict)
        ],
        amount=visible(str(preview.get("amount", ""))),
        units=visible(str(preview.get("units", ""))),
    )


def who_decides(level: int) -> str:
    """In words."""
    return _WHO.get(level, "nobody")


def to_type(request: ApprovalRequest) -> str:
    """What an approver types from level 2 up: the amount, else the units; else nothing."""
    if request.level < TYPED_FROM:
        return ""
    seen = shown(request)
    return seen.amount or seen.units


def typed_right(wanted: str, typed: str) -> bool:
    """Whether ``typed`` is the number shown. Separators may be others, and the unit may be left
    out; no digit may. A word must be that word."""
    if not wanted[:1].isdigit():
        return typed.strip() == wanted
    number, _, unit = wanted.partition(" ")
    text = unicodedata.normalize("NFKC", typed[:80]).strip()
    folded = text.casefold()
    if unit and folded.endswith(unit.casefold()):
        text = text[: -len(unit)].strip()
    elif unit and folded.startswith(unit.casefold()):
        text = text[len(unit) :].strip()
    whole, point, fraction = number.partition(".")
    if point:
        split = re.fullmatch(rf"(.+?)([.,])([0-9]{{{len(fraction)}}})", text)
        if split is None or split[3] != fraction:
            return False
        text, used = split[1], split[2]
        if used in text:
            return False
    grouped = re.fullmatch(r"[0-9]{1,3}(?:([ .,'’_])[0-9]{3})(?:\1[0-9]{3})*", text)
    if grouped is None and not re.fullmatch(r"[0-9]+", text):
        return False
    return re.sub(r"[^0-9]", "", text) == whole


def left(until: datetime, now: datetime) -> str:
    """How long there is, in the two largest units."""
    seconds = int((until - now) / timedelta(seconds=1))
    if seconds <= 0:
        return "no time left"
    days, rest = divmod(seconds, 86_400)
    hours, rest = divmod(rest, 3_600)
    minutes = rest // 60
    parts = [(days, "d"), (hours, "h"), (minutes, "min")]
    said = [f"{count} {unit}" for count, unit in parts if count][:2]
    return f"{' '.join(said)} left" if said else "less than a minute left"


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
