"""shop audit: the record nobody can quietly alter."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy import select
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
from common.approvals import approvers
from common.audit import anchors, restarting, verify
from common.clock import stamp, utc_now
from common.errors import NotFound, ShopError
from common.keys import read_public_key
from common.shop import Shop
from common.tables.spine import AuditRecord

Anchors = Annotated[
    Path | None,
    typer.Option(
        "--anchors", exists=True, dir_okay=False, help="Anchor file; the shop's own unless said."
    ),
]
Key = Annotated[
    Path | None,
    typer.Option(
        "--pubkey", exists=True, dir_okay=False, help="Public key of the anchors; the shop's own."
    ),
]
Kept = Annotated[
    Path | None,
    typer.Option(
        "--kept", exists=True, dir_okay=False,
        help="A copy of the anchors made before, or its last line: it must still be among them.",
    ),
]  # fmt: skip


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    group = typer.Typer(help="The audit log.", no_args_is_help=True)
    group.command("verify")(check)
    group.command("anchor")(anchor)
    group.command("restart")(restart)
    group.command("show")(show)
    app.add_typer(group, name="audit")


def check(
    anchor_file: Anchors = None, pubkey: Key = None, kept: Kept = None, as_json: Json = False
) -> None:
    """Verify every chain against itself, the anchors and the rows it speaks of.

    Exit 0: sound. 1: broken, and the first bad record is named. 2: could not be checked.
    """
    try:
        known = anchors.kept(kept) if kept else ""
    except anchors.AnchorsBroken:
        raise typer.BadParameter(f"{kept} holds no anchor") from None

    async def work(shop: Shop) -> verify.Report:
        file = anchor_file or shop.settings.anchor_file
        own = shop.settings.key_dir / "anchor.pub"
        public = read_public_key(pubkey or own) if pubkey or own.exists() else None

        def read(session: Session) -> verify.Report:
            return verify.verify(session, file, public, known_anchor=known)

        return await shop.database.run("*", read, write=False)

    report = with_shop(work)
    if as_json:
        say_json(asdict(report) | {"exit": report.exit_code})
    else:
        typer.echo(_told(report))
    raise typer.Exit(report.exit_code)


def _told(report: verify.Report) -> str:
    counts = (
        f"{_many(report.checked, 'record')} in {_many(report.chains, 'chain')}, "
        f"{_many(report.anchors, 'anchor')}, "
        f"{_many(report.unanchored, 'record')} since the last one"
    )
    if report.first_bad is not None:
        bad = report.first_bad
        where = f"chain {bad.chain} seq {bad.seq} {bad.event_id}".strip()
        return f"BROKEN: {bad.kind} at {where}: {bad.why} ({counts})"
    if report.unchecked:
        return f"NOT CHECKED: {report.unchecked} ({counts})"
    anew = f" The anchors were begun anew: {report.begun_anew}." if report.begun_anew else ""
    return f"Sound: {counts}.{anew}"


def _many(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def anchor() -> None:
    """Append an anchor now: from here on, no record before it can be cut or rewritten unseen."""

    async def work(shop: Shop) -> bool:
        return await shop.housekeeping.anchor(force=True)

    made = with_shop(work)
    typer.echo("Anchored." if made else "Nothing new to anchor.")


def restart(
    reason: Annotated[
        str, typer.Option(help="Why an older database is in use. Kept for good: name nobody.")
    ],
    subject: Annotated[
        str, typer.Option("--as", help="An approver, by subject; the operator unless said.")
    ] = "",
    as_json: Json = False,
) -> None:
    """Begin the anchors anew, after an older database was put back on purpose.

    Asks for an approver's passphrase. What is lost goes on record; the old anchors stay beside the
    new ones. Refused where the anchors hold, and where the chain itself is broken.
    """

    async def work(shop: Shop) -> restarting.Restarted:
        name = subject or shop.settings.operator
        actor, tool = person(name), "audit_restart"
        try:
            approver = await shop.database.run("*", lambda s: approvers.find(s, name), write=False)
            key = approvers.unlock(approver, ask_passphrase(f"Passphrase of {name}: "))
            return await restarting.restart(
                shop.database, shop.settings.anchor_file, shop.settings.key_dir, now=utc_now(),
                subject=name, key=key, reason=reason,
                recording=lambda written: recorded(shop, actor, tool, written),
            )  # fmt: skip
        except ShopError as error:
            await refusal_recorded(shop, actor, tool, error)
            raise

    done = with_shop(work)
    if as_json:
        say_json(asdict(done))
        return
    typer.echo(f"Anchors begun anew; {done.record} says who and why. The old ones: {done.kept}.")
    typer.echo(f"{done.lost} anchored records are lost: {done.why}.")


def show(
    audit_id: Annotated[
        str, typer.Argument(help="A record's id; the latest ones unless given.")
    ] = "",
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many of the latest.")] = 20,
    as_json: Json = False,
) -> None:
    """Show one record, or the latest."""

    async def work(shop: Shop) -> list[AuditRecord]:
        query = select(AuditRecord).order_by(AuditRecord.at.desc(), AuditRecord.seq.desc())
        if audit_id:
            query = query.where(AuditRecord.id == audit_id)
        return await shop.database.run(
            "*", lambda s: list(s.scalars(query.limit(limit))), write=False
        )

    found = with_shop(work)
    if audit_id and not found:
        raise NotFound(f"No audit record {audit_id}.")
    if as_json or audit_id:
        say_json([{"id": r.id, "chain": r.chain, "seq": r.seq, "h": r.h} | r.record for r in found])
        return
    rows = [
        [
            stamp(r.at), f"{r.record.get('server')}.{r.record.get('tool')}",
            str(r.record.get("outcome")), str(r.record.get("error", "")),
            str(r.record.get("actor", {}).get("sub", "")), r.id,
        ]
        for r in found
    ]  # fmt: skip
    table("Latest records", ["at", "what", "outcome", "error", "who", "id"], rows)
