"""The packet that goes to the other side: everything a carrier asks for, as Markdown.

Every figure is from the records. What people wrote is quoted; files are named by their hash.
"""

from datetime import datetime

from common.call import Call, quoted
from common.clock import stamp
from common.money import Money
from common.rules.addresses import one_line
from common.tables.claims import Claim
from common.tables.inventory import Variant, Warehouse
from common.tables.logistics import (
    Carrier,
    DeliveryException,
    Parcel,
    ProofOfDelivery,
    Shipment,
)
from common.tables.orders import Customer
from servers.claims import deadlines, filing, service, states
from servers.claims.deadlines import Deadline

_MARKS = str.maketrans({"|": "¦", "[": "\\[", "<": "\\<", "`": "'"})
_ANSWERS = (("acknowledge", "To be acknowledged"), ("decide", "To be decided"))


def of(call: Call, claim_id: str) -> str:
    """The whole packet. Raises NotFound."""
    found = service.whole(call, claim_id)
    claim = found.claim
    shipment = call.get(Shipment, claim.shipment_id) if claim.shipment_id else None
    parts = (
        [f"# Claim {claim.id}: {states.words(claim.type)}"],
        _parties(call, claim, shipment),
        _shipment(call, shipment) if shipment is not None else [],
        _story(claim),
        _loss(call, found, shipment),
        _evidence(found),
        _deadlines(call, claim, shipment),
        _answers(found),
        _checklist(found),
    )
    return "\n\n".join("\n".join(lines) for lines in parts if lines) + "\n"


def _parties(call: Call, claim: Claim, shipment: Shipment | None) -> list[str]:
    lines = ["## Parties", ""]
    if shipment is not None and shipment.warehouse_id is not None:
        house = call.get(Warehouse, shipment.warehouse_id)
        lines.append(f"- Claimant, shipper: {_said(house.name)}, {_said(one_line(house.address))}")
    lines.append(f"- Against: {filing.against(call, claim)}")
    if shipment is not None:
        customer = call.get(Customer, claim.customer_id) if claim.customer_id else None
        name = f"{customer.first_name} {customer.last_name}".strip() if customer else ""
        lines.append(f"- Consignee: {_said(name)}, {_said(one_line(shipment.ship_to))}")
    lines.append(f"- Our reference: {claim.id}; order {claim.order_id or 'none'}")
    lines.append(f"- Their reference: {_said(claim.carrier_reference or 'none yet')}")
    return lines


def _shipment(call: Call, shipment: Shipment) -> list[str]:
    parcels = call.all(Parcel, Parcel.shipment_id == shipment.id, limit=100)
    numbers = [p.tracking_number for p in parcels if p.tracking_number]
    tracking = dict.fromkeys([shipment.tracking_number or "", *numbers])
    carrier = call.get(Carrier, shipment.carrier_id).name if shipment.carrier_id else "own vans"
    lines = [
        "## Shipment", "",
        f"- Shipment: {shipment.id}",
        f"- Tracking number: {', '.join(_said(n) for n in tracking if n) or 'none'}",
        f"- Carried by: {_said(carrier)}, service {shipment.service or 'not recorded'}",
        f"- Parcels: {len(parcels) or 1}, {shipment.weight_g} g",
        f"- Declared value: {_declared(shipment)}",
        f"- Shipped: {_moment(shipment.shipped_at)}",
        f"- Promised: {_moment(shipment.promised_at)}",
        f"- Delivered: {_moment(shipment.delivered_at)}",
    ]  # fmt: skip
    for proof in call.all(ProofOfDelivery, ProofOfDelivery.shipment_id == shipment.id, limit=5):
        lines.append(f"- Proof of delivery {proof.id}: {_proof(proof)}")
    mine = DeliveryException.shipment_id == shipment.id
    for each in call.all(DeliveryException, mine, limit=50):
        detail = f", {_said(each.detail)}" if each.detail else ""
        lines.append(f"- Exception: {each.kind} on {stamp(each.opened_at)}{detail}")
    return lines


def _proof(proof: ProofOfDelivery) -> str:
    told = [f"received by {_said(proof.received_by)} at {stamp(proof.at)}"]
    told.append("damage noted" if proof.damage_noted else "no damage noted")
    if proof.condition_note:
        told.append(_said(proof.condition_note))
    for name, digest in (("signature", proof.signature_sha256), ("photo", proof.photo_sha256)):
        if digest:
            told.append(f"{name} SHA-256 {digest}")
    return ", ".join(told)


def _story(claim: Claim) -> list[str]:
    if not claim.description:
        return []
    return ["## What happened", "", _said(claim.description, 2_000)]


def _loss(call: Call, found: service.Whole, shipment: Shipment | None) -> list[str]:
    claim = found.claim
    cost = "what the customer paid" if claim.kind == "customer" else "cost to the shop, not price"
    lines = [
        "## Loss", "", f"Basis: {cost}.", "",
        "| SKU | Units | Unit cost | Claimed | Item |", "|---|--:|--:|--:|---|",
    ]  # fmt: skip
    for line in found.lines:
        unit, claimed = (
            str(Money(n, claim.currency)) for n in (line.unit_cost_minor, line.claimed_minor)
        )
        name = _said(call.get(Variant, line.sku).name)
        lines.append(f"| {_cell(line.sku)} | {line.quantity} | {unit} | {claimed} | {name} |")
    lines += [
        "", f"- Freight: {Money(claim.freight_minor, claim.currency)}",
        f"- **Total: {Money(claim.claimed_minor, claim.currency)}**",
    ]  # fmt: skip
    rule = _rule(call, claim, "file_by")
    if rule is not None and rule.liability_cap_minor is not None and rule.currency:
        lines.append(f"- The carrier's limit: {Money(rule.liability_cap_minor, rule.currency)}")
    proofs = [row.sha256 for row in found.evidence if row.kind == "proof_of_value"]
    lines.append(f"- Proof of value: {', '.join(f'SHA-256 {h}' for h in proofs) or 'none given'}")
    return lines


def _evidence(found: service.Whole) -> list[str]:
    if not found.evidence:
        return ["## Evidence", "", "None yet."]
    lines = [
        "## Evidence",
        "",
        "| What | Taken | Form | Bytes | SHA-256 |",
        "|---|---|---|--:|---|",
    ]
    for row in sorted(found.evidence, key=lambda row: (row.added_at, row.id)):
        taken = stamp(row.taken_at)[:10] if row.taken_at else ""
        what = states.words(row.kind) + (f", {_said(row.note)}" if row.note else "")
        lines.append(f"| {what} | {taken} | {row.media_type} | {row.size_bytes} | {row.sha256} |")
    return lines


def _deadlines(call: Call, claim: Claim, shipment: Shipment | None) -> list[str]:
    """When it had to be filed and when it has to be answered, and who says so."""
    if claim.kind != "carrier":
        return []
    lines = ["## Deadlines", ""]
    for name, words in (("not_before", "Not before"), ("file_by", "To be filed by")):
        rule = _rule(call, claim, name)
        if rule is not None:
            lines.append(f"- {words}: {_due(rule, claim, shipment)}")
    if claim.filed_at is not None:
        lines.append(f"- Filed: {stamp(claim.filed_at)}")
    if claim.deadline_override:
        lines.append(f"- Filed late because {_said(claim.deadline_override, 400)}")
    for name, words in _ANSWERS:
        rule = _rule(call, claim, name)
        if rule is not None:
            lines.append(f"- {words} by: {_due(rule, claim, shipment)}")
    return lines


def _due(rule: Deadline, claim: Claim, shipment: Shipment | None) -> str:
    at = deadlines.moment(rule, claim, shipment)
    unit = "business days" if rule.business_days else "days"
    when = stamp(at) if at else f"not running: nothing {rule.counted_from} yet"
    return (
        f"{when} ({rule.days} {unit} from {rule.counted_from}; "
        f"{_said(rule.source, 400)}, as of {rule.as_of.isoformat()})"
    )


def _answers(found: service.Whole) -> list[str]:
    if not found.decisions:
        return []
    lines = ["## Answers", ""]
    for row in sorted(found.decisions, key=lambda row: (row.at, row.id)):
        told = [stamp(row.at), states.words(row.decision)]
        if row.amount_minor:
            told.append(str(Money(row.amount_minor, found.claim.currency)))
        told += [each for each in (row.code and states.words(row.code),) if each]
        told += [_said(row.text, 400)] if row.text else []
        lines.append("- " + ", ".join(told) + (" (on appeal)" if row.on_appeal else ""))
    return lines


def _checklist(found: service.Whole) -> list[str]:
    lines = ["## Checklist", ""]
    for item in found.checklist.items:
        mark, by = ("x", f": {item.by}") if item.by else (" ", ": **missing**")
        lines.append(f"- [{mark}] {states.words(item.need)}{by}")
    missing = [states.words(need) for need in found.checklist.missing]
    lines += ["", f"Missing: {', '.join(missing) or 'nothing'}"]
    return lines


def _rule(call: Call, claim: Claim, name: str) -> Deadline | None:
    if claim.kind != "carrier":
        return None
    return deadlines.rule(call, name, claim.type, claim.carrier_id)


def _declared(shipment: Shipment) -> str:
    if not shipment.declared_value_minor:
        return "none"
    return str(Money(shipment.declared_value_minor, shipment.currency))


def _moment(at: datetime | None) -> str:
    return stamp(at) if at else "not recorded"


def _said(text: str, limit: int = 120) -> str:
    """What somebody wrote: it stays in its line or cell, and draws and links nothing."""
    return _cell(quoted(text, limit))


def _cell(text: str) -> str:
    return text.translate(_MARKS)
