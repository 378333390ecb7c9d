"""Late shipments, found from promised and actual times, and claims drafted for them."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import ColumnElement, func, select

from common.call import Call
from common.paging import page, plain
from common.rules import meant
from common.tables.claims import Claim
from common.tables.logistics import Carrier, Shipment
from servers.claims import deadlines, lateness, opening, valuing

MOST_DRAFTS: Final = 20
MOST_LOOKED_AT: Final = 5_000


@dataclass(frozen=True)
class Late:
    """``excuse`` None: the carrier's own fault. ``claim_id``: the open late claim against it."""

    shipment: Shipment
    minutes: int
    excuse: str | None
    freight_minor: int
    file_by: datetime | None
    claim_id: str | None


def detect(
    call: Call, days: int, carrier_id: str | None, cursor: str | None, limit: int
) -> tuple[list[Late], str | None]:
    """Shipments with a carrier promised in the last ``days`` and late, oldest promise first."""
    meant.filters(call, (Carrier, carrier_id))
    query = select(Shipment).where(*_came_late(call, days, carrier_id))
    rows, more = page(call.session, query, [Shipment.promised_at, Shipment.id], cursor, limit)
    return [_late(call, shipment) for shipment in call.counted(rows, "late shipments")], more


def draft(call: Call, days: int, carrier_id: str | None) -> list[Claim]:
    """Open a late claim for each late shipment that has none, has no excuse, was not free, and
    may still be filed: the 20 with the oldest promise."""
    meant.filters(call, (Carrier, carrier_id))
    query = select(Shipment).where(*_came_late(call, days, carrier_id))
    query = query.order_by(Shipment.promised_at, Shipment.id).limit(MOST_LOOKED_AT)
    drafts: list[Claim] = []
    for shipment in call.counted(list(call.session.scalars(query)), "late shipments"):
        if len(drafts) < MOST_DRAFTS and _worth(call, _late(call, shipment)):
            new = opening.NewClaim("carrier", "late", shipment_id=shipment.id)
            drafts.append(opening.open_claim(call, new))
    call.stake()
    return drafts


def _came_late(call: Call, days: int, carrier_id: str | None) -> list[ColumnElement[bool]]:
    late = [
        Shipment.carrier_id.is_not(None),
        Shipment.promised_at >= call.now - timedelta(days=days),
        Shipment.promised_at < func.coalesce(Shipment.delivered_at, call.now),
        Shipment.status.not_in(opening.NOT_SENT),
    ]
    return late if carrier_id is None else [*late, plain(Shipment.carrier_id) == carrier_id]


def _worth(call: Call, late: Late) -> bool:
    in_time = late.file_by is None or call.now <= late.file_by
    return not late.excuse and not late.claim_id and late.freight_minor > 0 and in_time


def _late(call: Call, shipment: Shipment) -> Late:
    assert shipment.promised_at is not None
    rule = deadlines.rule(call, "file_by", "late", shipment.carrier_id)
    claim = select(Claim.id).where(
        Claim.shipment_id == shipment.id, Claim.kind == "carrier", Claim.type == "late",
        Claim.state.not_in(("withdrawn", "expired")),
    )  # fmt: skip
    end = shipment.delivered_at or call.now
    probe = Claim(kind="carrier", type="late")
    return Late(
        shipment=shipment,
        minutes=int((end - shipment.promised_at).total_seconds()) // 60,
        excuse=lateness.excuse_of(call, shipment),
        freight_minor=valuing.freight_charge(call, shipment),
        file_by=deadlines.moment(rule, probe, shipment),
        claim_id=call.session.scalar(claim.limit(1)),
    )
