"""What the returns server answers with."""

from datetime import datetime

from common.clock import stamp
from common.money import Money
from common.rules.made_good import standing
from common.tables.returns import Return
from common.wire import Result
from servers.returns.eligibility import Verdict
from servers.returns.recalling import Recalled
from servers.returns.service import Whole


class LineVerdict(Result):
    line_id: str
    sku: str
    name: str
    quantity: int
    left: int
    eligible: bool
    rule: str
    window_ends_at: str | None = None
    refund_minor: int
    fee_minor: int | None = None


class Eligibility(Result):
    order_id: str
    eligible: bool
    currency: str
    refund: str
    refund_minor: int
    lines: list[LineVerdict]

    @classmethod
    def of(cls, order_id: str, currency: str, verdicts: list[Verdict]) -> "Eligibility":
        total = sum(v.refund_minor for v in verdicts if v.eligible)
        return cls(
            order_id=order_id,
            eligible=bool(verdicts) and all(v.eligible for v in verdicts),
            currency=currency,
            refund=str(Money(total, currency)),
            refund_minor=total,
            lines=[
                LineVerdict(
                    line_id=v.line.id, sku=v.line.sku, name=v.line.name, quantity=v.quantity,
                    left=v.left, eligible=v.eligible, rule=v.rule, refund_minor=v.refund_minor,
                    fee_minor=v.fee_minor or None,
                    window_ends_at=stamp(v.window_ends_at) if v.window_ends_at else None,
                )
                for v in verdicts
            ],
        )  # fmt: skip


class Found(Result):
    quantity: int
    grade: str
    condition: str
    disposition: str | None = None


class ReturnLineView(Result):
    line_id: str
    order_line_id: str
    sku: str
    quantity: int
    reason: str
    received: int
    damaged: int | None = None
    refund_minor: int
    exchange_sku: str | None = None
    price_difference_minor: int | None = None
    found: list[Found] | None = None
    settlement: str | None = None
    settled_minor: int | None = None
    refund_id: str | None = None
    payment_id: str | None = None
    exchange_order_id: str | None = None


class ReturnRow(Result):
    return_id: str
    order_id: str
    customer_id: str
    kind: str
    state: str
    refund_to: str
    refund: str
    requested_at: str
    expires_at: str | None = None
    settled_at: str | None = None

    @classmethod
    def of(cls, rma: Return, now: datetime) -> "ReturnRow":
        return cls(
            return_id=rma.id,
            order_id=rma.order_id,
            customer_id=rma.customer_id,
            kind=rma.kind,
            state=standing(rma, now),
            refund_to=rma.refund_to,
            refund=str(Money(rma.refund_minor, rma.currency)),
            requested_at=stamp(rma.requested_at),
            expires_at=stamp(rma.expires_at) if rma.expires_at else None,
            settled_at=stamp(rma.settled_at) if rma.settled_at else None,
        )


class ReturnList(Result):
    count: int
    returns: list[ReturnRow]
    next_cursor: str | None = None


class ReturnView(ReturnRow):
    """``line_id`` here is the return's own line: receiving and inspecting name it."""

    rule: str
    method_id: str | None = None
    currency: str
    fee_minor: int | None = None
    price_difference_minor: int | None = None
    label_code: str | None = None
    warehouse: str | None = None
    reject_reason: str | None = None
    lines: list[ReturnLineView]
    next: str

    @classmethod
    def whole(cls, found: Whole, now: datetime) -> "ReturnView":
        rma = found.rma
        state = standing(rma, now)
        lines = []
        for line in found.lines:
            settled = found.settlements.get(line.id)
            lines.append(
                ReturnLineView(
                    line_id=line.id, order_line_id=line.order_line_id, sku=line.sku,
                    quantity=line.quantity, reason=line.reason, received=line.received,
                    damaged=line.damaged or None, refund_minor=line.refund_minor,
                    exchange_sku=line.exchange_sku,
                    price_difference_minor=line.price_difference_minor
                    if line.exchange_sku
                    else None,
                    found=[
                        Found(
                            quantity=i.quantity, grade=i.grade, condition=i.condition,
                            disposition=i.disposition,
                        )
                        for i in found.inspections.get(line.id, [])
                    ]
                    or None,
                    settlement=settled.kind if settled else None,
                    settled_minor=settled.amount_minor if settled else None,
                    refund_id=settled.refund_id if settled else None,
                    payment_id=settled.payment_id if settled else None,
                    exchange_order_id=settled.exchange_order_id if settled else None,
                )
            )  # fmt: skip
        shown = state in ("authorized", "label_issued", "in_transit", "partially_received")
        return cls(
            **ReturnRow.of(rma, now).model_dump(),
            rule=rma.policy_rule,
            method_id=rma.method_id,
            currency=rma.currency,
            fee_minor=rma.fee_minor or None,
            price_difference_minor=rma.price_difference_minor if rma.kind == "exchange" else None,
            label_code=rma.label_code if shown else None,
            warehouse=rma.warehouse_id,
            reject_reason=rma.reject_reason,
            lines=lines,
            next=_next(rma, state, found),
        )


def _next(rma: Return, state: str, found: Whole) -> str:
    step = _NEXT.get(state, "It is over.")
    if state == "in_transit" and rma.settled_at is not None:
        step = "Wait for the goods, then receive_return."
    if rma.instant and rma.settled_at is None and state in ("label_issued", "in_transit"):
        step = "settle_return now; the policy does not wait for the goods."
    if state in _NEXT and any(line.reason == "damaged_in_transit" for line in found.lines):
        step += " Damaged on the way: claims.open_claim as well."
    if any(each.disposition == "rtv" for looked in found.inspections.values() for each in looked):
        step += " What went back to the supplier: claims.open_claim with kind=supplier, return_id."
    return step


_NEXT = {
    "requested": "authorize_return or reject_return.",
    "needs_review": "A person should look at it; then authorize_return or reject_return.",
    "label_issued": "Wait for the goods, then receive_return.",
    "authorized": "Wait for the goods, then receive_return.",
    "in_transit": "receive_return when its parcel is here; if it does not get here, cancel_return "
    "and claims.open_claim.",
    "partially_received": "receive_return for the rest; or inspect_return, then settle_return, "
    "for what is here.",
    "received": "inspect_return.",
    "inspected": "inspect_return for the rest.",
    "dispositioned": "settle_return.",
    "returnless": "settle_return; the customer keeps the goods.",
}


class RecallReturns(Result):
    lot_id: str
    count: int
    waiting: int
    returns: list[ReturnRow]

    @classmethod
    def of(cls, found: Recalled, now: datetime) -> "RecallReturns":
        rows = [ReturnRow.of(rma, now) for rma in found.opened]
        return cls(lot_id=found.lot.id, count=len(rows), waiting=found.waiting, returns=rows)
