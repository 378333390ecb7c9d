"""What was given for units of an order's lines already, by returns and by customers' claims.

``waiting`` adds what may still be given: returns and claims that are neither settled nor over.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import case, func, or_, select

from common.call import Call
from common.tables.claims import Claim, ClaimLine
from common.tables.returns import Return, ReturnLine

# Not sent back in time: nobody has to write it down for it to be so.
EXPIRING: Final = ("requested", "needs_review", "authorized", "label_issued")
_FREED: Final = ("rejected", "expired", "cancelled")
_GAVE_NOTHING: Final = ("denied", "withdrawn", "closed")
# A late delivery is made good with a part of the price; the goods may still come back.
_GOODS: Final = case((Claim.type == "late", 0), else_=ClaimLine.quantity)
_MOST: Final = 5_000


@dataclass(frozen=True)
class Given:
    """Units of a line, and what was given or promised for them."""

    units: int = 0
    value_minor: int = 0

    def __add__(self, more: "Given") -> "Given":
        return Given(self.units + more.units, self.value_minor + more.value_minor)


NOTHING: Final = Given()


def of_lines(
    call: Call, line_ids: Sequence[str], *, waiting_claims: bool = False,
    waiting_returns: bool = False,
) -> dict[str, Given]:  # fmt: skip
    """By returns and claims together, for every line named."""
    claimed = by_claims(call, line_ids, waiting=waiting_claims)
    returned = by_returns(call, line_ids, waiting=waiting_returns)
    return {id: claimed.get(id, NOTHING) + returned.get(id, NOTHING) for id in line_ids}


def by_claims(call: Call, line_ids: Sequence[str], *, waiting: bool = False) -> dict[str, Given]:
    """What customers' claims paid or replaced."""
    settled = Claim.resolved_at.is_not(None)
    counts = or_(settled, Claim.state.not_in(_GAVE_NOTHING)) if waiting else settled
    query = (
        select(ClaimLine.order_line_id, func.sum(_GOODS), func.sum(ClaimLine.paid_minor))
        .join(Claim, Claim.id == ClaimLine.claim_id)
        .where(ClaimLine.order_line_id.in_(line_ids), Claim.kind == "customer", counts)
        .group_by(ClaimLine.order_line_id)
    )
    return {id: Given(int(units), int(value)) for id, units, value in call.session.execute(query)}


def by_returns(call: Call, line_ids: Sequence[str], *, waiting: bool = False) -> dict[str, Given]:
    """What returns gave money or goods for; ``waiting`` are units on their way, too."""
    counts = Return.state.not_in(_FREED) if waiting else Return.settled_at.is_not(None)
    query = (
        select(ReturnLine, Return)
        .join(Return, Return.id == ReturnLine.return_id)
        .where(ReturnLine.order_line_id.in_(line_ids), counts)
        .order_by(ReturnLine.id)
        .limit(_MOST)
    )
    found: dict[str, Given] = {}
    for line, rma in call.session.execute(query):
        if standing(rma, call.now) in _FREED:
            continue
        units = line.quantity if rma.settled_at is None else units_settled(rma, line)
        value = (line.refund_minor + line.fee_minor) * units // line.quantity
        found[line.order_line_id] = found.get(line.order_line_id, NOTHING) + Given(units, value)
    return found


def units_settled(rma: Return, line: ReturnLine) -> int:
    """Units a return gives money or goods for: what came back, or all of it where the customer
    did not have to wait for that."""
    early = rma.received_at is None or (
        rma.instant and rma.settled_at is not None and rma.settled_at <= rma.received_at
    )
    return line.quantity if early else line.received


def standing(rma: Return, now: datetime) -> str:
    """The return's state as of now: one not sent back in time is ``expired``."""
    lapsed = rma.expires_at is not None and rma.expires_at <= now and rma.settled_at is None
    return "expired" if lapsed and rma.state in EXPIRING else rma.state


def share(whole: int, quantity: int, before: int, units: int) -> int:
    """Of what a line is worth, the part of ``units`` that follow ``before`` others. It ends where
    the next one begins: the shares of all units add up to the line."""
    return whole * (before + units) // quantity - whole * before // quantity
