"""The worker that tells a provider what was decided, and books what it answers.

A row is leased, sent outside any transaction, and settled in a transaction of its own. What was
sent and has no answer is asked about, never sent again blindly: see ``common.gateways.port``.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Select, and_, case, or_, select, update
from sqlalchemy.orm import Session, aliased

from common.background import duty
from common.call import Call
from common.clock import Clock
from common.errors import InvalidParameters
from common.gateways.port import (
    RESEND_WITHIN,
    GatewayError,
    OperationMismatch,
    Outcome,
    PaymentGateway,
    Sent,
    State,
)
from common.gateways.simulator import Simulator
from common.rules import disputed_at_provider
from common.rules.paid_answered import settle
from common.storage.database import Database
from common.tables.payments import (
    Dispute,
    DisputeEvidence,
    Outbox,
    Payment,
    PaymentMethod,
    Refund,
)

log = logging.getLogger(__name__)

BATCH: Final = 8
EVERY_S: Final = 5
GRACE_S: Final = 5
FOLLOW_EVERY: Final = timedelta(minutes=10)
ANSWER_S: Final = 60
LEASE: Final = timedelta(seconds=150)
MOST_ATTEMPTS: Final = 20
FIRST_WAIT: Final = timedelta(seconds=5)
LONGEST_WAIT: Final = timedelta(hours=1)
OPEN: Final = ("pending", "sent", "unknown")


@dataclass(frozen=True)
class Job:
    """One operation as it goes out. ``ask`` when it may have been sent before; ``sent_at`` is not
    later than the first sending. ``provider_ref``: the payment or dispute it is about."""

    outbox_id: str
    operation_id: str
    kind: str
    provider: str
    provider_ref: str | None
    token: str | None
    amount_minor: int
    currency: str
    reason: str
    evidence: Mapping[Any, str]
    metadata: Mapping[str, str]
    sent_at: datetime
    ask: bool
    attempts: int


class OutboxWorker:
    """One task a process; several processes may do it at once without harm: a row is leased before
    it goes out, and a dispute that is known is not recorded again. For payments; the worker for
    carriers is another kind of it."""

    domain = "payments"
    port = "gateway"

    def __init__(self, database: Database, gateways: Mapping[str, Any], clock: Clock) -> None:
        self.database = database
        self.gateways = gateways
        self.clock = clock
        self._task: asyncio.Task[None] | None = None
        self._nudged = asyncio.Event()
        self._over = False
        self._followed: datetime | None = None

    def start(self) -> None:
        """Begin in the background."""
        self._over = False
        self._task = asyncio.create_task(self._forever())

    async def stop(self) -> None:
        """End, after what is on its way if that is soon; what was sent and not booked is asked
        about after its lease."""
        if self._task is not None:
            self._over = True
            self._nudged.set()
            await asyncio.wait([self._task], timeout=GRACE_S)
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def forever(self) -> None:
        """Run until cancelled."""
        self.start()
        try:
            await asyncio.Event().wait()
        finally:
            await self.stop()

    def nudge(self) -> None:
        """There is something to send: do not wait for the next round."""
        self._nudged.set()

    async def once(self) -> int:
        """At most one batch of what is due. Returns how many rows were settled or put off."""
        now = self.clock()
        query = due(now, self.port)
        found = await self.database.run(self.domain, lambda s: s.scalar(query), write=False)
        if found is None:
            return 0
        jobs = await self.database.run(self.domain, lambda session: self.take(session, now))
        await asyncio.gather(*(self._one(job) for job in jobs))
        return len(jobs)

    async def drain(self, rounds: int = 50) -> int:
        """Batches until nothing is due, at most ``rounds``. Returns how many rows were treated."""
        done = 0
        for _ in range(rounds):
            treated = await self.once()
            if treated == 0:
                break
            done += treated
        return done

    def take(self, session: Session, now: datetime) -> list[Any]:
        """Lease what is due."""
        return take(session, now)

    def perform(self, gateway: Any, job: Any, now: datetime) -> Outcome:
        """Send or ask. Blocking."""
        return perform(gateway, job, now)

    def settle(self, call: Call, row: Outbox, outcome: Outcome) -> bool:
        """Book a final answer. Whether the operation is done."""
        return settle(call, row, outcome)

    async def _one(self, job: Any) -> None:
        gateway = self.gateways.get(job.provider)
        if gateway is None:
            await self._book(job, None, f"no provider {job.provider} is configured")
            return
        error = ""
        outcome: Outcome | None
        try:
            async with asyncio.timeout(ANSWER_S):
                outcome = await asyncio.to_thread(self.perform, gateway, job, self.clock())
        except OperationMismatch as refused:
            outcome, error = Outcome(State.UNKNOWN, code="mismatch"), refused.message
        except GatewayError as refused:
            outcome, error = None, refused.message
        except InvalidParameters as refused:
            outcome = Outcome(State.FAILED, code="refused", message=refused.message)
        except Exception as failure:
            log.exception("operation %s has no answer", job.operation_id)
            outcome, error = Outcome(State.UNKNOWN), type(failure).__name__
        await self._book(job, outcome, error)

    async def _book(self, job: Any, outcome: Outcome | None, error: str) -> None:
        await duty.recorded(
            self.database, self.clock(), "outbox", "outbox",
            {"operation_id": job.operation_id, "kind": job.kind},
            lambda call: book(call, job, outcome, error, self.settle), domain=self.domain,
        )  # fmt: skip

    async def follow(self) -> int:
        """What the providers say about disputes, if it is time or a notice came. Returns how many
        were recorded or moved."""
        now = self.clock()
        told = await self.database.run("payments", disputed_at_provider.noticed, write=False)
        rested = self._followed is not None and now - self._followed < FOLLOW_EVERY
        if rested and not told:
            return 0
        self._followed, changed = now, 0
        for gateway in self.gateways.values():
            if isinstance(gateway, Simulator):
                await asyncio.to_thread(gateway.advance)
            changed += await disputed_at_provider.follow(self.database, gateway, self.clock)
        if told:
            await disputed_at_provider.heed(self.database, told, now)
        return changed

    async def _forever(self) -> None:
        while not self._over:
            with suppress(TimeoutError):
                async with asyncio.timeout(EVERY_S):
                    await self._nudged.wait()
            self._nudged.clear()
            try:
                await self.drain(rounds=10)
                if not self._over:
                    await self.follow()
            except GatewayError as error:
                log.warning("the provider: %s %s", error.message, error.next)
            except Exception:
                log.exception("the outbox failed; it will be tried again")


def perform(gateway: PaymentGateway, job: Job, now: datetime) -> Outcome:
    """Send, or ask and send again only what the provider never got. Blocking. Raises what the
    gateway raises."""
    if job.ask:
        about = None if job.kind == "authorize" else job.provider_ref
        sent = Sent(job.kind, about, job.sent_at)  # type: ignore[arg-type]
        answer = gateway.ask(job.operation_id, sent)
        if answer.state is not State.NOT_FOUND:
            return answer
        if now - job.sent_at > RESEND_WITHIN:
            return Outcome(State.FAILED, code="never_arrived", message="It never got there.")
    return _send(gateway, job)


def _send(gateway: PaymentGateway, job: Job) -> Outcome:
    id, ref = job.operation_id, job.provider_ref
    if job.kind == "authorize":
        if job.token is None:
            return Outcome(State.FAILED, code="no_such_method", message="The method has no token.")
        return gateway.authorize(id, job.amount_minor, job.currency, job.token, job.metadata)
    if ref is None:
        return Outcome(State.FAILED, code="no_such_payment", message="The provider has none.")
    if job.kind == "capture":
        return gateway.capture(id, ref, job.amount_minor)
    if job.kind == "void":
        return gateway.void(id, ref)
    if job.kind == "refund":
        return gateway.refund(id, ref, job.amount_minor, job.reason)
    if job.kind == "submit_evidence":
        return gateway.submit_evidence(id, ref, job.evidence)
    return gateway.accept_dispute(id, ref)


def take(session: Session, now: datetime, limit: int = BATCH) -> list[Job]:
    """Lease payments that are due, the oldest first."""
    rows = due_rows(session, now, "gateway", limit)
    jobs = [_job(session, row, now) for row in rows]
    lease(session, jobs, now)
    return jobs


def due_rows(session: Session, now: datetime, port: str, limit: int = BATCH) -> list[Outbox]:
    """Rows whose turn it is, locked. Rows another worker is taking are left to it."""
    query = due(now, port).limit(limit).with_for_update(of=Outbox, skip_locked=True)
    return [session.get_one(Outbox, id) for id in session.scalars(query)]


def lease(session: Session, jobs: Sequence[Any], now: datetime) -> None:
    """Write down that these go out now."""
    for job in jobs:
        # A lease is no effect: it is written past the audited rows.
        session.execute(
            update(Outbox)
            .where(Outbox.id == job.outbox_id)
            .values(
                state="sent", attempts=job.attempts, leased_until=now + LEASE,
                result={"sent_at": job.sent_at.isoformat()},
            )
            .execution_options(synchronize_session=False)
        )  # fmt: skip


def book(
    call: Call,
    job: Any,
    outcome: Outcome | None,
    error: str,
    settled: Callable[[Call, Outbox, Outcome], bool] = settle,
) -> None:
    """Write down what came of a leased operation. None: nothing was sent, try again later."""
    row = call.session.get_one(Outbox, job.outbox_id)
    if row.state not in OPEN or row.attempts != job.attempts:
        return  # the lease ran out and somebody else has it
    row.leased_until, row.error = None, error or (outcome.message if outcome else "") or None
    again = outcome is None or outcome.state in (State.PENDING, State.UNKNOWN, State.NOT_FOUND)
    if again and (job.attempts >= MOST_ATTEMPTS or (outcome and outcome.code == "mismatch")):
        row.state, row.finished_at = "failed", call.now
        row.error = f"Gave up, a person has to look: {row.error or 'no answer'}"
    elif outcome is None:
        row.state = "unknown" if job.ask else "pending"
        row.next_at = call.now + backoff(job.attempts)
    elif again:
        row.state = "sent" if outcome.state is State.PENDING else "unknown"
        row.next_at = call.now + backoff(job.attempts)
    else:
        row.finished_at, row.result = call.now, outcome.record()
        row.state = "done" if settled(call, row, outcome) else "failed"
    call.session.flush()
    call.effect("update", "outbox", row.id, state=row.state)


def backoff(attempts: int) -> timedelta:
    """5 s, 10 s, 20 s … up to an hour."""
    return min(FIRST_WAIT * int(2 ** min(attempts - 1, 20)), LONGEST_WAIT)


_RANK = {"authorize": 0, "buy": 0, "capture": 1, "void": 2}


def due(now: datetime, port: str = "gateway") -> Select[str]:
    """Ids of rows whose turn it is: a target's operations go out one after the other."""
    earlier = aliased(Outbox)

    def rank(row: Any) -> Any:
        return case(_RANK, value=row.kind, else_=3)

    before = or_(
        earlier.created_at < Outbox.created_at,
        and_(
            earlier.created_at == Outbox.created_at,
            or_(
                rank(earlier) < rank(Outbox),
                and_(rank(earlier) == rank(Outbox), earlier.id < Outbox.id),
            ),
        ),
    )
    waits = select(earlier.id).where(
        earlier.target_type == Outbox.target_type, earlier.target_id == Outbox.target_id,
        earlier.port == port, earlier.state.in_(OPEN), before,
    )  # fmt: skip
    return (
        select(Outbox.id)
        .where(
            Outbox.port == port, Outbox.state.in_(OPEN), Outbox.next_at <= now,
            or_(Outbox.leased_until.is_(None), Outbox.leased_until <= now),
            ~waits.exists(),
        )
        .order_by(Outbox.next_at, Outbox.id)
    )  # fmt: skip


def _job(session: Session, row: Outbox, now: datetime) -> Job:
    payment = session.get_one(Payment, row.target_id)
    method = session.get_one(PaymentMethod, payment.method_id)
    first = (row.result or {}).get("sent_at") if row.state != "pending" else None
    job = Job(
        row.id, row.operation_id, row.kind, payment.provider, payment.provider_reference,
        method.provider_reference, int(row.payload["amount_minor"]), payment.currency, "", {},
        {"payment_id": payment.id, "order_id": payment.order_id or ""},
        datetime.fromisoformat(first) if first else now, row.state != "pending", row.attempts + 1,
    )  # fmt: skip
    if row.kind == "refund":
        refund = session.get_one(Refund, row.payload["refund_id"])
        return replace(job, reason=refund.reason)
    if "dispute_id" in row.payload:
        dispute = session.get_one(Dispute, row.payload["dispute_id"])
        return replace(
            job, provider_ref=dispute.provider_reference, evidence=_evidence(session, dispute)
        )
    return job


def _evidence(session: Session, dispute: Dispute) -> dict[str, str]:
    query = select(DisputeEvidence).where(DisputeEvidence.dispute_id == dispute.id)
    texts: dict[str, list[str]] = {}
    for row in session.scalars(query.order_by(DisputeEvidence.id).limit(100)):
        texts.setdefault(row.kind, []).append(row.text)
    return {kind: "\n\n".join(parts)[:20_000] for kind, parts in texts.items()}
