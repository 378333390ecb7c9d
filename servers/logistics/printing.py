"""A label of 4 by 6 inches, as SVG and, with the extra ``[labels]``, as PDF."""

import importlib
import io
import textwrap
from dataclasses import dataclass
from typing import Any, Final
from xml.sax.saxutils import escape

import segno
from barcode.codex import Code128

from common.call import Call
from common.carriers.numbers import recognised
from common.errors import RuleViolation
from common.tables.inventory import Warehouse
from common.tables.logistics import Label, Parcel, Shipment

# Points, 72 an inch: both forms are drawn from the same figures.
WIDTH: Final = 288
HEIGHT: Final = 432
EDGE: Final = 14
CHARACTERS: Final = 34
MOST_LINES: Final = 9
CODE_HEIGHT: Final = 72
QR: Final = 84
LATIN_1: Final = 255
TOP_OF_RECEIVER: Final = 98
BELOW_RECEIVER: Final = 252


@dataclass(frozen=True)
class Drawn:
    """What stands on a label, as text and as dark modules."""

    number: str
    service: str
    sender: list[str]
    receiver: list[str]
    notes: list[str]
    bars: str
    squares: list[list[int]]


def svg_of(call: Call, label_id: str) -> str:
    """The carrier's own document if it sent one. Raises NotFound, RuleViolation."""
    label = call.get(Label, label_id)
    if label.document is not None:
        return label.document
    return svg(drawn(call, label))


def pdf_of(call: Call, label_id: str) -> bytes:
    """The same bytes every time. Raises NotFound, RuleViolation."""
    return pdf(drawn(call, call.get(Label, label_id)))


def drawn(call: Call, label: Label) -> Drawn:
    """Raises RuleViolation for a label that is not bought, or without a number."""
    shipment = call.get(Shipment, label.shipment_id)
    number = label.tracking_number or shipment.tracking_number or shipment.id
    if label.state != "purchased":
        raise RuleViolation(
            f"Label {label.id} is {label.state}: there is nothing to print.",
            details={"state": label.state},
        )
    parcel = call.find(Parcel, label.parcel_id or "")
    house = call.find(Warehouse, shipment.warehouse_id or "")
    weight = parcel.weight_g if parcel else shipment.weight_g
    return draw(
        number,
        f"{label.carrier_id or ''} {label.service or ''}".strip(),
        _address({"name": house.name, **house.address} if house else {})[:4],
        _address(shipment.ship_to)[:MOST_LINES],
        [
            f"{weight / 1000:.3f} kg",
            f"Order {shipment.order_id}" if shipment.order_id else "",
            "hazmat" if "hazmat" in shipment.skills else "",
        ],
    )


def draw(
    number: str, service: str, sender: list[str], receiver: list[str], notes: list[str]
) -> Drawn:
    """The codes of a label: the number as bars, and where it is followed, if known, as QR code."""
    known = recognised(number)
    what = known.url if known and known.url else number
    return Drawn(
        number, service.upper(), sender, receiver, notes, Code128(_ascii(number)).build()[0],
        [list(row) for row in segno.make(what, error="m", micro=False).matrix],
    )  # fmt: skip


def svg(label: Drawn) -> str:
    """Text is escaped and wrapped; codes are drawn as rectangles, so nothing is fetched."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="4in" height="6in" '
        f'viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
        f"<title>{escape(label.number)}</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
    ]
    for x, y, size, text in _texts(label):
        parts.append(
            f'<text x="{x}" y="{y}" font-size="{size}" font-family="sans-serif" '
            f'fill="#000000">{escape(text)}</text>'
        )
    for left, top, wide, high in _rectangles(label):
        parts.append(
            f'<rect x="{left:.3f}" y="{top:.3f}" width="{wide:.3f}" height="{high:.3f}" '
            'fill="#000000" shape-rendering="crispEdges"/>'
        )
    return "".join([*parts, "</svg>"])


def pdf(label: Drawn) -> bytes:
    """Raises RuleViolation without the extra, and for text that its fonts cannot write."""
    try:
        canvas: Any = importlib.import_module("reportlab.pdfgen.canvas")
    except ImportError:
        raise RuleViolation(
            "PDF labels need the extra: install shop[labels].",
            next="logistics://label/{label_id} is the same label as SVG.",
        ) from None
    if any(ord(c) > LATIN_1 for *_, text in _texts(label) for c in text):
        raise RuleViolation(
            "The fonts of a PDF have Latin letters only, and this address has others.",
            next="Print logistics://label/{label_id}, the same label as SVG.",
        )
    out = io.BytesIO()
    page = canvas.Canvas(out, pagesize=(WIDTH, HEIGHT), invariant=1)
    page.setTitle(label.number)
    for x, y, size, text in _texts(label):
        page.setFont("Helvetica", size)
        page.drawString(x, HEIGHT - y, text)
    for left, top, wide, high in _rectangles(label):
        page.rect(left, HEIGHT - top - high, wide, high, stroke=0, fill=1)
    page.showPage()
    page.save()
    return out.getvalue()


def _texts(label: Drawn) -> list[tuple[int, int, int, str]]:
    """x, baseline, size, text."""
    found = [(EDGE, 26, 15, label.service[:28])]
    found += [(EDGE, 42 + 9 * i, 7, line) for i, line in enumerate(label.sender)]
    found += [(EDGE, TOP_OF_RECEIVER + 17 * i, 13, line) for i, line in enumerate(label.receiver)]
    notes = [note for note in label.notes if note]
    found += [(EDGE, 268 + 13 * i, 10, note) for i, note in enumerate(notes)]
    found.append((EDGE, 418, 12, label.number))
    return found


def _rectangles(label: Drawn) -> list[tuple[float, float, float, float]]:
    """x, y, width, height of everything dark: the lines, the bars, the QR code's squares."""
    found: list[tuple[float, float, float, float]] = [
        (0, 80, WIDTH, 1), (0, BELOW_RECEIVER, WIDTH, 1), (0, 322, WIDTH, 1),
    ]  # fmt: skip
    unit = min(1.6, (WIDTH - 2 * EDGE - 20) / len(label.bars))
    left = (WIDTH - unit * len(label.bars)) / 2
    found += [
        (left + unit * at, 330.0, unit * length, float(CODE_HEIGHT))
        for at, length in _runs(list(map(int, label.bars)))
    ]
    cell = QR / len(label.squares)
    across = WIDTH - EDGE - QR
    top = BELOW_RECEIVER - QR - 6.0
    for row, squares in enumerate(label.squares):
        found += [
            (across + cell * at, top + cell * row, cell * length, cell)
            for at, length in _runs(squares)
        ]
    return found


def _runs(modules: list[int]) -> list[tuple[int, int]]:
    """Where dark modules begin, and how many follow each other."""
    found: list[tuple[int, int]] = []
    for at, dark in enumerate(modules):
        if dark and found and sum(found[-1]) == at:
            found[-1] = (found[-1][0], found[-1][1] + 1)
        elif dark:
            found.append((at, 1))
    return found


def _address(address: dict[str, Any]) -> list[str]:
    """Its lines, none longer than the label is wide."""
    town = " ".join(str(address.get(k) or "") for k in ("postal_code", "city")).strip()
    written = [
        address.get("name"), address.get("line1"), address.get("line2"), town,
        address.get("region"), address.get("country"),
    ]  # fmt: skip
    lines: list[str] = []
    for text in written:
        clean = " ".join("".join(c if c.isprintable() else " " for c in str(text or "")).split())
        lines += textwrap.wrap(clean, CHARACTERS)
    return lines


def _ascii(number: str) -> str:
    """Code 128 has no other characters."""
    if not number.isascii() or len(number) > 48:
        raise RuleViolation("This tracking number cannot be printed as Code 128.")
    return number
