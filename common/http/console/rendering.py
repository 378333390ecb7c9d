"""Templates. Whatever a template prints is made visible, then escaped; nothing is trusted."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from common.approvals import showing

HERE: Final = Path(__file__).resolve().parent
_MONTHS: Final = (
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
)  # fmt: skip


def environment() -> Environment:
    """The console's templates. ``finalize`` cleans every printed text that is not markup."""
    made = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_clean,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(when=when, left=showing.left, text=plain_json, person=short, words=words)
    made.globals.update(who_decides=showing.who_decides)
    return made


def when(moment: datetime | None) -> Markup:
    """A moment in UTC, to the minute, with the exact one behind it."""
    if moment is None:
        return Markup("–")
    at = moment.astimezone(UTC)
    shown = f"{at.day} {_MONTHS[at.month - 1]} {at.year}, {at:%H:%M} UTC"
    return Markup('<time datetime="{}" title="{}">{}</time>').format(
        f"{at:%Y-%m-%dT%H:%M:%SZ}", f"{at:%Y-%m-%d %H:%M:%S} UTC", shown
    )


def plain_json(value: Any) -> Markup:
    """JSON for people: every line made visible by itself, so that line ends stay."""
    lines = json.dumps(value, ensure_ascii=False, indent=2, default=str).split("\n")
    return Markup("\n").join(escape(showing.visible(line)) for line in lines)


def short(id: str) -> str:
    """``issuer|subject`` as people call each other: the subject."""
    return id.rpartition("|")[2] or id


def words(name: str) -> str:
    """``approval_view`` → ``approval view``."""
    return name.replace("_", " ")


def _clean(value: Any) -> Any:
    if isinstance(value, str) and not isinstance(value, Markup):
        return showing.visible(value)
    return value
