"""A shop that a state machine drives through its rules, without servers in between."""

import asyncio
import shutil
import tempfile
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import Phase, settings
from hypothesis.stateful import RuleBasedStateMachine
from sqlalchemy.orm import Session

from common.call import Call
from common.errors import ShopError
from tests.orders.seed import world
from tests.support.shop import MovingClock, a_shop, do, look

T = TypeVar("T")
# Steps are short here: a failure is shown as it was found, because shrinking would take minutes.
SHORT = settings(
    max_examples=7, stateful_step_count=25, derandomize=True, deadline=None, database=None,
    phases=[Phase.generate],
)  # fmt: skip
SHORTEST = settings(SHORT, max_examples=2)


class ShopMachine(RuleBasedStateMachine):
    """``database_url()``: where the shop of a run lives; None is a file of its own."""

    def database_url(self) -> str | None:
        return None

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = Path(tempfile.mkdtemp(prefix="shop-machine-"))
        self.clock = MovingClock()
        self.stack = AsyncExitStack()
        url = self.database_url()
        more = {} if url is None else {"database_url": url}
        opened = a_shop(self.folder, clock=self.clock, **more)
        self.shop = self.loop.run_until_complete(self.stack.enter_async_context(opened))
        self.run("*", world)

    def run(self, domain: str, work: Callable[[Call], T]) -> T:
        return self.loop.run_until_complete(do(self.shop, domain, work))

    def attempt(self, domain: str, work: Callable[[Call], Any]) -> Any:
        """The outcome, or None where the rules refuse."""
        try:
            return self.run(domain, work)
        except ShopError:
            return None

    def look(self, work: Callable[[Session], T]) -> T:
        return self.loop.run_until_complete(look(self.shop, work))

    def teardown(self) -> None:
        self.loop.run_until_complete(self.stack.aclose())
        self.loop.close()
        shutil.rmtree(self.folder, ignore_errors=True)
