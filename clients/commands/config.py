"""shop config: what to paste into a host."""

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from sqlalchemy import URL, make_url

from clients.commands.common import sqlite_file
from common.settings import Settings
from servers.run import DOMAINS


class Host(StrEnum):
    CLAUDE = "claude"
    CURSOR = "cursor"
    VSCODE = "vscode"


_WHERE = {
    Host.CLAUDE: "Settings → Developer → Edit Config (claude_desktop_config.json)",
    Host.CURSOR: ".cursor/mcp.json in the project, or ~/.cursor/mcp.json",
    Host.VSCODE: ".vscode/mcp.json in the workspace",
}

_WHERE_REMOTE = _WHERE | {
    Host.CLAUDE: ".mcp.json in the project (Claude Code); elsewhere Settings → Connectors, by URL",
}


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("config")(config)


def config(
    host: Annotated[Host, typer.Argument(help="Which host's form.")],
    server: Annotated[
        list[str] | None, typer.Option(help="Only these servers; all seven by default.")
    ] = None,
    read_only: Annotated[bool, typer.Option(help="Servers that refuse every change.")] = False,
    url: Annotated[
        str, typer.Option(help="A shop served over HTTP, such as http://127.0.0.1:8300.")
    ] = "",
) -> None:
    """Print the host's configuration, ready to paste: absolute paths, or URLs with --url."""
    unknown = set(server or ()) - set(DOMAINS)
    if unknown:
        raise typer.BadParameter(f"no such server: {', '.join(sorted(unknown))}")
    wanted = server or list(DOMAINS)
    if url and read_only:
        raise typer.BadParameter("whether a remote shop is read-only is set where it is served")
    typer.echo(
        shown(remote_entries(host, wanted, url) if url else entries(host, wanted, read_only))
    )
    typer.echo(f"Paste it into: {(_WHERE_REMOTE if url else _WHERE)[host]}", err=True)
    if url:
        typer.echo(client_said(), err=True)


def shown(configuration: dict[str, Any]) -> str:
    """As it is pasted."""
    return json.dumps(configuration, indent=2)


def client_said() -> str:
    """What the shop's own authorization server knows every desktop program by."""
    from common.auth.server.clients import NATIVE

    return f"Should the host ask for a client id: {NATIVE}, without a secret."


def remote_entries(host: Host, servers: list[str], url: str) -> dict[str, Any]:
    """The configuration for servers that are reached by URL. The host signs in by itself."""
    kind = {} if host is Host.CURSOR else {"type": "http"}
    listed = {f"shop-{name}": kind | {"url": f"{url.rstrip('/')}/{name}/mcp"} for name in servers}
    return {"servers" if host is Host.VSCODE else "mcpServers": listed}


def _which_shop(settings: Settings) -> dict[str, str]:
    """What says which shop it is and by which rules, as far as it was set; no password."""
    said = {
        "SHOP_HOME": str(settings.home.resolve()),
        "SHOP_OPERATOR": settings.operator,
    }
    file = sqlite_file(settings.database_url)
    if file is None:
        url = make_url(settings.database_url)
        bare = URL.create(url.drivername, url.username, None, url.host, url.port, url.database,
                          url.query)  # fmt: skip
        said["SHOP_DATABASE_URL"] = bare.render_as_string()
    elif file != settings.home / "shop.db":
        said["SHOP_DATABASE_URL"] = f"sqlite:///{file.resolve()}"
    if settings.database_roles:
        said["SHOP_DATABASE_ROLES"] = "1"
    if settings.policy_file is not None:
        said["SHOP_POLICY_FILE"] = str(settings.policy_file.resolve())
    if settings.key_dir != settings.home / "keys":
        said["SHOP_KEY_DIR"] = str(settings.key_dir.resolve())
    if settings.anchor_file != settings.home / "anchors.jsonl":
        said["SHOP_ANCHOR_FILE"] = str(settings.anchor_file.resolve())
    return said


def entries(host: Host, servers: list[str], read_only: bool = False) -> dict[str, Any]:
    """The configuration as data."""
    settings = Settings.load()
    more = ["--read-only"] if read_only else []
    listed = {
        f"shop-{name}": ({"type": "stdio"} if host is Host.VSCODE else {})
        | {
            "command": sys.executable,
            "args": ["-m", "servers", name, *more],
            "cwd": str(Path(__file__).resolve().parents[2]),
            "env": _which_shop(settings) | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])},
        }
        for name in servers
    }
    return {"servers" if host is Host.VSCODE else "mcpServers": listed}
