"""The toolset and the argument types its tools share."""

from typing import Annotated, Literal

from pydantic import Field

from common.toolset import Toolset
from common.wire import Args, Identifier, Units

tools = Toolset(
    "claims",
    title="Claims",
    instructions=(
        "Damage, loss, shortage, delay. A customer's claim (kind customer) is settled by the shop "
        "without waiting for anybody; what a carrier, insurer or supplier owes is a claim of its "
        "own, for cost instead of price. open_claim, add_claim_evidence until nothing is missing, "
        "submit_claim. Customer: settle_claim. Others: record_carrier_decision, settle_claim to "
        "take an offer, record_recovery, close_claim. get_claim always says what comes next. "
        "When an answer says approval_required, show it to the person and repeat the same call "
        "with its approval_id once agreed."
    ),
)

Kind = Literal["customer", "carrier", "insurer", "supplier"]
Type = Literal[
    "damage", "concealed_damage", "loss", "shortage", "late", "misdelivery", "theft", "wrong_item",
]  # fmt: skip
State = Literal[
    "opened", "triage", "evidence_pending", "under_review", "approved", "partially_approved",
    "denied", "resolved", "closed", "withdrawn", "reopened", "draft", "ready", "filed",
    "acknowledged", "investigating", "inspection", "offered", "accepted", "appealed", "paid",
    "reconciled", "written_off", "expired",
]  # fmt: skip
EvidenceKind = Literal[
    "photo", "packaging_photo", "proof_of_delivery", "tracking", "proof_of_value",
    "statement", "packing_list", "inspection_report", "police_report", "other",
]  # fmt: skip
MediaType = Literal[
    "image/jpeg", "image/png", "image/webp", "image/heic", "application/pdf", "text/plain",
    "video/mp4",
]  # fmt: skip
DenialCode = Literal[
    "late_filing", "insufficient_packaging", "no_proof_of_value", "clear_delivery_receipt",
    "not_our_damage", "excluded_goods", "act_of_god", "duplicate", "not_covered", "other",
]  # fmt: skip


class ClaimLineAsked(Args):
    """``line_id``: an order line, a shipment line or a SKU; without quantity all of it."""

    line_id: Identifier
    quantity: Units | None = None


Lines = Annotated[
    list[ClaimLineAsked], Field(max_length=50, description="Left out or empty: everything.")
]
