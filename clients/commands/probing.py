"""shop probe: is every server what it should be?"""

from pathlib import Path
from typing import Annotated, Any

import typer

from clients.commands.common import Json


def _file(help: str) -> Any:
    return typer.Option(exists=True, dir_okay=False, help=help)


SecretFile = Annotated[Path | None, _file("The client's secret.")]
KeyFile = Annotated[
    Path | None,
    _file("Its private key in PEM (private_key_jwt)."),
]
ApiKeyFile = Annotated[Path | None, _file("An API key, in place of a client.")]
ExpiredFile = Annotated[Path | None, _file("A token that has expired, to try.")]


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("probe")(probe)


def probe(
    server: Annotated[list[str] | None, typer.Option(help="Only these servers.")] = None,
    as_json: Json = False,
    junit: Annotated[Path | None, typer.Option(help="Write a JUnit report here.")] = None,
    url: Annotated[str, typer.Option(help="Servers that run there, over HTTP.")] = "",
    client_id: Annotated[str, typer.Option(help="Sign in as this client.")] = "",
    client_secret_file: SecretFile = None,
    key_file: KeyFile = None,
    api_key_file: ApiKeyFile = None,
    expired_token_file: ExpiredFile = None,
) -> None:
    """Start every server over stdio in both protocol eras and check it; or check those at a URL.

    Exit code 1 on any failure, 2 when the client may sign in nowhere.
    """
    from clients.probe import run_and_report  # the SDK's client: slow to import
    from clients.probe.http import Credentials

    credentials = None
    if url:
        credentials = Credentials.read(
            client_id, client_secret_file, key_file, api_key_file, expired_token_file
        )
    raise typer.Exit(
        run_and_report(server or [], as_json=as_json, junit=junit, url=url, credentials=credentials)
    )
