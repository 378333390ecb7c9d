"""Bring over what a provider says about disputes: opened there, decided there, booked here."""

import asyncio
import logging
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from common.background import duty
from common.call import Call
from common.clock import Clock
from common.errors import ShopError
from common.gateways.port import PaymentGateway, ProviderDispute
from common.rules import disputed
from common.storage.database import Database
from common.tables.payments import DISPUTE_REASONS, Dispute, Payment, ProviderEvent

log = logging.getLogger(__name__)

LOOK_BACK: Final = timedelta(days=2)
MOST_PAGES: Final = 20
MOST_NOTICES: Final = 200
DISPUTE_NOTICE: Final = "charge.dispute."
DECIDED: Final = ("won", "lost", "prevented")


async def follow(database: Database, gateway: PaymentGateway, clock: Clock) -> int:
    """One round: every dispute since the oldest open one, at most 2,000. Returns how many were
    recorded or moved. Raises GatewayError when the provider cannot be read."""
    now = clock()
    since = await database.run(
        "payments", lambda session: _since(session, gateway.name, now), write=False
    )
    changed, cursor = 0, None
    for _ in range(MOST_PAGES):
        page = await asyncio.to_thread(gateway.disputes, since, cursor)
        for theirs in page.items:
            try:
                changed += await _one(database, gateway.name, theirs, now)
            except ShopError as error:  # one that a person has to look at does not stop the others
                log.warning("dispute %s could not be booked: %s", theirs.ref, error.message)
        cursor = page.next
        if cursor is None:
            break
    return changed


def noticed(session: Session) -> list[str]:
    """Webhooks about disputes that nobody has looked after yet, the oldest first."""
    query = select(ProviderEvent.id).where(
        ProviderEvent.handled_at.is_(None), ProviderEvent.kind.startswith(DISPUTE_NOTICE)
    )
    query = query.order_by(ProviderEvent.received_at, ProviderEvent.id)
    return list(session.scalars(query.limit(MOST_NOTICES)))


async def heed(database: Database, notices: list[str], now: datetime) -> None:
    """Mark notices as looked after: the disputes were read after they came."""

    def mark(call: Call) -> None:
        for id in notices:
            event = call.get(ProviderEvent, id)
            event.handled_at = event.handled_at or now
            call.effect("update", "provider_event", id)

    await duty.recorded(database, now, "disputes", "heed_notices", {"count": len(notices)}, mark)


def bring(call: Call, provider: str, theirs: ProviderDispute) -> bool:
    """Record one dispute, or move ours to where theirs is. Whether anything changed."""
    ours = _known(call.session, theirs.ref)
    if ours is None:
        payment_id = _payment(call.session, provider, theirs.payment_ref)
        if payment_id is None:
            return False
        late = theirs.respond_by is not None and theirs.respond_by <= call.now
        reason = theirs.reason if theirs.reason in DISPUTE_REASONS else "general"
        ours = disputed.record(
            call, payment_id, reason, theirs.amount_minor, None if late else theirs.respond_by,
            theirs.ref, inquiry=theirs.status == "inquiry",
        )  # fmt: skip
        if theirs.status in DECIDED:
            disputed.decide(call, ours.id, theirs.status)
        return True
    escalated = ours.status == "inquiry" and theirs.status == "needs_response"
    decided = ours.status in disputed.OPEN and theirs.status in DECIDED
    if escalated or decided:
        disputed.decide(call, ours.id, theirs.status)
    return escalated or decided


async def _one(database: Database, provider: str, theirs: ProviderDispute, now: datetime) -> bool:
    def news(session: Session) -> bool:
        ours = _known(session, theirs.ref)
        if ours is None:
            return _payment(session, provider, theirs.payment_ref) is not None
        return ours.status in disputed.OPEN and ours.status != theirs.status

    if not await database.run("payments", news, write=False):
        return False
    return await duty.recorded(
        database, now, "disputes", "follow_disputes", {"reference": theirs.ref},
        lambda call: bring(call, provider, theirs),
    )  # fmt: skip


def _since(session: Session, provider: str, now: datetime) -> datetime:
    """From a day before the oldest that is still open here, or two days back."""
    query = (
        select(func.min(Dispute.opened_at))
        .join(Payment, Payment.id == Dispute.payment_id)
        .where(Payment.provider == provider, Dispute.status.in_(disputed.OPEN))
    )
    oldest = session.scalar(query)
    recent = now - LOOK_BACK
    return recent if oldest is None else min(oldest - LOOK_BACK, recent)


def _known(session: Session, ref: str) -> Dispute | None:
    return session.scalars(select(Dispute).where(Dispute.provider_reference == ref)).first()


def _payment(session: Session, provider: str, ref: str | None) -> str | None:
    query = select(Payment.id).where(
        Payment.provider == provider, Payment.provider_reference == ref
    )
    return session.scalar(query) if ref is not None else None
