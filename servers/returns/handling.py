"""From the desk to the shelf: authorize, reject, receive, inspect, decide what becomes of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from sqlalchemy import select

from common.call import Call, quoted
from common.errors import InvalidParameters, NotFound, RuleViolation
from common.rules import lots, made_good, stock
from common.rules.timeline import happened
from common.tables.inventory import Lot, Product, Warehouse
from common.tables.logistics import ShipmentLine
from common.tables.orders import Order, OrderLine
from common.tables.returns import Inspection, Return, ReturnLine, ReturnPolicy
from servers.returns import service

WAITING: Final = ("requested", "needs_review")
EXPECTED: Final = ("authorized", "label_issued", "in_transit", "partially_received")

SEND_DAYS: Final = 14

# disposition: (where the units go, the ledger's code)
_WAYS: Final[dict[str, tuple[str, str]]] = {
    "restock": ("available", "restock"),
    "open_box": ("available", "restock"),
    "repackage": ("refurbish", "refurbish"),
    "refurbish": ("refurbish", "refurbish"),
    "quarantine": ("quarantine", "quarantine"),
    "rtv": ("supplier", "supplier_return"),
    "liquidate": ("scrap", "dispose"),
    "donate": ("scrap", "dispose"),
    "recycle": ("scrap", "dispose"),
    "scrap": ("scrap", "dispose"),
}


@dataclass(frozen=True)
class Arrived:
    line_id: str
    quantity: int
    damaged: int = 0


@dataclass(frozen=True)
class Inspected:
    line_id: str
    quantity: int
    grade: str
    condition: str
    disposition: str
    note: str = ""


def authorize(call: Call, return_id: str, returnless: bool) -> service.Whole:
    """Let the customer send it back, or keep it (``returnless``) where the policy allows that.

    Raises RuleViolation for a return that does not wait for a decision.
    """
    rma = service.changing(call, return_id)
    _require(call, rma, WAITING, "be authorized")
    call.stake(returnless=returnless)
    policy = service.policy_of(call, rma)
    sent_back = service.sent_back(call, rma)
    if returnless:
        if sent_back:
            raise RuleViolation(
                "It went back to its sender: the customer has nothing to keep.",
                next="authorize_return without returnless, then receive_return.",
            )
        limit = 0
        if policy is not None and policy.currency == rma.currency:
            limit = policy.returnless_up_to_minor
        if rma.kind != "return" or rma.refund_minor > limit:
            raise RuleViolation(
                f"The policy lets customers keep goods up to {limit} minor units.",
                details={"refund_minor": rma.refund_minor, "limit_minor": limit},
            )
    call.show(
        f"Authorize return {rma.id} of order {rma.order_id}",
        "the customer keeps the goods"
        if returnless
        else "its parcel is on its way"
        if sent_back
        else "a label is issued",
    )
    rma.state = "returnless" if returnless else "in_transit" if sent_back else "label_issued"
    rma.authorized_at = call.now
    rma.expires_at = call.now + timedelta(days=policy.send_within_days if policy else SEND_DAYS)
    if returnless:
        rma.expires_at = None
    for line in service.lines_of(call, rma):
        service.set_aside(call, rma, line, rma.warehouse_id, rma.expires_at)
    if sent_back:
        rma.expires_at = None
    happened(call, rma.order_id, "return_authorized", reference=rma.id)
    return service.whole(call, rma.id)


def reject(call: Call, return_id: str, reason: str, note: str) -> service.Whole:
    """Turn the return down, for good; what was set aside for an exchange is let go."""
    rma = service.changing(call, return_id)
    _require(call, rma, (*WAITING, *EXPECTED), "be rejected")
    call.stake()
    call.show(
        f"Reject return {rma.id} of order {rma.order_id}",
        f"reason: {reason.replace('_', ' ')}",
        f"note: {quoted(note)}",
    )
    if any(line.received for line in service.lines_of(call, rma)):
        raise RuleViolation("Some of it was received already: inspect and settle it.")
    for line in service.lines_of(call, rma):
        service.let_go(call, line)
    rma.state, rma.reject_reason, rma.reject_note = "rejected", reason, note
    rma.closed_at = call.now
    happened(call, rma.order_id, "return_rejected", reason, reference=rma.id)
    return service.whole(call, rma.id)


def cancel(call: Call, return_id: str) -> service.Whole:
    """The customer changed their mind before anything was sent back, or it never got here."""
    rma = service.changing(call, return_id)
    _require(call, rma, (*WAITING, "authorized", "label_issued", "in_transit"), "be cancelled")
    call.stake()
    for line in service.lines_of(call, rma):
        service.let_go(call, line)
    rma.state, rma.closed_at = "cancelled", call.now
    happened(call, rma.order_id, "return_cancelled", reference=rma.id)
    return service.whole(call, rma.id)


def receive(
    call: Call, return_id: str, arrived: Sequence[Arrived], warehouse_id: str | None
) -> service.Whole:
    """Units are back: they wait in inspection, in no way for sale.

    Raises RuleViolation for more than was announced, or a return nobody authorized.
    """
    rma = service.changing(call, return_id)
    _require(call, rma, EXPECTED, "be received")
    call.stake(units=sum(each.quantity for each in arrived))
    place = warehouse_id or rma.warehouse_id
    if place is None:
        raise InvalidParameters.field("warehouse", None, "needed: the order names none")
    call.get(Warehouse, place)
    order = call.get(Order, rma.order_id)
    lines = {line.id: line for line in service.lines_of(call, rma)}
    if place != rma.warehouse_id and any(line.received for line in lines.values()):
        raise RuleViolation(
            f"The first part of it is in {rma.warehouse_id}: receive the rest there.",
            details={"warehouse": rma.warehouse_id},
        )
    for each in arrived:
        line = _line(lines, each.line_id)
        if line.received + each.quantity > line.quantity:
            raise RuleViolation(
                f"Only {line.quantity - line.received} more units of it were announced.",
                details={"line_id": line.id, "announced": line.quantity, "here": line.received},
                next="Receive what was announced; request another return for the rest.",
            )
        if each.damaged > each.quantity:
            raise InvalidParameters.field("damaged", each.damaged, "at most the quantity")
        stock.move(
            call, line.sku, place, "customer", "inspection", each.quantity, "return_in", rma.id,
            lot=_lot_of(call, line),
        )  # fmt: skip
        if line.received == 0:
            service.set_aside(call, rma, line, order.warehouse_id, None)
        line.received += each.quantity
        line.damaged += each.damaged
    rma.warehouse_id = place
    everything = all(line.received == line.quantity for line in lines.values())
    rma.state = "received" if everything else "partially_received"
    rma.received_at = call.now
    happened(call, rma.order_id, "return_received", rma.state, reference=rma.id)
    return service.whole(call, rma.id)


def inspect(call: Call, return_id: str, found: Sequence[Inspected]) -> service.Whole:
    """Grade received units and carry out what becomes of them: only now may they be sold again.

    Raises RuleViolation for more units than wait, or goods that may not be sold again.
    """
    rma = service.changing(call, return_id)
    _require(call, rma, ("received", "partially_received", "inspected"), "be inspected")
    call.stake(units=sum(each.quantity for each in found))
    now = service.whole(call, rma.id)
    lines = {line.id: line for line in now.lines}
    seen = {id: sum(i.quantity for i in each) for id, each in now.inspections.items()}
    policy = service.policy_of(call, rma)
    for each in found:
        line = _line(lines, each.line_id)
        if seen[line.id] + each.quantity > line.received:
            raise RuleViolation(
                f"Only {line.received - seen[line.id]} units of it wait for inspection.",
                details={"line_id": line.id},
            )
        target, code = _WAYS[each.disposition]
        if target == "available":
            _require_sellable(call, line, each, policy)
        seen[line.id] += each.quantity
        transfer = stock.move(
            call, line.sku, rma.warehouse_id or "", "inspection", target,  # type: ignore[arg-type]
            each.quantity, code, rma.id, lot=_waiting_in(call, rma, line, each.quantity),
        )  # fmt: skip
        call.add(
            Inspection(
                id=call.new_id("inspection"), return_line_id=line.id, quantity=each.quantity,
                grade=each.grade, condition=each.condition, disposition=each.disposition,
                note=each.note, transfer_id=transfer, inspected_at=call.now,
                inspected_by=call.actor.id,
            )
        )  # fmt: skip
        line.condition = each.condition
    if all(line.received == line.quantity for line in lines.values()):
        done = all(seen[line.id] == line.quantity for line in lines.values())
        rma.state = "dispositioned" if done else "inspected"
    if rma.state == "dispositioned" and rma.settled_at is not None:
        rma.state, rma.closed_at = "closed", call.now
    happened(call, rma.order_id, "return_inspected", reference=rma.id)
    return service.whole(call, rma.id)


def _lots_sent(call: Call, line: ReturnLine) -> list[str]:
    """The lots that the units of the order line were sent from."""
    query = select(ShipmentLine.lot_id).where(
        ShipmentLine.order_line_id == line.order_line_id, ShipmentLine.lot_id.is_not(None)
    )
    return [str(id) for id in call.session.scalars(query.distinct().order_by(ShipmentLine.lot_id))]


def _lot_of(call: Call, line: ReturnLine) -> str | None:
    """The one lot the units can be of; None where there is none, or several."""
    sent = _lots_sent(call, line)
    return sent[0] if len(sent) == 1 else None


def _waiting_in(call: Call, rma: Return, line: ReturnLine, quantity: int) -> str | None:
    """The lot the units wait for inspection in: an earlier version received them without one."""
    lot = _lot_of(call, line)
    if lot is None:
        return None
    waiting = stock.by_lot(call.session, call.now, line.sku, rma.warehouse_id or "").get(lot)
    return lot if waiting is not None and waiting.inspection >= quantity else None


def _require_sellable(
    call: Call, line: ReturnLine, found: Inspected, policy: ReturnPolicy | None
) -> None:
    """Raises RuleViolation for what must not go back on the shelf."""
    order_line = call.get(OrderLine, line.order_line_id)
    restockable = call.get(Product, order_line.product_id).restockable
    sent = _lots_sent(call, line)
    if not restockable or (policy is not None and not policy.restockable):
        why = "Such goods may not be sold again."
    elif any(not lots.may_go_out(call.get(Lot, id), call.now.date()) for id in sent):
        why = "It may be of a lot that has expired or was withdrawn."
    elif len(sent) > 1:
        why = "It was sent from several lots, and nobody knows of which this is."
    elif found.grade in ("C", "D"):
        why = f"Grade {found.grade} is not sold as new."
    elif found.condition in ("damaged", "incomplete"):
        why = f"What is {found.condition} is not sold as new."
    else:
        return
    raise RuleViolation(
        why,
        details={"line_id": line.id, "grade": found.grade, "condition": found.condition},
        next="Choose refurbish, quarantine, rtv, donate, recycle or scrap.",
    )


def _require(call: Call, rma: Return, states: Sequence[str], what: str) -> None:
    state = made_good.standing(rma, call.now)
    if state == "expired":
        raise RuleViolation(
            f"Return {rma.id} has expired: nothing was sent back in time.",
            details={"state": state},
            next="Request a new return if the window is still open.",
        )
    if state not in states:
        raise RuleViolation(
            f"Return {rma.id} is {state.replace('_', ' ')} and cannot {what}.",
            details={"state": state, "needed": list(states)},
        )
    if rma.settled_at is not None and what in ("be rejected", "be cancelled"):
        raise RuleViolation(
            f"Return {rma.id} was refunded already and cannot {what}.",
            details={"state": state},
            next="Wait for the goods, then receive_return and inspect_return.",
        )


def _line(lines: dict[str, ReturnLine], line_id: str) -> ReturnLine:
    if line_id not in lines:
        raise NotFound(f"The return has no line {line_id}.", next="get_return lists its lines.")
    return lines[line_id]
