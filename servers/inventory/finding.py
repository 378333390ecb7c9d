"""Which item is meant: by words of its name, or by a barcode."""

from typing import Final

from common.call import Call
from common.errors import InvalidParameters, ProductNotFound
from common.paging import decoded, encoded
from servers.inventory import barcodes, catalogue, levels
from servers.inventory.results import Found, FoundItem

MOST_FOUND: Final = 200


def find_item(
    call: Call, query: str | None, barcode: str | None, warehouse: str | None, limit: int,
    cursor: str | None,
) -> Found:  # fmt: skip
    """Items that fit the words, best first, at most 200; or what a barcode says. Raises
    ProductNotFound with the nearest names, NotFound for a warehouse, InvalidParameters."""
    if query is not None and barcode is not None:
        raise InvalidParameters.field("barcode", None, "left out: a query is given")
    if warehouse is not None:
        catalogue.warehouse(call, warehouse)
    if barcode is not None:
        return barcodes.scan_barcode(call, barcode)
    if query is None:
        raise InvalidParameters.field("query", None, "words of the name, or a barcode instead")
    return _named(call, query, warehouse, limit, cursor)


def _named(call: Call, query: str, warehouse: str | None, limit: int, cursor: str | None) -> Found:
    from common.rules import searching  # what it searches with takes time to load

    scored = searching.best(call.session, query, searching.ITEMS, MOST_FOUND)
    if not scored:
        near = searching.nearest(call.session, query, searching.ITEMS)
        raise ProductNotFound(
            "No item is called like that.",
            details={"searched": query} | ({"suggestions": near} if near else {}),
            next="Ask the person whether one of the suggestions is meant, or for other words."
            if near
            else "Nothing is in the catalogue.",
        )
    keyed = sorted((-each.score, each.sku) for each in scored)
    if cursor is not None:
        after = decoded(cursor, 2)
        if [type(part) for part in after] != [int, str]:
            raise InvalidParameters.field("cursor", cursor, "a cursor from an earlier page")
        keyed = [key for key in keyed if list(key) > after]
    page = keyed[:limit]
    return Found(
        items=_items(call, {sku: -score for score, sku in page}, warehouse),
        next_cursor=encoded(page[-1]) if len(keyed) > limit else None,
    )


def _items(call: Call, scores: dict[str, int], warehouse: str | None) -> list[FoundItem]:
    skus = list(scores)
    names = catalogue.named(call.session, skus)
    on_hand, available = dict.fromkeys(skus, 0), dict.fromkeys(skus, 0)
    shelves = levels.shelves_of(call.session, call.now, skus, warehouse)
    for (sku, _), shelf in shelves.items():
        on_hand[sku] += shelf.on_hand
        available[sku] += shelf.available
    return [
        FoundItem(
            sku=sku, name=names[sku].name, score=score, on_hand=on_hand[sku],
            available=available[sku],
        )
        for sku, score in scores.items()
    ]  # fmt: skip
