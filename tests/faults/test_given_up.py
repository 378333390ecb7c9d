"""A call is given up at each place where it waits, one after the other."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Generator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from common.incoming import Done, Request
from common.shop import Shop
from tests.faults.test_faults import kept, sound
from tests.support import toy
from tests.support.shop import a_shop, actor, do

MOST = 300


class GivenUp:
    """A coroutine whose task is cancelled at its ``at``-th wait; ``waits`` counts them."""

    def __init__(self, work: Coroutine[Any, Any, Any], at: int) -> None:
        self.work = work
        self.at = at
        self.waits = 0

    def __await__(self) -> Generator[Any, Any, Any]:
        step, sent = self.work.send, None
        while True:
            try:
                waited = step(sent)
            except StopIteration as done:
                return done.value
            self.waits += 1
            if self.waits == self.at:
                task = asyncio.current_task()
                assert task is not None
                task.cancel()  # before it is known what is waited for: that is cancelled too
            try:
                sent, step = (yield waited), self.work.send
            except BaseException as error:
                sent, step = error, self.work.throw


@pytest.fixture
async def shop(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Shop]:
    more: dict[str, Any] = {"policy_file": toy.policy_in(tmp_path)}
    if kind == "postgresql":
        more["database_url"] = request.getfixturevalue("postgres_url")
    async with a_shop(tmp_path, **more) as opened:
        await do(opened, "inventory", toy.stocked)
        yield opened


async def test_wherever_a_call_is_given_up_it_has_one_effect_when_repeated(shop: Shop) -> None:
    before, given_up = (await kept(shop))["left"], 0
    for at in count(1):
        assert at < MOST
        arguments = {"quantity": 1, "idempotency_key": f"given-up-{at:05}"}
        request = Request(toy.tools.tools["take"], arguments, actor())
        trying = GivenUp(shop.guard.call(request), at)

        async def once(trying: GivenUp = trying) -> Any:
            return await trying

        try:
            answer = await asyncio.create_task(once())
        except asyncio.CancelledError:
            given_up += 1
            answer = await shop.guard.call(request)
        assert isinstance(answer, Done)
        assert (await kept(shop))["left"] == before - at
        if trying.waits < at:
            break
    assert given_up == at - 1 > 0
    await sound(shop)
