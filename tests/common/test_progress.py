"""A call that is tried again counts from the start; who listens hears it only ever grow."""

import asyncio
from dataclasses import replace
from pathlib import Path

from common.call import Call
from common.scopes import Scope
from common.toolset import Effect
from common.wire import Result
from tests.support import toy
from tests.support.shop import a_shop, connected

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
