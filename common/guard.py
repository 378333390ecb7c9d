"""The one way into a rule: every tool call and every resource read passes here.

Scope, arguments, replay, the rule, policy and approval, then effect, ledger, audit and stored
result in one transaction. The rule runs before the policy because only it can state, from rows,
what is at stake; until the policy agrees, everything it did is rolled back (a dry run).
"""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from pydantic_core import to_jsonable_python
from sqlalchemy.orm import Session

from common import idempotency
from common.approvals import decisions, requests
from common.audit import chain
from common.audit.access import AccessWriter
from common.audit.records import Attempt, Ration, outcome_of, refused_answer, transition
from common.call import Actor, Call
from common.canonical import digest
from common.clock import Clock
from common.errors import (
    ApprovalInvalid,
    Busy,
    Internal,
    NotAuthenticated,
    PolicyDenied,
    PossibleDuplicate,
    ScopeMissing,
    ShopError,
)
from common.incoming import Done, Reading, Request, Waiting
from common.limits import Limits, kind_of
from common.policy import DENY, Policy, Verdict
from common.refusals import refuse_card_numbers
from common.running import Running
from common.scopes import granted
from common.storage.database import Database, Rollback, Work, new_audit_id
from common.telemetry import span
from common.toolset import ResourceSpec, ToolSpec
from common.wire import dump, parse, parse_text

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Proposal:
    """What the rule would do, found in a transaction that was rolled back."""

    verdict: Verdict
    digest: str
    preview: dict[str, Any]


class Guard:
    """Holds what every call needs; has no state of its own but the ration of records."""

    def __init__(
        self,
        database: Database,
        policy: Policy,
        *,
        clock: Clock,
        access: AccessWriter,
        limits: Limits,
        version: str,
        read_only: bool = False,
    ) -> None:
        self.database = database
        self.policy = policy
        self.clock = clock
        self.access = access
        self.limits = limits
        self.version = version
        self.read_only = read_only
        # Called after a call put something in the outbox.
        self.committed: Callable[[], None] | None = None
        self._ration = Ration()
        self.ports: dict[str, Any] = {}  # handed to preparing steps

    async def call(self, request: Request) -> Done | Waiting:
        """Run a tool. Raises ShopError; anything unexpected is recorded and becomes Internal."""
        with span("guard", server=request.spec.domain, tool=request.spec.name):
            return await self._guarded(request)

    async def _guarded(self, request: Request) -> Done | Waiting:
        attempt = Attempt(request, self.clock(), time.monotonic(), self.version)
        try:
            await self._admit(request.actor, request.spec)
            arguments = _arguments(request)
            attempt.arguments = arguments
            if not request.spec.changes:
                return await self._read(request, arguments)
            if self.read_only:
                raise PolicyDenied("This server was started read-only.")
            return await self._change(request, arguments, attempt)
        except ShopError as error:
            await self._record(attempt, outcome_of(error), error)
            raise
        except asyncio.CancelledError:
            await asyncio.shield(self._record(attempt, "cancelled", None))
            raise
        except Exception as error:
            log.exception("%s.%s crashed", request.spec.domain, request.spec.name)
            hidden = Internal(
                f"Something broke on our side (reference {attempt.audit_id}).",
                details={"reference": attempt.audit_id},
            )
            await self._record(attempt, "failed", hidden)
            raise hidden from error

    async def read(self, reading: Reading) -> Any:
        """Read a resource. Raises ShopError."""
        spec, actor = reading.spec, reading.actor
        outcome = "ok"
        try:
            await self._admit(actor, spec)
            arguments = parse_text(spec.arguments, reading.values)

            def work(session: Session) -> Any:
                call = Call(actor, session, self.clock(), "", spec.domain, spec.name)
                return spec.run(call, **_values(arguments))

            return await self.database.run(spec.domain, work, write=False, name=spec.uri)
        except ShopError as error:
            outcome = error.code
            raise
        except Exception as error:
            outcome = "failed"
            log.exception("resource %s crashed", spec.uri)
            raise Internal("Something broke on our side while reading.") from error
        finally:
            self.access.note(
                now=self.clock(), server=spec.domain, target=spec.uri, actor=actor,
                outcome=outcome, args=reading.values,
            )  # fmt: skip

    async def confirm(self, approval_id: str, actor: Actor, accepted: bool) -> None:
        """The requester's own person answered in the client: counts for level 1 only."""
        if self.read_only:
            raise PolicyDenied("This server was started read-only.")
        now, audit_id = self.clock(), new_audit_id()

        def work(session: Session) -> None:
            moved = decisions.confirm(session, approval_id, actor, accepted, now)
            chain.append(
                session, audit_id=audit_id, now=now, payload=None,
                record=transition(moved, actor, self.version),
            )  # fmt: skip

        try:
            await self.database.run("approvals", work, audit_id=audit_id)
        except ShopError as error:
            left_out = self._ration.take(actor.counted, time.monotonic())
            if left_out is not None:
                said = refused_answer(approval_id, actor, self.version, error, left_out)
                await self._keep(
                    audit_id,
                    lambda s: chain.append(s, audit_id=audit_id, now=now, record=said),
                    "refused",
                )
            raise

    # -- reading -------------------------------------------------------------------------------

    async def _read(self, request: Request, arguments: dict[str, Any]) -> Done:
        spec, actor = request.spec, request.actor
        plan = await self._computed(request, arguments)
        told = Running(request.progress).report

        def work(session: Session) -> dict[str, Any]:
            call = Call(actor, session, self.clock(), "", spec.domain, spec.name, report=told)
            return dump(spec.rule(call, **arguments, **plan))

        structured = await self.database.run(spec.domain, work, write=False, name=spec.name)
        self.access.note(
            now=self.clock(), server=spec.domain, target=spec.name, actor=actor,
            outcome="ok", args=arguments,
        )  # fmt: skip
        return Done(structured)

    # -- changing ------------------------------------------------------------------------------

    async def _change(
        self, request: Request, arguments: dict[str, Any], attempt: Attempt
    ) -> Done | Waiting:
        key = arguments.pop("idempotency_key", None)
        approval_id = arguments.pop("approval_id", None)
        change = _Change(self, request, arguments, attempt, key, approval_id)
        if request.spec.computation is not None:
            known = await self.database.run(request.spec.domain, change.replay, write=False)
            if known is not None:
                return known
        change.plan = await self._computed(request, arguments)
        for _ in range(2):
            try:
                found = await self.database.run(
                    request.spec.domain, change.work, audit_id=attempt.audit_id
                )
                break
            except idempotency.Raced:
                continue  # the same key won a moment ago: the second round replays it
        else:
            raise Internal("The same key was used twice at once, and again.")
        if isinstance(found, Done):
            if found.replayed:
                await self._record(attempt, "replayed", None)
            elif self.committed and any(e["type"] == "outbox" for e in attempt.effects):
                self.committed()
            return found
        return await self._ask(request, attempt, found)

    async def _ask(self, request: Request, attempt: Attempt, proposal: _Proposal) -> Waiting:
        spec = request.spec

        def work(session: Session) -> Waiting:
            asked = requests.ask(
                session, server=spec.domain, tool=spec.name, args_digest=attempt.args_digest,
                digest=proposal.digest, preview=proposal.preview, reason=proposal.verdict.reason,
                actor=request.actor, verdict=proposal.verdict, now=attempt.now,
            )  # fmt: skip
            attempt.approval = {
                "id": asked.id, "level": asked.level, "digest": asked.digest
            }  # fmt: skip
            if asked.created_at == attempt.now:
                attempt.append(session, "pending", None)
            else:  # asked before: as with refusals, a flood of it fills no log
                left_out = self._ration.take(request.actor.counted, attempt.started)
                if left_out is not None:
                    attempt.suppressed = left_out
                    attempt.append(session, "pending", None)
            return Waiting.of(asked)

        return await self.database.run("approvals", work, audit_id=attempt.audit_id)

    async def _computed(self, request: Request, arguments: dict[str, Any]) -> dict[str, Any]:
        """The outcome of the tool's compute step, off the event loop and outside transactions."""
        computation = request.spec.computation
        if computation is None:
            return {}

        def prepare(session: Session) -> Any:
            spec = request.spec
            call = Call(
                request.actor, session, self.clock(), "", spec.domain, spec.name, self.ports
            )
            return computation.prepare(call, **arguments)

        data = await self.database.run(request.spec.domain, prepare, write=False)
        running, whose = Running(request.progress), request.actor.counted
        return {"plan": await running.run(computation.compute, data, whose)}

    # -- records -------------------------------------------------------------------------------

    async def _record(self, attempt: Attempt, outcome: str, error: ShopError | None) -> None:
        """Refusals, crashes, replays and cancelled calls leave a record of their own."""
        left_out = self._ration.take(attempt.request.actor.counted, attempt.started)
        if self.read_only or left_out is None:
            return
        if outcome == "cancelled":
            # A thread may still be at work on the first one, and commit under its id.
            attempt = replace(attempt, effects=[], result_digest="")
        attempt.suppressed = left_out

        def work(session: Session) -> None:
            if isinstance(error, ApprovalInvalid) and attempt.approval_id:
                reason = str(error.details.get("reason"))
                requests.settle_refusal(session, attempt.approval_id, reason, attempt.now)
            attempt.append(session, outcome, error)

        await self._keep(attempt.audit_id, work, outcome)

    async def _keep(self, audit_id: str, work: Work[Any], what: str) -> None:
        try:
            await self.database.run("approvals", work, audit_id=audit_id)
        except Exception as error:
            log.error("a %s call is not on record", what, exc_info=not isinstance(error, Busy))

    async def _admit(self, actor: Actor, spec: ToolSpec | ResourceSpec) -> None:
        if not actor.subject:
            raise NotAuthenticated("Nobody is signed in.")
        if (scope := spec.scope) not in granted(actor.scopes):
            raise ScopeMissing(f"This needs the scope {scope}.", details={"scope": str(scope)})
        await self.limits.take(actor, kind_of(spec))


@dataclass
class _Change:
    """One attempt at one changing call: everything that happens inside its transaction."""

    guard: Guard
    request: Request
    arguments: dict[str, Any]
    attempt: Attempt
    key: str | None
    approval_id: str | None

    def __post_init__(self) -> None:
        spec, actor, attempt = self.request.spec, self.request.actor, self.attempt
        self.plan: dict[str, Any] = {}
        self.told = Running(self.request.progress).report
        attempt.args_digest = digest(to_jsonable_python(self.arguments))
        attempt.approval_id = self.approval_id or ""
        whose = (actor, spec.domain, spec.name)
        self.soft = idempotency.soft_key(*whose, attempt.args_digest)
        self.keys: list[str] = []
        if self.key:
            self.keys.append(idempotency.key_of(*whose, self.key))
        if self.approval_id:
            self.keys.append(idempotency.approval_key(*whose, self.approval_id))

    def replay(self, session: Session) -> Done | None:
        """The stored answer of the same key or approval and arguments, if there is one."""
        for key in self.keys:
            stored = idempotency.replay(session, key, self.attempt.args_digest)
            if stored is not None:
                return Done(stored | {"replayed": True}, replayed=True)
        return None

    def work(self, session: Session) -> Done | _Proposal:
        """Replay, or run the rule and either commit all of it or keep nothing."""
        if (known := self.replay(session)) is not None:
            raise Rollback(known)
        self._refuse_duplicate(session)
        spec, actor, attempt = self.request.spec, self.request.actor, self.attempt
        by = (attempt.now, attempt.audit_id, spec.domain, spec.name)
        call = Call(actor, session, *by, report=self.told)
        structured = dump(spec.rule(call, **self.arguments, **self.plan))
        session.flush()
        verdict = self.guard.policy.decide(
            session, rule=spec.policy, actor=actor, stakes=call.stakes, now=attempt.now
        )
        attempt.rule = verdict.rule
        if verdict.level == DENY:
            raise PolicyDenied(verdict.reason, details={"rule": verdict.rule})
        if self.approval_id is not None or verdict.level > 0:
            self._ask_or_consume(session, call, verdict)
        self._finish(session, call, structured)
        return Done(structured)

    def _ask_or_consume(self, session: Session, call: Call, verdict: Verdict) -> None:
        spec, preview = self.request.spec, call.shown(self.request.spec.title)
        bound = requests.digest(
            server=spec.domain, tool=spec.name, tool_version=self.guard.version,
            args=to_jsonable_python(self.arguments), versions=call.versions, preview=preview,
        )  # fmt: skip
        if self.approval_id is None:
            raise Rollback(_Proposal(verdict, bound, preview))
        self._consume(session, bound, preview, verdict)

    def _consume(
        self, session: Session, bound: str, preview: dict[str, Any], verdict: Verdict
    ) -> None:
        spec, attempt = self.request.spec, self.attempt
        used = requests.consume(
            session, approval_id=str(self.approval_id), server=spec.domain, tool=spec.name,
            args_digest=attempt.args_digest, digest=bound, actor=self.request.actor,
            preview=preview, verdict=verdict, now=attempt.now,
        )  # fmt: skip
        attempt.approval = {"id": used.id, "level": used.level, "digest": used.digest}

    def _finish(self, session: Session, call: Call, structured: dict[str, Any]) -> None:
        spec, attempt = self.request.spec, self.attempt
        level = int(attempt.approval["level"]) if attempt.approval else 0
        self.guard.policy.use(
            session, audit_id=attempt.audit_id, rule=spec.policy, actor=self.request.actor,
            stakes=call.stakes, now=attempt.now, level=level,
        )  # fmt: skip
        repeatable = self.guard.policy.repeatable(spec.policy)
        idempotency.keep(
            session, self.keys, "" if repeatable else self.soft, server=spec.domain,
            tool=spec.name, args_digest=attempt.args_digest, result=structured, now=attempt.now,
            audit_id=attempt.audit_id,
        )  # fmt: skip
        attempt.effects, attempt.stakes = call.effects, call.stakes
        attempt.result_digest = digest(structured)
        attempt.append(session, "ok", None)

    def _refuse_duplicate(self, session: Session) -> None:
        if self.keys or self.guard.policy.repeatable(self.request.spec.policy):
            return
        before = idempotency.recent(session, self.soft, self.attempt.now)
        if before is not None:
            raise PossibleDuplicate(
                "The same call was made less than a minute ago.", details={"audit_id": before}
            )


def _arguments(request: Request) -> dict[str, Any]:
    model = parse(request.spec.arguments, request.arguments)
    refuse_card_numbers(request.arguments)
    return _values(model)


def _values(model: Any) -> dict[str, Any]:
    return {name: getattr(model, name) for name in type(model).model_fields}
