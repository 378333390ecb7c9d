"""uvicorn's httptools protocol with the bounds it lacks: how long and how large a request may be
before anybody has looked at it. Costs nothing when a request arrives whole."""

import asyncio
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

HEAD_S: Final = 10.0
BODY_S: Final = 60.0
STUCK_S: Final = 60.0  # an answer is taken by a trickle or not at all
MOST_HEAD_BYTES: Final = 32 * 1024
MAPPED: Final = "::ffff:"
MOST_HEADERS: Final = 100
MOST_UNREAD_BYTES: Final = 16 * 1024 * 1024


class BoundedHttp(HttpToolsProtocol):
    """408 for a head or a body that trickles in, 431 for a head that is too large. Whoever leaves
    an answer lying is hung up on."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._stage = "head"
        self._timed = ""
        self._timer: asyncio.TimerHandle | None = None
        self._head_bytes = 0
        self._refusal = 400
        self._unread = 0
        self._stuck: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if self.client and self.client[0].startswith(MAPPED):  # listening on ::, all see IPv4 so
            self.client = (self.client[0].removeprefix(MAPPED), self.client[1])
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stage = ""
        self._watch()
        self._unstick()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        cycle: Any = self.cycle
        if not self._stage and (cycle is None or cycle.response_complete):
            self._stage = "head"  # a blank line too: uvicorn no longer counts it as idle
        if self._stage != "body":
            self._head_bytes += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            self._stage = ""
        elif self._stage == "head" and self._head_bytes > 2 * MOST_HEAD_BYTES:
            self._refuse(431)
        self._watch()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stuck = self.loop.call_later(STUCK_S, self.transport.abort)

    def resume_writing(self) -> None:
        self._unstick()
        super().resume_writing()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._stage, self._size = "head", 0

    def on_url(self, url: bytes) -> None:
        self._grow(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._grow(len(name) + len(value) + 4)
        if self._stage == "body":
            return  # a trailer is no field of the head (RFC 9110, 6.5.1)
        super().on_header(name, value.strip(b" \t"))  # the parser leaves blanks at the end

    def on_headers_complete(self) -> None:
        self._stage, self._head_bytes, self._unread = "body", 0, 0
        super().on_headers_complete()
        if self.parser.should_upgrade():  # to nothing we speak; what follows cannot be read
            self.cycle.keep_alive = False

    def _unsupported_upgrade_warning(self) -> None:
        """Not worth a line in the log: anybody may send one."""

    def on_body(self, body: bytes) -> None:
        super().on_body(body)
        if self.cycle.response_complete:
            # Answered already. Closing at once could lose the answer on its way; reading on
            # for ever is what a flood wants.
            self._unread += len(body)
            if self._unread > MOST_UNREAD_BYTES:
                self.transport.close()

    def on_message_complete(self) -> None:
        self._stage = ""
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        if self._answering():
            self.transport.close()  # another answer now would be taken for the one under way
        else:
            self._refuse(self._refusal)

    def _grow(self, by: int) -> None:
        self._size += by
        if self._size > MOST_HEAD_BYTES or len(self.headers) >= MOST_HEADERS:
            self._refusal = 431
            raise ValueError("the head is too large")  # the parser stops, and 431 goes out

    def _unstick(self) -> None:
        if self._stuck is not None:
            self._stuck.cancel()
            self._stuck = None

    def _watch(self) -> None:
        if self._stage == self._timed:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._timed = self._stage
        if self._stage:
            patience = HEAD_S if self._stage == "head" else BODY_S
            self._timer = self.loop.call_later(patience, self._too_slow)

    def _too_slow(self) -> None:
        self._timer = None
        if self._answering():
            self.transport.close()
        else:
            self._refuse(408)

    def _answering(self) -> bool:
        """Whether an answer is owed that this message is not about, or is half written."""
        cycle: Any = self.cycle
        if self.pipeline:  # this message is among those that wait for the one under way
            return True
        if cycle is None or cycle.response_complete:
            return False
        return bool(cycle.response_started) or self._stage != "body"

    def _refuse(self, status: int) -> None:
        if not self.transport.is_closing():
            head = STATUS_LINE[status] + b"content-length: 0\r\nconnection: close\r\n\r\n"
            self.transport.write(head)
            self.transport.close()
        self._stage = ""
