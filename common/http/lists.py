"""Lists are rendered once: what was answered to a request is answered to the same one again.

A server's lists are the same for every caller and never change while it runs. So an answer the SDK
gave is kept under everything it can depend on, which is the whole message but its id and its trace,
and the headers that repeat the message. The gate has decided before whether the caller may ask.
"""

import json
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from starlette.types import Message, Send

METHODS: Final = frozenset({
    "tools/list", "prompts/list", "resources/list", "resources/templates/list", "server/discover",
})  # fmt: skip
MOST: Final = 32
LONGEST_REQUEST: Final = 4_000
_HEADERS: Final = (b"accept", b"content-type", b"host", b"origin")
_TRACE: Final = frozenset({"traceparent", "tracestate", "baggage"})

Ask = Callable[[Send], Awaitable[None]]


class Lists:
    """The answers of one server, those asked for last."""

    def __init__(self) -> None:
        self._kept: OrderedDict[bytes, tuple[Message, bytes]] = OrderedDict()

    async def answer(
        self, message: Mapping[str, Any], named: Mapping[bytes, bytes], ask: Ask, send: Send
    ) -> None:
        """As ``ask`` answers, or answered before."""
        place = _place(message, named)
        if len(place) > LONGEST_REQUEST:
            await ask(send)
            return
        before = json.dumps(message.get("id"), separators=(",", ":")).encode()
        before = b'{"jsonrpc":"2.0","id":' + before + b',"result":'
        if place not in self._kept:
            await self._asked(place, before, ask, send)
            return
        self._kept.move_to_end(place)
        start, rest = self._kept[place]
        length = (b"content-length", str(len(before) + len(rest)).encode())
        await send({**start, "headers": [*start["headers"], length]})
        await send({"type": "http.response.body", "body": before + rest})

    async def _asked(self, place: bytes, before: bytes, ask: Ask, send: Send) -> None:
        start: Message = {}
        body = bytearray()

        async def noted(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start":
                start = message
            else:
                body.extend(message.get("body", b""))
            await send(message)

        await ask(noted)
        if start.get("status") == 200 and body.startswith(before):
            headers = [pair for pair in start["headers"] if pair[0] != b"content-length"]
            self._kept[place] = ({**start, "headers": headers}, bytes(body[len(before) :]))
            if len(self._kept) > MOST:
                self._kept.popitem(last=False)


def _place(message: Mapping[str, Any], named: Mapping[bytes, bytes]) -> bytes:
    asked = {key: value for key, value in message.items() if key != "id"}
    params = asked.get("params")
    meta = params.get("_meta") if isinstance(params, dict) else None
    if isinstance(params, dict) and isinstance(meta, dict):
        kept = {key: value for key, value in meta.items() if key not in _TRACE}
        asked["params"] = {**params, "_meta": kept}
    headers = sorted(
        (name, value)
        for name, value in named.items()
        if name in _HEADERS or name.startswith(b"mcp-")
    )
    said = [asked, [[name.hex(), value.hex()] for name, value in headers]]
    return json.dumps(said, sort_keys=True, separators=(",", ":")).encode()
