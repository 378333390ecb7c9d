"""Claims of customers, and against carriers, insurers and suppliers."""

from datetime import date, datetime
from typing import Final

from sqlalchemy import CheckConstraint, Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from common.tables import (  # noqa: F401 - its foreign keys name them
    inventory,
    logistics,
    orders,
    payments,
    returns,
)
from common.tables.base import Record
from common.tables.columns import (
    Currency,
    Digest,
    Name,
    Note,
    Person,
    Ref,
    Word,
    a_currency,
    index_where,
    none_of,
    not_negative,
    one_of,
    positive,
    quoted,
    to,
    unique_where,
)

CLAIM_KINDS: Final = ("customer", "carrier", "insurer", "supplier")
CLAIM_TYPES: Final = (
    "damage", "concealed_damage", "loss", "shortage", "late", "misdelivery", "theft", "wrong_item",
)  # fmt: skip
CUSTOMER_STATES: Final = (
    "opened", "triage", "evidence_pending", "under_review", "approved", "partially_approved",
    "denied", "resolved", "closed", "withdrawn", "reopened",
)  # fmt: skip
# Of carrier, insurer and supplier claims.
CARRIER_STATES: Final = (
    "draft", "ready", "filed", "acknowledged", "investigating", "inspection", "offered",
    "accepted", "denied", "appealed", "paid", "reconciled", "written_off", "closed", "expired",
    "withdrawn",
)  # fmt: skip
CLAIM_OVER: Final = ("closed", "withdrawn", "expired", "written_off")
OPEN_CLAIM: Final = none_of("state", CLAIM_OVER)
RESOLUTIONS: Final = ("refund", "replacement", "credit")
EVIDENCE_KINDS: Final = (
    "photo", "packaging_photo", "proof_of_delivery", "tracking", "proof_of_value",
    "statement", "packing_list", "inspection_report", "police_report", "other",
)  # fmt: skip
DECISIONS: Final = ("acknowledged", "offered", "approved", "partially_approved", "denied")
DENIAL_CODES: Final = (
    "late_filing", "insufficient_packaging", "no_proof_of_value", "clear_delivery_receipt",
    "not_our_damage", "excluded_goods", "act_of_god", "duplicate", "not_covered", "other",
)  # fmt: skip
DEADLINES: Final = ("not_before", "file_by", "acknowledge", "decide", "appeal_by")
DEADLINE_EVENTS: Final = ("shipped", "promised", "delivered", "filed", "decided")
RECOVERY_SOURCES: Final = ("carrier", "insurer", "supplier", "dispute")


class CarrierPolicy(Record):
    """One deadline, with the liability cap and evidence that go with it: data somebody looked up,
    with its ``source`` and the day it held. Without a carrier or type it applies to all."""

    __tablename__ = "carrier_policy"
    owner = "claims"

    carrier_id: Mapped[str | None] = to("carrier", index=True)
    claim_type: Mapped[Word | None]
    deadline: Mapped[Word]
    days: Mapped[int]
    business_days: Mapped[bool] = mapped_column(default=False)
    counted_from: Mapped[Word]
    liability_cap_minor: Mapped[int | None]
    currency: Mapped[Currency | None]
    covers_freight: Mapped[bool] = mapped_column(default=False)
    evidence: Mapped[list[str]] = mapped_column(default=list)
    source: Mapped[Note]
    as_of: Mapped[date]

    __table_args__ = (
        one_of("claim_type", CLAIM_TYPES),
        one_of("deadline", DEADLINES),
        one_of("counted_from", DEADLINE_EVENTS),
        not_negative("days", "liability_cap_minor"),
        CheckConstraint("liability_cap_minor is null or currency is not null", name="cap"),
        a_currency(),
    )


class Claim(Record):
    """Amounts are sums of the lines (and allowed freight): cost, not retail, against a carrier.
    ``parent_id`` links a recovery to the customer's claim it pays for."""

    __tablename__ = "claim"
    owner = "claims"

    kind: Mapped[Word]
    type: Mapped[Word]
    state: Mapped[Word]
    order_id: Mapped[str | None] = to("sales_order", index=True)
    shipment_id: Mapped[str | None] = to("shipment", index=True)
    return_id: Mapped[str | None] = to("rma", index=True)
    customer_id: Mapped[str | None] = to("customer")
    carrier_id: Mapped[str | None] = to("carrier")
    supplier_id: Mapped[str | None] = to("supplier")
    parent_id: Mapped[str | None] = to("claim", index=True)
    description: Mapped[Note] = mapped_column(default="")
    currency: Mapped[Currency]
    freight_minor: Mapped[int] = mapped_column(default=0)
    claimed_minor: Mapped[int] = mapped_column(default=0)
    approved_minor: Mapped[int] = mapped_column(default=0)
    paid_minor: Mapped[int] = mapped_column(default=0)
    resolution: Mapped[Word | None]
    # The refund or the store credit; a replacement is an order.
    refund_id: Mapped[str | None] = to("refund", index=True)
    replacement_order_id: Mapped[str | None] = to("sales_order")
    carrier_reference: Mapped[Name | None]
    opened_at: Mapped[datetime]
    deadline_at: Mapped[datetime | None]
    # Why an expired window did not stop the filing.
    deadline_override: Mapped[Note | None]
    filed_at: Mapped[datetime | None]
    decided_at: Mapped[datetime | None]
    resolved_at: Mapped[datetime | None]
    closed_at: Mapped[datetime | None]

    __table_args__ = (
        Index("ix_claim_opened", "opened_at", "id"),
        Index("ix_claim_state", "kind", "state", "opened_at", "id"),
        index_where("ix_claim_open", OPEN_CLAIM, "opened_at", "id"),
        *(Index(f"ix_claim_by_{one}", one, "opened_at", "id") for one in ("kind", "type", "state")),
        # Claims that are over have none.
        Index("ix_claim_deadline", "deadline_at", "id"),
        Index("ix_claim_due", "state", "deadline_at", "id"),
        Index("ix_claim_customer", "customer_id", "opened_at", "id"),
        Index("ix_claim_carrier", "carrier_id", "opened_at", "id"),
        one_of("kind", CLAIM_KINDS),
        one_of("type", CLAIM_TYPES),
        one_of("resolution", RESOLUTIONS),
        CheckConstraint(
            f"(kind = 'customer' and state in ({quoted(CUSTOMER_STATES)}))"
            f" or (kind != 'customer' and state in ({quoted(CARRIER_STATES)}))",
            name="state",
        ),
        CheckConstraint(
            "paid_minor <= approved_minor and approved_minor <= claimed_minor", name="amounts"
        ),
        CheckConstraint("kind != 'carrier' or shipment_id is not null", name="shipment"),
        not_negative("freight_minor", "claimed_minor", "approved_minor", "paid_minor"),
        a_currency(),
    )


class ClaimLine(Record):
    """``claim_type`` and ``carrier_open`` repeat the claim's, so that the database itself refuses
    a second open carrier claim for a shipment line and type."""

    __tablename__ = "claim_line"
    owner = "claims"

    claim_id: Mapped[str] = to("claim")
    position: Mapped[int]
    order_line_id: Mapped[str | None] = to("order_line", index=True)
    shipment_line_id: Mapped[str | None] = to("shipment_line", index=True)
    sku: Mapped[str] = to("variant", index=True)
    quantity: Mapped[int]
    unit_cost_minor: Mapped[int]
    claimed_minor: Mapped[int]
    approved_minor: Mapped[int] = mapped_column(default=0)
    paid_minor: Mapped[int] = mapped_column(default=0)
    claim_type: Mapped[Word]
    carrier_open: Mapped[bool] = mapped_column(default=False)

    __table_args__ = (
        UniqueConstraint("claim_id", "position"),
        unique_where("uq_claim_line_open", "carrier_open", "shipment_line_id", "claim_type"),
        one_of("claim_type", CLAIM_TYPES),
        positive("quantity"),
        not_negative(
            "position", "unit_cost_minor", "claimed_minor", "approved_minor", "paid_minor"
        ),
        CheckConstraint(
            "paid_minor <= approved_minor and approved_minor <= claimed_minor", name="amounts"
        ),
    )


class ClaimEvidence(Record):
    """Append-only. The file is kept outside under its hash; ``source_id`` names the record it was
    taken from, if any."""

    __tablename__ = "claim_evidence"
    owner = "claims"

    claim_id: Mapped[str] = to("claim")
    kind: Mapped[Word]
    sha256: Mapped[Digest]
    media_type: Mapped[str] = mapped_column(String(100))
    size_bytes: Mapped[int]
    note: Mapped[Note] = mapped_column(default="")
    source_id: Mapped[Ref | None]
    taken_at: Mapped[datetime | None]
    added_at: Mapped[datetime]
    added_by: Mapped[Person]

    __table_args__ = (
        UniqueConstraint("claim_id", "sha256"),
        one_of("kind", EVIDENCE_KINDS),
        not_negative("size_bytes"),
        CheckConstraint("length(sha256) = 64", name="sha256"),
    )


class ClaimDecision(Record):
    """What the other side (or, for a customer's claim, the shop) said."""

    __tablename__ = "claim_decision"
    owner = "claims"

    claim_id: Mapped[str] = to("claim")
    decision: Mapped[Word]
    amount_minor: Mapped[int] = mapped_column(default=0)
    code: Mapped[Word | None]
    text: Mapped[Note] = mapped_column(default="")
    # It answers an appeal.
    on_appeal: Mapped[bool] = mapped_column(default=False)
    at: Mapped[datetime]
    recorded_by: Mapped[Person]

    __table_args__ = (
        Index("ix_claim_decision_claim", "claim_id", "at", "id"),
        one_of("decision", DECISIONS),
        one_of("code", DENIAL_CODES),
        not_negative("amount_minor"),
        CheckConstraint("decision != 'denied' or (code is not null and text != '')", name="denial"),
    )


class ClaimRecovery(Record):
    """Money that came in for a claim, from one of the three or from a dispute won."""

    __tablename__ = "claim_recovery"
    owner = "claims"

    claim_id: Mapped[str] = to("claim", index=True)
    source: Mapped[Word]
    reference: Mapped[Name]
    amount_minor: Mapped[int]
    currency: Mapped[Currency]
    transfer_id: Mapped[str | None] = to("transfer")
    received_at: Mapped[datetime]

    __table_args__ = (
        UniqueConstraint("source", "reference", "claim_id"),
        one_of("source", RECOVERY_SOURCES),
        positive("amount_minor"),
        a_currency(),
    )
