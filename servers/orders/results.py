"""What the orders server answers with."""

from typing import Any

from common.clock import stamp
from common.money import Money
from common.tables.inventory import Variant
from common.tables.orders import Order, OrderLine, OrderNote
from common.tables.payments import PaymentMethod
from common.wire import Result
from servers.orders import service
from servers.orders.customers import Found


class AddressView(Result):
    line1: str = ""
    line2: str = ""
    city: str = ""
    region: str = ""
    postal_code: str = ""
    country: str = ""

    @classmethod
    def of(cls, address: dict[str, Any]) -> "AddressView":
        return cls(**{name: str(address.get(name) or "") for name in cls.model_fields})


class LineView(Result):
    line_id: str
    sku: str
    product_id: str
    name: str
    quantity: int
    unit_price_minor: int
    discount_minor: int | None = None
    tax_minor: int | None = None
    status: str
    # Where it comes from, if not from the order's own house.
    warehouse: str | None = None


class HoldView(Result):
    kind: str
    reason: str
    since: str


class NoteView(Result):
    at: str
    author: str
    text: str

    @classmethod
    def of(cls, note: OrderNote) -> "NoteView":
        return cls(at=stamp(note.at), author=note.author, text=note.text)


class NoteList(Result):
    order_id: str
    notes: list[NoteView]

    @classmethod
    def of(cls, found: service.Whole) -> "NoteList":
        return cls(order_id=found.order.id, notes=[NoteView.of(note) for note in found.notes])


class EventView(Result):
    at: str
    what: str
    detail: str | None = None
    reference: str | None = None


class OrderRow(Result):
    order_id: str
    customer_id: str
    status: str
    payment_status: str
    fulfilment_status: str
    total: str
    total_minor: int
    currency: str
    placed_at: str | None = None
    ship_by: str | None = None
    warehouse: str | None = None

    @classmethod
    def of(cls, order: Order) -> "OrderRow":
        return cls(**_row(order))


class OrderList(Result):
    count: int
    orders: list[OrderRow]
    next_cursor: str | None = None

    @classmethod
    def of(cls, rows: list[Order], cursor: str | None) -> "OrderList":
        return cls(count=len(rows), orders=[OrderRow.of(row) for row in rows], next_cursor=cursor)


class OrderView(OrderRow):
    """Three axes of status, lines, what hangs on the order, and its timeline."""

    customer_name: str
    subtotal_minor: int
    discount_minor: int
    shipping_minor: int
    tax_minor: int
    other_minor: int | None = None
    ship_to: AddressView
    payment_method_id: str | None = None
    promised_at: str | None = None
    amended: bool
    cancel_reason: str | None = None
    lines: list[LineView]
    holds: list[HoldView]
    notes: list[NoteView]
    timeline: list[EventView]
    shipment_ids: list[str]
    return_ids: list[str]
    payment_ids: list[str]
    claim_ids: list[str]

    @classmethod
    def whole(cls, found: service.Whole) -> "OrderView":
        order = found.order
        return cls(
            **_row(order),
            customer_name=f"{found.customer.first_name} {found.customer.last_name}".strip(),
            subtotal_minor=order.subtotal_minor,
            discount_minor=order.discount_minor,
            shipping_minor=order.shipping_minor,
            tax_minor=order.tax_minor,
            other_minor=order.other_minor or None,
            ship_to=AddressView.of(order.ship_to),
            payment_method_id=order.payment_method_id,
            promised_at=stamp(order.promised_at) if order.promised_at else None,
            amended=order.amended_at is not None,
            cancel_reason=order.cancel_reason,
            lines=[
                LineView(
                    line_id=line.id, sku=line.sku, product_id=line.product_id, name=line.name,
                    quantity=line.quantity, unit_price_minor=line.unit_price_minor,
                    discount_minor=line.discount_minor or None, tax_minor=line.tax_minor or None,
                    status=line.status, warehouse=_elsewhere(order, line),
                )
                for line in found.lines
            ],
            holds=[
                HoldView(kind=h.kind, reason=h.reason, since=stamp(h.placed_at))
                for h in found.holds
            ],
            notes=[NoteView.of(note) for note in found.notes],
            timeline=[
                EventView(
                    at=stamp(e.at), what=e.kind, detail=e.detail or None, reference=e.reference
                )
                for e in found.events
            ],
            shipment_ids=found.shipments,
            return_ids=found.returns,
            payment_ids=found.payments,
            claim_ids=found.claims,
        )  # fmt: skip


class MethodView(Result):
    method_id: str
    kind: str
    brand: str | None = None
    last4: str | None = None
    balance: str | None = None
    balance_minor: int | None = None

    @classmethod
    def of(cls, method: PaymentMethod, balance: Money | None) -> "MethodView":
        return cls(
            method_id=method.id,
            kind=method.kind,
            brand=method.brand,
            last4=method.last4,
            balance=str(balance) if balance else None,
            balance_minor=balance.minor if balance else None,
        )


class CustomerView(Result):
    customer_id: str
    first_name: str
    last_name: str
    email: str | None = None
    address: AddressView
    methods: list[MethodView]
    order_ids: list[str]

    @classmethod
    def of(cls, found: Found) -> "CustomerView":
        customer = found.customer
        return cls(
            customer_id=customer.id,
            first_name=customer.first_name,
            last_name=customer.last_name,
            email=customer.email,
            address=AddressView.of(customer.address),
            methods=[
                MethodView.of(method, found.balances.get(method.id)) for method in found.methods
            ],
            order_ids=found.orders,
        )


class DemandRow(Result):
    sku: str
    warehouse: str
    day: str
    units: int


class DemandFeed(Result):
    """Units ordered, cancellations taken out. ``as_of`` is when it was true; days are UTC."""

    as_of: str
    days: int
    count: int
    rows: list[DemandRow]
    next_cursor: str | None = None


class VariantView(Result):
    sku: str
    name: str
    options: dict[str, str]
    price: str
    price_minor: int
    sellable: bool
    available: int

    @classmethod
    def of(cls, variant: Variant, available: int) -> "VariantView":
        return cls(
            sku=variant.id,
            name=variant.name,
            options={key: str(value) for key, value in variant.options.items()},
            price=str(Money(variant.price_minor, variant.currency)),
            price_minor=variant.price_minor,
            sellable=variant.sellable,
            available=available,
        )


class VariantList(Result):
    product_id: str
    count: int
    variants: list[VariantView]
    next_cursor: str | None = None


def _row(order: Order) -> dict[str, Any]:
    return {
        "order_id": order.id,
        "customer_id": order.customer_id,
        "status": order.status,
        "payment_status": order.payment_status,
        "fulfilment_status": order.fulfilment_status,
        "total": str(Money(order.total_minor, order.currency)),
        "total_minor": order.total_minor,
        "currency": order.currency,
        "placed_at": stamp(order.placed_at) if order.placed_at else None,
        "ship_by": stamp(order.ship_by) if order.ship_by else None,
        "warehouse": order.warehouse_id,
    }


def _elsewhere(order: Order, line: OrderLine) -> str | None:
    return None if line.warehouse_id == order.warehouse_id else line.warehouse_id
