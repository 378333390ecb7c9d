"""Deadlines and limits by carrier and type: rows somebody looked up, or the defaults below."""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final

from sqlalchemy import or_

from common.call import Call
from common.errors import InvalidParameters
from common.tables.claims import CarrierPolicy, Claim
from common.tables.logistics import Carrier, Shipment


@dataclass(frozen=True)
class Deadline:
    """One deadline, where it comes from and the day that held. ``claim_type`` None: every type."""

    deadline: str
    days: int
    counted_from: str
    source: str
    as_of: date
    claim_type: str | None = None
    carrier_id: str | None = None
    business_days: bool = False
    liability_cap_minor: int | None = None
    currency: str | None = None
    covers_freight: bool = False
    evidence: tuple[str, ...] = ()


_AS_OF: Final = date(2026, 11, 1)
# For carriers nobody has entered yet. They lean to the early side: a claim filed in time under
# the shortest usual window is in time under a longer one.
DEFAULTS: Final = (
    Deadline(
        "file_by", 60, "delivered", "Usual parcel carrier terms, about 60 days (secondary source);"
        " 49 USC 14706(e) forbids US road carriers less than nine months", _AS_OF,
    ),
    Deadline(
        "file_by", 5, "delivered", "Industry practice for concealed damage, 5 business days",
        _AS_OF, claim_type="concealed_damage", business_days=True,
    ),
    Deadline("file_by", 21, "delivered", "CMR article 30(3), delay", _AS_OF, claim_type="late"),
    Deadline("acknowledge", 30, "filed", "49 CFR 370.5", _AS_OF),
    Deadline("decide", 120, "filed", "49 CFR 370.9", _AS_OF),
    Deadline("appeal_by", 730, "decided", "49 USC 14706(e), two years to sue", _AS_OF),
)  # fmt: skip


def rule(call: Call, deadline: str, claim_type: str, carrier_id: str | None) -> Deadline | None:
    """The deadline that applies: a row before a default, a carrier's before everybody's, a type's
    before every type's, then the latest."""
    rows = call.all(
        CarrierPolicy, CarrierPolicy.deadline == deadline,
        or_(CarrierPolicy.carrier_id.is_(None), CarrierPolicy.carrier_id == carrier_id),
        or_(CarrierPolicy.claim_type.is_(None), CarrierPolicy.claim_type == claim_type),
    )  # fmt: skip
    if rows:
        best = max(
            rows, key=lambda r: (r.carrier_id is not None, r.claim_type is not None, r.as_of, r.id)
        )
        return of_row(best)
    fitting = [d for d in DEFAULTS if d.deadline == deadline and d.claim_type in (None, claim_type)]
    return max(fitting, key=lambda d: d.claim_type is not None, default=None)


def of_row(row: CarrierPolicy) -> Deadline:
    """A stored deadline in the same form as the defaults."""
    return Deadline(
        row.deadline, row.days, row.counted_from, row.source, row.as_of, row.claim_type,
        row.carrier_id, row.business_days, row.liability_cap_minor, row.currency,
        row.covers_freight, tuple(row.evidence),
    )  # fmt: skip


def every(call: Call) -> list[Deadline]:
    """The stored deadlines, then the defaults that stand behind them."""
    return [*(of_row(row) for row in call.all(CarrierPolicy, limit=200)), *DEFAULTS]


def moment(found: Deadline | None, claim: Claim, shipment: Shipment | None) -> datetime | None:
    """When the deadline ends, or None while what it is counted from has not happened."""
    start = _start(found, claim, shipment) if found else None
    if found is None or start is None:
        return None
    if not found.business_days:
        return start + timedelta(days=found.days)
    left, at = found.days, start
    while left:
        at += timedelta(days=1)
        left -= at.weekday() < 5
    return at


def due(call: Call, claim: Claim, deadline: str) -> datetime | None:
    """When this deadline of a carrier's claim ends."""
    if claim.kind != "carrier":
        return None
    shipment = call.get(Shipment, claim.shipment_id) if claim.shipment_id else None
    return moment(rule(call, deadline, claim.type, claim.carrier_id), claim, shipment)


def enter(call: Call, new: Deadline) -> CarrierPolicy:
    """Store a deadline; it replaces an earlier one for the same carrier and type. Claims already
    open keep the date they were given. Raises NotFound, InvalidParameters."""
    if new.carrier_id is not None:
        call.get(Carrier, new.carrier_id)
    if (new.liability_cap_minor is None) != (new.currency is None):
        raise InvalidParameters.field("currency", new.currency, "together with liability_cap_minor")
    row = CarrierPolicy(
        id=call.new_id("adjustment"), carrier_id=new.carrier_id, claim_type=new.claim_type,
        deadline=new.deadline, days=new.days, business_days=new.business_days,
        counted_from=new.counted_from, liability_cap_minor=new.liability_cap_minor,
        currency=new.currency, covers_freight=new.covers_freight, evidence=list(new.evidence),
        source=new.source, as_of=new.as_of,
    )  # fmt: skip
    call.stake()
    call.show(
        f"{new.deadline}: {new.days} days from {new.counted_from}",
        f"carrier {new.carrier_id or 'any'}, type {new.claim_type or 'any'}",
    )
    return call.add(row)


def _start(found: Deadline, claim: Claim, shipment: Shipment | None) -> datetime | None:
    if found.counted_from == "filed":
        return claim.filed_at
    if found.counted_from == "decided":
        return claim.decided_at
    if shipment is None:
        return None
    if found.counted_from == "shipped":
        return shipment.shipped_at
    if found.counted_from == "promised":
        return shipment.promised_at
    # What never arrived counts from the day it was due.
    return shipment.delivered_at or shipment.promised_at or shipment.shipped_at
