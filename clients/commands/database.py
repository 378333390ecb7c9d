"""shop db: the schema of the shop's database."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from clients.commands.common import Json, say_json
from common.settings import Settings
from common.storage import grants as roles
from common.storage import schema


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    group = typer.Typer(help="The shop's database.", no_args_is_help=True)
    group.command("upgrade")(upgrade)
    group.command("revision")(revision)
    group.command("grants")(grants)
    app.add_typer(group, name="db")


def upgrade() -> None:
    """Create the database or bring its schema up to date. Does nothing if it is."""
    settings = Settings.load()
    settings.home.mkdir(0o700, parents=True, exist_ok=True)
    schema.upgrade_now(settings.database_url)
    typer.echo(f"The schema is at {schema.head()}.")


Apply = Annotated[bool, typer.Option("--apply", help="Apply it to the shop's database.")]
Write = Annotated[bool, typer.Option("--write", help="Write deploy/grants.sql anew.")]


def grants(apply: Apply = False, write: Write = False) -> None:
    """Print the roles and rights of each server in PostgreSQL; or apply them as the owner."""
    text = roles.sql()
    if write:
        file = Path(schema.MIGRATIONS).parent / "grants.sql"
        file.write_text(text)
        typer.echo(f"Wrote {file}.")
    elif apply:
        url = Settings.load().database_url
        if url.startswith("sqlite"):
            typer.echo("SQLite has no roles.", err=True)
            raise typer.Exit(2)
        asyncio.run(schema.apply(url, text))
        typer.echo(f"Applied: {', '.join(roles.roles())}.")
    else:
        typer.echo(text)


def revision(as_json: Json = False) -> None:
    """Say which schema revision this version of the code needs."""
    if as_json:
        say_json({"head": schema.head()})
    else:
        typer.echo(schema.head())
