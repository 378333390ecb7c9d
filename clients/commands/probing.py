"""shop probe: is every server what it should be?"""

from pathlib import Path
from typing import Annotated

import typer

from clients.commands.common import Json


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("probe")(probe)


def probe(
    server: Annotated[list[str] | None, typer.Option(help="Only these servers.")] = None,
    as_json: Json = False,
    junit: Annotated[Path | None, typer.Option(help="Write a JUnit report here.")] = None,
) -> None:
    """Start every server over stdio in both protocol eras and check it. Exit 1 on any failure."""
    from clients.probe import run_and_report  # the SDK's client: slow to import

    raise typer.Exit(run_and_report(server or [], as_json=as_json, junit=junit))
