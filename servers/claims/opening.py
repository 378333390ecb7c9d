"""Open a claim: who against whom, for which units, for how much. Nothing goes out yet."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sqlalchemy import select

from common.call import Call
from common.errors import InvalidParameters, NotFound, RuleViolation
from common.money import allocate
from common.rules.timeline import happened
from common.storage.database import lock
from common.storage.locks import one_at_a_time
from common.tables.claims import Claim, ClaimLine
from common.tables.inventory import Supplier
from common.tables.logistics import Shipment, ShipmentLine
from common.tables.orders import Order, OrderLine
from common.tables.returns import Inspection, Return, ReturnLine
from servers.claims import checklist, deadlines, lateness, provenance, states, valuing
from servers.claims.valuing import Portion

NOT_SENT = ("created", "planned", "label_created", "tendered", "cancelled")
SENT_LINES = ("shipped", "delivered", "returned")


@dataclass(frozen=True)
class Asked:
    """``line_id``: an order line, a shipment line or a SKU of it; None units: all of them."""

    line_id: str
    quantity: int | None = None


@dataclass(frozen=True)
class NewClaim:
    kind: str
    type: str
    order_id: str | None = None
    shipment_id: str | None = None
    return_id: str | None = None
    supplier_id: str | None = None
    parent_id: str | None = None
    lines: Sequence[Asked] = ()
    description: str = ""
    reference: str | None = None


def open_claim(call: Call, new: NewClaim) -> Claim:
    """Open a customer's claim, or draft one against a carrier, an insurer or a supplier.

    Raises NotFound, InvalidParameters; RuleViolation: not sent yet, not late, excused, units
    already claimed or returned, an open claim for the same line and type, another supplier's.
    """
    order, shipment = _subject(call, new)
    one_at_a_time(call.session, f"claims:{order.id if order else shipment and shipment.id}")
    if order is not None:
        lock(call.session, Order, [order.id])
    _check_parties(call, new, shipment)
    portions = _portions(call, order, shipment, new.lines or _of_return(call, new))
    if new.supplier_id is not None:
        provenance.check_supplier(call, new.supplier_id, portions)
    _check_type(call, new, shipment, portions)
    parent = _parent(call, new, order, shipment)
    if new.kind == "customer":
        if order is None:
            raise InvalidParameters.field("order_id", None, "an order, for a customer's claim")
        value = valuing.for_customer(call, order, new.type, portions)
    else:
        _refuse_second(call, new, portions)
        value = valuing.for_recovery(call, new.kind, new.type, order, shipment, portions)
    claim = call.add(
        Claim(
            id=call.new_id("claim"), kind=new.kind, type=new.type,
            state="opened" if new.kind == "customer" else "draft",
            order_id=order.id if order else None,
            shipment_id=shipment.id if shipment else None, return_id=new.return_id,
            customer_id=order.customer_id if order else None,
            carrier_id=shipment.carrier_id if shipment else None, supplier_id=new.supplier_id,
            parent_id=parent, description=new.description, currency=value.currency,
            freight_minor=value.freight_minor,
            claimed_minor=sum(value.lines) + value.freight_minor,
            carrier_reference=new.reference, opened_at=call.now,
        )
    )  # fmt: skip
    _add_lines(call, claim, portions, value)
    claim.deadline_at = deadlines.due(call, claim, "file_by")
    _first_state(call, claim)
    call.stake(units=sum(each.quantity for each in portions))
    if order is not None:
        happened(call, order.id, "claim_opened", f"{new.kind}, {new.type}", reference=claim.id)
    return claim


def _subject(call: Call, new: NewClaim) -> tuple[Order | None, Shipment | None]:
    """The order and the shipment the claim is about, each found from the other."""
    shipment = call.get(Shipment, new.shipment_id) if new.shipment_id else None
    order_id = new.order_id or (shipment.order_id if shipment else None)
    if new.return_id is not None:
        order_id = order_id or call.get(Return, new.return_id).order_id
    order = call.get(Order, order_id, next="Look for it with search_orders.") if order_id else None
    if order is None and shipment is None:
        raise InvalidParameters.field("order_id", None, "an order or a shipment")
    if order is not None and shipment is not None and shipment.order_id != order.id:
        raise RuleViolation(f"Shipment {shipment.id} is not of order {order.id}.")
    if new.return_id is not None:
        rma = call.get(Return, new.return_id)
        if order is not None and rma.order_id != order.id:
            raise RuleViolation(f"Return {rma.id} is not of order {order.id}.")
    if shipment is None and order is not None:
        shipment = _only_shipment(call, order, new.kind)
    return order, shipment


def _only_shipment(call: Call, order: Order, kind: str) -> Shipment | None:
    sent = call.all(
        Shipment, Shipment.order_id == order.id, Shipment.kind != "return",
        Shipment.status.not_in(NOT_SENT), limit=50,
    )  # fmt: skip
    if len(sent) == 1:
        return sent[0]
    if kind == "carrier":
        raise RuleViolation(
            f"Order {order.id} has {len(sent)} shipments that left; a carrier claim is for one.",
            details={"shipments": [each.id for each in sent]},
            next="Name shipment_id." if sent else "Wait until it is shipped.",
        )
    return None


def _check_parties(call: Call, new: NewClaim, shipment: Shipment | None) -> None:
    if new.kind == "supplier":
        if new.supplier_id is None:
            raise InvalidParameters.field("supplier_id", None, "the supplier claimed against")
        call.get(Supplier, new.supplier_id)
    elif new.supplier_id is not None:
        raise InvalidParameters.field("supplier_id", new.supplier_id, "only with kind supplier")
    if new.kind != "carrier":
        return
    if shipment is None:
        raise InvalidParameters.field("shipment_id", None, "a shipment, for a carrier claim")
    if shipment.carrier_id is None:
        raise RuleViolation(
            f"Shipment {shipment.id} went with the shop's own vans: there is no carrier.",
            next="An insurer may be claimed against: kind insurer.",
        )


def _portions(
    call: Call, order: Order | None, shipment: Shipment | None, asked: Sequence[Asked]
) -> list[Portion]:
    """The units claimed for, by shipment line where there is a shipment."""
    every = _all_portions(call, order, shipment)
    if not asked:
        return every
    chosen: list[Portion] = []
    for each in asked:
        fitting = [p for p in every if each.line_id in (p.order_line_id, p.shipment_line_id, p.sku)]
        if not fitting:
            raise NotFound(
                f"There is no line {each.line_id} in it.", next="get_order lists its lines."
            )
        wanted = sum(p.quantity for p in fitting) if each.quantity is None else each.quantity
        for portion in fitting:
            part = min(wanted, portion.quantity)
            if part:
                chosen.append(replace(portion, quantity=part))
            wanted -= part
        if wanted:
            most = sum(p.quantity for p in fitting)
            raise InvalidParameters.field("quantity", each.quantity, f"at most {most}")
    if len({(p.order_line_id, p.shipment_line_id) for p in chosen}) < len(chosen):
        raise InvalidParameters.field("lines", None, "each line once")
    return chosen


def _of_return(call: Call, new: NewClaim) -> list[Asked]:
    """What a recovery about a return is for: against a supplier, the units that were sent back to
    it after inspection. Raises RuleViolation when there are none."""
    if new.return_id is None or new.kind == "customer":
        return []
    lines = call.all(ReturnLine, ReturnLine.return_id == new.return_id, limit=200)
    units = {line.id: line.quantity for line in lines}
    if new.kind == "supplier":
        looked = Inspection.return_line_id.in_(units)
        sent = call.all(Inspection, looked, Inspection.disposition == "rtv")
        units = {
            line.id: sum(each.quantity for each in sent if each.return_line_id == line.id)
            for line in lines
        }
    asked: dict[str, int] = {}
    for line in lines:
        asked[line.order_line_id] = asked.get(line.order_line_id, 0) + units[line.id]
    if not any(asked.values()):
        raise RuleViolation(
            f"Nothing of return {new.return_id} was sent back to a supplier.",
            next="inspect_return with disposition rtv sends it; or name the lines.",
        )
    return [Asked(id, quantity) for id, quantity in asked.items() if quantity]


def _all_portions(call: Call, order: Order | None, shipment: Shipment | None) -> list[Portion]:
    rows: list[ShipmentLine] = []
    if shipment is not None:
        rows = call.all(ShipmentLine, ShipmentLine.shipment_id == shipment.id, limit=200)
    if rows:
        return [Portion(row.sku, row.quantity, row.order_line_id, row.id) for row in rows]
    lines = []
    if order is not None:
        lines = call.all(OrderLine, OrderLine.order_id == order.id, limit=200)
    found = [
        Portion(line.sku, line.quantity, line.id, None)
        for line in sorted(lines, key=lambda line: line.position)
        if line.status in SENT_LINES
    ]
    if not found:
        raise RuleViolation("Nothing of it has been shipped, so there is nothing to claim for.")
    return found


def _check_type(
    call: Call, new: NewClaim, shipment: Shipment | None, portions: list[Portion]
) -> None:
    if shipment is None:
        if new.type == "late":
            raise RuleViolation("A late claim is for a shipment.", next="Name shipment_id.")
        return
    if shipment.status in NOT_SENT:
        raise RuleViolation(
            f"Shipment {shipment.id} is {states.words(shipment.status)}: it has not left."
        )
    if new.type == "loss" and shipment.delivered_at is not None:
        raise RuleViolation(
            f"Shipment {shipment.id} was delivered, so it is not lost.",
            next="If nobody has it, the type is misdelivery or theft.",
        )
    if new.type == "late":
        lateness.require(call, shipment, excusable=new.kind != "customer")
    if new.kind == "carrier" and any(each.shipment_line_id is None for each in portions):
        raise RuleViolation(f"Shipment {shipment.id} has no lines to claim for.")


def _parent(
    call: Call, new: NewClaim, order: Order | None, shipment: Shipment | None
) -> str | None:
    """The customer's claim that a recovery pays for."""
    if new.parent_id is not None:
        parent = call.get(Claim, new.parent_id)
        if new.kind == "customer" or parent.kind != "customer":
            raise RuleViolation("Only a recovery has a parent, and that is a customer's claim.")
        if order is None or parent.order_id != order.id:
            raise RuleViolation(f"Claim {parent.id} is of another order.")
        return parent.id
    if new.kind == "customer" or order is None:
        return None
    query = select(Claim.id).where(
        Claim.kind == "customer", Claim.order_id == order.id, Claim.type == new.type,
        Claim.shipment_id == (shipment.id if shipment else None), Claim.state != "withdrawn",
    )  # fmt: skip
    return call.session.scalar(query.order_by(Claim.opened_at.desc(), Claim.id.desc()).limit(1))


def _refuse_second(call: Call, new: NewClaim, portions: list[Portion]) -> None:
    """One open claim of a kind for a line and type. A line of the order is all of its shipments'
    lines, and each of those is of it."""
    sent = [each.shipment_line_id for each in portions if each.shipment_line_id]
    bare = [each.order_line_id for each in portions if not each.shipment_line_id]
    every = [each.order_line_id for each in portions]
    query = (
        select(Claim.id)
        .join(ClaimLine, ClaimLine.claim_id == Claim.id)
        .where(
            Claim.kind == new.kind, Claim.state.not_in(states.OVER),
            ClaimLine.claim_type == new.type,
            ClaimLine.shipment_line_id.in_(sent)
            | ClaimLine.order_line_id.in_(bare)
            | (ClaimLine.shipment_line_id.is_(None) & ClaimLine.order_line_id.in_(every)),
        )
    )  # fmt: skip
    found = call.session.scalar(query.limit(1))
    if found is not None:
        raise RuleViolation(
            f"Claim {found} is open against the {new.kind} for the same line and type.",
            details={"claim_id": found},
            next=f"Go on with {found}, or withdraw it first.",
        )


def _add_lines(call: Call, claim: Claim, portions: list[Portion], value: valuing.Value) -> None:
    paired = zip(portions, value.unit_costs, value.lines, strict=True)
    for position, (portion, unit_cost, claimed) in enumerate(paired):
        call.add(
            ClaimLine(
                id=call.new_id("claim_line"), claim_id=claim.id, position=position,
                order_line_id=portion.order_line_id, shipment_line_id=portion.shipment_line_id,
                sku=portion.sku, quantity=portion.quantity, unit_cost_minor=unit_cost,
                claimed_minor=claimed, claim_type=claim.type,
                carrier_open=claim.kind == "carrier",
            )
        )  # fmt: skip


def _first_state(call: Call, claim: Claim) -> None:
    missing = checklist.of(call, claim).missing
    if claim.kind == "customer":
        states.move(call, claim, "evidence_pending" if missing else "triage")
    elif not missing:
        states.move(call, claim, "ready")


def share(claim: Claim, lines: Sequence[ClaimLine], amount: int, *, of: str) -> list[int]:
    """``amount`` over the lines in proportion to what is ``of`` (claimed or approved) each; what
    the freight bears is left out."""
    weights = [int(getattr(line, f"{of}_minor")) for line in lines]
    total = int(getattr(claim, f"{of}_minor"))
    return allocate(amount, [*weights, total - sum(weights)])[: len(lines)]
