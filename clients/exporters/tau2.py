"""The shop as a tau2 retail shop (``db.json``): the same form ``shop import tau2`` reads."""

import json
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from clients import tau2_form as form
from clients.tau2_form import CURRENCY
from common.ledgers import accounts
from common.rules import funds, stock
from common.tables.inventory import Product, Variant
from common.tables.logistics import Parcel, Shipment, ShipmentLine
from common.tables.orders import Customer, Order, OrderEvent, OrderLine
from common.tables.payments import Payment, PaymentMethod, Refund
from common.tables.returns import Return, ReturnLine

_OVER: Final = ("rejected", "expired", "cancelled", "closed", "settled")
_RECEIVED: Final = ("captured", "partially_captured", "partially_refunded", "refunded")
Rows = dict[str, list[Any]]


@dataclass
class Exported:
    """``left_out``: what the form cannot say, (kind, id, reason)."""

    shop: dict[str, dict[str, Any]]
    left_out: list[tuple[str, str, str]] = field(default_factory=list)

    def text(self) -> str:
        """JSON as it is written to a file."""
        return json.dumps(self.shop, ensure_ascii=False, indent=2) + "\n"


def export(session: Session, now: datetime) -> Exported:
    """Every product, customer and order, by id."""
    exported = Exported({"products": {}, "users": {}, "orders": {}})
    exported.shop["products"] = _products(session, now)
    _orders(session, exported)
    exported.shop["users"] = _users(session, now, exported)
    return exported


def amount(minor: int) -> float:
    """Decimal dollars, as the form has them: the double nearest to the cents."""
    return minor / 100


def _address(ours: dict[str, Any]) -> dict[str, str]:
    theirs = {name: str(ours.get(own, "")) for own, name in form.ADDRESS.items()}
    order = ("address1", "address2", "city", "country", "state", "zip")
    return {name: theirs[name] for name in order}


def _by(session: Session, key: Any, *columns: Any, order: Any) -> Rows:
    """Rows grouped by their first column."""
    found: Rows = defaultdict(list)
    for row in session.execute(select(key, *columns).order_by(*order)):
        found[row[0]].append(row)
    return found


def _products(session: Session, now: datetime) -> dict[str, Any]:
    skus = list(session.scalars(select(Variant.id).where(Variant.sellable.is_(True))))
    levels = stock.levels(session, now, skus)
    in_stock = {sku for (sku, _), level in levels.items() if level.available > 0}
    variants = _by(
        session, Variant.product_id, Variant.id, Variant.options, Variant.price_minor,
        Variant.sellable, order=(Variant.position, Variant.id),
    )  # fmt: skip
    return {
        product.id: {
            "name": product.name,
            "product_id": product.id,
            "variants": {
                row.id: {
                    "item_id": row.id, "options": row.options,
                    "available": row.sellable and row.id in in_stock,
                    "price": amount(row.price_minor),
                }
                for row in variants[product.id]
            },
        }
        for product in session.execute(select(Product.id, Product.name).order_by(Product.id))
    }  # fmt: skip


def _users(session: Session, now: datetime, exported: Exported) -> dict[str, Any]:
    cards = accounts.totals(session, funds.money(CURRENCY), prefix="gift_card:", now=now)
    methods = _by(
        session, PaymentMethod.customer_id, PaymentMethod.id, PaymentMethod.kind,
        PaymentMethod.brand, PaymentMethod.last4, order=(PaymentMethod.position, PaymentMethod.id),
    )  # fmt: skip
    orders = _by(session, Order.customer_id, Order.id, order=(Order.placed_at, Order.id))
    users: dict[str, Any] = {}
    columns = (Customer.id, Customer.first_name, Customer.last_name, Customer.address,
               Customer.email)  # fmt: skip
    for row in session.execute(select(*columns).order_by(Customer.id)):
        stored: dict[str, Any] = {}
        for method in methods[row.id]:
            if method.kind not in form.METHODS:
                exported.left_out.append(("payment method", method.id, f"it is {method.kind}"))
                continue
            balance = cards.get(funds.gift_card(method.id))
            stored[method.id] = _method(method, balance.available if balance else 0)
        users[row.id] = {
            "user_id": row.id,
            "name": {"first_name": row.first_name, "last_name": row.last_name},
            "address": _address(row.address), "email": row.email or "",
            "payment_methods": stored,
            "orders": [o.id for o in orders[row.id] if o.id in exported.shop["orders"]],
        }  # fmt: skip
    return users


def _method(method: Any, balance: int) -> dict[str, Any]:
    said = {"source": form.METHODS[method.kind], "id": method.id}
    if method.kind == "card":
        return said | {"brand": method.brand or "", "last_four": method.last4 or ""}
    return said | ({"balance": amount(balance)} if method.kind == "gift_card" else {})


# -- orders ----------------------------------------------------------------------------------------


@dataclass
class _Behind:
    """What hangs on orders, by order id; shipment lines and parcels by shipment."""

    lines: Rows
    shipments: Rows
    contents: Rows
    parcels: Rows
    money: Rows
    returns: Rows
    return_lines: Rows
    events: Rows

    @classmethod
    def read(cls, session: Session) -> "_Behind":
        return cls(
            _by(session, OrderLine.order_id, OrderLine.id, OrderLine.sku, OrderLine.product_id,
                OrderLine.name, OrderLine.options, OrderLine.unit_price_minor, OrderLine.quantity,
                order=(OrderLine.position, OrderLine.id)),
            _by(session, Shipment.order_id, Shipment.id, Shipment.kind, Shipment.tracking_number,
                order=(Shipment.created_at, Shipment.id)),
            _by(session, ShipmentLine.shipment_id, ShipmentLine.sku, ShipmentLine.quantity,
                order=(ShipmentLine.id,)),
            _by(session, Parcel.shipment_id, Parcel.tracking_number, order=(Parcel.position,)),
            _money(session),
            _by(session, Return.order_id, Return.id, Return.kind, Return.state, Return.method_id,
                Return.price_difference_minor, order=(Return.requested_at, Return.id)),
            _by(session, ReturnLine.return_id, ReturnLine.sku, ReturnLine.quantity,
                ReturnLine.exchange_sku, order=(ReturnLine.position,)),
            _by(session, OrderEvent.order_id, OrderEvent.kind, OrderEvent.detail,
                OrderEvent.reference, order=(OrderEvent.at, OrderEvent.id)),
        )  # fmt: skip


def _orders(session: Session, exported: Exported) -> None:
    behind = _Behind.read(session)
    columns = (
        Order.id, Order.customer_id, Order.ship_to, Order.status, Order.fulfilment_status,
        Order.released_at, Order.amended_at, Order.cancel_reason, Order.subtotal_minor,
        Order.total_minor, Order.currency,
    )  # fmt: skip
    for order in session.execute(select(*columns).order_by(Order.id)):
        why = _unsayable(order)
        if why:
            exported.left_out.append(("order", order.id, why))
        else:
            exported.shop["orders"][order.id] = _order(order, behind)


def _unsayable(order: Any) -> str:
    if order.currency != CURRENCY:
        return f"it is in {order.currency}"
    if order.total_minor != order.subtotal_minor:
        return "it has discounts, shipping or tax"
    return "it is a draft" if order.status == "draft" else ""


def _order(order: Any, behind: _Behind) -> dict[str, Any]:
    rma = next((r for r in behind.returns[order.id] if r.state not in _OVER), None)
    said = {
        "order_id": order.id,
        "user_id": order.customer_id,
        "address": _address(order.ship_to),
        "items": [
            {
                "name": line.name, "product_id": line.product_id, "item_id": line.sku,
                "price": amount(line.unit_price_minor), "options": line.options,
            }
            for line in behind.lines[order.id]
            for _ in range(line.quantity)
        ],
        "status": _status(order, rma),
        "fulfillments": [
            _fulfilment(shipment, behind)
            for shipment in behind.shipments[order.id]
            if shipment.kind == "outbound"
        ],
        "payment_history": _history(order, behind),
    }  # fmt: skip
    if order.cancel_reason is not None:
        said["cancel_reason"] = form.CANCEL_REASONS.get(
            order.cancel_reason, order.cancel_reason.replace("_", " ")
        )
    return said | (_asked(rma, behind, order.id) if rma is not None else {})


def _status(order: Any, rma: Any) -> str:
    if order.status == "cancelled":
        return form.CANCELLED
    if order.fulfilment_status in ("delivered", "partially_delivered"):
        if rma is None:
            return form.DELIVERED
        return form.RETURN if rma.kind == "return" else form.EXCHANGE
    if order.released_at is not None or order.status in ("in_fulfilment", "completed"):
        return form.PROCESSED
    return form.PENDING if order.amended_at is None else form.AMENDED


def _fulfilment(shipment: Any, behind: _Behind) -> dict[str, Any]:
    parcels = [parcel.tracking_number for parcel in behind.parcels[shipment.id]]
    tracking = [number for number in parcels or [shipment.tracking_number] if number]
    items = [line.sku for line in behind.contents[shipment.id] for _ in range(line.quantity)]
    return {"tracking_id": tracking, "item_ids": items}


def _asked(rma: Any, behind: _Behind, order_id: str) -> dict[str, Any]:
    lines = behind.return_lines[rma.id]
    items = sorted(line.sku for line in lines for _ in range(line.quantity))
    method = rma.method_id
    if method is None:
        method = next((entry[4] for entry in behind.money[order_id]), None)
    if rma.kind == "exchange":
        new = sorted(line.exchange_sku for line in lines for _ in range(line.quantity))
        return {
            "exchange_items": items, "exchange_new_items": new,
            "exchange_payment_method_id": method,
            "exchange_price_difference": amount(rma.price_difference_minor),
        }  # fmt: skip
    whole = any(
        event.kind == "return_requested" and event.reference == rma.id
        and event.detail == form.WHOLE_ORDER
        for event in behind.events[order_id]
    )  # fmt: skip
    return {"return_items": [] if whole else items, "return_payment_method_id": method}


def _money(session: Session) -> Rows:
    """Charges and refunds by order, in order of posting: (order, position, type, amount, method,
    whether it settled an amendment)."""
    found: Rows = defaultdict(list)
    charges = select(
        Payment.order_id, Payment.position, Payment.amount_minor, Payment.method_id,
        Payment.purpose, Payment.id,
    ).where(Payment.order_id.is_not(None), Payment.status.in_(_RECEIVED))  # fmt: skip
    backs = select(
        Refund.order_id, Refund.position, Refund.amount_minor, Refund.method_id, Refund.reason,
        Refund.id,
    ).where(Refund.order_id.is_not(None), Refund.status.in_(("pending", "succeeded")))  # fmt: skip
    for kind, query in (("payment", charges), ("refund", backs)):
        for order, position, minor, method, why, _ in session.execute(query):
            said = (order, position, kind, minor, method, why == "amendment")
            found[str(order)].append(said)
    for entries in found.values():
        entries.sort(key=lambda entry: entry[1:5])
    return found


def _history(order: Any, behind: _Behind) -> list[dict[str, Any]]:
    entries = [(kind, minor, method) for _, _, kind, minor, method, _ in behind.money[order.id]]
    settled = any(amended for *_, amended in behind.money[order.id])
    if order.amended_at is not None and not settled:
        # Nothing was due: the form notes a refund of nothing to the method that was named.
        named = [e.reference for e in behind.events[order.id] if e.kind == "amended"]
        entries += [("refund", 0, method) for method in named if method]
    return [
        {"transaction_type": kind, "amount": amount(minor), "payment_method_id": method}
        for kind, minor, method in entries
    ]
