"""``make serve``: every server, the authorization server and the console on loopback, with a demo
shop, and what to do next."""

import asyncio
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from clients.commands.config import Host, client_said, remote_entries, shown
from clients.seeding import seed_demo
from common.http.startup import UnsafeToStart, check
from common.setting_values import SettingError
from common.settings import Settings, figures_shared
from common.shop import opened
from common.tables.auth_server import AuthUser
from common.tables.inventory import Warehouse
from common.tables.spine import Approver
from servers.run import DOMAINS, toolsets

HOME: Final = Path(".shop")
SHOP: Final = ".venv/bin/shop"


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit 0 when stopped, 2 when it may not start."""
    try:
        settings = Settings.load()
    except SettingError as error:
        print(f"Not started: {error}", file=sys.stderr)
        return 2
    if settings.home == Settings.load({}).home and not settings.home.exists():
        home = HOME.resolve()  # nobody's real shop is touched by a try
        settings = replace(
            settings, home=home, database_url=f"sqlite:///{home / 'shop.db'}",
            anchor_file=home / "anchors.jsonl", key_dir=home / "keys",
        )  # fmt: skip
    try:
        check(settings.http)
    except UnsafeToStart as error:
        print(f"Not started:\n{error}", file=sys.stderr)
        return 2
    people, approvers = asyncio.run(_prepare(settings))
    print(instructions(settings, people, approvers), flush=True)
    with suppress(KeyboardInterrupt), figures_shared(settings.http.workers):
        from common.http.serving import serve

        try:
            return serve(settings, toolsets)
        except UnsafeToStart as error:
            print(f"Not started:\n{error}", file=sys.stderr)
            return 2
    return 0


async def _prepare(settings: Settings) -> tuple[int, int]:
    """A demo shop where there is none. How many may sign in, and how many may decide."""
    async with opened(settings) as shop:

        def count(session: Session) -> tuple[int, int, int]:
            kinds = (Warehouse, AuthUser, Approver)
            found = [session.scalar(select(func.count()).select_from(kind)) or 0 for kind in kinds]
            return found[0], found[1], found[2]

        warehouses, people, approvers = await shop.database.run("*", count, write=False)
        if not warehouses:
            print("Making a demo shop …", flush=True)
            await seed_demo(shop, days=30)
        return people, approvers


def instructions(settings: Settings, people: int, approvers: int) -> str:
    """What is served where, and the first steps."""
    http = settings.http
    lines = ["", f"The shop in {settings.home} is served at {http.public_url}", ""]
    lines += [f"  {domain:<12}{http.audience(domain)}" for domain in DOMAINS]
    lines += [f"  {'console':<12}{http.public_url}/console"]
    lines += [f"  {'sign-in':<12}{http.public_url}/.well-known/oauth-authorization-server", ""]
    variable = f"SHOP_HOME={settings.home} "
    if http.auth_server and not people:
        lines += [
            "Nobody can sign in yet. In another terminal, once for you and once for whoever",
            "approves what you ask for:",
            f"  {variable}{SHOP} user add you@example.com --name You",
            f"  {variable}{SHOP} user add kim@example.com --name Kim --decide",
        ]
    if not approvers:
        lines += [
            "Nobody can approve yet. Who decides signs each decision with a passphrase:",
            f"  {variable}{SHOP} approver enroll kim@example.com --name Kim",
        ]
    lines += ["", f"Who decides signs in at {http.public_url}/console.", ""]
    lines += [
        "Paste into your host. For Cursor and VS Code:",
        *(f"  {SHOP} config {host} --url {http.public_url}" for host in (Host.CURSOR, Host.VSCODE)),
        shown(remote_entries(Host.CLAUDE, list(DOMAINS), http.public_url)),
        client_said(),
        "",
        "Stop with Ctrl-C.",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
