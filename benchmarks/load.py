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
SLICE_GRACE_S: Final = 30.0


@dataclass
class Slice:
    """What one stretch of load measured. Latencies in seconds."""

    seconds: float
    latencies: list[float] = field(default_factory=list)
    failed: int = 0
    sample: bytes = b""
    last: int = 0  # the number of the last request

    @property
    def rate(self) -> float:
        """Answers a second."""
        return len(self.latencies) / self.seconds if self.seconds else 0.0

    def percentile(self, share: float) -> float:
        """Latency in milliseconds below which ``share`` of the answers lie."""
        if not self.latencies:
            return 0.0
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000


class _Connection(asyncio.Protocol):
    """Sends, waits for the whole answer, sends again until the deadline."""

    def __init__(self, run: "_Run") -> None:
        self._run = run
        self._buffer = bytearray()
        self._sent = 0.0
        self._last = b""
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
        self._last = bytes(self._buffer)
        self._buffer.clear()
        between = run.between and run.between in self._last
        accepted = between or (run.accept in self._last and REPLAYED not in self._last)
        if not self._last.startswith(b"HTTP/1.1 200") or not accepted:
            run.slice.failed += 1
            run.slice.sample = self._last[:2000]
        elif not between:
            run.slice.latencies.append(now - self._sent)
        if between:
            self._write()  # the same exchange goes on
        elif now < run.deadline:
            self._send()
        elif self._transport is not None:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._buffer or (exc and time.perf_counter() < self._run.deadline):
            self._run.slice.failed += 1
        if not self._over.done():
            self._over.set_result(None)

    def _send(self) -> None:
        self._last = b""
        self._sent = time.perf_counter()
        self._write()

    def _write(self) -> None:
        assert self._transport is not None
        self._transport.write(self._run.next(self._last))


@dataclass
class _Run:
    make: MakeRequest
    accept: bytes
    between: bytes
    deadline: float
    slice: Slice

    def next(self, last: bytes) -> bytes:
        self.slice.last += 1
        return self.make(self.slice.last, last)


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
    as failed, and one is kept as a sample."""
    loop = asyncio.get_running_loop()
    start = time.perf_counter()
    run = _Run(make, accept, between, start + seconds, Slice(0.0, last=after))
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
    await asyncio.wait(waiting, timeout=seconds + SLICE_GRACE_S)
    run.slice.seconds = time.perf_counter() - start
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
