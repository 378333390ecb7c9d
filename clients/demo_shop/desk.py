"""What lies on the desks this morning: open returns, claims, holds, an order nobody released."""

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import func, select

from clients.demo_shop import words
from common.call import Call
from common.rules import placing
from common.tables.claims import Claim
from common.tables.orders import Customer, Order, OrderLine
from common.tables.payments import Hold, Payment, PaymentMethod
from common.tables.returns import Return
from servers.claims import opening
from servers.orders import fulfilling
from servers.payments import holds
from servers.returns import handling
from servers.returns import service as returns
from servers.returns.eligibility import Asked


def lie_open(call: Call, customers: Sequence[tuple[Customer, str, str]]) -> dict[str, int]:
    """Through the servers' own rules, so that every step is one that could have been taken."""
    delivered = _delivered(call, 8)
    for order, reason in zip(delivered[:3], ("unwanted", "defective", "style"), strict=False):
        line = _first_line(call, order)
        asked = [Asked(line.id, 1, reason)]
        rma = returns.request_return(call, order.id, asked, "original", None, "").rma
        if reason == "defective":
            handling.authorize(call, rma.id, False)
    for order, kind in zip(delivered[3:5], ("customer", "carrier"), strict=False):
        opening.open_claim(
            call,
            opening.NewClaim(
                kind=kind, type="damage", order_id=None, shipment_id=f"shp-{order.id}",
                description="The carton was crushed.",
            ),
        )  # fmt: skip
    for order, amount in zip(delivered[5:7], (500, None), strict=False):
        payment = call.session.scalars(select(Payment).where(Payment.order_id == order.id)).one()
        holds.place(call, payment.id, "fraud_review", amount, 5, "Second look at the address.")
    placed = [_place(call, *customers[number]) for number in (11, 12, 13)]
    fulfilling.hold(call, placed[0].id, "address", "The house number is missing.")
    fulfilling.release(call, placed[1].id)
    kinds = {"open returns": Return, "open claims": Claim, "payment holds": Hold}
    made = {
        name: call.session.scalar(select(func.count()).select_from(kind)) or 0
        for name, kind in kinds.items()
    }
    return made | {"open orders": len(placed)}


def give_tokens(call: Call, customers: Sequence[tuple[Customer, str, str]]) -> None:
    """From now on the provider is asked; what was paid before it does not know. A few cards behave
    badly, as they do: declined, disputed, an answer that gets lost."""
    for number, (_, method, _) in enumerate(customers, 1):
        token = words.BAD_CARDS.get(number % 20, "tok_ok")
        call.get(PaymentMethod, method).provider_reference = token
    call.session.flush()


def _delivered(call: Call, most: int) -> list[Order]:
    query = select(Order).where(Order.fulfilment_status == "delivered")
    return list(call.session.scalars(query.order_by(Order.id.desc()).limit(most)))


def _first_line(call: Call, order: Order) -> OrderLine:
    query = select(OrderLine).where(OrderLine.order_id == order.id, OrderLine.position == 0)
    return call.session.scalars(query).one()


def _place(call: Call, customer: Customer, method: str, warehouse: str) -> Order:
    assert warehouse in {id for id, *_ in words.WAREHOUSES}
    return placing.place(
        call,
        placing.NewOrder(
            customer_id=customer.id, lines=[placing.NewLine("TEA-0101", 1)],
            ship_to=dict(customer.address), payment_method_id=method, warehouse_id=warehouse,
            ship_by=call.now + timedelta(hours=20), promised_at=call.now + timedelta(days=2),
        ),
    )  # fmt: skip
