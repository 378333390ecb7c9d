"""Connect to every server as a host would, in both protocol eras, and check what it offers.

``shop probe``: exit 0 when every check holds, 1 when one fails, 2 on wrong use.
"""

import asyncio
import json
import sys
import tempfile
from collections.abc import Awaitable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from xml.etree import ElementTree

import httpx2
from mcp import Client, StdioServerParameters
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from clients.probe.checks import CHECKS, Check, NotChecked, Target
from clients.probe.http import BEFORE, Credentials, Remote, connected, sign_in
from common.settings import inherited
from servers.run import DOMAINS

ROOT = Path(__file__).resolve().parent.parent.parent
MODES = {"legacy": "2025-11-25", "auto": "2026-07-28"}
PATIENCE_S = 120


def run_and_report(
    servers: Sequence[str],
    *,
    as_json: bool = False,
    junit: Path | None = None,
    url: str = "",
    credentials: Credentials | None = None,
) -> int:
    """Probe, print, and say how it went as an exit code: 1 when a check fails, 2 when none could
    be made as somebody who is signed in. With ``url``, servers that run there."""
    unknown = set(servers) - set(DOMAINS)
    if unknown:
        print(f"no such server: {', '.join(sorted(unknown))}", file=sys.stderr)
        return 2
    if url:
        wanted = probe_remote(servers or DOMAINS, url.rstrip("/"), credentials or Credentials())
    else:
        wanted = probe(servers or DOMAINS)
    found = asyncio.run(wanted)
    failed = [check for check in found if not check.ok]
    if junit is not None:
        junit.write_bytes(_junit(found))
    if as_json:
        print(json.dumps({"failed": len(failed), "checks": [check.as_dict() for check in found]}))
    else:
        _print(found)
    if failed:
        return 1
    signing_in = [check for check in found if check.name == sign_in.__name__]
    return 2 if signing_in and not any(check.checked for check in signing_in) else 0


async def probe(servers: Sequence[str]) -> list[Check]:
    """Every check of every server in every era, on a demo shop of its own."""
    found: list[Check] = []
    with tempfile.TemporaryDirectory(prefix="shop-probe-") as folder:
        _say("Making a demo shop to probe …")
        await _seed(Path(folder))
        for server in servers:
            _say(f"Checking {server} …")
            for mode, expected in MODES.items():
                found += await _probe_one(Target(server, mode, expected), folder)
    return found


async def probe_remote(servers: Sequence[str], url: str, credentials: Credentials) -> list[Check]:
    """The HTTP face of every server, then every check of the stdio probe, in both eras."""
    found: list[Check] = []
    async with httpx2.AsyncClient(timeout=PATIENCE_S) as http:
        for server in servers:
            _say(f"Checking {server} …")
            remote = Remote(url, server, http, credentials)
            outside = await _checked_outside(Target(server, "http", ""), remote)
            found += outside
            if not _signed_in(outside):
                continue
            for mode, expected in MODES.items():
                target = Target(server, mode, expected, remote.scopes)
                found += await _checked_all(target, connected(remote, mode))
    return found


async def _checked_outside(target: Target, remote: Remote) -> list[Check]:
    """The HTTP face. What comes after signing in is not checked where nobody could."""
    found: list[Check] = []
    for name, check in BEFORE.items():
        if _signed_in(found):
            found.append(await _checked(target, name, check(remote)))
        else:
            found.append(Check(target.server, target.mode, name, True, "not signed in", False))
    return found


def _signed_in(found: list[Check]) -> bool:
    """Or not tried yet."""
    return all(check.ok and check.checked for check in found if check.name == sign_in.__name__)


async def _probe_one(target: Target, home: str) -> list[Check]:
    parameters = StdioServerParameters(
        command=sys.executable,
        args=["-m", "servers", target.server],
        env=inherited(SHOP_HOME=home, SHOP_OPERATOR="probe@example.com", PYTHONPATH=str(ROOT)),
        cwd=str(ROOT),
    )
    return await _checked_all(target, Client(parameters, mode=target.mode))


async def _checked_all(
    target: Target, connecting: AbstractAsyncContextManager[Client]
) -> list[Check]:
    found: list[Check] = []
    try:
        async with asyncio.timeout(PATIENCE_S), connecting as client:
            for name, run in CHECKS.items():
                found.append(await _checked(target, name, run(target, client)))
    except Exception as error:
        found.append(Check(target.server, target.mode, "connects", False, _why(error)))
    else:
        found.insert(0, Check(target.server, target.mode, "connects", True, ""))
    return found


async def _checked(target: Target, name: str, running: Awaitable[str]) -> Check:
    try:
        detail = await running
        return Check(target.server, target.mode, name, True, detail or "")
    except NotChecked as reason:
        return Check(target.server, target.mode, name, True, str(reason), False)
    except Exception as error:
        return Check(target.server, target.mode, name, False, _why(error))


async def _seed(home: Path) -> None:
    from clients.seeding import seed_demo
    from common.settings import Settings
    from common.shop import opened

    settings = Settings.load({"SHOP_HOME": str(home), "SHOP_OPERATOR": "probe@example.com"})
    async with opened(settings) as shop:
        await seed_demo(shop, days=7)


def _say(text: str) -> None:
    """For whoever waits; it takes half a minute."""
    print(text, file=sys.stderr, flush=True)


def _why(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"[:400]


def _print(found: list[Check]) -> None:
    console = Console(width=200 if not sys.stdout.isatty() else None)
    http = [check for check in found if check.mode == "http"]
    if http:
        console.print(_table("HTTP", http, list(BEFORE)))
    console.print(_table("Probe", [c for c in found if c not in http], ["connects", *CHECKS]))
    for check in found:
        if not check.ok:
            where = f"{check.server} {check.mode} {check.name}"
            console.print(f"[red]{where}[/]: {escape(check.detail)}")
    for server, why in dict.fromkeys((c.server, c.detail) for c in found if not c.checked):
        console.print(f"{server}, not checked: {escape(why)}")
    failed, left = (sum(not said for said in each) for each in (
        [check.ok for check in found], [check.checked for check in found]
    ))  # fmt: skip
    more = f" {left} could not be made." if left else ""
    console.print(f"{len(found) - failed - left} checks hold, {failed} fail.{more}")


def _table(title: str, found: list[Check], names: list[str]) -> Table:
    by_place = {(c.server, c.mode, c.name): c for c in found}
    drawn = Table(title=title, title_justify="left")
    for column in ("server", "era", *names):
        drawn.add_column(column, justify="left" if column in {"server", "era"} else "center")
    for server, mode in dict.fromkeys((c.server, c.mode) for c in found):
        cells = [by_place.get((server, mode, name)) for name in names]
        drawn.add_row(
            server, MODES.get(mode, "both"),
            *(_cell(check) for check in cells),
        )  # fmt: skip
    return drawn


def _cell(check: Check | None) -> str:
    if check is None or not check.checked:
        return "–"
    return "[green]ok[/]" if check.ok else "[red]FAIL[/]"


def _junit(found: list[Check]) -> bytes:
    failed = sum(not check.ok for check in found)
    suite = ElementTree.Element(
        "testsuite", name="shop-probe", tests=str(len(found)), failures=str(failed)
    )
    for check in found:
        case = ElementTree.SubElement(
            suite, "testcase", classname=f"{check.server}.{check.mode}", name=check.name
        )
        if not check.checked:
            ElementTree.SubElement(case, "skipped", message=check.detail)
        if not check.ok:
            ElementTree.SubElement(case, "failure", message=check.detail)
    return bytes(ElementTree.tostring(suite, encoding="utf-8", xml_declaration=True))
