"""shop audit: the record nobody can quietly alter."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy import select
from sqlalchemy.orm import Session

from clients.commands.common import Json, say_json, table, with_shop
from common.audit import verify
from common.clock import stamp
from common.errors import NotFound
from common.keys import KeyUnusable, read_public_key
from common.shop import Shop
from common.tables.spine import AuditRecord

Anchors = Annotated[
    Path | None, typer.Option("--anchors", help="Anchor file; the shop's own unless said.")
]
Key = Annotated[
    Path | None, typer.Option("--pubkey", help="Public key of the anchors; the shop's own.")
]


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    group = typer.Typer(help="The audit log.", no_args_is_help=True)
    group.command("verify")(check)
    group.command("anchor")(anchor)
    group.command("show")(show)
    app.add_typer(group, name="audit")


def check(anchor_file: Anchors = None, pubkey: Key = None, as_json: Json = False) -> None:
    """Verify every chain against itself, the anchors and the rows it speaks of.

    Exit 0: sound. 1: broken, and the first bad record is named. 2: could not be checked.
    """

    async def work(shop: Shop) -> verify.Report:
        file = anchor_file or shop.settings.anchor_file
        path = pubkey or shop.settings.key_dir / "anchor.pub"
        try:
            public = read_public_key(path)
        except KeyUnusable:
            public = None

        def read(session: Session) -> verify.Report:
            return verify.verify(session, file, public)

        return await shop.database.run("*", read, write=False)

    report = with_shop(work)
    if as_json:
        say_json(asdict(report) | {"exit": report.exit_code})
    else:
        typer.echo(_told(report))
    raise typer.Exit(report.exit_code)


def _told(report: verify.Report) -> str:
    counts = (
        f"{report.checked} records in {report.chains} chains, {report.anchors} anchors, "
        f"{report.unanchored} records since the last one"
    )
    if report.first_bad is not None:
        bad = report.first_bad
        where = f"chain {bad.chain} seq {bad.seq} {bad.event_id}".strip()
        return f"BROKEN: {bad.kind} at {where}: {bad.why} ({counts})"
    if report.unchecked:
        return f"NOT CHECKED: {report.unchecked} ({counts})"
    return f"Sound: {counts}."


def anchor() -> None:
    """Append an anchor now: from here on, no record before it can be cut or rewritten unseen."""

    async def work(shop: Shop) -> bool:
        return await shop.housekeeping.anchor(force=True)

    made = with_shop(work)
    typer.echo("Anchored." if made else "Nothing new to anchor.")


def show(
    audit_id: Annotated[
        str, typer.Argument(help="A record's id; the latest ones unless given.")
    ] = "",
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 20,
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
