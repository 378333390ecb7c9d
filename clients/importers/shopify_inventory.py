"""Shopify's inventory CSV in its three forms: a column for each location, a row for each variant
and location, and the same with an on-hand column to fill in.

A variant is found by its SKU, else by handle and option values. A location becomes a warehouse.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sqlalchemy import select

from clients.importers.loader import Format, Load
from clients.importers.report import Refused
from clients.importers.sheets import (
    Row,
    bare,
    count,
    first_of,
    id_of,
    note_unread,
    rows,
    spelling,
    whole,
)
from common.ledgers import accounts
from common.rules import stock
from common.tables.inventory import Product, Variant

_ITEM: Final = {
    "handle", "title", "sku", "hs code", "coo",
    *(f"option{n} {what}" for n in (1, 2, 3) for what in ("name", "value")),
}  # fmt: skip
Content = tuple[list[Row], dict[str, str]]
_UNSAID: Final = ("", "not stocked", "-")


@dataclass(frozen=True)
class Level:
    """Units of one row in one location; ``kept`` of them are not for sale."""

    row: Row
    location: str
    on_hand: str
    kept: str = ""


def read(path: Path) -> Content:
    """The rows, and the headers as written. Raises ValueError when it is no inventory file."""
    found = rows(path)
    names = spelling(path)
    if not {"sku", "handle"} & set(names) or {"variant price", "price"} & set(names):
        raise ValueError(f"{path.name} has no columns for SKUs and handles, or it has prices")
    return found, names


def size(content: Content) -> int:
    return len(content[0])


def write(load: Load, content: Content) -> None:
    """Opening stock by warehouse."""
    found, names = content
    by_words = _by_words(load)
    opened: list[tuple[str, str, int]] = []
    kept: list[tuple[str, str, int]] = []
    started = _started(load)

    def take(_: str, level: Level) -> None:
        sku = _sku(load, whole(level.row), by_words)
        if level.on_hand.casefold() in _UNSAID:
            load.report.note("Where a variant is not stocked, nothing was opened.")
            return
        units, aside = count(level.on_hand, "on hand"), count(level.kept, "unavailable")
        if units < 0 or aside < 0 or aside > units:
            raise Refused(f"{units} units on hand, {aside} of them unavailable: that is no stock")
        warehouse = load.warehouse(id_of(level.location), level.location)
        if (sku, warehouse) in started:
            raise Refused(f"{sku} has stock in {warehouse} already: count it instead")
        started.add((sku, warehouse))
        opened.append((sku, warehouse, units - aside))
        kept.append((sku, warehouse, aside))

    load.each("level", _levels(load, found, names), take)
    load.open_stock(opened)
    load.open_stock(kept, "quarantine")
    load.report.took("unit", sum(units for _, _, units in (*opened, *kept)))
    if any(row.get("incoming", "0") not in ("", "0") for row in found):
        load.report.note("Incoming units are not taken: the file does not say from whom.")
    note_unread(load, "the inventory file", found, set(names) - {"bin name", "coo", "hs code"})


def _levels(load: Load, found: list[Row], names: dict[str, str]) -> Iterator[tuple[str, Level]]:
    if not found:
        return
    if "location" not in found[0]:
        places = [name for name in found[0] if name not in _ITEM and not name.startswith("\0")]
        for row in found:
            for place in places:
                level = Level(row, names[place], row[place])
                yield f"{_words(row)} in {names[place]}", level
        load.report.note("The file has no units on hand, only what is available.")
        return
    for row in found:
        on_hand = row.get("on hand (new)") or first_of(row, "on hand", "on hand (current)")
        level = Level(row, row["location"], on_hand, row.get("unavailable", ""))
        yield f"{_words(row)} in {row['location']}", level


def _by_words(load: Load) -> dict[tuple[str, tuple[str, ...]], str]:
    query = select(Variant.id, Variant.product_id, Variant.options).join(
        Product, Product.id == Variant.product_id
    )
    return {
        (row.product_id, tuple(map(str, row.options.values()))): row.id
        for row in load.session.execute(query)
    }


def _sku(load: Load, row: Row, by_words: dict[tuple[str, tuple[str, ...]], str]) -> str:
    sku = bare(row.get("sku", ""))
    for name in (sku, id_of(sku) if sku else ""):
        if name and name in load.ids(Variant):
            return name
    options = tuple(
        value
        for n in (1, 2, 3)
        if (value := row.get(f"option{n} value", "")) and value.casefold() != "default title"
    )
    handle = row.get("handle", "")
    found = by_words.get((handle, options)) or by_words.get((id_of(handle), options))
    if found is None:
        raise Refused("no variant has this SKU, nor this handle with these options")
    return found


def _started(load: Load) -> set[tuple[str, str]]:
    """Where there was stock before: its opening was another import's, or it has moved since."""
    ledgers = [stock.units(sku) for sku in load.ids(Variant)]
    found: dict[Any, Any] = accounts.totals_of(load.session, ledgers, now=load.now)
    return {
        (ledger.partition("/")[2], code.partition("/")[0]) for ledger, code in found if "/" in code
    }


def _words(row: Row) -> str:
    options = (row.get(f"option{n} value", "") for n in (1, 2, 3))
    return " ".join(filter(None, (row.get("sku") or row.get("handle", ""), *options)))


FORMAT: Final = Format("shopify-inventory", "Shopify's inventory CSV", read, size, write)
