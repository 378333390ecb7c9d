"""One of the seven processes: calls, cancels, retries, shares intents with the others until it is
told to end, and exits 0 unless something reached it that must not."""

import asyncio
import os
import sys
import threading
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random
from typing import Any, Final

from common.errors import ShopError
from common.incoming import Done, Request, Waiting
from common.shop import Shop
from tests.faults import history
from tests.faults.bench import ANA, PLENTY, SCARCE, settings_of, tools

TASKS: Final = 2
SHARED: Final = 40


class Worker:
    """Two tasks that call, and one that keeps house."""

    def __init__(
        self, shop: Shop, folder: Path, number: int, life: int, seed: int, line: Connection
    ) -> None:
        self.shop = shop
        self.folder = folder
        self.name = f"w{number}-{life}"
        self.number = number
        self.line = line
        self.random = Random(f"{seed}:{number}:{life}")
        self.history = history.History(folder / f"history-{self.name}.jsonl")
        self.over = threading.Event()
        self.count = 0
        self.torn = 0

    async def work(self) -> int:
        """Until it is over. Raises whatever no caller may ever meet."""
        await self.finish_what_died()
        self.line.send("ready")
        async with asyncio.TaskGroup() as group:
            for _ in range(TASKS):
                group.create_task(self.call_on())
            group.create_task(self.keep_house())
        return 1 if self.torn else 0

    async def finish_what_died(self) -> None:
        """A client that lost its server sends the same keys again."""
        for intent in history.read(self.folder).values():
            mine = intent.mark.startswith(f"w{self.number}-")
            if (
                mine
                and intent.key
                and not intent.ok
                and intent.unknown
                and self.random.random() < 0.7
            ):
                await self.attempt(intent.tool, intent.arguments, intent.key)

    async def call_on(self) -> None:
        while not self.over.is_set():
            tool, arguments, key = self.choose()
            if self.random.random() < 0.12:
                await self.cancelled(tool, arguments, key)
            else:
                await self.attempt(tool, arguments, key)
            if self.random.random() < 0.1:
                weighed = await self.call("weigh", {"sku": PLENTY})
                self.torn += weighed["total"] != 0

    def choose(self) -> tuple[str, dict[str, Any], str | None]:
        """Mostly an intent of one's own; now and then one that every process has."""
        if self.random.random() < 0.15:
            number = self.random.randrange(SHARED)
            mark = f"shared-{number:04}"
            return "take", {"sku": PLENTY, "quantity": number % 5 + 1, "mark": mark}, mark
        self.count += 1
        mark = f"{self.name}-{self.count:06}"
        tool = self.random.choice(("take", "take", "put", "hold", "stumble", "ask"))
        sku = SCARCE if self.random.random() < 0.15 and tool in ("take", "hold") else PLENTY
        key = None if tool == "put" and self.random.random() < 0.5 else mark
        return tool, {"sku": sku, "quantity": self.random.randint(1, 4), "mark": mark}, key

    async def cancelled(self, tool: str, arguments: dict[str, Any], key: str | None) -> None:
        """Given up at some moment; then, with a key, asked again."""
        task = asyncio.create_task(self.attempt(tool, arguments, key))
        await asyncio.sleep(self.random.uniform(0, 0.03))
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        if key and self.random.random() < 0.6:
            await self.attempt(tool, arguments, key)

    async def attempt(self, tool: str, arguments: dict[str, Any], key: str | None) -> None:
        mark = arguments["mark"]
        self.history.write("invoke", mark, tool=tool, arguments=arguments, key=key)
        try:
            answer = await self.call(tool, arguments | ({"idempotency_key": key} if key else {}))
        except ShopError as error:
            self.history.write("fail", mark, code=error.code)
        else:
            self.history.write("ok", mark, answer=answer)

    async def call(self, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
        spec, guard = tools.tools[tool], self.shop.guard
        answer = await guard.call(Request(spec, arguments, ANA))
        if isinstance(answer, Waiting):
            with suppress(ShopError):  # an earlier life may have said yes already
                await guard.confirm(answer.approval_id, ANA, True)
            again = arguments | {"approval_id": answer.approval_id}
            answer = await guard.call(Request(spec, again, ANA))
        assert isinstance(answer, Done)
        return answer.structured

    async def keep_house(self) -> None:
        while not self.over.is_set():
            await self.shop.housekeeping.once()
            await self.shop.housekeeping.anchor(force=self.random.random() < 0.3)
            await asyncio.sleep(self.random.uniform(0.2, 0.6))


async def main(folder: Path, number: int, life: int, seed: int, line: Connection) -> int:
    shop = await Shop.open(settings_of(folder))
    worker = Worker(shop, folder, number, life, seed, line)

    def wait_for_the_end() -> None:
        with suppress(EOFError):
            line.recv()
        worker.over.set()

    threading.Thread(target=wait_for_the_end, daemon=True).start()
    try:
        return await worker.work()
    finally:
        await shop.close()


def live(folder: Path, number: int, life: int, seed: int, line: Connection) -> None:
    """The process itself: says ``ready`` on the line, ends when something comes back."""
    errors = os.open(
        folder / f"errors-{number}-{life}.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600
    )
    os.dup2(errors, 2)
    sys.exit(asyncio.run(main(folder, number, life, seed, line)))
