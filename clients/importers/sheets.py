"""CSV files by header name, whatever the case, the order or the line ends."""

import csv
import hashlib
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from clients.importers.loader import LONGEST_ID, Load, identifier
from clients.importers.report import Refused

Row = dict[str, str]
EXTRA: Final = "\0more cells than headers"
csv.field_size_limit(1_000_000)


def rows(path: Path, *, null: str = "") -> list[Row]:
    """Every row by header in lower case, cells without outer blanks; ``null`` becomes ``""``.

    Raises ValueError for a file that is no UTF-8 text or has no header."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file)
        header = [name.strip().casefold() for name in next(reader, [])]
        if not any(header):
            raise ValueError(f"{path.name} has no header")
        found = []
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            row = dict(zip(header, (_cell(cell, null) for cell in cells), strict=False))
            row = {name: row.get(name, "") for name in header}
            if len(cells) > len(header):
                row[EXTRA] = "yes"
            found.append(row)
    return found


def spelling(path: Path) -> dict[str, str]:
    """The headers as they are written, by their lower case."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        return {name.strip().casefold(): name.strip() for name in next(csv.reader(file), [])}


def whole(row: Row) -> Row:
    """The row. Raises Refused when a cell stands beyond the last header."""
    if EXTRA in row:
        raise Refused("the row has more cells than the file has headers")
    return row


def first_of(row: Row, *names: str) -> str:
    """The cell of the first of these headers that the file has."""
    return next((row[name] for name in names if name in row), "")


def moment(text: str) -> datetime | None:
    """``2025-04-08 10:03:27 -0700`` or without a zone (UTC); None when empty. Raises Refused."""
    if not text:
        return None
    for form in ("%Y-%m-%d %H:%M:%S %z", "%Y-%m-%d %H:%M:%S.%f", "%Y-%m-%d %H:%M:%S", "%Y-%m-%d"):
        try:
            found = datetime.strptime(text, form)  # noqa: DTZ007 - a zone is added below
        except ValueError:
            continue
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
    raise Refused(f"{text!r} is no date")


def count(text: str, field: str) -> int:
    """A whole number; an empty cell is 0. Raises Refused."""
    if not re.fullmatch(r"-?\d{0,9}(\.0+)?", text) or text in ("-", "."):
        raise Refused(f"{field} is not a whole number")
    return int(text.partition(".")[0] or 0)


def bare(text: str) -> str:
    """Without the apostrophe that keeps spreadsheets from reading a number."""
    return text.removeprefix("'")


def id_of(*parts: str) -> str:
    """An id made of words: readable where they allow it, a digest where they do not."""
    joined = "-".join(part for part in parts if part)
    slug = re.sub(r"[^A-Za-z0-9._-]+", "-", joined).strip("-")
    if slug and len(slug) <= LONGEST_ID and slug.isascii():
        return slug
    return f"x-{hashlib.sha256(joined.encode()).hexdigest()[:20]}"


def usable(id: str) -> bool:
    """Whether tools could name it."""
    try:
        identifier(id)
    except Refused:
        return False
    return True


def note_unread(load: Load, file: str, found: Iterable[Mapping[str, str]], read: set[str]) -> None:
    """Name the columns that hold something and are not taken."""
    filled: dict[str, None] = {}
    for row in found:
        for name, value in row.items():
            if value and name not in read and name != EXTRA:
                filled.setdefault(name)
    if filled:
        load.report.note(f"Not taken from {file}: {', '.join(filled)}.")


def _cell(text: str, null: str) -> str:
    stripped = text.strip()
    return "" if stripped == null else stripped
