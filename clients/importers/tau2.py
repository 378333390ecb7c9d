"""A tau2 retail shop: products, customers with their stored methods, orders with their money.

What the file does not say: quantities (an available variant opens with STOCK units), dates
(everything happened at the moment of the import, orders in the order of the file) and carriers.
"""

import json
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from clients import tau2_form as form
from clients.importers import tau2_orders
from clients.importers.loader import Format, Load, Opened, minor, only, same_id, text
from clients.importers.report import Refused
from clients.tau2_form import (
    CURRENCY,
    METHODS,
    PRODUCT_FIELDS,
    USER_FIELDS,
    VARIANT_FIELDS,
)
from common.rules import funds
from common.tables.inventory import Product, Variant
from common.tables.orders import Customer
from common.tables.payments import PaymentMethod
from common.tables.returns import ReturnPolicy

STOCK: Final = 100_000
NEVER_CLOSES: Final = 36_500


def read(path: Path) -> dict[str, Any]:
    """The file's content, decimals exact. Raises ValueError for another form."""
    content = json.loads(path.read_text(encoding="utf-8"), parse_float=Decimal)
    kinds = ("products", "users", "orders")
    if not isinstance(content, dict) or any(not isinstance(content.get(k), dict) for k in kinds):
        raise ValueError(f"{path.name} is not an object of products, users and orders")
    return content


def size(content: dict[str, Any]) -> int:
    return sum(len(content[kind]) for kind in ("products", "users", "orders"))


def write(load: Load, content: dict[str, Any]) -> None:
    """Everything, parents first."""
    for name in sorted(set(content) - {"products", "users", "orders"}):
        load.report.refuse("part", name, "no such part is known")
    _policy(load)
    _products(load, content["products"])
    _customers(load, content["users"])
    tau2_orders.write(load, content["orders"], content["users"])


def _policy(load: Load) -> None:
    if load.ids(ReturnPolicy):
        load.report.note("Returns go by the shop's own policies.")
        return
    load.insert(
        ReturnPolicy,
        [
            {
                "id": form.POLICY, "name": "Imported orders", "window_days": NEVER_CLOSES,
                "most_open_per_order": 1, "currency": CURRENCY,
            }
        ],
    )  # fmt: skip


def _products(load: Load, products: dict[str, Any]) -> None:
    rows: list[dict[str, Any]] = []
    variants: list[dict[str, Any]] = []

    def take(key: str, record: dict[str, Any]) -> None:
        only("product", record, PRODUCT_FIELDS)
        name = text(record["name"], "name")
        made = [_variant(load, key, name, index, *item)
                for index, item in enumerate(record["variants"].items())]  # fmt: skip
        rows.append({"id": load.new(Product, same_id(key, record["product_id"])), "name": name})
        variants.extend(made)

    load.each("product", products.items(), take)
    load.insert(Product, rows)
    load.insert(Variant, variants)
    load.report.took("variant", len(variants))
    warehouse = load.warehouse()
    load.open_stock([(row["id"], warehouse, STOCK) for row in variants if row["sellable"]])
    load.report.note(f"Quantities are not in the file: what is available has {STOCK} units.")


def _variant(
    load: Load, product_id: str, product: str, position: int, key: str, record: dict[str, Any]
) -> dict[str, Any]:
    only("variant", record, VARIANT_FIELDS)
    price = minor(record["price"], CURRENCY, "price")
    if price < 0 or not isinstance(record["available"], bool):
        raise Refused(f"variant {key}: a price from 0 and available true or false are needed")
    options = {text(k, "option"): text(v, "option") for k, v in record["options"].items()}
    return {
        "id": load.new(Variant, same_id(key, record["item_id"])), "product_id": product_id,
        "position": position, "name": product, "options": options, "price_minor": price,
        "currency": CURRENCY, "sellable": record["available"],
    }  # fmt: skip


@dataclass
class _Made:
    customers: list[dict[str, Any]] = field(default_factory=list)
    methods: list[dict[str, Any]] = field(default_factory=list)
    balances: list[Opened] = field(default_factory=list)


def _customers(load: Load, users: dict[str, Any]) -> None:
    made = _Made()

    def take(key: str, record: dict[str, Any]) -> None:
        only("user", record, USER_FIELDS)
        only("name", record["name"], frozenset({"first_name", "last_name"}))
        first = text(record["name"]["first_name"], "first_name")
        last = text(record["name"]["last_name"], "last_name")
        email, home = text(record["email"], "email", 254), tau2_orders.address(record["address"])
        methods = [
            _method(load, key, index, *item)
            for index, item in enumerate(record["payment_methods"].items())
        ]
        made.customers.append(
            {
                "id": load.new(Customer, same_id(key, record["user_id"])), "email": email,
                "email_key": email.casefold(), "first_name": first, "last_name": last,
                "name_key": f"{first} {last}".casefold(), "address": home,
                "postal_code": text(home["postal_code"], "zip", 20), "created_at": load.now,
            }
        )  # fmt: skip
        for row, balance in methods:
            made.methods.append(row)
            if balance:
                made.balances.append(Opened(funds.gift_card(row["id"]), balance, row["id"]))

    load.each("customer", users.items(), take)
    load.insert(Customer, made.customers)
    load.insert(PaymentMethod, made.methods)
    load.report.took("payment method", len(made.methods))
    load.open_money(made.balances, CURRENCY)


def _method(
    load: Load, customer_id: str, position: int, key: str, record: dict[str, Any]
) -> tuple[dict[str, Any], int]:
    kinds = {theirs: ours for ours, theirs in METHODS.items()}
    kind = kinds.get(record["source"])
    if kind is None:
        raise Refused(f"payment method {key} is of an unknown kind")
    more = {"card": {"brand", "last_four"}, "gift_card": {"balance"}}.get(kind, set())
    only("payment method", record, frozenset({"source", "id"} | more))
    balance = minor(record["balance"], CURRENCY, "balance") if kind == "gift_card" else 0
    if balance < 0:
        raise Refused(f"gift card {key} is overdrawn")
    return {
        "id": load.new(PaymentMethod, same_id(key, record["id"])), "customer_id": customer_id,
        "kind": kind, "position": position,
        "brand": text(record["brand"], "brand", 32) if kind == "card" else
                 "paypal" if kind == "wallet" else None,
        "last4": text(record["last_four"], "last_four", 4) if kind == "card" else None,
        "currency": CURRENCY if kind == "gift_card" else None, "created_at": load.now,
    }, balance  # fmt: skip


FORMAT: Final = Format("tau2", "a tau2 retail shop (db.json)", read, size, write)
