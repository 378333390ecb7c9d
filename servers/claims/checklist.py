"""What a claim still needs before it can go out, and what the records say for and against it."""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import select

from common.call import Call
from common.tables.claims import Claim, ClaimEvidence
from common.tables.logistics import DeliveryException, ProofOfDelivery, Shipment
from servers.claims import deadlines

_PHOTOS: Final = ("photo", "packaging_photo")
# Against a carrier or insurer, besides the proof of value; a carrier's own list replaces it.
_BY_TYPE: Final[dict[str, tuple[str, ...]]] = {
    "damage": (*_PHOTOS, "proof_of_delivery"),
    "concealed_damage": (*_PHOTOS, "proof_of_delivery"),
    "loss": (),
    "shortage": ("packing_list", "proof_of_delivery"),
    "late": (),
    "misdelivery": ("statement",),
    "theft": ("statement",),
    "wrong_item": ("photo", "packing_list"),
}
_CUSTOMER: Final[dict[str, tuple[str, ...]]] = {
    "damage": ("photo",),
    "concealed_damage": ("photo",),
    "wrong_item": ("photo",),
    "misdelivery": ("statement",),
    "theft": ("statement",),
}


@dataclass(frozen=True)
class Item:
    """Something needed, and the record that meets it: evidence, or a row the shop has anyway."""

    need: str
    by: str | None


@dataclass(frozen=True)
class Checklist:
    items: list[Item]
    notes: list[str]

    @property
    def missing(self) -> list[str]:
        return [item.need for item in self.items if item.by is None]


def of(call: Call, claim: Claim) -> Checklist:
    """The checklist as the claim stands now."""
    evidence = call.all(ClaimEvidence, ClaimEvidence.claim_id == claim.id, limit=200)
    given = {row.kind: row.id for row in reversed(evidence)}
    shipment = call.get(Shipment, claim.shipment_id) if claim.shipment_id else None
    proof = _proof(call, shipment)
    if shipment is not None and shipment.tracking_number:
        given.setdefault("tracking", shipment.id)
    if proof is not None:
        given.setdefault("proof_of_delivery", proof.id)
    needs = dict.fromkeys(_needs(call, claim))
    return Checklist(
        [Item(need, given.get(need)) for need in needs], _notes(call, claim, proof, evidence)
    )


def _needs(call: Call, claim: Claim) -> list[str]:
    if claim.kind == "customer":
        return list(_CUSTOMER.get(claim.type, ()))
    value = [] if claim.type == "late" else ["proof_of_value"]
    if claim.kind == "supplier":
        return ["photo", *value] if claim.type in ("damage", "wrong_item") else value
    own: tuple[str, ...] = ()
    if claim.kind == "carrier":
        found = deadlines.rule(call, "file_by", claim.type, claim.carrier_id)
        own = found.evidence if found else ()
    theft = ["police_report"] if claim.kind == "insurer" and claim.type == "theft" else []
    tracking = ["tracking"] if claim.shipment_id else []
    return [*tracking, *value, *theft, *(own or _BY_TYPE[claim.type])]


def _notes(
    call: Call, claim: Claim, proof: ProofOfDelivery | None, evidence: list[ClaimEvidence]
) -> list[str]:
    """What decides liability, in our words only."""
    notes = []
    if proof is not None and proof.damage_noted:
        notes.append("The proof of delivery notes damage.")
    elif proof is not None and claim.type == "damage":
        notes.append(
            "The delivery receipt is clear; a carrier may deny damage. Hidden damage is type "
            "concealed_damage, with its shorter deadline."
        )
    if proof is not None and claim.type in ("loss", "misdelivery", "theft"):
        signed = proof.signature_sha256 is not None or proof.code_verified
        notes.append(f"Delivered {'with' if signed else 'without'} signature or code.")
    if claim.shipment_id is not None:
        kinds = select(DeliveryException.kind).where(
            DeliveryException.shipment_id == claim.shipment_id
        )
        found = sorted(set(call.session.scalars(kinds.limit(50))))
        notes += [f"The shipment had an exception: {kind}." for kind in found]
    hashes = [row.sha256 for row in evidence]
    others = select(ClaimEvidence.claim_id).where(
        ClaimEvidence.sha256.in_(hashes), ClaimEvidence.claim_id != claim.id
    )
    elsewhere = {id for id in call.session.scalars(others.limit(50)) if _unrelated(call, claim, id)}
    notes += [f"The same file is evidence of claim {id}, too." for id in sorted(elsewhere)]
    return notes


def _unrelated(call: Call, claim: Claim, other_id: str) -> bool:
    """The same photo of one mishap may stand in the customer's and the carrier's claim."""
    other = call.session.get(Claim, other_id)
    return other is not None and (
        other.order_id != claim.order_id or other.shipment_id != claim.shipment_id
    )


def _proof(call: Call, shipment: Shipment | None) -> ProofOfDelivery | None:
    if shipment is None:
        return None
    found = call.all(ProofOfDelivery, ProofOfDelivery.shipment_id == shipment.id, limit=5)
    return found[0] if found else None
