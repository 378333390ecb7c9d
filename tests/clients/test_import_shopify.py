"""Shopify's CSV files in all their dialects, read by header name."""

import csv
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from clients.importers import FORMATS
from common.rules import stock
from common.shop import Shop
from common.tables.inventory import Product, Variant
from common.tables.orders import Customer, Order, OrderAdjustment, OrderLine, OrderNote
from common.tables.payments import Payment, Refund
from tests.clients.data import reasons, take_in
from tests.support import data
from tests.support.shop import a_shop, look

LEGACY = ("Handle", "Title", "Body (HTML)", "Vendor", "Type", "Option1 Name", "Option1 Value",
          "Option2 Name", "Option2 Value", "Variant SKU", "Variant Grams",
          "Variant Inventory Qty", "Variant Price", "Variant Barcode", "Image Src",
          "Cost per item")  # fmt: skip
TEMPLATE = ("Title", "URL handle", "Description", "Vendor", "Type", "Option1 name",
            "Option1 value", "Option2 name", "Option2 value", "SKU", "Weight value (grams)",
            "Inventory quantity", "Price", "Barcode", "Product image URL", "Cost per item",
            "Status")  # fmt: skip


def sheet(path: Path, headers: Any, rows: list[dict[str, str]], end: str = "\r\n") -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(headers), lineterminator=end)
        writer.writeheader()
        writer.writerows(rows)
    return path


def tee(names: tuple[str, ...]) -> list[dict[str, str]]:
    """A shirt of two variants, a picture row between them, in the words of a dialect."""
    said = {name.casefold(): name for name in names}

    def named(**cells: str) -> dict[str, str]:
        row = {}
        for key, value in cells.items():
            options = {
                "handle": ("handle", "url handle"), "body": ("body (html)", "description"),
                "sku": ("variant sku", "sku"), "price": ("variant price", "price"),
                "grams": ("variant grams", "weight value (grams)"),
                "units": ("variant inventory qty", "inventory quantity"),
                "barcode": ("variant barcode", "barcode"),
                "image": ("image src", "product image url"), "cost": ("cost per item",),
                "o1": ("option1 name",), "v1": ("option1 value",), "title": ("title",),
                "type": ("type",),
            }[key]  # fmt: skip
            row[next(said[name] for name in options if name in said)] = value
        return row

    return [
        named(handle="tee", title="Tee", body="<p>Soft &amp; <b>light</b></p>", type="Shirts",
              o1="Size", v1="S", sku="TEE-S", price="19.90", grams="150", units="7",
              barcode="'4006381333931", cost="8.50"),
        named(handle="tee", image="https://pictures.example/tee.jpg"),
        named(handle="tee", v1="M/L", price="21.00", units="0"),
    ]  # fmt: skip


@pytest.mark.parametrize("names", [LEGACY, TEMPLATE], ids=["export", "template"])
async def test_products_in_two_dialects(tmp_path: Path, names: tuple[str, ...]) -> None:
    async with a_shop(tmp_path) as shop:
        file = sheet(tmp_path / "products.csv", names, tee(names))
        report = await take_in(shop, "shopify-products", file)
        assert report.refused == []
        assert any("1 rows hold nothing but a picture" in note for note in report.notes)
        rows = await look(shop, lambda s: list(s.scalars(select(Variant).order_by(Variant.id))))
        product = await look(shop, lambda s: s.get(Product, "tee"))
        level = await look(shop, lambda s: stock.level(s, shop.guard.clock(), "TEE-S"))
    assert product.category == "Shirts"
    assert [(v.id, v.price_minor, v.options, v.name) for v in rows] == [
        ("TEE-S", 1_990, {"Size": "S"}, "Tee - S"),
        ("tee-M-L", 2_100, {"Size": "M/L"}, "Tee - M/L"),
    ]
    assert (rows[0].gtin, rows[0].weight_g, rows[0].unit_cost_minor) == ("4006381333931", 150, 850)
    assert level.available == 7


async def test_products_that_do_not_fit(tmp_path: Path) -> None:
    rows = [
        {"Handle": "a", "Title": "A", "Variant SKU": "A", "Variant Price": "1.999"},
        {"Handle": "b", "Title": "B", "Variant SKU": "B", "Variant Price": "5"},
        {"Handle": "b", "Variant SKU": "B", "Variant Price": "6"},
        {"Handle": "c", "Title": "C", "Variant SKU": "C", "Variant Price": "5",
         "Variant Inventory Qty": "-2"},
    ]  # fmt: skip
    async with a_shop(tmp_path) as shop:
        file = sheet(tmp_path / "products.csv", LEGACY, rows, "\n")
        report = await take_in(shop, "shopify-products", file)
        ids = await look(shop, lambda s: list(s.scalars(select(Product.id))))
    found = reasons(report)
    assert ids == ["c"]
    assert "decimals" in found["a"]
    assert "two of its variants" in found["b"]
    assert "oversold" in found["C"]


WIDE = ("Handle", "Title", "Option1 Name", "Option1 Value", "SKU", "508 Larkin St", "Printful")
LONG = ("Handle", "Title", "Option1 Name", "Option1 Value", "SKU", "Location", "Incoming",
        "Unavailable", "Committed", "Available", "On hand")  # fmt: skip
SAFE = (*LONG[:-1], "On hand (current)", "On hand (new)")


@pytest.mark.parametrize(
    ("names", "rows"),
    [
        (WIDE, [{"Handle": "tee", "SKU": "TEE-S", "508 Larkin St": "5", "Printful": "not stocked"},
                {"Handle": "tee", "Option1 Value": "M/L", "508 Larkin St": "3"}]),
        (LONG, [{"SKU": "TEE-S", "Location": "508 Larkin St", "Available": "4", "On hand": "6",
                 "Unavailable": "1", "Committed": "1", "Incoming": "9"},
                {"Handle": "tee", "Option1 Value": "M/L", "Location": "508 Larkin St",
                 "On hand": "3", "Unavailable": "0"}]),
        (SAFE, [{"SKU": "TEE-S", "Location": "508 Larkin St", "On hand (current)": "2",
                 "On hand (new)": "5"},
                {"SKU": "tee-M-L", "Location": "508 Larkin St", "On hand (current)": "3"}]),
    ],
    ids=["wide", "long", "safe"],
)  # fmt: skip
async def test_inventory_in_three_dialects(
    tmp_path: Path, names: tuple[str, ...], rows: list[dict[str, str]]
) -> None:
    async with a_shop(tmp_path) as shop:
        products = tee(LEGACY)
        for row in products:
            row.pop("Variant Inventory Qty", None)
        await take_in(shop, "shopify-products", sheet(tmp_path / "p.csv", LEGACY, products))
        file = sheet(tmp_path / "inventory.csv", names, rows)
        report = await take_in(shop, "shopify-inventory", file)
        assert report.refused == []
        now = shop.guard.clock()
        levels = await look(shop, lambda s: stock.levels(s, now, ["TEE-S", "tee-M-L"]))
        again = await take_in(shop, "shopify-inventory", file)
    assert levels["TEE-S", "508-Larkin-St"].available == 5
    assert levels["tee-M-L", "508-Larkin-St"].available == 3
    assert levels["TEE-S", "508-Larkin-St"].quarantine == (1 if names is LONG else 0)
    assert len(again.refused) == 2
    assert all("already" in refusal.reason for refusal in again.refused)


async def test_inventory_of_what_is_not_sold_is_refused(tmp_path: Path) -> None:
    row = {"SKU": "GONE", "Location": "Here", "On hand": "1"}
    async with a_shop(tmp_path) as shop:
        report = await take_in(
            shop, "shopify-inventory", sheet(tmp_path / "inventory.csv", LONG, [row])
        )
    assert "no variant" in report.refused[0].reason


# -- orders ----------------------------------------------------------------------------------------


def headers() -> list[str]:
    return [
        "Name", "Email", "Financial Status", "Paid at", "Fulfillment Status", "Fulfilled at",
        "Currency", "Subtotal", "Shipping", "Taxes", "Total", "Discount Code", "Discount Amount",
        "Created at", "Lineitem quantity", "Lineitem name", "Lineitem price", "Lineitem sku",
        "Lineitem fulfillment status", "Lineitem discount", "Shipping Name", "Shipping Address1",
        "Shipping City", "Shipping Zip", "Shipping Province", "Shipping Country", "Notes",
        "Cancelled at", "Payment Method", "Refunded Amount", "Outstanding Balance", "Tags",
        "Tax 1 Name", "Tax 1 Value",
    ]  # fmt: skip


def bought(name: str, *lines: dict[str, str], **changes: str) -> list[dict[str, str]]:
    """Two shirts and a mug, a discount of 5.00 on the order, tax on top, one part refunded."""
    first = {
        "Name": name, "Email": "Ana@Example.com", "Financial Status": "partially_refunded",
        "Paid at": "2025-04-08 10:03:30 -0700", "Fulfillment Status": "partial",
        "Currency": "USD", "Subtotal": "44.80", "Shipping": "4.90", "Taxes": "3.25",
        "Total": "52.95", "Discount Code": "SPRING", "Discount Amount": "5.00",
        "Created at": "2025-04-08 10:03:27 -0700", "Lineitem quantity": "2",
        "Lineitem name": "Tee - S", "Lineitem price": "19.90",
        "Lineitem fulfillment status": "fulfilled", "Lineitem discount": "0.00",
        "Shipping Name": "Ana Öz", "Shipping Address1": "1 Way", "Shipping City": "Austin",
        "Shipping Zip": "'01701", "Shipping Province": "TX", "Shipping Country": "US",
        "Notes": "Ring twice", "Payment Method": "Shopify Payments", "Refunded Amount": "10.00",
        "Tags": "vip", "Tax 1 Name": "TX State Tax 6.25%", "Tax 1 Value": "3.25",
    } | changes  # fmt: skip
    mug = {
        "Name": name, "Created at": first["Created at"], "Lineitem quantity": "1",
        "Lineitem name": "Mug", "Lineitem price": "12.00",
        "Lineitem fulfillment status": "pending", "Lineitem discount": "2.00",
    }  # fmt: skip
    return [first, *(lines or (mug,))]


async def orders_of(tmp_path: Path, shop: Shop, rows: list[dict[str, str]]) -> Any:
    file = sheet(tmp_path / "orders.csv", headers(), rows)
    return await take_in(shop, "shopify-orders", file)


async def test_an_order_with_everything(tmp_path: Path) -> None:
    async with a_shop(tmp_path) as shop:
        products = tee(LEGACY)
        await take_in(shop, "shopify-products", sheet(tmp_path / "p.csv", LEGACY, products))
        rows = bought("#1001", Currency="EUR")
        report = await orders_of(tmp_path, shop, rows)
        assert report.refused == []
        assert any("tags" in note for note in report.notes)
        order = await look(shop, lambda s: s.get(Order, "#1001"))
        query = select(OrderLine).order_by(OrderLine.position)
        lines = await look(shop, lambda s: list(s.scalars(query)))
        customer = await look(shop, lambda s: s.get(Customer, order.customer_id))
        kinds = await look(
            shop,
            lambda s: {
                a.kind: (a.amount_minor, a.label) for a in s.scalars(select(OrderAdjustment))
            },
        )
        note = await look(shop, lambda s: s.scalar(select(OrderNote.text)))
    assert (order.subtotal_minor, order.discount_minor, order.tax_minor) == (5_180, 700, 325)
    assert order.total_minor == 5_295
    assert (order.status, order.fulfilment_status) == ("in_fulfilment", "partially_delivered")
    assert order.payment_status == "partially_refunded"
    assert order.placed_at.isoformat() == "2025-04-08T17:03:27+00:00"
    assert [(line.sku, line.quantity, line.discount_minor, line.status) for line in lines] == [
        ("TEE-S", 2, 400, "delivered"), ("line-Mug", 1, 300, "open"),
    ]  # fmt: skip
    assert (customer.email_key, customer.postal_code) == ("ana@example.com", "01701")
    assert kinds["tax"] == (325, "TX State Tax 6.25%")
    assert kinds["discount"][0] == -700
    assert note == "Ring twice"


@pytest.mark.parametrize(
    ("word", "changes"),
    [
        ("subtotal", {"Subtotal": "44.81"}),
        ("financial status", {"Financial Status": "odd"}),
        ("refunded more", {"Refunded Amount": "52.96"}),
        ("impossible", {"Lineitem quantity": "0"}),
        ("whole number", {"Lineitem quantity": "1.5"}),
        ("no date", {"Created at": "yesterday"}),
        ("printable ASCII", {"Name": "no id"}),
        ("no customer", {"Email": "", "Shipping Name": ""}),
    ],
)
async def test_an_order_that_does_not_fit(
    tmp_path: Path, word: str, changes: dict[str, str]
) -> None:
    bad = bought("#2", **changes)
    bad[1]["Name"] = bad[0]["Name"]
    async with a_shop(tmp_path) as shop:
        report = await orders_of(tmp_path, shop, [*bought("#1"), *bad])
        ids = await look(shop, lambda s: list(s.scalars(select(Order.id))))
    assert ids == ["#1"]
    assert len(report.refused) == 1
    assert word in report.refused[0].reason


async def test_tax_inside_the_prices_and_totals_that_do_not_add_up(tmp_path: Path) -> None:
    inside = bought("#1", Total="49.70")
    odd = bought("#2", Total="53.00")
    async with a_shop(tmp_path) as shop:
        report = await orders_of(tmp_path, shop, [*inside, *odd])
        assert report.refused == []
        orders = await look(shop, lambda s: list(s.scalars(select(Order).order_by(Order.id))))
    assert [(o.tax_minor, o.other_minor, o.total_minor) for o in orders] == [
        (0, 0, 4_970), (325, 5, 5_300),
    ]  # fmt: skip


async def test_a_row_with_too_many_cells_is_refused(tmp_path: Path) -> None:
    file = sheet(tmp_path / "orders.csv", headers(), bought("#1"))
    text = file.read_text(encoding="utf-8").rstrip("\r\n")
    file.write_text(f"{text},one,too,many\r\n", encoding="utf-8")
    async with a_shop(tmp_path) as shop:
        report = await take_in(shop, "shopify-orders", file)
    assert "more cells" in report.refused[0].reason


async def test_a_thousand_real_orders(tmp_path: Path) -> None:
    file = data("shopify/orders_export_tau2.csv")
    with file.open(encoding="utf-8", newline="") as opened:
        rows = list(csv.DictReader(opened))
    async with a_shop(tmp_path) as shop:
        report = await take_in(shop, "shopify-orders", file)
        assert report.refused == []
        total = await look(shop, lambda s: s.scalar(select(func.sum(Order.total_minor))))
        units = await look(shop, lambda s: s.scalar(select(func.sum(OrderLine.quantity))))
        back = await look(shop, lambda s: s.scalar(select(func.sum(Refund.amount_minor))))
        paid = await look(shop, lambda s: s.scalar(select(func.count()).select_from(Payment)))
        states = await look(
            shop, lambda s: Counter(s.scalars(select(Order.fulfilment_status))),
        )  # fmt: skip
    firsts = [row for row in rows if row["Total"]]
    assert report.written["order"] == len(firsts) == paid == 1_000
    assert report.written["order line"] == len(rows)
    assert total == sum(round(float(row["Total"]) * 100) for row in firsts)
    assert back == sum(round(float(row["Refunded Amount"]) * 100) for row in firsts)
    assert units == sum(int(row["Lineitem quantity"]) for row in rows)
    assert states["delivered"] == sum(
        row["Fulfillment Status"] == "fulfilled" and not row["Cancelled at"] for row in firsts
    )


def test_the_layouts_of_real_exports_are_known(tmp_path: Path) -> None:
    """Verbatim header rows: each is read as what it is, and as nothing else."""
    layouts = json.loads(data("shopify/headers.json").read_text(encoding="utf-8"))
    forms = {"orders": "shopify-orders", "product": "shopify-products",
             "inventory": "shopify-inventory"}  # fmt: skip
    seen = Counter[str]()
    for number, (name, columns) in enumerate(layouts.items()):
        form = next((f for word, f in forms.items() if name.startswith(word)), None)
        file = sheet(tmp_path / f"{number}.csv", columns, [dict.fromkeys(columns, "x")])
        if form is not None:
            FORMATS[form].read(file)
            seen[form] += 1
        for other in sorted(set(forms.values()) - {form}) if form else ():
            with pytest.raises(ValueError, match="has no columns"):
                FORMATS[other].read(file)
    assert seen == {"shopify-orders": 1, "shopify-products": 3, "shopify-inventory": 3}
