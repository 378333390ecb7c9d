"""The load generator counts what was done, and nothing else."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from benchmarks import load
from benchmarks.load import Slice, drive

Answers = Callable[[int], bytes | None]


def answer(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)


DONE = answer(b'{"isError":false}')
AGAIN = answer(b'{"isError":false,"replayed":true}')


@asynccontextmanager
async def serving(answers: Answers) -> AsyncIterator[int]:
    """A server that gives each connection's n-th request this answer; none: it hangs up."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        turn = 0
        while await reader.readline():
            turn += 1
            said = answers(turn)
            if said is None:
                break
            writer.write(said)
            await writer.drain()
            await asyncio.sleep(0.005)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def driven(answers: Answers, asked: list[int], after: int = 0) -> Slice:
    def make(n: int, _: bytes) -> bytes:
        asked.append(n)
        return b"call\n"

    async with serving(answers) as port:
        return await drive("127.0.0.1", port, make, connections=4, seconds=0.2, after=after)


async def test_no_request_is_made_twice() -> None:
    asked: list[int] = []
    first = await driven(lambda _: DONE, asked)
    second = await driven(lambda _: DONE, asked, after=first.last)
    assert len(set(asked)) == len(asked)
    assert second.last == max(asked)
    for found in (first, second):
        assert found.failed == 0
        assert 0 < found.in_time <= found.answered
        assert found.rate == found.in_time / 0.2


async def test_an_answer_given_before_is_none() -> None:
    found = await driven(lambda turn: DONE if turn == 1 else AGAIN, [])
    assert found.answered == 4
    assert found.failed > 0
    assert b"replayed" in found.sample


@pytest.mark.parametrize("silent", [False, True])
async def test_a_call_without_an_answer_has_failed(
    silent: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load, "GRACE_S", 0.2)
    found = await driven(lambda turn: DONE if turn == 1 else b"" if silent else None, [])
    assert found.answered == 4
    assert found.failed == 4
    assert found.rate == 0
