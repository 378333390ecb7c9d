"""Goods whose money is disputed stay in the house: the bank may have given it back already."""

from collections.abc import Iterable

from sqlalchemy import select
from sqlalchemy.orm import Session

from common.call import Call
from common.errors import RuleViolation
from common.rules.paid_back import MOST_EXCHANGES
from common.rules.paid_state import open_disputes
from common.tables.orders import Order


def refuse_sending(call: Call, order: Order) -> None:
    """Raises RuleViolation that names the dispute, while there is one."""
    dispute_id = disputes(call.session, [order.id]).get(order.id)
    if dispute_id is not None:
        raise RuleViolation(
            f"What pays order {order.id} is disputed ({dispute_id}): nothing of it leaves, because"
            " the bank may already have given the customer the money back.",
            details={"order_id": order.id, "dispute_id": dispute_id},
            next="Answer it with evidence (payments.get_dispute): the order goes on once it is won."
            " Lost or accepted, its money is gone: do not send it.",
        )


def disputes(session: Session, order_ids: Iterable[str]) -> dict[str, str]:
    """By order: an open dispute on a payment of it, or of an order that it replaces, whose money
    had paid for it as well. Inquiries take no money and are none."""
    found: dict[str, str] = {}
    payers = {id: id for id in order_ids}
    for _ in range(MOST_EXCHANGES):
        if not payers:
            break
        there = open_disputes(session, payers.values())
        found |= {id: there[payer] for id, payer in payers.items() if payer in there}
        query = select(Order.id, Order.replaces_order_id).where(
            Order.id.in_(set(payers.values())), Order.replaces_order_id.is_not(None)
        )
        before = {id: str(replaced) for id, replaced in session.execute(query)}
        payers = {
            id: before[payer] for id, payer in payers.items() if payer in before and id not in found
        }
    return found
