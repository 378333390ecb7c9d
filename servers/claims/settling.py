"""Make the customer whole, once and without waiting for a carrier; or accept what was offered."""

from collections import Counter
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import func, select

from common.call import Call
from common.errors import InsufficientFunds, InvalidParameters, RuleViolation
from common.money import Money
from common.rules import made_good, paid, placing
from common.rules.timeline import happened
from common.storage.database import lock
from common.storage.locks import one_at_a_time
from common.tables.claims import Claim
from common.tables.orders import Order, OrderLine
from common.tables.payments import Dispute, Refund
from servers.claims import deciding, recovering, service, states
from servers.claims.deciding import Answer

SEND_WITHIN = timedelta(days=1)
GIVEN = ("resolved", "closed")


@dataclass(frozen=True)
class Settlement:
    """``amount_minor`` None: all that is approved, or claimed when nobody decided yet."""

    resolution: str | None = None
    amount_minor: int | None = None


def settle(call: Call, claim_id: str, wanted: Settlement) -> Claim:
    """A customer's claim: refund, store credit or the goods again. Any other: take the offer.

    Raises RuleViolation (state, disputed, nothing left to give), InsufficientFunds,
    InsufficientStock, InvalidParameters.
    """
    claim = service.find(call, claim_id)
    if claim.kind != "customer":
        return _take_offer(call, claim, wanted)
    states.require(claim, ("under_review", "approved", "partially_approved"), "be settled")
    if claim.order_id is None:
        raise RuleViolation(f"Claim {claim.id} has no order to settle.")
    one_at_a_time(call.session, f"claims:{claim.order_id}")
    lock(call.session, Order, [claim.order_id])
    order = call.get(Order, claim.order_id)
    amount = _amount(claim, wanted)
    resolution = wanted.resolution or "refund"
    goods = _goods_minor(call, claim) if resolution == "replacement" else 0
    denies = claim.state == "under_review" and amount < claim.claimed_minor
    call.stake(amount_minor=max(amount, goods), currency=claim.currency, denies=denies)
    call.show(
        f"Settle claim {claim.id} of order {order.id} ({states.words(claim.type)})",
        f"{resolution}: {Money(amount, claim.currency)} of "
        f"{Money(claim.claimed_minor, claim.currency)} claimed",
    )
    paid.refuse_disputed(call, order.id)
    _refuse_made_whole(call, claim)
    _refuse_more_than_left(call, order, amount)
    if claim.state == "under_review":
        whole = amount == claim.claimed_minor
        answer = Answer("approved" if whole else "partially_approved", amount)
        deciding.record_own(call, claim, answer, amount)
    if resolution == "replacement":
        _replace(call, claim, order)
    else:
        _give_back(call, claim, order, resolution, amount)
    recovering.pay(call, claim, amount)
    claim.resolution, claim.resolved_at = resolution, call.now
    states.move(call, claim, "resolved")
    happened(call, order.id, "claim_settled", resolution, reference=claim.id)
    return claim


def _take_offer(call: Call, claim: Claim, wanted: Settlement) -> Claim:
    if wanted.resolution is not None:
        raise InvalidParameters.field(
            "resolution", wanted.resolution, "only for a customer's claim"
        )
    states.require(claim, ("offered",), "be settled")
    offer = claim.approved_minor
    if wanted.amount_minor not in (None, offer):
        raise InvalidParameters.field("amount_minor", wanted.amount_minor, f"{offer}, as offered")
    given_up = claim.claimed_minor - offer
    call.stake(amount_minor=given_up, currency=claim.currency, denies=False)
    call.show(
        f"Accept the offer for claim {claim.id}",
        f"{Money(offer, claim.currency)} of {Money(claim.claimed_minor, claim.currency)}",
        f"given up: {Money(given_up, claim.currency)}",
    )
    deciding.accept(call, claim, offer)
    return claim


def _amount(claim: Claim, wanted: Settlement) -> int:
    decided = claim.state != "under_review"
    most = claim.approved_minor if decided else claim.claimed_minor
    amount = most if wanted.amount_minor is None else wanted.amount_minor
    if amount > most or (decided and amount != most):
        what = f"{most}, as decided" if decided else f"at most {most}, what is claimed"
        raise InvalidParameters.field("amount_minor", amount, what)
    if wanted.resolution != "replacement":
        if not amount:
            raise RuleViolation(
                f"Nothing was paid for what claim {claim.id} is about.",
                next="Settle it with a replacement.",
            )
        return amount
    if claim.type == "late":
        raise InvalidParameters.field("resolution", "replacement", "refund or credit, when late")
    if amount != claim.claimed_minor:
        raise RuleViolation(
            "A replacement makes good all of a claim, and only a part of this one is approved.",
            next="Settle it with refund or credit.",
        )
    return amount


def _give_back(call: Call, claim: Claim, order: Order, resolution: str, amount: int) -> None:
    """Out of the payments of the order, and of what it was exchanged for, in both cases: so that
    nobody refunds the same money again."""
    method_id = None
    if resolution == "credit":
        method_id = paid.store_credit_method(call, order.customer_id, order.currency).id
    made = paid.refund_exchanged(
        call, order, amount, "claim", to_method_id=method_id,
        allow_unlinked=method_id is not None, source=("claim", claim.id),
    )  # fmt: skip
    claim.refund_id = made[0].id


def _goods_minor(call: Call, claim: Claim) -> int:
    """What the goods are worth that go out again: the price, or the cost where that is more. A
    replacement of a replacement costs the customer nothing and the shop as much as the first."""
    worth = 0
    for line in service.lines_of(call, claim):
        if line.order_line_id is not None:
            price = call.get(OrderLine, line.order_line_id).unit_price_minor
            worth += max(price, line.unit_cost_minor) * line.quantity
    return worth


def _replace(call: Call, claim: Claim, order: Order) -> None:
    """The same units again, as an order that costs nothing."""
    lines = []
    for line in service.lines_of(call, claim):
        if line.order_line_id is None:
            continue
        price = call.get(OrderLine, line.order_line_id).unit_price_minor
        lines.append(placing.NewLine(line.sku, line.quantity, price, price * line.quantity))
        call.show("", f"send {line.quantity} × {line.sku}")
    placed = placing.place(
        call,
        placing.NewOrder(
            customer_id=order.customer_id, lines=lines, ship_to=order.ship_to,
            channel="claim", ship_by=call.now + SEND_WITHIN, replaces_order_id=order.id,
        ),
    )  # fmt: skip
    claim.replacement_order_id = placed.id


def _refuse_made_whole(call: Call, claim: Claim) -> None:
    """Units a return or another claim has settled since this one was opened are not paid again."""
    if claim.type == "late":
        return
    wanted: Counter[str] = Counter()
    for line in service.lines_of(call, claim):
        if line.order_line_id is not None:
            wanted[line.order_line_id] += line.quantity
    given = made_good.of_lines(call, list(wanted))
    for line_id, units in wanted.items():
        left = call.get(OrderLine, line_id).quantity - given[line_id].units
        if units > left:
            raise RuleViolation(
                f"Of line {line_id} only {left} units were not made good already, by a"
                " return or another claim.",
                details={"line_id": line_id, "left": left},
                next="Withdraw the claim, or settle it for what is left.",
            )


def _refuse_more_than_left(call: Call, order: Order, amount: int) -> None:
    """Refunds, lost disputes, returns and other claims together give back at most what the order
    had cost, with the goods that it was exchanged for."""
    given = select(func.sum(Claim.paid_minor)).where(
        Claim.order_id == order.id, Claim.kind == "customer", Claim.resolution == "replacement",
        Claim.state.in_(GIVEN),
    )  # fmt: skip
    lost = select(func.sum(Dispute.amount_minor)).where(
        Dispute.order_id == order.id, Dispute.status.in_(("lost", "accepted"))
    )
    refunded = select(func.sum(Refund.amount_minor)).where(
        Refund.order_id == order.id, Refund.status.in_(("pending", "succeeded"))
    )
    back = sum(int(call.session.scalar(each) or 0) for each in (given, lost, refunded))
    credited = max(0, -order.other_minor) if order.channel == "exchange" else 0
    left = max(order.total_minor + credited - back, 0)
    if amount > left:
        raise InsufficientFunds(
            f"Of order {order.id} {Money(back, order.currency)} went back already; at most "
            f"{Money(left, order.currency)} may follow.",
            details={"given_back_minor": back, "left_minor": left},
            next="Settle it for less, or withdraw the claim.",
        )
