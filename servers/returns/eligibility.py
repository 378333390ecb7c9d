"""May it come back, and what is it worth? Every answer names the rule that decided."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import func, select

from common.call import Call
from common.clock import stamp
from common.errors import InvalidParameters, NotFound, RuleViolation
from common.money import allocate
from common.tables.inventory import Product
from common.tables.orders import Order, OrderLine
from common.tables.returns import Return, ReturnLine, ReturnPolicy

OVER: Final = ("rejected", "expired", "cancelled", "closed", "settled")
# The customer does not pay for what went wrong on our side.
OUR_FAULT: Final = frozenset({"defective", "not_as_described", "damaged_in_transit", "wrong_item"})


@dataclass(frozen=True)
class Asked:
    """Units of one order line that are to come back; ``quantity`` None is all that may."""

    line_id: str
    quantity: int | None = None
    reason: str = "unwanted"
    exchange_sku: str | None = None


@dataclass(frozen=True)
class Verdict:
    """Whether units of one line may come back. Amounts are for ``quantity`` units."""

    line: OrderLine
    quantity: int
    left: int
    eligible: bool
    rule: str
    window_ends_at: datetime | None
    refund_minor: int
    fee_minor: int
    policy: ReturnPolicy | None


def check(call: Call, order: Order, asked: Sequence[Asked]) -> list[Verdict]:
    """A verdict for each line asked about, or for every line when none is.

    Raises NotFound for a line of another order, InvalidParameters for one named twice.
    """
    lines = {
        line.id: line for line in call.all(OrderLine, OrderLine.order_id == order.id, limit=200)
    }
    wanted = asked or [Asked(line.id) for line in _by_position(lines.values())]
    if len({each.line_id for each in wanted}) != len(wanted):
        raise InvalidParameters("lines: a line may be named once; give it a quantity.")
    back = _already(call, list(lines))
    policies = _policies(call)
    verdicts = []
    for each in wanted:
        line = lines.get(each.line_id)
        if line is None:
            raise NotFound(
                f"Order {order.id} has no line {each.line_id}.", next="get_order lists its lines."
            )
        verdicts.append(_verdict(call, order, line, each, back.get(line.id, 0), policies))
    return verdicts


def require(verdicts: Sequence[Verdict]) -> None:
    """Raises RuleViolation naming the rule, unless every line may come back."""
    for verdict in verdicts:
        if not verdict.eligible:
            raise RuleViolation(
                f"{verdict.line.name} cannot be returned: {verdict.rule}",
                details={
                    "line_id": verdict.line.id,
                    "rule": verdict.rule,
                    "left": verdict.left,
                    "window_ends_at": stamp(verdict.window_ends_at)
                    if verdict.window_ends_at
                    else None,
                },
            )


def open_returns(call: Call, order_id: str) -> list[Return]:
    """The order's returns that are not over."""
    return call.all(Return, Return.order_id == order_id, Return.state.not_in(OVER), limit=100)


def unit_value(order: Order, line: OrderLine) -> int:
    """What was paid for the whole line: price less discount, plus tax that came on top."""
    tax = line.tax_minor if order.tax_minor else 0
    return line.unit_price_minor * line.quantity - line.discount_minor + tax


def _verdict(
    call: Call,
    order: Order,
    line: OrderLine,
    asked: Asked,
    back: int,
    policies: dict[str | None, ReturnPolicy],
) -> Verdict:
    product = call.get(Product, line.product_id)
    policy = policies.get(product.category) or policies.get(None)
    left = line.quantity - back
    quantity = left if asked.quantity is None else asked.quantity
    ends = None
    if policy is not None and line.delivered_at is not None:
        ends = line.delivered_at + timedelta(days=policy.window_days)
    rule = _rule(call, line, product, policy, ends, left, quantity)
    value = 0
    if 0 < quantity <= line.quantity:
        value = allocate(unit_value(order, line), [quantity, line.quantity - quantity])[0]
    fee = 0
    if policy is not None and asked.reason not in OUR_FAULT:
        fee = min(value, value * policy.restocking_fee_bps // 10_000)
    allowed = rule.startswith("within")
    return Verdict(line, quantity, left, allowed, rule, ends, value - fee, fee, policy)


def _rule(
    call: Call,
    line: OrderLine,
    product: Product,
    policy: ReturnPolicy | None,
    ends: datetime | None,
    left: int,
    quantity: int,
) -> str:
    if line.status != "delivered" and not (line.status == "returned" and left == 0):
        return f"it is not delivered (it is {line.status})."
    if left <= 0:
        return "all of it has been returned, or is on its way back."
    if not 0 < quantity <= left:
        return f"only {left} units of it are left to return."
    if policy is None or ends is None:
        return "the shop has no return policy for it."
    if policy.final_sale or product.final_sale:
        return "it was a final sale."
    if call.now > ends:
        return f"its window of {policy.window_days} days from delivery ended on {stamp(ends)}."
    return f"within {policy.window_days} days from delivery ({policy.name})."


def _already(call: Call, line_ids: list[str]) -> dict[str, int]:
    query = (
        select(ReturnLine.order_line_id, func.sum(ReturnLine.quantity))
        .join(Return, Return.id == ReturnLine.return_id)
        .where(
            ReturnLine.order_line_id.in_(line_ids),
            Return.state.not_in(("rejected", "expired", "cancelled")),
        )
        .group_by(ReturnLine.order_line_id)
    )
    return {row[0]: int(row[1]) for row in call.session.execute(query)}


def _policies(call: Call) -> dict[str | None, ReturnPolicy]:
    return {
        policy.category: policy
        for policy in call.all(ReturnPolicy, ReturnPolicy.active.is_(True), limit=500)
    }


def _by_position(lines: object) -> list[OrderLine]:
    found: list[OrderLine] = list(lines)  # type: ignore[call-overload]
    return sorted(
        (line for line in found if line.status != "cancelled"),
        key=lambda line: (line.position, line.id),
    )
