"""Customers: finding the right one, and where they live."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from common.call import Call, quoted
from common.errors import InvalidParameters, NotFound
from common.money import Money
from common.rules import paid
from common.rules.addresses import one_line
from common.tables.orders import Customer, Order
from common.tables.payments import PaymentMethod

RELEASED = ("partially_fulfilled", "fulfilled", "partially_shipped", "shipped")


@dataclass(frozen=True)
class Found:
    customer: Customer
    methods: list[PaymentMethod]
    orders: list[str]
    balances: dict[str, Money]


def find(
    call: Call,
    *,
    email: str | None,
    first_name: str | None,
    last_name: str | None,
    postal_code: str | None,
    customer_id: str | None,
) -> Found:
    """One customer by id, by e-mail, or by name and postal code; case does not matter.

    Raises NotFound when there is none; InvalidParameters when too little is given.
    """
    if customer_id:
        known = call.get(Customer, customer_id, next="Look by email, or by name and postal code.")
        return _with_links(call, known)
    query = select(Customer)
    if email:
        query = query.where(Customer.email_key == email.casefold())
    elif first_name and last_name and postal_code:
        query = query.where(
            Customer.name_key == f"{first_name} {last_name}".casefold(),
            Customer.postal_code == postal_code,
        )
    else:
        raise InvalidParameters(
            "Give email, or first_name, last_name and postal_code, or customer_id."
        )
    found = call.session.scalars(query.order_by(Customer.id).limit(2)).all()
    if not found:
        raise NotFound("No such customer.", next="Ask for another e-mail, or name and postal code.")
    if len(found) > 1:
        raise NotFound(
            "Several customers fit.",
            details={"customer_ids": [customer.id for customer in found]},
            next="Ask the customer for an order id, then use get_order.",
        )
    return _with_links(call, call.get(Customer, found[0].id))


def move(call: Call, customer_id: str, address: dict[str, Any]) -> Found:
    """Replace the customer's own address whole. Their orders keep the addresses they have."""
    customer = call.get(Customer, customer_id)
    in_fulfilment = call.session.scalar(
        select(Order.id)
        .where(Order.customer_id == customer.id, Order.fulfilment_status.in_(RELEASED))
        .limit(1)
    )
    call.stake(released=in_fulfilment is not None)
    call.show(f"Change the address of customer {customer.id}", f"to {quoted(one_line(address))}")
    customer.address = address
    customer.postal_code = str(address.get("postal_code", ""))
    call.session.flush()
    call.effect("update", Customer.__tablename__, customer.id)
    return _with_links(call, customer)


def _with_links(call: Call, customer: Customer) -> Found:
    methods = call.session.scalars(
        select(PaymentMethod)
        .where(PaymentMethod.customer_id == customer.id, PaymentMethod.active.is_(True))
        .order_by(PaymentMethod.position, PaymentMethod.id)
        .limit(50)
    )
    orders = call.session.scalars(
        select(Order.id)
        .where(Order.customer_id == customer.id, Order.placed_at.is_not(None))
        .order_by(Order.placed_at.desc(), Order.id.desc())
        .limit(20)
    )
    mine = list(methods)
    balances = {}
    for method in mine:
        left = paid.stored_value(call, method, method.currency or "")
        if left is not None and method.currency is not None:
            balances[method.id] = Money(left, method.currency)
    return Found(customer, mine, list(orders), balances)
