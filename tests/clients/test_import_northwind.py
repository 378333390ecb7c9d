"""Northwind: nothing is dropped silently, and the figures are those of the files."""

import csv
import shutil
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from sqlalchemy import func, select

from common.rules import stock
from common.shop import Shop
from common.tables.inventory import PurchaseLine, ReorderPolicy, Variant
from common.tables.logistics import Shipment
from common.tables.orders import Customer, Order, OrderLine
from servers.orders import tools as orders
from tests.clients.data import reasons, take_in
from tests.support import data
from tests.support.shop import a_shop, connected, done, look


def table(folder: Path, name: str) -> list[dict[str, str]]:
    with (folder / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


async def figure(shop: Shop, query: object) -> int:
    return int(await look(shop, lambda s: s.scalar(query)) or 0)  # type: ignore[call-overload]


async def test_all_of_it(tmp_path: Path) -> None:
    folder = data("northwind")
    products, details = table(folder, "products"), table(folder, "order_details")
    async with a_shop(tmp_path) as shop:
        report = await take_in(shop, "northwind", folder)
        assert report.refused == []
        assert report.read == {
            "category": 8, "supplier": 29, "shipper": 3, "customer": 91, "product": 77,
            "order": 830, "order line": 2_155,
        }  # fmt: skip
        assert {kind: report.written[kind] for kind in report.read} == report.read
        gross = sum(Decimal(d["unitPrice"]) * 100 * int(d["quantity"]) for d in details)
        off = sum(
            (Decimal(d["unitPrice"]) * 100 * int(d["quantity"]) * Decimal(d["discount"]))
            .quantize(Decimal(1), ROUND_HALF_UP) for d in details
        )  # fmt: skip
        freight = sum(Decimal(o["freight"]) * 100 for o in table(folder, "orders"))
        assert await figure(shop, select(func.sum(Order.subtotal_minor))) == gross
        assert await figure(shop, select(func.sum(Order.discount_minor))) == off
        assert await figure(shop, select(func.sum(Order.total_minor))) == gross - off + freight
        levels = await look(
            shop, lambda s: stock.levels(s, shop.guard.clock(), [p["productID"] for p in products])
        )
        assert sum(level.available for level in levels.values()) == sum(
            int(p["unitsInStock"]) for p in products
        )
        assert await figure(shop, select(func.sum(PurchaseLine.ordered))) == sum(
            int(p["unitsOnOrder"]) for p in products
        )
        assert await figure(shop, select(func.sum(ReorderPolicy.reorder_point))) == sum(
            int(p["reorderLevel"]) for p in products
        )
        assert await figure(
            shop, select(func.count()).select_from(Variant).where(Variant.sellable.is_(False))
        ) == sum(p["discontinued"] == "1" for p in products)
        assert await figure(shop, select(func.count()).select_from(Shipment)) == 809
        names = await look(shop, lambda s: set(s.scalars(select(Customer.company))))
        assert names == {c["companyName"] for c in table(folder, "customers")}
        noted = " ".join(report.notes)
        assert "employeeid" in noted
        assert "Payments" in noted


async def every_order(client: Client, tool: str, **filters: Any) -> list[str]:
    """Page by page to the end."""
    found: list[str] = []
    more: dict[str, Any] = {}
    while True:
        page = await done(client, tool, limit=8, **filters, **more)
        assert 0 < len(page["orders"]) <= 8
        found += [order["order_id"] for order in page["orders"]]
        if not page.get("next_cursor"):
            return found
        more = {"cursor": page["next_cursor"]}


async def test_late_and_unshipped_orders_are_found(tmp_path: Path) -> None:
    folder = data("northwind")
    rows = table(folder, "orders")
    unshipped = {o["orderID"] for o in rows if o["shippedDate"] == "NULL"}
    shipped_late = {
        o["orderID"] for o in rows
        if o["orderID"] not in unshipped and o["shippedDate"] > o["requiredDate"]
    }  # fmt: skip
    async with a_shop(tmp_path) as shop:
        await take_in(shop, "northwind", folder)
        async with connected(shop, orders.tools) as client:
            late = await every_order(client, "search_orders", late=True)
            waiting = await every_order(client, "list_upcoming_orders")
            open_ones = await every_order(
                client, "search_orders", fulfilment_status="not_fulfilled"
            )
    assert shipped_late
    assert (len(shipped_late), len(unshipped)) == (37, 21)
    # What never left is overdue as well.
    assert sorted(late) == sorted(shipped_late | unshipped)
    assert sorted(waiting) == sorted(unshipped)
    assert sorted(open_ones) == sorted(unshipped)
    assert len(set(late) - set(waiting)) == len(shipped_late)


BROKEN = {
    "orders.csv": ("10248,VINET", "10248,NOBODY", "10248", "customer"),
    "order_details.csv": ("10249,14,18.60,9,0", "10249,14,18.60,9,2", "10249", "discount"),
    "products.csv": ("1,Chai,1,1,", "1,Chai,99,1,", "1", "supplier"),
}


@pytest.mark.parametrize("file", BROKEN)
async def test_a_row_that_does_not_fit_is_named(tmp_path: Path, file: str) -> None:
    before, after, id, word = BROKEN[file]
    folder = tmp_path / "northwind"
    shutil.copytree(data("northwind"), folder)
    for each in folder.iterdir():
        each.chmod(0o644)
    content = (folder / file).read_text(encoding="utf-8")
    assert content.count(before) == 1
    (folder / file).write_text(content.replace(before, after), encoding="utf-8")
    async with a_shop(tmp_path / "home") as shop:
        report = await take_in(shop, "northwind", folder)
        orders_in = await figure(shop, select(func.count()).select_from(Order))
        lines_in = await figure(shop, select(func.count()).select_from(OrderLine))
    found = reasons(report)
    assert word in found[id]
    refused_orders = [refusal for refusal in report.refused if refusal.kind == "order"]
    refused_lines = [refusal for refusal in report.refused if refusal.kind == "order line"]
    assert orders_in == 830 - len(refused_orders)
    assert lines_in == 2_155 - len(refused_lines)


async def test_a_second_time_nothing_is_written(tmp_path: Path) -> None:
    folder = data("northwind")
    async with a_shop(tmp_path) as shop:
        first = await take_in(shop, "northwind", folder)
        again = await take_in(shop, "northwind", folder)
    assert again.read == first.read
    assert set(again.written.values()) == {0}
    assert len(again.refused) == sum(again.read.values()), "every row with its reason"
    assert {kind for kind in first.written if not first.written[kind]} == set()


async def test_a_missing_file_is_said(tmp_path: Path) -> None:
    (tmp_path / "orders.csv").write_text("orderID\n1\n")
    async with a_shop(tmp_path / "home") as shop:
        with pytest.raises(ValueError, match=r"categories\.csv"):
            await take_in(shop, "northwind", tmp_path)
