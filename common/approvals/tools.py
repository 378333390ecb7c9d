"""What every server offers about approvals. Neither tool decides one; nothing over MCP does."""

from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from common.approvals import requests
from common.call import Call
from common.scopes import Scope, of_domain
from common.toolset import Effect, Toolset, ToolSpec
from common.wire import Identifier, Result

HERE: Final = Path(__file__).parent
WIDGET: Final = "approval-status"


class ApprovalState(Result):
    """``state`` is pending, approved, used, rejected, cancelled, expired or stale."""

    approval_id: str
    state: str
    tool: str
    level: int
    approvals: int
    needed: int
    expires_at: str
    note: str = ""
    next: str


_NEXT = {
    "pending": "Wait for the person. Do not call the tool again yet.",
    "approved": "Repeat the original call with this approval_id added.",
    "used": "Done already. Repeating the call returns the stored answer.",
    "rejected": "The person said no. Do not ask again; ask them what they want instead.",
    "cancelled": "Withdrawn. Call the tool again to ask anew.",
    "expired": "Too late. Call the tool again to ask anew.",
    "stale": "What was shown has changed since. Call the tool again to ask anew.",
}


def approval_status(call: Call, id: Identifier) -> ApprovalState:
    """Where an approval you asked for stands. It decides nothing."""
    return _state(requests.status(call.session, id, call.actor, call.now))


def approval_cancel(call: Call, id: Identifier) -> ApprovalState:
    """Withdraw an approval request of your own that is still open. Nothing else changes."""
    call.stake()
    moved = requests.cancel(call.session, id, call.actor, call.now)
    call.effect("cancel", "approval_request", moved.request_id)
    return approval_status(call, id)


def offered_by(toolset: Toolset) -> Toolset:
    """The toolset with both tools, under its own scopes."""
    if approval_status.__name__ in toolset.tools:
        return toolset
    scopes = of_domain(toolset.domain)
    read = scopes[0]
    write = next((s for s in scopes if s.endswith(":write")), read)
    offered = replace(toolset, resources=dict(toolset.resources), widgets=dict(toolset.widgets))
    offered.widget(
        WIDGET, HERE, "Where an approval stands, and a button to withdraw it.",
        doing="Looking for the approval", done="The approval",
    )  # fmt: skip
    shown = offered.widgets[WIDGET].tool_meta
    own = {
        spec.name: spec
        for spec in (
            _spec(toolset.domain, approval_status, read, Effect.READS, "", shown),
            _spec(
                toolset.domain, approval_cancel, write, Effect.CHANGES, "approvals.cancel", shown
            ),
        )
    }
    return replace(offered, tools=toolset.tools | own)


def _spec(
    domain: str, run: Any, scope: Scope, effect: Effect, policy: str, meta: dict[str, Any]
) -> ToolSpec:
    return ToolSpec(domain, run, scope, effect, policy, meta=meta)


def _state(found: dict[str, Any]) -> ApprovalState:
    return ApprovalState(
        approval_id=found["approval_id"],
        state=found["state"],
        tool=f"{found['server']}.{found['tool']}",
        level=found["level"],
        approvals=found["approvals"],
        needed=found["needed"],
        expires_at=found["expires_at"],
        note=found["note"] or "",
        next=_NEXT[found["state"]],
    )
