"""Barcodes: GTINs with their check digit, GS1-128 and DataMatrix with lot, dates and quantity."""

import re
from datetime import date
from typing import TYPE_CHECKING, Final

from sqlalchemy import select

from common.call import Call
from common.errors import InvalidParameters
from common.tables.inventory import Lot, Variant
from servers.inventory.results import Found

if TYPE_CHECKING:
    from biip.gs1_messages import GS1Message

GTIN, LOT, SERIAL, COUNT = "01", "10", "21", "37"
PRODUCED, BEST_BEFORE, EXPIRY = "11", "15", "17"
_NUMBER: Final = re.compile(r"\d{8}|\d{12,14}")
_BRACKETS: Final = re.compile(r"\((\d{2,4})\)")


def scan_barcode(call: Call, code: str) -> Found:
    """Read a scan and find its item and lot. Raises InvalidParameters for a code that is none or
    whose check digit is wrong."""
    import biip  # its tables are a quarter of what a server holds in memory

    text = code
    if code.startswith("("):
        # As printed under the bars: each identifier in brackets.
        text = _BRACKETS.sub(lambda found: f"\x1d{found[1]}", code).lstrip("\x1d")
    try:
        parsed = biip.parse(text)
    except biip.ParseError:
        raise _unreadable(code) from None
    gtin = parsed.gtin
    message = parsed.gs1_message
    meant = _NUMBER.fullmatch(text) is not None or _value(message, GTIN) is not None
    if gtin is None and meant and "check digit" in (parsed.gtin_error or ""):
        raise InvalidParameters.field("barcode", code, "a GTIN whose check digit is right")
    if parsed.sscc is None and gtin is None and (message is None or _NUMBER.fullmatch(text)):
        raise _unreadable(code)
    item = _item(call, gtin.as_gtin_14()) if gtin else None
    lot_code = _value(message, LOT)
    lot = _lot(call, item, lot_code)
    expires = lot.expires_on if lot and lot.expires_on else _date(message, EXPIRY, BEST_BEFORE)
    produced = lot.produced_on if lot and lot.produced_on else _date(message, PRODUCED)
    quantity = _value(message, COUNT)
    return Found(
        gtin=gtin.value if gtin else None,
        sku=item.id if item else None,
        name=item.name if item else None,
        lot=lot_code,
        lot_id=lot.id if lot else None,
        expires_on=expires.isoformat() if expires else None,
        produced_on=produced.isoformat() if produced else None,
        expired=True if expires and expires < call.now.date() else None,
        quantity=int(quantity) if quantity else None,
        serial=_value(message, SERIAL),
        sscc=parsed.sscc.value if parsed.sscc else None,
    )


def _unreadable(code: str) -> InvalidParameters:
    return InvalidParameters.field(
        "barcode", code, "a GTIN of 8, 12, 13 or 14 digits, an SSCC or a GS1 message"
    )


def _value(message: "GS1Message | None", identifier: str) -> str | None:
    found = message.element_strings.get(ai=identifier) if message else None
    return str(found.value) if found else None


def _date(message: "GS1Message | None", *identifiers: str) -> date | None:
    for identifier in identifiers:
        found = message.element_strings.get(ai=identifier) if message else None
        if found is not None and found.date is not None:
            return found.date
    return None


def _item(call: Call, gtin14: str) -> Variant | None:
    """Catalogues write the same GTIN with or without leading zeros."""
    sizes = (size for size in (8, 12, 13) if int(gtin14[: 14 - size]) == 0)
    forms = {gtin14} | {gtin14[14 - size :] for size in sizes}
    query = select(Variant).where(Variant.gtin.in_(sorted(forms))).order_by(Variant.id)
    return call.session.scalars(query.limit(1)).one_or_none()


def _lot(call: Call, item: Variant | None, code: str | None) -> Lot | None:
    if item is None or code is None:
        return None
    query = select(Lot).where(Lot.sku == item.id, Lot.code == code)
    return call.session.scalars(query).one_or_none()
