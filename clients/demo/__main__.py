"""``python -m clients.demo``: a day in a made-up shop, through real clients and real servers."""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from mcp import MCPError
from rich.console import Console

from clients.demo import goods, money, parcel, shopper
from clients.demo.colleague import TerminalFailed
from clients.demo.stage import OPERATOR, DemoFailed, Stage, raised
from clients.seeding import seed_demo
from common.settings import Settings
from common.shop import opened


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit 0 when the day went as it should, 1 when it did not."""
    parser = argparse.ArgumentParser(prog="python -m clients.demo", description=__doc__)
    parser.add_argument("--home", type=Path, help="keep the shop in this folder (must be new)")
    parser.add_argument("--days", type=int, default=90, help="days of orders behind the shop")
    chosen = parser.parse_args(arguments)
    console = Console(width=110, highlight=False, soft_wrap=False)
    started = time.monotonic()
    try:
        if chosen.home:
            asyncio.run(play(chosen.home, chosen.days, console))
        else:
            with tempfile.TemporaryDirectory(prefix="shop-demo-") as folder:
                asyncio.run(play(Path(folder), chosen.days, console))
    except (DemoFailed, TerminalFailed, MCPError, RuntimeError) as error:
        console.print("[bold red]The day did not go as it should:[/]")
        console.print(f"{type(error).__name__}: {error}", markup=False)
        return 1
    console.print(f"\n[bold green]The day is over[/] after {time.monotonic() - started:.0f} s.")
    return 0


async def play(home: Path, days: int, console: Console) -> None:
    """Every act, on a new demo shop in ``home``."""
    await _open_shop(home, days, console)
    failed: Exception | None = None
    async with raised(home, console) as stage:
        stage.say(f"Seven servers answer over stdio; {OPERATOR} talks to an agent.")
        try:
            await _day(stage)
        except Exception as error:
            failed = error  # the connections are closed before it goes on
    if failed is not None:
        raise failed
    await money.audit(stage)


async def _day(stage: Stage) -> None:
    await goods.enroll(stage)
    await goods.low_stock(stage)
    shipped = await goods.order_to_delivery(stage)
    await parcel.by_carrier(stage)
    await money.return_and_refund(stage, shipped)
    await money.damage_claim(stage, shipped)
    await money.hold_and_release(stage, shipped)
    await shopper.buys(stage)
    await money.hostile(stage)


async def _open_shop(home: Path, days: int, console: Console) -> None:
    console.print("[bold cyan]A shop is made up[/]")
    settings = Settings.load({"SHOP_HOME": str(home), "SHOP_OPERATOR": OPERATOR})
    async with opened(settings, duties=False) as shop:
        made = await seed_demo(shop, days=days)
    console.print("  " + ", ".join(f"{count} {name}" for name, count in made.items()) + ".")


if __name__ == "__main__":
    sys.exit(main())
