"""shop approvals · shop approve · shop reject: a person decides, at a terminal."""

from typing import Annotated, Any, Literal

import typer
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from rich.console import Console
from rich.markup import escape
from rich.panel import Panel
from sqlalchemy.orm import Session

from clients.commands.common import (
    Json,
    person,
    recorded,
    refusal_recorded,
    say_json,
    table,
    with_shop,
)
from clients.commands.secrets import ask_passphrase
from common.approvals import approvers, decisions, requests, showing
from common.call import Call, quoted
from common.clock import stamp, utc_now
from common.errors import ShopError
from common.shop import Shop
from common.tables.spine import ApprovalDecision, ApprovalRequest, Approver

Id = Annotated[str, typer.Argument(help="The approval's id (apr_…).")]
Who = Annotated[
    str,
    typer.Option("--as", help="Who you are, as enrolled; else SHOP_OPERATOR, or your login name."),
]
Why = Annotated[str, typer.Option("--note", help="Why; kept with the decision.")]

_SAID = {"approve": "approved", "reject": "rejected"}


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command("approvals")(list_open)
    app.command("approve")(approve)
    app.command("reject")(reject)


def list_open(as_json: Json = False) -> None:
    """List what waits for a person, oldest first."""

    async def work(shop: Shop) -> list[tuple[ApprovalRequest, list[ApprovalDecision]]]:
        def read(session: Session) -> list[tuple[ApprovalRequest, list[ApprovalDecision]]]:
            waiting, _ = requests.pending(session, utc_now(), None, 100)
            return [(request, decisions.of(session, request.id)) for request in waiting]

        return await shop.database.run("*", read, write=False)

    found = with_shop(work)
    if as_json:
        say_json([_shown(request, made) for request, made in found])
        return
    if not found:
        typer.echo("Nothing waits for a decision.")
        return
    table(
        "Waiting for a decision",
        ["id", "what", "level", "asked by", "so far", "until"],
        [
            [
                request.id, quoted(str(request.preview.get("title", request.tool))),
                f"L{request.level}", request.requester, _so_far(request, made),
                stamp(request.expires_at),
            ]
            for request, made in found
        ],
    )  # fmt: skip


def approve(
    approval_id: Id, subject: Who = "", note: Why = "", yes: Annotated[
        bool, typer.Option("--yes", help="Type no amount; the passphrase is still asked.")
    ] = False,
) -> None:  # fmt: skip
    """Approve one request. Shows what the server recorded, then asks for your passphrase.

    From level 2 up you type the amount first, so that nobody approves what they did not read.

    The passphrase is read from the terminal itself, never from a pipe, so that a program which
    can run commands still cannot decide.
    """
    _decide(approval_id, subject, "approve", note, yes)


def reject(approval_id: Id, subject: Who = "", note: Why = "") -> None:
    """Reject one request, for good. Asks for your passphrase."""
    _decide(approval_id, subject, "reject", note, True)


def _decide(
    approval_id: str, subject: str, decision: Literal["approve", "reject"], note: str, yes: bool
) -> None:
    async def work(shop: Shop) -> str:
        read = shop.database.run
        request, made = await read(
            "*",
            lambda s: (requests.get(s, approval_id), decisions.of(s, approval_id)),
            write=False,
        )
        name = subject or shop.settings.operator
        actor = person(name)

        def viewed(call: Call) -> None:
            call.effect("view", "approval_request", approval_id)

        await recorded(shop, actor, "approval_view", viewed)
        _show(request, made)

        def allowed(session: Session) -> Approver:
            found = approvers.find(session, name)
            asked = requests.get(session, approval_id)
            decisions.check(session, asked, found, decision, utc_now())
            return found

        def decided(call: Call, approver: Approver, key: Ed25519PrivateKey) -> str:
            moved = decisions.decide(
                call.session, approval_id, approver, key, decision, note, call.now, "terminal"
            )
            call.effect(decision, "approval_request", approval_id, **moved.as_dict())
            return moved.to_state

        tool = f"approval_{decision}"
        try:
            # Before anything is typed.
            approver = await read("*", allowed, write=False)
            wanted = showing.to_type(request) or decision
            if not yes and not showing.typed_right(wanted, typer.prompt(f"Type {wanted} to go on")):
                typer.echo(f"Nothing was decided: {wanted} was expected, as it is shown.", err=True)
                raise typer.Exit(1)
            key = approvers.unlock(approver, ask_passphrase(f"Passphrase of {name}: "))
            state = await recorded(shop, actor, tool, lambda call: decided(call, approver, key))
        except ShopError as error:
            await refusal_recorded(shop, actor, tool, error)
            raise
        if state == "pending":
            return "Recorded. One more person has to approve."
        if state == "rejected":
            return "Rejected, for good. Nothing will be done."
        return f"{state.capitalize()}. The agent may go on when it repeats the call."

    typer.echo(with_shop(work))


def _show(request: ApprovalRequest, made: list[ApprovalDecision]) -> None:
    seen = showing.shown(request)
    lines = [escape(line) for line in (seen.title, *seen.lines)]
    lines += [escape(f"{f.what}: {f.before} → {f.after}") for f in seen.figures]
    lines += [
        f"[bold]{key}: {escape(value)}[/bold]"
        for key, value in (("amount", seen.amount), ("units", seen.units))
        if value
    ]
    lines += [
        "",
        f"tool {request.server}.{request.tool} · level {request.level} · digest "
        f"{request.digest[:8]}",
        f"asked by {_safe(request.requester)} · until {stamp(request.expires_at)}",
        f"why: {_safe(request.reason)}",
        f"so far: {_safe(_so_far(request, made))}",
    ]
    Console().print(Panel("\n".join(lines), title=request.id, title_align="left"))


def _so_far(request: ApprovalRequest, made: list[ApprovalDecision]) -> str:
    """What became of it: its state, and who has said what."""
    said = [f"{_SAID[each.decision]} by {each.approver}" for each in made]
    if request.state == "pending":
        given = sum(each.decision == "approve" for each in made)
        said.insert(0, f"{given} of {request.needed} approvals")
    else:
        said.insert(0, request.state)
    return " · ".join(said)


def _safe(value: Any) -> str:
    return escape(showing.visible(str(value)))


def _shown(request: ApprovalRequest, made: list[ApprovalDecision]) -> dict[str, Any]:
    return {
        "approval_id": request.id, "server": request.server, "tool": request.tool,
        "level": request.level, "state": request.state, "digest": request.digest,
        "preview": request.preview, "reason": request.reason, "requester": request.requester,
        "created_at": stamp(request.created_at), "expires_at": stamp(request.expires_at),
        "approvals_needed": request.needed,
        "decisions": [
            {"by": each.approver, "decision": each.decision, "at": stamp(each.at)} for each in made
        ],
    }  # fmt: skip
