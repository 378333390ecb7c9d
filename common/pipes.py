"""The host's pipes on the event loop: no thread between a line and the server that answers it."""

import asyncio
import os
from typing import Any, Final, Protocol

LONGEST_LINE: Final = 16 * 2**20


class Watch(Protocol):
    """Sees every line pass."""

    def heard(self, line: str) -> None: ...

    def said(self, text: str) -> bool:
        """Whether the line is to be dropped."""
        ...


class Lines:
    """What ``stdio_server`` reads: lines of text, beginning with what was read before."""

    def __init__(self, reader: asyncio.StreamReader, watch: Watch) -> None:
        self._reader = reader
        self._watch = watch

    def __aiter__(self) -> "Lines":
        return self

    async def __anext__(self) -> str:
        line = (await self._reader.readline()).decode("utf-8", errors="replace")
        if not line:
            raise StopAsyncIteration
        self._watch.heard(line)
        return line


class Sink:
    """What ``stdio_server`` writes to."""

    def __init__(self, writer: asyncio.StreamWriter, watch: Watch) -> None:
        self._writer = writer
        self._watch = watch

    async def write(self, text: str) -> int:
        if not self._watch.said(text):
            self._writer.write(text.encode())
        return len(text)

    async def flush(self) -> None:
        await self._writer.drain()


async def opened(source: int, sink: int, begun: bytes, watch: Watch) -> tuple[Any, Any]:
    """Take over two descriptors. Raises ValueError when one is a plain file."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=LONGEST_LINE, loop=loop)
    reader.feed_data(begun)
    # The loop closes what it takes over.
    incoming, outgoing = os.fdopen(source, "rb", buffering=0), os.fdopen(sink, "wb", buffering=0)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader, loop=loop), incoming)
    transport, protocol = await loop.connect_write_pipe(
        lambda: asyncio.streams.FlowControlMixin(loop=loop), outgoing
    )
    writer = asyncio.StreamWriter(transport, protocol, None, loop)
    return Lines(reader, watch), Sink(writer, watch)
