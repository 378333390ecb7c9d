"""shop config: what to paste into a host."""

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

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


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("config")(config)


def config(
    host: Annotated[Host, typer.Argument(help="Which host's form.")],
    server: Annotated[
        list[str] | None, typer.Option(help="Only these servers; all seven by default.")
    ] = None,
    read_only: Annotated[bool, typer.Option(help="Servers that refuse every change.")] = False,
) -> None:
    """Print the host's configuration with absolute paths, ready to paste."""
    unknown = set(server or ()) - set(DOMAINS)
    if unknown:
        raise typer.BadParameter(f"no such server: {', '.join(sorted(unknown))}")
    typer.echo(json.dumps(entries(host, server or list(DOMAINS), read_only), indent=2))
    typer.echo(f"Paste it into: {_WHERE[host]}", err=True)


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
            "env": {
                "SHOP_HOME": str(settings.home.resolve()),
                "SHOP_OPERATOR": settings.operator,
                "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
            },
        }
        for name in servers
    }
    return {"servers" if host is Host.VSCODE else "mcpServers": listed}
