"""Appeals, recoveries, deadlines and late shipments."""

from datetime import date
from typing import Annotated, Literal

from pydantic import Field

from common.call import Call
from common.scopes import Scope
from common.toolset import Effect
from common.wire import Currency, Cursor, Day, Days, Identifier, Limit, Line, Minor, Note
from servers.claims import deadlines, deciding, late_shipments, recovering, service
from servers.claims.deadlines import Deadline
from servers.claims.offer import EvidenceKind, Type, tools
from servers.claims.results import (
    ClaimList,
    ClaimRow,
    ClaimView,
    DeadlineList,
    DeadlineView,
    LateList,
    LateShipment,
)


@tools.tool(scope=Scope.CLAIMS_WRITE, effect=Effect.CHANGES)
def appeal_claim(call: Call, claim_id: Identifier, reason: Note) -> ClaimView:
    """Contest a carrier's denial or offer; a customer's denied claim is reopened. More evidence
    may be added afterwards."""
    deciding.appeal(call, claim_id, reason)
    return ClaimView.whole(service.whole(call, claim_id))


@tools.tool(scope=Scope.CLAIMS_SETTLE, effect=Effect.CHANGES)
def record_recovery(
    call: Call, claim_id: Identifier, amount_minor: Minor, reference: Line
) -> ClaimView:
    """Book money that a carrier, insurer or supplier has paid for an accepted claim. reference:
    the payment's own, booked once. Refused where the loss would be paid twice."""
    recovering.record_recovery(call, claim_id, amount_minor, reference)
    return ClaimView.whole(service.whole(call, claim_id))


@tools.tool(scope=Scope.CLAIMS_SETTLE, effect=Effect.CHANGES)
def close_claim(call: Call, claim_id: Identifier) -> ClaimView:
    """End a claim that is settled, denied or paid. What is accepted but not paid is written off;
    a draft past its deadline expires."""
    recovering.close(call, claim_id)
    return ClaimView.whole(service.whole(call, claim_id))


@tools.tool(scope=Scope.CLAIMS_READ, effect=Effect.READS)
def list_claim_deadlines(
    call: Call, days: Days = 14, limit: Limit = 20, cursor: Cursor | None = None
) -> ClaimList:
    """List open claims whose next deadline (to file, to be answered, to appeal) is at most days
    away or past, the most urgent first."""
    rows, more = service.coming_due(call, days, cursor, limit)
    return ClaimList(count=len(rows), claims=[ClaimRow.of(row) for row in rows], next_cursor=more)


@tools.tool(scope=Scope.CLAIMS_READ, effect=Effect.READS)
def detect_late_shipments(
    call: Call,
    days: Days = 30,
    carrier_id: Identifier | None = None,
    limit: Limit = 20,
    cursor: Cursor | None = None,
) -> LateList:
    """Find shipments with a carrier that were promised in the last days and came late or are
    still out, with any excuse on record and whether a late claim is open."""
    rows, more = late_shipments.detect(call, days, carrier_id, cursor, limit)
    return LateList(
        count=len(rows), shipments=[LateShipment.of(row) for row in rows], next_cursor=more
    )


@tools.tool(scope=Scope.CLAIMS_WRITE, effect=Effect.CREATES)
def draft_late_claims(
    call: Call, days: Days = 30, carrier_id: Identifier | None = None
) -> ClaimList:
    """Draft a carrier claim for the freight of each late shipment without excuse and without a
    claim, at most 20 a call. Nothing is sent: submit_claim each."""
    drafts = late_shipments.draft(call, days, carrier_id)
    return ClaimList(count=len(drafts), claims=[ClaimRow.of(claim) for claim in drafts])


@tools.tool(scope=Scope.CLAIMS_WRITE, effect=Effect.CHANGES)
def set_claim_deadline(
    call: Call,
    deadline: Literal["not_before", "file_by", "acknowledge", "decide", "appeal_by"],
    days: Annotated[int, Field(ge=0, le=3_660)],
    counted_from: Literal["shipped", "promised", "delivered", "filed", "decided"],
    source: Note,
    as_of: Day,
    carrier_id: Identifier | None = None,
    type: Type | None = None,
    business_days: bool = False,
    liability_cap_minor: Minor | None = None,
    currency: Currency | None = None,
    covers_freight: bool = False,
    evidence: Annotated[list[EvidenceKind], Field(max_length=10)] | None = None,
) -> DeadlineView:
    """Enter a deadline of a carrier's terms, with where it says so and the day that held; for any
    carrier or type where left out. Limit, freight and evidence count on file_by. Claims already
    open keep their date."""
    new = Deadline(
        deadline, days, counted_from, source, date.fromisoformat(as_of), type, carrier_id,
        business_days, liability_cap_minor, currency, covers_freight, tuple(evidence or ()),
    )  # fmt: skip
    return DeadlineView.of(deadlines.of_row(deadlines.enter(call, new)))


@tools.resource("claims://deadlines", scope=Scope.CLAIMS_READ)
def claim_deadlines(call: Call) -> DeadlineList:
    """Every deadline in use, with its source and the day that held: entered ones, then defaults."""
    return DeadlineList(deadlines=[DeadlineView.of(each) for each in deadlines.every(call)])
