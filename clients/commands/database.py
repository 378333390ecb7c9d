"""shop db: the schema of the shop's database."""

import typer

from clients.commands.common import Json, say_json
from common import schema
from common.settings import Settings


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    group = typer.Typer(help="The shop's database.", no_args_is_help=True)
    group.command("upgrade")(upgrade)
    group.command("revision")(revision)
    app.add_typer(group, name="db")


def upgrade() -> None:
    """Create the database or bring its schema up to date. Does nothing if it is."""
    settings = Settings.load()
    settings.home.mkdir(parents=True, exist_ok=True)
    schema.upgrade_now(settings.database_url)
    typer.echo(f"The schema is at {schema.head()}.")


def revision(as_json: Json = False) -> None:
    """Say which schema revision this version of the code needs."""
    if as_json:
        say_json({"head": schema.head()})
    else:
        typer.echo(schema.head())
