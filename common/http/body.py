"""A request's body: read within bounds, and parsed so strictly that nobody reads it otherwise."""

import asyncio
import json
import re
from contextlib import suppress
from typing import Any, Final

from starlette.types import Receive

from common import strict_json
from common.http.answers import INVALID_REQUEST, PARSE_ERROR, Refused, plain, protocol

MOST_BYTES: Final = 4 * 1024 * 1024
PATIENCE_S: Final = 30
MOST_DISCARDED: Final = 4 * MOST_BYTES
DISCARDING_S: Final = 5
DEEPEST: Final = 64
MOST_BRACKETS: Final = 50_000
LONGEST_NUMBER: Final = 400
LONGEST_ID: Final = 256
_LONG_NUMBER = re.compile(rf"[\[:,\s]-?[0-9]{{{LONGEST_NUMBER + 1}}}")
_SURROGATE = re.compile(r"\\u[dD][89abAB]|\\u[dD][c-fC-F]")


class Gone(Exception):
    """The client hung up before its request was complete."""


async def read(receive: Receive, declared: bytes | None) -> bytes:
    """The whole body. Raises Refused (413, 408) or Gone."""
    if declared is not None and (not declared.isdigit() or int(declared) > MOST_BYTES):
        await _discard(receive)
        raise _too_large()
    try:
        async with asyncio.timeout(PATIENCE_S):
            first = await receive()
            if first["type"] == "http.request" and not first.get("more_body"):
                return _bounded(first.get("body", b""))
            return await _rest(first, receive)
    except OverflowError:
        await _discard(receive)
        raise _too_large() from None
    except TimeoutError:
        raise plain(
            408, "too_slow", "The body did not arrive in time.", connection="close"
        ) from None


async def _rest(message: Any, receive: Receive) -> bytes:
    body = bytearray()
    while True:
        if message["type"] != "http.request":
            raise Gone
        body += message.get("body", b"")
        _bounded(body)
        if not message.get("more_body"):
            return bytes(body)
        message = await receive()


def _bounded(body: bytes | bytearray) -> bytes:
    if len(body) > MOST_BYTES:
        raise OverflowError
    return bytes(body)


async def _discard(receive: Receive) -> None:
    """Read on for a while: a client that is still sending when the connection closes never sees
    the answer."""
    left = MOST_DISCARDED
    with suppress(TimeoutError):
        async with asyncio.timeout(DISCARDING_S):
            while left > 0:
                message = await receive()
                if message["type"] != "http.request" or not message.get("more_body"):
                    return
                left -= len(message.get("body", b""))


def _too_large() -> Refused:
    return plain(413, "too_large", f"At most {MOST_BYTES} bytes.", connection="close")


def parse(body: bytes) -> dict[str, Any]:
    """One JSON-RPC message. Raises Refused with JSON-RPC's own codes.

    Refused are: other encodings than UTF-8 and byte order marks, a member twice, NaN and Infinity,
    half of a surrogate pair, more than 64 levels, batches, and ids that are no id; and before all
    that, what is short to send and long to read: brackets without end, numbers by the page.
    """
    try:
        text = body.decode("utf-8")
        brackets = text.count("{") + text.count("[")
        if brackets > MOST_BRACKETS or _LONG_NUMBER.search(text):
            raise protocol(
                400, INVALID_REQUEST, "too_much",
                f"At most {MOST_BRACKETS} brackets, and {LONGEST_NUMBER} digits a number.",
            )  # fmt: skip
        found = strict_json.read(text)
        if _SURROGATE.search(text):
            json.dumps(found, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError):
        raise protocol(400, PARSE_ERROR, "not_json", "The body is not JSON in UTF-8.") from None
    if isinstance(found, list):
        raise protocol(400, INVALID_REQUEST, "batch", "One message a request, no batch.")
    if not isinstance(found, dict):
        raise protocol(400, INVALID_REQUEST, "not_a_message", "The body is no JSON-RPC message.")
    if brackets > DEEPEST and _deeper(found):
        raise protocol(400, INVALID_REQUEST, "too_deep", f"At most {DEEPEST} levels.")
    _check(found)
    return found


def _check(message: dict[str, Any]) -> None:
    if message.get("jsonrpc") != "2.0":
        raise protocol(400, INVALID_REQUEST, "not_a_message", 'jsonrpc must be "2.0".')
    if "id" in message:
        id = message["id"]
        text = isinstance(id, str) and len(id) <= LONGEST_ID
        whole = isinstance(id, int) and not isinstance(id, bool) and abs(id) < 2**63
        if not (text or whole):
            raise protocol(
                400, INVALID_REQUEST, "bad_id",
                f"An id is an integer or text of at most {LONGEST_ID} characters.",
            )  # fmt: skip
    if "method" in message:
        method, params = message["method"], message.get("params", {})
        if not isinstance(method, str) or not isinstance(params, dict):
            raise protocol(
                400, INVALID_REQUEST, "not_a_message", "method is text and params an object.",
                message.get("id"),
            )  # fmt: skip
    elif not ({"result", "error"} & set(message)) or "id" not in message:
        raise protocol(400, INVALID_REQUEST, "not_a_message", "Neither a call nor an answer.")


def _deeper(value: Any) -> bool:
    level = [value]
    for _ in range(DEEPEST):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return False
    return True


__all__ = ["MOST_BYTES", "Gone", "Refused", "parse", "read"]
