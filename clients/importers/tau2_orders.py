"""Orders of a tau2 retail shop: lines by unit, shipments, money in order of posting, returns."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import select

from clients import tau2_form as form
from clients.importers.loader import Load, Opened, minor, only, same_id, text
from clients.importers.report import Refused
from clients.tau2_form import CURRENCY
from common.rules import funds
from common.tables.base import Record
from common.tables.inventory import Product, Variant
from common.tables.logistics import Parcel, Shipment, ShipmentLine
from common.tables.orders import Customer, Order, OrderEvent, OrderLine
from common.tables.payments import Payment, PaymentMethod, Refund
from common.tables.returns import Return, ReturnLine, ReturnPolicy

# Order, fulfilment and line status, and that of its shipments.
_AXES: Final = {
    form.PENDING: ("confirmed", "not_fulfilled", "open", "created"),
    form.AMENDED: ("confirmed", "not_fulfilled", "open", "created"),
    form.PROCESSED: ("in_fulfilment", "shipped", "shipped", "in_transit"),
    form.CANCELLED: ("cancelled", "not_fulfilled", "cancelled", "cancelled"),
    form.DELIVERED: ("completed", "delivered", "delivered", "delivered"),
    form.RETURN: ("completed", "delivered", "delivered", "delivered"),
    form.EXCHANGE: ("completed", "delivered", "delivered", "delivered"),
}
_PARENTS_FIRST: Final[tuple[type[Record], ...]] = (
    Order, OrderLine, OrderEvent, Shipment, Parcel, ShipmentLine, Payment, Refund, Return,
    ReturnLine,
)  # fmt: skip


@dataclass
class _Rows:
    """What one order, or all of them, becomes."""

    of: dict[type[Record], list[dict[str, Any]]] = field(default_factory=dict)
    money: list[Opened] = field(default_factory=list)

    def add(self, kind: type[Record], /, **row: Any) -> dict[str, Any]:
        self.of.setdefault(kind, []).append(row)
        return row

    def take(self, other: "_Rows") -> None:
        for kind, rows in other.of.items():
            self.of.setdefault(kind, []).extend(rows)
        self.money += other.money


@dataclass(frozen=True)
class _Known:
    """What orders refer to."""

    variants: dict[str, tuple[str, int]]
    methods: dict[str, str]
    policy: str | None
    warehouse: str


def write(load: Load, orders: dict[str, Any], users: dict[str, Any]) -> None:
    """Every order, in the order of the file: placed one microsecond after the other."""
    known = _known(load)
    rows = _Rows()
    first = load.now - timedelta(microseconds=len(orders))
    order_of = {id: index for index, id in enumerate(orders)}

    def take(key: str, record: dict[str, Any]) -> None:
        placed = first + timedelta(microseconds=order_of[key])
        rows.take(_Order(load, known, key, record, placed).rows())

    load.each("order", orders.items(), take)
    _check_lists(load, users)
    transfers = load.open_money(rows.money, CURRENCY)
    moved = [*rows.of.get(Payment, ()), *rows.of.get(Refund, ())]
    by_reference = dict(zip((each.reference for each in rows.money), transfers, strict=True))
    for row in moved:
        row["transfer_id"] = by_reference[row["id"]]
    for kind in _PARENTS_FIRST:
        load.insert(kind, rows.of.get(kind, []))
    for kind, word in ((OrderLine, "order line"), (Payment, "payment"), (Refund, "refund"),
                       (Shipment, "shipment"), (Return, "return")):  # fmt: skip
        load.report.took(word, len(rows.of.get(kind, [])))


def _known(load: Load) -> _Known:
    session = load.session
    variants = session.execute(select(Variant.id, Variant.product_id, Variant.price_minor))
    methods = session.execute(select(PaymentMethod.id, PaymentMethod.customer_id))
    policies = sorted(load.ids(ReturnPolicy))
    policy = form.POLICY if form.POLICY in policies else policies[0] if policies else None
    load.ids(Product), load.ids(Customer), load.ids(Order)
    return _Known(
        {row.id: (row.product_id, row.price_minor) for row in variants},
        {row.id: row.customer_id for row in methods}, policy, load.warehouse(),
    )  # fmt: skip


def _check_lists(load: Load, users: dict[str, Any]) -> None:
    """A user's list of orders is made anew from the orders: say so where the two differ."""
    for user_id, user in users.items():
        listed = user.get("orders") if isinstance(user, dict) else None
        if not isinstance(listed, list):
            continue
        for order_id in listed:
            if not isinstance(order_id, str) or order_id not in load.ids(Order):
                load.report.refuse(
                    "order of a customer", str(order_id), f"{user_id} lists it and it is not there"
                )


def address(record: dict[str, Any]) -> dict[str, str]:
    """Theirs to ours. Raises Refused for fields that would get lost."""
    only("address", record, frozenset(form.ADDRESS.values()))
    return {ours: text(record[theirs], theirs) for ours, theirs in form.ADDRESS.items()}


class _Order:
    """One order on its way in. Raises Refused, KeyError or TypeError for what does not fit."""

    def __init__(
        self, load: Load, known: _Known, key: str, record: dict[str, Any], placed: datetime
    ) -> None:
        only("order", record, form.ORDER_FIELDS | form.LATER_FIELDS)
        self.load, self.known, self.record, self.placed = load, known, record, placed
        self.id = same_id(key, record["order_id"])
        self.customer = record["user_id"]
        self.status = record["status"]
        self.made = _Rows()
        self.lines: list[dict[str, Any]] = []

    def rows(self) -> _Rows:
        if self.status not in form.STATUSES:
            raise Refused(f"its status {self.status!r} is not known")
        if self.customer not in self.load.ids(Customer):
            raise Refused(f"its customer {self.customer!r} is not there")
        self._lines()
        paid, refunded = self._money()
        self._order(paid, refunded)
        self._shipments()
        self._coming_back()
        self.made.add(
            OrderEvent,
            id=f"{self.id}.imported",
            order_id=self.id,
            kind="imported",
            at=self.load.now,
        )
        self.load.new(Order, self.id)
        return self.made

    def _lines(self) -> None:
        delivered = self.load.now if _AXES[self.status][1] == "delivered" else None
        for position, item in enumerate(self.record["items"]):
            only("item", item, frozenset({"name", "product_id", "item_id", "price", "options"}))
            product, _ = self.known.variants.get(item["item_id"], ("", 0))
            if product != item["product_id"]:
                raise Refused(f"its item {item['item_id']!r} is no variant of its product")
            price = minor(item["price"], CURRENCY, "price")
            if price < 0:
                raise Refused("the price of an item is below 0")
            self.lines.append(
                self.made.add(
                    OrderLine, id=f"{self.id}.{position + 1}", order_id=self.id, position=position,
                    sku=item["item_id"], product_id=product, name=text(item["name"], "name"),
                    options=dict(item["options"]), quantity=1, unit_price_minor=price,
                    status=_AXES[self.status][2], warehouse_id=self.known.warehouse,
                    placed_at=self.placed, delivered_at=delivered,
                )
            )  # fmt: skip
        if not self.lines:
            raise Refused("it has no items")

    def _order(self, paid: int, refunded: int) -> None:
        total = sum(line["unit_price_minor"] for line in self.lines)
        status, fulfilment, _, _ = _AXES[self.status]
        now, left = self.load.now, fulfilment in ("shipped", "delivered")
        cancelled = status == "cancelled"
        self.made.add(
            Order, id=self.id, customer_id=self.customer, status=status,
            payment_status=_payment_status(paid, refunded, total), fulfilment_status=fulfilment,
            currency=CURRENCY, subtotal_minor=total, total_minor=total,
            ship_to=address(self.record["address"]), warehouse_id=self.known.warehouse,
            payment_method_id=self._first_method(), channel="import", source="tau2",
            created_at=self.placed, placed_at=self.placed,
            released_at=now if left else None, shipped_at=now if left else None,
            delivered_at=now if fulfilment == "delivered" else None,
            amended_at=now if self.status == form.AMENDED else None,
            cancelled_at=now if cancelled else None, cancel_reason=self._cancel_reason(),
        )  # fmt: skip

    def _cancel_reason(self) -> str | None:
        theirs = self.record.get("cancel_reason")
        if theirs is None:
            return None
        ours = {word: reason for reason, word in form.CANCEL_REASONS.items()}.get(theirs)
        if ours is None or self.status != form.CANCELLED:
            raise Refused(f"its cancel reason {theirs!r} does not fit")
        return ours

    def _first_method(self) -> str | None:
        history = self.record["payment_history"]
        return str(history[0]["payment_method_id"]) if history else None

    # -- money -------------------------------------------------------------------------------------

    def _money(self) -> tuple[int, int]:
        """Charges and refunds as they were posted. Returns what was paid and what went back."""
        payments: list[dict[str, Any]] = []
        left: dict[str, int] = {}
        paid = refunded = 0
        for position, entry in enumerate(self.record["payment_history"]):
            only("payment", entry, frozenset({"transaction_type", "amount", "payment_method_id"}))
            amount = minor(entry["amount"], CURRENCY, "amount")
            method = entry["payment_method_id"]
            if self.known.methods.get(method) != self.customer:
                raise Refused(f"{method!r} is no payment method of its customer")
            if entry["transaction_type"] == "payment" and amount > 0:
                payments.append(self._payment(position, method, amount))
                left[payments[-1]["id"]] = amount
                paid += amount
            elif entry["transaction_type"] == "refund" and amount >= 0:
                self._refund(position, method, amount, payments, left)
                refunded += amount
            else:
                raise Refused("its payment history has an entry of an unknown kind")
        for payment in payments:
            rest = left[payment["id"]]
            payment["status"] = (
                "captured" if rest == payment["amount_minor"]
                else "partially_refunded" if rest else "refunded"
            )  # fmt: skip
        return paid, refunded

    def _payment(self, position: int, method: str, amount: int) -> dict[str, Any]:
        row = self.made.add(
            Payment, id=f"{self.id}.paid{position + 1}", order_id=self.id,
            customer_id=self.customer, method_id=method,
            purpose="amendment" if position else "order", position=position, amount_minor=amount,
            currency=CURRENCY, provider="import", created_at=self.placed,
            authorized_at=self.placed, captured_at=self.placed,
        )  # fmt: skip
        self.made.money.append(Opened(funds.payment(row["id"]), amount, row["id"]))
        return row

    def _refund(
        self, position: int, method: str, amount: int, payments: Sequence[dict[str, Any]],
        left: dict[str, int],
    ) -> None:  # fmt: skip
        """Out of a payment made with the same method if there is one, else unlinked."""
        if amount == 0:
            self._amended_for_nothing(method)
            return
        linked = sorted(payments, key=lambda payment: payment["method_id"] != method)
        payment = next((p for p in linked if left[p["id"]] >= amount), None)
        if payment is None:
            raise Refused("its refunds are more than one of its payments has left")
        left[payment["id"]] -= amount
        row = self.made.add(
            Refund, id=f"{self.id}.back{position + 1}", payment_id=payment["id"],
            order_id=self.id, method_id=method, destination="opening", position=position,
            amount_minor=amount, currency=CURRENCY,
            reason="cancellation" if self.status == form.CANCELLED else "amendment",
            unlinked=payment["method_id"] != method, status="succeeded",
            created_at=self.placed, settled_at=self.placed,
        )  # fmt: skip
        account = funds.payment(payment["id"])
        self.made.money.append(Opened(account, amount, row["id"], inward=False))

    def _amended_for_nothing(self, method: str) -> None:
        if self.status != form.AMENDED:
            raise Refused("its payment history has a refund of nothing")
        self.made.add(
            OrderEvent, id=f"{self.id}.amended", order_id=self.id, kind="amended",
            reference=method, at=self.load.now,
        )  # fmt: skip

    # -- goods -------------------------------------------------------------------------------------

    def _shipments(self) -> None:
        _, fulfilment, _, status = _AXES[self.status]
        now = self.load.now
        for number, parcel in enumerate(self.record["fulfillments"], 1):
            only("fulfillment", parcel, frozenset({"tracking_id", "item_ids"}))
            tracking = [text(each, "tracking_id", 64) for each in parcel["tracking_id"]]
            id = f"{self.id}.s{number}"
            self.made.add(
                Shipment, id=id, order_id=self.id, warehouse_id=self.known.warehouse,
                status=status, status_at=now, ship_to=address(self.record["address"]),
                tracking_number=tracking[0] if tracking else None, currency=CURRENCY,
                created_at=self.placed, shipped_at=now if status != "created" else None,
                delivered_at=now if fulfilment == "delivered" else None,
            )  # fmt: skip
            for position, each in enumerate(tracking if len(tracking) > 1 else ()):
                self.made.add(
                    Parcel, id=f"{id}.{position + 1}", shipment_id=id, position=position,
                    weight_g=0, tracking_number=each,
                )  # fmt: skip
            for position, line in enumerate(self._named(parcel["item_ids"], "fulfillment"), 1):
                self.made.add(
                    ShipmentLine, id=f"{id}.l{position:03}", shipment_id=id,
                    order_line_id=line["id"], sku=line["sku"], quantity=1,
                )  # fmt: skip

    def _named(self, item_ids: Sequence[str], what: str) -> list[dict[str, Any]]:
        """A line for each item id, another one for each time it is named."""
        left = list(self.lines)
        found = []
        for item_id in item_ids:
            line = next((line for line in left if line["sku"] == item_id), None)
            if line is None:
                raise Refused(f"its {what} names {item_id!r} more often than it was ordered")
            left.remove(line)
            found.append(line)
        return found

    def _coming_back(self) -> None:
        wants = {name: self.record.get(name) for name in form.LATER_FIELDS - {"cancel_reason"}}
        kind = {form.RETURN: "return", form.EXCHANGE: "exchange"}.get(self.status)
        for name, value in wants.items():
            if value is not None and (kind is None or not name.startswith(kind)):
                raise Refused(f"{name} does not fit its status")
        if kind == "return":
            items: list[str] = wants["return_items"] or []
            lines = self._named(items, "return") if items else list(self.lines)
            self._rma("return", wants["return_payment_method_id"], lines, None)
            if not items:
                self.made.add(
                    OrderEvent, id=f"{self.id}.return", order_id=self.id, kind="return_requested",
                    detail=form.WHOLE_ORDER, reference=f"{self.id}.rma", at=self.load.now,
                )  # fmt: skip
        elif kind == "exchange":
            old = self._named(self.record["exchange_items"], "exchange")
            new = self._pairs(old, self.record["exchange_new_items"])
            self._rma("exchange", wants["exchange_payment_method_id"], old, new)

    def _pairs(self, old: Sequence[dict[str, Any]], new_items: Sequence[str]) -> list[str]:
        """The file sorts both lists: they are paired anew by product, in order."""
        by_product: dict[str, list[str]] = {}
        for item_id in new_items:
            product, _ = self.known.variants.get(item_id, ("", 0))
            by_product.setdefault(product, []).append(item_id)
        wanted = Counter(line["product_id"] for line in old)
        if wanted != Counter({product: len(ids) for product, ids in by_product.items()}):
            raise Refused("its exchange does not pair variants of the same products")
        return [by_product[line["product_id"]].pop(0) for line in old]

    def _rma(
        self, kind: str, method: Any, lines: Sequence[dict[str, Any]], new: Sequence[str] | None
    ) -> None:
        if self.known.methods.get(method) != self.customer:
            raise Refused(f"{method!r} is no payment method of its customer")
        prices = [self.known.variants[sku][1] for sku in new or ()]
        value = sum(line["unit_price_minor"] for line in lines)
        difference = sum(prices) - value if new else 0
        quoted = self.record.get("exchange_price_difference")
        if new and quoted is not None and minor(quoted, CURRENCY, "difference") != difference:
            raise Refused("its price difference is not that of the prices")
        id = f"{self.id}.rma"
        self.made.add(
            Return, id=id, kind=kind, state="requested", order_id=self.id,
            customer_id=self.customer, refund_to="method", method_id=method,
            policy_id=self.known.policy, policy_rule="imported", currency=CURRENCY,
            refund_minor=value, price_difference_minor=difference,
            warehouse_id=self.known.warehouse, requested_at=self.load.now,
        )  # fmt: skip
        for index, line in enumerate(lines):
            self.made.add(
                ReturnLine, id=f"{id}.{index + 1}", return_id=id, position=index,
                order_line_id=line["id"], sku=line["sku"], quantity=1, reason="unwanted",
                refund_minor=line["unit_price_minor"], exchange_sku=new[index] if new else None,
                exchange_price_minor=prices[index] if new else None,
                price_difference_minor=prices[index] - line["unit_price_minor"] if new else 0,
            )  # fmt: skip


def _payment_status(paid: int, refunded: int, total: int) -> str:
    if not paid:
        return "not_paid"
    if paid <= refunded:
        return "refunded"
    if paid - refunded >= total:
        return "captured"
    return "partially_refunded" if refunded else "partially_captured"
