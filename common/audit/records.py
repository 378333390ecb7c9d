"""What an audit record says. One shape for every outcome of every call."""

import time
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any, Final

from pydantic_core import to_jsonable_python
from sqlalchemy.orm import Session

from common.approvals import Transition
from common.audit import chain
from common.audit.redact import loggable
from common.call import Actor, Stakes
from common.errors import Internal, PolicyDenied, ScopeMissing, ShopError, UpstreamError
from common.ids import new_id
from common.incoming import Request

FORM = 1
REFUSALS_A_MINUTE: Final = 120
_MOST_CALLERS: Final = 10_000


@dataclass
class Attempt:
    """One call on its way through the guard, and what its record will say."""

    request: Request
    now: datetime
    started: float
    version: str
    arguments: dict[str, Any] | None = None
    args_digest: str = ""
    approval_id: str = ""
    rule: str = ""
    result_digest: str = ""
    suppressed: int = 0
    approval: dict[str, Any] | None = None
    effects: list[dict[str, Any]] = field(default_factory=list)
    stakes: Stakes = field(default_factory=Stakes)

    @cached_property
    def audit_id(self) -> str:
        """Of the record, known before its first row is written; most reads need none."""
        return new_id("audit")

    def append(self, session: Session, outcome: str, error: ShopError | None) -> None:
        """Write the record, last in its transaction: the chain's head is locked from here on."""
        given = self.request.arguments if self.arguments is None else self.arguments
        payload = to_jsonable_python(given, fallback=str)
        chain.append(
            session, audit_id=self.audit_id, now=self.now,
            record=self._record(outcome, error, payload), payload=payload,
        )  # fmt: skip

    def _record(
        self, outcome: str, error: ShopError | None, payload: dict[str, Any]
    ) -> dict[str, Any]:
        spec, stakes = self.request.spec, self.stakes
        record: dict[str, Any] = {
            "v": FORM,
            "server": spec.domain,
            "version": self.version,
            "tool": spec.name,
            "outcome": outcome,
            "actor": who(self.request.actor),
            "args": loggable(payload, spec.logged) if self.arguments is not None else {},
            "ms": int((time.monotonic() - self.started) * 1000),
        }
        optional: dict[str, Any] = {
            "error": error.code if error else "",
            "rule": self.rule,
            "approval": self.approval,
            "effects": self.effects,
            "result": self.result_digest,
            "trace": self.request.trace,
            "suppressed": self.suppressed,
        }
        if stakes.amount_minor:
            optional["money"] = {"minor": stakes.amount_minor, "currency": stakes.currency}
        return record | {key: value for key, value in optional.items() if value}


def outcome_of(error: ShopError) -> str:
    """The outcome a refusal is recorded with."""
    if isinstance(error, PolicyDenied | ScopeMissing):
        return "denied"
    return "failed" if isinstance(error, Internal | UpstreamError) else "refused"


def who(actor: Actor) -> dict[str, Any]:
    """The actor as records name them."""
    named: dict[str, Any] = {"iss": actor.issuer, "sub": actor.subject, "client": actor.client}
    named |= {"machine": True} if actor.machine else {}
    return named | ({"credential": actor.credential} if actor.credential else {})


def transition(moved: Transition, actor: Actor, version: str) -> dict[str, Any]:
    """The record of an approval changing state outside a tool call."""
    return {
        "v": FORM,
        "server": "approvals",
        "version": version,
        "tool": f"approval_{moved.to_state}",
        "outcome": "ok",
        "actor": who(actor),
        "args": {},
        "approval": {"id": moved.request_id, "from": moved.from_state, "to": moved.to_state},
        "channel": moved.channel,
    }


def refused_answer(
    approval_id: str, actor: Actor, version: str, error: ShopError, suppressed: int
) -> dict[str, Any]:
    """The record of an answer in the client that was not taken."""
    record: dict[str, Any] = {
        "v": FORM,
        "server": "approvals",
        "version": version,
        "tool": "approval_confirm",
        "outcome": "refused",
        "error": error.code,
        "actor": who(actor),
        "args": {},
        "approval": {"id": approval_id, "reason": error.details.get("reason", "")},
    }
    return record | ({"suppressed": suppressed} if suppressed else {})


class Ration:
    """At most REFUSALS_A_MINUTE records a caller and minute; the next one tells how many were left
    out, so that a flood cannot fill the log and cannot hide in it either."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[int, int]] = {}

    def take(self, caller: str, at: float) -> int | None:
        """How many records of an earlier minute were left out; None: leave this one out too.

        ``at`` is in seconds of a clock that only goes forward.
        """
        minute, left_out = int(at // 60), 0
        seen, count = self._seen.get(caller, (minute, 0))
        if minute > seen:
            left_out = max(0, count - REFUSALS_A_MINUTE)
            count = 0
        if len(self._seen) > _MOST_CALLERS:
            self._seen.clear()
        self._seen[caller] = (max(seen, minute), count + 1)
        return left_out if count < REFUSALS_A_MINUTE else None
