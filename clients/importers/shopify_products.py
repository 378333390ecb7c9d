"""Shopify's products CSV: the exports of 2023 and of 2024 to 2026, and the import template.

One row a variant, further rows for pictures; a product's own cells are on its first row. The
product's id is its handle. The file has no currency: the shop's own one is taken.
"""

import re
from collections import Counter
from pathlib import Path
from typing import Any, Final

from sqlalchemy import select

from clients.importers.loader import Format, Load, minor, text
from clients.importers.report import Refused
from clients.importers.sheets import (
    EXTRA,
    Row,
    bare,
    count,
    first_of,
    id_of,
    note_unread,
    rows,
    spelling,
    usable,
    whole,
)
from common.tables.inventory import Product, Variant

BASE_CURRENCY: Final = "EUR"
HANDLE = ("handle", "url handle")
TITLE = ("title",)
BODY = ("body (html)", "description")
SKU = ("variant sku", "sku")
PRICE = ("variant price", "price")
BARCODE = ("variant barcode", "barcode")
GRAMS = ("variant grams", "weight value (grams)")
UNITS = ("variant inventory qty", "inventory quantity")
COST = ("cost per item",)
CATEGORY = ("type", "product category")
_READ: Final = {
    *HANDLE, *TITLE, *BODY, *SKU, *PRICE, *BARCODE, *GRAMS, *UNITS, *COST, *CATEGORY, "vendor",
    "status", *(f"option{n} {what}" for n in (1, 2, 3) for what in ("name", "value")),
}  # fmt: skip
_DEFAULT: Final = ("title", "default title")


def read(path: Path) -> list[Row]:
    """The file's rows. Raises ValueError when it is no products file."""
    found = rows(path)
    names = set(spelling(path))
    if not names & set(HANDLE) or not names & set(PRICE):
        raise ValueError(f"{path.name} has no columns for handles and prices")
    return found


def write(load: Load, found: list[Row]) -> None:
    """Products with their variants, and opening stock where the file has it."""
    note_unread(load, "the products file", found, _READ)
    products: dict[str, list[Row]] = {}
    handle = ""
    for row in found:
        handle = first_of(row, *HANDLE) or handle
        products.setdefault(handle, []).append(row)
    currency = currency_of(load)
    made: list[dict[str, Any]] = []
    variants: list[dict[str, Any]] = []
    stock: list[tuple[str, str, int]] = []
    warehouse = load.warehouse()

    def take(id: str, group: list[Row]) -> None:
        sold = [whole(row) for row in group if _is_variant(row, group)]
        if not sold:
            raise Refused("it has no variant with a price")
        product = _product(id, group[0])
        part = [_variant(product, group[0], row, n, currency) for n, row in enumerate(sold)]
        _all_new(load, product["id"], [row["id"] for row, _ in part])
        made.append(product)
        variants.extend(row for row, _ in part)
        stock.extend((row["id"], warehouse, units) for row, units in part)
        load.tick(len(group) - 1)

    load.each("product", products.items(), take)
    pictures = sum(
        not _is_variant(r, g) and EXTRA not in r for g in products.values() for r in g
    )  # fmt: skip
    if pictures:
        load.report.note(f"{pictures} rows hold nothing but a picture; pictures are not taken.")
    load.insert(Product, made)
    load.insert(Variant, variants)
    load.report.took("variant", len(variants))
    for sku, _, units in stock:
        if units < 0:
            load.report.refuse("stock", sku, f"{units} units: what is oversold has no stock")
    load.open_stock(stock)
    load.report.note(f"Prices have no currency in the file: taken as {currency}.")


def currency_of(load: Load) -> str:
    """The one currency the shop sells in so far; the policy's own where it is empty."""
    found = load.session.scalars(select(Variant.currency).distinct()).all()
    if len(found) > 1:
        raise ValueError("the shop sells in several currencies: import into one of its own")
    return found[0] if found else BASE_CURRENCY


def options_of(first: Row, row: Row) -> dict[str, str]:
    """Option names stand on the product's first row."""
    options: dict[str, str] = {}
    for n in (1, 2, 3):
        name = row.get(f"option{n} name") or first.get(f"option{n} name", "")
        value = row.get(f"option{n} value", "")
        if value and (name.casefold(), value.casefold()) != _DEFAULT:
            options[text(name or f"option {n}", "option", 200)] = text(value, "option")
    return options


def sku_of(product_id: str, sku: str, options: dict[str, str]) -> str:
    """The SKU verbatim where tools can name it, else one made from the words there are."""
    given = bare(sku)
    if usable(given):
        return given
    return id_of(given) if given else id_of(product_id, *options.values())


def _is_variant(row: Row, group: list[Row]) -> bool:
    return bool(first_of(row, *PRICE) or first_of(row, *SKU) or row is group[0])


def _product(handle: str, first: Row) -> dict[str, Any]:
    if not handle:
        raise Refused("it has no handle")
    body = re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", first_of(first, *BODY))).strip()
    return {
        "id": handle if usable(handle) else id_of(handle),
        "name": text(first_of(first, *TITLE) or handle, "title"), "description": body[:2_000],
        "category": first_of(first, *CATEGORY)[:200], "brand": first.get("vendor", "")[:200],
        "active": first.get("status", "active").casefold() in ("", "active"),
    }  # fmt: skip


def _variant(
    product: dict[str, Any], first: Row, row: Row, position: int, currency: str
) -> tuple[dict[str, Any], int]:
    options = options_of(first, row)
    price = minor(first_of(row, *PRICE), currency, "price")
    cost = first_of(row, *COST)
    if price < 0:
        raise Refused("a price is below 0")
    name = f"{product['name']} - {' / '.join(options.values())}" if options else product["name"]
    barcode = bare(first_of(row, *BARCODE))
    grams = count(first_of(row, *GRAMS), "grams")
    return {
        "id": sku_of(product["id"], first_of(row, *SKU), options), "product_id": product["id"],
        "position": position, "name": name[:200], "options": options, "price_minor": price,
        "unit_cost_minor": minor(cost, currency, "cost") if cost else None, "currency": currency,
        "gtin": barcode if re.fullmatch(r"\d{8,14}", barcode) else None,
        "weight_g": grams if grams > 0 else None, "sellable": product["active"],
    }, count(first_of(row, *UNITS), "quantity")  # fmt: skip


def _all_new(load: Load, product_id: str, skus: list[str]) -> None:
    twice = [sku for sku, times in Counter(skus).items() if times > 1]
    if twice:
        raise Refused(f"two of its variants are {twice[0]!r}")
    there = [sku for sku in skus if sku in load.ids(Variant)]
    if there:
        raise Refused(f"there is a variant {there[0]!r} already")
    load.new(Product, product_id)
    for sku in skus:
        load.new(Variant, sku)


FORMAT: Final = Format("shopify-products", "Shopify's products CSV", read, len, write)
