"""Northwind: a folder of CSV files of a food trader of the 1990s.

What it does not say: purchase prices and lead times (the list price and seven days stand in),
payments (orders stay unpaid) and deliveries (what left is taken as delivered the day it left).
"""

from collections import defaultdict
from contextlib import suppress
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any, Final

from clients.importers.loader import Format, Load, identifier, minor, text
from clients.importers.report import Refused
from clients.importers.sheets import Row, count, moment, note_unread, rows, whole
from common.tables.inventory import (
    Product,
    PurchaseLine,
    PurchaseOrder,
    ReorderPolicy,
    Supplier,
    SupplierItem,
    Variant,
)
from common.tables.logistics import Carrier, Shipment, ShipmentLine
from common.tables.orders import Customer, Order, OrderAdjustment, OrderEvent, OrderLine

USD: Final = "USD"
LEAD_MILLIDAYS: Final = 7_000
FILES: Final = (
    "categories", "suppliers", "shippers", "products", "customers", "orders", "order_details",
)  # fmt: skip
_PLACE: Final = {"address", "city", "region", "postalcode", "country"}
_READ: Final[dict[str, set[str]]] = {
    "categories": {"categoryid", "categoryname"},
    "suppliers": {"supplierid", "companyname", "contactname", "phone"} | _PLACE,
    "shippers": {"shipperid", "companyname", "phone"},
    "products": {
        "productid", "productname", "supplierid", "categoryid", "quantityperunit", "unitprice",
        "unitsinstock", "unitsonorder", "reorderlevel", "discontinued",
    },
    "customers": {"customerid", "companyname", "contactname", "phone"} | _PLACE,
    "orders": {
        "orderid", "customerid", "orderdate", "requireddate", "shippeddate", "shipvia", "freight",
    } | {f"ship{name}" for name in _PLACE | {"name"}},
    "order_details": {"orderid", "productid", "unitprice", "quantity", "discount"},
}  # fmt: skip
Content = dict[str, list[Row]]


def read(path: Path) -> Content:
    """The folder's files. Raises ValueError when one is missing."""
    missing = [name for name in FILES if not (path / f"{name}.csv").is_file()]
    if missing:
        raise ValueError(f"{path} has no {missing[0]}.csv")
    return {name: rows(path / f"{name}.csv", null="NULL") for name in FILES}


def size(content: Content) -> int:
    return sum(len(found) for found in content.values())


def write(load: Load, content: Content) -> None:
    """Everything, parents first."""
    for name in FILES:
        note_unread(load, f"{name}.csv", content[name], _READ[name])
    categories: dict[str, str] = {}
    for row in content["categories"]:
        with suppress(Refused):  # said below
            categories[row["categoryid"]] = _category(row)
    _partners(load, content)
    used = _products(load, content["products"], categories)

    def category(id: str, row: Row) -> None:
        _category(row)
        if id not in used:
            raise Refused("no product that was taken in is of this category")

    load.each("category", [(row["categoryid"], row) for row in content["categories"]], category)
    _orders(load, content)


def _category(row: Row) -> str:
    return text(whole(row)["categoryname"], "categoryName")


def _partners(load: Load, content: Content) -> None:
    suppliers: list[dict[str, Any]] = []
    carriers: list[dict[str, Any]] = []
    customers: list[dict[str, Any]] = []

    def supplier(id: str, row: Row) -> None:
        suppliers.append(
            {
                "id": load.new(Supplier, id), "name": text(whole(row)["companyname"], "name"),
                "contact": text(row["contactname"], "contactName"), "currency": USD,
                "phone": text(row["phone"], "phone", 40) or None, "address": _address(row),
            }
        )  # fmt: skip

    def carrier(id: str, row: Row) -> None:
        carriers.append(
            {
                "id": load.new(Carrier, id), "name": text(whole(row)["companyname"], "name"),
                "phone": text(row["phone"], "phone", 40) or None,
            }
        )  # fmt: skip

    def customer(id: str, row: Row) -> None:
        contact = text(whole(row)["contactname"], "contactName")
        first, _, last = contact.partition(" ")
        address = _address(row)
        customers.append(
            {
                "id": load.new(Customer, id), "company": text(row["companyname"], "companyName"),
                "first_name": first, "last_name": last, "name_key": contact.casefold(),
                "phone": text(row["phone"], "phone", 40) or None, "address": address,
                "postal_code": address["postal_code"], "created_at": load.now,
            }
        )  # fmt: skip

    load.each("supplier", [(r["supplierid"], r) for r in content["suppliers"]], supplier)
    load.each("shipper", [(r["shipperid"], r) for r in content["shippers"]], carrier)
    load.each("customer", [(r["customerid"], r) for r in content["customers"]], customer)
    for kind, made in ((Supplier, suppliers), (Carrier, carriers), (Customer, customers)):
        load.insert(kind, made)


def _products(load: Load, found: list[Row], categories: dict[str, str]) -> set[str]:
    """The categories of those that were taken in."""
    used: set[str] = set()
    warehouse = load.warehouse()
    made: dict[Any, list[dict[str, Any]]] = defaultdict(list)
    stock: list[tuple[str, str, int]] = []
    ordered: dict[str, list[tuple[str, int, int]]] = defaultdict(list)

    def take(id: str, row: Row) -> None:
        name, price = text(whole(row)["productname"], "name"), _positive(row["unitprice"], "price")
        if row["categoryid"] not in categories or row["supplierid"] not in load.ids(Supplier):
            raise Refused("its category or its supplier is not there")
        numbers = {
            field: count(row[field], field)
            for field in ("unitsinstock", "unitsonorder", "reorderlevel")
        }
        if min(numbers.values()) < 0:
            raise Refused("a number of units is below 0")
        load.new(Variant, identifier(id))
        ended = row["discontinued"] not in ("", "0")
        made[Product].append(
            {
                "id": load.new(Product, id), "name": name,
                "category": categories[row["categoryid"]],
                "description": text(row["quantityperunit"], "quantityPerUnit"),
            }
        )  # fmt: skip
        made[Variant].append(
            {
                "id": id, "product_id": id, "name": name, "price_minor": price, "currency": USD,
                "sellable": not ended,
            }
        )  # fmt: skip
        made[SupplierItem].append(
            {
                "id": f"{row['supplierid']}:{id}", "supplier_id": row["supplierid"], "sku": id,
                "unit_cost_minor": price, "currency": USD, "lead_time_millidays": LEAD_MILLIDAYS,
                "preferred": True,
            }
        )  # fmt: skip
        made[ReorderPolicy].append(
            {
                "id": f"{id}:{warehouse}", "sku": id, "warehouse_id": warehouse,
                "supplier_id": row["supplierid"], "reorder_point": numbers["reorderlevel"],
                "ending": ended,
            }
        )  # fmt: skip
        used.add(row["categoryid"])
        stock.append((id, warehouse, numbers["unitsinstock"]))
        if numbers["unitsonorder"]:
            ordered[row["supplierid"]].append((id, numbers["unitsonorder"], price))

    load.each("product", [(row["productid"], row) for row in found], take)
    for kind in (Product, Variant, SupplierItem, ReorderPolicy):
        load.insert(kind, made[kind])
    load.open_stock(stock)
    _on_order(load, ordered, warehouse)
    load.report.note(
        "Purchase prices and lead times are not in the files: the list price and seven days stand"
        " in for them."
    )
    return used


def _on_order(
    load: Load, ordered: dict[str, list[tuple[str, int, int]]], warehouse: str
) -> None:  # fmt: skip
    """One purchase order for each supplier something is on order with."""
    orders, lines = [], []
    for supplier, items in ordered.items():
        id = load.new(PurchaseOrder, f"on-order-{supplier}")
        orders.append(
            {
                "id": id, "supplier_id": supplier, "warehouse_id": warehouse, "state": "sent",
                "currency": USD, "total_minor": sum(units * cost for _, units, cost in items),
                "reason": "On order when the shop was imported", "created_at": load.now,
                "sent_at": load.now,
            }
        )  # fmt: skip
        lines += [
            {
                "id": f"{id}.{position + 1}", "purchase_order_id": id, "position": position,
                "sku": sku, "ordered": units, "unit_cost_minor": cost,
            }
            for position, (sku, units, cost) in enumerate(items)
        ]  # fmt: skip
    load.insert(PurchaseOrder, orders)
    load.insert(PurchaseLine, lines)
    load.report.took("purchase order", len(orders))


# -- orders ----------------------------------------------------------------------------------------


def _orders(load: Load, content: Content) -> None:
    warehouse = load.warehouse()
    details: dict[str, list[Row]] = defaultdict(list)
    for row in content["order_details"]:
        details[row["orderid"]].append(row)
    names = {row["productid"]: row["productname"] for row in content["products"]}
    made: dict[Any, list[dict[str, Any]]] = defaultdict(list)

    def take(id: str, row: Row) -> None:
        part = _order(load, id, whole(row), details.get(id, []), names, warehouse)
        load.new(Order, id)
        for kind, added in part.items():
            made[kind] += added

    load.each("order", [(row["orderid"], row) for row in content["orders"]], take)

    taken = {order["id"] for order in made[Order]}

    def detail(_: str, row: Row) -> None:
        if row["orderid"] not in taken:
            raise Refused(f"its order {row['orderid']} was not taken in")

    every = [(f"{r['orderid']}/{r['productid']}", r) for r in content["order_details"]]
    load.each("order line", every, detail)
    for kind in (Order, OrderLine, OrderAdjustment, OrderEvent, Shipment, ShipmentLine):
        load.insert(kind, made[kind])
    load.report.took("shipment", len(made[Shipment]))
    load.report.note("Payments are not in the files: the orders are unpaid.")
    load.report.note("Deliveries are not in the files: what left counts as delivered that day.")


def _order(
    load: Load, id: str, row: Row, details: list[Row], names: dict[str, str], warehouse: str
) -> dict[Any, list[dict[str, Any]]]:
    identifier(id)
    if row["customerid"] not in load.ids(Customer):
        raise Refused(f"its customer {row['customerid']!r} is not there")
    placed, promised, left = (moment(row[f]) for f in ("orderdate", "requireddate", "shippeddate"))
    if placed is None:
        raise Refused("it has no order date")
    lines = [
        _line(load, id, position, each, names, warehouse, placed, left)
        for position, each in enumerate(details)
    ]
    if not lines:
        raise Refused("it has no lines")
    freight = _positive(row["freight"], "freight")
    subtotal = sum(line["unit_price_minor"] * line["quantity"] for line in lines)
    discount = sum(line["discount_minor"] for line in lines)
    address = _address(row, "ship") | {"name": text(row["shipname"], "shipName")}
    order = {
        "id": id, "customer_id": row["customerid"],
        "status": "completed" if left else "confirmed",
        "fulfilment_status": "delivered" if left else "not_fulfilled", "currency": USD,
        "subtotal_minor": subtotal, "discount_minor": discount, "shipping_minor": freight,
        "total_minor": subtotal - discount + freight, "ship_to": address,
        "warehouse_id": warehouse, "channel": "import", "source": "northwind",
        "created_at": placed, "placed_at": placed, "ship_by": promised, "promised_at": promised,
        "released_at": left, "shipped_at": left, "delivered_at": left,
    }  # fmt: skip
    adjustments = [
        {"id": f"{id}.{kind}", "order_id": id, "kind": kind, "label": kind.capitalize(),
         "amount_minor": amount}
        for kind, amount in (("discount", -discount), ("shipping", freight)) if amount
    ]  # fmt: skip
    events = [{"id": f"{id}.imported", "order_id": id, "kind": "imported", "at": load.now}]
    made = {Order: [order], OrderLine: lines, OrderAdjustment: adjustments, OrderEvent: events}
    return made | (_shipment(load, order, lines, row["shipvia"], left) if left else {})


def _line(
    load: Load, order_id: str, position: int, row: Row, names: dict[str, str], warehouse: str,
    placed: datetime, left: datetime | None,
) -> dict[str, Any]:  # fmt: skip
    sku = whole(row)["productid"]
    if sku not in load.ids(Variant):
        raise Refused(f"its product {sku!r} is not there")
    price, quantity = _positive(row["unitprice"], "price"), count(row["quantity"], "quantity")
    share = Decimal(row["discount"] or 0)
    if quantity <= 0 or not 0 <= share <= 1:
        raise Refused(f"its line for {sku} needs a quantity from 1 and a discount from 0 to 1")
    off = int((price * quantity * share).quantize(Decimal(1), ROUND_HALF_UP))
    return {
        "id": f"{order_id}.{position + 1}", "order_id": order_id, "position": position,
        "sku": sku, "product_id": sku, "name": names[sku], "quantity": quantity,
        "unit_price_minor": price, "discount_minor": off,
        "status": "delivered" if left else "open", "warehouse_id": warehouse,
        "placed_at": placed, "delivered_at": left,
    }  # fmt: skip


def _shipment(
    load: Load, order: dict[str, Any], lines: list[dict[str, Any]], carrier: str, left: datetime
) -> dict[Any, list[dict[str, Any]]]:
    if carrier and carrier not in load.ids(Carrier):
        raise Refused(f"its shipper {carrier!r} is not there")
    id = f"{order['id']}.s1"
    shipment = {
        "id": id, "order_id": order["id"], "warehouse_id": order["warehouse_id"],
        "status": "delivered", "status_at": left, "ship_to": order["ship_to"],
        "carrier_id": carrier or None, "currency": USD, "promised_at": order["promised_at"],
        "created_at": left, "shipped_at": left, "delivered_at": left,
    }  # fmt: skip
    inside = [
        {
            "id": f"{id}.l{n:03}", "shipment_id": id, "order_line_id": line["id"],
            "sku": line["sku"], "quantity": line["quantity"],
        }
        for n, line in enumerate(lines, 1)
    ]  # fmt: skip
    return {Shipment: [shipment], ShipmentLine: inside}


def _address(row: Row, prefix: str = "") -> dict[str, str]:
    return {
        "line1": text(row[f"{prefix}address"], "address"), "line2": "",
        "city": text(row[f"{prefix}city"], "city"),
        "region": text(row[f"{prefix}region"], "region"),
        "postal_code": text(row[f"{prefix}postalcode"], "postalCode", 20),
        "country": text(row[f"{prefix}country"], "country", 60),
    }  # fmt: skip


def _positive(amount: str, field: str) -> int:
    found = minor(amount or "0", USD, field)
    if found < 0:
        raise Refused(f"{field} is below 0")
    return found


FORMAT: Final = Format("northwind", "Northwind (a folder of CSV files)", read, size, write)
