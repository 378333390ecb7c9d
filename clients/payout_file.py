"""A provider's payout file: CSV, read by header names, every row that will not do named.

Nothing is decided here: the rows go to ``reconcile_payout`` as its lines.
"""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from common.call import quoted
from common.errors import InvalidParameters
from common.money import exponent, parse_minor

# What a column may be called, in the order in which one is chosen; case, blanks and underscores
# do not matter.
COLUMNS: Final[dict[str, tuple[str, ...]]] = {
    "kind": ("kind", "type", "reportingcategory", "transactiontype"),
    "reference": (
        "reference", "source", "sourceid", "paymentintentid", "chargeid", "paymentid", "orderref",
    ),
    "amount": ("gross", "grossamount", "amount"),
    "fee": ("fee", "fees"),
    "net": ("net", "netamount"),
    "currency": ("currency", "payoutcurrency"),
    "payout": ("payout", "payoutid", "automaticpayoutid", "transfer"),
}  # fmt: skip
NEEDED: Final = ("kind", "reference", "amount")
KINDS: Final[dict[str, tuple[str, ...]]] = {
    "charge": ("charge", "payment", "sale", "capture"),
    "refund": ("refund", "payment_refund", "refund_failure"),
    "fee": ("fee", "stripe_fee", "network_cost", "application_fee", "monthly_fee"),
    "dispute": ("dispute", "chargeback", "dispute_reversal", "chargeback_reversal"),
    "adjustment": ("adjustment", "contribution", "reserve_transaction"),
    # What arrived at the bank stands in some files as a row of its own.
    "payout": ("payout", "transfer", "automatic_payout"),
}
MOST_ROWS: Final = 2_000
MOST_TOLD: Final = 20
csv.field_size_limit(1_000_000)
_KIND_OF: Final = {word: kind for kind, words in KINDS.items() for word in words}


@dataclass(frozen=True)
class PayoutFile:
    """The lines, and the payout's reference where a column names it."""

    lines: list[dict[str, Any]]
    reference: str | None


@dataclass
class _Reading:
    currency: str
    problems: list[dict[str, Any]]

    def refuse(self, row: int, column: str, requirement: str) -> None:
        self.problems.append({"row": row, "column": column, "requirement": requirement})

    def minor(self, row: int, column: str, text: str) -> int:
        """The amount, or 0 with the problem noted."""
        try:
            return parse_minor(text, self.currency)
        except InvalidParameters as error:
            self.refuse(row, column, str(error.details["problems"][0]["requirement"]))
            return 0


def read(path: Path, currency: str, reference: str | None = None) -> PayoutFile:
    """The file's lines in minor units of ``currency``; with ``reference``, those of one payout.

    Raises InvalidParameters that names each row and column that will not do; the row is the
    file's line, the header being line 1.
    """
    exponent(currency)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = _rows(file.read())
    except UnicodeDecodeError:
        raise InvalidParameters.field("FILE", path.name, "UTF-8 text") from None
    header, body = (rows[0][1], rows[1:]) if rows else ([], [])
    columns = _columns(header)
    reading = _Reading(currency, [])
    found = [_one(reading, number, len(header), cells, columns) for number, cells in body]
    if reading.problems:
        raise _refused(reading.problems)
    return _of_one_payout([row for row in found if row], reference)


def _rows(text: str) -> list[tuple[int, list[str]]]:
    """Rows that hold something, each with the line of the file it begins on."""
    begins, found = 1, []
    reader = csv.reader(text.splitlines(keepends=True), strict=True)
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                found.append((begins, [cell.strip() for cell in cells]))
            begins = reader.line_num + 1
    except csv.Error:
        raise _refused([{"row": begins, "column": "", "requirement": "CSV"}]) from None
    if len(found) > MOST_ROWS + 1:
        raise InvalidParameters.field("FILE", len(found) - 1, f"at most {MOST_ROWS} rows")
    return found


def _columns(header: Sequence[str]) -> Mapping[str, int]:
    """Where each thing stands. Raises InvalidParameters naming what is not there."""
    names = ["".join(name.casefold().replace("_", " ").split()) for name in header]
    columns = {}
    for column, spellings in COLUMNS.items():
        place = next((names.index(name) for name in spellings if name in names), None)
        if place is not None:
            columns[column] = place
    missing = [
        {"row": 1, "column": name, "requirement": f"a column {' or '.join(COLUMNS[name][:3])}"}
        for name in NEEDED
        if name not in columns
    ]
    if missing:
        raise _refused(missing)
    return columns


def _one(
    reading: _Reading, number: int, width: int, cells: list[str], columns: Mapping[str, int]
) -> dict[str, Any]:
    """One row as a line with its ``payout``; its problems are noted."""
    if len(cells) != width:
        reading.refuse(number, "", f"{width} cells as the header has, not {len(cells)}")
        return {}
    row = {column: cells[place] for column, place in columns.items()}
    kind = _KIND_OF.get(row["kind"].casefold().replace(" ", "_"))
    if kind is None:
        reading.refuse(number, "kind", f"one of {', '.join(KINDS)}")
    if row.get("currency") and row["currency"].upper() != reading.currency:
        reading.refuse(number, "currency", reading.currency)
    reference = row["reference"]
    if not 1 <= len(reference) <= 64 or not all("!" <= each <= "~" for each in reference):
        reading.refuse(number, "reference", "1 to 64 visible ASCII characters")
    amount = reading.minor(number, "amount", row["amount"])
    fee = reading.minor(number, "fee", row.get("fee") or "0")
    if fee < 0:
        reading.refuse(number, "fee", "0 or more: a fee that was given back is an adjustment")
    if row.get("net"):
        net = reading.minor(number, "net", row["net"])
        if net != amount - fee:
            reading.refuse(number, "net", "the amount less the fee")
    line = {"kind": kind, "reference": reference, "amount_minor": amount, "fee_minor": fee}
    return line | {"payout": row.get("payout", "")}


def _of_one_payout(rows: list[dict[str, Any]], reference: str | None) -> PayoutFile:
    """Those of the payout that is asked for. Raises InvalidParameters when the file has several
    and none is, or nothing of it."""
    payouts = sorted({row["payout"] for row in rows if row["payout"]})
    if reference is None and len(payouts) > 1:
        raise InvalidParameters.field(
            "--reference", None, f"one of the file's {len(payouts)} payouts: "
            + ", ".join(quoted(name, 64) for name in payouts[:MOST_TOLD])
        )  # fmt: skip
    wanted = reference or (payouts[0] if payouts else None)
    lines = [
        {name: value for name, value in row.items() if name != "payout"}
        for row in rows
        if row["kind"] != "payout" and (not payouts or row["payout"] == wanted)
    ]
    if not lines:
        raise InvalidParameters.field("FILE", reference, "at least one row of the payout")
    return PayoutFile(lines, wanted)


def _refused(problems: list[dict[str, Any]]) -> InvalidParameters:
    """All of it in one refusal: a person mends a file once."""
    told = [
        f"line {each['row']}" + (f", {each['column']}" if each["column"] else "")
        + f": {each['requirement']}"
        for each in problems[:MOST_TOLD]
    ]  # fmt: skip
    more = len(problems) - MOST_TOLD
    return InvalidParameters(
        "; ".join(told) + (f"; and {more} more" if more > 0 else ""),
        details={"problems": problems[:MOST_TOLD], "count": len(problems)},
        next="Mend these lines, or export the file anew.",
    )
