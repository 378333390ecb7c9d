"""shop import, shop export, shop seed: data in and out."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from clients import seeding
from clients.commands.common import Json, person, say_json, table, with_shop
from clients.exporters import tau2 as to_tau2
from clients.importers import FORMATS
from clients.importers.loader import Format, Tick, load
from clients.importers.report import Report
from common.errors import InvalidParameters
from common.settings import Settings
from common.shop import Shop

MOST_SHOWN = 50
Dry = Annotated[bool, typer.Option("--dry-run", help="Do all of it, and keep nothing.")]
Name = Annotated[str, typer.Argument(metavar="FORMAT", help=", ".join(sorted(FORMATS)))]


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command("import")(import_)
    app.command("export")(export)
    app.command("seed")(seed)


def import_(
    form: Name,
    path: Annotated[Path, typer.Argument(exists=True, help="The file, or the folder of files.")],
    dry_run: Dry = False,
    as_json: Json = False,
) -> None:
    """Take in a shop from elsewhere. Every row that is refused is named, with the reason.

    Exit code 0: everything was taken in. 1: rows were refused, the others are in.
    """
    wanted = _format(form)
    try:
        parsed = wanted.read(path)
    except ValueError as error:  # no JSON, no text, not these columns
        named = "" if path.name in str(error) else f"{path}: "
        raise ValueError(f"{named}{error}") from None

    async def work(shop: Shop) -> Report:
        who = person(Settings.load().operator)
        with _progress(wanted, wanted.size(parsed)) as tick:
            return await load(shop, wanted, path, by=who, dry_run=dry_run, parsed=parsed, tick=tick)

    report = with_shop(work, makes=True)
    if as_json:
        say_json(report.as_dict())
    else:
        _show(report)
    if report.refused:
        raise typer.Exit(1)


def export(
    form: Annotated[str, typer.Argument(metavar="FORMAT", help="tau2")],
    path: Annotated[Path, typer.Argument(help="The file to write; - is standard output.")],
) -> None:
    """Write the shop in another program's form, in the same order every time."""
    if form != "tau2":
        raise InvalidParameters.field("FORMAT", form, "tau2, the only one there is")

    async def work(shop: Shop) -> to_tau2.Exported:
        now = shop.guard.clock()
        return await shop.database.run("*", lambda s: to_tau2.export(s, now), write=False)

    exported = with_shop(work)
    if str(path) == "-":
        sys.stdout.write(exported.text())
    else:
        path.write_text(exported.text(), encoding="utf-8")
    for kind, id, reason in exported.left_out[:MOST_SHOWN]:
        typer.echo(f"left out: {kind} {id}: {reason}", err=True)
    if len(exported.left_out) > MOST_SHOWN:
        typer.echo(f"… and {len(exported.left_out) - MOST_SHOWN} more were left out", err=True)


def seed(
    days: Annotated[int, typer.Option(min=1, max=400, help="Days of orders before today.")] = 90,
    as_json: Json = False,
) -> None:
    """Fill an empty shop with the demo shop: made-up warehouses, products, customers, orders."""
    made = with_shop(lambda shop: seeding.seed_demo(shop, days=days), makes=True)
    if as_json:
        say_json(made)
    else:
        typer.echo(", ".join(f"{count} {name}" for name, count in made.items()))
        typer.echo("Next: shop config claude (or cursor, vscode), and shop probe", err=True)


def _format(name: str) -> Format:
    if name not in FORMATS:
        raise InvalidParameters.field("FORMAT", name, f"one of {', '.join(sorted(FORMATS))}")
    return FORMATS[name]


@contextmanager
def _progress(form: Format, total: int) -> Iterator[Tick]:
    """A bar on a terminal, nothing in a pipe. It starts anew when a lost race is tried again."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda _: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
               TimeElapsedColumn())  # fmt: skip
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(f"Importing {form.title}", total=total)
        yield lambda count: bar.advance(task, count)


def _show(report: Report) -> None:
    rows = [
        [kind, str(report.read.get(kind, "")), str(count)] for kind, count in report.written.items()
    ]
    title = "Dry run: nothing was kept" if report.dry_run else "Imported"
    table(f"{title} ({report.format})", ["kind", "read", "written"], rows)
    for note in report.notes:
        typer.echo(f"Note: {note}")
    if report.refused:
        shown = [[each.kind, each.id, each.reason] for each in report.refused[:MOST_SHOWN]]
        table(f"Refused: {len(report.refused)}", ["kind", "id", "reason"], shown)
        if len(report.refused) > MOST_SHOWN:
            typer.echo(f"… and {len(report.refused) - MOST_SHOWN} more; --json lists them all.")
