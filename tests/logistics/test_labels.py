"""Labels a printer can take, and tracking numbers: machines read back what was written."""

import re
import xml.etree.ElementTree as ET
import zlib
from base64 import a85decode
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy
import pytest
import zxingcpp

from common.carriers.numbers import recognised, s10, validated
from servers.logistics import printing
from servers.logistics.printing import Drawn
from tests.logistics.seed import Desk, address
from tests.logistics.test_carriers import connect, labels, reach, settled
from tests.support.shop import call

LONG = {
    "name": "Ġorġ & <Søns> \u202e of the very long name " + "and " * 20,
    "line1": "Donaudampfschifffahrtsgesellschaftskapitänsgasse 12345678", "city": "Straße",
}  # fmt: skip


async def test_both_forms_are_read_by_a_scanner(desk: Desk) -> None:
    await desk.seed("logistics", connect)
    reach(desk)
    order_id = await desk.order(ship_to=address(3) | {"city": "Köln", "line2": "x" * 150})
    await desk.done("create_shipment", order_id=order_id, carrier="post")
    row = (await labels(desk))[0]
    early = await call(desk.client, "track_shipment", shipment_id=row.shipment_id)
    assert early["label_state"] == "pending"
    await settled(desk)
    row = (await labels(desk))[0]
    svg = (await desk.client.read_resource(f"logistics://label/{row.id}")).contents[0]
    assert svg.mime_type == "image/svg+xml"
    number = row.tracking_number or ""
    assert codes(pixels(svg.text)) == {("Code128", number), ("QRCode", number)}
    answer = (await desk.client.read_resource(f"logistics://label/{row.id}/pdf")).contents[0]
    assert answer.mime_type == "application/pdf"


def a_label(number: str = "RX123456785DE", receiver: dict[str, Any] | None = None) -> Drawn:
    lines = printing._address(address(1) | (receiver or {}))[: printing.MOST_LINES]
    return printing.draw(number, "post standard", ["House"], lines, ["1.000 kg"])


def test_the_pdf_is_the_same_every_time_and_is_read() -> None:
    label = a_label("1Z5R89390357567127")
    made = printing.pdf(label)
    assert made == printing.pdf(label)
    assert made.startswith(b"%PDF-")
    found = codes(of_pdf(made))
    assert ("Code128", "1Z5R89390357567127") in found
    assert any(kind == "QRCode" and "1Z5R89390357567127" in text for kind, text in found)


def test_long_and_hostile_text_stays_on_the_label() -> None:
    label = a_label(receiver=LONG)
    picture = printing.svg(label)
    root = ET.fromstring(picture)
    texts = [node for node in root.iter() if node.tag.endswith("}text")]
    assert all(len(node.text or "") <= printing.CHARACTERS for node in texts)
    assert all(float(node.attrib["y"]) <= printing.HEIGHT for node in texts)
    lines = [float(n.attrib["y"]) for n in texts]
    assert max(lines) <= printing.HEIGHT - 10
    assert "\u202e" not in picture
    assert "<Søns>" not in picture
    assert "&lt;Søns&gt;" in picture
    receiver = [printing.TOP_OF_RECEIVER + 17 * i for i in range(len(label.receiver))]
    assert all(b > a for a, b in pairwise(receiver))
    assert receiver[-1] < printing.BELOW_RECEIVER
    assert ("Code128", label.number) in codes(pixels(picture))


def test_a_pdf_never_garbles_an_address() -> None:
    with pytest.raises(printing.RuleViolation, match="Latin"):
        printing.pdf(a_label(receiver=LONG | {"city": "Ελλάδα"}))


def test_without_the_extra_the_svg_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(printing.importlib, "import_module", missing)
    with pytest.raises(printing.RuleViolation, match=r"shop\[labels\]"):
        printing.pdf(a_label())


async def test_what_is_not_bought_is_not_printed(desk: Desk) -> None:
    await desk.seed("logistics", connect)
    reach(desk)
    order_id = await desk.order()
    await desk.done("create_shipment", order_id=order_id, carrier="post")
    row = (await labels(desk))[0]
    with pytest.raises(Exception, match="nothing to print"):
        await desk.client.read_resource(f"logistics://label/{row.id}")


@pytest.mark.parametrize(
    ("number", "carrier"),
    [("1Z5R89390357567127", "UPS"), (s10(12345678), "S10 International Standard")],
)
def test_known_numbers(number: str, carrier: str) -> None:
    found = recognised(number)
    assert found is not None
    assert found.carrier == carrier


@pytest.mark.parametrize(
    "number", ["1Z5R89390357567128", "RX123456786DE", "PP123", "", None, "9" * 400, "١٢٣٤"]
)
def test_unknown_numbers_and_wrong_check_digits(number: str | None) -> None:
    assert not validated(number)


def test_every_s10_number_checks() -> None:
    assert all(validated(s10(serial)) for serial in range(10_000_000, 10_000_200))


async def test_an_unknown_number_is_accepted_and_said_not_to_be_validated(desk: Desk) -> None:
    for number, known in (("PP123", False), ("1Z5R89390357567127", True)):
        made = await desk.done(
            "create_shipment", order_id=await desk.order(), carrier="post", tracking_number=number
        )
        found = await call(desk.client, "track_shipment", shipment_id=made["shipment_id"])
        assert (found["tracking_number"], found["tracking_validated"]) == (number, known)
        assert ("tracking_url" in found) is known


def codes(image: Any) -> set[tuple[str, str]]:
    return {(str(found.format).split(".")[-1].replace(" ", ""), found.text)
            for found in zxingcpp.read_barcodes(image)}  # fmt: skip


def pixels(svg: str) -> Any:
    """The dark rectangles of a picture, at 300 dots an inch."""
    scale = 300 / 72
    image = numpy.full(
        (round(printing.HEIGHT * scale), round(printing.WIDTH * scale)), 255, numpy.uint8
    )
    for x, y, wide, high in _dark(svg):
        left, top = round(x * scale), round(y * scale)
        image[top : round((y + high) * scale), left : round((x + wide) * scale)] = 0
    return image


def _dark(svg: str) -> Iterator[tuple[float, float, float, float]]:
    for node in ET.fromstring(svg).iter():
        if node.tag.endswith("}rect") and node.attrib["fill"] == "#000000":
            yield tuple(float(node.attrib[k]) for k in ("x", "y", "width", "height"))  # type: ignore[misc]


def of_pdf(pdf: bytes) -> Any:
    """The rectangles of a page, as its content says: ``x y width height re f``."""
    body = re.search(rb"stream\r?\n(.*?)~>endstream", pdf, re.DOTALL)
    assert body is not None
    content = zlib.decompress(a85decode(body[1])).decode()
    scale = 300 / 72
    image = numpy.full(
        (round(printing.HEIGHT * scale), round(printing.WIDTH * scale)), 255, numpy.uint8
    )
    for found in re.finditer(r"([\d.]+) ([\d.]+) ([\d.]+) ([\d.]+) re", content):
        x, y, wide, high = map(float, found.groups())
        top = printing.HEIGHT - y - high
        image[
            round(top * scale) : round((top + high) * scale),
            round(x * scale) : round((x + wide) * scale),
        ] = 0
    return image
