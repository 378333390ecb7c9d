"""May it come back, and what is it worth? Every answer names the rule that decided."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import ColumnElement, and_, func, not_, select

from common.call import Call
from common.clock import stamp
from common.errors import NotFound, RuleViolation
from common.rules import made_good, taxes
from common.rules.made_good import Given
from common.tables.inventory import Product
from common.tables.logistics import Shipment, ShipmentLine
from common.tables.orders import Order, OrderLine
from common.tables.returns import RETURN_OVER, Return, ReturnPolicy

OVER: Final = RETURN_OVER
# The customer does not pay for what went wrong on our side.
OUR_FAULT: Final = frozenset({"defective", "not_as_described", "damaged_in_transit", "wrong_item"})


@dataclass(frozen=True)
class Asked:
    """Units of one order line that are to come back; ``quantity`` None is all that may."""

    line_id: str
    quantity: int | None = None
    reason: str = "unwanted"
    exchange_sku: str | None = None
    # The shop wants it back: neither window nor final sale stands in the way.
    recalled: bool = False


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
    # The parcel that went back to its sender with it.
    parcel: Shipment | None = None


def check(call: Call, order: Order, asked: Sequence[Asked]) -> list[Verdict]:
    """A verdict for each line asked about, or for every line when none is.

    A line may be named several times, with a quantity each time. Raises NotFound for a line of
    another order.
    """
    lines = {
        line.id: line for line in call.all(OrderLine, OrderLine.order_id == order.id, limit=200)
    }
    wanted = asked or [Asked(line.id) for line in _by_position(lines.values())]
    back = made_good.of_lines(call, list(lines), waiting_returns=True)
    policies = _policies(call, order.currency)
    worth = taxes.line_values(call, order, list(lines.values()))
    parcels = came_back(call, order.id)
    verdicts = []
    for each in wanted:
        line = lines.get(each.line_id)
        if line is None:
            raise NotFound(
                f"Order {order.id} has no line {each.line_id}.", next="get_order lists its lines."
            )
        verdict = _verdict(
            call, line, each, worth[line.id], back[line.id], policies, parcels.get(line.id)
        )
        verdicts.append(verdict)
        back[line.id] += Given(max(0, verdict.quantity), verdict.refund_minor + verdict.fee_minor)
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


def not_over(now: datetime) -> ColumnElement[bool]:
    """The condition that a return still is to be dealt with."""
    lapsed = and_(
        Return.state.in_(made_good.EXPIRING), Return.expires_at <= now, Return.settled_at.is_(None)
    )
    return and_(Return.state.not_in(OVER), not_(func.coalesce(lapsed, False)))


def open_returns(call: Call, order_id: str) -> list[Return]:
    """The order's returns that are not over."""
    return call.all(Return, Return.order_id == order_id, not_over(call.now), limit=100)


def units_back(call: Call, line: OrderLine) -> int:
    """Units of an order line that came back or are on their way, or that a claim made good."""
    return made_good.of_lines(call, [line.id], waiting_returns=True)[line.id].units


def came_back(call: Call, order_id: str) -> dict[str, Shipment]:
    """Lines that the customer never had, by id, with the parcel that went back to its sender."""
    query = (
        select(OrderLine.id, Shipment)
        .join(ShipmentLine, ShipmentLine.order_line_id == OrderLine.id)
        .join(Shipment, Shipment.id == ShipmentLine.shipment_id)
        .where(
            OrderLine.order_id == order_id, OrderLine.status.in_(("shipped", "returned")),
            Shipment.status == "returned_to_sender", Shipment.shipped_at.is_not(None),
            Shipment.kind != "return",
        )
        .order_by(OrderLine.id, Shipment.id)
        .limit(1_000)
    )  # fmt: skip
    return {row[0]: row[1] for row in call.session.execute(query)}


def _verdict(
    call: Call,
    line: OrderLine,
    asked: Asked,
    whole: int,
    back: Given,
    policies: dict[str | None, ReturnPolicy],
    parcel: Shipment | None,
) -> Verdict:
    product = call.get(Product, line.product_id)
    policy = policies.get(product.category) or policies.get(None)
    left = line.quantity - back.units
    quantity = left if asked.quantity is None else asked.quantity
    ends = None
    if policy is not None and line.delivered_at is not None:
        ends = line.delivered_at + timedelta(days=policy.window_days)
    rule = _rule(
        call, line, product, policy, ends, left, quantity, recalled=asked.recalled,
        sent_back=parcel is not None,
    )  # fmt: skip
    value = 0
    if 0 < quantity <= left:
        share = made_good.share(whole, line.quantity, back.units, quantity)
        value = min(share, max(0, whole - back.value_minor))
    fee = 0
    if policy is not None and asked.reason not in OUR_FAULT:
        fee = min(value, value * policy.restocking_fee_bps // 10_000)
    allowed = rule.startswith("within")
    return Verdict(line, quantity, left, allowed, rule, ends, value - fee, fee, policy, parcel)


def _rule(
    call: Call,
    line: OrderLine,
    product: Product,
    policy: ReturnPolicy | None,
    ends: datetime | None,
    left: int,
    quantity: int,
    *,
    recalled: bool,
    sent_back: bool,
) -> str:
    if line.status not in ("delivered", "returned") and not sent_back:
        return f"it is not delivered (it is {line.status})."
    if left <= 0:
        return "all of it has been returned, or is on its way back."
    if not 0 < quantity <= left:
        return f"only {left} units of it are left to return."
    if recalled:
        return "within a recall: it comes back whatever the policy says."
    if sent_back:
        return "within a parcel that went back to its sender: the customer never had it."
    if policy is None or ends is None:
        return "the shop has no return policy for it."
    if policy.final_sale or product.final_sale:
        return "it was a final sale."
    if call.now > ends:
        return f"its window of {policy.window_days} days from delivery ended on {stamp(ends)}."
    return f"within {policy.window_days} days from delivery ({policy.name})."


def _policies(call: Call, currency: str) -> dict[str | None, ReturnPolicy]:
    """The active policy of each category; of several the one in the order's currency."""
    active = call.all(ReturnPolicy, ReturnPolicy.active.is_(True), limit=500)
    active.sort(key=lambda policy: policy.currency == currency)
    return {policy.category: policy for policy in active}


def _by_position(lines: object) -> list[OrderLine]:
    found: list[OrderLine] = list(lines)  # type: ignore[call-overload]
    return sorted(
        (line for line in found if line.status != "cancelled"),
        key=lambda line: (line.position, line.id),
    )
