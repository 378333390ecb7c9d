"""Shopify's orders CSV: one row a line, an order's own cells on its first row.

A line is matched by SKU, else by name; what no product file named becomes a variant that is not
for sale. What was fulfilled counts as delivered that moment: the file has no deliveries.
"""

from collections import defaultdict
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from sqlalchemy import select

from clients.importers import shopify_payments as payments
from clients.importers.loader import Format, Load, Opened, identifier, minor, text
from clients.importers.report import Refused
from clients.importers.sheets import (
    Row,
    bare,
    count,
    id_of,
    moment,
    note_unread,
    rows,
    spelling,
    whole,
)
from common.money import allocate
from common.tables.base import Record
from common.tables.inventory import Product, Variant
from common.tables.logistics import Shipment, ShipmentLine
from common.tables.orders import (
    Customer,
    Order,
    OrderAdjustment,
    OrderEvent,
    OrderLine,
    OrderNote,
)
from common.tables.payments import Payment, PaymentMethod, Refund

_ADDRESS: Final = {
    "line1": "address1", "line2": "address2", "city": "city", "region": "province",
    "postal_code": "zip", "country": "country",
}  # fmt: skip
_READ: Final = {
    "name", "email", "fulfillment status", "fulfilled at", "currency", "subtotal", "shipping",
    "taxes", "total", "discount code", "discount amount", "shipping method", "created at",
    "cancelled at", "notes", "phone", "shipping phone", "billing phone", "lineitem quantity",
    "lineitem name", "lineitem price", "lineitem sku", "lineitem discount",
    "lineitem fulfillment status", *payments.COLUMNS,
    *(f"tax {n} {what}" for n in range(1, 6) for what in ("name", "value")),
    *(f"{kind} {name}" for kind in ("shipping", "billing")
      for name in (*_ADDRESS.values(), "name", "company", "street")),
}  # fmt: skip
Made = dict[type[Record], list[dict[str, Any]]]
_PARENTS_FIRST: Final[tuple[type[Record], ...]] = (
    Product, Variant, Customer, PaymentMethod, Order, OrderLine, OrderAdjustment, OrderEvent,
    OrderNote, Shipment, ShipmentLine, Payment, Refund,
)  # fmt: skip


def read(path: Path) -> list[Row]:
    """The file's rows. Raises ValueError when it is no orders file."""
    found = rows(path)
    needed = {"name", "currency", "total", "lineitem name", "lineitem quantity", "lineitem price"}
    missing = ", ".join(sorted(needed - set(spelling(path))))
    if missing:
        raise ValueError(f"{path.name} has no columns {missing}")
    return found


def write(load: Load, found: list[Row]) -> None:
    """Orders with their customers, lines, totals and money."""
    note_unread(load, "the orders file", found, _READ)
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in found:
        groups[row["name"]].append(row)
    known = _Known(load)
    made: Made = defaultdict(list)
    money: dict[str, list[Opened]] = defaultdict(list)

    def take(name: str, group: list[Row]) -> None:
        order = _Order(load, known, name, group)
        order.build()
        load.new(Order, name)
        for kind, part in order.made.items():
            made[kind] += part
        known.keep(order.new)
        money[order.currency] += order.money
        load.tick(len(group) - 1)

    load.each("order", groups.items(), take)
    for kind, part in known.made.items():
        made[kind] = part
    transfers: dict[str, str] = {}
    for currency, entries in money.items():
        ids = load.open_money(entries, currency)
        transfers |= dict(zip((each.reference for each in entries), ids, strict=True))
    for row in (*made[Payment], *made[Refund]):
        row["transfer_id"] = transfers[row["id"]]
    for kind in _PARENTS_FIRST:
        load.insert(kind, made[kind])
    for kind, word in ((Customer, "customer"), (OrderLine, "order line"), (Payment, "payment"),
                       (Refund, "refund"), (Shipment, "shipment")):  # fmt: skip
        load.report.took(word, len(made[kind]))
    if made[Variant]:
        load.report.took("variant not in the catalogue", len(made[Variant]))
        load.report.note("Lines that no variant fits made variants that are not for sale.")
    load.report.note("What was fulfilled counts as delivered at that moment.")


class _Known:
    """Variants by SKU and by name, customers by e-mail; and those this file makes."""

    def __init__(self, load: Load) -> None:
        session = load.session
        self.made: Made = defaultdict(list)
        self.skus: dict[str, str] = {}
        self.names: dict[str, str] = {}
        for row in session.execute(select(Variant.id, Variant.product_id, Variant.name)):
            self.skus[row.id] = row.product_id
            self.names.setdefault(row.name.casefold(), row.id)
        found = session.execute(select(Customer.email_key, Customer.id).order_by(Customer.id))
        self.emails: dict[str, str] = {row.email_key: row.id for row in found if row.email_key}
        self.ids: dict[type[Record], set[str]] = {
            kind: set(load.ids(kind)) for kind in (Product, Variant, Customer, PaymentMethod)
        }
        self.warehouse = load.warehouse()

    def keep(self, new: Made) -> None:
        """What an order that was taken needed and was not there."""
        for kind, part in new.items():
            for row in part:
                if row["id"] in self.ids[kind]:
                    continue
                self.ids[kind].add(row["id"])
                self.made[kind].append(row)
                if kind is Variant:
                    self.skus[row["id"]] = row["product_id"]
                    self.names.setdefault(row["name"].casefold(), row["id"])
                if kind is Customer and row["email_key"]:
                    self.emails[row["email_key"]] = row["id"]


class _Order:
    """One order on its way in. Raises Refused for what does not fit."""

    def __init__(self, load: Load, known: _Known, name: str, group: list[Row]) -> None:
        self.load, self.known, self.id, self.group = load, known, identifier(name), group
        self.first = whole(group[0])
        self.currency = self.first["currency"].upper()
        self.made: Made = defaultdict(list)
        self.new: Made = defaultdict(list)
        self.money: list[Opened] = []
        self.placed = moment(self.first.get("created at", "")) or load.now
        self.cancelled = moment(self.first.get("cancelled at", ""))
        self.fulfilled = moment(self.first.get("fulfilled at", ""))

    def build(self) -> None:
        customer = self._customer()
        lines = self._lines()
        order = self._order(customer, lines)
        self.made[Order].append(order)
        self.made[OrderLine] += lines
        self.made[OrderEvent].append(
            {"id": f"{self.id}.imported", "order_id": self.id, "kind": "imported",
             "at": self.load.now}
        )  # fmt: skip
        if self.first.get("notes"):
            note = {
                "id": f"{self.id}.note", "order_id": self.id, "author": self.load.call.actor.id,
                "text": text(self.first["notes"], "notes", 2_000), "at": self.placed,
            }  # fmt: skip
            self.made[OrderNote].append(note)
        self._shipment(order, lines)
        paid = payments.Paid(self.id, customer, self.currency, self.placed, self.load.now)
        made, methods, money = paid.rows(self.first, order)
        for kind, part in made.items():
            self.made[kind] += part
        self.new[PaymentMethod] += methods
        self.money = money

    def _amount(self, row: Row, field: str) -> int:
        return minor(row.get(field) or "0", self.currency, field)

    def _customer(self) -> str:
        row = self.first
        email = row.get("email", "")
        name = row.get("shipping name") or row.get("billing name") or email.partition("@")[0]
        address = _address(row)
        if email.casefold() in self.known.emails:
            return self.known.emails[email.casefold()]
        id = id_of(email.casefold() or f"{name} {address['postal_code']}".casefold())
        if not (email or name):
            raise Refused("it names no customer")
        first, _, last = text(name, "name").partition(" ")
        phones = (row.get(f"{kind}phone", "") for kind in ("", "shipping ", "billing "))
        phone = next(filter(None, phones), "")
        self.new[Customer].append(
            {
                "id": id, "email": text(email, "email", 254) or None,
                "email_key": email.casefold() or None, "first_name": first, "last_name": last,
                "name_key": f"{first} {last}".strip().casefold(),
                "company": row.get("shipping company", "")[:200] or None,
                "phone": bare(phone)[:40] or None, "address": address,
                "postal_code": address["postal_code"], "created_at": self.placed,
            }
        )  # fmt: skip
        return id

    def _lines(self) -> list[dict[str, Any]]:
        lines = []
        for position, row in enumerate(self.group):
            quantity = count(whole(row)["lineitem quantity"], "lineitem quantity")
            price = self._amount(row, "lineitem price")
            discount = self._amount(row, "lineitem discount")
            name = text(row["lineitem name"], "lineitem name")
            if quantity <= 0 or price < 0 or not 0 <= discount <= price * quantity:
                raise Refused(f"its line {position + 1} has an impossible quantity or price")
            sku, product = self._variant(row, name, price)
            shipped = row.get("lineitem fulfillment status", "").casefold() == "fulfilled"
            lines.append(
                {
                    "id": f"{self.id}.{position + 1}", "order_id": self.id, "position": position,
                    "sku": sku, "product_id": product, "name": name, "quantity": quantity,
                    "unit_price_minor": price, "discount_minor": discount,
                    "status": "cancelled" if self.cancelled else "delivered" if shipped else "open",
                    "warehouse_id": self.known.warehouse, "placed_at": self.placed,
                    "delivered_at": self._left() if shipped and not self.cancelled else None,
                }
            )  # fmt: skip
        return lines

    def _variant(self, row: Row, name: str, price: int) -> tuple[str, str]:
        given = bare(row.get("lineitem sku", ""))
        sku = id_of(given) if given else self.known.names.get(name.casefold(), "")
        if given in self.known.skus:
            sku = given
        if sku in self.known.skus:
            return sku, self.known.skus[sku]
        sku = sku or id_of("line", name)
        product = id_of("line", sku)
        self.new[Product].append({"id": product, "name": name, "active": False})
        self.new[Variant].append(
            {
                "id": sku, "product_id": product, "name": name, "price_minor": price,
                "currency": self.currency, "sellable": False,
            }
        )  # fmt: skip
        return sku, product

    def _order(self, customer: str, lines: list[dict[str, Any]]) -> dict[str, Any]:
        row = self.first
        gross = sum(line["unit_price_minor"] * line["quantity"] for line in lines)
        names = ("subtotal", "shipping", "taxes", "total")
        subtotal, shipping, tax, total = (self._amount(row, name) for name in names)
        self._share_discount(lines, subtotal)
        discount = sum(line["discount_minor"] for line in lines)
        net = gross - discount
        included = bool(tax) and net + shipping == total
        on_top = 0 if included else tax
        other = total - net - shipping - on_top
        if other:
            self.load.report.note("Where totals do not add up, the rest is an adjustment.")
        self._adjust(discount, shipping, tax, included, other)
        fulfilment = self._fulfilment(lines)
        status = (
            "cancelled" if self.cancelled else "completed" if fulfilment == "delivered"
            else "in_fulfilment" if fulfilment != "not_fulfilled" else "confirmed"
        )  # fmt: skip
        left = self._left() if fulfilment != "not_fulfilled" else None
        return {
            "id": self.id, "customer_id": customer, "status": status,
            "fulfilment_status": fulfilment, "currency": self.currency, "subtotal_minor": gross,
            "discount_minor": discount, "shipping_minor": shipping, "tax_minor": on_top,
            "other_minor": other, "total_minor": total,
            "ship_to": _address(row), "warehouse_id": self.known.warehouse,
            "channel": "import", "source": "shopify",
            "shipping_service": row.get("shipping method", "")[:200] or None,
            "created_at": self.placed, "placed_at": self.placed, "released_at": left,
            "shipped_at": left, "delivered_at": left if fulfilment == "delivered" else None,
            "cancelled_at": self.cancelled,
        }  # fmt: skip

    def _share_discount(self, lines: list[dict[str, Any]], subtotal: int) -> None:
        """The subtotal is that of the lines less their own discounts or, in some stores, less the
        order's as well: what is missing is shared among the lines."""
        nets = [n["unit_price_minor"] * n["quantity"] - n["discount_minor"] for n in lines]
        code = self._amount(self.first, "discount amount")
        if sum(nets) == subtotal:
            return
        if sum(nets) - subtotal != code or code < 0:
            raise Refused("its subtotal is neither that of its lines nor that less its discount")
        for line, part in zip(lines, allocate(code, nets), strict=True):
            line["discount_minor"] += part

    def _adjust(self, discount: int, shipping: int, tax: int, included: bool, other: int) -> None:
        row = self.first
        found: list[dict[str, Any]] = []
        if discount:
            code = row.get("discount code", "")[:200]
            found.append({"kind": "discount", "amount_minor": -discount, "code": code})
        if shipping:
            found.append({"kind": "shipping", "amount_minor": shipping})
        taxes = [(row.get(f"tax {n} name", ""), self._amount(row, f"tax {n} value"))
                 for n in range(1, 6)]  # fmt: skip
        named = [(name, amount) for name, amount in taxes if amount > 0]
        if sum(amount for _, amount in named) != tax:
            named = [("Tax", tax)] if tax > 0 else []
        found += [
            {"kind": "tax", "amount_minor": amount, "label": name[:200], "included": included}
            for name, amount in named
        ]
        if other:
            found.append({"kind": "other", "amount_minor": other, "label": "As imported"})
        blank = {"code": "", "label": "", "included": False}
        self.made[OrderAdjustment] += [
            blank | each | {"id": f"{self.id}.a{number}", "order_id": self.id}
            for number, each in enumerate(found, 1)
        ]

    def _fulfilment(self, lines: list[dict[str, Any]]) -> str:
        if self.cancelled:
            return "not_fulfilled"
        done = [line["status"] == "delivered" for line in lines]
        return "delivered" if all(done) else "partially_delivered" if any(done) else "not_fulfilled"

    def _left(self) -> datetime:
        return self.fulfilled or self.placed

    def _shipment(self, order: dict[str, Any], lines: list[dict[str, Any]]) -> None:
        sent = [line for line in lines if line["status"] == "delivered"]
        if not sent:
            return
        id, left = f"{self.id}.s1", self._left()
        self.made[Shipment].append(
            {
                "id": id, "order_id": self.id, "warehouse_id": self.known.warehouse,
                "status": "delivered", "status_at": left, "ship_to": order["ship_to"],
                "currency": self.currency, "created_at": left, "shipped_at": left,
                "delivered_at": left,
            }
        )  # fmt: skip
        self.made[ShipmentLine] += [
            {
                "id": f"{id}.l{number:03}", "shipment_id": id, "order_line_id": line["id"],
                "sku": line["sku"], "quantity": line["quantity"],
            }
            for number, line in enumerate(sent, 1)
        ]  # fmt: skip


def _address(row: Row) -> dict[str, str]:
    kind = "shipping" if row.get("shipping address1") else "billing"
    found = {
        ours: text(bare(row.get(f"{kind} {theirs}", "")), theirs)
        for ours, theirs in _ADDRESS.items()
    }
    return found | {"postal_code": text(found["postal_code"], "zip", 20)}


FORMAT: Final = Format("shopify-orders", "Shopify's orders CSV", read, len, write)
