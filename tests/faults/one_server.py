"""A server over stdio that is gone the moment its effect is committed."""

import asyncio
import os
import signal
import sys
from pathlib import Path

from sqlalchemy import event

from common.call import Call
from common.rules import stock
from common.scopes import Scope
from common.settings import Settings
from common.shop import opened
from common.toolset import Effect, Toolset
from tests.faults.bench import Left, settings_of

tools = Toolset("inventory", "Mortal", "For tests of faults.")
POLICY = "[approvals.cancel]\nlevel = 0\n[inventory.drop_dead]\nlevel = 0\n"


@tools.tool(scope=Scope.INVENTORY_WRITE, effect=Effect.CREATES)
def drop_dead(call: Call) -> Left:
    """Put one unit on the shelf; the process is killed right after the commit."""
    call.stake()
    stock.adjust(call, "WIDGET", "WH-1", 1, "drop-dead")
    event.listen(
        call.session, "after_commit", lambda _: os.kill(os.getpid(), signal.SIGKILL), once=True
    )
    return Left(available=stock.level(call.session, call.now, "WIDGET", "WH-1").available)


def prepare(home: Path) -> Settings:
    home.mkdir(parents=True, exist_ok=True)
    settings = settings_of(home)
    (home / "policy.toml").write_text('currency = "EUR"\n' + POLICY)
    return settings


async def main(home: Path) -> None:
    async with opened(prepare(home)) as shop:
        await shop.server(tools).run_stdio_async()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
