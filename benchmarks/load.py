"""A load generator: keep-alive connections that send one request after the other.

Requests are bytes made beforehand and responses are only measured, so that one core can drive a
server that has the other to itself.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, cast

MakeRequest = Callable[[int, bytes], bytes]
"""The n-th request of a run as bytes, made from the last answer on its connection."""
REPLAYED: Final = b'"replayed":true'  # an answer given before is not what is measured
CONNECT_S: Final = 5.0
GRACE_S: Final = 30.0


@dataclass
class Slice:
    """What one stretch of load measured. It begins when every connection has had its first answer:
    ``in_time`` answers came within ``seconds`` from then, ``latencies`` (in seconds) are of what
    was asked since, ``answered`` counts all."""

    seconds: float
    in_time: int = 0
    latencies: list[float] = field(default_factory=list)
    answered: int = 0
    failed: int = 0
    sample: bytes = b""
    last: int = 0  # the number of the last request

    @property
    def rate(self) -> float:
        """Answers a second."""
        return self.in_time / self.seconds

    def percentile(self, share: float) -> float:
        """Latency in milliseconds below which ``share`` of the answers lie."""
        if not self.latencies:
            return 0.0
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000

    def fail(self, sample: bytes, count: int = 1) -> None:
        """Calls that were not answered as they should have been; one is kept to be shown."""
        self.failed += count
        self.sample = sample[:2000] or self.sample


class _Connection(asyncio.Protocol):
    """Sends, waits for the whole answer, sends again until the deadline."""

    def __init__(self, run: "_Run") -> None:
        self._run = run
        self._buffer = bytearray()
        self._sent = 0.0
        self._last = b""
        self._first = True
        self._waiting = False
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._transport: asyncio.WriteTransport | None = None

    @property
    def over(self) -> "asyncio.Future[None]":
        return self._over

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)  # uvloop's is not a subclass
        self._send()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not _complete(self._buffer):
            return
        run = self._run
        now = time.perf_counter()
        self._waiting = False
        self._last = bytes(self._buffer)
        self._buffer.clear()
        between = run.between and run.between in self._last
        accepted = between or (run.accept in self._last and REPLAYED not in self._last)
        if not self._last.startswith(b"HTTP/1.1 200") or not accepted:
            run.slice.fail(self._last)
        elif not between:
            run.answered(now, now - self._sent, first=self._first)
            self._first = False
        if between:
            self._write()  # the same exchange goes on
        elif now < run.deadline:
            self._send()
        elif self._transport is not None:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._waiting:
            self._run.slice.fail(b"closed without an answer")
        if not self._over.done():
            self._over.set_result(None)

    def _send(self) -> None:
        self._last = b""
        self._sent = time.perf_counter()
        self._write()

    def _write(self) -> None:
        assert self._transport is not None
        self._waiting = True
        self._transport.write(self._run.next(self._last))


@dataclass
class _Run:
    make: MakeRequest
    accept: bytes
    between: bytes
    fresh: int  # connections without an answer so far
    deadline: float
    slice: Slice
    began: float = 0.0

    def next(self, last: bytes) -> bytes:
        self.slice.last += 1
        return self.make(self.slice.last, last)

    def answered(self, now: float, latency: float, *, first: bool) -> None:
        """Count the answer, from when nobody waits for a first one any more."""
        self.slice.answered += 1
        if first:
            self.fresh -= 1
            if not self.fresh:
                self.began, self.deadline = now, now + self.slice.seconds
            return
        if self.began and now <= self.deadline:
            self.slice.in_time += 1
        if self.began and now - latency >= self.began:
            self.slice.latencies.append(latency)


async def drive(
    host: str,
    port: int,
    make: MakeRequest,
    *,
    connections: int,
    seconds: float,
    accept: bytes = b'"isError":false',
    between: bytes = b"",
    after: int = 0,
) -> Slice:
    """Load for ``seconds`` over ``connections``, its requests numbered from the one ``after``. An
    answer counts if it is 200, holds ``accept`` and was not given before; one that holds
    ``between`` is answered in its turn, as a part of the same exchange; anything else is counted
    as failed, and so is a call without an answer."""
    loop = asyncio.get_running_loop()
    latest = time.perf_counter() + GRACE_S
    run = _Run(make, accept, between, connections, latest, Slice(seconds, last=after))
    opened = await asyncio.wait_for(
        asyncio.gather(
            *(
                loop.create_connection(lambda: _Connection(run), host, port)
                for _ in range(connections)
            )
        ),
        CONNECT_S,
    )
    waiting = [protocol.over for _, protocol in opened]
    _, silent = await asyncio.wait(waiting, timeout=seconds + 2 * GRACE_S)
    if silent:
        run.slice.fail(b"no answer in time", len(silent))
        for transport, _ in opened:
            transport.abort()
    return run.slice


def _complete(buffer: bytearray) -> bool:
    """Whether the buffer holds one whole response, by its length or its last chunk."""
    head = buffer.find(b"\r\n\r\n")
    if head < 0:
        return False
    headers = bytes(buffer[:head]).lower()
    at = headers.find(b"content-length:")
    if at >= 0:
        end = headers.find(b"\r\n", at)
        length = int(headers[at + 15 : end if end >= 0 else None])
        return len(buffer) >= head + 4 + length
    return buffer.endswith(b"0\r\n\r\n")
