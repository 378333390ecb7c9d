"""Bring over what a provider says about disputes: opened there, decided there, booked here."""

import asyncio
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from common.audit import chain
from common.audit.records import FORM
from common.call import Actor, Call
from common.clock import Clock
from common.database import Database, new_audit_id
from common.gateways.port import PaymentGateway, ProviderDispute
from common.tables.payments import DISPUTE_REASONS, Dispute, Payment
from servers.payments import disputes

LOOK_BACK: Final = timedelta(days=2)
MOST_PAGES: Final = 20
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
            changed += await _one(database, gateway.name, theirs, now)
        cursor = page.next
        if cursor is None:
            break
    return changed


def bring(call: Call, provider: str, theirs: ProviderDispute) -> bool:
    """Record one dispute, or move ours to where theirs is. Whether anything changed."""
    ours = _known(call.session, theirs.ref)
    if ours is None:
        payment_id = _payment(call.session, provider, theirs.payment_ref)
        if payment_id is None:
            return False
        late = theirs.respond_by is not None and theirs.respond_by <= call.now
        reason = theirs.reason if theirs.reason in DISPUTE_REASONS else "general"
        ours = disputes.record(
            call, payment_id, reason, theirs.amount_minor, None if late else theirs.respond_by,
            theirs.ref, inquiry=theirs.status == "inquiry",
        )  # fmt: skip
        if theirs.status in DECIDED:
            disputes.decide(call, ours.id, theirs.status)
        return True
    escalated = ours.status == "inquiry" and theirs.status == "needs_response"
    decided = ours.status in disputes.OPEN and theirs.status in DECIDED
    if escalated or decided:
        disputes.decide(call, ours.id, theirs.status)
    return escalated or decided


async def _one(database: Database, provider: str, theirs: ProviderDispute, now: datetime) -> bool:
    def news(session: Session) -> bool:
        ours = _known(session, theirs.ref)
        if ours is None:
            return _payment(session, provider, theirs.payment_ref) is not None
        return ours.status in disputes.OPEN and ours.status != theirs.status

    if not await database.run("payments", news, write=False):
        return False
    audit_id = new_audit_id()
    actor = Actor("shop", "disputes", "shop", frozenset(), machine=True)

    def work(session: Session) -> bool:
        call = Call(actor, session, now, audit_id, "payments", "follow_disputes")
        changed = bring(call, provider, theirs)
        session.flush()
        chain.append(
            session, audit_id=audit_id, now=now, payload=None,
            record={
                "v": FORM, "server": "payments", "tool": "follow_disputes", "outcome": "ok",
                "actor": {"iss": "shop", "sub": "disputes", "client": "shop"},
                "args": {"reference": theirs.ref}, "effects": call.effects,
            },
        )  # fmt: skip
        return changed

    return await database.run("payments", work, audit_id=audit_id)


def _since(session: Session, provider: str, now: datetime) -> datetime:
    """From a day before the oldest that is still open here, or two days back."""
    query = (
        select(func.min(Dispute.opened_at))
        .join(Payment, Payment.id == Dispute.payment_id)
        .where(Payment.provider == provider, Dispute.status.in_(disputes.OPEN))
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
