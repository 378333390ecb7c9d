"""What comes to the guard and what goes back, free of any transport."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from common.approvals.requests import ApprovalRequest
from common.call import Actor
from common.clock import stamp
from common.toolset import ResourceSpec, ToolSpec

ProgressSink = Callable[[int, int, str], None]


def _nowhere(done: int, total: int, message: str) -> None:
    """Progress nobody asked for."""


@dataclass(frozen=True)
class Request:
    """One call of one tool, by an authenticated actor."""

    spec: ToolSpec
    arguments: dict[str, Any]
    actor: Actor
    trace: str = ""
    progress: ProgressSink = _nowhere


@dataclass(frozen=True)
class Reading:
    """One read of one resource."""

    spec: ResourceSpec
    values: dict[str, str]
    actor: Actor
    trace: str = ""


@dataclass(frozen=True)
class Done:
    """The tool ran and its effect is committed; or ran before, with this same key."""

    structured: dict[str, Any]
    replayed: bool = False


@dataclass(frozen=True)
class Waiting:
    """Nothing has happened: a person has to agree first."""

    approval_id: str
    level: int
    digest: str
    expires_at: str
    reason: str
    preview: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, request: ApprovalRequest) -> "Waiting":
        return cls(
            approval_id=request.id,
            level=request.level,
            digest=request.digest,
            expires_at=stamp(request.expires_at),
            reason=request.reason,
            preview=request.preview,
        )

    def structured(self, console: str = "") -> dict[str, Any]:
        """What a client without elicitation is told: a normal result that says how to go on.
        ``console`` is where people decide; without one they do at a terminal."""
        who = "the person you work for" if self.level == 1 else "another person"
        decide = "decides"
        if self.level == 3:
            who, decide = "two other people", "decide"
        decide_at = f"{console}/requests/{self.approval_id}" if console else ""
        how = decide_at or f"shop approve {self.approval_id} --as YOU"
        where = f"at {decide_at}" if decide_at else f"with `{how}` in a terminal"
        told: dict[str, Any] = {
            "status": "approval_required",
            "approval_id": self.approval_id,
            "level": self.level,
            "digest8": self.digest[:8],
            "expires_at": self.expires_at,
            "reason": self.reason,
            "preview": self.preview,
            "how": how,
            "next": (
                f"Nothing was changed. Show the preview to your person. {who.capitalize()} "
                f"{decide} {where}; you cannot. Then repeat this same call with approval_id added."
            ),
        }
        return told | ({"decide_at": decide_at} if decide_at else {})
