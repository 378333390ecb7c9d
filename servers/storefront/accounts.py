"""Who the shopper is to the shop."""

from dataclasses import dataclass

from sqlalchemy import select

from common.call import Call
from common.shoppers import Shopper, shopper
from common.tables.orders import Order
from common.tables.payments import PaymentMethod
from servers.storefront import carts, checkouts, membership
from servers.storefront.membership import Standing

LATEST: int = 5


@dataclass(frozen=True)
class Account:
    who: Shopper
    cart_id: str | None
    standing: Standing
    methods: list[PaymentMethod]
    orders: list[Order]


def account(call: Call) -> Account:
    """What belongs to the shopper: nothing is another's. Raises NotAuthenticated for staff."""
    who = shopper(call)
    cart = carts.own(call, "me")
    orders: list[Order] = []
    if who.customer is not None:
        query = select(Order).where(
            Order.customer_id == who.customer.id, Order.placed_at.is_not(None)
        )
        query = query.order_by(Order.placed_at.desc(), Order.id.desc()).limit(LATEST)
        orders = list(call.session.scalars(query))
    return Account(
        who, cart.cart.id if cart else None, membership.standing(call, who.customer),
        checkouts.methods_of(call, who), orders,
    )  # fmt: skip
