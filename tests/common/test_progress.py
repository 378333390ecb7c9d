"""A call that is tried again counts from the start; who listens hears it only ever grow."""

import asyncio
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

from common.call import Call
from common.scopes import Scope
from common.toolset import Computation, Effect, Progress
from common.wire import Result
from tests.support import toy
from tests.support.shop import a_shop, actor, connected, done

stumbling = replace(toy.tools, tools=dict(toy.tools.tools))


class Walked(Result):
    steps: int


@stumbling.tool(scope=Scope.INVENTORY_READ, effect=Effect.READS)
def walk(call: Call) -> Walked:
    """Ten steps, a stumble, and all of it once more."""
    for step in (1, 5, 5, 2, 1, 6, 10):
        call.report(step, 10, f"step {step}")
    return Walked(steps=10)


async def test_progress_never_goes_back(tmp_path: Path) -> None:
    told: list[tuple[float, float | None, str | None]] = []

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        told.append((progress, total, message))

    async with a_shop(tmp_path) as shop, connected(shop, stumbling) as client:
        result = await client.call_tool("walk", {}, progress_callback=hear)
        assert not result.is_error, result
        for _ in range(50):
            await asyncio.sleep(0)
    assert told == [(step, 10, f"step {step}") for step in (1, 5, 6, 10)]


enough = threading.Event()


def think(_: None, __: Progress) -> None:
    enough.wait(20)


@stumbling.tool(
    scope=Scope.INVENTORY_READ, effect=Effect.READS,
    computation=Computation(lambda call, long: None, lambda long, told: think(None, told)),
)  # fmt: skip
def ponder(call: Call, long: bool = True, *, plan: Any = None) -> Walked:
    """Think for as long as the test wants."""
    return Walked(steps=1)


async def test_who_lets_compute_much_waits_for_themselves_alone(tmp_path: Path) -> None:
    """Neither others' computations nor what the process does in threads waits for one caller."""
    enough.clear()
    async with (
        a_shop(tmp_path) as shop,
        connected(shop, stumbling) as greedy,
        connected(shop, stumbling, who=actor("ben@example.com")) as other,
    ):
        mine = [asyncio.create_task(done(greedy, "ponder")) for _ in range(40)]
        try:
            await asyncio.sleep(0.3)
            await asyncio.wait_for(asyncio.to_thread(lambda: None), 2)
            theirs = asyncio.create_task(done(other, "ponder"))
            await asyncio.sleep(0.3)
            at_work = [t for t in threading.enumerate() if t.name.startswith("computing")]
            assert len(at_work) == 3, "two of one caller, one of another"
        finally:
            enough.set()
        assert len(await asyncio.gather(*mine, theirs)) == 41
